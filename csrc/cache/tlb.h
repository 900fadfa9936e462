/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Translation caches of each core, one or two levels, beside the caches: every access asks for its page. Arrays are
 * set-associative LRU and hold pages of the sizes they are made for; the set is the page's number modulo the sets. A miss
 * of the first level asks the second; a miss there is a walk. Both levels take the page in (NINE).
 */
#ifndef FPERF_TLB_H
#define FPERF_TLB_H

#include <stddef.h>
#include <stdint.h>

#include "core/fperf_error.h"

#define FPERF_TLB_MAX_ARRAYS 8
#define FPERF_TLB_MAX_SIZES 4
#define FPERF_TLB_MAX_PAGE_SHIFT 36
#define FPERF_TLB_NR_CLASSES 256

struct fperf_tlb_array_config {
	uint32_t level; /* 0 or 1 */
	uint32_t nr_entries, nr_ways; /* entries: ways x any number of sets */
	uint32_t sizes; /* bit i: holds pages of size i; one array of a level at most does; 0: never asked */
};

/* Addresses [first, end) mapped by pages of size `size`; both ends are aligned to it. */
struct fperf_tlb_range {
	uint64_t first, end;
	uint64_t size;
};

struct fperf_tlb_config {
	uint32_t nr_sizes;
	uint32_t page_shift[FPERF_TLB_MAX_SIZES]; /* size 0 is that of addresses outside all ranges */
	uint32_t nr_arrays;
	struct fperf_tlb_array_config array[FPERF_TLB_MAX_ARRAYS]; /* each size that is used has one of level 0 */
	size_t nr_ranges;
	const struct fperf_tlb_range *range; /* by address; none overlap */
};

/* lookups == hits + misses; walks by size. */
struct fperf_tlb_counters {
	uint64_t lookups[FPERF_TLB_MAX_ARRAYS], hits[FPERF_TLB_MAX_ARRAYS];
	uint64_t walks[FPERF_TLB_MAX_SIZES];
};

struct fperf_tlb;

int fperf_tlb_create(const struct fperf_tlb_config *config, uint32_t nr_cpus, uint32_t cpus_per_core,
		     struct fperf_tlb **ret) FPERF_MUST_CHECK;
void fperf_tlb_destroy(struct fperf_tlb *tlb);

/* All that changes lies in so many bytes, which the owner gives; zeros are empty arrays and counters. */
size_t fperf_tlb_state_bytes(const struct fperf_tlb *tlb);
void fperf_tlb_use_state(struct fperf_tlb *tlb, void *state);

/* cpu and klass may be NULL: CPU 0, class 0. */
void fperf_tlb_access(struct fperf_tlb *tlb, const uint64_t *address, const uint8_t *cpu, const uint8_t *klass,
		      size_t nr);

/* An access to each of nr places, `step` bytes from one to the next. */
void fperf_tlb_run(struct fperf_tlb *tlb, uint64_t address, uint64_t step, uint64_t nr, uint8_t cpu, uint8_t klass);

/* [FPERF_TLB_NR_CLASSES] */
const struct fperf_tlb_counters *fperf_tlb_counters(const struct fperf_tlb *tlb);

#endif
