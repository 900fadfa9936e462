/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The grouped engine, once per form of vector instructions: FORM(name) and TARGET are given by cache_grouped.c, which
 * includes this file once for each. No include guard.
 *
 * Lines of a run, and what their sets push out, meet in no set of any level, since they differ in their lowest bits. So all
 * lines of a run may be fetched before what they push out is written back, though each by itself does both in turn.
 */

#include "cache/cache_inl.h"

#if defined(FORM)

/* What the common sets hold, as the set number `lane` of the group would hold it. */
TARGET static inline void FORM(of_lane)(const struct fperf_lru_set *common, uint32_t lane, struct fperf_lru_set *set)
{
	for (uint32_t way = 0; way < FPERF_LRU_MAX_WAYS; way++) {
		const uint32_t run = common->way[way], state = run & (FPERF_LRU_VALID | FPERF_LRU_DIRTY);

		set->way[way] = ((run ^ state) << FPERF_GROUP_SHIFT | lane << FPERF_LRU_LINE_SHIFT | state) &
				-(uint32_t)(run != 0);
	}
}

/* Some of the common sets go their own way. */
TARGET static inline void FORM(part)(struct fperf_cache_level *level, uint32_t group, uint32_t lanes)
{
	level->apart[group] |= (uint8_t)lanes;
	for (; lanes; lanes &= lanes - 1) {
		const uint32_t lane = (uint32_t)__builtin_ctz(lanes);

		FORM(of_lane)(&level->common[group], lane, &level->sets[(size_t)group << FPERF_GROUP_SHIFT | lane]);
	}
}

/* Those that hold what the common ones do are common again. */
TARGET static inline void FORM(join)(struct fperf_cache_level *level, uint32_t group, uint32_t lanes)
{
	const uint32_t oldest = level->nr_ways - 1, before = level->common[group].way[oldest];

	for (; lanes; lanes &= lanes - 1) {
		const uint32_t lane = (uint32_t)__builtin_ctz(lanes);
		const struct fperf_lru_set *const set = &level->sets[(size_t)group << FPERF_GROUP_SHIFT | lane];
		struct fperf_lru_set common;
		uint32_t differ = 0;

		/* What most often differs, before all else. */
		if (set->way[oldest] >> (FPERF_LRU_LINE_SHIFT + FPERF_GROUP_SHIFT) != before >> FPERF_LRU_LINE_SHIFT)
			continue;
		FORM(of_lane)(&level->common[group], lane, &common);
		for (uint32_t way = 0; way < FPERF_LRU_MAX_WAYS; way++)
			differ |= common.way[way] ^ set->way[way];
		if (!differ)
			level->apart[group] &= (uint8_t)~(1u << lane);
	}
}

/* All eight sets are apart and have just been visited by one run: if the second is as the first, go by that one. */
TARGET static inline void FORM(join_anew)(struct fperf_cache_level *level, uint32_t group)
{
	const struct fperf_lru_set *const first = &level->sets[(size_t)group << FPERF_GROUP_SHIFT];
	const uint32_t oldest = level->nr_ways - 1, apart_by = first->way[oldest] ? 1u << FPERF_LRU_LINE_SHIFT : 0;

	if ((first[1].way[oldest] ^ first[0].way[oldest]) != apart_by)
		return;
	for (uint32_t way = 0; way < FPERF_LRU_MAX_WAYS; way++) {
		const uint32_t here = first->way[way], state = here & (FPERF_LRU_VALID | FPERF_LRU_DIRTY);

		level->common[group].way[way] = (here ^ state) >> FPERF_GROUP_SHIFT | state;
	}
	FORM(join)(level, group, FPERF_GROUP_ALL);
}

/* ---- single lines: entries are of lines ---- */

TARGET static inline struct fperf_lru_touch FORM(touch)(struct fperf_cache_level *level, uint32_t entry)
{
	const uint32_t line = fperf_lru_line(entry), group = line >> FPERF_GROUP_SHIFT & level->group_mask;
	const uint32_t lane = 1u << (line & (FPERF_GROUP_LINES - 1));
	struct fperf_lru_set *const set = &level->sets[line & level->set_mask];

	if (!(level->apart[group] & lane)) {
		const struct fperf_lru_set *const common = &level->common[group];
		const uint32_t run = fperf_lru_entry(line >> FPERF_GROUP_SHIFT, entry & FPERF_LRU_DIRTY);

		/* Nothing would change. */
		if (fperf_lru_is_youngest(common, run) && !(run & ~common->way[0]))
			return (struct fperf_lru_touch){ .hit = 1 };
		FORM(part)(level, group, lane);
	} else if (fperf_lru_is_youngest(set, entry)) {
		fperf_lru_again(set, entry);
		return (struct fperf_lru_touch){ .hit = 1 };
	}
	return FORM(fperf_lru_touch)(set, level->nr_ways, entry);
}

/* A dirty line arrives at level i, and what it pushes out at the next. */
TARGET static void FORM(write_back)(struct fperf_cache *cache, unsigned int i, uint32_t entry)
{
	for (; i < cache->nr_levels; i++) {
		struct fperf_cache_level *const level = &cache->level[i];

		entry = FORM(touch)(level, entry).victim;
		if (!(entry & FPERF_LRU_DIRTY))
			return;
		level->writebacks_out++;
	}
}

/* A line that the levels above missed is fetched from level i down; then the victims go down, the lowest first. */
TARGET static __attribute__((noinline)) unsigned int FORM(fetch)(struct fperf_cache *cache, unsigned int i,
								 uint32_t entry)
{
	const unsigned int from = i;
	uint32_t victim[FPERF_CACHE_MAX_LEVELS];
	unsigned int served;

	for (unsigned int j = i + 1; j < cache->nr_levels; j++)
		__builtin_prefetch(&cache->level[j].sets[fperf_lru_line(entry) & cache->level[j].set_mask], 1);
	for (; i < cache->nr_levels; i++) {
		const struct fperf_lru_touch touch = FORM(touch)(&cache->level[i], entry);

		if (touch.hit) {
			cache->level[i].hits++;
			break;
		}
		victim[i] = touch.victim;
		entry &= ~FPERF_LRU_DIRTY;
	}
	served = i;
	cache->memory_fetches += i == cache->nr_levels;
	while (i-- > from)
		if (victim[i] & FPERF_LRU_DIRTY) {
			cache->level[i].writebacks_out++;
			FORM(write_back)(cache, i + 1, victim[i]);
		}
	return served;
}

/* ---- several lines of a run: entries are of runs, lanes say which lines ---- */

/* Dirty lines that fell out of the sets of a group: those of each run together. */
struct FORM(victims) {
	uint32_t nr;
	struct {
		uint32_t run, lanes;
	} of[FPERF_GROUP_LINES];
};

/* Returns the lanes that hit. */
TARGET static inline uint32_t FORM(touch_lanes)(struct fperf_cache_level *level, uint32_t run, uint32_t lanes,
						struct FORM(victims) * victims)
{
	const uint32_t group = fperf_lru_line(run) & level->group_mask;
	struct fperf_lru_set *const common = &level->common[group];
	uint32_t together = lanes & ~level->apart[group], alone, hits = 0;

	victims->nr = 0;
	if (together) {
		const uint32_t left = ~level->apart[group] & ~lanes & FPERF_GROUP_ALL;

		if (fperf_lru_is_youngest(common, run) && !(run & ~common->way[0])) {
			hits = together;
		} else if (left && __builtin_popcount(left) >= __builtin_popcount(together)) {
			FORM(part)(level, group, together);
			together = 0;
		} else {
			struct fperf_lru_touch touch;

			if (left)
				FORM(part)(level, group, left);
			touch = FORM(fperf_lru_touch)(common, level->nr_ways, run);
			hits = together & -touch.hit;
			if (touch.victim & FPERF_LRU_DIRTY) {
				victims->of[0].run = touch.victim;
				victims->of[0].lanes = together;
				victims->nr = 1;
			}
		}
		if (together == FPERF_GROUP_ALL)
			return hits;
	}
	alone = lanes & level->apart[group];
	for (uint32_t rest = alone; rest; rest &= rest - 1) {
		const uint32_t lane = (uint32_t)__builtin_ctz(rest);
		const uint32_t line = fperf_lru_line(run) << FPERF_GROUP_SHIFT | lane;
		const struct fperf_lru_touch touch =
			FORM(fperf_lru_touch)(&level->sets[(size_t)group << FPERF_GROUP_SHIFT | lane], level->nr_ways,
					      fperf_lru_entry(line, run & FPERF_LRU_DIRTY));
		uint32_t gone, i;

		hits |= touch.hit << lane;
		if (!(touch.victim & FPERF_LRU_DIRTY))
			continue;
		gone = fperf_lru_entry(fperf_lru_line(touch.victim) >> FPERF_GROUP_SHIFT, FPERF_LRU_DIRTY);
		for (i = 0; i < victims->nr; i++)
			if (victims->of[i].run == gone)
				break;
		if (i == victims->nr) {
			victims->of[i].run = gone;
			victims->of[i].lanes = 0;
			victims->nr++;
		}
		victims->of[i].lanes |= 1u << lane;
	}
	if (together)
		FORM(join)(level, group, alone);
	else if (lanes == FPERF_GROUP_ALL && level->apart[group] == FPERF_GROUP_ALL)
		FORM(join_anew)(level, group);
	return hits;
}

TARGET static void FORM(write_back_lanes)(struct fperf_cache *cache, unsigned int i, uint32_t run, uint32_t lanes);

TARGET static inline void FORM(write_back_victims)(struct fperf_cache *cache, unsigned int i,
						   const struct FORM(victims) * victims)
{
	for (uint32_t j = 0; j < victims->nr; j++) {
		cache->level[i].writebacks_out += (uint32_t)__builtin_popcount(victims->of[j].lanes);
		if (i + 1 < cache->nr_levels)
			FORM(write_back_lanes)(cache, i + 1, victims->of[j].run, victims->of[j].lanes);
	}
}

TARGET static void FORM(write_back_lanes)(struct fperf_cache *cache, unsigned int i, uint32_t run, uint32_t lanes)
{
	struct FORM(victims) victims;

	if (!(lanes & (lanes - 1))) {
		FORM(write_back)(cache, i,
				 fperf_lru_entry(fperf_lru_line(run) << FPERF_GROUP_SHIFT |
							 (uint32_t)__builtin_ctz(lanes),
						 FPERF_LRU_DIRTY));
		return;
	}
	FORM(touch_lanes)(&cache->level[i], run, lanes, &victims);
	FORM(write_back_victims)(cache, i, &victims);
}

/* Level i had these lines of a run. */
TARGET static inline void FORM(serve)(struct fperf_cache_served *served, unsigned int i, uint32_t lanes, uint32_t nr)
{
	served->nr[i] += nr;
	if (lanes & served->first_lane) {
		served->first = i;
		served->first_lane = 0;
	}
}

TARGET static void FORM(fetch_lanes)(struct fperf_cache *cache, unsigned int i, uint32_t run, uint32_t lanes,
				     struct fperf_cache_served *served)
{
	const uint32_t nr = (uint32_t)__builtin_popcount(lanes);
	struct fperf_cache_level *const level = &cache->level[i];
	struct FORM(victims) victims;
	uint32_t hits, nr_hits;

	if (i == cache->nr_levels) {
		cache->memory_fetches += nr;
		FORM(serve)(served, i, lanes, nr);
		return;
	}
	if (nr == 1) {
		FORM(serve)(served,
			    FORM(fetch)(cache, i,
					fperf_lru_entry(fperf_lru_line(run) << FPERF_GROUP_SHIFT |
								(uint32_t)__builtin_ctz(lanes),
							run & FPERF_LRU_DIRTY)),
			    lanes, 1);
		return;
	}
	hits = FORM(touch_lanes)(level, run, lanes, &victims);
	nr_hits = (uint32_t)__builtin_popcount(hits);
	level->hits += nr_hits;
	FORM(serve)(served, i, hits, nr_hits);
	if (hits == lanes)
		return;
	FORM(fetch_lanes)(cache, i + 1, run & ~FPERF_LRU_DIRTY, lanes & ~hits, served);
	FORM(write_back_victims)(cache, i, &victims);
}

/* ---- all lines of a run, whose sets are common: entries are of runs ---- */

TARGET static inline void FORM(write_back_run)(struct fperf_cache *cache, unsigned int i, uint32_t run)
{
	for (; i < cache->nr_levels; i++) {
		struct fperf_cache_level *const level = &cache->level[i];
		const uint32_t group = fperf_lru_line(run) & level->group_mask;

		if (level->apart[group]) {
			FORM(write_back_lanes)(cache, i, run, FPERF_GROUP_ALL);
			return;
		}
		run = FORM(fperf_lru_touch)(&level->common[group], level->nr_ways, run).victim;
		if (!(run & FPERF_LRU_DIRTY))
			return;
		level->writebacks_out += FPERF_GROUP_LINES;
	}
}

TARGET static inline void FORM(fetch_run)(struct fperf_cache *cache, uint32_t run, struct fperf_cache_served *served)
{
	uint32_t victim[FPERF_CACHE_MAX_LEVELS];
	unsigned int i;

	for (i = 0; i < cache->nr_levels; i++) {
		struct fperf_cache_level *const level = &cache->level[i];
		const uint32_t group = fperf_lru_line(run) & level->group_mask;
		struct fperf_lru_set *const common = &level->common[group];
		struct fperf_lru_touch touch;

		if (level->apart[group]) {
			FORM(fetch_lanes)(cache, i, run, FPERF_GROUP_ALL, served);
			goto fetched;
		}
		if (fperf_lru_is_youngest(common, run)) {
			fperf_lru_again(common, run);
			touch.hit = 1;
		} else {
			touch = FORM(fperf_lru_touch)(common, level->nr_ways, run);
			victim[i] = touch.victim;
		}
		if (touch.hit) {
			level->hits += FPERF_GROUP_LINES;
			FORM(serve)(served, i, FPERF_GROUP_ALL, FPERF_GROUP_LINES);
			goto fetched;
		}
		run &= ~FPERF_LRU_DIRTY;
	}
	cache->memory_fetches += FPERF_GROUP_LINES;
	FORM(serve)(served, i, FPERF_GROUP_ALL, FPERF_GROUP_LINES);
fetched:
	while (i--)
		if (victim[i] & FPERF_LRU_DIRTY) {
			cache->level[i].writebacks_out += FPERF_GROUP_LINES;
			FORM(write_back_run)(cache, i + 1, victim[i]);
		}
}

/* ---- what the table holds ---- */

TARGET static unsigned int FORM(access)(struct fperf_cache *cache, uint32_t entry)
{
	struct fperf_cache_level *const level = &cache->level[0];
	const struct fperf_lru_touch touch = FORM(touch)(level, entry);
	unsigned int served;

	if (touch.hit) {
		level->hits++;
		return 0;
	}
	served = FORM(fetch)(cache, 1, entry & ~FPERF_LRU_DIRTY);
	if (touch.victim & FPERF_LRU_DIRTY) {
		level->writebacks_out++;
		FORM(write_back)(cache, 1, touch.victim);
	}
	return served;
}

TARGET static void FORM(access_lanes)(struct fperf_cache *cache, uint32_t run, uint32_t lanes, bool write,
				      struct fperf_cache_served *served)
{
	FORM(fetch_lanes)(cache, 0, fperf_lru_entry(run, write), lanes, served);
}

TARGET static void FORM(access_runs)(struct fperf_cache *cache, uint32_t run, uint32_t nr, bool write,
				     struct fperf_cache_served *served)
{
	enum { AHEAD = 4 };

	for (uint32_t i = 0; i < nr; i++) {
		for (unsigned int j = 1; j < cache->nr_levels; j++)
			__builtin_prefetch(&cache->level[j].common[(run + i + AHEAD) & cache->level[j].group_mask], 1);
		FORM(fetch_run)(cache, fperf_lru_entry(run + i, write), served);
	}
}

#undef FORM
#undef TARGET

#endif
