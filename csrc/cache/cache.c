/* SPDX-License-Identifier: BSD-3-Clause */
#include "cache/cache_inl.h"

#include <string.h>
#include <sys/mman.h>

static int check(const struct fperf_cache_geometry *levels, unsigned int nr_levels, unsigned int line_shift)
{
	if (!nr_levels || nr_levels > FPERF_CACHE_MAX_LEVELS)
		return FPERF_ERR(CACHE);
	for (unsigned int i = 0; i < nr_levels; i++) {
		const uint64_t lines = levels[i].size_bytes >> line_shift;
		const uint64_t ways = levels[i].nr_ways;

		if (!ways || ways > 4096 || !lines || lines << line_shift != levels[i].size_bytes || lines % ways ||
		    (lines / ways & (lines / ways - 1)) || lines > 1ull << 32)
			return FPERF_ERR(CACHE);
	}
	return 0;
}

static const size_t HUGE_PAGE = 2u << 20;

static size_t nr_groups(const struct fperf_cache_level *level)
{
	return (level->set_mask >> FPERF_GROUP_SHIFT) + 1;
}

/* All sets of all levels in one piece, zeroed by the host as it is used, in huge pages if it gives any. */
static bool make_grouped(struct fperf_cache *cache)
{
	struct fperf_lru_set *next;

	cache->nr_bytes = HUGE_PAGE;
	for (unsigned int i = 0; i < cache->nr_levels; i++)
		cache->nr_bytes += (nr_groups(&cache->level[i]) + cache->level[i].set_mask + 1) * sizeof(*next);
	cache->memory = mmap(NULL, cache->nr_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (cache->memory == MAP_FAILED) {
		cache->memory = NULL;
		return false;
	}
	(void)madvise(cache->memory, cache->nr_bytes, MADV_HUGEPAGE);
	next = (void *)(((uintptr_t)cache->memory + HUGE_PAGE - 1) & ~(uintptr_t)(HUGE_PAGE - 1));
	for (unsigned int i = 0; i < cache->nr_levels; i++) {
		struct fperf_cache_level *const level = &cache->level[i];

		level->common = next;
		level->sets = next += nr_groups(level);
		next += level->set_mask + 1;
		level->apart = malloc(nr_groups(level));
		if (!level->apart)
			return false;
		memset(level->apart, cache->has_groups ? 0 : FPERF_GROUP_ALL, nr_groups(level));
	}
	return true;
}

static void drop_grouped(struct fperf_cache *cache)
{
	for (unsigned int i = 0; i < cache->nr_levels; i++) {
		free(cache->level[i].apart);
		cache->level[i].apart = NULL;
	}
	if (cache->memory)
		munmap(cache->memory, cache->nr_bytes);
	cache->memory = NULL;
}

static bool make_plain(struct fperf_cache *cache)
{
	for (unsigned int i = 0; i < cache->nr_levels; i++) {
		struct fperf_cache_level *const level = &cache->level[i];

		level->ways = calloc((level->set_mask + 1) * level->nr_ways, sizeof(*level->ways));
		if (!level->ways)
			return false;
	}
	return true;
}

int fperf_cache_create(const struct fperf_cache_geometry *levels, unsigned int nr_levels, unsigned int line_shift,
		       struct fperf_cache **ret)
{
	struct fperf_cache *cache;
	enum fperf_simd simd;
	int err = check(levels, nr_levels, line_shift);

	if (!err)
		err = fperf_simd_choose(&simd);
	if (err)
		return err;
	cache = calloc(1, sizeof(*cache));
	if (!cache)
		return FPERF_ERR(NO_MEMORY);
	cache->nr_levels = nr_levels;
	cache->form = &fperf_cache_forms[simd];
	cache->end = FPERF_LRU_MAX_LINES;
	cache->has_groups = true;
	for (unsigned int i = 0; i < nr_levels; i++) {
		struct fperf_cache_level *const level = &cache->level[i];

		level->nr_ways = levels[i].nr_ways;
		level->set_mask = (levels[i].size_bytes >> line_shift) / levels[i].nr_ways - 1;
		level->group_mask = (uint32_t)(level->set_mask >> FPERF_GROUP_SHIFT);
		if (!i || level->group_mask < cache->least_groups)
			cache->least_groups = level->group_mask;
		if (level->nr_ways > FPERF_LRU_MAX_WAYS)
			cache->end = 0;
		if (level->set_mask + 1 < FPERF_GROUP_LINES)
			cache->has_groups = false;
	}
	if (!(cache->end ? make_grouped(cache) : make_plain(cache))) {
		fperf_cache_destroy(cache);
		return FPERF_ERR(NO_MEMORY);
	}
	*ret = cache;
	return 0;
}

void fperf_cache_destroy(struct fperf_cache *cache)
{
	if (!cache)
		return;
	drop_grouped(cache);
	for (unsigned int i = 0; i < cache->nr_levels; i++)
		free(cache->level[i].ways);
	free(cache);
}

/* A line came that `grouped` cannot hold: go on with the same contents in `plain`. */
static void become_plain(struct fperf_cache *cache)
{
	/* As much memory as the arena the lines are from; whoever has that has this. */
	FPERF_BUG_ON(!make_plain(cache));
	for (unsigned int i = 0; i < cache->nr_levels; i++) {
		struct fperf_cache_level *const level = &cache->level[i];
		uint64_t *way = level->ways;

		for (uint64_t set = 0; set <= level->set_mask; set++)
			for (uint32_t j = 0; j < level->nr_ways; j++, way++) {
				uint32_t dirty;
				const uint64_t line = fperf_cache_line_in(level, set, j, &dirty);

				*way = line << 1 | dirty;
			}
	}
	drop_grouped(cache);
	cache->end = 0;
}

unsigned int fperf_cache_access(struct fperf_cache *cache, uint64_t line, bool write)
{
	if (line < cache->end)
		return cache->form->access(cache, fperf_lru_entry((uint32_t)line, write));
	if (cache->end)
		become_plain(cache);
	return fperf_cache_plain_access(cache, line, write);
}

void fperf_cache_run(struct fperf_cache *cache, uint64_t first, uint64_t nr, bool write,
		     struct fperf_cache_served *served)
{
	const uint64_t end = first + nr;

	served->first_lane = 1u << (first & (FPERF_GROUP_LINES - 1));
	while (first < end) {
		const uint32_t lane = first & (FPERF_GROUP_LINES - 1);
		const uint64_t left = end - first, nr_runs = left >> FPERF_GROUP_SHIFT;

		if (end > cache->end || !cache->has_groups) {
			const unsigned int level = fperf_cache_access(cache, first++, write);

			served->nr[level]++;
			if (served->first_lane)
				served->first = level;
			served->first_lane = 0;
		} else if (lane || !nr_runs) {
			const uint32_t some =
				left < FPERF_GROUP_LINES - lane ? (uint32_t)left : FPERF_GROUP_LINES - lane;

			cache->form->access_lanes(cache, (uint32_t)(first >> FPERF_GROUP_SHIFT),
						  ((1u << some) - 1) << lane, write, served);
			first += some;
		} else {
			cache->form->access_runs(cache, (uint32_t)(first >> FPERF_GROUP_SHIFT), (uint32_t)nr_runs,
						 write, served);
			first += nr_runs << FPERF_GROUP_SHIFT;
		}
	}
}

void fperf_cache_again(struct fperf_cache *cache, uint64_t line, uint64_t nr, bool write)
{
	if (!nr)
		return;
	fperf_cache_access(cache, line, write);
	cache->sure_hits += nr - 1;
}

uint64_t *fperf_cache_sure_hits(struct fperf_cache *cache)
{
	return &cache->sure_hits;
}

uint32_t fperf_cache_lines_apart(const struct fperf_cache *cache)
{
	return cache->has_groups ? FPERF_GROUP_LINES : 1;
}

bool fperf_cache_are_apart(const struct fperf_cache *cache, uint64_t line, uint64_t other)
{
	return cache->has_groups && cache->level[0].nr_ways > 1 &&
	       (line ^ other) >> FPERF_GROUP_SHIFT & cache->least_groups;
}

void fperf_cache_prefetch(const struct fperf_cache *cache, uint64_t line)
{
	if (line >= cache->end)
		return;
	/* The first level's sets are few. */
	for (unsigned int i = 1; i < cache->nr_levels; i++)
		__builtin_prefetch(&cache->level[i].sets[line & cache->level[i].set_mask], 1);
}

unsigned int fperf_cache_nr_levels(const struct fperf_cache *cache)
{
	return cache->nr_levels;
}

struct fperf_cache_counters fperf_cache_counters(const struct fperf_cache *cache, unsigned int level)
{
	struct fperf_cache_counters count = {
		.hits = cache->level[level].hits + (level ? 0 : cache->sure_hits),
		.misses = cache->memory_fetches,
		.writebacks_in = level ? cache->level[level - 1].writebacks_out : 0,
		.writebacks_out = cache->level[level].writebacks_out,
	};

	for (unsigned int below = level + 1; below < cache->nr_levels; below++)
		count.misses += cache->level[below].hits;
	count.fetches = count.hits + count.misses;
	return count;
}

uint64_t fperf_cache_occupancy(const struct fperf_cache *cache, unsigned int level, uint64_t first, uint64_t nr)
{
	const struct fperf_cache_level *const l = &cache->level[level];
	uint64_t held = 0;

	for (uint64_t set = 0; set <= l->set_mask; set++)
		for (uint32_t way = 0; way < l->nr_ways; way++) {
			if (cache->end) {
				uint32_t dirty;
				const uint64_t line = fperf_cache_line_in(l, set, way, &dirty);

				held += line && line - 1 - first < nr;
			} else {
				const uint64_t entry = l->ways[set * l->nr_ways + way];

				held += entry && (entry >> 1) - 1 - first < nr;
			}
		}
	return held;
}
