/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * mm_owner: large_mapcount, and two slots that say which mms own how many of the mappings (v6.15 and later with
 * CONFIG_PAGE_MAPCOUNT, the default; commit 6af8cb80d3a9; <20250303163014.1128035-1-david@redhat.com>). schemes.md 3.9.
 */
#include "scheme/large_counts.h"

/* Offsets in the first tail, v7.0; BTF of v6.18 agrees. */
static const struct fperf_counts COUNTS = {
	.total = FPERF_TOTAL_OWNERS,
	.pages = true,
	.owner = { .total = 16, .mapcount = 32, .ids = 40, .id_bits = 31, .slot_bits = 32 },
	.entire = 24,
	.nr_mapped = 20
};

/* 32-bit kernels: half the bits for ids and slots, E and pins in the second tail. A struct page stays one of 64 bytes here. */
static const struct fperf_counts COUNTS_32BIT = {
	.total = FPERF_TOTAL_OWNERS,
	.pages = true,
	.owner = { .total = 16, .mapcount = 32, .ids = 40, .id_bits = 15, .slot_bits = 16 },
	.entire = 64 + 16,
	.nr_mapped = 20
};

enum { LAYOUT_64, LAYOUT_32, NR_LAYOUTS };

static const struct fperf_counts *counts(const struct fperf_sim *sim)
{
	return sim->cfg.variant == LAYOUT_32 ? &COUNTS_32BIT : &COUNTS;
}

static uint32_t pincount_at(const struct fperf_sim *sim)
{
	return sim->cfg.variant == LAYOUT_32 ? 64 + 20 : 28;
}

static unsigned int mm_id_bits(const struct fperf_sim *sim)
{
	return counts(sim)->owner.id_bits;
}

FPERF_COUNTS_HOOKS(counts(sim))

static enum fperf_answer answer(struct fperf_sim *sim, enum fperf_question question, const struct fperf_query *query,
				int64_t *value)
{
	return fperf_owners_answer(sim, counts(sim), question, query, value);
}

const struct fperf_scheme_ops FPERF_SCHEME(mm_owner) = {
	.name = "mm_owner",
	.nr_variants = NR_LAYOUTS,
	.pincount_at = pincount_at,
	.mm_id_bits = mm_id_bits,
	.exclusive_is_certain = true,
	FPERF_COUNTS_OPS,
	.answer = answer,
};
