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

/* Lines that each level served, nr[nr_levels] by memory; which one the first line. */
struct fperf_cache_served {
	uint64_t nr[FPERF_CACHE_MAX_LEVELS + 1];
	unsigned int first;
	uint32_t first_lane; /* of the caches */
};

/* One access to each of nr > 0 consecutive lines, as fperf_cache_access() of one after the other; adds to served. */
void fperf_cache_run(struct fperf_cache *cache, uint64_t first, uint64_t nr, bool write,
		     struct fperf_cache_served *served);

/* Accesses to the line that was accessed last: sure hits in the first level. */
void fperf_cache_again(struct fperf_cache *cache, uint64_t line, uint64_t nr, bool write);

/* Where the caller may count them himself, if the line is dirty already or they are loads. */
uint64_t *fperf_cache_sure_hits(struct fperf_cache *cache);

/*
 * Are two lines, and the aligned runs of eight that they are in, of different sets on all levels, and so is whatever they push
 * out? Then accesses to one make no difference to those to the other. Never where the first level has one way: two lines
 * cannot alternate there.
 */
bool fperf_cache_are_apart(const struct fperf_cache *cache, uint64_t line, uint64_t other);

/* So many consecutive lines are of different sets on all levels: an access to one leaves the others youngest. */
uint32_t fperf_cache_lines_apart(const struct fperf_cache *cache);

/* Let the host fetch the sets of a line that will be accessed soon. */
void fperf_cache_prefetch(const struct fperf_cache *cache, uint64_t line);

unsigned int fperf_cache_nr_levels(const struct fperf_cache *cache);
struct fperf_cache_counters fperf_cache_counters(const struct fperf_cache *cache, unsigned int level);

/* Lines of [first, first + nr) that level holds now. */
uint64_t fperf_cache_occupancy(const struct fperf_cache *cache, unsigned int level, uint64_t first, uint64_t nr);

#endif
