/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Guard regions (v6.13): markers in page tables that take pages away and let nobody bring them back until they are removed.
 * Only unmapping takes them along; fork and mremap carry them over.
 */
#include "mm/mm.h"

/* The PTEs of [start, end) in one table, NULL if there is none; *stop is the end of the table or the range. */
static uint64_t *ptes_of(struct fperf_sim *sim, const struct fperf_mm *mm, uint64_t start, uint64_t end, uint64_t *stop)
{
	const uint64_t ceiling = fperf_pmd_floor(sim, start) + sim->entries;
	const uint64_t *const pmd = fperf_pmd_peek(sim, mm, start);

	*stop = ceiling < end ? ceiling : end;
	if (!pmd || !fperf_pmd_table(*pmd))
		return NULL;
	return fperf_table(&sim->mem, fperf_pmd_table(*pmd)) + fperf_pte_index(sim, start);
}

int fperf_guard_install(struct fperf_sim *sim, struct fperf_vma *vma, uint64_t start, uint64_t end)
{
	int ret;

	/* Fork must copy the tables: since v6.19 the VMA says so, before it had to have an anon_vma. */
	if (sim->prof.version >= FPERF_KERNEL(6, 19))
		vma->flags |= FPERF_VM_MAYBE_GUARD;
	ret = sim->prof.version >= FPERF_KERNEL(6, 19) ? 0 : fperf_anon_vma_prepare(sim, vma);
	if (!ret)
		ret = fperf_zap_range(sim, vma, start, end, FPERF_ZAP_PAGES);
	vma->mm->has_guards = true;
	for (uint64_t stop; !ret && start < end; start = stop) {
		uint64_t *const pmd = fperf_pmd_alloc(sim, vma->mm, start);
		const uint32_t table = pmd ? fperf_pte_table_alloc(sim, pmd) : 0;
		uint64_t *ptes;

		if (!table)
			return FPERF_ERR(TABLE_SPACE);
		ptes = ptes_of(sim, vma->mm, start, end, &stop);
		fperf_ptl_lock(sim, table);
		for (uint64_t i = 0; i < stop - start; i++)
			ptes[i] = FPERF_PTE_GUARD;
		fperf_charge_ptes(sim, FPERF_STORE, ptes, stop - start);
		fperf_ptl_unlock(sim, table);
	}
	return ret;
}

void fperf_guard_remove(struct fperf_sim *sim, const struct fperf_vma *vma, uint64_t start, uint64_t end)
{
	for (uint64_t stop; start < end; start = stop) {
		uint64_t *const ptes = ptes_of(sim, vma->mm, start, end, &stop);

		if (!ptes)
			continue;
		fperf_charge_ptes(sim, FPERF_LOAD, ptes, stop - start);
		for (uint64_t i = 0; i < stop - start; i++) {
			if (!(ptes[i] & FPERF_PTE_GUARD))
				continue;
			ptes[i] = 0;
			fperf_charge_ptes(sim, FPERF_STORE, &ptes[i], 1);
		}
	}
}

uint64_t fperf_guard_find(struct fperf_sim *sim, const struct fperf_mm *mm, uint64_t start, uint64_t end)
{
	for (uint64_t stop; mm->has_guards && start < end; start = stop) {
		const uint64_t *const ptes = ptes_of(sim, mm, start, end, &stop);

		for (uint64_t i = 0; ptes && i < stop - start; i++)
			if (ptes[i] & FPERF_PTE_GUARD)
				return start + i;
	}
	return end;
}
