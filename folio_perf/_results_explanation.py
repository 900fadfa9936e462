# SPDX-License-Identifier: BSD-3-Clause
"""The difference of two runs, split into its causes. Public names are in `folio_perf.results`."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

from folio_perf._results_run import FIXED, KIND, RunInfo, html_table

if TYPE_CHECKING:
    import pandas as pd

EFFECTS: Final = ("count", "price")
"""Why a part differs: other accesses, or the same accesses at the price of another machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One cause of a difference.

    Parameters
    ----------
    event, cause, field : str
        Event kind, why the accesses happen, and which field they touch.
    access, dependence, level : str
        What is paid for: kind of access, alone or in a stream, where it is served.
    effect : str
        One of `EFFECTS`.
    count : int
        Accesses the second run makes more (or fewer: negative) than the first; 0 for the effect ``price``.
    ns : float or None
        What they add to the difference in ns; None if there is no price.
    """

    event: str
    cause: str
    field: str
    access: str
    dependence: str
    level: str
    effect: str
    count: int
    ns: float | None

    @property
    def price(self) -> str:
        """The price that is paid, such as ``rmw_dependent_l2``."""
        return f"{self.access}_{self.dependence}_{self.level}"

    @property
    def group(self) -> str:
        """Cause in words: ``walk``, ``presence`` ..., ``fixed``; of an operation ``rmw``, or loads by level."""
        if self.effect == "price":
            return "other prices"
        if self.cause != "operation":
            return self.cause
        if self.access == "rmw":
            return self.access
        if self.level == "unknown":
            return f"{self.access}s"
        return f"loads from {self.level}" if self.access == "load" else f"stores to {self.level}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A sum of parts: accesses, and ns; None if a part has no price."""

    count: int
    ns: float | None

    @classmethod
    def of(cls, parts: Iterable[Part]) -> Difference:
        """Add up: counts exactly, ns rounded once."""
        each = list(parts)
        times = [part.ns for part in each if part.ns is not None]
        known = len(times) == len(each)
        return cls(count=sum(part.count for part in each), ns=math.fsum(times) if known else None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What makes the second of two runs dearer (positive) or cheaper (negative) than the first.

    Parameters
    ----------
    a, b : RunInfo
    a_ns, b_ns : float or None
        Modelled ns of all accesses of each run, an upper bound; None if unknown.
    parts : tuple of Part
        Largest first, by ns, then by count; none of them is zero.
    """

    a: RunInfo
    b: RunInfo
    a_ns: float | None
    b_ns: float | None
    parts: tuple[Part, ...]

    @property
    def total(self) -> Difference:
        """The whole difference."""
        return Difference.of(self.parts)

    @property
    def own(self) -> Difference:
        """Of `total`, what the designs themselves do: the difference between the totals of their results."""
        return Difference.of(part for part in self.parts if part.cause != FIXED)

    @property
    def fixed(self) -> Difference:
        """Of `total`, the cause `FIXED`: accesses all designs make alike, but maybe served by other levels."""
        return Difference.of(part for part in self.parts if part.cause == FIXED)

    def groups(self) -> dict[tuple[str, str], Difference]:
        """Add parts up by event kind and `Part.group`, largest first."""
        found: dict[tuple[str, str], list[Part]] = {}
        for part in self.parts:
            found.setdefault((part.event, part.group), []).append(part)
        sums = {key: Difference.of(parts) for key, parts in found.items()}
        return dict(sorted(sums.items(), key=lambda item: (-abs(item[1].ns or 0.0), -abs(item[1].count), item[0])))

    def to_frame(self) -> pd.DataFrame:
        """Make a table of `parts`, one row each: its members, and ``price``."""
        import pandas as pd

        return pd.DataFrame([_flat(part) for part in self.parts])

    def to_json(self) -> str:
        """Write one JSON object: ``a``, ``b``, ``total``, ``own``, ``fixed`` and ``parts``, which sum to ``total``."""
        return json.dumps(
            {
                "kind": KIND,
                "a": asdict(self.a) | {"ns": self.a_ns},
                "b": asdict(self.b) | {"ns": self.b_ns},
                "total": asdict(self.total),
                "own": asdict(self.own),
                "fixed": asdict(self.fixed),
                "parts": [_flat(part) for part in self.parts],
            }
        )

    def _repr_html_(self) -> str:
        title = f"{self.a.scenario}: {self.b.scheme} on {self.b.machine} less {self.a.scheme} on {self.a.machine}"
        return html_table(title, self.to_frame())


def _flat(part: Part) -> dict[str, object]:
    return {
        "event": part.event,
        "field": part.field,
        "price": part.price,
        "count": part.count,
        "ns": part.ns,
        "cause": part.cause,
        "effect": part.effect,
    }
