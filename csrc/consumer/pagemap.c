/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * /proc/PID/pagemap: bit 56 says that a page is mapped once. Where the count of the page is not to be had, v6.15 and later
 * take "mapped by one mm" for it. schemes.md 6.
 */
#include "consumer/consumer.h"
#include "consumer/page_walk.h"

static bool said_exclusive(struct fperf_sim *sim, const struct fperf_query *query)
{
	int64_t mapcount;

	if (fperf_ask(sim, FPERF_ASK_PAGE_MAPCOUNT, query, &mapcount) == FPERF_COUNT ||
	    sim->prof.version < FPERF_KERNEL(6, 15))
		return mapcount == 1;
	return fperf_ask(sim, FPERF_ASK_SHARED, query, NULL) == FPERF_NO;
}

static void note(struct fperf_sim *sim, uint64_t pfn, bool exclusive)
{
	const bool truth = fperf_truth_mapcount(sim, pfn) == 1;

	sim->totals.false_not_exclusive += sim->cfg.truth && truth && !exclusive;
	sim->totals.false_page_exclusive += sim->cfg.truth && !truth && exclusive;
}

/* Under a PMD page 0 speaks for all, but for v6.11 to v6.14, which look at each. */
static bool each_page(const struct fperf_sim *sim)
{
	return sim->prof.version >= FPERF_KERNEL(6, 11) && sim->prof.version < FPERF_KERNEL(6, 15);
}

static void read_vma(struct fperf_sim *sim, struct fperf_vma *vma)
{
	struct fperf_page_walk walk = fperf_page_walk_begin(sim, vma, vma->start, vma->end);
	struct fperf_page_at at;

	while (fperf_page_walk_next(&walk, &at)) {
		struct fperf_query query = fperf_query_at(sim, vma, at.pfn);
		bool exclusive = false;

		if (!at.pmd)
			fperf_charge_page_folio(sim, at.pfn);
		for (uint32_t i = 0; i < at.nr; i++, query.page++) {
			if (!i || each_page(sim))
				exclusive = said_exclusive(sim, &query);
			note(sim, at.pfn + i, exclusive);
		}
	}
}

int fperf_pagemap(struct fperf_sim *sim, struct fperf_mm *mm)
{
	for (uint32_t i = 0; i < mm->nr_vmas; i++)
		read_vma(sim, mm->vmas[i]);
	return sim->error;
}
