/* SPDX-License-Identifier: BSD-3-Clause */
/* Any number of ways, any line: entries of 64 bits, searched one by one. */
#include "cache/cache_inl.h"

/*
 * Bring `line` to the front of its set. Returns whether it was there; *victim is the way that fell out of the set, or 0.
 */
static bool touch(struct fperf_cache_level *level, uint64_t line, bool dirty, uint64_t *victim)
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
	touch(&cache->level[below], (way >> 1) - 1, true, &victim);
	if (victim & 1) {
		cache->level[below].writebacks_out++;
		write_back(cache, below + 1, victim);
	}
}

static unsigned int fetch(struct fperf_cache *cache, unsigned int i, uint64_t line, bool write)
{
	struct fperf_cache_level *const level = &cache->level[i];
	unsigned int served;
	uint64_t victim;

	if (i == cache->nr_levels) {
		cache->memory_fetches++;
		return i;
	}
	if (touch(level, line, write, &victim)) {
		level->hits++;
		return i;
	}
	served = fetch(cache, i + 1, line, false);
	if (victim & 1) {
		level->writebacks_out++;
		write_back(cache, i + 1, victim);
	}
	return served;
}

unsigned int fperf_cache_plain_access(struct fperf_cache *cache, uint64_t line, bool write)
{
	return fetch(cache, 0, line, write);
}
