# SPDX-License-Identifier: BSD-3-Clause
"""The truth: what the page tables say now, counted entry by entry, with no memory of how they came to be so."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .base import MAPCOUNT_OFFSET, PAGE_STRUCT_BYTES, PG_DOUBLE_MAP, PageImage

PSS_SHIFT = 12
ENTIRELY_MAPPED = 0x800000

# struct fperf_mapping_row, byte for byte.
MAPPING_ROW_DTYPE = np.dtype(
    [
        ("vpn", np.uint64),
        ("pfn", np.uint64),
        ("nr", np.uint32),
        ("kind", np.uint32),
        ("pmd", np.uint32),
        ("writable", np.uint32),
    ]
)


class MappingKind(IntEnum):
    """What an entry maps, numbered as enum fperf_mapping_kind. Only the first two map pages that are counted."""

    ANON = 0
    FILE = 1
    ZERO = 2
    SWAP = 3
    HUGE_ZERO = 4
    GUARD = 5


class TruthError(AssertionError):
    """The page tables contradict themselves, or a scheme's counts contradict them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MappingRow:
    """A run of pages one mm maps, struct fperf_mapping_row.

    Attributes
    ----------
    vpn, pfn, nr : int
        ``nr`` pages from ``vpn`` on are mapped to as many from ``pfn`` on.
    pmd : int
        1 if one PMD maps the whole run.
    """

    vpn: int
    pfn: int
    nr: int
    kind: int
    pmd: int = 0
    writable: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressSpace:
    """One mm; processes that share it (vfork) are listed once.

    Attributes
    ----------
    mm_id : int
    vmas : sequence of (start, end)
        vpn ranges, end exclusive.
    rows : sequence of MappingRow, or structured array with the fields of MAPPING_ROW_DTYPE
    """

    mm_id: int
    vmas: Sequence[tuple[int, int]]
    rows: Sequence[MappingRow] | NDArray[np.void]

    def mapping_rows(self) -> list[MappingRow]:
        if isinstance(self.rows, np.ndarray):
            names = MAPPING_ROW_DTYPE.names or ()
            rows: list[Any] = self.rows.tolist()
            return [MappingRow(**dict(zip(names, row, strict=True))) for row in rows]
        return list(self.rows)

    def vma_of(self, vpn: int) -> tuple[int, int]:
        """Name of the VMA that covers a page: the mm and the first page."""
        for start, end in self.vmas:
            if start <= vpn < end:
                return self.mm_id, start
        raise TruthError(f"mm {self.mm_id} maps page {vpn:#x}, which no VMA covers")


@dataclass(slots=True, kw_only=True)
class FolioTruth:
    """Everything the page tables say about one folio.

    Attributes
    ----------
    anon : bool or None
        None if nothing maps it.
    pte : list of int, length nr_pages
        PTE mappings of each page.
    pmd : int
        PMD mappings.
    vmas : set of (mm_id, first vpn)
        VMAs that map at least one page.
    """

    pfn: int
    order: int
    anon: bool | None = None
    pte: list[int] = field(default_factory=list)
    pmd: int = 0
    vmas: set[tuple[int, int]] = field(default_factory=set)

    @property
    def nr_pages(self) -> int:
        return 1 << self.order

    @property
    def pte_mappings(self) -> int:
        return sum(self.pte)

    @property
    def total_mapcount(self) -> int:
        return self.pte_mappings + self.pmd

    @property
    def mms(self) -> set[int]:
        return {mm_id for mm_id, _ in self.vmas}

    def page_mapcount(self, i: int) -> int:
        return self.pte[i] + self.pmd

    def large_mapcount_fields(self) -> dict[str, int | list[int]]:
        """Zero-based ``large_mapcount``, ``entire_mapcount``, ``nr_pages_mapped`` (with its flag) and ``mapcount``."""
        pages_mapped = sum(1 for count in self.pte if count)
        return {
            "large_mapcount": self.total_mapcount,
            "entire_mapcount": self.pmd,
            "nr_pages_mapped": pages_mapped + (ENTIRELY_MAPPED if self.pmd else 0),
            "mapcount": list(self.pte),
        }

    def page_mapcount_fields(self, double_map: bool) -> dict[str, int | list[int]]:
        """Zero-based ``compound_mapcount`` and ``mapcount`` of the ``page_mapcount`` scheme.

        Parameters
        ----------
        double_map : bool
            The double-map bit. It depends on history, so it is an input: exact for anonymous folios, where it adds one
            to every page's count, and without effect for file folios, whose pages count PMD mappings instead.
        """
        if double_map and self.anon and not self.pmd:
            raise TruthError(f"folio {self.pfn:#x} is double-mapped, but no PMD maps it")
        extra = int(double_map) if self.anon else self.pmd
        return {"compound_mapcount": self.pmd, "mapcount": [count + extra for count in self.pte]}

    def check_zero_one_two_many(self, step: int) -> None:
        """Raise TruthError if the saturating count is wrong; at Many it may say anything but too little."""
        if not 0 <= step <= 3:
            raise TruthError(f"folio {self.pfn:#x}: count {step} is not one of Zero, One, Two, Many")
        if step < 3 and step != len(self.vmas):
            raise TruthError(f"folio {self.pfn:#x}: count {step}, but {len(self.vmas)} VMAs map it")


def recount(spaces: Iterable[AddressSpace], folios: Mapping[int, int]) -> dict[int, FolioTruth]:
    """Count every mapping of every folio.

    Parameters
    ----------
    spaces : iterable of AddressSpace
    folios : mapping of int to int
        Order of each live folio by the pfn of its head.

    Returns
    -------
    dict of int to FolioTruth
        By the pfn of the head, for all folios given.

    Raises
    ------
    TruthError
        If an entry maps a page of no folio, lies outside every VMA, or is a PMD that does not map one whole folio.
    """
    truth = {pfn: FolioTruth(pfn=pfn, order=order, pte=[0] * (1 << order)) for pfn, order in folios.items()}
    head_of = {pfn + i: pfn for pfn, order in folios.items() for i in range(1 << order)}
    seen_mms: set[int] = set()
    for space in spaces:
        if space.mm_id in seen_mms:
            raise TruthError(f"mm {space.mm_id} is listed twice")
        seen_mms.add(space.mm_id)
        seen_pages: set[int] = set()
        for row in space.mapping_rows():
            if row.kind not in (MappingKind.ANON, MappingKind.FILE):
                continue
            for k in range(row.nr):
                if row.vpn + k in seen_pages:
                    raise TruthError(f"mm {space.mm_id} maps page {row.vpn + k:#x} twice")
                seen_pages.add(row.vpn + k)
                head = head_of.get(row.pfn + k)
                if head is None:
                    raise TruthError(f"mm {space.mm_id} maps {row.pfn + k:#x} at {row.vpn + k:#x}: no live folio")
                folio = truth[head]
                anon = row.kind == MappingKind.ANON
                if folio.anon is not None and folio.anon != anon:
                    raise TruthError(f"folio {head:#x} is mapped as anonymous and as file memory")
                folio.anon = anon
                folio.vmas.add(space.vma_of(row.vpn + k))
                if not row.pmd:
                    folio.pte[row.pfn + k - head] += 1
            if row.pmd:
                folio = truth[head_of[row.pfn]]
                if row.pfn != folio.pfn or row.nr != folio.nr_pages:
                    raise TruthError(f"a PMD of mm {space.mm_id} at {row.vpn:#x} does not map one whole folio")
                folio.pmd += 1
    return truth


@dataclass(slots=True, kw_only=True)
class VmaTruth:
    """What smaps would say of one VMA if every count were exact.

    Attributes
    ----------
    rss_pages : int
    pss_fixed : int
        Sum over the pages of ``(page_size << PSS_SHIFT) // mapcount``.
    private_pages : int
        Pages mapped exactly once, as the kernel counts Private.
    unique_pages : int
        Pages that no other mm maps, however often this one does.
    anon_huge_pages, file_huge_pages : int
        Pages under PMDs.
    """

    mm_id: int
    start: int
    end: int
    rss_pages: int = 0
    pss_fixed: int = 0
    private_pages: int = 0
    unique_pages: int = 0
    anon_huge_pages: int = 0
    file_huge_pages: int = 0

    @property
    def pss_bytes(self) -> int:
        return self.pss_fixed >> PSS_SHIFT

    @property
    def pss_kb(self) -> int:
        """As printed: truncated per VMA."""
        return self.pss_fixed >> (PSS_SHIFT + 10)


def smaps(spaces: Sequence[AddressSpace], folios: Mapping[int, int], page_size_bytes: int = 4096) -> list[VmaTruth]:
    """smaps of every VMA, from exact counts.

    Parameters
    ----------
    spaces : sequence of AddressSpace
    folios : mapping of int to int
        Order of each live folio by the pfn of its head.

    Returns
    -------
    list of VmaTruth
        In the order of ``spaces`` and their ``vmas``.
    """
    truth = recount(spaces, folios)
    head_of = {pfn + i: pfn for pfn, order in folios.items() for i in range(1 << order)}
    mms_of_page: dict[int, set[int]] = {}
    for space in spaces:
        for row in space.mapping_rows():
            if row.kind in (MappingKind.ANON, MappingKind.FILE):
                for k in range(row.nr):
                    mms_of_page.setdefault(row.pfn + k, set()).add(space.mm_id)
    result: list[VmaTruth] = []
    for space in spaces:
        vmas = {(space.mm_id, start): VmaTruth(mm_id=space.mm_id, start=start, end=end) for start, end in space.vmas}
        for row in space.mapping_rows():
            if row.kind not in (MappingKind.ANON, MappingKind.FILE):
                continue
            for k in range(row.nr):
                pfn = row.pfn + k
                folio = truth[head_of[pfn]]
                mapcount = folio.page_mapcount(pfn - folio.pfn)
                vma = vmas[space.vma_of(row.vpn + k)]
                vma.rss_pages += 1
                vma.pss_fixed += (page_size_bytes << PSS_SHIFT) // mapcount
                vma.private_pages += mapcount == 1
                vma.unique_pages += mms_of_page[pfn] == {space.mm_id}
                if row.pmd and row.kind == MappingKind.ANON:
                    vma.anon_huge_pages += 1
                elif row.pmd:
                    vma.file_huge_pages += 1
        result.extend(vmas.values())
    return result


def expected_counts(
    truth: Mapping[int, FolioTruth],
    scheme: str,
    nr_pages: int,
    double_mapped: Iterable[int] = (),
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Struct pages as the page tables demand them, for the schemes whose counts are functions of the page tables.

    Parameters
    ----------
    truth : mapping of int to FolioTruth
    scheme : {"page_mapcount", "large_mapcount"}
    nr_pages : int
    double_mapped : iterable of int
        Heads of anonymous folios whose double-map bit is set (``page_mapcount``); for file folios the bit is a hint
        and not meaningful here.

    Returns
    -------
    values, mask : uint8, shape (nr_pages, 64)
        As ``SchemeTwin.pages_bytes``, for the counts alone: no references, no exclusive flags.
    """
    if scheme not in ("page_mapcount", "large_mapcount"):
        raise ValueError(f"the counts of {scheme!r} depend on history")
    doubled = set(double_mapped)
    values = np.zeros((nr_pages, PAGE_STRUCT_BYTES), dtype=np.uint8)
    mask = np.zeros((nr_pages, PAGE_STRUCT_BYTES), dtype=np.uint8)
    for folio in truth.values():
        if scheme == "page_mapcount":
            fields = folio.page_mapcount_fields(folio.pfn in doubled)
            of_first_tail = [(20, "compound_mapcount", 1)]
        else:
            fields = folio.large_mapcount_fields()
            of_first_tail = [(16, "large_mapcount", 1), (20, "entire_mapcount", 1), (24, "nr_pages_mapped", 0)]
        mapcounts = fields["mapcount"]
        assert isinstance(mapcounts, list)
        for i, count in enumerate(mapcounts):
            image = PageImage()
            image.put_s32(MAPCOUNT_OFFSET, count - 1)
            if i == 1:
                for offset, name, bias in of_first_tail:
                    value = fields[name]
                    assert isinstance(value, int)
                    image.put_s32(offset, value - bias)
                if scheme == "page_mapcount" and folio.anon:
                    image.put_flag(PG_DOUBLE_MAP, folio.pfn in doubled)
            values[folio.pfn + i] = np.frombuffer(bytes(image.values), dtype=np.uint8)
            mask[folio.pfn + i] = np.frombuffer(bytes(image.mask), dtype=np.uint8)
    return values, mask
