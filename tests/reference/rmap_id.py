# SPDX-License-Identifier: BSD-3-Clause
"""Twin of ``rmap_id``: ``nr_pages_mapped``, a total, and sums of mm numbers (work in progress of November 2023)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import ClassVar

from .base import Answer, PageImage, Question
from .large_mapcount import LargeMapcountFolio
from .nr_pages_mapped import NrPagesMapped

ID_BITS = 24
# Largest order of each number of values.
VALUES = {1: 2, 2: 5, 3: 7, 4: 10, 5: 12, 6: 15}


@dataclass(slots=True, kw_only=True)
class RmapIdFolio(LargeMapcountFolio):
    """``owners``: mappings of each mm, by its number. ``calls``: how often somebody wrote."""

    owners: Counter[int] = field(default_factory=Counter)
    calls: int = 0

    @property
    def nr_values(self) -> int:
        return min(k for k, order in VALUES.items() if self.order <= order)

    def values(self) -> list[int]:
        """Every mapping adds its mm's bits as digits to the base n + 1; 64 bits are kept of each sum."""
        bits = -(-ID_BITS // self.nr_values)
        sums = [0] * self.nr_values
        for mm_id, mappings in self.owners.items():
            for bit in range(ID_BITS):
                if mm_id >> bit & 1:
                    sums[bit // bits] += mappings * (self.nr_pages + 1) ** (bit % bits)
        return [value % 2**64 for value in sums]


class RmapId(NrPagesMapped):
    """See schemes.md 3.7."""

    name: ClassVar[str] = "rmap_id"

    @property
    def _entire_at(self) -> int:
        return 24

    def new_folio(self, pfn: int, order: int) -> RmapIdFolio:
        return RmapIdFolio(pfn=pfn, order=order, mapcount=[0] * (1 << order))

    def _track(self, folio: LargeMapcountFolio, nr: int) -> None:
        assert isinstance(folio, RmapIdFolio)
        folio.owners[self.op.mm_id] += nr
        if self.op.new:
            return
        folio.calls += 1
        self.count("rmap_sequence", 2)
        if self.params.variant:
            self.count("large_mapcount")
            self.count("rmap_value", folio.nr_values)

    def _track_ptes(self, folio: LargeMapcountFolio, sign: int) -> None:
        if folio.large:
            for call in self.op.calls():
                self._track(folio, sign * len(call))

    def map_run(self, folio: LargeMapcountFolio) -> None:
        super().map_run(folio)
        if self.op.new and folio.large:
            self._track(folio, self.op.nr)
        else:
            self._track_ptes(folio, 1)

    def fork_run(self, folio: LargeMapcountFolio) -> None:
        super().fork_run(folio)
        self._track_ptes(folio, 1)

    def unmap_run(self, folio: LargeMapcountFolio) -> None:
        super().unmap_run(folio)
        self._track_ptes(folio, -1)

    def map_pmd(self, folio: LargeMapcountFolio) -> None:
        super().map_pmd(folio)
        self._track(folio, 1)

    def unmap_pmd(self, folio: LargeMapcountFolio) -> None:
        super().unmap_pmd(folio)
        self._track(folio, -1)

    def split_anon_pmd(self, folio: LargeMapcountFolio) -> None:
        super().split_anon_pmd(folio)
        for call in [folio.nr_pages] if self.op.batched else [1] * folio.nr_pages:
            self._track(folio, call)
        self._track(folio, -1)

    def render_page(self, folio: LargeMapcountFolio, i: int, image: PageImage) -> None:
        super().render_page(folio, i, image)
        if not folio.large:
            return
        assert isinstance(folio, RmapIdFolio)
        if i == 1:
            image.put_s32(16, folio.owners.total() - 1)
            image.put_u64(56, folio.calls << 16)
        for j, value in enumerate(folio.values()):
            if folio.order == 1 and i == 1:
                image.put_u64(40, value)
            elif i == 3 + j // 4:
                image.put_u64(16 + j % 4 * 8, value)

    def ask(self, pfn: int, question: Question, page: int = 0) -> tuple[Answer, int]:
        folio = self.folio_of(pfn, page)
        if question is Question.SHARED and folio.large:
            assert isinstance(folio, RmapIdFolio)
            total = folio.owners.total()
            mms = sum(mappings > 0 for mappings in folio.owners.values())
            return (Answer.YES if total > 1 and (mms > 1 or total > folio.nr_pages) else Answer.NO), 0
        return super().ask(pfn, question, page)
