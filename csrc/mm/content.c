/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What pages hold: two bytes say enough for zero pages and pages that are equal. The low one is the page's first byte,
 * the high one all others.
 */
#include "mm/mm.h"

uint16_t fperf_content(const struct fperf_sim *sim, uint64_t pfn)
{
	return sim->contents ? sim->contents[pfn] : FPERF_CONTENT_UNKNOWN;
}

void fperf_content_set(struct fperf_sim *sim, uint64_t pfn, uint64_t nr, uint16_t content)
{
	for (uint64_t i = 0; sim->contents && i < nr; i++)
		sim->contents[pfn + i] = content;
}

void fperf_content_copy(struct fperf_sim *sim, uint64_t to, uint64_t from, uint64_t nr)
{
	sim->door.stats->pages_copied += nr;
	for (uint64_t i = 0; sim->contents && i < nr; i++)
		sim->contents[to + i] = sim->contents[from + i];
}

void fperf_content_write(struct fperf_sim *sim, struct fperf_mm *mm, uint64_t vpn, uint8_t byte, bool all)
{
	const uint64_t *const pmd = fperf_pmd_peek(sim, mm, vpn);
	uint64_t pfn;

	if (*pmd & FPERF_PTE_LEAF)
		pfn = fperf_pte_pfn(*pmd) + fperf_pte_index(sim, vpn);
	else
		pfn = fperf_pte_pfn(fperf_table(&sim->mem, fperf_pmd_table(*pmd))[fperf_pte_index(sim, vpn)]);
	if (all)
		sim->contents[pfn] = (uint16_t)(byte << 8 | byte);
	else
		sim->contents[pfn] = (uint16_t)((sim->contents[pfn] & 0xff00) | byte);
}
