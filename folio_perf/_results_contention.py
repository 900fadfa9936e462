# SPDX-License-Identifier: BSD-3-Clause
"""Throughput by the number of threads. Public names are in `folio_perf.results`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

from folio_perf._results_run import RunInfo, html_table

if TYPE_CHECKING:
    import pandas as pd

INEXACT: Final = (
    "modelled by a closed queue, not by the exact model: mean waiting times of threads that repeat one operation and"
    " queue for the lines they share; locks have readers only, spinning costs nothing, and no line is stolen between"
    " accesses that follow each other"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedLine:
    """A line that all threads use and some thread writes.

    Parameters
    ----------
    object, field : str
        What lies on it: object and place, and the field accessed first.
    lines : int
        Lines alike, one behind the other; each is a queue of its own.
    visits : int
        How often one operation goes to each of them.
    held_ns : float
        Work on it per operation, once it is there.
    """

    object: str
    field: str
    lines: int
    visits: int
    held_ns: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ContentionPoint:
    """What N threads reach together.

    Parameters
    ----------
    threads, running : int
        Threads, and how many of them run at a time: the machine has no more CPUs.
    transfer_ns : float
        Mean price of getting a line from the thread that had it last.
    operations_per_us : float
        Of all threads together.
    latency_ns : float
        Of one operation, waiting included.
    bottleneck : str
        The shared line that is busiest; empty if there is none.
    utilisation : float
        How busy it is, 0 to 1.
    """

    threads: int
    running: int
    transfer_ns: float
    operations_per_us: float
    latency_ns: float
    bottleneck: str
    utilisation: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ContentionCurve:
    """Throughput of one design by the number of threads.

    Parameters
    ----------
    run : RunInfo
    operations : tuple of str
        What each thread repeats.
    order : int
        Of the folio.
    sharing : str
        ``folio``: all threads use the same folio; ``rmap``: folios of their own, of one file or one anon_vma root.
    think_ns : float
        What an operation costs beside the shared lines, all of it in L1.
    shared : tuple of SharedLine
    points : tuple of ContentionPoint
        By threads, ascending.
    """

    run: RunInfo
    operations: tuple[str, ...]
    order: int
    sharing: str
    think_ns: float
    shared: tuple[SharedLine, ...]
    points: tuple[ContentionPoint, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Crossover:
    """Where the faster of two designs changes: from `threads` on it is `faster`."""

    threads: int
    faster: str
    slower: str


def crossovers(a: ContentionCurve, b: ContentionCurve) -> tuple[Crossover, ...]:
    """Find where two curves cross.

    Parameters
    ----------
    a, b : ContentionCurve
        Of the same numbers of threads.

    Returns
    -------
    tuple of Crossover
        Ascending by threads; empty if one is never slower. Equal throughput is no crossing.

    Raises
    ------
    ValueError
        If the curves have other numbers of threads.
    """
    if [point.threads for point in a.points] != [point.threads for point in b.points]:
        raise ValueError("curves of different numbers of threads cannot be compared")
    found, ahead = [], 0
    for mine, other in zip(a.points, b.points, strict=True):
        gain = mine.operations_per_us - other.operations_per_us
        now = (gain > 0) - (gain < 0)
        if now and ahead and now != ahead:
            first, second = (a, b) if now > 0 else (b, a)
            found.append(Crossover(threads=mine.threads, faster=_name(first), slower=_name(second)))
        ahead = now or ahead
    return tuple(found)


def _name(curve: ContentionCurve) -> str:
    return f"{curve.run.scheme}@{curve.run.kernel}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Contention:
    """Curves of several designs, alike in everything else; the first is the baseline.

    Parameters
    ----------
    curves : tuple of ContentionCurve
    """

    curves: tuple[ContentionCurve, ...]

    def __post_init__(self) -> None:
        if not self.curves:
            raise ValueError("there must be at least one design")

    def crossovers(self) -> tuple[Crossover, ...]:
        """Crossings of every curve with every later one, by threads."""
        pairs = [(a, b) for number, a in enumerate(self.curves) for b in self.curves[number + 1 :]]
        return tuple(sorted((each for a, b in pairs for each in crossovers(a, b)), key=lambda each: each.threads))

    def to_frame(self) -> pd.DataFrame:
        """Make a table: one row per design and number of threads, the columns of `ContentionPoint`."""
        import pandas as pd

        return pd.DataFrame(self._rows())

    def _rows(self) -> Sequence[dict[str, object]]:
        return [
            {
                "scheme": curve.run.scheme,
                "kernel": curve.run.kernel,
                "reconstructed": curve.run.reconstructed,
            }
            | asdict(point)
            for curve in self.curves
            for point in curve.points
        ]

    def to_json(self) -> str:
        """Write one JSON object; ``method`` says how inexact it is."""
        return json.dumps(
            {
                "kind": "modelled, inexact",
                "method": INEXACT,
                "curves": [asdict(curve) for curve in self.curves],
                "crossovers": [asdict(each) for each in self.crossovers()],
            }
        )

    def _repr_html_(self) -> str:
        return html_table(f"contention on {self.curves[0].run.machine}", self.to_frame())
