# SPDX-License-Identifier: BSD-3-Clause
"""What a cache level holds, over time. Public names are in `folio_perf.plotting`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from folio_perf._plotting_pieces import COLOURS, count_label
from folio_perf.results import Occupancy

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def occupancy(seen: Occupancy) -> Figure:
    """Draw the share of a level that each address range held, over accesses.

    Parameters
    ----------
    seen : Occupancy

    Returns
    -------
    matplotlib.figure.Figure
        Not attached to any window.
    """
    from matplotlib.figure import Figure

    fig = Figure(figsize=(9.0, 4.6), dpi=150, facecolor="white")
    axes = fig.subplots()
    fig.subplots_adjust(left=0.08, right=0.97, top=0.84, bottom=0.16)
    for number, (name, _, _) in enumerate(seen.ranges):
        shares = [100 * held[number] / seen.size_bytes for held in seen.held_bytes]
        colour = COLOURS[number % len(COLOURS)]
        axes.plot(seen.accesses, shares, color=colour, linewidth=1.8, label=name)
        if len(seen.ranges) == 1:
            axes.fill_between(seen.accesses, shares, color=colour, alpha=0.2, linewidth=0)
    axes.set_ylim(0, 105)
    axes.set_xlim(0, max(seen.accesses[-1], 1))
    axes.xaxis.set_major_formatter(lambda value, _: count_label(value))
    axes.tick_params(labelsize=8.5)
    axes.set_xlabel("accesses", fontsize=9)
    axes.set_ylabel(f"held by {seen.level}, per cent of its size", fontsize=9)
    axes.grid(which="major", color="#dddddd", linewidth=0.6)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.legend(fontsize=8.5, frameon=False, loc="best")
    title = f"what {seen.level} ({seen.size_bytes >> 10:,} KiB) holds of each address range"
    fig.text(0.015, 0.95, title, fontsize=11.5, fontweight="bold", va="center")
    setting = f"modelled; looked at {len(seen.accesses):,} times"
    fig.text(0.015, 0.89, setting, fontsize=8.5, color="#444444", va="center")
    return fig
