/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Why a level misses: beside it stands a fully associative LRU cache of its size, which is asked and told the same. A miss
 * of a line never seen is compulsory; of one that another CPU's store took away, coherence; of one that the other cache
 * lacks too, capacity; any other, conflict. Costs memory for each line ever seen.
 */
#ifndef FPERF_MISS_KIND_H
#define FPERF_MISS_KIND_H

#include <stdbool.h>
#include <stdint.h>

#include "core/fperf_error.h"

enum fperf_miss_kind {
	FPERF_MISS_COMPULSORY,
	FPERF_MISS_CAPACITY,
	FPERF_MISS_CONFLICT,
	FPERF_MISS_COHERENCE,
	FPERF_NR_MISS_KINDS
};

struct fperf_full_cache;

int fperf_full_cache_create(uint64_t nr_lines, struct fperf_full_cache **ret) FPERF_MUST_CHECK;
void fperf_full_cache_destroy(struct fperf_full_cache *full);
void fperf_full_cache_reset(struct fperf_full_cache *full);

/* Room for nr more lines; call it before each access. */
int fperf_full_cache_reserve(struct fperf_full_cache *full, uint64_t nr) FPERF_MUST_CHECK;

enum fperf_fetch_kind {
	FPERF_FETCH_TAKES_IN,
	FPERF_FETCH_GIVES_AWAY, /* of an exclusive level */
	FPERF_FETCH_PASSES_ON /* a store that the level does not allocate for */
};

/* The level is asked for a line: what a miss of it is. */
enum fperf_miss_kind fperf_full_cache_fetch(struct fperf_full_cache *full, uint64_t line, enum fperf_fetch_kind kind);

/* A line comes from above. */
void fperf_full_cache_put(struct fperf_full_cache *full, uint64_t line);

/* A store of another CPU takes the line. */
void fperf_full_cache_lose(struct fperf_full_cache *full, uint64_t line);

#endif
