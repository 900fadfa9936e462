# SPDX-License-Identifier: BSD-3-Clause
"""Twin of ``vma_count``: the exact number of VMAs that map a folio (proposal of February 2023)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from .base import MAPCOUNT_OFFSET, Answer, FolioState, Hook, PageImage, Question, SchemeTwin, TwinError


@dataclass(slots=True, kw_only=True)
class PlacesFolio(FolioState):
    """``places``: VMAs that map the folio."""

    places: int = 0


class VmaCount(SchemeTwin[PlacesFolio]):
    """See schemes.md 3.6. Small folios count the same way as large ones.

    Answers it needs from the log: at a map whether the VMA maps the folio already, at an unmap whether it still does;
    at a border whether the left side maps it and, if so, the right one; at a move whether the source still does, then
    whether the target did before.
    """

    name: ClassVar[str] = "vma_count"
    counts_vmas: ClassVar[bool] = True

    def new_folio(self, pfn: int, order: int) -> PlacesFolio:
        return PlacesFolio(pfn=pfn, order=order)

    def _up(self, folio: PlacesFolio, donated: bool = False) -> None:
        folio.places += 1
        self.count("mapcount")
        folio.mapping_refs += 1
        self.refs_peak = max(self.refs_peak, folio.mapping_refs)
        if not donated:
            folio.refs += 1
            self.count("refcount")

    def _down(self, folio: PlacesFolio) -> None:
        if folio.places < 1:
            raise TwinError("the folio is not mapped")
        folio.places -= 1
        self.count("mapcount")
        folio.mapping_refs -= 1
        folio.refs -= 1
        self.count("refcount")

    def map_run(self, folio: PlacesFolio) -> None:
        if self.op.new:
            # Plain store; the allocation's reference becomes the mapping's.
            folio.places = folio.mapping_refs = 1
            self.refs_peak = max(self.refs_peak, 1)
        elif not self.answers.take("whether the folio is mapped there already"):
            self._up(folio, self.op.donated)
        elif self.op.donated:
            # Nobody needs the reference the page-cache lookup took.
            folio.refs -= 1
            self.count("refcount")

    def fork_run(self, folio: PlacesFolio) -> None:
        if folio.places == 0:
            raise TwinError("fork copies a mapping of a folio that nothing maps")
        self.map_run(folio)

    def map_pmd(self, folio: PlacesFolio) -> None:
        self.map_run(folio)

    def unmap_run(self, folio: PlacesFolio) -> None:
        if not self.answers.take("whether some of the folio is still mapped there"):
            self._down(folio)

    def unmap_pmd(self, folio: PlacesFolio) -> None:
        self.unmap_run(folio)

    def split_anon_pmd(self, folio: PlacesFolio) -> None:
        if folio.places == 0:
            raise TwinError("the folio is not mapped")

    def vmas_changed(self, folio: PlacesFolio) -> None:
        if self.op.hook is Hook.VMA_MOVE:
            left = self.answers.take("whether the source still maps some of the folio")
            had = self.answers.take("whether the target maps the folio already")
            if left and not had:
                self._up(folio)
            elif had and not left:
                self._down(folio)
        elif self.answers.take("whether the left side maps the folio") and self.answers.take("whether the right does"):
            if self.op.hook is Hook.VMA_SPLIT:
                self._up(folio)
            else:
                self._down(folio)

    def check_unmapped(self, folio: PlacesFolio) -> None:
        if folio.places:
            raise TwinError(f"still mapped: the count is {folio.places}")

    def render_page(self, folio: PlacesFolio, i: int, image: PageImage) -> None:
        # The count is not stored minus one; tails keep the allocator's -1.
        image.put_s32(MAPCOUNT_OFFSET, folio.places if i == 0 else -1)

    def ask(self, pfn: int, question: Question, page: int = 0) -> tuple[Answer, int]:
        folio = self.folio_of(pfn, page)
        if question is Question.MAPPING_REFS:
            return Answer.COUNT, folio.places
        if question is Question.MAPPED:
            return (Answer.YES if folio.places else Answer.NO), 0
        if question is Question.SHARED:
            return self.shared(folio), 0
        # Counts of mappings: one entry per place in a small folio, any number in a large one.
        least = 0 if question is Question.TOTAL_MAPCOUNT else 1
        if folio.places <= least or not folio.large:
            return Answer.COUNT, folio.places
        return Answer.UNKNOWN, 0

    def shared(self, folio: PlacesFolio) -> Answer:
        return Answer.YES if folio.places > 1 else Answer.NO
