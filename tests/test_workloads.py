# SPDX-License-Identifier: BSD-3-Clause
"""Workloads: the same events everywhere, that do what their parameters say, and that every engine run accepts."""

from __future__ import annotations

import hashlib
import inspect
import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from folio_perf import workloads
from folio_perf._native import engine
from folio_perf._simulation import new_simulation
from folio_perf.geometry import Geometry
from folio_perf.profile import load_profile, profile_names
from folio_perf.scenario import ADVICES, EVENT_DTYPE, EventFlag, Op, Scenario, scenario_names
from folio_perf.schemes import parse_scheme_spec
from folio_perf.traces import trace_names
from folio_perf.workloads import (
    Parameter,
    fork_server,
    parse_call,
    parse_settings,
    pinned_buffers,
    prefork_pool,
    refcount_attack,
    reverse_fault,
    shared_library,
    snapshot,
    truncate_storm,
    workload,
    workload_description,
    workload_names,
    workload_parameters,
)
from folio_perf.workloads._random import Stream
from folio_perf.workloads._script import merge_order

PAGES = ("4K", "16K", "64K")
GEOMETRY = {page: Geometry.from_text(page) for page in PAGES}
ALL_PAGES = ("4K", "8K", "16K", "32K", "64K", "128K", "256K")
SCHEMES = ("page_mapcount", "zero_one_two_many", "zero_one_two_many:recount=eager_stop3")
DOCS = Path(__file__).resolve().parents[1] / "docs" / "workloads.md"

# Settings that take every random branch.
VARIED: dict[str, dict[str, Any]] = {
    "fork_server": {
        "children": 13,
        "folio": "pmd",
        "rewrite_share": 0.02,
        "run": "4K",
        "write_order": "random",
        "exit_order": "random",
        "generations": 2,
        "cpus": 4,
        "seed": 7,
    },
    "pinned_buffers": {"buffers": "3M", "folio": "pmd", "workers": 9, "forks": 3, "exit_order": "random", "cpus": 2},
    "prefork_pool": {"requests": 300, "lifetime": 7, "exit_order": "random", "skew": 2, "cpus": 3, "seed": 7},
    "refcount_attack": {"mappings": 50, "processes": 7, "order": 4, "unmap_order": "random", "seed": 7},
    "reverse_fault": {"order": 5, "folios": 3, "fault_order": "random", "drop_order": "random", "seed": 7},
    "shared_library": {"processes": 9, "smaps": 4, "reclaim_scans": 2, "exit_order": "random", "cpus": 2, "seed": 7},
    "snapshot": {"data": "5M", "folio": "pmd", "saves": 3, "save_writes": 100, "quiet_writes": 10, "reads": 7},
    "truncate_storm": {
        "processes": 40,
        "mappers_share": 0.3,
        "touched_share": 0.2,
        "storms": 3,
        "exit_order": "random",
    },
}

# What the generators made when they were written. A change here changes the results of everybody who uses them.
DIGESTS: dict[str, dict[str, str]] = {
    "fork_server": {
        "4K": "a20179cebb9bdfdc",
        "16K": "a48dfc3751609c65",
        "64K": "26e418911b8c0000",
        "varied": "423845c071745e1c",
    },
    "pinned_buffers": {
        "4K": "1c51df77c5e91672",
        "16K": "6b1c5eb13ab425b1",
        "64K": "e4ab612ebef341f6",
        "varied": "8183a48be2372f38",
    },
    "prefork_pool": {
        "4K": "26f9f4fce499ccf6",
        "16K": "c860ac6a24453502",
        "64K": "9bd03c75ab1f9f6c",
        "varied": "c8db5edc3c1fdd69",
    },
    "refcount_attack": {
        "4K": "718d5815b4e50f5c",
        "16K": "d6cba383bf315e02",
        "64K": "cb16ec85be89b4aa",
        "varied": "c6218ed6509ddc2f",
    },
    "reverse_fault": {
        "4K": "563f99ee1773039e",
        "16K": "5e65c1c284d0a623",
        "64K": "4f0ea60d4af7311a",
        "varied": "1a01d9ad0298c7db",
    },
    "shared_library": {
        "4K": "1aa415d7e38fb4c2",
        "16K": "930fd6dad82e17da",
        "64K": "5993368254580eba",
        "varied": "bff1c0a4eabbf93f",
    },
    "snapshot": {
        "4K": "ed489a64218281cc",
        "16K": "e9edc32ffe8735c7",
        "64K": "16a4f6a9475d14e5",
        "varied": "89b586ff90d7790e",
    },
    "truncate_storm": {
        "4K": "63575bd58fdd4459",
        "16K": "982666a7e843d738",
        "64K": "67fd2d426ef3ceb6",
        "varied": "13740da1de090798",
    },
}


def simulation(scenario: Scenario, spec: str, geometry: Geometry, kernel: str = "7.0") -> engine.Simulation:
    return new_simulation(
        scenario, scheme=parse_scheme_spec(spec), kernel=load_profile(kernel), backend="count", geometry=geometry
    )


def run(scenario: Scenario, spec: str, geometry: Geometry, kernel: str = "7.0") -> engine.Simulation:
    """Run a scenario to its end; its events are strict, so one that fails raises."""
    assert scenario.strict
    made = simulation(scenario, spec, geometry, kernel)
    made.run(scenario.events)
    made.check()
    return made


def digest(scenario: Scenario) -> str:
    """Hash of the events by the names of their operations, so that a new operation changes nothing."""
    names = np.array([op.name for op in Op], dtype="S20")
    objects = [[spec.kind, spec.nr_pages, spec.order] for spec in scenario.objects]
    policy = scenario.folio_policy
    around = [objects, policy and [policy.always_bytes, policy.madvise_bytes]]
    made = hashlib.sha256(json.dumps(around).encode())
    made.update(names[scenario.events["op"]].tobytes())
    for name in [name for name in EVENT_DTYPE.names or () if name != "op"]:
        made.update(np.ascontiguousarray(scenario.events[name]).tobytes())
    return made.hexdigest()[:16]


def of(scenario: Scenario, op: Op, step: str = "") -> np.ndarray:
    """Events of one operation, if wanted only those of one phase."""
    chosen = scenario.events["op"] == op
    if step:
        chosen &= scenario.steps == scenario.step_text.index(step)
    return scenario.events[chosen]


def covered(scenario: Scenario, touches: np.ndarray, region: str) -> np.ndarray:
    """How often each page of a region is touched."""
    vpn, nr_pages = scenario.regions[region]
    times = np.zeros(nr_pages + 1, dtype=np.int64)
    np.add.at(times, touches["vpn"] - vpn, 1)
    np.add.at(times, touches["vpn"] + touches["nr"] - vpn, -1)
    return times.cumsum()[:-1]


# ---- the same everywhere ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", workload_names())
def test_equal_arguments_give_equal_bits(name: str) -> None:
    made = [workload(name, GEOMETRY["4K"], **VARIED[name]) for _ in range(2)]
    assert made[0] == made[1]
    assert made[0].hash == made[1].hash


@pytest.mark.parametrize("name", workload_names())
def test_bits_are_those_of_before(name: str) -> None:
    found = {page: digest(workload(name, GEOMETRY[page])) for page in PAGES}
    found["varied"] = digest(workload(name, GEOMETRY["4K"], **VARIED[name]))
    assert found == DIGESTS[name]


@pytest.mark.parametrize("name", sorted(set(workload_names()) - {"pinned_buffers", "reverse_fault", "refcount_attack"}))
def test_another_seed_gives_other_events_of_the_same_kinds(name: str) -> None:
    first, second = (workload(name, seed=seed) for seed in (1, 2))
    assert first.hash != second.hash
    if name != "prefork_pool":  # there workers live as long as chance has it
        assert Counter(first.events["op"].tolist()) == Counter(second.events["op"].tolist())


def test_processes_are_dealt_out_to_the_cpus() -> None:
    one, four = fork_server(children=9), fork_server(children=9, cpus=4)
    assert not one.events["cpu"].any()
    assert np.array_equal(four.events["cpu"], four.events["process"] % 4)
    rest = [name for name in EVENT_DTYPE.names or () if name != "cpu"]
    assert np.array_equal(one.events[rest], four.events[rest])


def test_a_change_leaves_alone_what_it_does_not_concern() -> None:
    first, second = fork_server(exit_order="fork"), fork_server(exit_order="random")
    where = first.events["op"] != Op.EXIT
    assert np.array_equal(first.events[where], second.events[where])


# ---- the engine ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", SCHEMES)
@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("name", workload_names())
def test_the_engine_runs_every_event(name: str, page: str, spec: str) -> None:
    scenario = workload(name, GEOMETRY[page])
    totals = run(scenario, spec, GEOMETRY[page]).totals()
    assert totals["pages_mapped"] > 0
    if spec != "zero_one_two_many":
        # Everybody has exited: only the page cache is left.
        assert totals["leaked_pages"] == 0
        assert totals["pages_live"] <= sum(each.nr_pages for each in scenario.objects)


@pytest.mark.parametrize("page", ALL_PAGES)
@pytest.mark.parametrize("name", workload_names())
def test_defaults_suit_every_page_size(name: str, page: str) -> None:
    geometry = Geometry.from_text(page)
    run(workload(name, geometry), "large_mapcount", geometry)


_CAPS = {"int": 12, "size": 3 << 20}


def _values(parameter: Parameter) -> st.SearchStrategy[Any]:
    if parameter.type == "choice":
        return st.sampled_from(parameter.choices)
    if parameter.type == "float":
        return st.floats(0, 1)
    if parameter.type == "folio":
        return st.sampled_from(["order0", "order2", "order5", "pmd"])
    low, high = int(parameter.minimum), int(min(parameter.maximum, _CAPS[parameter.type]))
    return st.integers(low, high if parameter.name != "order" else 9)


@st.composite
def _workloads(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    name = draw(st.sampled_from(workload_names()))
    chosen = {each.name: draw(_values(each)) for each in workload_parameters(name)}
    for few, many in (("smaps", "processes"), ("processes", "mappings")):
        if few in chosen and many in chosen:
            chosen[few] = min(chosen[few], chosen[many])
    return name, chosen


@given(
    given=_workloads(),
    page=st.sampled_from(PAGES),
    spec=st.sampled_from(SCHEMES),
    kernel=st.sampled_from(profile_names()),
)
@settings(max_examples=60, deadline=None)
def test_the_engine_runs_whatever_can_be_asked_for(
    given: tuple[str, dict[str, Any]], page: str, spec: str, kernel: str
) -> None:
    name, chosen = given
    scenario = workload(name, GEOMETRY[page], **chosen)
    assert scenario == workload(name, GEOMETRY[page], **{key: str(value) for key, value in chosen.items()})
    run(scenario, spec, GEOMETRY[page], kernel)


# ---- what they do ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES)
def test_fork_server(page: str) -> None:
    made = fork_server(
        geometry=GEOMETRY[page], children=20, heap="8M", rewrite_share=0.25, run="64K", exit_order="reverse"
    )
    nr_pages = (8 << 20) >> GEOMETRY[page].page_shift
    forks, exits = of(made, Op.FORK), of(made, Op.EXIT)
    assert forks["process"].tolist() == [0] * 20
    assert forks["arg"].tolist() == [*range(1, 21)]
    assert exits["process"].tolist() == [*range(20, 0, -1), 0]
    writes = of(made, Op.TOUCH, "the children rewrite their share of the heap")
    for child in range(1, 21):
        times = covered(made, writes[writes["process"] == child], "heap")
        assert times.max() == 1
        assert times.sum() == nr_pages // 4
    assert len(np.unique(writes["vpn"])) > nr_pages >> 5  # not the same ones
    assert (writes["flags"] == EventFlag.TOUCH_WRITE).all()
    # Four turns: every child writes a quarter, then the next one does.
    turns = writes["process"].reshape(4, 20, -1)
    assert np.array_equal(turns, np.broadcast_to(np.arange(1, 21)[:, None], turns.shape))
    assert made.folio_policy is not None
    assert made.folio_policy.always_bytes == (GEOMETRY[page].page_size_bytes << 4,)


def test_fork_server_counts_children_on_over_generations() -> None:
    made = fork_server(children=3, generations=2, heap="64K")
    assert made.processes == ("P0", *(f"child/{number}" for number in range(6)))
    assert of(made, Op.FORK)["arg"].tolist() == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(("order", "visits"), [("fork", 501_494), ("reverse", 3_991)])
def test_children_that_leave_by_copying_make_recounts_walk(order: str, visits: int) -> None:
    """1000 mappers, parent included, leave one after the other and stay candidates: the kernel's order decides."""
    made = fork_server(
        children=999, heap="4K", folio="order0", rewrite_share=1, turns=1, write_order=order, server_share=0
    )
    stats = run(made, "zero_one_two_many:recount=eager_stop3", GEOMETRY["4K"]).event_stats()
    assert stats["vma_visits"].sum() == visits


def test_pinned_buffers() -> None:
    """The page cache looks pinned from 1023 mappings on where each owns a reference, and nowhere else; buffers are."""
    for workers, false in ((1021, 0), (1022, 2)):
        made = pinned_buffers(buffers="64K", shared="4K", workers=workers, forks=0)
        for spec in ("page_mapcount", "mm_owner"):
            assert run(made, spec, GEOMETRY["4K"]).totals()["false_pinned"] == false
        for spec in ("zero_one_two_many", "zero_one_two_many:pins=exact"):
            totals = run(made, spec, GEOMETRY["4K"]).totals()
            assert totals["false_pinned"] == 0
            assert totals["refs_peak"] <= 3
    # A child gets its own copies of pinned pages.
    made = pinned_buffers(buffers="64K", workers=0, forks=3, scans=1)
    assert run(made, "mm_owner", GEOMETRY["4K"]).totals()["cow_copies"] == 3 * 16


@pytest.mark.parametrize("page", PAGES)
def test_snapshot(page: str) -> None:
    made = snapshot(geometry=GEOMETRY[page], data="6M", saves=3, save_writes=500, quiet_writes=70, reads=8)
    forks, exits = np.flatnonzero(made.events["op"] == Op.FORK), np.flatnonzero(made.events["op"] == Op.EXIT)
    assert len(forks) == 3
    assert np.array_equal(made.events["arg"][forks], made.events["process"][exits[:-1]])
    for fork, leave in zip(forks, exits[:-1], strict=True):
        during = made.events[fork + 1 : leave]
        reads = during[during["process"] != 0]
        assert len(during) == 508
        assert not reads["flags"].any()
        # The child reads everything once, start to end, while writes go on.
        assert covered(made, reads, "data").tolist() == [1] * made.regions["data"].nr_pages
        assert (np.diff(reads["vpn"].astype(np.int64)) > 0).all()
        gaps = np.diff(np.flatnonzero(during["process"] != 0))
        assert gaps.max() - gaps.min() <= 1
    assert exits[-1] == made.nr_events - 1
    totals = run(made, "zero_one_two_many", GEOMETRY[page]).totals()
    # Parent and one child are two VMAs: everything exact, no walk.
    assert totals["refs_peak"] == 2
    assert totals["stale_many"] == totals["leaked_pages_peak"] == 0


def test_hot_records_take_the_writes() -> None:
    def share_of_hottest(skew: int) -> float:
        made = snapshot(data="16M", saves=1, save_writes=20_000, quiet_writes=0, skew=skew)
        writes = of(made, Op.TOUCH, "the database saves, is written to, and is written to again")
        times = np.sort(covered(made, writes[writes["process"] == 0], "data"))[::-1]
        return float(times[: len(times) // 16].sum() / times.sum())

    assert share_of_hottest(4) == pytest.approx(0.5, abs=0.02)
    assert share_of_hottest(2) == pytest.approx(0.25, abs=0.03)
    assert share_of_hottest(1) < 0.15


@pytest.mark.parametrize("page", PAGES)
def test_shared_library(page: str) -> None:
    geometry = GEOMETRY[page]
    made = shared_library(
        geometry=geometry, processes=12, text="4M", data="1M", touched_share=0.5, common_share=0.5, run="64K"
    )
    text, data = made.regions["text"], made.regions["data"]
    assert data.vpn == text.vpn + text.nr_pages
    assert made.objects[0].nr_pages == text.nr_pages + data.nr_pages
    reads = of(made, Op.TOUCH)
    reads = reads[reads["flags"] == 0]
    times = np.array([covered(made, reads[reads["process"] == user], "text") for user in range(1, 13)])
    assert times.max() == 1
    assert times.sum(axis=1).tolist() == [text.nr_pages // 2] * 12
    everybody = (times.sum(axis=0) == 12).sum()
    assert text.nr_pages // 4 <= everybody < text.nr_pages // 3
    forks = of(made, Op.FORK)
    assert (forks["flags"] == EventFlag.FORK_SHARE_MM).all()
    assert np.array_equal(of(made, Op.EXEC)["process"], forks["arg"])
    # A process writes all of the library's data and owns these pages from then on.
    totals = run(made, "page_mapcount", geometry).totals()
    assert totals["cow_copies"] == 12 * data.nr_pages


@given(
    workers=st.integers(1, 9),
    requests=st.integers(0, 200),
    lifetime=st.integers(1, 12),
    scratch=st.sampled_from([0, "8K"]),
    seed=st.integers(0, 99),
)
@settings(max_examples=50, deadline=None)
def test_prefork_pool(workers: int, requests: int, lifetime: int, scratch: str | int, seed: int) -> None:
    made = prefork_pool(
        workers=workers,
        requests=requests,
        lifetime=lifetime,
        scratch=scratch,
        seed=seed,
        heap="256K",
        run="4K",
        rewrite_share=3 / 64,
    )
    alive: dict[int, int] = {}
    served = 0
    heap = made.regions["heap"]
    serve = made.events[made.steps == made.step_text.index("the workers serve requests")]
    for process in of(made, Op.FORK, "the parent forks the pool")["arg"].tolist():
        alive[process] = 0
    assert len(alive) == workers
    for event in serve:
        process, op = int(event["process"]), int(event["op"])
        if op == Op.FORK:
            alive[int(event["arg"])] = 0
            assert len(alive) == workers
        elif op == Op.EXIT:
            assert alive.pop(process) == 3 * lifetime
        elif op == Op.TOUCH and heap.vpn <= event["vpn"] < heap.vpn + heap.nr_pages:
            alive[process] += 1
            served += 1
    assert served == 3 * requests
    assert Counter(serve["op"].tolist())[Op.MADVISE] == (requests if scratch else 0)
    assert sorted(of(made, Op.EXIT, "the workers exit")["process"].tolist()) == sorted(alive)
    assert len(made.processes) == 1 + len(of(made, Op.FORK))
    run(made, "page_mapcount", GEOMETRY["4K"])


@pytest.mark.parametrize("page", PAGES)
def test_truncate_storm(page: str) -> None:
    geometry = GEOMETRY[page]
    made = truncate_storm(
        geometry=geometry, processes=50, file="4M", mappers_share=0.1, leavers_share=0.4, touched_share=0.5, storms=2
    )
    reads = of(made, Op.TOUCH)
    region = made.regions["file"]
    assert len(of(made, Op.FORK)) == 49
    assert reads["nr"].sum() == 2 * 5 * region.nr_pages // 2
    assert len(of(made, Op.MADVISE)) == 2 * 2
    assert of(made, Op.TRUNCATE)["nr"].tolist() == [0, region.nr_pages] * 2
    assert [len(np.unique(part["process"])) for part in np.split(reads, 2)] == [5, 5]
    stats = run(made, "page_mapcount", geometry).event_stats()
    # Candidates, not mappers: every truncation looks at all 50 VMAs.
    assert stats["vma_visits"][engine.names("event_kinds").index("truncate")] == 2 * 50


@pytest.mark.parametrize("page", PAGES)
def test_reverse_fault_reads_every_empty_entry_before_the_first_mapped_one(page: str) -> None:
    geometry = GEOMETRY[page]
    for kernel in (name for name in profile_names() if not load_profile(name).fault_maps_folio):
        made = reverse_fault(geometry=geometry, order=9)
        filled = simulation(made, "zero_one_two_many:presence=scan", geometry, kernel)
        filled.run(made.events[:-1])
        mapped = len(of(made, Op.TOUCH)) - 1  # reads that find a mapped page, after the first fault
        assert filled.event_stats()["pte_reads"].sum() - mapped == 512 * 511 // 2 == 130_816
        assert filled.totals()["pages_mapped"] == 512


def test_reverse_fault_orders() -> None:
    made = reverse_fault(order=3, folios=2, drop_order="ascending")
    first = made.regions["file"].vpn
    assert (of(made, Op.TOUCH)["vpn"] - first).tolist() == [*range(7, -1, -1), *range(15, 7, -1)]
    drops = of(made, Op.MADVISE)[1:]
    assert (drops["vpn"] - first).tolist() == list(range(16))
    assert (drops["what"] == ADVICES.index("DONTNEED")).all()
    shuffled = (of(reverse_fault(order=3, folios=2, fault_order="random"), Op.TOUCH)["vpn"] - first).reshape(2, 8)
    assert [sorted(row) for row in shuffled.tolist()] == [list(range(8)), list(range(8, 16))]
    assert all(row != sorted(row) != row[::-1] for row in shuffled.tolist())


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("kernel", profile_names())
def test_refcount_attack_adds_a_reference_per_entry(page: str, kernel: str) -> None:
    geometry = GEOMETRY[page]
    for order in (0, 3, 9, geometry.pmd_order):
        made = refcount_attack(geometry=geometry, mappings=30, processes=4, order=order)
        assert len(of(made, Op.MMAP)) == 30
        assert Counter(of(made, Op.MMAP)["process"].tolist()) == {0: 8, 1: 8, 2: 7, 3: 7}
        assert run(made, "page_mapcount", geometry, kernel).totals()["refs_peak"] == 30 << order
        assert run(made, "zero_one_two_many", geometry, kernel).totals()["refs_peak"] == 3


# ---- parameters ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", workload_names())
def test_signature_and_registry_agree(name: str) -> None:
    function: Callable[..., Scenario] = getattr(workloads, name)
    signature = inspect.signature(function).parameters
    parameters = workload_parameters(name)
    assert list(signature) == ["geometry", *(each.name for each in parameters)]
    assert all(each.kind is inspect.Parameter.KEYWORD_ONLY for each in signature.values())
    assert name in workloads.__all__
    for each in parameters:
        assert signature[each.name].default == each.default
        each.read(each.default)
        assert each.help
        assert f"{each.name} : " in (function.__doc__ or "")
    assert 0 < len(workload_description(name)) <= 72
    assert function().name == workload(name).name == name


def test_settings_are_part_of_the_name() -> None:
    made = fork_server(children=7, heap=1 << 20, folio=65536, rewrite_share=0.5, exit_order="fork")
    assert made.name == "fork_server(children=7, heap=1M, folio=64K, rewrite_share=0.5)"
    name, settings = parse_call(made.name)
    assert (name, len(settings)) == ("fork_server", 4)
    assert workload(name, **settings) == made
    assert made.where(0).startswith(f"workload {made.name}: event 0 (the server fills its heap)")


@pytest.mark.parametrize(
    ("settings", "rule"),
    [
        ({"childs": 3}, "has no parameter 'childs'; did you mean children? there are children, heap, "),
        ({"geometry": "64K"}, "has no parameter 'geometry'; there are "),
        ({"children": "many"}, "children 'many' must be a whole number from 1 to 1,000,000"),
        ({"children": "1e3"}, "children '1e3' must be a whole number"),
        ({"children": "-1"}, "children '-1' must be a whole number"),
        ({"children": 0}, "children 0 must be a whole number from 1"),
        ({"children": 2.0}, "children 2.0 must be a whole number"),
        ({"children": True}, "children True must be a whole number"),
        ({"children": None}, "children None must be a whole number"),
        ({"heap": "12Q"}, "heap '12Q' must be a size of 1 to 64T bytes"),
        ({"heap": "0"}, "heap '0' must be a size"),
        ({"heap": "1000T"}, "heap '1000T' must be a size"),
        ({"heap": 1.5}, "heap 1.5 must be a size"),
        ({"rewrite_share": "1.01"}, "rewrite_share '1.01' must be a number from 0 to 1"),
        ({"rewrite_share": float("nan")}, "rewrite_share nan must be a number from 0 to 1"),
        ({"rewrite_share": "half"}, "rewrite_share 'half' must be a number from 0 to 1"),
        ({"exit_order": "lifo"}, "exit_order 'lifo' must be one of fork, reverse, random"),
        ({"folio": "huge"}, "folio 'huge' must be a size such as 64K, orderN such as order4, or pmd"),
        ({"folio": "8K"}, "folio 8K is order 1 with 4K pages; anonymous folios have order 0, or 2 to 9"),
        ({"folio": "order10"}, "folio order10 is order 10 with 4K pages"),
        ({"folio": "12K"}, "folio 12K must be a power of two, and 4K (a page) at least"),
        ({"folio": "2K"}, "folio 2K must be a power of two, and 4K (a page) at least"),
        ({"children": 10**6, "generations": 100}, "events are more than the 67,108,864 of one scenario"),
        ({"heap": "64T", "run": "4K"}, "17,179,869,184 runs of 1 pages are more than 67,108,864"),
        ({"seed": -1}, "seed -1 must be a whole number from 0"),
        ({"cpus": 257}, "cpus 257 must be a whole number from 1 to 256"),
    ],
)
def test_what_wrong_settings_are_told(settings: dict[str, Any], rule: str) -> None:
    with pytest.raises(ValueError, match=f"^fork_server.*{re.escape(rule)}"):
        workload("fork_server", **settings)


@pytest.mark.parametrize(
    ("name", "settings", "rule"),
    [
        ("shared_library", {"processes": 3, "smaps": 4}, "smaps 4 must be at most the number of processes, 3"),
        ("shared_library", {"folio": "4M"}, "folio 4M is order 10 with 4K pages; largest is 2M (order 9)"),
        ("shared_library", {"text": "64T", "data": "64T", "run": "1G"}, "64T of addresses for data are more than"),
        ("reverse_fault", {"order": 10}, "order 10 must be at most 9, that of a PMD"),
        ("refcount_attack", {"order": 10}, "order 10 must be at most 9, that of a PMD"),
        ("refcount_attack", {"mappings": 65_531}, "for each of 1 processes; ask for 2 processes"),
        ("refcount_attack", {"mappings": 3, "processes": 4}, "processes 4 must be at most the number of mappings, 3"),
    ],
)
def test_rules_between_parameters(name: str, settings: dict[str, Any], rule: str) -> None:
    with pytest.raises(ValueError, match=re.escape(rule)):
        workload(name, **settings)


def test_no_name_stands_for_two_things() -> None:
    names = (*workload_names(), *scenario_names(), *trace_names())
    assert len(names) == len(set(names))


def test_unknown_workloads_and_geometries() -> None:
    for ask in (workload, workload_parameters, workload_description):
        with pytest.raises(ValueError, match="no workload named 'forkserver'; did you mean fork_server\\? there are "):
            ask("forkserver")
    with pytest.raises(TypeError, match="geometry must be a Geometry"):
        fork_server(geometry="64K")  # type: ignore[arg-type]


def test_settings_of_a_command_line() -> None:
    assert parse_settings(["children=1000", " heap = 64M "]) == {"children": "1000", "heap": "64M"}
    assert parse_settings([]) == {}
    assert parse_call("snapshot") == parse_call(" snapshot( ) ") == ("snapshot", {})
    for call in ("snapshot(data=1G", "snapshot(data=1G)x"):
        with pytest.raises(ValueError, match="must end with a bracket"):
            parse_call(call)
    for text in ("children", "=3", "children=", ""):
        with pytest.raises(ValueError, match="must be NAME=VALUE, such as children=1000"):
            parse_settings([text])
    with pytest.raises(ValueError, match="heap is set twice"):
        parse_settings(["heap=1M", "heap=2M"])


def test_the_documentation_lists_every_parameter() -> None:
    text = DOCS.read_text()
    for name in workload_names():
        section = text.split(f"\n## {name}\n")[1].split("\n## ")[0]
        rows = re.findall(r"^\| `(\w+)` \| (\S+) \|", section, re.MULTILINE)
        assert rows == [(each.name, str(each.default)) for each in workload_parameters(name)]


# ---- random numbers --------------------------------------------------------------------------------------------------


@given(rows=st.integers(0, 4), n=st.integers(1, 300), data=st.data())
@settings(deadline=None)
def test_permutations_and_subsets(rows: int, n: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(0, n))
    stream = Stream(data.draw(st.integers(0, 9)), "test")
    assert np.sort(stream.permutations(rows, n), axis=1).tolist() == [list(range(n))] * rows
    chosen = stream.subsets(rows, n, k)
    assert chosen.shape == (rows, k)
    assert all(len(set(row)) == k and set(row) <= set(range(n)) for row in chosen.tolist())


@pytest.mark.parametrize(("n", "k"), [(6, 3), (40, 3)])
def test_subsets_are_uniform_in_members_and_order(n: int, k: int) -> None:
    chosen = Stream(1, "test").subsets(40_000, n, k)
    for column in range(k):
        times = np.bincount(chosen[:, column], minlength=n)
        assert times == pytest.approx(np.full(n, 40_000 / n), rel=0.15)


def test_draws_stay_below_their_limit_and_follow_their_law() -> None:
    for limit in (1, 3, 1 << 20, (1 << 26) - 1):
        drawn = Stream(3, "test").below(limit, (10_000,))
        assert 0 <= drawn.min() <= drawn.max() < limit
    drawn = Stream(3, "test").below(10_000, (100_000,), skew=3)
    assert (drawn < 10).mean() == pytest.approx(0.1, abs=0.005)
    assert not np.array_equal(Stream(3, "test").below(99, (50,)), Stream(3, "toast").below(99, (50,)))


@given(first=st.integers(0, 60), second=st.integers(0, 60))
def test_merged_sequences_keep_their_order_and_pace(first: int, second: int) -> None:
    order = merge_order(first, second)
    assert sorted(order.tolist()) == list(range(first + second))
    ours = np.cumsum(order < first)
    theirs = np.arange(1, first + second + 1) - ours
    for mine in (order[order < first], order[order >= first]):
        assert (np.diff(mine) > 0).all()
    if first and second:
        assert (np.abs(ours * second - theirs * first) <= max(first, second)).all()
