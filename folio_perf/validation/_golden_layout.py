# SPDX-License-Identifier: BSD-3-Clause
"""Where the schemes that shipped keep their counts in struct page, read back as a kernel's own dump shows them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

_PG_HEAD: Final = 6
_PG_ANON_EXCLUSIVE: Final = 17
_PG_DOUBLE_MAP: Final = 20
_WORD: Final = 4
_OWNER_COUNTS, _OWNER_IDS, _OWNER_ID_MASK = 32, 40, (1 << 31) - 1

Ints = NDArray[np.int64]


class TailField(NamedTuple):
    """A count in the first tail of a large folio.

    Attributes
    ----------
    golden : str
        Its key in a golden folio.
    offset : int
        In bytes from page[1].
    start : int
        What stands there while nothing is mapped; the golden file is zero-based.
    """

    golden: str
    offset: int
    start: int


def _tail_fields(scheme: str, version: int) -> Mapping[str, TailField]:
    """schemes.md 3.1, 3.4, 3.8, 3.9."""
    if scheme == "page_mapcount":
        return {"compound_mapcount": TailField("cmc", 20, -1)}
    if scheme == "nr_pages_mapped":
        entire, mapped = (24, 28) if version >= 608 else (20, 24)
        # v6.2 still called the field compound_mapcount.
        return {
            "entire_mapcount": TailField("cmc" if version < 603 else "em", entire, -1),
            "nr_pages_mapped": TailField("nm", mapped, 0),
        }
    if scheme == "large_mapcount":
        return {
            "large_mapcount": TailField("lm", 16, -1),
            "entire_mapcount": TailField("em", 20, -1),
            "nr_pages_mapped": TailField("nm", 24, 0),
        }
    if scheme in ("mm_owner", "no_page_mapcount"):
        fields = {"large_mapcount": TailField("lm", 16, -1), "entire_mapcount": TailField("em", 24, -1)}
        # Without per-page counts the field is unused and holds garbage.
        if scheme == "mm_owner":
            fields["nr_pages_mapped"] = TailField("nm", 20, 0)
        return fields
    return {}


def has_owner_slots(scheme: str) -> bool:
    """Whether the scheme tracks two owners of a large folio."""
    return scheme in ("mm_owner", "no_page_mapcount")


def folio_fields(scheme: str) -> tuple[str, ...]:
    """Names of the fields of large folios that a scheme has in common with the kernel that shipped it."""
    owners = ("owner_slots", "maybe_mapped_shared") if has_owner_slots(scheme) else ()
    double_map = ("double_map",) if scheme == "page_mapcount" else ()
    return (*_tail_fields(scheme, 608), *double_map, *owners)


class FolioBytes:
    """The struct pages of a simulation after a step.

    Parameters
    ----------
    pages : uint8, shape (nr_pages, 64)
    scheme : str
    version : int
        Of the kernel, ``100 * major + minor``.

    Attributes
    ----------
    heads, nr_pages : int64, shape (nr_pages,)
        Of each page: first page frame, and size, of its folio.
    mapcount : int64, shape (nr_pages,)
        ``_mapcount`` of each page, zero-based.
    anon_exclusive : int64, shape (nr_pages,)
    tail_fields : mapping of str to TailField
    """

    def __init__(self, pages: NDArray[np.uint8], scheme: str, version: int) -> None:
        self._words = pages.view(np.int32).reshape(-1, 16)
        flags, links = pages.view(np.uint64).reshape(-1, 8)[:, :2].T
        number = np.arange(len(pages), dtype=np.int64)
        tail = (links & 1).astype(bool)
        self.heads: Ints = np.maximum.accumulate(np.where(tail, 0, number))
        self.nr_pages: Ints = np.bincount(self.heads, minlength=len(pages))[self.heads]
        self.mapcount: Ints = self._words[:, 12].astype(np.int64) + 1
        self.anon_exclusive: Ints = (flags >> np.uint64(_PG_ANON_EXCLUSIVE) & np.uint64(1)).astype(np.int64)
        self._flags = flags
        self.tail_fields = dict(_tail_fields(scheme, version))
        if scheme == "page_mapcount":
            self.tail_fields["double_map"] = TailField("dm", 0, 0)

    def tail_field(self, field: str, heads: Ints) -> Ints:
        """One count of each folio, zero-based."""
        if field == "double_map":
            flags: Ints = (self._flags[heads + 1] >> np.uint64(_PG_DOUBLE_MAP) & np.uint64(1)).astype(np.int64)
            return flags
        place = self.tail_fields[field]
        counts: Ints = self._words[heads + 1, place.offset // _WORD].astype(np.int64) - place.start
        return counts

    def owner_slots(self, head: int) -> tuple[tuple[int, int], tuple[int, int]]:
        """Of both slots: id of the mm, 0 if empty, and its mappings."""
        words = self._words[head + 1].tolist()
        ids = words[_OWNER_IDS // _WORD : _OWNER_IDS // _WORD + 2]
        counts = words[_OWNER_COUNTS // _WORD : _OWNER_COUNTS // _WORD + 2]
        first, second = ((i & _OWNER_ID_MASK, n + 1) for i, n in zip(ids, counts, strict=True))
        return first, second

    def shared_bit(self, head: int) -> int:
        """Whether the folio may be mapped by more than one mm."""
        return int(self._words[head + 1, _OWNER_IDS // _WORD + 1]) >> 31 & 1
