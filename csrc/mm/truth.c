/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The ledger: how folios are really mapped. Kept incrementally beside the model, without cost in it and out of reach of
 * schemes. Mappings are counted for every folio. VMAs and mms are counted for large folios in a table keyed by folio and
 * mm; for order 0 they follow from the mappings (one VMA maps a page once), but for file pages mapped twice by one mm. A KSM
 * page, which one VMA maps at several places, is taken to have as many VMAs as mappings.
 */
#include "mm/mm.h"

#include <string.h>

static uint64_t share_hash(uint64_t key)
{
	/* Folios are multiples of their size: what tells keys apart must get from the upper bits into the lower ones. */
	key = (key ^ key >> 32) * 0x9e3779b97f4a7c15ull;
	return key ^ key >> 32;
}

static uint64_t share_key(uint64_t folio, uint32_t mm_id)
{
	return folio << 32 | mm_id;
}

int fperf_truth_init(struct fperf_sim *sim)
{
	sim->cap_shares = 1024;
	sim->shares = calloc(sim->cap_shares, sizeof(*sim->shares));
	if (!sim->shares)
		return FPERF_ERR(NO_MEMORY);
	return sim->cfg.truth ? fperf_truth_pages_init(sim) : 0;
}

void fperf_truth_destroy(struct fperf_sim *sim)
{
	fperf_truth_pages_destroy(sim);
	free(sim->shares);
}

static struct fperf_share *share_find(const struct fperf_sim *sim, uint64_t key)
{
	const uint64_t mask = sim->cap_shares - 1;
	uint64_t i = share_hash(key) & mask;

	while (sim->shares[i].key && sim->shares[i].key != key)
		i = (i + 1) & mask;
	return &sim->shares[i];
}

static bool share_grow(struct fperf_sim *sim)
{
	struct fperf_share *const old = sim->shares;
	const uint64_t cap = sim->cap_shares;
	struct fperf_share *const grown = calloc(cap * 2, sizeof(*grown));

	if (!grown)
		return false;
	sim->shares = grown;
	sim->cap_shares = cap * 2;
	for (uint64_t i = 0; i < cap; i++)
		if (old[i].key)
			*share_find(sim, old[i].key) = old[i];
	free(old);
	return true;
}

/* Backward-shift deletion keeps probe chains unbroken. */
static void share_remove(struct fperf_sim *sim, struct fperf_share *share)
{
	const uint64_t mask = sim->cap_shares - 1;
	uint64_t hole = (uint64_t)(share - sim->shares), i = hole;

	for (;;) {
		uint64_t home;

		i = (i + 1) & mask;
		if (!sim->shares[i].key)
			break;
		home = share_hash(sim->shares[i].key) & mask;
		if (((i - home) & mask) >= ((i - hole) & mask)) {
			sim->shares[hole] = sim->shares[i];
			hole = i;
		}
	}
	memset(&sim->shares[hole], 0, sizeof(sim->shares[hole]));
	sim->nr_shares--;
}

bool fperf_truth_present_at(struct fperf_sim *sim, uint64_t folio, const struct fperf_mm *mm, uint64_t vpn,
			    uint32_t first, uint32_t nr, uint32_t skip, uint32_t nr_skip)
{
	for (uint32_t i = 0; i < nr;) {
		const uint64_t *const pmd = fperf_pmd_peek(sim, mm, vpn + i);
		const uint32_t in_table = sim->entries - fperf_pte_index(sim, vpn + i);
		const uint32_t stop = i + (in_table < nr - i ? in_table : nr - i);
		const uint64_t *ptes;

		if (!pmd || !*pmd) {
			i = stop;
			continue;
		}
		if (*pmd & FPERF_PTE_LEAF) {
			if ((*pmd & FPERF_PTE_STATE) == FPERF_PTE_PRESENT && fperf_pte_pfn(*pmd) == folio)
				return true;
			i = stop;
			continue;
		}
		ptes = fperf_table(&sim->mem, fperf_pmd_table(*pmd));
		for (; i < stop; i++) {
			const uint64_t entry = ptes[fperf_pte_index(sim, vpn + i)];

			if (first + i - skip < nr_skip)
				continue;
			if ((entry & (FPERF_PTE_PRESENT | FPERF_PTE_ZERO)) == FPERF_PTE_PRESENT &&
			    fperf_pte_pfn(entry) == folio + first + i)
				return true;
		}
	}
	return false;
}

bool fperf_truth_present(struct fperf_sim *sim, uint64_t folio, const struct fperf_vma *vma, uint32_t skip,
			 uint32_t nr_skip)
{
	uint32_t first;
	uint64_t vpn;
	const uint32_t nr = fperf_vma_folio_range(sim, vma, folio, &first, &vpn);

	return fperf_truth_present_at(sim, folio, vma->mm, vpn, first, nr, skip, nr_skip);
}

uint64_t fperf_truth_mappings(const struct fperf_sim *sim, uint64_t folio)
{
	return (uint64_t)sim->folios[folio].true_pte + sim->folios[folio].true_pmd;
}

/* An unmapped folio that only a stale count keeps allocated is leaked until somebody recounts. */
void fperf_truth_leak(struct fperf_sim *sim, uint64_t folio)
{
	struct fperf_folio *const f = &sim->folios[folio];
	const bool leaked = f->mapping_refs > 0 && !f->true_pte && !f->true_pmd;
	const uint64_t nr = 1ull << fperf_folio_order(sim, folio);

	if (leaked == f->leaked)
		return;
	f->leaked = leaked;
	sim->totals.leaked_pages += leaked ? nr : -nr;
	if (sim->totals.leaked_pages > sim->totals.leaked_pages_peak)
		sim->totals.leaked_pages_peak = sim->totals.leaked_pages;
	if (f->anon && !f->ksm)
		f->anon_vma->nr_leaked += leaked ? 1 : (uint64_t)-1;
}

void fperf_truth_map(struct fperf_sim *sim, const struct fperf_run *run, bool pmd)
{
	struct fperf_folio *const f = &sim->folios[run->folio];
	struct fperf_share *share;
	uint64_t key;

	sim->totals.pages_mapped += run->nr;
	if (!sim->cfg.truth || !run->vma)
		return;
	if (pmd) {
		f->true_pmd++;
	} else {
		f->true_pte += run->nr;
		fperf_truth_pages_map(sim, run);
	}
	if (f->leaked)
		fperf_truth_leak(sim, run->folio);
	if (!run->order)
		return;
	key = share_key(run->folio, run->mm_id);
	share = share_find(sim, key);
	if (!share->key) {
		if (sim->nr_shares * 4 >= sim->cap_shares * 3) {
			if (!share_grow(sim)) {
				sim->error = FPERF_ERR(NO_MEMORY);
				return;
			}
			share = share_find(sim, key);
		}
		*share = (struct fperf_share){ .key = key, .nr_vmas = 1, .vma_hint = run->vma_id };
		sim->nr_shares++;
		f->true_mms++;
		f->true_vmas++;
	} else if (!(share->nr_vmas == 1 && share->vma_hint == run->vma_id) &&
		   !fperf_truth_present(sim, run->folio, run->vma, run->first, run->nr)) {
		share->nr_vmas++;
		f->true_vmas++;
	}
	share->pages += run->nr;
}

void fperf_truth_unmap(struct fperf_sim *sim, const struct fperf_run *run, bool pmd)
{
	struct fperf_folio *const f = &sim->folios[run->folio];
	struct fperf_share *share;

	sim->totals.pages_unmapped += run->nr;
	if (!sim->cfg.truth || !run->vma)
		return;
	if (pmd) {
		f->true_pmd--;
	} else {
		f->true_pte -= run->nr;
		fperf_truth_pages_unmap(sim, run);
	}
	if (run->order) {
		share = share_find(sim, share_key(run->folio, run->mm_id));
		FPERF_BUG_ON(!share->key || share->pages < run->nr);
		share->pages -= run->nr;
		if (!share->pages) {
			f->true_vmas -= share->nr_vmas;
			f->true_mms--;
			share_remove(sim, share);
		} else if (share->nr_vmas > 1 && !fperf_truth_present(sim, run->folio, run->vma, 0, 0)) {
			share->nr_vmas--;
			share->vma_hint = 0;
			f->true_vmas--;
		}
	}
	fperf_truth_leak(sim, run->folio);
}

void fperf_truth_split_pmd(struct fperf_sim *sim, const struct fperf_run *run)
{
	struct fperf_folio *const f = &sim->folios[run->folio];

	if (!sim->cfg.truth || !run->vma)
		return;
	f->true_pmd--;
	f->true_pte += run->nr;
	fperf_truth_pages_map(sim, run);
}

void fperf_truth_vmas(struct fperf_sim *sim, uint64_t folio, uint32_t mm_id, int delta)
{
	struct fperf_share *share;

	if (!sim->cfg.truth)
		return;
	share = share_find(sim, share_key(folio, mm_id));
	FPERF_BUG_ON(!share->key);
	share->nr_vmas += (uint32_t)delta;
	share->vma_hint = 0;
	sim->folios[folio].true_vmas += (uint32_t)delta;
}

/* File pages of order 0: look who maps them, as there is no table for them. */
static uint32_t mms_of_small_file(struct fperf_sim *sim, uint64_t folio)
{
	const struct fperf_folio *const f = &sim->folios[folio];
	struct fperf_itnode *node = fperf_itree_first(&f->object->i_mmap, f->index, f->index);
	uint32_t last_mm = 0, mms = 0;

	for (; node; node = fperf_itree_next(node, f->index, f->index)) {
		const struct fperf_vma *const vma = node->owner;

		/* VMAs of one mm need not be neighbours in the tree; two different mms are all that is asked for. */
		if (vma->mm->id != last_mm && fperf_truth_present(sim, folio, vma, 0, 0)) {
			last_mm = vma->mm->id;
			mms++;
		}
	}
	return mms;
}

void fperf_truth_folio(struct fperf_sim *sim, uint64_t folio, uint32_t *vmas, uint32_t *mms)
{
	const struct fperf_folio *const f = &sim->folios[folio];

	if (fperf_folio_order(sim, folio)) {
		*vmas = f->true_vmas;
		*mms = f->true_mms;
		return;
	}
	*vmas = f->true_pte;
	*mms = f->true_pte;
	if (f->true_pte > 1 && f->ksm)
		*mms = fperf_ksm_mms(sim, folio);
	else if (f->true_pte > 1 && !f->anon)
		*mms = mms_of_small_file(sim, folio);
}

static bool folio_listed(const uint64_t *folios, uint32_t nr, uint64_t folio)
{
	for (uint32_t i = 0; i < nr; i++)
		if (folios[i] == folio)
			return true;
	return false;
}

uint32_t fperf_straddlers(struct fperf_sim *sim, const struct fperf_vma *left, const struct fperf_vma *right,
			  uint64_t border, uint64_t *folios, uint32_t cap)
{
	const uint64_t reach = border > sim->entries ? border - sim->entries : 0;
	const uint64_t from = left->start > reach ? left->start : reach;
	uint32_t nr = 0;

	if (!left->mm->has_large)
		return 0;
	for (uint64_t vpn = border; vpn-- > from && nr < cap;) {
		const uint64_t *const pmd = fperf_pmd_peek(sim, left->mm, vpn);
		uint64_t entry, folio;

		if (!pmd || !*pmd || *pmd & FPERF_PTE_LEAF) {
			/* Nothing in this table; a leaf never crosses a border between VMAs. */
			vpn = fperf_pmd_floor(sim, vpn);
			continue;
		}
		entry = fperf_table(&sim->mem, fperf_pmd_table(*pmd))[fperf_pte_index(sim, vpn)];
		if ((entry & (FPERF_PTE_PRESENT | FPERF_PTE_ZERO)) != FPERF_PTE_PRESENT)
			continue;
		folio = fperf_folio_head(sim, fperf_pte_pfn(entry));
		if (folio + (1ull << fperf_folio_order(sim, folio)) - fperf_pte_pfn(entry) <= border - vpn)
			continue;
		if (!folio_listed(folios, nr, folio) && fperf_truth_present(sim, folio, right, 0, 0))
			folios[nr++] = folio;
	}
	return nr;
}
