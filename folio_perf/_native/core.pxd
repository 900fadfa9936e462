# SPDX-License-Identifier: BSD-3-Clause
# csrc/core/fperf_error.h, fperf_types.h and fperf_abi.h, as far as Python needs them.
from libc.stdint cimport int32_t, uint16_t, uint32_t, uint64_t


cdef extern from "core/fperf_error.h" nogil:
    enum fperf_error:
        FPERF_OK
        FPERF_ERR_POS_NO_MEMORY
        FPERF_ERR_POS_ADDR_SPACE
        FPERF_NR_ERRORS

    const char *fperf_error_name(int code)
    const char *fperf_error_rule(int code)
    int fperf_error_errno(int code)


cdef extern from "core/fperf_types.h" nogil:
    enum:
        FPERF_ABI_VERSION
        FPERF_WHAT_ANON

    enum fperf_event_kind:
        FPERF_NR_EVENT_KINDS

    enum fperf_cause:
        FPERF_NR_CAUSES

    enum fperf_field:
        FPERF_NR_FIELDS

    enum fperf_object_class:
        FPERF_NR_CLASSES

    enum fperf_access:
        FPERF_NR_ACCESSES

    enum fperf_dependence:
        FPERF_NR_DEPENDENCES

    enum fperf_level:
        FPERF_NR_LEVELS

    enum:
        FPERF_PROT_READ
        FPERF_PROT_WRITE
        FPERF_MAP_SHARED
        FPERF_MAP_FIXED
        FPERF_MAP_GROWSDOWN
        FPERF_TOUCH_WRITE
        FPERF_FORK_SHARE_MM
        FPERF_EVENT_FLAGS

    struct fperf_event:
        uint16_t op
        uint16_t cpu
        uint32_t process
        uint32_t what
        uint32_t flags
        uint64_t vpn
        uint64_t nr
        uint64_t arg
        uint64_t arg2

    enum:
        FPERF_APPLIED
        FPERF_NOOP

    struct fperf_object_desc:
        uint32_t kind
        uint32_t order
        uint64_t nr_pages
        uint32_t warm
        uint32_t pad

    enum fperf_answer:
        FPERF_NO
        FPERF_YES
        FPERF_COUNT
        FPERF_UNKNOWN

    struct fperf_event_stats:
        uint64_t count
        uint64_t vma_visits
        uint64_t pte_reads
        uint64_t lines_read[FPERF_NR_CLASSES]
        uint64_t lines_written[FPERF_NR_CLASSES]
        uint64_t folios_allocated
        uint64_t folios_freed
        uint64_t pages_zeroed
        uint64_t pages_copied
        uint64_t tlb_flushes

    struct fperf_totals:
        uint64_t refs_peak
        uint64_t asked
        uint64_t false_shared
        uint64_t false_exclusive
        uint64_t false_mapped
        uint64_t false_pinned
        uint64_t stale_many
        uint64_t leaked_pages
        uint64_t leaked_pages_peak
        uint64_t anon_vma_hazard
        uint64_t cow_copies
        uint64_t cow_reuses
        uint64_t pages_mapped
        uint64_t pages_unmapped
        uint64_t faults_satisfied
        uint64_t folios_live
        uint64_t pages_live
        uint64_t pss_error_abs
        uint64_t uss_error_abs
        uint64_t swap_outs
        uint64_t swap_ins
        uint64_t file_discards
        uint64_t folio_splits
        uint64_t splits_refused
        uint64_t migrations
        uint64_t migrations_refused
        uint64_t collapses
        uint64_t collapses_refused
        uint64_t answers_walked
        uint64_t leaked_page_events
        uint64_t copies_needless
        uint64_t refused_needlessly
        uint64_t skipped_as_shared
        uint64_t swap_slots_wasted
        uint64_t swap_slots_kept
        uint64_t memory_failures
        uint64_t killed
        uint64_t killed_needlessly
        uint64_t partial_missed
        uint64_t false_not_exclusive
        uint64_t false_page_exclusive
        uint64_t page_mapcounts_wrong
        uint64_t mapmax_error_abs


cdef extern from "core/fperf_abi.h" nogil:
    struct fperf_profile:
        uint32_t version
        uint32_t anon_exclusive
        uint32_t batch_file_fault
        uint32_t batch_file_fault_refs
        uint32_t batch_fork
        uint32_t batch_zap
        uint32_t batch_pmd_split
        uint32_t batch_try_to_unmap
        uint32_t batch_referenced
        uint32_t lookup_ref_donated
        uint32_t fault_maps_folio
        uint32_t shmem_fault_maps_folio
        uint32_t cow_reuses_large
        uint32_t huge_zero_write_thp
        uint32_t mthp
        uint32_t deferred_split_relock
        uint32_t remap_spans_vmas
        uint32_t vma_bytes
        uint32_t vma_walk_lines_file
        uint32_t vma_walk_lines_anon
        uint32_t anon_vma_bytes
        uint32_t mm_walk_lines
        uint32_t max_map_count
        uint64_t fault_around_bytes
        uint64_t stack_limit_bytes

    struct fperf_cache_level_config:
        uint64_t size_bytes
        uint32_t nr_ways
        uint32_t pad

    enum:
        FPERF_MAX_CACHE_LEVELS

    struct fperf_config:
        uint32_t abi_version
        uint32_t page_shift
        uint32_t line_shift
        uint32_t backend
        uint32_t scheme
        uint32_t presence
        uint32_t recount
        uint32_t recount_period
        uint32_t unknown
        uint32_t recount_naive
        uint32_t pins_exact
        uint32_t variant
        uint32_t contents
        uint32_t walk_order_seed
        uint32_t truth
        uint32_t strict
        uint32_t log_rmap
        uint32_t trace_accesses
        uint32_t nr_cache_levels
        fperf_cache_level_config cache[FPERF_MAX_CACHE_LEVELS]
        uint64_t memory_bytes
        uint64_t anon_orders_always
        uint64_t anon_orders_madvise
        uint64_t shmem_huge
        fperf_profile profile

    struct fperf_mapping_row:
        uint64_t vpn
        uint64_t pfn
        uint32_t nr
        uint32_t kind
        uint32_t pmd
        uint32_t writable

    enum fperf_mapping_kind:
        FPERF_MAPPING_ANON
        FPERF_MAPPING_FILE
        FPERF_MAPPING_ZERO
        FPERF_MAPPING_SWAP
        FPERF_MAPPING_HUGE_ZERO
        FPERF_MAPPING_GUARD

    struct fperf_smaps_row:
        uint32_t process
        uint32_t pad
        uint64_t rss_bytes
        uint64_t pss_bytes
        uint64_t pss_true_bytes
        uint64_t uss_bytes
        uint64_t uss_true_bytes

    struct fperf_vma_row:
        uint64_t start
        uint64_t end
        uint64_t pgoff
        uint32_t what
        uint32_t flags
        uint64_t rss_pages
        uint64_t pss_bytes
        uint64_t pss_true_bytes
        uint64_t uss_pages
        uint64_t uss_true_pages
        uint64_t anon_huge_pages
        uint64_t shmem_pmd_pages
        uint64_t file_pmd_pages

    struct fperf_folio_row:
        uint64_t pfn
        uint64_t index
        uint32_t order
        uint32_t anon
        uint32_t object
        uint32_t deferred
        int32_t refcount
        int32_t mapping_refs
        int32_t pins
        uint32_t pad
        uint64_t true_pte
        uint64_t true_pmd
        uint32_t true_vmas
        uint32_t true_mms

    struct fperf_access_row:
        uint64_t address
        uint32_t nr
        uint32_t stride
        uint16_t field
        uint16_t access
        uint16_t cause
        uint16_t event_kind
        uint32_t object
        uint32_t level

    enum fperf_rmap_hook:
        FPERF_HOOK_MAP_RUN
        FPERF_HOOK_UNMAP_RUN
        FPERF_HOOK_FORK_RUN
        FPERF_HOOK_MAP_PMD
        FPERF_HOOK_UNMAP_PMD
        FPERF_HOOK_SPLIT_PMD
        FPERF_HOOK_RECOUNT
        FPERF_HOOK_EXCLUSIVE_SET
        FPERF_HOOK_EXCLUSIVE_CLEAR

    struct fperf_rmap_op:
        uint64_t folio
        uint64_t vpn
        uint32_t first
        uint32_t nr
        uint32_t flags
        uint16_t batched
        uint16_t refs_batched
        uint32_t mm_id
        uint32_t vma_id
        int32_t delta
        uint32_t order
        uint32_t first_answer
        uint32_t nr_answers
        uint16_t hook
        uint16_t cpu
        uint32_t pad
