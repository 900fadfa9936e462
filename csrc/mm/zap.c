/* SPDX-License-Identifier: BSD-3-Clause */
/* Unmapping: munmap, MADV_DONTNEED, exit. */
#include "mm/mm.h"

#include <string.h>

static void zap_leaf(struct fperf_sim *sim, struct fperf_vma *vma, uint64_t vpn, uint64_t *pmd)
{
	const uint64_t entry = *pmd;
	const uint32_t table = fperf_table_of(sim, pmd);

	fperf_ptl_lock(sim, table);
	*pmd = 0;
	fperf_charge_pmd(sim, FPERF_STORE, pmd);
	if (!(entry & FPERF_PTE_ZERO)) {
		const struct fperf_run run =
			fperf_run_at(sim, vma, fperf_pte_pfn(entry), sim->entries, vpn, true, true);

		fperf_rmap_unmap_pmd(sim, &run);
		fperf_folio_unmapped(sim, run.folio);
	}
	fperf_ptl_unlock(sim, table);
}

static bool is_file_page(const struct fperf_sim *sim, uint64_t entry)
{
	return (entry & (FPERF_PTE_PRESENT | FPERF_PTE_ZERO)) == FPERF_PTE_PRESENT &&
	       !sim->folios[fperf_folio_head(sim, fperf_pte_pfn(entry))].anon;
}

static bool stays(const struct fperf_sim *sim, uint64_t entry, enum fperf_zap what)
{
	return (what != FPERF_ZAP_ALL && entry & FPERF_PTE_GUARD) ||
	       (what == FPERF_ZAP_FILE_PAGES && !is_file_page(sim, entry));
}

/* Small folios side by side that somebody else maps too, field by field: as zap_ptes() does one after the other. */
static bool zap_small(struct fperf_sim *sim, struct fperf_vma *vma, uint64_t vpn, uint64_t *pte, uint32_t max)
{
	const uint64_t pfn = fperf_pte_pfn(*pte);
	struct fperf_run run;

	if (!fperf_pte_small_batch(sim, pte, max, pte))
		return false;
	for (uint32_t i = 0; i < FPERF_SMALL_BATCH; i++)
		if (fperf_pfn_page(&sim->mem, pfn + i)->refcount <= 1 || sim->folios[pfn + i].swap_slot)
			return false;
	fperf_touch_each(&sim->door, FPERF_FIELD_COMPOUND_HEAD, FPERF_LOAD,
			 fperf_arena_offset(&sim->mem, &fperf_pfn_page(&sim->mem, pfn)->compound_head),
			 FPERF_SMALL_BATCH, sizeof(struct fperf_page));
	memset(pte, 0, FPERF_SMALL_BATCH * sizeof(*pte));
	fperf_touch_each(&sim->door, FPERF_FIELD_PTE, FPERF_STORE, fperf_entry_at(sim, pte), FPERF_SMALL_BATCH,
			 sizeof(*pte));
	run = fperf_run_at(sim, vma, pfn, 1, vpn, sim->prof.batch_zap, sim->prof.batch_zap);
	run.nr = FPERF_SMALL_BATCH;
	fperf_rmap_unmap_small(sim, &run);
	return true;
}

static void zap_ptes(struct fperf_sim *sim, struct fperf_vma *vma, uint64_t vpn, uint64_t *pte, uint32_t nr,
		     enum fperf_zap what)
{
	const uint32_t table = fperf_table_of(sim, pte);

	fperf_ptl_lock(sim, table);
	fperf_charge_ptes(sim, FPERF_LOAD, pte, nr);
	for (uint32_t i = 0, batch; i < nr; i += batch) {
		const uint64_t entry = pte[i];
		struct fperf_run run;

		batch = 1;
		if (!entry) {
			batch = fperf_nr_none(&pte[i], nr - i);
			continue;
		}
		if (what != FPERF_ZAP_ALL && stays(sim, entry, what))
			continue;
		if ((entry & (FPERF_PTE_PRESENT | FPERF_PTE_ZERO)) != FPERF_PTE_PRESENT) {
			pte[i] = 0;
			fperf_charge_ptes(sim, FPERF_STORE, &pte[i], 1);
			if (entry & FPERF_PTE_SWAP)
				fperf_swap_put(sim, fperf_pte_pfn(entry));
			continue;
		}
		if (zap_small(sim, vma, vpn + i, &pte[i], nr - i)) {
			batch = FPERF_SMALL_BATCH;
			continue;
		}
		fperf_pte_prefetch(sim, pte, i, nr);
		fperf_charge_page_folio(sim, fperf_pte_pfn(entry));
		batch = fperf_pte_batch(sim, &pte[i], nr - i);
		memset(&pte[i], 0, batch * sizeof(*pte));
		fperf_charge_ptes(sim, FPERF_STORE, &pte[i], batch);
		run = fperf_run_at(sim, vma, fperf_pte_pfn(entry), batch, vpn + i, sim->prof.batch_zap,
				   sim->prof.batch_zap);
		fperf_rmap_unmap(sim, &run);
		fperf_folio_unmapped(sim, run.folio);
	}
	fperf_ptl_unlock(sim, table);
}

int fperf_zap_range(struct fperf_sim *sim, struct fperf_vma *vma, uint64_t start, uint64_t end, enum fperf_zap what)
{
	while (start < end) {
		const uint64_t floor = fperf_pmd_floor(sim, start);
		const uint64_t ceiling = floor + sim->entries;
		const uint64_t stop = ceiling < end ? ceiling : end;
		uint64_t *const pmd = fperf_pmd_walk(sim, vma->mm, start);

		if (pmd && *pmd & FPERF_PTE_LEAF) {
			if (start == floor && stop == ceiling) {
				zap_leaf(sim, vma, start, pmd);
			} else {
				const int ret = fperf_split_pmd(sim, vma, start, pmd);

				if (ret)
					return ret;
			}
		}
		if (pmd && fperf_pmd_table(*pmd))
			zap_ptes(sim, vma, start,
				 fperf_table(&sim->mem, fperf_pmd_table(*pmd)) + fperf_pte_index(sim, start),
				 (uint32_t)(stop - start), what);
		start = stop;
	}
	return 0;
}

int fperf_munmap(struct fperf_sim *sim, struct fperf_mm *mm, uint64_t start, uint64_t end)
{
	struct fperf_vma *vma = fperf_vma_find(mm, start, NULL);
	uint32_t first, past;
	int ret;

	if (!vma || vma->start >= end)
		return 0;
	if (vma->start < start) {
		ret = fperf_vma_split(sim, vma, start, false);
		if (ret)
			return ret;
	}
	vma = fperf_vma_find(mm, end - 1, NULL);
	if (vma && vma->start < end && vma->end > end) {
		ret = fperf_vma_split(sim, vma, end, true);
		if (ret)
			return ret;
	}
	fperf_vma_find(mm, start, &first);
	for (past = first; past < mm->nr_vmas && mm->vmas[past]->start < end; past++) {
		ret = fperf_zap_range(sim, mm->vmas[past], mm->vmas[past]->start, mm->vmas[past]->end, FPERF_ZAP_ALL);
		if (ret)
			return ret;
	}
	while (past-- > first)
		fperf_vma_remove(sim, mm->vmas[past]);
	fperf_free_tables(sim, mm, start, end);
	return 0;
}

int fperf_exit_mm(struct fperf_sim *sim, struct fperf_mm *mm)
{
	fperf_ksm_exit(mm);
	for (uint32_t i = 0; i < mm->nr_vmas; i++) {
		const int ret = fperf_zap_range(sim, mm->vmas[i], mm->vmas[i]->start, mm->vmas[i]->end, FPERF_ZAP_ALL);

		if (ret)
			return ret;
	}
	for (uint32_t i = 0; i < mm->nr_vmas; i++)
		fperf_vma_unlink(sim, mm->vmas[i]);
	fperf_vma_free_all(sim, mm);
	fperf_free_all_tables(sim, mm);
	return 0;
}

void fperf_unmap_hit(struct fperf_sim *sim, struct fperf_vma *vma, const struct fperf_rmap_hit *hit, bool batched,
		     uint64_t swap_base)
{
	const uint32_t table = fperf_table_of(sim, hit->entry);
	const uint64_t pfn = fperf_pte_pfn(*hit->entry);
	struct fperf_run run;

	if (hit->pmd) {
		zap_leaf(sim, vma, hit->vpn, hit->entry);
		return;
	}
	fperf_ptl_lock(sim, table);
	for (uint32_t i = 0; i < hit->nr; i++) {
		hit->entry[i] = 0;
		if (swap_base == UINT64_MAX)
			continue;
		fperf_swap_out_page(sim, swap_base + hit->first + i, pfn + i);
		hit->entry[i] = fperf_pte(
			swap_base + hit->first + i,
			FPERF_PTE_SWAP | (fperf_exclusive_clear(sim, pfn + i, 1) ? FPERF_PTE_SWAP_EXCLUSIVE : 0));
	}
	fperf_charge_ptes(sim, FPERF_STORE, hit->entry, hit->nr);
	run = fperf_run_at(sim, vma, pfn, hit->nr, hit->vpn, batched, batched);
	fperf_rmap_unmap(sim, &run);
	fperf_ptl_unlock(sim, table);
}
