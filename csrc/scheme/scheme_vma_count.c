/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vma_count: the exact number of VMAs that map any page of the folio (M. Wilcox, linux-mm, February 2023, spinics
 * linux-mm/msg327447; only an excerpt of the mail is at hand). schemes.md 3.6.
 *
 * One reference per VMA, and that small folios count the same way, are our completion.
 */
#include "scheme/place_counts.h"

FPERF_PLACE_HOOKS(FPERF_PLACE_VMA)

static bool keeps_promises(struct fperf_sim *sim, const struct fperf_query *query, uint32_t true_vmas,
			   uint32_t true_tables)
{
	(void)true_tables;
	return fperf_place_count(sim, query->folio) == (int64_t)true_vmas;
}

static enum fperf_answer answer(struct fperf_sim *sim, enum fperf_question question, const struct fperf_query *query,
				int64_t *value)
{
	*value = fperf_place_count(sim, query->folio);
	switch (question) {
	case FPERF_ASK_MAPPED:
		return *value > 0;
	case FPERF_ASK_SHARED:
		/* Two VMAs of one mm count as two. */
		return *value > 1;
	case FPERF_ASK_MAPPING_REFS:
		return FPERF_COUNT;
	case FPERF_ASK_TOTAL_MAPCOUNT:
		/* VMAs, not mappings: exact only where they are the same. */
		return !*value || !query->order ? FPERF_COUNT : FPERF_UNKNOWN;
	case FPERF_ASK_PAGE_MAPCOUNT:
		return *value < 2 || !query->order ? FPERF_COUNT : FPERF_UNKNOWN;
	case FPERF_NR_QUESTIONS:
		break;
	}
	return FPERF_UNKNOWN;
}

const struct fperf_scheme_ops FPERF_SCHEME(vma_count) = { .name = "vma_count", FPERF_PLACE_OPS };
