/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * large_mapcount: the per-page counts stay, and one count of all mappings of a large folio makes the total O(1)
 * (v6.10, commit 05c5323b2a34, to v6.14; <20240409192301.907377-1-david@redhat.com>). schemes.md 3.8.
 *
 * C = _large_mapcount + 1, E = _entire_mapcount + 1 (PMD mappings), N = pages with a PTE mapping, + ENTIRELY_MAPPED if E.
 */
#include "scheme/large_counts.h"

/* Offsets in the first tail, v6.12. */
static const struct fperf_counts COUNTS = {
	.total = FPERF_TOTAL_ATOMIC, .pages = true, .owner = { .total = 16 }, .entire = 20, .nr_mapped = 24
};

FPERF_COUNTS_HOOKS(&COUNTS)

/* folio_likely_mapped_shared() of v6.10: looks at page 0 only when the total says nothing. */
static bool likely_shared(struct fperf_sim *sim, const struct fperf_query *query)
{
	const int64_t total = fperf_load_total(sim, &COUNTS, query->folio);

	if (total <= 1)
		return false;
	if (fperf_load_entire(sim, &COUNTS, query->folio) > 0 || total > 1ll << query->order)
		return true;
	return fperf_load_own(sim, query->folio) > 1;
}

static enum fperf_answer answer(struct fperf_sim *sim, enum fperf_question question, const struct fperf_query *query,
				int64_t *value)
{
	if (!query->order)
		return fperf_small_answer(sim, question, query, value);
	fperf_ask_if_large(sim, query);
	switch (question) {
	case FPERF_ASK_MAPPED:
		*value = fperf_load_total(sim, &COUNTS, query->folio);
		return *value > 0;
	case FPERF_ASK_SHARED:
		return likely_shared(sim, query);
	case FPERF_ASK_TOTAL_MAPCOUNT:
	case FPERF_ASK_MAPPING_REFS:
		*value = fperf_load_total(sim, &COUNTS, query->folio);
		return FPERF_COUNT;
	case FPERF_ASK_PAGE_MAPCOUNT:
		*value =
			fperf_load_own(sim, query->folio + query->page) + fperf_load_entire(sim, &COUNTS, query->folio);
		return FPERF_COUNT;
	case FPERF_NR_QUESTIONS:
		break;
	}
	return FPERF_UNKNOWN;
}

const struct fperf_scheme_ops FPERF_SCHEME(large_mapcount) = {
	.name = "large_mapcount",
	FPERF_COUNTS_OPS,
	.answer = answer,
};
