/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * page_idle and DAMON's physical addresses: has the folio been accessed? Every candidate is visited, no count ends the
 * walk; but a folio that nobody maps needs none, which a stale count cannot tell. schemes.md 6.
 */
#include "consumer/consumer.h"

static void look(struct fperf_sim *sim, uint64_t folio)
{
	const struct fperf_query query = fperf_query_at(sim, NULL, folio);
	enum fperf_cause before;
	struct fperf_rmap_walk walk;
	uint32_t mappers = 0;
	bool recounting;

	if (fperf_ask_before_walk(sim, FPERF_ASK_MAPPED, &query, NULL) == FPERF_NO)
		return;
	recounting = fperf_rmap_recount_begin(sim, &query, FPERF_SITE_RECLAIM);
	before = fperf_because(&sim->door, FPERF_CAUSE_WALK);
	if (fperf_rmap_walk_begin(sim, &walk, folio)) {
		while (fperf_rmap_walk_next(&walk)) {
			struct fperf_rmap_hit hit;
			uint32_t cursor = 0;
			bool mapped = false;

			while (fperf_rmap_walk_hit(&walk, &cursor, &hit)) {
				fperf_clear_young(sim, &hit);
				mapped = true;
			}
			mappers += mapped;
		}
		fperf_rmap_walk_end(&walk);
	}
	fperf_because(&sim->door, before);
	if (recounting)
		fperf_rmap_recount_end(sim, &query, mappers);
}

int fperf_page_idle(struct fperf_sim *sim)
{
	bool any = false;

	for (uint64_t pfn = 1; pfn < sim->next_pfn; pfn++) {
		if (!fperf_is_live_head(sim, pfn) || !fperf_is_reclaimable(sim, pfn))
			continue;
		fperf_event_begin(&sim->door, FPERF_EV_PAGE_IDLE);
		/* Its reference keeps what a recount finds to be dead until the end. */
		fperf_folio_lookup_get(sim, pfn);
		look(sim, pfn);
		fperf_folio_lookup_put(sim, pfn);
		any = true;
	}
	return sim->error ? sim->error : any ? FPERF_APPLIED : FPERF_NOOP;
}
