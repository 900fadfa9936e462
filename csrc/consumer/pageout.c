/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * MADV_COLD, MADV_PAGEOUT and MADV_FREE: pages of this mm alone are aged, reclaimed at once, or given to reclaim to discard;
 * what others map too is left alone, so a wrong "shared" makes the advice a no-op. A folio the range holds in part is
 * split first. schemes.md 6.
 */
#include "consumer/consumer.h"

struct advice {
	struct fperf_sim *sim;
	struct fperf_vma *vma;
	enum fperf_advice kind;
};

/* "Mapped by others too": a count above what this range maps, or the estimate, by version. */
static bool others_seem_to_map(const struct advice *a, const struct fperf_query *query, uint32_t nr, bool pmd)
{
	struct fperf_sim *const sim = a->sim;
	const bool by_total = pmd ? sim->prof.version < FPERF_KERNEL(6, 8) : sim->prof.version >= FPERF_KERNEL(6, 10);
	int64_t count = 0;

	if (!pmd && !by_total)
		return fperf_ask(sim, FPERF_ASK_PAGE_MAPCOUNT, query, &count) != FPERF_COUNT || count != 1;
	if (by_total && fperf_ask(sim, FPERF_ASK_TOTAL_MAPCOUNT, query, &count) == FPERF_COUNT)
		return count != nr;
	/* Also where mappings are not counted. */
	return fperf_ask(sim, FPERF_ASK_SHARED, query, NULL) != FPERF_NO;
}

static bool others_map(const struct advice *a, const struct fperf_query *query, uint32_t nr, bool pmd)
{
	const bool seems = others_seem_to_map(a, query, nr, pmd);

	if (seems)
		fperf_truth_skipped(a->sim, query->folio);
	return seems;
}

static bool may_split(const struct advice *a, const struct fperf_query *query)
{
	if (a->sim->prof.version < FPERF_KERNEL(6, 8))
		return !others_map(a, query, 1, false);
	if (fperf_ask(a->sim, FPERF_ASK_SHARED, query, NULL) == FPERF_NO)
		return true;
	fperf_truth_skipped(a->sim, query->folio);
	return false;
}

/* What FREE does to a folio and its entries. What was swapped in and still has a slot that others refer to stays. */
static void free_lazily(const struct advice *a, uint64_t folio, uint64_t *entry, uint32_t nr)
{
	struct fperf_sim *const sim = a->sim;
	uint64_t any = 0;

	for (uint32_t i = 0; i < nr; i++) {
		any |= entry[i];
		entry[i] &= ~(uint64_t)(FPERF_PTE_YOUNG | FPERF_PTE_DIRTY);
	}
	if (any & (FPERF_PTE_YOUNG | FPERF_PTE_DIRTY))
		fperf_charge_ptes(sim, FPERF_STORE, entry, nr);
	sim->folios[folio].dirty = false;
	sim->folios[folio].lazyfree = true;
}

static int advise_pmd(const struct advice *a, uint64_t *pmd, bool whole)
{
	struct fperf_sim *const sim = a->sim;
	struct fperf_query query;
	int ret;

	if (*pmd & FPERF_PTE_ZERO)
		return 0;
	query = fperf_query_at(sim, a->vma, fperf_pte_pfn(*pmd));
	if (others_map(a, &query, 1, true))
		return 0;
	if (!whole) {
		ret = fperf_split_huge_page(sim, query.folio, 0);
		return ret < 0 ? ret : 0;
	}
	if (a->kind == FPERF_ADVICE_FREE) {
		free_lazily(a, query.folio, pmd, 1);
		return 0;
	}
	*pmd &= ~(uint64_t)FPERF_PTE_YOUNG;
	fperf_charge_pmd(sim, FPERF_STORE, pmd);
	return a->kind == FPERF_ADVICE_PAGEOUT ? fperf_shrink_folio(sim, query.folio, true) : 0;
}

/* One entry, or the batch of a large folio; *nr entries are done with. */
static int advise_batch(const struct advice *a, uint64_t *pte, uint32_t left, uint32_t *nr)
{
	struct fperf_sim *const sim = a->sim;
	struct fperf_query query;
	uint32_t batch;

	*nr = 1;
	if (a->kind == FPERF_ADVICE_FREE && *pte & FPERF_PTE_SWAP) {
		const uint64_t slot = fperf_pte_pfn(*pte);

		*pte = 0;
		fperf_charge_ptes(sim, FPERF_STORE, pte, 1);
		fperf_swap_put(sim, slot);
		return 0;
	}
	if ((*pte & FPERF_PTE_STATE) != FPERF_PTE_PRESENT)
		return 0;
	query = fperf_query_at(sim, a->vma, fperf_pte_pfn(*pte));
	fperf_charge_page_folio(sim, fperf_pte_pfn(*pte));
	batch = sim->prof.version >= FPERF_KERNEL(6, 10) ? fperf_pte_batch(sim, pte, left) : 1;
	if (query.order && batch < 1u << query.order) {
		const int ret = may_split(a, &query) ? fperf_split_huge_page(sim, query.folio, 0) : FPERF_NOOP;

		/* The entry is looked at once more, as a small page; up to v6.9 a refusal ended the table. */
		if (ret == FPERF_APPLIED)
			*nr = 0;
		else
			*nr = sim->prof.version >= FPERF_KERNEL(6, 10) ? batch : left;
		return ret < 0 ? ret : 0;
	}
	*nr = batch;
	/* Before others can have it dirty, FREE does not ask who they are. */
	if (a->kind == FPERF_ADVICE_FREE) {
		if ((fperf_swap_cached(sim, query.folio) && !fperf_swap_cache_free(sim, query.folio)) ||
		    (sim->folios[query.folio].dirty && others_map(a, &query, batch, false)))
			return 0;
		free_lazily(a, query.folio, pte, batch);
		return 0;
	}
	if (others_map(a, &query, batch, false))
		return 0;
	for (uint32_t i = 0; i < batch; i++)
		pte[i] &= ~(uint64_t)FPERF_PTE_YOUNG;
	fperf_charge_ptes(sim, FPERF_STORE, pte, batch);
	return a->kind == FPERF_ADVICE_PAGEOUT ? fperf_shrink_folio(sim, query.folio, false) : 0;
}

int fperf_advise_reclaim(struct fperf_sim *sim, struct fperf_vma *vma, uint64_t start, uint64_t end,
			 enum fperf_advice kind)
{
	const struct advice a = { .sim = sim, .vma = vma, .kind = kind };

	for (uint64_t stop; start < end; start = stop) {
		uint64_t *const pmd = fperf_pmd_walk(sim, vma->mm, start);
		const uint64_t floor = fperf_pmd_floor(sim, start), ceiling = floor + sim->entries;
		uint64_t *ptes;
		uint32_t nr;

		stop = ceiling < end ? ceiling : end;
		if (pmd && *pmd & FPERF_PTE_LEAF) {
			const int ret = advise_pmd(&a, pmd, start == floor && stop == ceiling);

			if (ret)
				return ret;
			if (start == floor && stop == ceiling)
				continue;
		}
		if (!pmd || !fperf_pmd_table(*pmd))
			continue;
		ptes = fperf_table(&sim->mem, fperf_pmd_table(*pmd)) + fperf_pte_index(sim, start);
		fperf_charge_ptes(sim, FPERF_LOAD, ptes, stop - start);
		for (uint32_t i = 0; i < stop - start; i += nr) {
			const int ret = advise_batch(&a, &ptes[i], (uint32_t)(stop - start) - i, &nr);

			if (ret)
				return ret;
		}
	}
	return sim->error;
}
