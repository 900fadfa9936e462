# SPDX-License-Identifier: BSD-3-Clause
# csrc/engine/engine.h.
from libc.stddef cimport size_t
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

from folio_perf._native.core cimport (
    fperf_access_row,
    fperf_config,
    fperf_event,
    fperf_event_stats,
    fperf_folio_row,
    fperf_mapping_row,
    fperf_object_desc,
    fperf_rmap_op,
    fperf_smaps_row,
    fperf_totals,
    fperf_vma_row,
)


cdef extern from "engine/engine.h" nogil:
    struct fperf_sim:
        pass

    int fperf_sim_create(const fperf_config *config, fperf_sim **ret)
    void fperf_sim_destroy(fperf_sim *sim)
    int fperf_sim_add_object(fperf_sim *sim, const fperf_object_desc *desc, uint32_t *ret)
    int fperf_sim_populate(fperf_sim *sim, uint32_t object, uint64_t index, uint32_t order)
    int fperf_sim_run(fperf_sim *sim, const fperf_event *events, size_t nr, int32_t *status, size_t *done)
    int fperf_sim_preset_refs(fperf_sim *sim, uint64_t pfn, int32_t refs)
    int fperf_sim_interrupt(fperf_sim *sim, uint32_t visits, const fperf_event *event)
    const uint64_t *fperf_sim_counters(const fperf_sim *sim, size_t *nr)
    void fperf_sim_event_stats(const fperf_sim *sim, fperf_event_stats *stats)
    void fperf_sim_totals(const fperf_sim *sim, fperf_totals *totals)
    const void *fperf_sim_struct_pages(const fperf_sim *sim, uint64_t *nr_pages)
    int fperf_sim_mappings(fperf_sim *sim, uint32_t process, fperf_mapping_row *rows, size_t cap, size_t *nr)
    int fperf_sim_smaps(fperf_sim *sim, uint32_t process, fperf_vma_row *rows, size_t cap, size_t *nr)
    const fperf_smaps_row *fperf_sim_smaps_log(const fperf_sim *sim, size_t *nr)
    int fperf_sim_folio(fperf_sim *sim, uint64_t pfn, fperf_folio_row *row)
    int fperf_sim_resident(const fperf_sim *sim, uint32_t object, uint64_t *pfns, size_t nr)
    void fperf_sim_page_mapcounts(fperf_sim *sim, const uint64_t *pfns, size_t nr, int64_t *mapcounts)
    int fperf_sim_ask(fperf_sim *sim, uint32_t question, uint64_t folio_pfn, uint32_t page, int64_t *value)
    int fperf_sim_check(fperf_sim *sim, char *message, size_t size)
    const fperf_access_row *fperf_sim_accesses(const fperf_sim *sim, size_t *nr)
    void fperf_sim_accesses_clear(fperf_sim *sim)
    const fperf_rmap_op *fperf_sim_rmap_log(const fperf_sim *sim, size_t *nr)
    const int64_t *fperf_sim_answers(const fperf_sim *sim, size_t *nr)
    int fperf_replay_native(
        const fperf_sim *sim, const fperf_rmap_op *log, size_t nr, const int64_t *answers,
        uint32_t nr_threads, void *pages, uint64_t nr_pages, uint64_t *ns,
    )

    enum fperf_names:
        FPERF_NAMES_OPS
        FPERF_NAMES_EVENT_KINDS
        FPERF_NAMES_CAUSES
        FPERF_NAMES_FIELDS
        FPERF_NAMES_FIELD_CLASSES
        FPERF_NAMES_LEVELS
        FPERF_NAMES_BACKENDS
        FPERF_NAMES_ADVICES
        FPERF_NAMES_OBJECT_KINDS
        FPERF_NAMES_QUESTIONS
        FPERF_NAMES_SCHEMES
        FPERF_NAMES_HOOKS
        FPERF_NAMES_PRESENCES
        FPERF_NAMES_RECOUNTS
        FPERF_NAMES_UNKNOWN_ACTS
        FPERF_NR_NAMES

    const char *const *fperf_name_table(fperf_names which)


cdef class Simulation:
    cdef fperf_sim *_sim
    cdef bint _running

    cdef fperf_sim *idle(self) except NULL
