# SPDX-License-Identifier: BSD-3-Clause
"""Measure operations of schemes on this CPU."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np

from folio_perf._native import hw
from folio_perf.geometry import Geometry
from folio_perf.hw.bench import REGIMES, Bench, Regime, modelled_counts, repeat
from folio_perf.hw.bench import regimes as regime_sizes
from folio_perf.hw.counters import Counters
from folio_perf.hw.host import host
from folio_perf.hw.operations import OPERATIONS
from folio_perf.machine import DEFAULT_MACHINE, Machine, load_machine
from folio_perf.schemes import SchemeSpec, parse_scheme_specs

__all__ = ["DEFAULT_SCHEMES", "Measurement", "Point", "Ratio", "Setting", "points", "ratios", "run"]

KIND: Final = "measured"
DEFAULT_SCHEMES: Final = "page_mapcount@6.1,zero_one_two_many,mm_owner,no_page_mapcount"
_COUNTED_PASSES: Final = 15
# A repeat this far above the median, in median absolute deviations, is called an outlier; it is kept all the same.
_OUTLIER_MADS: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One operation of one scheme, measured; the model's counts beside it.

    Parameters
    ----------
    scheme, kernel, operation : str
    reconstructed : bool
        The public description of the scheme is incomplete and was completed.
    order : int
    regime : str
        One of `REGIMES`.
    ns : float
        Median over repeats of the time per folio; what a pass without calls takes is subtracted.
    ns_low, ns_high : float
        First and third quartile.
    repeats, outliers : int
        Passes timed, and those far above the median; they are kept.
    precise : bool
        Whether the confidence interval became as narrow as it was to be, before time was up.
    folios : int
        Folios timed in one pass.
    rmw, lines_read, lines_written : float
        Modelled, per folio: atomics and distinct lines of struct pages.
    counters : mapping of str to float or str
        Hardware counters per folio, by name of `folio_perf.hw.counters.COUNTERS`; or why there is none.
    kind : str
        ``measured``: of the times.
    """

    scheme: str
    kernel: str
    reconstructed: bool
    operation: str
    order: int
    regime: str
    ns: float
    ns_low: float
    ns_high: float
    repeats: int
    outliers: int
    precise: bool
    folios: int
    rmw: float
    lines_read: float
    lines_written: float
    counters: Mapping[str, float | str]
    kind: str = KIND


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """How many times longer one scheme takes than another.

    Parameters
    ----------
    scheme, baseline, operation, regime : str
    reconstructed : bool
        Of the scheme or of the baseline.
    order : int
    ratio : float
        Of the medians.
    low, high : float
        Of the quartiles that lie nearest to, and farthest from, each other.
    """

    scheme: str
    baseline: str
    reconstructed: bool
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
    check_names(operations, orders, regimes, geometry)
    if not 0 < precision < 1:
        raise ValueError(f"precision {precision} must be between 0 and 1")
    check_seconds(seconds)
    setting = Setting(
        geometry=geometry,
        machine=load_machine(DEFAULT_MACHINE),
        regimes=regime_sizes(host()),
        precision=precision,
        seconds=seconds,
    )
    todo = points(specs, operations, orders, regimes, setting)
    before = os.sched_getaffinity(0)
    hw.pin(min(before) if cpu is None else cpu)
    try:
        return tuple(_measured(todo, setting, progress))
    finally:
        os.sched_setaffinity(0, before)


def check_names(operations: Sequence[str], orders: Sequence[int], regimes: Sequence[str], geometry: Geometry) -> None:
    """Raise ValueError if an operation or regime is unknown, or an order is too high."""
    for what, names, known in (("operation", operations, OPERATIONS), ("regime", regimes, REGIMES)):
        for name in names:
            if name not in known:
                raise ValueError(f"no {what} named {name!r}; there are {', '.join(known)}")
    for order in orders:
        if not 0 <= order <= geometry.pmd_order:
            raise ValueError(f"order {order} must be from 0 to {geometry.pmd_order}, that of a PMD")


def check_seconds(seconds: float) -> None:
    """Raise ValueError if it is no time to spend on one number."""
    if not 0 < seconds <= 600:
        raise ValueError(f"seconds {seconds} must be above 0 and at most 600")


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What all points of a measurement have in common.

    Parameters
    ----------
    geometry : Geometry
    machine : Machine
        Whose caches are simulated where the model counts.
    regimes : mapping of str to Regime
    precision, seconds : float
    """

    geometry: Geometry
    machine: Machine
    regimes: Mapping[str, Regime]
    precision: float
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One operation of one scheme, to be measured or modelled."""

    spec: SchemeSpec
    operation: str
    order: int
    regime: str

    def bench(self, setting: Setting, backend: str) -> Bench:
        """Build the folios and their passes."""
        return Bench(
            self.spec,
            OPERATIONS[self.operation],
            self.order,
            setting.regimes[self.regime],
            geometry=setting.geometry,
            machine=setting.machine,
            backend=backend,
        )


def points(
    specs: Iterable[SchemeSpec],
    operations: Sequence[str],
    orders: Sequence[int],
    regime_names: Sequence[str],
    setting: Setting,
) -> tuple[Point, ...]:
    """List the points that can be measured.

    Left out are operations that cannot be done on an order, folios whose struct pages are more than a regime holds, and
    recounts of designs whose policy would not take the walk's result.
    """
    specs = tuple(specs)
    return tuple(
        Point(spec=spec, operation=operation, order=order, regime=regime)
        for order in orders
        for regime in regime_names
        if setting.regimes[regime].holds(order)
        for operation in operations
        if OPERATIONS[operation].orders(order, setting.geometry.pmd_order)
        for spec in specs
        if operation != "recount" or _recounts(spec, setting)
    )


def _recounts(spec: SchemeSpec, setting: Setting) -> bool:
    if spec.recount != "on_reclaim":
        return False
    point = Point(spec=spec, operation="recount", order=0, regime="cold")
    return hw.recounts(point.bench(setting, "count").simulation)


def _measured(
    todo: Sequence[Point], setting: Setting, progress: Callable[[int, int], object] | None
) -> Iterator[Measurement]:
    counters = Counters()
    try:
        for done, point in enumerate(todo):
            if progress is not None:
                progress(done, len(todo))
            bench = point.bench(setting, "native")
            found = repeat(bench, setting.precision, setting.seconds)
            per_folio, middle = found.per_folio, float(np.median(found.per_folio))
            spread = float(np.median(np.abs(per_folio - middle)))
            counts = modelled_counts(point.bench(setting, "cache"))
            yield Measurement(
                scheme=point.spec.label,
                kernel=bench.kernel.name,
                reconstructed=point.spec.info.reconstructed,
                operation=point.operation,
                order=point.order,
                regime=point.regime,
                ns=middle,
                ns_low=float(np.percentile(per_folio, 25)),
                ns_high=float(np.percentile(per_folio, 75)),
                repeats=per_folio.size,
                outliers=int((per_folio > middle + _OUTLIER_MADS * spread).sum()) if spread else 0,
                precise=found.precise,
                folios=bench.nr_timed,
                rmw=counts.rmw,
                lines_read=counts.lines_read,
                lines_written=counts.lines_written,
                counters=_counted(bench, counters),
            )
    finally:
        counters.close()
    if progress is not None:
        progress(len(todo), len(todo))


def _mark(marks: list[Mapping[str, int]], counters: Counters) -> None:
    marks.append(counters.read())


def _counted(bench: Bench, counters: Counters) -> Mapping[str, float | str]:
    """Hardware counters of one operation, those of a pass without calls subtracted, or why there are none."""
    missing = dict(counters.missing)
    totals: dict[str, list[float]] = {name: [] for name in counters.read()}
    for _ in range(_COUNTED_PASSES if totals else 0):
        marks: list[Mapping[str, int]] = []
        bench.once(around=partial(_mark, marks, counters))
        _mark(marks, counters)
        bench.nothing()
        _mark(marks, counters)
        for name, values in totals.items():
            values.append(marks[1][name] - marks[0][name] - (marks[3][name] - marks[2][name]))
    return missing | {name: float(np.median(values)) / bench.nr_visits for name, values in totals.items()}


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
                reconstructed=each.reconstructed or other.reconstructed,
                operation=each.operation,
                regime=each.regime,
                order=each.order,
                ratio=each.ns / other.ns,
                low=each.ns_low / other.ns_high,
                high=each.ns_high / other.ns_low,
            )
        )
    return tuple(found)
