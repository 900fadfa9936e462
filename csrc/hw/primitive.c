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

	make_ring(arena, visit, nr);
	for (uint64_t i = 0; i < nr; i++)
		at = (const struct fperf_page *)(uintptr_t)__atomic_load_n(&at->word2, __ATOMIC_RELAXED);
	begin = fperf_hw_now();
	for (uint64_t i = 0; i < nr; i++)
		at = (const struct fperf_page *)(uintptr_t)__atomic_load_n(&at->word2, __ATOMIC_RELAXED);
	__asm__ volatile("" : : "r"(at));
	end = fperf_hw_now();
	return end - begin;
}

static int64_t load_run(const struct fperf_page *line, uint32_t run)
{
	int64_t sum = 0;

	for (uint32_t i = 0; i < run; i++)
		sum += __atomic_load_n(&line[i].mapcount, __ATOMIC_RELAXED);
	return sum;
}

static void store_run(struct fperf_page *line, uint32_t run)
{
	for (uint32_t i = 0; i < run; i++)
		__atomic_store_n(&line[i].mapcount, 0, __ATOMIC_RELAXED);
}

static int64_t rmw_run(struct fperf_page *line, uint32_t run)
{
	int64_t sum = 0;

	for (uint32_t i = 0; i < run; i++)
		sum += __atomic_fetch_add(&line[i].mapcount, 1, __ATOMIC_SEQ_CST);
	return sum;
}

/*
 * The locked word orders what stands between: a store has left the store buffer when the next lock is taken. Runs stand
 * between such words too, as a hook's do.
 */
static uint64_t runs(struct fperf_hw_arena *arena, enum fperf_hw_primitive primitive, const uint32_t *visit,
		     uint64_t nr, uint32_t run)
{
	struct fperf_hw_lock lock = { 0 };
	uint64_t begin, end;
	int64_t sum = 0;

	begin = fperf_hw_now();
	for (uint64_t i = 0; i < nr; i++) {
		struct fperf_page *const line = &arena->lines[(uint64_t)visit[i] * run];

		fperf_hw_lock_take(&lock);
		switch (primitive) {
		case FPERF_HW_LOAD_STREAMING:
			sum += load_run(line, run);
			break;
		case FPERF_HW_STORE_DEPENDENT:
		case FPERF_HW_STORE_STREAMING:
			store_run(line, run);
			break;
		case FPERF_HW_RMW_DEPENDENT:
		case FPERF_HW_RMW_STREAMING:
			sum += rmw_run(line, run);
			break;
		case FPERF_HW_LOCK:
		case FPERF_HW_LOAD_DEPENDENT:
		case FPERF_HW_NR_PRIMITIVES:
			break;
		}
		fperf_hw_lock_release(&lock);
	}
	__asm__ volatile("" : : "r"(sum));
	end = fperf_hw_now();
	return end - begin;
}

int fperf_hw_measure(struct fperf_hw_arena *arena, enum fperf_hw_primitive primitive, const uint32_t *visit,
		     uint64_t nr_visits, uint32_t run, uint64_t *ns)
{
	const bool streams = primitive == FPERF_HW_LOAD_STREAMING || primitive == FPERF_HW_STORE_STREAMING ||
			     primitive == FPERF_HW_RMW_STREAMING;

	if (primitive >= FPERF_HW_NR_PRIMITIVES || !nr_visits || !run || (run != 1 && !streams))
		return FPERF_ERR(ARGUMENT);
	for (uint64_t i = 0; i < nr_visits; i++)
		if (((uint64_t)visit[i] + 1) * run > arena->nr_lines)
			return FPERF_ERR(ARGUMENT);
	*ns = primitive == FPERF_HW_LOAD_DEPENDENT ? chase(arena, visit, nr_visits) :
						     runs(arena, primitive, visit, nr_visits, run);
	return 0;
}
