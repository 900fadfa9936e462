# SPDX-License-Identifier: BSD-3-Clause
"""Measure operations of schemes on this CPU."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from folio_perf._native import engine, hw
from folio_perf.geometry import FolioPolicy, Geometry
from folio_perf.hw.operations import OPERATIONS, REGIMES, Operation
from folio_perf.machine import DEFAULT_MACHINE, load_machine
from folio_perf.profile import DEFAULT_KERNEL, load_profile
from folio_perf.scenario import ScenarioBuilder
from folio_perf.schemes import SchemeSpec, parse_scheme_specs
from folio_perf.simulate import new_simulation

__all__ = ["DEFAULT_SCHEMES", "Measurement", "Ratio", "ratios", "run"]

KIND: Final = "measured"
DEFAULT_SCHEMES: Final = "page_mapcount@6.1,zero_one_two_many,mm_owner,no_page_mapcount"
_STRUCT_PAGE_BYTES: Final = 64
_PROCESSES: Final = 4
_MIN_REPEATS, _MAX_REPEATS, _BLOCK = 15, 20_000, 10
# A repeat this far above the median, in median absolute deviations, is called an outlier; it is kept all the same.
_OUTLIER_MADS: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One operation of one scheme, measured; the model's counts beside it.

    Parameters
    ----------
    scheme, kernel, operation : str
    order : int
    regime : str
        One of `REGIMES`.
    ns : float
        Median over repeats of the time per folio, the clock's own cost subtracted.
    ns_low, ns_high : float
        First and third quartile.
    repeats, outliers : int
        Passes timed, and those far above the median; they are kept.
    folios : int
        Folios visited in one pass.
    rmw, lines_read, lines_written : float
        Modelled, per folio: atomics and distinct lines of struct pages.
    kind : str
        ``measured``: of the times.
    """

    scheme: str
    kernel: str
    operation: str
    order: int
    regime: str
    ns: float
    ns_low: float
    ns_high: float
    repeats: int
    outliers: int
    folios: int
    rmw: float
    lines_read: float
    lines_written: float
    kind: str = KIND


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """How many times longer one scheme takes than another.

    Parameters
    ----------
    scheme, baseline, operation, regime : str
    order : int
    ratio : float
        Of the medians.
    low, high : float
        Of the quartiles that lie nearest to, and farthest from, each other.
    """

    scheme: str
    baseline: str
    operation: str
    regime: str
    order: int
    ratio: float
    low: float
    high: float


def run(
    schemes: str | Sequence[SchemeSpec] = DEFAULT_SCHEMES,
    *,
    operations: Sequence[str] = ("map_unmap_ptes", "fork_later", "total_mapcount"),
    orders: Sequence[int] = (0, 4, 9),
    regimes: Sequence[str] = ("l2", "cold"),
    geometry: Geometry | None = None,
    precision: float = 0.02,
    seconds: float = 0.25,
    cpu: int | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> tuple[Measurement, ...]:
    """Execute operations with real atomics on this CPU and time them.

    Parameters
    ----------
    schemes : str or sequence of SchemeSpec
    operations : sequence of str
        Of `OPERATIONS`; where one cannot be done on an order it is left out.
    orders : sequence of int
    regimes : sequence of str
        Of `REGIMES`.
    geometry : Geometry, optional
    precision : float
        Half the width of the 95 % confidence interval of the median at which repeating ends, as a share of it.
    seconds : float
        Time after which repeating ends anyway, per point.
    cpu : int, optional
        To run on; default the first this process may use.
    progress : callable, optional
        Called with the number of points done, and of all.

    Returns
    -------
    tuple of Measurement

    Raises
    ------
    ValueError
        If a name is unknown or a number out of range.
    """
    specs = parse_scheme_specs(schemes) if isinstance(schemes, str) else tuple(schemes)
    geometry = geometry or Geometry(memory_bytes=64 << 30)
    for what, names, known in (("operation", operations, OPERATIONS), ("regime", regimes, REGIMES)):
        for name in names:
            if name not in known:
                raise ValueError(f"no {what} named {name!r}; there are {', '.join(known)}")
    for order in orders:
        if not 0 <= order <= geometry.pmd_order:
            raise ValueError(f"order {order} must be from 0 to {geometry.pmd_order}, that of a PMD")
    if not 0 < precision < 1:
        raise ValueError(f"precision {precision} must be between 0 and 1")
    if not 0 < seconds <= 600:
        raise ValueError(f"seconds {seconds} must be above 0 and at most 600")
    points = [
        (spec, name, order, regime)
        for order in orders
        for regime in regimes
        for name in operations
        if OPERATIONS[name].orders(order, geometry.pmd_order)
        for spec in specs
    ]
    before = os.sched_getaffinity(0)
    hw.pin(min(before) if cpu is None else cpu)
    try:
        return tuple(_measured(points, geometry, precision, seconds, progress))
    finally:
        os.sched_setaffinity(0, before)


def _measured(
    points: Sequence[tuple[SchemeSpec, str, int, str]],
    geometry: Geometry,
    precision: float,
    seconds: float,
    progress: Callable[[int, int], object] | None,
) -> Iterator[Measurement]:
    clock = hw.clock_ns()
    for done, (spec, name, order, regime) in enumerate(points):
        if progress is not None:
            progress(done, len(points))
        bench = _Bench(spec, OPERATIONS[name], order, regime, geometry, "native")
        if name == "recount" and not (hw.recounts(bench.simulation) and spec.recount == "on_reclaim"):
            continue  # only such a policy would take the walk's result
        times = np.array(_repeat(bench, precision, seconds), dtype=np.float64)
        per_folio = np.maximum(times - clock, 0) / bench.nr_folios
        median = float(np.median(per_folio))
        spread = float(np.median(np.abs(per_folio - median)))
        counts = _Bench(spec, OPERATIONS[name], order, regime, geometry, "cache").counts()
        yield Measurement(
            scheme=spec.label,
            kernel=bench.kernel.name,
            operation=name,
            order=order,
            regime=regime,
            ns=median,
            ns_low=float(np.percentile(per_folio, 25)),
            ns_high=float(np.percentile(per_folio, 75)),
            repeats=times.size,
            outliers=int((per_folio > median + _OUTLIER_MADS * spread).sum()) if spread else 0,
            folios=bench.nr_folios,
            rmw=counts[0],
            lines_read=counts[1],
            lines_written=counts[2],
        )
    if progress is not None:
        progress(len(points), len(points))


def _repeat(bench: _Bench, precision: float, seconds: float) -> list[int]:
    """Repeat until the median is known well enough, or time is up."""
    bench.prepare()
    for _ in range(3):  # warm up: page faults, branch predictors
        bench.once()
    times: list[int] = []
    stop = time.monotonic() + seconds
    while len(times) < _MAX_REPEATS:
        times += [bench.once() for _ in range(_BLOCK)]
        if len(times) >= _MIN_REPEATS and (time.monotonic() > stop or _width(times) <= precision):
            break
    return times


def _width(times: Sequence[int]) -> float:
    """Half the 95 % confidence interval of the median, by order statistics, as a share of it."""
    ordered = np.sort(np.array(times, dtype=np.float64))
    half = 0.98 * np.sqrt(ordered.size)
    low = ordered[max(int(ordered.size / 2 - half), 0)]
    high = ordered[min(int(ordered.size / 2 + half), ordered.size - 1)]
    median = float(np.median(ordered))
    return float(high - low) / 2 / median if median else 0.0


class _Bench:
    """Folios of one order side by side, and the passes over them."""

    def __init__(
        self, spec: SchemeSpec, operation: Operation, order: int, regime: str, geometry: Geometry, backend: str
    ) -> None:
        self.kernel = load_profile(spec.kernel or DEFAULT_KERNEL)
        nr_pages = 1 << order
        self.nr_folios = max(REGIMES[regime] // (nr_pages * _STRUCT_PAGE_BYTES), 1)
        self._cold = regime == "cold"
        nr = self.nr_folios * nr_pages
        builder = ScenarioBuilder("hw", geometry).obj("F", "file", nr, order=order).region("A", nr)
        builder.map("P0", "A", "F", 0, 0, nr, "shared")
        for process in range(1, _PROCESSES):
            builder.fork("P0", f"P{process}")
        scenario = builder.readobj("F").build()
        machine = load_machine(DEFAULT_MACHINE)
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
        self._visit = np.arange(self.nr_folios, dtype=np.uint32)
        self._order, self._vpn = order, scenario.regions["A"].vpn
        self._folio = int(self.simulation.resident(0, 1)[0])
        calls = [operation.calls(each, nr_pages, self.kernel) for each in (*operation.before, *operation.back)]
        self._before, self._back = calls[: len(operation.before)], calls[len(operation.before) :]
        self._timed = operation.calls(operation.timed, nr_pages, self.kernel)

    def _pass(self, calls: NDArray[np.void]) -> int:
        place = {"order": self._order, "folio": self._folio, "vpn": self._vpn}
        return hw.one_pass(self.simulation, calls, self._visit, **place)

    def prepare(self) -> None:
        """Make the state in which the operation starts."""
        for calls in self._before:
            self._pass(calls)

    def once(self) -> int:
        """Time one pass, in ns, and undo it."""
        if self._cold:
            hw.evict(self.simulation)
        ns = self._pass(self._timed)
        for calls in self._back:
            self._pass(calls)
        return ns

    def counts(self) -> tuple[float, float, float]:
        """Atomics, lines read and lines written of struct pages, per folio, as the model counts them."""
        self.prepare()
        counters = self.simulation.counters().astype(np.int64)
        stats = self.simulation.event_stats()
        self._pass(self._timed)
        counters = self.simulation.counters().astype(np.int64) - counters
        after = self.simulation.event_stats()
        classes = engine.names("field_classes")
        pages = [
            name == "PAGE" or field == "split_queue_lock"
            for field, name in zip(engine.names("fields"), classes, strict=True)
        ]
        rmw = counters.sum(axis=(0, 1, 4, 5))[pages, 2].sum()
        lines = [(after[name][:, 0] - stats[name][:, 0]).sum() for name in ("lines_read", "lines_written")]
        return tuple(float(each) / self.nr_folios for each in (rmw, *lines))  # type: ignore[return-value]


def ratios(measurements: Sequence[Measurement], baseline: str = "zero_one_two_many") -> tuple[Ratio, ...]:
    """Compare all schemes with one, point by point.

    Parameters
    ----------
    measurements : sequence of Measurement
    baseline : str
        Scheme, without its kernel; points it has no time above zero for are left out.

    Returns
    -------
    tuple of Ratio
    """
    base = {(each.operation, each.order, each.regime): each for each in measurements if each.scheme == baseline}
    found = []
    for each in measurements:
        other = base.get((each.operation, each.order, each.regime))
        if other is None or other is each or not other.ns_low:
            continue
        found.append(
            Ratio(
                scheme=f"{each.scheme}@{each.kernel}",
                baseline=f"{other.scheme}@{other.kernel}",
                operation=each.operation,
                regime=each.regime,
                order=each.order,
                ratio=each.ns / other.ns,
                low=each.ns_low / other.ns_high,
                high=each.ns_high / other.ns_low,
            )
        )
    return tuple(found)
