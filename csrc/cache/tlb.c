/* SPDX-License-Identifier: BSD-3-Clause */
#include "cache/tlb.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { NONE = UINT8_MAX };

/* The page a core translated last: the youngest of its set in the first level, so a sure hit that changes nothing. */
struct recent {
	uint64_t first, end;
	uint64_t array;
};

struct array {
	uint64_t nr_sets;
	uint64_t set_mask; /* nr_sets - 1 where that is a power of two, else 0 */
	uint32_t nr_ways;
	uint32_t offset; /* of its entries among those of a core */
};

/* Entries are page number + 1, then 2 bits of size; 0 is empty. Youngest first. */
struct fperf_tlb {
	uint32_t page_shift[FPERF_TLB_MAX_SIZES];
	uint8_t serves[2][FPERF_TLB_MAX_SIZES]; /* array of a level that holds the size, or NONE */
	struct array array[FPERF_TLB_MAX_ARRAYS];
	uint32_t nr_cores, cpus_per_core;
	uint32_t nr_entries; /* of a core */
	size_t nr_ranges;
	struct fperf_tlb_range *range;
	/* The state. */
	struct fperf_tlb_counters *count;
	struct recent *recent;
	uint64_t *entries;
};

static bool array_is_possible(const struct fperf_tlb_config *config, const struct fperf_tlb_array_config *array)
{
	return array->level < 2 && array->nr_ways && array->nr_entries && array->nr_entries <= 1u << 20 &&
	       !(array->nr_entries % array->nr_ways) && !(array->sizes >> config->nr_sizes);
}

static bool ranges_are_possible(const struct fperf_tlb_config *config)
{
	uint64_t end = 0;

	for (size_t i = 0; i < config->nr_ranges; end = config->range[i++].end) {
		const struct fperf_tlb_range *const range = &config->range[i];

		if (range->size >= config->nr_sizes || range->first < end || range->end <= range->first ||
		    (range->first | range->end) & ((1ull << config->page_shift[range->size]) - 1))
			return false;
	}
	return true;
}

/* Who serves which size; false if nobody does, or two do. */
static bool assign(struct fperf_tlb *tlb, const struct fperf_tlb_config *config)
{
	memset(tlb->serves, NONE, sizeof(tlb->serves));
	for (uint32_t i = 0; i < config->nr_arrays; i++)
		for (uint32_t size = 0; size < config->nr_sizes; size++) {
			uint8_t *const serves = &tlb->serves[config->array[i].level][size];

			if (!(config->array[i].sizes >> size & 1))
				continue;
			if (*serves != NONE)
				return false;
			*serves = (uint8_t)i;
		}
	for (uint32_t size = 0; size < config->nr_sizes; size++)
		if (tlb->serves[0][size] == NONE)
			return false;
	return true;
}

int fperf_tlb_create(const struct fperf_tlb_config *config, uint32_t nr_cpus, uint32_t cpus_per_core,
		     struct fperf_tlb **ret)
{
	struct fperf_tlb *tlb;

	if (!config->nr_sizes || config->nr_sizes > FPERF_TLB_MAX_SIZES || !config->nr_arrays ||
	    config->nr_arrays > FPERF_TLB_MAX_ARRAYS || !nr_cpus || !cpus_per_core)
		return FPERF_ERR(CACHE);
	for (uint32_t i = 0; i < config->nr_sizes; i++)
		if (config->page_shift[i] < 12 || config->page_shift[i] > FPERF_TLB_MAX_PAGE_SHIFT)
			return FPERF_ERR(CACHE);
	for (uint32_t i = 0; i < config->nr_arrays; i++)
		if (!array_is_possible(config, &config->array[i]))
			return FPERF_ERR(CACHE);
	if (!ranges_are_possible(config))
		return FPERF_ERR(CACHE);
	tlb = calloc(1, sizeof(*tlb));
	if (!tlb)
		return FPERF_ERR(NO_MEMORY);
	if (!assign(tlb, config)) {
		fperf_tlb_destroy(tlb);
		return FPERF_ERR(CACHE);
	}
	tlb->nr_cores = (nr_cpus - 1) / cpus_per_core + 1;
	tlb->cpus_per_core = cpus_per_core;
	memcpy(tlb->page_shift, config->page_shift, sizeof(tlb->page_shift));
	for (uint32_t i = 0; i < config->nr_arrays; i++) {
		const uint64_t nr_sets = config->array[i].nr_entries / config->array[i].nr_ways;

		tlb->array[i] = (struct array){ .nr_sets = nr_sets,
						.set_mask = nr_sets & (nr_sets - 1) ? 0 : nr_sets - 1,
						.nr_ways = config->array[i].nr_ways,
						.offset = tlb->nr_entries };
		tlb->nr_entries += config->array[i].nr_entries;
	}
	tlb->nr_ranges = config->nr_ranges;
	tlb->range = calloc(config->nr_ranges + 1, sizeof(*tlb->range));
	if (!tlb->range) {
		fperf_tlb_destroy(tlb);
		return FPERF_ERR(NO_MEMORY);
	}
	if (config->nr_ranges)
		memcpy(tlb->range, config->range, config->nr_ranges * sizeof(*tlb->range));
	*ret = tlb;
	return 0;
}

void fperf_tlb_destroy(struct fperf_tlb *tlb)
{
	if (!tlb)
		return;
	free(tlb->range);
	free(tlb);
}

size_t fperf_tlb_state_bytes(const struct fperf_tlb *tlb)
{
	return FPERF_TLB_NR_CLASSES * sizeof(*tlb->count) +
	       tlb->nr_cores * (sizeof(*tlb->recent) + tlb->nr_entries * sizeof(*tlb->entries));
}

void fperf_tlb_use_state(struct fperf_tlb *tlb, void *state)
{
	tlb->count = state;
	tlb->recent = (struct recent *)(tlb->count + FPERF_TLB_NR_CLASSES);
	tlb->entries = (uint64_t *)(tlb->recent + tlb->nr_cores);
}

const struct fperf_tlb_counters *fperf_tlb_counters(const struct fperf_tlb *tlb)
{
	return tlb->count;
}

static uint32_t size_of_page(const struct fperf_tlb *tlb, uint64_t address)
{
	size_t low = 0, high = tlb->nr_ranges;

	while (low < high) {
		const size_t middle = (low + high) / 2;

		if (address < tlb->range[middle].first)
			high = middle;
		else if (address >= tlb->range[middle].end)
			low = middle + 1;
		else
			return (uint32_t)tlb->range[middle].size;
	}
	return 0;
}

/* The page becomes the youngest of its set; was it there? If not, the oldest leaves. */
static bool use_page(struct fperf_tlb *tlb, uint32_t core, const struct array *array, uint64_t page, uint32_t size)
{
	const uint64_t entry = (page + 1) << 2 | size;
	const uint64_t set = array->set_mask || array->nr_sets == 1 ? page & array->set_mask : page % array->nr_sets;
	uint64_t *const way = tlb->entries + (size_t)core * tlb->nr_entries + array->offset + set * array->nr_ways;
	uint32_t at = 0;
	bool there;

	while (at < array->nr_ways && way[at] != entry)
		at++;
	there = at < array->nr_ways;
	memmove(way + 1, way, (there ? at : at - 1) * sizeof(*way));
	way[0] = entry;
	return there;
}

static inline void translate(struct fperf_tlb *tlb, uint32_t core, uint64_t address, uint8_t klass)
{
	struct recent *const recent = &tlb->recent[core];
	struct fperf_tlb_counters *const count = &tlb->count[klass];
	uint32_t size, shift;
	uint64_t page;

	if (address >= recent->first && address < recent->end) {
		count->lookups[recent->array]++;
		count->hits[recent->array]++;
		return;
	}
	size = size_of_page(tlb, address);
	shift = tlb->page_shift[size];
	page = address >> shift;
	*recent = (struct recent){ page << shift, (page + 1) << shift, tlb->serves[0][size] };
	for (unsigned int level = 0; level < 2; level++) {
		const uint8_t array = tlb->serves[level][size];

		if (array == NONE)
			continue;
		count->lookups[array]++;
		if (use_page(tlb, core, &tlb->array[array], page, size)) {
			count->hits[array]++;
			return;
		}
	}
	count->walks[size]++;
}

void fperf_tlb_access(struct fperf_tlb *tlb, const uint64_t *address, const uint8_t *cpu, const uint8_t *klass,
		      size_t nr)
{
	for (size_t i = 0; i < nr; i++)
		translate(tlb, cpu ? cpu[i] / tlb->cpus_per_core : 0, address[i], klass ? klass[i] : 0);
}

void fperf_tlb_run(struct fperf_tlb *tlb, uint64_t address, uint64_t step, uint64_t nr, uint8_t cpu, uint8_t klass)
{
	for (uint64_t i = 0; i < nr; i++)
		translate(tlb, cpu / tlb->cpus_per_core, address + i * step, klass);
}
