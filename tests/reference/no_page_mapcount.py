# SPDX-License-Identifier: BSD-3-Clause
"""Twin of ``no_page_mapcount``: two owners, a total and the PMD mappings of a large folio, nothing per page."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from .base import MAPCOUNT_OFFSET, Answer, FolioState, PageImage, Question, SchemeTwin, TwinError
from .owner_slots import OwnerSlots


@dataclass(slots=True, kw_only=True)
class OwnedFolio(FolioState):
    """Zero-based state.

    Attributes
    ----------
    small : int
        Mappings of a folio of one page.
    owners : OwnerSlots
        Of a large folio.
    entire : int
        PMD mappings.
    pages : int
        Pages that all mappings map together, a PMD counted with all of them; ``total_mapped_pages`` keeps it.
    queued : bool
    """

    small: int = 0
    owners: OwnerSlots = field(default_factory=OwnerSlots)
    entire: int = 0
    pages: int = 0
    queued: bool = False


class NoPageMapcount(SchemeTwin[OwnedFolio]):
    """See schemes.md 3.10."""

    name: ClassVar[str] = "no_page_mapcount"

    def new_folio(self, pfn: int, order: int) -> OwnedFolio:
        return OwnedFolio(pfn=pfn, order=order)

    def _add(self, folio: OwnedFolio, entries: int, pages: int) -> None:
        folio.owners.add(self.op.mm_id + 1, entries)
        folio.pages += pages
        self.count("mm_id_lock")

    def _sub(self, folio: OwnedFolio, entries: int, pages: int) -> None:
        folio.owners.sub(self.op.mm_id + 1, entries)
        folio.pages -= pages
        self.count("mm_id_lock")

    def _new(self, folio: OwnedFolio, entries: int, pages: int) -> None:
        folio.owners.new(self.op.mm_id + 1, entries)
        folio.pages = pages

    def map_run(self, folio: OwnedFolio) -> None:
        if not folio.large:
            folio.small += 1
            if not self.op.new:
                self.count("mapcount")
        elif self.op.new:
            self._new(folio, self.op.nr, self.op.nr)
        else:
            for call in self.op.calls():
                self._add(folio, len(call), len(call))
        self.take_refs(folio, self.op.nr)

    def fork_run(self, folio: OwnedFolio) -> None:
        if not (folio.owners.total if folio.large else folio.small):
            raise TwinError("fork copies a PTE of a folio that nobody maps")
        self.map_run(folio)

    def unmap_run(self, folio: OwnedFolio) -> None:
        if not folio.large:
            if folio.small < 1:
                raise TwinError("the page is not mapped")
            folio.small -= 1
            self.count("mapcount")
        else:
            for call in self.op.calls():
                self._sub(folio, len(call), len(call))
                if self.hole_after_ptes(folio):
                    self._queue_for_split(folio)
        self.put_refs(folio, self.op.nr)

    def hole_after_ptes(self, folio: OwnedFolio) -> bool:
        return 0 < folio.owners.total < folio.nr_pages and not folio.entire

    def map_pmd(self, folio: OwnedFolio) -> None:
        if self.op.new:
            self._new(folio, 1, folio.nr_pages)
            folio.entire = 1
        else:
            self.change_entire(folio, 1)
            self._add(folio, 1, folio.nr_pages)
        self.take_refs(folio, 1)

    def change_entire(self, folio: OwnedFolio, delta: int) -> None:
        folio.entire += delta
        if folio.entire < 0:
            raise TwinError("no PMD maps the folio")
        self.count("entire_mapcount")

    def _drop_pmd(self, folio: OwnedFolio) -> None:
        self._sub(folio, 1, folio.nr_pages)
        self.change_entire(folio, -1)
        if self.hole_after_pmd(folio):
            self._queue_for_split(folio)

    def hole_after_pmd(self, folio: OwnedFolio) -> bool:
        return not folio.entire and 0 < folio.owners.total < folio.nr_pages

    def unmap_pmd(self, folio: OwnedFolio) -> None:
        self._drop_pmd(folio)
        self.put_refs(folio, 1)

    def split_anon_pmd(self, folio: OwnedFolio) -> None:
        nr = folio.nr_pages
        folio.refs += nr - 1
        folio.mapping_refs += nr - 1
        self.refs_peak = max(self.refs_peak, folio.mapping_refs)
        self.count("refcount")
        for call in [nr] if self.op.batched else [1] * nr:
            self._add(folio, call, call)
        self._drop_pmd(folio)

    def _queue_for_split(self, folio: OwnedFolio) -> None:
        if self.op.anon and folio.has_deferred_list and not folio.queued:
            folio.queued = True
            self.count("split_queue_lock")

    def check_unmapped(self, folio: OwnedFolio) -> None:
        if folio.small or folio.owners.total or folio.entire or folio.pages:
            raise TwinError(f"still mapped: {folio}")

    def render_page(self, folio: OwnedFolio, i: int, image: PageImage) -> None:
        if not folio.large:
            image.put_s32(MAPCOUNT_OFFSET, folio.small - 1)
        elif i == 1:
            folio.owners.render(image, 16, 32, 40)
            image.put_s32(24, folio.entire - 1)

    def average(self, folio: OwnedFolio) -> int:
        if folio.owners.total <= folio.entire:
            return folio.entire
        nr = folio.nr_pages
        return max((folio.owners.total - folio.entire + nr // 2) // nr + folio.entire, 1)

    def ask(self, pfn: int, question: Question, page: int = 0) -> tuple[Answer, int]:
        folio = self.folio_of(pfn, page)
        total = folio.owners.total if folio.large else folio.small
        if question is Question.MAPPED:
            return (Answer.YES if total else Answer.NO), 0
        if question is Question.SHARED:
            shared = folio.owners.maybe_shared if folio.large else total > 1
            return (Answer.YES if shared else Answer.NO), 0
        if question is Question.PAGE_MAPCOUNT and folio.large:
            return Answer.UNKNOWN, self.average(folio)
        return Answer.COUNT, total
