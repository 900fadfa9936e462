# SPDX-License-Identifier: BSD-3-Clause
"""The difference of two runs as a waterfall. Public names are in `folio_perf.plotting`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from folio_perf._plotting_pieces import count_label, marks_text, run_label, time_label
from folio_perf.results import KIND, Difference, Explanation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_NR_BARS: Final = 12
"""Causes shown at most, the largest; what is left is one bar."""
_WIDTH_INCH: Final = 9.0
_BAR_INCH: Final = 0.3
_HEAD_INCH: Final = 1.05
_FOOT_INCH: Final = 0.75
_DEARER, _CHEAPER, _WHOLE, _GREY = "#D55E00", "#0072B2", "#777777", "#444444"
_ZOOM: Final = 0.25
"""Share of the axis below which the steps are too small to see from zero: the axis then starts later."""


def waterfall(explanation: Explanation) -> Figure:
    """Draw the way from the first run's time to the second's, one step per cause; in accesses where time is unknown.

    Parameters
    ----------
    explanation : Explanation

    Returns
    -------
    matplotlib.figure.Figure
        Not attached to any window.
    """
    from matplotlib.figure import Figure

    timed = explanation.a_ns is not None and explanation.b_ns is not None and explanation.total.ns is not None
    label = time_label if timed else count_label
    start = (explanation.a_ns or 0.0) if timed else 0.0
    steps = _steps(explanation, timed)
    edges = [start]
    for _, size in steps:
        edges.append(edges[-1] + size)

    nr_rows = len(steps) + 2
    height = _HEAD_INCH + nr_rows * _BAR_INCH + _FOOT_INCH
    fig = Figure(figsize=(_WIDTH_INCH, height), dpi=150, facecolor="white")
    axes = fig.subplots()
    fig.subplots_adjust(left=0.3, right=0.97, top=1 - _HEAD_INCH / height, bottom=_FOOT_INCH / height)
    low, high = min(0.0, *edges), max(0.0, *edges)
    span = max(edges) - min(edges)
    if timed and span and span < _ZOOM * (high - low):
        low = min(edges) - 0.25 * span
    whole = (high - low) or 1.0
    axes.set_xlim(low - (0.12 * whole if low < 0 else 0), high + 0.17 * whole)

    ends = (("A" if timed else "", edges[0]), ("B" if timed else "all", edges[-1]))
    for place, (_, value) in zip((0, nr_rows - 1), ends, strict=True):
        axes.barh(place, value - max(0.0, low), left=max(0.0, low), color=_WHOLE, height=0.7)
        axes.text(max(value, 0) + 0.01 * whole, place, label(value), va="center", fontsize=8, fontweight="bold")
    for number, (_, size) in enumerate(steps, start=1):
        axes.barh(number, size, left=edges[number - 1], color=_DEARER if size > 0 else _CHEAPER, height=0.7)
        sign = "+" if size > 0 else "\N{MINUS SIGN}"
        right = max(edges[number - 1], edges[number])
        axes.text(right + 0.01 * whole, number, sign + label(abs(size)), va="center", fontsize=8)
    for number, edge in enumerate(edges):
        axes.plot((edge, edge), (number - 0.35, number + 1.35), color=_WHOLE, linewidth=0.7)
    axes.set_yticks(range(nr_rows), [ends[0][0] or "0", *(name for name, _ in steps), ends[1][0]], fontsize=8.5)
    axes.set_ylim(nr_rows - 0.4, -0.6)
    axes.set_xticks([])
    axes.tick_params(length=0)
    for side in ("top", "right", "bottom", "left"):
        axes.spines[side].set_visible(side == "left" and low <= 0)

    title = f"{explanation.a.scenario}: where the difference comes from"
    fig.text(0.015, 1 - 0.25 / height, title, fontsize=12.5, fontweight="bold", va="center")
    for at, (name, run) in zip((0.52, 0.74), (("A", explanation.a), ("B", explanation.b)), strict=True):
        fig.text(0.015, 1 - at / height, f"{name}   {run_label(run)} on {run.machine}", fontsize=9, va="center")
    fig.text(0.015, 0.3 / height, _footer(explanation, timed, low), fontsize=7.5, color=_GREY, va="center")
    return fig


def _steps(explanation: Explanation, timed: bool) -> list[tuple[str, float]]:
    def size(difference: Difference) -> float:
        return (difference.ns or 0.0) if timed else difference.count

    groups = [(f"{event}: {group}", size(each)) for (event, group), each in explanation.groups().items()]
    groups = [(name, value) for name, value in groups if value]
    groups.sort(key=lambda step: -abs(step[1]))
    shown, rest = groups[:_NR_BARS], groups[_NR_BARS:]
    return [*shown, (f"{len(rest)} smaller causes", sum(value for _, value in rest))] if rest else shown


def _footer(explanation: Explanation, timed: bool, low: float) -> str:
    what = "time, upper bound" if timed else "accesses (no time known), B less A"
    notes = f"{KIND}: {what}; rmw: atomics of the operation itself; fixed: what every design pays alike"
    notes += f"\nthe axis starts at {time_label(low)}, not at 0" if low > 0 else ""
    marks = marks_text((explanation.a, explanation.b))
    return f"{notes}\n{marks}" if marks else notes
