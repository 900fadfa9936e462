# SPDX-License-Identifier: BSD-3-Clause
"""How pictures write numbers. Public names are in `folio_perf.plotting`."""

from __future__ import annotations

from collections.abc import Sequence


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
