/* SPDX-License-Identifier: BSD-3-Clause */
/* Equal pages become one, and come apart again: under every design, on an old kernel and a new one. k = KSM page, x = its own. */
#include "tests/machine.h"

enum { PMD_ORDER = 9, PMD_PAGES = 1 << PMD_ORDER };

static const uint64_t V = 512 * 1000, W = 512 * 2000;

static struct fperf_event fill(uint32_t process, uint64_t vpn, uint64_t nr)
{
	return EVENT(TOUCH, .process = process, .vpn = vpn, .nr = nr, .flags = FPERF_TOUCH_WRITE,
		     .what = FPERF_TOUCH_FILL);
}

static struct fperf_event ksm(void)
{
	return EVENT(KSM, .process = 0);
}

typedef bool (*story)(struct fperf_sim *sim, const struct fperf_config *config);

static bool everywhere(story story)
{
	for (unsigned int old = 0; old < 2; old++) {
		struct fperf_config config = small_machine();

		config.contents = 1;
		config.anon_orders_madvise = 1ull << PMD_ORDER;
		config.profile = old ? kernel_5_17() : kernel_7_0();
		for (config.scheme = 0; config.scheme < nr_schemes(); config.scheme++) {
			struct fperf_sim *sim;
			bool passed;

			ASSERT_OK(fperf_sim_create(&config, &sim));
			passed = story(sim, &config);
			if (!passed)
				printf("under %s, kernel %u\n", fperf_name_table(FPERF_NAMES_SCHEMES)[config.scheme],
				       config.profile.version);
			fperf_sim_destroy(sim);
			if (!passed)
				return false;
		}
	}
	return true;
}

static bool merge_story(struct fperf_sim *sim, const struct fperf_config *config)
{
	uint64_t second;

	(void)config;
	/*            0 1 2 3 4
	 * P0         x x x x     all but 3 hold the same, 4 is not there */
	ASSERT_RUN(sim, map_anon(0, V, 5));
	ASSERT_RUN(sim, fill(0, V, 4));
	ASSERT_EQ(run(sim, touch(0, V + 3, 1, 'w')), FPERF_NOOP); /* no fault, but another byte */
	second = pfn_at(sim, 0, V + 1);
	/* Nobody asked for it yet. */
	ASSERT_EQ(run(sim, ksm()), FPERF_NOOP);
	ASSERT_RUN(sim, advise(0, V, 5, FPERF_ADVICE_MERGEABLE));
	ASSERT_RUN(sim, ksm());
	/* P0         k k k x     the later of the first two stays */
	ASSERT_EQ(totals_of(sim).pages_live, 2);
	for (uint64_t i = 0; i < 3; i++)
		ASSERT_EQ(pfn_at(sim, 0, V + i), second);
	ASSERT_EQ(run(sim, ksm()), FPERF_NOOP);
	/* A child shares it, writes, and has a copy, though its parent is gone and it is alone. */
	ASSERT_RUN(sim, fork_to(0, 1));
	ASSERT_RUN(sim, exit_of(0));
	ASSERT_RUN(sim, unmap(1, V + 1, 3));
	ASSERT_EQ(pfn_at(sim, 1, V), second);
	ASSERT_RUN(sim, touch(1, V, 1, 'w'));
	ASSERT_TRUE(pfn_at(sim, 1, V) != second);
	ASSERT_RUN(sim, exit_of(1));
	ASSERT_EQ(totals_of(sim).pages_live, totals_of(sim).leaked_pages);
	return true;
}

static bool test_equal_pages_become_the_second_of_them(void)
{
	return everywhere(merge_story);
}

static bool fork_story(struct fperf_sim *sim, const struct fperf_config *config)
{
	/* A count at Many refuses to move what a walk has unmapped everywhere. */
	const bool moves = config->scheme != scheme_number("zero_one_two_many");
	uint64_t kept;

	ASSERT_RUN(sim, map_anon(0, V, 4));
	ASSERT_RUN(sim, fill(0, V, 4));
	ASSERT_RUN(sim, advise(0, V, 4, FPERF_ADVICE_MERGEABLE));
	ASSERT_RUN(sim, ksm());
	ASSERT_RUN(sim, fork_to(0, 1));
	kept = pfn_at(sim, 0, V);
	/* The child's places are found through its parent's, and later by its own. */
	ASSERT_RUN(sim, EVENT(MIGRATE, .process = 1, .vpn = V, .nr = 1));
	ASSERT_EQ(totals_of(sim).migrations, moves);
	ASSERT_EQ(pfn_at(sim, 0, V) != kept, moves);
	for (uint64_t i = 0; i < 4; i++)
		ASSERT_EQ(pfn_at(sim, 1, V + i), pfn_at(sim, 0, V));
	ASSERT_RUN(sim, exit_of(0));
	ASSERT_EQ(run(sim, ksm()), FPERF_APPLIED);
	ASSERT_RUN(sim, EVENT(MIGRATE, .process = 1, .vpn = V, .nr = 1));
	ASSERT_EQ(totals_of(sim).migrations, 2 * moves);
	ASSERT_EQ(pfn_at(sim, 1, V), pfn_at(sim, 1, V + 3));
	/* What moves is taken apart, and what is no longer to be merged. */
	ASSERT_RUN(sim, remap(1, V, 2, W, 2));
	ASSERT_TRUE(pfn_at(sim, 1, W) != pfn_at(sim, 1, W + 1));
	ASSERT_RUN(sim, advise(1, V + 2, 2, FPERF_ADVICE_UNMERGEABLE));
	ASSERT_TRUE(pfn_at(sim, 1, V + 2) != pfn_at(sim, 1, V + 3));
	/* Each page is its own again, but for what a stale count keeps. */
	ASSERT_EQ(totals_of(sim).pages_live - totals_of(sim).leaked_pages, 4);
	return true;
}

static bool test_forks_are_found(void)
{
	return everywhere(fork_story);
}

/* A KSM page that no item leads to: mapped by a fork that is not merged, and moved there. */
static bool stray_story(struct fperf_sim *sim, const struct fperf_config *config)
{
	(void)config;
	ASSERT_RUN(sim, map_anon(0, V, 2));
	ASSERT_RUN(sim, fill(0, V, 2));
	ASSERT_RUN(sim, fork_to(0, 1));
	ASSERT_RUN(sim, advise(0, V, 2, FPERF_ADVICE_MERGEABLE));
	ASSERT_RUN(sim, ksm());
	ASSERT_EQ(pfn_at(sim, 0, V), pfn_at(sim, 1, V + 1));
	ASSERT_RUN(sim, remap(1, V, 2, W, 2));
	ASSERT_EQ(pfn_at(sim, 0, V), pfn_at(sim, 1, W + 1));
	/* A walk finds P0's mappings only, so the page cannot move. */
	ASSERT_EQ(run(sim, EVENT(MIGRATE, .process = 0, .vpn = V, .nr = 1)), FPERF_APPLIED);
	ASSERT_TRUE(sound(sim));
	ASSERT_EQ(totals_of(sim).migrations, 0);
	ASSERT_EQ(pfn_at(sim, 0, V), pfn_at(sim, 1, W + 1));
	ASSERT_RUN(sim, exit_of(0));
	ASSERT_RUN(sim, exit_of(1));
	ASSERT_EQ(totals_of(sim).pages_live, totals_of(sim).leaked_pages);
	return true;
}

static bool test_a_stray_mapping_holds_its_page(void)
{
	return everywhere(stray_story);
}

static bool thp_story(struct fperf_sim *sim, const struct fperf_config *config)
{
	(void)config;
	ASSERT_RUN(sim, map_anon(0, V, PMD_PAGES));
	ASSERT_RUN(sim, advise(0, V, PMD_PAGES, FPERF_ADVICE_HUGEPAGE));
	ASSERT_RUN(sim, fill(0, V, PMD_PAGES));
	ASSERT_RUN(sim, advise(0, V, PMD_PAGES, FPERF_ADVICE_MERGEABLE));
	ASSERT_RUN(sim, ksm());
	ASSERT_EQ(totals_of(sim).folio_splits, 1);
	/* max_page_sharing is 256. */
	ASSERT_EQ(totals_of(sim).pages_live, 2);
	return true;
}

static bool test_a_large_folio_is_split_and_a_page_shared_so_often(void)
{
	return everywhere(thp_story);
}

static bool reference_story(struct fperf_sim *sim, const struct fperf_config *config)
{
	(void)config;
	ASSERT_RUN(sim, map_anon(0, V, 3));
	ASSERT_RUN(sim, fill(0, V, 3));
	ASSERT_RUN(sim, advise(0, V, 3, FPERF_ADVICE_MERGEABLE));
	ASSERT_RUN(sim, EVENT(SPLICE, .process = 0, .vpn = V + 1, .nr = 1));
	ASSERT_RUN(sim, ksm());
	/* P0         k x k */
	ASSERT_EQ(totals_of(sim).pages_live, 2);
	ASSERT_EQ(pfn_at(sim, 0, V), pfn_at(sim, 0, V + 2));
	ASSERT_RUN(sim, EVENT(UNSPLICE, .process = 0));
	ASSERT_RUN(sim, ksm());
	ASSERT_EQ(totals_of(sim).pages_live, 1);
	return true;
}

static bool test_a_foreign_reference_keeps_a_page_apart(void)
{
	return everywhere(reference_story);
}

static bool swap_story(struct fperf_sim *sim, const struct fperf_config *config)
{
	(void)config;
	ASSERT_RUN(sim, map_anon(0, V, 3));
	ASSERT_RUN(sim, fill(0, V, 3));
	ASSERT_RUN(sim, advise(0, V, 3, FPERF_ADVICE_MERGEABLE));
	ASSERT_RUN(sim, ksm());
	ASSERT_RUN(sim, EVENT(SWAPON, .process = 0));
	ASSERT_RUN(sim, reclaim(0, V, 1));
	ASSERT_EQ(totals_of(sim).pages_live, totals_of(sim).leaked_pages);
	/* The first to come back has the page in the swap cache; where it does not fit by offset, there is a copy. */
	ASSERT_RUN(sim, touch(0, V, 3, 'r'));
	ASSERT_EQ(totals_of(sim).swap_ins, 3);
	ASSERT_TRUE(pfn_at(sim, 0, V) != pfn_at(sim, 0, V + 1));
	ASSERT_TRUE(pfn_at(sim, 0, V + 1) != pfn_at(sim, 0, V + 2));
	/* They hold what they held. */
	ASSERT_RUN(sim, ksm());
	ASSERT_EQ(pfn_at(sim, 0, V), pfn_at(sim, 0, V + 2));
	return true;
}

static bool test_what_was_merged_comes_back_from_swap(void)
{
	return everywhere(swap_story);
}

static bool test_shared_memory_is_left_alone(void)
{
	struct fperf_config config = small_machine();
	struct fperf_sim *sim;

	config.contents = 1;
	ASSERT_OK(fperf_sim_create(&config, &sim));
	add_object(sim, FPERF_OBJECT_MEMFD, 4, 0);
	ASSERT_RUN(sim, map_object(0, V, 4, 0, 0, FPERF_MAP_SHARED));
	ASSERT_RUN(sim, fill(0, V, 4));
	ASSERT_RUN(sim, advise(0, V, 4, FPERF_ADVICE_MERGEABLE));
	ASSERT_EQ(run(sim, ksm()), FPERF_NOOP);
	ASSERT_EQ(totals_of(sim).pages_live, 4);
	fperf_sim_destroy(sim);
	return true;
}

int main(void)
{
	TEST(equal_pages_become_the_second_of_them);
	TEST(forks_are_found);
	TEST(a_stray_mapping_holds_its_page);
	TEST(a_large_folio_is_split_and_a_page_shared_so_often);
	TEST(a_foreign_reference_keeps_a_page_apart);
	TEST(what_was_merged_comes_back_from_swap);
	TEST(shared_memory_is_left_alone);
	return TEST_END();
}
