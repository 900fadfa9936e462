# SPDX-License-Identifier: BSD-3-Clause
"""Page frames as /proc/kpageflags and /proc/kpagecount show them, and the folios they form.

Sources: Documentation/admin-guide/mm/pagemap.rst; include/uapi/linux/kernel-page-flags.h and
include/linux/kernel-page-flags.h for the numbers of the flags.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

U64 = NDArray[np.uint64]
Ints = NDArray[np.int64]

KPAGEFLAGS: Final = Path("/proc/kpageflags")
KPAGECOUNT: Final = Path("/proc/kpagecount")
_WORD: Final = 8

UPTODATE, LRU, SLAB, BUDDY, MMAP, ANON, SWAPCACHE, SWAPBACKED = 3, 5, 7, 10, 11, 12, 13, 14
HEAD, TAIL, HUGE, UNEVICTABLE, NOPAGE, KSM, THP, OFFLINE, ZERO_PAGE, PGTABLE = 15, 16, 17, 18, 20, 21, 22, 23, 24, 26
RESERVED, MLOCKED = 32, 33

KINDS: Final = ("anon", "shmem", "file", "hugetlb", "other")

_CHUNK: Final = 1 << 18
"""Page frames looked at together; a multiple of the largest folio, 1 GiB."""
_WINDOW: Final = 512
"""Page frames looked at together where only some are wanted; larger folios are looked for in a whole chunk."""
_GAP: Final = 512
"""Page frames worth reading though not asked for, rather than asking once more."""
_NR_LOOKS: Final = 4
"""At most so many pairs of looks at a folio that keeps changing."""


def flag(*bits: int) -> np.uint64:
    """Return the mask of some flags."""
    return np.uint64(sum(1 << bit for bit in bits))


_NOT_MEMORY_OF_ANYBODY: Final = flag(SLAB, BUDDY, NOPAGE, OFFLINE, ZERO_PAGE, PGTABLE)
# What decides where a folio begins, of which kind it is and whether it is mapped.
_TELLING: Final = _NOT_MEMORY_OF_ANYBODY | flag(MMAP, ANON, SWAPBACKED, HEAD, TAIL, HUGE)


@dataclass(frozen=True, slots=True)
class Folios:
    """Folios of processes and of the page cache, by page frame; each array of shape (nr_folios,).

    Attributes
    ----------
    pfn : int64
        First page frame.
    nr : int64
        Number of pages.
    kind : int64
        Place in `KINDS`.
    entries : int64
        kpagecount of the page that has most.
    total : int64
        Sum of kpagecount over its pages: entries that map any of them.
    """

    pfn: Ints
    nr: Ints
    kind: Ints
    entries: Ints
    total: Ints

    def of_pages(self, pfn: Ints) -> Ints:
        """Index of the folio each page frame belongs to; -1 for none of these."""
        if not self.pfn.size:
            return np.full(pfn.size, -1, dtype=np.int64)
        at = np.searchsorted(self.pfn, pfn, side="right") - 1
        inside = (at >= 0) & (pfn < self.pfn[at] + self.nr[at])
        return np.where(inside, at, -1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """All page frames, looked at once.

    Attributes
    ----------
    folios : Folios
    nr_page_frames : int
    moved, unsettled : int
        Folios that differed between two looks right after each other; of these, those that never stood still: they are
        as the last look saw them.
    """

    folios: Folios
    nr_page_frames: int
    moved: int
    unsettled: int


class PageFrames:
    """The two files, open. Raises OSError where the kernel or the user's rights do not allow that."""

    def __init__(self) -> None:
        self._flags = os.open(KPAGEFLAGS, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._counts = os.open(KPAGECOUNT, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            os.close(self._flags)
            raise

    def close(self) -> None:
        """Close both."""
        os.close(self._flags)
        os.close(self._counts)

    def flags(self, first: int, nr: int) -> U64:
        """Read flags of `nr` page frames; fewer where memory ends."""
        return read_words(self._flags, first, nr)

    def counts(self, first: int, nr: int) -> U64:
        """Read how many entries map each of `nr` page frames; fewer where memory ends."""
        return read_words(self._counts, first, nr)

    def look(self, pfns: Ints | None = None, progress: Callable[[int, int], None] | None = None) -> Look:
        """Look at all memory, or at the folios some page frames belong to, a piece at a time, on all CPUs."""
        if pfns is None:
            nr_page_frames = self._nr_page_frames()
            pieces = [(first, _CHUNK) for first in range(0, nr_page_frames, _CHUNK)]
        else:
            pieces = self._pieces(pfns)
            nr_page_frames = sum(nr for _, nr in pieces)
        parts: list[_Chunk] = []
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            for done, part in enumerate(pool.map(self._piece, pieces), start=1):
                parts.append(part)
                if progress is not None:
                    progress(done, len(pieces))
        nothing = (np.zeros(0, dtype=np.int64),) * 5
        columns = [np.concatenate(column) for column in zip(nothing, *(part.columns for part in parts), strict=True)]
        return Look(
            folios=Folios(*columns),
            nr_page_frames=nr_page_frames,
            moved=sum(part.moved for part in parts),
            unsettled=sum(part.unsettled for part in parts),
        )

    def _pieces(self, pfns: Ints) -> list[tuple[int, int]]:
        """Ranges that hold the whole folios of some page frames: first page frame and number."""
        windows = np.unique(pfns // _WINDOW)
        chunks = set()
        for window in windows.tolist():
            edges = np.concatenate((self.flags(window * _WINDOW, 1), self.flags((window + 1) * _WINDOW, 1)))
            if (edges & flag(TAIL)).any():
                chunks.add(window * _WINDOW // _CHUNK)
        apart = [(window * _WINDOW, _WINDOW) for window in windows.tolist() if window * _WINDOW // _CHUNK not in chunks]
        return sorted([*((chunk * _CHUNK, _CHUNK) for chunk in chunks), *apart])

    def counts_again(self, folios: Folios, which: Ints) -> tuple[Ints, Ints]:
        """Read the counts of some folios once more.

        Parameters
        ----------
        folios : Folios
        which : int64, shape (nr,)
            Indices, ascending.

        Returns
        -------
        entries, total : int64, shape (nr,)
            As in `Folios`.
        """
        entries, total = np.zeros(which.size, dtype=np.int64), np.zeros(which.size, dtype=np.int64)
        first, end = folios.pfn[which], folios.pfn[which] + folios.nr[which]
        far = np.flatnonzero(first[1:] - end[:-1] > _GAP) + 1
        for group in np.split(np.arange(which.size), far):
            if group.size:
                base = int(first[group[0]])
                count = self.counts(base, int(end[group[-1]]) - base).astype(np.int64)
                for i in group.tolist():
                    of_folio = count[first[i] - base : end[i] - base]
                    entries[i], total[i] = of_folio.max(), of_folio.sum()
        return entries, total

    def _nr_page_frames(self) -> int:
        """Page frames up to the last the kernel knows, by bisection on reads that return nothing."""
        low, high = 0, 1
        while self.flags(high, 1).size:
            low, high = high, high * 2
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.flags(middle, 1).size else (low, middle)
        return high

    def _piece(self, piece: tuple[int, int]) -> _Chunk:
        first, nr = piece
        flags, counts = self.flags(first, nr), self.counts(first, nr)
        starts = _starts(flags)
        # A page that moved makes its folio, old or new, one that moved.
        moved = np.zeros(flags.size, dtype=bool)
        unsettled = np.ones(flags.size, dtype=bool)
        for _ in range(_NR_LOOKS):
            again, count_again = self._again(first, unsettled, flags, counts)
            changed = ((flags ^ again) & _TELLING != 0) | (counts != count_again)
            flags, counts = again, count_again
            if not changed.any():
                break
            starts = _starts(flags)
            unsettled = _whole_folios(starts, changed)
            moved |= changed
        else:
            return _Chunk.of(first, flags, counts, starts, moved, changed)
        return _Chunk.of(first, flags, counts, starts, moved, np.zeros(flags.size, dtype=bool))

    def _again(self, first: int, which: NDArray[np.bool_], flags: U64, counts: U64) -> tuple[U64, U64]:
        """Read some pages again; the others stay as they were."""
        flags, counts = flags.copy(), counts.copy()
        for start, end in _runs(which):
            flags[start:end] = self.flags(first + start, end - start)
        # A page is mapped if and only if its flags say so: most memory is not, and need not be counted again.
        for start, end in _runs(which & _near((flags & flag(MMAP) != 0) | (counts != 0))):
            counts[start:end] = self.counts(first + start, end - start)
        return flags, counts


@contextmanager
def page_frames() -> Iterator[PageFrames]:
    """Open both files for a while."""
    frames = PageFrames()
    try:
        yield frames
    finally:
        frames.close()


def read_words(descriptor: int, first: int, nr: int) -> U64:
    """Read `nr` words of 8 bytes from word `first` on; fewer at the end of the file."""
    words = np.empty(nr, dtype=np.uint64)
    view = memoryview(words.data).cast("B")
    done = 0
    while done < len(view):
        got = os.preadv(descriptor, [view[done:]], first * _WORD + done)
        if not got:
            break
        done += got
    return words[: done // _WORD]


@dataclass(frozen=True, slots=True)
class _Chunk:
    columns: tuple[Ints, ...]
    moved: int
    unsettled: int

    @classmethod
    def of(
        cls, first: int, flags: U64, counts: U64, starts: Ints, moved: NDArray[np.bool_], changed: NDArray[np.bool_]
    ) -> _Chunk:
        if not starts.size:
            return cls(tuple(np.zeros(0, dtype=np.int64) for _ in range(5)), 0, 0)
        nr = np.diff(np.append(starts, flags.size))
        # Tail pages do not carry all flags on every kernel.
        head = flags[starts]
        count = counts.astype(np.int64)
        entries, total = np.maximum.reduceat(count, starts), np.add.reduceat(count, starts)
        kind = _kinds(head, entries)
        found = kind >= 0
        columns = (starts + first, nr, kind, entries, total)
        of_moved, of_changed = (np.logical_or.reduceat(pages, starts)[found] for pages in (moved, changed))
        return cls(tuple(column[found] for column in columns), int(of_moved.sum()), int(of_changed.sum()))


def _starts(flags: U64) -> Ints:
    """Where folios begin."""
    return np.flatnonzero(flags & flag(TAIL) == 0)


def _whole_folios(starts: Ints, pages: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """All pages of the folios of some pages."""
    if not starts.size:
        return pages
    any_page = np.logical_or.reduceat(pages, starts)
    return np.repeat(any_page, np.diff(np.append(starts, pages.size)))[-pages.size :]


def _near(pages: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """All pages of the windows some pages are in."""
    starts = np.arange(0, pages.size, _WINDOW)
    if not starts.size:
        return pages
    return np.repeat(np.logical_or.reduceat(pages, starts), _WINDOW)[: pages.size]


def _runs(which: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate(([0], which.astype(np.int8), [0]))))
    yield from zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)


def _kinds(head: U64, entries: Ints) -> Ints:
    """Kinds by flags of heads; -1 for memory that is nobody's, and for what is neither mapped nor page cache."""

    def has(*bits: int) -> NDArray[np.bool_]:
        return np.asarray(head & flag(*bits) != 0)

    reserved = has(RESERVED)
    cached = has(LRU, UPTODATE) & ~reserved
    mapped = entries > 0
    kind = np.full(head.size, -1, dtype=np.int64)
    kind[mapped] = KINDS.index("other")
    kind[cached] = KINDS.index("file")
    kind[has(SWAPBACKED) & (cached | mapped)] = KINDS.index("shmem")
    kind[has(ANON)] = KINDS.index("anon")
    kind[has(HUGE)] = KINDS.index("hugetlb")
    kind[has(*_bits(_NOT_MEMORY_OF_ANYBODY))] = -1
    return kind


def _bits(mask: np.uint64) -> list[int]:
    return [bit for bit in range(64) if int(mask) >> bit & 1]
