/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The fast engine: LRU, write-back, write-allocate, NINE. Under NINE nothing flows back from a level to the one above, so
 * a block of accesses goes through one level after the other: what the first sends down, fetches and dirty victims in
 * their order, is the second one's input. Cost is per visit of a set, one line read and written; the next sets are
 * prefetched.
 */
#include "cache/hierarchy_inl.h"

#include <pthread.h>
#include <string.h>

enum {
	BLOCK = 2048,
	AHEAD = 20, /* sets prefetched before their visit */
	SLACK = 32, /* entries that may be read or written past the end of a block's operations */
	/* Each operation sends at most two down. */
	MAX_OPERATIONS = (BLOCK << FPERF_HIERARCHY_MAX_LEVELS) + SLACK,
	MAX_VISITS = BLOCK << (FPERF_HIERARCHY_MAX_LEVELS - 1),
	/* Below this a second thread costs more than it saves. */
	MIN_ACCESSES_PER_THREAD = 1 << 16,
};

/* An operation is an entry: at the first level its dirty bit means a write, below it a write-back. */
struct block {
	_Alignas(64) uint32_t operations[2][MAX_OPERATIONS];
	_Alignas(64) uint64_t down[MAX_VISITS + SLACK]; /* fetch below | victim to write back << 32, each 0 for none */
};

/* Every access of a slice of the sets: those whose line is `part` modulo nr_parts. */
struct part {
	struct fperf_hierarchy *h;
	const uint64_t *address;
	const uint8_t *write;
	size_t nr;
	uint32_t number, nr_parts;
	uint64_t often_youngest;
	struct fperf_level_counters count[FPERF_HIERARCHY_MAX_LEVELS + 1];
	struct block *block;
};

/*
 * Visit the set of each operation. The first level's operations are all fetches. `youngest` tells how many met the line
 * that its set had used last. Returns how many entries of `down` were written.
 */
#define DEFINE_VISITS(form, target)											\
	target __attribute__((noinline)) static size_t visit_first_##form(						\
		struct fperf_lru_set *sets, uint32_t mask, uint32_t nr_ways, const uint32_t *operation, size_t nr,	\
		uint64_t *down, size_t *youngest)									\
	{														\
		size_t found = 0;											\
															\
		for (size_t i = 0; i < nr; i++) {									\
			const uint32_t entry = operation[i];								\
			struct fperf_lru_set *const set = &sets[fperf_lru_line(entry) & mask];				\
			struct fperf_lru_touch touch;									\
															\
			found += (size_t)fperf_lru_is_youngest(set, entry);						\
			touch = fperf_lru_touch_##form(set, nr_ways, entry);						\
			down[i] = ((uint64_t)(touch.victim & -(touch.victim & FPERF_LRU_DIRTY)) << 32) |		\
				  ((entry & ~FPERF_LRU_DIRTY) & (touch.hit - 1));					\
		}													\
		*youngest = found;											\
		return nr;												\
	}														\
															\
	/* The same, where most operations meet the youngest line: those end at once. */				\
	target __attribute__((noinline)) static size_t visit_youngest_##form(						\
		struct fperf_lru_set *sets, uint32_t mask, uint32_t nr_ways, const uint32_t *operation, size_t nr,	\
		uint64_t *down, size_t *youngest)									\
	{														\
		size_t out = 0;												\
															\
		for (size_t i = 0; i < nr; i++) {									\
			const uint32_t entry = operation[i];								\
			struct fperf_lru_set *const set = &sets[fperf_lru_line(entry) & mask];				\
			struct fperf_lru_touch touch;									\
															\
			if (fperf_lru_is_youngest(set, entry)) {							\
				fperf_lru_again(set, entry);								\
				continue;										\
			}												\
			touch = fperf_lru_touch_##form(set, nr_ways, entry);						\
			down[out++] = ((uint64_t)(touch.victim & -(touch.victim & FPERF_LRU_DIRTY)) << 32) |		\
				      ((entry & ~FPERF_LRU_DIRTY) & (touch.hit - 1));					\
		}													\
		*youngest = nr - out;											\
		return out;												\
	}														\
															\
	target __attribute__((noinline)) static size_t visit_below_##form(						\
		struct fperf_lru_set *sets, uint32_t mask, uint32_t nr_ways, const uint32_t *operation, size_t nr,	\
		uint64_t *down, size_t *youngest)									\
	{														\
		(void)youngest;												\
		for (size_t i = 0; i < nr; i++) {									\
			const uint32_t entry = operation[i];								\
			struct fperf_lru_touch touch;									\
															\
			__builtin_prefetch(&sets[fperf_lru_line(operation[i + AHEAD]) & mask], 1);			\
			touch = fperf_lru_touch_##form(&sets[fperf_lru_line(entry) & mask], nr_ways, entry);		\
			/* A write-back that misses takes a way, and fetches nothing. */				\
			down[i] = ((uint64_t)(touch.victim & -(touch.victim & FPERF_LRU_DIRTY)) << 32) |		\
				  (entry & (touch.hit - 1) & ((entry & FPERF_LRU_DIRTY) - 1));				\
		}													\
		return nr;												\
	}

/* Squeeze the empty halves out; returns how many operations there are, *dirty how many of them are write-backs. */
static size_t squeeze_portable(const uint64_t *down, size_t nr, uint32_t *operation, size_t *dirty)
{
	size_t out = 0, written = 0;

	for (size_t i = 0; i < nr; i++) {
		const uint32_t fetch = (uint32_t)down[i], victim = (uint32_t)(down[i] >> 32);

		operation[out] = fetch;
		out += fetch != 0;
		operation[out] = victim;
		out += victim != 0;
		written += victim != 0;
	}
	*dirty = written;
	return out;
}

/* Addresses to operations, those of other parts left out. */
static size_t pack_portable(const struct part *part, size_t from, size_t nr, uint32_t *operation)
{
	const unsigned int shift = part->h->config.line_shift;
	const uint64_t base = part->h->state->base;
	const uint32_t others = part->nr_parts - 1;
	size_t out = 0;

	for (size_t i = from; i < from + nr; i++) {
		const uint32_t line = (uint32_t)((part->address[i] >> shift) - base);

		operation[out] = fperf_lru_entry(line, part->write && part->write[i]);
		out += (line & others) == part->number;
	}
	return out;
}

static void span_portable(const uint64_t *address, size_t nr, uint64_t *min, uint64_t *max)
{
	uint64_t low = address[0], high = address[0];

	for (size_t i = 1; i < nr; i++) {
		low = address[i] < low ? address[i] : low;
		high = address[i] > high ? address[i] : high;
	}
	*min = low;
	*max = high;
}

DEFINE_VISITS(portable, )

#if FPERF_SIMD_X86
DEFINE_VISITS(avx2, FPERF_TARGET_AVX2)
DEFINE_VISITS(avx512, FPERF_TARGET_AVX512)

FPERF_TARGET_AVX512 static size_t squeeze_avx512(const uint64_t *down, size_t nr, uint32_t *operation, size_t *dirty)
{
	size_t out = 0, written = 0, i = 0;

	for (; i + 8 <= nr; i += 8) {
		const __m512i pairs = _mm512_loadu_si512(down + i);
		const __mmask16 used = _mm512_test_epi32_mask(pairs, pairs);

		_mm512_storeu_si512(operation + out, _mm512_maskz_compress_epi32(used, pairs));
		out += (size_t)__builtin_popcount(used);
		written += (size_t)__builtin_popcount(used & 0xaaaau);
	}
	*dirty = 0;
	out += squeeze_portable(down + i, nr - i, operation + out, dirty);
	*dirty += written;
	return out;
}

FPERF_TARGET_AVX512 static size_t pack_avx512(const struct part *part, size_t from, size_t nr, uint32_t *operation)
{
	const __m128i shift = _mm_cvtsi32_si128((int)part->h->config.line_shift);
	const __m512i base = _mm512_set1_epi64((long long)part->h->state->base);
	const __m512i others = _mm512_set1_epi32((int)((part->nr_parts - 1) << FPERF_LRU_LINE_SHIFT));
	const __m512i number = _mm512_set1_epi32((int)(part->number << FPERF_LRU_LINE_SHIFT));
	const uint64_t *const address = part->address + from;
	size_t out = 0, i = 0;

	for (; i + 16 <= nr; i += 16) {
		const __m512i low = _mm512_sub_epi64(_mm512_srl_epi64(_mm512_loadu_si512(address + i), shift), base);
		const __m512i high =
			_mm512_sub_epi64(_mm512_srl_epi64(_mm512_loadu_si512(address + i + 8), shift), base);
		const __m512i lines = _mm512_inserti64x4(_mm512_castsi256_si512(_mm512_cvtepi64_epi32(low)),
							 _mm512_cvtepi64_epi32(high), 1);
		__m512i entries = _mm512_or_si512(_mm512_slli_epi32(lines, FPERF_LRU_LINE_SHIFT),
						  _mm512_set1_epi32(FPERF_LRU_VALID));
		__mmask16 mine;

		if (part->write) {
			const __m128i writes = _mm_loadu_si128((const __m128i *)(part->write + from + i));

			entries = _mm512_mask_or_epi32(entries, _mm_test_epi8_mask(writes, writes), entries,
						       _mm512_set1_epi32(FPERF_LRU_DIRTY));
		}
		if (part->nr_parts == 1) {
			_mm512_storeu_si512(operation + out, entries);
			out += 16;
			continue;
		}
		mine = _mm512_cmpeq_epi32_mask(_mm512_and_si512(entries, others), number);
		_mm512_storeu_si512(operation + out, _mm512_maskz_compress_epi32(mine, entries));
		out += (size_t)__builtin_popcount(mine);
	}
	return out + pack_portable(part, from + i, nr - i, operation + out);
}

FPERF_TARGET_AVX512 static void span_avx512(const uint64_t *address, size_t nr, uint64_t *min, uint64_t *max)
{
	__m512i low = _mm512_set1_epi64((long long)address[0]), high = low;
	size_t i = 0;

	for (; i + 8 <= nr; i += 8) {
		const __m512i eight = _mm512_loadu_si512(address + i);

		low = _mm512_min_epu64(low, eight);
		high = _mm512_max_epu64(high, eight);
	}
	*min = _mm512_reduce_min_epu64(low);
	*max = _mm512_reduce_max_epu64(high);
	for (; i < nr; i++) {
		*min = address[i] < *min ? address[i] : *min;
		*max = address[i] > *max ? address[i] : *max;
	}
}
#endif

struct form {
	size_t (*visit_first)(struct fperf_lru_set *, uint32_t, uint32_t, const uint32_t *, size_t, uint64_t *,
			      size_t *);
	size_t (*visit_youngest)(struct fperf_lru_set *, uint32_t, uint32_t, const uint32_t *, size_t, uint64_t *,
				 size_t *);
	size_t (*visit_below)(struct fperf_lru_set *, uint32_t, uint32_t, const uint32_t *, size_t, uint64_t *,
			      size_t *);
	size_t (*squeeze)(const uint64_t *, size_t, uint32_t *, size_t *);
	size_t (*pack)(const struct part *, size_t, size_t, uint32_t *);
	void (*span)(const uint64_t *, size_t, uint64_t *, uint64_t *);
};

/* Nothing but the visits gains from AVX2, which has no compress. */
static const struct form forms[FPERF_NR_SIMD] = {
	[FPERF_SIMD_PORTABLE] = { visit_first_portable, visit_youngest_portable, visit_below_portable, squeeze_portable,
				  pack_portable, span_portable },
#if FPERF_SIMD_X86
	[FPERF_SIMD_AVX2] = { visit_first_avx2, visit_youngest_avx2, visit_below_avx2, squeeze_portable, pack_portable,
			      span_portable },
	[FPERF_SIMD_AVX512] = { visit_first_avx512, visit_youngest_avx512, visit_below_avx512, squeeze_avx512,
				pack_avx512, span_avx512 },
#endif
};

/*
 * Loops over a few arrays touch the same few lines in turn, again and again. Where `period` operations repeat those just
 * before them, writes included, they hit, and leave every set as it was: the lines are there, in the order of their last
 * use. Such rounds are left out; returns how many operations stay. The first level has at least `period` ways.
 */
static size_t leave_out_rounds(uint32_t *operation, size_t nr, size_t period)
{
	size_t out = period;

	if (nr <= period)
		return nr;
	/* What is compared, at i - period or later, is never written yet: out stays at or below it once something is out. */
	for (size_t i = period; i < nr;) {
		size_t same = i;

		while (same < nr && operation[same] == operation[same - period])
			same++;
		i += (same - i) / period * period;
		while (i <= same && i < nr)
			operation[out++] = operation[i++];
	}
	return out;
}

/* Of how many operations the rounds are, if any repeat; 0: not worth a look at the whole block. */
static size_t period_of(const uint32_t *operation, size_t nr, uint32_t nr_ways)
{
	enum { SAMPLE = 128, LONGEST = 4 };

	if (nr < SAMPLE)
		return 0;
	for (size_t period = 2; period <= LONGEST && period <= nr_ways; period++) {
		size_t same = 0;

		for (size_t i = LONGEST; i < SAMPLE; i++)
			same += operation[i] == operation[i - period];
		/* One line of several that comes back makes no round. */
		if (same > SAMPLE * 13 / 16)
			return period;
	}
	return 0;
}

/* A block's operations, in block->operations[0], through all levels. */
static void descend(struct part *part, size_t nr)
{
	const struct fperf_hierarchy *const h = part->h;
	const struct form *const form = &forms[h->simd];
	struct block *const block = part->block;
	uint32_t *operation = block->operations[0], *next = block->operations[1];
	const size_t period = period_of(operation, nr, h->level[0].store.nr_ways);
	size_t dirty = 0;

	if (period) {
		const size_t left = leave_out_rounds(operation, nr, period);

		part->count[0].fetches += nr - left;
		part->count[0].hits += nr - left;
		nr = left;
	}
	for (unsigned int i = 0; i < h->config.nr_levels; i++) {
		const struct fperf_level *const level = &h->level[i];
		struct fperf_level_counters *const count = &part->count[i];
		const uint32_t mask = (uint32_t)level->store.set_mask;
		const uint32_t nr_ways = level->store.nr_ways;
		const size_t written = dirty;
		uint32_t *const swap = operation;
		size_t nr_down, nr_next, youngest;

		if (i) {
			memset(operation + nr, 0, AHEAD * sizeof(*operation));
			nr_down = form->visit_below(level->sets, mask, nr_ways, operation, nr, block->down, NULL);
		} else {
			nr_down = (part->often_youngest ? form->visit_youngest : form->visit_first)(
				level->sets, mask, nr_ways, operation, nr, block->down, &youngest);
			part->often_youngest = youngest * 2 > nr;
		}
		nr_next = form->squeeze(block->down, nr_down, next, &dirty);
		count->fetches += nr - written;
		count->writebacks_in += written;
		count->misses += nr_next - dirty;
		count->hits += nr - written - (nr_next - dirty);
		count->writebacks_out += dirty;
		operation = next;
		next = swap;
		nr = nr_next;
	}
	part->count[h->config.nr_levels].fetches += nr - dirty;
	part->count[h->config.nr_levels].writebacks_in += dirty;
}

static void *serve(void *argument)
{
	struct part *const part = argument;
	const struct form *const form = &forms[part->h->simd];

	for (size_t from = 0; from < part->nr; from += BLOCK) {
		const size_t nr = part->nr - from < BLOCK ? part->nr - from : BLOCK;

		descend(part, form->pack(part, from, nr, part->block->operations[0]));
	}
	return NULL;
}

static void add_up(struct fperf_hierarchy *h, const struct part *part)
{
	for (unsigned int i = 0; i <= h->config.nr_levels; i++) {
		struct fperf_level_counters *const sum = &h->state->count[0][i];
		const struct fperf_level_counters *const more = &part->count[i];

		sum->fetches += more->fetches;
		sum->hits += more->hits;
		sum->misses += more->misses;
		sum->writebacks_in += more->writebacks_in;
		sum->writebacks_out += more->writebacks_out;
	}
	h->state->often_youngest = part->often_youngest;
}

int fperf_bulk_access(struct fperf_hierarchy *h, const uint64_t *address, const uint8_t *write, size_t nr)
{
	const uint32_t nr_parts = nr < (size_t)h->nr_threads * MIN_ACCESSES_PER_THREAD ? 1 : h->nr_threads;
	struct part part[FPERF_HIERARCHY_MAX_THREADS];
	pthread_t thread[FPERF_HIERARCHY_MAX_THREADS];
	bool started[FPERF_HIERARCHY_MAX_THREADS] = { false };
	struct block *blocks;

	if (posix_memalign((void **)&blocks, 64, nr_parts * sizeof(*blocks)))
		return FPERF_ERR(NO_MEMORY);
	for (uint32_t i = 0; i < nr_parts; i++)
		part[i] = (struct part){
			.h = h,
			.address = address,
			.write = write,
			.nr = nr,
			.number = i,
			.nr_parts = nr_parts,
			.often_youngest = h->state->often_youngest,
			.block = &blocks[i],
		};
	for (uint32_t i = 1; i < nr_parts; i++)
		started[i] = !pthread_create(&thread[i], NULL, serve, &part[i]);
	for (uint32_t i = 0; i < nr_parts; i++)
		if (!started[i])
			serve(&part[i]);
	for (uint32_t i = 0; i < nr_parts; i++) {
		if (started[i])
			pthread_join(thread[i], NULL);
		add_up(h, &part[i]);
	}
	free(blocks);
	return 0;
}

int fperf_bulk_run(struct fperf_hierarchy *h, uint64_t line, uint64_t nr, bool write)
{
	struct part part = { .h = h, .nr_parts = 1, .often_youngest = h->state->often_youngest };
	const uint32_t first = (uint32_t)(line - h->state->base);

	if (posix_memalign((void **)&part.block, 64, sizeof(*part.block)))
		return FPERF_ERR(NO_MEMORY);
	for (uint64_t from = 0; from < nr; from += BLOCK) {
		const uint32_t some = (uint32_t)(nr - from < BLOCK ? nr - from : BLOCK);

		for (uint32_t i = 0; i < some; i++)
			part.block->operations[0][i] = fperf_lru_entry(first + (uint32_t)from + i, write);
		descend(&part, some);
	}
	add_up(h, &part);
	free(part.block);
	return 0;
}

bool fperf_bulk_fits(struct fperf_hierarchy *h, uint64_t first_line, uint64_t last_line)
{
	/* A multiple of the number of sets of every level, so that a line's set is that of its distance from base. */
	const uint64_t unit = 1ull << 24;

	if (!h->state->base_known) {
		h->state->base = first_line & ~(unit - 1);
		h->state->base_known = 1;
	}
	return first_line >= h->state->base && last_line - h->state->base < FPERF_LRU_MAX_LINES;
}

void fperf_bulk_span(enum fperf_simd simd, const uint64_t *address, size_t nr, uint64_t *min, uint64_t *max)
{
	forms[simd].span(address, nr, min, max);
}
