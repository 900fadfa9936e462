/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One process of a scenario on the running kernel: it does what it is told over a socket, one operation at a time, and
 * nothing else, so that what its page tables show is what the scenario says. Whoever holds the other end of the socket
 * may die at any time; the actor then ends too.
 */
#ifndef FPERF_ACTOR_H
#define FPERF_ACTOR_H

#include <stdint.h>

/* X(NAME, name) */
#define FPERF_ACTOR_OPS(X)								\
	X(MAP_ANON, map_anon)		/* flag: shared */				\
	X(MAP_OBJECT, map_object)	/* flag: shared; other: offset in bytes; object: slot */ \
	X(TOUCH, touch)			/* flag: 'r', 'w', or 's': the whole page with one same byte */ \
	X(UNMAP, unmap)									\
	X(ADVISE, advise)		/* flag: the advice */				\
	X(PROTECT, protect)		/* flag: PROT_* */				\
	X(REMAP, remap)			/* other: where to */				\
	X(LOCK, lock)									\
	X(UNLOCK, unlock)								\
	X(PIN, pin)			/* as a buffer registered with io_uring */	\
	X(UNPIN, unpin)									\
	X(SPLICE, splice)		/* into a pipe of its own */			\
	X(UNSPLICE, unsplice)								\
	X(FORK, fork)			/* descriptor: the child's socket */		\
	X(FORK_MANY, fork_many)		/* flag: how many; descriptor: a socket they send their place and pid on, and that */ \
					/* ends them when it is closed */		\
	X(OBJECT, object)		/* object: slot; descriptor: the file */

enum fperf_actor_op {
#define X(NAME, name) FPERF_ACTOR_##NAME,
	FPERF_ACTOR_OPS(X)
#undef X
		FPERF_ACTOR_NR_OPS
};
extern const char *const fperf_actor_op_names[FPERF_ACTOR_NR_OPS + 1];

#define FPERF_ACTOR_MAX_OBJECTS 64
/* A signal instead of an errno: the process would have been killed. */
#define FPERF_ACTOR_SIGNAL 1000

/* A message of one packet each way; a descriptor comes with the packet. */
struct fperf_actor_request {
	uint32_t op;
	uint32_t flag;
	uint32_t object;
	uint32_t writer; /* number of the process in its scenario: page i of a range it writes begins with i + writer + 1 */
	uint64_t start, length, other; /* bytes */
};

/* The first reply of a process comes unasked and has its pid only. */
struct fperf_actor_reply {
	int64_t result;
	int32_t error; /* errno, or FPERF_ACTOR_SIGNAL + signal */
	int32_t pid;
};

/* Be an actor until the socket closes; does not return. */
void fperf_actor(int socket) __attribute__((noreturn));

#endif
