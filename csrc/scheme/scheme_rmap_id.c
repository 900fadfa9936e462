/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * rmap_id: nr_pages_mapped, a total, and k sums that tell exactly whether one mm owns all mappings, without listing the mms
 * (D. Hildenbrand, work in progress of 24 November 2023, <20231124132626.235350-1-david@redhat.com>). schemes.md 3.7.
 *
 * Each mm has a number of 24 bits, cut into k pieces. A piece is written as a number whose digits, to the base n + 1, are its
 * bits; v_j is the sum of piece j over all mappings of the folio of n pages. With C <= n mappings no digit overflows, so
 * digit i of v_j says how many mappings have bit i of the piece set. One mm owns them all if and only if each is 0 or C.
 */
#include "scheme/large_counts.h"

/* Offsets in the first tail; the counts below as of v6.8, which are of the time. */
static const struct fperf_counts COUNTS = {
	.total = FPERF_TOTAL_NONE, .pages = true, .nr_mapped_per_page = true, .entire = 24, .nr_mapped = 28
};
enum {
	TOTAL = 16, /* s32 from -1: C */
	PINCOUNT = 32,
	VALUE_OF_TWO = 40, /* a folio of two pages has no fourth page; where its value stands is our completion */
	SEQUENCE = 56,
	VALUES = 2 * 64 + 16, /* v_0 to v_3 in the fourth page, the others in the fifth */
	VALUES_PER_PAGE = 4,
	ID_BITS = 24
};

/*
 * The 64-bit sequence: writers together in the low 15 bits, one alone in the bit above, finished ones above that. The variants:
 * each writer finds itself alone, and then plain stores suffice; or each finds others, the upper bound.
 */
enum { ALONE, TOGETHER, NR_VARIANTS };
static const uint64_t WRITER = 1, ALONE_BIT = 1 << 15, WRITERS = (1 << 16) - 1, FINISHED = 1 << 16;

/*
 * Values by order. Posted as 3 for orders 8 and 9, where 8 digits to the base 257 or 513 do not fit 64 bits; 4 values of 6
 * digits do.
 */
static unsigned int nr_values(uint32_t order)
{
	return order <= 2 ? 1 : order <= 5 ? 2 : order <= 7 ? 3 : order <= 10 ? 4 : order <= 12 ? 5 : 6;
}

static unsigned int bits_per_value(uint32_t order)
{
	return (ID_BITS + nr_values(order) - 1) / nr_values(order);
}

/* Piece j of the mm's number, its bits as digits. */
static uint64_t sub_id(uint32_t mm_id, uint32_t order, unsigned int j)
{
	const unsigned int bits = bits_per_value(order);
	uint64_t value = 0;

	for (unsigned int i = bits; i--;) {
		const unsigned int bit = j * bits + i;

		value = value * ((1ull << order) + 1) + (bit < ID_BITS ? mm_id >> bit & 1 : 0);
	}
	return value;
}

static uint64_t *sequence(struct fperf_sim *sim, uint64_t folio)
{
	return (uint64_t *)((char *)fperf_tail1(sim, folio) + SEQUENCE);
}

static uint64_t *value_at(struct fperf_sim *sim, uint64_t folio, uint32_t order, unsigned int j)
{
	char *const tail = (char *)fperf_tail1(sim, folio);

	if (order == 1)
		return (uint64_t *)(tail + VALUE_OF_TWO);
	return (uint64_t *)(tail + VALUES + j / VALUES_PER_PAGE * sizeof(struct fperf_page)) + j % VALUES_PER_PAGE;
}

/* An atomic add of 64 bits. */
static void add64(struct fperf_sim *sim, enum fperf_field field, uint64_t *p, uint64_t delta)
{
	uint64_t old = *p;

	while (!fperf_cmpxchg64(&sim->door, field, p, &old, old + delta))
		;
}

/* A writer that is alone keeps the others out. */
static void begin(struct fperf_sim *sim, uint64_t folio)
{
	uint64_t *const seq = sequence(sim, folio);
	uint64_t old;

	if (sim->cfg.variant == TOGETHER) {
		add64(sim, FPERF_FIELD_RMAP_SEQUENCE, seq, WRITER);
		return;
	}
	do {
		old = fperf_load64(&sim->door, FPERF_FIELD_RMAP_SEQUENCE, seq) & ~WRITERS;
	} while (!fperf_cmpxchg64(&sim->door, FPERF_FIELD_RMAP_SEQUENCE, seq, &old, old | ALONE_BIT));
}

static void end(struct fperf_sim *sim, uint64_t folio)
{
	add64(sim, FPERF_FIELD_RMAP_SEQUENCE, sequence(sim, folio),
	      FINISHED - (sim->cfg.variant == TOGETHER ? WRITER : ALONE_BIT));
}

/* One call: nr mappings of an mm more, or fewer. */
static void track(struct fperf_sim *sim, const struct fperf_run *run, int32_t nr)
{
	struct fperf_door *const door = &sim->door;
	int32_t *const total = fperf_in_tail1(sim, run->folio, TOTAL);

	begin(sim, run->folio);
	if (sim->cfg.variant == TOGETHER)
		fperf_add32(door, FPERF_FIELD_LARGE_MAPCOUNT, total, nr);
	else
		fperf_store32(door, FPERF_FIELD_LARGE_MAPCOUNT, total,
			      fperf_load32(door, FPERF_FIELD_LARGE_MAPCOUNT, total) + (uint32_t)nr);
	for (unsigned int j = 0; j < nr_values(run->order); j++) {
		uint64_t *const value = value_at(sim, run->folio, run->order, j);
		const uint64_t delta = sub_id(run->mm_id, run->order, j) * (uint64_t)(int64_t)nr;

		if (sim->cfg.variant == TOGETHER)
			add64(sim, FPERF_FIELD_RMAP_VALUE, value, delta);
		else
			fperf_store64(door, FPERF_FIELD_RMAP_VALUE, value,
				      fperf_load64(door, FPERF_FIELD_RMAP_VALUE, value) + delta);
	}
	end(sim, run->folio);
}

static void track_ptes(struct fperf_sim *sim, const struct fperf_run *run, int32_t sign)
{
	const uint32_t calls = run->batched ? 1 : run->nr;

	for (uint32_t i = 0; i < calls; i++)
		track(sim, run, sign * (int32_t)(run->nr / calls));
}

/* The first mapping of a folio nobody else sees: plain stores. */
static void track_new(struct fperf_sim *sim, const struct fperf_run *run, uint32_t nr)
{
	fperf_store32(&sim->door, FPERF_FIELD_LARGE_MAPCOUNT, fperf_in_tail1(sim, run->folio, TOTAL), nr - 1);
	for (unsigned int j = 0; j < nr_values(run->order); j++)
		fperf_store64(&sim->door, FPERF_FIELD_RMAP_VALUE, value_at(sim, run->folio, run->order, j),
			      sub_id(run->mm_id, run->order, j) * nr);
}

static uint32_t pincount_at(const struct fperf_sim *sim)
{
	(void)sim;
	return PINCOUNT;
}

static unsigned int mm_id_bits(const struct fperf_sim *sim)
{
	(void)sim;
	return ID_BITS;
}

static void folio_init(struct fperf_sim *sim, uint64_t folio, uint32_t order)
{
	if (!order)
		return;
	fperf_counts_init(sim, &COUNTS, folio, order);
	fperf_store32(&sim->door, FPERF_FIELD_LARGE_MAPCOUNT, fperf_in_tail1(sim, folio, TOTAL), (uint32_t)-1);
	fperf_store64(&sim->door, FPERF_FIELD_RMAP_SEQUENCE, sequence(sim, folio), 0);
	for (unsigned int j = 0; j < nr_values(order); j++)
		fperf_store64(&sim->door, FPERF_FIELD_RMAP_VALUE, value_at(sim, folio, order, j), 0);
}

static void folio_free(struct fperf_sim *sim, uint64_t folio, uint32_t order)
{
	if (order)
		fperf_load32(&sim->door, FPERF_FIELD_LARGE_MAPCOUNT, fperf_in_tail1(sim, folio, TOTAL));
}

static bool map_run(struct fperf_sim *sim, const struct fperf_run *run)
{
	const bool taken = fperf_counts_map_run(sim, &COUNTS, run);

	if (run->order && run->flags & FPERF_RUN_NEW)
		track_new(sim, run, run->nr);
	else if (run->order)
		track_ptes(sim, run, 1);
	return taken;
}

static bool map_pmd(struct fperf_sim *sim, const struct fperf_run *run)
{
	const bool taken = fperf_counts_map_pmd(sim, &COUNTS, run);

	if (run->flags & FPERF_RUN_NEW)
		track_new(sim, run, 1);
	else
		track(sim, run, 1);
	return taken;
}

static void unmap_run(struct fperf_sim *sim, const struct fperf_run *run)
{
	if (run->order)
		track_ptes(sim, run, -1);
	fperf_counts_unmap_run(sim, &COUNTS, run);
}

static void unmap_pmd(struct fperf_sim *sim, const struct fperf_run *run)
{
	track(sim, run, -1);
	fperf_counts_unmap_pmd(sim, &COUNTS, run);
}

static void split_pmd(struct fperf_sim *sim, const struct fperf_run *run)
{
	track_ptes(sim, run, 1);
	fperf_counts_split_pmd(sim, &COUNTS, run);
	track(sim, run, -1);
}

static int64_t load_total(struct fperf_sim *sim, uint64_t folio)
{
	return (int64_t)(int32_t)fperf_load32(&sim->door, FPERF_FIELD_LARGE_MAPCOUNT,
					      fperf_in_tail1(sim, folio, TOTAL)) +
	       1;
}

/* Is value = C times a string of digits 0 and 1? */
static bool of_one_mm(uint64_t value, uint64_t total, uint32_t order)
{
	const uint64_t base = (1ull << order) + 1;

	if (value % total)
		return false;
	for (value /= total; value; value /= base)
		if (value % base > 1)
			return false;
	return true;
}

/* A reader tries again if a writer was about. */
static bool shared(struct fperf_sim *sim, const struct fperf_query *query)
{
	struct fperf_door *const door = &sim->door;
	uint64_t before, after;
	bool one;

	do {
		int64_t total;

		before = fperf_load64(door, FPERF_FIELD_RMAP_SEQUENCE, sequence(sim, query->folio));
		total = load_total(sim, query->folio);
		if (total <= 1)
			return false;
		/* One mm may map a page more than once; digits then overflow, and nobody can tell. */
		if (total > 1ll << query->order)
			return true;
		one = true;
		for (unsigned int j = 0; j < nr_values(query->order) && one; j++)
			one = of_one_mm(fperf_load64(door, FPERF_FIELD_RMAP_VALUE,
						     value_at(sim, query->folio, query->order, j)),
					(uint64_t)total, query->order);
		after = fperf_load64(door, FPERF_FIELD_RMAP_SEQUENCE, sequence(sim, query->folio));
	} while (before & WRITERS || before != after);
	return !one;
}

static enum fperf_answer answer(struct fperf_sim *sim, enum fperf_question question, const struct fperf_query *query,
				int64_t *value)
{
	if (!query->order)
		return fperf_small_answer(sim, question, query, value);
	fperf_ask_if_large(sim, query);
	switch (question) {
	case FPERF_ASK_MAPPED:
		*value = load_total(sim, query->folio);
		return *value > 0;
	case FPERF_ASK_SHARED:
		return shared(sim, query);
	case FPERF_ASK_TOTAL_MAPCOUNT:
	case FPERF_ASK_MAPPING_REFS:
		*value = load_total(sim, query->folio);
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

const struct fperf_scheme_ops FPERF_SCHEME(rmap_id) = {
	.name = "rmap_id",
	.nr_variants = NR_VARIANTS,
	.pincount_at = pincount_at,
	.mm_id_bits = mm_id_bits,
	.exclusive_is_certain = true,
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
