# SPDX-License-Identifier: BSD-3-Clause
"""Folios side by side, and passes of an operation over them: on this CPU, or counted by the model."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from folio_perf._native import engine, hw
from folio_perf.geometry import FolioPolicy, Geometry
from folio_perf.hw.host import Host
from folio_perf.hw.operations import Call, Operation
from folio_perf.machine import Machine
from folio_perf.profile import DEFAULT_KERNEL, load_profile
from folio_perf.scenario import ScenarioBuilder
from folio_perf.schemes import SchemeSpec
from folio_perf.simulate import new_simulation

__all__ = [
    "REGIMES",
    "Bench",
    "ModelledCounts",
    "Regime",
    "Repeats",
    "between_steps",
    "median",
    "modelled_counts",
    "regimes",
    "repeat",
    "width",
]

_STRUCT_PAGE_BYTES: Final = 64
_PROCESSES: Final = 4
_COLD_BYTES: Final = 1 << 20
# Folios visited cold lie so far apart that no prefetch for one brings what another needs, page-table entries included.
_COLD_SPACING: Final = 32
_SEED: Final = 0
_WARM_UP: Final = 3
_MIN_REPEATS, _MAX_REPEATS, _BLOCK = 15, 20_000, 10
_USUAL: Final[Mapping[str, int]] = {"l1": 32 << 10, "l2": 1 << 20, "l3": 32 << 20}
"""Caches where the host does not tell its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Regime:
    """Where the struct pages are when an operation starts.

    Parameters
    ----------
    title : str
    nr_bytes : int
        Of struct pages visited in turn.
    evicted : bool
        Whether struct pages and page tables are dropped from all caches before each pass.
    """

    title: str
    nr_bytes: int
    evicted: bool = False

    def holds(self, order: int) -> bool:
        """Whether the struct pages of a folio are no more than it visits."""
        return _STRUCT_PAGE_BYTES << order <= self.nr_bytes


REGIMES: Final[Mapping[str, str]] = {
    "l1": "visited again and again, half the size of L1",
    "l2": "visited again and again, half the size of L2",
    "l3": "visited again and again, four times the size of L2 or an eighth of L3",
    "dram": "visited again and again, twice the size of the last cache",
    "cold": "dropped from all caches before each pass, the folios visited far apart",
}
"""Titles by name."""


def regimes(host: Host) -> Mapping[str, Regime]:
    """Return `REGIMES` in the sizes of a host."""
    caches = {**_USUAL, **{cache.name: cache.size_bytes for cache in host.caches}}
    sizes = {
        "l1": caches["l1"] // 2,
        "l2": caches["l2"] // 2,
        "l3": max(4 * caches["l2"], caches["l3"] // 8),
        "dram": 2 * max(caches.values()),
        "cold": _COLD_BYTES,
    }
    return {name: Regime(title=title, nr_bytes=sizes[name], evicted=name == "cold") for name, title in REGIMES.items()}


class Bench:
    """Folios of one order side by side, and the passes over them.

    Parameters
    ----------
    spec : SchemeSpec
    operation : Operation
    order : int
    regime : Regime
    geometry : Geometry
    machine : Machine
        Whose caches are simulated; its line size holds for all back ends.
    backend : str
        ``native`` is timed, ``cache`` and ``count`` count.
    processes : int
        How many map the folios' file.
    """

    def __init__(
        self,
        spec: SchemeSpec,
        operation: Operation,
        order: int,
        regime: Regime,
        *,
        geometry: Geometry,
        machine: Machine,
        backend: str,
        processes: int = _PROCESSES,
    ) -> None:
        self.kernel = load_profile(spec.kernel or DEFAULT_KERNEL)
        nr_pages = 1 << order
        nr_folios = max(regime.nr_bytes // (nr_pages * _STRUCT_PAGE_BYTES), 1)
        self._evicted = regime.evicted
        nr = nr_folios * nr_pages
        builder = ScenarioBuilder("hw", geometry).obj("F", "file", nr, order=order).region("A", nr)
        builder.map("P0", "A", "F", 0, 0, nr, "shared")
        for process in range(1, processes):
            builder.fork("P0", f"P{process}")
        scenario = builder.readobj("F").build()
        self.simulation = new_simulation(
            scenario,
            scheme=spec,
            kernel=self.kernel,
            backend=backend,
            geometry=replace(geometry, line_bytes=machine.line_bytes),
            machine=machine,
            folio=FolioPolicy.parse("order0"),
            truth=False,
        )
        hw.huge_pages(self.simulation, nr + nr_pages)
        self.simulation.run(scenario.events)
        spacing = max(_COLD_SPACING >> order, 1) if regime.evicted else 1
        # In no order that a prefetcher knows.
        numbers = np.arange(0, nr_folios, spacing, dtype=np.uint32)
        self._visit = np.random.default_rng(_SEED).permutation(numbers)
        self.nr_visits = self._visit.size
        self.nr_timed = hw.nr_timed(self.nr_visits)
        self._order, self._vpn = order, scenario.regions["A"].vpn
        self._folio = int(self.simulation.resident(0, 1)[0])
        for process in range(processes):
            hw.page_tables(self.simulation, process, self._vpn, nr, not operation.by_pmd)
        calls = [operation.calls(each, nr_pages, self.kernel) for each in (*operation.before, *operation.back)]
        self._before, self._back = calls[: len(operation.before)], calls[len(operation.before) :]
        self._nr_pages = nr_pages
        self._timed = operation.calls(operation.timed, nr_pages, self.kernel)
        self._nothing = self._timed[:0]

    @property
    def nr_calls(self) -> int:
        """Hooks called on each folio."""
        return int(self._timed.size)

    def _pass(self, calls: NDArray[np.void]) -> int:
        return hw.one_pass(self.simulation, calls, self._visit, order=self._order, folio=self._folio, vpn=self._vpn)

    def prepare(self) -> None:
        """Make the state in which the operation starts."""
        for calls in self._before:
            self._pass(calls)

    def once(self, around: Callable[[], object] | None = None) -> int:
        """Time one pass, in ns, and undo it; `around` is called right before and behind it."""
        if self._evicted:
            hw.evict(self.simulation)
        if around is not None:
            around()
        ns = self._pass(self._timed)
        if around is not None:
            around()
        for calls in self._back:
            self._pass(calls)
        return ns

    def counted(self) -> tuple[NDArray[np.int64], Mapping[str, int]]:
        """Count one pass, and do not undo it: accesses, and distinct lines of struct pages summed over folios."""
        if self._evicted:
            hw.evict(self.simulation)
        counters, stats = self.simulation.counters().astype(np.int64), self.simulation.event_stats()
        self._pass(self._timed)
        after = self.simulation.event_stats()
        lines = {name: int((after[name][:, 0] - stats[name][:, 0]).sum()) for name in ("lines_read", "lines_written")}
        return self.simulation.counters().astype(np.int64) - counters, lines

    def contend(
        self, calls: Sequence[tuple[Call, ...]], cpus: Sequence[int], folios: Sequence[int], seconds: float
    ) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        """Let threads repeat their calls on a folio each, at once.

        Parameters
        ----------
        calls : sequence of tuple of Call
            Equally many for each thread.
        cpus, folios : sequence of int
            Where each thread runs, and the number of its folio.
        seconds : float

        Returns
        -------
        operations, ns : uint64, shape (nr_threads,)
        """
        rows = np.array([[call.row(self._nr_pages, self.kernel) for call in one] for one in calls], dtype=hw.CALL_DTYPE)
        return hw.contend(
            self.simulation,
            rows,
            np.array(cpus, dtype=np.uint32),
            np.array(folios, dtype=np.uint32),
            order=self._order,
            folio=self._folio,
            vpn=self._vpn,
            duration_ns=int(seconds * 1e9),
        )

    def nothing(self) -> int:
        """Time a pass that makes no call, in ns: clock, loop, and the wait for one folio before the next."""
        return self._pass(self._nothing)


@dataclass(frozen=True, slots=True, eq=False)
class ModelledCounts:
    """What the model counts for the calls on one folio, the caches being as the regime says.

    Parameters
    ----------
    counters : int64, shape (nr_kinds, nr_causes, nr_fields, 3, 2, 6)
        Accesses of all folios visited, as `Simulation.counters` has them.
    nr_visits : int
        Folios visited.
    nr_calls : int
        Hooks called on each.
    rmw, lines_read, lines_written : float
        Per folio: atomics and distinct lines of struct pages.
    """

    counters: NDArray[np.int64]
    nr_visits: int
    nr_calls: int
    rmw: float
    lines_read: float
    lines_written: float


def modelled_counts(bench: Bench) -> ModelledCounts:
    """Count one pass of a bench of the cache back end, after the passes that bring its caches into their state."""
    bench.prepare()
    for _ in range(_WARM_UP):
        bench.once()
    counters, stats = bench.counted()
    classes = engine.names("field_classes")
    pages = [
        name == "PAGE" or field == "split_queue_lock"
        for field, name in zip(engine.names("fields"), classes, strict=True)
    ]
    return ModelledCounts(
        counters=counters,
        nr_visits=bench.nr_visits,
        nr_calls=bench.nr_calls,
        rmw=float(counters.sum(axis=(0, 1, 4, 5))[pages, 2].sum()) / bench.nr_visits,
        lines_read=float(stats["lines_read"]) / bench.nr_visits,
        lines_written=float(stats["lines_written"]) / bench.nr_visits,
    )


@dataclass(frozen=True, slots=True, eq=False)
class Repeats:
    """Passes timed.

    Parameters
    ----------
    per_folio : float64, shape (nr_repeats,)
        ns, what a pass without calls takes subtracted; 0 where that is more.
    precise : bool
        Whether the confidence interval is as narrow as it was to be.
    """

    per_folio: NDArray[np.float64]
    precise: bool


def repeat(bench: Bench, precision: float, seconds: float) -> Repeats:
    """Repeat passes until the median is known well enough, or time is up.

    Parameters
    ----------
    bench : Bench
        Of the native back end.
    precision : float
        Half the width of the 95 % confidence interval of the median, as a share of it.
    seconds : float
    """
    bench.prepare()
    for _ in range(_WARM_UP):  # page faults, branch predictors, caches
        bench.once()
    nothing: list[int] = [bench.nothing() for _ in range(_BLOCK)]
    times: list[int] = []
    stop = time.monotonic() + seconds
    precise = False
    while len(times) < _MAX_REPEATS and not precise:
        times += [bench.once() for _ in range(_BLOCK)]
        nothing.append(bench.nothing())
        if len(times) >= _MIN_REPEATS:
            precise = width(between_steps(times), median(nothing)) <= precision
            if time.monotonic() > stop:
                break
    per_folio = np.maximum(between_steps(times) - median(nothing), 0) / bench.nr_timed
    return Repeats(per_folio=per_folio, precise=precise)


@cache
def _step_ns() -> int:
    return hw.clock_step_ns()


def between_steps(times: Sequence[int]) -> NDArray[np.float64]:
    """Spread readings of a clock that counts in steps over a step each, so that their median does not sit on one.

    Parameters
    ----------
    times : sequence of int

    Returns
    -------
    float64, shape (nr_times,)
        Half a step more or less at most; the same for the same number of readings.
    """
    half = _step_ns() / 2
    return np.array(times, dtype=np.float64) + np.random.default_rng(_SEED).uniform(-half, half, len(times))


def median(times: Sequence[int]) -> float:
    """Median of readings of the clock, between its steps."""
    return float(np.median(between_steps(times)))


def width(times: NDArray[np.float64] | Sequence[float], nothing: float = 0.0) -> float:
    """Half the 95 % confidence interval of the median, by order statistics, as a share of what exceeds `nothing`."""
    ordered = np.sort(np.asarray(times, dtype=np.float64))
    half = 0.98 * np.sqrt(ordered.size)
    low = ordered[max(int(ordered.size / 2 - half), 0)]
    high = ordered[min(int(ordered.size / 2 + half), ordered.size - 1)]
    middle = float(np.median(ordered)) - nothing
    return float(high - low) / 2 / middle if middle > 0 else 0.0 if high == low else np.inf
