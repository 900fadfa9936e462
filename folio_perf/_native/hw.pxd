# SPDX-License-Identifier: BSD-3-Clause
# csrc/hw/hw.h.
from libc.stddef cimport size_t
from libc.stdint cimport uint32_t, uint64_t

from folio_perf._native.engine cimport fperf_sim


cdef extern from "hw/hw.h" nogil:
    uint64_t fperf_hw_now()
    uint64_t fperf_hw_clock_ns()
    uint64_t fperf_hw_clock_step_ns()
    int fperf_hw_pin(uint32_t cpu)
    bint fperf_hw_can_evict()
    void fperf_hw_evict(const void *start, size_t bytes)

    enum:
        FPERF_HW_ASK
        FPERF_HW_PRESENT
        FPERF_HW_EMPTY
        FPERF_HW_ADD
        FPERF_HW_NR_CALLS
        FPERF_HW_MAX_CALLS

    struct fperf_hw_call:
        uint32_t hook
        uint32_t process
        uint32_t first
        uint32_t nr
        uint32_t flags
        uint32_t batched
        uint32_t refs_batched
        uint32_t value

    struct fperf_hw_batch:
        const fperf_hw_call *calls
        uint32_t nr_calls
        uint32_t order
        const uint32_t *visit
        uint64_t nr_visits
        uint64_t folio
        uint64_t vpn

    uint64_t fperf_hw_nr_timed(uint64_t nr_visits)
    int fperf_hw_pass(fperf_sim *sim, const fperf_hw_batch *batch, uint64_t *ns)
    int fperf_hw_page_tables(fperf_sim *sim, uint32_t process, uint64_t vpn, uint64_t nr, bint ptes)
    bint fperf_hw_recounts(const fperf_sim *sim)
    int fperf_hw_evict_sim(fperf_sim *sim)
    int fperf_hw_huge_pages(fperf_sim *sim, uint64_t nr)

    enum fperf_hw_primitive:
        FPERF_HW_NR_PRIMITIVES

    const char *const *fperf_hw_primitive_names

    struct fperf_hw_arena:
        pass

    int fperf_hw_arena_create(uint64_t nr_lines, fperf_hw_arena **ret)
    void fperf_hw_arena_destroy(fperf_hw_arena *arena)
    void fperf_hw_arena_evict(fperf_hw_arena *arena)
    int fperf_hw_measure(
        fperf_hw_arena *arena, fperf_hw_primitive primitive, const uint32_t *visit,
        uint64_t nr_visits, uint32_t run, uint64_t *ns,
    )

    enum fperf_hw_memory:
        FPERF_HW_NR_MEMORIES

    const char *const *fperf_hw_memory_names

    struct fperf_hw_forked:
        uint64_t fork_ns
        uint64_t exit_ns
        uint64_t huge_bytes
        uint64_t pmd_mapped_bytes

    int fperf_hw_fork(uint64_t bytes, fperf_hw_memory form, fperf_hw_forked *ret)

    struct fperf_hw_crowd:
        const fperf_hw_call *calls
        const uint32_t *cpus
        const uint32_t *folios
        uint32_t nr
        uint32_t nr_calls
        uint64_t *operations
        uint64_t *ns

    const char *const *fperf_hw_use_names
    int fperf_hw_contend(
        fperf_sim *sim, const fperf_hw_batch *place, const fperf_hw_crowd *crowd, uint64_t duration_ns,
    )
    int fperf_hw_transfer(uint32_t cpu, uint32_t other, uint32_t rounds, uint64_t *ns)

    int fperf_hw_counter_open(uint32_t type, uint64_t config)
    int fperf_hw_counter_read(int fd, uint64_t *value)
    void fperf_hw_counter_close(int fd)
