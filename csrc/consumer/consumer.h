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
#define fperf_no_extra_refs FPERF_FN(fperf_no_extra_refs)
#define fperf_freeze_refs FPERF_FN(fperf_freeze_refs)
#define fperf_split_huge_page FPERF_FN(fperf_split_huge_page)
#define fperf_deferred_split FPERF_FN(fperf_deferred_split)
#define fperf_collapse FPERF_FN(fperf_collapse)
#define fperf_advise_reclaim FPERF_FN(fperf_advise_reclaim)
#define fperf_migrate_folio FPERF_FN(fperf_migrate_folio)
#define fperf_ksmd FPERF_FN(fperf_ksmd)

#define fperf_clear_young FPERF_FN(fperf_clear_young)
#define fperf_unmap_folio FPERF_FN(fperf_unmap_folio)
#define fperf_pagemap FPERF_FN(fperf_pagemap)
#define fperf_numa_maps FPERF_FN(fperf_numa_maps)
#define fperf_kpagecount FPERF_FN(fperf_kpagecount)
#define fperf_memory_failure FPERF_FN(fperf_memory_failure)
#define fperf_move_folio FPERF_FN(fperf_move_folio)
#define fperf_numa_scan FPERF_FN(fperf_numa_scan)
#define fperf_numa_fault FPERF_FN(fperf_numa_fault)
#define fperf_compact FPERF_FN(fperf_compact)
#define fperf_page_idle FPERF_FN(fperf_page_idle)
#define fperf_shrink_folio FPERF_FN(fperf_shrink_folio)
#define fperf_reclaim FPERF_FN(fperf_reclaim)

/* A question about a page; of a whole folio, about its head. vma: the mapping the asker stands in, or NULL. */
static inline struct fperf_query fperf_query_at(const struct fperf_sim *sim, struct fperf_vma *vma, uint64_t pfn)
{
	const uint64_t folio = fperf_folio_head(sim, pfn);

	return (struct fperf_query){ .folio = folio,
				     .order = fperf_folio_order(sim, pfn),
				     .page = (uint32_t)(pfn - folio),
				     .anon = sim->folios[folio].anon,
				     .vma = vma };
}

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

/* The accessed bits of one hit; since v6.19 a run of them in one call. */
void fperf_clear_young(struct fperf_sim *sim, const struct fperf_rmap_hit *hit);

/* try_to_unmap.c: reclaim's unmap. Asks mapped before, and after each VMA to stop. */
int fperf_try_to_unmap(struct fperf_sim *sim, uint64_t folio) FPERF_MUST_CHECK;
/* The same once somebody was told that it is mapped, or may be. */
int fperf_unmap_folio(struct fperf_sim *sim, uint64_t folio, enum fperf_answer mapped) FPERF_MUST_CHECK;

/*
 * shrink.c: reclaim of one folio (`pmd`: a PMD maps it), and of all there are, by page frame number. Asks whether it is
 * pinned, then mapped.
 */
int fperf_shrink_folio(struct fperf_sim *sim, uint64_t folio, bool pmd) FPERF_MUST_CHECK;
int fperf_reclaim(struct fperf_sim *sim) FPERF_MUST_CHECK;

/* compaction.c: all memory that can be moved. Asks mapping_refs of anonymous folios. */
int fperf_compact(struct fperf_sim *sim) FPERF_MUST_CHECK;

/* page_idle.c: accessed bits of all memory. Asks mapped. */
int fperf_page_idle(struct fperf_sim *sim) FPERF_MUST_CHECK;

/*
 * split_huge_page.c: asks mapping_refs to learn of other references, mapped to end its walk. NOOP: refused, or nothing to
 * split. deferred_split(): all folios of the deferred split queue, to order 0.
 */
int fperf_split_huge_page(struct fperf_sim *sim, uint64_t folio, uint32_t order) FPERF_MUST_CHECK;
int fperf_deferred_split(struct fperf_sim *sim) FPERF_MUST_CHECK;
/* Nobody but mappings, the page cache and the caller's one reference holds the folio. */
bool fperf_no_extra_refs(struct fperf_sim *sim, uint64_t folio);
/* Unmapped, it is the caller's and the page cache's alone: no reference is left. Else nothing happens. */
bool fperf_freeze_refs(struct fperf_sim *sim, uint64_t folio);

/* migrate.c: a copy takes the folio's place. Asks mapping_refs and mapped, as a split does. */
int fperf_migrate_folio(struct fperf_sim *sim, uint64_t folio) FPERF_MUST_CHECK;

/*
 * khugepaged.c: asks mapping_refs of every folio in the range, shared (page_mapcount up to v6.8) where a limit is set. NOOP:
 * no range that a PMD could map is mapped so afterwards.
 */
int fperf_collapse(struct fperf_sim *sim, struct fperf_vma *vma, uint64_t start, uint64_t end,
		   bool khugepaged) FPERF_MUST_CHECK;

/*
 * ksmd.c: full scans of all mergeable VMAs. Asks mapping_refs of each page it would merge. NOOP: nothing was merged.
 */
int fperf_ksmd(struct fperf_sim *sim) FPERF_MUST_CHECK;

/* pageout.c: MADV_COLD and MADV_PAGEOUT. Asks whether others map the folio, in the terms of the version. */
int fperf_advise_reclaim(struct fperf_sim *sim, struct fperf_vma *vma, uint64_t start, uint64_t end,
			 enum fperf_advice kind) FPERF_MUST_CHECK;

/*
 * memory_failure.c: one page has gone bad. Asks mapped after each VMA and at the end. Marks mms as doomed; *kill: their
 * processes die.
 */
int fperf_memory_failure(struct fperf_sim *sim, uint64_t pfn, bool *kill) FPERF_MUST_CHECK;

/* move_pages.c: mbind() and its like. Asks shared (page_mapcount up to v6.8). */
int fperf_move_folio(struct fperf_sim *sim, uint64_t folio) FPERF_MUST_CHECK;

/* numa_balance.c: the scan of a VMA asks shared, and whether pinned (v6.10); the fault that follows asks shared. */
void fperf_numa_scan(struct fperf_sim *sim, struct fperf_vma *vma, uint64_t start, uint64_t end);
int fperf_numa_fault(struct fperf_sim *sim, uint64_t folio) FPERF_MUST_CHECK;

/* pagemap.c, numa_maps.c, kpagecount.c: files of /proc that ask page_mapcount, pagemap shared where that is unknown. */
int fperf_pagemap(struct fperf_sim *sim, struct fperf_mm *mm) FPERF_MUST_CHECK;
int fperf_numa_maps(struct fperf_sim *sim, struct fperf_mm *mm) FPERF_MUST_CHECK;
int fperf_kpagecount(struct fperf_sim *sim) FPERF_MUST_CHECK;

/*
 * smaps.c: asks page_mapcount per page; exact: walks where the scheme does not know. rows may be NULL; *nr rows there are.
 */
int fperf_smaps(struct fperf_sim *sim, struct fperf_mm *mm, bool exact, struct fperf_vma_row *rows, size_t cap,
		size_t *nr) FPERF_MUST_CHECK;

#endif

#endif
