/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Migration entries: split and migration first take every mapping away (try_to_migrate()) and bring each back later
 * (remove_migration_ptes()), on the same folio, on its parts, or on its copy. An entry is no mapping: counts fall to zero
 * in between and are built anew. Neither way is batched up to v7.0. schemes.md 6.
 */
#include "mm/mm.h"

static uint64_t entry_flags(struct fperf_sim *sim, uint64_t entry, uint64_t pfn, bool anon)
{
	return FPERF_PTE_MIGRATION | (entry & (FPERF_PTE_LEAF | FPERF_PTE_WRITE | FPERF_PTE_YOUNG | FPERF_PTE_DIRTY)) |
	       (anon && fperf_exclusive_clear(sim, pfn, 1) ? FPERF_PTE_SWAP_EXCLUSIVE : 0);
}

static void pmd_to_entry(struct fperf_sim *sim, struct fperf_vma *vma, const struct fperf_rmap_hit *hit)
{
	const uint32_t table = fperf_table_of(sim, hit->entry);
	const uint64_t entry = *hit->entry, pfn = fperf_pte_pfn(entry);
	const struct fperf_run run = fperf_run_at(sim, vma, pfn, hit->nr, hit->vpn, true, true);

	sim->folios[pfn].dirty |= (entry & FPERF_PTE_DIRTY) != 0;
	fperf_ptl_lock(sim, table);
	*hit->entry = fperf_pte(pfn, entry_flags(sim, entry, pfn, run.flags & FPERF_RUN_ANON));
	fperf_charge_pmd(sim, FPERF_STORE, hit->entry);
	fperf_rmap_unmap_pmd(sim, &run);
	fperf_ptl_unlock(sim, table);
}

static void ptes_to_entries(struct fperf_sim *sim, struct fperf_vma *vma, const struct fperf_rmap_hit *hit)
{
	const uint32_t table = fperf_table_of(sim, hit->entry);
	const uint64_t pfn = fperf_pte_pfn(*hit->entry);
	const struct fperf_run run = fperf_run_at(sim, vma, pfn, hit->nr, hit->vpn, false, false);

	fperf_ptl_lock(sim, table);
	for (uint32_t i = 0; i < hit->nr; i++) {
		sim->folios[run.folio].dirty |= (hit->entry[i] & FPERF_PTE_DIRTY) != 0;
		hit->entry[i] =
			fperf_pte(pfn + i, entry_flags(sim, hit->entry[i], pfn + i, run.flags & FPERF_RUN_ANON));
	}
	fperf_charge_ptes(sim, FPERF_STORE, hit->entry, hit->nr);
	fperf_rmap_unmap(sim, &run);
	fperf_ptl_unlock(sim, table);
}

/* Before v6.2 a PMD was split into mappings, which then went one by one. */
static int split_hit(struct fperf_sim *sim, struct fperf_vma *vma, const struct fperf_rmap_hit *hit, uint32_t *cursor)
{
	if (sim->prof.version >= FPERF_KERNEL(6, 2))
		return fperf_freeze_pmd(sim, vma, hit->vpn, hit->entry);
	*cursor = 0;
	return fperf_split_pmd(sim, vma, hit->vpn, hit->entry);
}

static int vma_to_entries(struct fperf_sim *sim, struct fperf_rmap_walk *walk, bool split_pmds)
{
	struct fperf_rmap_hit hit;
	uint32_t cursor = 0;
	int ret = 0;

	while (!ret && fperf_rmap_walk_hit(walk, &cursor, &hit)) {
		if (!hit.pmd)
			ptes_to_entries(sim, walk->vma, &hit);
		else if (split_pmds)
			ret = split_hit(sim, walk->vma, &hit, &cursor);
		else
			pmd_to_entry(sim, walk->vma, &hit);
	}
	return ret ? ret : sim->error;
}

static bool walk_begin(struct fperf_sim *sim, struct fperf_rmap_walk *walk, uint64_t folio, bool locked)
{
	return locked ? fperf_rmap_walk_begin_locked(sim, walk, folio) : fperf_rmap_walk_begin(sim, walk, folio);
}

int fperf_mappings_to_entries(struct fperf_sim *sim, uint64_t folio, bool split_pmds, bool locked)
{
	const struct fperf_query query = { .folio = folio,
					   .order = fperf_folio_order(sim, folio),
					   .anon = sim->folios[folio].anon };
	enum fperf_answer mapped = fperf_ask_before_walk(sim, FPERF_ASK_MAPPED, &query, NULL);
	struct fperf_rmap_walk walk;
	bool recounting;
	int ret = 0;

	if (mapped == FPERF_NO)
		return 0;
	recounting = fperf_rmap_recount_begin(sim, &query, FPERF_SITE_RECLAIM);
	if (walk_begin(sim, &walk, folio, locked)) {
		while (!ret && mapped != FPERF_NO && fperf_rmap_walk_next(&walk)) {
			enum fperf_cause before;

			ret = vma_to_entries(sim, &walk, split_pmds);
			before = fperf_because(&sim->door, FPERF_CAUSE_WALK);
			mapped = fperf_ask_before_walk(sim, FPERF_ASK_MAPPED, &query, NULL);
			fperf_because(&sim->door, before);
		}
		fperf_rmap_walk_end(&walk);
	}
	/* After a walk through all candidates the number is known: none. */
	if (recounting)
		fperf_rmap_recount_end(sim, &query, 0);
	return ret;
}

static void entry_to_pmd(struct fperf_sim *sim, struct fperf_vma *vma, const struct fperf_rmap_hit *hit, uint64_t folio)
{
	const uint32_t table = fperf_table_of(sim, hit->entry);
	const uint64_t entry = *hit->entry;
	const struct fperf_run run = fperf_run_at(sim, vma, folio, hit->nr, hit->vpn, true, true);

	fperf_ptl_lock(sim, table);
	fperf_rmap_map_pmd(sim, &run);
	if (entry & FPERF_PTE_SWAP_EXCLUSIVE)
		fperf_exclusive_set(sim, folio, 1);
	*hit->entry = fperf_pte(folio, FPERF_PTE_PRESENT | (entry & (FPERF_PTE_LEAF | FPERF_PTE_WRITE |
								     FPERF_PTE_YOUNG | FPERF_PTE_DIRTY)));
	fperf_charge_pmd(sim, FPERF_STORE, hit->entry);
	fperf_ptl_unlock(sim, table);
}

/* A zero page of a folio that was split is not mapped again: the zero page is, read only (v6.12). */
static bool maps_zero_page(struct fperf_sim *sim, const struct fperf_vma *vma, const struct fperf_rmap_hit *hit,
			   uint64_t folio)
{
	if (sim->prof.version < FPERF_KERNEL(6, 12) || vma->flags & FPERF_VM_LOCKED || fperf_folio_order(sim, folio) ||
	    fperf_content(sim, folio) != FPERF_CONTENT_ZERO)
		return false;
	*hit->entry = fperf_pte(0, FPERF_PTE_PRESENT | FPERF_PTE_ZERO);
	fperf_charge_ptes(sim, FPERF_STORE, hit->entry, 1);
	return true;
}

static void entry_to_pte(struct fperf_sim *sim, struct fperf_vma *vma, const struct fperf_rmap_hit *hit, uint64_t folio)
{
	const uint32_t table = fperf_table_of(sim, hit->entry);
	const uint64_t entry = *hit->entry, pfn = folio + hit->first;
	const struct fperf_run run = fperf_run_at(sim, vma, pfn, 1, hit->vpn, false, false);

	fperf_ptl_lock(sim, table);
	fperf_rmap_map(sim, &run, false);
	if (entry & FPERF_PTE_SWAP_EXCLUSIVE)
		fperf_exclusive_set(sim, pfn, 1);
	*hit->entry =
		fperf_pte(pfn, FPERF_PTE_PRESENT | (entry & (FPERF_PTE_WRITE | FPERF_PTE_YOUNG | FPERF_PTE_DIRTY)));
	fperf_charge_ptes(sim, FPERF_STORE, hit->entry, 1);
	fperf_ptl_unlock(sim, table);
}

int fperf_entries_to_mappings(struct fperf_sim *sim, uint64_t folio, uint64_t old, bool split)
{
	struct fperf_rmap_walk walk;

	if (!walk_begin(sim, &walk, folio, split))
		return sim->error;
	walk.state = FPERF_PTE_MIGRATION;
	walk.entry_pfn = old;
	walk.batch = 1;
	while (fperf_rmap_walk_next(&walk)) {
		struct fperf_rmap_hit hit;
		uint32_t cursor = 0;

		while (fperf_rmap_walk_hit(&walk, &cursor, &hit)) {
			if (hit.pmd)
				entry_to_pmd(sim, walk.vma, &hit, folio);
			else if (!split || !maps_zero_page(sim, walk.vma, &hit, folio))
				entry_to_pte(sim, walk.vma, &hit, folio);
		}
	}
	fperf_rmap_walk_end(&walk);
	return sim->error;
}
