/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * subpages_mapcount_locked: PMD mappings counted apart from those of each page, and a sum of the latter, the two kept
 * consistent by a bit spinlock, so that the total is O(1) (first series of H. Dickins, 2 November 2022,
 * <5f52de70-975e-94f-f141-543765736181@google.com>; replaced before v6.2 by nr_pages_mapped). schemes.md 3.3.
 *
 * m_i = page[i]._mapcount + 1 PTE mappings, P their sum, E = compound count + 1 PMD mappings. That a page's own count takes an
 * atomic although the lock is held is our completion, and so is where the lock bit stands beside PageAnonExclusive.
 */
#include "scheme/scheme.h"

/* Offsets in the first tail, as v6.2 has them. The lock is a bit of its flags. */
enum { ENTIRE = 20, SUM = 24, LOCK_BIT = 0 };

static int32_t *entire(struct fperf_sim *sim, uint64_t folio)
{
	return fperf_page_s32(fperf_tail1(sim, folio), ENTIRE);
}

static int32_t *sum(struct fperf_sim *sim, uint64_t folio)
{
	return fperf_page_s32(fperf_tail1(sim, folio), SUM);
}

static int32_t *mapcount(struct fperf_sim *sim, uint64_t folio, uint32_t page)
{
	return &fperf_pfn_page(&sim->mem, folio + page)->mapcount;
}

static void lock(struct fperf_sim *sim, uint64_t folio)
{
	fperf_lock_bit(&sim->door, FPERF_FIELD_MAPCOUNT_LOCK, &fperf_tail1(sim, folio)->flags, LOCK_BIT);
}

static void unlock(struct fperf_sim *sim, uint64_t folio)
{
	fperf_unlock_bit(&sim->door, FPERF_FIELD_MAPCOUNT_LOCK, &fperf_tail1(sim, folio)->flags, LOCK_BIT);
}

/* Under the lock: plain loads and stores. */
static int32_t add(struct fperf_sim *sim, enum fperf_field field, int32_t *count, int32_t delta)
{
	const int32_t now = (int32_t)fperf_load32(&sim->door, field, count) + delta;

	fperf_store32(&sim->door, field, count, (uint32_t)now);
	return now;
}

static void folio_init(struct fperf_sim *sim, uint64_t folio, uint32_t order)
{
	if (!order)
		return;
	fperf_store32(&sim->door, FPERF_FIELD_ENTIRE_MAPCOUNT, entire(sim, folio), (uint32_t)-1);
	fperf_store32(&sim->door, FPERF_FIELD_SUBPAGES_MAPCOUNT, sum(sim, folio), 0);
}

static void folio_free(struct fperf_sim *sim, uint64_t folio, uint32_t order)
{
	if (!order)
		return;
	fperf_load32(&sim->door, FPERF_FIELD_ENTIRE_MAPCOUNT, entire(sim, folio));
	fperf_load32(&sim->door, FPERF_FIELD_SUBPAGES_MAPCOUNT, sum(sim, folio));
}

/* One critical section per rmap call. */
static void count_ptes(struct fperf_sim *sim, const struct fperf_run *run)
{
	const uint32_t step = run->batched ? run->nr : 1;

	for (uint32_t i = 0; i < run->nr; i += step) {
		lock(sim, run->folio);
		fperf_run_inc(&sim->door, FPERF_FIELD_MAPCOUNT, mapcount(sim, run->folio, run->first + i), step);
		add(sim, FPERF_FIELD_SUBPAGES_MAPCOUNT, sum(sim, run->folio), (int32_t)step);
		unlock(sim, run->folio);
	}
}

static bool map_run(struct fperf_sim *sim, const struct fperf_run *run)
{
	bool taken;

	if (!run->order)
		return fperf_small_map(sim, run);
	taken = fperf_take_refs(sim, run, run->nr);
	if (run->flags & FPERF_RUN_NEW) {
		fperf_run_store32(&sim->door, FPERF_FIELD_MAPCOUNT, mapcount(sim, run->folio, run->first), 0, run->nr);
		fperf_store32(&sim->door, FPERF_FIELD_SUBPAGES_MAPCOUNT, sum(sim, run->folio), run->nr);
	} else {
		count_ptes(sim, run);
	}
	return taken;
}

/* How many pages have no PTE mapping: all unless the sum says otherwise; for the statistics, and for the split queue. */
static uint32_t nr_without_pte(struct fperf_sim *sim, const struct fperf_run *run)
{
	if (!fperf_load32(&sim->door, FPERF_FIELD_SUBPAGES_MAPCOUNT, sum(sim, run->folio)))
		return run->nr;
	return run->nr - fperf_run_nr_mapped(&sim->door, FPERF_FIELD_MAPCOUNT, mapcount(sim, run->folio, 0), run->nr);
}

static bool map_pmd(struct fperf_sim *sim, const struct fperf_run *run)
{
	const bool taken = fperf_take_refs(sim, run, 1);

	if (run->flags & FPERF_RUN_NEW) {
		fperf_store32(&sim->door, FPERF_FIELD_ENTIRE_MAPCOUNT, entire(sim, run->folio), 0);
		return taken;
	}
	lock(sim, run->folio);
	if (!add(sim, FPERF_FIELD_ENTIRE_MAPCOUNT, entire(sim, run->folio), 1))
		nr_without_pte(sim, run);
	unlock(sim, run->folio);
	return taken;
}

static void queue_split(struct fperf_sim *sim, const struct fperf_run *run, uint32_t unmapped)
{
	if (!unmapped || run->order < 2 || !(run->flags & FPERF_RUN_ANON))
		return;
	if (sim->prof.deferred_split_relock)
		fperf_queue_split(sim, run->folio, unmapped);
	else if (!sim->folios[run->folio].deferred)
		fperf_queue_split(sim, run->folio, 1);
}

static void unmap_run(struct fperf_sim *sim, const struct fperf_run *run)
{
	const uint32_t step = run->batched ? run->nr : 1;

	if (!run->order) {
		fperf_small_unmap(sim, run);
		return;
	}
	for (uint32_t i = 0; i < run->nr; i += step) {
		uint32_t last;
		bool by_pmd;

		lock(sim, run->folio);
		last = fperf_run_dec(&sim->door, FPERF_FIELD_MAPCOUNT, mapcount(sim, run->folio, run->first + i), step);
		add(sim, FPERF_FIELD_SUBPAGES_MAPCOUNT, sum(sim, run->folio), -(int32_t)step);
		by_pmd = (int32_t)fperf_load32(&sim->door, FPERF_FIELD_ENTIRE_MAPCOUNT, entire(sim, run->folio)) >= 0;
		unlock(sim, run->folio);
		/* Under a PMD mapping no page is unmapped. */
		queue_split(sim, run, !by_pmd && last ? 1 : 0);
	}
	fperf_drop_refs(sim, run, run->nr);
}

static void uncount_pmd(struct fperf_sim *sim, const struct fperf_run *run)
{
	uint32_t unmapped = 0;

	lock(sim, run->folio);
	if (add(sim, FPERF_FIELD_ENTIRE_MAPCOUNT, entire(sim, run->folio), -1) < 0)
		unmapped = nr_without_pte(sim, run);
	unlock(sim, run->folio);
	/* All of it gone is no reason to split it. */
	queue_split(sim, run, unmapped && unmapped < run->nr ? 1 : 0);
}

static void unmap_pmd(struct fperf_sim *sim, const struct fperf_run *run)
{
	uncount_pmd(sim, run);
	fperf_drop_refs(sim, run, 1);
}

static void split_pmd(struct fperf_sim *sim, const struct fperf_run *run)
{
	fperf_split_refs(sim, run);
	count_ptes(sim, run);
	uncount_pmd(sim, run);
}

static int64_t load_entire(struct fperf_sim *sim, uint64_t folio)
{
	return (int64_t)(int32_t)fperf_load32(&sim->door, FPERF_FIELD_ENTIRE_MAPCOUNT, entire(sim, folio)) + 1;
}

static int64_t total_mapcount(struct fperf_sim *sim, uint64_t folio)
{
	return load_entire(sim, folio) +
	       (int32_t)fperf_load32(&sim->door, FPERF_FIELD_SUBPAGES_MAPCOUNT, sum(sim, folio));
}

static int64_t page_mapcount(struct fperf_sim *sim, const struct fperf_query *query)
{
	return load_entire(sim, query->folio) + 1 +
	       (int32_t)fperf_load32(&sim->door, FPERF_FIELD_MAPCOUNT, mapcount(sim, query->folio, query->page));
}

static enum fperf_answer answer(struct fperf_sim *sim, enum fperf_question question, const struct fperf_query *query,
				int64_t *value)
{
	if (!query->order)
		return fperf_small_answer(sim, question, query, value);
	/* Is it large? */
	fperf_load64(&sim->door, FPERF_FIELD_FLAGS, &fperf_head(sim, query->folio)->flags);
	switch (question) {
	case FPERF_ASK_MAPPED:
		*value = total_mapcount(sim, query->folio);
		return *value > 0;
	case FPERF_ASK_SHARED:
		/* Not known; callers looked at the page they had in hand. */
		*value = page_mapcount(sim, query);
		return *value > 1;
	case FPERF_ASK_TOTAL_MAPCOUNT:
	case FPERF_ASK_MAPPING_REFS:
		*value = total_mapcount(sim, query->folio);
		return FPERF_COUNT;
	case FPERF_ASK_PAGE_MAPCOUNT:
		*value = page_mapcount(sim, query);
		return FPERF_COUNT;
	case FPERF_NR_QUESTIONS:
		break;
	}
	return FPERF_UNKNOWN;
}

const struct fperf_scheme_ops FPERF_SCHEME(subpages_mapcount_locked) = {
	.name = "subpages_mapcount_locked",
	.folio_init = folio_init,
	.folio_free = folio_free,
	.map_run = map_run,
	.fork_run = map_run,
	.map_pmd = map_pmd,
	.unmap_run = unmap_run,
	.unmap_pmd = unmap_pmd,
	.split_pmd = split_pmd,
	.vma_split = fperf_no_border,
	.vma_merge = fperf_no_border,
	.vma_move = fperf_no_move,
	.answer = answer,
};
