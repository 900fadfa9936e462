/* SPDX-License-Identifier: BSD-3-Clause */
/* mremap: no rmap call in any kernel; only designs that count VMAs have to notice. */
#include "mm/mm.h"

static uint64_t min3(uint64_t a, uint64_t b, uint64_t c)
{
	const uint64_t ab = a < b ? a : b;

	return ab < c ? ab : c;
}

/* Entries at [vpn, vpn + nr) of one table came from one table: tell of each large folio among them. */
static void note_moved_table(struct fperf_sim *sim, struct fperf_vma *src, struct fperf_vma *dst, const uint64_t *pte,
			     uint64_t vpn, uint64_t nr)
{
	for (uint64_t i = 0, past; i < nr; i = past) {
		const uint64_t entry = pte[i];
		uint64_t pfn, folio;
		struct fperf_run run;

		past = i + 1;
		if ((entry & (FPERF_PTE_PRESENT | FPERF_PTE_ZERO)) != FPERF_PTE_PRESENT)
			continue;
		pfn = fperf_pte_pfn(entry);
		folio = fperf_folio_head(sim, pfn);
		if (!fperf_folio_order(sim, folio))
			continue;
		past = i + (folio + (1ull << fperf_folio_order(sim, folio)) - pfn);
		if (past > nr)
			past = nr;
		/* Up to the folio's end, whether or not each page of it is mapped. */
		run = fperf_run_at(sim, dst, pfn, (uint32_t)(past - i), vpn + i, true, true);
		fperf_rmap_table_move(sim, src, &run);
	}
}

/* Entries change place; a folio that stays behind in part, or joins a part that is there, changes its number of VMAs. */
static int move_entries(struct fperf_sim *sim, struct fperf_vma *src, struct fperf_vma *dst, uint64_t from, uint64_t to,
			uint64_t nr)
{
	for (uint64_t done = 0, extent; done < nr; done += extent) {
		const uint64_t old = from + done, new = to + done;
		uint64_t *const old_pmd = fperf_pmd_walk(sim, src->mm, old);
		uint64_t *new_pmd;
		uint32_t table;
		uint64_t *old_pte, *new_pte;

		extent = min3(sim->entries - fperf_pte_index(sim, old), sim->entries - fperf_pte_index(sim, new),
			      nr - done);
		if (!old_pmd || !*old_pmd)
			continue;
		fperf_note_flush(&sim->door);
		new_pmd = fperf_pmd_alloc(sim, dst->mm, new);
		if (!new_pmd)
			return FPERF_ERR(TABLE_SPACE);
		/* A whole table or leaf moves by its PMD entry if nothing is in the way. */
		if (extent == sim->entries && !*new_pmd) {
			*new_pmd = *old_pmd;
			*old_pmd = 0;
			fperf_charge_pmd(sim, FPERF_STORE, old_pmd);
			fperf_charge_pmd(sim, FPERF_STORE, new_pmd);
			continue;
		}
		if (*old_pmd & FPERF_PTE_LEAF) {
			const int ret = fperf_split_pmd(sim, src, old, old_pmd);

			if (ret)
				return ret;
			if (!*old_pmd)
				continue;
		}
		table = fperf_pte_table_alloc(sim, new_pmd);
		if (!table)
			return FPERF_ERR(TABLE_SPACE);
		old_pte = fperf_table(&sim->mem, fperf_pmd_table(*old_pmd)) + fperf_pte_index(sim, old);
		new_pte = fperf_table(&sim->mem, table) + fperf_pte_index(sim, new);
		fperf_charge_ptes(sim, FPERF_LOAD, old_pte, extent);
		for (uint64_t i = 0; i < extent; i++) {
			new_pte[i] = old_pte[i];
			old_pte[i] = 0;
		}
		fperf_charge_ptes(sim, FPERF_STORE, old_pte, extent);
		fperf_charge_ptes(sim, FPERF_STORE, new_pte, extent);
		if (sim->scheme->counts_tables)
			note_moved_table(sim, src, dst, new_pte, new, extent);
	}
	return 0;
}

/* Large folios of [to, to + nr) in dst that dst or src map outside of it too: at the two ends, at most a few. */
static void note_moved_borders(struct fperf_sim *sim, struct fperf_vma *src, struct fperf_vma *dst, uint64_t to,
			       uint64_t nr)
{
	uint64_t last_folio = 0;

	if (!dst->mm->has_large)
		return;
	for (uint64_t vpn = to; vpn < to + nr;) {
		const uint64_t *const pmd = fperf_pmd_peek(sim, dst->mm, vpn);
		uint64_t entry, folio, first, base, past;
		struct fperf_run run;

		if (!pmd || !*pmd || *pmd & FPERF_PTE_LEAF) {
			vpn = fperf_pmd_floor(sim, vpn) + sim->entries;
			continue;
		}
		entry = fperf_table(&sim->mem, fperf_pmd_table(*pmd))[fperf_pte_index(sim, vpn)];
		if ((entry & (FPERF_PTE_PRESENT | FPERF_PTE_ZERO)) != FPERF_PTE_PRESENT) {
			vpn++;
			continue;
		}
		folio = fperf_folio_head(sim, fperf_pte_pfn(entry));
		first = fperf_pte_pfn(entry) - folio;
		base = vpn - first;
		past = base + (1ull << fperf_folio_order(sim, folio));
		if (folio != last_folio && fperf_folio_order(sim, folio) && (base < to || past > to + nr)) {
			const uint64_t low = base < to ? to : base;
			const uint64_t high = past > to + nr ? to + nr : past;

			run = fperf_run_at(sim, dst, folio + (low - base), (uint32_t)(high - low), low, true, true);
			if (fperf_truth_present(sim, folio, src, 0, 0) ||
			    fperf_truth_present(sim, folio, dst, run.first, run.nr))
				fperf_rmap_vma_move(sim, src, &run);
		}
		last_folio = folio;
		vpn = past < vpn + 1 ? vpn + 1 : past;
	}
}

/* copy_vma(): the VMA that will hold the moved range, merged into a neighbour where that is possible. */
static int make_target(struct fperf_sim *sim, struct fperf_vma *src, uint64_t from, uint64_t to, uint64_t nr,
		       struct fperf_vma **ret)
{
	/* Anonymous memory that never faulted has no page offsets to keep. */
	const bool fresh = !src->object && !src->anon_vma;
	struct fperf_vma *const dst = fperf_vma_new(
		sim, src->mm, to, to + nr, fresh ? to : src->pgoff + (from - src->start), src->flags, src->object);
	int err;

	if (!dst)
		return FPERF_ERR(NO_MEMORY);
	dst->anon_vma = src->anon_vma;
	err = fperf_anon_vma_clone(sim, dst, src, false);
	if (err)
		return err;
	err = fperf_vma_insert(sim, dst);
	if (err)
		return err;
	*ret = fperf_vma_merge_around(sim, dst);
	return 0;
}

/* KSM pages that ksmd has not put there go along, out of its sight. */
static void note_moved_ksm_pages(struct fperf_sim *sim, const struct fperf_vma *dst, uint64_t to, uint64_t nr)
{
	for (uint64_t vpn = to; sim->ksm && vpn < to + nr;) {
		const uint64_t *const pmd = fperf_pmd_peek(sim, dst->mm, vpn);
		uint64_t entry;

		if (!pmd || !fperf_pmd_table(*pmd)) {
			vpn = fperf_pmd_floor(sim, vpn) + sim->entries;
			continue;
		}
		entry = fperf_table(&sim->mem, fperf_pmd_table(*pmd))[fperf_pte_index(sim, vpn)];
		if ((entry & FPERF_PTE_STATE) == FPERF_PTE_PRESENT)
			fperf_ksm_note_mapping(sim, fperf_folio_head(sim, fperf_pte_pfn(entry)), dst, vpn);
		vpn++;
	}
}

static int move_range(struct fperf_sim *sim, struct fperf_mm *mm, uint64_t from, uint64_t nr, uint64_t to,
		      uint64_t nr_new)
{
	struct fperf_vma *src = fperf_vma_at(mm, from), *dst;
	int ret = src->flags & FPERF_VM_MERGEABLE ? fperf_ksm_unmerge(sim, src, from, from + nr) : 0;

	if (ret)
		return ret;
	ret = make_target(sim, src, from, to, nr_new, &dst);
	if (ret)
		return ret;
	src = fperf_vma_at(mm, from);
	ret = move_entries(sim, src, dst, from, to, nr);
	if (ret)
		return ret;
	note_moved_borders(sim, src, dst, to, nr);
	note_moved_ksm_pages(sim, dst, to, nr);
	return fperf_munmap(sim, mm, from, from + nr);
}

/* v6.17: a pure move takes one VMA after the other, the gaps between them kept. */
static int move_all(struct fperf_sim *sim, struct fperf_mm *mm, uint64_t from, uint64_t nr, uint64_t to)
{
	const uint64_t end = from + nr;

	for (uint64_t at = from, stop; at < end; at = stop) {
		const struct fperf_vma *const vma = fperf_vma_find(mm, at, NULL);
		int ret;

		if (!vma || vma->start >= end)
			break;
		if (vma->start > at)
			at = vma->start;
		stop = vma->end < end ? vma->end : end;
		ret = fperf_munmap(sim, mm, to + (at - from), to + (stop - from));
		if (!ret)
			ret = move_range(sim, mm, at, stop - at, to + (at - from), stop - at);
		if (ret)
			return ret;
	}
	return 0;
}

int fperf_mremap(struct fperf_sim *sim, struct fperf_mm *mm, uint64_t from, uint64_t nr_old, uint64_t to,
		 uint64_t nr_new)
{
	struct fperf_vma *src;
	int ret;

	if (from == to) {
		if (nr_new < nr_old)
			return fperf_munmap(sim, mm, from + nr_new, from + nr_old);
		src = fperf_vma_at(mm, from);
		if (nr_new == nr_old)
			return 0;
		if (!fperf_range_free(mm, from + nr_old, from + nr_new))
			return FPERF_ERR(OVERLAP);
		fperf_vma_set_range(src, src->start, from + nr_new, src->pgoff);
		fperf_vma_merge_around(sim, src);
		return 0;
	}
	if (sim->prof.remap_spans_vmas && nr_new == nr_old)
		return move_all(sim, mm, from, nr_old, to);
	/* Up to v6.16 what lies at the target goes first, even if then nothing can be moved there. */
	ret = fperf_munmap(sim, mm, to, to + nr_new);
	if (ret)
		return ret;
	src = fperf_vma_at(mm, from);
	if (!src || from + nr_old > src->end)
		return FPERF_ERR(REMAP);
	if (nr_new < nr_old) {
		ret = fperf_munmap(sim, mm, from + nr_new, from + nr_old);
		if (ret)
			return ret;
		nr_old = nr_new;
	}
	return move_range(sim, mm, from, nr_old, to, nr_new);
}
