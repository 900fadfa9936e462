/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ksmd: looks at every anonymous page of mergeable VMAs, mm after mm in the order they came, and lets one page stand for all
 * that hold the same. A page that has not changed since the last scan is compared with KSM pages, then with the other
 * unchanged pages of this scan; of two equal ones the later becomes the KSM page. schemes.md 6.
 */
#include "consumer/consumer.h"

#include <string.h>

enum { FULL_SCANS = 4 };

/* The page an mm maps at vpn, anonymous and present; 0: none. */
static uint64_t anon_page(struct fperf_sim *sim, const struct fperf_mm *mm, uint64_t vpn)
{
	const uint64_t *const pmd = fperf_pmd_walk(sim, mm, vpn);
	const uint32_t index = fperf_pte_index(sim, vpn);
	uint64_t entry = pmd ? *pmd : 0, pfn;

	if (!entry)
		return 0;
	if (entry & FPERF_PTE_LEAF) {
		pfn = fperf_pte_pfn(entry) + index;
	} else {
		const uint64_t *const pte = fperf_table(&sim->mem, fperf_pmd_table(entry)) + index;

		fperf_charge_ptes(sim, FPERF_LOAD, pte, 1);
		entry = *pte;
		pfn = fperf_pte_pfn(entry);
	}
	if ((entry & FPERF_PTE_STATE) != FPERF_PTE_PRESENT)
		return 0;
	fperf_charge_page_folio(sim, pfn);
	return sim->folios[fperf_folio_head(sim, pfn)].anon ? pfn : 0;
}

static struct fperf_vma *mergeable_vma(const struct fperf_ksm_item *item)
{
	struct fperf_vma *const vma = item->owner->mm ? fperf_vma_at(item->owner->mm, item->vpn) : NULL;

	return vma && vma->flags & FPERF_VM_MERGEABLE && vma->anon_vma ? vma : NULL;
}

/*
 * Nobody may write to the page unseen: entries are made read-only and clean, which is refused while anybody beside mappings,
 * the swap cache and ksmd itself refers to it.
 */
static bool write_protect(struct fperf_sim *sim, uint64_t folio, uint64_t *pte)
{
	const struct fperf_query query = { .folio = folio, .anon = true };
	const bool exclusive = fperf_exclusive_test(sim, folio);
	int64_t refs = 0;

	if (!(*pte & (FPERF_PTE_WRITE | FPERF_PTE_DIRTY)) && !exclusive)
		return true;
	fperf_ask(sim, FPERF_ASK_MAPPING_REFS, &query, &refs);
	if (fperf_folio_load_refs(sim, folio) != refs + 1 + fperf_swap_cached(sim, folio))
		return false;
	if (exclusive)
		fperf_exclusive_clear(sim, folio, 1);
	sim->folios[folio].dirty |= (*pte & FPERF_PTE_DIRTY) != 0;
	*pte &= ~(uint64_t)(FPERF_PTE_WRITE | FPERF_PTE_DIRTY);
	fperf_charge_ptes(sim, FPERF_STORE, pte, 1);
	return true;
}

/* replace_page(): the entry maps the KSM page from now on. */
static void replace(struct fperf_sim *sim, struct fperf_vma *vma, uint64_t vpn, uint64_t *pte, uint64_t with)
{
	const uint64_t old = fperf_pte_pfn(*pte);
	struct fperf_run run = fperf_run_at(sim, vma, with, 1, vpn, true, true);

	*pte = 0;
	fperf_charge_ptes(sim, FPERF_STORE, pte, 1);
	fperf_rmap_map(sim, &run, false);
	*pte = fperf_pte(with, FPERF_PTE_PRESENT | FPERF_PTE_YOUNG);
	fperf_charge_ptes(sim, FPERF_STORE, pte, 1);
	run = fperf_run_at(sim, vma, old, 1, vpn, true, true);
	fperf_rmap_unmap(sim, &run);
}

/* try_to_merge_one_page(): the small page at the item's place becomes a KSM page, or `into` takes its place. */
static int merge_small(struct fperf_sim *sim, const struct fperf_ksm_item *item, struct fperf_vma *vma, uint64_t pfn,
		       const struct fperf_ksm_page *into, bool *done)
{
	uint64_t *const pte = fperf_table(&sim->mem, fperf_pmd_table(*fperf_pmd_walk(sim, vma->mm, item->vpn))) +
			      fperf_pte_index(sim, item->vpn);
	int ret = 0;

	/*
	 * A zero page may have given way to the zero page when its folio was split; and a KSM page that nobody could join has
	 * no anon_vma by which ksmd would find its entry.
	 */
	if ((*pte & FPERF_PTE_STATE) != FPERF_PTE_PRESENT || fperf_is_ksm(sim, pfn))
		return 0;
	fperf_folio_lookup_get(sim, pfn);
	fperf_ptl_lock(sim, fperf_table_of(sim, pte));
	*done = write_protect(sim, pfn, pte);
	if (*done && into)
		replace(sim, vma, item->vpn, pte, into->folio);
	fperf_ptl_unlock(sim, fperf_table_of(sim, pte));
	if (*done && !into)
		ret = fperf_ksm_make(sim, pfn);
	fperf_folio_lookup_put(sim, pfn);
	return ret;
}

/* into NULL: make a KSM page of it. */
static int merge(struct fperf_sim *sim, struct fperf_ksm_item *item, uint64_t pfn, const struct fperf_ksm_page *into,
		 bool *done)
{
	struct fperf_vma *const vma = mergeable_vma(item);
	const uint64_t folio = fperf_folio_head(sim, pfn);

	*done = false;
	if (!vma)
		return 0;
	/* A fork of a KSM page: only the item is missing. */
	if (into && into->folio == pfn) {
		*done = true;
		return 0;
	}
	if (fperf_folio_order(sim, folio)) {
		const int ret = fperf_split_huge_page(sim, folio, 0);

		if (ret)
			return ret < 0 ? ret : 0;
	}
	return merge_small(sim, item, vma, pfn, into, done);
}

/* A KSM page takes up one more. */
static int join(struct fperf_sim *sim, struct fperf_ksm_item *item, uint64_t pfn, struct fperf_ksm_page *page,
		bool *any)
{
	bool done;
	const int ret = merge(sim, item, pfn, page, &done);

	if (ret || !done)
		return ret;
	fperf_ksm_attach(sim, item, page, mergeable_vma(item));
	*any = true;
	return 0;
}

/* An unchanged page that equals no KSM page: is there another one like it in this scan? */
static int join_unstable(struct fperf_sim *sim, struct fperf_ksm_item *item, uint64_t pfn, bool *any)
{
	struct fperf_ksm_item **const place = &sim->ksm->unstable[item->content];
	struct fperf_ksm_item *const other = *place;
	uint64_t other_pfn, folio = fperf_folio_head(sim, pfn);
	bool done;
	int ret;

	if (!other) {
		*place = item;
		return 0;
	}
	fperf_touch(&sim->door, FPERF_FIELD_KSM_ITEM, FPERF_LOAD, other->at);
	other_pfn = mergeable_vma(other) ? anon_page(sim, other->owner->mm, other->vpn) : 0;
	/* What has gone meanwhile, or is the same page in a fork, ends it. */
	if (!other_pfn || other_pfn == pfn)
		return 0;
	/* Two pages of one folio: ksmd's own references keep it whole; once they are dropped, it is split for the next scan. */
	if (fperf_folio_head(sim, other_pfn) == folio) {
		ret = fperf_split_huge_page(sim, folio, 0);
		return ret < 0 ? ret : 0;
	}
	ret = merge(sim, item, pfn, NULL, &done);
	if (ret || !done)
		return ret;
	fperf_ksm_detach(sim, item);
	ret = merge(sim, other, other_pfn, sim->folios[pfn].ksm, &done);
	if (ret)
		return ret;
	if (!done)
		return fperf_ksm_unmerge(sim, mergeable_vma(item), item->vpn, item->vpn + 1);
	fperf_ksm_list(sim, sim->folios[pfn].ksm);
	fperf_ksm_detach(sim, other);
	fperf_ksm_attach(sim, other, sim->folios[pfn].ksm, mergeable_vma(other));
	fperf_ksm_attach(sim, item, sim->folios[pfn].ksm, mergeable_vma(item));
	*any = true;
	return 0;
}

/* cmp_and_merge_page() */
static int look_at(struct fperf_sim *sim, struct fperf_ksm_item *item, uint64_t pfn, bool *any)
{
	const uint64_t folio = fperf_folio_head(sim, pfn);
	const uint16_t content = fperf_content(sim, pfn);
	const bool changed = item->content != content;
	/* Since v6.11 what keeps changing is not even looked for among KSM pages. */
	const bool early = sim->prof.version >= FPERF_KERNEL(6, 11);
	struct fperf_ksm_page *page = sim->folios[folio].ksm;

	if (page && item->page == page)
		return 0;
	if (page && !page->listed)
		page = NULL;
	fperf_ksm_detach(sim, item);
	if (!page) {
		if (early)
			item->content = content;
		if (early && changed)
			return 0;
		page = fperf_ksm_candidate(sim, content);
	}
	if (page)
		return join(sim, item, pfn, page, any);
	item->content = content;
	return changed ? 0 : join_unstable(sim, item, pfn, any);
}

static int scan_mm(struct fperf_sim *sim, struct fperf_ksm_mm *slot, bool *mergeable, bool *any)
{
	const struct fperf_mm *const mm = slot->mm;
	struct fperf_ksm_item **link = &slot->items;

	for (uint32_t i = 0; mm && i < mm->nr_vmas; i++) {
		const struct fperf_vma *const vma = mm->vmas[i];

		if (!(vma->flags & FPERF_VM_MERGEABLE))
			continue;
		*mergeable = true;
		for (uint64_t vpn = vma->start; vma->anon_vma && vpn < vma->end; vpn++) {
			const uint64_t *const pmd = fperf_pmd_peek(sim, mm, vpn);
			struct fperf_ksm_item *item;
			uint64_t pfn;
			int ret;

			if (!pmd || !*pmd) {
				vpn = fperf_pmd_floor(sim, vpn) + sim->entries - 1;
				continue;
			}
			pfn = anon_page(sim, mm, vpn);
			if (!pfn)
				continue;
			item = fperf_ksm_item_at(sim, slot, &link, vpn);
			if (!item)
				return FPERF_ERR(NO_MEMORY);
			ret = look_at(sim, item, pfn, any);
			if (ret)
				return ret;
		}
	}
	fperf_ksm_drop_items(sim, link);
	return sim->error;
}

static int full_scan(struct fperf_sim *sim, bool *any)
{
	struct fperf_ksm_mm **link = &sim->ksm->mms;

	fperf_event_begin(&sim->door, FPERF_EV_KSM);
	memset(sim->ksm->unstable, 0, sizeof(sim->ksm->unstable));
	while (*link) {
		struct fperf_ksm_mm *const slot = *link;
		bool mergeable = false;
		const int ret = scan_mm(sim, slot, &mergeable, any);

		if (ret)
			return ret;
		if (mergeable) {
			link = &slot->next;
			continue;
		}
		/* Without a mergeable VMA the mm is not visited any more. */
		*link = slot->next;
		if (slot->mm)
			slot->mm->ksm = NULL;
		free(slot);
	}
	return 0;
}

int fperf_ksmd(struct fperf_sim *sim)
{
	bool any = false;

	for (uint32_t i = 0; i < FULL_SCANS && sim->ksm; i++) {
		const int ret = full_scan(sim, &any);

		if (ret)
			return ret;
	}
	if (sim->ksm)
		fperf_ksm_find_strays(sim);
	return any ? FPERF_APPLIED : FPERF_NOOP;
}
