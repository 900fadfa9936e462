/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vma_pt_tuples: the number of pairs of a VMA and a page table that map any page of the folio (M. Wilcox, linux-mm, 24
 * January 2023, spinics linux-mm/msg325665; only an excerpt of the mail is at hand). schemes.md 3.5.
 *
 * A pair is what one page-table lock protects, so the presence test looks into that table alone. A PMD that maps the folio
 * stands for the table it could point to. One reference per pair is our completion.
 */
#include "scheme/place_counts.h"

FPERF_PLACE_HOOKS(FPERF_PLACE_TABLE)

static bool keeps_promises(struct fperf_sim *sim, const struct fperf_query *query, uint32_t true_vmas,
			   uint32_t true_tables)
{
	const uint32_t pairs = query->order ? true_tables : true_vmas;

	return fperf_place_count(sim, query->folio) == (int64_t)pairs;
}

/* The most pairs that one VMA makes alone: its pages may start anywhere in a table. */
static int64_t most_of_one_vma(const struct fperf_sim *sim, const struct fperf_query *query)
{
	return query->order ? 2 + ((1ll << query->order) - 2) / (int64_t)sim->entries : 1;
}

static enum fperf_answer answer(struct fperf_sim *sim, enum fperf_question question, const struct fperf_query *query,
				int64_t *value)
{
	*value = fperf_place_count(sim, query->folio);
	switch (question) {
	case FPERF_ASK_MAPPED:
		return *value > 0;
	case FPERF_ASK_SHARED:
		if (*value < 2)
			return FPERF_NO;
		return *value <= most_of_one_vma(sim, query) ? FPERF_UNKNOWN : FPERF_YES;
	case FPERF_ASK_MAPPING_REFS:
		return FPERF_COUNT;
	case FPERF_ASK_TOTAL_MAPCOUNT:
		return !*value || !query->order ? FPERF_COUNT : FPERF_UNKNOWN;
	case FPERF_ASK_PAGE_MAPCOUNT:
		return *value < 2 || !query->order ? FPERF_COUNT : FPERF_UNKNOWN;
	case FPERF_NR_QUESTIONS:
		break;
	}
	return FPERF_UNKNOWN;
}

const struct fperf_scheme_ops
	FPERF_SCHEME(vma_pt_tuples) = { .name = "vma_pt_tuples", .counts_tables = true, FPERF_PLACE_OPS };
