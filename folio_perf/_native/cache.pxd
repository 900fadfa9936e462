# SPDX-License-Identifier: BSD-3-Clause
# csrc/cache/hierarchy.h, as far as Python needs it.
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t


cdef extern from "cache/sharing.h" nogil:
    enum:
        FPERF_SHARING_MAX_WORDS

    struct fperf_sharing:
        pass

    struct fperf_shared_line:
        uint64_t line
        uint64_t nr_taken_reading
        uint64_t nr_false_reading
        uint64_t nr_taken_writing
        uint64_t nr_false_writing

    struct fperf_line_use:
        uint64_t line
        uint32_t cpu
        uint16_t read
        uint16_t written
        uint32_t nr_read[FPERF_SHARING_MAX_WORDS]
        uint32_t nr_written[FPERF_SHARING_MAX_WORDS]

    uint64_t fperf_sharing_nr_lines(const fperf_sharing *s)
    uint64_t fperf_sharing_nr_uses(const fperf_sharing *s)
    void fperf_sharing_lines(const fperf_sharing *s, fperf_shared_line *out)
    void fperf_sharing_uses(const fperf_sharing *s, fperf_line_use *out)


cdef extern from "cache/tlb.h" nogil:
    enum:
        FPERF_TLB_MAX_ARRAYS
        FPERF_TLB_MAX_SIZES

    struct fperf_tlb_array_config:
        uint32_t level
        uint32_t nr_entries
        uint32_t nr_ways
        uint32_t sizes

    struct fperf_tlb_range:
        uint64_t first
        uint64_t end
        uint64_t size

    struct fperf_tlb_config:
        uint32_t nr_sizes
        uint32_t page_shift[FPERF_TLB_MAX_SIZES]
        uint32_t nr_arrays
        fperf_tlb_array_config array[FPERF_TLB_MAX_ARRAYS]
        size_t nr_ranges
        const fperf_tlb_range *range

    struct fperf_tlb_counters:
        uint64_t lookups[FPERF_TLB_MAX_ARRAYS]
        uint64_t hits[FPERF_TLB_MAX_ARRAYS]
        uint64_t walks[FPERF_TLB_MAX_SIZES]

    struct fperf_tlb:
        pass

    const fperf_tlb_counters *fperf_tlb_counters_of "fperf_tlb_counters"(const fperf_tlb *tlb)


cdef extern from "cache/hierarchy.h" nogil:
    enum:
        FPERF_HIERARCHY_MAX_LEVELS
        FPERF_HIERARCHY_NR_CLASSES
        FPERF_HIERARCHY_ADDRESS_BITS
        FPERF_HIERARCHY_MAX_THREADS
        FPERF_HIERARCHY_MAX_CPUS
        FPERF_NR_TIERS
        FPERF_NR_TRANSFERS

    struct fperf_level_config:
        uint64_t size_bytes
        uint32_t nr_ways
        uint32_t policy
        uint32_t inclusion
        uint32_t write_through
        uint32_t write_allocate
        uint32_t prefetch
        uint32_t victim_lines
        uint32_t nr_sharers
        uint64_t seed

    struct fperf_hierarchy_config:
        uint32_t nr_levels
        uint32_t line_shift
        uint32_t nr_cpus
        uint32_t cpus_per_core
        uint32_t cpus_per_ccx
        uint32_t cpus_per_socket
        uint32_t interleave_shift
        uint32_t forward_clean
        uint32_t track_sharing
        uint32_t rules
        uint32_t split_misses
        const fperf_tlb_config *tlb
        fperf_level_config level[FPERF_HIERARCHY_MAX_LEVELS]

    struct fperf_level_counters:
        uint64_t fetches
        uint64_t hits
        uint64_t misses
        uint64_t writebacks_in
        uint64_t writebacks_out
        uint64_t victim_hits
        uint64_t victims_in
        uint64_t back_invalidations
        uint64_t prefetches
        uint64_t prefetches_useful
        uint64_t prefetches_useless
        uint64_t compulsory
        uint64_t capacity
        uint64_t conflict
        uint64_t coherence

    struct fperf_transfer_counters:
        uint64_t nr[FPERF_NR_TRANSFERS][FPERF_NR_TIERS]
        uint64_t remote_memory

    struct fperf_held_line:
        uint64_t address
        uint32_t dirty
        uint32_t prefetched

    struct fperf_hierarchy:
        pass

    int fperf_hierarchy_create(const fperf_hierarchy_config *config, fperf_hierarchy **ret)
    void fperf_hierarchy_destroy(fperf_hierarchy *h)
    int fperf_hierarchy_set_threads(fperf_hierarchy *h, uint32_t nr_threads)
    void fperf_hierarchy_reset(fperf_hierarchy *h)
    int fperf_hierarchy_access(fperf_hierarchy *h, const uint64_t *address, const uint8_t *write, const uint8_t *cpu,
                               const uint8_t *klass, size_t nr, size_t *bad)
    int fperf_hierarchy_run(fperf_hierarchy *h, uint64_t address, uint64_t nr, bint write, uint8_t cpu, uint8_t klass)
    void fperf_hierarchy_counters(const fperf_hierarchy *h, fperf_level_counters *out)
    void fperf_hierarchy_transfers(const fperf_hierarchy *h, fperf_transfer_counters *out)
    const fperf_tlb *fperf_hierarchy_tlb(const fperf_hierarchy *h)
    fperf_sharing *fperf_hierarchy_sharing(const fperf_hierarchy *h)
    uint64_t fperf_hierarchy_occupancy(const fperf_hierarchy *h, unsigned int level, uint32_t cpu, uint64_t first,
                                       uint64_t end)
    uint64_t fperf_hierarchy_nr_sets(const fperf_hierarchy *h, unsigned int level)
    uint32_t fperf_hierarchy_set(const fperf_hierarchy *h, unsigned int level, uint32_t cpu, uint64_t set,
                                 fperf_held_line *out)
    size_t fperf_hierarchy_state_bytes(const fperf_hierarchy *h)
    void fperf_hierarchy_save(const fperf_hierarchy *h, uint8_t *out)
    void fperf_hierarchy_restore(fperf_hierarchy *h, const uint8_t *state)
