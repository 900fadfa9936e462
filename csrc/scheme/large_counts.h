/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the designs from v6.2 on have in common: PMD mappings are counted apart (E, "entire"), pages with a PTE mapping are
 * summed (N), and there may be a total. A design says which of these it keeps, and where; the compiler leaves out the rest.
 */
#ifndef FPERF_LARGE_COUNTS_H
#define FPERF_LARGE_COUNTS_H

#include "scheme/owner_slots.h"

#if defined(FPERF_FN)

enum fperf_total {
	FPERF_TOTAL_NONE,
	FPERF_TOTAL_ATOMIC, /* _large_mapcount, an atomic add */
	FPERF_TOTAL_OWNERS, /* the same under the lock of the owner slots */
};

struct fperf_counts {
	enum fperf_total total;
	bool pages;  /* a count in each page, and N */
	bool nr_mapped_per_page; /* N changes page by page even inside one call */
	struct fperf_owner_layout owner; /* .total serves both kinds of total */
	unsigned int entire; /* s32 from -1: E; beyond the first tail, a folio of two pages has none */
	unsigned int nr_mapped; /* s32 from 0: N, + FPERF_ENTIRELY_MAPPED if E */
};

/* Above any possible number of pages: 16 GiB of 4 KiB pages are 0x400000. */
static const int32_t FPERF_ENTIRELY_MAPPED = 0x800000;

static inline int32_t *fperf_in_tail1(struct fperf_sim *sim, uint64_t folio, unsigned int offset)
{
	return fperf_page_s32(fperf_tail1(sim, folio), offset);
}

static inline int32_t *fperf_run_mapcount(struct fperf_sim *sim, const struct fperf_run *run)
{
	return &fperf_pfn_page(&sim->mem, run->folio + run->first)->mapcount;
}

/* No PMD maps two pages. */
static inline bool fperf_has_entire(const struct fperf_counts *c, uint32_t order)
{
	return order > 1 || c->entire < sizeof(struct fperf_page);
}

static inline void fperf_counts_init(struct fperf_sim *sim, const struct fperf_counts *c, uint64_t folio,
				     uint32_t order)
{
	struct fperf_door *const door = &sim->door;

	if (!order)
		return;
	if (c->total == FPERF_TOTAL_ATOMIC)
		fperf_store32(door, FPERF_FIELD_LARGE_MAPCOUNT, fperf_in_tail1(sim, folio, c->owner.total),
			      (uint32_t)-1);
	else if (c->total == FPERF_TOTAL_OWNERS)
		fperf_owner_init(sim, &c->owner, folio);
	if (fperf_has_entire(c, order))
		fperf_store32(door, FPERF_FIELD_ENTIRE_MAPCOUNT, fperf_in_tail1(sim, folio, c->entire), (uint32_t)-1);
	if (c->pages)
		fperf_store32(door, FPERF_FIELD_NR_PAGES_MAPPED, fperf_in_tail1(sim, folio, c->nr_mapped), 0);
}

/* Freeing looks whether somebody still maps the folio. */
static inline void fperf_counts_free(struct fperf_sim *sim, const struct fperf_counts *c, uint64_t folio,
				     uint32_t order)
{
	if (!order)
		return;
	if (c->total == FPERF_TOTAL_NONE)
		fperf_load32(&sim->door, FPERF_FIELD_ENTIRE_MAPCOUNT, fperf_in_tail1(sim, folio, c->entire));
	else
		fperf_load32(&sim->door, FPERF_FIELD_LARGE_MAPCOUNT, fperf_in_tail1(sim, folio, c->owner.total));
}

static inline void fperf_total_add(struct fperf_sim *sim, const struct fperf_counts *c, const struct fperf_run *run,
				   uint32_t nr)
{
	const uint32_t calls = run->batched ? 1 : nr;

	if (c->total == FPERF_TOTAL_ATOMIC)
		fperf_add32_times(&sim->door, FPERF_FIELD_LARGE_MAPCOUNT,
				  fperf_in_tail1(sim, run->folio, c->owner.total), (int32_t)(nr / calls), calls);
	else if (c->total == FPERF_TOTAL_OWNERS)
		for (uint32_t i = 0; i < calls; i++)
			fperf_owner_add(sim, &c->owner, run->folio, run->mm_id, nr / calls);
}

/* Returns how many mappings are left; 0 where nobody counts them. */
static inline int64_t fperf_total_sub(struct fperf_sim *sim, const struct fperf_counts *c, const struct fperf_run *run,
				      uint32_t nr)
{
	const uint32_t calls = run->batched ? 1 : nr;
	int64_t left = 0;

	if (c->total == FPERF_TOTAL_ATOMIC)
		left = fperf_add32_times(&sim->door, FPERF_FIELD_LARGE_MAPCOUNT,
					 fperf_in_tail1(sim, run->folio, c->owner.total), -(int32_t)(nr / calls),
					 calls) +
		       1;
	else if (c->total == FPERF_TOTAL_OWNERS)
		for (uint32_t i = 0; i < calls; i++)
			left = fperf_owner_sub(sim, &c->owner, run->folio, run->mm_id, nr / calls);
	return left;
}

/* N by the pages newly mapped or newly unmapped (delta 1, -1): one add per call, or one per page. */
static inline int32_t fperf_nr_mapped_add(struct fperf_sim *sim, const struct fperf_counts *c,
					  const struct fperf_run *run, uint32_t nr, int32_t delta)
{
	int32_t *const nr_mapped = fperf_in_tail1(sim, run->folio, c->nr_mapped);

	if (run->batched && !c->nr_mapped_per_page)
		return fperf_add32(&sim->door, FPERF_FIELD_NR_PAGES_MAPPED, nr_mapped, delta * (int32_t)nr);
	return fperf_add32_times(&sim->door, FPERF_FIELD_NR_PAGES_MAPPED, nr_mapped, delta, nr);
}

/* Count the PTE mappings of a run: each page, the pages newly mapped, the total. */
static inline void fperf_count_ptes(struct fperf_sim *sim, const struct fperf_counts *c, const struct fperf_run *run)
{
	if (c->pages) {
		const uint32_t first =
			fperf_run_inc(&sim->door, FPERF_FIELD_MAPCOUNT, fperf_run_mapcount(sim, run), run->nr);

		if (first)
			fperf_nr_mapped_add(sim, c, run, first, 1);
	}
	fperf_total_add(sim, c, run, run->nr);
}

static inline bool fperf_counts_map_run(struct fperf_sim *sim, const struct fperf_counts *c,
					const struct fperf_run *run)
{
	struct fperf_door *const door = &sim->door;
	bool taken;

	if (!run->order)
		return fperf_small_map(sim, run);
	taken = fperf_take_refs(sim, run, run->nr);
	if (!(run->flags & FPERF_RUN_NEW)) {
		fperf_count_ptes(sim, c, run);
		return taken;
	}
	if (c->pages) {
		fperf_run_store32(door, FPERF_FIELD_MAPCOUNT, fperf_run_mapcount(sim, run), 0, run->nr);
		fperf_store32(door, FPERF_FIELD_NR_PAGES_MAPPED, fperf_in_tail1(sim, run->folio, c->nr_mapped),
			      run->nr);
	}
	if (c->total == FPERF_TOTAL_ATOMIC)
		fperf_store32(door, FPERF_FIELD_LARGE_MAPCOUNT, fperf_in_tail1(sim, run->folio, c->owner.total),
			      run->nr - 1);
	else if (c->total == FPERF_TOTAL_OWNERS)
		fperf_owner_new(sim, &c->owner, run->folio, run->mm_id, run->nr);
	return taken;
}

static inline bool fperf_counts_map_pmd(struct fperf_sim *sim, const struct fperf_counts *c,
					const struct fperf_run *run)
{
	struct fperf_door *const door = &sim->door;
	int32_t *const entire = fperf_in_tail1(sim, run->folio, c->entire);
	const bool taken = fperf_take_refs(sim, run, 1);

	if (run->flags & FPERF_RUN_NEW) {
		fperf_store32(door, FPERF_FIELD_ENTIRE_MAPCOUNT, entire, 0);
		if (c->total == FPERF_TOTAL_ATOMIC)
			fperf_store32(door, FPERF_FIELD_LARGE_MAPCOUNT, fperf_in_tail1(sim, run->folio, c->owner.total),
				      0);
		else if (c->total == FPERF_TOTAL_OWNERS)
			fperf_owner_new(sim, &c->owner, run->folio, run->mm_id, 1);
		if (c->pages)
			fperf_store32(door, FPERF_FIELD_NR_PAGES_MAPPED, fperf_in_tail1(sim, run->folio, c->nr_mapped),
				      (uint32_t)FPERF_ENTIRELY_MAPPED);
		return taken;
	}
	if (!fperf_add32(door, FPERF_FIELD_ENTIRE_MAPCOUNT, entire, 1) && c->pages)
		fperf_add32(door, FPERF_FIELD_NR_PAGES_MAPPED, fperf_in_tail1(sim, run->folio, c->nr_mapped),
			    FPERF_ENTIRELY_MAPPED);
	fperf_total_add(sim, c, run, 1);
	return taken;
}

/* Pages lost their last mapping while others keep theirs: worth splitting under memory pressure. Once per folio. */
static inline void fperf_note_partially_mapped(struct fperf_sim *sim, const struct fperf_run *run)
{
	if (run->flags & FPERF_RUN_ANON && run->order >= 2 && !sim->folios[run->folio].deferred)
		fperf_queue_split(sim, run->folio, 1);
}

static inline bool fperf_pmd_mapped(struct fperf_sim *sim, const struct fperf_counts *c, uint64_t folio)
{
	return (int32_t)fperf_load32(&sim->door, FPERF_FIELD_ENTIRE_MAPCOUNT, fperf_in_tail1(sim, folio, c->entire)) >=
	       0;
}

/* Without per-page counts a hole shows only as fewer mappings than pages. */
static inline void fperf_note_fewer_than_pages(struct fperf_sim *sim, const struct fperf_counts *c,
					       const struct fperf_run *run, int64_t least, int64_t most)
{
	if (run->flags & FPERF_RUN_ANON && most > 0 && least < 1ll << run->order &&
	    !fperf_pmd_mapped(sim, c, run->folio))
		fperf_note_partially_mapped(sim, run);
}

/* Page by page, every page but the last to go already leaves a partially mapped folio behind. */
static inline void fperf_note_unmapped_pages(struct fperf_sim *sim, const struct fperf_counts *c,
					     const struct fperf_run *run, uint32_t last)
{
	int32_t left = fperf_nr_mapped_add(sim, c, run, last, -1);

	/* Under a PMD mapping no page is unmapped. */
	if (left >= FPERF_ENTIRELY_MAPPED)
		return;
	/* v6.2 locks before it looks, the last page of all included. */
	if (c->nr_mapped_per_page && sim->prof.deferred_split_relock) {
		if (run->flags & FPERF_RUN_ANON && run->order >= 2)
			fperf_queue_split(sim, run->folio, run->batched ? 1 : last);
		return;
	}
	if (!run->batched)
		left += (int32_t)last - 1;
	if (left)
		fperf_note_partially_mapped(sim, run);
}

static inline void fperf_counts_unmap_run(struct fperf_sim *sim, const struct fperf_counts *c,
					  const struct fperf_run *run)
{
	int64_t left;

	if (!run->order) {
		fperf_small_unmap(sim, run);
		return;
	}
	left = fperf_total_sub(sim, c, run, run->nr);
	if (c->pages) {
		const uint32_t last =
			fperf_run_dec(&sim->door, FPERF_FIELD_MAPCOUNT, fperf_run_mapcount(sim, run), run->nr);

		if (last)
			fperf_note_unmapped_pages(sim, c, run, last);
	} else {
		/* One call sees the end of it; page by page, each call sees one mapping more than the next. */
		fperf_note_fewer_than_pages(sim, c, run, left, run->batched ? left : left + run->nr - 1);
	}
	fperf_drop_refs(sim, run, run->nr);
}

/* The PMD's share of the counts; its reference is the caller's business. */
static inline void fperf_uncount_pmd(struct fperf_sim *sim, const struct fperf_counts *c, const struct fperf_run *run)
{
	struct fperf_door *const door = &sim->door;
	const int64_t total = fperf_total_sub(sim, c, run, 1);

	if (fperf_add32(door, FPERF_FIELD_ENTIRE_MAPCOUNT, fperf_in_tail1(sim, run->folio, c->entire), -1) >= 0)
		return;
	if (c->pages) {
		const int32_t left = fperf_add32(door, FPERF_FIELD_NR_PAGES_MAPPED,
						 fperf_in_tail1(sim, run->folio, c->nr_mapped), -FPERF_ENTIRELY_MAPPED);

		if (left && left < (int32_t)run->nr)
			fperf_note_partially_mapped(sim, run);
	} else if (total > 0 && total < (int64_t)run->nr) {
		fperf_note_partially_mapped(sim, run);
	}
}

static inline void fperf_counts_unmap_pmd(struct fperf_sim *sim, const struct fperf_counts *c,
					  const struct fperf_run *run)
{
	fperf_uncount_pmd(sim, c, run);
	fperf_drop_refs(sim, run, 1);
}

static inline void fperf_counts_split_pmd(struct fperf_sim *sim, const struct fperf_counts *c,
					  const struct fperf_run *run)
{
	fperf_split_refs(sim, run);
	fperf_count_ptes(sim, c, run);
	fperf_uncount_pmd(sim, c, run);
}

/* ---- what the counts answer ---- */

static inline int64_t fperf_load_total(struct fperf_sim *sim, const struct fperf_counts *c, uint64_t folio)
{
	return (int64_t)(int32_t)fperf_load32(&sim->door, FPERF_FIELD_LARGE_MAPCOUNT,
					      fperf_in_tail1(sim, folio, c->owner.total)) +
	       1;
}

static inline int64_t fperf_load_entire(struct fperf_sim *sim, const struct fperf_counts *c, uint64_t folio)
{
	return (int64_t)(int32_t)fperf_load32(&sim->door, FPERF_FIELD_ENTIRE_MAPCOUNT,
					      fperf_in_tail1(sim, folio, c->entire)) +
	       1;
}

static inline int64_t fperf_load_own(struct fperf_sim *sim, uint64_t pfn)
{
	return (int64_t)(int32_t)fperf_load32(&sim->door, FPERF_FIELD_MAPCOUNT,
					      &fperf_pfn_page(&sim->mem, pfn)->mapcount) +
	       1;
}

/* Is it large? */
static inline void fperf_ask_if_large(struct fperf_sim *sim, const struct fperf_query *query)
{
	fperf_load64(&sim->door, FPERF_FIELD_FLAGS, &fperf_head(sim, query->folio)->flags);
}

/* What a design with both per-page counts and owners answers. */
static inline enum fperf_answer fperf_owners_answer(struct fperf_sim *sim, const struct fperf_counts *c,
						    enum fperf_question question, const struct fperf_query *query,
						    int64_t *value)
{
	if (!query->order)
		return fperf_small_answer(sim, question, query, value);
	fperf_ask_if_large(sim, query);
	switch (question) {
	case FPERF_ASK_MAPPED:
		*value = fperf_load_total(sim, c, query->folio);
		return *value > 0;
	case FPERF_ASK_SHARED:
		return fperf_owner_shared(sim, &c->owner, query->folio);
	case FPERF_ASK_TOTAL_MAPCOUNT:
	case FPERF_ASK_MAPPING_REFS:
		*value = fperf_load_total(sim, c, query->folio);
		return FPERF_COUNT;
	case FPERF_ASK_PAGE_MAPCOUNT:
		*value = fperf_load_own(sim, query->folio + query->page) +
			 (fperf_has_entire(c, query->order) ? fperf_load_entire(sim, c, query->folio) : 0);
		return FPERF_COUNT;
	case FPERF_NR_QUESTIONS:
		break;
	}
	return FPERF_UNKNOWN;
}

/* The hooks of a scheme file whose counts are `counts`, an expression that may use sim. */
#define FPERF_COUNTS_HOOKS(counts)								\
	static void folio_init(struct fperf_sim *sim, uint64_t folio, uint32_t order)		\
	{											\
		fperf_counts_init(sim, counts, folio, order);					\
	}											\
	static void folio_free(struct fperf_sim *sim, uint64_t folio, uint32_t order)		\
	{											\
		fperf_counts_free(sim, counts, folio, order);					\
	}											\
	static bool map_run(struct fperf_sim *sim, const struct fperf_run *run)			\
	{											\
		return fperf_counts_map_run(sim, counts, run);					\
	}											\
	static bool map_pmd(struct fperf_sim *sim, const struct fperf_run *run)			\
	{											\
		return fperf_counts_map_pmd(sim, counts, run);					\
	}											\
	static void unmap_run(struct fperf_sim *sim, const struct fperf_run *run)		\
	{											\
		fperf_counts_unmap_run(sim, counts, run);					\
	}											\
	static void unmap_pmd(struct fperf_sim *sim, const struct fperf_run *run)		\
	{											\
		fperf_counts_unmap_pmd(sim, counts, run);					\
	}											\
	static void split_pmd(struct fperf_sim *sim, const struct fperf_run *run)		\
	{											\
		fperf_counts_split_pmd(sim, counts, run);					\
	}

#define FPERF_COUNTS_OPS								\
	.folio_init = folio_init, .folio_free = folio_free, .map_run = map_run, .fork_run = map_run, \
	.fork_small = fperf_small_fork_each, .unmap_small = fperf_small_unmap_each, .map_pmd = map_pmd, \
	.unmap_run = unmap_run, .unmap_pmd = unmap_pmd, .split_pmd = split_pmd, .vma_split = fperf_no_border, \
	.vma_merge = fperf_no_border, .vma_move = fperf_no_move

#endif

#endif
