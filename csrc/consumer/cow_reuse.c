/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A write to a write-protected entry: may the page be reused in place, or must it be copied? wp_can_reuse_anon_folio(),
 * do_huge_pmd_wp_page() and their predecessors; the rules by version are schemes.md 6.
 */
#include "consumer/consumer.h"

/* Nobody but mappings, and a possible swap cache, refers to it, and there is one mapping: R = 1. */
static bool only_reference(struct fperf_sim *sim, const struct fperf_query *query)
{
	int64_t mapcount;

	if (fperf_folio_load_refs(sim, query->folio) > 1 + fperf_swap_cached(sim, query->folio))
		return false;
	/* Under the folio lock the swap cache is dropped if it can be, and the count is read again. */
	if (fperf_swap_cached(sim, query->folio) && !fperf_swap_cache_free(sim, query->folio))
		return false;
	/* Before v5.18 the mapcount was asked too. */
	if (sim->prof.version < FPERF_KERNEL(5, 18)) {
		fperf_ask(sim, FPERF_ASK_PAGE_MAPCOUNT, query, &mapcount);
		return mapcount == 1;
	}
	return fperf_folio_load_refs(sim, query->folio) == 1;
}

/* __wp_can_reuse_large_anon_folio(), v6.15+. */
static bool large_is_mine(struct fperf_sim *sim, const struct fperf_query *query)
{
	int64_t total, refs, mapcount;

	/* With one mapping left it is better to copy and free the rest. */
	if (fperf_ask(sim, FPERF_ASK_TOTAL_MAPCOUNT, query, &total) == FPERF_COUNT && total <= 1)
		return false;
	if (!sim->scheme->exclusive_is_certain) {
		/* An estimate must not decide who sees whose writes; the page's own count may. */
		if (fperf_ask(sim, FPERF_ASK_PAGE_MAPCOUNT, query, &mapcount) != FPERF_COUNT || mapcount != 1)
			return false;
	} else if (fperf_ask(sim, FPERF_ASK_SHARED, query, NULL) != FPERF_NO) {
		return false;
	}
	fperf_ask(sim, FPERF_ASK_MAPPING_REFS, query, &refs);
	return fperf_folio_load_refs(sim, query->folio) == refs;
}

static bool may_reuse(struct fperf_sim *sim, const struct fperf_query *query)
{
	/* Better to learn the number than to copy for nothing, where the scheme can. */
	fperf_rmap_repair(sim, query, FPERF_SITE_WRITE_FAULT);
	if (query->order && sim->prof.cow_reuses_large)
		return large_is_mine(sim, query);
	return only_reference(sim, query);
}

static int pte_write(struct fperf_sim *sim, struct fperf_vma *vma, uint64_t vpn, uint64_t *pte)
{
	const uint64_t pfn = fperf_pte_pfn(*pte);
	struct fperf_query query;

	fperf_charge_ptes(sim, FPERF_LOAD, pte, 1);
	if (*pte & FPERF_PTE_ZERO || !sim->folios[fperf_folio_head(sim, pfn)].anon || fperf_is_ksm(sim, pfn))
		return fperf_wp_copy(sim, vma, vpn, pte);
	if (fperf_exclusive_test(sim, pfn)) {
		fperf_wp_reuse(sim, vma, pte, pfn, false);
		return 0;
	}
	query = fperf_query_at(sim, vma, pfn);
	if (!may_reuse(sim, &query))
		return fperf_wp_copy(sim, vma, vpn, pte);
	fperf_wp_reuse(sim, vma, pte, pfn, true);
	return 0;
}

static int huge_write(struct fperf_sim *sim, struct fperf_vma *vma, uint64_t vpn, uint64_t *pmd)
{
	const uint64_t folio = fperf_pte_pfn(*pmd);
	struct fperf_query query;
	bool mine;
	int ret;

	if (*pmd & FPERF_PTE_ZERO)
		return fperf_huge_zero_write(sim, vma, vpn, pmd);
	if (fperf_exclusive_test(sim, folio)) {
		fperf_wp_reuse(sim, vma, pmd, folio, false);
		return 0;
	}
	query = fperf_query_at(sim, vma, folio);
	fperf_rmap_repair(sim, &query, FPERF_SITE_WRITE_FAULT);
	if (sim->prof.version < FPERF_KERNEL(5, 18)) {
		int64_t total;

		/* reuse_swap_page() looked for the largest count of any page: all n lines. */
		fperf_ask(sim, FPERF_ASK_TOTAL_MAPCOUNT, &query, &total);
		mine = total == 1 && fperf_folio_load_refs(sim, folio) == 1;
	} else {
		mine = fperf_folio_load_refs(sim, folio) == 1;
	}
	if (mine) {
		fperf_wp_reuse(sim, vma, pmd, folio, true);
		return 0;
	}
	ret = fperf_split_pmd(sim, vma, vpn, pmd);
	if (ret)
		return ret;
	/* The fault goes on at the PTE. */
	return pte_write(sim, vma, vpn, fperf_table(&sim->mem, fperf_pmd_table(*pmd)) + fperf_pte_index(sim, vpn));
}

int fperf_write_fault(struct fperf_sim *sim, struct fperf_vma *vma, uint64_t vpn)
{
	const bool shared = vma->flags & FPERF_VM_SHARED;
	uint64_t *pmd, *pte;

	/* On a shared mapping it is only the first write to a clean page (page_mkwrite). */
	fperf_event_begin(&sim->door, shared ? FPERF_EV_FILE_FAULT : FPERF_EV_COW_FAULT);
	pmd = fperf_pmd_walk(sim, vma->mm, vpn);
	if (shared) {
		pte = *pmd & FPERF_PTE_LEAF ? pmd :
					      fperf_table(&sim->mem, fperf_pmd_table(*pmd)) + fperf_pte_index(sim, vpn);
		*pte |= FPERF_PTE_WRITE | FPERF_PTE_DIRTY;
		if (pte == pmd)
			fperf_charge_pmd(sim, FPERF_STORE, pte);
		else
			fperf_charge_ptes(sim, FPERF_STORE, pte, 1);
		return 0;
	}
	if (*pmd & FPERF_PTE_LEAF) {
		/* A private file mapping drops its PMD and copies the one page. */
		if (!(*pmd & FPERF_PTE_ZERO) && !sim->folios[fperf_pte_pfn(*pmd)].anon) {
			const int ret = fperf_split_pmd(sim, vma, vpn, pmd);

			return ret ? ret : fperf_file_fault(sim, vma, vpn, true);
		}
		return huge_write(sim, vma, vpn, pmd);
	}
	return pte_write(sim, vma, vpn, fperf_table(&sim->mem, fperf_pmd_table(*pmd)) + fperf_pte_index(sim, vpn));
}
