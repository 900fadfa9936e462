/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Fork, copy-on-write and exit under every scheme. Pictures show who maps which page of the folio: x by a PTE, P under a
 * PMD, . not; what must hold follows from counting the marks.
 */
#include "tests/machine.h"

#include "engine/backend.h"
#include "mm/rmap_hooks.h"

enum { ORDER_2 = 1 << 2, PMD_ORDER = 1 << 9 };

/* Where processes map what the tests look at: aligned to a PMD. */
static const uint64_t V = 512 * 1000;

/* Marks of one folio: entries, and who they belong to. */
struct want {
	uint32_t ptes, pmds, vmas, mms;
	int64_t state; /* VMAs as zero_one_two_many counts them: at most three, and lazily not fewer */
};

static bool saturates(const struct fperf_sim *sim)
{
	return sim->cfg.scheme == scheme_number("zero_one_two_many");
}

/* A design answers with the number it counts, or leaves the question open. */
static bool count_is(struct fperf_sim *sim, uint64_t folio, enum fperf_question question, int64_t count)
{
	int64_t value = -1;

	if (ask(sim, question, folio, 0, &value) != FPERF_UNKNOWN)
		ASSERT_EQ(value, count);
	return true;
}

static bool folio_is(struct fperf_sim *sim, uint64_t folio, struct want want)
{
	struct fperf_folio_row row;
	const bool many = saturates(sim) && want.state == 3;
	int64_t value = -1, counted = want.ptes + want.pmds;

	ASSERT_OK(fperf_sim_folio(sim, folio, &row));
	ASSERT_EQ(row.true_pte, want.ptes);
	ASSERT_EQ(row.true_pmd, want.pmds);
	ASSERT_EQ(row.true_vmas, want.vmas);
	ASSERT_EQ(row.true_mms, want.mms);
	ASSERT_EQ(row.refcount, row.mapping_refs);
	ASSERT_TRUE(count_is(sim, folio, FPERF_ASK_TOTAL_MAPCOUNT, counted));
	/* No VMA crosses a page table's border here, so that pairs of the two are VMAs. */
	if (sim->scheme->counts_vmas)
		counted = saturates(sim) ? want.state : want.vmas;
	ASSERT_EQ(row.refcount, counted);
	ASSERT_TRUE(count_is(sim, folio, FPERF_ASK_MAPPING_REFS, counted));
	ASSERT_TRUE(ask(sim, FPERF_ASK_MAPPED, folio, 0, &value) != FPERF_NO);
	if (many)
		ASSERT_EQ(ask(sim, FPERF_ASK_MAPPED, folio, 0, &value), FPERF_UNKNOWN);
	return true;
}

/* Mappings of single pages, where the scheme knows them. */
static bool page_is(struct fperf_sim *sim, uint64_t folio, uint32_t page, int64_t mapcount)
{
	int64_t value = -1;

	if (ask(sim, FPERF_ASK_PAGE_MAPCOUNT, folio, page, &value) == FPERF_COUNT)
		ASSERT_EQ(value, mapcount);
	return true;
}

static bool nothing_left(struct fperf_sim *sim)
{
	const struct fperf_totals totals = totals_of(sim);

	ASSERT_EQ(totals.folios_live, 0);
	ASSERT_EQ(totals.pages_live, 0);
	ASSERT_EQ(totals.pages_mapped, totals.pages_unmapped);
	ASSERT_EQ(totals.leaked_pages, 0);
	ASSERT_EQ(totals.anon_vma_hazard, 0);
	return true;
}

typedef bool (*story)(struct fperf_sim *sim, const struct fperf_config *config);

/* Under every scheme, with the calls of a new kernel and of an old one. */
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

static bool small_folio_story(struct fperf_sim *sim, const struct fperf_config *config)
{
	uint64_t folio, copy;

	(void)config;
	ASSERT_RUN(sim, map_anon(0, V, 4));
	/* Nothing is there before the first write; a read maps the zero page. */
	ASSERT_RUN(sim, touch(0, V, 1, 'r'));
	ASSERT_EQ(pfn_at(sim, 0, V), -1);
	ASSERT_EQ(totals_of(sim).folios_live, 0);
	ASSERT_RUN(sim, dontneed(0, V, 1));

	/* order 0      page  0
	 *              P0    x */
	ASSERT_RUN(sim, touch(0, V, 1, 'w'));
	folio = folio_at(sim, 0, V);
	ASSERT_TRUE(folio_is(sim, folio, (struct want){ 1, 0, 1, 1, 1 }));
	ASSERT_EQ(run(sim, touch(0, V, 1, 'w')), FPERF_NOOP);

	/*              P0    x
	 *              P1    x    <- forked */
	ASSERT_RUN(sim, fork_to(0, 1));
	ASSERT_EQ(folio_at(sim, 1, V), folio);
	ASSERT_TRUE(folio_is(sim, folio, (struct want){ 2, 0, 2, 2, 2 }));
	ASSERT_EQ(run(sim, touch(1, V, 1, 'r')), FPERF_NOOP);

	/*              P0    x
	 *              P1    .    <- writes: its own copy */
	ASSERT_RUN(sim, touch(1, V, 1, 'w'));
	copy = folio_at(sim, 1, V);
	ASSERT_TRUE(copy != folio);
	ASSERT_TRUE(folio_is(sim, folio, (struct want){ 1, 0, 1, 1, 1 }));
	ASSERT_TRUE(folio_is(sim, copy, (struct want){ 1, 0, 1, 1, 1 }));
	ASSERT_EQ(totals_of(sim).cow_copies, 1);

	/*              P0    x    <- writes: it is alone now and writes in place */
	ASSERT_RUN(sim, touch(0, V, 1, 'w'));
	ASSERT_EQ(folio_at(sim, 0, V), folio);
	ASSERT_EQ(totals_of(sim).cow_copies, 1);
	ASSERT_EQ(totals_of(sim).cow_reuses, 1);

	ASSERT_RUN(sim, exit_of(1));
	ASSERT_TRUE(folio_is(sim, folio, (struct want){ 1, 0, 1, 1, 1 }));
	ASSERT_RUN(sim, exit_of(0));
	return nothing_left(sim);
}

static bool test_small_folio(void)
{
	return everywhere(small_folio_story, 0);
}

static bool large_folio_story(struct fperf_sim *sim, const struct fperf_config *config)
{
	uint64_t folio;

	(void)config;
	/* order-2 folio      page  0 1 2 3
	 *                    P0    x x x x */
	ASSERT_RUN(sim, map_anon(0, V, 4));
	ASSERT_RUN(sim, touch(0, V + 1, 1, 'w'));
	folio = folio_at(sim, 0, V);
	ASSERT_EQ(pfn_at(sim, 0, V + 3), folio + 3);
	ASSERT_TRUE(folio_is(sim, folio, (struct want){ 4, 0, 1, 1, 1 }));

	/*                    P0    x x x x
	 *                    P1    x x x x    <- forked */
	ASSERT_RUN(sim, fork_to(0, 1));
	ASSERT_TRUE(folio_is(sim, folio, (struct want){ 8, 0, 2, 2, 2 }));
	ASSERT_TRUE(page_is(sim, folio, 3, 2));

	/*                    P0    x x x x
	 *                    P1    x . . x    <- 1 and 2 not needed; one VMA still */
	ASSERT_RUN(sim, dontneed(1, V + 1, 2));
	ASSERT_TRUE(folio_is(sim, folio, (struct want){ 6, 0, 2, 2, 2 }));
	ASSERT_TRUE(page_is(sim, folio, 1, 1));
	ASSERT_TRUE(page_is(sim, folio, 3, 2));

	/*                    P0    x x x x
	 *                    P1    c . . x    <- writes 3, then 0: c is a copy of order 0 */
	ASSERT_RUN(sim, touch(1, V, 1, 'w'));
	ASSERT_TRUE(folio_is(sim, folio, (struct want){ 5, 0, 2, 2, 2 }));
	ASSERT_TRUE(folio_is(sim, folio_at(sim, 1, V), (struct want){ 1, 0, 1, 1, 1 }));
	ASSERT_TRUE(page_is(sim, folio, 0, 1));

	/*                    P0    x x x x
	 *                    P1    c . . c    <- the last page it shared */
	ASSERT_RUN(sim, touch(1, V + 3, 1, 'w'));
	ASSERT_TRUE(folio_is(sim, folio, (struct want){ 4, 0, 1, 1, 1 }));

	/*                    P0    x x . x    <- nothing else is left */
	ASSERT_RUN(sim, exit_of(1));
	ASSERT_RUN(sim, dontneed(0, V + 2, 1));
	ASSERT_TRUE(folio_is(sim, folio, (struct want){ 3, 0, 1, 1, 1 }));
	ASSERT_EQ(totals_of(sim).pages_live, 4);
	ASSERT_RUN(sim, exit_of(0));
	return nothing_left(sim);
}

static bool test_large_folio_by_ptes(void)
{
	return everywhere(large_folio_story, ORDER_2);
}

static bool vma_border_story(struct fperf_sim *sim, const struct fperf_config *config)
{
	uint64_t folio;

	(void)config;
	ASSERT_RUN(sim, map_anon(0, V, 4));
	ASSERT_RUN(sim, touch(0, V, 1, 'w'));
	folio = folio_at(sim, 0, V);

	/* | = VMA border     page   0 1 2 3
	 *                    P0    |x x|x x|    <- 0 and 1 not to be forked: two VMAs map the folio */
	ASSERT_RUN(sim, advise(0, V, 2, FPERF_ADVICE_DONTFORK));
	ASSERT_TRUE(folio_is(sim, folio, (struct want){ 4, 0, 2, 1, 2 }));

	/*                    P0    |x x|x x|
	 *                    P1        |x x|    <- a third VMA: Many */
	ASSERT_RUN(sim, fork_to(0, 1));
	ASSERT_TRUE(folio_is(sim, folio, (struct want){ 6, 0, 3, 2, 3 }));
	ASSERT_RUN(sim, exit_of(1));
	ASSERT_TRUE(folio_is(sim, folio, (struct want){ 4, 0, 2, 1, 3 }));

	/*                    P0    |x x x x|    <- one VMA again; Many stays Many */
	ASSERT_RUN(sim, advise(0, V, 2, FPERF_ADVICE_DOFORK));
	ASSERT_TRUE(folio_is(sim, folio, (struct want){ 4, 0, 1, 1, 3 }));
	ASSERT_RUN(sim, unmap(0, V, 4));
	/* The stale count keeps three references. */
	ASSERT_EQ(totals_of(sim).leaked_pages, saturates(sim) ? 4 : 0);

	ASSERT_RUN(sim, map_anon(0, V, 4));
	ASSERT_RUN(sim, touch(0, V, 1, 'w'));
	folio = folio_at(sim, 0, V);
	/*                    P0    |x x x|.    <- cut off: two VMAs for a moment, then one */
	ASSERT_RUN(sim, unmap(0, V + 3, 1));
	ASSERT_TRUE(folio_is(sim, folio, (struct want){ 3, 0, 1, 1, 1 }));
	/*                    P0    |x|.|x|.    <- cut out of the middle: three VMAs for a moment, so Many, then two */
	ASSERT_RUN(sim, unmap(0, V + 1, 1));
	ASSERT_TRUE(folio_is(sim, folio, (struct want){ 2, 0, 2, 1, 3 }));

	/*                    P0    |x|. . .|    <- the upper VMA goes; another takes the place of all that is free */
	ASSERT_RUN(sim, unmap(0, V + 2, 1));
	ASSERT_TRUE(folio_is(sim, folio, (struct want){ 1, 0, 1, 1, 3 }));
	ASSERT_RUN(sim, map_anon(0, V + 1, 3));
	ASSERT_RUN(sim, touch(0, V + 1, 3, 'w'));
	ASSERT_TRUE(folio_is(sim, folio, (struct want){ 1, 0, 1, 1, 3 }));
	ASSERT_TRUE(folio_at(sim, 0, V + 1) != folio);
	ASSERT_RUN(sim, exit_of(0));
	ASSERT_EQ(totals_of(sim).pages_live, totals_of(sim).leaked_pages);
	return true;
}

static bool test_vma_borders_in_a_folio(void)
{
	return everywhere(vma_border_story, ORDER_2);
}

static bool huge_folio_story(struct fperf_sim *sim, const struct fperf_config *config)
{
	struct fperf_folio_row row;
	uint64_t folio;

	(void)config;
	/* order-9 folio      page  0 1 2 .. 255 256 .. 511
	 *                    P0    P P P     P   P      P */
	ASSERT_RUN(sim, map_anon(0, V, 512));
	ASSERT_RUN(sim, touch(0, V + 7, 1, 'w'));
	folio = folio_at(sim, 0, V);
	ASSERT_TRUE(folio_is(sim, folio, (struct want){ 0, 1, 1, 1, 1 }));

	/*                    P0    P P P     P   P      P
	 *                    P1    P P P     P   P      P    <- forked */
	ASSERT_RUN(sim, fork_to(0, 1));
	ASSERT_TRUE(folio_is(sim, folio, (struct want){ 0, 2, 2, 2, 2 }));
	ASSERT_TRUE(page_is(sim, folio, 511, 2));

	/*                    P0    P P P     P   P      P
	 *                    P1    x . x     x   x      x    <- 1 not needed: its PMD is split */
	ASSERT_RUN(sim, dontneed(1, V + 1, 1));
	ASSERT_TRUE(folio_is(sim, folio, (struct want){ 511, 1, 2, 2, 2 }));
	ASSERT_TRUE(page_is(sim, folio, 0, 2));
	ASSERT_TRUE(page_is(sim, folio, 1, 1));

	/*                    P0    . . .     .   x      x    <- the lower half not needed, the PMD split
	 *                    P1    x . x     x   x      x */
	ASSERT_RUN(sim, dontneed(0, V, 256));
	ASSERT_TRUE(folio_is(sim, folio, (struct want){ 511 + 256, 0, 2, 2, 2 }));
	ASSERT_TRUE(page_is(sim, folio, 0, 1));
	ASSERT_TRUE(page_is(sim, folio, 256, 2));

	/*                    P0    . . .     .   x      x    <- half of the folio is mapped by nobody */
	ASSERT_RUN(sim, exit_of(1));
	ASSERT_TRUE(folio_is(sim, folio, (struct want){ 256, 0, 1, 1, 1 }));
	ASSERT_OK(fperf_sim_folio(sim, folio, &row));
	ASSERT_EQ(row.deferred, !sim->scheme->counts_vmas);
	ASSERT_RUN(sim, exit_of(0));
	return nothing_left(sim);
}

static bool test_huge_folio_by_pmd(void)
{
	return everywhere(huge_folio_story, PMD_ORDER);
}

static bool vfork_story(struct fperf_sim *sim, const struct fperf_config *config)
{
	uint64_t folio;

	(void)config;
	ASSERT_RUN(sim, map_anon(0, V, 4));
	ASSERT_RUN(sim, touch(0, V, 1, 'w'));
	folio = folio_at(sim, 0, V);

	/*                    page  0 1 2 3
	 *                    mm 0  x x x x      P0, and P1 until it executes something */
	ASSERT_RUN(sim, vfork_to(0, 1));
	ASSERT_EQ(folio_at(sim, 1, V), folio);
	ASSERT_TRUE(folio_is(sim, folio, (struct want){ 4, 0, 1, 1, 1 }));
	/* A write is a write to the parent's memory: nothing to copy. */
	ASSERT_EQ(run(sim, touch(1, V, 4, 'w')), FPERF_NOOP);
	ASSERT_RUN(sim, unmap(1, V + 2, 2));
	ASSERT_TRUE(folio_is(sim, folio, (struct want){ 2, 0, 1, 1, 1 }));
	ASSERT_EQ(pfn_at(sim, 0, V + 2), 0);

	/* P1 has an empty mm of its own now. */
	ASSERT_RUN(sim, exec_in(1));
	ASSERT_EQ(pfn_at(sim, 1, V), 0);
	ASSERT_EQ(run(sim, touch(1, V, 1, 'r')), FPERF_ERR(SEGV));
	ASSERT_TRUE(folio_is(sim, folio, (struct want){ 2, 0, 1, 1, 1 }));
	ASSERT_RUN(sim, map_anon(1, V, 4));
	ASSERT_RUN(sim, touch(1, V, 1, 'w'));
	ASSERT_TRUE(folio_at(sim, 1, V) != folio);

	/* A vfork child may also just leave, and the parent may leave first. */
	ASSERT_RUN(sim, vfork_to(0, 2));
	ASSERT_RUN(sim, exit_of(2));
	ASSERT_TRUE(folio_is(sim, folio, (struct want){ 2, 0, 1, 1, 1 }));
	ASSERT_RUN(sim, vfork_to(0, 3));
	ASSERT_RUN(sim, exit_of(0));
	ASSERT_TRUE(folio_is(sim, folio, (struct want){ 2, 0, 1, 1, 1 }));
	ASSERT_RUN(sim, exit_of(3));
	ASSERT_RUN(sim, exit_of(1));
	return nothing_left(sim);
}

static bool test_vfork_shares_the_mm(void)
{
	return everywhere(vfork_story, ORDER_2);
}

static bool exec_story(struct fperf_sim *sim, const struct fperf_config *config)
{
	uint64_t folio;

	(void)config;
	ASSERT_RUN(sim, map_anon(0, V, 4));
	ASSERT_RUN(sim, touch(0, V, 1, 'w'));
	folio = folio_at(sim, 0, V);
	ASSERT_RUN(sim, fork_to(0, 1));
	/* The child keeps the folio when the parent executes something else. */
	ASSERT_RUN(sim, exec_in(0));
	ASSERT_EQ(pfn_at(sim, 0, V), 0);
	ASSERT_TRUE(folio_is(sim, folio, (struct want){ 4, 0, 1, 1, 1 }));
	ASSERT_RUN(sim, exec_in(1));
	ASSERT_EQ(totals_of(sim).folios_live, 0);
	ASSERT_RUN(sim, exit_of(0));
	/* A number that is free again. */
	ASSERT_RUN(sim, fork_to(1, 0));
	ASSERT_RUN(sim, exit_of(0));
	ASSERT_RUN(sim, exit_of(1));
	return nothing_left(sim);
}

static bool test_exec_leaves_the_mm(void)
{
	return everywhere(exec_story, ORDER_2);
}

static bool fork_advice_story(struct fperf_sim *sim, const struct fperf_config *config)
{
	uint64_t folio;

	(void)config;
	/* | = VMA border     page   0   1   2
	 *                    P0    |x  |x  |x|    0 normal, 1 not forked, 2 wiped
	 *                    P1    |x|     |.|    */
	ASSERT_RUN(sim, map_anon(0, V, 3));
	ASSERT_RUN(sim, touch(0, V, 3, 'w'));
	ASSERT_RUN(sim, advise(0, V + 1, 1, FPERF_ADVICE_DONTFORK));
	ASSERT_RUN(sim, advise(0, V + 2, 1, FPERF_ADVICE_WIPEONFORK));
	folio = folio_at(sim, 0, V + 2);
	ASSERT_RUN(sim, fork_to(0, 1));
	ASSERT_EQ(folio_at(sim, 1, V), folio_at(sim, 0, V));
	ASSERT_EQ(run(sim, touch(1, V + 1, 1, 'r')), FPERF_ERR(SEGV));
	ASSERT_EQ(pfn_at(sim, 1, V + 2), 0);
	ASSERT_TRUE(folio_is(sim, folio, (struct want){ 1, 0, 1, 1, 1 }));
	ASSERT_RUN(sim, touch(1, V + 2, 1, 'w'));
	ASSERT_TRUE(folio_is(sim, folio, (struct want){ 1, 0, 1, 1, 1 }));
	ASSERT_RUN(sim, exit_of(0));
	ASSERT_RUN(sim, exit_of(1));
	return nothing_left(sim);
}

static bool test_advice_of_fork(void)
{
	return everywhere(fork_advice_story, 0);
}

enum { NR_CHILDREN = 1000 };
enum leaving { OLDEST_FIRST, YOUNGEST_FIRST, SHUFFLED, NR_LEAVINGS };

static void order_of_leaving(enum leaving leaving, uint32_t *children)
{
	uint64_t state = 1;

	for (uint32_t i = 0; i < NR_CHILDREN; i++)
		children[i] = leaving == YOUNGEST_FIRST ? NR_CHILDREN - i : i + 1;
	for (uint32_t i = NR_CHILDREN - 1; leaving == SHUFFLED && i; i--) {
		const uint32_t other = (uint32_t)random_below(&state, i + 1), child = children[i];

		children[i] = children[other];
		children[other] = child;
	}
}

/* One folio, NR_CHILDREN forks of it, and all leave again. */
static bool children_come_and_go(const struct fperf_config *config, enum leaving leaving)
{
	const uint32_t nr = config->anon_orders_always == ORDER_2 ? 4 : 1;
	const bool huge = config->anon_orders_always == PMD_ORDER;
	const uint32_t ptes = huge ? 0 : nr, pmds = huge ? 1 : 0;
	const bool many_is_forever = config->recount == FPERF_RECOUNT_LAZY;
	uint32_t children[NR_CHILDREN];
	struct fperf_sim *sim;
	uint64_t folio;

	ASSERT_OK(fperf_sim_create(config, &sim));
	ASSERT_RUN(sim, map_anon(0, V, huge ? 512 : nr));
	ASSERT_RUN(sim, touch(0, V, 1, 'w'));
	folio = folio_at(sim, 0, V);
	for (uint32_t child = 1; child <= NR_CHILDREN; child++) {
		ASSERT_OK(run(sim, fork_to(0, child)));
		if (child <= 4 || child == NR_CHILDREN)
			ASSERT_TRUE(folio_is(sim, folio,
					     (struct want){ ptes * (child + 1), pmds * (child + 1), child + 1,
							    child + 1, child < 2 ? child + 1 : 3 }));
	}
	ASSERT_TRUE(sound(sim));
	order_of_leaving(leaving, children);
	for (uint32_t i = 0; i < NR_CHILDREN; i++) {
		const uint32_t left = NR_CHILDREN - i; /* mms after this one has gone */

		ASSERT_OK(run(sim, exit_of(children[i])));
		if (left <= 4 || i == 0)
			ASSERT_TRUE(folio_is(sim, folio,
					     (struct want){ ptes * left, pmds * left, left, left,
							    many_is_forever || left > 3 ? 3 : left }));
	}
	ASSERT_TRUE(sound(sim));
	ASSERT_RUN(sim, exit_of(0));
	if (saturates(sim) && many_is_forever)
		ASSERT_EQ(totals_of(sim).leaked_pages, huge ? 512 : nr);
	else
		ASSERT_TRUE(nothing_left(sim));
	fperf_sim_destroy(sim);
	return true;
}

static bool test_a_thousand_children(void)
{
	static const uint64_t orders[] = { 0, ORDER_2, PMD_ORDER };

	for (uint32_t scheme = 0; scheme < nr_schemes(); scheme++) {
		for (unsigned int i = 0; i < 3; i++) {
			struct fperf_config config = small_machine();

			config.scheme = scheme;
			config.anon_orders_always = orders[i];
			for (enum leaving leaving = 0; leaving < NR_LEAVINGS; leaving++)
				ASSERT_TRUE(children_come_and_go(&config, leaving));
		}
	}
	return true;
}

/* Somebody recounts at every unmap: then Many comes down again. */
static bool test_eager_recounts_bring_many_down(void)
{
	static const enum fperf_recount recounts[] = { FPERF_RECOUNT_EAGER, FPERF_RECOUNT_EAGER_STOP3 };
	struct fperf_config config = small_machine();

	config.scheme = scheme_number("zero_one_two_many");
	config.anon_orders_always = ORDER_2;
	for (unsigned int i = 0; i < 2; i++) {
		config.recount = recounts[i];
		for (enum leaving leaving = 0; leaving < NR_LEAVINGS; leaving++)
			ASSERT_TRUE(children_come_and_go(&config, leaving));
	}
	return true;
}

/* Pages whose PageAnonExclusive is set, as a picture. */
static const char *exclusive(struct fperf_sim *sim, uint64_t folio, uint32_t nr)
{
	static char picture[16];
	uint64_t nr_pages;
	const char *const pages = fperf_sim_struct_pages(sim, &nr_pages);

	for (uint32_t i = 0; i < nr; i++) {
		uint64_t flags;

		memcpy(&flags, pages + (folio + i) * 64, sizeof(flags));
		picture[i] = flags >> 17 & 1 ? 'e' : '.';
	}
	picture[nr] = 0;
	return picture;
}

static bool test_anon_exclusive_follows_fork_and_reuse(void)
{
	struct fperf_config config = small_machine();

	config.anon_orders_always = ORDER_2;
	for (config.scheme = 0; config.scheme < nr_schemes(); config.scheme++) {
		struct fperf_sim *sim;
		uint64_t folio;

		ASSERT_OK(fperf_sim_create(&config, &sim));
		/* e = exclusive      page  0 1 2 3
		 *                    P0    e e e e */
		ASSERT_RUN(sim, map_anon(0, V, 4));
		ASSERT_RUN(sim, touch(0, V, 1, 'w'));
		folio = folio_at(sim, 0, V);
		ASSERT_STREQ(exclusive(sim, folio, 4), "eeee");
		ASSERT_RUN(sim, fork_to(0, 1));
		ASSERT_STREQ(exclusive(sim, folio, 4), "....");
		ASSERT_RUN(sim, exit_of(1));
		ASSERT_STREQ(exclusive(sim, folio, 4), "....");
		/*                    P0    . e . .    <- the write finds nobody else and marks its page (v6.15+) */
		ASSERT_RUN(sim, touch(0, V + 1, 1, 'w'));
		ASSERT_EQ(folio_at(sim, 0, V + 1), folio);
		ASSERT_STREQ(exclusive(sim, folio, 4), ".e..");
		ASSERT_EQ(totals_of(sim).cow_copies, 0);
		ASSERT_EQ(totals_of(sim).false_exclusive, 0);
		fperf_sim_destroy(sim);
	}
	return true;
}

static bool test_write_to_a_shared_large_folio_copies(void)
{
	/* Kernels that may reuse a large folio ask who maps it. The answer differs, and so does what happens:
	 *                    page  0 1 2 3
	 *                    P0    x x x x    writes 0
	 *                    P1    . x x x    wrote 0 before
	 * Designs that estimate who shares a folio look at the page alone and find it mapped once: reuse. The others see
	 * the whole folio: copy. */
	struct fperf_config config = small_machine();

	config.anon_orders_always = ORDER_2;
	for (config.scheme = 0; config.scheme < nr_schemes(); config.scheme++) {
		struct fperf_sim *sim;
		uint64_t folio;
		bool per_page;

		ASSERT_OK(fperf_sim_create(&config, &sim));
		per_page = !sim->scheme->exclusive_is_certain;
		ASSERT_RUN(sim, map_anon(0, V, 4));
		ASSERT_RUN(sim, touch(0, V, 1, 'w'));
		folio = folio_at(sim, 0, V);
		ASSERT_RUN(sim, fork_to(0, 1));
		ASSERT_RUN(sim, touch(1, V, 1, 'w'));
		ASSERT_RUN(sim, touch(0, V, 1, 'w'));
		ASSERT_EQ(pfn_at(sim, 0, V) == folio, per_page);
		ASSERT_EQ(totals_of(sim).cow_copies, per_page ? 1 : 2);
		ASSERT_TRUE(folio_is(sim, folio, (struct want){ per_page ? 7 : 6, 0, 2, 2, 2 }));
		fperf_sim_destroy(sim);
	}
	return true;
}

int main(void)
{
	TEST(small_folio);
	TEST(large_folio_by_ptes);
	TEST(vma_borders_in_a_folio);
	TEST(huge_folio_by_pmd);
	TEST(vfork_shares_the_mm);
	TEST(exec_leaves_the_mm);
	TEST(advice_of_fork);
	TEST(a_thousand_children);
	TEST(eager_recounts_bring_many_down);
	TEST(anon_exclusive_follows_fork_and_reuse);
	TEST(write_to_a_shared_large_folio_copies);
	return TEST_END();
}
