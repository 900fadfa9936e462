/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * mbind(MPOL_MF_MOVE), migrate_pages() and move_pages(): what others map too is left where it is, an error for the caller,
 * unless it may move everything. A wrong "shared" leaves the caller's own memory behind. schemes.md 6.
 */
#include "consumer/consumer.h"

static bool is_shared(struct fperf_sim *sim, const struct fperf_query *query)
{
	int64_t mapcount;

	if (sim->prof.version >= FPERF_KERNEL(6, 9))
		return fperf_ask(sim, FPERF_ASK_SHARED, query, NULL) != FPERF_NO;
	/* The first page speaks for all. */
	return fperf_ask(sim, FPERF_ASK_PAGE_MAPCOUNT, query, &mapcount) != FPERF_COUNT || mapcount != 1;
}

int fperf_move_folio(struct fperf_sim *sim, uint64_t folio)
{
	const struct fperf_query query = fperf_query_at(sim, NULL, folio);

	if (is_shared(sim, &query)) {
		fperf_truth_skipped(sim, folio);
		return FPERF_NOOP;
	}
	return fperf_migrate_folio(sim, folio);
}
