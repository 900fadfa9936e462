/* SPDX-License-Identifier: BSD-3-Clause */
#include "cache/cache.h"

#include <string.h>

/* A way is line + 1 shifted by one, dirty in bit 0; 0 is an empty way. The ways of a set stand in LRU order. */
struct level {
	uint64_t *ways;
	uint64_t set_mask;
	uint32_t nr_ways;
	struct fperf_cache_counters count;
};

struct fperf_cache {
	struct level level[FPERF_CACHE_MAX_LEVELS];
	unsigned int nr_levels;
};

int fperf_cache_create(const struct fperf_cache_geometry *levels, unsigned int nr_levels, unsigned int line_shift,
		       struct fperf_cache **ret)
{
	struct fperf_cache *cache;

	if (!nr_levels || nr_levels > FPERF_CACHE_MAX_LEVELS)
		return FPERF_ERR(CACHE);
	for (unsigned int i = 0; i < nr_levels; i++) {
		const uint64_t lines = levels[i].size_bytes >> line_shift;
		const uint64_t ways = levels[i].nr_ways;

		if (!ways || ways > 4096 || !lines || lines << line_shift != levels[i].size_bytes || lines % ways ||
		    (lines / ways & (lines / ways - 1)) || lines > 1ull << 32)
			return FPERF_ERR(CACHE);
	}
	cache = calloc(1, sizeof(*cache));
	if (!cache)
		return FPERF_ERR(NO_MEMORY);
	cache->nr_levels = nr_levels;
	for (unsigned int i = 0; i < nr_levels; i++) {
		const uint64_t lines = levels[i].size_bytes >> line_shift;

		cache->level[i].nr_ways = levels[i].nr_ways;
		cache->level[i].set_mask = lines / levels[i].nr_ways - 1;
		cache->level[i].ways = calloc(lines, sizeof(uint64_t));
		if (!cache->level[i].ways) {
			fperf_cache_destroy(cache);
			return FPERF_ERR(NO_MEMORY);
		}
	}
	*ret = cache;
	return 0;
}

void fperf_cache_destroy(struct fperf_cache *cache)
{
	if (!cache)
		return;
	for (unsigned int i = 0; i < cache->nr_levels; i++)
		free(cache->level[i].ways);
	free(cache);
}

/*
 * Bring `line` to the front of its set. Returns whether it was there; *victim is the way that fell out of the set, or 0.
 */
static bool touch(struct level *level, uint64_t line, bool dirty, uint64_t *victim)
{
	uint64_t *const set = level->ways + (line & level->set_mask) * level->nr_ways;
	const uint64_t tag = (line + 1) << 1;
	uint64_t carried = tag | dirty;
	bool hit = false;

	*victim = 0;
	if ((set[0] & ~1ull) == tag) {
		set[0] |= dirty;
		return true;
	}
	for (uint32_t way = 0; way < level->nr_ways; way++) {
		const uint64_t here = set[way];

		set[way] = carried;
		carried = here;
		if ((here & ~1ull) == tag) {
			set[0] |= here & 1;
			hit = true;
			break;
		}
		if (!here)
			return false;
	}
	if (!hit)
		*victim = carried;
	return hit;
}

static void write_back(struct fperf_cache *cache, unsigned int below, uint64_t way)
{
	uint64_t victim;

	if (below == cache->nr_levels)
		return;
	cache->level[below].count.writebacks_in++;
	touch(&cache->level[below], (way >> 1) - 1, true, &victim);
	if (victim & 1) {
		cache->level[below].count.writebacks_out++;
		write_back(cache, below + 1, victim);
	}
}

static unsigned int fetch(struct fperf_cache *cache, unsigned int i, uint64_t line, bool write)
{
	struct level *const level = &cache->level[i];
	unsigned int served;
	uint64_t victim;

	if (i == cache->nr_levels)
		return i;
	level->count.fetches++;
	if (touch(level, line, write, &victim)) {
		level->count.hits++;
		return i;
	}
	level->count.misses++;
	served = fetch(cache, i + 1, line, false);
	if (victim & 1) {
		level->count.writebacks_out++;
		write_back(cache, i + 1, victim);
	}
	return served;
}

unsigned int fperf_cache_access(struct fperf_cache *cache, uint64_t line, bool write)
{
	return fetch(cache, 0, line, write);
}

void fperf_cache_again(struct fperf_cache *cache, uint64_t line, uint64_t nr, bool write)
{
	struct level *const level = &cache->level[0];

	level->count.fetches += nr;
	level->count.hits += nr;
	level->ways[(line & level->set_mask) * level->nr_ways] |= write;
}

unsigned int fperf_cache_nr_levels(const struct fperf_cache *cache)
{
	return cache->nr_levels;
}

struct fperf_cache_counters fperf_cache_counters(const struct fperf_cache *cache, unsigned int level)
{
	return cache->level[level].count;
}

uint64_t fperf_cache_occupancy(const struct fperf_cache *cache, unsigned int level, uint64_t first, uint64_t nr)
{
	const struct level *const l = &cache->level[level];
	const uint64_t nr_all = (l->set_mask + 1) * l->nr_ways;
	uint64_t held = 0;

	for (uint64_t i = 0; i < nr_all; i++)
		held += l->ways[i] && (l->ways[i] >> 1) - 1 - first < nr;
	return held;
}
