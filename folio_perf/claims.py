# SPDX-License-Identifier: BSD-3-Clause
"""The claims of the mail that proposed Zero, One, Two, Many, each held against the model.

The numbering is that of docs/claims.md. What a claim expects is arithmetic on page size, folio size and the design;
what it got is always computed by running the model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from string import ascii_lowercase
from typing import Final

import numpy as np

from folio_perf._claims_overflow import overflow_claims
from folio_perf._claims_probe import STRUCT_PAGE_BYTES, Probe, Subject
from folio_perf._claims_row import Claim, row
from folio_perf.geometry import Geometry, parse_size
from folio_perf.schemes import parse_scheme_spec, scheme_names
from folio_perf.simulate import simulate

__all__ = ["Claim", "claims"]

_TWO_MIB: Final = 2 << 20
_L1_BYTES, _L1_WAYS = 32 << 10, 8
_BIG_L1_BYTES: Final = 48 << 10
_PIN_BIAS: Final = 1024
_SEED: Final = "zero_one_two_many"

# The kernel each design is asked on: the one it shipped in, for the seed's idea the one it was proposed for.
KERNELS: Final = {
    "page_mapcount": "5.17",
    "zero_one_two_many": "5.17",
    "subpages_mapcount_locked": "6.2",
    "nr_pages_mapped": "6.8",
    "rmap_id": "6.8",
    "large_mapcount": "6.12",
}
NEWEST: Final = "7.0"

# Lines of struct page that hold the total, for a folio of n pages mapped by PTEs. None: the total has to be walked for,
# and what is read is how many VMAs there are.
_TOTAL_LINES: Final[dict[str, Callable[[int], int]]] = {
    "page_mapcount": lambda n: n,
    "zero_one_two_many": lambda _: 1,
    "subpages_mapcount_locked": lambda _: 2,
    "nr_pages_mapped": lambda n: n,
    "rmap_id": lambda _: 2,
    "mm_owner_20bit": lambda _: 2,
    "large_mapcount": lambda _: 2,
    "mm_owner": lambda _: 2,
    "no_page_mapcount": lambda _: 2,
    "total_mapped_pages": lambda _: 2,
    "vma_count": lambda _: 1,
    "vma_pt_tuples": lambda _: 1,
}

# Atomics to map all n pages of a file folio by PTEs, and by a PMD.
_MAP_RMW: Final[dict[str, Callable[[int], tuple[int, int]]]] = {
    "page_mapcount": lambda n: (3 * n, n + 2),
    "zero_one_two_many": lambda _: (2, 2),
    "subpages_mapcount_locked": lambda n: (3 * n, 2),
    "nr_pages_mapped": lambda n: (2 * n + 1, 3),
    "rmap_id": lambda n: (2 * n + 3, 5),
    "mm_owner_20bit": lambda n: (n + 3, 4),
    "large_mapcount": lambda n: (n + 3, 4),
    "mm_owner": lambda n: (n + 3, 4),
    "no_page_mapcount": lambda _: (2, 3),
    "total_mapped_pages": lambda _: (2, 2),
    "vma_count": lambda _: (2, 2),
    "vma_pt_tuples": lambda _: (2, 2),
}


def claims(geometry: str | Geometry = "4K", number: str | None = None) -> tuple[Claim, ...]:
    """Run the model for every claim, or for one.

    Parameters
    ----------
    geometry : str or Geometry
        Base page, as ``4K``, ``16K``, ``64K``, or a whole geometry.
    number : str, optional
        Only this claim: ``9.6``, or a statement of one, ``9.6c``.

    Returns
    -------
    tuple of Claim
        In the order of their numbers.

    Raises
    ------
    ValueError
        If the geometry is impossible, or there is no such claim; the message lists those there are.
    """
    if isinstance(geometry, str):
        geometry = Geometry(page_size_bytes=parse_size(geometry))
    whole = None if number is None else number.rstrip(ascii_lowercase)
    if whole is not None and whole not in _CLAIMS:
        raise ValueError(f"{number!r} is none of {', '.join(_CLAIMS)}")
    subjects = _Subjects(geometry)
    rows = [row for name, run in _CLAIMS.items() if whole in (None, name) for row in run(subjects)]
    if number != whole:
        ids = dict.fromkeys(row.id for row in rows)
        if number not in ids:
            raise ValueError(f"{number!r} is none of {', '.join(ids)}")
        rows = [row for row in rows if row.id == number]
    return tuple(rows)


@dataclass(frozen=True)
class _Subjects:
    """Folios of one page size under any design."""

    geometry: Geometry

    def of(self, scheme: str, order: int | None = None) -> Subject:
        spec = parse_scheme_spec(scheme)
        spec = replace(spec, kernel=spec.kernel or KERNELS.get(spec.name, NEWEST))
        return Subject(spec=spec, geometry=self.geometry, order=self.geometry.pmd_order if order is None else order)

    @property
    def two_mib_order(self) -> int:
        return (_TWO_MIB // self.geometry.page_size_bytes).bit_length() - 1

    @property
    def orders(self) -> tuple[int, ...]:
        """Of a folio of 2 MiB, and of PMD size where that is another."""
        return tuple(dict.fromkeys((self.two_mib_order, self.geometry.pmd_order)))


def _folio_text(subject: Subject) -> str:
    nr_bytes = subject.nr_pages * subject.geometry.page_size_bytes
    return f"{nr_bytes >> 20} MiB folio of {subject.geometry.page_size_bytes >> 10} KiB pages"


# ---- 9.1, 9.2 ----------------------------------------------------------------------------------------------------


def _lines_of_a_total(subjects: _Subjects) -> Iterator[Claim]:
    for order in subjects.orders:
        for scheme in scheme_names():
            if scheme not in _TOTAL_LINES:
                continue
            for line_bytes in (64, 128):
                subject = subjects.of(scheme, order)
                probe = _total_of_file(subject, line_bytes=line_bytes)
                lines = _TOTAL_LINES[scheme](subject.nr_pages)
                expected = max(lines * STRUCT_PAGE_BYTES // line_bytes, 1)
                yield row(
                    "9.1",
                    f"the mapcount of a {_folio_text(subject)} is read from so many lines of {line_bytes} bytes",
                    subject.spec,
                    f"{expected} lines, {expected * line_bytes} B",
                    f"{probe.lines_read} lines, {probe.lines_read * line_bytes} B",
                )
    subject = subjects.of("nr_pages_mapped")
    probe = subject.probe(subject.file(huge=True).touch("P0", "A", 0, 1, "r").total_mapcount("P0", "A", 0, 1))
    yield row("9.1", "mapped by a PMD alone, two lines tell", subject.spec, "2 lines", f"{probe.lines_read} lines")


def _total_of_file(subject: Subject, *, line_bytes: int = 64) -> Probe:
    return subject.probe(subject.file_by_ptes().total_mapcount("P0", "A", 0, 1), line_bytes=line_bytes)


def _share_of_l1(subjects: _Subjects) -> Iterator[Claim]:
    subject = subjects.of("page_mapcount", subjects.two_mib_order)
    lines = _total_of_file(subject).lines_of("mapcount")
    n, nr_sets = subject.nr_pages, _L1_BYTES // (_L1_WAYS * 64)
    in_set = np.bincount(lines % nr_sets, minlength=nr_sets)
    what = f"struct pages read for a {_folio_text(subject)}, as a share of"
    for size, name in ((_L1_BYTES, "a 32 KiB L1"), (_BIG_L1_BYTES, "a 48 KiB L1")):
        expected, got = n * 64 / size, lines.size * 64 / size
        yield row("9.2", f"{what} {name}", subject.spec, f"{expected:.1%}", f"{got:.1%}")
    yield row(
        "9.2",
        f"ways they take in each of the {nr_sets} sets of a 32 KiB, 8-way L1",
        subject.spec,
        f"{-(-n // nr_sets)} at most, {n // nr_sets} at least",
        f"{in_set.max()} at most, {in_set.min()} at least",
    )
    yield row("9.2", "useful bytes of them, 4 of each line", subject.spec, f"{4 * n} B", f"{4 * lines.size} B")


# ---- 9.3 to 9.5 --------------------------------------------------------------------------------------------------


def _what_a_mapping_changes(subjects: _Subjects) -> Iterator[Claim]:
    subject = subjects.of("page_mapcount")
    middle = subject.nr_pages // 2
    # Another process has mapped all, so the double-map hint is set and only the counts move.
    builder = subject.file_by_ptes().fork("P0", "P1")
    builder.madv("P1", "A", 0, subject.nr_pages, "NOHUGEPAGE")
    probe = subject.probe(builder.touch("P1", "A", middle, 1, "w"))
    changed = probe.changed_bytes()
    own = changed.get(middle, (0, -1))
    yield row(
        "9.3",
        "a PTE mapping changes the count in the page's own line",
        subject.spec,
        "bytes 48 to 51",
        f"bytes {own[0] // 4 * 4} to {own[1] // 4 * 4 + 3}",
    )
    yield row("9.3", "and besides only the head", subject.spec, f"pages 0, {middle}", _pages(changed))
    probe = subject.probe(subject.anon().fork("P0", "P1"))
    yield row(
        "9.3",
        "a PMD mapping of an anonymous folio changes head and first tail",
        subject.spec,
        "pages 0, 1",
        _pages(probe.changed_bytes()),
    )
    probe = subject.probe(subject.file(huge=True).touch("P0", "A", 0, 1, "r"))
    yield row("9.3", "one of a file raises all pages' counts", subject.spec, subject.nr_pages + 2, probe.rmw())


def _pages(changed: dict[int, tuple[int, int]]) -> str:
    return "pages " + ", ".join(map(str, sorted(changed)))


def _references(subjects: _Subjects) -> Iterator[Claim]:
    subject = subjects.of("page_mapcount")
    n = subject.nr_pages
    for vmas in (1, 2):
        probe = subject.probe(subject.file_by_ptes(vmas))
        yield row("9.4", f"references of {vmas} VMAs that map all by PTEs", subject.spec, vmas * n, probe.mapping_refs)
    probe = subject.probe(subject.anon())
    yield row("9.4", "references of one PMD mapping", subject.spec, 1, probe.mapping_refs)
    subject = subjects.of(_SEED)
    probe = subject.probe(subject.file_by_ptes(8))
    yield row("9.4", "references of 8 VMAs that map all by PTEs", subject.spec, 3, probe.mapping_refs)


def _atomics(subjects: _Subjects) -> Iterator[Claim]:
    for scheme in scheme_names():
        if scheme not in _MAP_RMW:
            continue
        subject = subjects.of(scheme)
        ptes, pmd = _MAP_RMW[scheme](subject.nr_pages)
        probe = subject.probe(subject.file_by_ptes())
        yield row("9.5", "atomics to map a PMD-sized file folio by PTEs", subject.spec, ptes, probe.rmw())
        probe = subject.probe(subject.file(huge=True).touch("P0", "A", 0, 1, "r"))
        yield row("9.5", "atomics to map it by a PMD", subject.spec, pmd, probe.rmw())
    subject = subjects.of("page_mapcount")
    probe = subject.probe(subject.anon_by_ptes().fork("P0", "P1"))
    yield row("9.5", "an anonymous one, by PTEs", subject.spec, 2 * subject.nr_pages, probe.rmw())
    subject = subjects.of(_SEED)
    for huge in (False, True):
        builder = subject.file(huge=huge, processes=4)
        for process in range(4):
            builder.touch(f"P{process}", "A", 0, 1 if huge else subject.nr_pages, "r")
        probe = subject.probe(builder.unmap("P3", "A", 0, subject.nr_pages))
        how = "a PMD" if huge else "PTEs"
        yield row("9.5", f"once at Many, atomics to unmap by {how}", subject.spec, 0, probe.rmw())


# ---- 9.7 to 9.11: Zero, One, Two, Many ---------------------------------------------------------------------------


def _three_at_most(subjects: _Subjects) -> Iterator[Claim]:
    spec = subjects.of(_SEED).spec
    for workload in ("fork_server(children=20)", "shared_library(processes=20)", "refcount_attack(mappings=500)"):
        result = simulate(workload, scheme=spec, geometry=subjects.geometry, backend="count")
        peak = result.totals["refs_peak"]
        yield row("9.7", f"most references of mappings over {workload}", spec, 3, peak)


def _visits(subjects: _Subjects) -> Iterator[Claim]:
    """Of Q candidates V still map the page; the order of the walk is drawn by lot."""
    candidates, runs = 100, 200
    for mappers in (1, 3, 10):
        mean = {}
        for scheme in ("mm_owner", _SEED):
            subject = subjects.of(scheme, 0)
            builder = subject.file(processes=candidates)
            for process in range(max(mappers, 3)):
                builder.touch(f"P{process}", "A", 0, 1, "r")
            for process in range(mappers, 3):
                builder.madv(f"P{process}", "A", 0, 1, "DONTNEED")
            builder.folio_referenced("P0", "A", 0, 1)
            mean[scheme] = float(
                np.mean([subject.probe(builder, walk_order_seed=seed).visits for seed in range(1, runs + 1)])
            )
        formula = mappers * (candidates + 1) / (mappers + 1)
        text = f"visits of a walk, {candidates} candidates, {mappers} map the page, in random order"
        yield row("9.8", text, subjects.of("mm_owner", 0).spec, f"{formula:.1f} ± 10 %", mean["mm_owner"], within=0.1)
        yield row("9.8", text, subjects.of(_SEED, 0).spec, candidates, mean[_SEED])
        ratio, limit = mean[_SEED] / mean["mm_owner"], 1 + 1 / mappers
        yield row(
            "9.8",
            f"what losing the stop costs, {mappers} map the page: at most 1 + 1/V",
            subjects.of(_SEED, 0).spec,
            f"at most {limit:.2f} + 10 %",
            f"{ratio:.2f}",
            ok=ratio <= 1.1 * limit,
        )


def _sticky(subjects: _Subjects) -> Iterator[Claim]:
    subject = subjects.of(_SEED)
    builder = subject.file_by_ptes(2)
    for leaving in ("P1", "P0"):
        builder.madv(leaving, "A", 0, subject.nr_pages, "DONTNEED")
    yield row("9.9", "two VMAs map and unmap: the count ends at", subject.spec, 0, subject.probe(builder).state)
    builder = subject.file_by_ptes(5)
    for process in range(5):
        builder.madv(f"P{process}", "A", 0, subject.nr_pages, "DONTNEED")
    probe = subject.probe(builder)
    yield row(
        "9.9",
        "five VMAs map, all unmap, nobody walks",
        subject.spec,
        "S = 3, V = 0, 3 references",
        f"S = {probe.state}, V = {probe.true_vmas}, {probe.mapping_refs} references",
    )


def _recounts(subjects: _Subjects) -> Iterator[Claim]:
    """Recount at the fourth unmap at Many; what is left then decides what the walk may lower."""
    for left in (0, 1, 2, 4):
        subject = subjects.of(f"{_SEED}:recount=threshold,period=4", 0)
        builder = subject.file(processes=left + 4)
        for process in range(left + 4):
            builder.touch(f"P{process}", "A", 0, 1, "r")
        for process in range(3):
            builder.madv(f"P{process}", "A", 0, 1, "DONTNEED")
        before = subject.probe(builder)
        after = subject.probe(builder.madv("P3", "A", 0, 1, "DONTNEED"))
        yield row(
            "9.10",
            f"a walk that finds {left} VMAs lowers the references by, and leaves the count at",
            subject.spec,
            f"{max(3 - left, 0)}, {min(left, 3)}",
            f"{before.mapping_refs - after.mapping_refs}, {after.state}",
        )


def _vmas_not_entries(subjects: _Subjects) -> Iterator[Claim]:
    subject = subjects.of(_SEED)
    n = subject.nr_pages
    for text, builder in (
        ("1 PTE", subject.file().touch("P0", "A", 0, 1, "w")),
        (f"{n} PTEs", subject.file_by_ptes()),
        ("1 PMD", subject.file(huge=True).touch("P0", "A", 0, 1, "r")),
    ):
        yield row("9.11", f"count after one VMA maps by {text}", subject.spec, 1, subject.probe(builder).state)
    two = subject.file_by_ptes().region("B", n).map("P0", "B", "F", 0, 0, n, "shared").touch("P0", "B", 0, n, "r")
    yield row("9.11", "count after two VMAs of one mm map it", subject.spec, 2, subject.probe(two).state)
    probe = subject.probe(subject.anon().madv("P0", "A", 1, 1, "DONTNEED"))
    yield row("9.11", "a PMD is split: count, atomics", subject.spec, "1, 0", f"{probe.state}, {probe.rmw()}")


# ---- 9.12 to 9.14 ------------------------------------------------------------------------------------------------


def _bits_freed(subjects: _Subjects) -> Iterator[Claim]:
    subject = subjects.of(_SEED)
    used = 0
    for processes in range(1, 6):
        probe = subject.probe(subject.file_by_ptes(processes))
        used |= int(probe.pages.view(np.uint32).reshape(-1, 16)[probe.head, 12])
    yield row("9.12", "bits of the head's 32-bit count that stay free", subject.spec, 30, 32 - used.bit_count())
    # What page_mapcount changes in tails while all is mapped, and the other design leaves alone.
    old = subjects.of("page_mapcount")
    for text, spec_of, expected in (
        ("words of tails that hold a count", old, subject.nr_pages - 1),
        ("the same", subject, 0),
    ):
        probe = spec_of.probe(spec_of.file_by_ptes())
        words = probe.pages.view(np.int32).reshape(-1, 16)[probe.head + 1 : probe.head + spec_of.nr_pages, 12]
        counts = int((words != -1).sum())
        yield row("9.12", text, spec_of.spec, f"{expected}, {4 * expected} B", f"{counts}, {4 * counts} B")


def _double_map(subjects: _Subjects) -> Iterator[Claim]:
    subject = subjects.of("page_mapcount")
    n = subject.nr_pages
    probe = subject.probe(subject.file_by_ptes())
    yield row(
        "9.13",
        "a file folio by PTEs: atomics that set the double-map bit, of all",
        subject.spec,
        f"{n} of {3 * n}",
        f"{probe.rmw('double_map')} of {probe.rmw()}",
    )
    probe = subject.probe(subject.anon().fork("P0", "P1").madv("P1", "A", 0, n // 2, "DONTFORK"))
    extra = probe.rmw("double_map") + probe.rmw("mapcount") - n
    yield row(
        "9.13",
        "one of two PMD mappings is split: for the bit, of all",
        subject.spec,
        f"{n + 1} of {2 * n + 3}",
        f"{extra} of {probe.rmw()}",
    )
    subject = subjects.of(_SEED)
    probe = subject.probe(subject.file_by_ptes())
    yield row("9.13", "a file folio by PTEs, for the bit", subject.spec, 0, probe.rmw("double_map"))


def _definitely_pinned(subjects: _Subjects) -> Iterator[Claim]:
    # One reference is the page cache's, the rest are mappings: the test is true from 1024 on.
    for scheme in scheme_names():
        if scheme.startswith("zero_one_two"):
            continue
        subject = subjects.of(scheme, 0)
        last = _PIN_BIAS - 1
        answers = [_false_pins(subject, mappings) for mappings in (last - 1, last)]
        text = "mappings from which a small page-cache page looks pinned"
        first = last if answers == [0, 1] else f"below {last}" if any(answers) else "never"
        yield row("9.14", text, subject.spec, last, first)
    for pins in ("bias", "exact"):
        subject = subjects.of(f"{_SEED}:pins={pins}" if pins == "exact" else _SEED, 0)
        found = _false_pins(subject, 2 * _PIN_BIAS)
        yield row("9.14", f"{2 * _PIN_BIAS} mappings look like a pin", subject.spec, "no", "yes" if found else "no")
    # A real pin is found in either form.
    for pins in ("bias", "exact"):
        subject = subjects.of(f"{_SEED}:pins={pins}" if pins == "exact" else _SEED, 0)
        builder = subject.anon().pin("P0", "A", 0, 1).maybe_pinned("P0", "A", 0, 1)
        probe = subject.probe(builder)
        expected = 1 + (1 if pins == "exact" else _PIN_BIAS)
        yield row("9.14", "references of a page with one mapping and one pin", subject.spec, expected, probe.refcount)


def _false_pins(subject: Subject, mappings: int) -> int:
    builder = subject.scenario().obj("F", "memfd", 1)
    builder.region("M", 2 * mappings)
    # Every other page, so that the VMAs do not merge.
    for number in range(mappings):
        builder.map("P0", "M", "F", 0, 2 * number, 1, "shared").touch("P0", "M", 2 * number, 1, "r")
    builder.maybe_pinned("P0", "M", 0, 1)
    return int(subject.probe(builder).simulation.totals()["false_pinned"])


_CLAIMS: Final[dict[str, Callable[[_Subjects], Iterator[Claim]]]] = {
    "9.1": _lines_of_a_total,
    "9.2": _share_of_l1,
    "9.3": _what_a_mapping_changes,
    "9.4": _references,
    "9.5": _atomics,
    "9.6": overflow_claims,
    "9.7": _three_at_most,
    "9.8": _visits,
    "9.9": _sticky,
    "9.10": _recounts,
    "9.11": _vmas_not_entries,
    "9.12": _bits_freed,
    "9.13": _double_map,
    "9.14": _definitely_pinned,
}
