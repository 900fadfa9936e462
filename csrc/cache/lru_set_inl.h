/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One set of an LRU cache in one 64-byte line: up to 16 entries of 32 bits, youngest first, 0 where a way is empty. The
 * dirty bit travels with its line. A touch finds the entry and makes it the youngest, or puts it in and pushes the
 * oldest out: the same rotation, without a branch, in three forms that leave the same bits.
 *
 * The forms for AVX2 and AVX-512 are inlined only into functions of the same target attribute (simd.h); their caller
 * makes sure that fperf_simd_choose() allowed them.
 */
#ifndef FPERF_LRU_SET_INL_H
#define FPERF_LRU_SET_INL_H

#include <stdint.h>

#include "cache/simd.h"

#if FPERF_SIMD_X86
#include <immintrin.h>
#endif

#define FPERF_LRU_MAX_WAYS 16

/* An entry: line << 2 | FPERF_LRU_VALID | FPERF_LRU_DIRTY. */
#define FPERF_LRU_DIRTY 1u
#define FPERF_LRU_VALID 2u
#define FPERF_LRU_LINE_SHIFT 2
/* Lines are 0 to this - 1. */
#define FPERF_LRU_MAX_LINES (1ull << 30)

struct fperf_lru_set {
	_Alignas(64) uint32_t way[FPERF_LRU_MAX_WAYS];
};

struct fperf_lru_touch {
	uint32_t hit;  /* 1 or 0 */
	uint32_t victim; /* the entry that left, with its dirty bit; 0 if none did */
};

static inline uint32_t fperf_lru_entry(uint32_t line, uint32_t dirty)
{
	return line << FPERF_LRU_LINE_SHIFT | FPERF_LRU_VALID | dirty;
}

static inline uint32_t fperf_lru_line(uint32_t entry)
{
	return entry >> FPERF_LRU_LINE_SHIFT;
}

/* Is `entry` the youngest line of the set? Then a touch changes its dirty bit at most: fperf_lru_again(). */
static inline int fperf_lru_is_youngest(const struct fperf_lru_set *set, uint32_t entry)
{
	return !((set->way[0] ^ entry) & ~FPERF_LRU_DIRTY);
}

/* Does not store what is there already: a load after it then need not wait for the store. */
static inline void fperf_lru_again(struct fperf_lru_set *set, uint32_t entry)
{
	if (entry & ~set->way[0])
		set->way[0] = entry;
}

static inline struct fperf_lru_touch fperf_lru_touch_portable(struct fperf_lru_set *set, uint32_t nr_ways,
							      uint32_t entry)
{
	const uint32_t last = nr_ways - 1;
	uint32_t carried = entry, way = 0, hit, found;

	/* Everything moves one way on until the line or the last way is reached. */
	for (;;) {
		found = set->way[way];
		set->way[way] = carried;
		hit = !((found ^ entry) & ~FPERF_LRU_DIRTY);
		if (hit | (way == last))
			break;
		carried = found;
		way++;
	}
	set->way[0] |= found & hit;
	return (struct fperf_lru_touch){ .hit = hit, .victim = found & (hit - 1) };
}

#if FPERF_SIMD_X86

FPERF_TARGET_AVX2 static inline struct fperf_lru_touch fperf_lru_touch_avx2(struct fperf_lru_set *set, uint32_t nr_ways,
									    uint32_t entry)
{
	__m256i *const halves = (__m256i *)set->way;
	const __m256i low = _mm256_load_si256(&halves[0]), high = _mm256_load_si256(&halves[1]);
	const __m256i clean = _mm256_set1_epi32((int)~FPERF_LRU_DIRTY);
	const __m256i wanted = _mm256_set1_epi32((int)(entry & ~FPERF_LRU_DIRTY));
	const __m256i rotate = _mm256_setr_epi32(7, 0, 1, 2, 3, 4, 5, 6);
	const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
	const uint32_t in_low = (uint32_t)_mm256_movemask_ps(
		_mm256_castsi256_ps(_mm256_cmpeq_epi32(_mm256_and_si256(low, clean), wanted)));
	const uint32_t in_high = (uint32_t)_mm256_movemask_ps(
		_mm256_castsi256_ps(_mm256_cmpeq_epi32(_mm256_and_si256(high, clean), wanted)));
	const uint32_t found = in_low | in_high << 8;
	const uint32_t way = (uint32_t)__builtin_ctz(found | 1u << (nr_ways - 1));
	const uint32_t hit = found != 0, here = set->way[way];
	const __m256i last = _mm256_set1_epi32((int)way);
	const __m256i first = _mm256_set1_epi32((int)(entry | (here & hit)));
	const __m256i low_rotated = _mm256_permutevar8x32_epi32(low, rotate);
	const __m256i high_rotated = _mm256_permutevar8x32_epi32(high, rotate);
	const __m256i low_moved = _mm256_blend_epi32(low_rotated, first, 1);
	const __m256i high_moved = _mm256_blend_epi32(high_rotated, low_rotated, 1);

	/* Lanes after `way` stay. */
	_mm256_store_si256(&halves[0], _mm256_blendv_epi8(low_moved, low, _mm256_cmpgt_epi32(lane, last)));
	_mm256_store_si256(&halves[1],
			   _mm256_blendv_epi8(high_moved, high,
					      _mm256_cmpgt_epi32(_mm256_add_epi32(lane, _mm256_set1_epi32(8)), last)));
	return (struct fperf_lru_touch){ .hit = hit, .victim = here & (hit - 1) };
}

FPERF_TARGET_AVX512 static inline struct fperf_lru_touch fperf_lru_touch_avx512(struct fperf_lru_set *set,
										uint32_t nr_ways, uint32_t entry)
{
	const __m512i ways = _mm512_load_si512(set->way);
	const __m512i differ = _mm512_xor_si512(ways, _mm512_set1_epi32((int)entry));
	const uint32_t found = _mm512_testn_epi32_mask(differ, _mm512_set1_epi32((int)~FPERF_LRU_DIRTY));
	const uint32_t way = (uint32_t)__builtin_ctz(found | 1u << (nr_ways - 1));
	const uint32_t hit = found != 0, here = set->way[way];
	const __m512i first = _mm512_set1_epi32((int)(entry | (here & hit)));

	_mm512_store_si512(set->way, _mm512_mask_alignr_epi32(ways, (__mmask16)((2u << way) - 1), ways, first, 15));
	return (struct fperf_lru_touch){ .hit = hit, .victim = here & (hit - 1) };
}

#endif

#endif
