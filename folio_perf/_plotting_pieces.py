# SPDX-License-Identifier: BSD-3-Clause
"""Colours, and how pictures write numbers and runs. Public names are in `folio_perf.plotting`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from folio_perf.results import RunInfo

# Okabe and Ito's palette: told apart with any kind of colour vision, and in print.
COLOURS: Final = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#999999")


def count_label(value: float) -> str:
    """Write a count: 12.3M."""
    return _scaled(value, ("", "k", "M", "G", "T"))


def time_label(value: float) -> str:
    """Write a time given in ns: 12.3 ms."""
    return _scaled(value, (" ns", " \N{MICRO SIGN}s", " ms", " s"))


def _scaled(value: float, units: Sequence[str]) -> str:
    """Three digits and a unit of a thousand each; below zero with a sign in front."""
    if value < 0:
        return "\N{MINUS SIGN}" + _scaled(-value, units)
    step = 0
    while value >= 999.5 and step + 1 < len(units):
        value /= 1000
        step += 1
    digits = 0 if value >= 99.95 or (step == 0 and value == int(value)) else 1 if value >= 9.995 else 2
    return f"{value:.{digits}f}{units[step]}"


def run_label(run: RunInfo) -> str:
    """Write scheme and kernel, with the marks that `marks_text` explains."""
    return f"{run.scheme}@{run.kernel}{'*' * run.counterfactual}{'+' * run.reconstructed}"


def marks_text(runs: Iterable[RunInfo]) -> str:
    """Explain the marks of some runs, in a line; empty if they have none."""
    each, marks = list(runs), []
    if any(run.counterfactual for run in each):
        marks.append("* counterfactual: that kernel never counted this way")
    if any(run.reconstructed for run in each):
        marks.append("+ reconstructed: the public description is incomplete")
    return "    ".join(marks)
