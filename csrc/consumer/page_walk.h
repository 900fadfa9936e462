/* SPDX-License-Identifier: BSD-3-Clause */
/* Every page a VMA maps, in order of address, for consumers that go by page table instead of by folio. */
#ifndef FPERF_PAGE_WALK_H
#define FPERF_PAGE_WALK_H

#include "mm/mm.h"

#if defined(FPERF_FN)

#define fperf_page_walk_begin FPERF_FN(fperf_page_walk_begin)
#define fperf_page_walk_next FPERF_FN(fperf_page_walk_next)

struct fperf_page_walk {
	struct fperf_sim *sim;
	struct fperf_vma *vma;
	uint64_t vpn, end;
	uint32_t table; /* the one being read and locked, 0: none */
	uint64_t stop; /* first page behind what is read of it */
	uint64_t *pte;
};

/* One present PTE, or a PMD leaf as far as the range reaches. The zero page is passed over. */
struct fperf_page_at {
	uint64_t *entry;
	uint64_t vpn, pfn;
	uint32_t nr;
	bool pmd;
};

/* As far as the range lies in the VMA. Nobody may change tables or free folios before the walk has ended. */
struct fperf_page_walk fperf_page_walk_begin(struct fperf_sim *sim, struct fperf_vma *vma, uint64_t start,
					     uint64_t end);
bool fperf_page_walk_next(struct fperf_page_walk *walk, struct fperf_page_at *at);

#endif

#endif
