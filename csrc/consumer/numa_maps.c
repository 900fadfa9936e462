/* SPDX-License-Identifier: BSD-3-Clause */
/* /proc/PID/numa_maps: per VMA the largest mapcount of any page (mapmax); of a PMD its first page speaks. schemes.md 6. */
#include "consumer/consumer.h"
#include "consumer/page_walk.h"

static void read_vma(struct fperf_sim *sim, struct fperf_vma *vma)
{
	struct fperf_page_walk walk = fperf_page_walk_begin(sim, vma, vma->start, vma->end);
	int64_t mapmax = 0, truth = 0;
	struct fperf_page_at at;

	while (fperf_page_walk_next(&walk, &at)) {
		const struct fperf_query query = fperf_query_at(sim, vma, at.pfn);
		int64_t mapcount, right;

		if (!at.pmd)
			fperf_charge_page_folio(sim, at.pfn);
		fperf_ask(sim, FPERF_ASK_PAGE_MAPCOUNT, &query, &mapcount);
		right = fperf_truth_mapcount(sim, at.pfn);
		mapmax = mapcount > mapmax ? mapcount : mapmax;
		truth = right > truth ? right : truth;
	}
	if (sim->cfg.truth)
		sim->totals.mapmax_error_abs += (uint64_t)(mapmax > truth ? mapmax - truth : truth - mapmax);
}

int fperf_numa_maps(struct fperf_sim *sim, struct fperf_mm *mm)
{
	for (uint32_t i = 0; i < mm->nr_vmas; i++)
		read_vma(sim, mm->vmas[i]);
	return sim->error;
}
