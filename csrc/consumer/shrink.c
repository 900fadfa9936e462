/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * shrink_folio_list() of one folio: is it pinned, is it mapped, and if so it is unmapped and goes, to swap or for good. A
 * count that says "mapped" of what nobody maps costs a walk, and swap slots for dead memory, and keeps the folio.
 * Accessed bits do not save it, as in reclaim that was asked for. schemes.md 6.
 */
#include "consumer/consumer.h"

/* Nobody maps it: of a file, it leaves the page cache unless somebody refers to it. */
static int discard(struct fperf_sim *sim, uint64_t folio)
{
	const struct fperf_folio *const f = &sim->folios[folio];
	const uint32_t nr = 1u << fperf_folio_order(sim, folio);

	if (f->anon || !f->object || fperf_folio_load_refs(sim, folio) != (int32_t)nr)
		return 0;
	fperf_pagecache_remove(sim, folio);
	sim->totals.file_discards += nr;
	return 0;
}

static int unmap(struct fperf_sim *sim, uint64_t folio)
{
	const struct fperf_query query = fperf_query_at(sim, NULL, folio);
	/* The walk that follows learns more than one that would be made to answer. */
	const enum fperf_answer mapped = fperf_ask_before_walk(sim, FPERF_ASK_MAPPED, &query, NULL);

	return mapped == FPERF_NO ? discard(sim, folio) : fperf_unmap_folio(sim, folio, mapped);
}

/* Anonymous pages need swap; up to v6.9 what no PMD maps is split before it is written. */
int fperf_shrink_folio(struct fperf_sim *sim, uint64_t folio, bool pmd)
{
	const uint32_t order = fperf_folio_order(sim, folio);
	const uint64_t past = folio + (1ull << order);
	const bool lazyfree = sim->folios[folio].lazyfree, swaps = sim->folios[folio].anon && !lazyfree;
	/* What was never unmapped in part is written whole since v6.10; up to v5.17 a lazyfree THP was split before it went. */
	const bool splits = swaps ? !pmd && (sim->prof.version < FPERF_KERNEL(6, 10) || sim->folios[folio].deferred) :
				    lazyfree && sim->prof.version < FPERF_KERNEL(5, 18);
	int ret;

	if (swaps && !sim->swap_on)
		return 0;
	if (!order || !splits)
		return unmap(sim, folio);
	ret = fperf_split_huge_page(sim, folio, 0);
	if (ret)
		return ret < 0 ? ret : 0;
	for (uint64_t page = folio; page < past; page++) {
		ret = sim->folios[page].live ? unmap(sim, page) : 0;
		if (ret)
			return ret;
	}
	return 0;
}

int fperf_reclaim(struct fperf_sim *sim)
{
	bool any = false;

	for (uint64_t pfn = 1; pfn < sim->next_pfn; pfn++) {
		const uint64_t folio = pfn;
		int ret;

		if (!fperf_is_live_head(sim, folio) || !fperf_is_reclaimable(sim, folio))
			continue;
		fperf_event_begin(&sim->door, FPERF_EV_SHRINK);
		any = true;
		if (sim->folios[folio].anon && !fperf_swap_cached(sim, folio) && fperf_maybe_pinned(sim, folio))
			continue;
		/* A PMD maps what has its size and was never unmapped in part. */
		ret = fperf_shrink_folio(
			sim, folio, fperf_folio_order(sim, folio) == sim->pmd_order && !sim->folios[folio].deferred);
		if (ret)
			return ret;
	}
	return any ? FPERF_APPLIED : FPERF_NOOP;
}
