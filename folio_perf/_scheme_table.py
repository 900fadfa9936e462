# SPDX-License-Identifier: BSD-3-Clause
"""The table of designs, by date. Public names are in `folio_perf.schemes`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemeInfo:
    """One design.

    Parameters
    ----------
    name : str
        The kernel's own word for the counter.
    title : str
        What it counts, in a line.
    shipped : (str, str) or None
        First and last mainline version that counted this way; None for a proposal.
    status : str
        ``shipped`` or ``proposal``.
    source : str
        Commits, or the mail that proposed it.
    date : str
        When, ``YYYY-MM`` or a span of them.
    state : tuple of str
        Its fields in struct page.
    costs : tuple of str
        RMW per whole-folio event.
    cannot_answer : tuple of str
        What its counters cannot tell, and when they are wrong.
    options : mapping of str to tuple of str
        Choices the public description leaves open; the first value of each is the default.
    variant : str
        That option of them which only this design has: C gets the number of its value; empty if there is none.
    variant_text : str
        What its values mean.
    reconstructed : bool
        True if the public description is incomplete and we completed it.
    """

    name: str
    title: str
    shipped: tuple[str, str] | None
    status: str
    source: str
    date: str
    state: tuple[str, ...]
    costs: tuple[str, ...]
    cannot_answer: tuple[str, ...]
    options: Mapping[str, tuple[str, ...]]
    reconstructed: bool
    variant: str = ""
    variant_text: str = ""

    def shipped_in(self, kernel: str) -> bool:
        """Whether mainline `kernel` ("6.1") counted this way."""
        if self.shipped is None:
            return False
        first, last = map(_version, self.shipped)
        return first <= _version(kernel) <= last


def _version(kernel: str) -> tuple[int, int]:
    match = re.fullmatch(r"([0-9]+)\.([0-9]+)", kernel)
    if match is None:
        raise ValueError(f"kernel version {kernel!r} must be MAJOR.MINOR")
    return int(match[1]), int(match[2])


_NO_OPTIONS: Mapping[str, tuple[str, ...]] = MappingProxyType({})
_PRESENCE: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"presence": ("scan", "oracle", "neighbours", "pmd_special", "batch")}
)

SCHEMES = (
    SchemeInfo(
        name="page_mapcount",
        title="a count per page, a compound count per folio, and a double-map bit",
        shipped=("4.5", "6.1"),
        status="shipped",
        source="commit 53f9263baba6 (K. Shutemov, v4.5); replaced by d8dd5e979d09, be5ef2d9b006, 4b51634cd16a (v6.2)",
        date="2016-03 to 2022-12",
        state=(
            "_mapcount of every page, s32 from -1: PTE mappings; of files also the PMD mappings",
            "compound_mapcount in page[1], s32 from -1: PMD mappings",
            "PageDoubleMap in page[1].flags: the per-page counts of an anonymous folio carry one for the PMD side",
            "_refcount of the head: one reference per mapping",
        ),
        costs=(
            "map n PTEs of a file: 3n",
            "unmap n PTEs: 2n; of the last mapper, anonymous: 3n (5.17), 2n+1 (6.1)",
            "map or unmap a file by PMD: n+2",
            "fork n anonymous PTEs: 2n, the first time 3n from v5.19 on",
            "split an anonymous PMD: n+3, with other PMD mappings 2n+3",
        ),
        cannot_answer=(
            "total mapcount and 'mapped?' without reading up to n lines, and then not as one snapshot",
            "partially mapped: noticed only at the unmap that makes a page unmapped",
            "mapped by more than one mm: callers ask 'mapcount of this page > 1' instead",
        ),
        options=_NO_OPTIONS,
        reconstructed=False,
    ),
    SchemeInfo(
        name="zero_one_two_many",
        title="a two-bit count of the VMAs that map any page of the folio: 0, 1, 2, many",
        shipped=None,
        status="proposal",
        source="M. Wilcox, linux-mm, 27 January 2022 or shortly before (spinics linux-mm/msg282633); never coded",
        date="2022-01",
        state=(
            "count in the head's _mapcount word +48, 2 bits from 0",
            "_refcount of the head: mappings own as many references as the count says, three at most",
        ),
        costs=(
            "map or unmap in a VMA, below many: 2, and a presence test of up to n PTE reads",
            "map, unmap or fork at many: 0",
            "split a PMD: 0",
            "recount: a walk over the VMAs of the interval tree",
            "PageAnonExclusive (v5.19) adds n to the first fork of n anonymous PTEs and to an exclusive PMD split",
        ),
        cannot_answer=(
            "anything at many: mapped or not, by how many, by whom, until someone walks",
            "mapped by more than one mm at two: both VMAs may belong to one mm",
            "number of PTE mappings, mappings of one page, partially mapped",
            "when to stop an rmap walk: every candidate VMA is visited",
            "an unmapped folio stuck at many: its memory leaks until a walk repairs it",
        ),
        options=MappingProxyType(
            {
                **_PRESENCE,
                "recount": (
                    "lazy",
                    "on_reclaim",
                    "on_write_fault",
                    "eager",
                    "eager_stop3",
                    "threshold",
                    "anon_exact",
                ),
                "period": ("16", "4", "64", "256"),
                "race": ("safe", "naive"),
                "pins": ("bias", "exact"),
            }
        ),
        reconstructed=True,
    ),
    SchemeInfo(
        name="subpages_mapcount_locked",
        title="PMD mappings, per-page counts and the sum of these, under a bit spinlock",
        shipped=None,
        status="proposal, replaced by nr_pages_mapped",
        source="H. Dickins, first series of 2 November 2022, <5f52de70-975-e94f-f141-543765736181@google.com>",
        date="2022-11",
        state=(
            "compound_mapcount in page[1] +20, s32 from -1: PMD mappings",
            "subpages_mapcount in page[1] +24, s32 from 0: PTE mappings of all pages",
            "lock bit in page[1].flags",
            "_mapcount of every page, s32 from -1: PTE mappings, anonymous and file alike",
            "_refcount of the head: one reference per mapping",
        ),
        costs=(
            "map or unmap n PTEs: 3n, lock, count and reference of each; in one call n+2",
            "map or unmap by PMD: 2",
            "unmap n PTEs, anonymous, by the last mapper: 4n (6.2), 3n+1 (6.1)",
            "split an anonymous PMD: 2n+2, in one call n+3",
        ),
        cannot_answer=(
            "mapped by more than one mm: callers ask 'mapcount of this page > 1' instead",
            "pages newly mapped or unmapped by a PMD, where PTEs map some: n lines are read under the lock",
        ),
        options=_NO_OPTIONS,
        reconstructed=True,
    ),
    SchemeInfo(
        name="vma_pt_tuples",
        title="pairs of a VMA and a page table that map any page of the folio",
        shipped=None,
        status="proposal",
        source="M. Wilcox, linux-mm, 24 January 2023 (spinics linux-mm/msg325665); never coded",
        date="2023-01",
        state=(
            "count in the head's _mapcount word +48, s32 from 0",
            "_refcount of the head: one reference per pair",
        ),
        costs=(
            "map or unmap in a VMA and page table: 2, and a presence test in that table",
            "the same pair again, or some of it left: 0",
            "fork: 2 per pair",
            "split a PMD: 0",
            "PageAnonExclusive (v5.19) adds n to the first fork of n anonymous PTEs and to an exclusive PMD split",
        ),
        cannot_answer=(
            "mapped by more than one mm at two: one VMA that crosses a table's border makes two pairs, too",
            "number of PTE mappings, mappings of one page, partially mapped",
            "when to stop an rmap walk: pairs are no number of entries",
        ),
        options=_PRESENCE,
        reconstructed=True,
    ),
    SchemeInfo(
        name="vma_count",
        title="the exact number of VMAs that map any page of the folio",
        shipped=None,
        status="proposal",
        source="M. Wilcox, linux-mm, February 2023 (spinics linux-mm/msg327447); never coded",
        date="2023-02",
        state=(
            "count in the head's _mapcount word +48, s32 from 0",
            "_refcount of the head: one reference per VMA",
        ),
        costs=(
            "map or unmap in a VMA: 2, and a presence test of up to n PTE reads",
            "the same VMA again, or some of it left: 0, and the presence test",
            "fork: 2 per VMA",
            "split a PMD: 0",
            "PageAnonExclusive (v5.19) adds n to the first fork of n anonymous PTEs and to an exclusive PMD split",
        ),
        cannot_answer=(
            "mapped by more than one mm: two VMAs of one mm count as two",
            "number of PTE mappings, mappings of one page, partially mapped",
            "when to stop an rmap walk: VMAs are no number of entries",
        ),
        options=_PRESENCE,
        reconstructed=True,
    ),
    SchemeInfo(
        name="nr_pages_mapped",
        title="PMD mappings apart, per-page counts, and a sum of the pages that have one",
        shipped=("6.2", "6.9"),
        status="shipped",
        source="commits d8dd5e979d09, be5ef2d9b006, 4b51634cd16a, 96d82deb743a (H. Dickins, v6.2)",
        date="2023-02 to 2024-05",
        state=(
            "_entire_mapcount in page[1] +24 (+20 up to 6.5), s32 from -1: PMD mappings",
            "_nr_pages_mapped in page[1] +28 (+24), s32 from 0: pages with a PTE mapping, + 0x800000 if PMD-mapped",
            "_mapcount of every page, s32 from -1: PTE mappings, anonymous and file alike",
            "_refcount of the head: one reference per mapping",
        ),
        costs=(
            "map n PTEs: 3n the first time, then 2n; a file fault of 6.8 2n+1, then n+1",
            "unmap n PTEs: 3n by the last mapper; anonymous 4n (6.2), 3n+1 (6.8)",
            "map or unmap by PMD: 3 the first (last) time, else 2",
            "fork n anonymous PTEs: 3n the first time, then 2n",
            "split an anonymous PMD: 2n+3",
        ),
        cannot_answer=(
            "total mapcount without reading n lines, once any page is mapped by PTE",
            "mapped by more than one mm: page 0 stands for all, wrong both ways",
        ),
        options=_NO_OPTIONS,
        reconstructed=False,
    ),
    SchemeInfo(
        name="rmap_id",
        title="nr_pages_mapped, a total, and sums of mm numbers that tell exactly whether one mm owns all mappings",
        shipped=None,
        status="RFC, dropped",
        source="D. Hildenbrand, work in progress of 24 November 2023, <20231124132626.235350-1-david@redhat.com>",
        date="2023-11",
        state=(
            "_total_mapcount in page[1] +16, s32 from -1: PTE and PMD mappings, each once",
            "sequence of writers in page[1] +56, 64 bits",
            "1 to 6 sums in page[3] +16 and page[4] +16, 64 bits each (order 1: one, in page[1] +40)",
            "_entire_mapcount in page[1] +24, s32 from -1: PMD mappings",
            "_nr_pages_mapped in page[1] +28, s32 from 0: pages with a PTE mapping, + 0x800000 if PMD-mapped",
            "_mapcount of every page, s32 from -1: PTE mappings",
            "_refcount of the head: one reference per mapping",
        ),
        costs=(
            "each call: as nr_pages_mapped, and 2 of a writer that is alone; of one among others 3 and one per sum",
            "sums: 1 for orders up to 2, 2 to order 5, 3 to 7, 4 to 10, 5 to 12, else 6",
            "split an anonymous PMD: as nr_pages_mapped, and n+1 calls, or 2 where the pages are one call",
        ),
        cannot_answer=(
            "exclusive once one mm maps pages more than once: more mappings than pages count as shared",
            "mappings of one page without its own line",
        ),
        options=MappingProxyType({"writers": ("alone", "together")}),
        variant="writers",
        variant_text=(
            "each writer finds itself ``alone``, so that plain stores suffice, or all find others, ``together``, the"
            " upper bound"
        ),
        reconstructed=True,
    ),
    SchemeInfo(
        name="large_mapcount",
        title="one total per folio beside the per-page counts",
        shipped=("6.10", "6.14"),
        status="shipped",
        source="commits 05c5323b2a34, eefb9b2725e3 (v6.10); <20240409192301.907377-1-david@redhat.com>",
        date="2024-07 to 2025-03",
        state=(
            "_large_mapcount in page[1] +16, s32 from -1: PTE and PMD mappings, each once",
            "_entire_mapcount in page[1] +20, s32 from -1: PMD mappings",
            "_nr_pages_mapped in page[1] +24, s32 from 0: pages with a PTE mapping, + 0x800000 if PMD-mapped",
            "_mapcount of every page, s32 from -1: PTE mappings",
            "_refcount of the head: one reference per mapping",
        ),
        costs=(
            "map n PTEs: n+3 the first time, then n+2",
            "unmap n PTEs: n+3 by the last mapper, else n+2",
            "map or unmap by PMD: 4 the first (last) time, else 3",
            "fork n anonymous PTEs: 2n+2 the first time, then n+2",
            "split an anonymous PMD: n+6",
        ),
        cannot_answer=(
            "mapped by more than one mm: estimated from the total and page 0, wrong both ways",
            "mappings of one page without its own line",
        ),
        options=_NO_OPTIONS,
        reconstructed=False,
    ),
    SchemeInfo(
        name="mm_owner_20bit",
        title="mm_owner as first posted, with mm numbers of 20 bits",
        shipped=None,
        status="proposal, replaced by mm_owner",
        source="D. Hildenbrand, first version of the series, 29 August 2024",
        date="2024-08",
        state=(
            "_large_mapcount in page[1] +16, s32 from -1: PTE and PMD mappings, each once",
            "_nr_pages_mapped in page[1] +20, s32 from 0: pages with a PTE mapping, + 0x800000 if PMD-mapped",
            "_entire_mapcount in page[1] +24, s32 from -1: PMD mappings",
            "two slots in page[1]: mappings +32 and +36, s32 from -1; ids of the mms in 20 bits each, +40 and +44",
            "lock and 'maybe mapped shared': the top bits of the ids' words",
            "_mapcount of every page, s32 from -1: PTE mappings",
            "_refcount of the head: one reference per mapping",
        ),
        costs=(
            "map n PTEs: n+3 the first time, then n+2; 5 to 10 more loads and stores under the lock",
            "unmap n PTEs: n+3 by the last mapper, else n+2",
            "map or unmap by PMD: 4 the first (last) time, else 3",
            "fork n anonymous PTEs: 2n+2 the first time, then n+2",
            "split an anonymous PMD: n+6",
        ),
        cannot_answer=(
            "anything beyond 2^20 - 2 mms: there is no number left for another",
            "exclusive after a third mm came while two held the slots: 'shared' until wholly unmapped",
            "mappings of one page without its own line",
        ),
        options=_NO_OPTIONS,
        reconstructed=True,
    ),
    SchemeInfo(
        name="zero_one_two_stopped",
        title="the mms that map the folio, none, one or two, with the mappings of each; the third stops tracking",
        shipped=None,
        status="idea",
        source="a way out in the cover letter <20250224165603.1434404-1-david@redhat.com>; never posted in full",
        date="2025-02",
        state=(
            "two slots in page[1]: mappings +32 and +36, s32 from -1; ids of the mms in 31 bits each, +40 and +44",
            "lock and 'stopped': the top bits of the ids",
            "sum of mapped pages in page[1] +16, 64 bits from 0: a PTE adds 1, a PMD the pages of a table",
            "_refcount of the head: one reference per mapping",
        ),
        costs=(
            "map or unmap n PTEs, or one PMD: 2",
            "the same once tracking has stopped: 1, the reference; with until=unmapped 2",
            "fork n anonymous PTEs: n+2 the first time, then 2",
            "split an anonymous PMD: 3, and n if it is exclusive",
        ),
        cannot_answer=(
            "anything but 'shared' once three mms had it, until it is freed; with until=unmapped only who has it",
            "mappings of one page: the average over the folio, at least 1, stands for it",
            "partially mapped where what is mapped twice makes up for what is not mapped, or once tracking has stopped",
        ),
        options=MappingProxyType({"until": ("freed", "unmapped")}),
        variant="until",
        variant_text=(
            "tracking stops until the folio is ``freed``, and nothing is counted any more, or until it is wholly"
            " ``unmapped``, for which the total is still kept"
        ),
        reconstructed=True,
    ),
    SchemeInfo(
        name="mm_owner",
        title="large_mapcount, and two slots that say which mm owns how many of the mappings",
        shipped=("6.15", "7.3"),
        status="shipped",
        source="commits 6af8cb80d3a9, 1da190f4d0a6, 003fde4492c8 (v6.15); <20250303163014.1128035-1-david@redhat.com>",
        date="2025-05 on",
        state=(
            "_large_mapcount in page[1] +16, s32 from -1: PTE and PMD mappings, each once",
            "_nr_pages_mapped in page[1] +20, s32 from 0: pages with a PTE mapping, + 0x800000 if PMD-mapped",
            "_entire_mapcount in page[1] +24, s32 from -1: PMD mappings",
            "two slots in page[1]: mappings +32 and +36, s32 from -1; ids of the mms in 31 bits each, +40 and +44",
            "lock and 'maybe mapped shared': the top bits of the ids",
            "32-bit layout: ids of 15 bits, mappings of 16; _entire_mapcount in page[2] +16, pins in page[2] +20",
            "_mapcount of every page, s32 from -1: PTE mappings",
            "_refcount of the head: one reference per mapping",
        ),
        costs=(
            "map n PTEs: n+3 the first time, then n+2; 5 to 10 more loads and stores under the lock",
            "unmap n PTEs: n+3 by the last mapper, else n+2",
            "map or unmap by PMD: 4 the first (last) time, else 3",
            "fork n anonymous PTEs: 2n+2 the first time, then n+2",
            "split an anonymous PMD: n+6",
        ),
        cannot_answer=(
            "32-bit layout: exclusive once an mm has more than 2^15 mappings; anything beyond 2^15 - 2 mms ever made",
            "exclusive after a third mm came while two held the slots: 'shared' until wholly unmapped",
            "mappings of one page without its own line",
        ),
        options=MappingProxyType({"layout": ("64", "32")}),
        variant="layout",
        variant_text="that of 64-bit or of 32-bit kernels",
        reconstructed=False,
    ),
    SchemeInfo(
        name="no_page_mapcount",
        title="mm_owner without counts in the pages of a large folio",
        shipped=("6.15", "7.3"),
        status="shipped, experimental, off by default",
        source="commit e63ee43e3eda (v6.15, CONFIG_NO_PAGE_MAPCOUNT); <20250303163014.1128035-1-david@redhat.com>",
        date="2025-05 on",
        state=(
            "_large_mapcount in page[1] +16, s32 from -1: PTE and PMD mappings, each once",
            "_entire_mapcount in page[1] +24, s32 from -1: PMD mappings",
            "two slots in page[1]: mappings +32 and +36, s32 from -1; ids of the mms in 31 bits each, +40 and +44",
            "lock and 'maybe mapped shared': the top bits of the ids",
            "_refcount of the head: one reference per mapping",
        ),
        costs=(
            "map or unmap n PTEs: 2",
            "map or unmap by PMD: 3",
            "new anonymous folio by n PTEs: n+1, PageAnonExclusive of every page",
            "fork n anonymous PTEs: n+2 the first time, then 2",
            "split an anonymous PMD: 4, and n if it is exclusive",
        ),
        cannot_answer=(
            "mappings of one page: the average over the folio, at least 1, stands for it",
            "partially mapped where two processes map half each: as many mappings as pages",
            "exclusive after a third mm came while two held the slots: 'shared' until wholly unmapped",
        ),
        options=_NO_OPTIONS,
        reconstructed=False,
    ),
    SchemeInfo(
        name="total_mapped_pages",
        title="entries that map the folio, and the pages they map in all; no count of PMDs",
        shipped=None,
        status="RFC",
        source="D. Hildenbrand, 12 April 2026, <20260412-mapcount-v1-0-05e8dfab52e0@kernel.org>",
        date="2026-04",
        state=(
            "_total_mapped_pages in page[1] +24, 64 bits from 0: a PTE adds 1, a PMD the pages of a table",
            "_large_mapcount in page[1] +48, s32 from -1: entries of any level, each once",
            "two slots in page[1]: mappings +32 and +36, s32 from -1; ids of the mms in 31 bits each, +40 and +44",
            "lock and 'maybe mapped shared': the top bits of the ids",
            "_refcount of the head: one reference per entry",
        ),
        costs=(
            "map or unmap n PTEs, or one PMD: 2",
            "fork n anonymous PTEs: n+2 the first time, then 2",
            "split an anonymous PMD: 3, and n if it is exclusive",
        ),
        cannot_answer=(
            "mappings of one page: the average over the folio, at least 1, stands for it",
            "partially mapped where what is mapped twice makes up for what is not mapped",
            "exclusive after a third mm came while two held the slots: 'shared' until wholly unmapped",
        ),
        options=_NO_OPTIONS,
        reconstructed=False,
    ),
)
