# SPDX-License-Identifier: BSD-3-Clause
"""Twin of ``zero_one_two_many``: one saturating count of VMAs per folio (proposal of January 2022)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from .base import (
    MAPCOUNT_OFFSET,
    RUN_ANON,
    Answer,
    FolioState,
    Hook,
    PageImage,
    Question,
    Recount,
    SchemeTwin,
    TwinError,
)

MANY = 3
UNMAP_SHIFT = 3  # two bits of count, one that says a recount is running, then the unmaps at Many


@dataclass(slots=True, kw_only=True)
class ZeroOneTwoManyFolio(FolioState):
    """``step``: 0, 1, 2 VMAs map the folio, or 3 = Many, after which nothing is known."""

    step: int = 0
    unmaps: int = 0


class ZeroOneTwoMany(SchemeTwin[ZeroOneTwoManyFolio]):
    """See schemes.md 3.2. Small folios count the same way as large ones.

    Answers it needs from the log: at a map below Many, whether the VMA already maps the folio (a fork may leave it out
    for the first run of the destination VMA); at an unmap below Many, whether the VMA still maps it; at an unmap at
    Many under an eager policy, and in a RECOUNT, how many VMAs map it. See the methods for VMAs for the rest.
    """

    name: ClassVar[str] = "zero_one_two_many"
    counts_vmas: ClassVar[bool] = True

    def new_folio(self, pfn: int, order: int) -> ZeroOneTwoManyFolio:
        return ZeroOneTwoManyFolio(pfn=pfn, order=order)

    # -- the three steps ------------------------------------------------------------------------------------------

    def _up(self, folio: ZeroOneTwoManyFolio, donated: bool = False) -> None:
        """One more VMA. The saturating step needs a compare-exchange; a donated reference saves the other atomic."""
        folio.step += 1
        self.count("mapcount")
        folio.mapping_refs += 1
        self.refs_peak = max(self.refs_peak, folio.mapping_refs)
        if not donated:
            folio.refs += 1
            self.count("refcount")

    def _down(self, folio: ZeroOneTwoManyFolio) -> None:
        """One VMA less."""
        folio.step -= 1
        self.count("mapcount")
        folio.mapping_refs -= 1
        folio.refs -= 1
        self.count("refcount")

    def _lower(self, folio: ZeroOneTwoManyFolio, nr_vmas: int) -> None:
        """Store what a recount at Many found; count and references share an 8-byte word, so one atomic moves both."""
        dropped = max(MANY - nr_vmas, 0)
        if not self.params.naive:
            self.count("mapcount")  # the mark
        if dropped or folio.unmaps or not self.params.naive:
            self.count("mapcount")  # the exchange
        folio.unmaps = 0
        folio.step = MANY - dropped
        folio.refs -= dropped
        folio.mapping_refs -= dropped

    def _is_many(self, folio: ZeroOneTwoManyFolio) -> bool:
        exact = self.params.recount is Recount.ANON_EXACT and bool(self.op.flags & RUN_ANON)
        return folio.step == MANY and not exact

    # -- mapping --------------------------------------------------------------------------------------------------

    def map_run(self, folio: ZeroOneTwoManyFolio) -> None:
        if self.op.new:
            # Plain store; the allocation's reference becomes the mapping's.
            folio.step = 1
            folio.mapping_refs = 1
            self.refs_peak = max(self.refs_peak, 1)
            return
        if not self._is_many(folio) and not self.answers.take("whether the VMA maps the folio already"):
            self._up(folio, self.op.donated)
        elif self.op.donated:
            # Nobody needs the reference the page-cache lookup took.
            folio.refs -= 1
            self.count("refcount")

    def fork_run(self, folio: ZeroOneTwoManyFolio) -> None:
        if folio.step == 0:
            raise TwinError("fork copies a mapping of a folio that nothing maps")
        if self.answers.left:
            self.map_run(folio)
        elif not self._is_many(folio):
            # The destination VMA starts empty, so its first run needs no test.
            self._up(folio)

    def map_pmd(self, folio: ZeroOneTwoManyFolio) -> None:
        self.map_run(folio)

    def unmap_run(self, folio: ZeroOneTwoManyFolio) -> None:
        if folio.step == 0:
            raise TwinError("the folio is not mapped")
        if not self._is_many(folio):
            if not self.answers.take("whether the VMA still maps some of the folio"):
                self._down(folio)
            return
        if self.params.recount is Recount.THRESHOLD:
            folio.unmaps += 1
            self.count("mapcount")
        if self.params.recount in (Recount.EAGER, Recount.EAGER_STOP3) or self.answers.left:
            self._lower(folio, self.answers.take("how many VMAs map the folio"))

    def unmap_pmd(self, folio: ZeroOneTwoManyFolio) -> None:
        self.unmap_run(folio)

    def split_anon_pmd(self, folio: ZeroOneTwoManyFolio) -> None:
        if folio.step == 0:
            raise TwinError("the folio is not mapped")

    # -- VMAs -----------------------------------------------------------------------------------------------------

    def vmas_changed(self, folio: ZeroOneTwoManyFolio) -> None:
        match self.op.hook:
            case Hook.VMA_SPLIT:
                self._vma_split(folio)
            case Hook.VMA_MERGE:
                self._vma_merge(folio)
            case Hook.VMA_MOVE:
                self._vma_move(folio)
            case _:
                self._recount(folio)

    def _vma_split(self, folio: ZeroOneTwoManyFolio) -> None:
        """The new VMA counts as a mapper if both sides hold some of the folio.

        Without answers the call itself says that they do; else each answer speaks for one side.
        """
        if folio.step and not self._is_many(folio) and self._all_present():
            self._up(folio)

    def _vma_merge(self, folio: ZeroOneTwoManyFolio) -> None:
        """Two mappers become one, an unmap by one VMA; answers below Many as for a split."""
        if self._is_many(folio):
            self._recount_if_walked(folio)
        elif folio.step and self._all_present():
            if folio.step < 2:
                raise TwinError(f"two VMAs that map the folio merge, but the count is {folio.step}")
            self._down(folio)

    def _vma_move(self, folio: ZeroOneTwoManyFolio) -> None:
        """An unmap by the source, then a map by the target.

        Answers below Many: whether the source still maps some of the folio, then whether the target did before.
        """
        if self._is_many(folio):
            self._recount_if_walked(folio)
        elif folio.step:
            if not self.answers.take("whether the source still maps some of the folio"):
                self._down(folio)
            if not self.answers.take("whether the target maps the folio already"):
                self._up(folio)
        else:
            raise TwinError("the folio is not mapped")

    def _recount_if_walked(self, folio: ZeroOneTwoManyFolio) -> None:
        """An eager policy may recount when VMAs change, but only zap has to."""
        if self.answers.left and self.params.recount is not Recount.LAZY:
            self._lower(folio, self.answers.take("how many VMAs map the folio"))

    def _all_present(self) -> bool:
        present = True
        while self.answers.left:
            present = self.answers.take("presence on one side") > 0 and present
        return present

    def _recount(self, folio: ZeroOneTwoManyFolio) -> None:
        nr_vmas = self.answers.take("how many VMAs map the folio")
        if folio.step == MANY:
            self._lower(folio, nr_vmas)
        elif nr_vmas != folio.step:
            raise TwinError(f"a walk found {nr_vmas} VMAs, but the count below Many is exact and says {folio.step}")

    # -- reading --------------------------------------------------------------------------------------------------

    def check_unmapped(self, folio: ZeroOneTwoManyFolio) -> None:
        if folio.step:
            raise TwinError(f"still mapped: the count is {folio.step}")

    def render_page(self, folio: ZeroOneTwoManyFolio, i: int, image: PageImage) -> None:
        pins = folio.pins if self.params.pins_exact else 0
        # The one count that is not stored minus one; tails keep the allocator's -1.
        image.put_s32(MAPCOUNT_OFFSET, folio.step | (folio.unmaps + pins) << UNMAP_SHIFT if i == 0 else -1)

    def ask(self, pfn: int, question: Question, page: int = 0) -> tuple[Answer, int]:
        folio = self.folio_of(pfn, page)
        step = folio.step
        if question is Question.MAPPING_REFS:
            return Answer.COUNT, step
        if question is Question.MAPPED:
            if step == MANY:
                return Answer.UNKNOWN, 0
            return (Answer.YES if step else Answer.NO), 0
        if question is Question.SHARED:
            # Two VMAs may belong to one mm.
            return (Answer.NO if step < 2 else Answer.UNKNOWN), 0
        # Counts of mappings: a VMA maps a small folio exactly once, a large one by any number of entries.
        if step == 0 or (not folio.large and step < MANY):
            return Answer.COUNT, step
        if question is Question.PAGE_MAPCOUNT and step == 1:
            # "A page that I map": the one mapper is the caller.
            return Answer.COUNT, 1
        return Answer.UNKNOWN, 0
