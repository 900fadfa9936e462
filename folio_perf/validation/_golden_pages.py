# SPDX-License-Identifier: BSD-3-Clause
"""Pages of a golden file have names, pages of the model frame numbers: who is who, step by step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

ZERO: Final = -1
SWAP: Final = -2
UNKNOWN: Final = -3
UNKNOWN_PAGE: Final = "?"
"""Name of a page that whoever looked could not tell from others."""
_SPECIAL: Final = {"ZERO": ZERO, "SWAP": SWAP, UNKNOWN_PAGE: UNKNOWN}
_OFFSET_BITS: Final = 38
_OFFSET_BIAS: Final = 1 << 36

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class MapRuns:
    """Page-table entries of one process in a golden step: vpn, key of the page, pagemap bits; int64, shape (nr,)."""

    vpn: Ints
    key: Ints
    bits: Ints


@dataclass(frozen=True, slots=True)
class PageRuns:
    """Pages of a golden step, one element a page; int64 and bool, shape (nr,)."""

    key: Ints
    kpagecount: Ints
    nr_pages: Ints
    mapcount: Ints
    exclusive: Ints
    anon: NDArray[np.bool_]
    has_fields: NDArray[np.bool_]


class PageNames:
    """Names of pages (region or object they were born in, offset, generation) and the page frames they stand for."""

    def __init__(self) -> None:
        self._families: dict[tuple[str, int], int] = {}
        self._of_family: list[tuple[str, int]] = []
        self._keys: Ints = np.zeros(0, dtype=np.int64)
        self._pfns: Ints = np.zeros(0, dtype=np.int64)
        self._before: tuple[Ints, Ints] = (self._keys, self._pfns)
        self._nr_pfns = 0

    # ---- keys ----

    def key(self, name: str, offset: int, generation: int) -> int:
        """Return the number that stands for a page; those of a run follow each other."""
        if name in _SPECIAL:
            return _SPECIAL[name]
        family = self._families.setdefault((name, generation), len(self._families))
        if family == len(self._of_family):
            self._of_family.append((name, generation))
        return (family << _OFFSET_BITS) + offset + _OFFSET_BIAS

    def origin(self, key: int) -> str:
        """Region or object a page was born in."""
        return self._of_family[key >> _OFFSET_BITS][0]

    def text(self, key: int) -> str:
        """Name of a page for people."""
        if key < 0:
            return {ZERO: "ZERO", SWAP: "SWAP", UNKNOWN: "some page"}.get(key, "nothing")
        name, generation = self._of_family[key >> _OFFSET_BITS]
        offset = (key & ((1 << _OFFSET_BITS) - 1)) - _OFFSET_BIAS
        return f"{name}+{offset}" + (f" gen {generation}" if generation else "")

    def text_of(self, name: str, offset: int, generation: int) -> str:
        """Name a page for people by its parts."""
        return self.text(self.key(name, offset, generation))

    # ---- who is who ----

    def begin_step(self, nr_pfns: int) -> None:
        """Forget the page frames of the step before, but for pages that nobody maps now; `nr_pfns` exist."""
        self._nr_pfns = nr_pfns
        self._before = self._keys, self._pfns
        self._keys = self._pfns = np.zeros(0, dtype=np.int64)

    def identify(self, keys: Ints, pfns: Ints) -> NDArray[np.bool_]:
        """Pair names with page frames; false where either is paired with another one already."""
        all_keys, all_pfns = np.concatenate((self._keys, keys)), np.concatenate((self._pfns, pfns))
        same = _first_partner(all_keys, all_pfns) & _first_partner(all_pfns, all_keys)
        new = same.copy()
        new[: self._keys.size] = True
        unique, first = np.unique(all_keys[new], return_index=True)
        self._pfns, self._keys = all_pfns[new][first], unique
        return same[-keys.size :] if keys.size else np.zeros(0, dtype=bool)

    def _add(self, keys: Ints, pfns: Ints) -> None:
        """Pair those names that have no page frame yet."""
        fresh = ~np.isin(keys, self._keys)
        if fresh.any():
            merged = np.concatenate((self._keys, keys[fresh]))
            order = np.argsort(merged, kind="stable")
            self._keys, self._pfns = merged[order], np.concatenate((self._pfns, pfns[fresh]))[order]

    def mapped(self, name: str, offset: int, nr: int, generation: int) -> bool:
        """Whether a page of a run is mapped in this step."""
        keys = self.key(name, offset, generation) + np.arange(nr, dtype=np.int64)
        return bool((self.pfns_of(keys, before=False) >= 0).any())

    def resolve_folios(self, folios: Iterable[tuple[str, int, int, int]]) -> None:
        """Find pages nobody maps by another page of their folio: head's name, offset, generation, number of pages."""
        for name, offset, generation, nr in folios:
            keys = self.key(name, offset, generation) + np.arange(nr, dtype=np.int64)
            pfns = self.pfns_of(keys, before=False)
            if (pfns >= 0).any() and (pfns < 0).any():
                known = int((pfns >= 0).argmax())
                guess = int(pfns[known]) - known + np.arange(nr, dtype=np.int64)
                exist = (guess > 0) & (guess < self._nr_pfns)
                self._add(keys[exist], guess[exist])

    def resolve_object(self, name: str, resident: NDArray[np.uint64]) -> None:
        """Find pages of an object by their place in it."""
        at = np.flatnonzero(resident)
        for family, (origin, _) in enumerate(self._of_family):
            if origin == name and at.size:
                keys = (family << _OFFSET_BITS) + _OFFSET_BIAS + at
                # Of several generations only one can be in the page cache.
                fresh = ~np.isin(resident[at].astype(np.int64), self._pfns) & ~np.isin(keys, self._keys)
                self._candidates(keys[fresh], resident[at][fresh].astype(np.int64))

    def _candidates(self, keys: Ints, pfns: Ints) -> None:
        self._before = (
            np.concatenate((keys, self._before[0])),
            np.concatenate((pfns, self._before[1])),
        )

    def remember(self) -> None:
        """Keep what this step found for the pages that the next one does not map."""
        keys, first = np.unique(np.concatenate((self._keys, self._before[0])), return_index=True)
        pfns = np.concatenate((self._pfns, self._before[1]))[first]
        self._keys, self._pfns = keys, pfns

    def pfns_of(self, keys: Ints, *, before: bool = True) -> Ints:
        """Page frame of each name, -1 where none is known."""
        found = _look_up(self._keys, self._pfns, keys)
        if before:
            unique, first = np.unique(self._before[0], return_index=True)
            found = np.where(found < 0, _look_up(unique, self._before[1][first], keys), found)
        return found

    def pfn_of(self, name: str, offset: int, generation: int) -> int | None:
        """Page frame of one name."""
        pfn = int(self.pfns_of(np.array([self.key(name, offset, generation)]))[0])
        return None if pfn < 0 else pfn

    def name_of(self, pfn: int) -> str:
        """Name of a page frame, empty if none is known."""
        at = np.flatnonzero(self._pfns == pfn)
        return self.text(int(self._keys[at[0]])) if at.size else ""


def _first_partner(left: Ints, right: Ints) -> NDArray[np.bool_]:
    """Whether each element of `right` is the one that stands beside the first occurrence of its `left`."""
    _, first, inverse = np.unique(left, return_index=True, return_inverse=True)
    return np.asarray(right == right[first][inverse])


def _look_up(keys: Ints, values: Ints, wanted: Ints) -> Ints:
    if not keys.size:
        return np.full(wanted.size, -1, dtype=np.int64)
    at = np.minimum(np.searchsorted(keys, wanted), keys.size - 1)
    return np.where(keys[at] == wanted, values[at], -1)


def _repeated(values: Sequence[int], nr: Ints) -> Ints:
    return np.repeat(np.array(values, dtype=np.int64), nr)


def _lengths(values: Sequence[int]) -> tuple[Ints, Ints]:
    """Lengths of runs, and for each element its place in its run."""
    nr = np.array(values, dtype=np.int64)
    return nr, np.arange(int(nr.sum()), dtype=np.int64) - np.repeat(np.cumsum(nr) - nr, nr)


def expand_maps(runs: Sequence[Sequence[Any]], starts: Mapping[str, int], names: PageNames) -> MapRuns:
    """Write runs of entries out, entry by entry, by address; `starts` has the vpn of each region."""
    nr, step = _lengths([run[2] for run in runs])
    key = _repeated([names.key(run[3], run[4], run[5]) for run in runs], nr)
    vpn = _repeated([starts[run[0]] + run[1] for run in runs], nr) + step
    return MapRuns(vpn, np.where(key >= 0, key + step, key), _repeated([run[6] for run in runs], nr))


def expand_pages(rows: Sequence[Sequence[Any]], names: PageNames) -> PageRuns:
    """Write runs of pages out, page by page."""
    nr, step = _lengths([row[2] for row in rows])

    def column(place: int) -> Ints:
        return _repeated([row[place] if len(row) > place else 0 for row in rows], nr)

    return PageRuns(
        key=_repeated([names.key(row[0], row[1], row[3]) for row in rows], nr) + step,
        kpagecount=column(4),
        nr_pages=column(6),
        mapcount=column(7),
        exclusive=column(8),
        anon=_repeated(["A" in row[5] for row in rows], nr).astype(bool),
        has_fields=_repeated([len(row) > 7 for row in rows], nr).astype(bool),
    )
