# SPDX-License-Identifier: BSD-3-Clause
"""Two slots that say which mm owns how many mappings of a large folio, and the bit "maybe mapped shared"."""

from __future__ import annotations

from dataclasses import dataclass, field

from .base import PageImage, TwinError


@dataclass(slots=True)
class Slot:
    """Owner (0: nobody) and its mappings, zero-based."""

    owner: int = 0
    mappings: int = 0


@dataclass(slots=True)
class OwnerSlots:
    """See schemes.md 3.9.

    Attributes
    ----------
    total : int
        All mappings, whoever has them.
    slots : list of Slot, length 2
    shared : bool
    bits : int
        Of an id with its flag, and of a slot's mappings.
    """

    total: int = 0
    slots: list[Slot] = field(default_factory=lambda: [Slot(), Slot()])
    shared: bool = False
    bits: int = 32

    def new(self, owner: int, nr: int) -> None:
        self.total = nr
        self.slots[0] = Slot(owner, nr)

    def add(self, owner: int, nr: int) -> None:
        self.total += nr
        for number, slot in enumerate(self.slots):
            if slot.owner == owner:
                slot.mappings += nr
                if slot.mappings > 1 << (self.bits - 1):
                    self.slots[number] = Slot()
                    self.shared = True
                return
        first, second = self.slots
        if first.owner == 0:
            self.slots[0] = Slot(owner, nr)
            if self.total != nr:
                self.shared = True
        elif second.owner == 0:
            self.slots[1] = Slot(owner, nr)
            self.shared = True

    def sub(self, owner: int, nr: int) -> None:
        if nr > self.total:
            raise TwinError(f"not mapped that often: {nr} mappings go, there are {self.total}")
        self.total -= nr
        for number, slot in enumerate(self.slots):
            if slot.owner == owner:
                slot.mappings -= nr
                if slot.mappings >= 1:
                    return
                self.slots[number] = Slot()
        if any(slot.mappings == self.total for slot in self.slots):
            self.shared = False

    @property
    def maybe_shared(self) -> bool:
        return self.total > 1 and self.shared

    def render(self, image: PageImage, total_at: int, mapcount_at: int, ids_at: int) -> None:
        """Write page[1]; between calls nobody holds the lock bit."""
        first, second = self.slots
        image.put_s32(total_at, self.total - 1)
        for number, slot in enumerate(self.slots):
            image.put_signed(mapcount_at + number * self.bits // 8, slot.mappings - 1, self.bits // 8)
        image.put_u64(ids_at, first.owner | second.owner << self.bits | int(self.shared) << (2 * self.bits - 1))
