/* SPDX-License-Identifier: BSD-3-Clause */
#include "consumer/consumer.h"

const struct fperf_consumer fperf_consumer_table[] = {
	{ FPERF_OP_TOTAL_MAPCOUNT, FPERF_EV_TOTAL_MAPCOUNT, fperf_ask_total_mapcount },
	{ FPERF_OP_FOLIO_REFERENCED, FPERF_EV_FOLIO_REFERENCED, fperf_folio_referenced },
	{ FPERF_OP_TRY_TO_UNMAP, FPERF_EV_TRY_TO_UNMAP, fperf_try_to_unmap },
	{ FPERF_OP_MAYBE_PINNED, FPERF_EV_MAYBE_PINNED, fperf_ask_maybe_pinned },
	{ FPERF_OP_MIGRATE, FPERF_EV_MIGRATE, fperf_migrate_folio },
	{ FPERF_OP_MOVE_PAGES, FPERF_EV_MOVE_PAGES, fperf_move_folio },
	{ .look = NULL },
};
