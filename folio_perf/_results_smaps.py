# SPDX-License-Identifier: BSD-3-Clause
"""What smaps said of a process, and the truth. Public names are in `folio_perf.results`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class SmapsRow:
    """One reading of smaps, of a process as a whole, and the truth beside it.

    Parameters
    ----------
    process : int
        Number of the process; that of the scenario's first is 0.
    rss_bytes : int
    pss_bytes, uss_bytes : int
        As the scheme answers.
    pss_true_bytes, uss_true_bytes : int or None
        As the page tables have it; None where the ledger was not kept.
    """

    process: int
    rss_bytes: int
    pss_bytes: int
    uss_bytes: int
    pss_true_bytes: int | None
    uss_true_bytes: int | None

    @property
    def pss_error_percent(self) -> float | None:
        """Error of the PSS in per cent of the true one, with its sign; None where that is unknown or 0."""
        return _error_percent(self.pss_bytes, self.pss_true_bytes)

    @property
    def uss_error_percent(self) -> float | None:
        """The same of the USS."""
        return _error_percent(self.uss_bytes, self.uss_true_bytes)

    @classmethod
    def from_columns(cls, columns: Mapping[str, Any]) -> SmapsRow:
        """Make a row of what `smaps_columns` returned."""
        return cls(**{each.name: columns[each.name] for each in fields(cls)})


def smaps_columns(row: SmapsRow) -> dict[str, object]:
    """Return the members of a row, and the errors in per cent, by name."""
    return asdict(row) | {"pss_error_percent": row.pss_error_percent, "uss_error_percent": row.uss_error_percent}


def _error_percent(value: int, truth: int | None) -> float | None:
    return (value - truth) / truth * 100 if truth else None
