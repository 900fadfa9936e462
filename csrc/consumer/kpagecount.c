/* SPDX-License-Identifier: BSD-3-Clause */
/* /proc/kpagecount: the mapcount of every page of memory, by page frame number, whoever maps it. schemes.md 6. */
#include "consumer/consumer.h"
#include "consumer/page_walk.h"

static void read_folio(struct fperf_sim *sim, uint64_t folio)
{
	const uint64_t past = folio + (1ull << fperf_folio_order(sim, folio));

	fperf_folio_lookup_get(sim, folio);
	for (uint64_t pfn = folio; pfn < past; pfn++) {
		const struct fperf_query query = fperf_query_at(sim, NULL, pfn);
		int64_t mapcount;

		fperf_charge_page_folio(sim, pfn);
		fperf_ask(sim, FPERF_ASK_PAGE_MAPCOUNT, &query, &mapcount);
		sim->totals.page_mapcounts_wrong += sim->cfg.truth && mapcount != fperf_truth_mapcount(sim, pfn);
	}
	fperf_folio_lookup_put(sim, folio);
}

int fperf_kpagecount(struct fperf_sim *sim)
{
	fperf_event_begin(&sim->door, FPERF_EV_KPAGECOUNT);
	for (uint64_t pfn = 1; pfn < sim->next_pfn; pfn++)
		if (fperf_is_live_head(sim, pfn))
			read_folio(sim, pfn);
	return sim->error;
}
