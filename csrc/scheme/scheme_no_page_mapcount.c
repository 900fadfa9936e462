/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * no_page_mapcount: mm_owner without the counts in each page of a large folio, and without their sum (v6.15 and later with
 * CONFIG_NO_PAGE_MAPCOUNT, experimental; commit e63ee43e3eda; <20250303163014.1128035-1-david@redhat.com>). schemes.md 3.10.
 */
#include "scheme/large_counts.h"

static const struct fperf_counts COUNTS = {
	.total = FPERF_TOTAL_OWNERS,
	.owner = { .total = 16, .mapcount = 32, .ids = 40, .id_bits = 31, .slot_bits = 32 },
	.entire = 24
};

FPERF_COUNTS_HOOKS(&COUNTS)

/* folio_average_page_mapcount(): what /proc shows in place of a page's own count. */
static int64_t average(struct fperf_sim *sim, const struct fperf_query *query)
{
	const int64_t nr = 1ll << query->order;
	const int64_t total = fperf_load_total(sim, &COUNTS, query->folio);
	const int64_t entire = fperf_load_entire(sim, &COUNTS, query->folio);
	int64_t each;

	if (total <= entire)
		return entire;
	each = (total - entire + nr / 2) / nr + entire;
	return each ? each : 1;
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
		return fperf_owner_shared(sim, &COUNTS.owner, query->folio);
	case FPERF_ASK_TOTAL_MAPCOUNT:
	case FPERF_ASK_MAPPING_REFS:
		*value = fperf_load_total(sim, &COUNTS, query->folio);
		return FPERF_COUNT;
	case FPERF_ASK_PAGE_MAPCOUNT:
		*value = average(sim, query);
		return FPERF_UNKNOWN;
	case FPERF_NR_QUESTIONS:
		break;
	}
	return FPERF_UNKNOWN;
}

const struct fperf_scheme_ops FPERF_SCHEME(no_page_mapcount) = {
	.name = "no_page_mapcount",
	.exclusive_is_certain = true,
	FPERF_COUNTS_OPS,
	.answer = answer,
};
