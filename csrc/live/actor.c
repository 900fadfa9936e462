/* SPDX-License-Identifier: BSD-3-Clause */
#include "live/actor.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <linux/io_uring.h>

const char *const fperf_actor_op_names[FPERF_ACTOR_NR_OPS + 1] = {
#define X(NAME, name) [FPERF_ACTOR_##NAME] = #name,
	FPERF_ACTOR_OPS(X)
#undef X
};

#define PIPE_BYTES (1 << 20)
#define RING_ENTRIES 4

static const uint64_t page_size = 4096;

/* What a process holds; a child begins with nothing but the objects. */
struct actor {
	int socket;
	bool is_new;
	int ring;
	int pipe[2];
	int objects[FPERF_ACTOR_MAX_OBJECTS];
};

static sigjmp_buf fault;

static void on_fault(int signal)
{
	siglongjmp(fault, signal);
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* Receive a request and the descriptor that may come with it, or end with the other side. */
static int receive(int socket, struct fperf_actor_request *request)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec data = { request, sizeof(*request) };
	struct msghdr message = {
		.msg_iov = &data, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)
	};
	ssize_t got;
	int fd = -1;

	do {
		got = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
	} while (got < 0 && errno == EINTR);
	if (got != (ssize_t)sizeof(*request))
		_exit(0);
	const struct cmsghdr *const header = CMSG_FIRSTHDR(&message);
	if (header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS)
		memcpy(&fd, CMSG_DATA(header), sizeof(fd));
	return fd;
}

static void reply(int socket, int64_t result, int error)
{
	const struct fperf_actor_reply message = { result, error, getpid() };

	if (send(socket, &message, sizeof(message), MSG_NOSIGNAL) != (ssize_t)sizeof(message))
		_exit(0);
}

static void touch(const struct fperf_actor_request *request)
{
	volatile unsigned char *const page = (volatile unsigned char *)(uintptr_t)request->start;

	for (uint64_t at = 0; at < request->length; at += page_size) {
		if (request->flag == 'r')
			(void)page[at];
		else if (request->flag == 'w')
			page[at] = (unsigned char)(at / page_size + request->writer + 1);
		else
			memset((void *)(uintptr_t)(request->start + at), 0x5a, page_size);
	}
}

static int64_t map(const struct actor *actor, const struct fperf_actor_request *request)
{
	const bool anon = request->op == FPERF_ACTOR_MAP_ANON;
	const int flags = (request->flag ? MAP_SHARED : MAP_PRIVATE) | (anon ? MAP_ANONYMOUS : 0) |
			  MAP_FIXED_NOREPLACE | MAP_NORESERVE;
	const int fd = anon ? -1 : actor->objects[request->object];
	void *const at = mmap((void *)(uintptr_t)request->start, request->length, PROT_READ | PROT_WRITE, flags, fd,
			      anon ? 0 : (off_t)request->other);

	return at == MAP_FAILED ? -1 : 0;
}

static int64_t pin(struct actor *actor, const struct fperf_actor_request *request)
{
	const struct iovec buffer = { (void *)(uintptr_t)request->start, request->length };

	if (actor->ring < 0) {
		struct io_uring_params parameters;

		memset(&parameters, 0, sizeof(parameters));
		actor->ring = (int)syscall(SYS_io_uring_setup, RING_ENTRIES, &parameters);
		if (actor->ring < 0)
			return -1;
	}
	return syscall(SYS_io_uring_register, actor->ring, IORING_REGISTER_BUFFERS, &buffer, 1);
}

static int64_t unpin(struct actor *actor)
{
	const int64_t result = syscall(SYS_io_uring_register, actor->ring, IORING_UNREGISTER_BUFFERS, NULL, 0);
	const int error = errno;

	close_fd(&actor->ring);
	errno = error;
	return result;
}

static int64_t splice_pages(struct actor *actor, const struct fperf_actor_request *request)
{
	const struct iovec pages = { (void *)(uintptr_t)request->start, request->length };
	ssize_t done;

	if (pipe2(actor->pipe, O_CLOEXEC))
		return -1;
	fcntl(actor->pipe[1], F_SETPIPE_SZ, PIPE_BYTES);
	done = vmsplice(actor->pipe[1], &pages, 1, SPLICE_F_NONBLOCK);
	return done < 0 ? -1 : (int64_t)((uint64_t)done / page_size);
}

static int64_t unsplice_pages(struct actor *actor)
{
	close_fd(&actor->pipe[0]);
	close_fd(&actor->pipe[1]);
	return 0;
}

static int64_t fork_one(struct actor *actor, int socket)
{
	const pid_t pid = fork();

	if (pid == 0) {
		close(actor->socket);
		actor->socket = socket;
		actor->is_new = true;
		/* What the parent holds is the parent's: a child that kept it open would keep it held. */
		close_fd(&actor->ring);
		close_fd(&actor->pipe[0]);
		close_fd(&actor->pipe[1]);
		reply(socket, 0, 0);
		return 0;
	}
	close(socket);
	return pid < 0 ? -1 : 0;
}

static int64_t fork_many(struct actor *actor, uint32_t nr, int socket)
{
	uint32_t done;

	for (done = 0; done < nr; done++) {
		const pid_t pid = fork();

		if (pid == 0) {
			char nothing;

			close(actor->socket);
			close_fd(&actor->ring);
			close_fd(&actor->pipe[0]);
			close_fd(&actor->pipe[1]);
			reply(socket, done, 0);
			while (recv(socket, &nothing, 1, 0) < 0 && errno == EINTR)
				;
			_exit(0);
		}
		if (pid < 0)
			break;
	}
	close(socket);
	return done;
}

static int64_t execute(struct actor *actor, const struct fperf_actor_request *request, int fd)
{
	void *const start = (void *)(uintptr_t)request->start;

	switch ((enum fperf_actor_op)request->op) {
	case FPERF_ACTOR_MAP_ANON:
	case FPERF_ACTOR_MAP_OBJECT:
		return map(actor, request);
	case FPERF_ACTOR_TOUCH:
		touch(request);
		return 0;
	case FPERF_ACTOR_UNMAP:
		return munmap(start, request->length);
	case FPERF_ACTOR_ADVISE:
		return madvise(start, request->length, (int)request->flag);
	case FPERF_ACTOR_PROTECT:
		return mprotect(start, request->length, (int)request->flag);
	case FPERF_ACTOR_REMAP:
		return mremap(start, request->length, request->length, MREMAP_MAYMOVE | MREMAP_FIXED,
			      (void *)(uintptr_t)request->other) == MAP_FAILED ?
			       -1 :
			       0;
	case FPERF_ACTOR_LOCK:
		return mlock(start, request->length);
	case FPERF_ACTOR_UNLOCK:
		return munlock(start, request->length);
	case FPERF_ACTOR_PIN:
		return pin(actor, request);
	case FPERF_ACTOR_UNPIN:
		return unpin(actor);
	case FPERF_ACTOR_SPLICE:
		return splice_pages(actor, request);
	case FPERF_ACTOR_UNSPLICE:
		return unsplice_pages(actor);
	case FPERF_ACTOR_FORK:
		return fork_one(actor, fd);
	case FPERF_ACTOR_FORK_MANY:
		return fork_many(actor, request->flag, fd);
	case FPERF_ACTOR_OBJECT:
		if (request->object >= FPERF_ACTOR_MAX_OBJECTS)
			break;
		actor->objects[request->object] = fd;
		return 0;
	case FPERF_ACTOR_NR_OPS:
		break;
	}
	errno = EINVAL;
	return -1;
}

/* A function of its own: what its caller knows survives the jump out of a handler. */
static __attribute__((noinline)) int64_t guarded(struct actor *actor, const struct fperf_actor_request *request, int fd,
						 int *error)
{
	const int signal = sigsetjmp(fault, 0);
	int64_t result;

	if (signal) {
		*error = FPERF_ACTOR_SIGNAL + signal;
		return -1;
	}
	errno = 0;
	result = execute(actor, request, fd);
	*error = result < 0 ? errno : 0;
	return result;
}

void fperf_actor(int socket)
{
	static struct actor actor;
	const struct sigaction ignore = { .sa_handler = SIG_IGN },
			       jump = { .sa_handler = on_fault, .sa_flags = SA_NODEFER };
	struct fperf_actor_request request;

	actor.socket = socket;
	actor.ring = actor.pipe[0] = actor.pipe[1] = -1;
	/* Nobody waits for children: whoever needs to know holds a pidfd. Ctrl-C is for the one who gives orders. */
	sigaction(SIGCHLD, &ignore, NULL);
	sigaction(SIGINT, &ignore, NULL);
	sigaction(SIGSEGV, &jump, NULL);
	sigaction(SIGBUS, &jump, NULL);
	reply(actor.socket, 0, 0);
	for (;;) {
		const int fd = receive(actor.socket, &request);
		int64_t result;
		int error;

		actor.is_new = false;
		result = guarded(&actor, &request, fd, &error);
		/* A new process has said so already. */
		if (!actor.is_new)
			reply(actor.socket, result, error);
	}
}
