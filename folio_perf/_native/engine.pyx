# SPDX-License-Identifier: BSD-3-Clause
"""The engine of libfperf: events in, counters and struct pages out.

Every array this module returns is a copy that NumPy owns.
"""
from cpython.exc cimport PyErr_CheckSignals
from libc.stddef cimport size_t
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from folio_perf._native.core cimport *
from folio_perf._native.engine cimport *
from folio_perf._native.errors cimport check

from operator import index
from time import monotonic

import numpy as np

# Fields of fperf_event.flags, and the values of .what, of the status array and of answers.
PROT_READ = <int>FPERF_PROT_READ
PROT_WRITE = <int>FPERF_PROT_WRITE
MAP_SHARED = <int>FPERF_MAP_SHARED
MAP_FIXED = <int>FPERF_MAP_FIXED
MAP_GROWSDOWN = <int>FPERF_MAP_GROWSDOWN
TOUCH_WRITE = <int>FPERF_TOUCH_WRITE
FORK_SHARE_MM = <int>FPERF_FORK_SHARE_MM
EVENT_FLAGS = <int>FPERF_EVENT_FLAGS
WHAT_ANON = <int>FPERF_WHAT_ANON
APPLIED = <int>FPERF_APPLIED
NOOP = <int>FPERF_NOOP
NO = <int>FPERF_NO
YES = <int>FPERF_YES
COUNT = <int>FPERF_COUNT
UNKNOWN = <int>FPERF_UNKNOWN
MAPPING_ANON = <int>FPERF_MAPPING_ANON
MAPPING_FILE = <int>FPERF_MAPPING_FILE
MAPPING_ZERO = <int>FPERF_MAPPING_ZERO
MAPPING_SWAP = <int>FPERF_MAPPING_SWAP
MAPPING_HUGE_ZERO = <int>FPERF_MAPPING_HUGE_ZERO
MAPPING_GUARD = <int>FPERF_MAPPING_GUARD
MAX_CACHE_LEVELS = <int>FPERF_MAX_CACHE_LEVELS

# Of counters(): event kind, cause, field, access (load, store, rmw), dependence (dependent, streaming), level.
COUNTERS_SHAPE = (
    <int>FPERF_NR_EVENT_KINDS,
    <int>FPERF_NR_CAUSES,
    <int>FPERF_NR_FIELDS,
    <int>FPERF_NR_ACCESSES,
    <int>FPERF_NR_DEPENDENCES,
    <int>FPERF_NR_LEVELS,
)

# One struct of each kind, for what the compiler knows of its layout.
cdef fperf_event an_event
cdef fperf_event_stats an_event_stats
cdef fperf_mapping_row a_mapping
cdef fperf_vma_row a_vma
cdef fperf_smaps_row a_reading
cdef fperf_access_row an_access
cdef fperf_rmap_op an_rmap_op
cdef fperf_object_desc an_object
cdef fperf_profile a_profile

EVENT_DTYPE = np.asarray(<fperf_event[:1]>&an_event).dtype
EVENT_STATS_DTYPE = np.asarray(<fperf_event_stats[:1]>&an_event_stats).dtype
MAPPING_DTYPE = np.asarray(<fperf_mapping_row[:1]>&a_mapping).dtype
VMA_DTYPE = np.asarray(<fperf_vma_row[:1]>&a_vma).dtype
SMAPS_DTYPE = np.asarray(<fperf_smaps_row[:1]>&a_reading).dtype
ACCESS_DTYPE = np.asarray(<fperf_access_row[:1]>&an_access).dtype
RMAP_OP_DTYPE = np.asarray(<fperf_rmap_op[:1]>&an_rmap_op).dtype
OBJECT_DTYPE = np.asarray(<fperf_object_desc[:1]>&an_object).dtype
PROFILE_DTYPE = np.asarray(<fperf_profile[:1]>&a_profile).dtype

for dtype, size in (
    (EVENT_DTYPE, sizeof(fperf_event)),
    (EVENT_STATS_DTYPE, sizeof(fperf_event_stats)),
    (MAPPING_DTYPE, sizeof(fperf_mapping_row)),
    (VMA_DTYPE, sizeof(fperf_vma_row)),
    (SMAPS_DTYPE, sizeof(fperf_smaps_row)),
    (ACCESS_DTYPE, sizeof(fperf_access_row)),
    (RMAP_OP_DTYPE, sizeof(fperf_rmap_op)),
    (OBJECT_DTYPE, sizeof(fperf_object_desc)),
    (PROFILE_DTYPE, sizeof(fperf_profile)),
):
    if dtype.itemsize != size:
        raise ImportError(f"a struct of {size} bytes has become a dtype of {dtype.itemsize}: {dtype}")

PROFILE_FIELDS = PROFILE_DTYPE.names
CONFIG_FIELDS = (
    "page_shift",
    "line_shift",
    "backend",
    "scheme",
    "presence",
    "recount",
    "recount_period",
    "unknown",
    "recount_naive",
    "pins_exact",
    "variant",
    "contents",
    "walk_order_seed",
    "truth",
    "strict",
    "log_rmap",
    "trace_accesses",
    "cache",
    "memory_bytes",
    "anon_orders_always",
    "anon_orders_madvise",
    "shmem_huge",
    "profile",
)

NAME_TABLES = {
    "ops": <int>FPERF_NAMES_OPS,
    "event_kinds": <int>FPERF_NAMES_EVENT_KINDS,
    "causes": <int>FPERF_NAMES_CAUSES,
    "fields": <int>FPERF_NAMES_FIELDS,
    "field_classes": <int>FPERF_NAMES_FIELD_CLASSES,
    "levels": <int>FPERF_NAMES_LEVELS,
    "backends": <int>FPERF_NAMES_BACKENDS,
    "advices": <int>FPERF_NAMES_ADVICES,
    "object_kinds": <int>FPERF_NAMES_OBJECT_KINDS,
    "questions": <int>FPERF_NAMES_QUESTIONS,
    "schemes": <int>FPERF_NAMES_SCHEMES,
    "hooks": <int>FPERF_NAMES_HOOKS,
    "presences": <int>FPERF_NAMES_PRESENCES,
    "recounts": <int>FPERF_NAMES_RECOUNTS,
    "unknown_acts": <int>FPERF_NAMES_UNKNOWN_ACTS,
}

# Events between two looks at pending signals: so many that the look costs nothing, so few that Ctrl-C feels prompt.
cdef enum:
    FIRST_SLICE = 64
    LARGEST_SLICE = 1024
cdef double SHORT_S = 0.02, LONG_S = 0.2


def names(kind):
    """Names of one axis, in the order of their numbers.

    Parameters
    ----------
    kind : str
        A key of `NAME_TABLES`, for instance ``"fields"``.

    Returns
    -------
    tuple of str

    Raises
    ------
    KeyError
        If there is no such axis.
    """
    cdef const char *const *table = fperf_name_table(NAME_TABLES[kind])
    found = []
    while table[len(found)] != NULL:
        found.append(table[len(found)].decode("ascii"))
    return tuple(found)


cdef copy_of(const void *rows, size_t nr, object dtype):
    array = np.empty(nr, dtype=dtype)
    cdef uint8_t[::1] target = array.view(np.uint8)
    if target.shape[0]:                 # &target[0] of an empty view is undefined
        memcpy(&target[0], rows, target.shape[0])
    return array


cdef rows_of(object array, object dtype, str what):
    if not isinstance(array, np.ndarray) or array.dtype != dtype:
        got = getattr(array, "dtype", type(array).__name__)
        raise TypeError(f"{what}: expected an ndarray of dtype {dtype}, got {got}")
    return array


cdef exactly(object mapping, object fields, str what):
    odd = set(mapping) ^ set(fields)
    if odd:
        raise TypeError(f"{what}: missing or unknown: {', '.join(sorted(odd))}")



cdef class Simulation:
    """One simulated machine. One instance per thread.

    Parameters
    ----------
    config : Mapping
        Exactly the keys of `CONFIG_FIELDS`; see ``struct fperf_config`` in ``csrc/engine/engine.h``. ``cache`` is a
        sequence of at most `MAX_CACHE_LEVELS` pairs (size_bytes, nr_ways), nearest level first; ``profile`` a mapping
        with exactly the keys of `PROFILE_FIELDS`; all others are integers.

    Raises
    ------
    FperfError
        If the configuration is impossible; FperfMemoryError if the host has no room for the modelled memory.
    TypeError, OverflowError
        If keys are missing or unknown, or a value does not fit its C type.
    """

    def __cinit__(self, config):
        # index(), since Cython turns 12.5 into 12 where C wants an integer.
        cdef fperf_config c
        exactly(config, CONFIG_FIELDS, "config")
        exactly(config["profile"], PROFILE_FIELDS, "config['profile']")
        memset(&c, 0, sizeof(c))
        c.abi_version = FPERF_ABI_VERSION
        c.page_shift = index(config["page_shift"])
        c.line_shift = index(config["line_shift"])
        c.backend = index(config["backend"])
        c.scheme = index(config["scheme"])
        c.presence = index(config["presence"])
        c.recount = index(config["recount"])
        c.recount_period = index(config["recount_period"])
        c.unknown = index(config["unknown"])
        c.recount_naive = index(config["recount_naive"])
        c.pins_exact = index(config["pins_exact"])
        c.variant = index(config["variant"])
        c.contents = index(config["contents"])
        c.walk_order_seed = index(config["walk_order_seed"])
        c.truth = index(config["truth"])
        c.strict = index(config["strict"])
        c.log_rmap = index(config["log_rmap"])
        c.trace_accesses = index(config["trace_accesses"])
        c.nr_cache_levels = len(config["cache"])
        for i, (size_bytes, nr_ways) in enumerate(config["cache"][:FPERF_MAX_CACHE_LEVELS]):
            c.cache[i].size_bytes = index(size_bytes)
            c.cache[i].nr_ways = index(nr_ways)
        c.memory_bytes = index(config["memory_bytes"])
        c.anon_orders_always = index(config["anon_orders_always"])
        c.anon_orders_madvise = index(config["anon_orders_madvise"])
        c.shmem_huge = index(config["shmem_huge"])
        c.profile = {field: index(value) for field, value in config["profile"].items()}
        check(fperf_sim_create(&c, &self._sim))

    def __dealloc__(self):
        fperf_sim_destroy(self._sim)

    cdef fperf_sim *idle(self) except NULL:
        if self._running:
            raise RuntimeError("another thread is inside this simulation; use one instance per thread")
        return self._sim

    def add_object(self, uint32_t kind, uint64_t nr_pages, *, uint32_t order=0, bint warm=False):
        """Add a file object; return its index.

        Parameters
        ----------
        kind : int
            Position in ``names("object_kinds")``.
        nr_pages : int
        order : int
            Folio order its page cache uses (kind ``file``).
        warm : bool
            Whether it is in the page cache before the scenario starts (kind ``file``).
        """
        cdef fperf_object_desc desc
        cdef uint32_t index = 0
        memset(&desc, 0, sizeof(desc))
        desc.kind = kind
        desc.nr_pages = nr_pages
        desc.order = order
        desc.warm = warm
        check(fperf_sim_add_object(self.idle(), &desc, &index))
        return index

    def populate(self, uint32_t object_index, uint64_t index, uint32_t order):
        """Put pages [index, index + 2**order) of a file object into the page cache as one folio."""
        check(fperf_sim_populate(self.idle(), object_index, index, order))

    def run(self, events, status=None, *, progress=None):
        """Run events in order, with the GIL released.

        Parameters
        ----------
        events : EVENT_DTYPE, shape (nr_events,), C-contiguous
        status : int32, shape (nr_events,), C-contiguous, optional
            Filled with `APPLIED`, `NOOP` or the negative code of the error, per event that was run.
        progress : callable, optional
            Called now and then with the number of events done so far; an exception it raises ends the run.

        Returns
        -------
        int
            Number of events run: all of them.

        Raises
        ------
        FperfError
            From the first event that fails if the configuration is ``strict``; ``index`` says which. It has changed
            nothing; the events before it have been applied.
        KeyboardInterrupt
            Between two events; the simulation stays usable.
        """
        cdef fperf_sim *sim = self.idle()
        cdef const fperf_event[::1] batch = rows_of(events, EVENT_DTYPE, "events")
        cdef const fperf_event *event
        cdef size_t nr = batch.shape[0]
        cdef int32_t[::1] codes = None
        cdef int32_t *code = NULL
        cdef size_t at = 0, done = 0, this_slice, slice_size = FIRST_SLICE
        cdef int ret
        cdef double before, took
        if status is not None:
            codes = rows_of(status, np.dtype(np.int32), "status")
            if <size_t>codes.shape[0] != nr:
                raise ValueError(f"status: {codes.shape[0]} entries for {nr} events")
        while at < nr:
            this_slice = min(slice_size, nr - at)
            event = &batch[at]
            if codes is not None:
                code = &codes[at]
            before = monotonic()
            self._running = True
            with nogil:
                ret = fperf_sim_run(sim, event, this_slice, code, &done)
            self._running = False
            check(ret, at + done)
            at += this_slice
            took = monotonic() - before
            if took < SHORT_S:
                slice_size = min(2 * slice_size, <size_t>LARGEST_SLICE)
            elif took > LONG_S:
                slice_size = max(slice_size // 2, <size_t>1)
            PyErr_CheckSignals()
            if progress is not None:
                progress(at)
        return at

    def preset_refs(self, uint64_t pfn, int32_t refs):
        """Set the reference count of the live folio that holds page `pfn`; the ledger does not know of it."""
        check(fperf_sim_preset_refs(self.idle(), pfn, refs))

    def interrupt(self, uint32_t visits, event):
        """Arm an event to run in the middle of the next recount.

        Parameters
        ----------
        visits : int
            VMAs the recount's walk visits before it.
        event : EVENT_DTYPE, shape (1,)
            A touch or MADV_DONTNEED: what may change entries while a walk holds the tree.
        """
        cdef const fperf_event[::1] one = rows_of(event, EVENT_DTYPE, "event")
        if one.shape[0] != 1:
            raise ValueError(f"event: {one.shape[0]} rows instead of 1")
        check(fperf_sim_interrupt(self.idle(), visits, &one[0]))

    def counters(self):
        """Everything counted so far: uint64, shape `COUNTERS_SHAPE`."""
        cdef size_t nr = 0
        cdef const uint64_t *first = fperf_sim_counters(self.idle(), &nr)
        return copy_of(first, nr, np.uint64).reshape(COUNTERS_SHAPE)

    def event_stats(self):
        """Visits, reads and distinct lines per event kind: `EVENT_STATS_DTYPE`, shape (nr_event_kinds,)."""
        cdef fperf_event_stats stats[FPERF_NR_EVENT_KINDS]
        fperf_sim_event_stats(self.idle(), stats)
        return copy_of(stats, FPERF_NR_EVENT_KINDS, EVENT_STATS_DTYPE)

    def totals(self):
        """The members of ``struct fperf_totals``: dict of int by name."""
        cdef fperf_totals totals
        fperf_sim_totals(self.idle(), &totals)
        return totals

    def struct_pages(self):
        """Struct pages of all page frames handed out so far: uint8, shape (nr_pages, 64)."""
        cdef uint64_t nr = 0
        cdef const void *first = fperf_sim_struct_pages(self.idle(), &nr)
        return copy_of(first, 64 * nr, np.uint8).reshape(-1, 64)

    def mappings(self, uint32_t process):
        """What a process maps: `MAPPING_DTYPE`, shape (nr_rows,), by address."""
        cdef fperf_sim *sim = self.idle()
        cdef size_t nr = 0
        check(fperf_sim_mappings(sim, process, NULL, 0, &nr))
        rows = np.zeros(nr, dtype=MAPPING_DTYPE)
        cdef fperf_mapping_row[::1] out = rows
        if nr:
            check(fperf_sim_mappings(sim, process, &out[0], nr, &nr))
        return rows

    def smaps(self, uint32_t process):
        """What smaps says of a process, the truth beside it: `VMA_DTYPE`, shape (nr_vmas,), by address."""
        cdef fperf_sim *sim = self.idle()
        cdef size_t nr = 0
        check(fperf_sim_smaps(sim, process, NULL, 0, &nr))
        rows = np.zeros(nr, dtype=VMA_DTYPE)
        cdef fperf_vma_row[::1] out = rows
        if nr:
            check(fperf_sim_smaps(sim, process, &out[0], nr, &nr))
        return rows

    def smaps_log(self):
        """What the smaps events so far read, in order: `SMAPS_DTYPE`, shape (nr_events,)."""
        cdef size_t nr = 0
        cdef const fperf_smaps_row *first = fperf_sim_smaps_log(self.idle(), &nr)
        return copy_of(first, nr, SMAPS_DTYPE)

    def folio(self, uint64_t pfn):
        """The folio that holds a page frame, the truth beside it: the members of ``struct fperf_folio_row``, a dict."""
        cdef fperf_folio_row row
        check(fperf_sim_folio(self.idle(), pfn, &row))
        return row

    def resident(self, uint32_t object_index, size_t nr):
        """Page cache of an object: page frames of its first `nr` pages, 0 where none is: uint64, shape (nr,)."""
        cdef fperf_sim *sim = self.idle()
        pfns = np.zeros(nr, dtype=np.uint64)
        cdef uint64_t[::1] out = pfns
        if nr:
            check(fperf_sim_resident(sim, object_index, &out[0], nr))
        return pfns

    def page_mapcounts(self, const uint64_t[::1] pfns not None):
        """What the scheme says of each page frame, at no cost in the model: int64, shape (nr,).

        A guess where it does not know, -1 where no folio is.
        """
        cdef fperf_sim *sim = self.idle()
        cdef size_t nr = pfns.shape[0]
        mapcounts = np.zeros(nr, dtype=np.int64)
        cdef int64_t[::1] out = mapcounts
        if nr:
            fperf_sim_page_mapcounts(sim, &pfns[0], nr, &out[0])
        return mapcounts

    def ask(self, uint32_t question, uint64_t folio_pfn, uint32_t page):
        """Ask the scheme, at no cost in the model.

        Parameters
        ----------
        question : int
            Position in ``names("questions")``.
        folio_pfn : int
            Page frame of the folio's head.
        page : int
            Index of a page in the folio.

        Returns
        -------
        answer : int
            `NO`, `YES`, `COUNT` or `UNKNOWN`.
        value : int
            The count if the answer is `COUNT`, else 0.
        """
        cdef int64_t value = 0
        answer = check(fperf_sim_ask(self.idle(), question, folio_pfn, page, &value))
        return answer, value

    def check(self):
        """Recount everything from the page tables.

        Raises
        ------
        AssertionError
            If the ledger, or the bytes of a scheme that is exact, say otherwise: a bug of the model.
        """
        cdef fperf_sim *sim = self.idle()
        cdef char message[512]
        cdef int ret
        message[0] = 0
        self._running = True
        with nogil:
            ret = fperf_sim_check(sim, message, sizeof(message))
        self._running = False
        if message[0]:
            raise AssertionError((<bytes>message).decode("utf-8", "replace"))
        check(ret)

    def accesses(self):
        """The list of accesses (``trace_accesses``), runs merged: `ACCESS_DTYPE`, shape (nr_rows,)."""
        cdef size_t nr = 0
        cdef const fperf_access_row *first = fperf_sim_accesses(self.idle(), &nr)
        return copy_of(first, nr, ACCESS_DTYPE)

    def accesses_clear(self):
        """Forget the list of accesses."""
        fperf_sim_accesses_clear(self.idle())

    def rmap_log(self):
        """The calls that changed struct pages (``log_rmap``): `RMAP_OP_DTYPE`, shape (nr_calls,)."""
        cdef size_t nr = 0
        cdef const fperf_rmap_op *first = fperf_sim_rmap_log(self.idle(), &nr)
        return copy_of(first, nr, RMAP_OP_DTYPE)

    def answers(self):
        """What mm answered the scheme during those calls: int64, shape (nr_answers,)."""
        cdef size_t nr = 0
        cdef const int64_t *first = fperf_sim_answers(self.idle(), &nr)
        return copy_of(first, nr, np.int64)

    def replay_native(self, log, const int64_t[::1] answers not None, uint32_t nr_threads):
        """Replay a log with real atomics against fresh struct pages, folios dealt out to threads by page frame.

        Parameters
        ----------
        log : RMAP_OP_DTYPE, shape (nr_calls,)
            From `rmap_log` of a simulation of the same geometry, scheme and size.
        answers : int64, shape (nr_answers,)
        nr_threads : int

        Returns
        -------
        pages : uint8, shape (nr_pages, 64)
            The struct pages afterwards, as many as `struct_pages` has.
        ns : int
            Wall-clock time of the replay.
        """
        cdef fperf_sim *sim = self.idle()
        cdef const fperf_rmap_op[::1] calls = rows_of(log, RMAP_OP_DTYPE, "log")
        cdef const fperf_rmap_op *call = &calls[0] if calls.shape[0] else NULL
        cdef const int64_t *answer = &answers[0] if answers.shape[0] else NULL
        cdef size_t nr = calls.shape[0]
        cdef uint64_t nr_pages = 0, ns = 0
        cdef int ret
        fperf_sim_struct_pages(sim, &nr_pages)
        pages = np.zeros((nr_pages, 64), dtype=np.uint8)
        cdef uint8_t[:, ::1] out = pages
        cdef void *page = &out[0, 0] if nr_pages else NULL
        self._running = True
        with nogil:
            ret = fperf_replay_native(sim, call, nr, answer, nr_threads, page, nr_pages, &ns)
        self._running = False
        check(ret)
        return pages, ns
