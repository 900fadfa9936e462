# SPDX-License-Identifier: BSD-3-Clause
"""The cache back end counts the same whether accesses go by runs, fused for several folios, or one by one.

A simulation that lists its accesses fuses nothing. Its list, access by access through a `CacheHierarchy`, which shares
no engine with it, must be served by the same levels.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from random_scenarios import random_scenario

from folio_perf import CacheHierarchy, CacheLevel, parse_scheme_spec, scheme_names
from folio_perf._native import engine
from folio_perf._native.engine import Simulation
from folio_perf.geometry import FolioPolicy, Geometry
from folio_perf.machine import DEFAULT_MACHINE, Machine, load_machine
from folio_perf.profile import load_profile
from folio_perf.scenario import Scenario, ScenarioBuilder, parse_scenarios
from folio_perf.simulate import new_simulation

GEOMETRY = Geometry(memory_bytes=1 << 30)
SIZES = {
    "default": None,
    "small": ((4 << 10, 8), (24 << 10, 12), (128 << 10, 16)),
    "one way": ((4 << 10, 1), (32 << 10, 4), (64 << 10, 4)),
    "few sets": ((1 << 10, 8), (32 << 10, 8), (256 << 10, 16)),
}


def _machine(name: str) -> Machine:
    machine = load_machine(DEFAULT_MACHINE)
    sizes = SIZES[name]
    if sizes is None:
        return machine
    levels = [
        replace(level, size_bytes=size, nr_ways=ways) for level, (size, ways) in zip(machine.levels, sizes, strict=True)
    ]
    return replace(machine, levels=tuple(levels))


def _run(scenario: Scenario, scheme: str, machine: Machine, folio: str, trace_accesses: bool) -> Simulation:
    simulation = new_simulation(
        scenario,
        scheme=parse_scheme_spec(scheme),
        kernel=load_profile("7.0"),
        backend="cache",
        geometry=GEOMETRY,
        machine=machine,
        folio=FolioPolicy.parse(folio),
        trace_accesses=trace_accesses,
    )
    simulation.run(scenario.events)
    return simulation


def _small_folios(offset: int) -> Scenario:
    """Small folios side by side, from a page frame that is `offset` off; some written by both sides of a fork."""
    builder = ScenarioBuilder("small", GEOMETRY).region("O", 16).region("A", 1200).region("R", 64)
    builder.map_anon("P0", "O", 0, 16).map_anon("P0", "A", 0, 1200).map_anon("P0", "R", 0, 64)
    builder.touch("P0", "O", 0, offset, "w").touch("P0", "A", 0, 1200, "w")
    for page in (3, 1, 2, 8, 40, 41, 5):
        builder.touch("P0", "R", page, 1, "w")
    builder.fork("P0", "P1").touch("P1", "A", 100, 30, "w").touch("P0", "A", 500, 9, "w")
    builder.fork("P1", "P2").fork("P0", "P3").unmap("P3", "A", 7, 300).exit("P1").exit("P3").exit("P2")
    return builder.unmap("P0", "A", 600, 500).exit("P0").build()


@pytest.mark.parametrize("machine", SIZES)
@pytest.mark.parametrize("scheme", scheme_names())
def test_small_folios_fused_and_one_by_one(scheme: str, machine: str) -> None:
    _agree(_small_folios(1 + len(scheme) % 8), scheme, _machine(machine), "order0")


@pytest.mark.parametrize("machine", SIZES)
def test_nothing_but_fused_folios(machine: str) -> None:
    """What an event notes once, such as its TLB flush, is noted by fused folios too."""
    builder = ScenarioBuilder("eight", GEOMETRY).region("O", 24).region("A", 8)
    builder.map_anon("P0", "O", 0, 24).map_anon("P0", "A", 0, 8).touch("P0", "O", 0, 24, "w")
    builder.madv("P0", "O", 0, 24, "DONTFORK").touch("P0", "A", 0, 8, "w").fork("P0", "P1").exit("P1")
    _agree(builder.build(), "mm_owner", _machine(machine), "order0")


@pytest.mark.parametrize("seed", range(6))
def test_random_scenarios_fused_and_one_by_one(seed: int) -> None:
    (scenario,) = parse_scenarios(random_scenario(seed, nr_operations=60), GEOMETRY, strict=False)
    scheme = scheme_names()[seed % len(scheme_names())]
    _agree(scenario, scheme, _machine(list(SIZES)[seed % len(SIZES)]), ("order0", "default", "thp")[seed % 3])


def _agree(scenario: Scenario, scheme: str, machine: Machine, folio: str) -> None:
    fused = _run(scenario, scheme, machine, folio, trace_accesses=False)
    listed = _run(scenario, scheme, machine, folio, trace_accesses=True)
    assert (fused.counters() == listed.counters()).all()
    assert (fused.event_stats() == listed.event_stats()).all()
    assert (fused.struct_pages() == listed.struct_pages()).all()
    assert fused.totals() == listed.totals()
    rows = listed.accesses()
    step = np.arange(int(rows["nr"].sum()), dtype=np.uint64)
    step -= np.repeat(np.cumsum(rows["nr"], dtype=np.uint64) - rows["nr"], rows["nr"])
    addresses = np.repeat(rows["address"], rows["nr"]) + step * np.repeat(rows["stride"], rows["nr"]).astype(np.uint64)
    caches = CacheHierarchy(
        [CacheLevel(name=each.name, size_bytes=each.size_bytes, nr_ways=each.nr_ways) for each in machine.levels]
    )
    caches.access(addresses, np.repeat(rows["access"] != 0, rows["nr"]))
    served = fused.counters().sum(axis=(0, 1, 2, 3, 4))
    names = list(engine.names("levels"))
    stats = caches.stats().to_dict()
    for each in machine.levels:
        assert stats[each.name]["hits"] == served[names.index(each.name)], each.name
    assert stats[machine.levels[-1].name]["misses"] == served[names.index("dram")]
