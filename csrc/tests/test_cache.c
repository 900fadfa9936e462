/* SPDX-License-Identifier: BSD-3-Clause */
/* The hierarchy against a naive one: every way carries the time of its last use, a victim is the one unused longest. */
#include "tests/fperf_test.h"

#include <stdlib.h>

#include "cache/cache.h"

enum { MAX_LEVELS = FPERF_CACHE_MAX_LEVELS, LINE_SHIFT = 6 };

struct way {
	uint64_t line, used; /* used == 0: empty */
	bool dirty;
};

struct naive {
	struct naive_level {
		struct way *ways; /* nr_sets x nr_ways */
		uint64_t nr_sets, nr_ways;
		struct fperf_cache_counters count;
	} level[MAX_LEVELS];
	unsigned int nr_levels;
	uint64_t clock;
};

static bool naive_create(struct naive *naive, const struct fperf_cache_geometry *levels, unsigned int nr_levels)
{
	*naive = (struct naive){ .nr_levels = nr_levels };
	for (unsigned int i = 0; i < nr_levels; i++) {
		const uint64_t lines = levels[i].size_bytes >> LINE_SHIFT;

		naive->level[i].nr_ways = levels[i].nr_ways;
		naive->level[i].nr_sets = lines / levels[i].nr_ways;
		naive->level[i].ways = calloc(lines, sizeof(struct way));
		ASSERT_TRUE(naive->level[i].ways);
	}
	return true;
}

static void naive_destroy(struct naive *naive)
{
	for (unsigned int i = 0; i < naive->nr_levels; i++)
		free(naive->level[i].ways);
}

static struct way *set_of(const struct naive_level *level, uint64_t line)
{
	return &level->ways[line % level->nr_sets * level->nr_ways];
}

static struct way *find(const struct naive_level *level, uint64_t line)
{
	struct way *const set = set_of(level, line);

	for (uint64_t i = 0; i < level->nr_ways; i++)
		if (set[i].used && set[i].line == line)
			return &set[i];
	return NULL;
}

/* An empty way has been unused longest. Returns what was in the way before. */
static struct way insert(struct naive *naive, struct naive_level *level, uint64_t line, bool dirty)
{
	struct way *const set = set_of(level, line);
	struct way *oldest = set;
	struct way victim;

	for (uint64_t i = 1; i < level->nr_ways; i++)
		if (set[i].used < oldest->used)
			oldest = &set[i];
	victim = *oldest;
	*oldest = (struct way){ .line = line, .used = ++naive->clock, .dirty = dirty };
	return victim;
}

static void naive_write_back(struct naive *naive, unsigned int i, uint64_t line);

static void naive_evict(struct naive *naive, unsigned int i, struct way victim)
{
	if (!victim.used || !victim.dirty)
		return;
	naive->level[i].count.writebacks_out++;
	naive_write_back(naive, i + 1, victim.line);
}

static void naive_write_back(struct naive *naive, unsigned int i, uint64_t line)
{
	struct way *way;

	if (i == naive->nr_levels)
		return;
	naive->level[i].count.writebacks_in++;
	way = find(&naive->level[i], line);
	if (way) {
		way->used = ++naive->clock;
		way->dirty = true;
		return;
	}
	naive_evict(naive, i, insert(naive, &naive->level[i], line, true));
}

static unsigned int naive_access(struct naive *naive, unsigned int i, uint64_t line, bool write)
{
	struct naive_level *const level = &naive->level[i];
	struct way *way;
	unsigned int served;

	if (i == naive->nr_levels)
		return i;
	level->count.fetches++;
	way = find(level, line);
	if (way) {
		level->count.hits++;
		way->used = ++naive->clock;
		way->dirty |= write;
		return i;
	}
	level->count.misses++;
	served = naive_access(naive, i + 1, line, false);
	naive_evict(naive, i, insert(naive, level, line, write));
	return served;
}

static uint64_t naive_occupancy(const struct naive_level *level, uint64_t first, uint64_t nr)
{
	uint64_t held = 0;

	for (uint64_t i = 0; i < level->nr_sets * level->nr_ways; i++)
		held += level->ways[i].used && level->ways[i].line >= first && level->ways[i].line < first + nr;
	return held;
}

static uint64_t next_random(uint64_t *state)
{
	*state = *state * 6364136223846793005u + 1442695040888963407u;
	return *state >> 33;
}

/* A place that drifts, streams and jumps back, over four times what the last level holds. */
static uint64_t next_line(uint64_t *state, uint64_t before, uint64_t span)
{
	const uint64_t dice = next_random(state) % 16;

	if (dice < 8)
		return before + 1;
	if (dice < 11)
		return before;
	if (dice < 14)
		return next_random(state) % (span / 16 + 1);
	return next_random(state) % span;
}

static bool same_counters(const struct fperf_cache *cache, const struct naive *naive)
{
	for (unsigned int i = 0; i < naive->nr_levels; i++) {
		const struct fperf_cache_counters got = fperf_cache_counters(cache, i);
		const struct fperf_cache_counters *const want = &naive->level[i].count;

		ASSERT_EQ(got.fetches, want->fetches);
		ASSERT_EQ(got.hits, want->hits);
		ASSERT_EQ(got.misses, want->misses);
		ASSERT_EQ(got.writebacks_in, want->writebacks_in);
		ASSERT_EQ(got.writebacks_out, want->writebacks_out);
		ASSERT_EQ(got.hits + got.misses, got.fetches);
	}
	return true;
}

static bool follow_naive(const struct fperf_cache_geometry *levels, unsigned int nr_levels, uint64_t seed,
			 uint64_t nr_accesses)
{
	const uint64_t span = 4 * (levels[nr_levels - 1].size_bytes >> LINE_SHIFT) + 3;
	uint64_t state = seed, line = 0;
	struct fperf_cache *cache;
	struct naive naive;

	ASSERT_OK(fperf_cache_create(levels, nr_levels, LINE_SHIFT, &cache));
	ASSERT_TRUE(naive_create(&naive, levels, nr_levels));
	ASSERT_EQ(fperf_cache_nr_levels(cache), nr_levels);
	for (uint64_t i = 0; i < nr_accesses; i++) {
		const bool write = next_random(&state) % 3 == 0;

		line = next_line(&state, line, span);
		ASSERT_EQ(fperf_cache_access(cache, line, write), naive_access(&naive, 0, line, write));
		if (next_random(&state) % 8)
			continue;
		/* The same line at once again. */
		fperf_cache_again(cache, line, 3, !write);
		for (unsigned int again = 0; again < 3; again++)
			ASSERT_EQ(naive_access(&naive, 0, line, !write), 0);
	}
	ASSERT_TRUE(same_counters(cache, &naive));
	for (unsigned int i = 0; i < nr_levels; i++) {
		for (uint64_t first = 0; first < span; first += span / 7 + 1)
			ASSERT_EQ(fperf_cache_occupancy(cache, i, first, span / 5),
				  naive_occupancy(&naive.level[i], first, span / 5));
		ASSERT_EQ(fperf_cache_occupancy(cache, i, 0, UINT64_MAX),
			  naive_occupancy(&naive.level[i], 0, UINT64_MAX >> 1));
	}
	naive_destroy(&naive);
	fperf_cache_destroy(cache);
	return true;
}

#define LEVEL(nr_sets, nr_ways) { (uint64_t)(nr_sets) * (nr_ways) << LINE_SHIFT, nr_ways }

static bool test_one_level_follows_the_naive_cache(void)
{
	static const struct fperf_cache_geometry geometries[] = {
		LEVEL(1, 1), LEVEL(16, 1), LEVEL(1, 12), LEVEL(8, 3), LEVEL(64, 8), LEVEL(4, 20), LEVEL(2, 64),
	};

	for (size_t i = 0; i < sizeof(geometries) / sizeof(geometries[0]); i++)
		ASSERT_TRUE(follow_naive(&geometries[i], 1, i + 1, 20000));
	return true;
}

static bool test_hierarchies_follow_the_naive_cache(void)
{
	static const struct {
		struct fperf_cache_geometry levels[MAX_LEVELS];
		unsigned int nr_levels;
	} hierarchies[] = {
		{ { LEVEL(1, 2), LEVEL(1, 4) }, 2 },
		{ { LEVEL(8, 8), LEVEL(8, 12) }, 2 },
		{ { LEVEL(16, 3), LEVEL(16, 3) }, 2 },
		{ { LEVEL(8, 12), LEVEL(32, 10), LEVEL(128, 11) }, 3 },
		{ { LEVEL(64, 8), LEVEL(128, 8), LEVEL(256, 15) }, 3 },
		{ { LEVEL(2, 1), LEVEL(2, 3), LEVEL(4, 5), LEVEL(8, 7) }, 4 },
		{ { LEVEL(16, 8), LEVEL(32, 8), LEVEL(64, 12), LEVEL(64, 12) }, 4 },
	};

	for (size_t i = 0; i < sizeof(hierarchies) / sizeof(hierarchies[0]); i++)
		for (uint64_t seed = 1; seed < 4; seed++)
			ASSERT_TRUE(follow_naive(hierarchies[i].levels, hierarchies[i].nr_levels, seed, 20000));
	return true;
}

static bool test_oldest_line_of_the_set_leaves(void)
{
	/* one set of three ways, youngest first     after 1 2 3   3 2 1
	 *                                           touch 1       1 3 2
	 *                                           touch 4       4 1 3    2 is gone */
	static const struct fperf_cache_geometry level = LEVEL(1, 3);
	struct fperf_cache *cache;

	ASSERT_OK(fperf_cache_create(&level, 1, LINE_SHIFT, &cache));
	for (uint64_t line = 1; line <= 3; line++)
		ASSERT_EQ(fperf_cache_access(cache, line, false), 1);
	ASSERT_EQ(fperf_cache_access(cache, 1, false), 0);
	ASSERT_EQ(fperf_cache_access(cache, 4, false), 1);
	ASSERT_EQ(fperf_cache_occupancy(cache, 0, 2, 1), 0);
	ASSERT_EQ(fperf_cache_access(cache, 1, false), 0);
	ASSERT_EQ(fperf_cache_access(cache, 3, false), 0);
	ASSERT_EQ(fperf_cache_access(cache, 2, false), 1);
	fperf_cache_destroy(cache);
	return true;
}

static bool test_line_is_fetched_before_the_victim_is_written_back(void)
{
	/* L1 and L2 of one line each, * = dirty     L1    L2
	 *                     write 1               1*    1
	 *                     read 2: fetch         2     2     <- the fetch throws 1 out of L2
	 *                             write back          1*    <- and the victim of L1 throws 2 out */
	static const struct fperf_cache_geometry levels[] = { LEVEL(1, 1), LEVEL(1, 1) };
	struct fperf_cache *cache;

	ASSERT_OK(fperf_cache_create(levels, 2, LINE_SHIFT, &cache));
	ASSERT_EQ(fperf_cache_access(cache, 1, true), 2);
	ASSERT_EQ(fperf_cache_access(cache, 2, false), 2);
	ASSERT_EQ(fperf_cache_occupancy(cache, 0, 2, 1), 1);
	ASSERT_EQ(fperf_cache_occupancy(cache, 1, 1, 1), 1);
	ASSERT_EQ(fperf_cache_occupancy(cache, 1, 2, 1), 0);
	ASSERT_EQ(fperf_cache_counters(cache, 1).writebacks_in, 1);
	ASSERT_EQ(fperf_cache_counters(cache, 1).writebacks_out, 0);
	/* The dirty line leaves L2 for memory when its way is needed. */
	ASSERT_EQ(fperf_cache_access(cache, 3, false), 2);
	ASSERT_EQ(fperf_cache_counters(cache, 1).writebacks_out, 1);
	fperf_cache_destroy(cache);
	return true;
}

static bool test_level_keeps_what_the_level_above_fetched(void)
{
	/* neither inclusive nor exclusive: 1 leaves L1 clean and is still in L2; a line may be in L1 alone */
	static const struct fperf_cache_geometry levels[] = { LEVEL(1, 1), LEVEL(1, 2) };
	struct fperf_cache *cache;

	ASSERT_OK(fperf_cache_create(levels, 2, LINE_SHIFT, &cache));
	ASSERT_EQ(fperf_cache_access(cache, 1, false), 2);
	ASSERT_EQ(fperf_cache_access(cache, 2, false), 2);
	ASSERT_EQ(fperf_cache_access(cache, 1, false), 1);
	ASSERT_EQ(fperf_cache_access(cache, 3, false), 2);
	ASSERT_EQ(fperf_cache_occupancy(cache, 1, 2, 1), 0);
	ASSERT_EQ(fperf_cache_counters(cache, 1).writebacks_in, 0);
	fperf_cache_destroy(cache);
	return true;
}

static bool refused(const struct fperf_cache_geometry *levels, unsigned int nr_levels, unsigned int line_shift)
{
	struct fperf_cache *cache = NULL;

	ASSERT_EQ(fperf_cache_create(levels, nr_levels, line_shift, &cache), FPERF_ERR(CACHE));
	ASSERT_TRUE(!cache);
	return true;
}

static bool test_impossible_geometries_are_refused(void)
{
	static const struct fperf_cache_geometry good = LEVEL(64, 8);
	static const struct fperf_cache_geometry bad[] = {
		{ 0, 8 }, /* no line */
		{ 63, 1 }, /* less than a line */
		{ 4096, 0 }, /* no way */
		{ 4096, 128 }, /* more ways than lines */
		{ 4096 + 32, 1 }, /* half a line */
		{ 4096, 3 }, /* 64 lines in sets of 3 */
		LEVEL(3, 8), /* sets are chosen by bits of the address */
		LEVEL(1, 4097), /* ways are gone through one by one */
		{ 1ull << 40, 16 }, /* 2^34 lines */
		{ UINT64_MAX, 16 },
	};
	struct fperf_cache_geometry levels[MAX_LEVELS + 1] = { good, good, good, good, good };

	ASSERT_TRUE(refused(levels, 0, 6));
	ASSERT_TRUE(refused(levels, MAX_LEVELS + 1, 6));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		ASSERT_TRUE(refused(&bad[i], 1, 6));
		levels[2] = bad[i];
		ASSERT_TRUE(refused(levels, 3, 6));
	}
	/* 3 lines of 64 bytes, or one and a half of 128. */
	ASSERT_TRUE(refused(&(struct fperf_cache_geometry){ 192, 1 }, 1, 7));
	return true;
}

static bool test_destroying_nothing_is_allowed(void)
{
	fperf_cache_destroy(NULL);
	return true;
}

int main(void)
{
	TEST(one_level_follows_the_naive_cache);
	TEST(hierarchies_follow_the_naive_cache);
	TEST(oldest_line_of_the_set_leaves);
	TEST(line_is_fetched_before_the_victim_is_written_back);
	TEST(level_keeps_what_the_level_above_fetched);
	TEST(impossible_geometries_are_refused);
	TEST(destroying_nothing_is_allowed);
	return TEST_END();
}
