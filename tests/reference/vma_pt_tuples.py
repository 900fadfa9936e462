# SPDX-License-Identifier: BSD-3-Clause
"""Twin of ``vma_pt_tuples``: pairs of a VMA and a page table that map a folio (proposal of January 2023)."""

from __future__ import annotations

from typing import ClassVar

from .base import Answer
from .vma_count import PlacesFolio, VmaCount


class VmaPtTuples(VmaCount):
    """See schemes.md 3.5. `places` are pairs; the log answers for one page table at a time."""

    name: ClassVar[str] = "vma_pt_tuples"

    def shared(self, folio: PlacesFolio) -> Answer:
        """Two pairs of a large folio may be one VMA that crosses a page table's border."""
        if folio.places < 2:
            return Answer.NO
        return Answer.UNKNOWN if folio.large and folio.places == 2 else Answer.YES
