/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * mm_owner: large_mapcount, and two slots that say which mms own how many of the mappings (v6.15 and later with
 * CONFIG_PAGE_MAPCOUNT, the default; commit 6af8cb80d3a9; <20250303163014.1128035-1-david@redhat.com>). schemes.md 3.9.
 */
#include "scheme/large_counts.h"

/* Offsets in the first tail, v7.0; BTF of v6.18 agrees. */
static const struct fperf_counts COUNTS = { .total = FPERF_TOTAL_OWNERS,
					    .pages = true,
					    .owner = { .total = 16, .mapcount = 32, .ids = 40, .id_bits = 31 },
					    .entire = 24,
					    .nr_mapped = 20 };

FPERF_COUNTS_HOOKS(&COUNTS)

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
		return fperf_owner_shared(sim, &COUNTS.owner, query->folio);
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

const struct fperf_scheme_ops FPERF_SCHEME(mm_owner) = {
	.name = "mm_owner",
	.exclusive_is_certain = true,
	FPERF_COUNTS_OPS,
	.answer = answer,
};
