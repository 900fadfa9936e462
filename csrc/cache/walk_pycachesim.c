/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Counts as pycachesim does, found by asking it: a store, and a line written back, make no line younger; where they miss,
 * the line is loaded as for a read, which counts as a fetch. Only the LRU, NINE, write-back, write-allocate kind.
 */
#include "cache/walk.h"

static void load(struct fperf_hierarchy *h, unsigned int at, uint64_t line);

static void store(struct fperf_hierarchy *h, unsigned int at, uint64_t line)
{
	uint64_t *here;

	if (at == h->config.nr_levels)
		return;
	if (!fperf_store_find(&h->path[at]->store, line))
		load(h, at, line);
	here = fperf_store_find(&h->path[at]->store, line);
	*here |= FPERF_ENTRY_DIRTY;
}

static void load(struct fperf_hierarchy *h, unsigned int at, uint64_t line)
{
	uint64_t gone;

	h->count[at].fetches++;
	if (at == h->config.nr_levels)
		return;
	if (fperf_store_use(&h->path[at]->store, line)) {
		h->count[at].hits++;
		return;
	}
	h->count[at].misses++;
	load(h, at + 1, line);
	gone = fperf_store_insert(&h->path[at]->store, fperf_entry(line, 0));
	if (gone & FPERF_ENTRY_DIRTY) {
		h->count[at].writebacks_out++;
		h->count[at + 1].writebacks_in++;
		store(h, at + 1, fperf_entry_line(gone));
	}
}

void fperf_walk_as_pycachesim(struct fperf_hierarchy *h, uint64_t line, bool write)
{
	if (write)
		store(h, 0, line);
	else
		load(h, 0, line);
}
