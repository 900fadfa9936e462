# SPDX-License-Identifier: BSD-3-Clause
"""Twin of ``subpages_mapcount_locked``: entire and per-page counts, and the sum of these, locked (November 2022)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from .base import MAPCOUNT_OFFSET, Answer, PageImage, Question, TwinError
from .large_mapcount import LargeMapcount, LargeMapcountFolio


class SubpagesMapcountLocked(LargeMapcount):
    """See schemes.md 3.3. `total` of the state is what two fields add up to; `nr_mapped` is not used."""

    name: ClassVar[str] = "subpages_mapcount_locked"

    def map_run(self, folio: LargeMapcountFolio) -> None:
        if self.op.new:
            for i in self.op.pages:
                folio.mapcount[i] = 1
        else:
            self._add_ptes(folio, self.op.calls())
        self.take_refs(folio, self.op.nr)

    def _add_ptes(self, folio: LargeMapcountFolio, calls: Iterable[range]) -> None:
        for call in calls:
            if folio.large:
                self.count("mapcount_lock")
            for i in call:
                folio.mapcount[i] += 1
                self.count("mapcount")

    def unmap_run(self, folio: LargeMapcountFolio) -> None:
        for call in self.op.calls():
            if folio.large:
                self.count("mapcount_lock")
            for i in call:
                if folio.mapcount[i] < 1:
                    raise TwinError(f"page {i} is not mapped by any PTE")
                folio.mapcount[i] -= 1
                self.count("mapcount")
            # Under a PMD mapping no page became unmapped.
            if any(folio.mapcount[i] == 0 for i in call) and not folio.entire:
                self._note_hole(folio)
        self.put_refs(folio, self.op.nr)

    def _note_hole(self, folio: LargeMapcountFolio) -> None:
        """Up to v6.0, and in v6.2, the queue's lock is taken before anybody looks whether the folio is queued."""
        relocks = self.kernel_version < 601 or self.kernel_version == 602
        if self.op.anon and folio.has_deferred_list and (relocks or not folio.queued):
            folio.queued = True
            self.count("split_queue_lock")

    def map_pmd(self, folio: LargeMapcountFolio) -> None:
        folio.entire += 1
        if not self.op.new:
            self.count("mapcount_lock")
        self.take_refs(folio, 1)

    def _drop_entire(self, folio: LargeMapcountFolio) -> None:
        if folio.entire < 1:
            raise TwinError("no PMD maps the folio")
        folio.entire -= 1
        self.count("mapcount_lock")
        if not folio.entire and 0 < folio.mapcount.count(0) < folio.nr_pages:
            self._note_hole(folio)

    def unmap_pmd(self, folio: LargeMapcountFolio) -> None:
        self._drop_entire(folio)
        self.put_refs(folio, 1)

    def render_page(self, folio: LargeMapcountFolio, i: int, image: PageImage) -> None:
        image.put_s32(MAPCOUNT_OFFSET, folio.mapcount[i] - 1)
        if i == 1:
            image.put_s32(20, folio.entire - 1)
            image.put_s32(24, sum(folio.mapcount))

    def ask(self, pfn: int, question: Question, page: int = 0) -> tuple[Answer, int]:
        folio = self.folio_of(pfn, page)
        total = sum(folio.mapcount) + folio.entire
        if question is Question.MAPPED:
            return (Answer.YES if total else Answer.NO), 0
        own = folio.mapcount[page] + folio.entire
        if question is Question.SHARED:
            return (Answer.YES if own > 1 else Answer.NO), 0
        return Answer.COUNT, own if question is Question.PAGE_MAPCOUNT else total
