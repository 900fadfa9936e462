/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * NUMA balancing: a scan takes access away from a range, so that the next touch tells where its process runs, and a page
 * found on another node follows it. Copy-on-write memory that others map is not scanned: a wrong "shared" keeps it on the
 * wrong node for ever. There are no nodes here: each page marked is taken for misplaced. schemes.md 6.
 */
#include "consumer/consumer.h"
#include "consumer/page_walk.h"

/* Up to v6.9 one reference and no more; a PMD was never looked at. */
static bool passed_over(struct fperf_sim *sim, const struct fperf_query *query, bool pmd)
{
	bool shared;

	if (pmd || query->vma->flags & FPERF_VM_SHARED)
		return false;
	if (sim->prof.version < FPERF_KERNEL(6, 10))
		shared = fperf_folio_load_refs(sim, query->folio) != 1;
	else
		shared = fperf_maybe_pinned(sim, query->folio) ||
			 fperf_ask(sim, FPERF_ASK_SHARED, query, NULL) != FPERF_NO;
	if (shared && !sim->folios[query->folio].held_refs)
		fperf_truth_skipped(sim, query->folio);
	return shared;
}

void fperf_numa_scan(struct fperf_sim *sim, struct fperf_vma *vma, uint64_t start, uint64_t end)
{
	struct fperf_page_walk walk = fperf_page_walk_begin(sim, vma, start, end);
	struct fperf_page_at at;

	while (fperf_page_walk_next(&walk, &at)) {
		const struct fperf_query query = fperf_query_at(sim, vma, at.pfn);

		if (!at.pmd)
			fperf_charge_page_folio(sim, at.pfn);
		if (passed_over(sim, &query, at.pmd))
			continue;
		sim->folios[query.folio].misplaced = true;
		if (at.pmd)
			fperf_charge_pmd(sim, FPERF_STORE, at.entry);
		else
			fperf_charge_ptes(sim, FPERF_STORE, at.entry, 1);
	}
}

int fperf_numa_fault(struct fperf_sim *sim, uint64_t folio)
{
	const struct fperf_query query = fperf_query_at(sim, NULL, folio);
	int64_t mapcount;

	if (!sim->folios[folio].misplaced)
		return FPERF_NOOP;
	sim->folios[folio].misplaced = false;
	/* Whether others share it goes into the statistics that group tasks. */
	if (sim->prof.version >= FPERF_KERNEL(6, 9))
		fperf_ask(sim, FPERF_ASK_SHARED, &query, NULL);
	else
		fperf_ask(sim, FPERF_ASK_PAGE_MAPCOUNT, &query, &mapcount);
	return fperf_migrate_folio(sim, folio);
}
