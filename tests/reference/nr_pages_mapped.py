# SPDX-License-Identifier: BSD-3-Clause
"""Twin of ``nr_pages_mapped``: entire and per-page counts, a sum of mapped pages, no total (v6.2 to v6.9)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from .base import MAPCOUNT_OFFSET, Answer, PageImage, Question, TwinError
from .large_mapcount import LargeMapcount, LargeMapcountFolio


class NrPagesMapped(LargeMapcount):
    """See schemes.md 3.4. `total` of the state is what the reader would have to add up; no byte holds it."""

    name: ClassVar[str] = "nr_pages_mapped"

    @property
    def _entire_at(self) -> int:
        return 20 if self.kernel_version < 608 else 24

    @property
    def pincount_at(self) -> int:
        return self._entire_at + 8

    def _add_ptes(self, folio: LargeMapcountFolio, calls: Iterable[range]) -> None:
        # Page by page, even in one call.
        super()._add_ptes(folio, [range(i, i + 1) for call in calls for i in call])

    def unmap_run(self, folio: LargeMapcountFolio) -> None:
        if self.op.batched:
            self._unmap_call(folio)
        else:
            self._unmap_page_by_page(folio)

    def _unmap_call(self, folio: LargeMapcountFolio) -> None:
        """One call of a later kernel: each page still takes its atomic, the hole is looked for at the end."""
        last = 0
        for i in self.op.pages:
            self._drop_page(folio, i)
            last += folio.mapcount[i] == 0
        if folio.large and last:
            folio.nr_mapped -= last
            self.count("nr_pages_mapped", last)
            if self.op.anon and (folio.nr_mapped > 0 or self._relocks) and folio.nr_mapped < 0x800000:
                self._queue_for_split(folio)
        self.put_refs(folio, self.op.nr)

    def _drop_page(self, folio: LargeMapcountFolio, i: int) -> None:
        if folio.mapcount[i] < 1:
            raise TwinError(f"page {i} is not mapped by any PTE")
        folio.total -= folio.large
        folio.mapcount[i] -= 1
        self.count("mapcount")

    @property
    def _relocks(self) -> bool:
        """v6.2 takes the queue lock for every page that goes, v6.1 and v6.3 only if the folio is not queued yet."""
        return self.kernel_version < 601 or self.kernel_version == 602

    def _unmap_page_by_page(self, folio: LargeMapcountFolio) -> None:
        for i in self.op.pages:
            self._drop_page(folio, i)
            if folio.large and folio.mapcount[i] == 0:
                folio.nr_mapped -= 1
                self.count("nr_pages_mapped")
                if self.op.anon and (folio.nr_mapped > 0 or self._relocks) and folio.nr_mapped < 0x800000:
                    self._queue_for_split(folio)
        self.put_refs(folio, self.op.nr)

    def _queue_for_split(self, folio: LargeMapcountFolio) -> None:
        if folio.has_deferred_list and (self._relocks or not folio.queued):
            folio.queued = True
            self.count("split_queue_lock")

    def unmap_pmd(self, folio: LargeMapcountFolio) -> None:
        queued_before = folio.queued
        self._drop_entire(folio)
        if self.op.anon and 0 < folio.nr_mapped < folio.nr_pages and not queued_before:
            self._queue_for_split(folio)
        self.put_refs(folio, 1)

    def new_total(self, folio: LargeMapcountFolio, nr: int) -> None:
        folio.total = nr

    def add_total(self, folio: LargeMapcountFolio, nr: int) -> None:
        folio.total += nr

    def sub_total(self, folio: LargeMapcountFolio, nr: int) -> None:
        folio.total -= nr

    def render_page(self, folio: LargeMapcountFolio, i: int, image: PageImage) -> None:
        image.put_s32(MAPCOUNT_OFFSET, folio.mapcount[i] - 1)
        if i == 1:
            image.put_s32(self._entire_at, folio.entire - 1)
            image.put_s32(self._entire_at + 4, folio.nr_mapped)

    def ask(self, pfn: int, question: Question, page: int = 0) -> tuple[Answer, int]:
        folio = self.folio_of(pfn, page)
        if question is Question.SHARED:
            return (Answer.YES if folio.mapcount[0] + folio.entire > 1 else Answer.NO), 0
        if question is Question.TOTAL_MAPCOUNT:
            return Answer.COUNT, sum(folio.mapcount) + folio.entire
        return super().ask(pfn, question, page)
