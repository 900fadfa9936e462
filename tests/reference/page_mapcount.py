# SPDX-License-Identifier: BSD-3-Clause
"""Twin of ``page_mapcount``: per-page counts, a compound count and the double-map bit (v4.5 to v6.1)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from .base import (
    MAPCOUNT_OFFSET,
    PG_DOUBLE_MAP,
    Answer,
    FolioState,
    PageImage,
    Question,
    SchemeTwin,
    TwinError,
)

COMPOUND_MAPCOUNT_OFFSET = 20  # of page[1]


@dataclass(slots=True, kw_only=True)
class PageMapcountFolio(FolioState):
    """Zero-based state.

    Attributes
    ----------
    mapcount : list of int, length nr_pages
        Anonymous: PTE mappings of the page, plus 1 if ``double_map``. File: PTE mappings plus PMD mappings.
    compound : int
        PMD mappings.
    double_map : bool
        Anonymous: the per-page counts carry one extra for the PMD side. File: somebody mapped it by PTE once.
    queued : bool
        On the deferred split queue.
    """

    mapcount: list[int] = field(default_factory=list)
    compound: int = 0
    double_map: bool = False
    queued: bool = False

    def pte_mappings(self, i: int) -> int:
        return self.mapcount[i] - (int(self.double_map) if self.anon else self.compound)


class PageMapcount(SchemeTwin[PageMapcountFolio]):
    """See schemes.md 3.1."""

    name: ClassVar[str] = "page_mapcount"

    @property
    def pincount_at(self) -> int:
        """v5.17: page[2] +16; v6.1: page[1] +24."""
        return 64 + 16 if self.kernel_version < 518 else 24

    def new_folio(self, pfn: int, order: int) -> PageMapcountFolio:
        return PageMapcountFolio(pfn=pfn, order=order, mapcount=[0] * (1 << order))

    def map_run(self, folio: PageMapcountFolio) -> None:
        if self.op.new:
            for i in self.op.pages:
                folio.mapcount[i] = 1
        else:
            for call in self.op.calls():
                if folio.large and not self.op.anon:
                    # Set without looking, once per rmap call.
                    folio.double_map = True
                    self.count("double_map")
                for i in call:
                    folio.mapcount[i] += 1
                    self.count("mapcount")
        self.take_refs(folio, self.op.nr)

    def fork_run(self, folio: PageMapcountFolio) -> None:
        for i in self.op.pages:
            if folio.pte_mappings(i) < 1:
                raise TwinError(f"fork copies a PTE of page {i}, which no PTE maps")
            folio.mapcount[i] += 1
            self.count("mapcount")
        self.take_refs(folio, self.op.nr)

    def unmap_run(self, folio: PageMapcountFolio) -> None:
        for call in self.op.calls():
            nr_unmapped = 0
            for i in call:
                if folio.pte_mappings(i) < 1:
                    raise TwinError(f"page {i} is not mapped by any PTE")
                folio.mapcount[i] -= 1
                self.count("mapcount")
                if folio.mapcount[i] == 0:
                    nr_unmapped += 1
            if self.op.anon and nr_unmapped:
                self._queue_for_split(folio)
        self.put_refs(folio, self.op.nr)

    def map_pmd(self, folio: PageMapcountFolio) -> None:
        if self.op.new:
            folio.compound = 1
        else:
            if not self.op.anon:
                nothing_mapped = not any(folio.mapcount)
                for i in range(folio.nr_pages):
                    folio.mapcount[i] += 1
                    self.count("mapcount")
                if self.kernel_version >= 601 and nothing_mapped and folio.double_map:
                    # Tested first, so the atomic is spent only on a stale hint.
                    folio.double_map = False
                    self.count("double_map")
            folio.compound += 1
            self.count("compound_mapcount")
        self.take_refs(folio, 1)

    def unmap_pmd(self, folio: PageMapcountFolio) -> None:
        if folio.compound < 1:
            raise TwinError("no PMD maps the folio")
        if self.op.anon:
            self._drop_anon_compound(folio)
        else:
            for i in range(folio.nr_pages):
                folio.mapcount[i] -= 1
                self.count("mapcount")
            folio.compound -= 1
            self.count("compound_mapcount")
        self.put_refs(folio, 1)

    def _drop_anon_compound(self, folio: PageMapcountFolio) -> None:
        folio.compound -= 1
        self.count("compound_mapcount")
        if folio.compound:
            return
        self.count("double_map")
        if not folio.double_map:
            return
        folio.double_map = False
        nr_unmapped = 0
        for i in range(folio.nr_pages):
            folio.mapcount[i] -= 1
            self.count("mapcount")
            if folio.mapcount[i] == 0:
                nr_unmapped += 1
        if 0 < nr_unmapped < folio.nr_pages:
            self._queue_for_split(folio)

    def split_anon_pmd(self, folio: PageMapcountFolio) -> None:
        if folio.compound < 1:
            raise TwinError("no PMD maps the folio")
        nr = folio.nr_pages
        # One add for the n - 1 references; the PMD's own becomes the n-th.
        folio.refs += nr - 1
        folio.mapping_refs += nr - 1
        self.refs_peak = max(self.refs_peak, folio.mapping_refs)
        self.count("refcount")
        for i in range(nr):
            folio.mapcount[i] += 1
            self.count("mapcount")
        if folio.compound > 1:
            self.count("double_map")
            if not folio.double_map:
                folio.double_map = True
                for i in range(nr):
                    folio.mapcount[i] += 1
                    self.count("mapcount")
        folio.compound -= 1
        self.count("compound_mapcount")
        if folio.compound == 0:
            self.count("double_map")
            if folio.double_map:
                folio.double_map = False
                for i in range(nr):
                    folio.mapcount[i] -= 1
                    self.count("mapcount")

    def _queue_for_split(self, folio: PageMapcountFolio) -> None:
        if not folio.has_deferred_list:
            return
        # Up to 6.0 the lock is taken to find out that the folio is queued already.
        if self.kernel_version < 601 or not folio.queued:
            self.count("split_queue_lock")
        folio.queued = True

    def check_unmapped(self, folio: PageMapcountFolio) -> None:
        if folio.compound or any(folio.mapcount):
            raise TwinError(f"still mapped: compound {folio.compound}, pages {folio.mapcount}")

    def render_page(self, folio: PageMapcountFolio, i: int, image: PageImage) -> None:
        image.put_s32(MAPCOUNT_OFFSET, folio.mapcount[i] - 1)
        if i == 1:
            image.put_s32(COMPOUND_MAPCOUNT_OFFSET, folio.compound - 1)
            image.put_flag(PG_DOUBLE_MAP, folio.double_map)

    def ask(self, pfn: int, question: Question, page: int = 0) -> tuple[Answer, int]:
        folio = self.folio_of(pfn, page)
        if question is Question.MAPPED:
            mapped = folio.compound > 0 or any(folio.mapcount)
            return (Answer.YES if mapped else Answer.NO), 0
        if question is Question.SHARED:
            # Not answerable; callers took the count of the page they look at.
            return (Answer.YES if self._page(folio, page) > 1 else Answer.NO), 0
        if question is Question.PAGE_MAPCOUNT:
            return Answer.COUNT, self._page(folio, page)
        # Every mapping owns one reference.
        return Answer.COUNT, self._total(folio)

    @staticmethod
    def _page(folio: PageMapcountFolio, i: int) -> int:
        if folio.large and folio.anon:
            return folio.mapcount[i] + folio.compound - int(folio.double_map)
        return folio.mapcount[i]

    @staticmethod
    def _total(folio: PageMapcountFolio) -> int:
        if not folio.large:
            return folio.mapcount[0]
        nr = folio.nr_pages
        overlap = nr * int(folio.double_map) if folio.anon else nr * folio.compound
        return folio.compound + sum(folio.mapcount) - overlap
