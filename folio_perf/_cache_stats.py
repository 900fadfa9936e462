# SPDX-License-Identifier: BSD-3-Clause
"""What can be read from a cache hierarchy: counters that subtract, lines, and who shares them."""

from __future__ import annotations

from dataclasses import dataclass
from operator import index

import numpy as np
from numpy.typing import NDArray

from folio_perf._cache_tlb import TlbStats
from folio_perf._native import cache as native

TRAFFIC = ("fetches", "hits", "misses", "writebacks_in", "writebacks_out")
"""Counters of `CacheStats.to_dict`; all there are: those of `CacheStats.counters`."""
TRANSFERS, TIERS = native.TRANSFERS, native.TIERS


@dataclass(frozen=True, slots=True)
class HeldLine:
    """A line that a set holds: its address, and whether it is dirty, or was prefetched and not asked for since."""

    address: int
    dirty: bool
    prefetched: bool


@dataclass(frozen=True, slots=True, eq=False)
class CacheStats:
    """Counters of a hierarchy at one moment; two of one hierarchy subtract.

    Parameters
    ----------
    names : tuple of str
        The levels.
    counters : structured array of uint64, shape (256, nr_levels + 1)
        By class and level, in lines; the last column is memory. Fields: ``fetches`` = ``hits`` + ``misses``,
        ``writebacks_in`` and ``writebacks_out`` (dirty lines, and stores a level sends on), ``victim_hits`` (misses
        that the victim cache served), ``victims_in`` (clean lines an exclusive level took from above),
        ``back_invalidations`` (lines lost because an inclusive level below lost them), ``prefetches``,
        ``prefetches_useful``, ``prefetches_useless``; with ``split_misses`` also ``compulsory`` (of a line never seen),
        ``coherence`` (of one that a store of another CPU took), ``capacity`` (of one that a fully associative LRU
        cache of the size lacks too), ``conflict`` (any other), else 0, which sum up to ``misses``. Of memory only
        ``fetches`` and ``writebacks_in``. All instances of a level together.
    transfers : array of uint64, shape (256, 4, 4)
        Between CPUs, by class, kind (`TRANSFERS`) and tier (`TIERS`): ``read_shared`` (a clean line came from another
        CPU's cache instead of memory), ``read_modified`` (one that another CPU had modified), ``upgrade`` (a store to a
        line that others hold too; the tier is that of the farthest), ``invalidation`` (what a store took a line from).
        The tier is where the other CPU is: ``smt`` the same core, ``ccx``, ``socket``, ``remote`` another socket.
    remote_memory : array of uint64, shape (256,)
        Fetches, by class, from memory of another socket than the CPU's.
    tlb : TlbStats
        Without arrays if addresses are not translated.
    """

    names: tuple[str, ...]
    counters: NDArray[np.void]
    transfers: NDArray[np.uint64]
    remote_memory: NDArray[np.uint64]
    tlb: TlbStats

    def __sub__(self, earlier: CacheStats) -> CacheStats:
        if self.names != earlier.names:
            raise ValueError(f"stats of levels {earlier.names} do not belong to those of levels {self.names}")
        difference = np.empty_like(self.counters)
        for field in native.COUNTERS_DTYPE.names or ():
            difference[field] = self.counters[field] - earlier.counters[field]
        return CacheStats(
            self.names,
            difference,
            self.transfers - earlier.transfers,
            self.remote_memory - earlier.remote_memory,
            self.tlb - earlier.tlb,
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, CacheStats):
            return NotImplemented
        return self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[object, ...]:
        arrays = (self.counters, self.transfers, self.remote_memory)
        return (self.names, *(array.tobytes() for array in arrays), self.tlb.key())

    def by_class(self, klass: int) -> CacheStats:
        """Keep what accesses of one class did, 0 to 255."""
        if not 0 <= index(klass) < native.NR_CLASSES:
            raise ValueError(f"class {klass} must be 0 to {native.NR_CLASSES - 1}")
        counters, transfers = np.zeros_like(self.counters), np.zeros_like(self.transfers)
        remote_memory = np.zeros_like(self.remote_memory)
        counters[klass], transfers[klass] = self.counters[klass], self.transfers[klass]
        remote_memory[klass] = self.remote_memory[klass]
        return CacheStats(self.names, counters, transfers, remote_memory, self.tlb.by_class(klass))

    def to_dict(self) -> dict[str, dict[str, int]]:
        """Traffic of each level, in lines: fetches, hits, misses, writebacks_in, writebacks_out."""
        return {
            name: {field: int(self.counters[field][:, level].sum()) for field in TRAFFIC}
            for level, name in enumerate(self.names)
        }

    def to_dict_full(self) -> dict[str, dict[str, int]]:
        """All counters of each level, and of ``memory``, in lines."""
        fields = native.COUNTERS_DTYPE.names or ()
        return {
            name: {field: int(self.counters[field][:, level].sum()) for field in fields}
            for level, name in enumerate((*self.names, "memory"))
        }

    def tlb_to_dict(self) -> dict[str, dict[str, int]]:
        """Lookups, hits and misses of each array of the TLBs; ``walks`` by bytes of the page."""
        return self.tlb.to_dict()

    def transfers_to_dict(self) -> dict[str, dict[str, int]]:
        """Transfers between CPUs by kind and tier; ``remote_memory`` has the tier ``remote`` alone."""
        summed = self.transfers.sum(axis=0)
        kinds = {
            kind: {tier: int(nr) for tier, nr in zip(TIERS, row, strict=True)}
            for kind, row in zip(TRANSFERS, summed, strict=True)
        }
        return {**kinds, "remote_memory": {"remote": int(self.remote_memory.sum())}}


@dataclass(frozen=True, slots=True)
class WordUse:
    """What one CPU did with one word of a line: its offset in the line in bytes, reads and writes."""

    offset: int
    cpu: int
    nr_read: int
    nr_written: int


@dataclass(frozen=True, slots=True)
class SharedLine:
    """A line that CPUs took from each other.

    Parameters
    ----------
    address : int
        Of its first byte.
    taken_reading, taken_writing : int
        Accesses that got the line because another CPU had modified it, and stores that took it from other CPUs.
    false_reading, false_writing : int
        Those of them that were false sharing: no CPU that lost the line had, since it got it, written the same word (8
        bytes) or, for a store, used it.
    words : tuple of WordUse
        By offset and CPU, all of them, before the first taking too.
    """

    address: int
    taken_reading: int
    false_reading: int
    taken_writing: int
    false_writing: int
    words: tuple[WordUse, ...]

    @property
    def taken(self) -> int:
        """All takings."""
        return self.taken_reading + self.taken_writing

    @property
    def taken_falsely(self) -> int:
        """Those that were false sharing."""
        return self.false_reading + self.false_writing


WORD_BYTES = 8


def shared_lines(lines: NDArray[np.void], uses: NDArray[np.void], line_bytes: int, limit: int) -> list[SharedLine]:
    """Make `SharedLine` of what the engine counted, those taken most often first, at most `limit`."""
    taken = lines["taken_reading"] + lines["taken_writing"]
    order = np.lexsort((lines["line"], -taken.astype(np.int64)))[:limit]
    uses = uses[np.lexsort((uses["cpu"], uses["line"]))]
    found = []
    for row in lines[order]:
        first, last = np.searchsorted(uses["line"], [row["line"], row["line"] + 1])
        words = [
            WordUse(word * WORD_BYTES, int(use["cpu"]), int(use["read"][word]), int(use["written"][word]))
            for use in uses[first:last]
            for word in range(line_bytes // WORD_BYTES)
            if use["read"][word] or use["written"][word]
        ]
        words.sort(key=lambda each: (each.offset, each.cpu))
        counts = {name: int(row[name]) for name in row.dtype.names[1:]}
        found.append(SharedLine(address=int(row["line"]) * line_bytes, words=tuple(words), **counts))
    return found
