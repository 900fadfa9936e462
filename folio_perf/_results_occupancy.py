# SPDX-License-Identifier: BSD-3-Clause
"""How much of a cache address ranges hold, over time. Public names are in `folio_perf.results`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from folio_perf._results_run import KIND


@dataclass(frozen=True, slots=True, kw_only=True)
class Occupancy:
    """What a level of a modelled cache held, look by look.

    Parameters
    ----------
    level : str
    size_bytes : int
        Of the level.
    ranges : tuple of (name, first, end)
        The addresses that were watched.
    accesses : tuple of int
        Accesses before each look.
    held_bytes : tuple of tuple of int
        Bytes in lines that reach into each range, by look; ranges that overlap count a line each.
    """

    level: str
    size_bytes: int
    ranges: tuple[tuple[str, int, int], ...]
    accesses: tuple[int, ...]
    held_bytes: tuple[tuple[int, ...], ...]

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "kind": KIND,
            "level": self.level,
            "size_bytes": self.size_bytes,
            "ranges": [{"name": name, "first": first, "end": end} for name, first, end in self.ranges],
            "looks": [
                {"accesses": accesses, "held_bytes": list(held)}
                for accesses, held in zip(self.accesses, self.held_bytes, strict=True)
            ],
        }
