# SPDX-License-Identifier: BSD-3-Clause
"""The cache engine of libfperf: addresses in, counters and contents out.

Arrays that go in are read where they lie, with the GIL released; those that come out are copies that NumPy owns. One
instance belongs to one thread at a time.
"""
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from folio_perf._native.cache cimport *
from folio_perf._native.errors cimport check

import numpy as np

MAX_LEVELS = <int>FPERF_HIERARCHY_MAX_LEVELS
NR_CLASSES = <int>FPERF_HIERARCHY_NR_CLASSES
ADDRESS_BITS = <int>FPERF_HIERARCHY_ADDRESS_BITS
MAX_THREADS = <int>FPERF_HIERARCHY_MAX_THREADS
MAX_CPUS = <int>FPERF_HIERARCHY_MAX_CPUS

# One struct of each kind, for what the compiler knows of its layout.
cdef fperf_level_config a_level
cdef fperf_level_counters a_counter
cdef fperf_held_line a_line
cdef fperf_tlb_range a_range

LEVEL_DTYPE = np.asarray(<fperf_level_config[:1]>&a_level).dtype
COUNTERS_DTYPE = np.asarray(<fperf_level_counters[:1]>&a_counter).dtype
SHARED_LINE_DTYPE = np.dtype(
    [(name, "u8") for name in ("line", "taken_reading", "false_reading", "taken_writing", "false_writing")]
)
LINE_USE_DTYPE = np.dtype(
    [("line", "u8"), ("cpu", "u4"), ("_read", "u2"), ("_written", "u2"),
     ("read", "u4", (FPERF_SHARING_MAX_WORDS,)), ("written", "u4", (FPERF_SHARING_MAX_WORDS,))]
)
assert SHARED_LINE_DTYPE.itemsize == sizeof(fperf_shared_line) and LINE_USE_DTYPE.itemsize == sizeof(fperf_line_use)
LINE_DTYPE = np.asarray(<fperf_held_line[:1]>&a_line).dtype
PAGE_RANGE_DTYPE = np.asarray(<fperf_tlb_range[:1]>&a_range).dtype
MAX_TLB_ARRAYS = <int>FPERF_TLB_MAX_ARRAYS
MAX_PAGE_SIZES = <int>FPERF_TLB_MAX_SIZES
TLB_COUNTERS_DTYPE = np.dtype(
    [("lookups", "u8", (FPERF_TLB_MAX_ARRAYS,)), ("hits", "u8", (FPERF_TLB_MAX_ARRAYS,)),
     ("walks", "u8", (FPERF_TLB_MAX_SIZES,))]
)
assert TLB_COUNTERS_DTYPE.itemsize == sizeof(fperf_tlb_counters)

# In the order of enum fperf_rules, fperf_policy, fperf_inclusion, fperf_transfer and fperf_tier.
RULES = ("dinero", "pycachesim")
POLICIES = ("lru", "plru", "fifo", "random")
INCLUSIONS = ("nine", "inclusive", "exclusive")
TRANSFERS = ("read_shared", "read_modified", "upgrade", "invalidation")
TIERS = ("smt", "ccx", "socket", "remote")


cdef class Hierarchy:
    """Caches of one CPU or several.

    Parameters
    ----------
    levels : array of LEVEL_DTYPE, shape (nr_levels,)
        First level first.
    line_shift : int
        Logarithm of the bytes of a line.
    nr_threads : int
        Threads that share a large access.
    cpus : tuple of four int
        How many there are, of them in a core, in a CCX and in a socket.
    interleave_shift : int
        Logarithm of the bytes of memory that one socket has before the next; 0 if the first has all.
    forward_clean : bool
        Whether clean lines come from another cache that holds them rather than from memory.
    track_sharing : bool
        Whether to keep who used and took which words.
    split_misses : bool
        Whether to count misses by kind.
    rules : int
        Number of one of `RULES`.
    page_shifts : sequence of int
        Logarithms of the page sizes, that of most addresses first.
    tlb_arrays : sequence of tuple of four int
        Of each array of the TLBs: level (0 or 1), entries, ways, bit mask of page sizes. None: no TLBs.
    page_ranges : array of PAGE_RANGE_DTYPE, shape (nr,)
        Addresses with pages of another size, by address.
    """

    cdef fperf_hierarchy *h
    cdef int nr_levels

    def __cinit__(self, const fperf_level_config[::1] levels not None, int line_shift, int nr_threads, cpus,
                  int interleave_shift, bint forward_clean, bint track_sharing,
                  bint split_misses, uint32_t rules, page_shifts, tlb_arrays, const fperf_tlb_range[::1] page_ranges not None):
        cdef fperf_hierarchy_config config
        cdef fperf_tlb_config tlb
        cdef int i
        config.nr_levels = <uint32_t>levels.shape[0]
        config.line_shift = <uint32_t>line_shift
        config.nr_cpus, config.cpus_per_core, config.cpus_per_ccx, config.cpus_per_socket = cpus
        config.interleave_shift = <uint32_t>interleave_shift
        config.forward_clean = forward_clean
        config.track_sharing = track_sharing
        config.split_misses = split_misses
        config.rules = rules
        config.tlb = NULL
        if tlb_arrays:
            tlb.nr_sizes = <uint32_t>len(page_shifts)
            for i, shift in enumerate(page_shifts[:MAX_PAGE_SIZES]):
                tlb.page_shift[i] = shift
            tlb.nr_arrays = <uint32_t>len(tlb_arrays)
            for i, (level, nr_entries, nr_ways, sizes) in enumerate(tlb_arrays[:MAX_TLB_ARRAYS]):
                tlb.array[i] = fperf_tlb_array_config(level, nr_entries, nr_ways, sizes)
            tlb.nr_ranges = <size_t>page_ranges.shape[0]
            tlb.range = &page_ranges[0] if tlb.nr_ranges else NULL
            config.tlb = &tlb
        for i in range(min(levels.shape[0], MAX_LEVELS)):
            config.level[i] = levels[i]
        check(fperf_hierarchy_create(&config, &self.h))
        self.nr_levels = <int>levels.shape[0]
        check(fperf_hierarchy_set_threads(self.h, <uint32_t>nr_threads))

    def __dealloc__(self):
        fperf_hierarchy_destroy(self.h)

    def reset(self):
        """Empty caches, zero counters."""
        fperf_hierarchy_reset(self.h)

    def access(self, const uint64_t[::1] address not None, const uint8_t[::1] write, const uint8_t[::1] cpu,
               const uint8_t[::1] klass):
        """Access the addresses in order; None of ``write`` is reads, of ``cpu`` CPU 0, of ``klass`` class 0."""
        cdef size_t nr = <size_t>address.shape[0]
        cdef size_t bad = 0
        cdef const uint8_t *writes = NULL
        cdef const uint8_t *cpus = NULL
        cdef const uint8_t *classes = NULL
        cdef int ret = 0
        if nr:                          # &address[0] of an empty view is undefined
            if write is not None:
                writes = &write[0]
            if cpu is not None:
                cpus = &cpu[0]
            if klass is not None:
                classes = &klass[0]
            with nogil:
                ret = fperf_hierarchy_access(self.h, &address[0], writes, cpus, classes, nr, &bad)
        check(ret, bad)

    def run(self, uint64_t address, uint64_t nr, bint write, uint8_t cpu, uint8_t klass):
        """Access nr consecutive lines once each, beginning with that of ``address``."""
        cdef int ret
        with nogil:
            ret = fperf_hierarchy_run(self.h, address, nr, write, cpu, klass)
        check(ret)

    def counters(self):
        """Counters, COUNTERS_DTYPE, shape (NR_CLASSES, nr_levels + 1); the last column is memory."""
        out = np.zeros((NR_CLASSES, self.nr_levels + 1), dtype=COUNTERS_DTYPE)
        cdef fperf_level_counters[:, ::1] view = out
        fperf_hierarchy_counters(self.h, &view[0, 0])
        return out

    def transfers(self):
        """Transfers by class, uint64, shape (NR_CLASSES, transfers, tiers); then lines of remote memory by class."""
        out = np.zeros((NR_CLASSES, len(TRANSFERS) * len(TIERS) + 1), dtype=np.uint64)
        cdef uint64_t[:, ::1] view = out
        fperf_hierarchy_transfers(self.h, <fperf_transfer_counters *>&view[0, 0])
        return out[:, :-1].reshape(NR_CLASSES, len(TRANSFERS), len(TIERS)), out[:, -1]

    def translations(self):
        """Counters of the TLBs by class, TLB_COUNTERS_DTYPE, shape (NR_CLASSES,); zero if there are none."""
        out = np.zeros(NR_CLASSES, dtype=TLB_COUNTERS_DTYPE)
        cdef uint8_t[::1] view = out.view(np.uint8)
        cdef const fperf_tlb *tlb = fperf_hierarchy_tlb(self.h)
        if tlb is not NULL:
            memcpy(&view[0], fperf_tlb_counters_of(tlb), <size_t>view.shape[0])
        return out

    def sharing(self):
        """Lines taken, SHARED_LINE_DTYPE, and uses of any line, LINE_USE_DTYPE, in no order; None if not tracked."""
        cdef const fperf_sharing *s = fperf_hierarchy_sharing(self.h)
        if s is NULL:
            return None
        lines = np.zeros(fperf_sharing_nr_lines(s), dtype=SHARED_LINE_DTYPE)
        uses = np.zeros(fperf_sharing_nr_uses(s), dtype=LINE_USE_DTYPE)
        cdef uint8_t[::1] line_bytes = lines.view(np.uint8)
        cdef uint8_t[::1] use_bytes = uses.view(np.uint8)
        if lines.size:
            fperf_sharing_lines(s, <fperf_shared_line *>&line_bytes[0])
        if uses.size:
            fperf_sharing_uses(s, <fperf_line_use *>&use_bytes[0])
        return lines, uses

    def occupancy(self, int level, uint32_t cpu, uint64_t first, uint64_t end):
        """Lines of [first, end) that the instance of a level which serves ``cpu`` holds."""
        cdef uint64_t held
        with nogil:
            held = fperf_hierarchy_occupancy(self.h, <unsigned int>level, cpu, first, end)
        return held

    def nr_sets(self, int level):
        """Sets of a level."""
        return fperf_hierarchy_nr_sets(self.h, <unsigned int>level)

    def set_lines(self, int level, uint32_t cpu, uint64_t number, uint32_t nr_ways):
        """Lines of a set of the instance that serves ``cpu``, LINE_DTYPE, at most nr_ways of them."""
        out = np.zeros(nr_ways, dtype=LINE_DTYPE)
        cdef fperf_held_line[::1] view = out
        cdef uint32_t nr = fperf_hierarchy_set(self.h, <unsigned int>level, cpu, number, &view[0])
        return out[:nr]

    def save(self):
        """Copy the whole state, uint8."""
        out = np.empty(fperf_hierarchy_state_bytes(self.h), dtype=np.uint8)
        cdef uint8_t[::1] view = out
        fperf_hierarchy_save(self.h, &view[0])
        return out

    def restore(self, const uint8_t[::1] state not None):
        """Take back a state that `save` gave, of a hierarchy of the same configuration."""
        if <size_t>state.shape[0] != fperf_hierarchy_state_bytes(self.h):
            raise ValueError(f"a state of {state.shape[0]} bytes is of another configuration")
        fperf_hierarchy_restore(self.h, &state[0])
