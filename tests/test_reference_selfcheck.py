# SPDX-License-Identifier: BSD-3-Clause
"""The slow twins against the closed formulas, the truth, each other, and a few answers of real kernels.

Needs no compiled code: if this fails, the yardstick is bent.
"""

from __future__ import annotations

import itertools
import random
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from reference.base import (
    RMAP_OP_DTYPE,
    RMW_FIELDS,
    RUN_ANON,
    RUN_DONATED,
    RUN_NEW,
    SCHEMES,
    Answer,
    Answers,
    Hook,
    Params,
    Question,
    Recount,
    RmapOp,
    SchemeTwin,
    TwinError,
    kernel_number,
    replay,
)
from reference.cache import Hierarchy, LevelConfig
from reference.large_mapcount import LargeMapcountFolio
from reference.mm import (
    MAPPING_ROW_DTYPE,
    AddressSpace,
    FolioTruth,
    MappingKind,
    MappingRow,
    TruthError,
    expected_counts,
    recount,
    smaps,
)
from reference.page_mapcount import PageMapcountFolio
from reference.zero_one_two_many import MANY, ZeroOneTwoManyFolio

HEAD = 0x10000  # aligned for every order used here


def s32(page: np.ndarray[Any, np.dtype[np.uint8]], offset: int) -> int:
    return int(page[offset : offset + 4].view(np.int32)[0])


class Bench:
    """One folio, calls one by one, batched as the kernel named batches (schemes.md section 5)."""

    def __init__(self, scheme: str, kernel: str, order: int, anon: bool, recount: Recount = Recount.LAZY) -> None:
        version = kernel_number(kernel)
        self.twin: SchemeTwin[Any] = SCHEMES[scheme](version, Params(recount=recount))
        self.batched = int(version >= 609)
        self.exclusive = anon and version >= 519
        self.anon = anon
        self.order = order
        self.nr = 1 << order
        self.do(Hook.FOLIO_INIT, order=order)
        if not anon:
            self.do(Hook.REF_ADD, delta=self.nr - 1)  # the page cache's, one per page

    def do(self, hook: Hook, *answers: int, **members: int) -> int:
        """Carry out one call; returns its atomics."""
        members.setdefault("batched", self.batched)
        members.setdefault("refs_batched", self.batched)
        members.setdefault("flags", 0)
        members["flags"] |= RUN_ANON if self.anon else 0
        op = RmapOp(hook=hook, folio=HEAD, **members)
        return sum(self.twin.apply(op, Answers(answers)).values())

    @property
    def saturating(self) -> bool:
        return self.twin.name == "zero_one_two_many"

    @property
    def counts_places(self) -> bool:
        """Whether it counts VMAs, or pairs of VMA and page table, without end."""
        return self.twin.name in ("vma_count", "vma_pt_tuples")

    @property
    def state(self) -> Any:
        return self.twin.folios[HEAD]

    def presence(self, answer: int) -> tuple[int, ...]:
        """The answer to a presence test, if this scheme makes one now."""
        asks = self.counts_places or (self.saturating and self.state.step < MANY)
        return (answer,) if asks else ()

    def map_all(self) -> int:
        return self.do(Hook.MAP_RUN, *self.presence(0), nr=self.nr)

    def unmap_all(self) -> int:
        return self.do(Hook.UNMAP_RUN, *self.presence(0), nr=self.nr)

    def map_pmd(self) -> int:
        return self.do(Hook.MAP_PMD, *self.presence(0), nr=self.nr)

    def new_ptes(self) -> int:
        atomics = self.do(Hook.MAP_RUN, nr=self.nr, flags=RUN_NEW, refs_batched=1)
        if self.exclusive:
            atomics += self.do(Hook.EXCLUSIVE_SET, nr=self.nr)
        return atomics

    def new_pmd(self) -> int:
        atomics = self.do(Hook.MAP_PMD, nr=self.nr, flags=RUN_NEW)
        if self.exclusive:
            atomics += self.do(Hook.EXCLUSIVE_SET, nr=1)
        return atomics

    def fork_ptes(self) -> int:
        atomics = self.do(Hook.EXCLUSIVE_CLEAR, nr=self.nr) if self.exclusive else 0
        return atomics + self.do(Hook.FORK_RUN, *self.presence(0), nr=self.nr)


COLUMNS = ("fmap1", "fmap2", "pmd1", "pmd2", "funmap", "aunmap", "forka", "forkb", "split")


def atomics_of_columns(scheme: str, kernel: str, order: int, many: bool = False) -> dict[str, int]:
    """Atomics of the events that schemes.md 4.1 has columns for.

    Parameters
    ----------
    many : bool
        Let three other VMAs map the folio first.
    """

    def bench(anon: bool) -> Bench:
        made = Bench(scheme, kernel, order, anon)
        if many:
            if anon:
                made.new_ptes()
            else:
                made.map_all()
            for _ in range(2):
                made.do(Hook.FORK_RUN, *made.presence(0), nr=made.nr)
        return made

    result: dict[str, int] = {}
    b = bench(anon=False)
    result["fmap1"] = b.map_all()
    result["fmap2"] = b.map_all()
    b = bench(anon=False)
    result["pmd1"] = b.map_pmd()
    result["pmd2"] = b.map_pmd()
    b = bench(anon=False)
    b.map_all()
    result["funmap"] = b.unmap_all()
    b = bench(anon=True)
    if not many:
        b.new_ptes()
    result["aunmap"] = b.unmap_all()
    b = bench(anon=True)
    if not many:
        b.new_ptes()
    result["forka"] = b.fork_ptes()
    result["forkb"] = b.fork_ptes()
    b = bench(anon=True)
    if not many:
        b.new_pmd()
    result["split"] = b.do(Hook.SPLIT_PMD, nr=b.nr)
    return result


Formula = Callable[[int], tuple[int, ...]]
FORMULAS: dict[tuple[str, str, bool], Formula] = {
    ("page_mapcount", "5.17", False): lambda n: (3 * n, 3 * n, n + 2, n + 2, 2 * n, 3 * n, 2 * n, 2 * n, n + 3),
    ("page_mapcount", "6.1", False): lambda n: (3 * n, 3 * n, n + 2, n + 2, 2 * n, 2 * n + 1, 3 * n, 2 * n, n + 3),
    ("large_mapcount", "6.12", False): lambda n: (n + 3, n + 2, 4, 3, n + 3, n + 3, 2 * n + 2, n + 2, n + 6),
    ("zero_one_two_many", "5.17", False): lambda _: (2, 2, 2, 2, 2, 2, 2, 2, 0),
    ("zero_one_two_many", "7.0", False): lambda n: (2, 2, 2, 2, 2, 2, n + 2, 2, 0),
    ("zero_one_two_many", "5.17", True): lambda _: (0, 0, 0, 0, 0, 0, 0, 0, 0),
    ("zero_one_two_many", "7.0", True): lambda n: (0, 0, 0, 0, 0, 0, n, 0, 0),
}


@pytest.mark.parametrize("order", [4, 9, 11])
@pytest.mark.parametrize(("scheme", "kernel", "many"), FORMULAS)
def test_closed_formulas(scheme: str, kernel: str, many: bool, order: int) -> None:
    expected = dict(zip(COLUMNS, FORMULAS[scheme, kernel, many](1 << order), strict=True))
    assert atomics_of_columns(scheme, kernel, order, many) == expected


@pytest.mark.parametrize(
    ("scheme", "kernel", "order", "expected"),
    [
        ("page_mapcount", "5.17", 4, {"fmap1": 48, "funmap": 32, "aunmap": 48, "forka": 32, "forkb": 32}),
        ("page_mapcount", "6.1", 4, {"fmap1": 48, "funmap": 32, "aunmap": 33, "forka": 48, "forkb": 32}),
        ("large_mapcount", "6.12", 4, {"fmap1": 19, "fmap2": 18, "funmap": 19, "aunmap": 19, "forka": 34, "forkb": 18}),
        ("page_mapcount", "5.17", 9, {"fmap1": 1536, "pmd1": 514, "funmap": 1024, "aunmap": 1536, "split": 515}),
        ("page_mapcount", "6.1", 9, {"fmap1": 1536, "pmd1": 514, "funmap": 1024, "aunmap": 1025, "forka": 1536}),
        ("large_mapcount", "6.12", 9, {"fmap1": 515, "pmd1": 4, "aunmap": 515, "forka": 1026, "split": 518}),
        ("page_mapcount", "6.1", 13, {"fmap1": 24576, "pmd1": 8194, "aunmap": 16385, "forka": 24576, "split": 8195}),
        ("large_mapcount", "6.12", 13, {"fmap1": 8195, "fmap2": 8194, "aunmap": 8195, "forka": 16386, "split": 8198}),
    ],
)
def test_numbers_of_the_tables(scheme: str, kernel: str, order: int, expected: dict[str, int]) -> None:
    """Figures of schemes.md 4.2, as printed there."""
    columns = atomics_of_columns(scheme, kernel, order)
    assert {name: columns[name] for name in expected} == expected


def test_fault_around_window() -> None:
    """512 pages of a file in 32 windows of 16: n + 96 atomics on 6.12 (schemes.md 4.2)."""
    b = Bench("large_mapcount", "6.12", 9, anon=False)
    assert sum(b.do(Hook.MAP_RUN, first=first, nr=16) for first in range(0, 512, 16)) == 512 + 96


@pytest.mark.parametrize(
    ("scheme", "kernel", "ptes", "pmd"),
    [("page_mapcount", "5.17", 0 + 511, 0), ("page_mapcount", "6.1", 512 + 511, 1), ("large_mapcount", "6.12", 513, 1)],
)
def test_new_anonymous_folio(scheme: str, kernel: str, ptes: int, pmd: int) -> None:
    """Counts of a fresh folio are plain stores: what is left are references and exclusive flags."""
    b = Bench(scheme, kernel, 9, anon=True)
    per_page = b.do(Hook.MAP_RUN, nr=512, flags=RUN_NEW, refs_batched=b.batched)
    if b.exclusive:
        per_page += b.do(Hook.EXCLUSIVE_SET, nr=512)
    assert per_page == ptes
    assert (b.state.refs, b.state.mapping_refs) == (512, 512)
    b = Bench(scheme, kernel, 9, anon=True)
    assert b.new_pmd() == pmd
    assert (b.state.refs, b.state.mapping_refs) == (1, 1)


def test_one_page_of_page_mapcount() -> None:
    """schemes.md 3.1, rows for one PTE."""
    b = Bench("page_mapcount", "6.1", 9, anon=False)
    assert b.do(Hook.MAP_RUN, first=7, nr=1) == 3
    assert b.do(Hook.FORK_RUN, first=7, nr=1) == 2
    assert b.do(Hook.UNMAP_RUN, first=7, nr=1) == 2
    assert b.do(Hook.UNMAP_RUN, first=7, nr=1) == 2
    for kernel, second in (("5.17", 3), ("6.1", 2)):
        b = Bench("page_mapcount", kernel, 9, anon=True)
        b.new_ptes()
        assert b.do(Hook.MAP_RUN, first=7, nr=1) == 2  # swap-in of another mm
        assert b.do(Hook.UNMAP_RUN, first=7, nr=1) == 2
        assert b.do(Hook.UNMAP_RUN, first=7, nr=1) == 3  # queued for splitting
        assert b.do(Hook.UNMAP_RUN, first=8, nr=1) == second


def test_pmd_splits_of_page_mapcount() -> None:
    """The four split rows of schemes.md 3.1, and the double-map bit through them."""
    n = 16
    b = Bench("page_mapcount", "5.17", 4, anon=True)
    b.new_pmd()
    for _ in range(2):
        assert b.do(Hook.MAP_PMD) == 2  # fork
    assert b.do(Hook.SPLIT_PMD) == 2 * n + 3  # first, others remain
    assert b.state.double_map
    assert b.state.mapcount == [2] * n
    assert b.do(Hook.SPLIT_PMD) == n + 3  # set already, not the last
    assert b.state.double_map
    assert b.state.mapcount == [3] * n
    assert b.do(Hook.SPLIT_PMD) == 2 * n + 3  # the last, with the bit set
    assert not b.state.double_map
    assert b.state.mapcount == [3] * n
    b = Bench("page_mapcount", "5.17", 4, anon=True)
    b.new_pmd()
    assert b.do(Hook.SPLIT_PMD) == n + 3
    assert b.state.refs == n


def test_pmd_unmaps_of_page_mapcount() -> None:
    """Anonymous PMD rows of schemes.md 3.1; the queue lock comes on top when only some pages became unmapped."""
    n = 16
    b = Bench("page_mapcount", "6.1", 4, anon=True)
    b.new_pmd()
    b.do(Hook.MAP_PMD)
    assert b.do(Hook.UNMAP_PMD) == 2
    assert b.do(Hook.UNMAP_PMD) == 3
    for left, queue in ((n, 0), (n - 4, 1), (0, 0)):
        b = Bench("page_mapcount", "6.1", 4, anon=True)
        b.new_pmd()
        b.do(Hook.MAP_PMD)
        b.do(Hook.SPLIT_PMD)
        if left < n:
            assert b.do(Hook.UNMAP_RUN, first=left, nr=n - left) == 2 * (n - left)
        assert b.do(Hook.UNMAP_PMD) == n + 3 + queue


def test_double_map_hint_of_file_folios() -> None:
    """Set by every PTE map, never exact; a first PMD mapping of the unmapped folio clears it from 6.1 on."""
    for kernel, cleared in (("5.17", False), ("6.1", True)):
        b = Bench("page_mapcount", kernel, 4, anon=False)
        b.map_all()
        b.unmap_all()
        assert b.state.double_map
        assert b.map_pmd() == 16 + 2 + int(cleared)
        assert b.state.double_map is not cleared


def test_pmd_rows_of_large_mapcount() -> None:
    b = Bench("large_mapcount", "6.12", 9, anon=True)
    b.new_pmd()
    assert b.do(Hook.MAP_PMD) == 3  # fork
    assert b.do(Hook.SPLIT_PMD) == 512 + 5
    assert b.do(Hook.UNMAP_PMD) == 4
    assert b.do(Hook.UNMAP_RUN, nr=256) == 256 + 3 + 1  # half is left: partially mapped
    assert b.do(Hook.UNMAP_RUN, first=256, nr=128) == 128 + 3  # noticed before
    assert b.do(Hook.UNMAP_RUN, first=384, nr=128) == 128 + 3
    assert b.state.refs == 0


def test_pages_under_a_pmd_are_not_partially_mapped() -> None:
    b = Bench("large_mapcount", "6.12", 4, anon=True)
    b.new_pmd()
    b.do(Hook.MAP_PMD)
    b.do(Hook.SPLIT_PMD)
    assert b.do(Hook.UNMAP_RUN, nr=8) == 8 + 3
    assert b.do(Hook.UNMAP_PMD) == 4 + 1
    b = Bench("large_mapcount", "6.12", 1, anon=True)
    b.new_ptes()
    assert b.do(Hook.UNMAP_RUN, nr=1) == 1 + 3  # two pages have no room for the list


@pytest.mark.parametrize("scheme", SCHEMES)
def test_small_folios_are_alike(scheme: str) -> None:
    """n = 1: count and reference, in every design (schemes.md section 3)."""
    b = Bench(scheme, "6.1", 0, anon=False)
    assert b.map_all() == 2
    assert b.do(Hook.FORK_RUN, *b.presence(0), nr=1) == 2
    assert b.unmap_all() == 2
    assert b.unmap_all() == 2
    b = Bench(scheme, "6.1", 0, anon=True)
    assert b.new_ptes() == 1  # the exclusive flag
    assert b.fork_ptes() == 3
    assert b.unmap_all() == 2
    assert b.unmap_all() == 2
    assert b.state.refs == 0


@pytest.mark.parametrize("scheme", SCHEMES)
def test_donated_reference(scheme: str) -> None:
    """The reference a lookup took becomes the mapping's; where none is needed it is dropped again."""
    b = Bench(scheme, "7.0", 4, anon=False)
    for mappers in range(1, 5):
        before = b.state.refs
        many = b.saturating and b.state.step == MANY
        b.do(Hook.REF_ADD, delta=1)
        op = RmapOp(hook=Hook.MAP_RUN, folio=HEAD, nr=16, flags=RUN_DONATED)
        rmw = b.twin.apply(op, Answers(b.presence(0)))
        one_per_place = b.saturating or b.counts_places
        assert rmw.get("refcount", 0) == (int(many) if one_per_place else 1)
        gained = (0 if many else 1) if one_per_place else 16
        assert b.state.refs - before == gained
        most = 3 if b.saturating else mappers
        assert b.state.mapping_refs == (min(mappers, most) if one_per_place else 16 * mappers)
    b.do(Hook.REF_ADD, delta=1)
    rmw = b.twin.apply(RmapOp(hook=Hook.MAP_RUN, folio=HEAD, nr=1, flags=RUN_DONATED), Answers(b.presence(1)))
    assert rmw.get("refcount", 0) == int(b.saturating or b.counts_places)


@pytest.mark.parametrize(
    ("scheme", "kernel", "first", "again"),
    [("page_mapcount", "5.17", 48, 48), ("large_mapcount", "7.0", 20, 19), ("zero_one_two_many", "7.0", 2, 2)],
)
def test_faults_with_a_donated_reference(scheme: str, kernel: str, first: int, again: int) -> None:
    """All atomics of a fault on 16 pages, the lookup's get included.

    5.17 makes it the first of its n references, so 3n stands. 7.0 adds n - 1 in one go, so get and add are two.
    zero_one_two_many needs the get alone below Many, and get and put from then on.
    """
    batched = int(kernel == "7.0")
    asks = int(scheme == "zero_one_two_many")
    lookup = RmapOp(hook=Hook.REF_ADD, folio=16, delta=1)
    fault = RmapOp(
        hook=Hook.MAP_RUN,
        folio=16,
        nr=16,
        flags=RUN_DONATED,
        batched=batched,
        refs_batched=batched,
        nr_answers=asks,
    )
    log = [init(order=4)]
    for _ in range(4):
        log += [lookup, fault if len(log) < 7 else replace(fault, nr_answers=0)]
    state = replay(log, [0], scheme, kernel)
    per_call = state.rmw.sum(axis=1)
    assert [int(v) for v in per_call[1::2] + per_call[2::2]] == [first, again, again, again]
    assert state.donated.tolist() == [0] + [0, 1] * 4


# -- answers -------------------------------------------------------------------------------------------------------


def test_answers_of_large_mapcount() -> None:
    """ "Likely shared" looks at page 0 only: blind where page 0 is exclusive, wrong for one mm with two VMAs."""
    b = Bench("large_mapcount", "6.12", 2, anon=False)

    def shared() -> Answer:
        return b.twin.ask(HEAD, Question.SHARED)[0]

    assert shared() is Answer.NO
    b.do(Hook.MAP_RUN, nr=1)
    assert shared() is Answer.NO
    b.do(Hook.MAP_RUN, first=2, nr=1)
    b.do(Hook.MAP_RUN, first=2, nr=1)
    assert shared() is Answer.NO
    b.do(Hook.MAP_RUN, nr=1)
    assert shared() is Answer.YES
    b.do(Hook.UNMAP_RUN, nr=1)
    assert shared() is Answer.NO
    b.do(Hook.MAP_PMD)
    assert shared() is Answer.YES
    assert b.twin.ask(HEAD, Question.PAGE_MAPCOUNT, 2) == (Answer.COUNT, 3)
    assert b.twin.ask(HEAD, Question.MAPPING_REFS) == (Answer.COUNT, 4)


def test_answers_of_page_mapcount() -> None:
    b = Bench("page_mapcount", "6.1", 2, anon=True)
    b.new_pmd()
    b.do(Hook.MAP_PMD)
    b.do(Hook.SPLIT_PMD)
    b.do(Hook.UNMAP_RUN, first=3, nr=1)
    assert [b.twin.ask(HEAD, Question.SHARED, i)[0] for i in range(4)] == [Answer.YES] * 3 + [Answer.NO]
    assert b.twin.ask(HEAD, Question.TOTAL_MAPCOUNT) == (Answer.COUNT, 4)


@pytest.mark.parametrize("order", [0, 2])
def test_answers_of_zero_one_two_many(order: int) -> None:
    unknown = (Answer.UNKNOWN, 0)
    b = Bench("zero_one_two_many", "7.0", order, anon=False)
    found: list[list[tuple[Answer, int]]] = []
    for _ in range(4):
        found.append([b.twin.ask(HEAD, question) for question in Question])
        b.map_all()
    exact = [(Answer.COUNT, step) for step in range(4)]
    assert [row[Question.MAPPED] for row in found] == [(Answer.NO, 0), (Answer.YES, 0), (Answer.YES, 0), unknown]
    assert [row[Question.SHARED] for row in found] == [(Answer.NO, 0), (Answer.NO, 0), unknown, unknown]
    assert [row[Question.MAPPING_REFS] for row in found] == exact
    totals = [row[Question.TOTAL_MAPCOUNT] for row in found]
    pages = [row[Question.PAGE_MAPCOUNT] for row in found]
    if order == 0:
        assert totals == pages == [*exact[:3], unknown]
    else:
        assert totals == [exact[0], unknown, unknown, unknown]
        assert pages == [*exact[:2], unknown, unknown]


# -- zero_one_two_many: claims 9.7, 9.9, 9.10, 9.11 of schemes.md --------------------------------------------------


def test_stale_many() -> None:
    b = Bench("zero_one_two_many", "7.0", 4, anon=False)
    other = b.state.refs
    for _ in range(5):
        b.map_all()
    for _ in range(5):
        assert b.unmap_all() == 0
    assert (b.state.step, b.state.refs - other) == (3, 3)
    assert b.twin.refs_peak == 3
    assert b.twin.ask(HEAD, Question.MAPPED) == (Answer.UNKNOWN, 0)
    b.do(Hook.REF_ADD, delta=-other)
    with pytest.raises(TwinError, match="freed while 3 references"):
        b.do(Hook.FOLIO_FREE, order=4)


@pytest.mark.parametrize("found", range(5))
@pytest.mark.parametrize("policy", [Recount.EAGER, Recount.EAGER_STOP3])
def test_recount_lowers_count_and_references_together(found: int, policy: Recount) -> None:
    if policy is Recount.EAGER_STOP3:
        found = min(found, 3)
    b = Bench("zero_one_two_many", "7.0", 4, anon=False, recount=policy)
    other = b.state.refs
    for _ in range(6):
        b.map_all()
    assert b.do(Hook.UNMAP_RUN, found, nr=16) == 2  # the mark that a recount runs, and the exchange that takes it away
    assert b.state.step == b.state.refs - other == min(found, 3)


def test_it_counts_vmas_not_entries() -> None:
    b = Bench("zero_one_two_many", "7.0", 4, anon=False)
    assert b.do(Hook.MAP_RUN, 0, nr=1) == 2
    assert b.do(Hook.MAP_RUN, 1, first=1, nr=15) == 0
    assert b.do(Hook.UNMAP_RUN, 1, first=4, nr=12) == 0
    assert b.state.step == 1
    assert b.do(Hook.VMA_SPLIT) == 2
    assert b.state.step == 2
    assert b.do(Hook.VMA_MERGE) == 2
    assert b.do(Hook.VMA_MOVE, 0, 0) == 4
    assert b.state.step == 1
    assert b.do(Hook.VMA_MOVE, 1, 1) == 0
    assert b.do(Hook.UNMAP_RUN, 0, nr=4) == 2
    assert b.state.step == 0
    with pytest.raises(TwinError, match="not mapped"):
        b.do(Hook.VMA_MOVE, 0, 0)


def test_vma_changes_with_answers() -> None:
    """A straddling folio counts only if both sides hold some of it; each answer speaks for a side."""
    b = Bench("zero_one_two_many", "7.0", 4, anon=False, recount=Recount.EAGER)
    b.map_all()
    assert b.do(Hook.VMA_SPLIT, 1, 0) == 0
    assert b.do(Hook.VMA_SPLIT, 0) == 0
    assert b.do(Hook.VMA_SPLIT, 1, 1) == 2
    assert b.do(Hook.VMA_MERGE, 0) == 0
    assert b.do(Hook.VMA_MERGE, 1) == 2
    with pytest.raises(TwinError, match="two VMAs that map the folio merge"):
        b.do(Hook.VMA_MERGE)
    b.map_all()
    assert b.do(Hook.VMA_MOVE, 1, 0) == 2
    assert b.state.step == MANY
    assert b.do(Hook.VMA_SPLIT) == 0
    assert b.do(Hook.VMA_MERGE) == 0
    assert b.do(Hook.VMA_MERGE, 2) == 2
    assert b.state.step == 2


def test_first_run_of_a_fork_needs_no_answer() -> None:
    b = Bench("zero_one_two_many", "7.0", 4, anon=True)
    with pytest.raises(TwinError, match="nothing maps"):
        b.do(Hook.FORK_RUN)
    b.new_ptes()
    assert b.do(Hook.FORK_RUN, nr=8) == 2
    assert b.do(Hook.FORK_RUN, 1, first=8, nr=8) == 0
    assert b.state.step == 2


def test_recount_below_many_must_agree() -> None:
    b = Bench("zero_one_two_many", "7.0", 4, anon=False)
    b.map_all()
    assert b.do(Hook.RECOUNT, 1) == 0
    with pytest.raises(TwinError, match="a walk found 2 VMAs"):
        b.do(Hook.RECOUNT, 2)


# -- random legal sequences ----------------------------------------------------------------------------------------

REGION_STRIDE = 1 << 20
FOLIO_STRIDE = 1 << 10


@dataclass(slots=True)
class Region:
    """A range of one mm in which every folio has its place; cut into VMAs at the pages in ``cuts``."""

    number: int
    mm: int
    cuts: list[int] = field(default_factory=list)

    @property
    def start(self) -> int:
        return (self.number + 1) * REGION_STRIDE

    def vmas(self) -> list[tuple[int, int]]:
        edges = [self.start, *sorted(self.cuts), self.start + REGION_STRIDE]
        return list(itertools.pairwise(edges))


@dataclass(slots=True)
class WorldFolio:
    """Where a folio is mapped: per region the pages mapped by PTE, or all of them by a PMD."""

    number: int
    pfn: int
    order: int
    anon: bool
    other_refs: int
    ptes: dict[int, set[int]] = field(default_factory=dict)
    pmds: set[int] = field(default_factory=set)
    exclusive: set[int] = field(default_factory=set)

    @property
    def nr_pages(self) -> int:
        return 1 << self.order

    def vpn(self, region: Region, page: int = 0) -> int:
        return region.start + self.number * FOLIO_STRIDE + page

    def pages_of(self, region: Region) -> set[int]:
        return set(range(self.nr_pages)) if region.number in self.pmds else self.ptes.get(region.number, set())

    def pages_in(self, region: Region, vma: tuple[int, int]) -> set[int]:
        return {i for i in self.pages_of(region) if vma[0] <= self.vpn(region, i) < vma[1]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A call of the log, with everything a scheme might ask about it."""

    op: RmapOp
    present_before: int = 0
    present_after: int = 0
    target_before: int = 0
    nr_vmas: int = 0


class World:
    """A few mms, regions and folios; makes random legal changes and says which rmap calls they take."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.regions: list[Region] = []
        self.folios: list[WorldFolio] = []
        self.nr_folios = 0
        self.next_region = 0
        self.next_mm = 1
        for _ in range(2):
            self.add_mm()

    def add_mm(self) -> list[Region]:
        made = [Region(self.next_region + k, self.next_mm) for k in range(2)]
        self.next_region += 2
        self.next_mm += 1
        self.regions += made
        return made

    def nr_vmas(self, folio: WorldFolio) -> int:
        return sum(1 for region in self.regions for vma in region.vmas() if folio.pages_in(region, vma))

    def spaces(self) -> list[AddressSpace]:
        rows: dict[int, list[MappingRow]] = {region.mm: [] for region in self.regions}
        for folio in self.folios:
            kind = MappingKind.ANON if folio.anon else MappingKind.FILE
            for region in self.regions:
                if region.number in folio.pmds:
                    rows[region.mm].append(
                        MappingRow(vpn=folio.vpn(region), pfn=folio.pfn, nr=folio.nr_pages, kind=kind, pmd=1)
                    )
                for i in folio.ptes.get(region.number, ()):
                    rows[region.mm].append(MappingRow(vpn=folio.vpn(region, i), pfn=folio.pfn + i, nr=1, kind=kind))
        return [
            AddressSpace(mm_id=mm, vmas=[vma for r in self.regions if r.mm == mm for vma in r.vmas()], rows=mm_rows)
            for mm, mm_rows in rows.items()
        ]

    def call(self, hook: Hook, folio: WorldFolio, region: Region | None = None, **members: int) -> RmapOp:
        members.setdefault("batched", self.random.randint(0, 1))
        members.setdefault("refs_batched", self.random.randint(0, 1))
        members["flags"] = members.get("flags", 0) | (RUN_ANON if folio.anon else 0)
        if region is not None:
            members["mm_id"] = region.mm
            members["vpn"] = folio.vpn(region, members.get("first", 0))
        return RmapOp(hook=hook, folio=folio.pfn, **members)

    # Each method below yields the calls of one change, in the kernel's order.

    def step(self) -> Iterator[Call]:
        changes = [
            self.map_file_ptes,
            self.map_file_ptes,
            self.map_pmd,
            self.swap_in,
            self.unmap_ptes,
            self.unmap_ptes,
            self.unmap_pmd,
            self.split_pmd,
            self.cut_vma,
            self.join_vmas,
            self.move_pages,
            self.pin,
            self.recount,
        ]
        if len(self.folios) < 5:
            changes += [self.new_folio] * 4
        if len(self.regions) < 10:
            changes += [self.fork] * 2
        else:
            changes += [self.exit] * 2
        yield from self.random.choice(changes)()

    def new_folio(self) -> Iterator[Call]:
        order = self.random.choice((0, 1, 2, 3))
        anon = self.random.random() < 0.5
        pfn = (self.nr_folios + 1) * 16
        folio = WorldFolio(self.nr_folios, pfn, order, anon, other_refs=0)
        self.nr_folios += 1
        self.folios.append(folio)
        yield Call(op=self.call(Hook.FOLIO_INIT, folio, order=order))
        if not anon:
            # The page cache holds one reference per page; the allocation's own is one of them here.
            folio.other_refs = folio.nr_pages
            yield Call(op=self.call(Hook.REF_ADD, folio, delta=folio.nr_pages - 1))
            return
        region = self.random.choice(self.regions)
        place = (folio.vpn(region), folio.vpn(region, folio.nr_pages))
        in_one_vma = any(start <= place[0] and place[1] <= end for start, end in region.vmas())
        if order and in_one_vma and self.random.random() < 0.5:
            folio.pmds.add(region.number)
            folio.exclusive = {0}
            yield self.mapped(Hook.MAP_PMD, folio, region, 0, folio.nr_pages, RUN_NEW)
        else:
            folio.ptes[region.number] = set(range(folio.nr_pages))
            folio.exclusive = set(range(folio.nr_pages))
            yield self.mapped(Hook.MAP_RUN, folio, region, 0, folio.nr_pages, RUN_NEW)
        yield Call(op=self.call(Hook.EXCLUSIVE_SET, folio, region, nr=len(folio.exclusive)))

    def mapped(self, hook: Hook, folio: WorldFolio, region: Region, first: int, nr: int, flags: int = 0) -> Call:
        """A map call; the caller has entered the pages in the world already."""
        run = set(range(first, first + nr))
        vma = self.vma_at(region, folio, first)
        before = folio.pages_in(region, vma) - run
        op = self.call(hook, folio, region, first=first, nr=nr, flags=flags)
        return Call(op=op, present_before=int(bool(before)), nr_vmas=self.nr_vmas(folio))

    def unmapped(self, hook: Hook, folio: WorldFolio, region: Region, first: int, nr: int) -> Call:
        """An unmap call; the caller has taken the pages out of the world already."""
        left = folio.pages_in(region, self.vma_at(region, folio, first))
        op = self.call(hook, folio, region, first=first, nr=nr)
        return Call(op=op, present_after=int(bool(left)), nr_vmas=self.nr_vmas(folio))

    @staticmethod
    def vma_at(region: Region, folio: WorldFolio, page: int) -> tuple[int, int]:
        vpn = folio.vpn(region, page)
        return next(vma for vma in region.vmas() if vma[0] <= vpn < vma[1])

    def runs(self, folio: WorldFolio, region: Region, pages: set[int]) -> list[range]:
        """Consecutive pages within one VMA."""
        found: list[range] = []
        for i in sorted(pages):
            if found and found[-1].stop == i and self.vma_at(region, folio, i - 1) == self.vma_at(region, folio, i):
                found[-1] = range(found[-1].start, i + 1)
            else:
                found.append(range(i, i + 1))
        return found

    def some_run(self, folio: WorldFolio, region: Region, pages: set[int]) -> range | None:
        runs = self.runs(folio, region, pages)
        if not runs:
            return None
        whole = self.random.choice(runs)
        first = self.random.choice(whole)
        return range(first, self.random.randint(first + 1, whole.stop)) if self.random.random() < 0.7 else whole

    def pick(self, anon: bool | None = None) -> tuple[WorldFolio, Region] | None:
        folios = [f for f in self.folios if anon is None or f.anon == anon]
        return (self.random.choice(folios), self.random.choice(self.regions)) if folios else None

    def map_file_ptes(self) -> Iterator[Call]:
        yield from self.map_ptes(anon=False)

    def swap_in(self) -> Iterator[Call]:
        yield from self.map_ptes(anon=True)

    def map_ptes(self, anon: bool) -> Iterator[Call]:
        picked = self.pick(anon)
        if picked is None:
            return
        folio, region = picked
        run = self.some_run(folio, region, set(range(folio.nr_pages)) - folio.pages_of(region))
        if run is None:
            return
        flags = 0
        if not anon and self.random.random() < 0.5:
            flags = RUN_DONATED
            yield Call(op=self.call(Hook.REF_ADD, folio, delta=1))
        folio.ptes.setdefault(region.number, set()).update(run)
        yield self.mapped(Hook.MAP_RUN, folio, region, run.start, len(run), flags)

    def map_pmd(self) -> Iterator[Call]:
        picked = self.pick(anon=False)
        if picked is None:
            return
        folio, region = picked
        if not folio.order or folio.pages_of(region) or len(self.runs(folio, region, set(range(folio.nr_pages)))) > 1:
            return
        folio.pmds.add(region.number)
        yield self.mapped(Hook.MAP_PMD, folio, region, 0, folio.nr_pages)

    def unmap_ptes(self) -> Iterator[Call]:
        picked = self.pick()
        if picked is None:
            return
        folio, region = picked
        run = self.some_run(folio, region, folio.ptes.get(region.number, set()))
        if run is not None:
            folio.ptes[region.number] -= set(run)
            yield self.unmapped(Hook.UNMAP_RUN, folio, region, run.start, len(run))
            yield from self.free_if_dead(folio)

    def unmap_pmd(self) -> Iterator[Call]:
        picked = self.pick()
        if picked is not None and picked[1].number in picked[0].pmds:
            folio, region = picked
            folio.pmds.remove(region.number)
            # A file PMD may go because something wants to split it.
            hook = Hook.UNMAP_PMD if folio.anon or self.random.random() < 0.5 else Hook.SPLIT_PMD
            yield self.unmapped(hook, folio, region, 0, folio.nr_pages)
            yield from self.free_if_dead(folio)

    def split_pmd(self) -> Iterator[Call]:
        picked = self.pick(anon=True)
        if picked is not None and picked[1].number in picked[0].pmds:
            yield from self.split_pmd_of(*picked)

    def split_pmd_of(self, folio: WorldFolio, region: Region) -> Iterator[Call]:
        folio.pmds.remove(region.number)
        folio.ptes[region.number] = set(range(folio.nr_pages))
        yield Call(op=self.call(Hook.SPLIT_PMD, folio, region, nr=folio.nr_pages))
        if 0 in folio.exclusive:
            folio.exclusive = set(range(folio.nr_pages))
            yield Call(op=self.call(Hook.EXCLUSIVE_SET, folio, region, nr=folio.nr_pages))

    def fork(self) -> Iterator[Call]:
        parent_mm = self.random.choice(self.regions).mm
        parents = [r for r in self.regions if r.mm == parent_mm]
        children = self.add_mm()
        for parent, child in zip(parents, children, strict=True):
            child.cuts = [cut - parent.start + child.start for cut in parent.cuts]
        for parent, child in zip(parents, children, strict=True):
            for folio in self.folios:
                if not folio.anon and self.random.random() < 0.5:
                    continue  # a VMA without anon_vma is not copied
                if parent.number in folio.pmds and folio.anon:
                    yield from self.clear_exclusive(folio, 0, 1)
                    folio.pmds.add(child.number)
                    yield self.mapped(Hook.MAP_PMD, folio, child, 0, folio.nr_pages)
                for run in self.runs(folio, parent, folio.ptes.get(parent.number, set())):
                    if folio.anon:
                        yield from self.clear_exclusive(folio, run.start, len(run))
                    folio.ptes.setdefault(child.number, set()).update(run)
                    yield self.mapped(Hook.FORK_RUN, folio, child, run.start, len(run))

    def clear_exclusive(self, folio: WorldFolio, first: int, nr: int) -> Iterator[Call]:
        folio.exclusive -= set(range(first, first + nr))
        yield Call(op=self.call(Hook.EXCLUSIVE_CLEAR, folio, first=first, nr=nr))

    def exit(self) -> Iterator[Call]:
        mm = self.random.choice(self.regions).mm
        for region in [r for r in self.regions if r.mm == mm]:
            for folio in list(self.folios):
                if region.number in folio.pmds:
                    folio.pmds.remove(region.number)
                    yield self.unmapped(Hook.UNMAP_PMD, folio, region, 0, folio.nr_pages)
                for run in self.runs(folio, region, folio.ptes.get(region.number, set())):
                    folio.ptes[region.number] -= set(run)
                    yield self.unmapped(Hook.UNMAP_RUN, folio, region, run.start, len(run))
                yield from self.free_if_dead(folio)
        self.regions = [r for r in self.regions if r.mm != mm]

    def free_if_dead(self, folio: WorldFolio) -> Iterator[Call]:
        if folio.pmds or any(folio.ptes.values()):
            return
        if not folio.anon and self.random.random() < 0.5:
            return  # the page cache keeps it
        if folio.other_refs:
            yield Call(op=self.call(Hook.REF_ADD, folio, delta=-folio.other_refs))
            folio.other_refs = 0
        self.folios.remove(folio)
        yield Call(op=self.call(Hook.FOLIO_FREE, folio, order=folio.order))

    def cut_vma(self) -> Iterator[Call]:
        picked = self.pick()
        if picked is None or picked[0].order == 0:
            return
        folio, region = picked
        cut = folio.vpn(region, self.random.randrange(1, folio.nr_pages))
        if cut in region.cuts:
            return
        if region.number in folio.pmds:
            if folio.anon:
                yield from self.split_pmd_of(folio, region)
            else:
                folio.pmds.remove(region.number)
                yield self.unmapped(Hook.UNMAP_PMD, folio, region, 0, folio.nr_pages)
        vma = next(v for v in region.vmas() if v[0] < cut < v[1])
        both = folio.pages_in(region, (vma[0], cut)) and folio.pages_in(region, (cut, vma[1]))
        region.cuts.append(cut)
        if both:
            yield Call(op=self.call(Hook.VMA_SPLIT, folio, region), nr_vmas=self.nr_vmas(folio))

    def join_vmas(self) -> Iterator[Call]:
        region = self.random.choice(self.regions)
        if not region.cuts:
            return
        cut = self.random.choice(region.cuts)
        before = next(v for v in region.vmas() if v[1] == cut)
        after = next(v for v in region.vmas() if v[0] == cut)
        straddling = [f for f in self.folios if f.pages_in(region, before) and f.pages_in(region, after)]
        region.cuts.remove(cut)
        for folio in straddling:
            yield Call(op=self.call(Hook.VMA_MERGE, folio, region), nr_vmas=self.nr_vmas(folio))

    def move_pages(self) -> Iterator[Call]:
        """mremap of a run to the other region of the mm; no count of a kernel that shipped notices."""
        picked = self.pick(anon=True)
        if picked is None:
            return
        folio, source = picked
        target = next(r for r in self.regions if r.mm == source.mm and r is not source)
        run = self.some_run(folio, source, folio.ptes.get(source.number, set()))
        if run is None or folio.pages_of(target) & set(run) or len(self.runs(folio, target, set(run))) > 1:
            return
        source_vma = self.vma_at(source, folio, run.start)
        target_vma = self.vma_at(target, folio, run.start)
        target_before = int(bool(folio.pages_in(target, target_vma)))
        folio.ptes[source.number] -= set(run)
        folio.ptes.setdefault(target.number, set()).update(run)
        yield Call(
            op=self.call(Hook.VMA_MOVE, folio, source, first=run.start, nr=len(run)),
            present_after=int(bool(folio.pages_in(source, source_vma))),
            target_before=target_before,
            nr_vmas=self.nr_vmas(folio),
        )

    def pin(self) -> Iterator[Call]:
        picked = self.pick()
        if picked is None:
            return
        folio, _ = picked
        if folio.anon and folio.other_refs:
            delta = -folio.other_refs
        elif folio.anon or folio.other_refs == folio.nr_pages:
            delta = self.random.choice((1, 4))
        else:
            delta = folio.nr_pages - folio.other_refs
        folio.other_refs += delta
        yield Call(op=self.call(Hook.REF_ADD, folio, delta=delta))

    def recount(self) -> Iterator[Call]:
        picked = self.pick()
        if picked is not None:
            yield Call(op=self.call(Hook.RECOUNT, picked[0]), nr_vmas=self.nr_vmas(picked[0]))


class Lane:
    """One scheme driven through the calls of a world; keeps the log it was given."""

    def __init__(self, scheme: str, kernel: str, recount: Recount = Recount.LAZY) -> None:
        self.scheme = scheme
        self.kernel = kernel
        self.params = Params(recount=recount)
        self.twin: SchemeTwin[Any] = SCHEMES[scheme](kernel_number(kernel), self.params)
        self.log: list[RmapOp] = []
        self.answers: list[int] = []
        self.rmw: list[dict[str, int]] = []
        self.leaked: set[int] = set()

    def answers_to(self, call: Call) -> tuple[int, ...]:
        """What this scheme asks at this call, and what the world says."""
        if self.scheme != "zero_one_two_many" or call.op.hook is Hook.FOLIO_INIT:
            return ()
        step = self.twin.folios[call.op.folio].step
        many = {
            Recount.LAZY: (),
            Recount.EAGER: (call.nr_vmas,),
            Recount.EAGER_STOP3: (min(call.nr_vmas, 3),),
        }[self.params.recount]
        match call.op.hook:
            case Hook.MAP_RUN | Hook.MAP_PMD | Hook.FORK_RUN:
                return (call.present_before,) if step < MANY and not call.op.new else ()
            case Hook.UNMAP_RUN | Hook.UNMAP_PMD:
                return (call.present_after,) if step < MANY else many
            case Hook.SPLIT_PMD if not call.op.anon:
                return (call.present_after,) if step < MANY else many
            case Hook.VMA_MOVE:
                return (call.present_after, call.target_before) if step < MANY else many
            case Hook.VMA_MERGE:
                return () if step < MANY else many
            case Hook.RECOUNT:
                return (call.nr_vmas,)
        return ()

    def apply(self, call: Call) -> None:
        if call.op.hook is Hook.FOLIO_FREE:
            state = self.twin.folios[call.op.folio]
            if self.scheme == "zero_one_two_many" and state.step == MANY:
                # Stale Many: its references keep the folio allocated.
                assert state.refs == 3
                assert self.params.recount is Recount.LAZY
                self.leaked.add(call.op.folio)
                return
        answers = self.answers_to(call)
        op = replace(call.op, first_answer=len(self.answers), nr_answers=len(answers))
        self.log.append(op)
        self.answers += answers
        self.rmw.append(self.twin.apply(op, Answers(answers)))


def all_lanes() -> list[Lane]:
    return [
        Lane("page_mapcount", "5.17"),
        Lane("page_mapcount", "6.1"),
        Lane("large_mapcount", "6.12"),
        *(Lane("zero_one_two_many", "7.0", policy) for policy in (Recount.LAZY, Recount.EAGER, Recount.EAGER_STOP3)),
    ]


def check_lane(lane: Lane, world: World, truth: dict[int, FolioTruth]) -> None:
    """State of one scheme against the page tables."""
    assert set(lane.twin.folios) - lane.leaked == set(truth)
    for folio in world.folios:
        exact = truth[folio.pfn]
        state = lane.twin.folios[folio.pfn]
        assert state.refs - state.mapping_refs == folio.other_refs
        if isinstance(state, ZeroOneTwoManyFolio):
            exact.check_zero_one_two_many(state.step)
            assert state.mapping_refs == state.step <= 3
            continue
        assert state.mapping_refs == exact.total_mapcount
        total = lane.twin.ask(folio.pfn, Question.TOTAL_MAPCOUNT)
        assert total == (Answer.COUNT, exact.total_mapcount)
        mapped = lane.twin.ask(folio.pfn, Question.MAPPED)[0]
        assert mapped == (Answer.YES if exact.total_mapcount else Answer.NO)
        for i in range(folio.nr_pages):
            assert lane.twin.ask(folio.pfn, Question.PAGE_MAPCOUNT, i) == (Answer.COUNT, exact.page_mapcount(i))
        if isinstance(state, PageMapcountFolio):
            fields = exact.page_mapcount_fields(state.double_map)
            assert fields == {"compound_mapcount": state.compound, "mapcount": state.mapcount}
        elif folio.order:
            assert isinstance(state, LargeMapcountFolio)
            fields = exact.large_mapcount_fields()
            assert fields == {
                "large_mapcount": state.total,
                "entire_mapcount": state.entire,
                "nr_pages_mapped": state.nr_mapped,
                "mapcount": state.mapcount,
            }
    leaked = {pfn + i for pfn in lane.leaked for i in range(8)}
    assert lane.twin.exclusive.pages - leaked == {f.pfn + i for f in world.folios for i in f.exclusive}


def check_bytes(lane: Lane, truth: dict[int, FolioTruth], nr_pages: int) -> None:
    """Rendered struct pages against those the page tables demand."""
    if lane.scheme == "zero_one_two_many":
        return
    states = lane.twin.folios
    doubled = [pfn for pfn, state in states.items() if getattr(state, "double_map", False)]
    demanded, demanded_mask = expected_counts(truth, lane.scheme, nr_pages, doubled)
    values, mask = lane.twin.pages_bytes(nr_pages)
    assert np.array_equal(mask & demanded_mask, demanded_mask)
    assert np.array_equal(values & demanded_mask, demanded)
    assert not np.any(values & ~mask)


@pytest.mark.parametrize("seed", range(10))
def test_random_sequences(seed: int) -> None:
    """All schemes stay true to the page tables after every change, and a replay of their logs ends the same."""
    world = World(seed)
    lanes = all_lanes()
    for _ in range(250):
        for call in world.step():
            for lane in lanes:
                lane.apply(call)
        truth = recount(world.spaces(), {f.pfn: f.order for f in world.folios})
        for lane in lanes:
            check_lane(lane, world, truth)
    nr_pages = (world.nr_folios + 1) * 16
    truth = recount(world.spaces(), {f.pfn: f.order for f in world.folios})
    for lane in lanes:
        check_bytes(lane, truth, nr_pages)
        check_replay(lane, nr_pages)
        if lane.params.recount is not Recount.LAZY:
            assert not lane.leaked
        if lane.scheme == "zero_one_two_many":
            assert lane.twin.refs_peak <= 3
    check_twins_agree(lanes)


def check_replay(lane: Lane, nr_pages: int) -> None:
    """``replay`` of the same log, as objects and as the C structure, ends in the same bytes and atomics."""
    log = np.zeros(len(lane.log), dtype=RMAP_OP_DTYPE)
    for name in RMAP_OP_DTYPE.names or ():
        if name != "pad":
            log[name] = [int(getattr(op, name)) for op in lane.log]
    answers = np.array(lane.answers, dtype=np.int64)
    expected = [[rmw.get(name, 0) for name in RMW_FIELDS] for rmw in lane.rmw]
    for state in (
        replay(lane.log, lane.answers, lane.scheme, lane.kernel, lane.params),
        replay(log, answers, lane.scheme, kernel_number(lane.kernel), lane.params),
    ):
        assert state.rmw.tolist() == expected
        assert state.folios == lane.twin.folios
        for left, right in zip(state.pages_bytes(nr_pages), lane.twin.pages_bytes(nr_pages), strict=True):
            assert np.array_equal(left, right)
        maps = state.rmw_of(Hook.MAP_RUN)
        assert maps["refcount"] == sum(
            rmw.get("refcount", 0) for op, rmw in zip(lane.log, lane.rmw, strict=True) if op.hook is Hook.MAP_RUN
        )


def check_twins_agree(lanes: Sequence[Lane]) -> None:
    """What the exact schemes spend alike: references, exclusive flags, the per-page counts of PTEs."""
    old, new, large = lanes[:3]
    for op, a, b, c in zip(old.log, old.rmw, new.rmw, large.rmw, strict=True):
        for rmw_field in ("refcount", "anon_exclusive"):
            assert a.get(rmw_field, 0) == b.get(rmw_field, 0) == c.get(rmw_field, 0)
        if op.hook in (Hook.MAP_RUN, Hook.FORK_RUN, Hook.UNMAP_RUN):
            assert a.get("mapcount", 0) == b.get("mapcount", 0) == c.get("mapcount", 0) == (0 if op.new else op.nr)
        assert a.get("split_queue_lock", 0) >= b.get("split_queue_lock", 0)


@pytest.mark.parametrize("seed", range(100, 106))
def test_atomics_of_large_mapcount_from_the_truth(seed: int) -> None:
    """Recompute every call's atomics from the page tables before and after it."""
    world = World(seed)
    lane = Lane("large_mapcount", "6.12")
    queued: set[int] = set()
    before: dict[int, FolioTruth] = {}
    for _ in range(200):
        for call in world.step():
            lane.apply(call)
            op = call.op
            truth = recount(world.spaces(), {f.pfn: f.order for f in world.folios})
            old = before.get(op.folio)
            if old is not None and op.hook in (Hook.MAP_RUN, Hook.FORK_RUN, Hook.UNMAP_RUN) and not op.new:
                assert lane.rmw[-1] == atomics_from_truth(op, old, queued)
            before = truth
            if op.hook is Hook.FOLIO_FREE:
                queued.discard(op.folio)
            elif lane.twin.folios[op.folio].queued:
                queued.add(op.folio)


def atomics_from_truth(op: RmapOp, folio: FolioTruth, queued: set[int]) -> dict[str, int]:
    """schemes.md 3.8, one rmap call at a time, for a run of PTEs."""
    pte = list(folio.pte)
    unmap = op.hook is Hook.UNMAP_RUN
    rmw = dict.fromkeys(RMW_FIELDS, 0)
    size = op.nr if op.batched else 1
    is_queued = op.folio in queued
    for start in range(op.first, op.first + op.nr, size):
        crossed = 0
        for i in range(start, start + size):
            crossed += pte[i] == (1 if unmap else 0)
            pte[i] += -1 if unmap else 1
            rmw["mapcount"] += 1
        if folio.order:
            rmw["large_mapcount"] += 1
            rmw["nr_pages_mapped"] += crossed > 0
        partially = unmap and op.anon and crossed and not folio.pmd and any(pte)
        if partially and folio.order > 1 and not is_queued:
            is_queued = True
            rmw["split_queue_lock"] += 1
    refs = op.nr - (1 if op.donated else 0)
    rmw["refcount"] = min(refs, 1) if op.refs_batched else refs
    return {name: nr for name, nr in rmw.items() if nr}


# -- bytes ---------------------------------------------------------------------------------------------------------


def test_bytes_of_a_fresh_folio() -> None:
    for scheme, head in (("page_mapcount", -1), ("large_mapcount", -1), ("zero_one_two_many", 0)):
        state = replay([RmapOp(hook=Hook.FOLIO_INIT, folio=4, order=2)], [], scheme, "6.1")
        values, mask = state.pages_bytes(10)
        assert values.shape == mask.shape == (10, 64)
        assert [s32(values[4 + i], 48) for i in range(4)] == [head, -1, -1, -1]
        assert [s32(values[4 + i], 52) for i in range(4)] == [1, 0, 0, 0]
        assert not mask[:4].any()
        assert not mask[8:].any()
        assert (mask[4:8, 48:56] == 0xFF).all()
        assert mask[4, 2] == 1 << (17 - 16)
        if scheme == "page_mapcount":
            assert s32(values[5], 20) == -1
            assert mask[5, 2] == 1 << (17 - 16) | 1 << (20 - 16)
        if scheme == "large_mapcount":
            assert [s32(values[5], offset) for offset in (16, 20, 24)] == [-1, -1, 0]


def test_bytes_of_a_mixed_folio() -> None:
    """order-2 folio, anonymous: one PMD mapping, one process that split its own and unmapped page 0."""
    for scheme in ("page_mapcount", "large_mapcount", "zero_one_two_many"):
        b = Bench(scheme, "6.1", 2, anon=True)
        b.new_pmd()
        b.do(Hook.MAP_PMD, *b.presence(0))
        b.do(Hook.SPLIT_PMD)
        b.do(Hook.UNMAP_RUN, *b.presence(1), first=0, nr=1)
        values, _ = b.twin.pages_bytes(HEAD + 4)
        pages = values[HEAD:]
        counts = [s32(page, 48) for page in pages]
        refs = s32(pages[0], 52)
        exclusive = [bool(page[2] & 2) for page in pages]
        assert exclusive == [True, False, False, False]
        if scheme == "page_mapcount":
            assert (counts, s32(pages[1], 20), bool(pages[1][2] & 16), refs) == ([0, 1, 1, 1], 0, True, 4)
        elif scheme == "large_mapcount":
            assert (counts, refs) == ([-1, 0, 0, 0], 4)
            assert [s32(pages[1], offset) for offset in (16, 20, 24)] == [3, 0, 0x800000 + 3]
        else:
            assert (counts, refs) == ([2, -1, -1, -1], 2)


# -- illegal logs --------------------------------------------------------------------------------------------------


def init(order: int = 2, folio: int = 16) -> RmapOp:
    return RmapOp(hook=Hook.FOLIO_INIT, folio=folio, order=order)


@pytest.mark.parametrize(
    ("log", "rule"),
    [
        ([RmapOp(hook=Hook.MAP_RUN, folio=16)], "no live folio"),
        ([init(folio=17)], "aligned to its size"),
        ([init(), init(order=0, folio=18)], "already belongs to the live folio at 0x10"),
        ([init(), RmapOp(hook=Hook.MAP_RUN, folio=16, first=3, nr=2)], r"\[3, 5\) are no run of a folio of 4 pages"),
        ([init(), RmapOp(hook=Hook.UNMAP_RUN, folio=16)], "not mapped"),
        ([init(), RmapOp(hook=Hook.FORK_RUN, folio=16)], "fork copies a"),
        ([init(), RmapOp(hook=Hook.UNMAP_PMD, folio=16)], "no PMD maps|not mapped"),
        ([init(), RmapOp(hook=Hook.SPLIT_PMD, folio=16, flags=RUN_ANON)], "no PMD maps|not mapped"),
        ([init(order=0), RmapOp(hook=Hook.MAP_PMD, folio=16)], "small folio"),
        ([init(), RmapOp(hook=Hook.MAP_RUN, folio=16, flags=RUN_NEW)], "only anonymous folios"),
        ([init(), RmapOp(hook=Hook.REF_ADD, folio=16, delta=-2)], "fell to -1"),
        ([init(), RmapOp(hook=Hook.FOLIO_FREE, folio=16, order=2)], "while 1 references"),
        ([init(), RmapOp(hook=Hook.FOLIO_FREE, folio=16, order=1)], "allocated with order 2"),
    ],
)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_illegal_logs(scheme: str, log: list[RmapOp], rule: str) -> None:
    answers = []
    if scheme in ("vma_count", "vma_pt_tuples") and log[-1].hook in (Hook.UNMAP_RUN, Hook.UNMAP_PMD):
        log, answers = [*log[:-1], replace(log[-1], nr_answers=1)], [0]
    with pytest.raises(TwinError, match=rule) as caught:
        replay(log, answers, scheme, "6.12")
    assert f"call {len(log) - 1}: {scheme}" in str(caught.value)


def test_answers_must_fit() -> None:
    mapping = RmapOp(hook=Hook.MAP_RUN, folio=16)
    with pytest.raises(TwinError, match="holds no answer"):
        replay([init(), mapping], [], "zero_one_two_many", "6.12")
    asked = replace(mapping, nr_answers=1)
    with pytest.raises(TwinError, match="no reason to ask"):
        replay([init(), asked], [0], "large_mapcount", "6.12")
    with pytest.raises(TwinError, match=r"answers \[0, 1\) of only 0"):
        replay([init(), asked], [], "zero_one_two_many", "6.12")
    with pytest.raises(TwinError, match="answer -1"):
        replay([init(), asked], [-1], "zero_one_two_many", "6.12")


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="no twin of scheme 'mapcount'"):
        replay([], [], "mapcount", "7.0")
    with pytest.raises(ValueError, match="must read MAJOR"):
        replay([], [], "page_mapcount", "six")
    with pytest.raises(ValueError, match="nr is -1"):
        RmapOp(hook=Hook.MAP_RUN, folio=0, nr=-1)
    with pytest.raises(ValueError, match="flags is 0x8"):
        RmapOp(hook=Hook.MAP_RUN, folio=0, flags=8)
    with pytest.raises(ValueError, match="batched is 2"):
        RmapOp(hook=Hook.MAP_RUN, folio=0, batched=2)
    with pytest.raises(ValueError, match="page 4 of a folio of 4 pages"):
        replay([init()], [], "page_mapcount", "6.1").twin.ask(16, Question.PAGE_MAPCOUNT, 4)
    with pytest.raises(ValueError, match="is live, but only"):
        replay([init()], [], "page_mapcount", "6.1").pages_bytes(17)


# -- truth ---------------------------------------------------------------------------------------------------------


def tmpfs_thp_pmd_and_pte() -> list[AddressSpace]:
    """Two file THPs: P0 maps both by PMD; P1 does too, and 600 pages of them once more by PTE."""
    rows = [MappingRow(vpn=512 * k, pfn=512 * (k + 1), nr=512, kind=1, pmd=1) for k in range(2)]
    again = [
        MappingRow(vpn=4096, pfn=512, nr=512, kind=1),
        MappingRow(vpn=4608, pfn=1024, nr=88, kind=1),
    ]
    both = np.array([(r.vpn, r.pfn, r.nr, r.kind, r.pmd, r.writable) for r in rows + again], dtype=MAPPING_ROW_DTYPE)
    return [
        AddressSpace(mm_id=1, vmas=[(0, 1024)], rows=rows),
        AddressSpace(mm_id=2, vmas=[(0, 1024), (4096, 5120)], rows=both),
    ]


def test_truth_agrees_with_kernels() -> None:
    """What Linux 6.1 and 6.12 answered in this situation, references of the page cache (512) apart."""
    spaces = tmpfs_thp_pmd_and_pte()
    folios = {512: 9, 1024: 9}
    truth = recount(spaces, folios)
    assert [(t.pte_mappings, t.pmd, len(t.vmas), len(t.mms)) for t in truth.values()] == [(512, 2, 3, 2), (88, 2, 3, 2)]
    assert {truth[1024].page_mapcount(i) for i in range(88)} == {3}
    assert {truth[1024].page_mapcount(i) for i in range(88, 512)} == {2}

    vmas = smaps(spaces, folios)
    assert [v.rss_pages * 4 for v in vmas] == [4096, 4096, 2400]
    assert [v.pss_kb for v in vmas] == [1647, 1647, 799]
    assert [v.file_huge_pages * 4 for v in vmas] == [4096, 4096, 0]
    assert [v.private_pages for v in vmas] == [0, 0, 0]

    values, _ = expected_counts(truth, "large_mapcount", 1536)
    assert [s32(values[p], 48) + 1 for p in (512, 1111, 1112)] == [1, 1, 0]
    assert [s32(values[513], o) for o in (16, 20, 24)] == [514 - 1, 2 - 1, 8389120]
    assert [s32(values[1025], o) for o in (16, 20, 24)] == [90 - 1, 2 - 1, 8388696]
    values, _ = expected_counts(truth, "page_mapcount", 1536)
    assert [s32(values[p], 48) + 1 for p in (512, 1111, 1112)] == [3, 3, 2]
    assert [s32(values[p], 20) + 1 for p in (513, 1025)] == [2, 2]

    for scheme, kernel in (("page_mapcount", "6.1"), ("large_mapcount", "6.12")):
        b = Bench(scheme, kernel, 9, anon=False)
        b.map_pmd()
        b.map_pmd()
        b.do(Hook.MAP_RUN, nr=88)
        assert b.state.refs == 602
        if scheme == "page_mapcount":
            assert (b.state.mapcount[0], b.state.compound, b.state.double_map) == (3, 2, True)
        else:
            assert (b.state.total, b.state.entire, b.state.nr_mapped) == (90, 2, 8388696)


def test_smaps_of_small_pages() -> None:
    """Thirds of 4 kB are truncated per page, then per VMA: three make 3 kB. Private counts entries, unique mms."""
    spaces = [
        AddressSpace(mm_id=m, vmas=[(0, 8), (8, 16)], rows=[MappingRow(vpn=0, pfn=0, nr=3, kind=0)]) for m in (1, 2, 3)
    ]
    folios = dict.fromkeys(range(5), 0)
    assert [v.pss_kb for v in smaps(spaces, folios)] == [3, 0] * 3
    twice = [MappingRow(vpn=0, pfn=4, nr=1, kind=1), MappingRow(vpn=9, pfn=4, nr=1, kind=1)]
    zero = [MappingRow(vpn=1, pfn=2**64 - 1, nr=1, kind=MappingKind.ZERO)]
    found = smaps([AddressSpace(mm_id=9, vmas=[(0, 8), (8, 16)], rows=twice + zero)], folios, 65536)
    assert [(v.rss_pages, v.private_pages, v.unique_pages, v.pss_bytes) for v in found] == [(1, 0, 1, 32768)] * 2


@pytest.mark.parametrize(
    ("rows", "rule"),
    [
        ([MappingRow(vpn=0, pfn=9, nr=1, kind=0)], "no live folio"),
        ([MappingRow(vpn=99, pfn=0, nr=1, kind=0)], "no VMA covers"),
        ([MappingRow(vpn=0, pfn=0, nr=2, kind=0), MappingRow(vpn=1, pfn=3, nr=1, kind=0)], "maps page 0x1 twice"),
        ([MappingRow(vpn=0, pfn=0, nr=2, kind=0, pmd=1)], "does not map one whole folio"),
        ([MappingRow(vpn=0, pfn=0, nr=1, kind=0), MappingRow(vpn=1, pfn=1, nr=1, kind=1)], "as anonymous and as file"),
    ],
)
def test_contradictory_page_tables(rows: list[MappingRow], rule: str) -> None:
    with pytest.raises(TruthError, match=rule):
        recount([AddressSpace(mm_id=1, vmas=[(0, 64)], rows=rows)], {0: 2})


def test_impossible_counts() -> None:
    folio = FolioTruth(pfn=0, order=2, anon=True, pte=[1] * 4, vmas={(1, 0), (2, 0)})
    with pytest.raises(TruthError, match="no PMD maps it"):
        folio.page_mapcount_fields(double_map=True)
    folio.check_zero_one_two_many(2)
    folio.check_zero_one_two_many(3)
    for step in (0, 1, 4):
        with pytest.raises(TruthError, match=f"count {step}"):
            folio.check_zero_one_two_many(step)
    with pytest.raises(ValueError, match="depend on history"):
        expected_counts({0: folio}, "zero_one_two_many", 4)
    empty = AddressSpace(mm_id=1, vmas=[], rows=[])
    with pytest.raises(TruthError, match="listed twice"):
        recount([empty, empty], {})


# -- cache ---------------------------------------------------------------------------------------------------------


def lines(*numbers: int) -> list[int]:
    """Addresses of lines; a negative number writes."""
    return [abs(n) * 64 | (n < 0) for n in numbers]


def test_cache_by_hand() -> None:
    """L1 holds 2 lines, L2 holds 4; line numbers below, a minus sign is a store."""
    cache = Hierarchy([LevelConfig(size_bytes=128, nr_ways=2), LevelConfig(size_bytes=256, nr_ways=4)])
    assert cache.replay(lines(-1, 2, 1)) == [2, 2, 0]
    assert cache.contents() == [[[(1, True), (2, False)]], [[(2, False), (1, False)]]]
    # 3 throws 2 out of L1 (clean: silently); 4 throws 1 out: dirty, found in L2, young again there.
    assert cache.replay(lines(3, 4)) == [2, 2]
    assert cache.contents() == [
        [[(4, False), (3, False)]],
        [[(1, True), (4, False), (3, False), (2, False)]],
    ]
    # 5 is fetched into L2 first and throws 2 out; 6 throws 3 out, 7 throws 4 out, 8 throws the dirty 1 out to memory.
    assert cache.replay(lines(5, 6, 7)) == [2, 2, 2]
    assert cache.memory_writebacks == 0
    assert cache.replay(lines(8)) == [2]
    assert cache.memory_writebacks == 1
    first, second = cache.counters()
    assert (first.fetches, first.hits, first.misses, first.writebacks_in, first.writebacks_out) == (9, 1, 8, 0, 1)
    assert (second.fetches, second.hits, second.misses, second.writebacks_in, second.writebacks_out) == (8, 0, 8, 1, 1)
    assert cache.memory_fetches == 8


def test_write_back_miss_takes_a_way_without_a_fetch() -> None:
    """A line that L2 lost while L1 still held it dirty comes back whole."""
    cache = Hierarchy([LevelConfig(size_bytes=128, nr_ways=2), LevelConfig(size_bytes=128, nr_ways=2)])
    cache.replay(lines(-1, 2, 1, 3))
    assert cache.contents() == [[[(3, False), (1, True)]], [[(3, False), (2, False)]]]
    cache.replay(lines(4))
    # 4 was fetched first and threw 2 out of L2, then the dirty 1 came down and threw 3 out.
    assert cache.contents() == [[[(4, False), (3, False)]], [[(1, True), (4, False)]]]
    assert (cache.memory_fetches, cache.memory_writebacks) == (4, 0)
    assert cache.counters()[1].fetches == 4


@pytest.mark.parametrize("seed", range(4))
def test_cache_against_stack_distances(seed: int) -> None:
    """An access hits a set of w ways iff fewer than w other lines of its set came since its last access."""
    rng = random.Random(seed)
    cache = Hierarchy([LevelConfig(size_bytes=8 * 4 * 64, nr_ways=4)])
    stacks: list[OrderedDict[int, None]] = [OrderedDict() for _ in range(8)]
    for _ in range(3000):
        line = int(rng.expovariate(1 / 40))
        stack = stacks[line % 8]
        distance = list(reversed(stack)).index(line) if line in stack else None
        stack[line] = None
        stack.move_to_end(line)
        hit = cache.access(line * 64 + rng.randrange(64), rng.random() < 0.3) == 0
        assert hit == (distance is not None and distance < 4)


@pytest.mark.parametrize("line_bytes", [64, 128])
def test_cache_conserves_lines(line_bytes: int) -> None:
    """What leaves one level arrives in the next, and every dirty line is somewhere."""
    rng = random.Random(7)
    cache = Hierarchy(
        [
            LevelConfig(size_bytes=2 * 2 * line_bytes, nr_ways=2),
            LevelConfig(size_bytes=4 * 3 * line_bytes, nr_ways=3),
            LevelConfig(size_bytes=4 * 8 * line_bytes, nr_ways=8),
            LevelConfig(size_bytes=16 * 4 * line_bytes, nr_ways=4),
        ],
        line_bytes,
    )
    written: set[int] = set()
    for _ in range(5000):
        line = int(rng.expovariate(1 / 30))
        write = rng.random() < 0.4
        cache.access(line * line_bytes, write)
        if write:
            written.add(line)
    levels = cache.counters()
    for level in levels:
        assert level.hits + level.misses == level.fetches
    for upper, lower in itertools.pairwise(levels):
        assert lower.fetches == upper.misses
        assert lower.writebacks_in == upper.writebacks_out
    assert levels[-1].misses == cache.memory_fetches
    assert levels[-1].writebacks_out == cache.memory_writebacks
    dirty = {number for level in cache.contents() for ways in level for number, is_dirty in ways if is_dirty}
    assert dirty <= written
    assert len(written) <= len(dirty) + cache.memory_writebacks


def test_walk_of_512_struct_pages_fills_a_32_kib_cache() -> None:
    """Claims 9.1 and 9.2 of schemes.md: 512 lines, every set full, everything else gone."""
    cache = Hierarchy([LevelConfig(size_bytes=32 << 10, nr_ways=8)])
    for k in range(512):
        cache.access((1 << 30) + 64 * k)
    for k in range(512):
        assert cache.access(64 * k) == 1
    assert all(len(ways) == 8 and max(ways)[0] < 512 for ways in cache.contents()[0])
    cache = Hierarchy([LevelConfig(size_bytes=32 << 10, nr_ways=8)], line_bytes=128)
    for k in range(512):
        cache.access(64 * k)
    assert (cache.counters()[0].misses, cache.counters()[0].hits) == (256, 256)


def test_impossible_caches() -> None:
    with pytest.raises(ValueError, match="no whole number of sets"):
        Hierarchy([LevelConfig(size_bytes=1000, nr_ways=2)])
    with pytest.raises(ValueError, match="0 levels"):
        Hierarchy([])
    with pytest.raises(ValueError, match="nr_ways 0"):
        LevelConfig(size_bytes=64, nr_ways=0)
