# SPDX-License-Identifier: BSD-3-Clause
"""Naive TLBs: arrays of sets of (page, size), youngest first; what the C engine must equal, slowly."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from folio_perf.cache import PageRange, TlbArray


class Tlb:
    """The TLBs of all cores."""

    def __init__(self, arrays: Sequence[TlbArray], page_bytes: int, pages: Sequence[PageRange]) -> None:
        self.arrays, self.page_bytes, self.pages = arrays, page_bytes, pages
        self.held: dict[tuple[int, str, int], list[tuple[int, int]]] = {}
        self.count: Counter[tuple[int, str, str]] = Counter()

    def access(self, address: int, core: int, klass: int) -> None:
        size = next((each.page_bytes for each in self.pages if each.first <= address < each.end), self.page_bytes)
        page = address // size
        for level in (1, 2):
            for array in self.arrays:
                if array.level == level and size in array.sizes:
                    self.count[klass, array.name, "lookups"] += 1
                    entries = self.held.setdefault((core, array.name, page % (array.nr_entries // array.nr_ways)), [])
                    hit = (page, size) in entries
                    if hit:
                        entries.remove((page, size))
                    entries.insert(0, (page, size))
                    del entries[array.nr_ways :]
                    if hit:
                        self.count[klass, array.name, "hits"] += 1
                        return
        self.count[klass, "walks", str(size)] += 1
