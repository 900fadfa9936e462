/* SPDX-License-Identifier: BSD-3-Clause */
/* A set in each of its forms against a list that is searched and moved by hand. */
#include "tests/fperf_test.h"

#include <stdlib.h>

#include "cache/lru_set_inl.h"

struct naive {
	uint32_t entry[FPERF_LRU_MAX_WAYS];
	uint32_t nr, nr_ways;
};

static struct fperf_lru_touch naive_touch(struct naive *list, uint32_t entry)
{
	struct fperf_lru_touch ret = { 0 };
	uint32_t at = 0;

	while (at < list->nr && list->entry[at] >> 1 != entry >> 1)
		at++;
	if (at < list->nr) {
		ret.hit = 1;
		entry |= list->entry[at] & FPERF_LRU_DIRTY;
	} else if (list->nr == list->nr_ways) {
		ret.victim = list->entry[--at];
	} else {
		list->nr++;
	}
	for (; at > 0; at--)
		list->entry[at] = list->entry[at - 1];
	list->entry[0] = entry;
	return ret;
}

#if FPERF_SIMD_X86
FPERF_TARGET_AVX2 static struct fperf_lru_touch touch_avx2(struct fperf_lru_set *set, uint32_t nr_ways, uint32_t entry)
{
	return fperf_lru_touch_avx2(set, nr_ways, entry);
}

FPERF_TARGET_AVX512 static struct fperf_lru_touch touch_avx512(struct fperf_lru_set *set, uint32_t nr_ways,
							       uint32_t entry)
{
	return fperf_lru_touch_avx512(set, nr_ways, entry);
}
#endif

static struct fperf_lru_touch touch(enum fperf_simd simd, struct fperf_lru_set *set, uint32_t nr_ways, uint32_t entry)
{
#if FPERF_SIMD_X86
	if (simd == FPERF_SIMD_AVX512)
		return touch_avx512(set, nr_ways, entry);
	if (simd == FPERF_SIMD_AVX2)
		return touch_avx2(set, nr_ways, entry);
#endif
	(void)simd;
	return fperf_lru_touch_portable(set, nr_ways, entry);
}

static bool test_forms_equal_the_list(void)
{
	unsigned int seed = 7;

	for (enum fperf_simd simd = 0; simd < FPERF_NR_SIMD; simd++) {
		if (!fperf_simd_supported(simd))
			continue;
		for (uint32_t nr_ways = 1; nr_ways <= FPERF_LRU_MAX_WAYS; nr_ways++) {
			struct fperf_lru_set set = { 0 };
			struct naive list = { .nr_ways = nr_ways };

			for (int i = 0; i < 5000; i++) {
				/* Small lines, and the largest there are. */
				const uint32_t line = (uint32_t)rand_r(&seed) % (nr_ways + 3);
				const uint32_t entry = fperf_lru_entry(line & 1 ? (1u << 30) - 1 - line : line,
								       (uint32_t)rand_r(&seed) % 4 == 0);
				const bool young = list.nr && list.entry[0] >> 1 == entry >> 1;
				struct fperf_lru_touch want, got;

				ASSERT_EQ(fperf_lru_is_youngest(&set, entry), young);
				want = naive_touch(&list, entry);
				if (young && i % 2) {
					fperf_lru_again(&set, entry);
				} else {
					got = touch(simd, &set, nr_ways, entry);
					ASSERT_EQ(got.hit, want.hit);
					ASSERT_EQ(got.victim, want.victim);
				}
				ASSERT_EQ(memcmp(set.way, list.entry, sizeof(set.way)), 0);
			}
		}
	}
	return true;
}

static bool test_environment_chooses_the_form(void)
{
	enum fperf_simd simd;

	for (enum fperf_simd wanted = 0; wanted < FPERF_NR_SIMD; wanted++) {
		ASSERT_EQ(setenv("FOLIO_PERF_SIMD", fperf_simd_name(wanted), 1), 0);
		if (fperf_simd_supported(wanted)) {
			ASSERT_OK(fperf_simd_choose(&simd));
			ASSERT_EQ(simd, wanted);
		} else {
			ASSERT_EQ(fperf_simd_choose(&simd), FPERF_ERR(SIMD));
		}
	}
	ASSERT_EQ(setenv("FOLIO_PERF_SIMD", "AVX3", 1), 0);
	ASSERT_EQ(fperf_simd_choose(&simd), FPERF_ERR(SIMD));
	ASSERT_EQ(unsetenv("FOLIO_PERF_SIMD"), 0);
	ASSERT_OK(fperf_simd_choose(&simd));
	ASSERT_TRUE(fperf_simd_supported(simd));
	return true;
}

int main(void)
{
	TEST(forms_equal_the_list);
	TEST(environment_chooses_the_form);
	return TEST_END();
}
