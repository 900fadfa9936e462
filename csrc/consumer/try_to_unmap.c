/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reclaim of one folio: unmap it everywhere, then drop it from the page cache (file), leave it to swap (anonymous), or drop
 * it for good (lazyfree). The walk ends when the scheme says the folio is no longer mapped; a scheme that does not know
 * lets it visit everybody.
 */
#include "consumer/consumer.h"

/* A PMD mapping of an anonymous folio is split first: swap entries are per page. */
static int split_hit(struct fperf_sim *sim, struct fperf_vma *vma, const struct fperf_rmap_hit *hit)
{
	return fperf_split_pmd(sim, vma, hit->vpn, hit->entry);
}

static int unmap_vma(struct fperf_sim *sim, struct fperf_rmap_walk *walk, uint64_t swap_base)
{
	const bool batched = !walk->anon && sim->prof.batch_try_to_unmap;
	struct fperf_rmap_hit hit;
	uint32_t cursor = 0;

	while (fperf_rmap_walk_hit(walk, &cursor, &hit)) {
		if (walk->anon && hit.pmd) {
			const int ret = split_hit(sim, walk->vma, &hit);

			if (ret)
				return ret;
			cursor = 0;
			continue;
		}
		fperf_unmap_hit(sim, walk->vma, &hit, batched, swap_base);
	}
	return sim->error;
}

/*
 * One hit of a lazyfree folio goes without a trace. One that was written since, or a reference that nobody can account
 * for, makes the folio swap-backed again, and *keep.
 */
static int discard_hit(struct fperf_sim *sim, struct fperf_vma *vma, struct fperf_rmap_hit *hit, bool *keep)
{
	const uint64_t folio = fperf_folio_head(sim, fperf_pte_pfn(*hit->entry));
	struct fperf_folio *const f = &sim->folios[folio];
	const uint32_t nr = hit->pmd ? 1 : hit->nr;
	uint32_t clean = 0;

	while (clean < nr && !(hit->entry[clean] & FPERF_PTE_DIRTY))
		clean++;
	*keep = clean < nr || f->dirty || !fperf_no_extra_refs(sim, folio);
	if (f->dirty || (*keep && clean == nr))
		clean = 0;
	if (clean) {
		hit->nr = hit->pmd ? hit->nr : clean;
		fperf_unmap_hit(sim, vma, hit, sim->prof.batch_try_to_unmap, UINT64_MAX);
	}
	f->dirty |= *keep && clean < nr;
	f->lazyfree = !*keep;
	return sim->error;
}

static int discard_in_vma(struct fperf_sim *sim, struct fperf_rmap_walk *walk, bool *keep)
{
	struct fperf_rmap_hit hit;
	uint32_t cursor = 0;
	int ret = 0;

	while (!ret && !*keep && fperf_rmap_walk_hit(walk, &cursor, &hit)) {
		/* v6.11 learned to unmap a whole PMD. */
		if (hit.pmd && sim->prof.version < FPERF_KERNEL(6, 11)) {
			ret = split_hit(sim, walk->vma, &hit);
			cursor = 0;
			continue;
		}
		ret = discard_hit(sim, walk->vma, &hit, keep);
	}
	return ret;
}

int fperf_try_to_unmap(struct fperf_sim *sim, uint64_t folio)
{
	const struct fperf_query query = fperf_query_at(sim, NULL, folio);
	const enum fperf_answer mapped = fperf_ask_before_walk(sim, FPERF_ASK_MAPPED, &query, NULL);

	return mapped == FPERF_NO ? 0 : fperf_unmap_folio(sim, folio, mapped);
}

int fperf_unmap_folio(struct fperf_sim *sim, uint64_t folio, enum fperf_answer mapped)
{
	const struct fperf_query query = fperf_query_at(sim, NULL, folio);
	struct fperf_rmap_walk walk;
	uint64_t swap_base = UINT64_MAX;
	enum fperf_cause before;
	const bool lazyfree = sim->folios[folio].lazyfree;
	bool recounting, keep = false;
	int ret = 0;

	/* A page that came back while its slot is still in use stays: its old entries lead there. */
	if (fperf_swap_cached(sim, folio) && !fperf_swap_cache_free(sim, folio))
		return 0;
	if (!sim->folios[folio].live)
		return 0;
	if (query.anon && !lazyfree) {
		ret = fperf_swap_slots(sim, 1u << query.order, &swap_base);
		if (ret)
			return ret;
	}
	/* Reclaim's own reference (isolation), so that the last unmap does not free the folio under the walk. */
	fperf_folio_lookup_get(sim, folio);
	/* A walk that may end before it has been everywhere says nothing of the number. */
	recounting = !lazyfree && fperf_rmap_recount_begin(sim, &query, FPERF_SITE_RECLAIM);
	if (fperf_rmap_walk_begin(sim, &walk, folio)) {
		while (!ret && !keep && mapped != FPERF_NO && fperf_rmap_walk_next(&walk)) {
			ret = lazyfree ? discard_in_vma(sim, &walk, &keep) : unmap_vma(sim, &walk, swap_base);
			before = fperf_because(&sim->door, FPERF_CAUSE_WALK);
			mapped = fperf_ask_before_walk(sim, FPERF_ASK_MAPPED, &query, NULL);
			fperf_because(&sim->door, before);
		}
		fperf_rmap_walk_end(&walk);
	}
	/* After a walk that unmapped everywhere the number is known: none. */
	if (!ret && lazyfree && !keep)
		recounting = fperf_rmap_recount_begin(sim, &query, FPERF_SITE_RECLAIM);
	if (!ret && recounting) {
		fperf_rmap_recount_end(sim, &query, 0);
		mapped = fperf_ask_before_walk(sim, FPERF_ASK_MAPPED, &query, NULL);
	}
	if (!ret && mapped == FPERF_NO && !query.anon) {
		fperf_pagecache_remove(sim, folio);
		sim->totals.file_discards += 1ull << query.order;
	}
	fperf_folio_lookup_put(sim, folio);
	if (query.anon && !lazyfree)
		fperf_swap_slots_settle(sim, swap_base, 1u << query.order);
	return ret;
}
