/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * folio_referenced(): reclaim looks for accessed bits and clears them. Today the mapcount is the budget: once that many
 * entries were seen, the walk ends. Without a count every candidate is visited. schemes.md 8.3.
 */
#include "consumer/consumer.h"

/* Clear the accessed bits of one hit; since v6.19 a run of them goes in one call. */
void fperf_clear_young(struct fperf_sim *sim, const struct fperf_rmap_hit *hit)
{
	const uint32_t nr = hit->pmd ? 1 : hit->nr;
	uint32_t young = 0;

	for (uint32_t i = 0; i < nr; i++) {
		if (!(hit->entry[i] & FPERF_PTE_YOUNG))
			continue;
		hit->entry[i] &= ~(uint64_t)FPERF_PTE_YOUNG;
		young++;
		if (hit->pmd)
			fperf_charge_pmd(sim, FPERF_STORE, hit->entry);
		else if (!sim->prof.batch_referenced)
			fperf_charge_ptes(sim, FPERF_STORE, &hit->entry[i], 1);
	}
	if (young && !hit->pmd && sim->prof.batch_referenced)
		fperf_charge_ptes(sim, FPERF_STORE, hit->entry, nr);
}

int fperf_folio_referenced(struct fperf_sim *sim, uint64_t folio)
{
	const struct fperf_query query = fperf_query_at(sim, NULL, folio);
	struct fperf_rmap_walk walk;
	int64_t budget = INT64_MAX;
	uint32_t mappers = 0;
	enum fperf_cause before;
	bool recounting;

	if (fperf_ask_before_walk(sim, FPERF_ASK_MAPPED, &query, NULL) == FPERF_NO)
		return 0;
	if (fperf_ask_before_walk(sim, FPERF_ASK_TOTAL_MAPCOUNT, &query, &budget) == FPERF_UNKNOWN)
		budget = INT64_MAX;
	/* A walk that visits everybody learns the number on the way. */
	recounting = budget == INT64_MAX && fperf_rmap_recount_begin(sim, &query, FPERF_SITE_RECLAIM);
	before = fperf_because(&sim->door, FPERF_CAUSE_WALK);
	if (fperf_rmap_walk_begin(sim, &walk, folio)) {
		while (budget > 0 && fperf_rmap_walk_next(&walk)) {
			struct fperf_rmap_hit hit;
			uint32_t cursor = 0;
			bool mapped = false;

			while (budget > 0 && fperf_rmap_walk_hit(&walk, &cursor, &hit)) {
				fperf_clear_young(sim, &hit);
				budget -= hit.pmd ? 1 : hit.nr;
				mapped = true;
			}
			mappers += mapped;
		}
		fperf_rmap_walk_end(&walk);
	}
	fperf_because(&sim->door, before);
	if (recounting)
		fperf_rmap_recount_end(sim, &query, mappers);
	return 0;
}
