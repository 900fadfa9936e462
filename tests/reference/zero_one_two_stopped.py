# SPDX-License-Identifier: BSD-3-Clause
"""Twin of ``zero_one_two_stopped``: the mms that map a folio, up to two of them; the third stops all tracking."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from .base import MAPCOUNT_OFFSET, Answer, PageImage, Question, TwinError
from .no_page_mapcount import NoPageMapcount, OwnedFolio

UNTIL_UNMAPPED = 1


@dataclass(slots=True, kw_only=True)
class StoppedFolio(OwnedFolio):
    """`owners` knows only the total, which no byte holds.

    Attributes
    ----------
    mms : dict of int to int, two at most
        Slot to number of the mm, and mappings, of those that are tracked.
    stopped : bool
    frozen : list of int
        Mappings that the slots hold after nobody counts any more.
    frozen_pages : int
    """

    mms: dict[int, list[int]] = field(default_factory=dict)
    stopped: bool = False
    frozen: list[int] = field(default_factory=lambda: [0, 0])
    frozen_pages: int = 0


class ZeroOneTwoStopped(NoPageMapcount):
    """See schemes.md 3.14."""

    name: ClassVar[str] = "zero_one_two_stopped"

    def new_folio(self, pfn: int, order: int) -> StoppedFolio:
        return StoppedFolio(pfn=pfn, order=order)

    def _given_up(self, folio: OwnedFolio) -> bool:
        assert isinstance(folio, StoppedFolio)
        return folio.stopped and self.params.variant != UNTIL_UNMAPPED

    def _new(self, folio: OwnedFolio, entries: int, pages: int) -> None:
        assert isinstance(folio, StoppedFolio)
        folio.owners.total, folio.pages = entries, pages
        folio.mms = {0: [self.op.mm_id + 1, entries]}

    def _add(self, folio: OwnedFolio, entries: int, pages: int) -> None:
        assert isinstance(folio, StoppedFolio)
        if not self._given_up(folio):
            self.count("mm_id_lock")
            if not folio.stopped:
                self._track(folio, entries)
        folio.owners.total += entries
        folio.pages += pages

    def _track(self, folio: StoppedFolio, entries: int) -> None:
        for slot in folio.mms.values():
            if slot[0] == self.op.mm_id + 1:
                slot[1] += entries
                return
        for number in (0, 1):
            if number not in folio.mms:
                folio.mms[number] = [self.op.mm_id + 1, entries]
                return
        folio.frozen, folio.frozen_pages = [folio.mms[number][1] for number in (0, 1)], folio.pages
        folio.stopped, folio.mms = True, {}

    def _sub(self, folio: OwnedFolio, entries: int, pages: int) -> None:
        assert isinstance(folio, StoppedFolio)
        if entries > folio.owners.total:
            raise TwinError(f"not mapped that often: {entries} mappings go, there are {folio.owners.total}")
        folio.owners.total -= entries
        folio.pages -= pages
        if self._given_up(folio):
            return
        self.count("mm_id_lock")
        if folio.stopped:
            folio.stopped = folio.owners.total > 0
            return
        (number,) = [number for number, slot in folio.mms.items() if slot[0] == self.op.mm_id + 1]
        folio.mms[number][1] -= entries
        if folio.mms[number][1] == 0:
            del folio.mms[number]

    def change_entire(self, folio: OwnedFolio, delta: int) -> None:
        """No byte counts PMDs; the twin is only careful."""
        folio.entire += delta
        if folio.entire < 0:
            raise TwinError("no PMD maps the folio")

    def hole_after_ptes(self, folio: OwnedFolio) -> bool:
        return not self._given_up(folio) and 0 < folio.pages < folio.nr_pages

    hole_after_pmd = hole_after_ptes

    def render_page(self, folio: OwnedFolio, i: int, image: PageImage) -> None:
        assert isinstance(folio, StoppedFolio)
        if not folio.large:
            image.put_s32(MAPCOUNT_OFFSET, folio.small - 1)
        if not folio.large or i != 1:
            return
        given_up = self._given_up(folio)
        slots = [folio.mms.get(number, [0, 0]) for number in (0, 1)]
        counts = folio.frozen if given_up else [folio.owners.total, 0] if folio.stopped else [slot[1] for slot in slots]
        for number, mappings in enumerate(counts):
            image.put_s32(32 + 4 * number, mappings - 1)
        image.put_u64(40, slots[0][0] | slots[1][0] << 32 | int(folio.stopped) << 63)
        image.put_u64(16, folio.frozen_pages if given_up else folio.pages)

    def average(self, folio: OwnedFolio) -> int:
        return max((folio.pages + folio.nr_pages // 2) // folio.nr_pages, 1)

    def ask(self, pfn: int, question: Question, page: int = 0) -> tuple[Answer, int]:
        folio = self.folio_of(pfn, page)
        assert isinstance(folio, StoppedFolio)
        if folio.large and question is Question.SHARED:
            return (Answer.YES if folio.stopped or len(folio.mms) > 1 else Answer.NO), 0
        if folio.large and self._given_up(folio):
            return Answer.UNKNOWN, 0
        return super().ask(pfn, question, page)
