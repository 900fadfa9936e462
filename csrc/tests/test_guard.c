/* SPDX-License-Identifier: BSD-3-Clause */
/* Guard regions, and holes in files. x = page, g = guard. */
#include "tests/machine.h"

static const uint64_t V = 512 * 1000, W = 512 * 2000;

static bool test_a_guard_takes_pages_away_and_lets_none_in(void)
{
	struct fperf_config config = small_machine();
	struct fperf_sim *sim;

	ASSERT_OK(fperf_sim_create(&config, &sim));
	ASSERT_RUN(sim, map_anon(0, V, 8));
	ASSERT_RUN(sim, touch(0, V, 8, 'w'));
	ASSERT_RUN(sim, advise(0, V + 2, 2, FPERF_ADVICE_GUARD_INSTALL));
	/* P0         x x g g x x x x */
	ASSERT_EQ(totals_of(sim).pages_live, 6);
	/* In strict mode a touch that would meet it does nothing. */
	ASSERT_EQ(run(sim, touch(0, V, 8, 'r')), FPERF_ERR(SEGV));
	ASSERT_EQ(run(sim, advise(0, V, 8, FPERF_ADVICE_POPULATE_READ)), FPERF_ERR(SEGV));
	/* MADV_DONTNEED leaves it, fork and mremap carry it over. */
	ASSERT_RUN(sim, dontneed(0, V, 8));
	ASSERT_EQ(run(sim, touch(0, V + 3, 1, 'w')), FPERF_ERR(SEGV));
	ASSERT_RUN(sim, fork_to(0, 1));
	ASSERT_RUN(sim, remap(1, V, 8, W, 8));
	ASSERT_EQ(run(sim, touch(1, W + 2, 1, 'w')), FPERF_ERR(SEGV));
	ASSERT_RUN(sim, touch(1, W + 4, 1, 'w'));
	/* Its removal leaves what is not a guard, and munmap takes everything. */
	ASSERT_RUN(sim, advise(1, W, 8, FPERF_ADVICE_GUARD_REMOVE));
	ASSERT_RUN(sim, touch(1, W + 2, 1, 'w'));
	ASSERT_EQ(totals_of(sim).pages_live, 2);
	ASSERT_RUN(sim, unmap(0, V, 8));
	ASSERT_RUN(sim, map_anon(0, V, 8));
	ASSERT_RUN(sim, touch(0, V, 8, 'w'));
	ASSERT_EQ(totals_of(sim).pages_live, 10);
	fperf_sim_destroy(sim);
	return true;
}

static bool test_guards_by_version(void)
{
	static const struct {
		uint32_t version;
		int anon, file;
	} cases[] = {
		{ FPERF_KERNEL(6, 12), FPERF_ERR(ADVICE), FPERF_ERR(ADVICE) },
		{ FPERF_KERNEL(6, 13), FPERF_APPLIED, FPERF_ERR(ADVICE) },
		{ FPERF_KERNEL(6, 15), FPERF_APPLIED, FPERF_APPLIED },
		{ FPERF_KERNEL(7, 0), FPERF_APPLIED, FPERF_APPLIED },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct fperf_config config = small_machine();
		struct fperf_sim *sim;

		config.profile.version = cases[i].version;
		ASSERT_OK(fperf_sim_create(&config, &sim));
		add_object(sim, FPERF_OBJECT_MEMFD, 8, 0);
		ASSERT_RUN(sim, map_anon(0, V, 8));
		ASSERT_RUN(sim, map_object(0, W, 8, 0, 0, FPERF_MAP_SHARED));
		ASSERT_EQ(run(sim, advise(0, V, 4, FPERF_ADVICE_GUARD_INSTALL)), cases[i].anon);
		ASSERT_EQ(run(sim, advise(0, W, 4, FPERF_ADVICE_GUARD_INSTALL)), cases[i].file);
		ASSERT_RUN(sim, EVENT(MLOCK, .vpn = V + 4, .nr = 4));
		ASSERT_EQ(run(sim, advise(0, V + 4, 4, FPERF_ADVICE_GUARD_INSTALL)), FPERF_ERR(ADVICE));
		fperf_sim_destroy(sim);
	}
	return true;
}

static bool test_a_hole_spares_private_copies(void)
{
	struct fperf_config config = small_machine();
	struct fperf_sim *sim;

	ASSERT_OK(fperf_sim_create(&config, &sim));
	add_object(sim, FPERF_OBJECT_MEMFD, 8, 0);
	ASSERT_RUN(sim, map_object(0, V, 8, 0, 0, FPERF_MAP_SHARED));
	ASSERT_RUN(sim, map_object(0, W, 8, 0, 0, 0));
	ASSERT_RUN(sim, touch(0, V, 8, 'w'));
	ASSERT_RUN(sim, touch(0, W, 8, 'r'));
	ASSERT_RUN(sim, touch(0, W + 3, 1, 'w'));
	/*            0 1 2 3 4 5 6 7
	 * V          x x x x x x x x
	 * W          x x x X x x x x     X: a copy */
	ASSERT_RUN(sim, EVENT(PUNCH_HOLE, .what = 1, .vpn = 2, .nr = 3));
	ASSERT_EQ(totals_of(sim).pages_live, 6);
	ASSERT_EQ(pfn_at(sim, 0, V + 3), 0);
	ASSERT_EQ(pfn_at(sim, 0, W + 4), 0);
	ASSERT_TRUE(pfn_at(sim, 0, W + 3) != 0);
	ASSERT_EQ(pfn_at(sim, 0, V + 5), pfn_at(sim, 0, W + 5));
	/* Another page comes in. */
	ASSERT_RUN(sim, touch(0, V + 3, 1, 'r'));
	ASSERT_TRUE(pfn_at(sim, 0, V + 3) != pfn_at(sim, 0, W + 3));
	/* The advice is for shared files alone. */
	ASSERT_EQ(run(sim, advise(0, W, 8, FPERF_ADVICE_REMOVE)), FPERF_ERR(ADVICE));
	ASSERT_RUN(sim, advise(0, V, 8, FPERF_ADVICE_REMOVE));
	ASSERT_EQ(totals_of(sim).pages_live, 1);
	fperf_sim_destroy(sim);
	return true;
}

/* A hole in a large folio: small folios all over, or, since v6.15, halves around both ends. */
static bool test_a_hole_splits_the_folio(void)
{
	for (unsigned int old = 0; old < 2; old++) {
		struct fperf_config config = small_machine();
		struct fperf_folio_row row;
		struct fperf_sim *sim;

		config.profile.version = old ? FPERF_KERNEL(6, 14) : FPERF_KERNEL(7, 0);
		ASSERT_OK(fperf_sim_create(&config, &sim));
		add_object(sim, FPERF_OBJECT_TMPFS, 512, 0);
		ASSERT_RUN(sim, map_object(0, V, 512, 0, 0, FPERF_MAP_SHARED));
		ASSERT_RUN(sim, touch(0, V, 1, 'w'));
		ASSERT_EQ(totals_of(sim).folios_live, 1);
		ASSERT_RUN(sim, EVENT(PUNCH_HOLE, .what = 1, .vpn = 64, .nr = 64));
		ASSERT_EQ(totals_of(sim).pages_live, 448);
		ASSERT_RUN(sim, touch(0, V + 300, 1, 'r'));
		ASSERT_OK(fperf_sim_folio(sim, pfn_at(sim, 0, V + 300), &row));
		ASSERT_EQ(row.order, old ? 0 : 8);
		fperf_sim_destroy(sim);
	}
	return true;
}

int main(void)
{
	TEST(a_guard_takes_pages_away_and_lets_none_in);
	TEST(guards_by_version);
	TEST(a_hole_spares_private_copies);
	TEST(a_hole_splits_the_folio);
	return TEST_END();
}
