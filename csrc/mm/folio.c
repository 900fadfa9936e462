/* SPDX-License-Identifier: BSD-3-Clause */
/* Page frames and the life of folios. Everything here is the same in every design: cause FIXED. */
#include "mm/mm.h"

#include <string.h>

static uint64_t bytes_of_table(const struct fperf_sim *sim, size_t entry)
{
	return sim->mem.nr_pfns * entry;
}

int fperf_frames_init(struct fperf_sim *sim)
{
	sim->folios = fperf_reserve(bytes_of_table(sim, sizeof(*sim->folios)));
	sim->page_order = fperf_reserve(bytes_of_table(sim, sizeof(*sim->page_order)));
	if (sim->cfg.contents)
		sim->contents = fperf_reserve(bytes_of_table(sim, sizeof(*sim->contents)));
	if (!sim->folios || !sim->page_order || (sim->cfg.contents && !sim->contents))
		return FPERF_ERR(ADDR_SPACE);
	fperf_prefer_huge(sim->folios, bytes_of_table(sim, sizeof(*sim->folios)));
	sim->next_pfn = 1; /* pfn 0 stands for "no page" */
	return 0;
}

void fperf_frames_destroy(struct fperf_sim *sim)
{
	fperf_unreserve(sim->folios, bytes_of_table(sim, sizeof(*sim->folios)));
	fperf_unreserve(sim->page_order, bytes_of_table(sim, sizeof(*sim->page_order)));
	fperf_unreserve(sim->contents, bytes_of_table(sim, sizeof(*sim->contents)));
	for (unsigned int order = 0; order < 32; order++)
		free(sim->free_frames[order].pfns);
}

static int frames_push(struct fperf_sim *sim, unsigned int order, uint64_t pfn)
{
	struct fperf_frames *const list = &sim->free_frames[order];

	if (list->nr == list->cap) {
		const uint64_t cap = list->cap ? list->cap * 2 : 64;
		uint64_t *const grown = realloc(list->pfns, cap * sizeof(*grown));

		if (!grown)
			return FPERF_ERR(NO_MEMORY);
		list->pfns = grown;
		list->cap = cap;
	}
	list->pfns[list->nr++] = pfn;
	return 0;
}

/* A block of 2^order frames: freed ones first, then untouched memory, then halves of larger freed blocks. */
static int frames_take(struct fperf_sim *sim, unsigned int order, uint64_t *ret)
{
	const uint64_t nr = 1ull << order;
	uint64_t start;

	if (sim->free_frames[order].nr) {
		*ret = sim->free_frames[order].pfns[--sim->free_frames[order].nr];
		return 0;
	}
	start = (sim->next_pfn + nr - 1) & ~(nr - 1);
	if (start + nr <= sim->mem.nr_pfns) {
		/* Alignment leaves a gap; hand it to the lists in the blocks it is made of. */
		while (sim->next_pfn < start) {
			const unsigned int gap = (unsigned int)__builtin_ctzll(sim->next_pfn);
			const int ret_push = frames_push(sim, gap, sim->next_pfn);

			if (ret_push)
				return ret_push;
			sim->next_pfn += 1ull << gap;
		}
		sim->next_pfn = start + nr;
		*ret = start;
		return 0;
	}
	for (unsigned int big = order + 1; big < 32; big++) {
		uint64_t block;

		if (!sim->free_frames[big].nr)
			continue;
		block = sim->free_frames[big].pfns[--sim->free_frames[big].nr];
		while (big-- > order) {
			const int ret_push = frames_push(sim, big, block + (1ull << big));

			if (ret_push)
				return ret_push;
		}
		*ret = block;
		return 0;
	}
	return FPERF_ERR(PFN_SPACE);
}

static struct fperf_rmap_op *log_op(struct fperf_sim *sim, enum fperf_rmap_hook hook, uint64_t folio, uint32_t order)
{
	struct fperf_rmap_op *op;

	if (!sim->logging)
		return NULL;
	op = fperf_log_append(sim, hook, folio);
	if (op)
		op->order = order;
	return op;
}

/* Write the struct pages of a fresh folio and let the scheme set its counters: 1 reference, no mapping. */
void fperf_folio_prepare(struct fperf_sim *sim, uint64_t folio, uint32_t order)
{
	struct fperf_door *const door = &sim->door;
	struct fperf_page *const head = fperf_head(sim, folio);
	const uint32_t nr = 1u << order;
	const enum fperf_cause before = fperf_because(door, FPERF_CAUSE_FIXED);

	head->flags = order ? 1ull << FPERF_PG_HEAD : 0;
	head->compound_head = head->word2 = head->mapping = head->index = head->private_word = head->memcg = 0;
	head->mapcount = -1;
	head->refcount = 1;
	fperf_touch(door, FPERF_FIELD_FLAGS, FPERF_STORE, fperf_arena_offset(&sim->mem, head));
	for (uint32_t i = 1; i < nr; i++) {
		head[i] =
			(struct fperf_page){ .compound_head = fperf_arena_offset(&sim->mem, head) | 1, .mapcount = -1 };
	}
	if (nr > 1)
		fperf_touch_run(door, FPERF_FIELD_COMPOUND_HEAD, FPERF_STORE, fperf_arena_offset(&sim->mem, head + 1),
				nr - 1, sizeof(*head));
	sim->scheme->folio_init(sim, folio, order);
	fperf_because(door, before);
}

int fperf_folio_alloc(struct fperf_sim *sim, uint32_t order, uint64_t *ret)
{
	uint64_t folio;
	const int err = frames_take(sim, order, &folio);

	if (err)
		return err;
	memset(&sim->page_order[folio], (int)order, 1ull << order);
	sim->folios[folio] = (struct fperf_folio){ .live = true };
	fperf_content_set(sim, folio, 1ull << order, FPERF_CONTENT_ZERO);
	sim->door.stats->folios_allocated++;
	sim->totals.folios_live++;
	sim->totals.pages_live += 1ull << order;
	log_op(sim, FPERF_HOOK_FOLIO_INIT, folio, order);
	fperf_folio_prepare(sim, folio, order);
	*ret = folio;
	return 0;
}

/* What freeing leaves behind in the struct pages: every tail is checked and cleared. */
void fperf_folio_release(struct fperf_sim *sim, uint64_t folio, uint32_t order)
{
	struct fperf_door *const door = &sim->door;
	struct fperf_page *const head = fperf_head(sim, folio);
	const enum fperf_cause before = fperf_because(door, FPERF_CAUSE_FIXED);

	sim->scheme->folio_free(sim, folio, order);
	for (uint32_t i = 0; i < 1u << order; i++) {
		head[i].flags = 0;
		head[i].compound_head = 0;
	}
	fperf_touch_run(door, FPERF_FIELD_FLAGS, FPERF_STORE, fperf_arena_offset(&sim->mem, head), 1u << order,
			sizeof(*head));
	fperf_because(door, before);
}

static void leave_split_queue(struct fperf_sim *sim, uint64_t folio)
{
	const enum fperf_cause before = fperf_because(&sim->door, FPERF_CAUSE_FIXED);

	if (sim->folios[folio].deferred)
		fperf_touch(&sim->door, FPERF_FIELD_SPLIT_QUEUE_LOCK, FPERF_RMW, sim->split_queue_lock_at);
	sim->folios[folio].deferred = false;
	fperf_because(&sim->door, before);
}

static void folio_free(struct fperf_sim *sim, uint64_t folio)
{
	struct fperf_folio *const f = &sim->folios[folio];
	const uint32_t order = fperf_folio_order(sim, folio);

	FPERF_BUG_ON(f->true_pte || f->true_pmd);
	leave_split_queue(sim, folio);
	fperf_ksm_forget(sim, folio);
	log_op(sim, FPERF_HOOK_FOLIO_FREE, folio, order);
	fperf_folio_release(sim, folio, order);
	if (f->anon)
		fperf_folio_set_anon_vma(sim, folio, NULL);
	if (f->leaked) {
		f->leaked = false;
		sim->totals.leaked_pages -= 1ull << order;
	}
	f->live = false;
	sim->door.stats->folios_freed++;
	sim->totals.folios_live--;
	sim->totals.pages_live -= 1ull << order;
	if (frames_push(sim, order, folio) && !sim->error)
		sim->error = FPERF_ERR(NO_MEMORY);
}

void fperf_folio_maybe_free(struct fperf_sim *sim, uint64_t folio)
{
	if (!fperf_head(sim, folio)->refcount)
		folio_free(sim, folio);
}

int32_t fperf_folio_ref(struct fperf_sim *sim, uint64_t folio, int32_t delta)
{
	if (sim->logging) {
		struct fperf_rmap_op *const op = fperf_log_append(sim, FPERF_HOOK_REF_ADD, folio);

		if (op)
			op->delta = delta;
	}
	return fperf_add32(&sim->door, FPERF_FIELD_REFCOUNT, &fperf_head(sim, folio)->refcount, delta);
}

void fperf_folio_lookup_get(struct fperf_sim *sim, uint64_t folio)
{
	const enum fperf_cause before = fperf_because(&sim->door, FPERF_CAUSE_FIXED);

	fperf_folio_ref(sim, folio, 1);
	sim->door.lookup_level = sim->door.last_level;
	sim->door.lookup_dependence = sim->door.last_dependence;
	fperf_because(&sim->door, before);
}

void fperf_folio_lookup_put(struct fperf_sim *sim, uint64_t folio)
{
	const enum fperf_cause before = fperf_because(&sim->door, FPERF_CAUSE_FIXED);

	fperf_folio_ref(sim, folio, -1);
	fperf_because(&sim->door, before);
	fperf_folio_maybe_free(sim, folio);
}

int32_t fperf_folio_load_refs(struct fperf_sim *sim, uint64_t folio)
{
	return (int32_t)fperf_load32(&sim->door, FPERF_FIELD_REFCOUNT, &fperf_head(sim, folio)->refcount);
}

void fperf_folio_set_anon_vma(struct fperf_sim *sim, uint64_t folio, struct fperf_anon_vma *anon_vma)
{
	struct fperf_folio *const f = &sim->folios[folio];
	struct fperf_anon_vma *const before = f->anon ? f->anon_vma : NULL;

	if (anon_vma)
		anon_vma->refs++;
	f->anon = anon_vma != NULL;
	f->anon_vma = anon_vma;
	if (before) {
		before->nr_leaked -= f->leaked;
		fperf_anon_vma_put(sim, before);
	}
	if (anon_vma)
		anon_vma->nr_leaked += f->leaked;
}

/* Some frames of a folio that is gone become a folio of their own: one reference, the same anon_vma or object. */
static void piece_of(struct fperf_sim *sim, const struct fperf_folio *was, uint64_t folio, uint64_t first,
		     uint32_t order)
{
	const uint64_t pfn = folio + first;

	memset(&sim->page_order[pfn], (int)order, 1ull << order);
	sim->folios[pfn] = (struct fperf_folio){
		.live = true, .index = was->index + first, .lazyfree = was->lazyfree, .dirty = was->dirty
	};
	if (was->anon)
		fperf_folio_set_anon_vma(sim, pfn, was->anon_vma);
	else
		sim->folios[pfn].object = was->object;
	log_op(sim, FPERF_HOOK_FOLIO_INIT, pfn, order);
	fperf_folio_prepare(sim, pfn, order);
	sim->totals.folios_live++;
}

/* A frozen folio ends; its pieces are the caller's to make. */
static struct fperf_folio take_apart(struct fperf_sim *sim, uint64_t folio)
{
	struct fperf_folio const was = sim->folios[folio];
	const uint32_t order = fperf_folio_order(sim, folio);

	FPERF_BUG_ON(fperf_head(sim, folio)->refcount || fperf_truth_mappings(sim, folio));
	leave_split_queue(sim, folio);
	log_op(sim, FPERF_HOOK_FOLIO_FREE, folio, order);
	fperf_folio_release(sim, folio, order);
	if (was.anon)
		fperf_folio_set_anon_vma(sim, folio, NULL);
	sim->totals.folios_live--;
	return was;
}

void fperf_folio_reshape(struct fperf_sim *sim, uint64_t folio, uint32_t order)
{
	const uint64_t nr = 1ull << fperf_folio_order(sim, folio);
	const struct fperf_folio was = take_apart(sim, folio);

	for (uint64_t i = 0; i < nr; i += 1ull << order)
		piece_of(sim, &was, folio, i, order);
}

/* Largest block of a folio of nr pages that begins at page i and does not hold `page`; 0 if only the page itself fits. */
static uint32_t half_beside(uint64_t i, uint64_t nr, uint64_t page)
{
	uint32_t order = 0;

	while (!(i & ((2ull << order) - 1)) && i + (2ull << order) <= nr && (page < i || page >= i + (2ull << order)))
		order++;
	return order;
}

bool fperf_folio_split_file(struct fperf_sim *sim, uint64_t folio, uint32_t page)
{
	const bool halves = sim->prof.version >= FPERF_KERNEL(6, 15);
	const uint64_t nr = 1ull << fperf_folio_order(sim, folio);
	struct fperf_folio was;
	enum fperf_cause before;

	FPERF_BUG_ON(sim->folios[folio].anon);
	/* The freeze: with any reference beyond the cache's own, a stale count's included, the split fails. */
	if (fperf_head(sim, folio)->refcount != (int32_t)nr)
		return false;
	before = fperf_because(&sim->door, FPERF_CAUSE_FIXED);
	fperf_folio_ref(sim, folio, -(int32_t)nr);
	was = take_apart(sim, folio);
	for (uint64_t i = 0; i < nr;) {
		const uint32_t order = halves ? half_beside(i, nr, page) : 0;

		piece_of(sim, &was, folio, i, order);
		if (order)
			fperf_folio_ref(sim, folio + i, (1 << order) - 1);
		i += 1ull << order;
	}
	fperf_because(&sim->door, before);
	return true;
}
