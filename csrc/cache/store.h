/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Lines in sets, under one replacement policy: what a level, or a victim cache, is made of. An entry is
 * line << 3 | VALID | flags, 0 where a way is empty. Under LRU and FIFO a set is ordered, youngest first, empty ways
 * last; under tree-PLRU and random an entry keeps its way.
 */
#ifndef FPERF_STORE_H
#define FPERF_STORE_H

#include "cache/hierarchy.h"

#define FPERF_ENTRY_DIRTY 1ull
#define FPERF_ENTRY_PREFETCHED 2ull
#define FPERF_ENTRY_VALID 4ull
#define FPERF_ENTRY_SHIFT 3

struct fperf_store {
	uint64_t nr_sets;
	uint64_t set_mask; /* nr_sets - 1 if that is a power of two, else 0 */
	uint32_t nr_ways;
	uint32_t policy;
	uint64_t *way; /* nr_sets x nr_ways */
	uint64_t *tree; /* of tree-PLRU, one word per set */
	uint64_t *rng;
};

static inline uint64_t fperf_entry(uint64_t line, uint64_t flags)
{
	return line << FPERF_ENTRY_SHIFT | FPERF_ENTRY_VALID | flags;
}

static inline uint64_t fperf_entry_line(uint64_t entry)
{
	return entry >> FPERF_ENTRY_SHIFT;
}

/* The set of a line. */
uint64_t *fperf_store_set(const struct fperf_store *store, uint64_t line);

/* The entry of a line, or NULL; the first does not count as a use, the second does. */
uint64_t *fperf_store_find(const struct fperf_store *store, uint64_t line);
uint64_t *fperf_store_use(struct fperf_store *store, uint64_t line);

/* Put an entry in whose line is not there; returns the one that had to leave, or 0. */
uint64_t fperf_store_insert(struct fperf_store *store, uint64_t entry);

/* Take a line out; returns its entry, or 0. */
uint64_t fperf_store_remove(struct fperf_store *store, uint64_t line);

#endif
