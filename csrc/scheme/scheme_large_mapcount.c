/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * large_mapcount: the per-page counts stay, and one count of all mappings of a large folio makes the total O(1)
 * (v6.10, commit 05c5323b2a34, to v6.14; <20240409192301.907377-1-david@redhat.com>). schemes.md 3.8.
 *
 * C = _large_mapcount + 1, E = _entire_mapcount + 1 (PMD mappings), N = pages with a PTE mapping, + ENTIRELY_MAPPED if E.
 */
#include "scheme/scheme.h"

/* Offsets in the first tail, v6.12. */
static const unsigned int LARGE_MAPCOUNT = 16; /* starts at -1 */
static const unsigned int ENTIRE_MAPCOUNT = 20;	 /* starts at -1 */
static const unsigned int NR_PAGES_MAPPED = 24;	 /* starts at 0 */

/* Above any possible number of pages: 16 GiB of 4 KiB pages are 0x400000. */
static const int32_t ENTIRELY_MAPPED = 0x800000;

static int32_t *in_tail1(struct fperf_sim *sim, uint64_t folio, unsigned int offset)
{
	return fperf_page_s32(fperf_tail1(sim, folio), offset);
}

static void folio_init(struct fperf_sim *sim, uint64_t folio, uint32_t order)
{
	struct fperf_door *const door = &sim->door;

	if (!order)
		return;
	fperf_store32(door, FPERF_FIELD_LARGE_MAPCOUNT, in_tail1(sim, folio, LARGE_MAPCOUNT), (uint32_t)-1);
	fperf_store32(door, FPERF_FIELD_ENTIRE_MAPCOUNT, in_tail1(sim, folio, ENTIRE_MAPCOUNT), (uint32_t)-1);
	fperf_store32(door, FPERF_FIELD_NR_PAGES_MAPPED, in_tail1(sim, folio, NR_PAGES_MAPPED), 0);
}

static void folio_free(struct fperf_sim *sim, uint64_t folio, uint32_t order)
{
	if (order)
		fperf_load32(&sim->door, FPERF_FIELD_LARGE_MAPCOUNT, in_tail1(sim, folio, LARGE_MAPCOUNT));
}

static int32_t *mapcount(struct fperf_sim *sim, const struct fperf_run *run)
{
	return &fperf_pfn_page(&sim->mem, run->folio + run->first)->mapcount;
}

/* Count nr PTE mappings: each page, the pages newly mapped, the total. One call per run, or one per page. */
static void count_ptes(struct fperf_sim *sim, const struct fperf_run *run)
{
	struct fperf_door *const door = &sim->door;
	int32_t *const nr_mapped = in_tail1(sim, run->folio, NR_PAGES_MAPPED);
	int32_t *const large = in_tail1(sim, run->folio, LARGE_MAPCOUNT);
	const uint32_t first = fperf_run_inc(door, FPERF_FIELD_MAPCOUNT, mapcount(sim, run), run->nr);

	if (run->batched) {
		if (first)
			fperf_add32(door, FPERF_FIELD_NR_PAGES_MAPPED, nr_mapped, (int32_t)first);
		fperf_add32(door, FPERF_FIELD_LARGE_MAPCOUNT, large, (int32_t)run->nr);
	} else {
		if (first)
			fperf_add32_times(door, FPERF_FIELD_NR_PAGES_MAPPED, nr_mapped, 1, first);
		fperf_add32_times(door, FPERF_FIELD_LARGE_MAPCOUNT, large, 1, run->nr);
	}
}

static bool map_run(struct fperf_sim *sim, const struct fperf_run *run)
{
	struct fperf_door *const door = &sim->door;
	bool taken;

	if (!run->order)
		return fperf_small_map(sim, run);
	taken = fperf_take_refs(sim, run, run->nr);
	if (run->flags & FPERF_RUN_NEW) {
		fperf_run_store32(door, FPERF_FIELD_MAPCOUNT, mapcount(sim, run), 0, run->nr);
		fperf_store32(door, FPERF_FIELD_NR_PAGES_MAPPED, in_tail1(sim, run->folio, NR_PAGES_MAPPED), run->nr);
		fperf_store32(door, FPERF_FIELD_LARGE_MAPCOUNT, in_tail1(sim, run->folio, LARGE_MAPCOUNT), run->nr - 1);
	} else {
		count_ptes(sim, run);
	}
	return taken;
}

static bool map_pmd(struct fperf_sim *sim, const struct fperf_run *run)
{
	struct fperf_door *const door = &sim->door;
	int32_t *const entire = in_tail1(sim, run->folio, ENTIRE_MAPCOUNT);
	int32_t *const large = in_tail1(sim, run->folio, LARGE_MAPCOUNT);
	int32_t *const nr_mapped = in_tail1(sim, run->folio, NR_PAGES_MAPPED);
	const bool taken = fperf_take_refs(sim, run, 1);

	if (run->flags & FPERF_RUN_NEW) {
		fperf_store32(door, FPERF_FIELD_ENTIRE_MAPCOUNT, entire, 0);
		fperf_store32(door, FPERF_FIELD_LARGE_MAPCOUNT, large, 0);
		fperf_store32(door, FPERF_FIELD_NR_PAGES_MAPPED, nr_mapped, (uint32_t)ENTIRELY_MAPPED);
		return taken;
	}
	if (!fperf_add32(door, FPERF_FIELD_ENTIRE_MAPCOUNT, entire, 1))
		fperf_add32(door, FPERF_FIELD_NR_PAGES_MAPPED, nr_mapped, ENTIRELY_MAPPED);
	fperf_add32(door, FPERF_FIELD_LARGE_MAPCOUNT, large, 1);
	return taken;
}

/* Pages lost their last mapping while others keep theirs: worth splitting under memory pressure. Once per folio. */
static void note_partially_mapped(struct fperf_sim *sim, const struct fperf_run *run)
{
	if (run->flags & FPERF_RUN_ANON && run->order >= 2 && !sim->folios[run->folio].deferred)
		fperf_queue_split(sim, run->folio, 1);
}

static void unmap_run(struct fperf_sim *sim, const struct fperf_run *run)
{
	struct fperf_door *const door = &sim->door;
	int32_t *const nr_mapped = in_tail1(sim, run->folio, NR_PAGES_MAPPED);
	int32_t *const large = in_tail1(sim, run->folio, LARGE_MAPCOUNT);
	uint32_t last;

	if (!run->order) {
		fperf_small_unmap(sim, run);
		return;
	}
	if (run->batched)
		fperf_add32(door, FPERF_FIELD_LARGE_MAPCOUNT, large, -(int32_t)run->nr);
	else
		fperf_add32_times(door, FPERF_FIELD_LARGE_MAPCOUNT, large, -1, run->nr);
	last = fperf_run_dec(door, FPERF_FIELD_MAPCOUNT, mapcount(sim, run), run->nr);
	if (last) {
		/* Page by page, the first one to go already leaves a partially mapped folio behind. */
		const int32_t left = run->batched ?
					     fperf_add32(door, FPERF_FIELD_NR_PAGES_MAPPED, nr_mapped, -(int32_t)last) :
					     fperf_add32_times(door, FPERF_FIELD_NR_PAGES_MAPPED, nr_mapped, -1, last) +
						     (int32_t)last - 1;

		/* Under a PMD mapping no page is unmapped. */
		if (left && left < ENTIRELY_MAPPED)
			note_partially_mapped(sim, run);
	}
	fperf_drop_refs(sim, run, run->nr);
}

/* The PMD's share of the counts; its reference is the caller's business. */
static void uncount_pmd(struct fperf_sim *sim, const struct fperf_run *run)
{
	struct fperf_door *const door = &sim->door;

	fperf_add32(door, FPERF_FIELD_LARGE_MAPCOUNT, in_tail1(sim, run->folio, LARGE_MAPCOUNT), -1);
	if (fperf_add32(door, FPERF_FIELD_ENTIRE_MAPCOUNT, in_tail1(sim, run->folio, ENTIRE_MAPCOUNT), -1) < 0) {
		const int32_t left = fperf_add32(door, FPERF_FIELD_NR_PAGES_MAPPED,
						 in_tail1(sim, run->folio, NR_PAGES_MAPPED), -ENTIRELY_MAPPED);

		if (left && left < (int32_t)run->nr)
			note_partially_mapped(sim, run);
	}
}

static void unmap_pmd(struct fperf_sim *sim, const struct fperf_run *run)
{
	uncount_pmd(sim, run);
	fperf_drop_refs(sim, run, 1);
}

static void split_pmd(struct fperf_sim *sim, const struct fperf_run *run)
{
	/* The PMD's reference becomes the last PTE's. */
	fperf_note_mapping_refs(sim, run->folio, (int32_t)run->nr - 1);
	fperf_add32(&sim->door, FPERF_FIELD_REFCOUNT, &fperf_head(sim, run->folio)->refcount, (int32_t)run->nr - 1);
	count_ptes(sim, run);
	uncount_pmd(sim, run);
}

static int64_t load(struct fperf_sim *sim, enum fperf_field field, uint64_t folio, unsigned int offset)
{
	return (int32_t)fperf_load32(&sim->door, field, in_tail1(sim, folio, offset));
}

static int64_t page_own(struct fperf_sim *sim, uint64_t pfn)
{
	return (int32_t)fperf_load32(&sim->door, FPERF_FIELD_MAPCOUNT, &fperf_pfn_page(&sim->mem, pfn)->mapcount) + 1;
}

/* folio_likely_mapped_shared() of v6.10: looks at page 0 only when the total says nothing. */
static bool likely_shared(struct fperf_sim *sim, const struct fperf_query *query)
{
	const int64_t total = load(sim, FPERF_FIELD_LARGE_MAPCOUNT, query->folio, LARGE_MAPCOUNT) + 1;

	if (total <= 1)
		return false;
	if (load(sim, FPERF_FIELD_ENTIRE_MAPCOUNT, query->folio, ENTIRE_MAPCOUNT) >= 0 || total > 1ll << query->order)
		return true;
	return page_own(sim, query->folio) > 1;
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
		*value = load(sim, FPERF_FIELD_LARGE_MAPCOUNT, query->folio, LARGE_MAPCOUNT) + 1;
		return *value > 0;
	case FPERF_ASK_SHARED:
		return likely_shared(sim, query);
	case FPERF_ASK_TOTAL_MAPCOUNT:
	case FPERF_ASK_MAPPING_REFS:
		*value = load(sim, FPERF_FIELD_LARGE_MAPCOUNT, query->folio, LARGE_MAPCOUNT) + 1;
		return FPERF_COUNT;
	case FPERF_ASK_PAGE_MAPCOUNT:
		*value = page_own(sim, query->folio + query->page) +
			 load(sim, FPERF_FIELD_ENTIRE_MAPCOUNT, query->folio, ENTIRE_MAPCOUNT) + 1;
		return FPERF_COUNT;
	case FPERF_NR_QUESTIONS:
		break;
	}
	return FPERF_UNKNOWN;
}

const struct fperf_scheme_ops FPERF_SCHEME(large_mapcount) = {
	.name = "large_mapcount",
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
