/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Compaction: every page of memory that can be moved moves, to make room for a PMD-sized folio. Anonymous memory with more
 * references than mappings is taken for pinned and left. Large folios are moved since v6.9. schemes.md 6.
 */
#include "consumer/consumer.h"

static bool held_by_others(struct fperf_sim *sim, const struct fperf_query *query)
{
	int64_t refs = 0;

	if (!query->anon || fperf_swap_cached(sim, query->folio))
		return false;
	fperf_ask(sim, FPERF_ASK_MAPPING_REFS, query, &refs);
	return fperf_folio_load_refs(sim, query->folio) > refs;
}

static int compact_folio(struct fperf_sim *sim, uint64_t folio)
{
	const struct fperf_query query = fperf_query_at(sim, NULL, folio);

	if (query.order == sim->pmd_order || (query.order && sim->prof.version < FPERF_KERNEL(6, 9)))
		return FPERF_NOOP;
	if (held_by_others(sim, &query)) {
		sim->totals.migrations_refused++;
		fperf_truth_refused(sim, folio);
		return FPERF_NOOP;
	}
	return fperf_migrate_folio(sim, folio);
}

int fperf_compact(struct fperf_sim *sim)
{
	const uint64_t past = sim->next_pfn;
	bool any = false;

	for (uint64_t pfn = 1; pfn < past; pfn++) {
		int ret;

		/* Only what an LRU list has: mapped, or in a cache. */
		if (!fperf_is_live_head(sim, pfn) || !fperf_is_reclaimable(sim, pfn))
			continue;
		fperf_event_begin(&sim->door, FPERF_EV_COMPACTION);
		ret = compact_folio(sim, pfn);
		if (ret < 0)
			return ret;
		any |= ret == FPERF_APPLIED;
	}
	return any ? FPERF_APPLIED : FPERF_NOOP;
}
