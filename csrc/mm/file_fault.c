/* SPDX-License-Identifier: BSD-3-Clause */
/* Page faults on file objects: fault-around, single pages, whole folios, PMDs, and the first write to a private map. */
#include "mm/mm.h"

static uint64_t protection(const struct fperf_vma *vma, bool write)
{
	/* A filesystem wants to hear of the first write; shmem does not, so its shared pages are mapped writable. */
	const bool notify = vma->object->kind == FPERF_OBJECT_FILE;

	if (!(vma->flags & FPERF_VM_SHARED) || !(vma->flags & FPERF_VM_WRITE))
		return 0;
	return write || !notify ? FPERF_PTE_WRITE | (write ? FPERF_PTE_DIRTY : 0) : 0;
}

/* do_set_pmd(): the folio is PMD-sized and lies in the VMA as a PMD wants it. */
static bool pmd_mappable(const struct fperf_sim *sim, const struct fperf_vma *vma, uint64_t vpn, uint64_t pfn)
{
	const uint64_t base = fperf_pmd_floor(sim, vpn);
	const uint64_t page = pfn - fperf_folio_head(sim, pfn);

	return fperf_folio_order(sim, pfn) == sim->pmd_order && base >= vma->start && base + sim->entries <= vma->end &&
	       page == vpn - base && !(vma->flags & FPERF_VM_NOHUGEPAGE);
}

static void map_pmd(struct fperf_sim *sim, struct fperf_vma *vma, uint64_t vpn, uint64_t *pmd, uint64_t pfn, bool write,
		    bool donated)
{
	const uint64_t base = fperf_pmd_floor(sim, vpn);
	struct fperf_run run = fperf_run_at(sim, vma, fperf_folio_head(sim, pfn), sim->entries, base, true, true);

	if (donated)
		run.flags |= FPERF_RUN_DONATED;
	fperf_ptl_lock(sim, fperf_table_of(sim, pmd));
	fperf_rmap_map_pmd(sim, &run);
	vma->mm->has_large = true;
	*pmd = fperf_pte(run.folio, FPERF_PTE_PRESENT | FPERF_PTE_LEAF | FPERF_PTE_YOUNG | protection(vma, write));
	fperf_charge_pmd(sim, FPERF_STORE, pmd);
	fperf_ptl_unlock(sim, fperf_table_of(sim, pmd));
}

void fperf_file_map_pmd(struct fperf_sim *sim, struct fperf_vma *vma, uint64_t vpn, uint64_t *pmd, uint64_t folio)
{
	map_pmd(sim, vma, vpn, pmd, folio, false, false);
}

static void map_ptes(struct fperf_sim *sim, struct fperf_vma *vma, uint64_t vpn, uint64_t *pte, uint64_t pfn,
		     uint32_t nr, bool write, bool donated)
{
	struct fperf_run run =
		fperf_run_at(sim, vma, pfn, nr, vpn, sim->prof.batch_file_fault, sim->prof.batch_file_fault_refs);
	const uint64_t flags = FPERF_PTE_PRESENT | FPERF_PTE_YOUNG | protection(vma, write);

	if (donated)
		run.flags |= FPERF_RUN_DONATED;
	fperf_rmap_map(sim, &run, false);
	if (run.order)
		vma->mm->has_large = true;
	for (uint32_t i = 0; i < nr; i++)
		pte[i] = fperf_pte(pfn + i, flags);
	fperf_charge_ptes(sim, FPERF_STORE, pte, nr);
}

/*
 * Since v6.18 filemap_map_pages() leaves an empty PMD alone where the first folio it finds reaches the end of its file: the
 * page that was asked for is then all that is mapped. Shmem is exempt.
 */
static bool leaves_pmd_empty(const struct fperf_sim *sim, const struct fperf_object *object, uint64_t folio)
{
	return sim->prof.version >= FPERF_KERNEL(6, 18) && !fperf_object_is_shmem(object) &&
	       sim->folios[folio].index + (1ull << fperf_folio_order(sim, folio)) >= object->nr_pages;
}

/* filemap_map_pages(): map what is resident in [from, to), leave alone what is mapped. */
static int map_around(struct fperf_sim *sim, struct fperf_vma *vma, uint64_t vpn, uint64_t *pmd, uint64_t from,
		      uint64_t to)
{
	uint64_t *ptes, pfn = 0;
	uint32_t table;

	for (uint64_t at = from; at < to && !pfn; at++) {
		const int ret = fperf_pagecache_find(sim, vma->object, vma->pgoff + (at - vma->start), &pfn);

		if (ret)
			return ret;
		if (!pfn)
			continue;
		if (!*pmd && leaves_pmd_empty(sim, vma->object, fperf_folio_head(sim, pfn)))
			return 0;
		if (!*pmd && pmd_mappable(sim, vma, at, pfn)) {
			fperf_folio_lookup_get(sim, fperf_folio_head(sim, pfn));
			map_pmd(sim, vma, vpn, pmd, pfn, false, sim->prof.lookup_ref_donated);
			if (!sim->prof.lookup_ref_donated)
				fperf_folio_lookup_put(sim, fperf_folio_head(sim, pfn));
			return 0;
		}
	}
	/* Nothing resident: no table yet, the page that is brought in may be mapped by PMD. */
	if (!pfn)
		return 0;
	table = fperf_pte_table_alloc(sim, pmd);
	if (!table)
		return FPERF_ERR(TABLE_SPACE);
	ptes = fperf_table(&sim->mem, table) + fperf_pte_index(sim, from);
	fperf_ptl_lock(sim, table);
	fperf_charge_ptes(sim, FPERF_LOAD, ptes, to - from);
	for (uint64_t at = from; at < to;) {
		bool donate = sim->prof.lookup_ref_donated;
		uint64_t folio, past;
		const int ret = fperf_pagecache_find(sim, vma->object, vma->pgoff + (at - vma->start), &pfn);

		if (ret)
			return ret;
		if (!pfn) {
			at++;
			continue;
		}
		folio = fperf_folio_head(sim, pfn);
		past = at + (folio + (1ull << fperf_folio_order(sim, pfn)) - pfn);
		if (past > to)
			past = to;
		/* Pages of the last folio that lie beyond the end of the file are not mapped. */
		if (vma->pgoff + (past - vma->start) > vma->object->nr_pages)
			past = vma->start + (vma->object->nr_pages - vma->pgoff);
		fperf_folio_lookup_get(sim, folio);
		while (at < past) {
			uint32_t nr = fperf_nr_none(&ptes[at - from], (uint32_t)(past - at));

			if (nr) {
				map_ptes(sim, vma, at, &ptes[at - from], pfn, nr, false, donate);
				donate = false;
			} else {
				nr = 1;
			}
			at += nr;
			pfn += nr;
		}
		if (donate || !sim->prof.lookup_ref_donated)
			fperf_folio_lookup_put(sim, folio);
	}
	fperf_ptl_unlock(sim, table);
	return 0;
}

/* Window of a read fault: fault_around_bytes around it inside VMA and table, or the folio if the profile maps all of it. */
static int window(struct fperf_sim *sim, struct fperf_vma *vma, uint64_t vpn, uint64_t *from, uint64_t *to)
{
	const uint64_t nr = sim->prof.fault_around_bytes >> sim->cfg.page_shift;
	const uint64_t floor = fperf_pmd_floor(sim, vpn), ceiling = floor + sim->entries;
	uint64_t low = floor > vma->start ? floor : vma->start;
	const uint64_t high = ceiling < vma->end ? ceiling : vma->end;
	uint64_t pfn, base, past;
	int ret;

	*from = *to = vpn;
	if (nr > 1) {
		*from = vpn & ~(nr - 1);
		if (*from < low)
			*from = low;
		*to = *from + nr < high ? *from + nr : high;
	}
	if (!sim->prof.fault_maps_folio)
		return 0;
	ret = fperf_pagecache_find(sim, vma->object, vma->pgoff + (vpn - vma->start), &pfn);
	if (ret || !pfn)
		return ret;
	base = vpn - (pfn - fperf_folio_head(sim, pfn));
	past = base + (1ull << fperf_folio_order(sim, pfn));
	if (base < low || base > vpn || past > high || vma->pgoff + (past - vma->start) > vma->object->nr_pages)
		return 0;
	*from = base < *from ? base : *from;
	*to = past > *to ? past : *to;
	return 0;
}

/*
 * Since v6.11 the folio of anonymous shmem (a memfd is that too) is mapped whole where it fits, since v6.17 that of any
 * shmem, since v6.18 that of any file, if it does not reach beyond its end.
 */
static bool maps_whole(const struct fperf_sim *sim, const struct fperf_object *object, uint64_t folio)
{
	if (sim->prof.fault_maps_folio && !fperf_object_is_shmem(object))
		return sim->folios[folio].index + (1ull << fperf_folio_order(sim, folio)) <= object->nr_pages;
	if (object->kind == FPERF_OBJECT_TMPFS)
		return sim->prof.version >= FPERF_KERNEL(6, 17);
	return fperf_object_is_shmem(object) && sim->prof.shmem_fault_maps_folio;
}

/* finish_fault(): the page the fault asked for, or all of its folio; its reference is handed over. */
static int map_one(struct fperf_sim *sim, struct fperf_vma *vma, uint64_t vpn, uint64_t *pmd, bool write)
{
	uint64_t pfn, folio, base, nr;
	uint64_t *ptes;
	uint32_t table;
	const int ret = fperf_pagecache_fill(sim, vma->object, vma, vma->pgoff + (vpn - vma->start), &pfn);

	if (ret)
		return ret;
	folio = fperf_folio_head(sim, pfn);
	fperf_folio_lookup_get(sim, folio);
	if (!*pmd && pmd_mappable(sim, vma, vpn, pfn)) {
		map_pmd(sim, vma, vpn, pmd, pfn, write, true);
		return 0;
	}
	table = fperf_pte_table_alloc(sim, pmd);
	if (!table)
		return FPERF_ERR(TABLE_SPACE);
	ptes = fperf_table(&sim->mem, table);
	nr = 1ull << fperf_folio_order(sim, pfn);
	base = vpn - (pfn - folio);
	if (!maps_whole(sim, vma->object, folio) || base < vma->start || base > vpn || base + nr > vma->end ||
	    fperf_pmd_floor(sim, base) != fperf_pmd_floor(sim, base + nr - 1)) {
		base = vpn;
		nr = 1;
	}
	for (uint64_t i = 0; i < nr && nr > 1; i++) {
		if (ptes[fperf_pte_index(sim, base) + i]) {
			base = vpn;
			nr = 1;
		}
	}
	fperf_ptl_lock(sim, table);
	fperf_charge_ptes(sim, FPERF_LOAD, &ptes[fperf_pte_index(sim, base)], nr);
	map_ptes(sim, vma, base, &ptes[fperf_pte_index(sim, base)], pfn - (vpn - base), (uint32_t)nr, write, true);
	fperf_ptl_unlock(sim, table);
	return 0;
}

/* do_cow_fault(): first write to a private mapping copies the file's page. */
static int copy_private(struct fperf_sim *sim, struct fperf_vma *vma, uint64_t vpn, uint64_t *pmd)
{
	uint64_t pfn;
	uint32_t table;
	int ret = fperf_pagecache_fill(sim, vma->object, vma, vma->pgoff + (vpn - vma->start), &pfn);

	if (ret)
		return ret;
	table = fperf_pte_table_alloc(sim, pmd);
	if (!table)
		return FPERF_ERR(TABLE_SPACE);
	fperf_folio_lookup_get(sim, fperf_folio_head(sim, pfn));
	ret = fperf_wp_copy(sim, vma, vpn, fperf_table(&sim->mem, table) + fperf_pte_index(sim, vpn));
	fperf_folio_lookup_put(sim, fperf_folio_head(sim, pfn));
	return ret;
}

int fperf_file_fault(struct fperf_sim *sim, struct fperf_vma *vma, uint64_t vpn, bool write)
{
	const bool shared = vma->flags & FPERF_VM_SHARED;
	uint64_t *pmd, from, to;
	int ret;

	if (vma->pgoff + (vpn - vma->start) >= vma->object->nr_pages)
		return FPERF_ERR(BEYOND_EOF);
	fperf_event_begin(&sim->door, write && !shared ? FPERF_EV_COW_FAULT : FPERF_EV_FILE_FAULT);
	pmd = fperf_pmd_alloc(sim, vma->mm, vpn);
	if (!pmd)
		return FPERF_ERR(TABLE_SPACE);
	if (write && !shared)
		return copy_private(sim, vma, vpn, pmd);
	if (!write) {
		ret = window(sim, vma, vpn, &from, &to);
		if (ret)
			return ret;
		if (from != to) {
			ret = map_around(sim, vma, vpn, pmd, from, to);
			if (ret)
				return ret;
			if (*pmd & FPERF_PTE_LEAF ||
			    (*pmd && fperf_table(&sim->mem, fperf_pmd_table(*pmd))[fperf_pte_index(sim, vpn)]))
				return 0;
		}
	}
	return map_one(sim, vma, vpn, pmd, write);
}
