/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The ledger, page by page, and what it says of consumers' acts: how often each page is mapped by PTEs, which folios were
 * left mapped in part, what was copied, refused or passed over for nothing. Uncharged, as the rest of the ledger.
 */
#include "mm/mm.h"

static size_t bytes_of_mapcounts(const struct fperf_sim *sim)
{
	return sim->mem.nr_pfns * sizeof(*sim->true_mapcounts);
}

int fperf_truth_pages_init(struct fperf_sim *sim)
{
	sim->true_mapcounts = fperf_reserve(bytes_of_mapcounts(sim));
	return sim->true_mapcounts ? 0 : FPERF_ERR(ADDR_SPACE);
}

void fperf_truth_pages_destroy(struct fperf_sim *sim)
{
	fperf_unreserve(sim->true_mapcounts, bytes_of_mapcounts(sim));
	free(sim->suspects);
}

void fperf_truth_pages_map(struct fperf_sim *sim, const struct fperf_run *run)
{
	uint32_t *const counts = &sim->true_mapcounts[run->folio + run->first];
	struct fperf_folio *const f = &sim->folios[run->folio];
	uint32_t fresh = 0;

	for (uint32_t i = 0; i < run->nr; i++)
		fresh += !counts[i]++;
	f->true_pages += fresh;
	if (f->partial_missed && f->true_pages == 1u << run->order)
		f->partial_missed = false;
}

static bool mapped_in_part(const struct fperf_sim *sim, uint64_t folio)
{
	const struct fperf_folio *const f = &sim->folios[folio];

	return f->true_pages && !f->true_pmd && f->true_pages < 1u << fperf_folio_order(sim, folio);
}

/* It may still be split or unmapped before the event ends; what is left is looked at then. */
static void suspect(struct fperf_sim *sim, uint64_t folio)
{
	if (sim->nr_suspects == sim->cap_suspects) {
		const uint32_t cap = sim->cap_suspects ? sim->cap_suspects * 2 : 64;
		uint64_t *const grown = realloc(sim->suspects, cap * sizeof(*grown));

		if (!grown) {
			sim->error = FPERF_ERR(NO_MEMORY);
			return;
		}
		sim->suspects = grown;
		sim->cap_suspects = cap;
	}
	sim->suspects[sim->nr_suspects++] = folio;
	sim->folios[folio].suspect = true;
}

void fperf_truth_pages_unmap(struct fperf_sim *sim, const struct fperf_run *run)
{
	uint32_t *const counts = &sim->true_mapcounts[run->folio + run->first];
	struct fperf_folio *const f = &sim->folios[run->folio];
	uint32_t gone = 0;

	for (uint32_t i = 0; i < run->nr; i++)
		gone += !--counts[i];
	f->true_pages -= gone;
	/* A folio of two pages has no room for the queue's list. */
	if (gone && f->anon && run->order > 1 && !f->suspect && mapped_in_part(sim, run->folio))
		suspect(sim, run->folio);
}

void fperf_truth_event_end(struct fperf_sim *sim)
{
	sim->totals.leaked_page_events += sim->totals.leaked_pages;
	while (sim->nr_suspects) {
		const uint64_t folio = sim->suspects[--sim->nr_suspects];
		struct fperf_folio *const f = &sim->folios[folio];
		bool missed;

		if (!f->suspect)
			continue;
		f->suspect = false;
		missed = f->live && f->anon && mapped_in_part(sim, folio) && !f->deferred;
		sim->totals.partial_missed += missed && !f->partial_missed;
		f->partial_missed = missed;
	}
}

/* Without the ledger: from the tables of every VMA that could hold the page. */
static int64_t look_up(struct fperf_sim *sim, uint64_t pfn)
{
	const uint64_t folio = fperf_folio_head(sim, pfn);
	const struct fperf_folio *const f = &sim->folios[folio];
	const uint64_t index = f->index + (pfn - folio);
	const struct fperf_itree *tree;
	int64_t mappings = 0;

	if (f->ksm)
		return fperf_ksm_mapcount(sim, folio);
	tree = f->anon ? &f->anon_vma->tree : &f->object->i_mmap;
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

int64_t fperf_truth_mapcount(struct fperf_sim *sim, uint64_t pfn)
{
	if (!sim->cfg.truth)
		return look_up(sim, pfn);
	return (int64_t)sim->true_mapcounts[pfn] + sim->folios[fperf_folio_head(sim, pfn)].true_pmd;
}

void fperf_truth_copied(struct fperf_sim *sim, uint64_t pfn)
{
	const struct fperf_folio *const f = &sim->folios[fperf_folio_head(sim, pfn)];

	if (sim->cfg.truth && f->anon && !f->held_refs && !f->swap_slot && fperf_truth_mapcount(sim, pfn) == 1)
		sim->totals.copies_needless++;
}

void fperf_truth_refused(struct fperf_sim *sim, uint64_t folio)
{
	if (sim->cfg.truth && !sim->folios[folio].held_refs)
		sim->totals.refused_needlessly++;
}

void fperf_truth_skipped(struct fperf_sim *sim, uint64_t folio)
{
	uint32_t vmas, mms;

	if (!sim->cfg.truth)
		return;
	fperf_truth_folio(sim, folio, &vmas, &mms);
	sim->totals.skipped_as_shared += mms <= 1;
}
