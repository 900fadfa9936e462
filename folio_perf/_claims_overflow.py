# SPDX-License-Identifier: BSD-3-Clause
"""Claim 9.6: what it takes to make a reference count overflow. Public names are in `folio_perf.claims`.

Two thousand million mappings are not run: one is, for what it adds to references, VMAs and page tables, and the last
step is run from a preset count.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil
from typing import Final, Protocol

from folio_perf._claims_probe import Probe, Subject
from folio_perf._claims_row import Claim, row
from folio_perf._native.errors import FperfError
from folio_perf.geometry import Geometry
from folio_perf.profile import load_profile
from folio_perf.schemes import scheme_names

_SIGN: Final = 1 << 31
_WRAP: Final = 1 << 32
_MAX_MAP_COUNT: Final = 65_530
_GIB: Final = 1 << 30
_PTE_BYTES: Final = 8
_PIN_BIAS: Final = 1024
_EXTRAPOLATED: Final = "extrapolated"
_OLD, _SEED = "page_mapcount", "zero_one_two_many"


class Subjects(Protocol):
    """Folios of one page size under any design."""

    @property
    def geometry(self) -> Geometry:
        """The page size."""
        ...

    def of(self, scheme: str, order: int | None = None) -> Subject:
        """One folio, of PMD order unless told otherwise."""
        ...


def overflow_claims(subjects: Subjects) -> Iterator[Claim]:
    """All statements of 9.6."""
    yield from _sign_and_wrap(subjects)
    yield from _by_mapping(subjects)
    yield from _by_pins(subjects)
    yield from _bounds(subjects)


def _one_more_mapping(subject: Subject, refs: int) -> Probe:
    builder = subject.file(processes=5)
    for process in range(4):
        builder.touch(f"P{process}", "A", 0, 1, "r")
    return subject.probe(builder.touch("P4", "A", 0, 1, "r"), refs=refs)


def _sign_and_wrap(subjects: Subjects) -> Iterator[Claim]:
    old = subjects.of(_OLD, 0)
    got = _one_more_mapping(old, _SIGN - 1).refcount
    text = "2^31 - 1 references and one more mapping"
    yield row("9.6a", text, old.spec, -_SIGN, got, method=_EXTRAPOLATED)
    seed = subjects.of(_SEED, 0)
    got = _one_more_mapping(seed, _SIGN - 1).refcount
    yield row("9.6a", text, seed.spec, _SIGN - 1, got, method=_EXTRAPOLATED)
    got = _one_more_mapping(old, -1).refcount
    yield row("9.6b", "2^32 - 1 references and one more mapping", old.spec, 0, got, method=_EXTRAPOLATED)
    # An attacker needs somewhere to keep who holds them: a pointer each.
    pointers = _WRAP * _PTE_BYTES // _GIB
    yield row("9.6b", "pointers to 2^32 references, one each, in GiB", old.spec, 32, pointers, method=_EXTRAPOLATED)


def _by_mapping(subjects: Subjects) -> Iterator[Claim]:
    subject = subjects.of(_OLD)
    n, page = subject.nr_pages, subjects.geometry.page_size_bytes
    each = subject.probe(subject.file_by_ptes(2)).mapping_refs - subject.probe(subject.file_by_ptes(1)).mapping_refs
    mappings = _SIGN // each
    yield row(
        "9.6c", "full mappings of a PMD-sized folio for 2^31", subject.spec, _SIGN // n, mappings, method=_EXTRAPOLATED
    )
    processes = ceil(mappings / _MAX_MAP_COUNT)
    yield row(
        "9.6d",
        f"processes of {_MAX_MAP_COUNT} VMAs they take",
        subject.spec,
        ceil(_SIGN / n / _MAX_MAP_COUNT),
        processes,
        method=_EXTRAPOLATED,
    )
    vma_bytes = load_profile(subject.spec.kernel or "5.17").vma_bytes
    # A full mapping fills one page table, and takes one VMA.
    large = mappings * (page + vma_bytes) / _GIB
    expected = (_SIGN // n * page + _SIGN // n * vma_bytes) / _GIB
    yield row(
        "9.6e",
        f"GiB of page tables and VMAs of {vma_bytes} B",
        subject.spec,
        f"{expected:.1f}",
        f"{large:.1f}",
        method=_EXTRAPOLATED,
    )
    small = subjects.of(_OLD, 0)
    each = small.probe(small.file_by_ptes(2)).mapping_refs - small.probe(small.file_by_ptes(1)).mapping_refs
    mappings = _SIGN // each
    many = ceil(mappings / _MAX_MAP_COUNT)
    yield row("9.6f", "processes, small page", small.spec, ceil(_SIGN / _MAX_MAP_COUNT), many, method=_EXTRAPOLATED)
    memory = mappings * (vma_bytes + _PTE_BYTES) / _GIB
    expected = _SIGN * (vma_bytes + _PTE_BYTES) / _GIB
    yield row("9.6f", "GiB of VMAs and PTEs", small.spec, f"{expected:.0f}", f"{memory:.0f}", method=_EXTRAPOLATED)
    yield row(
        "9.6f",
        "how much cheaper the large folio is: memory, processes",
        subject.spec,
        f"{expected / (_SIGN // n * (page + vma_bytes) / _GIB):.0f}, {n}",
        f"{memory / large:.0f}, {mappings / (_SIGN // n):.0f}",
        method=_EXTRAPOLATED,
    )


def _by_pins(subjects: Subjects) -> Iterator[Claim]:
    subject = subjects.of(_OLD, 0)
    before = subject.probe(subject.anon()).refcount
    pinned = subject.probe(subject.anon().pin("P0", "A", 0, 1))
    each = pinned.refcount - before
    yield row("9.6g", "references a pin of a small folio adds", subject.spec, _PIN_BIAS, each)
    yield row("9.6g", "pins that reach 2^31", subject.spec, 1 << 21, _SIGN // each, method=_EXTRAPOLATED)
    last = subject.probe(subject.anon().pin("P0", "A", 0, 1), refs=_SIGN - _PIN_BIAS)
    yield row("9.6g", "the last of them leaves", subject.spec, -_SIGN, last.refcount, method=_EXTRAPOLATED)
    large = subjects.of(_OLD)
    before = large.probe(large.anon()).refcount
    probe = large.probe(large.anon().pin("P0", "A", 0, 1))
    pins = int(probe.simulation.folio(probe.head)["pins"])
    yield row("9.6g", "a large folio's pin: references, pins", large.spec, "1, 1", f"{probe.refcount - before}, {pins}")
    refused = "handed out"
    try:
        subject.probe(subject.anon().pin("P0", "A", 0, 1), refs=-_SIGN)
    except FperfError as error:
        refused = error.name
    text = "a pin after the sign bit"
    yield row("9.6h", text, subject.spec, "REF_OVERFLOW", refused, method=_EXTRAPOLATED)
    mapped = _one_more_mapping(subjects.of(_OLD, 0), -_SIGN).refcount
    yield row("9.6h", "a mapping after it: nobody looks", subject.spec, 1 - _SIGN, mapped, method=_EXTRAPOLATED)


# References one VMA that maps a whole PMD-sized folio owns at most, where that does not depend on its pages.
_PER_VMA: Final = {"vma_pt_tuples": 1, "vma_count": 1}


def _bounds(subjects: Subjects) -> Iterator[Claim]:
    subject = subjects.of(_SEED)
    for processes in (2, 3, 50):
        got = subject.probe(subject.file_by_ptes(processes)).mapping_refs
        text = f"references of {processes} VMAs that map a PMD-sized folio by PTEs"
        yield row("9.6i", text, subject.spec, min(processes, 3), got)
    for scheme in scheme_names():
        if scheme in _PER_VMA:
            subject = subjects.of(scheme)
            got = subject.probe(subject.file_by_ptes(50)).mapping_refs
            text = "references of 50 VMAs that map a PMD-sized folio by PTEs"
            yield row("9.6i", text, subject.spec, 50 * _PER_VMA[scheme], got)
