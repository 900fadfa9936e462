/* SPDX-License-Identifier: BSD-3-Clause */
/* mprotect: VMAs are split and merged; entries lose the write bit. Granting writes back is left to the next fault. */
#include "mm/mm.h"

static void write_protect(struct fperf_sim *sim, struct fperf_mm *mm, uint64_t start, uint64_t end)
{
	for (uint64_t stop; start < end; start = stop) {
		uint64_t *const pmd = fperf_pmd_walk(sim, mm, start);
		const uint64_t ceiling = fperf_pmd_floor(sim, start) + sim->entries;
		uint64_t *pte;

		stop = ceiling < end ? ceiling : end;
		if (!pmd || !*pmd)
			continue;
		if (*pmd & FPERF_PTE_LEAF) {
			*pmd &= ~(uint64_t)FPERF_PTE_WRITE;
			fperf_note_flush(&sim->door);
			fperf_charge_pmd(sim, FPERF_STORE, pmd);
			continue;
		}
		fperf_ptl_lock(sim, fperf_pmd_table(*pmd));
		pte = fperf_table(&sim->mem, fperf_pmd_table(*pmd)) + fperf_pte_index(sim, start);
		fperf_charge_ptes(sim, FPERF_LOAD, pte, stop - start);
		for (uint64_t i = 0; i < stop - start; i++) {
			if (!(pte[i] & FPERF_PTE_WRITE))
				continue;
			pte[i] &= ~(uint64_t)FPERF_PTE_WRITE;
			fperf_note_flush(&sim->door);
			fperf_charge_ptes(sim, FPERF_STORE, &pte[i], 1);
		}
		fperf_ptl_unlock(sim, fperf_pmd_table(*pmd));
	}
}

int fperf_mprotect(struct fperf_sim *sim, struct fperf_mm *mm, uint64_t start, uint64_t end, uint32_t prot)
{
	const struct fperf_vma *vma;
	uint64_t stop = start;
	int ret;

	/* VMA by VMA, up to the first hole. */
	while (stop < end && (vma = fperf_vma_at(mm, stop)))
		stop = vma->end;
	if (stop < end)
		end = stop;
	if (start == end)
		return 0;
	ret = fperf_vma_modify(sim, mm, start, end, FPERF_VM_READ | FPERF_VM_WRITE, prot);

	if (ret)
		return ret;
	if (!(prot & FPERF_VM_WRITE))
		write_protect(sim, mm, start, end);
	return 0;
}
