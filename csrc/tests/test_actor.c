/* SPDX-License-Identifier: BSD-3-Clause */
#include "live/actor.h"

#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/fperf_test.h"

#define PAGE 4096
#define NR_PAGES 8

/* An actor, the other end of its socket, and a range where nothing is mapped. */
struct stage {
	int socket;
	pid_t pid;
	uint64_t at;
};

static struct fperf_actor_reply next_reply(int socket)
{
	struct fperf_actor_reply reply = { .result = INT64_MIN };

	if (recv(socket, &reply, sizeof(reply), 0) != (ssize_t)sizeof(reply))
		reply.result = INT64_MIN;
	return reply;
}

static bool stage_create(struct stage *stage)
{
	int pair[2];
	void *const at = mmap(NULL, NR_PAGES * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ASSERT_TRUE(at != MAP_FAILED);
	munmap(at, NR_PAGES * PAGE);
	stage->at = (uintptr_t)at;
	ASSERT_OK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair));
	fflush(stdout);
	stage->pid = fork();
	if (stage->pid == 0) {
		close(pair[0]);
		fperf_actor(pair[1]);
	}
	close(pair[1]);
	stage->socket = pair[0];
	ASSERT_EQ(next_reply(stage->socket).pid, stage->pid);
	return true;
}

static bool stage_destroy(struct stage *stage)
{
	int status;

	close(stage->socket);
	ASSERT_EQ(waitpid(stage->pid, &status, 0), stage->pid);
	ASSERT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	return true;
}

static void tell(int socket, const struct fperf_actor_request *request, int fd)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec data = { (void *)request, sizeof(*request) };
	struct msghdr message = { .msg_iov = &data, .msg_iovlen = 1 };

	if (fd >= 0) {
		message.msg_control = &control;
		message.msg_controllen = sizeof(control);
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		control.header.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
	}
	if (sendmsg(socket, &message, 0) < 0)
		perror("sendmsg");
}

static struct fperf_actor_reply ask(const struct stage *stage, enum fperf_actor_op op, uint32_t flag, uint64_t page,
				    uint64_t nr)
{
	const struct fperf_actor_request request = {
		.op = op, .flag = flag, .start = stage->at + page * PAGE, .length = nr * PAGE
	};

	tell(stage->socket, &request, -1);
	return next_reply(stage->socket);
}

static bool test_system_calls_answer_as_they_do(void)
{
	struct stage stage;

	ASSERT_TRUE(stage_create(&stage));
	ASSERT_EQ(ask(&stage, FPERF_ACTOR_MAP_ANON, false, 0, NR_PAGES).result, 0);
	ASSERT_EQ(ask(&stage, FPERF_ACTOR_MAP_ANON, false, 0, 1).error, EEXIST);
	ASSERT_EQ(ask(&stage, FPERF_ACTOR_TOUCH, 'w', 0, NR_PAGES).result, 0);
	ASSERT_EQ(ask(&stage, FPERF_ACTOR_ADVISE, 12345, 0, 1).error, EINVAL);
	ASSERT_EQ(ask(&stage, FPERF_ACTOR_UNMAP, 0, 0, NR_PAGES).result, 0);
	ASSERT_EQ(ask(&stage, FPERF_ACTOR_NR_OPS, 0, 0, 1).error, EINVAL);
	return stage_destroy(&stage);
}

static bool test_a_fault_is_an_answer(void)
{
	struct stage stage;

	ASSERT_TRUE(stage_create(&stage));
	for (int i = 0; i < 3; i++) {
		ASSERT_EQ(ask(&stage, FPERF_ACTOR_TOUCH, 'r', 0, 1).error, FPERF_ACTOR_SIGNAL + SIGSEGV);
		ASSERT_EQ(ask(&stage, FPERF_ACTOR_MAP_ANON, true, 0, 1).result, 0);
		ASSERT_EQ(ask(&stage, FPERF_ACTOR_TOUCH, 's', 0, 1).result, 0);
		ASSERT_EQ(ask(&stage, FPERF_ACTOR_UNMAP, 0, 0, 1).result, 0);
	}
	return stage_destroy(&stage);
}

static bool test_children_answer_on_their_own_sockets(void)
{
	const struct fperf_actor_request fork_one = { .op = FPERF_ACTOR_FORK },
					 fork_many = { .op = FPERF_ACTOR_FORK_MANY, .flag = 3 };
	struct stage stage, child;
	int pair[2];
	unsigned int places = 0;
	char nothing;

	ASSERT_TRUE(stage_create(&stage));
	ASSERT_EQ(ask(&stage, FPERF_ACTOR_MAP_ANON, true, 0, 1).result, 0);
	ASSERT_OK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair));
	tell(stage.socket, &fork_one, pair[1]);
	close(pair[1]);
	ASSERT_EQ(next_reply(stage.socket).result, 0);
	child = (struct stage){ .socket = pair[0], .at = stage.at, .pid = next_reply(pair[0]).pid };
	ASSERT_TRUE(child.pid > 0 && child.pid != stage.pid);
	ASSERT_EQ(ask(&child, FPERF_ACTOR_TOUCH, 'w', 0, 1).result, 0);

	ASSERT_OK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair));
	tell(child.socket, &fork_many, pair[1]);
	close(pair[1]);
	for (int i = 0; i < 3; i++)
		places |= 1u << next_reply(pair[0]).result;
	ASSERT_EQ(places, 7);
	ASSERT_EQ(next_reply(child.socket).result, 3);
	/* All hold the socket until they are dead; they die when it closes here. */
	shutdown(pair[0], SHUT_RDWR);
	ASSERT_EQ(recv(pair[0], &nothing, 1, 0), 0);
	close(pair[0]);
	close(child.socket);
	return stage_destroy(&stage);
}

static bool test_every_operation_has_a_name(void)
{
	for (int op = 0; op < FPERF_ACTOR_NR_OPS; op++)
		ASSERT_TRUE(fperf_actor_op_names[op] && *fperf_actor_op_names[op]);
	return true;
}

int main(void)
{
	TEST(system_calls_answer_as_they_do);
	TEST(a_fault_is_an_answer);
	TEST(children_answer_on_their_own_sockets);
	TEST(every_operation_has_a_name);
	return TEST_END();
}
