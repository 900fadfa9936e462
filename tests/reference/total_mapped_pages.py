# SPDX-License-Identifier: BSD-3-Clause
"""Twin of ``total_mapped_pages``: entries and the pages they map, two owners, no count of PMDs (RFC of April 2026)."""

from __future__ import annotations

from typing import ClassVar

from .base import MAPCOUNT_OFFSET, PageImage, TwinError
from .no_page_mapcount import NoPageMapcount, OwnedFolio


class TotalMappedPages(NoPageMapcount):
    """See schemes.md 3.11. `entire` of the state only guards the twin; no byte holds it."""

    name: ClassVar[str] = "total_mapped_pages"

    @property
    def pincount_at(self) -> int:
        return 16

    def change_entire(self, folio: OwnedFolio, delta: int) -> None:
        folio.entire += delta
        if folio.entire < 0:
            raise TwinError("no PMD maps the folio")

    def hole_after_ptes(self, folio: OwnedFolio) -> bool:
        return 0 < folio.pages < folio.nr_pages

    hole_after_pmd = hole_after_ptes

    def render_page(self, folio: OwnedFolio, i: int, image: PageImage) -> None:
        if not folio.large:
            image.put_s32(MAPCOUNT_OFFSET, folio.small - 1)
        elif i == 1:
            folio.owners.render(image, 48, 32, 40)
            image.put_u64(24, folio.pages)

    def average(self, folio: OwnedFolio) -> int:
        return max((folio.pages + folio.nr_pages // 2) // folio.nr_pages, 1)
