/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * memory_failure() of one page: a large folio is split, a walk through all candidates collects who maps the page, a second
 * one unmaps it. Who mapped it is killed if there is no clean copy in a file, or if the page is said to be mapped still:
 * a stale count kills for nothing. The page is never used again. schemes.md 6.
 */
#include "consumer/consumer.h"

/* collect_procs() */
static void mark_mappers(struct fperf_sim *sim, uint64_t folio)
{
	const enum fperf_cause before = fperf_because(&sim->door, FPERF_CAUSE_WALK);
	struct fperf_rmap_walk walk;

	if (fperf_rmap_walk_begin(sim, &walk, folio)) {
		while (fperf_rmap_walk_next(&walk)) {
			struct fperf_rmap_hit hit;
			uint32_t cursor = 0;

			if (fperf_rmap_walk_hit(&walk, &cursor, &hit))
				walk.vma->mm->doomed = true;
		}
		fperf_rmap_walk_end(&walk);
	}
	fperf_because(&sim->door, before);
}

static enum fperf_answer unmap(struct fperf_sim *sim, const struct fperf_query *query)
{
	enum fperf_answer mapped = fperf_ask_before_walk(sim, FPERF_ASK_MAPPED, query, NULL);
	struct fperf_rmap_walk walk;
	bool recounting;

	if (mapped == FPERF_NO)
		return mapped;
	recounting = fperf_rmap_recount_begin(sim, query, FPERF_SITE_RECLAIM);
	if (fperf_rmap_walk_begin(sim, &walk, query->folio)) {
		while (mapped != FPERF_NO && fperf_rmap_walk_next(&walk)) {
			struct fperf_rmap_hit hit;
			uint32_t cursor = 0;

			while (fperf_rmap_walk_hit(&walk, &cursor, &hit))
				fperf_unmap_hit(sim, walk.vma, &hit, false, UINT64_MAX);
			mapped = fperf_ask_before_walk(sim, FPERF_ASK_MAPPED, query, NULL);
		}
		fperf_rmap_walk_end(&walk);
	}
	if (!recounting)
		return mapped;
	fperf_rmap_recount_end(sim, query, 0);
	return fperf_ask_before_walk(sim, FPERF_ASK_MAPPED, query, NULL);
}

int fperf_memory_failure(struct fperf_sim *sim, uint64_t pfn, bool *kill)
{
	struct fperf_query query;
	bool clean;
	int ret;

	*kill = false;
	/* A folio that cannot be split, or whose page others have in swap, is left alone. */
	ret = fperf_folio_order(sim, pfn) ? fperf_split_huge_page(sim, fperf_folio_head(sim, pfn), 0) : 0;
	if (ret || !sim->folios[pfn].live || (fperf_swap_cached(sim, pfn) && !fperf_swap_cache_free(sim, pfn)))
		return ret < 0 ? ret : FPERF_NOOP;
	query = fperf_query_at(sim, NULL, pfn);
	clean = !query.anon && sim->folios[pfn].object && !fperf_object_is_shmem(sim->folios[pfn].object);
	/* This reference is never given back. */
	fperf_folio_lookup_get(sim, pfn);
	sim->folios[pfn].held_refs++;
	sim->folios[pfn].poisoned = true;
	mark_mappers(sim, pfn);
	*kill = unmap(sim, &query) != FPERF_NO || !clean;
	if (sim->cfg.truth && *kill && clean)
		sim->totals.killed_needlessly += !fperf_truth_mappings(sim, pfn);
	if (!query.anon && sim->folios[pfn].object)
		fperf_pagecache_remove(sim, pfn);
	sim->totals.memory_failures++;
	return sim->error;
}
