/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Runs of lines against the same lines one by one, in all forms of vector instructions: every counter, who served what,
 * and the contents of every level, line by line. test_cache.c holds single accesses against a naive cache.
 */
#include "tests/fperf_test.h"

#include <stdlib.h>
#include <string.h>

#include "cache/cache.h"
#include "cache/simd.h"

enum { LINE_SHIFT = 6, NR_STEPS = 3000 };

#define LEVEL(nr_sets, nr_ways) { (uint64_t)(nr_sets) * (nr_ways) << LINE_SHIFT, nr_ways }

struct hierarchy {
	struct fperf_cache_geometry levels[FPERF_CACHE_MAX_LEVELS];
	unsigned int nr_levels;
};

static const struct hierarchy hierarchies[] = {
	{ { LEVEL(8, 1) }, 1 },
	{ { LEVEL(8, 3), LEVEL(16, 5) }, 2 },
	{ { LEVEL(16, 2), LEVEL(8, 16) }, 2 },
	{ { LEVEL(64, 8), LEVEL(64, 16), LEVEL(128, 16) }, 3 },
	{ { LEVEL(64, 12), LEVEL(128, 10), LEVEL(64, 11), LEVEL(128, 9) }, 4 },
	/* No groups, or not by the fast engine at all. */
	{ { LEVEL(4, 3), LEVEL(64, 4) }, 2 },
	{ { LEVEL(8, 2), LEVEL(8, 20) }, 2 },
};

static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static bool same(const struct fperf_cache *cache, const struct fperf_cache *other, unsigned int nr_levels)
{
	for (unsigned int i = 0; i < nr_levels; i++) {
		const struct fperf_cache_counters got = fperf_cache_counters(cache, i);
		const struct fperf_cache_counters want = fperf_cache_counters(other, i);

		ASSERT_EQ(got.fetches, want.fetches);
		ASSERT_EQ(got.hits, want.hits);
		ASSERT_EQ(got.misses, want.misses);
		ASSERT_EQ(got.writebacks_in, want.writebacks_in);
		ASSERT_EQ(got.writebacks_out, want.writebacks_out);
	}
	return true;
}

/*
 * `mostly_runs` of 16 steps are runs, mostly of whole aligned groups, as page tables and struct pages are gone through;
 * the rest are single lines. Lines from `beyond` on come after two thirds of the steps.
 */
static bool runs_are_their_lines(const struct hierarchy *h, uint64_t seed, unsigned int mostly_runs, uint64_t beyond)
{
	const uint64_t span = 3 * (h->levels[h->nr_levels - 1].size_bytes >> LINE_SHIFT) + 5;
	uint64_t state = seed;
	struct fperf_cache *by_run, *by_line;

	ASSERT_OK(fperf_cache_create(h->levels, h->nr_levels, LINE_SHIFT, &by_run));
	ASSERT_OK(fperf_cache_create(h->levels, h->nr_levels, LINE_SHIFT, &by_line));
	for (unsigned int step = 0; step < NR_STEPS; step++) {
		const bool write = next_random(&state) % 2, run = next_random(&state) % 16 < mostly_runs;
		struct fperf_cache_served got = { 0 }, want = { 0 };
		uint64_t first = next_random(&state) % span, nr = 1;

		if (run) {
			nr = next_random(&state) % 40;
			if (next_random(&state) % 8)
				first &= ~7ull;
			if (next_random(&state) % 8)
				nr &= ~7ull;
		}
		if (beyond && step > NR_STEPS * 2 / 3 && next_random(&state) % 4 == 0)
			first += beyond;
		fperf_cache_run(by_run, first, nr, write, &got);
		for (uint64_t line = first; line < first + nr; line++) {
			const unsigned int level = fperf_cache_access(by_line, line, write);

			want.nr[level]++;
			if (line == first)
				ASSERT_EQ(got.first, level);
		}
		for (unsigned int i = 0; i <= h->nr_levels; i++)
			ASSERT_EQ(got.nr[i], want.nr[i]);
		if (nr && next_random(&state) % 4 == 0) {
			const bool again = next_random(&state) % 2;

			fperf_cache_again(by_run, first + nr - 1, 5, again);
			for (unsigned int i = 0; i < 5; i++)
				ASSERT_EQ(fperf_cache_access(by_line, first + nr - 1, again), 0);
		}
	}
	ASSERT_TRUE(same(by_run, by_line, h->nr_levels));
	for (unsigned int i = 0; i < h->nr_levels; i++)
		for (uint64_t line = 0; line < span + 64; line += 1 + line % 7) {
			ASSERT_EQ(fperf_cache_occupancy(by_run, i, line, 1),
				  fperf_cache_occupancy(by_line, i, line, 1));
			ASSERT_EQ(fperf_cache_occupancy(by_run, i, beyond + line, 3),
				  fperf_cache_occupancy(by_line, i, beyond + line, 3));
		}
	fperf_cache_destroy(by_run);
	fperf_cache_destroy(by_line);
	return true;
}

static bool test_runs_are_their_lines(void)
{
	static const unsigned int shares[] = { 16, 15, 8 };

	for (enum fperf_simd simd = 0; simd < FPERF_NR_SIMD; simd++) {
		if (!fperf_simd_supported(simd))
			continue;
		ASSERT_OK(setenv("FOLIO_PERF_SIMD", fperf_simd_name(simd), 1));
		for (size_t i = 0; i < sizeof(hierarchies) / sizeof(hierarchies[0]); i++)
			for (unsigned int j = 0; j < sizeof(shares) / sizeof(shares[0]); j++)
				ASSERT_TRUE(runs_are_their_lines(&hierarchies[i], 7 * i + j + 1, shares[j], 0));
	}
	ASSERT_OK(unsetenv("FOLIO_PERF_SIMD"));
	return true;
}

/* 2^30 lines on, the fast engine ends: the other one goes on with what the caches held. */
static bool test_lines_beyond_the_fast_engine(void)
{
	for (size_t i = 0; i < sizeof(hierarchies) / sizeof(hierarchies[0]); i++)
		ASSERT_TRUE(runs_are_their_lines(&hierarchies[i], i + 1, 12, 1ull << 30));
	return true;
}

/* The forms against each other: the same steps leave the same counters. */
static bool test_forms_agree(void)
{
	const struct hierarchy *const h = &hierarchies[3];
	struct fperf_cache *first = NULL;

	for (enum fperf_simd simd = 0; simd < FPERF_NR_SIMD; simd++) {
		struct fperf_cache_served served = { 0 };
		struct fperf_cache *cache;
		uint64_t state = 5;

		if (!fperf_simd_supported(simd))
			continue;
		ASSERT_OK(setenv("FOLIO_PERF_SIMD", fperf_simd_name(simd), 1));
		ASSERT_OK(fperf_cache_create(h->levels, h->nr_levels, LINE_SHIFT, &cache));
		for (unsigned int step = 0; step < NR_STEPS; step++) {
			const uint64_t line = next_random(&state) % 20000;

			fperf_cache_run(cache, line & ~(line % 8 ? 7ull : 0), line % 5 ? 64 : 1, line % 3, &served);
		}
		if (first)
			ASSERT_TRUE(same(cache, first, h->nr_levels));
		if (first)
			fperf_cache_destroy(cache);
		else
			first = cache;
	}
	fperf_cache_destroy(first);
	ASSERT_OK(unsetenv("FOLIO_PERF_SIMD"));
	return true;
}

int main(void)
{
	TEST(runs_are_their_lines);
	TEST(lines_beyond_the_fast_engine);
	TEST(forms_agree);
	return TEST_END();
}
