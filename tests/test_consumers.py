# SPDX-License-Identifier: BSD-3-Clause
"""Kernel paths that ask: what they do with each answer, and the truth that stands beside it."""

from __future__ import annotations

import pytest

from folio_perf import Geometry, ScenarioBuilder, compare, simulate
from folio_perf.results import Result

GEOMETRY = Geometry()
EXACT, LOST = "mm_owner", "zero_one_two_many"


def run(builder: ScenarioBuilder, scheme: str, kernel: str = "7.0", *, truth: bool = True) -> Result:
    return simulate(builder.build(), scheme=scheme, kernel=kernel, backend="count", truth=truth)


def shared_once(name: str, *, order0: bool = False) -> ScenarioBuilder:
    """A folio of P0 that three children have left again: one process maps it, at Many."""
    nr = 1 if order0 else 512
    builder = ScenarioBuilder(name, GEOMETRY).region("A", 512).map_anon("P0", "A", 0, nr)
    if not order0:
        builder.madv("P0", "A", 0, 512, "HUGEPAGE")
    return builder.touch("P0", "A", 0, nr, "w").forkmany("P0", 3, "G").exitgroup("G")


def leaked(name: str) -> ScenarioBuilder:
    """The same after P0 has let go of it, too."""
    return shared_once(name).madv("P0", "A", 0, 512, "DONTNEED")


@pytest.mark.parametrize("kernel", ["5.17", "6.1", "6.12", "7.0"])
def test_a_wrong_shared_leaves_memory_where_it_is(kernel: str) -> None:
    builder = shared_once("move").move_pages("P0", "A", 0, 512)
    right, wrong = (run(builder, scheme, kernel).totals for scheme in (EXACT, LOST))
    assert (right["migrations"], right["skipped_as_shared"]) == (1, 0)
    assert (wrong["migrations"], wrong["skipped_as_shared"]) == (0, 1)


def test_numa_balancing_moves_what_it_may() -> None:
    small = shared_once("numa", order0=True).numa_balance("P0", "A", 0, 1)
    right, wrong = run(small, EXACT), run(small, LOST)
    assert [right.row(kind).count for kind in ("numa_scan", "numa_fault")] == [1, 1]
    assert right.totals["migrations"] == 1
    assert [wrong.row(kind).count for kind in ("numa_scan", "numa_fault")] == [1, 0]
    assert wrong.totals["skipped_as_shared"] == 1
    # Of shared memory everything is marked, whoever maps it.
    shared = ScenarioBuilder("shared", GEOMETRY).region("A", 8).obj("M", "memfd", 8)
    for process in ("P0", "P1", "P2", "P3"):
        if process != "P0":
            shared.fork("P0", process)
        shared.map(process, "A", "M", 0, 0, 8, "shared").touch(process, "A", 0, 8, "w").unmap(process, "A", 4, 4)
        shared.numa_balance(process, "A", 0, 4)
        if process == "P0":
            shared.unmap("P0", "A", 0, 4)
    assert run(shared, EXACT).totals["migrations"] == 16


def test_reclaim_of_dead_memory_takes_swap_for_nothing() -> None:
    builder = leaked("dead").swapon().reclaim()
    right, wrong = run(builder, EXACT), run(builder, LOST)
    assert right.totals["pages_live"] == 0
    assert right.row("shrink").count == 0
    assert (wrong.totals["pages_live"], wrong.totals["leaked_pages"]) == (512, 512)
    assert (wrong.totals["swap_slots_wasted"], wrong.totals["swap_outs"], wrong.totals["false_mapped"]) == (512, 0, 2)
    assert wrong.totals["anon_vma_hazard"] == 0


def test_a_walk_by_reclaim_repairs_the_count() -> None:
    totals = run(leaked("repaired").swapon().reclaim(), LOST + ":recount=on_reclaim").totals
    assert (totals["pages_live"], totals["leaked_pages"], totals["leaked_pages_peak"]) == (0, 0, 512)
    # Unmapping it made it leak; swapon and the reclaim that ended it are the events after.
    assert totals["leaked_page_events"] == 2 * 512


def test_reclaim_drops_what_nobody_maps() -> None:
    builder = ScenarioBuilder("cache", GEOMETRY).obj("F", "file", 64, order=2).readobj("F").reclaim()
    for scheme in (EXACT, LOST):
        totals = run(builder, scheme).totals
        assert (totals["pages_live"], totals["file_discards"]) == (0, 64)


def test_compaction_leaves_what_is_held() -> None:
    builder = ScenarioBuilder("compact", GEOMETRY).region("A", 8).map_anon("P0", "A").touch("P0", "A", 0, 8, "w")
    builder.splice("P0", "A", 0, 3).compact()
    totals = run(builder, EXACT).totals
    assert (totals["migrations"], totals["migrations_refused"], totals["refused_needlessly"]) == (5, 3, 0)
    # A stale count holds references of its own, so nobody can tell that it may go.
    small = shared_once("stale", order0=True).compact()
    wrong = run(small, LOST).totals
    assert (wrong["migrations"], wrong["migrations_refused"], wrong["refused_needlessly"]) == (0, 1, 1)


@pytest.mark.parametrize(("scheme", "kernel", "wrong"), [("page_mapcount", "6.1", 511), ("large_mapcount", "6.12", 0)])
def test_pagemap_under_a_pmd(scheme: str, kernel: str, wrong: int) -> None:
    """The child maps page 0 alone, so the others are mapped once; which the kernel says if it looks at each."""
    builder = shared_once("pagemap").fork("P0", "P1").unmap("P1", "A", 1, 511).pagemap("P0")
    totals = run(builder, scheme, kernel).totals
    assert (totals["false_not_exclusive"], totals["false_page_exclusive"]) == (wrong, 0)


def test_pagemap_at_many() -> None:
    builder = shared_once("pagemap").pagemap("P0")
    assert run(builder, EXACT).totals["false_not_exclusive"] == 0
    assert run(builder, LOST).totals["false_not_exclusive"] == 512


def test_files_of_proc_by_page() -> None:
    builder = shared_once("proc").kpagecount().numa_maps("P0")
    right, wrong = run(builder, EXACT), run(builder, LOST)
    assert (right.totals["page_mapcounts_wrong"], right.totals["mapmax_error_abs"]) == (0, 0)
    assert (wrong.totals["page_mapcounts_wrong"], wrong.totals["mapmax_error_abs"]) == (512, 2)
    assert right.row("kpagecount").count == right.row("numa_maps").count == 1


def test_page_idle_walks_where_a_count_is_stale() -> None:
    builder = leaked("idle").page_idle()
    assert run(builder, EXACT).row("page_idle").count == 0
    assert run(builder, LOST).row("page_idle").vma_visits == run(builder, LOST).row("page_idle").count == 1


def test_errors_of_smaps_by_process() -> None:
    builder = shared_once("smaps").smaps("P0").fork("P0", "P1").smaps("P1")
    right, wrong = run(builder, EXACT), run(builder, LOST)
    whole = 512 * 4096
    assert [row.process for row in right.smaps] == [0, 4]
    assert [(row.pss_bytes, row.uss_bytes) for row in right.smaps] == [(whole, whole), (whole // 2, 0)]
    assert [(row.pss_true_bytes, row.uss_true_bytes) for row in wrong.smaps] == [(whole, whole), (whole // 2, 0)]
    first, second = wrong.smaps
    assert first.pss_error_percent == pytest.approx(-200 / 3, abs=0.1)
    assert first.uss_error_percent == -100
    assert second.pss_error_percent == pytest.approx(-100 / 3, abs=0.1)
    assert second.uss_error_percent is None
    assert Result.from_json(wrong.to_json()) == wrong
    assert wrong.to_frame(by="process")["pss_true_bytes"].tolist() == [whole, whole // 2]
    blind = run(builder, LOST, truth=False)
    assert blind.smaps[0].pss_true_bytes is blind.smaps[0].pss_error_percent is None
    assert blind.smaps[0].pss_bytes == first.pss_bytes


def test_copies_for_nothing() -> None:
    builder = shared_once("copies", order0=True).touch("P0", "A", 0, 1, "w")
    right, wrong = run(builder, EXACT).totals, run(builder, LOST).totals
    assert (right["cow_copies"], right["copies_needless"]) == (0, 0)
    assert (wrong["cow_copies"], wrong["copies_needless"]) == (1, 1)
    # One that somebody else maps is copied for a reason.
    totals = run(shared_once("reason", order0=True).fork("P0", "P1").touch("P0", "A", 0, 1, "w"), LOST).totals
    assert (totals["cow_copies"], totals["copies_needless"]) == (1, 0)


def test_partial_mappings_that_no_count_shows() -> None:
    """A page that nobody maps any more hides behind one that two map, where only sums are kept."""
    builder = ScenarioBuilder("partial", GEOMETRY).region("A", 512).map_anon("P0", "A")
    builder.madv("P0", "A", 0, 512, "HUGEPAGE").touch("P0", "A", 0, 512, "w").fork("P0", "P1")
    builder.unmap("P0", "A", 0, 8).unmap("P1", "A", 0, 8)
    assert run(builder, "page_mapcount", "6.1").totals["partial_missed"] == 0
    assert run(builder, EXACT).totals["partial_missed"] == 0
    assert run(builder, "no_page_mapcount").totals["partial_missed"] == 1


def test_the_swap_cache_is_kept_for_what_is_said_to_be_mapped() -> None:
    """Four processes swap a page in again, then all drop it: today its slot is free then."""
    builder = ScenarioBuilder("swap", GEOMETRY).region("A", 1).map_anon("P0", "A").touch("P0", "A", 0, 1, "w")
    builder.forkmany("P0", 3, "G").swapon().madv("P0", "A", 0, 1, "PAGEOUT").try_to_unmap("P0", "A", 0, 1)
    for name in ("P0", "G/0", "G/1", "G/2"):
        builder.touch(name, "A", 0, 1, "r")
    mapped = [run(builder, scheme).totals for scheme in (EXACT, LOST)]
    assert [totals["swap_ins"] for totals in mapped] == [4, 4]
    for name in ("P0", "G/0", "G/1", "G/2"):
        builder.madv(name, "A", 0, 1, "DONTNEED")
    right, wrong = run(builder, EXACT).totals, run(builder, LOST).totals
    assert (right["pages_live"], right["swap_slots_kept"]) == (0, 0)
    # The page that was swapped out at Many is not free, either.
    assert (wrong["pages_live"], wrong["swap_slots_kept"]) == (2, 1)
    assert run(builder, f"{LOST}:unknown=repair").totals["pages_live"] == 0


def test_a_bad_page_kills_those_that_mapped_it() -> None:
    anon = shared_once("bad", order0=True).fork("P0", "P1").memory_failure("P0", "A", 0, 1)
    for scheme in (EXACT, LOST):
        totals = run(anon, scheme).totals
        assert (totals["memory_failures"], totals["killed"], totals["killed_needlessly"]) == (1, 2, 0)
        assert totals["pages_live"] == 1
    huge = shared_once("huge").memory_failure("P0", "A", 7, 1)
    assert [run(huge, EXACT).totals[name] for name in ("folio_splits", "memory_failures", "killed")] == [1, 1, 1]


def test_a_clean_page_kills_nobody_unless_it_is_said_to_be_mapped() -> None:
    builder = ScenarioBuilder("clean", GEOMETRY).obj("F", "file", 1, warm=True).region("A", 1)
    builder.map("P0", "A", "F", 0, 0, 1, "shared").touch("P0", "A", 0, 1, "r").forkmany("P0", 3, "G")
    for child in range(3):
        builder.touch(f"G/{child}", "A", 0, 1, "r")
    builder.memory_failure("P0", "A", 0, 1)
    for scheme, killed in ((EXACT, 0), (LOST, 4), (f"{LOST}:recount=on_reclaim", 0)):
        totals = run(builder, scheme).totals
        assert (totals["killed"], totals["killed_needlessly"]) == (killed, int(killed > 0))
        # Two walks: one collects, one unmaps.
        assert run(builder, scheme).row("memory_failure").vma_visits == 8


@pytest.mark.parametrize("unknown", ["walk", "repair"])
def test_who_walks_for_answers_is_right(unknown: str) -> None:
    builder = shared_once("walks").smaps("P0").pagemap("P0").kpagecount().numa_maps("P0").move_pages("P0", "A", 0, 512)
    totals = run(builder, f"{LOST}:unknown={unknown}").totals
    wrong = ("false_shared", "false_not_exclusive", "page_mapcounts_wrong", "mapmax_error_abs", "skipped_as_shared")
    assert [totals[name] for name in wrong] == [0] * 5
    assert (totals["pss_error_abs"], totals["uss_error_abs"]) == (0, 0)
    # Who knows better does not get rid of the references that a stale count holds, unless it is repaired.
    assert (totals["migrations"], totals["refused_needlessly"]) == ((1, 0) if unknown == "repair" else (0, 1))
    # A walk for each page that smaps, pagemap, kpagecount, numa_maps and mbind ask for; repaired, one will do, but for
    # counts of pages, which one VMA of a large folio does not tell: S = 1 is asked for again.
    assert totals["answers_walked"] == (1 if unknown == "repair" else 512 + 1 + 512 + 1 + 1)


def test_truncation_looks_again_for_what_a_stale_count_says_is_mapped() -> None:
    """F folios that Q processes have shared: today one unmap for all, at Many a walk per folio besides."""
    folios, processes = 8, 5
    builder = ScenarioBuilder("truncate", GEOMETRY).region("A", folios).obj("M", "memfd", folios)
    builder.map("P0", "A", "M", 0, 0, folios, "shared").touch("P0", "A", 0, folios, "w").forkmany(
        "P0", processes - 1, "G"
    )
    for child in range(processes - 1):
        builder.touch(f"G/{child}", "A", 0, folios, "r")
    builder.truncobj("M", 0)
    right, wrong = run(builder, EXACT), run(builder, LOST)
    assert right.row("truncate").vma_visits == processes
    assert wrong.row("truncate").vma_visits == processes + folios * processes
    assert wrong.totals["leaked_pages"] == folios
    repaired = run(builder, f"{LOST}:unknown=repair")
    assert repaired.row("truncate").vma_visits == processes + folios * processes
    assert (repaired.totals["leaked_pages"], repaired.totals["pages_live"]) == (0, 0)


def test_the_policy_may_be_given_for_a_whole_comparison() -> None:
    scenario = shared_once("policy").move_pages("P0", "A", 0, 512).build()
    schemes = [EXACT, LOST, f"{LOST}:unknown=repair"]
    results = compare(scenario, schemes=schemes, backend="count", unknown="walk").results
    assert [result.run.scheme for result in results] == [f"{EXACT}:unknown=walk", f"{LOST}:unknown=walk", schemes[2]]
    assert [result.totals["answers_walked"] for result in results] == [0, 1, 1]
    assert simulate(scenario, scheme=LOST, backend="count", unknown="walk") == results[1]
    with pytest.raises(ValueError, match="unknown=guess is not one of assume, walk, repair"):
        simulate(scenario, scheme=LOST, unknown="guess")
