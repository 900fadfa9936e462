# SPDX-License-Identifier: BSD-3-Clause
"""The RMW and line tables of the designs, out of simulation (schemes by folio size by whole-folio event).

The formulas are those of docs/schemes.md; n is the number of pages of the folio, x the PageAnonExclusive clears.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from folio_perf._native import engine
from folio_perf._simulation import new_simulation
from folio_perf.geometry import FolioPolicy, Geometry
from folio_perf.machine import load_machine
from folio_perf.profile import load_profile
from folio_perf.scenario import ScenarioBuilder
from folio_perf.schemes import parse_scheme_spec

EVENTS = engine.names("event_kinds")
FIELDS = engine.names("fields")
CAUSES = engine.names("causes")
COUNTED = np.array(
    [
        name == "split_queue_lock" or kind == "PAGE"
        for name, kind in zip(FIELDS, engine.names("field_classes"), strict=True)
    ]
)
RMW = 2

# nr_pages of the folio -> base page that makes it: n = 16 is 64 KiB, the others are PMD-sized.
SIZES = {16: 4096, 512: 4096, 2048: 16384, 8192: 65536}


class Costs:
    """What the last step of a scenario cost."""

    def __init__(self, builder: ScenarioBuilder, geometry: Geometry, scheme: str, n: int, *, window: bool) -> None:
        spec = parse_scheme_spec(scheme)
        kernel = load_profile(spec.kernel or "7.0")
        if window:
            kernel = replace(kernel, fault_around_bytes=n * geometry.page_size_bytes)
        # Anonymous folios below PMD size exist from v6.8 on; before, 16 pages are what such a folio would cost.
        kernel = replace(kernel, mthp=True)
        policy = FolioPolicy(
            always_bytes=(n * geometry.page_size_bytes,), madvise_bytes=(), shmem_bytes=(), name="test"
        )
        scenario = builder.build()
        simulation = new_simulation(
            scenario,
            scheme=spec,
            kernel=kernel,
            backend="cache",
            geometry=geometry,
            machine=load_machine("generic-x86-64"),
            folio=policy,
        )
        last = scenario.steps[-1]
        simulation.run(np.ascontiguousarray(scenario.events[scenario.steps != last]))
        counters, stats = simulation.counters().astype(np.int64), simulation.event_stats()
        simulation.run(np.ascontiguousarray(scenario.events[scenario.steps == last]))
        difference = simulation.counters().astype(np.int64) - counters
        of_cause = difference.sum(axis=(0, 4, 5))[[cause != "fixed" for cause in CAUSES]].sum(axis=0)
        self.rmw = int(of_cause[COUNTED, RMW].sum())
        self.exclusive = int(of_cause[FIELDS.index("anon_exclusive"), RMW])
        now = simulation.event_stats()
        self.lines_read = int(now["lines_read"][:, 0].sum() - stats["lines_read"][:, 0].sum())
        self.lines_written = int(now["lines_written"][:, 0].sum() - stats["lines_written"][:, 0].sum())
        self.events = int(now["count"].sum() - stats["count"].sum())
        simulation.check()


def geometry_of(n: int) -> Geometry:
    return Geometry(page_size_bytes=SIZES[n], memory_bytes=64 << 30)


def file_by_pte(n: int, geometry: Geometry) -> ScenarioBuilder:
    order = n.bit_length() - 1
    builder = ScenarioBuilder("t", geometry).obj("F", "file", n, order=order, warm=True).region("A", n)
    return builder.map("P0", "A", "F", 0, 0, n, "shared").madv("P0", "A", 0, n, "NOHUGEPAGE")


def anon_by_pte(n: int, geometry: Geometry) -> ScenarioBuilder:
    """One anonymous folio, all its pages mapped by PTEs of one VMA."""
    builder = ScenarioBuilder("t", geometry).region("A", n).map_anon("P0", "A").touch("P0", "A", 0, n, "w")
    if n == geometry.entries_per_table:
        # A VMA border splits the PMD; taking it back merges the VMAs again.
        builder.madv("P0", "A", 0, n // 2, "DONTFORK").madv("P0", "A", 0, n // 2, "DOFORK")
    return builder


def fmap1(n: int, g: Geometry) -> ScenarioBuilder:
    return file_by_pte(n, g).touch("P0", "A", 0, n, "r")


def fmap2(n: int, g: Geometry) -> ScenarioBuilder:
    return fmap1(n, g).fork("P0", "P1").touch("P1", "A", 0, n, "r")


def pmd1(n: int, g: Geometry) -> ScenarioBuilder:
    order = n.bit_length() - 1
    builder = ScenarioBuilder("t", g).obj("F", "file", n, order=order, warm=True).region("A", n)
    return builder.map("P0", "A", "F", 0, 0, n, "shared").touch("P0", "A", 0, 1, "r")


def pmd2(n: int, g: Geometry) -> ScenarioBuilder:
    return pmd1(n, g).fork("P0", "P1").touch("P1", "A", 0, 1, "r")


def funmap(n: int, g: Geometry) -> ScenarioBuilder:
    return fmap1(n, g).unmap("P0", "A", 0, n)


def aunmap(n: int, g: Geometry) -> ScenarioBuilder:
    return anon_by_pte(n, g).unmap("P0", "A", 0, n)


def forka(n: int, g: Geometry) -> ScenarioBuilder:
    return anon_by_pte(n, g).fork("P0", "P1")


def forkb(n: int, g: Geometry) -> ScenarioBuilder:
    return forka(n, g).fork("P0", "P2")


def split(n: int, g: Geometry) -> ScenarioBuilder:
    builder = ScenarioBuilder("t", g).region("A", n).map_anon("P0", "A").touch("P0", "A", 0, n, "w")
    return builder.madv("P0", "A", 0, n // 2, "DONTFORK")


def split_by_dontneed(n: int, g: Geometry) -> ScenarioBuilder:
    """A PMD split that adds no VMA: designs that count VMAs must not notice. One page of the folio goes."""
    builder = ScenarioBuilder("t", g).region("A", n).map_anon("P0", "A").touch("P0", "A", 0, n, "w")
    return builder.madv("P0", "A", 1, 1, "DONTNEED")


COLUMNS: dict[str, Callable[[int, Geometry], ScenarioBuilder]] = {
    "fmap1": fmap1,
    "fmap2": fmap2,
    "pmd1": pmd1,
    "pmd2": pmd2,
    "funmap": funmap,
    "aunmap": aunmap,
    "forka": forka,
    "forkb": forkb,
    "split": split,
}
PMD_ONLY = {"pmd1", "pmd2", "split"}

# Columns: fmap1 fmap2 pmd1 pmd2 funmap aunmap forka forkb split.
RMW_TABLE: dict[str, Callable[[int], tuple[int, ...]]] = {
    "page_mapcount@5.17": lambda n: (3 * n, 3 * n, n + 2, n + 2, 2 * n, 3 * n, 2 * n, 2 * n, n + 3),
    "page_mapcount@6.1": lambda n: (3 * n, 3 * n, n + 2, n + 2, 2 * n, 2 * n + 1, 3 * n, 2 * n, n + 3),
    "nr_pages_mapped@6.2": lambda n: (3 * n, 2 * n, 3, 2, 3 * n, 4 * n, 3 * n, 2 * n, 2 * n + 3),
    "nr_pages_mapped@6.8": lambda n: (2 * n + 1, n + 1, 3, 2, 3 * n, 3 * n + 1, 3 * n, 2 * n, 2 * n + 3),
    "large_mapcount@6.12": lambda n: (n + 3, n + 2, 4, 3, n + 3, n + 3, 2 * n + 2, n + 2, n + 6),
    "mm_owner@7.0": lambda n: (n + 3, n + 2, 4, 3, n + 3, n + 3, 2 * n + 2, n + 2, n + 6),
    "no_page_mapcount@7.0": lambda n: (2, 2, 3, 3, 2, 2, n + 2, 2, 4),
    "total_mapped_pages@7.0": lambda n: (2, 2, 2, 2, 2, 2, n + 2, 2, 3),
    # Below Many: one state step and one reference per VMA; PageAnonExclusive is cleared at the first fork since v5.19.
    "zero_one_two_many@5.17": lambda n: (2, 2, 2, 2, 2, 2, 2, 2, 0),
    "zero_one_two_many@6.12": lambda n: (2, 2, 2, 2, 2, 2, n + 2, 2, 0),
    # The same without a Many; one VMA maps the folio through one table here.
    # Page by page, each with lock, count and reference; the sum is free under the lock.
    "subpages_mapcount_locked@6.1": lambda n: (3 * n, 3 * n, 2, 2, 3 * n, 3 * n + 1, 4 * n, 3 * n, 2 * n + 2),
    "subpages_mapcount_locked@6.2": lambda n: (3 * n, 3 * n, 2, 2, 3 * n, 4 * n, 4 * n, 3 * n, 2 * n + 2),
    # nr_pages_mapped, and two of a writer that is alone for each call.
    "rmap_id@6.8": lambda n: (2 * n + 3, n + 3, 5, 4, 5 * n, 5 * n + 1, 5 * n, 4 * n, 4 * n + 5),
    "mm_owner_20bit@7.0": lambda n: (n + 3, n + 2, 4, 3, n + 3, n + 3, 2 * n + 2, n + 2, n + 6),
    "mm_owner:layout=32@7.0": lambda n: (n + 3, n + 2, 4, 3, n + 3, n + 3, 2 * n + 2, n + 2, n + 6),
    "zero_one_two_stopped@7.0": lambda n: (2, 2, 2, 2, 2, 2, n + 2, 2, 3),
    "vma_pt_tuples@6.1": lambda n: (2, 2, 2, 2, 2, 2, n + 2, 2, 0),
    "vma_count@6.2": lambda n: (2, 2, 2, 2, 2, 2, n + 2, 2, 0),
}
CELLS = [
    (scheme, n, column)
    for scheme in RMW_TABLE
    for n in SIZES
    for column in COLUMNS
    if n != 16 or column not in PMD_ONLY
]


def column_of(scheme: str, column: str) -> Callable[[int, Geometry], ScenarioBuilder]:
    counts_vmas = "presence" in parse_scheme_spec(scheme).info.options
    return split_by_dontneed if counts_vmas and column == "split" else COLUMNS[column]


@pytest.mark.parametrize(("scheme", "n", "column"), CELLS)
def test_rmw_of_whole_folio_events(scheme: str, n: int, column: str) -> None:
    geometry = geometry_of(n)
    costs = Costs(column_of(scheme, column)(n, geometry), geometry, scheme, n, window=True)
    expected = RMW_TABLE[scheme](n)[list(COLUMNS).index(column)]
    got = costs.rmw
    if column == "split":  # the table leaves out the n flags of an exclusive folio
        got -= costs.exclusive
    assert got == expected


@pytest.mark.parametrize("n", [512, 2048, 8192])
@pytest.mark.parametrize(("scheme", "exclusive"), [("page_mapcount@5.17", 0), ("page_mapcount@6.1", 1)])
def test_pmd_split_sets_the_flag_of_each_exclusive_page(scheme: str, exclusive: int, n: int) -> None:
    geometry = geometry_of(n)
    assert Costs(split(n, geometry), geometry, scheme, n, window=True).exclusive == exclusive * n


def test_default_window_makes_32_batches_of_a_2mib_folio() -> None:
    geometry = geometry_of(512)
    costs = Costs(fmap1(512, geometry), geometry, "large_mapcount@6.12", 512, window=False)
    assert costs.events == 32
    assert costs.rmw == 512 + 96
    # Without batching the window does not matter.
    assert Costs(fmap1(512, geometry), geometry, "page_mapcount@6.1", 512, window=False).rmw == 3 * 512


def test_kernel_7_maps_the_whole_folio_whatever_the_window() -> None:
    geometry = geometry_of(512)
    costs = Costs(fmap1(512, geometry), geometry, "large_mapcount@7.0", 512, window=False)
    assert (costs.events, costs.rmw) == (1, 512 + 3)


def many(builder: ScenarioBuilder) -> ScenarioBuilder:
    return builder.fork("P0", "P1").fork("P0", "P2")


@pytest.mark.parametrize("n", list(SIZES))
def test_at_many_fork_and_zap_cost_nothing(n: int) -> None:
    geometry = geometry_of(n)
    forked = many(anon_by_pte(n, geometry)).fork("P0", "P3")
    assert Costs(forked, geometry, "zero_one_two_many@6.12", n, window=True).rmw == 0
    zapped = many(anon_by_pte(n, geometry)).fork("P0", "P3").unmap("P3", "A", 0, n)
    costs = Costs(zapped, geometry, "zero_one_two_many@6.12", n, window=True)
    assert (costs.rmw, costs.lines_written, costs.lines_read) == (0, 0, 1)


@pytest.mark.parametrize("n", list(SIZES))
def test_at_many_a_file_fault_gets_and_puts_the_lookup_reference(n: int) -> None:
    geometry = geometry_of(n)
    builder = fmap1(n, geometry)
    for child in ("P1", "P2", "P3"):
        builder.fork("P0", child).touch(child, "A", 0, n, "r")
    assert Costs(builder, geometry, "zero_one_two_many@6.1", n, window=True).rmw == 2


# Distinct struct page lines of 64 bytes: (read, written); n lines where the design touches every page.
LINES: dict[str, dict[str, Callable[[int], tuple[int, int]]]] = {
    "page_mapcount@6.1": {
        "fmap1": lambda n: (0, n),
        "funmap": lambda n: (0, n),
        "pmd1": lambda n: (0, n),
        "pmd2": lambda n: (0, n),
        "forka": lambda n: (0, n),
        "forkb": lambda n: (0, n),
        "split": lambda n: (0, n),
    },
    "nr_pages_mapped@6.8": {
        "fmap1": lambda n: (0, n),
        "funmap": lambda n: (0, n),
        "pmd1": lambda n: (0, 2),
        "pmd2": lambda n: (0, 2),
        "forka": lambda n: (0, n),
        "forkb": lambda n: (0, n),
        "split": lambda n: (0, n),
    },
    "large_mapcount@6.12": {
        "fmap1": lambda n: (0, n),
        "funmap": lambda n: (0, n),
        "pmd1": lambda n: (0, 2),
        "pmd2": lambda n: (0, 2),
        "forka": lambda n: (0, n),
        "forkb": lambda n: (0, n),
        "split": lambda n: (0, n),
    },
    "mm_owner@7.0": {
        "fmap1": lambda n: (0, n),
        "funmap": lambda n: (0, n),
        "pmd1": lambda n: (0, 2),
        "pmd2": lambda n: (0, 2),
        "forka": lambda n: (0, n),
        "forkb": lambda n: (0, n),
        "split": lambda n: (0, n),
    },
    # Head and first tail are written; PageAnonExclusive makes the first fork write every page, a later one read it.
    "no_page_mapcount@7.0": {
        "fmap1": lambda n: (0, 2),
        "funmap": lambda n: (0, 2),
        "pmd1": lambda n: (0, 2),
        "pmd2": lambda n: (0, 2),
        "forka": lambda n: (0, n),
        "forkb": lambda n: (n - 2, 2),
        "split": lambda n: (0, n),
    },
    "total_mapped_pages@7.0": {
        "fmap1": lambda n: (0, 2),
        "funmap": lambda n: (0, 2),
        "pmd1": lambda n: (0, 2),
        "pmd2": lambda n: (0, 2),
        "forka": lambda n: (0, n),
        "forkb": lambda n: (n - 2, 2),
        "split": lambda n: (0, n),
    },
    "zero_one_two_many@5.17": {
        "fmap1": lambda n: (0, 1),
        "funmap": lambda n: (0, 1),
        "pmd1": lambda n: (0, 1),
        "pmd2": lambda n: (0, 1),
        "forka": lambda n: (0, 1),
        "forkb": lambda n: (0, 1),
        # The split itself touches none; the page that goes with it reads its own line and the head's.
        "split": lambda n: (2, 0),
    },
    # With PageAnonExclusive every page's line is written by the first fork, and read by later ones.
    "zero_one_two_many@6.12": {"forka": lambda n: (0, n), "forkb": lambda n: (n - 1, 1), "split": lambda n: (0, n)},
    "subpages_mapcount_locked@6.2": {
        "fmap1": lambda n: (0, n),
        "funmap": lambda n: (0, n),
        "pmd1": lambda n: (0, 2),
        "pmd2": lambda n: (0, 2),
        "forka": lambda n: (0, n),
        "forkb": lambda n: (0, n),
        "split": lambda n: (0, n),
    },
    # By PMD also the pages with the sums: test_sums_of_rmap_id.
    "rmap_id@6.8": {
        "fmap1": lambda n: (0, n),
        "funmap": lambda n: (0, n),
        "forka": lambda n: (0, n),
        "forkb": lambda n: (0, n),
        "split": lambda n: (0, n),
    },
    "mm_owner_20bit@7.0": {
        "fmap1": lambda n: (0, n),
        "funmap": lambda n: (0, n),
        "pmd1": lambda n: (0, 2),
        "pmd2": lambda n: (0, 2),
        "forka": lambda n: (0, n),
        "forkb": lambda n: (0, n),
        "split": lambda n: (0, n),
    },
    # The count of PMD mappings stands in the second tail.
    "mm_owner:layout=32@7.0": {
        "fmap1": lambda n: (0, n),
        "funmap": lambda n: (0, n),
        "pmd1": lambda n: (0, 3),
        "pmd2": lambda n: (0, 3),
        "forka": lambda n: (0, n),
        "forkb": lambda n: (0, n),
        "split": lambda n: (0, n),
    },
    "vma_pt_tuples@6.1": {
        "fmap1": lambda n: (0, 1),
        "funmap": lambda n: (0, 1),
        "pmd1": lambda n: (0, 1),
        "pmd2": lambda n: (0, 1),
        "forka": lambda n: (0, n),
        "forkb": lambda n: (n - 1, 1),
        "split": lambda n: (0, n),
    },
    "vma_count@6.2": {
        "fmap1": lambda n: (0, 1),
        "funmap": lambda n: (0, 1),
        "pmd1": lambda n: (0, 1),
        "pmd2": lambda n: (0, 1),
        "forka": lambda n: (0, n),
        "forkb": lambda n: (n - 1, 1),
        "split": lambda n: (0, n),
    },
}


LINE_CELLS = [
    (scheme, column, n)
    for scheme in LINES
    for column in LINES[scheme]
    for n in SIZES
    if n != 16 or column not in PMD_ONLY
]


@pytest.mark.parametrize(("scheme", "column", "n"), LINE_CELLS)
def test_lines_of_whole_folio_events(scheme: str, column: str, n: int) -> None:
    geometry = geometry_of(n)
    costs = Costs(column_of(scheme, column)(n, geometry), geometry, scheme, n, window=True)
    assert (costs.lines_read, costs.lines_written) == LINES[scheme][column](n)


@pytest.mark.parametrize("n", list(SIZES))
@pytest.mark.parametrize(
    ("scheme", "lines"),
    [
        ("page_mapcount@6.1", None),
        ("nr_pages_mapped@6.8", None),
        ("subpages_mapcount_locked@6.2", 2),
        ("rmap_id@6.8", 2),
        ("mm_owner_20bit@7.0", 2),
        ("large_mapcount@6.12", 2),
        ("mm_owner@7.0", 2),
        ("no_page_mapcount@7.0", 2),
        ("total_mapped_pages@7.0", 2),
        ("zero_one_two_many@7.0", 1),
        ("vma_pt_tuples@7.0", 1),
        ("vma_count@7.0", 1),
    ],
)
def test_total_mapcount_reads_n_lines_two_lines_one_line(scheme: str, lines: int | None, n: int) -> None:
    geometry = geometry_of(n)
    builder = fmap1(n, geometry).unmap("P0", "A", 1, n - 1).total_mapcount("P0", "A", 0, 1)
    costs = Costs(builder, geometry, scheme, n, window=True)
    if lines == 1:
        # One VMA, or page table, is known from one line; the number of entries in it has to be walked for.
        assert costs.lines_read == lines
    else:
        assert costs.lines_read == (lines or n)
    assert costs.lines_written == 0
    assert costs.rmw == 0


@pytest.mark.parametrize(("n", "sums", "pages"), [(16, 2, 1), (512, 4, 1), (2048, 5, 2), (8192, 6, 2)])
def test_sums_of_rmap_id(n: int, sums: int, pages: int) -> None:
    """A writer among others pays for the total and for each sum; those stand in one page or two."""
    geometry = geometry_of(n)
    alone = Costs(fmap1(n, geometry), geometry, "rmap_id@6.8", n, window=True)
    together = Costs(fmap1(n, geometry), geometry, "rmap_id:writers=together@6.8", n, window=True)
    assert together.rmw - alone.rmw == 1 + sums
    if n > 16:
        by_pmd = Costs(pmd1(n, geometry), geometry, "rmap_id@6.8", n, window=True)
        assert (by_pmd.lines_read, by_pmd.lines_written) == (0, 2 + pages)


@pytest.mark.parametrize("scheme", ["subpages_mapcount_locked", "nr_pages_mapped"])
def test_a_pmd_over_ptes_reads_all_pages_under_the_lock(scheme: str) -> None:
    """How many pages a PMD maps newly stands in a sum of mapped pages, but not in a sum of mappings."""
    geometry = geometry_of(512)
    builder = ScenarioBuilder("t", geometry).obj("F", "file", 512, order=9, warm=True).region("A", 512)
    builder.map("P0", "A", "F", 0, 0, 512, "shared").touch("P0", "A", 0, 1, "r").fork("P0", "P1")
    builder.madv("P1", "A", 0, 512, "NOHUGEPAGE").touch("P1", "A", 0, 1, "r").unmap("P0", "A", 0, 512)
    costs = Costs(builder, geometry, f"{scheme}@6.2", 512, window=False)
    assert (costs.lines_read, costs.lines_written) == ((510, 2) if scheme == "subpages_mapcount_locked" else (0, 2))


@pytest.mark.parametrize(("until", "rmw"), [("freed", 1), ("unmapped", 2)])
def test_after_tracking_has_stopped_only_references_are_counted(until: str, rmw: int) -> None:
    geometry = geometry_of(512)
    builder = many(anon_by_pte(512, geometry)).fork("P0", "P3")
    assert Costs(builder, geometry, f"zero_one_two_stopped:until={until}@7.0", 512, window=True).rmw == rmw
    builder.unmap("P3", "A", 0, 512)
    assert Costs(builder, geometry, f"zero_one_two_stopped:until={until}@7.0", 512, window=True).rmw == rmw


def test_lines_of_128_bytes_hold_two_struct_pages() -> None:
    geometry = Geometry(page_size_bytes=4096, line_bytes=128, memory_bytes=64 << 30)
    machine = load_machine("generic-x86-64")
    scenario = fmap1(512, geometry).total_mapcount("P0", "A", 0, 1).build()
    simulation = new_simulation(
        scenario,
        scheme=parse_scheme_spec("page_mapcount"),
        kernel=load_profile("6.1"),
        backend="cache",
        geometry=geometry,
        machine=replace(machine, line_bytes=128),
        folio=FolioPolicy.parse("order0"),
    )
    simulation.run(scenario.events)
    assert simulation.event_stats()["lines_read"][EVENTS.index("total_mapcount"), 0] == 256
