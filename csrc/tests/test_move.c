/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * mremap and the borders of VMAs. No kernel makes an rmap call for a move, so counts of mappings stay; only the number of
 * VMAs that map a folio changes, when a folio is torn or joined. x = PTE, P = under a PMD, | = VMA border.
 */
#include "tests/machine.h"

#include "engine/backend.h"
#include "mm/rmap_hooks.h"

enum { ORDER_2 = 1 << 2, PMD_ORDER = 1 << 9 };

static const uint64_t V = 512 * 1000, W = 512 * 2000;

/* Entries; VMAs and pairs of VMA and page table that hold them; and what zero_one_two_many makes of the VMAs. */
static bool folio_is(struct fperf_sim *sim, uint64_t folio, uint32_t ptes, uint32_t pmds, uint32_t vmas,
		     uint32_t tables, int64_t state)
{
	const bool saturates = sim->cfg.scheme == scheme_number("zero_one_two_many");
	struct fperf_folio_row row;
	int64_t value;

	ASSERT_OK(fperf_sim_folio(sim, folio, &row));
	ASSERT_EQ(row.true_pte, ptes);
	ASSERT_EQ(row.true_pmd, pmds);
	ASSERT_EQ(row.true_vmas, vmas);
	ASSERT_EQ(row.true_mms, 1);
	value = row.mapping_refs;
	ASSERT_TRUE(ask(sim, FPERF_ASK_MAPPING_REFS, folio, 0, &value) == FPERF_UNKNOWN || value == row.mapping_refs);
	value = row.mapping_refs;
	if (!sim->scheme->counts_vmas)
		ASSERT_EQ(value, ptes + pmds);
	else if (sim->scheme->counts_tables)
		ASSERT_EQ(value, tables);
	else
		ASSERT_EQ(value, saturates ? state : vmas);
	return true;
}

typedef bool (*story)(struct fperf_sim *sim);

/* Under every scheme and presence policy; a copy of the page tables must not cost an rmap call of those that count PTEs. */
static bool everywhere(story story, uint64_t anon_orders, const struct fperf_profile *profile)
{
	struct fperf_config config = small_machine();

	config.anon_orders_always = anon_orders;
	if (profile)
		config.profile = *profile;
	for (config.scheme = 0; config.scheme < nr_schemes(); config.scheme++) {
		for (config.presence = 0; config.presence <= FPERF_PRESENCE_ORACLE; config.presence++) {
			struct fperf_sim *sim;

			ASSERT_OK(fperf_sim_create(&config, &sim));
			if (!story(sim)) {
				printf("under %s, presence %u\n", fperf_name_table(FPERF_NAMES_SCHEMES)[config.scheme],
				       config.presence);
				fperf_sim_destroy(sim);
				return false;
			}
			fperf_sim_destroy(sim);
		}
	}
	return true;
}

static bool whole_folio_story(struct fperf_sim *sim)
{
	uint64_t folio;

	/* page   0 1 2 3
	 * V     |x x x x|    moved to W as it is */
	ASSERT_RUN(sim, map_anon(0, V, 4));
	ASSERT_RUN(sim, touch(0, V, 1, 'w'));
	folio = folio_at(sim, 0, V);
	ASSERT_RUN(sim, remap(0, V, 4, W, 4));
	ASSERT_EQ(pfn_at(sim, 0, V), 0);
	ASSERT_EQ(pfn_at(sim, 0, W + 3), folio + 3);
	ASSERT_TRUE(folio_is(sim, folio, 4, 0, 1, 1, 1));
	ASSERT_EQ(run(sim, touch(0, V, 1, 'r')), FPERF_ERR(SEGV));
	ASSERT_EQ(run(sim, touch(0, W, 4, 'w')), FPERF_NOOP);
	/* Grown in place, grown while it moves, shrunk while it moves. */
	ASSERT_RUN(sim, remap(0, W, 4, W, 8));
	ASSERT_RUN(sim, touch(0, W + 4, 4, 'w'));
	ASSERT_RUN(sim, remap(0, W, 8, V, 16));
	ASSERT_RUN(sim, touch(0, V + 12, 4, 'w'));
	ASSERT_TRUE(folio_is(sim, folio, 4, 0, 1, 1, 1));
	ASSERT_RUN(sim, remap(0, V, 16, W, 2));
	ASSERT_TRUE(folio_is(sim, folio, 2, 0, 1, 1, 1));
	ASSERT_EQ(totals_of(sim).folios_live, 1);
	ASSERT_RUN(sim, remap(0, W, 2, W, 1));
	ASSERT_TRUE(folio_is(sim, folio, 1, 0, 1, 1, 1));
	ASSERT_RUN(sim, exit_of(0));
	ASSERT_EQ(totals_of(sim).folios_live, 0);
	return true;
}

static bool test_whole_folio_moves(void)
{
	return everywhere(whole_folio_story, ORDER_2, NULL);
}

static bool torn_folio_story(struct fperf_sim *sim)
{
	uint64_t folio;

	ASSERT_RUN(sim, map_anon(0, V, 4));
	ASSERT_RUN(sim, touch(0, V, 1, 'w'));
	folio = folio_at(sim, 0, V);
	/* page   0 1 2 3
	 * V     |x x|. .
	 * W         |x x|    the upper half moved: two VMAs map the folio */
	ASSERT_RUN(sim, remap(0, V + 2, 2, W + 2, 2));
	ASSERT_TRUE(folio_is(sim, folio, 4, 0, 2, 2, 2));
	/* V     |x x x x|    and back: one VMA again, since it may merge */
	ASSERT_RUN(sim, remap(0, W + 2, 2, V + 2, 2));
	ASSERT_EQ(pfn_at(sim, 0, V + 3), folio + 3);
	ASSERT_TRUE(folio_is(sim, folio, 4, 0, 1, 1, 1));
	/* V     |x|. .|x|
	 * W       |x x|      the middle moved: two borders, so for a moment three VMAs, and three they stay */
	ASSERT_RUN(sim, remap(0, V + 1, 2, W + 1, 2));
	ASSERT_TRUE(folio_is(sim, folio, 4, 0, 3, 3, 3));
	ASSERT_RUN(sim, unmap(0, W + 1, 2));
	ASSERT_RUN(sim, unmap(0, V, 1));
	ASSERT_TRUE(folio_is(sim, folio, 1, 0, 1, 1, 3));
	return true;
}

static bool test_folio_is_torn_and_joined(void)
{
	return everywhere(torn_folio_story, ORDER_2, NULL);
}

static bool huge_folio_story(struct fperf_sim *sim)
{
	uint64_t folio;

	/* page   0 .. 255 256 .. 511
	 * V     |P    P   P      P|     to another PMD-aligned place: the PMD moves */
	ASSERT_RUN(sim, map_anon(0, V, 512));
	ASSERT_RUN(sim, touch(0, V, 1, 'w'));
	folio = folio_at(sim, 0, V);
	ASSERT_RUN(sim, remap(0, V, 512, W, 512));
	ASSERT_TRUE(folio_is(sim, folio, 0, 1, 1, 1, 1));
	/* V + 1 |x    x   x      x|     to a place that is not aligned: split */
	ASSERT_RUN(sim, remap(0, W, 512, V + 1, 512));
	ASSERT_TRUE(folio_is(sim, folio, 512, 0, 1, 2, 1));
	ASSERT_EQ(pfn_at(sim, 0, V + 1 + 511), folio + 511);
	/* V + 1 |x    x|
	 * W                |x      x|   torn */
	ASSERT_RUN(sim, remap(0, V + 1 + 256, 256, W, 256));
	ASSERT_TRUE(folio_is(sim, folio, 512, 0, 2, 2, 2));
	ASSERT_RUN(sim, exit_of(0));
	ASSERT_EQ(totals_of(sim).folios_live, 0);
	return true;
}

static bool test_huge_folio_moves(void)
{
	return everywhere(huge_folio_story, PMD_ORDER, NULL);
}

static bool target_story(struct fperf_sim *sim)
{
	uint64_t folio, gone;
	struct fperf_folio_row row;

	/* What lies at the target goes. */
	ASSERT_RUN(sim, map_anon(0, V, 4));
	ASSERT_RUN(sim, map_anon(0, W, 8));
	ASSERT_RUN(sim, touch(0, V, 4, 'w'));
	ASSERT_RUN(sim, touch(0, W, 8, 'w'));
	folio = folio_at(sim, 0, V);
	gone = folio_at(sim, 0, W);
	ASSERT_RUN(sim, remap(0, V, 4, W, 4));
	ASSERT_EQ(folio_at(sim, 0, W), folio);
	ASSERT_EQ(fperf_sim_folio(sim, gone, &row), FPERF_ERR(ARGUMENT));
	ASSERT_EQ(totals_of(sim).pages_live, 8);
	/* Several VMAs at once, where the kernel can: each keeps its own protection. */
	ASSERT_RUN(sim, protect(0, W + 4, 4, FPERF_PROT_READ));
	ASSERT_RUN(sim, remap(0, W, 8, V, 8));
	ASSERT_EQ(run(sim, touch(0, V, 4, 'w')), FPERF_NOOP);
	ASSERT_EQ(run(sim, touch(0, V, 8, 'r')), FPERF_NOOP);
	ASSERT_EQ(run(sim, touch(0, V + 4, 1, 'w')), FPERF_ERR(ACCESS));
	ASSERT_RUN(sim, exit_of(0));
	ASSERT_EQ(totals_of(sim).folios_live, 0);
	return true;
}

static bool test_target_of_a_move(void)
{
	return everywhere(target_story, ORDER_2, NULL);
}

/* ---- the ledger's VMAs: whoever maps a page of the folio counts, whichever VMA existed first ---- */

static struct fperf_profile one_page_per_fault(void)
{
	struct fperf_profile profile = kernel_5_17();

	profile.fault_around_bytes = 4096;
	return profile;
}

static bool split_story(struct fperf_sim *sim)
{
	const uint32_t file = add_object(sim, FPERF_OBJECT_FILE, 16, 4);
	struct fperf_folio_row row;
	uint64_t folio;

	/* order-4 folio of a file   page   0 .. 3 .. 7 8 .. 12 .. 15
	 *                           P0    |                 x       |
	 *                           P0    |           |     x       |    <- split; the page is above the border
	 *                           P0    |     x     |     x       |    <- a second VMA maps the folio */
	ASSERT_RUN(sim, map_object(0, V, 16, file, 0, FPERF_MAP_SHARED));
	ASSERT_RUN(sim, touch(0, V + 12, 1, 'r'));
	folio = folio_at(sim, 0, V + 12);
	ASSERT_RUN(sim, advise(0, V, 8, FPERF_ADVICE_DONTFORK));
	ASSERT_OK(fperf_sim_folio(sim, folio, &row));
	ASSERT_EQ(row.true_vmas, 1);
	ASSERT_RUN(sim, touch(0, V + 3, 1, 'r'));
	ASSERT_OK(fperf_sim_folio(sim, folio, &row));
	ASSERT_EQ(row.true_vmas, 2);
	ASSERT_RUN(sim, dontneed(0, V + 12, 1));
	ASSERT_OK(fperf_sim_folio(sim, folio, &row));
	ASSERT_EQ(row.true_vmas, 1);
	return true;
}

static bool test_split_between_page_and_border(void)
{
	const struct fperf_profile profile = one_page_per_fault();

	return everywhere(split_story, 0, &profile);
}

static bool moved_away_story(struct fperf_sim *sim)
{
	const uint32_t file = add_object(sim, FPERF_OBJECT_FILE, 32, 4);
	struct fperf_folio_row row;
	uint64_t folio;

	/* order-4 folio of a file   page   0 .. 4 .. 7 8 .. 10 .. 15
	 *                           V     |      x                   |
	 *                           V                  |            |    <- its lower half moved to W
	 *                           W     |      x    |
	 *                           V                  |     x      |    <- a second VMA maps the folio */
	ASSERT_RUN(sim, map_object(0, V, 32, file, 0, FPERF_MAP_SHARED));
	ASSERT_RUN(sim, touch(0, V + 4, 1, 'r'));
	folio = folio_at(sim, 0, V + 4);
	ASSERT_RUN(sim, remap(0, V, 8, W, 8));
	ASSERT_RUN(sim, touch(0, V + 10, 1, 'r'));
	ASSERT_OK(fperf_sim_folio(sim, folio, &row));
	ASSERT_EQ(row.true_vmas, 2);
	ASSERT_EQ(row.true_pte, 2);
	return true;
}

static bool test_move_between_page_and_border(void)
{
	const struct fperf_profile profile = one_page_per_fault();

	return everywhere(moved_away_story, 0, &profile);
}

static bool nested_story(struct fperf_sim *sim)
{
	/* Five folios across one border, each in the hole of the next larger one. Blocks of 2^k entries around entry 341,
	 * which is 101010101 in binary: the smaller block lies in the middle of the larger.
	 *
	 *	order 9   0                  341|                511      VMA border before entry 341
	 *	order 7         256          341|   383
	 *	order 5             320      341|351
	 *	order 3                336   341|343
	 *	order 1                   340|341                          */
	static const unsigned int orders[] = { 7, 5, 3, 1 };
	uint64_t folios[5];
	struct fperf_folio_row row;
	int64_t value;

	ASSERT_RUN(sim, map_anon(0, V, 512));
	ASSERT_RUN(sim, touch(0, V, 1, 'w'));
	folios[0] = folio_at(sim, 0, V);
	for (unsigned int i = 0; i < 4; i++) {
		const uint64_t block = V + (341ull >> orders[i] << orders[i]);

		ASSERT_RUN(sim, dontneed(0, block, 1ull << orders[i]));
		ASSERT_RUN(sim, touch(0, block, 1, 'w'));
		folios[i + 1] = folio_at(sim, 0, block);
		ASSERT_OK(fperf_sim_folio(sim, folios[i + 1], &row));
		ASSERT_EQ(row.order, orders[i]);
	}
	ASSERT_RUN(sim, advise(0, V, 341, FPERF_ADVICE_DONTFORK));
	for (unsigned int i = 0; i < 5; i++) {
		ASSERT_OK(fperf_sim_folio(sim, folios[i], &row));
		ASSERT_EQ(row.true_vmas, 2);
		if (ask(sim, FPERF_ASK_TOTAL_MAPCOUNT, folios[i], 0, &value) == FPERF_UNKNOWN)
			ASSERT_EQ(value, 2);
	}
	ASSERT_RUN(sim, advise(0, V, 341, FPERF_ADVICE_DOFORK));
	for (unsigned int i = 0; i < 5; i++) {
		ASSERT_OK(fperf_sim_folio(sim, folios[i], &row));
		ASSERT_EQ(row.true_vmas, 1);
		if (ask(sim, FPERF_ASK_TOTAL_MAPCOUNT, folios[i], 0, &value) == FPERF_UNKNOWN)
			ASSERT_EQ(value, 1);
	}
	return true;
}

static bool test_many_folios_across_one_border(void)
{
	return everywhere(nested_story, 1 << 9 | 1 << 7 | 1 << 5 | 1 << 3 | 1 << 1, NULL);
}

static bool test_what_a_move_that_fails_has_unmapped(void)
{
	/* V 0 .. 3 [hole] 8 .. 11 are to move to W, where something lies. Up to v6.16 one VMA moves, and the target is gone
	 * by the time the second one is found; since v6.17 both move, and the gap between them stays as it is there. */
	for (int newer = 0; newer < 2; newer++) {
		struct fperf_config config = small_machine();
		struct fperf_sim *sim;

		config.strict = 0;
		config.profile = newer ? kernel_7_0() : kernel_5_17();
		ASSERT_OK(fperf_sim_create(&config, &sim));
		ASSERT_RUN(sim, map_anon(0, V, 4));
		ASSERT_RUN(sim, map_anon(0, V + 8, 4));
		ASSERT_RUN(sim, map_anon(0, W, 12));
		ASSERT_RUN(sim, touch(0, V, 4, 'w'));
		ASSERT_RUN(sim, touch(0, V + 8, 4, 'w'));
		ASSERT_RUN(sim, touch(0, W, 12, 'w'));
		ASSERT_EQ(run(sim, remap(0, V, 12, W, 12)), newer ? FPERF_APPLIED : FPERF_ERR(REMAP));
		ASSERT_EQ(pfn_at(sim, 0, V) != 0, !newer);
		ASSERT_EQ(pfn_at(sim, 0, V + 8) != 0, !newer);
		for (uint64_t i = 0; i < 12; i++)
			ASSERT_EQ(pfn_at(sim, 0, W + i) != 0, newer);
		ASSERT_TRUE(sound(sim));
		fperf_sim_destroy(sim);
	}
	return true;
}

int main(void)
{
	TEST(whole_folio_moves);
	TEST(folio_is_torn_and_joined);
	TEST(huge_folio_moves);
	TEST(target_of_a_move);
	TEST(split_between_page_and_border);
	TEST(move_between_page_and_border);
	TEST(many_folios_across_one_border);
	TEST(what_a_move_that_fails_has_unmapped);
	return TEST_END();
}
