# SPDX-License-Identifier: BSD-3-Clause
"""Throughput by threads as curves. Public names are in `folio_perf.plotting`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from folio_perf._plotting_pieces import COLOURS, marks_text, run_label
from folio_perf.results import Contention

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_STYLES = ("-", "--", ":", "-.")


def curves(contention: Contention) -> Figure:
    """Draw throughput by the number of threads, one curve per design, both axes logarithmic.

    Parameters
    ----------
    contention : Contention

    Returns
    -------
    matplotlib.figure.Figure
        Not attached to any window.
    """
    from matplotlib.figure import Figure

    fig = Figure(figsize=(9.0, 5.4), dpi=150, facecolor="white")
    axes = fig.subplots()
    fig.subplots_adjust(left=0.08, right=0.97, top=0.84, bottom=0.15)
    for number, curve in enumerate(contention.curves):
        threads = [point.threads for point in curve.points]
        rates = [point.operations_per_us for point in curve.points]
        colour, style = COLOURS[number % len(COLOURS)], _STYLES[number % len(_STYLES)]
        axes.plot(threads, rates, style, color=colour, linewidth=1.8, label=run_label(curve.run))
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "25" else "")
    axes.tick_params(which="both", labelsize=8.5)
    axes.set_xlabel("threads", fontsize=9)
    axes.set_ylabel("operations per \N{MICRO SIGN}s, all threads together", fontsize=9)
    axes.grid(which="major", color="#dddddd", linewidth=0.6)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.legend(fontsize=8.5, frameon=False, loc="best")

    first = contention.curves[0]
    shared = "one folio" if first.sharing == "folio" else "the locks of rmap walks"
    title = f"threads that share {shared}, order {first.order}: {' + '.join(first.operations)}"
    fig.text(0.015, 0.95, title, fontsize=11.5, fontweight="bold", va="center")
    setting = f"modelled, inexact: a closed queue for each shared line \N{MIDDLE DOT} {first.run.machine}"
    fig.text(0.015, 0.9, setting, fontsize=8.5, color="#444444", va="center")
    marks = marks_text(curve.run for curve in contention.curves)
    fig.text(0.015, 0.03, marks, fontsize=7.5, color="#444444", va="center")
    return fig
