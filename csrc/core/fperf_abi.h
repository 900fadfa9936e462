/* SPDX-License-Identifier: BSD-3-Clause */
/* The structs that cross the border of the library: configuration in, rows and logs out. */
#ifndef FPERF_ABI_H
#define FPERF_ABI_H

#include "core/fperf_types.h"

/* Kernel profile: what mm does, apart from counting. Booleans are 0 or 1. */
struct fperf_profile {
	uint32_t version;  /* FPERF_KERNEL(6, 1) */
	uint32_t anon_exclusive; /* PageAnonExclusive, v5.19+ */
	uint32_t batch_file_fault; /* one rmap call per run of PTEs (v6.5/6.8) instead of per page */
	uint32_t batch_file_fault_refs;
	uint32_t batch_fork;  /* v6.9 */
	uint32_t batch_zap;  /* v6.9 */
	uint32_t batch_pmd_split;
	uint32_t batch_try_to_unmap; /* file folios, v6.19 */
	uint32_t batch_referenced; /* v6.19 */
	uint32_t lookup_ref_donated; /* the page-cache lookup's reference becomes the mapping's: 5.17-6.2, 7.0 */
	uint32_t fault_maps_folio; /* a file fault maps the whole folio where VMA and table allow: 7.0 */
	uint32_t shmem_fault_maps_folio; /* the same for anonymous shmem: 6.11+ */
	uint32_t cow_reuses_large; /* write fault may reuse a PTE-mapped large folio: 6.15+ */
	uint32_t huge_zero_write_thp; /* a write to the huge zero page allocates a THP: 6.13+ */
	uint32_t mthp; /* anonymous folios smaller than a PMD: 6.8+ */
	uint32_t deferred_split_relock; /* the split queue lock is taken for every unmapped page: up to 6.0 */
	uint32_t remap_spans_vmas; /* a pure move may span several VMAs: 6.17+ */
	uint32_t vma_bytes;  /* struct vm_area_struct */
	uint32_t vma_walk_lines_file; /* 64-byte lines of it that an rmap walk reads */
	uint32_t vma_walk_lines_anon;
	uint32_t anon_vma_bytes;
	uint32_t mm_walk_lines;
	uint32_t max_map_count;	 /* sysctl vm.max_map_count */
	uint64_t fault_around_bytes;
	uint64_t stack_limit_bytes; /* how far a stack grows by itself */
};

struct fperf_cache_level_config {
	uint64_t size_bytes;
	uint32_t nr_ways;
	uint32_t pad;
};

#define FPERF_MAX_CACHE_LEVELS 4

struct fperf_config {
	uint32_t abi_version;  /* FPERF_ABI_VERSION */
	uint32_t page_shift;  /* 12 to 18 */
	uint32_t line_shift;  /* 6 or 7 */
	uint32_t backend;  /* enum fperf_backend */
	uint32_t scheme;  /* index into fperf_scheme_name() */
	uint32_t presence;  /* enum fperf_presence, designs that count VMAs */
	uint32_t recount;  /* enum fperf_recount, zero_one_two_many */
	uint32_t recount_period; /* threshold: unmaps at Many from one recount to the next */
	uint32_t unknown; /* enum fperf_unknown_act: what consumers do with that answer */
	uint32_t recount_naive;	 /* 1: walk, then store, as if nobody else ran meanwhile */
	uint32_t pins_exact; /* 1: a design with room for it counts all pins exactly */
	uint32_t variant; /* which form of a design that has several; 0 is the usual one */
	uint32_t contents; /* 1: know what pages hold, as far as zero pages and equal pages are concerned */
	uint32_t walk_order_seed; /* rmap walks in random order, for formulas that assume it; 0: the kernel's order */
	uint32_t truth;	  /* 1: keep the ledger (wrong answers, leaked pages); 0: faster */
	uint32_t strict;  /* 1: stop at the first event that fails; 0: note it in the status and go on */
	uint32_t log_rmap;  /* 1: keep a log of all calls that change struct pages */
	uint32_t trace_accesses; /* 1: keep the list of accesses (cache back end) */
	uint32_t nr_cache_levels;
	struct fperf_cache_level_config cache[FPERF_MAX_CACHE_LEVELS];
	uint64_t memory_bytes; /* modelled RAM */
	uint64_t anon_orders_always; /* bit k: anonymous faults may take folios of order k anywhere */
	uint64_t anon_orders_madvise; /* the same in VMAs with MADV_HUGEPAGE */
	uint64_t shmem_huge;  /* bit k: order k for memfd and shared anonymous objects (0: order 0) */
	struct fperf_profile profile;
};

/* What one process maps. */
struct fperf_mapping_row {
	uint64_t vpn;
	uint64_t pfn;  /* UINT64_MAX: zero page; swap slot if kind is SWAP */
	uint32_t nr;  /* consecutive pages with consecutive pfns of one folio and equal bits */
	uint32_t kind; /* enum fperf_mapping_kind */
	uint32_t pmd;  /* 1: a PMD mapping */
	uint32_t writable;
};
enum fperf_mapping_kind {
	FPERF_MAPPING_ANON,
	FPERF_MAPPING_FILE,
	FPERF_MAPPING_ZERO,
	FPERF_MAPPING_SWAP,
	FPERF_MAPPING_HUGE_ZERO,
	FPERF_MAPPING_GUARD, /* a marker of MADV_GUARD_INSTALL; pagemap shows it as a swap entry */
};
struct fperf_vma_row {
	uint64_t start, end; /* vpn */
	uint64_t pgoff;
	uint32_t what; /* 0 anonymous, object index + 1 */
	uint32_t flags;	 /* enum fperf_vma_flags of mm/vma.h */
	uint64_t rss_pages;
	uint64_t pss_bytes; /* as the scheme answers, fixed point as the kernel sums it */
	uint64_t pss_true_bytes;
	uint64_t uss_pages;
	uint64_t uss_true_pages;
	uint64_t anon_huge_pages, shmem_pmd_pages, file_pmd_pages;
};
/* One reading of smaps: a process as a whole. The true values are those of the ledger. */
struct fperf_smaps_row {
	uint32_t process;
	uint32_t pad;
	uint64_t rss_bytes;
	uint64_t pss_bytes, pss_true_bytes;
	uint64_t uss_bytes, uss_true_bytes;
};
/* A folio as it stands, truth beside it. */
struct fperf_folio_row {
	uint64_t pfn;
	uint64_t index;	 /* page offset in its object, or in its anon_vma */
	uint32_t order;
	uint32_t anon; /* 1 anonymous, 0 file */
	uint32_t object; /* file: object index, UINT32_MAX once it is out of the page cache */
	uint32_t deferred; /* on the deferred split queue */
	int32_t refcount;
	int32_t mapping_refs; /* references mappings own */
	int32_t pins; /* exact, of a large folio */
	uint32_t pad;
	uint64_t true_pte, true_pmd; /* mappings by PTE and by PMD */
	uint32_t true_vmas, true_mms;
};
/* One entry of the access log: a run of equal accesses at a constant stride. */
struct fperf_access_row {
	uint64_t address; /* in the modelled arena */
	uint32_t nr;  /* fields touched */
	uint32_t stride; /* bytes between them; 0: the same field again */
	uint16_t field, access, cause, event_kind;
	uint32_t object; /* struct page: pfn; table: its number; else 0 */
	uint32_t level;	 /* level that served the slowest of them */
};
/* One entry of the log of calls that change struct pages. */
enum fperf_rmap_hook {
	FPERF_HOOK_FOLIO_INIT,
	FPERF_HOOK_FOLIO_FREE,
	FPERF_HOOK_MAP_RUN,
	FPERF_HOOK_UNMAP_RUN,
	FPERF_HOOK_FORK_RUN,
	FPERF_HOOK_MAP_PMD,
	FPERF_HOOK_UNMAP_PMD,
	FPERF_HOOK_SPLIT_PMD,
	FPERF_HOOK_VMA_SPLIT,
	FPERF_HOOK_VMA_MERGE,
	FPERF_HOOK_VMA_MOVE,
	FPERF_HOOK_RECOUNT,
	FPERF_HOOK_REF_ADD,
	FPERF_HOOK_EXCLUSIVE_SET,
	FPERF_HOOK_EXCLUSIVE_CLEAR,
	FPERF_HOOK_PIN_ADD,
	FPERF_NR_HOOKS
};
struct fperf_rmap_op {
	uint64_t folio;	 /* pfn of the head */
	uint64_t vpn;  /* of the first page of the run */
	uint32_t first, nr;
	uint32_t flags;	 /* FPERF_RUN_* of mm/rmap_hooks.h */
	uint16_t batched, refs_batched; /* 1: the kernel made one rmap (reference) call for the run; 0: one per page */
	uint32_t mm_id;
	uint32_t vma_id;
	int32_t delta; /* REF_ADD, PIN_ADD */
	uint32_t order; /* FOLIO_INIT, FOLIO_FREE */
	uint32_t first_answer, nr_answers; /* in fperf_sim_answers() */
	uint16_t hook, cpu;
	uint32_t pad;
};

#endif
