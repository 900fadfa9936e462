# SPDX-License-Identifier: BSD-3-Clause
"""TLBs of a cache hierarchy: arrays of translations, pages of several sizes, and their counters."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from folio_perf._native import cache as native

PAGE_BYTES = tuple(1 << shift for shift in range(12, 37))
MAX_ENTRIES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class TlbArray:
    """One array of a core's TLBs, set-associative LRU.

    Parameters
    ----------
    name : str
        For instance ``"L1 2M"``.
    nr_entries, nr_ways : int
        Entries are a whole number of sets of `nr_ways`; as many ways as entries is fully associative.
    page_bytes : int or sequence of int
        Sizes of the pages it holds: powers of two from 4 KiB to 64 GiB. A level has one array at most for each.
    level : int
        1 is asked first; 2 is asked for what level 1 lacks. What level 2 lacks too, or a level 1 without a second, is a
        walk.
    """

    name: str
    nr_entries: int
    nr_ways: int
    page_bytes: int | Sequence[int]
    level: int = 1

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("a TLB array needs a name")
        for field in ("nr_entries", "nr_ways", "level"):
            if type(getattr(self, field)) is not int:
                raise TypeError(f"TLB {self.name}: {field} {getattr(self, field)!r} must be an int")
        if not 1 <= self.nr_entries <= MAX_ENTRIES:
            raise ValueError(f"TLB {self.name}: nr_entries {self.nr_entries} must be 1 to {MAX_ENTRIES}")
        if self.nr_ways < 1 or self.nr_entries % self.nr_ways:
            raise ValueError(f"TLB {self.name}: {self.nr_entries} entries are no whole number of {self.nr_ways} ways")
        if self.level not in (1, 2):
            raise ValueError(f"TLB {self.name}: level {self.level} must be 1 or 2")
        if not self.sizes:
            raise ValueError(f"TLB {self.name} holds pages of no size")
        for size in self.sizes:
            _check_page_bytes(size, f"TLB {self.name}: ")

    @property
    def sizes(self) -> tuple[int, ...]:
        """Bytes of the pages it holds."""
        return (self.page_bytes,) if isinstance(self.page_bytes, int) else tuple(self.page_bytes)


class PageRange(NamedTuple):
    """Addresses [first, end) that pages of `page_bytes` map; both ends are aligned to it."""

    first: int
    end: int
    page_bytes: int


@dataclass(frozen=True, slots=True, eq=False)
class TlbStats:
    """Counters of the TLBs at one moment, all cores together.

    Parameters
    ----------
    names : tuple of str
        The arrays.
    page_bytes : tuple of int
        The page sizes that addresses have.
    lookups, hits : array of uint64, shape (256, nr_arrays)
        By class and array.
    walks : array of uint64, shape (256, nr_page_sizes)
        By class and page size.
    """

    names: tuple[str, ...]
    page_bytes: tuple[int, ...]
    lookups: NDArray[np.uint64]
    hits: NDArray[np.uint64]
    walks: NDArray[np.uint64]

    def __sub__(self, earlier: TlbStats) -> TlbStats:
        if (self.names, self.page_bytes) != (earlier.names, earlier.page_bytes):
            raise ValueError(f"stats of TLBs {earlier.names} do not belong to those of TLBs {self.names}")
        return TlbStats(
            self.names,
            self.page_bytes,
            self.lookups - earlier.lookups,
            self.hits - earlier.hits,
            self.walks - earlier.walks,
        )

    def key(self) -> tuple[object, ...]:
        """Everything, as a value that compares and hashes."""
        return (self.names, self.page_bytes, self.lookups.tobytes(), self.hits.tobytes(), self.walks.tobytes())

    def by_class(self, klass: int) -> TlbStats:
        """Keep what accesses of one class did."""
        kept = [np.zeros_like(each) for each in (self.lookups, self.hits, self.walks)]
        for new, old in zip(kept, (self.lookups, self.hits, self.walks), strict=True):
            new[klass] = old[klass]
        return TlbStats(self.names, self.page_bytes, *kept)

    def to_dict(self) -> dict[str, dict[str, int]]:
        """Lookups, hits and misses of each array; ``walks`` by bytes of the page."""
        arrays = {}
        for number, name in enumerate(self.names):
            lookups, hits = int(self.lookups[:, number].sum()), int(self.hits[:, number].sum())
            arrays[name] = {"lookups": lookups, "hits": hits, "misses": lookups - hits}
        walks = {str(size): int(self.walks[:, number].sum()) for number, size in enumerate(self.page_bytes)}
        return {**arrays, "walks": walks}


@dataclass(frozen=True, slots=True)
class Tlbs:
    """TLBs and page sizes as the engine takes them; without arrays, addresses are not translated."""

    names: tuple[str, ...]
    page_bytes: tuple[int, ...]
    arrays: list[tuple[int, int, int, int]]
    ranges: NDArray[np.void]

    @classmethod
    def of(
        cls, arrays: Iterable[TlbArray], page_bytes: int, ranges: Iterable[PageRange | tuple[int, int, int]]
    ) -> Tlbs:
        """Check them together.

        Raises
        ------
        ValueError, TypeError
            The message names the value and the rule.
        """
        made, wanted = list(arrays), sorted(PageRange(*each) for each in ranges)
        names = tuple(array.name for array in made)
        if not made and (wanted or page_bytes != PAGE_BYTES[0]):
            raise ValueError("pages have sizes for TLBs alone, and there are none")
        if len(made) > native.MAX_TLB_ARRAYS:
            raise ValueError(f"{len(made)} TLB arrays; there must be {native.MAX_TLB_ARRAYS} at most")
        if len({*names, "walks"}) <= len(names):
            raise ValueError(f"TLB arrays are named {', '.join(names)}: names must differ, and none may be 'walks'")
        _check_page_bytes(page_bytes, "")
        sizes = [page_bytes, *sorted({each.page_bytes for each in wanted} - {page_bytes})]
        if len(sizes) > native.MAX_PAGE_SIZES:
            raise ValueError(f"pages of {len(sizes)} sizes; there must be {native.MAX_PAGE_SIZES} at most")
        end = 0
        for each in wanted:
            _check_range(each, end)
            end = each.end
        if made:
            _check_served(made, sizes)
        rows = [
            (array.level - 1, array.nr_entries, array.nr_ways, sum(1 << sizes.index(s) for s in _used(array, sizes)))
            for array in made
        ]
        table = np.array(
            [(each.first, each.end, sizes.index(each.page_bytes)) for each in wanted], dtype=native.PAGE_RANGE_DTYPE
        )
        return cls(names, tuple(sizes), rows, table)

    def stats(self, counters: NDArray[np.void]) -> TlbStats:
        """Make `TlbStats` of what the engine counted."""
        nr = len(self.names)
        return TlbStats(
            self.names,
            self.page_bytes,
            counters["lookups"][:, :nr],
            counters["hits"][:, :nr],
            counters["walks"][:, : len(self.page_bytes)],
        )


def _used(array: TlbArray, sizes: Sequence[int]) -> set[int]:
    return set(array.sizes) & set(sizes)


def _check_page_bytes(size: object, where: str) -> None:
    if type(size) is not int:
        raise TypeError(f"{where}page_bytes {size!r} must be an int")
    if size not in PAGE_BYTES:
        raise ValueError(f"{where}page_bytes {size} must be a power of two from {PAGE_BYTES[0]} to {PAGE_BYTES[-1]}")


def _check_range(each: PageRange, end: int) -> None:
    for value in (each.first, each.end):
        if type(value) is not int:
            raise TypeError(f"pages {each}: {value!r} must be an int")
    where = f"pages [{each.first:#x}, {each.end:#x})"
    _check_page_bytes(each.page_bytes, f"{where}: ")
    if not 0 <= each.first < each.end <= 1 << native.ADDRESS_BITS:
        raise ValueError(f"{where} must lie within 0 and 2^57, and not be empty")
    if each.first % each.page_bytes or each.end % each.page_bytes:
        raise ValueError(f"{where} must begin and end at multiples of {each.page_bytes}")
    if each.first < end:
        raise ValueError(f"{where} overlaps the pages before, which end at {end:#x}")


def _check_served(arrays: Sequence[TlbArray], sizes: Sequence[int]) -> None:
    for level in (1, 2):
        here = [array for array in arrays if array.level == level]
        for size in {size for array in here for size in array.sizes}:
            holders = [array.name for array in here if size in array.sizes]
            if len(holders) > 1:
                raise ValueError(f"TLBs {', '.join(holders)} of level {level} both hold pages of {size} bytes")
    for size in sizes:
        if not any(size in array.sizes for array in arrays if array.level == 1):
            raise ValueError(f"pages of {size} bytes: no TLB of level 1 holds them")
