/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Small folios become one that a PMD maps: khugepaged, and MADV_COLLAPSE (v6.1), which waives khugepaged's limits. Of
 * anonymous memory the collapsing mm gets a copy, others keep their small pages; of a file the page cache changes, for
 * all. schemes.md 6.
 */
#include "consumer/consumer.h"

#include <string.h>

/* max_ptes_none, _swap and _shared of khugepaged as the kernel sets them for a table of n entries. */
static uint32_t max_none(const struct fperf_sim *sim)
{
	return sim->entries - 1;
}

static uint32_t max_swap(const struct fperf_sim *sim)
{
	return sim->entries / 8;
}

static uint32_t max_shared(const struct fperf_sim *sim)
{
	return sim->entries / 2;
}

/* Mappings and caches hold all references. */
static bool only_known_refs(struct fperf_sim *sim, const struct fperf_query *query)
{
	const struct fperf_folio *const f = &sim->folios[query->folio];
	int64_t refs = 0;

	fperf_ask(sim, FPERF_ASK_MAPPING_REFS, query, &refs);
	refs += f->anon ? fperf_swap_cached(sim, query->folio) : f->object ? 1 << query->order : 0;
	return fperf_folio_load_refs(sim, query->folio) == refs;
}

static bool is_shared(struct fperf_sim *sim, const struct fperf_query *query)
{
	int64_t mapcount = 0;

	if (sim->prof.version >= FPERF_KERNEL(6, 9))
		return fperf_ask(sim, FPERF_ASK_SHARED, query, NULL) != FPERF_NO;
	return fperf_ask(sim, FPERF_ASK_PAGE_MAPCOUNT, query, &mapcount) != FPERF_COUNT || mapcount > 1;
}

struct scan {
	uint32_t none, swapped, shared, young;
	uint32_t truly_shared; /* what the count would be if the answers were right */
	bool writable;
};

static bool scan_entry(struct fperf_sim *sim, uint64_t entry, bool khugepaged, struct scan *scan)
{
	struct fperf_query query;

	/* A guard looks like a swapped-out page, and brings no page in. */
	if (entry & FPERF_PTE_GUARD)
		return false;
	if (!entry || entry & FPERF_PTE_ZERO)
		return ++scan->none <= max_none(sim) || !khugepaged;
	if (entry & FPERF_PTE_SWAP)
		return ++scan->swapped <= max_swap(sim) || !khugepaged;
	query = fperf_query_at(sim, NULL, fperf_pte_pfn(entry));
	fperf_charge_page_folio(sim, fperf_pte_pfn(entry));
	scan->writable |= !!(entry & FPERF_PTE_WRITE);
	scan->young += !!(entry & FPERF_PTE_YOUNG);
	/* Since v6.15 MADV_COLLAPSE, which has no limit, does not ask. */
	if (khugepaged || sim->prof.version < FPERF_KERNEL(6, 15)) {
		scan->shared += is_shared(sim, &query);
		scan->truly_shared += sim->cfg.truth && fperf_truth_mapcount(sim, fperf_pte_pfn(entry)) > 1;
	}
	if (!query.anon)
		return false;
	if (only_known_refs(sim, &query) && (scan->shared <= max_shared(sim) || !khugepaged))
		return true;
	if (scan->truly_shared <= max_shared(sim) || !khugepaged)
		fperf_truth_refused(sim, query.folio);
	return false;
}

static bool worth_it(struct fperf_sim *sim, const uint64_t *ptes, bool khugepaged, struct scan *scan)
{
	fperf_charge_ptes(sim, FPERF_LOAD, ptes, sim->entries);
	for (uint32_t i = 0; i < sim->entries; i++)
		if (!scan_entry(sim, ptes[i], khugepaged, scan))
			return false;
	/* Up to v6.17 one entry at least had to be writable. */
	if (!scan->writable && sim->prof.version < FPERF_KERNEL(6, 18))
		return false;
	return !khugepaged || (scan->young && (!scan->swapped || scan->young >= sim->entries / 2));
}

/* The pages are copied, their mappings go, one at a time up to v6.16. */
static void move_out(struct fperf_sim *sim, struct fperf_vma *vma, uint64_t base, uint64_t *ptes, uint64_t copy)
{
	const bool batched = sim->prof.version >= FPERF_KERNEL(6, 17);

	for (uint32_t i = 0, nr; i < sim->entries; i += nr) {
		const uint64_t entry = ptes[i], pfn = fperf_pte_pfn(entry);
		struct fperf_run run;

		nr = 1;
		if (!entry)
			continue;
		if (!(entry & FPERF_PTE_ZERO))
			nr = fperf_pte_batch(sim, &ptes[i], sim->entries - i);
		memset(&ptes[i], 0, nr * sizeof(*ptes));
		fperf_charge_ptes(sim, FPERF_STORE, &ptes[i], nr);
		if (entry & FPERF_PTE_ZERO)
			continue;
		fperf_content_copy(sim, copy + i, pfn, nr);
		run = fperf_run_at(sim, vma, pfn, nr, base + i, batched, batched);
		fperf_rmap_unmap(sim, &run);
		fperf_folio_unmapped(sim, run.folio);
	}
}

static int collapse_anon(struct fperf_sim *sim, struct fperf_vma *vma, uint64_t base, uint64_t *pmd)
{
	const uint32_t table = fperf_pmd_table(*pmd);
	struct fperf_run run;
	uint64_t folio;
	int ret = fperf_anon_vma_prepare(sim, vma);

	if (!ret)
		ret = fperf_folio_alloc(sim, sim->pmd_order, &folio);
	if (ret)
		return ret;
	fperf_folio_set_anon_vma(sim, folio, vma->anon_vma);
	sim->folios[folio].index = vma->pgoff + (base - vma->start);
	/* The root's rwsem keeps walks away from the table that goes. */
	fperf_rmap_lock(sim, folio);
	fperf_ptl_lock(sim, table);
	move_out(sim, vma, base, fperf_table(&sim->mem, table), folio);
	fperf_ptl_unlock(sim, table);
	fperf_rmap_lock(sim, folio);
	fperf_table_free(&sim->mem, table);
	*pmd = 0;
	run = fperf_run_at(sim, vma, folio, sim->entries, base, true, true);
	run.flags |= FPERF_RUN_NEW;
	vma->mm->has_large = true;
	fperf_ptl_lock(sim, fperf_table_of(sim, pmd));
	fperf_rmap_map_pmd(sim, &run);
	fperf_exclusive_set(sim, folio, 1);
	*pmd = fperf_pte(folio, FPERF_PTE_PRESENT | FPERF_PTE_LEAF | FPERF_PTE_YOUNG | FPERF_PTE_DIRTY |
					(vma->flags & FPERF_VM_WRITE ? FPERF_PTE_WRITE : 0));
	fperf_charge_pmd(sim, FPERF_STORE, pmd);
	fperf_ptl_unlock(sim, fperf_table_of(sim, pmd));
	return 0;
}

static int swap_in_all(struct fperf_sim *sim, struct fperf_vma *vma, uint64_t base, uint64_t *ptes)
{
	for (uint32_t i = 0; i < sim->entries; i++) {
		int ret = 0;

		if (ptes[i] & FPERF_PTE_SWAP)
			ret = fperf_swap_in_page(sim, vma, base + i, &ptes[i], false);
		if (ret < 0)
			return ret;
	}
	return sim->error;
}

static int try_anon(struct fperf_sim *sim, struct fperf_vma *vma, uint64_t base, bool khugepaged, bool *done)
{
	uint64_t *const pmd = fperf_pmd_walk(sim, vma->mm, base);
	struct scan scan = { 0 };
	uint64_t *ptes;
	int ret = 0;

	*done = pmd && *pmd & FPERF_PTE_LEAF;
	if (*done || !pmd || !*pmd)
		return 0;
	ptes = fperf_table(&sim->mem, fperf_pmd_table(*pmd));
	if (!worth_it(sim, ptes, khugepaged, &scan))
		return 0;
	if (scan.swapped)
		ret = swap_in_all(sim, vma, base, ptes);
	if (!ret)
		ret = collapse_anon(sim, vma, base, pmd);
	*done = !ret;
	return ret;
}

/* ---- files ---- */

/* A VMA that maps the range as a PMD wants it, and has no pages of its own in it, loses its table. */
static void retract_tables(struct fperf_sim *sim, const struct fperf_object *object, uint64_t index)
{
	const uint64_t last = index + sim->entries - 1;
	struct fperf_itnode *node = fperf_itree_first(&object->i_mmap, index, last);

	for (; node; node = fperf_itree_next(node, index, last)) {
		const struct fperf_vma *const vma = node->owner;
		const uint64_t vpn = vma->start + (index - vma->pgoff);
		uint64_t *pmd;

		sim->door.stats->vma_visits++;
		if (vma->anon_vma || index < vma->pgoff || vpn + sim->entries > vma->end || fperf_pte_index(sim, vpn))
			continue;
		pmd = fperf_pmd_walk(sim, vma->mm, vpn);
		if (!pmd || !fperf_pmd_table(*pmd) ||
		    fperf_nr_none(fperf_table(&sim->mem, fperf_pmd_table(*pmd)), sim->entries) < sim->entries)
			continue;
		fperf_table_free(&sim->mem, fperf_pmd_table(*pmd));
		*pmd = 0;
		fperf_charge_pmd(sim, FPERF_STORE, pmd);
	}
}

/* Large folios of a file are taken too since v6.12. */
static bool suits_file(struct fperf_sim *sim, const struct fperf_object *object, uint64_t index, bool khugepaged)
{
	uint32_t none = 0;

	for (uint32_t i = 0; i < sim->entries;) {
		const uint64_t pfn = object->pfns[index + i];
		struct fperf_query query;

		if (!pfn) {
			i++;
			none++;
			continue;
		}
		query = fperf_query_at(sim, NULL, pfn);
		if (query.order && sim->prof.version < FPERF_KERNEL(6, 12))
			return false;
		if (!only_known_refs(sim, &query))
			return false;
		i += (1u << query.order) - query.page;
	}
	return none < sim->entries && (!khugepaged || none <= max_none(sim));
}

static int unmap_all(struct fperf_sim *sim, const struct fperf_object *object, uint64_t index, bool *unmapped)
{
	*unmapped = true;
	for (uint32_t i = 0; i < sim->entries;) {
		const uint64_t pfn = object->pfns[index + i];
		struct fperf_query query;
		int ret;

		if (!pfn) {
			i++;
			continue;
		}
		query = fperf_query_at(sim, NULL, pfn);
		ret = fperf_unmap_file_folio(sim, query.folio, false);
		if (ret)
			return ret;
		/* What a stale count still holds cannot be replaced. */
		if (fperf_folio_load_refs(sim, query.folio) != 1 << query.order) {
			*unmapped = false;
			fperf_truth_refused(sim, query.folio);
		}
		i += (1u << query.order) - query.page;
	}
	return 0;
}

static int replace(struct fperf_sim *sim, struct fperf_object *object, uint64_t index, uint64_t *folio)
{
	for (uint32_t i = 0; i < sim->entries; i++)
		if (object->pfns[index + i])
			fperf_pagecache_remove(sim, fperf_folio_head(sim, object->pfns[index + i]));
	return fperf_pagecache_add(sim, object, index, sim->pmd_order, folio);
}

static int try_file(struct fperf_sim *sim, struct fperf_vma *vma, uint64_t base, bool khugepaged, bool *done)
{
	struct fperf_object *const object = vma->object;
	const uint64_t index = vma->pgoff + (base - vma->start);
	uint64_t *pmd = fperf_pmd_peek(sim, vma->mm, base);
	uint64_t folio = 0;
	bool unmapped;
	int ret;

	*done = pmd && *pmd & FPERF_PTE_LEAF;
	/* Private copies in the VMA are not given up for it. */
	if (*done || vma->anon_vma || index & (sim->entries - 1) || index + sim->entries > object->capacity)
		return 0;
	if (object->pfns[index])
		folio = fperf_folio_head(sim, object->pfns[index]);
	if (!folio || fperf_folio_order(sim, folio) != sim->pmd_order) {
		if (!suits_file(sim, object, index, khugepaged))
			return 0;
		ret = unmap_all(sim, object, index, &unmapped);
		if (ret || !unmapped)
			return ret;
		ret = replace(sim, object, index, &folio);
		if (ret)
			return ret;
	} else if (pmd && *pmd) {
		/* It is there, mapped by PTEs: they go, unless there is a guard among them. */
		if (fperf_guard_find(sim, vma->mm, base, base + sim->entries) < base + sim->entries)
			return 0;
		ret = fperf_zap_range(sim, vma, base, base + sim->entries, FPERF_ZAP_PAGES);
		if (ret)
			return ret;
	}
	retract_tables(sim, object, index);
	pmd = fperf_pmd_alloc(sim, vma->mm, base);
	if (!pmd)
		return FPERF_ERR(TABLE_SPACE);
	*done = true;
	/* MADV_COLLAPSE maps what it made; khugepaged leaves that to faults. */
	if (!khugepaged && !*pmd)
		fperf_file_map_pmd(sim, vma, base, pmd, folio);
	return sim->error;
}

int fperf_collapse(struct fperf_sim *sim, struct fperf_vma *vma, uint64_t start, uint64_t end, bool khugepaged)
{
	uint64_t base = fperf_pmd_floor(sim, start + sim->entries - 1);
	bool any = false;

	for (; base + sim->entries <= end; base += sim->entries) {
		bool done = false;
		int ret;

		fperf_event_begin(&sim->door, FPERF_EV_COLLAPSE);
		ret = vma->object ? try_file(sim, vma, base, khugepaged, &done) :
				    try_anon(sim, vma, base, khugepaged, &done);
		if (ret)
			return ret;
		sim->totals.collapses += done;
		sim->totals.collapses_refused += !done;
		any |= done;
	}
	return any ? FPERF_APPLIED : FPERF_NOOP;
}
