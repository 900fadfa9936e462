/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * nr_pages_mapped: PMD mappings are counted apart from those of each page, and the pages that have one are summed, so that
 * mapping by PMD and "mapped?" are O(1); the total is not (v6.2, commits be5ef2d9b006, 4b51634cd16a, to v6.9). schemes.md 3.4.
 *
 * m_i = page[i]._mapcount + 1 PTE mappings, E = entire count + 1 PMD mappings, N = pages with a PTE mapping, + ENTIRELY_MAPPED
 * if E. N is added to page by page, even where one call maps a run.
 */
#include "scheme/large_counts.h"

/* Offsets in the first tail: v6.2 to v6.5, and v6.8. */
static const struct fperf_counts SINCE_6_2 = {
	.total = FPERF_TOTAL_NONE, .pages = true, .nr_mapped_per_page = true, .entire = 20, .nr_mapped = 24
};
static const struct fperf_counts SINCE_6_8 = {
	.total = FPERF_TOTAL_NONE, .pages = true, .nr_mapped_per_page = true, .entire = 24, .nr_mapped = 28
};

static const struct fperf_counts *counts(const struct fperf_sim *sim)
{
	return sim->prof.version < FPERF_KERNEL(6, 8) ? &SINCE_6_2 : &SINCE_6_8;
}

static uint32_t pincount_at(const struct fperf_sim *sim)
{
	return sim->prof.version < FPERF_KERNEL(6, 8) ? 28 : 32;
}

FPERF_COUNTS_HOOKS(counts(sim))

static int32_t load_nr_mapped(struct fperf_sim *sim, uint64_t folio)
{
	return (int32_t)fperf_load32(&sim->door, FPERF_FIELD_NR_PAGES_MAPPED,
				     fperf_in_tail1(sim, folio, counts(sim)->nr_mapped));
}

static int64_t total_mapcount(struct fperf_sim *sim, const struct fperf_query *query)
{
	const int64_t entire = fperf_load_entire(sim, counts(sim), query->folio);
	int32_t max;

	if (!(load_nr_mapped(sim, query->folio) & (FPERF_ENTIRELY_MAPPED - 1)))
		return entire;
	return entire + fperf_run_sum(&sim->door, FPERF_FIELD_MAPCOUNT, &fperf_head(sim, query->folio)->mapcount,
				      1u << query->order, &max);
}

static enum fperf_answer answer(struct fperf_sim *sim, enum fperf_question question, const struct fperf_query *query,
				int64_t *value)
{
	if (!query->order)
		return fperf_small_answer(sim, question, query, value);
	fperf_ask_if_large(sim, query);
	switch (question) {
	case FPERF_ASK_MAPPED:
		return fperf_load_entire(sim, counts(sim), query->folio) > 0 || load_nr_mapped(sim, query->folio) > 0;
	case FPERF_ASK_SHARED:
		/* folio_estimated_sharers(): page 0 stands for all. */
		return fperf_load_own(sim, query->folio) + fperf_load_entire(sim, counts(sim), query->folio) > 1;
	case FPERF_ASK_TOTAL_MAPCOUNT:
	case FPERF_ASK_MAPPING_REFS:
		*value = total_mapcount(sim, query);
		return FPERF_COUNT;
	case FPERF_ASK_PAGE_MAPCOUNT:
		*value = fperf_load_own(sim, query->folio + query->page) +
			 fperf_load_entire(sim, counts(sim), query->folio);
		return FPERF_COUNT;
	case FPERF_NR_QUESTIONS:
		break;
	}
	return FPERF_UNKNOWN;
}

const struct fperf_scheme_ops FPERF_SCHEME(nr_pages_mapped) = {
	.name = "nr_pages_mapped",
	.pincount_at = pincount_at,
	FPERF_COUNTS_OPS,
	.answer = answer,
};
