# SPDX-License-Identifier: BSD-3-Clause
"""Pictures of results. The only place that knows matplotlib."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from folio_perf._plotting_census import shares
from folio_perf._plotting_contention import curves
from folio_perf._plotting_occupancy import occupancy
from folio_perf._plotting_pieces import COLOURS, count_label, marks_text, run_label, time_label
from folio_perf._plotting_waterfall import waterfall
from folio_perf.results import KIND, Census, Comparison, Contention, EventRow, Explanation, Occupancy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["PICTURE_SUFFIXES", "check_target", "curves", "figure", "occupancy", "save", "shares", "waterfall"]

PICTURE_SUFFIXES: Final = (".png", ".svg", ".pdf")

_WIDTH_INCH: Final = 10.5
_BAR_INCH: Final = 0.19
_GAP_INCH: Final = 0.16
_HEAD_INCH: Final = 1.0
_FOOT_INCH: Final = 0.75
_NR_EVENTS: Final = 7
"""Event kinds shown at most, those with the largest differences; the total has them all."""
_SMALLEST_SHARE: Final = 0.005
"""Difference between two schemes, as a share of a panel's total, from which an event kind is shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Panel:
    """One column of cells: bars of one or two parts, the second paler."""

    title: str
    parts: tuple[Callable[[EventRow], float | None], ...]
    unit: Callable[[float], str]

    def get(self, row: EventRow) -> float | None:
        """Length of the whole bar; None if unknown."""
        total = 0.0
        for part in self.parts:
            value = part(row)
            if value is None:
                return None
            total += value
        return total


_PANELS: Final = (
    _Panel(title="atomic RMW on struct pages", parts=(lambda row: row.rmw,), unit=count_label),
    _Panel(
        title="struct page lines (pale: only read)",
        parts=(lambda row: row.lines_written, lambda row: row.lines_read),
        unit=count_label,
    ),
    _Panel(title="time, upper bound", parts=(lambda row: row.ns,), unit=time_label),
)


def figure(comparison: Comparison) -> Figure:
    """Draw a comparison: bars per scheme for the total and for the event kinds in which schemes differ most.

    Parameters
    ----------
    comparison : Comparison

    Returns
    -------
    matplotlib.figure.Figure
        Not attached to any window; each cell has a scale of its own, its bars carry their values.
    """
    from matplotlib.figure import Figure

    run = comparison.results[0].run
    panels = [panel for panel in _PANELS if any(panel.get(total) is not None for total in comparison.totals)]
    events = _events(comparison, panels)
    rows: list[tuple[str, list[EventRow]]] = [("total", list(comparison.totals))]
    rows += [(event, [result.row(event) for result in comparison.results]) for event in events]

    nr_bars = len(comparison.results)
    row_inch = nr_bars * _BAR_INCH + _GAP_INCH
    head = _HEAD_INCH + 0.2 * -(-nr_bars // 2)
    height = head + len(rows) * row_inch + _FOOT_INCH
    fig = Figure(figsize=(_WIDTH_INCH, height), dpi=150, facecolor="white")
    grid = fig.subplots(len(rows), len(panels), squeeze=False)
    fig.subplots_adjust(
        left=0.135,
        right=0.985,
        top=1 - head / height,
        bottom=_FOOT_INCH / height,
        wspace=0.08,
        hspace=_GAP_INCH / row_inch,
    )
    colours = [COLOURS[number % len(COLOURS)] for number in range(nr_bars)]
    for number, (event, cells) in enumerate(rows):
        for axes, panel in zip(grid[number], panels, strict=True):
            _cell(axes, panel, cells, colours)
        counts = {row.count for row in cells}
        title = event if number == 0 or len(counts) > 1 else f"{event}\n{count_label(cells[0].count)} x"
        grid[number][0].set_ylabel(
            title, rotation=0, ha="right", va="center", fontsize=9, fontweight="bold" if number == 0 else "normal"
        )
    for axes, panel in zip(grid[0], panels, strict=True):
        axes.set_title(panel.title, fontsize=10, fontweight="bold", loc="left", pad=6)

    fig.text(
        0.015,
        1 - 0.3 / height,
        f"{run.scenario}: what mapcount designs cost",
        fontsize=13,
        fontweight="bold",
        va="center",
    )
    setting = (
        f"{KIND} \N{MIDDLE DOT} {run.machine}, {run.line_bytes}-byte lines, back end {run.backend} \N{MIDDLE DOT}"
        f" {run.page_size_bytes >> 10}K pages, folio policy {run.folio_policy} \N{MIDDLE DOT}"
        f" scenario {run.scenario_hash[:16]}"
    )
    fig.text(0.015, 1 - 0.55 / height, setting, fontsize=8.5, color="#444444", va="center")
    labels = [run_label(result.run) for result in comparison.results]
    bars = grid[0][0].patches
    fig.legend(
        bars[:nr_bars],
        labels,
        loc="upper left",
        bbox_to_anchor=(0.01, 1 - 0.68 / height),
        ncols=2,
        fontsize=9,
        frameon=False,
        handlelength=1.2,
        borderaxespad=0.0,
    )
    fig.text(
        0.015, 0.22 / height, _footer(comparison, events), fontsize=7.5, color="#444444", va="center", linespacing=1.4
    )
    return fig


def _events(comparison: Comparison, panels: Sequence[_Panel]) -> list[str]:
    """Event kinds by the largest share of any panel's total that schemes differ by."""

    def spread(event: str) -> float:
        rows = [result.row(event) for result in comparison.results]
        worst = 0.0
        for panel in panels:
            values = [value for row in rows if (value := panel.get(row)) is not None]
            whole = max((panel.get(total) or 0.0 for total in comparison.totals), default=0.0)
            if values and whole:
                worst = max(worst, (max(values) - min(values)) / whole)
        return worst

    visible = [event for event in comparison.events if spread(event) >= _SMALLEST_SHARE]
    differing = sorted(visible, key=spread, reverse=True)
    shown = set(differing[:_NR_EVENTS])
    return [event for event in comparison.events if event in shown]


def _cell(axes: Axes, panel: _Panel, rows: Sequence[EventRow], colours: Sequence[str]) -> None:
    totals = [panel.get(row) for row in rows]
    largest = max((value for value in totals if value is not None), default=0.0) or 1.0
    places = range(len(rows))
    left = [0.0] * len(rows)
    for part, alpha in zip(panel.parts, (1.0, 0.45), strict=False):
        lengths = [0.0 if total is None else part(row) or 0.0 for row, total in zip(rows, totals, strict=True)]
        bars = axes.barh(places, lengths, left=left, height=0.82, color=colours, alpha=alpha)
        for bar in bars[len(COLOURS) :]:
            bar.set(hatch="////", edgecolor="white")
        left = [start + length for start, length in zip(left, lengths, strict=True)]
    for place, value in zip(places, totals, strict=True):
        text = "unknown" if value is None else panel.unit(value)
        axes.text((value or 0.0) + 0.015 * largest, place, text, va="center", ha="left", fontsize=7.5)
    axes.set_xlim(0, 1.25 * largest)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xticks([])
    axes.set_yticks([])
    for side in ("top", "right", "bottom"):
        axes.spines[side].set_visible(False)
    axes.spines["left"].set_color("#888888")


def _footer(comparison: Comparison, events: Sequence[str]) -> str:
    notes = ["each cell has its own scale; what every design pays alike is left out"]
    left_out = len(comparison.events) - len(events)
    if left_out:
        kinds = "event kind differs" if left_out == 1 else "event kinds differ"
        notes[0] += f"; {left_out} {kinds} by less, or not at all, and only in the total"
    marks = marks_text(result.run for result in comparison.results)
    return "\n".join([*notes, marks]) if marks else notes[0]


def check_target(path: str | os.PathLike[str]) -> None:
    """Check that a picture can be saved there; errors as `save`."""
    target = Path(path)
    if target.suffix.lower() not in PICTURE_SUFFIXES:
        raise ValueError(f"picture {str(path)!r} must end in one of {', '.join(PICTURE_SUFFIXES)}")
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not target.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(target.parent))
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(target.parent))


def save(
    shown: Comparison | Explanation | Contention | Occupancy | Sequence[Census], path: str | os.PathLike[str]
) -> None:
    """Draw what `shown` needs, such as bars, a waterfall or curves, into a file; nobody ever sees half a picture.

    Parameters
    ----------
    shown : Comparison, Explanation, Contention, Occupancy, or sequence of Census
    path : str or path
        Ends in one of `PICTURE_SUFFIXES`.

    Raises
    ------
    ValueError
        If the suffix names no format.
    OSError
        If the file cannot be written.
    """
    check_target(path)
    target = Path(path)
    match shown:
        case Comparison():
            drawn = figure(shown)
        case Explanation():
            drawn = waterfall(shown)
        case Contention():
            drawn = curves(shown)
        case Occupancy():
            drawn = occupancy(shown)
        case _:
            drawn = shares(shown)
    descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            drawn.savefig(stream, format=target.suffix.lower()[1:])
        Path(temporary).chmod(0o666 & ~_umask())
        Path(temporary).replace(target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _umask() -> int:
    """Permissions a new file does not get; mkstemp grants them to the owner alone."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
