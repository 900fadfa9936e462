/* SPDX-License-Identifier: BSD-3-Clause */
/* Swap entries: who holds a slot, and the page that came back while others still refer to it (the swap cache). */
#include "mm/mm.h"

int fperf_swap_slots(struct fperf_sim *sim, uint32_t nr, uint64_t *base)
{
	if (nr == 1 && sim->nr_free_swap) {
		*base = sim->free_swap[--sim->nr_free_swap];
		return 0;
	}
	if (sim->nr_swap + nr > sim->cap_swap) {
		const uint64_t cap = (sim->cap_swap + nr) * 2;
		struct fperf_swap_slot *const slots = realloc(sim->swap, cap * sizeof(*slots));
		uint32_t *free_slots;

		if (!slots)
			return FPERF_ERR(NO_MEMORY);
		sim->swap = slots;
		free_slots = realloc(sim->free_swap, cap * sizeof(*free_slots));
		if (!free_slots)
			return FPERF_ERR(NO_MEMORY);
		sim->free_swap = free_slots;
		sim->cap_swap = cap;
	}
	*base = sim->nr_swap;
	for (uint32_t i = 0; i < nr; i++)
		sim->swap[sim->nr_swap++] = (struct fperf_swap_slot){ 0 };
	return 0;
}

void fperf_swap_slots_settle(struct fperf_sim *sim, uint64_t base, uint32_t nr)
{
	for (uint64_t slot = base; slot < base + nr; slot++) {
		if (sim->swap[slot].count) {
			sim->totals.swap_outs++;
			continue;
		}
		sim->free_swap[sim->nr_free_swap++] = (uint32_t)slot;
		sim->totals.swap_slots_wasted++;
	}
}

void fperf_swap_out_page(struct fperf_sim *sim, uint64_t slot, uint64_t pfn)
{
	sim->swap[slot].content = fperf_content(sim, pfn);
	fperf_swap_dup(sim, slot);
}

void fperf_swap_dup(struct fperf_sim *sim, uint64_t slot)
{
	sim->swap[slot].count++;
}

static void give_back(struct fperf_sim *sim, uint64_t slot)
{
	sim->free_swap[sim->nr_free_swap++] = (uint32_t)slot;
}

/* The folio leaves the swap cache, and its slot is free: no entry refers to it any more. */
static void swap_cache_drop(struct fperf_sim *sim, uint64_t slot)
{
	const uint64_t pfn = sim->swap[slot].pfn;
	const enum fperf_cause before = fperf_because(&sim->door, FPERF_CAUSE_FIXED);

	sim->swap[slot].pfn = 0;
	sim->folios[pfn].swap_slot = 0;
	fperf_folio_ref(sim, pfn, -1);
	fperf_because(&sim->door, before);
	give_back(sim, slot);
	fperf_folio_maybe_free(sim, pfn);
}

bool fperf_swap_cache_free(struct fperf_sim *sim, uint64_t folio)
{
	const uint32_t at = sim->folios[folio].swap_slot;

	if (!at || sim->swap[at - 1].count)
		return false;
	swap_cache_drop(sim, at - 1);
	return true;
}

/* free_swap_cache(): what is mapped keeps its slot, for the next time; a stale count keeps it for ever. */
static void let_go(struct fperf_sim *sim, uint64_t folio)
{
	const struct fperf_query query = { .folio = folio, .anon = true };

	if (fperf_ask(sim, FPERF_ASK_MAPPED, &query, NULL) == FPERF_NO)
		fperf_swap_cache_free(sim, folio);
	else if (sim->cfg.truth)
		sim->totals.swap_slots_kept += !fperf_truth_mappings(sim, folio);
}

void fperf_folio_unmapped(struct fperf_sim *sim, uint64_t folio)
{
	const uint32_t at = sim->folios[folio].swap_slot;

	if (at && !sim->swap[at - 1].count)
		let_go(sim, folio);
	else
		fperf_folio_maybe_free(sim, folio);
}

/* An entry less. Whether the slot is free then, a folio in the swap cache decides. */
static void drop_entry(struct fperf_sim *sim, uint64_t slot)
{
	FPERF_BUG_ON(!sim->swap[slot].count);
	if (!--sim->swap[slot].count && !sim->swap[slot].pfn)
		give_back(sim, slot);
}

void fperf_swap_put(struct fperf_sim *sim, uint64_t slot)
{
	const uint64_t cached = sim->swap[slot].pfn;

	drop_entry(sim, slot);
	if (cached && !sim->swap[slot].count)
		let_go(sim, cached);
}

bool fperf_swap_cached(const struct fperf_sim *sim, uint64_t folio)
{
	return sim->folios[folio].swap_slot;
}

int fperf_swap_in(struct fperf_sim *sim, struct fperf_vma *vma, uint64_t vpn, uint64_t *pte, bool write)
{
	fperf_event_begin(&sim->door, FPERF_EV_SWAP_FAULT);
	return fperf_swap_in_page(sim, vma, vpn, pte, write);
}

static int swap_in_vma(struct fperf_sim *sim, struct fperf_vma *vma)
{
	for (uint64_t vpn = vma->start, stop; vpn < vma->end; vpn = stop) {
		const uint64_t ceiling = fperf_pmd_floor(sim, vpn) + sim->entries;
		uint64_t *const pmd = fperf_pmd_walk(sim, vma->mm, vpn);
		uint64_t *ptes;

		stop = ceiling < vma->end ? ceiling : vma->end;
		if (!pmd || !fperf_pmd_table(*pmd))
			continue;
		ptes = fperf_table(&sim->mem, fperf_pmd_table(*pmd)) + fperf_pte_index(sim, vpn);
		fperf_charge_ptes(sim, FPERF_LOAD, ptes, stop - vpn);
		for (uint64_t i = 0; i < stop - vpn; i++) {
			const int ret =
				ptes[i] & FPERF_PTE_SWAP ? fperf_swap_in_page(sim, vma, vpn + i, &ptes[i], false) : 0;

			if (ret)
				return ret;
		}
	}
	return sim->error;
}

int fperf_swapoff(struct fperf_sim *sim)
{
	sim->swap_on = false;
	/* A vfork child shares its parent's mm, where nothing is left the second time. */
	for (uint32_t i = 0; i < sim->cap_processes; i++) {
		const struct fperf_mm *const mm = sim->processes[i].mm;

		for (uint32_t j = 0; mm && j < mm->nr_vmas; j++) {
			const int ret = swap_in_vma(sim, mm->vmas[j]);

			if (ret)
				return ret;
		}
	}
	for (uint64_t slot = 0; slot < sim->nr_swap; slot++)
		if (sim->swap[slot].pfn)
			fperf_swap_cache_free(sim, sim->swap[slot].pfn);
	return 0;
}

/*
 * ksm_might_need_to_copy(): what entries of a KSM page lead to comes back as an ordinary page, which only VMAs can map whose
 * offset and tree it fits.
 */
static bool needs_copy(const struct fperf_sim *sim, const struct fperf_vma *vma, uint64_t vpn, uint64_t pfn)
{
	const struct fperf_folio *const f = &sim->folios[pfn];

	return !f->ksm && (f->index != vma->pgoff + (vpn - vma->start) || f->anon_vma->root != vma->anon_vma->root);
}

static int read_page(struct fperf_sim *sim, const struct fperf_vma *vma, uint64_t vpn, uint64_t slot, uint64_t *pfn)
{
	const int ret = fperf_folio_alloc(sim, 0, pfn);

	if (ret)
		return ret;
	fperf_folio_set_anon_vma(sim, *pfn, vma->anon_vma);
	sim->folios[*pfn].index = vma->pgoff + (vpn - vma->start);
	fperf_content_set(sim, *pfn, 1, sim->swap[slot].content);
	return 0;
}

/* Others refer to the slot too: they will find the page there. */
static void swap_cache_add(struct fperf_sim *sim, const struct fperf_vma *vma, uint64_t slot, uint64_t pfn)
{
	const enum fperf_cause before = fperf_because(&sim->door, FPERF_CAUSE_FIXED);

	sim->swap[slot].pfn = pfn;
	sim->folios[pfn].swap_slot = (uint32_t)slot + 1;
	fperf_folio_ref(sim, pfn, 1);
	fperf_because(&sim->door, before);
	/* The root's tree holds every VMA that can still bring the page in. */
	if (vma->anon_vma->root != vma->anon_vma)
		fperf_folio_set_anon_vma(sim, pfn, vma->anon_vma->root);
}

int fperf_swap_in_page(struct fperf_sim *sim, struct fperf_vma *vma, uint64_t vpn, uint64_t *pte, bool write)
{
	const uint64_t entry = *pte;
	const uint64_t slot = fperf_pte_pfn(entry);
	const uint32_t table = fperf_table_of(sim, pte);
	struct fperf_run run;
	bool fresh, own, exclusive;
	uint64_t pfn;
	int ret = fperf_anon_vma_prepare(sim, vma);

	if (ret)
		return ret;
	pfn = sim->swap[slot].pfn;
	fresh = !pfn;
	own = fresh ? sim->swap[slot].count == 1 : needs_copy(sim, vma, vpn, pfn);
	if (fresh || own)
		ret = read_page(sim, vma, vpn, slot, &pfn);
	else
		fperf_folio_lookup_get(sim, pfn);
	if (ret)
		return ret;
	if (fresh && !own)
		swap_cache_add(sim, vma, slot, pfn);
	exclusive = entry & FPERF_PTE_SWAP_EXCLUSIVE || own;
	run = fperf_run_at(sim, vma, pfn, 1, vpn, true, true);
	run.flags |= fresh || own ? FPERF_RUN_NEW : FPERF_RUN_DONATED;
	fperf_ptl_lock(sim, table);
	fperf_charge_ptes(sim, FPERF_LOAD, pte, 1);
	fperf_rmap_map(sim, &run, false);
	fperf_ksm_note_mapping(sim, pfn, vma, vpn);
	if (exclusive)
		fperf_exclusive_set(sim, pfn, 1);
	*pte = fperf_pte(pfn, FPERF_PTE_PRESENT | FPERF_PTE_YOUNG |
				      (exclusive && write && vma->flags & FPERF_VM_WRITE ?
					       FPERF_PTE_WRITE | FPERF_PTE_DIRTY :
					       0));
	fperf_charge_ptes(sim, FPERF_STORE, pte, 1);
	fperf_ptl_unlock(sim, table);
	sim->totals.swap_ins++;
	drop_entry(sim, slot);
	/* What is locked never needs its slot again. */
	if (vma->flags & FPERF_VM_LOCKED)
		fperf_swap_cache_free(sim, pfn);
	if (write && !(*pte & FPERF_PTE_WRITE))
		return FPERF_FAULT_WRITE_PROTECTED;
	return 0;
}
