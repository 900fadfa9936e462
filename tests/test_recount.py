# SPDX-License-Identifier: BSD-3-Clause
"""Zero/One/Two/Many: recounts, and what happens in the middle of one; presence policies against each other."""

from __future__ import annotations

import numpy as np
import pytest

from folio_perf._native import engine
from folio_perf._simulation import new_simulation
from folio_perf.geometry import Geometry
from folio_perf.profile import load_profile
from folio_perf.scenario import EVENT_DTYPE, Op, Scenario, ScenarioBuilder
from folio_perf.schemes import parse_scheme_spec

GEOMETRY = Geometry()
MAPCOUNT_WORD = 12
BUSY = 4


def simulation_of(scenario: Scenario, spec: str, *, kernel: str = "7.0", walk_order_seed: int = 0) -> engine.Simulation:
    return new_simulation(
        scenario,
        scheme=parse_scheme_spec(spec),
        kernel=load_profile(kernel),
        backend="count",
        walk_order_seed=walk_order_seed,
    )


def state_word(simulation: engine.Simulation, pfn: int) -> int:
    return int(simulation.struct_pages().view(np.int32).reshape(-1, 16)[pfn, MAPCOUNT_WORD])


def five_mappers_of_one_page() -> Scenario:
    """P0 to P4 map a file page; P0, P1 and P2 have touched it, so it is at Many. The walk meets P0 P4 P3 P2 P1."""
    builder = ScenarioBuilder("race", GEOMETRY).obj("F", "file", 1, warm=True).region("A", 1)
    builder.map("P0", "A", "F", 0, 0, 1, "shared")
    for child in ("P1", "P2", "P3", "P4"):
        builder.fork("P0", child)
    for process in ("P0", "P1", "P2"):
        builder.touch(process, "A", 0, 1, "r")
    return builder.madv("P1", "A", 0, 1, "DONTNEED").build()


def touch_by(scenario: Scenario, process: int) -> np.ndarray:
    event = np.zeros(1, EVENT_DTYPE)
    event["op"], event["process"], event["vpn"], event["nr"] = Op.TOUCH, process, scenario.regions["A"].vpn, 1
    return event


def run_with_interruption(race: str, process: int, visits: int) -> engine.Simulation:
    scenario = five_mappers_of_one_page()
    simulation = simulation_of(scenario, f"zero_one_two_many:recount=eager,race={race}")
    simulation.run(np.ascontiguousarray(scenario.events[:-1]))
    simulation.interrupt(visits, touch_by(scenario, process))
    simulation.run(np.ascontiguousarray(scenario.events[-1:]))
    return simulation


def test_an_undisturbed_recount_finds_two() -> None:
    scenario = five_mappers_of_one_page()
    simulation = simulation_of(scenario, "zero_one_two_many:recount=eager")
    simulation.run(scenario.events)
    simulation.check()
    pfn = int(simulation.mappings(0)["pfn"][0])
    assert state_word(simulation, pfn) == 2
    assert simulation.folio(pfn)["mapping_refs"] == 2


def test_the_naive_recount_misses_a_mapper_behind_the_walk() -> None:
    """P4 maps the page after the walk has passed it: three VMAs map it, the count says two."""
    with pytest.raises(AssertionError, match="answers 2, the page tables say 3"):
        run_with_interruption("naive", process=4, visits=2).check()


@pytest.mark.parametrize("visits", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("process", [3, 4])
def test_the_safe_recount_notices_and_gives_up(process: int, visits: int) -> None:
    simulation = run_with_interruption("safe", process, visits)
    simulation.check()
    pfn = int(simulation.mappings(0)["pfn"][0])
    folio = simulation.folio(pfn)
    assert folio["true_vmas"] == 3
    assert state_word(simulation, pfn) == 3  # Many, and no mark left behind
    assert folio["mapping_refs"] == 3


def test_only_what_may_happen_during_a_walk_may_interrupt_it() -> None:
    scenario = five_mappers_of_one_page()
    simulation = simulation_of(scenario, "zero_one_two_many:recount=eager")
    event = touch_by(scenario, 0)
    event["op"] = Op.FORK
    with pytest.raises(ValueError, match="out of range"):
        simulation.interrupt(1, event)
    with pytest.raises(ValueError, match="out of range"):
        simulation.interrupt(0, touch_by(scenario, 0))


def reverse_fault() -> Scenario:
    """The pages of a resident 2 MiB file folio are faulted one by one, from the last to the first."""
    builder = ScenarioBuilder("reverse", GEOMETRY).obj("F", "file", 512, order=9, warm=True).region("A", 512)
    builder.map("P0", "A", "F", 0, 0, 512, "shared").madv("P0", "A", 0, 512, "NOHUGEPAGE")
    for page in reversed(range(512)):
        builder.touch("P0", "A", page, 1, "w")
    return builder.build()


@pytest.mark.parametrize(
    ("presence", "empty_reads", "hits"),
    [
        # 511 + 510 + ... + 0 empty entries, and from the second fault on one hit each.
        ("scan", 130_816, 511),
        # The first fault has no neighbour that is mapped and scans; then the page above is the neighbour.
        ("neighbours", None, None),
        ("pmd_special", 511, 0),
        ("oracle", 0, 0),
        ("batch", 130_816, 511),
    ],
)
def test_reverse_fill_costs_a_scan_of_everything_below(
    presence: str, empty_reads: int | None, hits: int | None
) -> None:
    scenario = reverse_fault()
    simulation = simulation_of(scenario, f"zero_one_two_many:presence={presence}", kernel="6.12")
    simulation.run(scenario.events)
    simulation.check()
    reads = int(simulation.event_stats()["pte_reads"].sum())
    if presence == "neighbours":
        # Page p looks at p - 1 (empty), then at p + 1 (hit): two reads; the first, 511, looks at 510 and scans 511.
        assert reads == 1 + 511 + 510 * 2 + 1
    else:
        assert empty_reads is not None and hits is not None
        assert reads == empty_reads + hits


def test_a_split_vma_is_another_mapper_even_where_all_pages_are_in_its_new_half() -> None:
    builder = ScenarioBuilder("hint", GEOMETRY).obj("T", "tmpfs", 1024).region("T1", 1024, shift=1)
    builder.map("P0", "T1", "T", 0, 0, 1024, "shared").touch("P0", "T1", 979, 2, "r").unmap("P0", "T1", 805, 100)
    scenario = builder.touch("P0", "T1", 512, 1, "w").build()
    simulation = simulation_of(scenario, "page_mapcount", kernel="6.12")
    simulation.run(scenario.events)
    simulation.check()


def harmonic(n: int) -> float:
    return sum(1 / k for k in range(1, n + 1))


@pytest.mark.parametrize("children", [9, 99])
def test_fork_server_heap_in_random_order_follows_the_formula(children: int) -> None:
    """One heap page, N candidates, each child copies it away under eager_stop3: schemes.md 7.2, within 3 %."""
    candidates = children + 1
    visits = []
    for seed in range(1, 201 if children < 20 else 41):
        builder = ScenarioBuilder("server", GEOMETRY).region("A", 1).map_anon("P0", "A").touch("P0", "A", 0, 1, "w")
        for child in range(1, candidates):
            builder.fork("P0", f"P{child}")
        for child in range(1, candidates):
            builder.touch(f"P{child}", "A", 0, 1, "w")
        scenario = builder.build()
        simulation = simulation_of(scenario, "zero_one_two_many:recount=eager_stop3", walk_order_seed=seed)
        simulation.run(scenario.events)
        simulation.check()
        visits.append(int(simulation.event_stats()["vma_visits"].sum()))
    # After each unmap V mappers are left of N candidates; the walk that finds two visits all N and ends it.
    expected = 3 * (candidates + 1) * (harmonic(candidates) - harmonic(3)) + candidates
    assert np.mean(visits) == pytest.approx(expected, rel=0.03)
