/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What scheme files share: the list of designs, references that mappings own, and the one small-folio count that every
 * design but the VMA-counting ones uses.
 *
 * To add a design: write scheme_NAME.c with FPERF_SCHEME(NAME), and add X(NAME) here.
 */
#ifndef FPERF_SCHEME_H
#define FPERF_SCHEME_H

#include "mm/rmap_hooks.h"

#define FPERF_SCHEMES(X)	\
	X(page_mapcount)	\
	X(zero_one_two_many)	\
	X(subpages_mapcount_locked) \
	X(vma_pt_tuples)	\
	X(vma_count)		\
	X(nr_pages_mapped)	\
	X(rmap_id)		\
	X(large_mapcount)	\
	X(mm_owner_20bit)	\
	X(zero_one_two_stopped)	\
	X(mm_owner)		\
	X(no_page_mapcount)	\
	X(total_mapped_pages)

#if defined(FPERF_FN)

#define FPERF_SCHEME_SYMBOL(name) FPERF_FN(fperf_scheme_##name)
#define FPERF_SCHEME(name) FPERF_SCHEME_SYMBOL(name)
#define X(name) extern const struct fperf_scheme_ops FPERF_SCHEME(name);
FPERF_SCHEMES(X)
#undef X

static inline struct fperf_page *fperf_tail1(const struct fperf_sim *sim, uint64_t folio)
{
	return fperf_pfn_page(&sim->mem, folio + 1);
}

/*
 * nr references for mappings of a run; returns whether a donated one was taken over. References come before counts
 * (schemes.md 1.3 rule 7). A fresh folio's allocation reference is its first mapping's.
 */
static inline bool fperf_take_refs(struct fperf_sim *sim, const struct fperf_run *run, uint32_t nr)
{
	struct fperf_door *const door = &sim->door;
	int32_t *const refcount = &fperf_head(sim, run->folio)->refcount;
	const bool donated = run->flags & FPERF_RUN_DONATED;
	uint32_t more = nr;

	fperf_note_mapping_refs(sim, run->folio, (int32_t)nr);
	if (run->flags & FPERF_RUN_NEW || donated)
		more--;
	if (run->refs_batched || run->flags & FPERF_RUN_NEW) {
		if (more)
			fperf_add32(door, FPERF_FIELD_REFCOUNT, refcount, (int32_t)more);
		else if (donated)
			fperf_adopt(door, refcount);
	} else {
		if (donated)
			fperf_adopt(door, refcount);
		if (more)
			fperf_add32_times(door, FPERF_FIELD_REFCOUNT, refcount, 1, more);
	}
	return donated;
}

static inline void fperf_drop_refs(struct fperf_sim *sim, const struct fperf_run *run, uint32_t nr)
{
	int32_t *const refcount = &fperf_head(sim, run->folio)->refcount;

	fperf_note_mapping_refs(sim, run->folio, -(int32_t)nr);
	if (run->refs_batched)
		fperf_add32(&sim->door, FPERF_FIELD_REFCOUNT, refcount, -(int32_t)nr);
	else
		fperf_add32_times(&sim->door, FPERF_FIELD_REFCOUNT, refcount, -1, nr);
}

/* A PMD mapping of an anonymous folio becomes nr mappings: its reference becomes the last PTE's. */
static inline void fperf_split_refs(struct fperf_sim *sim, const struct fperf_run *run)
{
	fperf_note_mapping_refs(sim, run->folio, (int32_t)run->nr - 1);
	fperf_add32(&sim->door, FPERF_FIELD_REFCOUNT, &fperf_head(sim, run->folio)->refcount, (int32_t)run->nr - 1);
}

/*
 * A folio of one page: one count, one reference per mapping, in every design that counts mappings. Kept out of line, so that
 * small folios take equally long in all of them, whatever registers the rest of a hook wants saved.
 */
#define FPERF_SMALL static __attribute__((noinline, unused))

FPERF_SMALL bool fperf_small_map(struct fperf_sim *sim, const struct fperf_run *run)
{
	int32_t *const mapcount = &fperf_head(sim, run->folio)->mapcount;
	const bool taken = fperf_take_refs(sim, run, 1);

	if (run->flags & FPERF_RUN_NEW)
		fperf_store32(&sim->door, FPERF_FIELD_MAPCOUNT, mapcount, 0);
	else
		fperf_add32(&sim->door, FPERF_FIELD_MAPCOUNT, mapcount, 1);
	return taken;
}

FPERF_SMALL void fperf_small_unmap(struct fperf_sim *sim, const struct fperf_run *run)
{
	fperf_add32(&sim->door, FPERF_FIELD_MAPCOUNT, &fperf_head(sim, run->folio)->mapcount, -1);
	fperf_drop_refs(sim, run, 1);
}

/* Several of them, mapped before and after. */
static inline void fperf_small_fork_each(struct fperf_sim *sim, const struct fperf_run *run)
{
	struct fperf_page *const first = fperf_head(sim, run->folio);

	for (uint32_t i = 0; i < run->nr; i++)
		fperf_note_mapping_refs(sim, run->folio + i, 1);
	fperf_each_add32(&sim->door, FPERF_FIELD_REFCOUNT, &first->refcount, 1, run->nr);
	fperf_each_add32(&sim->door, FPERF_FIELD_MAPCOUNT, &first->mapcount, 1, run->nr);
}

static inline void fperf_small_unmap_each(struct fperf_sim *sim, const struct fperf_run *run)
{
	struct fperf_page *const first = fperf_head(sim, run->folio);

	fperf_each_add32(&sim->door, FPERF_FIELD_MAPCOUNT, &first->mapcount, -1, run->nr);
	for (uint32_t i = 0; i < run->nr; i++)
		fperf_note_mapping_refs(sim, run->folio + i, -1);
	fperf_each_add32(&sim->door, FPERF_FIELD_REFCOUNT, &first->refcount, -1, run->nr);
}

FPERF_SMALL enum fperf_answer fperf_small_answer(struct fperf_sim *sim, enum fperf_question question,
						 const struct fperf_query *query, int64_t *value)
{
	*value = (int32_t)fperf_load32(&sim->door, FPERF_FIELD_MAPCOUNT, &fperf_head(sim, query->folio)->mapcount) + 1;
	if (question == FPERF_ASK_MAPPED)
		return *value > 0;
	if (question == FPERF_ASK_SHARED)
		return *value > 1;
	return FPERF_COUNT;
}

/* Put an anonymous folio on the deferred split queue: one lock, and the list in its second tail. */
static inline void fperf_queue_split(struct fperf_sim *sim, uint64_t folio, uint32_t times)
{
	struct fperf_door *const door = &sim->door;
	const uint64_t list = fperf_arena_offset(&sim->mem, fperf_pfn_page(&sim->mem, folio + 2)) + 24;

	for (uint32_t i = 0; i < times; i++) {
		fperf_touch(door, FPERF_FIELD_SPLIT_QUEUE_LOCK, FPERF_RMW, sim->split_queue_lock_at);
		if (!sim->folios[folio].deferred)
			fperf_touch(door, FPERF_FIELD_DEFERRED_LIST, FPERF_STORE, list);
		sim->folios[folio].deferred = true;
	}
}

/* Designs that count mappings do not notice VMA borders. */
static inline void fperf_no_border(struct fperf_sim *sim, const struct fperf_query *left, struct fperf_vma *right)
{
	(void)sim, (void)left, (void)right;
}

static inline void fperf_no_move(struct fperf_sim *sim, const struct fperf_query *from, const struct fperf_run *moved)
{
	(void)sim, (void)from, (void)moved;
}

#endif

#endif
