/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a hierarchy is made of, for the files of this room. There are two engines with equal results. `bulk` knows LRU,
 * write-back, write-allocate, NINE and lines within a span of 2^30, and is fast; a hierarchy begins with it where it can
 * and leaves it for the general one at the first access that needs more.
 */
#ifndef FPERF_HIERARCHY_INL_H
#define FPERF_HIERARCHY_INL_H

#include "cache/hierarchy.h"
#include "cache/lru_set_inl.h"
#include "cache/store.h"

struct fperf_level {
	struct fperf_level_config config;
	struct fperf_store store;
	struct fperf_store victims; /* one set of config.victim_lines ways */
	struct fperf_full_cache *full; /* NULL unless misses are split */
	struct fperf_lru_set *sets; /* of bulk, nr_sets of them; NULL if the configuration needs the general engine */
};

/* What changes besides the entries. */
struct fperf_hierarchy_state {
	uint64_t in_bulk;
	uint64_t base_known;
	uint64_t base; /* line that bulk calls 0 */
	uint64_t
		often_youngest; /* of bulk: which form of the first level the next block takes; no result depends on it */
	struct fperf_level_counters count[FPERF_HIERARCHY_NR_CLASSES][FPERF_HIERARCHY_MAX_LEVELS + 1];
	struct fperf_transfer_counters transfers[FPERF_HIERARCHY_NR_CLASSES];
};

struct fperf_coherence;

struct fperf_hierarchy {
	struct fperf_hierarchy_config config;
	struct fperf_level level[FPERF_HIERARCHY_MAX_LEVELS]; /* the first instance of each */
	struct fperf_level *further[FPERF_HIERARCHY_MAX_LEVELS]; /* the other instances */
	struct fperf_level *path[FPERF_HIERARCHY_MAX_LEVELS + 1]; /* those that serve the current CPU, then NULL */
	struct fperf_coherence *coherence; /* NULL with one CPU */
	struct fperf_sharing *sharing; /* NULL unless tracked */
	struct fperf_tlb *tlb; /* NULL if addresses are not translated */
	uint32_t word; /* of the line that is accessed; only with sharing */
	void (*walk)(struct fperf_hierarchy *h, uint64_t line, bool write); /* of the general engine, by the rules */
	enum fperf_simd simd;
	uint32_t nr_threads;
	size_t state_bytes;
	struct fperf_hierarchy_state *state; /* followed by all sets */
	struct fperf_level_counters *count; /* row of the class that is being served */
	struct fperf_transfer_counters *transfers;
};

static inline uint32_t fperf_nr_instances(const struct fperf_hierarchy *h, unsigned int at)
{
	return (h->config.nr_cpus - 1) / h->config.level[at].nr_sharers + 1;
}

static inline struct fperf_level *fperf_instance(const struct fperf_hierarchy *h, unsigned int at, uint32_t number)
{
	return number ? &h->further[at][number - 1] : (struct fperf_level *)&h->level[at];
}

static inline void fperf_hierarchy_serve_class(struct fperf_hierarchy *h, uint8_t klass)
{
	h->count = h->state->count[klass];
	h->transfers = &h->state->transfers[klass];
}

/* Can bulk hold these lines? Decides where its span begins, the first time. */
bool fperf_bulk_fits(struct fperf_hierarchy *h, uint64_t first_line, uint64_t last_line);
/* write may be NULL. The counters go to class 0. */
int fperf_bulk_access(struct fperf_hierarchy *h, const uint64_t *address, const uint8_t *write, size_t nr);
/* Consecutive lines. */
int fperf_bulk_run(struct fperf_hierarchy *h, uint64_t line, uint64_t nr, bool write);
/* Smallest and largest address; nr > 0. */
void fperf_bulk_span(enum fperf_simd simd, const uint64_t *address, size_t nr, uint64_t *min, uint64_t *max);

#endif
