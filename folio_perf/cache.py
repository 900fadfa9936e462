# SPDX-License-Identifier: BSD-3-Clause
"""A cache hierarchy on its own: addresses in, counters and contents out, modelled exactly.

The rules. A miss first fetches from the level below, then puts the line in, then the line that must leave goes below. A
write-back, or a store that a level sends on, takes a way below without a fetch. Neither counts as a fetch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import index
from typing import Any

import numpy as np
from numpy.typing import NDArray

from folio_perf._cache_occupancy import OccupancyWatch
from folio_perf._cache_stats import CacheStats, HeldLine, SharedLine, WordUse, shared_lines
from folio_perf._cache_tlb import PageRange, TlbArray, Tlbs, TlbStats
from folio_perf._native import cache as native

__all__ = [
    "CacheHierarchy",
    "CacheLevel",
    "CacheStats",
    "HeldLine",
    "OccupancyWatch",
    "PageRange",
    "SharedLine",
    "TlbArray",
    "TlbStats",
    "WordUse",
]

LINE_BYTES = (32, 64, 128)
SCOPES = ("cpu", "core", "ccx", "socket", "machine")
"""Whose an instance of a level can be."""
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
        Of policy ``random``; of instance k of the level: `seed` + k.
    shared_by : str, optional
        Whose one instance of the level is: ``cpu``, ``core``, ``ccx``, ``socket`` or ``machine``, and never less than
        the level above. None is the core for the first two levels, the CCX for the others, or what the level above has
        if that is more.
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
    shared_by: str | None = None

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
        if self.shared_by is not None and self.shared_by not in SCOPES:
            raise ValueError(f"cache {self.name}: shared_by {self.shared_by!r} must be one of {', '.join(SCOPES)}")
        if self.inclusion is not None:
            _check_inclusion(self.inclusion, f"cache {self.name}: ")


class CacheHierarchy:
    """Caches of one CPU, or of several kept coherent (MESI); empty at first. It belongs to one thread at a time.

    Parameters
    ----------
    levels : sequence of CacheLevel
        One to four, first level first.
    line_bytes : int
        32, 64 or 128, in all levels.
    nr_cpus : int
        1 to 256.
    inclusion : str
        Of the levels that do not say themselves.
    nr_threads : int
        Threads of this machine that share a call between them by sets: a power of two, at most 64. Only for one CPU,
        LRU, write-back, write-allocate, NINE. No counter depends on it.
    cpus_per_core, cpus_per_ccx, cpus_per_socket : int, optional
        How CPUs lie to each other, by number; each a whole multiple of the one before. None is all CPUs.
    memory_interleave_bytes : int
        Stretch of memory that belongs to one socket before the next socket's: a power of two, a line or more; 0 if all
        memory is the first socket's.
    forward_clean : bool
        Whether a clean line that another CPU's cache holds comes from there; otherwise it comes from memory.
    track_sharing : bool
        Whether to keep what `sharing` tells. Costs speed, and memory for each line a CPU uses.
    split_misses : bool
        Whether to count misses by kind: compulsory, capacity, conflict, coherence. Costs speed, and memory for each
        line a level sees.
    rules : str
        ``dinero`` (those above), or ``pycachesim``: what that program counts, for comparison with it. There a store or
        a line written back makes no line younger, and loads the line where it misses, which counts as a fetch; stores
        that hit count as nothing. Only for one CPU, LRU, NINE, write-back, write-allocate, and slower.
    tlb : iterable of TlbArray
        TLBs of each core. They see every access, and nothing of the walks they cause: what page tables need of the
        caches is not modelled.
    page_bytes : int
        Size of the pages that map addresses outside all `pages`.
    pages : iterable of PageRange
        Addresses that pages of another size map.

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
        cpus_per_core: int = 1,
        cpus_per_ccx: int | None = None,
        cpus_per_socket: int | None = None,
        memory_interleave_bytes: int = 0,
        forward_clean: bool = True,
        track_sharing: bool = False,
        split_misses: bool = False,
        rules: str = "dinero",
        tlb: Iterable[TlbArray] = (),
        page_bytes: int = 4096,
        pages: Iterable[PageRange | tuple[int, int, int]] = (),
    ) -> None:
        self.levels = tuple(levels)
        self.nr_cpus = nr_cpus
        self.line_bytes = line_bytes
        if not 1 <= len(self.levels) <= native.MAX_LEVELS:
            raise ValueError(f"{len(self.levels)} levels; there must be 1 to {native.MAX_LEVELS}")
        names = [level.name for level in self.levels]
        if len({*names, "memory"}) <= len(names):
            raise ValueError(f"levels are named {', '.join(names)}: names must differ, and none may be 'memory'")
        if line_bytes not in LINE_BYTES:
            raise ValueError(f"line_bytes {line_bytes!r} must be one of {', '.join(map(str, LINE_BYTES))}")
        groups = _groups(nr_cpus, cpus_per_core, cpus_per_ccx, cpus_per_socket)
        if type(memory_interleave_bytes) is not int:
            raise TypeError(f"memory_interleave_bytes {memory_interleave_bytes!r} must be an int")
        if memory_interleave_bytes and memory_interleave_bytes not in (
            1 << bit for bit in range(line_bytes.bit_length() - 1, native.ADDRESS_BITS)
        ):
            raise ValueError(
                f"memory_interleave_bytes {memory_interleave_bytes} must be 0 or a power of two of {line_bytes} or more"
            )
        for name, value in (
            ("forward_clean", forward_clean),
            ("track_sharing", track_sharing),
            ("split_misses", split_misses),
        ):
            if not isinstance(value, bool):
                raise TypeError(f"{name} {value!r} must be True or False")
        if nr_threads not in [1 << bit for bit in range(native.MAX_THREADS.bit_length())]:
            raise ValueError(f"nr_threads {nr_threads!r} must be a power of two, at most {native.MAX_THREADS}")
        _check_inclusion(inclusion, "")
        config = np.zeros(len(self.levels), dtype=native.LEVEL_DTYPE)
        for number, level in enumerate(self.levels):
            config[number] = _configure(level, line_bytes, inclusion if number else "nine", first=not number)
        config["nr_sharers"] = _sharers(self.levels, groups)
        if nr_threads > 1 and nr_cpus > 1:
            raise ValueError(f"{nr_threads} threads: the caches of {nr_cpus} CPUs are served by one")
        if nr_threads > 1:
            _check_threads(self.levels, config, line_bytes, nr_threads)
        _check_rules(rules, self.levels, config, nr_cpus, track_sharing or split_misses)
        self._tlbs = Tlbs.of(tlb, page_bytes, pages)
        self._native = native.Hierarchy(
            config,
            line_bytes.bit_length() - 1,
            nr_threads,
            (nr_cpus, groups["core"], groups["ccx"], groups["socket"]),
            max(memory_interleave_bytes.bit_length() - 1, 0),
            forward_clean,
            track_sharing,
            split_misses,
            native.RULES.index(rules),
            [size.bit_length() - 1 for size in self._tlbs.page_bytes],
            self._tlbs.arrays,
            self._tlbs.ranges,
        )
        self.split_misses = split_misses

    def __repr__(self) -> str:
        return f"CacheHierarchy({', '.join(f'{level.name}: {level.size_bytes} bytes' for level in self.levels)})"

    def nr_sets(self, level: str) -> int:
        """Count the sets of a level."""
        return self._native.nr_sets(self._number(level))

    def access(
        self,
        addresses: NDArray[np.uint64],
        write: NDArray[np.bool_] | NDArray[np.uint8] | None = None,
        cpu: NDArray[np.uint8] | None = None,
        klass: NDArray[np.uint8] | None = None,
    ) -> None:
        """Access addresses in order, one line each. The arrays are read where they lie, with the GIL released.

        Parameters
        ----------
        addresses : uint64 or int64, shape (nr,)
            Bytes, below 2^57.
        write : bool or uint8, shape (nr,), optional
            Nonzero for a store; None is loads alone.
        cpu : uint8, shape (nr,), optional
            Which CPU accesses, below `nr_cpus`; None is CPU 0.
        klass : uint8, shape (nr,), optional
            What the counters of an access are filed under, write-backs and prefetches it causes included; None is 0.
            Costs speed: the hierarchy goes on access by access from then on, until `reset`.

        Raises
        ------
        TypeError, ValueError
            If an array is not contiguous, not writable, or of another type or shape, or an address or a CPU is out of
            range; nothing has happened then.
        """
        checked = _checked(addresses, "addresses", (np.uint64, np.int64)).view(np.uint64)
        extra = [
            None if array is None else _checked(array, name, types, checked.size).view(np.uint8)
            for name, array, types in (
                ("write", write, (np.bool_, np.uint8)),
                ("cpu", cpu, (np.uint8,)),
                ("klass", klass, (np.uint8,)),
            )
        ]
        try:
            self._native.access(checked, *extra)
        except ValueError as error:
            position = getattr(error, "index", None)
            if position is None:
                raise
            if cpu is not None and "one of its CPUs" in str(error):
                raise ValueError(f"cpu[{position}] is {cpu[position]}; there are {self.nr_cpus} CPUs") from None
            raise ValueError(
                f"addresses[{position}] is {addresses[position]:#x}; it must be 0 or more and below 2^57"
            ) from None

    def access_run(self, address: int, nr_lines: int, write: bool = False, klass: int = 0, *, cpu: int = 0) -> None:
        """Access `nr_lines` consecutive lines once each, beginning with that of `address`.

        Raises
        ------
        ValueError
            If a line or the CPU is out of range; nothing has happened then.
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
        self._native.run(first, nr, bool(write), self._checked_cpu(cpu), klass)

    def stats(self) -> CacheStats:
        """Counters since the beginning, or since `reset`."""
        names = tuple(level.name for level in self.levels)
        tlb = self._tlbs.stats(self._native.translations())
        return CacheStats(names, self._native.counters(), *self._native.transfers(), tlb)

    def sharing(self, limit: int = 20) -> list[SharedLine]:
        """List the lines that CPUs took from each other since the beginning, or since `reset`, most often taken first.

        Raises
        ------
        ValueError
            If the hierarchy was made without ``track_sharing``, or `limit` is negative.
        """
        if index(limit) < 0:
            raise ValueError(f"limit {limit} must be 0 or more")
        found = self._native.sharing()
        if found is None:
            raise ValueError("sharing is not tracked: make the hierarchy with track_sharing=True")
        return shared_lines(*found, self.line_bytes, limit)

    def set_lines(self, level: str, number: int, *, cpu: int = 0) -> list[HeldLine]:
        """List what a set of the instance for `cpu` holds: LRU youngest first, FIFO latest first, else by way."""
        depth = self._number(level)
        if not 0 <= index(number) < self._native.nr_sets(depth):
            raise ValueError(f"set {number} of {level} must be 0 to {self._native.nr_sets(depth) - 1}")
        lines = self._native.set_lines(depth, self._checked_cpu(cpu), number, self.levels[depth].nr_ways)
        return [HeldLine(int(line["address"]), bool(line["dirty"]), bool(line["prefetched"])) for line in lines]

    def occupancy_bytes(self, level: str, first: int = 0, end: int = ADDRESS_END, *, cpu: int = 0) -> int:
        """Bytes in lines that reach into addresses [first, end).

        Of the instance of the level that serves `cpu`; its victim cache is left out.
        """
        if not 0 <= index(first) <= index(end) <= ADDRESS_END:
            raise ValueError(f"[{first:#x}, {end:#x}) must lie within 0 and 2^57")
        return self._native.occupancy(self._number(level), self._checked_cpu(cpu), first, end) * self.line_bytes

    def watch(self, level: str, ranges: Mapping[str, tuple[int, int]], *, every: int, cpu: int = 0) -> OccupancyWatch:
        """See every so many accesses how much of a level address ranges hold.

        Parameters
        ----------
        level : str
        ranges : mapping of str to (first, end)
            Addresses by a name for them.
        every : int
            Accesses between two looks.
        cpu : int
            Of the instance that serves it.

        Returns
        -------
        OccupancyWatch
            Give the accesses to it instead of to the hierarchy.

        Raises
        ------
        ValueError
            If there is no such level or CPU, or a range or `every` is impossible.
        """
        return OccupancyWatch(self, level, ranges, every, cpu)

    def reset(self) -> None:
        """Empty caches and zero counters."""
        self._native.reset()

    def snapshot(self) -> NDArray[np.uint8]:
        """Copy the whole state, counters included but for `sharing`, as bytes that `restore` takes back.

        Raises
        ------
        ValueError
            If misses are split: what that needs to know is no part of the state.
        """
        if self.split_misses:
            raise ValueError("a hierarchy made with split_misses=True has no snapshot")
        return self._native.save()

    def restore(self, state: NDArray[np.uint8]) -> None:
        """Take back a `snapshot` of a hierarchy of the same configuration; ValueError if its size shows another."""
        self._native.restore(state)

    def _checked_cpu(self, cpu: int) -> int:
        if not 0 <= index(cpu) < self.nr_cpus:
            raise ValueError(f"cpu {cpu}: there are {self.nr_cpus} CPUs")
        return cpu

    def _number(self, level: str) -> int:
        for number, each in enumerate(self.levels):
            if each.name == level:
                return number
        raise ValueError(f"no level {level!r}; there are {', '.join(each.name for each in self.levels)}")


def _is_plain(level: CacheLevel, row: Any) -> bool:
    return (level.policy, int(row["inclusion"]), level.write_back, level.write_allocate) == (
        "lru", 0, True, True,
    ) and not (level.next_line_prefetch or level.victim_lines)  # fmt: skip


PLAIN = "LRU, NINE, write-back, write-allocate, no prefetch, no victim cache"


def _check_threads(levels: Sequence[CacheLevel], config: NDArray[np.void], line_bytes: int, nr_threads: int) -> None:
    for level, row in zip(levels, config, strict=True):
        nr_sets = level.size_bytes // (line_bytes * level.nr_ways)
        if not _is_plain(level, row) or level.nr_ways > 16 or nr_sets & (nr_sets - 1) or nr_sets < nr_threads:
            raise ValueError(
                f"cache {level.name}: {nr_threads} threads need {PLAIN}, at most 16 ways and a power of two of at least"
                f" {nr_threads} sets"
            )


def _check_rules(rules: str, levels: Sequence[CacheLevel], config: NDArray[np.void], nr_cpus: int, more: bool) -> None:
    if rules not in native.RULES:
        raise ValueError(f"rules {rules!r} must be one of {', '.join(native.RULES)}")
    if rules != "pycachesim":
        return
    if nr_cpus > 1 or more:
        raise ValueError("the rules of pycachesim are of one CPU, without track_sharing and split_misses")
    for level, row in zip(levels, config, strict=True):
        if not _is_plain(level, row):
            raise ValueError(f"cache {level.name}: the rules of pycachesim need {PLAIN}")


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
        1,
        level.seed,
    )


def _groups(nr_cpus: int, core: int, ccx: int | None, socket: int | None) -> dict[str, int]:
    """Count the CPUs that each of `SCOPES` has."""
    if type(nr_cpus) is not int:
        raise TypeError(f"nr_cpus {nr_cpus!r} must be an int")
    if not 1 <= nr_cpus <= native.MAX_CPUS:
        raise ValueError(f"nr_cpus {nr_cpus} must be 1 to {native.MAX_CPUS}")
    sizes, within = {"cpu": 1}, 1
    for name, given in (("core", core), ("ccx", ccx), ("socket", socket)):
        size = -(-nr_cpus // within) * within if given is None else given
        if type(size) is not int:
            raise TypeError(f"cpus_per_{name} {size!r} must be an int")
        if not 1 <= size <= native.MAX_CPUS * native.MAX_CPUS or size % within:
            raise ValueError(f"cpus_per_{name} {size} must be a whole multiple of {within}")
        sizes[name] = within = size
    sizes["machine"] = max(within, -(-nr_cpus // within) * within)
    return sizes


def _sharers(levels: Sequence[CacheLevel], groups: dict[str, int]) -> list[int]:
    """Count the CPUs that share one instance of each level."""
    sharers: list[int] = []
    for number, level in enumerate(levels):
        above = sharers[-1] if sharers else 1
        wanted = groups[level.shared_by or ("core" if number < 2 else "ccx")]
        if level.shared_by and wanted < above:
            raise ValueError(
                f"cache {level.name}: shared by a {level.shared_by}, {wanted} CPUs; the level above by {above}"
            )
        sharers.append(max(above, wanted))
    return sharers


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
