/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * mm_owner_20bit: mm_owner as first posted, with numbers of mms of 20 bits (D. Hildenbrand, first version of the series, 29
 * August 2024). schemes.md 3.13.
 *
 * How ids and flags are packed is our completion: as mm_owner packs them, the bits between id and flag unused.
 */
#include "scheme/large_counts.h"

static const struct fperf_counts COUNTS = {
	.total = FPERF_TOTAL_OWNERS,
	.pages = true,
	.owner = { .total = 16, .mapcount = 32, .ids = 40, .id_bits = 20, .slot_bits = 32 },
	.entire = 24,
	.nr_mapped = 20
};

static unsigned int mm_id_bits(const struct fperf_sim *sim)
{
	(void)sim;
	return COUNTS.owner.id_bits;
}

FPERF_COUNTS_HOOKS(&COUNTS)

static enum fperf_answer answer(struct fperf_sim *sim, enum fperf_question question, const struct fperf_query *query,
				int64_t *value)
{
	return fperf_owners_answer(sim, &COUNTS, question, query, value);
}

const struct fperf_scheme_ops FPERF_SCHEME(mm_owner_20bit) = {
	.name = "mm_owner_20bit",
	.mm_id_bits = mm_id_bits,
	.exclusive_is_certain = true,
	FPERF_COUNTS_OPS,
	.answer = answer,
};
