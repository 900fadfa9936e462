/* SPDX-License-Identifier: BSD-3-Clause */
#include "cache/store.h"

#include <string.h>

static bool ordered(const struct fperf_store *store)
{
	return store->policy == FPERF_POLICY_LRU || store->policy == FPERF_POLICY_FIFO;
}

static uint64_t set_number(const struct fperf_store *store, uint64_t line)
{
	return store->set_mask + 1 == store->nr_sets ? line & store->set_mask : line % store->nr_sets;
}

uint64_t *fperf_store_set(const struct fperf_store *store, uint64_t line)
{
	return store->way + set_number(store, line) * store->nr_ways;
}

uint64_t *fperf_store_find(const struct fperf_store *store, uint64_t line)
{
	uint64_t *const set = fperf_store_set(store, line);

	for (uint32_t i = 0; i < store->nr_ways; i++)
		if (set[i] && fperf_entry_line(set[i]) == line)
			return &set[i];
	return NULL;
}

/*
 * Node 1 is the root of the tree, node n has the children 2n and 2n + 1; bit n says which of them was used longer ago.
 * A use makes all nodes on its way point elsewhere.
 */
static void plru_use(struct fperf_store *store, uint64_t line, uint32_t way)
{
	uint64_t *const tree = &store->tree[set_number(store, line)];

	for (uint32_t node = way + store->nr_ways; node > 1; node >>= 1) {
		if (node & 1)
			*tree &= ~(1ull << (node >> 1));
		else
			*tree |= 1ull << (node >> 1);
	}
}

static uint32_t plru_oldest(const struct fperf_store *store, uint64_t line)
{
	const uint64_t tree = store->tree[set_number(store, line)];
	uint32_t node = 1;

	while (node < store->nr_ways)
		node = node << 1 | (tree >> node & 1);
	return node - store->nr_ways;
}

/* xorshift64* (Vigna 2016), its upper half. */
static uint32_t random_way(struct fperf_store *store)
{
	uint64_t x = *store->rng;

	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	*store->rng = x;
	return (uint32_t)((x * 0x2545f4914f6cdd1dull) >> 32) % store->nr_ways;
}

uint64_t *fperf_store_use(struct fperf_store *store, uint64_t line)
{
	uint64_t *const set = fperf_store_set(store, line);
	uint64_t *const at = fperf_store_find(store, line);

	if (!at)
		return NULL;
	if (store->policy == FPERF_POLICY_PLRU) {
		plru_use(store, line, (uint32_t)(at - set));
	} else if (store->policy == FPERF_POLICY_LRU) {
		const uint64_t entry = *at;

		memmove(set + 1, set, (size_t)(at - set) * sizeof(*set));
		set[0] = entry;
		return set;
	}
	return at;
}

uint64_t fperf_store_insert(struct fperf_store *store, uint64_t entry)
{
	const uint64_t line = fperf_entry_line(entry);
	uint64_t *const set = fperf_store_set(store, line);
	uint64_t victim;
	uint32_t way;

	if (ordered(store)) {
		victim = set[store->nr_ways - 1];
		memmove(set + 1, set, (store->nr_ways - 1) * sizeof(*set));
		set[0] = entry;
		return victim;
	}
	for (way = 0; way < store->nr_ways && set[way]; way++)
		;
	if (way == store->nr_ways)
		way = store->policy == FPERF_POLICY_PLRU ? plru_oldest(store, line) : random_way(store);
	victim = set[way];
	set[way] = entry;
	if (store->policy == FPERF_POLICY_PLRU)
		plru_use(store, line, way);
	return victim;
}

uint64_t fperf_store_remove(struct fperf_store *store, uint64_t line)
{
	uint64_t *const set = fperf_store_set(store, line);
	uint64_t *const at = fperf_store_find(store, line);
	uint64_t entry;

	if (!at)
		return 0;
	entry = *at;
	if (ordered(store)) {
		uint64_t *const last = set + store->nr_ways - 1;

		memmove(at, at + 1, (size_t)(last - at) * sizeof(*set));
		*last = 0;
	} else {
		*at = 0;
	}
	return entry;
}
