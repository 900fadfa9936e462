# SPDX-License-Identifier: BSD-3-Clause
"""What many threads reach that use the same lines: a closed queue beside the exact model.

One operation of a design, taken access by access from the model, is split into work on lines that are a thread's own
and visits to lines that all threads share. N threads repeat it: each shared line is a server that one thread has at a
time, and whoever gets it from another thread waits for the transfer. Mean value analysis of that closed network (Reiser
and Lavenberg, J. ACM 27(2), 1980, p. 313) gives throughput and latency.

This is another kind of number than the rest of the package prints: inexact, with no bound to its error. It says which
line limits a design, and in which order of magnitude of threads.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

import numpy as np
from numpy.typing import NDArray

from folio_perf.geometry import Geometry
from folio_perf.machine import DEFAULT_MACHINE, TRANSFER_TIERS, Machine, Topology, load_machine
from folio_perf.profile import DEFAULT_KERNEL, KernelProfile
from folio_perf.results import FIXED, AccessRun, Contention, ContentionCurve, ContentionPoint, SharedLine
from folio_perf.schemes import SchemeSpec, parse_scheme_spec, parse_scheme_specs
from folio_perf.simulate import trace_operation

__all__ = ["DEFAULT_OPERATIONS", "MAX_THREADS", "SHARING", "contention", "mean_transfer_ns", "solve"]

SHARING: Final = ("folio", "rmap")
"""What threads share: the same folio, and the locks of its walks; or only those locks, with folios of their own."""

DEFAULT_OPERATIONS: Final = ("map_ptes_again", "unmap_ptes_shared")
"""Map a shared page-cache folio by PTEs, unmap it again."""

MAX_THREADS: Final = 4096

# Fields outside struct page that threads of different processes share.
_RMAP_FIELDS: Final = ("rmap_lock", "address_space", "anon_vma", "tree_node")
_SHARED_FIELDS: Final = (*_RMAP_FIELDS, "split_queue_lock")
_STRUCT_PAGE_BYTES: Final = 64
_WHOLE: Final = -1
"""Number of the line of an object that is a line by itself."""


def contention(
    schemes: str | SchemeSpec | Iterable[str | SchemeSpec],
    *,
    threads: Sequence[int] = range(1, 257),
    operations: Sequence[str] = DEFAULT_OPERATIONS,
    order: int = 0,
    sharing: str = "folio",
    machine: str | os.PathLike[str] | Machine = DEFAULT_MACHINE,
    geometry: str | Geometry | None = None,
    kernel: str | os.PathLike[str] | KernelProfile = DEFAULT_KERNEL,
    think_ns: float = 0.0,
    hooks: bool = False,
) -> Contention:
    """Model throughput by the number of threads that repeat operations on shared lines.

    Parameters
    ----------
    schemes : str, SchemeSpec or iterable of them
        ``a,b@6.1`` or one by one.
    threads : sequence of int
        Ascending, from 1 to `MAX_THREADS`.
    operations : sequence of str
        Names of `operation_names`: what each thread repeats, one after the other.
    order : int
        Of the folio.
    sharing : str
        One of `SHARING`.
    machine, geometry, kernel
        As `simulate`. The machine must know its topology, and the prices of L1 and of the transfers that occur.
    think_ns : float
        Added to what an operation costs beside the shared lines: fault entry, TLB flushes, user code, in ns.
    hooks : bool
        Leave only what hooks do, without mm around them: accesses of struct pages, and presence tests.

    Returns
    -------
    Contention

    Raises
    ------
    ValueError
        If a name or value is wrong, or the machine lacks a number the curve needs; the message says which.
    """
    _check(threads, sharing, think_ns, operations)
    found = machine if isinstance(machine, Machine) else load_machine(machine)
    if found.topology is None:
        raise ValueError(f"machine {found.name} does not say how many CPUs it has: its file has no [topology]")
    running = [min(nr, found.topology.nr_cpus) for nr in threads]
    transfers = dict(zip(threads, (mean_transfer_ns(found, nr) for nr in running), strict=True))
    curves = []
    for spec in _specs(schemes):
        traces = [
            trace_operation(name, order=order, scheme=spec, machine=found, geometry=geometry, kernel=kernel)
            for name in operations
        ]
        accesses = [[access for access in trace.accesses if not hooks or _of_hook(access)] for trace in traces]
        line_bytes = traces[0].run.line_bytes
        if line_bytes != found.line_bytes:
            raise ValueError(f"prices of machine {found.name} are for {found.line_bytes}-byte lines, not {line_bytes}")
        think, shared = _split(accesses, found, sharing)
        curves.append(
            ContentionCurve(
                run=traces[0].run,
                operations=tuple(operations),
                order=order,
                sharing=sharing,
                think_ns=think + think_ns,
                shared=shared,
                points=tuple(
                    _point(nr, runs, transfers[nr], think + think_ns, shared)
                    for nr, runs in zip(threads, running, strict=True)
                ),
            )
        )
    return Contention(curves=tuple(curves))


def _check(threads: Sequence[int], sharing: str, think_ns: float, operations: Sequence[str]) -> None:
    if not threads:
        raise ValueError("there must be at least one number of threads")
    for before, nr in zip((0, *threads), threads, strict=False):
        if not before < nr <= MAX_THREADS:
            raise ValueError(f"threads {nr} must ascend from 1 to {MAX_THREADS}")
    if sharing not in SHARING:
        raise ValueError(f"sharing {sharing!r} must be one of {', '.join(SHARING)}")
    if not 0 <= think_ns < 1e9:
        raise ValueError(f"think_ns {think_ns!r} must be a number of ns from 0 to below one second")
    if not operations:
        raise ValueError("there must be at least one operation")


def _specs(schemes: str | SchemeSpec | Iterable[str | SchemeSpec]) -> tuple[SchemeSpec, ...]:
    if isinstance(schemes, str):
        return parse_scheme_specs(schemes)
    if isinstance(schemes, SchemeSpec):
        return (schemes,)
    return tuple(parse_scheme_spec(each) if isinstance(each, str) else each for each in schemes)


# ---- transfers ---------------------------------------------------------------------------------------------------


def mean_transfer_ns(machine: Machine, running: int) -> float:
    """Price a transfer from a CPU picked at random among those that run.

    Parameters
    ----------
    machine : Machine
        With a topology.
    running : int
        CPUs that run: first one thread of every core of a core complex, then the next complex, the next socket; the
        second threads of all cores last.

    Returns
    -------
    float
        ns; 0 for one CPU. Whoever had the line last is any of the `running`, the thread itself among them.

    Raises
    ------
    ValueError
        If the price of a tier that occurs is unknown.
    """
    if machine.topology is None:
        raise ValueError(f"machine {machine.name} has no topology")
    ns = 0.0
    for tier, share in _tier_shares(machine.topology, running).items():
        price = getattr(machine.transfers, tier).ns
        if share and price is None:
            raise ValueError(
                f"machine {machine.name}: the price of a transfer of the tier {tier!r} is unknown, and {running} CPUs"
                " need it"
            )
        ns += share * (price or 0.0)
    return ns


def _tier_shares(topology: Topology, running: int) -> dict[str, float]:
    """Share of ordered pairs of running CPUs, equal ones among them, by how far they are apart."""
    if not 1 <= running <= topology.nr_cpus:
        raise ValueError(f"{running} CPUs must be from 1 to {topology.nr_cpus}")
    cpu = np.arange(running)
    core = cpu % topology.nr_cores
    ccx = core // topology.cores_per_ccx
    socket = ccx // topology.ccx_per_socket
    # Pairs of equal CPU, core, core complex, socket, and all: what lies between two of them is a tier.
    within = [running, *(int((np.bincount(group) ** 2).sum()) for group in (core, ccx, socket)), running * running]
    return {tier: (within[at + 1] - within[at]) / running**2 for at, tier in enumerate(TRANSFER_TIERS)}


# ---- one operation -----------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Line:
    """One line that all threads use, as it is found."""

    field: str
    written: bool = False
    visits: int = 0
    held_ns: float = 0.0

    @property
    def key(self) -> tuple[str, int, float]:
        return self.field, self.visits, self.held_ns


def _split(
    operations: Iterable[Sequence[AccessRun]], machine: Machine, sharing: str
) -> tuple[float, tuple[SharedLine, ...]]:
    """Split operations into work beside shared lines, in ns, and those lines; all of it served by L1."""
    found: dict[tuple[str, int], _Line] = {}
    last, think = ("", 0), 0.0
    for accesses in operations:
        for access, place, ns in _priced(accesses, machine):
            if not _is_shared(access, sharing):
                think += ns
                continue
            line = found.setdefault(place, _Line(field=access.field))
            # Accesses to one line that follow each other are one visit: the line does not leave in between.
            line.visits += place != last
            line.held_ns += ns
            line.written |= access.access != "load"
            last = place
    # A line that everybody only reads is in everybody's cache.
    think += sum(line.held_ns for line in found.values() if not line.written)
    return think, tuple(_alike({place: line for place, line in found.items() if line.written}))


def _priced(accesses: Iterable[AccessRun], machine: Machine) -> Iterator[tuple[AccessRun, tuple[str, int], float]]:
    """Yield each access of one operation with its line and its price in L1.

    Dependent are, as where the model counts, the first RMW, and accesses to lines that no access was near to before.
    """
    touched: set[tuple[str, int]] = set()
    changed = False
    for access in accesses:
        for number in range(access.count):
            name, line = place = _place(access, number, machine.line_bytes)
            near = not touched.isdisjoint({(name, line - 1), place, (name, line + 1)})
            streams = changed if access.access == "rmw" else near
            changed |= access.access == "rmw"
            touched.add(place)
            yield access, place, _l1_ns(machine, access.access, "streaming" if streams else "dependent")


def _alike(lines: Mapping[tuple[str, int], _Line]) -> Iterator[SharedLine]:
    """Put lines together that follow each other and are used alike."""
    for (name, _), group in groupby(sorted(lines.items()), key=lambda item: (item[0][0], item[1].key)):
        members = [(index, line) for (_, index), line in group]
        first, last, line = members[0][0], members[-1][0], members[0][1]
        yield SharedLine(
            object=name if first == _WHOLE else f"{name}[{first}]" if first == last else f"{name}[{first}..{last}]",
            field=line.field,
            lines=len(members),
            visits=line.visits,
            held_ns=line.held_ns,
        )


def _of_hook(access: AccessRun) -> bool:
    return access.cause == "presence" or (access.object_class == "page" and access.cause != FIXED)


def _is_shared(access: AccessRun, sharing: str) -> bool:
    if sharing == "rmap":
        return access.field in _RMAP_FIELDS
    return access.object_class == "page" or access.field in _SHARED_FIELDS


def _place(access: AccessRun, number: int, line_bytes: int) -> tuple[str, int]:
    """Name the line of one access of a run: its object, and the number of the line in a folio."""
    if access.object_class != "page":
        return access.object, _WHOLE
    return access.object, (access.first + access.step * number) * _STRUCT_PAGE_BYTES // line_bytes


def _l1_ns(machine: Machine, access: str, dependence: str) -> float:
    price: float | None = getattr(machine.levels[0].prices, f"{access}_{dependence}").ns
    if price is None:
        raise ValueError(f"machine {machine.name}: the price {access}_{dependence} of l1 is unknown")
    return price


# ---- the queue ---------------------------------------------------------------------------------------------------


def _point(
    threads: int, running: int, transfer_ns: float, think_ns: float, shared: Sequence[SharedLine]
) -> ContentionPoint:
    demands = np.array([line.visits * transfer_ns + line.held_ns for line in shared])
    lines = np.array([line.lines for line in shared])
    rate, latency = solve(running, think_ns, demands, lines)
    busiest = int(np.argmax(demands)) if demands.size else -1
    return ContentionPoint(
        threads=threads,
        running=running,
        transfer_ns=transfer_ns,
        operations_per_us=1000 * rate,
        latency_ns=latency,
        bottleneck=f"{shared[busiest].object} {shared[busiest].field}" if demands.size else "",
        utilisation=float(rate * demands[busiest]) if demands.size else 0.0,
    )


def solve(
    threads: int, think_ns: float, demands_ns: NDArray[np.float64], servers: NDArray[np.integer] | None = None
) -> tuple[float, float]:
    """Solve a closed network of queues by mean value analysis.

    Parameters
    ----------
    threads : int
        Customers, at least 1.
    think_ns : float
        Time each spends beside the queues, per operation.
    demands_ns : float64, shape (nr_queues,)
        Service one operation needs at each queue, waiting not included.
    servers : int, shape (nr_queues,), optional
        How many queues alike each stands for; default one.

    Returns
    -------
    rate : float
        Operations per ns of all threads together.
    latency_ns : float
        Time of one operation, `think_ns` and waiting included.

    Raises
    ------
    ValueError
        If nothing takes any time, or there is no thread.
    """
    if threads < 1:
        raise ValueError(f"{threads} threads must be at least 1")
    alike = np.ones(len(demands_ns)) if servers is None else np.asarray(servers, dtype=np.float64)
    if think_ns + float(alike @ demands_ns) <= 0:
        raise ValueError("an operation that takes no time has no throughput")
    waiting = np.zeros(len(demands_ns))
    rate = latency = 0.0
    for customers in range(1, threads + 1):
        # Whoever arrives finds the queue as it is with one customer less.
        response = demands_ns * (1 + waiting)
        latency = think_ns + float(alike @ response)
        rate = customers / latency
        waiting = rate * response
    return rate, latency
