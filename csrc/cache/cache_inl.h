/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a cache is made of, for its own files. There are two engines with equal results. `grouped` knows up to 16 ways and
 * lines below 2^30, and is fast; a cache begins with it where it can and leaves it for `plain` at the first line beyond.
 */
#ifndef FPERF_CACHE_INL_H
#define FPERF_CACHE_INL_H

#include "cache/cache.h"
#include "cache/lru_set_inl.h"

enum {
	FPERF_GROUP_SHIFT = 3,
	FPERF_GROUP_LINES = 1
		<< FPERF_GROUP_SHIFT, /* sets of a group, and lines of an aligned run that visits each once */
	FPERF_GROUP_ALL = (1 << FPERF_GROUP_LINES) - 1,
};

struct fperf_cache_level {
	uint64_t set_mask;
	uint32_t nr_ways;
	uint32_t group_mask;
	/*
	 * `grouped`. Eight sets are a group. Bit i of apart[group]: its set number i is kept in `sets`. The others hold the
	 * same runs of eight lines in the same order, all dirty alike; common[group] has the numbers of the runs (line >>
	 * FPERF_GROUP_SHIFT) for all of them.
	 */
	struct fperf_lru_set *sets, *common;
	uint8_t *apart;
	/* `plain`. A way is line + 1 shifted by one, dirty in bit 0; 0 is an empty way. In LRU order. */
	uint64_t *ways;
	/* What else is counted follows: what a level misses the next one fetches, what it writes back the next one gets. */
	uint64_t hits, writebacks_out;
};

struct fperf_cache_form;

struct fperf_cache {
	struct fperf_cache_level level[FPERF_CACHE_MAX_LEVELS];
	unsigned int nr_levels;
	uint64_t sure_hits; /* of the first level, beside `hits` */
	uint64_t memory_fetches;
	uint64_t end; /* of the lines that `grouped` may serve; 0: none */
	bool has_groups; /* every level has at least one */
	uint32_t least_groups; /* the smallest group_mask */
	const struct fperf_cache_form *form;
	void *memory; /* behind all sets of `grouped` */
	size_t nr_bytes;
};

/* The functions of `grouped` for one kind of vector instructions. An entry is one of lru_set_inl.h. */
struct fperf_cache_form {
	unsigned int (*access)(struct fperf_cache *cache, uint32_t entry);
	/* The lines of a run whose lanes are set; adds to served. */
	void (*access_lanes)(struct fperf_cache *cache, uint32_t run, uint32_t lanes, bool write,
			     struct fperf_cache_served *served);
	/* All eight lines of nr runs from number `run` on; adds to served. */
	void (*access_runs)(struct fperf_cache *cache, uint32_t run, uint32_t nr, bool write,
			    struct fperf_cache_served *served);
};
extern const struct fperf_cache_form fperf_cache_forms[FPERF_NR_SIMD];

/* Is a set kept by itself? */
static inline bool fperf_cache_is_apart(const struct fperf_cache_level *level, uint64_t number)
{
	return level->apart[number >> FPERF_GROUP_SHIFT] >> (number & (FPERF_GROUP_LINES - 1)) & 1;
}

/* The line that set `number` has in its way, plus one; 0 for none. */
static inline uint64_t fperf_cache_line_in(const struct fperf_cache_level *level, uint64_t number, uint32_t way,
					   uint32_t *dirty)
{
	const bool apart = fperf_cache_is_apart(level, number);
	const uint32_t entry =
		apart ? level->sets[number].way[way] : level->common[number >> FPERF_GROUP_SHIFT].way[way];
	const uint64_t line = fperf_lru_line(entry);

	*dirty = entry & FPERF_LRU_DIRTY;
	if (!entry)
		return 0;
	return (apart ? line : line << FPERF_GROUP_SHIFT | (number & (FPERF_GROUP_LINES - 1))) + 1;
}

/* ---- cache_plain.c ---- */
unsigned int fperf_cache_plain_access(struct fperf_cache *cache, uint64_t line, bool write);

#endif
