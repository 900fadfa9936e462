/* SPDX-License-Identifier: BSD-3-Clause */
/* Hooks of several CPUs at once, on one folio, with real atomics. Page-table locks order those of one VMA only. */
#include "tests/machine.h"

#include <pthread.h>
#include <stdatomic.h>

#include "engine/backend.h"
#include "memmap/memmap.h"

enum { NR_THREADS = 4, NR_ROUNDS = 500, NR_FOLIOS = 128, FIRST_FOLIO = 64, PATIENCE = 500 };

struct team {
	pthread_barrier_t begin, end; /* of a round */
	bool stop;
	atomic_uint arrived[NR_FOLIOS]; /* threads that have come to a folio in this round */
	const struct fperf_rmap_op *ops[NR_THREADS];
};

struct member {
	pthread_t thread;
	struct fperf_sim sim; /* a CPU's own; the struct pages are shared */
	struct team *team;
	unsigned int number;
};

static const int64_t NOT_PRESENT[4];

/* Who comes first waits for a second, but not for long: threads may be more than CPUs. */
static void meet(atomic_uint *arrived)
{
	const unsigned int mine = atomic_fetch_add(arrived, 1) + 1;

	for (int i = 0; mine % 2 && i < PATIENCE && atomic_load(arrived) == mine; i++)
		;
}

static void *member_main(void *arg)
{
	struct member *const me = arg;

	for (;;) {
		pthread_barrier_wait(&me->team->begin);
		if (me->team->stop)
			return NULL;
		for (unsigned int i = 0; i < NR_FOLIOS; i++) {
			struct fperf_rmap_op op = *me->team->ops[me->number];

			op.folio += i;
			meet(&me->team->arrived[i]);
			fperf_backend_native.replay(&me->sim, &op, NOT_PRESENT);
		}
		pthread_barrier_wait(&me->team->end);
	}
}

static struct fperf_rmap_op call(enum fperf_rmap_hook hook)
{
	return (struct fperf_rmap_op){
		.hook = (uint16_t)hook, .folio = FIRST_FOLIO, .nr = 1, .batched = 1, .refs_batched = 1
	};
}

static void replay(struct fperf_sim *sim, enum fperf_rmap_hook hook, uint64_t folio)
{
	struct fperf_rmap_op op = call(hook);

	op.folio = folio;
	fperf_backend_native.replay(sim, &op, NOT_PRESENT);
}

/*
 * Each round starts with `mapped` VMAs; then the threads make their calls at the same time. Count and references must end as
 * if one had come after the other: in one of the states `lowest` to `highest`, with as many references due to mappings.
 */
static bool run_round(struct fperf_sim *sim, struct team *team, uint32_t mapped, int32_t lowest, int32_t highest)
{
	int32_t own[NR_FOLIOS];
	bool good = true;

	for (uint64_t i = 0; i < NR_FOLIOS; i++) {
		replay(sim, FPERF_HOOK_FOLIO_INIT, FIRST_FOLIO + i);
		own[i] = fperf_pfn_page(&sim->mem, FIRST_FOLIO + i)->refcount;
		for (uint32_t vma = 0; vma < mapped; vma++)
			replay(sim, FPERF_HOOK_MAP_RUN, FIRST_FOLIO + i);
		atomic_store(&team->arrived[i], 0);
	}
	pthread_barrier_wait(&team->begin);
	pthread_barrier_wait(&team->end);
	for (uint64_t i = 0; i < NR_FOLIOS && good; i++) {
		const struct fperf_page *const page = fperf_pfn_page(&sim->mem, FIRST_FOLIO + i);

		good = page->mapcount >= lowest && page->mapcount <= highest &&
		       page->refcount - own[i] == page->mapcount;
		if (!good)
			printf("the word is %d, mappings own %d references\n", page->mapcount, page->refcount - own[i]);
	}
	return good;
}

static bool run_rounds(uint32_t mapped, const struct fperf_rmap_op *const ops[NR_THREADS], int32_t lowest,
		       int32_t highest)
{
	struct fperf_config config = small_machine();
	struct member members[NR_THREADS];
	struct team team = { 0 };
	struct fperf_sim *sim;
	bool good = true;

	config.backend = FPERF_BACKEND_ID_NATIVE;
	config.scheme = scheme_number("zero_one_two_many");
	config.truth = 0;
	ASSERT_OK(fperf_sim_create(&config, &sim));
	memcpy(team.ops, ops, sizeof(team.ops));
	ASSERT_OK(pthread_barrier_init(&team.begin, NULL, NR_THREADS + 1));
	ASSERT_OK(pthread_barrier_init(&team.end, NULL, NR_THREADS + 1));
	for (unsigned int i = 0; i < NR_THREADS; i++) {
		members[i] = (struct member){ .sim = *sim, .team = &team, .number = i };
		ASSERT_OK(pthread_create(&members[i].thread, NULL, member_main, &members[i]));
	}
	for (unsigned int round = 0; round < NR_ROUNDS && good; round++)
		good = run_round(sim, &team, mapped, lowest, highest);
	team.stop = true;
	pthread_barrier_wait(&team.begin);
	for (unsigned int i = 0; i < NR_THREADS; i++)
		pthread_join(members[i].thread, NULL);
	pthread_barrier_destroy(&team.begin);
	pthread_barrier_destroy(&team.end);
	fperf_sim_destroy(sim);
	return good;
}

static bool test_four_mappers_at_once_stop_at_many(void)
{
	const struct fperf_rmap_op map = call(FPERF_HOOK_FORK_RUN);
	const struct fperf_rmap_op *const ops[NR_THREADS] = { &map, &map, &map, &map };

	return run_rounds(0, ops, 3, 3);
}

/* Two leave while two come: from Two, Many is reached or not, and who leaves at Many changes nothing. */
static bool test_nobody_leaves_many_by_unmapping(void)
{
	const struct fperf_rmap_op map = call(FPERF_HOOK_FORK_RUN), unmap = call(FPERF_HOOK_UNMAP_RUN);
	const struct fperf_rmap_op *const ops[NR_THREADS] = { &map, &unmap, &map, &unmap };

	return run_rounds(2, ops, 2, 3);
}

int main(void)
{
	TEST(four_mappers_at_once_stop_at_many);
	TEST(nobody_leaves_many_by_unmapping);
	return TEST_END();
}
