# SPDX-License-Identifier: BSD-3-Clause
"""The price model held against this CPU: every operation measured, and modelled with prices of single accesses."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, groupby
from typing import Final

import numpy as np
from numpy.typing import NDArray

from folio_perf._native import engine, hw
from folio_perf.cost import DEPENDENCES, LEVELS, price
from folio_perf.geometry import Geometry
from folio_perf.hw.bench import ModelledCounts, modelled_counts, repeat
from folio_perf.hw.bench import regimes as regime_sizes
from folio_perf.hw.calibrate import Yardstick
from folio_perf.hw.host import Host, host
from folio_perf.hw.operations import OPERATIONS
from folio_perf.hw.run import Point, Setting, check_names, check_seconds, points
from folio_perf.machine import Machine
from folio_perf.schemes import SchemeSpec, parse_scheme_specs, scheme_names

__all__ = ["Agreement", "Validated", "Validation", "agreement", "modelled_ns", "validate"]

DEFAULT_ORDERS: Final = (0, 2, 4, 9)
DEFAULT_REGIMES: Final = ("l1", "l2", "cold")
_SECONDS: Final = 0.012
_RECOUNTS: Final = "zero_one_two_many:recount=on_reclaim"
_TELLING: Final = 1.10
"""Two schemes are told apart when one takes this many times as long as the other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Validated:
    """One operation of one scheme, measured and modelled.

    Parameters
    ----------
    scheme, kernel, operation : str
    order : int
    regime : str
    measured_ns : float
        Per folio, the median of rounds; a pass without calls is subtracted.
    spread : float
        Half the distance of the quartiles of rounds, in ns.
    modelled_ns : float
        Of the accesses, calls and presence tests the model counts, at prices of this CPU.
    plain_ns : float
        The same with nothing hidden behind anything: the upper bound that ``ns`` of other results is.
    """

    scheme: str
    kernel: str
    operation: str
    order: int
    regime: str
    measured_ns: float
    spread: float
    modelled_ns: float
    plain_ns: float

    @property
    def ratio(self) -> float:
        """Modelled by measured."""
        return self.modelled_ns / self.measured_ns if self.measured_ns else np.inf

    @property
    def error(self) -> float:
        """What the model is off by, as a share of what was measured."""
        return abs(self.ratio - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How well the model does on some points.

    Parameters
    ----------
    points : int
    median_error, p90_error : float
        Of `Validated.error`.
    pairs : int
        Pairs of schemes that differ by more than a tenth in an operation, order and regime.
    right : float
        Share of them that the model puts in the right order.
    pairs_alike : int
        Those among them that make the very same accesses: the model says they take equally long, and they differ by
        what the compiler made of it. They count as wrong in `right`.
    right_of_others : float
        Share of the other pairs that the model puts in the right order.
    """

    points: int
    median_error: float
    p90_error: float
    pairs: int
    right: float
    pairs_alike: int
    right_of_others: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """All points, and the machine whose prices were used.

    Parameters
    ----------
    points : tuple of Validated
    machine : Machine
    host : Host
    """

    points: tuple[Validated, ...]
    machine: Machine
    host: Host


def validate(
    schemes: str | Sequence[SchemeSpec] | None = None,
    *,
    operations: Sequence[str] = tuple(OPERATIONS),
    orders: Sequence[int] = DEFAULT_ORDERS,
    regimes: Sequence[str] = DEFAULT_REGIMES,
    rounds: int = 5,
    seconds: float = _SECONDS,
    cpu: int | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> Validation:
    """Measure operations on this CPU, model them with its own prices, and put both side by side.

    Prices and operations are measured in rounds, in turn, so that what disturbs the host for a while disturbs both.

    Parameters
    ----------
    schemes : str or sequence of SchemeSpec, optional
        Default all; recounts are those of one that recounts on reclaim.
    operations, orders, regimes : sequence
        As `folio_perf.hw.run`.
    rounds : int
    seconds : float
        At most, per point and round.
    cpu : int, optional
    progress : callable, optional
        Called with the number of points done, and of all.

    Returns
    -------
    Validation

    Raises
    ------
    ValueError
        If a name is unknown or a number out of range.
    """
    specs = parse_scheme_specs(schemes) if isinstance(schemes, str) else schemes
    recounting: Sequence[SchemeSpec] = ()
    if specs is None:
        specs, recounting = parse_scheme_specs(",".join(scheme_names())), parse_scheme_specs(_RECOUNTS)
    if not 1 <= rounds <= 100:
        raise ValueError(f"rounds {rounds} must be from 1 to 100")
    geometry = Geometry(memory_bytes=64 << 30)
    check_names(operations, orders, regimes, geometry)
    check_seconds(seconds)
    before, facts = os.sched_getaffinity(0), host()
    hw.pin(min(before) if cpu is None else cpu)
    try:
        yardstick = Yardstick("this-host", facts)
        yardstick.measure()
        setting = Setting(
            geometry=geometry,
            machine=yardstick.machine(),
            regimes=regime_sizes(yardstick.host),
            precision=0.02,
            seconds=seconds,
        )
        todo = points(specs, operations, orders, regimes, setting)
        if "recount" in operations:
            todo += points(recounting, ("recount",), orders, regimes, setting)
        times = np.empty((len(todo), rounds))
        for number in range(rounds):
            yardstick.measure()
            # In another order each time: where things lie in memory, and what runs beside, is nobody's lot for long.
            for done, at in enumerate(np.random.default_rng(number).permutation(len(todo))):
                if progress is not None:
                    progress(number * len(todo) + done, rounds * len(todo))
                found = repeat(todo[at].bench(setting, "native"), setting.precision, setting.seconds)
                times[at, number] = np.median(found.per_folio)
    finally:
        os.sched_setaffinity(0, before)
    machine = yardstick.machine()
    rows = tuple(_validated(point, each, setting, machine) for point, each in zip(todo, times, strict=True))
    if progress is not None:
        progress(rounds * len(todo), rounds * len(todo))
    return Validation(points=rows, machine=machine, host=facts)


def _validated(point: Point, times: NDArray[np.float64], setting: Setting, machine: Machine) -> Validated:
    bench = point.bench(replace(setting, machine=machine), "cache")
    low, middle, high = np.percentile(times, (25, 50, 75))
    modelled, plain = modelled_ns(modelled_counts(bench), machine)
    return Validated(
        scheme=point.spec.label,
        kernel=bench.kernel.name,
        operation=point.operation,
        order=point.order,
        regime=point.regime,
        measured_ns=float(middle),
        spread=float(high - low) / 2,
        modelled_ns=modelled,
        plain_ns=plain,
    )


def modelled_ns(counts: ModelledCounts, machine: Machine) -> tuple[float, float]:
    """Price what the model counts for the calls on one folio: accesses, calls, presence tests.

    A presence test and the miss of the struct page before it do not wait for each other: the CPU predicts what the
    struct page will say and goes on. The shorter of the two is hidden.

    Parameters
    ----------
    counts : ModelledCounts
    machine : Machine
        Prices of instructions it does not know are taken to be 0, those of accesses make the result NaN.

    Returns
    -------
    modelled, plain : float
        ns per folio; `plain` is the sum with nothing hidden, the upper bound that `folio_perf.cost` gives.
    """
    causes = engine.names("causes")
    by_cause = counts.counters.sum(axis=(0, 2))
    operation, presence = by_cause[causes.index("operation")], by_cause[causes.index("presence")]
    touched = dict(
        zip(engine.names("fields"), counts.counters[:, causes.index("presence")].sum((0, 2, 3, 4)), strict=True)
    )
    code = touched["pmd"] * (machine.presence_test.ns or 0.0) + touched["pte"] * (machine.presence_entry.ns or 0.0)
    test = float(price(presence, machine)) + code
    missed = operation.copy()
    missed[:, DEPENDENCES.index("streaming")] = 0
    missed[:, :, LEVELS.index("l1")] = 0
    hidden = min(float(price(missed, machine)), test)
    calls = counts.nr_calls * (machine.hook_call.ns or 0.0)
    plain = (float(price(by_cause, machine).sum()) + code) / counts.nr_visits + calls
    return plain - hidden / counts.nr_visits, plain


def agreement(rows: Iterable[Validated]) -> Agreement:
    """Summarise points.

    Parameters
    ----------
    rows : iterable of Validated

    Raises
    ------
    ValueError
        If there is none.
    """
    some = sorted(rows, key=lambda each: (each.operation, each.order, each.regime))
    if not some:
        raise ValueError("no point to summarise")
    errors = np.array([each.error for each in some])
    right, alike = [], []
    for _, group in groupby(some, key=lambda each: (each.operation, each.order, each.regime)):
        for one, other in combinations(group, 2):
            fast, slow = sorted((one, other), key=lambda each: each.measured_ns)
            if slow.measured_ns > _TELLING * fast.measured_ns:
                right.append(slow.modelled_ns > fast.modelled_ns)
                alike.append(slow.modelled_ns == fast.modelled_ns)
    others = [good for good, same in zip(right, alike, strict=True) if not same]
    return Agreement(
        points=len(some),
        median_error=float(np.median(errors)),
        p90_error=float(np.percentile(errors, 90)),
        pairs=len(right),
        right=float(np.mean(right)) if right else 1.0,
        pairs_alike=sum(alike),
        right_of_others=float(np.mean(others)) if others else 1.0,
    )
