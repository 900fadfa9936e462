/* SPDX-License-Identifier: BSD-3-Clause */
/* How often is this folio mapped? The question the seed wants to make cheap. */
#include "consumer/consumer.h"

int fperf_ask_total_mapcount(struct fperf_sim *sim, uint64_t folio)
{
	const struct fperf_query query = fperf_query_at(sim, NULL, folio);
	struct fperf_rmap_walk walk;
	enum fperf_cause before;

	if (fperf_ask_before_walk(sim, FPERF_ASK_TOTAL_MAPCOUNT, &query, NULL) != FPERF_UNKNOWN)
		return 0;
	/* The number is lost: every candidate VMA has to be looked at, entry by entry. */
	before = fperf_because(&sim->door, FPERF_CAUSE_WALK);
	if (fperf_rmap_walk_begin(sim, &walk, folio)) {
		while (fperf_rmap_walk_next(&walk)) {
			struct fperf_rmap_hit hit;
			uint32_t cursor = 0;

			while (fperf_rmap_walk_hit(&walk, &cursor, &hit))
				;
		}
		fperf_rmap_walk_end(&walk);
	}
	fperf_because(&sim->door, before);
	return 0;
}
