/* SPDX-License-Identifier: BSD-3-Clause */
/* Threads that repeat calls of hooks on the same folios, or on neighbouring ones, for a while. */
#define FPERF_BACKEND_NATIVE

#include "hw/call_inl.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

/* Each on lines of its own. */
struct start {
	_Alignas(128) uint32_t ready;
	_Alignas(128) uint32_t go;
	_Alignas(128) uint32_t stop;
};

struct contender {
	_Alignas(128) pthread_t id;
	struct fperf_sim *sim;
	struct start *start;
	uint32_t cpu, nr_calls;
	struct prepared prepared[FPERF_HW_MAX_CALLS];
	uint64_t operations, ns;
	int err;
};

/* The flag is looked at once in a while, so that its line costs nothing. */
enum { BETWEEN_LOOKS = 32 };

static void *contend(void *arg)
{
	struct contender *const me = arg;
	bool (*const volatile empty)(struct fperf_sim *, const struct fperf_run *) = empty_hook;
	uint64_t begin, operations = 0;

	me->err = fperf_hw_pin(me->cpu);
	__atomic_add_fetch(&me->start->ready, 1, __ATOMIC_SEQ_CST);
	while (!__atomic_load_n(&me->start->go, __ATOMIC_ACQUIRE))
		;
	begin = fperf_hw_now();
	while (!__atomic_load_n(&me->start->stop, __ATOMIC_RELAXED)) {
		for (unsigned int i = 0; i < BETWEEN_LOOKS; i++)
			for (uint32_t j = 0; j < me->nr_calls; j++)
				make(me->sim, &me->prepared[j], &empty);
		operations += BETWEEN_LOOKS;
	}
	me->ns = fperf_hw_now() - begin;
	me->operations = operations;
	return NULL;
}

static int prepare_all(struct contender *one, const struct fperf_hw_batch *place, const struct fperf_hw_call *calls,
		       uint32_t folio)
{
	const uint64_t at = (uint64_t)folio << place->order;

	for (uint32_t i = 0; i < one->nr_calls; i++) {
		struct prepared *const p = &one->prepared[i];

		if (!prepare(one->sim, place, &calls[i], p))
			return FPERF_ERR(NOT_MAPPED);
		p->run.folio = p->query.folio = place->folio + at;
		p->run.vpn = place->vpn + at + p->run.first;
	}
	return 0;
}

static void wait_ns(uint64_t ns)
{
	struct timespec left = { .tv_sec = (time_t)(ns / 1000000000u), .tv_nsec = (long)(ns % 1000000000u) };

	while (nanosleep(&left, &left))
		;
}

/* Start as many as can be, let them run if that is all, and wait for their end. */
static int run_all(struct contender *all, uint32_t nr, struct start *start, uint64_t duration_ns)
{
	uint32_t started = 0;
	int err = 0;

	while (started < nr && !pthread_create(&all[started].id, NULL, contend, &all[started]))
		started++;
	while (__atomic_load_n(&start->ready, __ATOMIC_ACQUIRE) < started)
		wait_ns(10000);
	__atomic_store_n(&start->go, 1, __ATOMIC_RELEASE);
	if (started == nr)
		wait_ns(duration_ns);
	else
		err = FPERF_ERR(NO_MEMORY);
	__atomic_store_n(&start->stop, 1, __ATOMIC_RELEASE);
	for (uint32_t i = 0; i < started; i++) {
		pthread_join(all[i].id, NULL);
		if (!err)
			err = all[i].err;
	}
	return err;
}

int fperf_hw_contend_native(struct fperf_sim *sim, const struct fperf_hw_batch *place,
			    const struct fperf_hw_crowd *crowd, uint64_t duration_ns)
{
	struct contender *const all = aligned_alloc(128, crowd->nr * sizeof(*all));
	struct start start = { 0 };
	int err = 0;

	if (!all)
		return FPERF_ERR(NO_MEMORY);
	for (uint32_t i = 0; i < crowd->nr && !err; i++) {
		all[i] = (struct contender){
			.sim = sim, .start = &start, .cpu = crowd->cpus[i], .nr_calls = crowd->nr_calls
		};
		err = prepare_all(&all[i], place, &crowd->calls[(size_t)i * crowd->nr_calls], crowd->folios[i]);
	}
	if (!err) {
		sim->bare = true;
		err = run_all(all, crowd->nr, &start, duration_ns);
		sim->bare = false;
	}
	for (uint32_t i = 0; i < crowd->nr && !err; i++) {
		crowd->operations[i] = all[i].operations;
		crowd->ns[i] = all[i].ns;
	}
	free(all);
	return err;
}
