/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * /proc/PID/smaps: resident, proportional and unique set size of each VMA, as fs/proc/task_mmu.c sums them. Where the
 * scheme does not know a page's mapcount its guess is used; the truth stands beside it.
 */
#include "consumer/consumer.h"

/* The kernel sums page_size << 12 / mapcount. */
static const unsigned int PSS_SHIFT = 12;

struct sum {
	uint64_t pss, pss_true; /* fixed point */
	struct fperf_vma_row row;
};

/* Mappings of one page, counted from the tables of every VMA that could hold it; costs nothing. */
static int64_t true_mapcount(struct fperf_sim *sim, uint64_t pfn)
{
	const uint64_t folio = fperf_folio_head(sim, pfn);
	const struct fperf_folio *const f = &sim->folios[folio];
	const uint64_t index = f->index + (pfn - folio);
	const struct fperf_itree *const tree = f->anon ? &f->anon_vma->tree : &f->object->i_mmap;
	int64_t mappings = 0;

	for (struct fperf_itnode *node = fperf_itree_first(tree, index, index); node;
	     node = fperf_itree_next(node, index, index)) {
		const struct fperf_vma *const vma = node->owner;
		const uint64_t vpn = vma->start + (index - vma->pgoff);
		const uint64_t *const pmd = fperf_pmd_peek(sim, vma->mm, vpn);
		uint64_t entry;

		if (!pmd || !*pmd)
			continue;
		if (*pmd & FPERF_PTE_LEAF) {
			mappings += !(*pmd & FPERF_PTE_ZERO) && fperf_pte_pfn(*pmd) == folio;
			continue;
		}
		entry = fperf_table(&sim->mem, fperf_pmd_table(*pmd))[fperf_pte_index(sim, vpn)];
		mappings += (entry & (FPERF_PTE_PRESENT | FPERF_PTE_ZERO)) == FPERF_PTE_PRESENT &&
			    fperf_pte_pfn(entry) == pfn;
	}
	return mappings;
}

static void account(struct fperf_sim *sim, struct sum *sum, struct fperf_vma *vma, uint64_t pfn, uint32_t nr)
{
	const uint64_t folio = fperf_folio_head(sim, pfn);
	const uint64_t whole = 1ull << (sim->cfg.page_shift + PSS_SHIFT);
	struct fperf_query query = {
		.folio = folio, .order = fperf_folio_order(sim, folio), .anon = sim->folios[folio].anon, .vma = vma
	};

	sum->row.rss_pages += nr;
	/* One reference can only be this mapping's: no count is looked at. */
	if (fperf_folio_load_refs(sim, folio) == 1) {
		sum->pss += whole * nr;
		sum->pss_true += whole * nr;
		sum->row.uss_pages += nr;
		sum->row.uss_true_pages += nr;
		return;
	}
	for (uint32_t i = 0; i < nr; i++) {
		int64_t mapcount, truth;

		query.page = (uint32_t)(pfn + i - folio);
		truth = -1;
		if (fperf_ask(sim, FPERF_ASK_PAGE_MAPCOUNT, &query, &mapcount) == FPERF_COUNT)
			truth = mapcount;
		if (truth < 0 || sim->scheme->counts_vmas)
			truth = true_mapcount(sim, pfn + i);
		sum->pss += mapcount >= 2 ? whole / (uint64_t)mapcount : whole;
		sum->pss_true += truth >= 2 ? whole / (uint64_t)truth : whole;
		sum->row.uss_pages += mapcount < 2;
		sum->row.uss_true_pages += truth < 2;
	}
}

static void account_leaf(struct fperf_sim *sim, struct sum *sum, struct fperf_vma *vma, uint64_t entry)
{
	const uint64_t pfn = fperf_pte_pfn(entry);

	if (entry & FPERF_PTE_ZERO)
		return;
	if (sim->folios[pfn].anon)
		sum->row.anon_huge_pages += sim->entries;
	else if (fperf_object_is_shmem(sim->folios[pfn].object))
		sum->row.shmem_pmd_pages += sim->entries;
	else
		sum->row.file_pmd_pages += sim->entries;
	account(sim, sum, vma, pfn, sim->entries);
}

static void account_vma(struct fperf_sim *sim, struct sum *sum, struct fperf_vma *vma)
{
	for (uint64_t vpn = vma->start, stop; vpn < vma->end; vpn = stop) {
		const uint64_t *const pmd = fperf_pmd_walk(sim, vma->mm, vpn);
		const uint64_t ceiling = fperf_pmd_floor(sim, vpn) + sim->entries;
		const uint64_t *pte;

		stop = ceiling < vma->end ? ceiling : vma->end;
		if (!pmd || !*pmd)
			continue;
		if (*pmd & FPERF_PTE_LEAF) {
			account_leaf(sim, sum, vma, *pmd);
			continue;
		}
		fperf_ptl_lock(sim, fperf_pmd_table(*pmd));
		pte = fperf_table(&sim->mem, fperf_pmd_table(*pmd)) + fperf_pte_index(sim, vpn);
		fperf_charge_ptes(sim, FPERF_LOAD, pte, stop - vpn);
		for (uint64_t i = 0; i < stop - vpn; i++)
			if ((pte[i] & (FPERF_PTE_PRESENT | FPERF_PTE_ZERO)) == FPERF_PTE_PRESENT)
				account(sim, sum, vma, fperf_pte_pfn(pte[i]), 1);
		fperf_ptl_unlock(sim, fperf_pmd_table(*pmd));
	}
}

static uint64_t distance(uint64_t a, uint64_t b)
{
	return a > b ? a - b : b - a;
}

int fperf_smaps(struct fperf_sim *sim, struct fperf_mm *mm, struct fperf_vma_row *rows, size_t cap, size_t *nr)
{
	*nr = mm->nr_vmas;
	for (uint32_t i = 0; i < mm->nr_vmas; i++) {
		struct fperf_vma *const vma = mm->vmas[i];
		struct sum sum = { .row = { .start = vma->start,
					    .end = vma->end,
					    .pgoff = vma->pgoff,
					    .what = vma->object ? vma->object->index + 1 : 0,
					    .flags = vma->flags } };

		account_vma(sim, &sum, vma);
		sum.row.pss_bytes = sum.pss >> PSS_SHIFT;
		sum.row.pss_true_bytes = sum.pss_true >> PSS_SHIFT;
		sim->totals.pss_error_abs += distance(sum.row.pss_bytes, sum.row.pss_true_bytes);
		sim->totals.uss_error_abs += distance(sum.row.uss_pages, sum.row.uss_true_pages) << sim->cfg.page_shift;
		if (i < cap && rows)
			rows[i] = sum.row;
	}
	return 0;
}
