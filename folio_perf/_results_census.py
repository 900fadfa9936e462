# SPDX-License-Identifier: BSD-3-Clause
"""By how many VMAs the folios of a machine are mapped, as a kernel showed it. Public names are in `folio_perf.results`.

Everything here is ``measured``.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import pandas as pd

MEASURED: Final = "measured"
MAPPED_BY: Final = ("zero", "one", "two", "many")
"""VMAs that map any page of a folio: none, 1, 2, more."""
SHARED: Final = "two or many"
"""What is known of a page that is not mapped exactly once, where counts cannot be read."""


def mapped_by(nr_vmas: int) -> str:
    """Name the class of a number of VMAs, one of `MAPPED_BY`."""
    return MAPPED_BY[min(nr_vmas, 3)]


@dataclass(frozen=True, slots=True, kw_only=True)
class CensusRow:
    """Folios that are alike in everything the census looks at.

    Parameters
    ----------
    kind : str
        ``anon``, ``shmem``, ``file``, ``hugetlb``, or ``other``: mapped, but neither anonymous nor of a page cache
        (vDSO, buffers of drivers). ``file or shmem`` where flags cannot be read.
    order : int or None
        None if unknown, as the next three.
    vmas : int or None
        VMAs that map any page of the folio. At least; exactly where `exact`.
    processes : int or None
        Processes these belong to.
    entries : int or None
        Page-table entries of the page of the folio that has most, as /proc/kpagecount says; under a kernel without
        per-page counts an average.
    mapped : str
        One of `MAPPED_BY`, or `SHARED`.
    exact : bool
        The page tables that were read account for all entries the kernel counts.
    folios, pages : int
        How many there are; pages are base pages, mapped or not.
    """

    kind: str
    order: int | None
    vmas: int | None
    processes: int | None
    entries: int | None
    mapped: str
    exact: bool
    folios: int
    pages: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CensusProcess:
    """One process of a census, and the folios it maps.

    Parameters
    ----------
    pid : int
    name : str
    vmas : int
    folios : int
        Distinct folios.
    pages : dict of str to int
        Page-table entries by what maps their folio: ``one``, ``two``, ``many``, or ``two or many``.
    """

    pid: int
    name: str
    vmas: int
    folios: int
    pages: dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Census:
    """The folios of a machine, or of some of its processes, at one moment.

    Parameters
    ----------
    date : str
        UTC.
    kernel : str
    page_size_bytes : int
    scope : str
        Whose folios.
    seconds : float
        How long it took.
    nr_page_frames : int
        Page frames looked at; 0 where that is not permitted.
    rows : tuple of CensusRow
    processes : tuple of CensusProcess
        Of the scope, the largest first.
    moved_folios : int
        That changed while being read and were read again until they stood still.
    unsettled_folios : int
        Of these, that never did; they are counted as last seen.
    inexact_folios : int
        Mapped folios whose `vmas` is only a lower bound.
    left_out : tuple of str
        What could not be read, and why.
    """

    date: str
    kernel: str
    page_size_bytes: int
    scope: str
    seconds: float
    nr_page_frames: int
    rows: tuple[CensusRow, ...]
    processes: tuple[CensusProcess, ...]
    moved_folios: int
    unsettled_folios: int
    inexact_folios: int
    left_out: tuple[str, ...]

    @property
    def privileged(self) -> bool:
        """Whether counts and flags of page frames could be read."""
        return self.nr_page_frames > 0

    def count(self, *, kind: str | None = None, mapped: str | None = None, order: int | None = None) -> tuple[int, int]:
        """Folios and pages of some kind, class and order; None stands for all."""
        rows = [
            row
            for row in self.rows
            if kind in (None, row.kind) and mapped in (None, row.mapped) and order in (None, row.order)
        ]
        return sum(row.folios for row in rows), sum(row.pages for row in rows)

    def to_frame(self) -> pd.DataFrame:
        """Return the rows as a frame, a column per member of `CensusRow`."""
        import pandas as pd

        return pd.DataFrame([asdict(row) for row in self.rows], columns=[field.name for field in fields(CensusRow)])
