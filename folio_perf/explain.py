# SPDX-License-Identifier: BSD-3-Clause
"""Why one run costs more than another: the difference, split into causes that add up to it.

Prices are linear in the counters, so the difference of two runs is a sum over cells: event kind, cause, field, access,
dependence, level. On one machine a cell contributes the accesses by which the runs differ, at their price. On two
machines it contributes two parts, the accesses at the mean of both prices and the change of price at the mean of both
counts: the split that does not depend on which run comes first.
"""

from __future__ import annotations

import math
import os

import numpy as np
from numpy.typing import NDArray

from folio_perf import cost
from folio_perf.geometry import FolioPolicy, Geometry
from folio_perf.machine import DEFAULT_MACHINE, Machine
from folio_perf.profile import DEFAULT_KERNEL, KernelProfile
from folio_perf.results import Axes, Explanation, Part, Result
from folio_perf.schemes import SchemeSpec, parse_scheme_spec
from folio_perf.simulate import Progress, ScenarioLike, Setup, prepare, resolve, run_scenario

__all__ = ["explain", "explain_results"]


def explain(
    a: str | SchemeSpec,
    b: str | SchemeSpec,
    scenario: ScenarioLike,
    *,
    machine: str | os.PathLike[str] | Machine = DEFAULT_MACHINE,
    machine_b: str | os.PathLike[str] | Machine | None = None,
    geometry: str | Geometry | None = None,
    kernel: str | os.PathLike[str] | KernelProfile = DEFAULT_KERNEL,
    backend: str = "cache",
    folio: str | FolioPolicy | None = None,
    strict: bool | None = None,
    progress: Progress | None = None,
) -> Explanation:
    """Run a scenario twice and split the difference into its causes.

    Parameters
    ----------
    a, b : str or SchemeSpec
        ``NAME[:OPTION=VALUE,...][@KERNEL]``; the difference is b less a. The same design twice makes sense on two
        machines.
    scenario : Scenario, Trace, str or path
        As `simulate`.
    machine : str, path or Machine
        Of both runs, or of the first.
    machine_b : str, path or Machine, optional
        Of the second run.
    geometry, kernel, backend, folio, strict, progress
        As `simulate`; a page size as text leaves each machine its own lines.

    Returns
    -------
    Explanation
        Its parts add up to the difference: counts exactly, ns to rounding.

    Raises
    ------
    ValueError, OSError, MemoryError
        As `simulate`.
    """
    specs = [parse_scheme_spec(each) if isinstance(each, str) else each for each in (a, b)]
    machines = (machine, machine if machine_b is None else machine_b)
    setups = [
        prepare(machine=each, geometry=geometry, kernel=kernel, backend=backend, folio=folio, truth=False)
        for each in machines
    ]
    if backend == "count" and setups[0].machine != setups[1].machine:
        raise ValueError("back end 'count' knows no levels: to it two machines are one")
    inputs = [resolve(scenario, setup.geometry, strict=strict) for setup in setups]
    total = sum(given.scenario.nr_events for given in inputs)
    results, done = [], 0
    for given, spec, setup in zip(inputs, specs, setups, strict=True):
        report = None if progress is None else _after(progress, done, total)
        results.append(run_scenario(given, spec, setup, report))
        done += given.scenario.nr_events
    one_machine = setups[0].machine == setups[1].machine
    return explain_results(results[0], results[1], _prices(setups[0]), None if one_machine else _prices(setups[1]))


def _after(progress: Progress, done: int, total: int) -> Progress:
    return lambda events, _: progress(done + events, total)


def _prices(setup: Setup) -> NDArray[np.float64]:
    matrix = cost.price_matrix(setup.machine)
    return matrix if setup.priced else np.full_like(matrix, np.nan)


def explain_results(
    a: Result, b: Result, prices_a: NDArray[np.float64], prices_b: NDArray[np.float64] | None = None
) -> Explanation:
    """Split the difference of two results into its causes.

    Parameters
    ----------
    a, b : Result
        With the same axes.
    prices_a, prices_b : float64, shape (3, 2, 6)
        ns per access of each run, as `price_matrix` gives them; NaN where there is no price. Without `prices_b` both
        ran on one machine, and what they do alike cancels out, priced or not.

    Raises
    ------
    ValueError
        If axes differ, or prices have another shape than the last axes of the counters.
    """
    if a.axes != b.axes:
        raise ValueError("results of different versions of the model cannot be explained: their axes differ")
    prices = (prices_a, prices_a if prices_b is None else prices_b)
    for each in prices:
        if each.shape != a.axes.shape[3:]:
            raise ValueError(f"prices of shape {each.shape} must have shape {a.axes.shape[3:]}")
    return Explanation(
        a=a.run,
        b=b.run,
        a_ns=_total_ns(a, prices[0]),
        b_ns=_total_ns(b, prices[1]),
        parts=_parts(a.axes, a.counters, b.counters, *prices),
    )


def _total_ns(result: Result, prices: NDArray[np.float64]) -> float | None:
    used = result.counters.sum(axis=(0, 1, 2))
    if np.isnan(prices[used != 0]).any():
        return None
    return math.fsum((used * np.nan_to_num(prices)).ravel())


def _parts(
    axes: Axes,
    counts_a: NDArray[np.int64],
    counts_b: NDArray[np.int64],
    prices_a: NDArray[np.float64],
    prices_b: NDArray[np.float64],
) -> tuple[Part, ...]:
    here_a, here_b = np.broadcast_to(prices_a, counts_a.shape), np.broadcast_to(prices_b, counts_b.shape)
    # Where only one run has accesses its price holds: the other machine may not even have that level.
    price_a, price_b = np.where(counts_a == 0, here_b, here_a), np.where(counts_b == 0, here_a, here_b)
    more = counts_b - counts_a
    # Equal prices keep their last bit; what both runs do alike on one machine needs no price.
    price = np.where(price_a == price_b, price_a, (price_a + price_b) / 2)
    dearer = np.zeros_like(price) if prices_b is prices_a else price_b - price_a
    by_effect = {
        "count": (more, np.where(more == 0, 0.0, more * price)),
        "price": (np.zeros_like(more), (counts_a + counts_b) / 2 * dearer),
    }
    parts = []
    for effect, (counts, ns) in by_effect.items():
        for place in np.argwhere((counts != 0) | ((counts_a + counts_b != 0) & (ns != 0))):
            at = tuple(place)
            event, cause, field, access, dependence, level = at
            parts.append(
                Part(
                    event=axes.events[event],
                    cause=axes.causes[cause],
                    field=axes.fields[field],
                    access=axes.accesses[access],
                    dependence=axes.dependences[dependence],
                    level=axes.levels[level],
                    effect=effect,
                    count=int(counts[at]),
                    ns=None if np.isnan(ns[at]) else float(ns[at]),
                )
            )
    return tuple(sorted(parts, key=_largest_first))


def _largest_first(part: Part) -> tuple[object, ...]:
    size = math.inf if part.ns is None else abs(part.ns)
    return (-size, -abs(part.count), part.event, part.cause, part.field, part.price, part.effect)
