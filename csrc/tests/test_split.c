/* SPDX-License-Identifier: BSD-3-Clause */
/* Folios that are split, move, collapse or go to swap: under every design, on an old kernel and a new one. x = PTE, X = PMD. */
#include "tests/machine.h"

enum { PMD_ORDER = 9, PMD_PAGES = 1 << PMD_ORDER };

static const uint64_t V = 512 * 1000;

static struct fperf_event split(uint64_t nr, uint64_t order)
{
	return EVENT(SPLIT, .process = 0, .vpn = V, .nr = nr, .arg = order);
}

static struct fperf_event migrate(uint64_t nr)
{
	return EVENT(MIGRATE, .process = 0, .vpn = V, .nr = nr);
}

static struct fperf_folio_row row_at(struct fperf_sim *sim, uint32_t process, uint64_t vpn)
{
	struct fperf_folio_row row = { 0 };

	return fperf_sim_folio(sim, pfn_at(sim, process, vpn), &row) ? (struct fperf_folio_row){ 0 } : row;
}

typedef bool (*story)(struct fperf_sim *sim, const struct fperf_config *config);

static bool everywhere(story story)
{
	for (unsigned int old = 0; old < 2; old++) {
		struct fperf_config config = small_machine();

		config.anon_orders_always = 1ull << PMD_ORDER;
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

static bool split_story(struct fperf_sim *sim, const struct fperf_config *config)
{
	/* Kernels before v6.9 have one order to offer. */
	const uint32_t order = config->profile.version < FPERF_KERNEL(6, 9) ? 0 : 4;

	/*            0 ... 511
	 * P0         X
	 * P1         X          one folio */
	ASSERT_RUN(sim, map_anon(0, V, PMD_PAGES));
	ASSERT_RUN(sim, touch(0, V, 1, 'w'));
	ASSERT_RUN(sim, fork_to(0, 1));
	ASSERT_RUN(sim, split(PMD_PAGES, 4));
	/* P0, P1     x ... x    parts, each page mapped by both */
	ASSERT_EQ(row_at(sim, 0, V + 100).order, order);
	ASSERT_EQ(pfn_at(sim, 0, V + 100), pfn_at(sim, 1, V + 100));
	ASSERT_EQ(totals_of(sim).folios_live, PMD_PAGES >> order);
	ASSERT_EQ(totals_of(sim).pages_live, PMD_PAGES);
	ASSERT_EQ(totals_of(sim).folio_splits, 1);
	/* Nothing of that size is left. */
	ASSERT_EQ(run(sim, split(PMD_PAGES, 4)), FPERF_NOOP);
	ASSERT_RUN(sim, exit_of(1));
	ASSERT_RUN(sim, unmap(0, V, PMD_PAGES));
	ASSERT_EQ(totals_of(sim).pages_live, 0);
	return true;
}

static bool test_a_split_maps_the_parts_where_the_whole_was(void)
{
	return everywhere(split_story);
}

static bool refused_story(struct fperf_sim *sim, const struct fperf_config *config)
{
	uint64_t pfn;

	(void)config;
	ASSERT_RUN(sim, map_anon(0, V, PMD_PAGES));
	ASSERT_RUN(sim, touch(0, V, 1, 'w'));
	pfn = pfn_at(sim, 0, V);
	ASSERT_RUN(sim, EVENT(SPLICE, .process = 0, .vpn = V + 3, .nr = 1));
	ASSERT_EQ(run(sim, split(PMD_PAGES, 0)), FPERF_NOOP);
	ASSERT_RUN(sim, migrate(PMD_PAGES));
	ASSERT_EQ(pfn_at(sim, 0, V), pfn);
	ASSERT_EQ(row_at(sim, 0, V).order, PMD_ORDER);
	ASSERT_EQ(totals_of(sim).splits_refused, 1);
	ASSERT_EQ(totals_of(sim).migrations_refused, 1);
	/* The pipe lets go of it. */
	ASSERT_RUN(sim, EVENT(UNSPLICE, .process = 0));
	ASSERT_RUN(sim, migrate(PMD_PAGES));
	ASSERT_TRUE(pfn_at(sim, 0, V) != pfn);
	ASSERT_EQ(row_at(sim, 0, V).order, PMD_ORDER);
	ASSERT_EQ(totals_of(sim).folios_live, 1);
	ASSERT_RUN(sim, split(PMD_PAGES, 0));
	ASSERT_EQ(totals_of(sim).folios_live, PMD_PAGES);
	return true;
}

static bool test_a_foreign_reference_forbids_both(void)
{
	return everywhere(refused_story);
}

static bool unmapped_part_story(struct fperf_sim *sim, const struct fperf_config *config)
{
	(void)config;
	ASSERT_RUN(sim, map_anon(0, V, PMD_PAGES));
	ASSERT_RUN(sim, touch(0, V, 1, 'w'));
	ASSERT_RUN(sim, unmap(0, V + 64, PMD_PAGES - 64));
	/* 64 pages are mapped, the folio holds all. */
	ASSERT_EQ(totals_of(sim).pages_live, PMD_PAGES);
	ASSERT_RUN(sim, split(64, 0));
	ASSERT_EQ(totals_of(sim).pages_live, 64);
	/* What was the process's own still is. */
	ASSERT_EQ(run(sim, touch(0, V, 64, 'w')), FPERF_NOOP);
	return true;
}

static bool test_pages_that_nobody_maps_are_freed(void)
{
	return everywhere(unmapped_part_story);
}

static bool test_the_deferred_queue_is_worked_off(void)
{
	struct fperf_config config = small_machine();
	struct fperf_sim *sim;

	config.anon_orders_always = 1ull << PMD_ORDER;
	config.scheme = scheme_number("mm_owner");
	ASSERT_OK(fperf_sim_create(&config, &sim));
	ASSERT_RUN(sim, map_anon(0, V, 2 * PMD_PAGES));
	ASSERT_RUN(sim, touch(0, V, 2 * PMD_PAGES, 'w'));
	ASSERT_EQ(run(sim, EVENT(DEFERRED_SPLIT, .process = 0)), FPERF_NOOP);
	ASSERT_RUN(sim, unmap(0, V, 1));
	ASSERT_TRUE(row_at(sim, 0, V + 1).deferred);
	ASSERT_RUN(sim, EVENT(DEFERRED_SPLIT, .process = 0));
	ASSERT_EQ(row_at(sim, 0, V + 1).order, 0);
	ASSERT_EQ(row_at(sim, 0, V + PMD_PAGES).order, PMD_ORDER);
	ASSERT_EQ(totals_of(sim).pages_live, 2 * PMD_PAGES - 1);
	ASSERT_EQ(run(sim, EVENT(DEFERRED_SPLIT, .process = 0)), FPERF_NOOP);
	fperf_sim_destroy(sim);
	return true;
}

static bool test_an_order_beyond_the_pmd_is_refused(void)
{
	struct fperf_config config = small_machine();
	struct fperf_sim *sim;

	ASSERT_OK(fperf_sim_create(&config, &sim));
	ASSERT_RUN(sim, map_anon(0, V, 1));
	ASSERT_EQ(run(sim, split(1, PMD_ORDER + 1)), FPERF_ERR(ARGUMENT));
	fperf_sim_destroy(sim);
	return true;
}

/* Pages become one folio only for who collapses; on a kernel that knows the advice. */
static bool collapse_story(struct fperf_sim *sim, const struct fperf_config *config)
{
	if (config->profile.version < FPERF_KERNEL(6, 1))
		return true;
	ASSERT_RUN(sim, map_anon(0, V, PMD_PAGES));
	ASSERT_RUN(sim, advise(0, V, PMD_PAGES, FPERF_ADVICE_NOHUGEPAGE));
	ASSERT_RUN(sim, touch(0, V, PMD_PAGES, 'w'));
	ASSERT_EQ(run(sim, advise(0, V, PMD_PAGES, FPERF_ADVICE_COLLAPSE)), FPERF_ERR(ADVICE));
	ASSERT_RUN(sim, advise(0, V, PMD_PAGES, FPERF_ADVICE_HUGEPAGE));
	ASSERT_RUN(sim, fork_to(0, 1));
	/* A reference of somebody else to one page is in the way of all. */
	ASSERT_RUN(sim, EVENT(SPLICE, .process = 0, .vpn = V + 3, .nr = 1));
	ASSERT_EQ(run(sim, advise(0, V, PMD_PAGES, FPERF_ADVICE_COLLAPSE)), FPERF_NOOP);
	ASSERT_RUN(sim, EVENT(UNSPLICE, .process = 0));
	ASSERT_RUN(sim, advise(0, V, PMD_PAGES, FPERF_ADVICE_COLLAPSE));
	/* P0   X          a folio of its own
	 * P1   x ... x    the small pages */
	ASSERT_EQ(row_at(sim, 0, V).order, PMD_ORDER);
	ASSERT_EQ(row_at(sim, 1, V).order, 0);
	ASSERT_EQ(totals_of(sim).pages_live, 2 * PMD_PAGES);
	ASSERT_EQ(totals_of(sim).collapses, 1);
	ASSERT_EQ(totals_of(sim).collapses_refused, 1);
	return true;
}

static bool test_a_collapse_copies_for_one(void)
{
	return everywhere(collapse_story);
}

static bool pageout_story(struct fperf_sim *sim, const struct fperf_config *config)
{
	(void)config;
	ASSERT_RUN(sim, map_anon(0, V, 8));
	ASSERT_RUN(sim, touch(0, V, 8, 'w'));
	/* No device, no swap. */
	ASSERT_RUN(sim, advise(0, V, 8, FPERF_ADVICE_PAGEOUT));
	ASSERT_EQ(totals_of(sim).swap_outs, 0);
	ASSERT_RUN(sim, EVENT(SWAPON, .process = 0));
	ASSERT_RUN(sim, advise(0, V, 4, FPERF_ADVICE_PAGEOUT));
	ASSERT_EQ(totals_of(sim).swap_outs, 4);
	/* What another process maps too stays. */
	ASSERT_RUN(sim, fork_to(0, 1));
	ASSERT_RUN(sim, advise(0, V, 8, FPERF_ADVICE_PAGEOUT));
	ASSERT_EQ(totals_of(sim).swap_outs, 4);
	ASSERT_EQ(totals_of(sim).pages_live, 4);
	/* Both get their pages back, shared as they were. */
	ASSERT_RUN(sim, EVENT(SWAPOFF, .process = 0));
	ASSERT_EQ(totals_of(sim).pages_live, 8);
	ASSERT_EQ(totals_of(sim).swap_ins, 8);
	ASSERT_EQ(pfn_at(sim, 0, V + 1), pfn_at(sim, 1, V + 1));
	return true;
}

static bool test_advice_reclaims_what_is_ones_own(void)
{
	return everywhere(pageout_story);
}

int main(void)
{
	TEST(a_split_maps_the_parts_where_the_whole_was);
	TEST(a_foreign_reference_forbids_both);
	TEST(pages_that_nobody_maps_are_freed);
	TEST(the_deferred_queue_is_worked_off);
	TEST(an_order_beyond_the_pmd_is_refused);
	TEST(a_collapse_copies_for_one);
	TEST(advice_reclaims_what_is_ones_own);
	return TEST_END();
}
