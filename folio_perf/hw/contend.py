# SPDX-License-Identifier: BSD-3-Clause
"""Threads on chosen CPUs that use the same folio, measured, beside the queue of `folio_perf.contention`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from folio_perf._native import engine, hw
from folio_perf.contention import contention, mean_transfer_ns, solve
from folio_perf.geometry import Geometry
from folio_perf.hw.bench import Bench, Regime
from folio_perf.hw.calibrate import calibrate
from folio_perf.hw.operations import Call, Operation
from folio_perf.machine import Machine
from folio_perf.schemes import SchemeSpec, parse_scheme_spec, parse_scheme_specs

__all__ = ["DEFAULT_CONTENDERS", "LAYOUTS", "USES", "Contended", "contend"]

DEFAULT_CONTENDERS: Final = "page_mapcount@6.1,zero_one_two_many,mm_owner"

LAYOUTS: Final[Mapping[str, str]] = {
    "folio": "all threads map and unmap one folio",
    "neighbours": "each thread has a folio of its own, side by side",
    "readers": "every other thread asks whether the folio is shared, the others map and unmap it",
}
"""Titles by name."""

USES: Final[Mapping[str, str]] = {
    "add": "an atomic add to a word",
    "cmpxchg": "a load, and compare-exchanges until one succeeds",
    "bit_lock": "a bit spinlock around a plain add",
    "rwsem": "an rwsem taken and given back by a reader, as rmap walks do",
}
"""What is done to one word alone, as designs and the locks of walks do; titles by name."""

_PIECES: Final[Mapping[str, tuple[int, int, int]]] = {
    "add": (0, 0, 1),
    "cmpxchg": (1, 0, 1),
    "bit_lock": (1, 2, 1),
    "rwsem": (0, 0, 2),
}
"""Loads, stores and RMWs of a use."""

_GEOMETRY: Final = Geometry(memory_bytes=64 << 30)
_SPEC: Final = "page_mapcount"  # in whose struct pages words are used; none of its hooks is called


@dataclass(frozen=True, slots=True, kw_only=True)
class Contended:
    """What so many threads reached together.

    Parameters
    ----------
    what : str
        A scheme, or a use of a word (`USES`).
    layout : str
        One of `LAYOUTS`.
    order, threads : int
    operations_per_us : float
        Measured: of all threads that write, the median of repeats.
    spread : float
        Half the distance of the quartiles of repeats.
    latency_ns : float or None
        Measured: of one operation; None if the host let no thread make one.
    least_share : float
        Of the thread that got least, by what it would get if all got the same.
    reads_per_us : float or None
        Measured: of the threads that read; None where none does.
    modelled_per_us, modelled_ns : float or None
        Of the queue, inexact; None where it does not apply, or the machine lacks a price or its topology.
    """

    what: str
    layout: str
    order: int
    threads: int
    operations_per_us: float
    spread: float
    latency_ns: float | None
    least_share: float
    reads_per_us: float | None
    modelled_per_us: float | None
    modelled_ns: float | None


def contend(
    schemes: str | Sequence[SchemeSpec] = DEFAULT_CONTENDERS,
    *,
    uses: Sequence[str] = tuple(USES),
    layouts: Sequence[str] = tuple(LAYOUTS),
    threads: Sequence[int] | None = None,
    cpus: Sequence[int] | None = None,
    order: int = 0,
    seconds: float = 0.05,
    repeats: int = 5,
    machine: Machine | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> tuple[Contended, ...]:
    """Measure what threads reach together that map and unmap folios, or use one word.

    Parameters
    ----------
    schemes : str or sequence of SchemeSpec
        Each thread maps all PTEs of a folio in a process of its own and unmaps them again, by the scheme's own code.
    uses : sequence of str
        Of `USES`.
    layouts : sequence of str
        Of `LAYOUTS`.
    threads : sequence of int, optional
        How many; default 1 to as many as there are CPUs. ``readers`` takes two or more.
    cpus : sequence of int, optional
        Where they run, the first thread on the first; default all this process may use.
    order : int
        Of the folios.
    seconds, repeats
        How long threads run, and how often.
    machine : Machine, optional
        Whose prices the queue has; default this host's, calibrated first.
    progress : callable, optional
        Called with the number of measurements done, and of all.

    Returns
    -------
    tuple of Contended

    Raises
    ------
    ValueError
        If a name is unknown or a number out of range.
    """
    specs = parse_scheme_specs(schemes) if isinstance(schemes, str) else tuple(schemes)
    allowed = sorted(os.sched_getaffinity(0))
    places = tuple(allowed if cpus is None else cpus)
    counts = tuple(range(1, len(places) + 1) if threads is None else threads)
    _check(uses, layouts, counts, places, allowed, order, seconds, repeats)
    found = machine or calibrate("this-host", rounds=2).machine
    subjects: tuple[SchemeSpec | str, ...] = (*specs, *uses)
    todo = [(what, layout, nr) for what in subjects for layout in layouts for nr in counts if _fits(layout, nr)]
    rows = []
    for done, (what, layout, nr) in enumerate(todo):
        if progress is not None:
            progress(done, len(todo))
        rows.append(_contended(what, layout, places[:nr], order, seconds, repeats, found))
    if progress is not None:
        progress(len(todo), len(todo))
    return tuple(rows)


def _check(
    uses: Sequence[str],
    layouts: Sequence[str],
    counts: Sequence[int],
    places: Sequence[int],
    allowed: Sequence[int],
    order: int,
    seconds: float,
    repeats: int,
) -> None:
    for what, names, known in (("use", uses, USES), ("layout", layouts, LAYOUTS)):
        for name in names:
            if name not in known:
                raise ValueError(f"no {what} named {name!r}; there are {', '.join(known)}")
    for cpu in places:
        if cpu not in allowed:
            raise ValueError(f"CPU {cpu} is none this process may use: {', '.join(map(str, allowed))}")
    if len(set(places)) != len(places):
        raise ValueError(f"CPUs {', '.join(map(str, places))} must be different ones")
    for nr in counts:
        if not 1 <= nr <= len(places):
            raise ValueError(f"threads {nr} must be from 1 to {len(places)}, a CPU for each")
    if not 0 <= order <= _GEOMETRY.pmd_order:
        raise ValueError(f"order {order} must be from 0 to {_GEOMETRY.pmd_order}, that of a PMD")
    if not 0 < seconds <= 60:
        raise ValueError(f"seconds {seconds} must be above 0 and at most 60")
    if not 1 <= repeats <= 1000:
        raise ValueError(f"repeats {repeats} must be from 1 to 1000")


def _fits(layout: str, nr: int) -> bool:
    return layout != "readers" or nr > 1


def _contended(
    what: SchemeSpec | str,
    layout: str,
    cpus: Sequence[int],
    order: int,
    seconds: float,
    repeats: int,
    machine: Machine,
) -> Contended:
    nr = len(cpus)
    calls = [_calls(what, layout, number) for number in range(nr)]
    bench = Bench(
        parse_scheme_spec(_SPEC) if isinstance(what, str) else what,
        # A first process maps the folios throughout: whoever else maps them never is the first or the last.
        Operation(title="", timed=(), before=((Call(hook=hw.MAP_RUN),),)),
        order,
        Regime(title="", nr_bytes=nr * 64 << order),
        geometry=_GEOMETRY,
        machine=machine,
        backend="native",
        processes=nr + 1,
    )
    bench.prepare()
    folios = [number if layout == "neighbours" else 0 for number in range(nr)]
    writes, reads, shares = [], [], []
    for _ in range(repeats):
        operations, ns = bench.contend(calls, cpus, folios, seconds)
        rates = operations / np.maximum(ns, 1) * 1000
        writers = np.array([not _reads(layout, number) for number in range(nr)])
        writes.append(float(rates[writers].sum()))
        reads.append(float(rates[~writers].sum()))
        shares.append(float(rates[writers].min() / rates[writers].mean()) if rates[writers].any() else 0.0)
    low, middle, high = np.percentile(writes, (25, 50, 75))
    modelled = _modelled(what, layout, nr, order, machine)
    return Contended(
        what=what if isinstance(what, str) else f"{what.label}@{bench.kernel.name}",
        layout=layout,
        order=order,
        threads=nr,
        operations_per_us=float(middle),
        spread=float(high - low) / 2,
        latency_ns=1000 * int(writers.sum()) / float(middle) if middle else None,
        least_share=float(np.median(shares)),
        reads_per_us=float(np.median(reads)) if layout == "readers" else None,
        modelled_per_us=None if modelled is None else 1000 * modelled[0],
        modelled_ns=None if modelled is None else modelled[1],
    )


def _reads(layout: str, number: int) -> bool:
    return layout == "readers" and number % 2 == 1


def _calls(what: SchemeSpec | str, layout: str, number: int) -> tuple[Call, ...]:
    """Return what a thread repeats; those of one design make equally many calls."""
    if isinstance(what, str):
        use = Call(hook=hw.USES["read" if _reads(layout, number) else what])
        return (use,)
    process = number + 1
    if _reads(layout, number):
        ask = Call(hook=hw.ASK, value=engine.names("questions").index("shared"), process=process)
        return (ask, ask)
    return (Call(hook=hw.MAP_RUN, process=process), Call(hook=hw.UNMAP_RUN, process=process, path="zap"))


# ---- the queue ---------------------------------------------------------------------------------------------------


def _modelled(what: SchemeSpec | str, layout: str, nr: int, order: int, machine: Machine) -> tuple[float, float] | None:
    """Operations per ns of all threads and ns of one, by the queue; None where it does not apply or lacks a number."""
    if layout == "readers" or (layout == "neighbours" and machine.line_bytes > 64):
        return None
    try:
        alone = 1 if layout == "neighbours" else nr
        rate, latency = _queue(what, alone, order, machine)
    except ValueError:  # a price is unknown, or the topology
        return None
    return (nr * rate, latency) if layout == "neighbours" else (rate, latency)


def _queue(what: SchemeSpec | str, nr: int, order: int, machine: Machine) -> tuple[float, float]:
    if isinstance(what, str):
        return solve(nr, 0.0, np.array([mean_transfer_ns(machine, nr) + _held_ns(what, machine)]))
    think = 2 * (machine.hook_call.ns or 0.0)
    if what.label.startswith("zero_one_two_many"):
        think += 2 * (machine.presence_test.ns or 0.0)
    (curve,) = contention(what, threads=(nr,), order=order, machine=machine, think_ns=think, hooks=True).curves
    return curve.points[0].operations_per_us / 1000, curve.points[0].latency_ns


def _held_ns(use: str, machine: Machine) -> float:
    """Work of a use on its line, once it is there."""
    return sum(_priced(use, machine))


def _priced(use: str, machine: Machine) -> Iterator[float]:
    for access, times in zip(("load", "store", "rmw"), _PIECES[use], strict=True):
        ns: float | None = getattr(machine.levels[0].prices, f"{access}_streaming").ns
        if times and ns is None:
            raise ValueError(f"machine {machine.name}: the price {access}_streaming of l1 is unknown")
        yield times * (ns or 0.0)
