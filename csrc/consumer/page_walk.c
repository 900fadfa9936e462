/* SPDX-License-Identifier: BSD-3-Clause */
/* walk_page_range() over one VMA: PMD leaves and present PTEs, page-table locks taken as the files of /proc take them. */
#include "consumer/page_walk.h"

struct fperf_page_walk fperf_page_walk_begin(struct fperf_sim *sim, struct fperf_vma *vma, uint64_t start, uint64_t end)
{
	return (struct fperf_page_walk){ .sim = sim,
					 .vma = vma,
					 .vpn = start > vma->start ? start : vma->start,
					 .end = end < vma->end ? end : vma->end };
}

/* The next table, locked, or a leaf. */
static bool next_table(struct fperf_page_walk *walk, struct fperf_page_at *at)
{
	struct fperf_sim *const sim = walk->sim;

	while (walk->vpn < walk->end) {
		uint64_t *const pmd = fperf_pmd_walk(sim, walk->vma->mm, walk->vpn);
		const uint64_t ceiling = fperf_pmd_floor(sim, walk->vpn) + sim->entries;
		const uint64_t stop = ceiling < walk->end ? ceiling : walk->end;

		if (pmd && *pmd & FPERF_PTE_LEAF) {
			*at = (struct fperf_page_at){ .entry = pmd,
						      .vpn = walk->vpn,
						      .pfn = fperf_pte_pfn(*pmd) + fperf_pte_index(sim, walk->vpn),
						      .nr = (uint32_t)(stop - walk->vpn),
						      .pmd = true };
			walk->vpn = stop;
			return true;
		}
		if (pmd && *pmd) {
			walk->table = fperf_pmd_table(*pmd);
			walk->stop = stop;
			walk->pte = fperf_table(&sim->mem, walk->table) + fperf_pte_index(sim, walk->vpn);
			fperf_ptl_lock(sim, walk->table);
			fperf_charge_ptes(sim, FPERF_LOAD, walk->pte, stop - walk->vpn);
			return true;
		}
		walk->vpn = stop;
	}
	return false;
}

bool fperf_page_walk_next(struct fperf_page_walk *walk, struct fperf_page_at *at)
{
	for (;;) {
		at->nr = 0;
		if (!walk->table && !next_table(walk, at))
			return false;
		if (at->nr && !(*at->entry & FPERF_PTE_ZERO))
			return true;
		while (walk->table && walk->vpn < walk->stop) {
			const uint64_t entry = *walk->pte;

			*at = (struct fperf_page_at){
				.entry = walk->pte++, .vpn = walk->vpn++, .pfn = fperf_pte_pfn(entry), .nr = 1
			};
			if ((entry & FPERF_PTE_STATE) == FPERF_PTE_PRESENT)
				return true;
		}
		if (walk->table)
			fperf_ptl_unlock(walk->sim, walk->table);
		walk->table = 0;
	}
}
