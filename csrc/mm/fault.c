/* SPDX-License-Identifier: BSD-3-Clause */
/* Page faults on anonymous memory, and what a write fault does once it is decided. */
#include "mm/mm.h"

uint64_t fperf_anon_orders(const struct fperf_sim *sim, const struct fperf_vma *vma)
{
	if (vma->flags & FPERF_VM_NOHUGEPAGE)
		return 0;
	return sim->cfg.anon_orders_always | (vma->flags & FPERF_VM_HUGEPAGE ? sim->cfg.anon_orders_madvise : 0);
}

static bool pmd_fits(const struct fperf_sim *sim, const struct fperf_vma *vma, uint64_t vpn)
{
	const uint64_t base = fperf_pmd_floor(sim, vpn);

	return base >= vma->start && base + sim->entries <= vma->end &&
	       fperf_anon_orders(sim, vma) >> sim->pmd_order & 1;
}

/* A fresh anonymous folio whose first page is mapped at vpn. */
static int anon_folio(struct fperf_sim *sim, struct fperf_vma *vma, uint64_t vpn, uint32_t order, uint64_t *ret)
{
	const int err = fperf_folio_alloc(sim, order, ret);

	if (err)
		return err;
	fperf_folio_set_anon_vma(sim, *ret, vma->anon_vma);
	sim->folios[*ret].index = vma->pgoff + (vpn - vma->start);
	if (order)
		vma->mm->has_large = true;
	return 0;
}

static uint64_t writable(const struct fperf_vma *vma)
{
	return vma->flags & FPERF_VM_WRITE ? FPERF_PTE_WRITE | FPERF_PTE_DIRTY : 0;
}

static int anon_pmd_fault(struct fperf_sim *sim, struct fperf_vma *vma, uint64_t vpn, uint64_t *pmd, bool write)
{
	const uint64_t base = fperf_pmd_floor(sim, vpn);
	struct fperf_run run;
	uint64_t folio;
	int ret = fperf_anon_vma_prepare(sim, vma);

	if (ret)
		return ret;
	if (!write) {
		*pmd = fperf_pte(0, FPERF_PTE_PRESENT | FPERF_PTE_LEAF | FPERF_PTE_ZERO | FPERF_PTE_YOUNG);
		fperf_charge_pmd(sim, FPERF_STORE, pmd);
		return 0;
	}
	ret = anon_folio(sim, vma, base, sim->pmd_order, &folio);
	if (ret)
		return ret;
	sim->door.stats->pages_zeroed += sim->entries;
	run = fperf_run_at(sim, vma, folio, sim->entries, base, true, true);
	run.flags |= FPERF_RUN_NEW;
	fperf_ptl_lock(sim, fperf_table_of(sim, pmd));
	fperf_rmap_map_pmd(sim, &run);
	fperf_exclusive_set(sim, folio, 1);
	*pmd = fperf_pte(folio, FPERF_PTE_PRESENT | FPERF_PTE_LEAF | FPERF_PTE_YOUNG | writable(vma));
	fperf_charge_pmd(sim, FPERF_STORE, pmd);
	fperf_ptl_unlock(sim, fperf_table_of(sim, pmd));
	return 0;
}

/* Largest order that policy, VMA and empty entries allow around vpn; alloc_anon_folio(). */
static uint32_t anon_order(const struct fperf_sim *sim, const struct fperf_vma *vma, uint64_t vpn,
			   const uint64_t *table)
{
	uint64_t orders = sim->prof.mthp ? fperf_anon_orders(sim, vma) & ((1ull << sim->pmd_order) - 1) : 0;

	while (orders) {
		const uint32_t order = 63 - (uint32_t)__builtin_clzll(orders);
		const uint64_t base = vpn >> order << order;

		if (base >= vma->start && base + (1ull << order) <= vma->end &&
		    fperf_nr_none(table + fperf_pte_index(sim, base), 1u << order) == 1u << order)
			return order;
		orders &= ~(1ull << order);
	}
	return 0;
}

static int anon_fault(struct fperf_sim *sim, struct fperf_vma *vma, uint64_t vpn, uint64_t *pmd, bool write)
{
	uint64_t *ptes, *pte;
	struct fperf_run run;
	uint64_t folio, base;
	uint32_t order, nr, table;
	int ret;

	if (!*pmd && pmd_fits(sim, vma, vpn))
		return anon_pmd_fault(sim, vma, vpn, pmd, write);
	table = fperf_pte_table_alloc(sim, pmd);
	if (!table)
		return FPERF_ERR(TABLE_SPACE);
	ptes = fperf_table(&sim->mem, table);
	pte = &ptes[fperf_pte_index(sim, vpn)];
	fperf_charge_ptes(sim, FPERF_LOAD, pte, 1);
	if (!write) {
		fperf_ptl_lock(sim, table);
		*pte = fperf_pte(0, FPERF_PTE_PRESENT | FPERF_PTE_ZERO | FPERF_PTE_YOUNG);
		fperf_charge_ptes(sim, FPERF_STORE, pte, 1);
		fperf_ptl_unlock(sim, table);
		return 0;
	}
	ret = fperf_anon_vma_prepare(sim, vma);
	if (ret)
		return ret;
	order = anon_order(sim, vma, vpn, ptes);
	nr = 1u << order;
	base = vpn >> order << order;
	ret = anon_folio(sim, vma, base, order, &folio);
	if (ret)
		return ret;
	sim->door.stats->pages_zeroed += nr;
	run = fperf_run_at(sim, vma, folio, nr, base, true, true);
	run.flags |= FPERF_RUN_NEW;
	fperf_ptl_lock(sim, table);
	fperf_rmap_map(sim, &run, false);
	fperf_exclusive_set(sim, folio, nr);
	pte = &ptes[fperf_pte_index(sim, base)];
	for (uint32_t i = 0; i < nr; i++)
		pte[i] = fperf_pte(folio + i, FPERF_PTE_PRESENT | FPERF_PTE_YOUNG | writable(vma));
	fperf_charge_ptes(sim, FPERF_STORE, pte, nr);
	fperf_ptl_unlock(sim, table);
	return 0;
}

int fperf_fault(struct fperf_sim *sim, struct fperf_mm *mm, struct fperf_vma *vma, uint64_t vpn, bool write)
{
	uint64_t *pmd = fperf_pmd_peek(sim, mm, vpn);
	uint64_t entry = 0;

	if (pmd && *pmd & FPERF_PTE_LEAF)
		entry = *pmd;
	else if (pmd && *pmd)
		entry = fperf_table(&sim->mem, fperf_pmd_table(*pmd))[fperf_pte_index(sim, vpn)];
	if (entry & FPERF_PTE_PRESENT) {
		if (!write || entry & FPERF_PTE_WRITE)
			return FPERF_FAULT_SATISFIED;
		return FPERF_FAULT_WRITE_PROTECTED;
	}
	if (entry & FPERF_PTE_GUARD)
		return FPERF_ERR(SEGV);
	if (entry & FPERF_PTE_SWAP) {
		uint64_t *const pte = fperf_table(&sim->mem, fperf_pmd_table(*pmd)) + fperf_pte_index(sim, vpn);

		return fperf_swap_in(sim, vma, vpn, pte, write);
	}
	if (vma->object)
		return fperf_file_fault(sim, vma, vpn, write);
	fperf_event_begin(&sim->door, FPERF_EV_ANON_FAULT);
	pmd = fperf_pmd_alloc(sim, mm, vpn);
	if (!pmd)
		return FPERF_ERR(TABLE_SPACE);
	return anon_fault(sim, vma, vpn, pmd, write);
}

/* The accessed bits that hardware sets on the way are part of reclaim's question, so they are kept; they cost nothing. */
uint64_t fperf_mapped_extent(struct fperf_sim *sim, struct fperf_mm *mm, uint64_t vpn, uint64_t max, bool write)
{
	const uint64_t need = FPERF_PTE_PRESENT | (write ? FPERF_PTE_WRITE : 0);
	const uint64_t seen = FPERF_PTE_YOUNG | (write ? FPERF_PTE_DIRTY : 0);
	uint64_t nr = 0;

	while (nr < max) {
		uint64_t *const pmd = fperf_pmd_peek(sim, mm, vpn + nr);
		uint64_t left = sim->entries - fperf_pte_index(sim, vpn + nr);
		uint64_t *pte;
		uint32_t run;

		if (left > max - nr)
			left = max - nr;
		if (!pmd || !*pmd)
			break;
		if (*pmd & FPERF_PTE_LEAF) {
			if ((*pmd & need) != need)
				break;
			*pmd |= seen;
			nr += left;
			continue;
		}
		pte = fperf_table(&sim->mem, fperf_pmd_table(*pmd)) + fperf_pte_index(sim, vpn + nr);
		run = fperf_nr_with(pte, (uint32_t)left, need);
		/* Hardware sets the bits where they are not set; a fresh mapping has them. */
		for (uint32_t i = fperf_nr_with(pte, run, seen); i < run; i++)
			pte[i] |= seen;
		nr += run;
		if (run < left)
			break;
	}
	return nr;
}

/* wp_page_copy(): a fresh page of order 0 takes the place of what is mapped at pte, with such flags. */
static int copy(struct fperf_sim *sim, struct fperf_vma *vma, uint64_t vpn, uint64_t *pte, uint64_t flags)
{
	const uint64_t old = *pte;
	const uint32_t table = fperf_table_of(sim, pte);
	struct fperf_run run;
	uint64_t folio;
	int ret = fperf_anon_vma_prepare(sim, vma);

	if (ret)
		return ret;
	ret = anon_folio(sim, vma, vpn, 0, &folio);
	if (ret)
		return ret;
	sim->totals.cow_copies++;
	if ((old & FPERF_PTE_STATE) == FPERF_PTE_PRESENT) {
		fperf_truth_copied(sim, fperf_pte_pfn(old));
		fperf_content_copy(sim, folio, fperf_pte_pfn(old), 1);
	} else {
		sim->door.stats->pages_zeroed++;
	}
	fperf_note_flush(&sim->door);
	run = fperf_run_at(sim, vma, folio, 1, vpn, true, true);
	run.flags |= FPERF_RUN_NEW;
	fperf_ptl_lock(sim, table);
	fperf_charge_ptes(sim, FPERF_LOAD, pte, 1);
	/* The old entry goes first: a scheme that looks at the table must not find it any more. */
	*pte = 0;
	fperf_charge_ptes(sim, FPERF_STORE, pte, 1);
	fperf_rmap_map(sim, &run, false);
	fperf_exclusive_set(sim, folio, 1);
	*pte = fperf_pte(folio, FPERF_PTE_PRESENT | FPERF_PTE_YOUNG | flags);
	fperf_charge_ptes(sim, FPERF_STORE, pte, 1);
	if ((old & (FPERF_PTE_PRESENT | FPERF_PTE_ZERO)) == FPERF_PTE_PRESENT) {
		run = fperf_run_at(sim, vma, fperf_pte_pfn(old), 1, vpn, true, true);
		fperf_rmap_unmap(sim, &run);
		fperf_folio_unmapped(sim, run.folio);
	}
	fperf_ptl_unlock(sim, table);
	return 0;
}

int fperf_wp_copy(struct fperf_sim *sim, struct fperf_vma *vma, uint64_t vpn, uint64_t *pte)
{
	return copy(sim, vma, vpn, pte, writable(vma));
}

int fperf_unshare(struct fperf_sim *sim, struct fperf_vma *vma, uint64_t vpn, uint64_t *pte)
{
	return copy(sim, vma, vpn, pte, 0);
}

/*
 * The mapper may write in place. `moved`: the page was found to be its own, so it becomes exclusive, and its anon_vma the
 * VMA's own (folio_move_anon_rmap()) unless it is part of a larger folio, which other VMAs of this mm may map too.
 */
void fperf_wp_reuse(struct fperf_sim *sim, struct fperf_vma *vma, uint64_t *entry, uint64_t page_pfn, bool moved)
{
	const uint32_t table = fperf_table_of(sim, entry);
	const uint64_t folio = fperf_folio_head(sim, page_pfn);

	sim->totals.cow_reuses++;
	fperf_ptl_lock(sim, table);
	if (moved && (*entry & FPERF_PTE_LEAF || !fperf_folio_order(sim, page_pfn))) {
		if (sim->folios[folio].anon_vma != vma->anon_vma)
			fperf_folio_set_anon_vma(sim, folio, vma->anon_vma);
		fperf_touch(&sim->door, FPERF_FIELD_MAPPING, FPERF_STORE,
			    fperf_arena_offset(&sim->mem, &fperf_head(sim, folio)->mapping));
	}
	if (moved)
		fperf_exclusive_set(sim, page_pfn, 1);
	*entry |= FPERF_PTE_WRITE | FPERF_PTE_DIRTY | FPERF_PTE_YOUNG;
	if (*entry & FPERF_PTE_LEAF)
		fperf_charge_pmd(sim, FPERF_STORE, entry);
	else
		fperf_charge_ptes(sim, FPERF_STORE, entry, 1);
	fperf_ptl_unlock(sim, table);
}

/* A write to the huge zero page: a THP in its place (v6.13+), or split it and copy one page. */
int fperf_huge_zero_write(struct fperf_sim *sim, struct fperf_vma *vma, uint64_t vpn, uint64_t *pmd)
{
	int ret;

	if (sim->prof.huge_zero_write_thp && pmd_fits(sim, vma, vpn)) {
		*pmd = 0;
		sim->totals.cow_copies++;
		return anon_pmd_fault(sim, vma, vpn, pmd, true);
	}
	ret = fperf_split_pmd(sim, vma, vpn, pmd);
	if (ret)
		return ret;
	return fperf_wp_copy(sim, vma, vpn, fperf_table(&sim->mem, fperf_pmd_table(*pmd)) + fperf_pte_index(sim, vpn));
}
