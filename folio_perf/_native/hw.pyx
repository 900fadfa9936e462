# SPDX-License-Identifier: BSD-3-Clause
"""This CPU: one measurement per call, raw ns of the clock. Who repeats, subtracts and summarises is `folio_perf.hw`."""
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memset

from folio_perf._native.core cimport *
from folio_perf._native.engine cimport Simulation, fperf_sim
from folio_perf._native.errors cimport check
from folio_perf._native.hw cimport *

import numpy as np

# Values of fperf_hw_call.hook.
MAP_RUN = <int>FPERF_HOOK_MAP_RUN
UNMAP_RUN = <int>FPERF_HOOK_UNMAP_RUN
FORK_RUN = <int>FPERF_HOOK_FORK_RUN
MAP_PMD = <int>FPERF_HOOK_MAP_PMD
UNMAP_PMD = <int>FPERF_HOOK_UNMAP_PMD
SPLIT_PMD = <int>FPERF_HOOK_SPLIT_PMD
RECOUNT = <int>FPERF_HOOK_RECOUNT
EXCLUSIVE_SET = <int>FPERF_HOOK_EXCLUSIVE_SET
EXCLUSIVE_CLEAR = <int>FPERF_HOOK_EXCLUSIVE_CLEAR
ASK = <int>FPERF_HW_ASK
PRESENT = <int>FPERF_HW_PRESENT
EMPTY = <int>FPERF_HW_EMPTY
MAX_CALLS = <int>FPERF_HW_MAX_CALLS

cdef fperf_hw_call a_call
CALL_DTYPE = np.asarray(<fperf_hw_call[:1]>&a_call).dtype
if CALL_DTYPE.itemsize != sizeof(fperf_hw_call):
    raise ImportError(f"a struct of {sizeof(fperf_hw_call)} bytes has become a dtype of {CALL_DTYPE.itemsize}")

cdef uint32_t use_number
USES = {
    fperf_hw_use_names[use_number].decode("ascii"): <int>FPERF_HW_ADD + use_number
    for use_number in range(<uint32_t>FPERF_HW_NR_CALLS - <uint32_t>FPERF_HW_ADD)
}

cdef uint32_t primitive_number
PRIMITIVES = tuple([
    fperf_hw_primitive_names[primitive_number].decode("ascii")
    for primitive_number in range(<uint32_t>FPERF_HW_NR_PRIMITIVES)
])

cdef uint32_t memory_number
MEMORIES = tuple([
    fperf_hw_memory_names[memory_number].decode("ascii") for memory_number in range(<uint32_t>FPERF_HW_NR_MEMORIES)
])


def clock_ns():
    """ns between two readings of the clock with nothing in between."""
    return fperf_hw_clock_ns()


def clock_step_ns():
    """Step in which the clock counts, in ns."""
    return fperf_hw_clock_step_ns()


def pin(uint32_t cpu):
    """Bind the calling thread to one CPU; FperfError if it must not run there."""
    check(fperf_hw_pin(cpu))


def can_evict():
    """Whether a program may drop lines from the caches of this CPU."""
    return fperf_hw_can_evict()


def huge_pages(Simulation simulation not None, uint64_t nr):
    """Ask for huge pages under the first `nr` struct pages; 0, or a negative errno of madvise()."""
    return fperf_hw_huge_pages(simulation.idle(), nr)


def nr_timed(uint64_t nr_visits):
    """How many of the visits of a pass are timed, the last ones."""
    return fperf_hw_nr_timed(nr_visits)


def page_tables(Simulation simulation not None, uint32_t process, uint64_t vpn, uint64_t nr, bint ptes):
    """Give a process empty page tables for `nr` pages from `vpn` on, those of PTEs if `ptes`; FperfError if it is none."""
    check(fperf_hw_page_tables(simulation.idle(), process, vpn, nr, ptes))


def recounts(Simulation simulation not None):
    """Whether the scheme has something to recount."""
    return fperf_hw_recounts(simulation.idle())


def evict(Simulation simulation not None):
    """Drop struct pages and page tables from the caches, real or simulated."""
    check(fperf_hw_evict_sim(simulation.idle()))


def one_pass(
    Simulation simulation not None, calls, const uint32_t[::1] visit not None, *, uint32_t order, uint64_t folio,
    uint64_t vpn,
):
    """Make the calls on one folio after another; see ``fperf_hw_pass`` in ``csrc/hw/hw.h``.

    Parameters
    ----------
    simulation : Simulation
    calls : CALL_DTYPE, shape (nr_calls,), at most `MAX_CALLS`
    visit : uint32, shape (nr_visits,)
        Numbers of folios: those of `order` that lie side by side from page frame `folio`, mapped from page `vpn` on.

    Returns
    -------
    int
        ns, the clock's own cost included.

    Raises
    ------
    FperfError
        If there is no such folio, hook or mapping.
    """
    cdef const fperf_hw_call[::1] rows = np.ascontiguousarray(calls, dtype=CALL_DTYPE)
    cdef fperf_sim *sim = simulation.idle()
    cdef fperf_hw_batch batch
    cdef uint64_t ns = 0
    cdef int ret
    if not visit.shape[0]:
        raise ValueError("visit: no folio to visit")
    memset(&batch, 0, sizeof(batch))
    if rows.shape[0]:                   # &rows[0] of an empty view is undefined
        batch.calls = &rows[0]
    batch.nr_calls = rows.shape[0]
    batch.order = order
    batch.visit = &visit[0]
    batch.nr_visits = visit.shape[0]
    batch.folio = folio
    batch.vpn = vpn
    simulation._running = True
    with nogil:
        ret = fperf_hw_pass(sim, &batch, &ns)
    simulation._running = False
    check(ret)
    return ns


cdef class Arena:
    """Lines of 64 bytes to access one by one. One instance per thread.

    Parameters
    ----------
    nr_lines : int
    """

    cdef fperf_hw_arena *_arena

    def __cinit__(self, uint64_t nr_lines):
        check(fperf_hw_arena_create(nr_lines, &self._arena))

    def __dealloc__(self):
        fperf_hw_arena_destroy(self._arena)

    def evict(self):
        """Drop the lines from all caches."""
        fperf_hw_arena_evict(self._arena)

    def measure(self, uint32_t primitive, const uint32_t[::1] visit not None, uint32_t run=1):
        """ns of runs of `run` accesses; see ``fperf_hw_measure`` in ``csrc/hw/hw.h``.

        Parameters
        ----------
        primitive : int
            Position in `PRIMITIVES`.
        visit : uint32, shape (nr_visits,)
            Number of each run, from 0; each once.
        run : int
            Accesses of a run; 1 for a chase.

        Raises
        ------
        FperfError
            If a run lies beyond the arena, or a chase is to have runs.
        """
        cdef uint64_t ns = 0
        cdef int ret
        if not visit.shape[0]:
            raise ValueError("visit: no line to visit")
        with nogil:
            ret = fperf_hw_measure(self._arena, <fperf_hw_primitive>primitive, &visit[0], visit.shape[0], run, &ns)
        check(ret)
        return ns


def fork(uint64_t size_bytes, uint32_t memory):
    """Let a process with so much memory fork and its child exit; see ``fperf_hw_fork`` in ``csrc/hw/hw.h``.

    Parameters
    ----------
    size_bytes : int
    memory : int
        Position in `MEMORIES`.

    Returns
    -------
    dict
        ``fork_ns``, ``exit_ns``, ``huge_bytes``, ``pmd_mapped_bytes``.

    Raises
    ------
    FperfError
        If the kernel gives no such process.
    """
    cdef fperf_hw_forked forked
    cdef int ret
    memset(&forked, 0, sizeof(forked))
    with nogil:
        ret = fperf_hw_fork(size_bytes, <fperf_hw_memory>memory, &forked)
    check(ret)
    return forked


def contend(
    Simulation simulation not None, calls, const uint32_t[::1] cpus not None, const uint32_t[::1] folios not None, *,
    uint32_t order, uint64_t folio, uint64_t vpn, uint64_t duration_ns,
):
    """Let threads repeat calls at once; see ``fperf_hw_contend`` in ``csrc/hw/hw.h``.

    Parameters
    ----------
    simulation : Simulation
        Of the native back end.
    calls : CALL_DTYPE, shape (nr_threads, nr_calls)
        Those of each thread.
    cpus : uint32, shape (nr_threads,)
        Where each runs.
    folios : uint32, shape (nr_threads,)
        Which folio each is about, numbers as in a visit.
    order, folio, vpn
        As `one_pass`.
    duration_ns : int

    Returns
    -------
    operations, ns : uint64, shape (nr_threads,)
        How often each thread made its calls, and in which time.

    Raises
    ------
    FperfError
        If there is no such folio, hook, mapping or CPU.
    """
    cdef const fperf_hw_call[:, ::1] rows = np.ascontiguousarray(calls, dtype=CALL_DTYPE)
    cdef uint32_t nr = cpus.shape[0]
    operations = np.zeros(nr, dtype=np.uint64)
    ns = np.zeros(nr, dtype=np.uint64)
    cdef uint64_t[::1] operations_out = operations
    cdef uint64_t[::1] ns_out = ns
    cdef fperf_sim *sim = simulation.idle()
    cdef fperf_hw_batch place
    cdef fperf_hw_crowd crowd
    cdef int ret
    if not nr or rows.shape[0] != nr or folios.shape[0] != nr or not rows.shape[1]:
        raise ValueError(f"{nr} CPUs, {folios.shape[0]} folios and calls of {rows.shape[0]} threads must be as many")
    memset(&place, 0, sizeof(place))
    place.order = order
    place.folio = folio
    place.vpn = vpn
    crowd.calls = &rows[0, 0]
    crowd.cpus = &cpus[0]
    crowd.folios = &folios[0]
    crowd.nr = nr
    crowd.nr_calls = rows.shape[1]
    crowd.operations = &operations_out[0]
    crowd.ns = &ns_out[0]
    simulation._running = True
    with nogil:
        ret = fperf_hw_contend(sim, &place, &crowd, duration_ns)
    simulation._running = False
    check(ret)
    return operations, ns


def transfer(uint32_t cpu, uint32_t other, uint32_t rounds):
    """ns of `rounds` times two transfers of a line that two CPUs write in turn; the thread stays on `cpu`."""
    cdef uint64_t ns = 0
    cdef int ret
    with nogil:
        ret = fperf_hw_transfer(cpu, other, rounds, &ns)
    check(ret)
    return ns


def counter_open(uint32_t type, uint64_t config):
    """File descriptor of a hardware counter of this thread, or a negative errno."""
    return fperf_hw_counter_open(type, config)


def counter_read(int fd):
    """What a counter has counted so far."""
    cdef uint64_t value = 0
    check(fperf_hw_counter_read(fd, &value))
    return value


def counter_close(int fd):
    """Close a counter."""
    fperf_hw_counter_close(fd)
