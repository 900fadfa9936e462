/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * This CPU: how long primitives and the hooks of a scheme take on it. Times are in ns of CLOCK_MONOTONIC, the clock's own
 * cost not subtracted; whoever repeats and summarises subtracts it. One call measures once: a pass over an arena.
 */
#ifndef FPERF_HW_H
#define FPERF_HW_H

#include <stdbool.h>

#include "core/fperf_abi.h"
#include "core/fperf_error.h"

struct fperf_sim;

/* ---- clock.c ---- */
uint64_t fperf_hw_now(void);
/* ns between two readings of the clock with nothing in between, the least of many. */
uint64_t fperf_hw_clock_ns(void);
/* Its step: the least difference, above zero, of two readings. Some CPUs count time in steps of 10 ns. */
uint64_t fperf_hw_clock_step_ns(void);
/* Bind the calling thread to one CPU; FPERF_ERR(ARGUMENT) if it must not run there. */
int fperf_hw_pin(uint32_t cpu) FPERF_MUST_CHECK;
/* Write lines back to memory and drop them from all caches; false where the CPU lets no program do that. */
bool fperf_hw_can_evict(void);
void fperf_hw_evict(const void *from, size_t bytes);

/* ---- pass.c: the hooks of a scheme, over the folios of an arena ---- */
/* What designs and locks do to a word that others use too: on one of a folio's first struct page. */
#define FPERF_HW_USES(X)								\
	X(ADD, add)		/* an atomic add: counts of mappings and references */	\
	X(CMPXCHG, cmpxchg)	/* a load, and compare-exchanges until one succeeds */	\
	X(BIT_LOCK, bit_lock)	/* a bit taken, a count changed, the bit given back */	\
	X(RWSEM, rwsem)		/* an rwsem taken and given back by a reader: two adds */ \
	X(READ, read)		/* a load */

/* Beside the hooks: ASK, a question; PRESENT, mm's presence test alone; EMPTY, a hook that does nothing; uses of a word. */
enum {
	FPERF_HW_ASK = FPERF_NR_HOOKS,
	FPERF_HW_PRESENT,
	FPERF_HW_EMPTY,
#define X(NAME, name) FPERF_HW_##NAME,
	FPERF_HW_USES(X)
#undef X
		FPERF_HW_NR_CALLS
};
extern const char *const fperf_hw_use_names[FPERF_HW_NR_CALLS - FPERF_HW_ADD + 1];

/* One call of a hook, on each folio alike. */
struct fperf_hw_call {
	uint32_t hook; /* enum fperf_rmap_hook, or one of the above; hooks of runs, PMDs, recount, exclusive bits */
	uint32_t process; /* whose VMA maps the folio */
	uint32_t first, nr;
	uint32_t flags;	 /* FPERF_RUN_* */
	uint32_t batched, refs_batched;
	uint32_t value; /* ASK: the question; RECOUNT: mappers the walk found */
};

#define FPERF_HW_MAX_CALLS 4

/* Folios of one order side by side from pfn `folio`, mapped side by side from vpn on; visited in the order of `visit`. */
struct fperf_hw_batch {
	const struct fperf_hw_call *calls;
	uint32_t nr_calls, order;
	const uint32_t *visit;
	uint64_t nr_visits;
	uint64_t folio, vpn;
};

/* The first visits of a pass warm up predictors and caches of instructions and are not timed, if there are enough others. */
static inline uint64_t fperf_hw_nr_timed(uint64_t nr_visits)
{
	return nr_visits < 8 ? nr_visits : nr_visits - 2;
}

/*
 * Make the calls on each folio; the CPU starts with one when it is done with the one before. Without calls a pass costs
 * what this order of things costs. The time is that of the last fperf_hw_nr_timed() visits. With a counting back end nothing is timed and everything counted, an event per folio.
 */
int fperf_hw_pass(struct fperf_sim *sim, const struct fperf_hw_batch *batch, uint64_t *ns) FPERF_MUST_CHECK;

/*
 * Give a process page tables for nr pages from vpn on, empty ones, as a fault makes them before it maps: down to the PMDs, and
 * if `ptes`, tables of PTEs below.
 */
int fperf_hw_page_tables(struct fperf_sim *sim, uint32_t process, uint64_t vpn, uint64_t nr,
			 bool ptes) FPERF_MUST_CHECK;

/* Has the scheme something to recount? */
bool fperf_hw_recounts(const struct fperf_sim *sim);

/* Struct pages and page tables leave the caches, those of the host or the simulated ones. */
int fperf_hw_evict_sim(struct fperf_sim *sim) FPERF_MUST_CHECK;

/* Ask the host for huge pages under the first nr struct pages, before they are used; 0 or a negative errno. */
int fperf_hw_huge_pages(struct fperf_sim *sim, uint64_t nr);

/* ---- primitive.c: single accesses, by which machines are priced ---- */
#define FPERF_HW_PRIMITIVES(X)								\
	X(CHASE, chase)			/* loads, each address from the load before */	\
	X(FRAME, frame)			/* nothing: what stands around each call */	\
	X(HOOK, hook)			/* a call without access */			\
	X(LOAD, load)			/* a call that makes a run: the same word of consecutive lines */ \
	X(STORE, store)									\
	X(RMW, rmw)									\
	X(LOAD_AGAIN, load_again)	/* a call that goes to one word again and again */ \
	X(STORE_AGAIN, store_again)							\
	X(RMW_AGAIN, rmw_again)

enum fperf_hw_primitive {
#define X(NAME, name) FPERF_HW_##NAME,
	FPERF_HW_PRIMITIVES(X)
#undef X
		FPERF_HW_NR_PRIMITIVES
};
extern const char *const fperf_hw_primitive_names[FPERF_HW_NR_PRIMITIVES + 1];

struct fperf_hw_arena;

/* Lines of 64 bytes, zeroed, on huge pages if the host gives them. */
int fperf_hw_arena_create(uint64_t nr_lines, struct fperf_hw_arena **ret) FPERF_MUST_CHECK;
void fperf_hw_arena_destroy(struct fperf_hw_arena *arena);
/* Drop its lines from all caches. */
void fperf_hw_arena_evict(struct fperf_hw_arena *arena);

/*
 * Runs of `run` accesses, the CPU done with one before it starts the next: to consecutive lines from visit[i] * run on, or to
 * line visit[i] * run alone. visit holds numbers below nr_lines / run, each once. A chase has runs of 1.
 */
int fperf_hw_measure(struct fperf_hw_arena *arena, enum fperf_hw_primitive primitive, const uint32_t *visit,
		     uint64_t nr_visits, uint32_t run, uint64_t *ns) FPERF_MUST_CHECK;

/* ---- kernel_fork.c: fork and exit of the running kernel ---- */
#define FPERF_HW_MEMORIES(X)								\
	X(PTE_THP,	"pte-thp")	/* huge folios under PTEs */			\
	X(ORDER0,	"order0")	/* touched in the order of addresses */		\
	X(ORDER0_RANDOM, "order0-random") /* touched in random order */			\
	X(PMD,		"pmd")

enum fperf_hw_memory {
#define X(NAME, name) FPERF_HW_MEMORY_##NAME,
	FPERF_HW_MEMORIES(X)
#undef X
		FPERF_HW_NR_MEMORIES
};
extern const char *const fperf_hw_memory_names[FPERF_HW_NR_MEMORIES + 1];

struct fperf_hw_forked {
	uint64_t fork_ns, exit_ns;
	uint64_t huge_bytes; /* what huge pages there were of the memory, as populated */
	uint64_t pmd_mapped_bytes; /* ... and still were under PMDs at the fork */
};

/*
 * A process with so much private anonymous memory (a multiple of 2 MiB), all of it written, forks; the child, which
 * touches nothing, is killed. FPERF_ERR(NO_MEMORY) if the process could not do so.
 */
int fperf_hw_fork(uint64_t bytes, enum fperf_hw_memory form, struct fperf_hw_forked *ret) FPERF_MUST_CHECK;

/* ---- threads.c: lines that several CPUs use ---- */
/* Threads, what they repeat on which folio, and what came of it; arrays with an element, or nr_calls, per thread. */
struct fperf_hw_crowd {
	const struct fperf_hw_call *calls;
	const uint32_t *cpus;
	const uint32_t *folios; /* numbers, as in a visit */
	uint32_t nr, nr_calls;
	uint64_t *operations, *ns;
};

/*
 * Threads repeat their calls at once for so long, natively, on folios of the place given. FPERF_ERR(ARGUMENT) if a call or a CPU
 * is not possible, or the back end is not native.
 */
int fperf_hw_contend(struct fperf_sim *sim, const struct fperf_hw_batch *place, const struct fperf_hw_crowd *crowd,
		     uint64_t duration_ns) FPERF_MUST_CHECK;

/*
 * Two CPUs write a line in turn, `rounds` times each: 2 x rounds transfers, but for one. The calling thread stays on `cpu`.
 * FPERF_ERR(ARGUMENT) if one of them must not run there.
 */
int fperf_hw_transfer(uint32_t cpu, uint32_t other, uint32_t rounds, uint64_t *ns) FPERF_MUST_CHECK;

/* ---- counters.c: hardware counters of the calling thread ---- */
/* A file descriptor, or a negative errno: user mode only, which needs no privilege where the host has counters at all. */
int fperf_hw_counter_open(uint32_t type, uint64_t config);
int fperf_hw_counter_read(int fd, uint64_t *value) FPERF_MUST_CHECK;
void fperf_hw_counter_close(int fd);

#endif
