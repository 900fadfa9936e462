# SPDX-License-Identifier: BSD-3-Clause
"""Twin of ``large_mapcount``: a total beside per-page and entire counts (v6.10 to v6.14)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import ClassVar

from .base import (
    MAPCOUNT_OFFSET,
    Answer,
    FolioState,
    PageImage,
    Question,
    SchemeTwin,
    TwinError,
)

LARGE_MAPCOUNT_OFFSET = 16  # these three of page[1]
ENTIRE_MAPCOUNT_OFFSET = 20
NR_PAGES_MAPPED_OFFSET = 24
ENTIRELY_MAPPED = 0x800000


@dataclass(slots=True, kw_only=True)
class LargeMapcountFolio(FolioState):
    """Zero-based state.

    Attributes
    ----------
    mapcount : list of int, length nr_pages
        PTE mappings of each page.
    total : int
        All mappings, PTE and PMD, each once. Only used if the folio is large.
    entire : int
        PMD mappings.
    nr_mapped : int
        Pages with a PTE mapping, plus ENTIRELY_MAPPED if a PMD maps the folio.
    queued : bool
        "Partially mapped" was noticed once.
    """

    mapcount: list[int] = field(default_factory=list)
    total: int = 0
    entire: int = 0
    nr_mapped: int = 0
    queued: bool = False


class LargeMapcount(SchemeTwin[LargeMapcountFolio]):
    """See schemes.md 3.8."""

    name: ClassVar[str] = "large_mapcount"

    def new_folio(self, pfn: int, order: int) -> LargeMapcountFolio:
        return LargeMapcountFolio(pfn=pfn, order=order, mapcount=[0] * (1 << order))

    def map_run(self, folio: LargeMapcountFolio) -> None:
        if self.op.new:
            for i in self.op.pages:
                folio.mapcount[i] = 1
            if folio.large:
                self.new_total(folio, self.op.nr)
                folio.nr_mapped = self.op.nr
        else:
            self._add_ptes(folio, self.op.calls())
        self.take_refs(folio, self.op.nr)

    def fork_run(self, folio: LargeMapcountFolio) -> None:
        for i in self.op.pages:
            if folio.mapcount[i] < 1:
                raise TwinError(f"fork copies a PTE of page {i}, which no PTE maps")
        # The parent's mapping exists, so no page is newly mapped and _nr_pages_mapped stays as it is.
        self._add_ptes(folio, self.op.calls())
        self.take_refs(folio, self.op.nr)

    def _add_ptes(self, folio: LargeMapcountFolio, calls: Iterable[range]) -> None:
        for call in calls:
            first_mapped = 0
            for i in call:
                if folio.mapcount[i] == 0:
                    first_mapped += 1
                folio.mapcount[i] += 1
                self.count("mapcount")
            if folio.large:
                if first_mapped:
                    folio.nr_mapped += first_mapped
                    self.count("nr_pages_mapped")
                self.add_total(folio, len(call))

    def add_total(self, folio: LargeMapcountFolio, nr: int) -> None:
        folio.total += nr
        self.count("large_mapcount")

    def sub_total(self, folio: LargeMapcountFolio, nr: int) -> None:
        folio.total -= nr
        self.count("large_mapcount")

    def new_total(self, folio: LargeMapcountFolio, nr: int) -> None:
        folio.total = nr

    def unmap_run(self, folio: LargeMapcountFolio) -> None:
        for call in self.op.calls():
            if folio.large:
                self.sub_total(folio, len(call))
            last_unmapped = 0
            for i in call:
                if folio.mapcount[i] < 1:
                    raise TwinError(f"page {i} is not mapped by any PTE")
                folio.mapcount[i] -= 1
                self.count("mapcount")
                if folio.mapcount[i] == 0:
                    last_unmapped += 1
            if folio.large and last_unmapped:
                folio.nr_mapped -= last_unmapped
                self.count("nr_pages_mapped")
                # Under a PMD mapping no page became unmapped.
                if self.op.anon and 0 < folio.nr_mapped < ENTIRELY_MAPPED:
                    self._queue_for_split(folio)
        self.put_refs(folio, self.op.nr)

    def map_pmd(self, folio: LargeMapcountFolio) -> None:
        if self.op.new:
            folio.entire = 1
            folio.nr_mapped = ENTIRELY_MAPPED
            self.new_total(folio, 1)
        else:
            folio.entire += 1
            self.count("entire_mapcount")
            if folio.entire == 1:
                folio.nr_mapped += ENTIRELY_MAPPED
                self.count("nr_pages_mapped")
            self.add_total(folio, 1)
        self.take_refs(folio, 1)

    def unmap_pmd(self, folio: LargeMapcountFolio) -> None:
        self._drop_entire(folio)
        # The last PMD mapping went (no flag left in the number), and PTEs hold some pages but not all.
        if self.op.anon and 0 < folio.nr_mapped < folio.nr_pages:
            self._queue_for_split(folio)
        self.put_refs(folio, 1)

    def _drop_entire(self, folio: LargeMapcountFolio) -> None:
        if folio.entire < 1:
            raise TwinError("no PMD maps the folio")
        self.sub_total(folio, 1)
        folio.entire -= 1
        self.count("entire_mapcount")
        if folio.entire == 0:
            folio.nr_mapped -= ENTIRELY_MAPPED
            self.count("nr_pages_mapped")

    def split_anon_pmd(self, folio: LargeMapcountFolio) -> None:
        nr = folio.nr_pages
        if folio.entire < 1:
            raise TwinError("no PMD maps the folio")
        # One add for the n - 1 references; the PMD's own becomes the n-th.
        folio.refs += nr - 1
        folio.mapping_refs += nr - 1
        self.refs_peak = max(self.refs_peak, folio.mapping_refs)
        self.count("refcount")
        self._add_ptes(folio, [range(nr)] if self.op.batched else [range(i, i + 1) for i in range(nr)])
        self._drop_entire(folio)

    def _queue_for_split(self, folio: LargeMapcountFolio) -> None:
        if folio.has_deferred_list and not folio.queued:
            folio.queued = True
            self.count("split_queue_lock")

    def check_unmapped(self, folio: LargeMapcountFolio) -> None:
        if folio.total or folio.entire or folio.nr_mapped or any(folio.mapcount):
            raise TwinError(
                f"still mapped: total {folio.total}, entire {folio.entire}, nr_pages_mapped {folio.nr_mapped:#x}, "
                f"pages {folio.mapcount}"
            )

    def render_page(self, folio: LargeMapcountFolio, i: int, image: PageImage) -> None:
        image.put_s32(MAPCOUNT_OFFSET, folio.mapcount[i] - 1)
        if i == 1:
            image.put_s32(LARGE_MAPCOUNT_OFFSET, folio.total - 1)
            image.put_s32(ENTIRE_MAPCOUNT_OFFSET, folio.entire - 1)
            image.put_s32(NR_PAGES_MAPPED_OFFSET, folio.nr_mapped)

    def ask(self, pfn: int, question: Question, page: int = 0) -> tuple[Answer, int]:
        folio = self.folio_of(pfn, page)
        total = folio.total if folio.large else folio.mapcount[0]
        if question is Question.MAPPED:
            return (Answer.YES if total else Answer.NO), 0
        if question is Question.SHARED:
            return (Answer.YES if self._likely_shared(folio, total) else Answer.NO), 0
        if question is Question.PAGE_MAPCOUNT:
            return Answer.COUNT, folio.mapcount[page] + folio.entire
        # Every mapping owns one reference.
        return Answer.COUNT, total

    @staticmethod
    def _likely_shared(folio: LargeMapcountFolio, total: int) -> bool:
        if total <= 1:
            return False
        if folio.entire > 0 or total > folio.nr_pages:
            return True
        return folio.mapcount[0] > 1
