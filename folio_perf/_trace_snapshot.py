# SPDX-License-Identifier: BSD-3-Clause
"""What a process has mapped at one moment: /proc/PID/smaps, and which pages are there: /proc/PID/pagemap.

A snapshot tells no history. `SpaceTracker` compares it with what is known of the process and tells a `RowBuilder` the
difference: mappings that no call asked for, and pages that have come since, as faults in order of address.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from folio_perf._trace_builder import Mapping, RowBuilder
from folio_perf._trace_format import USER_END, TraceHeader
from folio_perf._trace_objects import ObjectTable, is_anonymous
from folio_perf._trace_rows import LineError, shown

__all__ = ["PageEntries", "SnapshotReader", "SpaceTracker", "Vma", "parse_vma"]

PageEntries = NDArray[np.uint64]
"""Entries of /proc/PID/pagemap, one per page: Documentation/admin-guide/mm/pagemap.rst."""

PM_PRESENT: Final = np.uint64(1 << 63)
PM_FILE: Final = np.uint64(1 << 61)
MAX_PAGES: Final = 1 << 22
"""Of one process: each becomes a row."""

PROT_WRITE: Final = 2
FAULT_USER_READ: Final = 4
FAULT_USER_WRITE: Final = 6

_VMA = re.compile(
    r"([0-9a-f]{1,16})-([0-9a-f]{1,16}) ([r-])([w-])([x-])([ps]) ([0-9a-f]{1,16}) "
    r"([0-9a-f]{1,8}):([0-9a-f]{1,8}) (\d{1,20})(?:\s+(.*))?",
    re.ASCII,
)
_FIELD = re.compile(r"(\w+):\s+(.*)", re.ASCII)
_SIZE = re.compile(r"(\d{1,15}) kB", re.ASCII)
_HEAD = re.compile(r"# pid (\d{1,10})(?: (.*))?", re.ASCII)


@dataclass(slots=True)
class Vma:
    """A line of /proc/PID/maps."""

    start: int
    end: int
    prot: int
    shared: bool
    offset: int
    name: str
    rss_bytes: int = 0
    anon_bytes: int = 0

    def mapping(self, objects: ObjectTable, start: int, end: int) -> Mapping:
        """Return what maps a part of the VMA."""
        obj = -1 if is_anonymous(self.name, self.shared) else objects.index(self.name, "path", 0, 0)
        return Mapping(
            start=start,
            length=end - start,
            offset=self.offset + start - self.start,
            prot=self.prot,
            shared=self.shared,
            name=self.name,
            obj=obj,
        )


def parse_vma(text: str) -> Vma | None:
    """Read a line of /proc/PID/maps; None if it is something else; raise LineError if it breaks a rule."""
    match = _VMA.fullmatch(text)
    if match is None:
        return None
    start, end = int(match[1], 16), int(match[2], 16)
    if start >= end:
        raise LineError(f"VMA {match[1]}-{match[2]} ends before it begins")
    prot = (match[3] == "r") | (match[4] == "w") << 1 | (match[5] == "x") << 2
    return Vma(start, end, prot, match[6] == "s", int(match[7], 16), (match[11] or "").strip())


class SpaceTracker:
    """What is known of one address space: ranges that are mapped, pages that are there.

    Ranges are in bytes; pages are numbers of base pages, sorted.
    """

    def __init__(self, page_size_bytes: int) -> None:
        self._page = page_size_bytes
        self._ranges: list[tuple[int, int]] = []
        self._pages: NDArray[np.uint64] = np.empty(0, dtype=np.uint64)
        self._is_anon: NDArray[np.bool_] = np.empty(0, dtype=np.bool_)

    def fork(self) -> SpaceTracker:
        """Return a copy, for a child; fork copies no page table of a file, those pages have to come anew."""
        child = SpaceTracker(self._page)
        child._ranges = list(self._ranges)
        child._pages, child._is_anon = self._pages[self._is_anon], self._is_anon[self._is_anon]
        return child

    def knows(self, start: int, end: int) -> bool:
        """Whether any byte of a range is known to be mapped."""
        return any(low < end and start < high for low, high in self._ranges)

    def map(self, start: int, end: int) -> None:
        """Learn of a new mapping; what was there is gone."""
        self.unmap(start, end)
        self._ranges.append((start, end))

    def unmap(self, start: int, end: int) -> None:
        """Learn that a range is mapped no more."""
        self.drop_pages(start, end)
        kept = []
        for low, high in self._ranges:
            if high <= start or end <= low:
                kept.append((low, high))
                continue
            if low < start:
                kept.append((low, start))
            if end < high:
                kept.append((end, high))
        self._ranges = kept

    def drop_pages(self, start: int, end: int) -> None:
        """Learn that the pages of a range are gone."""
        first, last = np.searchsorted(self._pages, [start // self._page, -(-end // self._page)])
        if first < last:
            gone = slice(int(first), int(last))
            self._pages, self._is_anon = np.delete(self._pages, gone), np.delete(self._is_anon, gone)

    def _gaps(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Yield the parts of a range that are not known to be mapped."""
        for low, high in sorted(self._ranges):
            if start < low < end:
                yield start, low
            if low < end and start < high:
                start = max(start, high)
        if start < end:
            yield start, end

    def compare(self, builder: RowBuilder, pid: int, vmas: Iterable[tuple[Vma, PageEntries]]) -> None:
        """Tell what a snapshot shows that was not known.

        Parameters
        ----------
        builder : RowBuilder
        pid : int
        vmas : iterable of (Vma, uint64 of shape (nr_pages,))
            In order of address, with their entries of pagemap.
        """
        # vsyscall is above user space.
        seen = [(vma, entries) for vma, entries in vmas if vma.end <= USER_END]
        for vma, _ in seen:  # all mappings first: a fault ends an exec
            for start, end in list(self._gaps(vma.start, vma.end)):
                builder.kernel_mmap(pid, pid, vma.mapping(builder.objects, start, end))
                self._ranges.append((start, end))
        pages, is_anon = [self._pages[:0]], [self._is_anon[:0]]
        for vma, entries in seen:
            present = np.flatnonzero(entries & PM_PRESENT)
            here = present.astype(np.uint64) + np.uint64(vma.start // self._page)
            pages.append(here)
            is_new = ~np.isin(here, self._pages, assume_unique=True)
            # What a private mapping of a file has copied is anonymous; so is the zero page, by pagemap.
            anon = (entries[present] & PM_FILE) == 0
            is_anon.append(anon)
            for page, written in zip(here[is_new].tolist(), anon[is_new].tolist(), strict=True):
                if written and not vma.prot & PROT_WRITE:
                    builder.assumed["written_page_read_only_by_now"] += 1
                    written = False
                builder.fault(pid, page * self._page, FAULT_USER_WRITE if written else FAULT_USER_READ)
        self._pages, self._is_anon = np.concatenate(pages), np.concatenate(is_anon)


class SnapshotReader:
    """Reads smaps of one or several processes, each behind a line ``# pid PID COMMAND``, and tells a `RowBuilder`.

    smaps says how many pages of a VMA are there, not which: they are taken to be its first ones, anonymous ones before
    those of a file. Where `entries` are given, they say which.

    Parameters
    ----------
    builder : RowBuilder
    kernel, command : str
        What the header says.
    entries : uint64, shape (nr_pages,), optional
        /proc/PID/pagemap of all VMAs of the only process, one behind the other.
    """

    def __init__(
        self, builder: RowBuilder, *, kernel: str = "", command: str = "", entries: PageEntries | None = None
    ) -> None:
        self.builder = builder
        self._kernel = kernel
        self._command = command
        self._entries = entries
        self._used = 0
        self._pid = 0
        self._pids: set[int] = set()
        self._vmas: list[Vma] = []
        self._nr_pages = 0

    def line(self, text: str) -> None:
        """Read a line."""
        if not text.strip():
            self.builder.ignored["blank"] += 1
        elif head := _HEAD.fullmatch(text):
            self._end_process()
            self._begin(int(head[1]), head[2] or "")
        elif text.startswith("#"):
            self.builder.ignored["comment"] += 1
        elif vma := parse_vma(text):
            if not self._pid:
                self._begin(1, self._command)
            if self._vmas and vma.start < self._vmas[-1].end:
                raise LineError(
                    f"VMA at {vma.start:#x} begins before the last one ends, at {self._vmas[-1].end:#x}: "
                    "the next process needs a line '# pid PID COMMAND' before it"
                )
            if (vma.start | vma.end) & (self.builder.page - 1):
                raise LineError(f"VMA at {vma.start:#x} is not made of pages of {self.builder.page} bytes")
            self._vmas.append(vma)
            self.builder.kept["vma"] += 1
        elif field := _FIELD.fullmatch(text):
            self._field(field[1], field[2])
        else:
            raise LineError(f"neither a VMA nor a field of smaps: {shown(text)}")

    def _begin(self, pid: int, command: str) -> None:
        if not 0 < pid <= 0x7FFFFFFF:
            raise LineError(f"pid {pid} is not within 1 to 2^31 - 1")
        if pid in self._pids:
            raise LineError(f"pid {pid} occurs twice: a snapshot tells no history")
        if self._pids and self._entries is not None:
            raise LineError("a second process, but pagemap is that of one")
        self._pids.add(pid)
        self._pid = pid
        self.builder.exec(pid, pid, command.split("/")[-1][:15] or "snapshot")
        self.builder.kept["process"] += 1

    def _field(self, name: str, value: str) -> None:
        if not self._vmas:
            raise LineError(f"field {name} before any VMA")
        if name in ("Rss", "Anonymous"):
            size = _SIZE.fullmatch(value)
            if size is None:
                raise LineError(f"{name} is {shown(value)}, not 'N kB'")
            nr_bytes = int(size[1]) << 10
            vma = self._vmas[-1]
            if nr_bytes > vma.end - vma.start:
                raise LineError(f"{name} {size[1]} kB is more than its VMA")
            if name == "Rss":
                vma.rss_bytes = nr_bytes
                self._nr_pages += nr_bytes // self.builder.page
                if self._nr_pages > MAX_PAGES:
                    raise LineError(f"Rss adds up to more than {MAX_PAGES:,} pages")
            else:
                vma.anon_bytes = nr_bytes
            self.builder.kept[name] += 1
        else:
            self.builder.ignored[name] += 1

    def finish(self) -> None:
        """Say that there are no more lines."""
        self._end_process()
        if self._entries is not None and self._used != self._entries.size:
            raise LineError(f"pagemap has {self._entries.size} entries, the VMAs above have {self._used} pages")

    def _end_process(self) -> None:
        if self._pid:
            space = SpaceTracker(self.builder.page)
            space.compare(self.builder, self._pid, [(vma, self._pages(vma)) for vma in self._vmas])
            self.builder.end_exec(self._pid)
        self._vmas = []
        self._nr_pages = 0

    def header(self, *, origin: str) -> TraceHeader:
        """Return the header of what has been read."""
        return self.builder.header(origin=origin, kernel=self._kernel, command=self._command)

    def _pages(self, vma: Vma) -> PageEntries:
        nr = (vma.end - vma.start) // self.builder.page
        if vma.end > USER_END:
            return np.empty(0, dtype=np.uint64)
        if self._entries is not None:
            first = self._used
            self._used += nr
            if self._used > self._entries.size:
                raise LineError(f"pagemap ends before the VMA at {vma.start:#x}")
            return self._entries[first : self._used]
        present, anon = vma.rss_bytes // self.builder.page, vma.anon_bytes // self.builder.page
        # A range of them each: a VMA may span terabytes, its pages fit the memory of the recorded machine.
        entries = np.full(present, PM_PRESENT | PM_FILE, dtype=np.uint64)
        entries[: min(anon, present)] = PM_PRESENT
        if 0 < present < nr:
            self.builder.assumed["first_pages_of_vma"] += present
        return entries
