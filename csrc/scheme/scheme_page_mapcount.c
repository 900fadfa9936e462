/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * page_mapcount: a count in every struct page, a compound count, and the double-map flag that keeps the two apart
 * (v4.5, commit 53f9263baba6, to v6.1). schemes.md 3.1.
 *
 * m_i = page[i]._mapcount + 1, c = compound count + 1, D = double-map flag of page[1].
 *   anonymous  m_i = PTE mappings of page i, +1 if D; D exact
 *   file       m_i = PTE mappings of page i + PMD mappings; D a hint that somebody PTE-mapped it
 */
#include "scheme/scheme.h"

/* struct page offset in the first tail; v5.17 and v6.1 agree. Starts at -1. */
static const unsigned int COMPOUND_MAPCOUNT = 20;

static int32_t *compound_mapcount(struct fperf_sim *sim, uint64_t folio)
{
	return fperf_page_s32(fperf_tail1(sim, folio), COMPOUND_MAPCOUNT);
}

static uint64_t *double_map(struct fperf_sim *sim, uint64_t folio)
{
	return &fperf_tail1(sim, folio)->flags;
}

/* v5.17: page[2] +16; v6.1: page[1] +24. */
static uint32_t pincount_at(const struct fperf_sim *sim)
{
	return sim->prof.version < FPERF_KERNEL(5, 18) ? 64 + 16 : 24;
}

static void folio_init(struct fperf_sim *sim, uint64_t folio, uint32_t order)
{
	if (order)
		fperf_store32(&sim->door, FPERF_FIELD_COMPOUND_MAPCOUNT, compound_mapcount(sim, folio), (uint32_t)-1);
}

static void folio_free(struct fperf_sim *sim, uint64_t folio, uint32_t order)
{
	if (order)
		fperf_load32(&sim->door, FPERF_FIELD_COMPOUND_MAPCOUNT, compound_mapcount(sim, folio));
}

static int32_t *mapcount(struct fperf_sim *sim, const struct fperf_run *run)
{
	return &fperf_pfn_page(&sim->mem, run->folio + run->first)->mapcount;
}

static bool fork_run(struct fperf_sim *sim, const struct fperf_run *run)
{
	bool taken;

	if (!run->order)
		return fperf_small_map(sim, run);
	taken = fperf_take_refs(sim, run, run->nr);
	fperf_run_inc(&sim->door, FPERF_FIELD_MAPCOUNT, mapcount(sim, run), run->nr);
	return taken;
}

static bool map_run(struct fperf_sim *sim, const struct fperf_run *run)
{
	bool taken;

	if (!run->order)
		return fperf_small_map(sim, run);
	taken = fperf_take_refs(sim, run, run->nr);
	if (run->flags & FPERF_RUN_NEW) {
		fperf_run_store32(&sim->door, FPERF_FIELD_MAPCOUNT, mapcount(sim, run), 0, run->nr);
		return taken;
	}
	/* A PTE map of a compound file page sets the flag each time, set or not. */
	if (!(run->flags & FPERF_RUN_ANON))
		fperf_set_bit_times(&sim->door, FPERF_FIELD_DOUBLE_MAP, double_map(sim, run->folio),
				    FPERF_PG_DOUBLE_MAP, run->batched ? 1 : run->nr);
	fperf_run_inc(&sim->door, FPERF_FIELD_MAPCOUNT, mapcount(sim, run), run->nr);
	return taken;
}

static bool map_pmd(struct fperf_sim *sim, const struct fperf_run *run)
{
	struct fperf_door *const door = &sim->door;
	int32_t *const compound = compound_mapcount(sim, run->folio);
	const bool taken = fperf_take_refs(sim, run, 1);

	if (run->flags & FPERF_RUN_NEW) {
		fperf_store32(door, FPERF_FIELD_COMPOUND_MAPCOUNT, compound, 0);
		return taken;
	}
	if (!(run->flags & FPERF_RUN_ANON)) {
		const uint32_t first = fperf_run_inc(door, FPERF_FIELD_MAPCOUNT, mapcount(sim, run), run->nr);

		/* v6.1: the first mapping of all pages makes the hint stale. */
		if (sim->prof.version >= FPERF_KERNEL(6, 0) && first == run->nr &&
		    fperf_load64(door, FPERF_FIELD_DOUBLE_MAP, double_map(sim, run->folio)) >> FPERF_PG_DOUBLE_MAP & 1)
			fperf_clear_bit(door, FPERF_FIELD_DOUBLE_MAP, double_map(sim, run->folio), FPERF_PG_DOUBLE_MAP);
	}
	fperf_add32(door, FPERF_FIELD_COMPOUND_MAPCOUNT, compound, 1);
	return taken;
}

/* Up to v6.0 every unmapped page takes the queue lock; later only the first, which finds the folio not queued yet. */
static void queue_split(struct fperf_sim *sim, const struct fperf_run *run, uint32_t unmapped)
{
	if (!unmapped || run->order < 2)
		return;
	if (sim->prof.deferred_split_relock)
		fperf_queue_split(sim, run->folio, run->batched ? 1 : unmapped);
	else if (!sim->folios[run->folio].deferred)
		fperf_queue_split(sim, run->folio, 1);
}

static void unmap_run(struct fperf_sim *sim, const struct fperf_run *run)
{
	uint32_t last;

	if (!run->order) {
		fperf_small_unmap(sim, run);
		return;
	}
	last = fperf_run_dec(&sim->door, FPERF_FIELD_MAPCOUNT, mapcount(sim, run), run->nr);
	if (run->flags & FPERF_RUN_ANON)
		queue_split(sim, run, last);
	fperf_drop_refs(sim, run, run->nr);
}

static void unmap_pmd(struct fperf_sim *sim, const struct fperf_run *run)
{
	struct fperf_door *const door = &sim->door;
	int32_t *const compound = compound_mapcount(sim, run->folio);

	if (!(run->flags & FPERF_RUN_ANON)) {
		fperf_run_dec(door, FPERF_FIELD_MAPCOUNT, mapcount(sim, run), run->nr);
		fperf_add32(door, FPERF_FIELD_COMPOUND_MAPCOUNT, compound, -1);
	} else if (fperf_add32(door, FPERF_FIELD_COMPOUND_MAPCOUNT, compound, -1) < 0 &&
		   fperf_clear_bit(door, FPERF_FIELD_DOUBLE_MAP, double_map(sim, run->folio), FPERF_PG_DOUBLE_MAP)) {
		const uint32_t last = fperf_run_dec(door, FPERF_FIELD_MAPCOUNT, mapcount(sim, run), run->nr);

		if (last < run->nr)
			queue_split(sim, run, last ? 1 : 0);
	}
	fperf_drop_refs(sim, run, 1);
}

static void split_pmd(struct fperf_sim *sim, const struct fperf_run *run)
{
	struct fperf_door *const door = &sim->door;
	int32_t *const compound = compound_mapcount(sim, run->folio);
	int32_t *const pages = mapcount(sim, run);

	fperf_split_refs(sim, run);
	fperf_run_inc(door, FPERF_FIELD_MAPCOUNT, pages, run->nr);
	/* The flag is set before the compound count drops, so that "mapped?" never says no in between. */
	if ((int32_t)fperf_load32(door, FPERF_FIELD_COMPOUND_MAPCOUNT, compound) > 0 &&
	    !fperf_set_bit(door, FPERF_FIELD_DOUBLE_MAP, double_map(sim, run->folio), FPERF_PG_DOUBLE_MAP))
		fperf_run_inc(door, FPERF_FIELD_MAPCOUNT, pages, run->nr);
	if (fperf_add32(door, FPERF_FIELD_COMPOUND_MAPCOUNT, compound, -1) < 0 &&
	    fperf_clear_bit(door, FPERF_FIELD_DOUBLE_MAP, double_map(sim, run->folio), FPERF_PG_DOUBLE_MAP))
		fperf_run_dec(door, FPERF_FIELD_MAPCOUNT, pages, run->nr);
}

static int64_t load_compound(struct fperf_sim *sim, uint64_t folio)
{
	return (int32_t)fperf_load32(&sim->door, FPERF_FIELD_COMPOUND_MAPCOUNT, compound_mapcount(sim, folio)) + 1;
}

static bool load_double_map(struct fperf_sim *sim, uint64_t folio)
{
	return fperf_load64(&sim->door, FPERF_FIELD_DOUBLE_MAP, double_map(sim, folio)) >> FPERF_PG_DOUBLE_MAP & 1;
}

static int64_t total_mapcount(struct fperf_sim *sim, const struct fperf_query *query)
{
	struct fperf_page *const head = fperf_head(sim, query->folio);
	const uint32_t nr = 1u << query->order;
	const int64_t compound = load_compound(sim, query->folio);
	int32_t max;
	const int64_t sum = fperf_run_sum(&sim->door, FPERF_FIELD_MAPCOUNT, &head->mapcount, nr, &max);

	if (!query->anon)
		return compound + sum - compound * nr;
	return compound + sum - (load_double_map(sim, query->folio) ? nr : 0);
}

static inline __attribute__((always_inline)) int64_t page_mapcount(struct fperf_sim *sim,
								   const struct fperf_query *query)
{
	const struct fperf_page *const page = fperf_pfn_page(&sim->mem, query->folio + query->page);
	const int64_t own = (int32_t)fperf_load32(&sim->door, FPERF_FIELD_MAPCOUNT, &page->mapcount) + 1;

	if (!query->anon)
		return own;
	return own + load_compound(sim, query->folio) - load_double_map(sim, query->folio);
}

static enum fperf_answer answer(struct fperf_sim *sim, enum fperf_question question, const struct fperf_query *query,
				int64_t *value)
{
	struct fperf_page *const head = fperf_head(sim, query->folio);

	if (!query->order)
		return fperf_small_answer(sim, question, query, value);
	switch (question) {
	case FPERF_ASK_MAPPED:
		return load_compound(sim, query->folio) > 0 ||
		       fperf_run_find_mapped(&sim->door, FPERF_FIELD_MAPCOUNT, &head->mapcount, 1u << query->order) <
			       1u << query->order;
	case FPERF_ASK_SHARED:
		/* Not known; callers looked at the page they had in hand. */
		*value = page_mapcount(sim, query);
		return *value > 1;
	case FPERF_ASK_PAGE_MAPCOUNT:
		*value = page_mapcount(sim, query);
		return FPERF_COUNT;
	case FPERF_ASK_TOTAL_MAPCOUNT:
	case FPERF_ASK_MAPPING_REFS:
		/* Whether it is anonymous stands in the head's mapping. */
		fperf_load64(&sim->door, FPERF_FIELD_MAPPING, &head->mapping);
		*value = total_mapcount(sim, query);
		return FPERF_COUNT;
	case FPERF_NR_QUESTIONS:
		break;
	}
	return FPERF_UNKNOWN;
}

const struct fperf_scheme_ops FPERF_SCHEME(page_mapcount) = {
	.name = "page_mapcount",
	.pincount_at = pincount_at,
	.folio_init = folio_init,
	.folio_free = folio_free,
	.map_run = map_run,
	.fork_run = fork_run,
	.fork_small = fperf_small_fork_each,
	.unmap_small = fperf_small_unmap_each,
	.map_pmd = map_pmd,
	.unmap_run = unmap_run,
	.unmap_pmd = unmap_pmd,
	.split_pmd = split_pmd,
	.vma_split = fperf_no_border,
	.vma_merge = fperf_no_border,
	.vma_move = fperf_no_move,
	.answer = answer,
};
