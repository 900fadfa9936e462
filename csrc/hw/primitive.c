/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Single accesses to the lines of an arena, timed in a pass. A line has the size and the alignment of a struct page, and an
 * access touches the word where its mapcount is.
 */
#include "hw/hw.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "hw/pass.h"

const char *const fperf_hw_primitive_names[FPERF_HW_NR_PRIMITIVES + 1] = {
#define X(NAME, name) #name,
	FPERF_HW_PRIMITIVES(X)
#undef X
};

struct fperf_hw_arena {
	struct fperf_page *lines;
	uint64_t nr_lines, bytes;
	char *mapping;
	uint64_t mapped;
};

int fperf_hw_arena_create(uint64_t nr_lines, struct fperf_hw_arena **ret)
{
	const uint64_t huge = 2u << 20;
	struct fperf_hw_arena *const arena = calloc(1, sizeof(*arena));

	if (!arena)
		return FPERF_ERR(NO_MEMORY);
	if (!nr_lines || nr_lines > 1ull << 32) {
		free(arena);
		return FPERF_ERR(ARGUMENT);
	}
	arena->nr_lines = nr_lines;
	arena->bytes = nr_lines * sizeof(*arena->lines);
	arena->mapped = arena->bytes + huge;
	arena->mapping = mmap(NULL, arena->mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (arena->mapping == MAP_FAILED) {
		free(arena);
		return FPERF_ERR(NO_MEMORY);
	}
	arena->lines = (struct fperf_page *)(((uintptr_t)arena->mapping + huge - 1) & ~(uintptr_t)(huge - 1));
	madvise(arena->lines, arena->bytes,
		MADV_HUGEPAGE); /* a host without them is slower, and says so in its facts */
	memset(arena->lines, 0, arena->bytes);
	*ret = arena;
	return 0;
}

void fperf_hw_arena_destroy(struct fperf_hw_arena *arena)
{
	if (!arena)
		return;
	munmap(arena->mapping, arena->mapped);
	free(arena);
}

void fperf_hw_arena_evict(struct fperf_hw_arena *arena)
{
	fperf_hw_evict(arena->lines, arena->bytes);
}

/* The lines of visit[] become one ring of pointers. */
static void make_ring(struct fperf_hw_arena *arena, const uint32_t *visit, uint64_t nr)
{
	for (uint64_t i = 0; i < nr; i++)
		arena->lines[visit[i]].word2 = (uint64_t)(uintptr_t)&arena->lines[visit[(i + 1) % nr]];
}

static uint64_t chase(struct fperf_hw_arena *arena, const uint32_t *visit, uint64_t nr)
{
	const struct fperf_page *at = &arena->lines[visit[0]];
	uint64_t begin, end;

	/* The ring stands since the pass before, unless this is the first, which warms up. */
	if (at->word2 != (uint64_t)(uintptr_t)&arena->lines[visit[1 % nr]])
		make_ring(arena, visit, nr);
	begin = fperf_hw_now();
	for (uint64_t i = 0; i < nr; i++)
		at = (const struct fperf_page *)(uintptr_t)__atomic_load_n(&at->word2, __ATOMIC_RELAXED);
	__asm__ volatile("" : : "r"(at));
	end = fperf_hw_now();
	return end - begin;
}

/* What a run is about, in memory as a hook's arguments are. */
struct run {
	struct fperf_page *line;
	uint32_t nr;
};

/*
 * Runs are made as hooks are: by a call through a pointer, with arguments that were just written, which a locked instruction
 * waits for. `step` is lines from one access to the next.
 */
static inline int64_t make_run(const struct run *run, enum fperf_hw_primitive primitive, uint32_t step)
{
	struct fperf_page *line = run->line;
	int64_t sum = 0;

	__asm__ volatile("" : "+r"(line));
	for (uint32_t i = 0; i < run->nr; i++) {
		int32_t *const word = &line[i * step].mapcount;

		if (primitive == FPERF_HW_LOAD)
			sum += __atomic_load_n(word, __ATOMIC_RELAXED);
		else if (primitive == FPERF_HW_STORE)
			__atomic_store_n(word, 0, __ATOMIC_RELAXED);
		else if (primitive == FPERF_HW_RMW)
			sum += !__atomic_add_fetch(word, 1, __ATOMIC_SEQ_CST);
		else
			break;
	}
	return sum;
}

static int64_t hook(const struct run *run)
{
	return make_run(run, FPERF_HW_HOOK, 0);
}

static int64_t load(const struct run *run)
{
	return make_run(run, FPERF_HW_LOAD, 1);
}

static int64_t store(const struct run *run)
{
	return make_run(run, FPERF_HW_STORE, 1);
}

static int64_t rmw(const struct run *run)
{
	return make_run(run, FPERF_HW_RMW, 1);
}

static int64_t load_again(const struct run *run)
{
	return make_run(run, FPERF_HW_LOAD, 0);
}

static int64_t store_again(const struct run *run)
{
	return make_run(run, FPERF_HW_STORE, 0);
}

static int64_t rmw_again(const struct run *run)
{
	return make_run(run, FPERF_HW_RMW, 0);
}

static int64_t (*const as_hook[FPERF_HW_NR_PRIMITIVES])(const struct run *) = {
	[FPERF_HW_HOOK] = hook,
	[FPERF_HW_LOAD] = load,
	[FPERF_HW_STORE] = store,
	[FPERF_HW_RMW] = rmw,
	[FPERF_HW_LOAD_AGAIN] = load_again,
	[FPERF_HW_STORE_AGAIN] = store_again,
	[FPERF_HW_RMW_AGAIN] = rmw_again,
};

static uint64_t runs(struct fperf_hw_arena *arena, enum fperf_hw_primitive primitive, const uint32_t *visit,
		     uint64_t nr, uint32_t run_nr)
{
	int64_t (*const volatile make)(const struct run *) = as_hook[primitive];
	struct run run = { .nr = run_nr };
	uint64_t begin, end;
	int64_t sum = 0;

	begin = fperf_hw_now();
	for (uint64_t i = 0; i < nr; i++) {
		run.line = &arena->lines[(uint64_t)visit[i] * run_nr];
		__asm__ volatile("" : : "r"(&run) : "memory");
		if (primitive != FPERF_HW_FRAME)
			sum += make(&run);
		fperf_hw_serialise();
	}
	__asm__ volatile("" : : "r"(sum));
	end = fperf_hw_now();
	return end - begin;
}

int fperf_hw_measure(struct fperf_hw_arena *arena, enum fperf_hw_primitive primitive, const uint32_t *visit,
		     uint64_t nr_visits, uint32_t run, uint64_t *ns)
{
	if (primitive >= FPERF_HW_NR_PRIMITIVES || !nr_visits || !run || (primitive == FPERF_HW_CHASE && run != 1))
		return FPERF_ERR(ARGUMENT);
	for (uint64_t i = 0; i < nr_visits; i++)
		if (((uint64_t)visit[i] + 1) * run > arena->nr_lines)
			return FPERF_ERR(ARGUMENT);
	*ns = primitive == FPERF_HW_CHASE ? chase(arena, visit, nr_visits) :
					    runs(arena, primitive, visit, nr_visits, run);
	return 0;
}
