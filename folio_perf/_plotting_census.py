# SPDX-License-Identifier: BSD-3-Clause
"""Censuses as bars and histogram, several as shares over time. Public names are in `folio_perf.plotting`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np

from folio_perf._plotting_pieces import COLOURS, count_label
from folio_perf.results import MAPPED_BY, SHARED, Census, CensusRow

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_CLASS_COLOURS = dict(
    zip((*MAPPED_BY, SHARED), (COLOURS[7], COLOURS[0], COLOURS[2], COLOURS[5], COLOURS[1]), strict=True)
)


def shares(censuses: Sequence[Census]) -> Figure:
    """Draw who is mapped by how many: of one census by kind, order and count, of several over time.

    Parameters
    ----------
    censuses : sequence of Census
        Of one machine, in order.

    Returns
    -------
    matplotlib.figure.Figure
        Not attached to any window.
    """
    from matplotlib.figure import Figure

    last = censuses[-1]
    counted = last.privileged
    nr_panels = 1 + counted + (len(censuses) > 1)
    fig = Figure(figsize=(4.6 * nr_panels + 0.6, 4.6), dpi=150, facecolor="white")
    panels = fig.subplots(1, nr_panels, squeeze=False)[0]
    fig.subplots_adjust(left=0.2 / nr_panels, right=0.98, top=0.78, bottom=0.14, wspace=0.34)
    _bars(panels[0], last)
    if counted:
        _histogram(panels[1], last)
    if len(censuses) > 1:
        _over_time(panels[-1], censuses)
    fig.text(0.015, 0.945, "by how many VMAs folios are mapped", fontsize=11.5, fontweight="bold", va="center")
    setting = f"measured {last.date} \N{MIDDLE DOT} kernel {last.kernel} \N{MIDDLE DOT} {last.scope}"
    fig.text(0.015, 0.89, setting, fontsize=8.5, color="#444444", va="center")
    return fig


def _size(row: CensusRow) -> int:
    """Folios, or entries where folios are not known."""
    return row.pages if row.order is None else row.folios


def _bars(axes: Axes, census: Census) -> None:
    groups: list[tuple[str, list[CensusRow]]] = [
        (kind, [row for row in census.rows if row.kind == kind])
        for kind in dict.fromkeys(row.kind for row in census.rows)
    ]
    orders = sorted({row.order for row in census.rows if row.order})
    groups += [(f"order {order}", [row for row in census.rows if row.order == order]) for order in orders]
    groups = [(name, rows) for name, rows in groups if any(row.mapped != "zero" for row in rows)]
    classes = [name for name in (*MAPPED_BY, SHARED) if any(row.mapped == name for row in census.rows)]
    left = np.zeros(len(groups))
    for name in classes:
        totals = [sum(map(_size, rows)) for _, rows in groups]
        parts = [sum(_size(row) for row in rows if row.mapped == name) for _, rows in groups]
        widths = np.array([100 * part / total for part, total in zip(parts, totals, strict=True)])
        axes.barh(range(len(groups)), widths, left=left, height=0.8, color=_CLASS_COLOURS[name], label=name)
        left += widths
    axes.set_yticks(range(len(groups)), [f"{name}\n{count_label(sum(map(_size, rows)))}" for name, rows in groups])
    axes.set_ylim(len(groups) - 0.5, -0.5)
    axes.set_xlim(0, 100)
    axes.tick_params(labelsize=8)
    axes.set_xlabel("% of folios" if census.privileged else "% of page-table entries", fontsize=9)
    axes.legend(fontsize=8, frameon=False, ncols=len(classes), loc="lower left", bbox_to_anchor=(-0.02, 1.0))
    _plain(axes)


def _histogram(axes: Axes, census: Census) -> None:
    kinds = list(dict.fromkeys(row.kind for row in census.rows if row.mapped != "zero"))
    for number, kind in enumerate(kinds):
        counts: dict[int, int] = {}
        for row in census.rows:
            if row.kind == kind and row.vmas:
                counts[row.vmas] = counts.get(row.vmas, 0) + row.folios
        at = sorted(counts)
        axes.plot(at, [counts[vmas] for vmas in at], "o", markersize=3.5, color=COLOURS[number], label=kind)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.tick_params(which="both", labelsize=8)
    axes.set_xlabel("VMAs that map a folio", fontsize=9)
    axes.set_ylabel("folios", fontsize=9)
    axes.axvline(2.5, color="#999999", linewidth=0.8, linestyle=":")
    axes.legend(fontsize=8, frameon=False)
    _plain(axes)


def _over_time(axes: Axes, censuses: Sequence[Census]) -> None:
    times = [datetime.strptime(each.date, "%Y-%m-%d %H:%M:%S UTC") for each in censuses]
    seconds = [(each - times[0]).total_seconds() for each in times]
    classes = [name for name in (*MAPPED_BY[1:], SHARED) if any(r.mapped == name for c in censuses for r in c.rows)]
    for name in classes:
        parts = []
        for census in censuses:
            mapped = [row for row in census.rows if row.mapped != "zero"]
            whole = sum(map(_size, mapped))
            parts.append(100 * sum(_size(row) for row in mapped if row.mapped == name) / whole if whole else np.nan)
        axes.plot(seconds, parts, "-o", markersize=3, color=_CLASS_COLOURS[name], label=name)
    axes.set_ylim(0, 100)
    axes.tick_params(labelsize=8)
    axes.set_xlabel("seconds", fontsize=9)
    axes.set_ylabel("% of what is mapped", fontsize=9)
    axes.legend(fontsize=8, frameon=False)
    _plain(axes)


def _plain(axes: Axes) -> None:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
