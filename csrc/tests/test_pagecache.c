/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * File mappings: what a fault maps, who holds the folio, truncation. A resident folio of n pages has n references of the
 * page cache besides those of its mappings. x = PTE, P = under a PMD.
 */
#include "tests/machine.h"

static const uint64_t V = 512 * 1000;

static bool folio_is(struct fperf_sim *sim, uint64_t folio, uint32_t ptes, uint32_t pmds, uint32_t vmas,
		     int32_t cache_refs)
{
	struct fperf_folio_row row;
	int64_t value;

	ASSERT_OK(fperf_sim_folio(sim, folio, &row));
	ASSERT_EQ(row.true_pte, ptes);
	ASSERT_EQ(row.true_pmd, pmds);
	ASSERT_EQ(row.true_vmas, vmas);
	ASSERT_EQ(row.refcount, row.mapping_refs + cache_refs);
	ASSERT_EQ(row.anon, 0);
	if (ask(sim, FPERF_ASK_TOTAL_MAPCOUNT, folio, 0, &value) != FPERF_COUNT)
		return true;
	ASSERT_EQ(value, ptes + pmds);
	return true;
}

static bool create(const struct fperf_config *config, struct fperf_sim **sim)
{
	ASSERT_OK(fperf_sim_create(config, sim));
	return true;
}

/* Every scheme, kernel 7.0 and 5.17. */
#define FOR_EACH_MACHINE(config, old)								\
	for (unsigned int old = 0; old < 2; old++)						\
		for (config = small_machine(), config.profile = old ? kernel_5_17() : kernel_7_0();	\
		     config.scheme < nr_schemes(); config.scheme++)

static bool test_fault_around(void)
{
	struct fperf_config config;

	FOR_EACH_MACHINE(config, old)
	{
		struct fperf_sim *sim;
		uint32_t file;
		uint64_t small, large;

		ASSERT_TRUE(create(&config, &sim));
		file = add_object(sim, FPERF_OBJECT_FILE, 64, 0);
		/* folios of the page cache    |16|17|18|19|20 . . . . . . . 32 . . . . . . . 63|
		 *                              order 0     one of order 2, one of order 4 at 32 */
		ASSERT_OK(fperf_sim_populate(sim, file, 20, 2));
		ASSERT_OK(fperf_sim_populate(sim, file, 32, 4));
		ASSERT_RUN(sim, map_object(0, V, 64, file, 0, FPERF_MAP_SHARED));
		/* The window is 16 pages around the fault: 16 .. 31. */
		ASSERT_RUN(sim, touch(0, V + 18, 1, 'r'));
		ASSERT_EQ(pfn_at(sim, 0, V + 15), 0);
		ASSERT_TRUE(pfn_at(sim, 0, V + 16));
		ASSERT_TRUE(pfn_at(sim, 0, V + 31));
		ASSERT_EQ(pfn_at(sim, 0, V + 32), 0);
		ASSERT_EQ(run(sim, touch(0, V + 16, 16, 'r')), FPERF_NOOP);
		small = folio_at(sim, 0, V + 16);
		large = folio_at(sim, 0, V + 20);
		ASSERT_EQ(pfn_at(sim, 0, V + 23), large + 3);
		ASSERT_TRUE(folio_is(sim, small, 1, 0, 1, 1));
		ASSERT_TRUE(folio_is(sim, large, 4, 0, 1, 4));
		/* Another window, another process. */
		ASSERT_RUN(sim, fork_to(0, 1));
		ASSERT_EQ(pfn_at(sim, 1, V + 16), 0);
		ASSERT_RUN(sim, touch(1, V + 23, 1, 'r'));
		ASSERT_TRUE(folio_is(sim, large, 8, 0, 2, 4));
		ASSERT_TRUE(folio_is(sim, small, 2, 0, 2, 1));
		ASSERT_RUN(sim, dontneed(0, V, 64));
		ASSERT_TRUE(folio_is(sim, large, 4, 0, 1, 4));
		ASSERT_RUN(sim, exit_of(0));
		ASSERT_RUN(sim, exit_of(1));
		/* The page cache keeps everything. */
		ASSERT_TRUE(folio_is(sim, large, 0, 0, 0, 4));
		ASSERT_TRUE(folio_is(sim, small, 0, 0, 0, 1));
		fperf_sim_destroy(sim);
	}
	return true;
}

static bool test_large_folio_in_pieces(void)
{
	struct fperf_config config;

	FOR_EACH_MACHINE(config, old)
	{
		struct fperf_sim *sim;
		uint32_t file;
		uint64_t folio;

		ASSERT_TRUE(create(&config, &sim));
		/* Two folios: at the end of a file v6.18 and later do not fault around. */
		file = add_object(sim, FPERF_OBJECT_FILE, 128, 6);
		ASSERT_RUN(sim, map_object(0, V, 64, file, 0, FPERF_MAP_SHARED));
		ASSERT_RUN(sim, touch(0, V + 18, 1, 'r'));
		folio = folio_at(sim, 0, V + 18);
		/* order 6      page  0 .. 15 16 .. 31 32 .. 63
		 * 5.17                        x     x              the window
		 * 7.0                x     x  x     x  x     x     all of the folio */
		ASSERT_TRUE(folio_is(sim, folio, old ? 16 : 64, 0, 1, 64));
		ASSERT_RUN(sim, unmap(0, V + 20, 44));
		ASSERT_TRUE(folio_is(sim, folio, old ? 4 : 20, 0, 1, 64));
		/* A second mapping that covers only a part can have only that part. */
		ASSERT_RUN(sim, map_object(0, V + 512, 8, file, 40, 0));
		ASSERT_RUN(sim, touch(0, V + 512 + 5, 1, 'r'));
		ASSERT_EQ(pfn_at(sim, 0, V + 512), folio + 40);
		ASSERT_TRUE(folio_is(sim, folio, old ? 12 : 28, 0, 2, 64));
		fperf_sim_destroy(sim);
	}
	return true;
}

static bool test_pmd_of_a_file(void)
{
	struct fperf_config config;

	FOR_EACH_MACHINE(config, old)
	{
		struct fperf_sim *sim;
		uint32_t file;
		uint64_t folio;

		ASSERT_TRUE(create(&config, &sim));
		file = add_object(sim, FPERF_OBJECT_FILE, 1024, 9);
		ASSERT_RUN(sim, map_object(0, V, 1024, file, 0, FPERF_MAP_SHARED));
		/* V      |P    ..    P|     aligned as the folio is
		 * W      |x    ..    x|     a page further: PTEs only, 16 of them or as many as one table holds */
		ASSERT_RUN(sim, touch(0, V + 100, 1, 'r'));
		folio = folio_at(sim, 0, V);
		ASSERT_TRUE(folio_is(sim, folio, 0, 1, 1, 512));
		ASSERT_RUN(sim, map_object(0, 2 * V + 1, 512, file, 0, FPERF_MAP_SHARED));
		ASSERT_RUN(sim, touch(0, 2 * V + 31, 1, 'r'));
		ASSERT_TRUE(folio_is(sim, folio, 16, 1, 2, 512));
		/* A border through a file's PMD drops it; faults bring the rest back. */
		ASSERT_RUN(sim, unmap(0, V + 511, 1));
		ASSERT_TRUE(folio_is(sim, folio, 16, 0, 1, 512));
		ASSERT_RUN(sim, touch(0, V + 100, 1, 'r'));
		ASSERT_TRUE(pfn_at(sim, 0, V + 100) == folio + 100);
		ASSERT_RUN(sim, exit_of(0));
		ASSERT_TRUE(folio_is(sim, folio, 0, 0, 0, 512));
		fperf_sim_destroy(sim);
	}
	return true;
}

static bool test_private_mapping_copies_on_write(void)
{
	struct fperf_config config;

	FOR_EACH_MACHINE(config, old)
	{
		struct fperf_sim *sim;
		uint32_t file;
		uint64_t folio, copy;

		ASSERT_TRUE(create(&config, &sim));
		file = add_object(sim, FPERF_OBJECT_FILE, 16, 4);
		ASSERT_RUN(sim, map_object(0, V, 16, file, 0, 0));
		/* order 4      page  0 1 2 .. 15
		 *              P0    x c x    x     c = private copy, written before anything was read
		 *              P1    . c . .  .     fork copies tables with anonymous pages, file pages with them */
		ASSERT_RUN(sim, touch(0, V + 1, 1, 'w'));
		copy = folio_at(sim, 0, V + 1);
		ASSERT_RUN(sim, touch(0, V, 1, 'r'));
		folio = folio_at(sim, 0, V);
		ASSERT_TRUE(copy != folio);
		ASSERT_TRUE(folio_is(sim, folio, 15, 0, 1, 16));
		ASSERT_RUN(sim, fork_to(0, 1));
		ASSERT_EQ(pfn_at(sim, 1, V + 1), copy);
		ASSERT_EQ(pfn_at(sim, 1, V), folio);
		ASSERT_TRUE(folio_is(sim, folio, 30, 0, 2, 16));
		ASSERT_RUN(sim, touch(1, V + 2, 1, 'w'));
		ASSERT_TRUE(folio_is(sim, folio, 29, 0, 2, 16));
		ASSERT_TRUE(pfn_at(sim, 1, V + 2) != folio + 2);
		ASSERT_RUN(sim, exit_of(0));
		ASSERT_RUN(sim, exit_of(1));
		ASSERT_TRUE(folio_is(sim, folio, 0, 0, 0, 16));
		ASSERT_EQ(totals_of(sim).folios_live, 1);
		fperf_sim_destroy(sim);
	}
	return true;
}

static bool test_shared_writes_do_not_copy(void)
{
	static const enum fperf_object_kind kinds[] = { FPERF_OBJECT_FILE, FPERF_OBJECT_MEMFD, FPERF_OBJECT_TMPFS,
							FPERF_OBJECT_ANON_SHARED };
	struct fperf_config config;

	FOR_EACH_MACHINE(config, old)
	{
		for (unsigned int i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
			struct fperf_sim *sim;
			uint32_t object;
			uint64_t folio;

			ASSERT_TRUE(create(&config, &sim));
			object = add_object(sim, kinds[i], 512, 0);
			ASSERT_RUN(sim, map_object(0, V, 512, object, 0, FPERF_MAP_SHARED));
			ASSERT_RUN(sim, touch(0, V, 3, 'w'));
			folio = pfn_at(sim, 0, V + 2);
			ASSERT_RUN(sim, fork_to(0, 1));
			ASSERT_RUN(sim, touch(1, V + 2, 1, 'w'));
			ASSERT_EQ(pfn_at(sim, 1, V + 2), folio);
			ASSERT_EQ(totals_of(sim).cow_copies, 0);
			/* huge=always takes a huge folio for three pages; the others were asked for single ones. */
			if (kinds[i] == FPERF_OBJECT_TMPFS)
				ASSERT_TRUE(folio_is(sim, folio - 2, 0, 2, 2, 512));
			else
				ASSERT_TRUE(folio_is(sim, folio, 2, 0, 2, 1));
			fperf_sim_destroy(sim);
		}
	}
	return true;
}

static bool test_truncation_splits_the_folio_at_the_end(void)
{
	struct fperf_config config;

	FOR_EACH_MACHINE(config, old)
	{
		struct fperf_sim *sim;
		uint32_t file;
		uint64_t first, last;
		struct fperf_folio_row row;

		ASSERT_TRUE(create(&config, &sim));
		file = add_object(sim, FPERF_OBJECT_FILE, 32, 4);
		ASSERT_RUN(sim, map_object(0, V, 32, file, 0, FPERF_MAP_SHARED));
		ASSERT_RUN(sim, touch(0, V, 1, 'r'));
		ASSERT_RUN(sim, touch(0, V + 16, 1, 'r'));
		first = folio_at(sim, 0, V);
		last = folio_at(sim, 0, V + 16);
		/* two folios of 16      page  0 .. 9 10 .. 15 16 .. 31
		 *                       P0    x    x  x     x  x     x
		 *  truncated to 10      P0    .    .                      the first is unmapped and split to get rid of
		 *                                                         its pages 10 .. 15, the second goes;
		 *  since v6.15 only around page 10: 0 .. 7, 8 .. 9 stay together */
		ASSERT_RUN(sim, truncate_to(file, 10));
		ASSERT_EQ(fperf_sim_folio(sim, last, &row), FPERF_ERR(ARGUMENT));
		ASSERT_EQ(fperf_sim_folio(sim, first + 10, &row), FPERF_ERR(ARGUMENT));
		ASSERT_OK(fperf_sim_folio(sim, first + 9, &row));
		ASSERT_EQ(row.order, old ? 0 : 1);
		ASSERT_EQ(row.refcount, old ? 1 : 2);
		ASSERT_OK(fperf_sim_folio(sim, first + 7, &row));
		ASSERT_EQ(row.order, old ? 0 : 3);
		ASSERT_EQ(totals_of(sim).folios_live, old ? 10 : 2);
		ASSERT_EQ(totals_of(sim).pages_live, 10);
		ASSERT_EQ(pfn_at(sim, 0, V + 16), 0);
		ASSERT_EQ(run(sim, touch(0, V + 10, 1, 'r')), FPERF_ERR(BEYOND_EOF));
		ASSERT_RUN(sim, touch(0, V + 9, 1, 'r'));
		ASSERT_EQ(pfn_at(sim, 0, V + 9), first + 9);
		ASSERT_EQ(pfn_at(sim, 0, V + 10), 0);
		/* The VMA is as long as ever; a file that grows again is read again. */
		ASSERT_RUN(sim, truncate_to(file, 32));
		ASSERT_RUN(sim, touch(0, V + 31, 1, 'r'));
		ASSERT_RUN(sim, truncate_to(file, 0));
		ASSERT_EQ(totals_of(sim).pages_live, 0);
		fperf_sim_destroy(sim);
	}
	return true;
}

static bool test_truncation_takes_private_copies_along(void)
{
	struct fperf_config config;

	FOR_EACH_MACHINE(config, old)
	{
		struct fperf_sim *sim;
		uint32_t file;

		ASSERT_TRUE(create(&config, &sim));
		file = add_object(sim, FPERF_OBJECT_FILE, 8, 0);
		ASSERT_RUN(sim, map_object(0, V, 8, file, 0, 0));
		ASSERT_RUN(sim, touch(0, V, 8, 'w'));
		ASSERT_RUN(sim, fork_to(0, 1));
		ASSERT_RUN(sim, truncate_to(file, 4));
		ASSERT_TRUE(pfn_at(sim, 0, V + 3) && pfn_at(sim, 1, V + 3));
		ASSERT_TRUE(!pfn_at(sim, 0, V + 4) && !pfn_at(sim, 1, V + 4));
		/* Four pages of the cache, four copies. */
		ASSERT_EQ(totals_of(sim).pages_live, 8);
		fperf_sim_destroy(sim);
	}
	return true;
}

static bool test_truncation_of_a_stale_folio_cannot_split_it(void)
{
	/* Four processes mapped the folio and left: Many holds three references that nobody takes back, so the folio
	 * cannot be frozen, and its pages beyond the end stay allocated. */
	struct fperf_config config = small_machine();
	struct fperf_sim *sim;
	struct fperf_folio_row row;
	uint32_t file;
	uint64_t folio;

	config.scheme = scheme_number("zero_one_two_many");
	ASSERT_OK(fperf_sim_create(&config, &sim));
	file = add_object(sim, FPERF_OBJECT_FILE, 16, 4);
	ASSERT_RUN(sim, map_object(0, V, 16, file, 0, FPERF_MAP_SHARED));
	for (uint32_t child = 1; child <= 4; child++) {
		ASSERT_RUN(sim, fork_to(0, child));
		ASSERT_RUN(sim, touch(child, V, 1, 'r'));
	}
	folio = folio_at(sim, 1, V);
	for (uint32_t child = 1; child <= 4; child++)
		ASSERT_RUN(sim, exit_of(child));
	ASSERT_TRUE(folio_is(sim, folio, 0, 0, 0, 16));
	ASSERT_RUN(sim, truncate_to(file, 10));
	ASSERT_OK(fperf_sim_folio(sim, folio + 15, &row));
	ASSERT_EQ(row.order, 4);
	ASSERT_EQ(row.refcount, 16 + 3);
	/* Dropped from the cache it is memory that nobody can reach. */
	ASSERT_RUN(sim, truncate_to(file, 0));
	ASSERT_OK(fperf_sim_folio(sim, folio, &row));
	ASSERT_EQ(row.refcount, 3);
	ASSERT_EQ(totals_of(sim).leaked_pages, 16);
	fperf_sim_destroy(sim);
	return true;
}

static bool test_reading_and_dropping_an_object(void)
{
	struct fperf_config config;

	FOR_EACH_MACHINE(config, old)
	{
		struct fperf_sim *sim;
		uint32_t file;

		ASSERT_TRUE(create(&config, &sim));
		file = add_object(sim, FPERF_OBJECT_FILE, 70, 4);
		ASSERT_RUN(sim, EVENT(READ_OBJECT, .what = file + 1));
		/* Four folios of 16 and six pages, as 4 + 2 or as whatever fits the end. */
		ASSERT_EQ(totals_of(sim).pages_live, 70);
		ASSERT_RUN(sim, map_object(0, V, 70, file, 0, FPERF_MAP_SHARED));
		ASSERT_RUN(sim, touch(0, V + 20, 1, 'r'));
		/* Clean and unmapped goes; the folio that is mapped stays. */
		ASSERT_RUN(sim, EVENT(DROP_OBJECT, .what = file + 1));
		ASSERT_EQ(totals_of(sim).pages_live, 16);
		ASSERT_TRUE(pfn_at(sim, 0, V + 20));
		ASSERT_RUN(sim, exit_of(0));
		ASSERT_RUN(sim, EVENT(DROP_OBJECT, .what = file + 1));
		ASSERT_EQ(totals_of(sim).pages_live, 0);
		fperf_sim_destroy(sim);
	}
	return true;
}

static bool test_folios_are_put_where_they_fit(void)
{
	const struct fperf_config config = small_machine();
	struct fperf_sim *sim;
	uint32_t file;

	ASSERT_OK(fperf_sim_create(&config, &sim));
	ASSERT_EQ(fperf_sim_populate(sim, 0, 0, 0), FPERF_ERR(NO_OBJECT));
	file = add_object(sim, FPERF_OBJECT_FILE, 64, 0);
	ASSERT_OK(fperf_sim_populate(sim, file, 16, 4));
	ASSERT_EQ(fperf_sim_populate(sim, file + 1, 0, 0), FPERF_ERR(NO_OBJECT));
	ASSERT_EQ(fperf_sim_populate(sim, file, 0, 10), FPERF_ERR(ORDER));
	ASSERT_EQ(fperf_sim_populate(sim, file, 31, 0), FPERF_ERR(ARGUMENT)); /* there already */
	ASSERT_EQ(fperf_sim_populate(sim, file, 0, 5), FPERF_ERR(ARGUMENT)); /* over it */
	ASSERT_EQ(fperf_sim_populate(sim, file, 34, 2), FPERF_ERR(ARGUMENT)); /* not aligned */
	ASSERT_EQ(fperf_sim_populate(sim, file, 1 << 20, 0), FPERF_ERR(ARGUMENT));
	/* index + 2^order wraps around */
	ASSERT_EQ(fperf_sim_populate(sim, file, UINT64_MAX, 0), FPERF_ERR(ARGUMENT));
	ASSERT_EQ(fperf_sim_populate(sim, file, UINT64_MAX - 511, 9), FPERF_ERR(ARGUMENT));
	ASSERT_EQ(totals_of(sim).pages_live, 16);
	ASSERT_TRUE(sound(sim));
	fperf_sim_destroy(sim);
	return true;
}

static bool test_impossible_objects(void)
{
	static const struct fperf_object_desc bad[] = {
		{ .kind = FPERF_NR_OBJECT_KINDS, .nr_pages = 1 },
		{ .kind = FPERF_OBJECT_FILE, .order = 10, .nr_pages = 1 },
		{ .kind = FPERF_OBJECT_FILE, .nr_pages = (1ull << 35) + 1 },
		{ .kind = FPERF_OBJECT_FILE, .nr_pages = 1ull << 63 },
		{ .kind = FPERF_OBJECT_FILE, .nr_pages = UINT64_MAX },
		{ .kind = FPERF_OBJECT_FILE, .nr_pages = 1, .warm = 2 },
	};
	const struct fperf_object_desc empty = { .kind = FPERF_OBJECT_FILE };
	const struct fperf_config config = small_machine();
	struct fperf_sim *sim;
	uint32_t index = 77;

	ASSERT_OK(fperf_sim_create(&config, &sim));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ASSERT_EQ(fperf_sim_add_object(sim, &bad[i], &index), FPERF_ERR(CONFIG));
	ASSERT_EQ(index, 77);
	ASSERT_OK(fperf_sim_add_object(sim, &empty, &index));
	ASSERT_EQ(index, 0);
	ASSERT_RUN(sim, map_object(0, V, 1, 0, 0, 0));
	ASSERT_EQ(run(sim, touch(0, V, 1, 'r')), FPERF_ERR(BEYOND_EOF));
	fperf_sim_destroy(sim);
	return true;
}

int main(void)
{
	TEST(fault_around);
	TEST(large_folio_in_pieces);
	TEST(pmd_of_a_file);
	TEST(private_mapping_copies_on_write);
	TEST(shared_writes_do_not_copy);
	TEST(truncation_splits_the_folio_at_the_end);
	TEST(truncation_takes_private_copies_along);
	TEST(truncation_of_a_stale_folio_cannot_split_it);
	TEST(reading_and_dropping_an_object);
	TEST(folios_are_put_where_they_fit);
	TEST(impossible_objects);
	return TEST_END();
}
