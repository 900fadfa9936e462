/* SPDX-License-Identifier: BSD-3-Clause */
/* Fork: copy the VMAs, and the page tables of those that cannot be refilled by faults. */
#include "mm/mm.h"

static bool is_cow(const struct fperf_vma *vma)
{
	return !(vma->flags & FPERF_VM_SHARED);
}

/* Since v5.19 only pages known to be the parent's own are in the way; before, all that may be pinned. */
static bool must_copy(struct fperf_sim *sim, uint64_t pfn)
{
	return !sim->prof.anon_exclusive || fperf_exclusive_test(sim, pfn);
}

/* A PMD of pages that must not be shared is split; *from is a table then, and the copy goes on there. */
static int copy_leaf(struct fperf_sim *sim, struct fperf_vma *src, struct fperf_vma *dst, uint64_t vpn, uint64_t *from)
{
	uint64_t entry = *from;
	uint64_t *to;

	/* A file PMD is refilled by faults. */
	if (!(entry & FPERF_PTE_ZERO) && !sim->folios[fperf_pte_pfn(entry)].anon)
		return 0;
	if (!(entry & FPERF_PTE_ZERO) && fperf_needs_copy_for_pin(sim, src, fperf_pte_pfn(entry)) &&
	    must_copy(sim, fperf_pte_pfn(entry)))
		return fperf_split_pmd(sim, src, vpn, from);
	to = fperf_pmd_alloc(sim, dst->mm, vpn);
	if (!to)
		return FPERF_ERR(TABLE_SPACE);
	fperf_ptl_lock(sim, fperf_table_of(sim, to));
	fperf_ptl_lock(sim, fperf_table_of(sim, from));
	if (!(entry & FPERF_PTE_ZERO)) {
		const struct fperf_run run =
			fperf_run_at(sim, dst, fperf_pte_pfn(entry), sim->entries, vpn, true, true);

		fperf_exclusive_clear(sim, fperf_pte_pfn(entry), 1);
		fperf_rmap_map_pmd(sim, &run);
		dst->mm->has_large = true;
	}
	if (entry & FPERF_PTE_WRITE && is_cow(src)) {
		entry &= ~(uint64_t)FPERF_PTE_WRITE;
		*from = entry;
		fperf_charge_pmd(sim, FPERF_STORE, from);
		fperf_note_flush(&sim->door);
	}
	*to = entry & ~(uint64_t)FPERF_PTE_YOUNG;
	fperf_charge_pmd(sim, FPERF_STORE, to);
	fperf_ptl_unlock(sim, fperf_table_of(sim, from));
	fperf_ptl_unlock(sim, fperf_table_of(sim, to));
	return 0;
}

/* copy_present_page(): a page of its own for the child; the parent keeps the one that may be pinned. */
static int copy_page(struct fperf_sim *sim, struct fperf_vma *dst, uint64_t vpn, uint64_t pfn, uint64_t *to)
{
	struct fperf_run run;
	uint64_t folio;
	const int ret = fperf_folio_alloc(sim, 0, &folio);

	if (ret)
		return ret;
	sim->totals.cow_copies++;
	fperf_content_copy(sim, folio, pfn, 1);
	fperf_folio_set_anon_vma(sim, folio, dst->anon_vma);
	sim->folios[folio].index = dst->pgoff + (vpn - dst->start);
	run = fperf_run_at(sim, dst, folio, 1, vpn, true, true);
	run.flags |= FPERF_RUN_NEW;
	fperf_rmap_map(sim, &run, false);
	fperf_exclusive_set(sim, folio, 1);
	*to = fperf_pte(folio, FPERF_PTE_PRESENT | FPERF_PTE_YOUNG | FPERF_PTE_DIRTY |
				       (dst->flags & FPERF_VM_WRITE ? FPERF_PTE_WRITE : 0));
	fperf_charge_ptes(sim, FPERF_STORE, to, 1);
	return 0;
}

/* Where all of eight pages are exclusive, or none is. */
static bool alike_exclusive(const struct fperf_sim *sim, uint64_t pfn)
{
	const uint64_t exclusive = 1ull << FPERF_PG_ANON_EXCLUSIVE;
	uint64_t differ = 0;

	for (uint32_t i = 1; i < FPERF_SMALL_BATCH; i++)
		differ |= fperf_pfn_page(&sim->mem, pfn)->flags ^ fperf_pfn_page(&sim->mem, pfn + i)->flags;
	return !(differ & exclusive);
}

/* Small folios side by side, field by field: as copy_ptes() does one after the other. */
static void copy_small(struct fperf_sim *sim, struct fperf_vma *src, struct fperf_vma *dst, uint64_t vpn,
		       uint64_t *from, uint64_t *to)
{
	const uint64_t entry = *from, pfn = fperf_pte_pfn(entry);
	const struct fperf_run first = fperf_run_at(sim, dst, pfn, 1, vpn, true, true);
	struct fperf_run run = first;
	uint64_t keep = ~(uint64_t)FPERF_PTE_YOUNG;

	run.nr = FPERF_SMALL_BATCH;
	fperf_touch_each(&sim->door, FPERF_FIELD_COMPOUND_HEAD, FPERF_LOAD,
			 fperf_arena_offset(&sim->mem, &fperf_pfn_page(&sim->mem, pfn)->compound_head),
			 FPERF_SMALL_BATCH, sizeof(struct fperf_page));
	fperf_exclusive_clear(sim, pfn, FPERF_SMALL_BATCH);
	fperf_rmap_fork_small(sim, &run);
	if (is_cow(src)) {
		keep &= ~(uint64_t)FPERF_PTE_WRITE;
		if (entry & FPERF_PTE_WRITE) {
			for (uint32_t i = 0; i < FPERF_SMALL_BATCH; i++)
				from[i] &= ~(uint64_t)FPERF_PTE_WRITE;
			fperf_touch_each(&sim->door, FPERF_FIELD_PTE, FPERF_STORE, fperf_entry_at(sim, from),
					 FPERF_SMALL_BATCH, sizeof(*from));
			fperf_note_flush(&sim->door);
		}
	}
	for (uint32_t i = 0; i < FPERF_SMALL_BATCH; i++)
		to[i] = from[i] & keep;
	fperf_touch_each(&sim->door, FPERF_FIELD_PTE, FPERF_STORE, fperf_entry_at(sim, to), FPERF_SMALL_BATCH,
			 sizeof(*to));
}

/* Kernel's order per batch: look at the source, clear exclusive, count and refer, write-protect, write the copy. */
static int copy_ptes(struct fperf_sim *sim, struct fperf_vma *src, struct fperf_vma *dst, uint64_t vpn, uint64_t *from,
		     uint64_t *to, uint32_t nr)
{
	const bool batched = sim->prof.batch_fork;

	fperf_charge_ptes(sim, FPERF_LOAD, from, nr);
	for (uint32_t i = 0, batch; i < nr; i += batch) {
		uint64_t entry = from[i];
		uint64_t keep = ~(uint64_t)FPERF_PTE_YOUNG;

		batch = 1;
		if (!entry) {
			batch = fperf_nr_none(&from[i], nr - i);
			continue;
		}
		if ((entry & (FPERF_PTE_PRESENT | FPERF_PTE_ZERO)) == FPERF_PTE_PRESENT) {
			const uint64_t pfn = fperf_pte_pfn(entry);
			struct fperf_run run;

			if (!src->mm->has_pinned && fperf_pte_small_batch(sim, &from[i], nr - i, &to[i]) &&
			    alike_exclusive(sim, pfn)) {
				copy_small(sim, src, dst, vpn + i, &from[i], &to[i]);
				batch = FPERF_SMALL_BATCH;
				continue;
			}
			fperf_pte_prefetch(sim, from, i, nr);
			fperf_charge_page_folio(sim, pfn);
			batch = fperf_pte_batch(sim, &from[i], nr - i);
			if (src->mm->has_pinned && sim->folios[fperf_folio_head(sim, pfn)].anon &&
			    fperf_needs_copy_for_pin(sim, src, fperf_folio_head(sim, pfn))) {
				batch = 1;
				if (must_copy(sim, pfn)) {
					const int ret = copy_page(sim, dst, vpn + i, pfn, &to[i]);

					if (ret)
						return ret;
					continue;
				}
			}
			run = fperf_run_at(sim, dst, pfn, batch, vpn + i, batched, batched);
			if (run.flags & FPERF_RUN_ANON)
				fperf_exclusive_clear(sim, pfn, batch);
			fperf_rmap_map(sim, &run, true);
			if (run.order)
				dst->mm->has_large = true;
			if (is_cow(src)) {
				keep &= ~(uint64_t)FPERF_PTE_WRITE;
				if (entry & FPERF_PTE_WRITE) {
					for (uint32_t j = 0; j < batch; j++)
						from[i + j] &= ~(uint64_t)FPERF_PTE_WRITE;
					fperf_charge_ptes(sim, FPERF_STORE, &from[i], batch);
					fperf_note_flush(&sim->door);
				}
			}
		} else if (entry & FPERF_PTE_SWAP) {
			fperf_swap_dup(sim, fperf_pte_pfn(entry));
			if (entry & FPERF_PTE_SWAP_EXCLUSIVE) {
				from[i] = entry &= ~(uint64_t)FPERF_PTE_SWAP_EXCLUSIVE;
				fperf_charge_ptes(sim, FPERF_STORE, &from[i], 1);
			}
		}
		for (uint32_t j = 0; j < batch; j++)
			to[i + j] = from[i + j] & keep;
		fperf_charge_ptes(sim, FPERF_STORE, &to[i], batch);
	}
	return 0;
}

static int copy_tables(struct fperf_sim *sim, struct fperf_vma *src, struct fperf_vma *dst)
{
	for (uint64_t vpn = src->start, stop; vpn < src->end; vpn = stop) {
		uint64_t *const from = fperf_pmd_walk(sim, src->mm, vpn);
		const uint64_t ceiling = fperf_pmd_floor(sim, vpn) + sim->entries;
		const uint32_t i = fperf_pte_index(sim, vpn);
		uint32_t source, target;
		uint64_t *to;
		int ret;

		stop = ceiling < src->end ? ceiling : src->end;
		if (!from || !*from)
			continue;
		if (*from & FPERF_PTE_LEAF) {
			ret = copy_leaf(sim, src, dst, vpn, from);
			if (ret)
				return ret;
			if (!fperf_pmd_table(*from))
				continue;
		}
		to = fperf_pmd_alloc(sim, dst->mm, vpn);
		if (!to)
			return FPERF_ERR(TABLE_SPACE);
		source = fperf_pmd_table(*from);
		target = fperf_pte_table_alloc(sim, to);
		if (!target)
			return FPERF_ERR(TABLE_SPACE);
		fperf_ptl_lock(sim, target);
		fperf_ptl_lock(sim, source);
		ret = copy_ptes(sim, src, dst, vpn, fperf_table(&sim->mem, source) + i,
				fperf_table(&sim->mem, target) + i, (uint32_t)(stop - vpn));
		fperf_ptl_unlock(sim, source);
		fperf_ptl_unlock(sim, target);
		if (ret)
			return ret;
	}
	return 0;
}

int fperf_fork_mm(struct fperf_sim *sim, struct fperf_mm *parent, struct fperf_mm *child)
{
	const int entered = parent->ksm ? fperf_ksm_enter(sim, child) : 0;

	if (entered)
		return entered;
	child->has_guards = parent->has_guards;
	for (uint32_t i = 0; i < parent->nr_vmas; i++) {
		struct fperf_vma *const src = parent->vmas[i];
		struct fperf_vma *dst;
		int ret;

		if (src->flags & FPERF_VM_DONTCOPY)
			continue;
		dst = fperf_vma_new(sim, child, src->start, src->end, src->pgoff,
				    src->flags & ~(uint32_t)FPERF_VM_LOCKED, src->object);
		if (!dst)
			return FPERF_ERR(NO_MEMORY);
		if (src->flags & FPERF_VM_WIPEONFORK)
			ret = 0;
		else
			ret = fperf_anon_vma_fork(sim, dst, src);
		if (ret)
			return ret;
		ret = fperf_vma_insert_behind(sim, dst, src);
		if (ret)
			return ret;
		/* Faults refill what has no anonymous pages of its own. */
		if (!(src->anon_vma || src->flags & FPERF_VM_MAYBE_GUARD) || src->flags & FPERF_VM_WIPEONFORK)
			continue;
		ret = copy_tables(sim, src, dst);
		if (ret)
			return ret;
	}
	return 0;
}
