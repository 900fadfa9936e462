/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the designs have in common that count, exactly, in how many places a folio is mapped: in VMAs, or in pairs of VMA and
 * page table. Each place owns one reference, however many of its entries map the folio; a presence test tells whether a
 * place is counted already. schemes.md 3.5, 3.6.
 */
#ifndef FPERF_PLACE_COUNTS_H
#define FPERF_PLACE_COUNTS_H

#include "scheme/scheme.h"

#if defined(FPERF_FN)

enum fperf_place { FPERF_PLACE_VMA, FPERF_PLACE_TABLE };

/* The count stands in the head's old _mapcount word, from 0; small folios count the same way. */
static inline int32_t *fperf_place_word(struct fperf_sim *sim, uint64_t folio)
{
	return &fperf_head(sim, folio)->mapcount;
}

static inline int32_t fperf_place_count(struct fperf_sim *sim, uint64_t folio)
{
	return (int32_t)fperf_load32(&sim->door, FPERF_FIELD_MAPCOUNT, fperf_place_word(sim, folio));
}

static inline bool fperf_place_present(struct fperf_sim *sim, enum fperf_place place, uint64_t folio,
				       struct fperf_vma *vma, uint32_t page, uint32_t skip, uint32_t nr_skip,
				       bool mapping)
{
	return place == FPERF_PLACE_VMA ?
		       fperf_present(sim, folio, vma, skip, nr_skip, mapping) :
		       fperf_present_in_table(sim, folio, vma, page, skip, nr_skip, mapping);
}

/* One place more; the reference comes first. */
static inline bool fperf_place_up(struct fperf_sim *sim, uint64_t folio, bool donated)
{
	int32_t *const refcount = &fperf_head(sim, folio)->refcount;

	fperf_note_mapping_refs(sim, folio, 1);
	if (donated)
		fperf_adopt(&sim->door, refcount);
	else
		fperf_add32(&sim->door, FPERF_FIELD_REFCOUNT, refcount, 1);
	fperf_add32(&sim->door, FPERF_FIELD_MAPCOUNT, fperf_place_word(sim, folio), 1);
	return donated;
}

static inline void fperf_place_down(struct fperf_sim *sim, uint64_t folio)
{
	fperf_add32(&sim->door, FPERF_FIELD_MAPCOUNT, fperf_place_word(sim, folio), -1);
	fperf_note_mapping_refs(sim, folio, -1);
	fperf_add32(&sim->door, FPERF_FIELD_REFCOUNT, &fperf_head(sim, folio)->refcount, -1);
}

static inline bool fperf_place_map(struct fperf_sim *sim, enum fperf_place place, const struct fperf_run *run)
{
	if (run->flags & FPERF_RUN_NEW) {
		/* Nobody else sees the folio yet; the allocation's reference is this place's. */
		fperf_note_mapping_refs(sim, run->folio, 1);
		fperf_store32(&sim->door, FPERF_FIELD_MAPCOUNT, fperf_place_word(sim, run->folio), 1);
		return false;
	}
	return !fperf_place_present(sim, place, run->folio, run->vma, run->first, run->first, run->nr, true) &&
	       fperf_place_up(sim, run->folio, run->flags & FPERF_RUN_DONATED);
}

static inline void fperf_place_unmap(struct fperf_sim *sim, enum fperf_place place, const struct fperf_run *run)
{
	if (!fperf_place_present(sim, place, run->folio, run->vma, run->first, run->first, run->nr, false))
		fperf_place_down(sim, run->folio);
}

/* Do both VMAs at a border map pages of the folio, in one place before it was drawn? */
static inline bool fperf_place_divided(struct fperf_sim *sim, enum fperf_place place, const struct fperf_query *left,
				       struct fperf_vma *right)
{
	return fperf_place_present(sim, place, left->folio, left->vma, left->page, 0, 0, false) &&
	       fperf_place_present(sim, place, left->folio, right, left->page, 0, 0, false);
}

static inline void fperf_place_move(struct fperf_sim *sim, enum fperf_place place, const struct fperf_query *from,
				    const struct fperf_run *moved)
{
	const bool left = fperf_place_present(sim, place, from->folio, from->vma, moved->first, 0, 0, false);
	const bool had = fperf_place_present(sim, place, from->folio, moved->vma, moved->first, moved->first,
					     moved->nr, true);

	if (left && !had)
		fperf_place_up(sim, from->folio, false);
	else if (!left && had)
		fperf_place_down(sim, from->folio);
}

/* The hooks of a scheme file that counts places of one kind. */
#define FPERF_PLACE_HOOKS(place)								\
	static void folio_init(struct fperf_sim *sim, uint64_t folio, uint32_t order)		\
	{											\
		(void)order;									\
		fperf_store32(&sim->door, FPERF_FIELD_MAPCOUNT, fperf_place_word(sim, folio), 0); \
	}											\
	static void folio_free(struct fperf_sim *sim, uint64_t folio, uint32_t order)		\
	{											\
		(void)order;									\
		fperf_place_count(sim, folio);							\
	}											\
	static bool map_run(struct fperf_sim *sim, const struct fperf_run *run)			\
	{											\
		return fperf_place_map(sim, place, run);					\
	}											\
	static void unmap_run(struct fperf_sim *sim, const struct fperf_run *run)		\
	{											\
		fperf_place_unmap(sim, place, run);						\
	}											\
	/* The same place maps the same folio before and after. */				\
	static void split_pmd(struct fperf_sim *sim, const struct fperf_run *run)		\
	{											\
		(void)sim, (void)run;								\
	}											\
	static void vma_split(struct fperf_sim *sim, const struct fperf_query *left, struct fperf_vma *right) \
	{											\
		if (fperf_place_divided(sim, place, left, right))				\
			fperf_place_up(sim, left->folio, false);				\
	}											\
	static void vma_merge(struct fperf_sim *sim, const struct fperf_query *left, struct fperf_vma *right) \
	{											\
		if (fperf_place_divided(sim, place, left, right))				\
			fperf_place_down(sim, left->folio);					\
	}											\
	static void vma_move(struct fperf_sim *sim, const struct fperf_query *from, const struct fperf_run *moved) \
	{											\
		fperf_place_move(sim, place, from, moved);					\
	}

#define FPERF_PLACE_OPS										\
	.exclusive_is_certain = true, .counts_vmas = true, .folio_init = folio_init, .folio_free = folio_free, \
	.map_run = map_run, .fork_run = map_run, .map_pmd = map_run, .unmap_run = unmap_run, .unmap_pmd = unmap_run, \
	.split_pmd = split_pmd, .vma_split = vma_split, .vma_merge = vma_merge, .vma_move = vma_move, \
	.keeps_promises = keeps_promises, .answer = answer

#endif

#endif
