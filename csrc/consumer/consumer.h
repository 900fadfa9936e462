/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Kernel paths that ask a scheme a question, pay for it and act on the answer. One file per path, one row in the table;
 * a consumer uses mm's public calls and fperf_ask() only, and knows no scheme.
 */
#ifndef FPERF_CONSUMER_H
#define FPERF_CONSUMER_H

#include "mm/mm.h"

#if defined(FPERF_FN)

#define fperf_consumer_table FPERF_FN(fperf_consumer_table)
#define fperf_write_fault FPERF_FN(fperf_write_fault)
#define fperf_ask_total_mapcount FPERF_FN(fperf_ask_total_mapcount)
#define fperf_ask_maybe_pinned FPERF_FN(fperf_ask_maybe_pinned)
#define fperf_folio_referenced FPERF_FN(fperf_folio_referenced)
#define fperf_try_to_unmap FPERF_FN(fperf_try_to_unmap)
#define fperf_smaps FPERF_FN(fperf_smaps)

/* A consumer that looks at one folio. */
struct fperf_consumer {
	enum fperf_op op;
	enum fperf_event_kind event;
	int (*look)(struct fperf_sim *sim, uint64_t folio);
};
extern const struct fperf_consumer fperf_consumer_table[]; /* ends with a row without look */

/* cow_reuse.c: a write to a present, write-protected entry. Asks shared, mapping_refs (mapcount up to v5.17). */
int fperf_write_fault(struct fperf_sim *sim, struct fperf_vma *vma, uint64_t vpn) FPERF_MUST_CHECK;

/* total_mapcount.c: asks total_mapcount; walks where the scheme does not know. */
int fperf_ask_total_mapcount(struct fperf_sim *sim, uint64_t folio) FPERF_MUST_CHECK;

/* maybe_pinned.c: asks whether a device may hold the folio; the truth counts false alarms. */
int fperf_ask_maybe_pinned(struct fperf_sim *sim, uint64_t folio) FPERF_MUST_CHECK;

/* folio_referenced.c: reclaim's scan. Asks mapped, then total_mapcount as the budget that ends the walk. */
int fperf_folio_referenced(struct fperf_sim *sim, uint64_t folio) FPERF_MUST_CHECK;

/* try_to_unmap.c: reclaim's unmap. Asks mapped before, and after each VMA to stop. */
int fperf_try_to_unmap(struct fperf_sim *sim, uint64_t folio) FPERF_MUST_CHECK;

/* smaps.c: asks page_mapcount per page. rows may be NULL; *nr rows there are. */
int fperf_smaps(struct fperf_sim *sim, struct fperf_mm *mm, struct fperf_vma_row *rows, size_t cap,
		size_t *nr) FPERF_MUST_CHECK;

#endif

#endif
