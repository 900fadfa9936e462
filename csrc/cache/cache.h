/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A set-associative hierarchy of one CPU: LRU, write-back, write-allocate, neither inclusive nor exclusive (NINE). On a
 * miss the line is fetched from below first, then the victim is written back (Dinero IV's order). Sees lines only.
 */
#ifndef FPERF_CACHE_H
#define FPERF_CACHE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/fperf_error.h"

#define FPERF_CACHE_MAX_LEVELS 4

struct fperf_cache;

struct fperf_cache_geometry {
	uint64_t size_bytes;
	uint32_t nr_ways;
};

struct fperf_cache_counters {
	uint64_t fetches;  /* lines asked for by the level above */
	uint64_t hits, misses;
	uint64_t writebacks_in;	 /* dirty lines received from the level above */
	uint64_t writebacks_out; /* dirty lines sent below */
};

/* size_bytes must be nr_ways x line x a power of two; 1 to 4 levels, largest last or equal. */
int fperf_cache_create(const struct fperf_cache_geometry *levels, unsigned int nr_levels, unsigned int line_shift,
		       struct fperf_cache **ret) FPERF_MUST_CHECK;
void fperf_cache_destroy(struct fperf_cache *cache);

/* One access; the level that served it, 0 = first, nr_levels = memory. */
unsigned int fperf_cache_access(struct fperf_cache *cache, uint64_t line, bool write);

/* Accesses to the line that was accessed last: sure hits in the first level. */
void fperf_cache_again(struct fperf_cache *cache, uint64_t line, uint64_t nr, bool write);

unsigned int fperf_cache_nr_levels(const struct fperf_cache *cache);
struct fperf_cache_counters fperf_cache_counters(const struct fperf_cache *cache, unsigned int level);

/* Lines of [first, first + nr) that level holds now. */
uint64_t fperf_cache_occupancy(const struct fperf_cache *cache, unsigned int level, uint64_t first, uint64_t nr);

#endif
