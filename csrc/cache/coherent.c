/* SPDX-License-Identifier: BSD-3-Clause */
#include "cache/coherent.h"

#include <string.h>

#include "cache/coherence.h"

enum { AHEAD = 24, SOON = 8 };

static struct fperf_lru_set *set_of(const struct fperf_level *level, uint32_t entry)
{
	return &level->sets[fperf_lru_line(entry) & (uint32_t)level->store.set_mask];
}

static uint32_t entry_of(const struct fperf_hierarchy *h, uint64_t line)
{
	return fperf_lru_entry((uint32_t)(line - h->state->base), 0);
}

/* ---- what the rules of coherence ask of a level ------------------------------------------------------------------ */

/* Where an entry stands in its set, or nr_ways. */
static uint32_t find(const struct fperf_level *level, uint32_t entry)
{
	const uint32_t *const way = set_of(level, entry)->way;
	uint32_t found = 0;

#if FPERF_SIMD_X86
	const __m128i *const quarter = (const __m128i *)way;
	const __m128i clean = _mm_set1_epi32((int)~FPERF_LRU_DIRTY);
	const __m128i wanted = _mm_set1_epi32((int)(entry & ~FPERF_LRU_DIRTY));
	__m128i same[4];

	for (unsigned int i = 0; i < 4; i++)
		same[i] = _mm_cmpeq_epi32(_mm_and_si128(_mm_load_si128(&quarter[i]), clean), wanted);
	found = (uint32_t)_mm_movemask_epi8(
		_mm_packs_epi16(_mm_packs_epi32(same[0], same[1]), _mm_packs_epi32(same[2], same[3])));
#else
	for (uint32_t i = 0; i < FPERF_LRU_MAX_WAYS; i++)
		found |= (uint32_t)!((way[i] ^ entry) & ~FPERF_LRU_DIRTY) << i;
#endif
	return found ? (uint32_t)__builtin_ctz(found) : level->store.nr_ways;
}

uint64_t fperf_coherent_held(const struct fperf_hierarchy *h, const struct fperf_level *level, uint64_t line)
{
	const uint32_t entry = entry_of(h, line), way = find(level, entry);

	if (way == level->store.nr_ways)
		return 0;
	return FPERF_ENTRY_VALID | (set_of(level, entry)->way[way] & FPERF_LRU_DIRTY ? FPERF_ENTRY_DIRTY : 0);
}

void fperf_coherent_clean(const struct fperf_hierarchy *h, const struct fperf_level *level, uint64_t line)
{
	const uint32_t entry = entry_of(h, line), way = find(level, entry);

	if (way < level->store.nr_ways)
		set_of(level, entry)->way[way] &= ~FPERF_LRU_DIRTY;
}

void fperf_coherent_lose(const struct fperf_hierarchy *h, const struct fperf_level *level, uint64_t line)
{
	const uint32_t entry = entry_of(h, line), last = level->store.nr_ways - 1;
	uint32_t *const ways = set_of(level, entry)->way;
	uint32_t way = find(level, entry);

	if (way > last)
		return;
	for (; way < last; way++)
		ways[way] = ways[way + 1];
	ways[last] = 0;
}

/* ---- what an access will touch ----------------------------------------------------------------------------------- */

static inline void prefetch(const struct fperf_hierarchy *h, uint64_t line, uint32_t cpu)
{
	const struct fperf_coherence *const c = h->coherence;

	__builtin_prefetch(fperf_coherence_slot(c, FPERF_FILTER_HELD, line), 1);
	for (unsigned int at = 1; at < h->config.nr_levels; at++)
		__builtin_prefetch(set_of(c->route[cpu].path[at], entry_of(h, line)), 1);
}

/* The sets that the lines now oldest would be written back to. */
static inline void prefetch_victims(const struct fperf_hierarchy *h, uint64_t line, uint32_t cpu)
{
	struct fperf_level *const *const path = h->coherence->route[cpu].path;

	for (unsigned int at = 1; at + 1 < h->config.nr_levels; at++) {
		const uint32_t oldest = set_of(path[at], entry_of(h, line))->way[path[at]->store.nr_ways - 1];

		if (oldest & FPERF_LRU_DIRTY)
			__builtin_prefetch(set_of(path[at + 1], oldest), 1);
	}
}

/* ---- one access, depth first ------------------------------------------------------------------------------------- */

/* A level's victim goes below after the line has come, so the deepest one's goes first. */
#define DEFINE_SERVE(form, target)											\
	target static inline void write_below_##form(struct fperf_hierarchy *h, unsigned int at, uint32_t victim)	\
	{														\
		struct fperf_coherence *const c = h->coherence;								\
															\
		while (victim & FPERF_LRU_DIRTY) {									\
			const struct fperf_level *const below = h->path[at + 1];					\
			const uint64_t line = h->state->base + fperf_lru_line(victim);					\
			struct fperf_lru_touch touch;									\
															\
			h->count[at].writebacks_out++;									\
			h->count[++at].writebacks_in++;									\
			if (!below)											\
				return;											\
			touch = fperf_lru_touch_##form(set_of(below, victim), below->store.nr_ways, victim);		\
			if (c->own[at] < c->nr_foreign) {								\
				fperf_coherence_mark(c, FPERF_FILTER_DIRTY, c->own[at], line);				\
				if (!touch.hit)										\
					fperf_coherence_note(h, c->own[at], line);					\
			}												\
			victim = touch.victim;										\
		}													\
	}														\
															\
	target static inline void fetch_##form(struct fperf_hierarchy *h, uint32_t entry, uint32_t victim)		\
	{														\
		struct fperf_coherence *const c = h->coherence;								\
		struct fperf_level_counters *const count = h->count;							\
		const uint64_t line = h->state->base + fperf_lru_line(entry);						\
		const struct fperf_level *level;									\
		uint32_t victims[FPERF_HIERARCHY_MAX_LEVELS];								\
		unsigned int at;											\
															\
		victims[0] = victim;											\
		for (at = 1; (level = h->path[at]); at++) {								\
			struct fperf_lru_touch touch;									\
															\
			touch = fperf_lru_touch_##form(set_of(level, entry), level->store.nr_ways, entry);		\
			count[at].fetches++;										\
			victims[at] = touch.victim;									\
			if (touch.hit) {										\
				count[at].hits++;									\
				break;											\
			}												\
			count[at].misses++;										\
			if (c->own[at] != c->own[at - 1] && c->own[at] < c->nr_foreign)					\
				fperf_coherence_note(h, c->own[at], line);						\
		}													\
		if (!level) {												\
			if (c->source == FPERF_SOURCE_CLEAN &&								\
			    !fperf_coherence_has_candidates(c, FPERF_FILTER_HELD, line))				\
				c->source = FPERF_SOURCE_MEMORY;							\
			if (c->source == FPERF_SOURCE_MEMORY || !fperf_coherence_delivers(h, line)) {			\
				count[at].fetches++;									\
				fperf_coherence_look_home(h, line);							\
			}												\
			at--;												\
		}													\
		for (;; at--) {												\
			if (victims[at] & FPERF_LRU_DIRTY)								\
				write_below_##form(h, at, victims[at]);							\
			if (!at)											\
				return;											\
		}													\
	}														\
															\
	target static inline void serve_##form(struct fperf_hierarchy *h, uint32_t entry, bool write)			\
	{														\
		struct fperf_coherence *const c = h->coherence;								\
		const struct fperf_level *const first = h->path[0];							\
		struct fperf_lru_set *const set = set_of(first, entry);							\
		const uint64_t line = h->state->base + fperf_lru_line(entry);						\
		struct fperf_lru_touch touch = { .hit = 1 };								\
															\
		h->count[0].fetches++;											\
		if (!fperf_lru_is_youngest(set, entry))									\
			touch = fperf_lru_touch_##form(set, first->store.nr_ways, entry);				\
		/* A line that is dirty in the first level is nowhere else but on the way down from it. */		\
		if (touch.hit && (!write || set->way[0] & FPERF_LRU_DIRTY)) {						\
			h->count[0].hits++;										\
			return;												\
		}													\
		c->source = FPERF_SOURCE_CLEAN;										\
		if (fperf_coherence_has_candidates(c, write ? FPERF_FILTER_HELD : FPERF_FILTER_DIRTY, line))		\
			fperf_coherence_acquire(h, line, write, touch.hit);						\
		if (write) {												\
			set->way[0] |= FPERF_LRU_DIRTY;									\
			fperf_coherence_mark(c, FPERF_FILTER_DIRTY, c->own[0], line);					\
		}													\
		if (touch.hit) {											\
			h->count[0].hits++;										\
			return;												\
		}													\
		h->count[0].misses++;											\
		fperf_coherence_note(h, c->own[0], line);								\
		fetch_##form(h, entry, touch.victim);									\
	}														\
															\
	target __attribute__((noinline)) static void access_##form(							\
		struct fperf_hierarchy *h, const uint64_t *address, const uint8_t *write, const uint8_t *cpu,		\
		const uint8_t *klass, size_t nr)									\
	{														\
		const unsigned int shift = h->config.line_shift;							\
															\
		for (size_t i = 0; i < nr; i++) {									\
			if (cpu && cpu[i] != h->coherence->cpu)								\
				fperf_coherence_enter(h, cpu[i]);							\
			if (klass)											\
				fperf_hierarchy_serve_class(h, klass[i]);						\
			if (i + AHEAD < nr)										\
				prefetch(h, address[i + AHEAD] >> shift, cpu ? cpu[i + AHEAD] : 0);			\
			if (i + SOON < nr)										\
				prefetch_victims(h, address[i + SOON] >> shift, cpu ? cpu[i + SOON] : 0);		\
			serve_##form(h, entry_of(h, address[i] >> shift), write && write[i]);				\
		}													\
	}

DEFINE_SERVE(portable, )

#if FPERF_SIMD_X86
DEFINE_SERVE(avx2, FPERF_TARGET_AVX2)
DEFINE_SERVE(avx512, FPERF_TARGET_AVX512)
#endif

void fperf_coherent_write_below(struct fperf_hierarchy *h, unsigned int at, uint64_t line)
{
	write_below_portable(h, at, entry_of(h, line) | FPERF_LRU_DIRTY);
}

void fperf_coherent_access(struct fperf_hierarchy *h, const uint64_t *address, const uint8_t *write, const uint8_t *cpu,
			   const uint8_t *klass, size_t nr)
{
#if FPERF_SIMD_X86
	if (h->simd == FPERF_SIMD_AVX512) {
		access_avx512(h, address, write, cpu, klass, nr);
		return;
	}
	if (h->simd == FPERF_SIMD_AVX2) {
		access_avx2(h, address, write, cpu, klass, nr);
		return;
	}
#endif
	access_portable(h, address, write, cpu, klass, nr);
}
