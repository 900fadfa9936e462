# SPDX-License-Identifier: BSD-3-Clause
"""What the kernel shows of a scenario's processes after a step, in the form of a golden file.

Pages have names, so that steps and kernels can be compared: the region or object a page was first seen in, the offset
there, and a generation, which is one more than the highest of any page of that name that is still there.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from folio_perf._native import live as native
from folio_perf.live import page_frames as kpf
from folio_perf.live.kernel_folios import KernelFolios
from folio_perf.live.page_frames import U64, Ints, PageFrames, read_words
from folio_perf.live.processes import EXCLUSIVE, FILE, GUARD, PFN_MASK, PRESENT, PROC, SWAPPED, UFFD_WP
from folio_perf.scenario import Region
from folio_perf.validation.golden import UNKNOWN_PAGE

_NR_RETRIES: Final = 5
_WINDOW: Final = 32
_BITS: Final = (EXCLUSIVE, FILE, UFFD_WP, GUARD)
_SOFT_DIRTY: Final = np.uint64(1 << 55)
_FLAGS: Final = (
    (kpf.ANON, "A"), (kpf.MMAP, "M"), (kpf.THP, "T"), (kpf.HUGE, "G"), (kpf.KSM, "K"), (kpf.SWAPBACKED, "B"),
    (kpf.SWAPCACHE, "C"), (kpf.UNEVICTABLE, "U"), (kpf.MLOCKED, "L"), (kpf.ZERO_PAGE, "Z"), (kpf.BUDDY, "y"),
)  # fmt: skip
_SMAPS: Final = (
    "Rss", "Pss", "Shared_Clean", "Shared_Dirty", "Private_Clean", "Private_Dirty", "AnonHugePages",
    "ShmemPmdMapped", "FilePmdMapped", "Locked", "KSM",
)  # fmt: skip
_HEADER: Final = re.compile(rb"^([0-9a-f]+)-([0-9a-f]+) \S+ ([0-9a-f]+) ([0-9a-f]+):([0-9a-f]+) (\d+)")
_SHIFT: Final = 12

Runs = list[list[Any]]


@dataclass(frozen=True, slots=True)
class Vma:
    """A VMA of smaps: pages, page of the file at its begin, device and inode, sums in kB."""

    start: int
    end: int
    file_page: int
    file: tuple[int, int]
    sums: dict[str, int]


@dataclass(slots=True)
class _Page:
    """A page that has been seen: its name, and what this step shows of it."""

    name: str
    offset: int
    generation: int
    of_object: bool
    flags: int = 0
    count: int = 0
    head: int = 0
    nr: int = 1
    mapped: bool = False


@dataclass(slots=True)
class _Tables:
    """Entries of the regions of one process: for each region the words of pagemap."""

    words: dict[str, U64] = field(default_factory=dict)


class Snapshots:
    """Looks at a scenario's processes, step by step.

    Parameters
    ----------
    regions : mapping of str to Region
    objects : mapping of str to int
        Name and descriptor of each file object.
    frames : PageFrames or None
        None without the right to read counts: pages have no names then.
    folios : KernelFolios or None
        None without the right to read kernel memory.
    """

    def __init__(
        self,
        regions: Mapping[str, Region],
        objects: Mapping[str, int],
        frames: PageFrames | None,
        folios: KernelFolios | None,
    ) -> None:
        self._regions, self._descriptors = regions, objects
        stats = {name: os.fstat(descriptor) for name, descriptor in objects.items()}
        self._objects = {(stat.st_dev, stat.st_ino): name for name, stat in stats.items()}
        self._frames, self._folios = frames, folios
        self._pages: dict[int, _Page] = {}
        self._latest: dict[tuple[str, int], int] = {}
        """By name and offset: the highest generation that is still there."""
        self._owner_labels: dict[int, str] = {0: "-"}
        self.retries = 0

    def take(self, processes: Mapping[str, int], *, group_alive: bool) -> dict[str, Any]:
        """Look once, again if page tables changed meanwhile.

        Parameters
        ----------
        processes : mapping of str to int
            Name and pid of each that lives.
        group_alive : bool
            Processes that are not among them may map pages too.

        Returns
        -------
        dict
            ``maps``, ``pages``, ``folios`` where they can be read, ``smaps``.
        """
        for _ in range(_NR_RETRIES):
            native.drain()
            before = {name: self._tables(pid) for name, pid in processes.items()}
            pages = dict(self._pages)
            step = self._look(before, processes, group_alive=group_alive)
            if all(_same(before[name], self._tables(pid)) for name, pid in processes.items()):
                break
            self._pages = pages
            self.retries += 1
        return step

    def _tables(self, pid: int) -> _Tables:
        file = os.open(PROC / str(pid) / "pagemap", os.O_RDONLY | os.O_CLOEXEC)
        try:
            return _Tables(
                {name: read_words(file, region.vpn, region.nr_pages) for name, region in self._regions.items()}
            )
        finally:
            os.close(file)

    def _look(self, tables: Mapping[str, _Tables], pids: Mapping[str, int], *, group_alive: bool) -> dict[str, Any]:
        vmas = {name: read_smaps(pid) for name, pid in pids.items()}
        self._latest.clear()
        for page in self._pages.values():
            page.mapped = False
            place = (page.name, page.offset)
            self._latest[place] = max(self._latest.get(place, -1), page.generation)
        maps = {name: self._maps(tables[name], vmas[name]) for name in pids}
        step: dict[str, Any] = {"maps": maps}
        if self._frames is None:
            step["pages"] = []
        else:
            self._refresh(self._frames)
            self._forget(group_alive)
            step["pages"] = self._page_runs()
            if self._folios is not None:
                step["folios"] = self._folio_rows(self._folios)
        step["smaps"] = {name: self._sums(vmas[name]) for name in pids}
        return step

    # ---- page tables ----

    def _maps(self, tables: _Tables, vmas: Sequence[Vma]) -> Runs:
        found: Runs = []
        for region, words in tables.words.items():
            used = np.flatnonzero(words >> np.uint64(SWAPPED))
            bits = np.zeros(used.size, dtype=np.int64)
            for place, bit in enumerate(_BITS):
                bits |= (words[used] >> np.uint64(bit) & np.uint64(1)).astype(np.int64) << place
            present = (words[used] >> np.uint64(PRESENT) & np.uint64(1)).astype(bool)
            pfn = (words[used] & PFN_MASK).astype(np.int64)
            if self._frames is not None:
                self._name_new(region, used[present], pfn[present], bits[present] & 2 > 0, vmas)
            entries = zip(used.tolist(), present.tolist(), pfn.tolist(), bits.tolist(), strict=True)
            for offset, is_present, frame, bit in entries:
                if is_present:
                    name, place, generation = self._named(offset, frame)
                else:
                    name, place, generation, bit = "SWAP", offset, 0, bit & 1
                last = found[-1] if found else None
                if (
                    last is not None
                    and last[0] == region
                    and last[1] + last[2] == offset
                    and last[3] == name
                    and last[4] + last[2] == place
                    and last[5:] == [generation, bit]
                ):
                    last[2] += 1
                else:
                    found.append([region, offset, 1, name, place, generation, bit])
        return found

    def _named(self, offset: int, frame: int) -> tuple[str, int, int]:
        if not frame:
            return UNKNOWN_PAGE, offset, 0
        page = self._pages.get(frame)
        if page is None:
            return "ZERO", offset, 0
        page.mapped = True
        return page.name, page.offset, page.generation

    def _name_new(
        self, region: str, offsets: Ints, frames: Ints, of_file: NDArray[np.bool_], vmas: Sequence[Vma]
    ) -> None:
        """Name the pages of a region that have not been seen before, and the folios they are part of."""
        assert self._frames is not None
        base = self._regions[region].vpn
        for offset, frame, is_file in zip(offsets.tolist(), frames.tolist(), of_file.tolist(), strict=True):
            if frame in self._pages:
                continue
            head, nr, is_zero = self._folio_of(frame)
            if is_zero:
                continue
            name, place, of_object = region, offset, False
            if is_file:
                for vma in vmas:
                    if vma.start <= base + offset < vma.end and vma.file in self._objects:
                        name, of_object = self._objects[vma.file], True
                        place = base + offset - vma.start + vma.file_page
            first = place - (frame - head)
            generation = 1 + max(self._latest.get((name, at), -1) for at in range(first, first + nr))
            for number in range(nr):
                if head + number not in self._pages:
                    self._pages[head + number] = _Page(name, first + number, generation, of_object)
                    self._latest[name, first + number] = generation

    def _folio_of(self, frame: int) -> tuple[int, int, bool]:
        """First page frame and size of a folio, and whether it is the zero page."""
        assert self._frames is not None
        flags = int(self._frames.flags(frame, 1)[0])
        if flags >> kpf.ZERO_PAGE & 1:
            return frame, 1, True
        if not flags & (1 << kpf.HEAD | 1 << kpf.TAIL):
            return frame, 1, False
        head, reach = frame, _WINDOW
        while flags >> kpf.TAIL & 1:
            start = max(head - reach, 0)
            before = self._frames.flags(start, head - start + 1)
            heads = np.flatnonzero(before & kpf.flag(kpf.TAIL) == 0)
            if heads.size:
                head = start + int(heads[-1])
                break
            head, reach = start, reach * 2
        nr, reach = 1, _WINDOW
        while True:
            behind = self._frames.flags(head + nr, reach)
            ends = np.flatnonzero(behind & kpf.flag(kpf.TAIL) == 0)
            if ends.size or not behind.size:
                return head, nr + (int(ends[0]) if ends.size else 0), False
            nr, reach = nr + behind.size, reach * 2

    # ---- pages and folios ----

    def _refresh(self, frames: PageFrames) -> None:
        """Read flags, counts and folios of all pages that are known."""
        known = np.array(sorted(self._pages), dtype=np.int64)
        for window in _windows(known):
            first, nr = int(window[0]), int(window[-1] - window[0]) + 1
            # One more tells whether the last page's folio goes on.
            flags, counts = frames.flags(first, nr), frames.counts(first, nr)
            for frame in window.tolist():
                page = self._pages[frame]
                page.flags, page.count = int(flags[frame - first]), int(counts[frame - first])
        head, nr_pages = 0, 0
        for frame in known.tolist():
            page = self._pages[frame]
            page.head, page.nr = frame, 1
            if page.flags & (1 << kpf.HEAD | 1 << kpf.TAIL):
                if not head <= frame < head + nr_pages:
                    head, nr_pages, _ = self._folio_of(frame)
                page.head, page.nr = head, nr_pages

    def _forget(self, group_alive: bool) -> None:
        """Forget pages that are gone."""
        folios = {page.head for page in self._pages.values() if page.mapped}
        resident = {name: _resident(descriptor) for name, descriptor in self._descriptors.items()}
        alive = {}
        for frame, page in self._pages.items():
            free = page.flags >> kpf.BUDDY & 1
            # The frame of a page that has left the object is free, or belongs to anybody's page cache by now.
            cached = (
                page.of_object
                and (page.nr > 1 or bool(page.flags >> kpf.LRU & 1))
                and not page.flags >> kpf.ANON & 1
                and 0 <= page.offset < resident[page.name].size
                and bool(resident[page.name][page.offset])
            )
            elsewhere = group_alive and page.count and page.flags >> kpf.MMAP & 1
            if not free and (page.mapped or page.head in folios or cached or elsewhere):
                alive[frame] = page
        self._pages = alive

    def _in_order(self) -> list[tuple[int, _Page]]:
        return sorted(self._pages.items(), key=lambda each: (each[1].name, each[1].generation, each[1].offset))

    def _page_runs(self) -> Runs:
        ordered = self._in_order()
        read: dict[int, tuple[int, int, int]] = {}
        if self._folios is not None and ordered:
            known = np.array(sorted(self._pages), dtype=np.int64)
            structs = self._folios.struct_pages(known)
            columns = (
                known, self._folios.word(structs, "_mapcount") + 1, self._folios.anon_exclusive(structs),
                self._folios.word(structs, "_refcount"),
            )  # fmt: skip
            read = {frame: (m, x, r) for frame, m, x, r in zip(*(each.tolist() for each in columns), strict=True)}
        runs: Runs = []
        last_head, last_end = -1, ("", 0, 0)
        for frame, page in ordered:
            row: list[Any] = [page.count, _letters(page.flags), page.nr]
            if read:
                mapcount, exclusive, references = read[frame]
                anon = page.flags >> kpf.ANON & 1
                row += [mapcount, exclusive if anon else 0, references if page.nr == 1 else 0]
            end = (page.name, page.generation, page.offset)
            if runs and last_end == end and runs[-1][4:] == row and (page.nr == 1 or page.head == last_head):
                runs[-1][2] += 1
            else:
                runs.append([page.name, page.offset, 1, page.generation, *row])
            last_head, last_end = page.head, (page.name, page.generation, page.offset + 1)
        return runs

    def _folio_rows(self, folios: KernelFolios) -> list[dict[str, Any]]:
        found = []
        for frame, page in self._in_order():
            if page.nr == 1 or page.head != frame:
                continue
            row: dict[str, Any] = {"h": page.name, "o": page.offset, "g": page.generation, "nr": page.nr}
            row |= folios.folio(frame, page.nr)
            owners = folios.owners(frame)
            if owners is not None:
                first, second, shared = owners
                row["mid"] = [self._owner_label(first[0]), self._owner_label(second[0])]
                row["midmc"] = [first[1], second[1]]
                row["shared"] = shared
            found.append(row)
        return found

    def _owner_label(self, mm: int) -> str:
        return self._owner_labels.setdefault(mm, f"m{len(self._owner_labels) - 1}")

    # ---- smaps ----

    def _sums(self, vmas: Sequence[Vma]) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for vma in vmas:
            name = self._region_of(vma.start)
            if name is not None:
                total = found.setdefault(name, [0] * (len(_SMAPS) + 1))
                for place, key in enumerate(_SMAPS):
                    total[place] += vma.sums.get(key, 0)
                total[-1] += 1
        return found

    def _region_of(self, vpn: int) -> str | None:
        """Region at whose address, or not far behind it, a page lies; regions are far apart."""
        behind = [(region.vpn, name) for name, region in self._regions.items() if region.vpn <= vpn]
        if not behind:
            return None
        start, name = max(behind)
        return name if vpn < start + (1 << 19) else None


def _same(one: _Tables, other: _Tables) -> bool:
    return all(
        np.array_equal(words & ~_SOFT_DIRTY, other.words[name] & ~_SOFT_DIRTY) for name, words in one.words.items()
    )


def _resident(descriptor: int) -> NDArray[np.uint8]:
    """Whether each page of a file is in the page cache."""
    pages = np.zeros(-(-os.fstat(descriptor).st_size // (1 << _SHIFT)), dtype=np.uint8)
    native.resident(descriptor, pages)
    return pages


def _windows(frames: Ints) -> list[Ints]:
    """Split page frames that ascend into groups of near ones."""
    return np.split(frames, np.flatnonzero(np.diff(frames) > _WINDOW) + 1) if frames.size else []


def _letters(flags: int) -> str:
    return "".join(letter for bit, letter in _FLAGS if flags >> bit & 1)


def read_smaps(pid: int) -> list[Vma]:
    """Read /proc/PID/smaps; OSError as open(2) and read(2)."""
    found: list[Vma] = []
    for line in (PROC / str(pid) / "smaps").read_bytes().splitlines():
        header = _HEADER.match(line)
        if header:
            start, end, offset, major, minor = (int(part, 16) for part in header.groups()[:5])
            file = (os.makedev(major, minor), int(header[6]))
            found.append(Vma(start >> _SHIFT, end >> _SHIFT, offset >> _SHIFT, file, {}))
        elif line.endswith(b" kB"):
            key, value, _ = line.split()
            found[-1].sums[key[:-1].decode()] = int(value)
    return found
