# SPDX-License-Identifier: BSD-3-Clause
"""A cache hierarchy on its own: addresses in, counters and contents out, modelled exactly.

The rules. A miss first fetches from the level below, then puts the line in, then the line that must leave goes below. A
write-back, or a store that a level sends on, takes a way below without a fetch. Neither counts as a fetch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import index
from typing import Any

import numpy as np
from numpy.typing import NDArray

from folio_perf._native import cache as native

__all__ = ["CacheHierarchy", "CacheLevel", "CacheStats", "HeldLine"]

LINE_BYTES = (32, 64, 128)
TRAFFIC = ("fetches", "hits", "misses", "writebacks_in", "writebacks_out")
"""Counters of `CacheStats.to_dict`; all there are: those of `CacheStats.counters`."""
ADDRESS_END = 1 << native.ADDRESS_BITS


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheLevel:
    """One level of a `CacheHierarchy`.

    Parameters
    ----------
    name : str
        For instance ``"L1"``.
    size_bytes : int
        A whole number of sets of `nr_ways` lines; that number need be no power of two.
    nr_ways : int
    policy : str
        ``lru``, ``plru`` (binary tree; `nr_ways` is a power of two, at most 64), ``fifo`` or ``random``.
    inclusion : str, optional
        How the level stands to those above it: ``nine``, ``inclusive`` (what leaves it leaves them) or ``exclusive``
        (it takes what leaves them, and gives away what it is asked for). None is what the hierarchy says. The first
        level has none above it, and is left alone.
    write_back, write_allocate : bool
        A level that is not write-back sends each store on; one that does not allocate sends on those that miss.
    next_line_prefetch : bool
        A demand miss also brings the next line.
    victim_lines : int
        Lines of a fully associative LRU victim cache behind the level, at most 4096; 0 for none.
    seed : int
        Of policy ``random``.
    """

    name: str
    size_bytes: int
    nr_ways: int
    policy: str = "lru"
    inclusion: str | None = None
    write_back: bool = True
    write_allocate: bool = True
    next_line_prefetch: bool = False
    victim_lines: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("a level needs a name")
        for field, low, high in (
            ("size_bytes", 1, 1 << 38),
            ("nr_ways", 1, 1 << 20),
            ("victim_lines", 0, 4096),
            ("seed", 0, (1 << 64) - 1),
        ):
            value = getattr(self, field)
            if not isinstance(value, int) or isinstance(value, bool):
                raise TypeError(f"cache {self.name}: {field} {value!r} must be an int")
            if not low <= value <= high:
                raise ValueError(f"cache {self.name}: {field} {value} must be {low} to {high}")
        for field in ("write_back", "write_allocate", "next_line_prefetch"):
            if not isinstance(getattr(self, field), bool):
                raise TypeError(f"cache {self.name}: {field} {getattr(self, field)!r} must be True or False")
        if self.policy not in native.POLICIES:
            raise ValueError(f"cache {self.name}: policy {self.policy!r} must be one of {', '.join(native.POLICIES)}")
        if self.policy == "plru" and (self.nr_ways & (self.nr_ways - 1) or self.nr_ways > 64):
            raise ValueError(f"cache {self.name}: {self.nr_ways} ways: plru needs a power of two, at most 64")
        if self.inclusion is not None:
            _check_inclusion(self.inclusion, f"cache {self.name}: ")


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
        ``prefetches_useful``, ``prefetches_useless``. Of memory only ``fetches`` and ``writebacks_in``.
    """

    names: tuple[str, ...]
    counters: NDArray[np.void]

    def __sub__(self, earlier: CacheStats) -> CacheStats:
        if self.names != earlier.names:
            raise ValueError(f"stats of levels {earlier.names} do not belong to those of levels {self.names}")
        difference = np.empty_like(self.counters)
        for field in native.COUNTERS_DTYPE.names or ():
            difference[field] = self.counters[field] - earlier.counters[field]
        return CacheStats(self.names, difference)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, CacheStats):
            return NotImplemented
        return self.names == other.names and bool((self.counters == other.counters).all())

    def __hash__(self) -> int:
        return hash((self.names, self.counters.tobytes()))

    def by_class(self, klass: int) -> CacheStats:
        """Keep what accesses of one class did, 0 to 255."""
        if not 0 <= index(klass) < native.NR_CLASSES:
            raise ValueError(f"class {klass} must be 0 to {native.NR_CLASSES - 1}")
        kept = np.zeros_like(self.counters)
        kept[klass] = self.counters[klass]
        return CacheStats(self.names, kept)

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


class CacheHierarchy:
    """Caches of one CPU; empty at first. An instance belongs to one thread at a time.

    Parameters
    ----------
    levels : sequence of CacheLevel
        One to four, first level first.
    line_bytes : int
        32, 64 or 128, in all levels.
    nr_cpus : int
        1.
    inclusion : str
        Of the levels that do not say themselves.
    nr_threads : int
        Threads of this machine that share a call between them by sets: a power of two, at most 64. Only for LRU,
        write-back, write-allocate, NINE. No counter depends on it.

    Raises
    ------
    ValueError
        If there can be no such hierarchy; the message names the value and the rule.
    """

    def __init__(
        self,
        levels: Sequence[CacheLevel],
        line_bytes: int = 64,
        nr_cpus: int = 1,
        inclusion: str = "nine",
        *,
        nr_threads: int = 1,
    ) -> None:
        self.levels = tuple(levels)
        self.line_bytes = line_bytes
        if not 1 <= len(self.levels) <= native.MAX_LEVELS:
            raise ValueError(f"{len(self.levels)} levels; there must be 1 to {native.MAX_LEVELS}")
        names = [level.name for level in self.levels]
        if len({*names, "memory"}) <= len(names):
            raise ValueError(f"levels are named {', '.join(names)}: names must differ, and none may be 'memory'")
        if line_bytes not in LINE_BYTES:
            raise ValueError(f"line_bytes {line_bytes!r} must be one of {', '.join(map(str, LINE_BYTES))}")
        if nr_cpus != 1:
            raise ValueError(f"nr_cpus {nr_cpus!r} must be 1: coherence between CPUs is not modelled")
        if nr_threads not in [1 << bit for bit in range(native.MAX_THREADS.bit_length())]:
            raise ValueError(f"nr_threads {nr_threads!r} must be a power of two, at most {native.MAX_THREADS}")
        _check_inclusion(inclusion, "")
        config = np.zeros(len(self.levels), dtype=native.LEVEL_DTYPE)
        for number, level in enumerate(self.levels):
            config[number] = _configure(level, line_bytes, inclusion if number else "nine", first=not number)
        if nr_threads > 1:
            self._check_threads(config, nr_threads)
        self._native = native.Hierarchy(config, line_bytes.bit_length() - 1, nr_threads)

    def __repr__(self) -> str:
        return f"CacheHierarchy({', '.join(f'{level.name}: {level.size_bytes} bytes' for level in self.levels)})"

    def nr_sets(self, level: str) -> int:
        """Count the sets of a level."""
        return self._native.nr_sets(self._number(level))

    def access(
        self,
        addresses: NDArray[np.uint64],
        write: NDArray[np.bool_] | NDArray[np.uint8] | None = None,
        cpu: None = None,
        klass: NDArray[np.uint8] | None = None,
    ) -> None:
        """Access addresses in order, one line each. The arrays are read where they lie, with the GIL released.

        Parameters
        ----------
        addresses : uint64 or int64, shape (nr,)
            Bytes, below 2^57.
        write : bool or uint8, shape (nr,), optional
            Nonzero for a store; None is loads alone.
        cpu : None
            There is one CPU.
        klass : uint8, shape (nr,), optional
            What the counters of an access are filed under, write-backs and prefetches it causes included; None is 0.
            Costs speed: the hierarchy goes on access by access from then on, until `reset`.

        Raises
        ------
        TypeError, ValueError
            If an array is not contiguous, not writable, or of another type or shape, or an address is out of range;
            nothing has happened then.
        """
        if cpu is not None:
            raise ValueError("cpu must be None: there is one CPU")
        checked = _checked(addresses, "addresses", (np.uint64, np.int64)).view(np.uint64)
        extra = [
            None if array is None else _checked(array, name, types, checked.size).view(np.uint8)
            for name, array, types in (("write", write, (np.bool_, np.uint8)), ("klass", klass, (np.uint8,)))
        ]
        try:
            self._native.access(checked, *extra)
        except ValueError as error:
            position = getattr(error, "index", None)
            if position is None:
                raise
            raise ValueError(
                f"addresses[{position}] is {addresses[position]:#x}; it must be 0 or more and below 2^57"
            ) from None

    def access_run(self, address: int, nr_lines: int, write: bool = False, klass: int = 0) -> None:
        """Access `nr_lines` consecutive lines once each, beginning with that of `address`.

        Raises
        ------
        ValueError
            If a line is out of range; nothing has happened then.
        """
        first, nr = index(address), index(nr_lines)
        if nr < 0:
            raise ValueError(f"nr_lines {nr} must be 0 or more")
        if not 0 <= first < ADDRESS_END or nr > (ADDRESS_END - first // self.line_bytes * self.line_bytes) // (
            self.line_bytes
        ):
            raise ValueError(f"{nr} lines from {first:#x}: addresses must be 0 or more and below 2^57")
        if not 0 <= index(klass) < native.NR_CLASSES:
            raise ValueError(f"klass {klass} must be 0 to {native.NR_CLASSES - 1}")
        self._native.run(first, nr, bool(write), klass)

    def stats(self) -> CacheStats:
        """Counters since the beginning, or since `reset`."""
        return CacheStats(tuple(level.name for level in self.levels), self._native.counters())

    def set_lines(self, level: str, number: int) -> list[HeldLine]:
        """List what a set holds: LRU youngest first, FIFO latest first, otherwise in the order of ways."""
        depth = self._number(level)
        if not 0 <= index(number) < self._native.nr_sets(depth):
            raise ValueError(f"set {number} of {level} must be 0 to {self._native.nr_sets(depth) - 1}")
        lines = self._native.set_lines(depth, number, self.levels[depth].nr_ways)
        return [HeldLine(int(line["address"]), bool(line["dirty"]), bool(line["prefetched"])) for line in lines]

    def occupancy_bytes(self, level: str, first: int = 0, end: int = ADDRESS_END) -> int:
        """Bytes a level holds in lines that reach into addresses [first, end); its victim cache is left out."""
        if not 0 <= index(first) <= index(end) <= ADDRESS_END:
            raise ValueError(f"[{first:#x}, {end:#x}) must lie within 0 and 2^57")
        return self._native.occupancy(self._number(level), first, end) * self.line_bytes

    def occupancy_timeline(
        self,
        level: str,
        ranges: Iterable[tuple[int, int]],
        addresses: NDArray[np.uint64],
        write: NDArray[np.bool_] | NDArray[np.uint8] | None = None,
        *,
        every: int,
    ) -> NDArray[np.int64]:
        """Access addresses, and see every so often how much of a level address ranges hold.

        Parameters
        ----------
        level : str
        ranges : iterable of (first, end)
            Addresses.
        addresses, write
            As `access` takes them.
        every : int
            Accesses between two looks.

        Returns
        -------
        int64, shape (nr_looks + 1, nr_ranges)
            Bytes: before the first access, then after each `every` of them, and at the end.
        """
        if index(every) < 1:
            raise ValueError(f"every {every} must be 1 or more")
        wanted = list(ranges)
        rows = [[self.occupancy_bytes(level, *each) for each in wanted]]
        for start in range(0, len(addresses), every):
            part = slice(start, start + every)
            self.access(addresses[part], None if write is None else write[part])
            rows.append([self.occupancy_bytes(level, *each) for each in wanted])
        return np.array(rows, dtype=np.int64)

    def reset(self) -> None:
        """Empty caches and zero counters."""
        self._native.reset()

    def snapshot(self) -> NDArray[np.uint8]:
        """Copy the whole state, counters included, as bytes that `restore` takes back."""
        return self._native.save()

    def restore(self, state: NDArray[np.uint8]) -> None:
        """Take back a `snapshot` of a hierarchy of the same configuration; ValueError if its size shows another."""
        self._native.restore(state)

    def _number(self, level: str) -> int:
        for number, each in enumerate(self.levels):
            if each.name == level:
                return number
        raise ValueError(f"no level {level!r}; there are {', '.join(each.name for each in self.levels)}")

    def _check_threads(self, config: NDArray[np.void], nr_threads: int) -> None:
        for level, row in zip(self.levels, config, strict=True):
            nr_sets = level.size_bytes // (self.line_bytes * level.nr_ways)
            if (
                (level.policy, int(row["inclusion"]), level.write_back, level.write_allocate) != ("lru", 0, True, True)
                or level.next_line_prefetch
                or level.victim_lines
                or level.nr_ways > 16
                or nr_sets & (nr_sets - 1)
                or nr_sets < nr_threads
            ):
                raise ValueError(
                    f"cache {level.name}: {nr_threads} threads need LRU, NINE, write-back, write-allocate, no prefetch,"
                    f" no victim cache, at most 16 ways and a power of two of at least {nr_threads} sets"
                )


def _check_inclusion(value: str, where: str) -> None:
    if value not in native.INCLUSIONS:
        raise ValueError(f"{where}inclusion {value!r} must be one of {', '.join(native.INCLUSIONS)}")


def _configure(level: CacheLevel, line_bytes: int, inclusion: str, *, first: bool) -> tuple[Any, ...]:
    """Make the row of LEVEL_DTYPE."""
    if level.size_bytes % (level.nr_ways * line_bytes):
        raise ValueError(
            f"cache {level.name}: {level.size_bytes} bytes are no whole number of sets of {level.nr_ways} ways x"
            f" {line_bytes} bytes"
        )
    if first and level.inclusion not in (None, "nine"):
        raise ValueError(f"cache {level.name}: the first level has none above it to be {level.inclusion} of")
    own = level.inclusion or inclusion
    if own == "exclusive" and level.next_line_prefetch:
        raise ValueError(f"cache {level.name}: an exclusive level takes lines from above only, it cannot prefetch")
    return (
        level.size_bytes,
        level.nr_ways,
        native.POLICIES.index(level.policy),
        native.INCLUSIONS.index(own),
        not level.write_back,
        level.write_allocate,
        level.next_line_prefetch,
        level.victim_lines,
        0,
        level.seed,
    )


def _checked(array: NDArray[Any], name: str, types: tuple[type, ...], size: int | None = None) -> NDArray[Any]:
    allowed = " or ".join(np.dtype(each).name for each in types)
    if not isinstance(array, np.ndarray):
        raise TypeError(f"{name} must be a NumPy array of {allowed}, not {type(array).__name__}")
    if array.dtype not in types:
        raise TypeError(f"{name} is an array of {array.dtype}, must be of {allowed}")
    if array.ndim != 1 or not array.flags.c_contiguous:
        raise ValueError(f"{name} of shape {array.shape} must be contiguous and have one dimension")
    if not array.flags.writeable:
        raise ValueError(f"{name} is read-only: pass an array of your own, or a copy")
    if size is not None and array.size != size:
        raise ValueError(f"{name} has {array.size} elements for {size} addresses")
    return array
