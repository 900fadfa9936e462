/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reclaim: a folio is unmapped everywhere; a file's leaves the page cache, anonymous pages leave swap entries behind and
 * come back one by one. x = PTE, s = swap entry.
 */
#include "tests/machine.h"

enum { ORDER_2 = 1 << 2, PMD_ORDER = 1 << 9 };

static const uint64_t V = 512 * 1000, W = 512 * 2000;

/* Swap entries of a process. */
static uint64_t nr_swapped(struct fperf_sim *sim, uint32_t process)
{
	struct fperf_mapping_row rows[1024];
	uint64_t swapped = 0;
	size_t nr;

	if (fperf_sim_mappings(sim, process, rows, 1024, &nr))
		return UINT64_MAX;
	for (size_t i = 0; i < nr; i++)
		swapped += rows[i].kind == FPERF_MAPPING_SWAP ? rows[i].nr : 0;
	return swapped;
}

static int32_t refcount(struct fperf_sim *sim, uint64_t pfn)
{
	struct fperf_folio_row row;

	return fperf_sim_folio(sim, pfn, &row) ? -1 : row.refcount;
}

typedef bool (*story)(struct fperf_sim *sim, const struct fperf_config *config);

static bool everywhere(story story, uint64_t anon_orders)
{
	for (unsigned int old = 0; old < 2; old++) {
		struct fperf_config config = small_machine();

		config.anon_orders_always = anon_orders;
		config.profile = old ? kernel_5_17() : kernel_7_0();
		for (config.scheme = 0; config.scheme < nr_schemes(); config.scheme++) {
			struct fperf_sim *sim;

			ASSERT_OK(fperf_sim_create(&config, &sim));
			if (!story(sim, &config)) {
				printf("under %s, kernel %u\n", fperf_name_table(FPERF_NAMES_SCHEMES)[config.scheme],
				       config.profile.version);
				fperf_sim_destroy(sim);
				return false;
			}
			fperf_sim_destroy(sim);
		}
	}
	return true;
}

static bool one_page_story(struct fperf_sim *sim, const struct fperf_config *config)
{
	(void)config;
	ASSERT_RUN(sim, map_anon(0, V, 4));
	ASSERT_RUN(sim, touch(0, V, 3, 'w'));
	/* page  0 1 2 3
	 * P0    x s s .    <- 1 and 2 reclaimed */
	ASSERT_RUN(sim, reclaim(0, V + 1, 3));
	ASSERT_EQ(nr_swapped(sim, 0), 2);
	ASSERT_EQ(totals_of(sim).pages_live, 1);
	ASSERT_EQ(totals_of(sim).swap_outs, 2);
	ASSERT_EQ(run(sim, reclaim(0, V + 1, 3)), FPERF_NOOP);
	/* P0    x x s .    <- read: it was its own and still is, so it may be written at once */
	ASSERT_RUN(sim, touch(0, V + 1, 1, 'r'));
	ASSERT_EQ(nr_swapped(sim, 0), 1);
	ASSERT_EQ(refcount(sim, pfn_at(sim, 0, V + 1)), 1);
	ASSERT_RUN(sim, touch(0, V + 1, 1, 'w'));
	ASSERT_RUN(sim, touch(0, V + 2, 1, 'w'));
	ASSERT_EQ(totals_of(sim).swap_ins, 2);
	ASSERT_EQ(totals_of(sim).cow_copies, 0);
	/* Swap entries go with a mapping, and move with it. */
	ASSERT_RUN(sim, reclaim(0, V, 3));
	ASSERT_RUN(sim, remap(0, V, 4, W, 4));
	ASSERT_EQ(nr_swapped(sim, 0), 3);
	ASSERT_RUN(sim, touch(0, W + 1, 1, 'w'));
	ASSERT_EQ(nr_swapped(sim, 0), 2);
	ASSERT_RUN(sim, unmap(0, W + 2, 1));
	ASSERT_EQ(nr_swapped(sim, 0), 1);
	ASSERT_RUN(sim, dontneed(0, W, 1));
	ASSERT_EQ(nr_swapped(sim, 0), 0);
	ASSERT_RUN(sim, exit_of(0));
	ASSERT_EQ(totals_of(sim).folios_live, 0);
	return true;
}

static bool test_page_of_one_process(void)
{
	return everywhere(one_page_story, 0);
}

static bool shared_page_story(struct fperf_sim *sim, const struct fperf_config *config)
{
	uint64_t page;

	(void)config;
	ASSERT_RUN(sim, map_anon(0, V, 1));
	ASSERT_RUN(sim, touch(0, V, 1, 'w'));
	ASSERT_RUN(sim, fork_to(0, 1));
	/* P0 P1
	 * x  x
	 * s  s     both entries go, whoever reclaims */
	ASSERT_RUN(sim, reclaim(1, V, 1));
	ASSERT_EQ(nr_swapped(sim, 0) + nr_swapped(sim, 1), 2);
	ASSERT_EQ(totals_of(sim).pages_live, 0);
	/* s  s  s  a child copies the entry */
	ASSERT_RUN(sim, fork_to(1, 2));
	ASSERT_EQ(nr_swapped(sim, 2), 1);
	/* x  s  s  back for P0; the swap cache holds the page for the others: two references */
	ASSERT_RUN(sim, touch(0, V, 1, 'r'));
	page = pfn_at(sim, 0, V);
	ASSERT_EQ(refcount(sim, page), 2);
	/* Reclaim leaves it alone while entries lead to it. */
	ASSERT_EQ(run(sim, reclaim(0, V, 1)), FPERF_APPLIED);
	ASSERT_EQ(pfn_at(sim, 0, V), page);
	/* x  x  s  P1 finds the same page */
	ASSERT_RUN(sim, touch(1, V, 1, 'r'));
	ASSERT_EQ(pfn_at(sim, 1, V), page);
	ASSERT_EQ(refcount(sim, page), 3);
	/* x  x  .  the last entry gone, the page keeps its slot as long as somebody maps it */
	ASSERT_RUN(sim, exit_of(2));
	ASSERT_EQ(refcount(sim, page), 3);
	/* x  c     a write still copies */
	ASSERT_RUN(sim, touch(1, V, 1, 'w'));
	ASSERT_TRUE(pfn_at(sim, 1, V) != page);
	ASSERT_EQ(refcount(sim, page), 2);
	ASSERT_EQ(totals_of(sim).swap_ins, 2);
	/* s  c     and alone it is written in place again */
	ASSERT_RUN(sim, reclaim(0, V, 1));
	ASSERT_RUN(sim, touch(0, V, 1, 'w'));
	ASSERT_EQ(totals_of(sim).cow_copies, 1);
	ASSERT_RUN(sim, exit_of(0));
	ASSERT_RUN(sim, exit_of(1));
	ASSERT_EQ(totals_of(sim).folios_live, 0);
	return true;
}

static bool test_page_of_several_processes(void)
{
	return everywhere(shared_page_story, 0);
}

static bool written_while_shared_story(struct fperf_sim *sim, const struct fperf_config *config)
{
	(void)config;
	ASSERT_RUN(sim, map_anon(0, V, 1));
	ASSERT_RUN(sim, touch(0, V, 1, 'w'));
	ASSERT_RUN(sim, fork_to(0, 1));
	ASSERT_RUN(sim, reclaim(0, V, 1));
	/* P0 P1
	 * c  s     a write brings the page back and copies it; the page stays for P1 in the swap cache */
	ASSERT_RUN(sim, touch(0, V, 1, 'w'));
	ASSERT_EQ(totals_of(sim).cow_copies, 1);
	ASSERT_EQ(totals_of(sim).pages_live, 2);
	ASSERT_RUN(sim, exit_of(1));
	ASSERT_EQ(totals_of(sim).pages_live, 1);
	ASSERT_RUN(sim, exit_of(0));
	ASSERT_EQ(totals_of(sim).folios_live, 0);
	return true;
}

static bool test_write_to_a_swapped_page_of_two(void)
{
	return everywhere(written_while_shared_story, 0);
}

static bool large_folio_story(struct fperf_sim *sim, const struct fperf_config *config)
{
	const uint64_t nr = config->anon_orders_always == ORDER_2 ? 4 : 512;

	ASSERT_RUN(sim, map_anon(0, V, nr));
	ASSERT_RUN(sim, touch(0, V, 1, 'w'));
	ASSERT_RUN(sim, dontneed(0, V + 1, 1));
	/* page   0 1 2 .. n-1
	 * P0     x . x     x     reclaimed by one of its pages
	 * P0     s . s     s */
	ASSERT_RUN(sim, reclaim(0, V + 2, 1));
	ASSERT_EQ(nr_swapped(sim, 0), nr - 1);
	ASSERT_EQ(totals_of(sim).pages_live, 0);
	/* P0     s . x     x     pages come back alone, as order 0 */
	ASSERT_RUN(sim, touch(0, V + 2, nr - 2, 'w'));
	ASSERT_EQ(nr_swapped(sim, 0), 1);
	ASSERT_EQ(totals_of(sim).folios_live, nr - 2);
	ASSERT_EQ(totals_of(sim).swap_ins, nr - 2);
	ASSERT_RUN(sim, exit_of(0));
	ASSERT_EQ(totals_of(sim).folios_live, 0);
	return true;
}

static bool test_large_folio_leaves_at_once_and_returns_in_pages(void)
{
	return everywhere(large_folio_story, ORDER_2) && everywhere(large_folio_story, PMD_ORDER);
}

static bool huge_folio_of_two_story(struct fperf_sim *sim, const struct fperf_config *config)
{
	(void)config;
	ASSERT_RUN(sim, map_anon(0, V, 512));
	ASSERT_RUN(sim, touch(0, V, 1, 'w'));
	ASSERT_RUN(sim, fork_to(0, 1));
	/* page   0 1 .. 511
	 * P0     P P    P        both PMDs are split: swap entries are per page
	 * P1     P P    P  */
	ASSERT_RUN(sim, reclaim(0, V + 5, 1));
	ASSERT_EQ(nr_swapped(sim, 0), 512);
	ASSERT_EQ(nr_swapped(sim, 1), 512);
	ASSERT_EQ(totals_of(sim).pages_live, 0);
	ASSERT_RUN(sim, exit_of(0));
	ASSERT_EQ(nr_swapped(sim, 1), 512);
	ASSERT_RUN(sim, touch(1, V, 512, 'w'));
	ASSERT_EQ(totals_of(sim).cow_copies, 0);
	ASSERT_RUN(sim, exit_of(1));
	ASSERT_EQ(totals_of(sim).folios_live, 0);
	return true;
}

static bool test_huge_folio_of_two_processes(void)
{
	return everywhere(huge_folio_of_two_story, PMD_ORDER);
}

static bool many_mappers_story(struct fperf_sim *sim, const struct fperf_config *config)
{
	const bool counts_vmas = config->scheme == scheme_number("zero_one_two_many");

	ASSERT_RUN(sim, map_anon(0, V, 1));
	ASSERT_RUN(sim, touch(0, V, 1, 'w'));
	for (uint32_t child = 1; child <= 5; child++)
		ASSERT_RUN(sim, fork_to(0, child));
	ASSERT_RUN(sim, reclaim(0, V, 1));
	for (uint32_t process = 0; process <= 5; process++)
		ASSERT_EQ(nr_swapped(sim, process), 1);
	/* Nobody maps it, but only a recount could tell: Many keeps its references, and the page. */
	ASSERT_EQ(totals_of(sim).pages_live, counts_vmas);
	ASSERT_EQ(totals_of(sim).leaked_pages, counts_vmas);
	ASSERT_RUN(sim, touch(3, V, 1, 'r'));
	ASSERT_EQ(totals_of(sim).pages_live, counts_vmas + 1);
	for (uint32_t process = 0; process <= 5; process++)
		ASSERT_RUN(sim, exit_of(process));
	ASSERT_EQ(totals_of(sim).pages_live, counts_vmas);
	/* All VMAs are gone, and with them the anon_vma the stale page points to. */
	ASSERT_EQ(totals_of(sim).anon_vma_hazard > 0, counts_vmas);
	return true;
}

static bool test_page_of_many_processes(void)
{
	return everywhere(many_mappers_story, 0);
}

static bool file_story(struct fperf_sim *sim, const struct fperf_config *config)
{
	const uint32_t file = add_object(sim, FPERF_OBJECT_FILE, 16, 4);
	uint64_t folio;
	struct fperf_folio_row row;

	(void)config;
	ASSERT_RUN(sim, map_object(0, V, 16, file, 0, FPERF_MAP_SHARED));
	ASSERT_RUN(sim, touch(0, V, 16, 'r'));
	ASSERT_RUN(sim, fork_to(0, 1));
	ASSERT_RUN(sim, touch(1, V, 16, 'r'));
	folio = folio_at(sim, 0, V);
	ASSERT_RUN(sim, reclaim(1, V + 3, 1));
	ASSERT_EQ(fperf_sim_folio(sim, folio, &row), FPERF_ERR(ARGUMENT));
	ASSERT_EQ(totals_of(sim).file_discards, 16);
	ASSERT_EQ(totals_of(sim).pages_live, 0);
	ASSERT_TRUE(!pfn_at(sim, 0, V) && !pfn_at(sim, 1, V));
	/* Read from disk again. */
	ASSERT_RUN(sim, touch(0, V + 5, 1, 'r'));
	ASSERT_EQ(totals_of(sim).pages_live, 16);
	ASSERT_EQ(totals_of(sim).swap_outs, 0);
	return true;
}

static bool test_file_folio_leaves_the_page_cache(void)
{
	return everywhere(file_story, 0);
}

static struct fperf_event lazily(uint32_t process, uint64_t vpn, uint64_t nr)
{
	return advise(process, vpn, nr, FPERF_ADVICE_FREE);
}

static bool lazyfree_story(struct fperf_sim *sim, const struct fperf_config *config)
{
	(void)config;
	ASSERT_RUN(sim, map_anon(0, V, 4));
	ASSERT_RUN(sim, touch(0, V, 4, 'w'));
	ASSERT_RUN(sim, lazily(0, V, 4));
	ASSERT_EQ(totals_of(sim).pages_live, 4);
	/* Page 1 is written again, page 2 shared: what is left goes, without swap. */
	ASSERT_EQ(run(sim, touch(0, V + 1, 1, 'w')), FPERF_NOOP);
	ASSERT_RUN(sim, fork_to(0, 1));
	for (uint64_t i = 0; i < 4; i++)
		ASSERT_RUN(sim, reclaim(0, V + i, 1));
	ASSERT_EQ(totals_of(sim).pages_live, 1);
	ASSERT_EQ(nr_swapped(sim, 0) + nr_swapped(sim, 1), 0);
	ASSERT_EQ(totals_of(sim).swap_outs, 0);
	ASSERT_TRUE(pfn_at(sim, 0, V + 1) && pfn_at(sim, 1, V + 1));
	/* It is swap-backed from now on. */
	ASSERT_RUN(sim, reclaim(0, V + 1, 1));
	ASSERT_EQ(nr_swapped(sim, 0) + nr_swapped(sim, 1), 2);
	/* FREE gives swap entries back; what is read now is the zero page. */
	ASSERT_RUN(sim, lazily(0, V, 4));
	ASSERT_EQ(nr_swapped(sim, 0), 0);
	ASSERT_RUN(sim, touch(0, V, 4, 'r'));
	ASSERT_EQ(totals_of(sim).pages_live, 0);
	ASSERT_RUN(sim, exit_of(0));
	ASSERT_RUN(sim, exit_of(1));
	ASSERT_EQ(totals_of(sim).folios_live, 0);
	return true;
}

static bool test_lazyfree_pages_are_discarded(void)
{
	return everywhere(lazyfree_story, 0);
}

static bool lazyfree_huge_story(struct fperf_sim *sim, const struct fperf_config *config)
{
	int64_t value;

	ASSERT_RUN(sim, map_anon(0, V, 512));
	ASSERT_RUN(sim, touch(0, V, 1, 'w'));
	ASSERT_RUN(sim, lazily(0, V, 512));
	ASSERT_EQ(totals_of(sim).folio_splits, 0);
	/* Written since: it stays, as one folio, and is swap-backed again. */
	ASSERT_EQ(run(sim, touch(0, V + 7, 1, 'w')), FPERF_NOOP);
	ASSERT_RUN(sim, reclaim(0, V, 1));
	ASSERT_EQ(totals_of(sim).pages_live, 512);
	if (config->profile.version < FPERF_KERNEL(6, 8) &&
	    ask(sim, FPERF_ASK_PAGE_MAPCOUNT, folio_at(sim, 0, V), 0, &value) != FPERF_COUNT)
		return true;
	/* Up to v6.9 what no PMD maps is split on the way. */
	ASSERT_RUN(sim, lazily(0, V, 512));
	for (uint64_t i = 0; i < 512; i++)
		if (pfn_at(sim, 0, V + i))
			ASSERT_RUN(sim, reclaim(0, V + i, 1));
	ASSERT_EQ(totals_of(sim).pages_live, 0);
	ASSERT_EQ(totals_of(sim).swap_outs, 0);
	/* Of a part: the folio is split first. */
	ASSERT_RUN(sim, map_anon(0, W, 512));
	ASSERT_RUN(sim, touch(0, W, 1, 'w'));
	ASSERT_RUN(sim, lazily(0, W + 8, 8));
	ASSERT_EQ(totals_of(sim).pages_live, 512);
	ASSERT_EQ(totals_of(sim).folios_live, 512);
	ASSERT_RUN(sim, exit_of(0));
	ASSERT_EQ(totals_of(sim).folios_live, 0);
	return true;
}

static bool test_lazyfree_huge_folio(void)
{
	return everywhere(lazyfree_huge_story, PMD_ORDER);
}

static bool test_lazyfree_is_for_anonymous_memory(void)
{
	struct fperf_config config = small_machine();
	struct fperf_sim *sim;

	ASSERT_OK(fperf_sim_create(&config, &sim));
	ASSERT_RUN(sim, map_anon(0, V, 4));
	ASSERT_RUN(sim, touch(0, V, 4, 'w'));
	ASSERT_RUN(sim, advise(0, V, 2, FPERF_ADVICE_FREE));
	ASSERT_RUN(sim, ((struct fperf_event){ .op = FPERF_OP_MLOCK, .vpn = V, .nr = 4 }));
	ASSERT_EQ(run(sim, lazily(0, V, 4)), FPERF_ERR(ADVICE));
	fperf_sim_destroy(sim);
	return true;
}

int main(void)
{
	TEST(page_of_one_process);
	TEST(page_of_several_processes);
	TEST(write_to_a_swapped_page_of_two);
	TEST(large_folio_leaves_at_once_and_returns_in_pages);
	TEST(huge_folio_of_two_processes);
	TEST(page_of_many_processes);
	TEST(file_folio_leaves_the_page_cache);
	TEST(lazyfree_pages_are_discarded);
	TEST(lazyfree_huge_folio);
	TEST(lazyfree_is_for_anonymous_memory);
	return TEST_END();
}
