/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * migrate_pages() of one folio: its mappings stand aside as migration entries, a copy takes its place, and they are
 * brought back to the copy. Refused while anybody else refers to the folio. schemes.md 6.
 */
#include "consumer/consumer.h"

#include <string.h>

/* The copy takes over page cache and rmap tree; the old folio is left with the caller's reference. */
static int move_identity(struct fperf_sim *sim, uint64_t folio, uint64_t copy)
{
	struct fperf_folio *const from = &sim->folios[folio], *const to = &sim->folios[copy];
	const uint64_t nr = 1ull << fperf_folio_order(sim, folio);

	to->index = from->index;
	to->lazyfree = from->lazyfree;
	to->dirty = from->dirty;
	fperf_content_copy(sim, copy, folio, nr);
	if (from->ksm) {
		fperf_ksm_moved(sim, folio, copy);
		return 0;
	}
	if (from->anon) {
		fperf_folio_set_anon_vma(sim, copy, from->anon_vma);
		return 0;
	}
	to->object = from->object;
	for (uint64_t i = 0; i < nr; i++)
		to->object->pfns[to->index + i] = copy + i;
	from->object = NULL;
	fperf_folio_ref(sim, copy, (int32_t)nr);
	return 0;
}

static int migrate(struct fperf_sim *sim, uint64_t folio, bool *done)
{
	const uint32_t order = fperf_folio_order(sim, folio);
	enum fperf_cause before;
	uint64_t copy;
	int ret = fperf_folio_alloc(sim, order, &copy), back;

	if (ret)
		return ret;
	ret = fperf_mappings_to_entries(sim, folio, false, false);
	*done = !ret && fperf_freeze_refs(sim, folio);
	before = fperf_because(&sim->door, FPERF_CAUSE_FIXED);
	if (*done) {
		ret = move_identity(sim, folio, copy);
		fperf_folio_ref(sim, folio, 1); /* unfrozen: the caller's is left */
	}
	fperf_because(&sim->door, before);
	back = fperf_entries_to_mappings(sim, *done ? copy : folio, folio, false);
	fperf_folio_lookup_put(sim, copy);
	return ret ? ret : back;
}

int fperf_migrate_folio(struct fperf_sim *sim, uint64_t folio)
{
	bool done = false;
	int ret = 0;

	/* What is in the swap cache stays, as reclaim leaves it. */
	if (fperf_swap_cached(sim, folio) && !fperf_swap_cache_free(sim, folio))
		return FPERF_NOOP;
	if (!sim->folios[folio].live)
		return FPERF_NOOP;
	fperf_folio_lookup_get(sim, folio);
	if (fperf_no_extra_refs(sim, folio))
		ret = migrate(sim, folio, &done);
	if (!done)
		fperf_truth_refused(sim, folio);
	fperf_folio_lookup_put(sim, folio);
	sim->totals.migrations += done;
	sim->totals.migrations_refused += !done;
	return ret ? ret : done ? FPERF_APPLIED : FPERF_NOOP;
}
