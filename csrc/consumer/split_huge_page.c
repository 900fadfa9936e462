/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * split_huge_page(): a folio becomes folios of a smaller order. Counts are never handed on: all mappings go first, then
 * the references are frozen, then the parts start as fresh folios and anonymous ones are mapped anew. schemes.md 6.
 */
#include "consumer/consumer.h"

/* References of the page cache: one per page. */
static int32_t cache_refs(const struct fperf_sim *sim, uint64_t folio)
{
	const struct fperf_folio *const f = &sim->folios[folio];

	return !f->anon && f->object ? 1 << fperf_folio_order(sim, folio) : 0;
}

bool fperf_no_extra_refs(struct fperf_sim *sim, uint64_t folio)
{
	const struct fperf_query query = fperf_query_at(sim, NULL, folio);
	int64_t mapping_refs = 0;

	fperf_ask(sim, FPERF_ASK_MAPPING_REFS, &query, &mapping_refs);
	return fperf_folio_load_refs(sim, folio) == mapping_refs + cache_refs(sim, folio) + 1;
}

bool fperf_freeze_refs(struct fperf_sim *sim, uint64_t folio)
{
	const int32_t expected = cache_refs(sim, folio) + 1;
	const bool alone = fperf_head(sim, folio)->refcount == expected;
	const enum fperf_cause before = fperf_because(&sim->door, FPERF_CAUSE_FIXED);

	if (alone)
		fperf_folio_ref(sim, folio, -expected);
	else
		fperf_folio_load_refs(sim, folio);
	fperf_because(&sim->door, before);
	return alone;
}

/* The parts of a frozen folio, each with the caller's reference and the cache's. */
static void rebuild(struct fperf_sim *sim, uint64_t folio, uint32_t order)
{
	const uint64_t past = folio + (1ull << fperf_folio_order(sim, folio));
	const enum fperf_cause before = fperf_because(&sim->door, FPERF_CAUSE_FIXED);

	fperf_folio_reshape(sim, folio, order);
	for (uint64_t part = folio; part < past; part += 1ull << order) {
		const struct fperf_folio *const f = &sim->folios[part];

		if (cache_refs(sim, part))
			fperf_folio_ref(sim, part, cache_refs(sim, part));
		/* What lies wholly behind the end of the file leaves the cache. */
		if (!f->anon && f->object && f->index >= f->object->nr_pages)
			fperf_pagecache_remove(sim, part);
	}
	fperf_because(&sim->door, before);
}

/* Order 1 has no room for the deferred list of an anonymous folio; v6.9 brought orders at all, v6.15 those of shmem. */
static bool order_allowed(const struct fperf_sim *sim, uint64_t folio, uint32_t order)
{
	const struct fperf_folio *const f = &sim->folios[folio];

	if (!order)
		return true;
	if (f->anon)
		return order > 1;
	return !f->object || !fperf_object_is_shmem(f->object) || sim->prof.version >= FPERF_KERNEL(6, 15);
}

static int split(struct fperf_sim *sim, uint64_t folio, uint32_t order, bool *done)
{
	const uint64_t past = folio + (1ull << fperf_folio_order(sim, folio));
	const bool anon = sim->folios[folio].anon, locked = fperf_rmap_lock(sim, folio);
	int ret = anon ? fperf_mappings_to_entries(sim, folio, true, true) : fperf_unmap_file_folio(sim, folio, true);

	*done = !ret && fperf_freeze_refs(sim, folio);
	if (*done)
		rebuild(sim, folio, order);
	else
		order = fperf_folio_order(sim, folio);
	for (uint64_t part = folio; anon && part < past; part += 1ull << order) {
		const int back = fperf_entries_to_mappings(sim, part, part, true);

		ret = ret ? ret : back;
	}
	if (locked)
		fperf_rmap_lock(sim, folio);
	return ret;
}

int fperf_split_huge_page(struct fperf_sim *sim, uint64_t folio, uint32_t order)
{
	const uint32_t big = fperf_folio_order(sim, folio);
	bool done = false;
	int ret = 0;

	if (order >= big || !order_allowed(sim, folio, order))
		return FPERF_NOOP;
	fperf_folio_lookup_get(sim, folio);
	if (fperf_no_extra_refs(sim, folio))
		ret = split(sim, folio, order, &done);
	if (!done)
		fperf_truth_refused(sim, folio);
	for (uint64_t part = folio; part < folio + (1ull << big); part += 1ull << (done ? order : big))
		fperf_folio_lookup_put(sim, part);
	sim->totals.folio_splits += done;
	sim->totals.splits_refused += !done;
	return ret ? ret : done ? FPERF_APPLIED : FPERF_NOOP;
}

int fperf_deferred_split(struct fperf_sim *sim)
{
	bool any = false;

	for (uint64_t folio = 1; folio < sim->next_pfn; folio++) {
		int ret;

		if (fperf_folio_head(sim, folio) != folio || !sim->folios[folio].live || !sim->folios[folio].deferred)
			continue;
		fperf_event_begin(&sim->door, FPERF_EV_SPLIT);
		ret = fperf_split_huge_page(sim, folio, 0);
		if (ret < 0)
			return ret;
		any |= ret == FPERF_APPLIED;
	}
	return any ? FPERF_APPLIED : FPERF_NOOP;
}
