/* SPDX-License-Identifier: BSD-3-Clause */
/* KSM pages: where ksmd put them, how rmap walks find them, how they are taken apart. consumer/ksmd.c merges. */
#include "mm/mm.h"

enum { ITEM_BYTES = 64, PAGE_BYTES = 64, MAX_PAGE_SHARING = 256 };

/* ---- mms ---- */

int fperf_ksm_enter(struct fperf_sim *sim, struct fperf_mm *mm)
{
	struct fperf_ksm_mm **last;

	if (mm->ksm)
		return 0;
	if (!sim->ksm)
		sim->ksm = calloc(1, sizeof(*sim->ksm));
	mm->ksm = sim->ksm ? calloc(1, sizeof(*mm->ksm)) : NULL;
	if (!mm->ksm)
		return FPERF_ERR(NO_MEMORY);
	*mm->ksm = (struct fperf_ksm_mm){ .mm = mm, .id = mm->id };
	for (last = &sim->ksm->mms; *last;)
		last = &(*last)->next;
	*last = mm->ksm;
	return 0;
}

void fperf_ksm_exit(struct fperf_mm *mm)
{
	if (mm->ksm)
		mm->ksm->mm = NULL;
	mm->ksm = NULL;
}

void fperf_ksm_destroy(struct fperf_sim *sim)
{
	struct fperf_ksm_mm *next;

	if (!sim->ksm)
		return;
	for (struct fperf_ksm_mm *slot = sim->ksm->mms; slot; slot = next) {
		next = slot->next;
		fperf_ksm_drop_items(sim, &slot->items);
		free(slot);
	}
	for (uint64_t pfn = 1; pfn < sim->next_pfn; pfn++)
		fperf_ksm_forget(sim, pfn);
	free(sim->ksm);
	sim->ksm = NULL;
}

/* ---- items ---- */

void fperf_ksm_attach(struct fperf_sim *sim, struct fperf_ksm_item *item, struct fperf_ksm_page *page,
		      const struct fperf_vma *vma)
{
	FPERF_BUG_ON(item->page);
	item->page = page;
	item->older = page->newest;
	item->newer = NULL;
	if (item->older)
		item->older->newer = item;
	page->newest = item;
	page->nr_items++;
	item->anon_vma = vma->anon_vma;
	item->anon_vma->refs++;
	fperf_touch(&sim->door, FPERF_FIELD_KSM_ITEM, FPERF_STORE, item->at);
	fperf_touch(&sim->door, FPERF_FIELD_KSM_ITEM, FPERF_STORE, page->at);
}

void fperf_ksm_detach(struct fperf_sim *sim, struct fperf_ksm_item *item)
{
	if (item->content >= 0 && sim->ksm->unstable[item->content] == item)
		sim->ksm->unstable[item->content] = NULL;
	if (!item->page)
		return;
	if (item->newer)
		item->newer->older = item->older;
	else
		item->page->newest = item->older;
	if (item->older)
		item->older->newer = item->newer;
	item->page->nr_items--;
	item->page = NULL;
	fperf_anon_vma_put(sim, item->anon_vma);
	item->anon_vma = NULL;
	fperf_touch(&sim->door, FPERF_FIELD_KSM_ITEM, FPERF_STORE, item->at);
}

static void drop(struct fperf_sim *sim, struct fperf_ksm_item **link)
{
	struct fperf_ksm_item *const item = *link;

	fperf_ksm_detach(sim, item);
	*link = item->next;
	fperf_object_free(&sim->mem, item->at, ITEM_BYTES);
	free(item);
}

void fperf_ksm_drop_items(struct fperf_sim *sim, struct fperf_ksm_item **link)
{
	while (*link)
		drop(sim, link);
}

struct fperf_ksm_item *fperf_ksm_item_at(struct fperf_sim *sim, struct fperf_ksm_mm *owner,
					 struct fperf_ksm_item ***link, uint64_t vpn)
{
	struct fperf_ksm_item *item;

	while (**link && (**link)->vpn < vpn)
		drop(sim, *link);
	item = **link;
	if (!item || item->vpn != vpn) {
		item = calloc(1, sizeof(*item));
		if (!item)
			return NULL;
		*item = (struct fperf_ksm_item){ .next = **link,
						 .owner = owner,
						 .vpn = vpn,
						 .at = fperf_object_alloc(&sim->mem, ITEM_BYTES),
						 .content = -1 };
		if (!item->at) {
			free(item);
			return NULL;
		}
		**link = item;
	}
	fperf_touch(&sim->door, FPERF_FIELD_KSM_ITEM, FPERF_LOAD, item->at);
	*link = &item->next;
	return item;
}

/* ---- pages ---- */

int fperf_ksm_make(struct fperf_sim *sim, uint64_t folio)
{
	struct fperf_folio *const f = &sim->folios[folio];
	struct fperf_ksm_page *const page = calloc(1, sizeof(*page));

	if (!page)
		return FPERF_ERR(NO_MEMORY);
	*page = (struct fperf_ksm_page){ .folio = folio,
					 .at = fperf_object_alloc(&sim->mem, PAGE_BYTES),
					 .content = fperf_content(sim, folio) };
	if (!page->at) {
		free(page);
		return FPERF_ERR(ADDR_SPACE);
	}
	fperf_folio_set_anon_vma(sim, folio, NULL);
	f->anon = true;
	f->ksm = page;
	/* Reclaim must write it to swap: no entry says that it is dirty. */
	f->dirty = true;
	fperf_touch(&sim->door, FPERF_FIELD_MAPPING, FPERF_STORE,
		    fperf_arena_offset(&sim->mem, &fperf_head(sim, folio)->mapping));
	return 0;
}

void fperf_ksm_list(struct fperf_sim *sim, struct fperf_ksm_page *page)
{
	page->next = sim->ksm->stable[page->content];
	sim->ksm->stable[page->content] = page;
	page->listed = true;
}

static void unlist(struct fperf_sim *sim, const struct fperf_ksm_page *page)
{
	struct fperf_ksm_page **link = &sim->ksm->stable[page->content];

	while (*link != page)
		link = &(*link)->next;
	*link = page->next;
}

/* The newest that has not reached max_page_sharing; ksmd prefers the fullest only every two seconds. */
struct fperf_ksm_page *fperf_ksm_candidate(const struct fperf_sim *sim, uint16_t content)
{
	struct fperf_ksm_page *page = sim->ksm->stable[content];

	while (page && (page->nr_items >= MAX_PAGE_SHARING || sim->folios[page->folio].poisoned))
		page = page->next;
	return page;
}

void fperf_ksm_forget(struct fperf_sim *sim, uint64_t folio)
{
	struct fperf_ksm_page *const page = sim->folios[folio].ksm;

	if (!page)
		return;
	if (page->listed)
		unlist(sim, page);
	while (page->newest)
		fperf_ksm_detach(sim, page->newest);
	sim->folios[folio].ksm = NULL;
	fperf_object_free(&sim->mem, page->at, PAGE_BYTES);
	free(page);
}

void fperf_ksm_moved(struct fperf_sim *sim, uint64_t folio, uint64_t copy)
{
	struct fperf_ksm_page *const page = sim->folios[folio].ksm;

	sim->folios[copy].anon = true;
	sim->folios[copy].ksm = page;
	sim->folios[folio].ksm = NULL;
	page->folio = copy;
	fperf_touch(&sim->door, FPERF_FIELD_KSM_ITEM, FPERF_STORE, page->at);
}

/* ---- rmap ---- */

static bool leads_to(const struct fperf_ksm_item *item, const struct fperf_vma *vma, uint64_t vpn)
{
	const struct fperf_avc *avc = vma->avc_first;

	while (avc && avc->anon_vma != item->anon_vma)
		avc = avc->next;
	return avc && item->vpn == vpn;
}

/* Places of one page in several mms that are forks of each other lead to each other; only once is it another mapping. */
static bool met_before(const struct fperf_rmap_walk *walk, const struct fperf_vma *vma)
{
	const struct fperf_ksm_item *item = walk->sim->folios[walk->folio].ksm->newest;
	bool behind = false;

	for (; walk->forks && item; item = item->older) {
		behind |= item == walk->item;
		if ((!behind || item->owner->id == vma->mm->id) && leads_to(item, vma, walk->item->vpn))
			return true;
	}
	return false;
}

bool fperf_ksm_walk_next(struct fperf_rmap_walk *walk)
{
	struct fperf_sim *const sim = walk->sim;

	for (;;) {
		while (walk->node) {
			struct fperf_vma *const vma = walk->node->owner;

			fperf_touch(&sim->door, FPERF_FIELD_TREE_NODE, FPERF_LOAD, walk->node->at);
			fperf_touch(&sim->door, FPERF_FIELD_VMA, FPERF_LOAD, vma->at);
			walk->node = fperf_itree_next(walk->node, 0, UINT64_MAX);
			if (walk->item->vpn < vma->start || walk->item->vpn >= vma->end ||
			    (vma->mm->id == walk->item->owner->id) == walk->forks)
				continue;
			if (met_before(walk, vma)) {
				sim->door.stats->vma_visits++;
				continue;
			}
			walk->vma = vma;
			walk->vpn = walk->item->vpn;
			return true;
		}
		if (walk->item)
			fperf_lock_word(&sim->door, FPERF_FIELD_RMAP_LOCK, walk->item->anon_vma->root->at);
		walk->item = walk->item ? walk->item->older : sim->folios[walk->folio].ksm->newest;
		if (!walk->item) {
			if (walk->forks)
				return false;
			walk->forks = true;
			continue;
		}
		fperf_touch(&sim->door, FPERF_FIELD_KSM_ITEM, FPERF_LOAD, walk->item->at);
		fperf_lock_word(&sim->door, FPERF_FIELD_RMAP_LOCK, walk->item->anon_vma->root->at);
		walk->node = fperf_itree_first(&walk->item->anon_vma->tree, 0, UINT64_MAX);
	}
}

bool fperf_ksm_leads_to(const struct fperf_ksm_page *page, const struct fperf_vma *vma, uint64_t vpn)
{
	const struct fperf_ksm_item *item = page->newest;

	while (item && !leads_to(item, vma, vpn))
		item = item->older;
	return item;
}

void fperf_ksm_note_mapping(struct fperf_sim *sim, uint64_t folio, const struct fperf_vma *vma, uint64_t vpn)
{
	struct fperf_ksm_page *const page = sim->folios[folio].ksm;

	if (page && !page->astray && !fperf_ksm_leads_to(page, vma, vpn))
		page->astray = true;
}

/* The PTE that maps vpn, NULL if there is no table; *vpn moves on to the next page that may have one. */
static uint64_t *next_pte(struct fperf_sim *sim, const struct fperf_mm *mm, uint64_t *vpn)
{
	const uint64_t at = (*vpn)++;
	const uint64_t *const pmd = fperf_pmd_peek(sim, mm, at);

	if (pmd && fperf_pmd_table(*pmd))
		return fperf_table(&sim->mem, fperf_pmd_table(*pmd)) + fperf_pte_index(sim, at);
	*vpn = fperf_pmd_floor(sim, at) + sim->entries;
	return NULL;
}

/* The KSM page an entry maps, 0 if none. */
static uint64_t ksm_of(const struct fperf_sim *sim, const uint64_t *pte)
{
	if (!pte || (*pte & FPERF_PTE_STATE) != FPERF_PTE_PRESENT)
		return 0;
	return fperf_is_ksm(sim, fperf_pte_pfn(*pte)) ? fperf_pte_pfn(*pte) : 0;
}

static void find_strays_of(struct fperf_sim *sim, const struct fperf_mm *mm)
{
	for (uint32_t i = 0; i < mm->nr_vmas; i++) {
		const struct fperf_vma *const vma = mm->vmas[i];

		for (uint64_t vpn = vma->start; vma->anon_vma && vpn < vma->end;) {
			const uint64_t at = vpn, folio = ksm_of(sim, next_pte(sim, mm, &vpn));

			if (folio)
				fperf_ksm_note_mapping(sim, folio, vma, at);
		}
	}
}

void fperf_ksm_find_strays(struct fperf_sim *sim)
{
	for (uint32_t i = 0; i < sim->cap_processes; i++)
		if (sim->processes[i].mm)
			find_strays_of(sim, sim->processes[i].mm);
}

static bool maps_at(struct fperf_sim *sim, const struct fperf_mm *mm, uint64_t vpn, uint64_t folio)
{
	return ksm_of(sim, next_pte(sim, mm, &vpn)) == folio;
}

/* Does an item that ksmd added later lead there too? */
static bool newer_leads_to(const struct fperf_ksm_item *item, const struct fperf_vma *vma)
{
	const uint64_t vpn = item->vpn;

	do
		item = item->newer;
	while (item && !leads_to(item, vma, vpn));
	return item;
}

/* Every mapping that items lead to, once; *mms is 2 where there are more. */
static uint32_t count_mappings(struct fperf_sim *sim, uint64_t folio, uint32_t *mms)
{
	uint32_t nr = 0, first = 0;

	*mms = 0;
	for (const struct fperf_ksm_item *item = sim->folios[folio].ksm->newest; item; item = item->older) {
		struct fperf_itnode *node = fperf_itree_first(&item->anon_vma->tree, 0, UINT64_MAX);

		for (; node; node = fperf_itree_next(node, 0, UINT64_MAX)) {
			const struct fperf_vma *const vma = node->owner;

			if (item->vpn < vma->start || item->vpn >= vma->end ||
			    !maps_at(sim, vma->mm, item->vpn, folio) || newer_leads_to(item, vma))
				continue;
			nr++;
			if (!*mms || first != vma->mm->id)
				*mms += *mms < 2;
			first = vma->mm->id;
		}
	}
	return nr;
}

uint32_t fperf_ksm_mapcount(struct fperf_sim *sim, uint64_t folio)
{
	uint32_t mms;

	return count_mappings(sim, folio, &mms);
}

uint32_t fperf_ksm_mms(struct fperf_sim *sim, uint64_t folio)
{
	uint32_t mms;

	count_mappings(sim, folio, &mms);
	return mms;
}

/* ---- breaking ---- */

int fperf_ksm_unmerge(struct fperf_sim *sim, struct fperf_vma *vma, uint64_t start, uint64_t end)
{
	for (uint64_t vpn = start; vpn < end && sim->ksm;) {
		const uint64_t at = vpn;
		uint64_t *const pte = next_pte(sim, vma->mm, &vpn);
		int ret;

		if (!pte)
			continue;
		fperf_charge_ptes(sim, FPERF_LOAD, pte, 1);
		if (!ksm_of(sim, pte))
			continue;
		/* Up to v6.1 by a write, from then on by a fault that unshares. */
		ret = sim->prof.version < FPERF_KERNEL(6, 2) ? fperf_wp_copy(sim, vma, at, pte) :
							       fperf_unshare(sim, vma, at, pte);
		if (ret)
			return ret;
	}
	return sim->error;
}
