/* SPDX-License-Identifier: BSD-3-Clause */
/* PMD mappings: split into PTEs where anonymous, dropped where file. */
#include "mm/mm.h"

int fperf_split_pmd(struct fperf_sim *sim, struct fperf_vma *vma, uint64_t vpn, uint64_t *pmd)
{
	const uint64_t entry = *pmd;
	const uint64_t pfn = fperf_pte_pfn(entry);
	const uint64_t base = fperf_pmd_floor(sim, vpn);
	const uint64_t flags =
		entry & (FPERF_PTE_PRESENT | FPERF_PTE_WRITE | FPERF_PTE_YOUNG | FPERF_PTE_DIRTY | FPERF_PTE_ZERO);
	uint64_t *ptes;
	uint32_t table;

	if (!(entry & FPERF_PTE_ZERO) && !sim->folios[pfn].anon) {
		struct fperf_run run = fperf_run_at(sim, vma, pfn, sim->entries, base, true, true);

		fperf_ptl_lock(sim, fperf_table_of(sim, pmd));
		*pmd = 0;
		fperf_charge_pmd(sim, FPERF_STORE, pmd);
		fperf_rmap_unmap_pmd(sim, &run);
		fperf_ptl_unlock(sim, fperf_table_of(sim, pmd));
		fperf_folio_maybe_free(sim, pfn);
		return 0;
	}
	table = fperf_table_alloc(&sim->mem); /* deposited when the PMD was mapped */
	if (!table)
		return FPERF_ERR(TABLE_SPACE);
	ptes = fperf_table(&sim->mem, table);
	fperf_ptl_lock(sim, fperf_table_of(sim, pmd));
	if (!(entry & FPERF_PTE_ZERO)) {
		struct fperf_run run = fperf_run_at(sim, vma, pfn, sim->entries, base, sim->prof.batch_pmd_split, true);
		const bool exclusive = fperf_exclusive_test(sim, pfn);

		sim->folios[pfn].dirty |= (entry & FPERF_PTE_DIRTY) != 0;
		fperf_rmap_split_pmd(sim, &run);
		if (exclusive)
			fperf_exclusive_set(sim, pfn, sim->entries);
	}
	for (uint32_t i = 0; i < sim->entries; i++)
		ptes[i] = fperf_pte(entry & FPERF_PTE_ZERO ? 0 : pfn + i, flags);
	fperf_charge_ptes(sim, FPERF_STORE, ptes, sim->entries);
	*pmd = fperf_pte(table, FPERF_PTE_PRESENT);
	fperf_charge_pmd(sim, FPERF_STORE, pmd);
	fperf_ptl_unlock(sim, fperf_table_of(sim, pmd));
	return 0;
}

int fperf_freeze_pmd(struct fperf_sim *sim, struct fperf_vma *vma, uint64_t vpn, uint64_t *pmd)
{
	const uint64_t entry = *pmd, pfn = fperf_pte_pfn(entry);
	const uint32_t table = fperf_table_alloc(&sim->mem); /* deposited when the PMD was mapped */
	const struct fperf_run run = fperf_run_at(sim, vma, pfn, sim->entries, fperf_pmd_floor(sim, vpn), true, true);
	uint64_t flags = FPERF_PTE_MIGRATION | (entry & (FPERF_PTE_WRITE | FPERF_PTE_YOUNG | FPERF_PTE_DIRTY));
	uint64_t *ptes;

	if (!table)
		return FPERF_ERR(TABLE_SPACE);
	ptes = fperf_table(&sim->mem, table);
	fperf_ptl_lock(sim, fperf_table_of(sim, pmd));
	sim->folios[pfn].dirty |= (entry & FPERF_PTE_DIRTY) != 0;
	if (fperf_exclusive_clear(sim, pfn, 1))
		flags |= FPERF_PTE_SWAP_EXCLUSIVE;
	for (uint32_t i = 0; i < sim->entries; i++)
		ptes[i] = fperf_pte(pfn + i, flags);
	fperf_charge_ptes(sim, FPERF_STORE, ptes, sim->entries);
	*pmd = fperf_pte(table, FPERF_PTE_PRESENT);
	fperf_charge_pmd(sim, FPERF_STORE, pmd);
	fperf_rmap_unmap_pmd(sim, &run);
	fperf_ptl_unlock(sim, fperf_table_of(sim, pmd));
	return 0;
}

int fperf_split_pmd_at(struct fperf_sim *sim, struct fperf_vma *vma, uint64_t vpn)
{
	uint64_t *pmd;

	if (!fperf_pte_index(sim, vpn))
		return 0;
	pmd = fperf_pmd_peek(sim, vma->mm, vpn);
	if (!pmd || !(*pmd & FPERF_PTE_LEAF))
		return 0;
	return fperf_split_pmd(sim, vma, vpn, pmd);
}
