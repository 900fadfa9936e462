/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * /proc/PID/smaps: resident, proportional and unique set size of each VMA, as fs/proc/task_mmu.c sums them. Where the
 * scheme does not know a page's mapcount its guess is used, or, if the numbers have to be exact, the folio's mappings are
 * counted by a walk; the truth stands beside it.
 */
#include "consumer/consumer.h"
#include "consumer/page_walk.h"

/* The kernel sums page_size << 12 / mapcount. */
static const unsigned int PSS_SHIFT = 12;

struct sum {
	uint64_t pss, pss_true; /* fixed point */
	struct fperf_vma_row row;
	uint64_t walked; /* the folio whose mappings were counted last, page by page */
	int64_t *mappings;
};

/* Visit every candidate VMA and count the mappings of each page. Pages of one folio follow each other: one walk for all. */
static int walk_mappings(struct fperf_sim *sim, struct sum *sum, const struct fperf_query *query)
{
	struct fperf_rmap_walk walk;
	enum fperf_cause before;

	if (sum->walked == query->folio && sum->mappings)
		return 0;
	free(sum->mappings);
	sum->walked = query->folio;
	sum->mappings = calloc(1ull << query->order, sizeof(*sum->mappings));
	if (!sum->mappings)
		return FPERF_ERR(NO_MEMORY);
	before = fperf_because(&sim->door, FPERF_CAUSE_WALK);
	if (fperf_rmap_walk_begin(sim, &walk, query->folio)) {
		while (fperf_rmap_walk_next(&walk)) {
			struct fperf_rmap_hit hit;
			uint32_t cursor = 0;

			while (fperf_rmap_walk_hit(&walk, &cursor, &hit))
				for (uint32_t i = 0; i < hit.nr; i++)
					sum->mappings[hit.first + i]++;
		}
		fperf_rmap_walk_end(&walk);
	}
	fperf_because(&sim->door, before);
	return sim->error;
}

static int account(struct fperf_sim *sim, struct sum *sum, struct fperf_vma *vma, uint64_t pfn, uint32_t nr, bool exact)
{
	const uint64_t folio = fperf_folio_head(sim, pfn);
	const uint64_t whole = 1ull << (sim->cfg.page_shift + PSS_SHIFT);
	struct fperf_query query = fperf_query_at(sim, vma, pfn);

	sum->row.rss_pages += nr;
	/* One reference can only be this mapping's: no count is looked at. */
	if (fperf_folio_load_refs(sim, folio) == 1) {
		sum->pss += whole * nr;
		sum->pss_true += whole * nr;
		sum->row.uss_pages += nr;
		sum->row.uss_true_pages += nr;
		return 0;
	}
	for (uint32_t i = 0; i < nr; i++) {
		int64_t mapcount, truth;
		enum fperf_answer answer;

		query.page = (uint32_t)(pfn + i - folio);
		answer = fperf_ask(sim, FPERF_ASK_PAGE_MAPCOUNT, &query, &mapcount);
		if (answer == FPERF_UNKNOWN && exact) {
			const int ret = walk_mappings(sim, sum, &query);

			if (ret)
				return ret;
			mapcount = sum->mappings[query.page];
		}
		truth = fperf_truth_mapcount(sim, pfn + i);
		sum->pss += mapcount >= 2 ? whole / (uint64_t)mapcount : whole;
		sum->pss_true += truth >= 2 ? whole / (uint64_t)truth : whole;
		sum->row.uss_pages += mapcount < 2;
		sum->row.uss_true_pages += truth < 2;
	}
	return 0;
}

static void account_leaf(struct fperf_sim *sim, struct sum *sum, uint64_t pfn)
{
	if (sim->folios[pfn].anon)
		sum->row.anon_huge_pages += sim->entries;
	else if (fperf_object_is_shmem(sim->folios[pfn].object))
		sum->row.shmem_pmd_pages += sim->entries;
	else
		sum->row.file_pmd_pages += sim->entries;
}

static int account_vma(struct fperf_sim *sim, struct sum *sum, struct fperf_vma *vma, bool exact)
{
	struct fperf_page_walk walk = fperf_page_walk_begin(sim, vma, vma->start, vma->end);
	struct fperf_page_at at;
	int ret = 0;

	while (!ret && fperf_page_walk_next(&walk, &at)) {
		if (at.pmd)
			account_leaf(sim, sum, at.pfn);
		ret = account(sim, sum, vma, at.pfn, at.nr, exact);
	}
	return ret;
}

static uint64_t distance(uint64_t a, uint64_t b)
{
	return a > b ? a - b : b - a;
}

int fperf_smaps(struct fperf_sim *sim, struct fperf_mm *mm, bool exact, struct fperf_vma_row *rows, size_t cap,
		size_t *nr)
{
	*nr = mm->nr_vmas;
	for (uint32_t i = 0; i < mm->nr_vmas; i++) {
		struct fperf_vma *const vma = mm->vmas[i];
		struct sum sum = { .row = { .start = vma->start,
					    .end = vma->end,
					    .pgoff = vma->pgoff,
					    .what = vma->object ? vma->object->index + 1 : 0,
					    .flags = vma->flags } };
		const int ret = account_vma(sim, &sum, vma, exact);

		free(sum.mappings);
		if (ret)
			return ret;
		sum.row.pss_bytes = sum.pss >> PSS_SHIFT;
		sum.row.pss_true_bytes = sum.pss_true >> PSS_SHIFT;
		sim->totals.pss_error_abs += distance(sum.row.pss_bytes, sum.row.pss_true_bytes);
		sim->totals.uss_error_abs += distance(sum.row.uss_pages, sum.row.uss_true_pages) << sim->cfg.page_shift;
		if (i < cap && rows)
			rows[i] = sum.row;
	}
	return 0;
}
