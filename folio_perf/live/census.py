# SPDX-License-Identifier: BSD-3-Clause
"""How many VMAs map each folio of this machine: the question a design that stops counting at two has to ask.

All memory is read from /proc/kpageflags and /proc/kpagecount, all page tables from /proc/PID/pagemap. The first says
what folios there are and how many entries map each page, the second whose entries those are. A folio for which both
agree is known exactly; for others the number of VMAs is a lower bound, and counted as such.
"""

from __future__ import annotations

import platform
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
import pandas as pd

from folio_perf.live.page_frames import KINDS, Folios, Ints, PageFrames, page_frames
from folio_perf.live.processes import (
    EXCLUSIVE,
    FILE,
    Entries,
    Vma,
    entries_of,
    frames_visible,
    page_size,
    process_ids,
    process_name,
    vmas_of,
)
from folio_perf.results import MAPPED_BY, SHARED, Census, CensusProcess, CensusRow, mapped_by

__all__ = ["census"]

_GONE: Final = "ended meanwhile"
_UNCOUNTED: Final = "; of each page the page tables still say whether it is mapped exactly once"
_NOT_PERMITTED: Final = (
    f"counts, orders, and what nobody maps: reading /proc/kpagecount and /proc/kpageflags needs root{_UNCOUNTED}"
)
_NOT_THERE: Final = (
    f"counts, orders, and what nobody maps: this kernel has no /proc/kpagecount (CONFIG_PROC_PAGE_MONITOR){_UNCOUNTED}"
)


@dataclass(slots=True)
class _Seen:
    """What the page tables say of each folio; arrays of shape (nr_folios,)."""

    vmas: Ints
    processes: Ints
    entries: Ints
    chosen: Ints

    @classmethod
    def nothing(cls, nr: int) -> _Seen:
        return cls(*(np.zeros(nr, dtype=np.int64) for _ in range(4)))


@dataclass(frozen=True, slots=True)
class _Tables:
    """One process's VMAs, and which folio each of its entries maps."""

    pid: int
    name: str
    nr_vmas: int
    folio: Ints


def census(
    pids: Collection[int] | None = None,
    *,
    scope: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Census:
    """Count by how many VMAs, processes and entries the folios of this machine are mapped.

    Parameters
    ----------
    pids : collection of int, optional
        Count the folios these processes map. Who else maps them is looked up in all processes. Default: all memory.
    scope : str, optional
        Name of the selection, for the report.
    progress : callable, optional
        Called with the number of steps done, and of all.

    Returns
    -------
    Census

    Raises
    ------
    ProcessLookupError
        If none of `pids` exists.
    """
    began = time.monotonic()
    try:
        if not frames_visible():
            return _unprivileged(began, pids, scope, _NOT_PERMITTED)
        with page_frames() as frames:
            return _privileged(frames, began, pids, scope, progress)
    except PermissionError:
        return _unprivileged(began, pids, scope, _NOT_PERMITTED)
    except FileNotFoundError:
        return _unprivileged(began, pids, scope, _NOT_THERE)


def _privileged(
    frames: PageFrames,
    began: float,
    pids: Collection[int] | None,
    scope: str | None,
    progress: Callable[[int, int], None] | None,
) -> Census:
    left_out: Counter[str] = Counter()
    everyone = process_ids()
    chosen = set(everyone if pids is None else pids)
    look = frames.look(None if pids is None else _frames_of(pids), progress)
    seen = _Seen.nothing(look.folios.pfn.size)
    tables: list[_Tables] = []
    for number, pid in enumerate(everyone):
        found = _tables(pid, left_out)
        if found is None:
            continue
        vmas, entries = found
        folio = look.folios.of_pages(entries.pfn)
        _add(seen, vmas, entries, folio, pid in chosen)
        if pid in chosen:
            tables.append(_Tables(pid, process_name(pid), len(vmas), folio[folio >= 0]))
        if progress is not None:
            progress(number + 1, len(everyone))
    if pids is not None and not tables:
        raise ProcessLookupError(f"none of the processes {_numbers(pids)} maps any memory")
    folios, moved = _settled(frames, look.folios, seen)
    rows, inexact = _rows(folios, seen, everything=pids is None)
    return Census(
        **_head(began, scope, pids),
        nr_page_frames=look.nr_page_frames,
        rows=rows,
        processes=_largest_first(_process(each, np.minimum(seen.vmas, 3)) for each in tables),
        moved_folios=look.moved + moved,
        unsettled_folios=look.unsettled,
        inexact_folios=inexact,
        left_out=_reasons(left_out),
    )


def _frames_of(pids: Collection[int]) -> Ints:
    """Page frames some processes map now; what else they map until their turn comes is not counted."""
    found = [np.zeros(0, dtype=np.int64)]
    for pid in pids:
        tables = _tables(pid, Counter())
        if tables is not None:
            found.append(np.unique(tables[1].pfn))
    return np.unique(np.concatenate(found))


def _settled(frames: PageFrames, folios: Folios, seen: _Seen) -> tuple[Folios, int]:
    """Look again at the folios for which counts and page tables disagree; return also how many agree now."""
    which = np.flatnonzero(seen.entries != folios.total)
    entries, total = frames.counts_again(folios, which)
    agree = total == seen.entries[which]
    now = replace(folios, entries=folios.entries.copy(), total=folios.total.copy())
    now.entries[which[agree]], now.total[which[agree]] = entries[agree], total[agree]
    return now, int(agree.sum())


def _head(began: float, scope: str | None, pids: Collection[int] | None) -> dict[str, Any]:
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
        "kernel": platform.release(),
        "page_size_bytes": page_size(),
        "scope": scope or ("all memory" if pids is None else f"processes {_numbers(pids)}"),
        "seconds": time.monotonic() - began,
    }


def _tables(pid: int, left_out: Counter[str]) -> tuple[list[Vma], Entries] | None:
    """VMAs and entries of a process; None if it has none, or they cannot be read, which is counted by reason."""
    try:
        vmas = vmas_of(pid)
        return (vmas, entries_of(pid, vmas)) if vmas else None
    except (FileNotFoundError, ProcessLookupError):
        left_out[_GONE] += 1
    except PermissionError:
        left_out["page tables not readable by this user"] += 1
    return None


def _numbers(pids: Collection[int]) -> str:
    return ", ".join(map(str, sorted(pids)))


def _add(seen: _Seen, vmas: list[Vma], entries: Entries, folio: Ints, chosen: bool) -> None:
    known = folio >= 0
    folio = folio[known]
    if not folio.size:
        return
    unique, nr = np.unique(folio, return_counts=True)
    seen.entries[unique] += nr
    seen.processes[unique] += 1
    seen.chosen[unique] += chosen
    vma = np.searchsorted([each.start for each in vmas], entries.vpn[known], side="right") - 1
    # A folio counts once per VMA, however many of its pages that VMA maps, side by side or not.
    pairs = np.unique(vma * (int(unique[-1]) + 1) + folio)
    folios, nr = np.unique(pairs % (int(unique[-1]) + 1), return_counts=True)
    seen.vmas[folios] += nr


def _rows(folios: Folios, seen: _Seen, *, everything: bool) -> tuple[tuple[CensusRow, ...], int]:
    """Group folios that are alike; also how many mapped ones are not known exactly."""
    which = np.ones(folios.pfn.size, dtype=bool) if everything else seen.chosen > 0
    exact = seen.entries == folios.total
    columns = {
        "kind": folios.kind,
        "order": np.frexp(folios.nr)[1] - 1,
        # More entries on one page than VMAs were found: somebody maps it who could not be looked at.
        "vmas": np.maximum(seen.vmas, folios.entries),
        "processes": seen.processes,
        "entries": folios.entries,
        "exact": exact,
    }
    frame = pd.DataFrame({name: column[which] for name, column in columns.items()})
    frame["pages"] = folios.nr[which]
    sums = frame.groupby(list(columns))["pages"].agg(["size", "sum"])
    rows = tuple(
        CensusRow(
            kind=KINDS[kind],
            order=order,
            vmas=vmas,
            processes=processes,
            entries=entries,
            mapped=mapped_by(vmas),
            exact=exact,
            folios=nr,
            pages=pages,
        )
        for (kind, order, vmas, processes, entries, exact), nr, pages in zip(
            sums.index.tolist(), sums["size"].tolist(), sums["sum"].tolist(), strict=True
        )
    )
    return rows, int((which & ~exact).sum())


def _process(tables: _Tables, classes: Ints) -> CensusProcess:
    nr = np.bincount(classes[tables.folio], minlength=len(MAPPED_BY))
    return CensusProcess(
        pid=tables.pid,
        name=tables.name,
        vmas=tables.nr_vmas,
        folios=int(np.unique(tables.folio).size),
        pages=dict(zip(MAPPED_BY[1:], nr[1:].tolist(), strict=True)),
    )


def _largest_first(processes: Iterable[CensusProcess]) -> tuple[CensusProcess, ...]:
    return tuple(sorted(processes, key=lambda each: (-sum(each.pages.values()), each.pid)))


def _reasons(left_out: Counter[str]) -> tuple[str, ...]:
    return tuple(f"{nr:,} {'process' if nr == 1 else 'processes'}: {reason}" for reason, nr in sorted(left_out.items()))


# ---- where counts cannot be read ---------------------------------------------------------------------------------


def _unprivileged(began: float, pids: Collection[int] | None, scope: str | None, why: str) -> Census:
    """Count by pagemap alone, in the processes that may be read: each entry, not each folio, is one of two kinds."""
    left_out: Counter[str] = Counter()
    everyone = process_ids() if pids is None else sorted(pids)
    rows: Counter[tuple[str, str]] = Counter()
    processes = []
    for pid in everyone:
        found = _tables(pid, left_out)
        if found is None:
            continue
        vmas, entries = found
        file, once = entries.has(FILE), entries.has(EXCLUSIVE)
        for kind, of_kind in (("anon", ~file), ("file or shmem", file)):
            rows[kind, "one"] += int((of_kind & once).sum())
            rows[kind, SHARED] += int((of_kind & ~once).sum())
        pages = {"one": int(once.sum()), SHARED: int((~once).sum())}
        processes.append(CensusProcess(pid=pid, name=process_name(pid), vmas=len(vmas), folios=0, pages=pages))
    if pids is not None and not processes:
        raise ProcessLookupError(f"none of the processes {_numbers(pids)} can be read")
    return Census(
        **_head(began, scope, pids),
        nr_page_frames=0,
        rows=tuple(
            CensusRow(
                kind=kind,
                order=None,
                vmas=None,
                processes=None,
                entries=None,
                mapped=mapped,
                exact=False,
                folios=0,
                pages=pages,
            )
            for (kind, mapped), pages in sorted(rows.items())
            if pages
        ),
        processes=_largest_first(processes),
        moved_folios=0,
        unsettled_folios=0,
        inexact_folios=0,
        left_out=(why, *_reasons(left_out)),
    )
