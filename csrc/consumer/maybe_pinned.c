/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * folio_maybe_dma_pinned(): reclaim, migration, NUMA balancing and fork ask it before they take a page away from a device.
 * For small folios 1024 references look like a pin, so 1023 mappings of a page-cache page do too. schemes.md 6.
 */
#include "consumer/consumer.h"

int fperf_ask_maybe_pinned(struct fperf_sim *sim, uint64_t folio)
{
	fperf_maybe_pinned(sim, folio);
	return 0;
}
