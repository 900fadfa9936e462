# SPDX-License-Identifier: BSD-3-Clause
"""Twin of ``mm_owner``: ``large_mapcount`` with two tracked owners (v6.15 and later)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from .base import MAPCOUNT_OFFSET, Answer, FolioState, PageImage, Question
from .large_mapcount import LargeMapcount, LargeMapcountFolio
from .owner_slots import OwnerSlots

LARGE_MAPCOUNT_OFFSET = 16  # these of page[1]
NR_PAGES_MAPPED_OFFSET = 20
ENTIRE_MAPCOUNT_OFFSET = 24
MM_ID_MAPCOUNT_OFFSET = 32
MM_ID_OFFSET = 40


@dataclass(slots=True, kw_only=True)
class MmOwnerFolio(LargeMapcountFolio):
    """Zero-based state; `owners` counts what ``large_mapcount`` calls `total`."""

    owners: OwnerSlots = field(default_factory=OwnerSlots)


class MmOwner(LargeMapcount):
    """See schemes.md 3.9."""

    name: ClassVar[str] = "mm_owner"

    def new_folio(self, pfn: int, order: int) -> MmOwnerFolio:
        owners = OwnerSlots(bits=16 if self.params.variant else 32)
        return MmOwnerFolio(pfn=pfn, order=order, mapcount=[0] * (1 << order), owners=owners)

    @property
    def pincount_at(self) -> int:
        return 64 + 20 if self.params.variant else 28

    def _owners(self, folio: FolioState) -> OwnerSlots:
        assert isinstance(folio, MmOwnerFolio)
        return folio.owners

    def new_total(self, folio: LargeMapcountFolio, nr: int) -> None:
        self._owners(folio).new(self.op.mm_id + 1, nr)
        folio.total = nr

    def add_total(self, folio: LargeMapcountFolio, nr: int) -> None:
        self._owners(folio).add(self.op.mm_id + 1, nr)
        folio.total += nr
        self.count("mm_id_lock")

    def sub_total(self, folio: LargeMapcountFolio, nr: int) -> None:
        self._owners(folio).sub(self.op.mm_id + 1, nr)
        folio.total -= nr
        self.count("mm_id_lock")

    def render_page(self, folio: LargeMapcountFolio, i: int, image: PageImage) -> None:
        image.put_s32(MAPCOUNT_OFFSET, folio.mapcount[i] - 1)
        if i == 1:
            self._owners(folio).render(image, LARGE_MAPCOUNT_OFFSET, MM_ID_MAPCOUNT_OFFSET, MM_ID_OFFSET)
            image.put_s32(NR_PAGES_MAPPED_OFFSET, folio.nr_mapped)
        # 32-bit kernels have it in page[2], and pages of two none.
        page, offset = (2, 16) if self.params.variant else (1, ENTIRE_MAPCOUNT_OFFSET)
        if i == page:
            image.put_s32(offset, folio.entire - 1)

    def ask(self, pfn: int, question: Question, page: int = 0) -> tuple[Answer, int]:
        folio = self.folio_of(pfn, page)
        if question is Question.SHARED and folio.large:
            return (Answer.YES if self._owners(folio).maybe_shared else Answer.NO), 0
        return super().ask(pfn, question, page)
