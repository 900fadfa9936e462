# SPDX-License-Identifier: BSD-3-Clause
"""contention(): the queue against an independent solution, transfers against pairs counted one by one, the command."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_cli import is_mail, run, run_json

from folio_perf import plotting, report
from folio_perf.contention import contention, mean_transfer_ns, solve
from folio_perf.machine import TRANSFER_TIERS, Machine, Topology, Transfers, load_machine
from folio_perf.results import Contention, ContentionCurve, ContentionPoint, crossovers
from folio_perf.schemes import scheme_names

MACHINE = load_machine("generic-x86-64")
EVERYTHING = Topology(threads_per_core=2, cores_per_ccx=4, ccx_per_socket=2, sockets=2, source="test")


def with_topology(topology: Topology) -> Machine:
    price = MACHINE.transfers.remote
    tiers = dict(zip(TRANSFER_TIERS, (10.0, 20.0, 40.0, 80.0), strict=True))
    transfers = Transfers(**{tier: replace(price, ns=ns) for tier, ns in tiers.items()})
    return replace(MACHINE, topology=topology, transfers=transfers)


# ---- the queue ---------------------------------------------------------------------------------------------------


def by_convolution(threads: int, think: float, demands: list[float]) -> float:
    """Throughput from Buzen's normalisation constants (Comm. ACM 16(9), 1973): another way to the same network."""
    constants = [think**customers / math.factorial(customers) for customers in range(threads + 1)]
    for demand in demands:
        for customers in range(1, threads + 1):
            constants[customers] += demand * constants[customers - 1]
    return constants[threads - 1] / constants[threads]


@settings(deadline=None)
@given(
    threads=st.integers(1, 40),
    think=st.floats(0, 20),
    demands=st.lists(st.floats(0.05, 5), min_size=1, max_size=5),
)
def test_the_queue_against_convolution(threads: int, think: float, demands: list[float]) -> None:
    rate, latency = solve(threads, think, np.array(demands))
    assert rate == pytest.approx(by_convolution(threads, think, demands), rel=1e-9)
    assert latency * rate == pytest.approx(threads)
    assert rate <= min(threads / (think + sum(demands)), 1 / max(demands)) * (1 + 1e-12)


def test_queues_alike_are_queues() -> None:
    assert solve(9, 3.0, np.array([1.0, 2.0]), np.array([3, 1])) == pytest.approx(
        solve(9, 3.0, np.array([1.0, 1.0, 1.0, 2.0]))
    )


def test_without_queues_threads_do_not_meet() -> None:
    assert solve(64, 10.0, np.array([])) == pytest.approx((6.4, 10.0))
    with pytest.raises(ValueError, match="takes no time"):
        solve(2, 0.0, np.array([]))
    with pytest.raises(ValueError, match="at least 1"):
        solve(0, 1.0, np.array([1.0]))


# ---- transfers ---------------------------------------------------------------------------------------------------


def pairs(topology: Topology, running: int) -> Counter[str]:
    """Count ordered pairs by tier, one by one: cores in order, second threads after all first ones."""
    nr_cores = topology.cores_per_ccx * topology.ccx_per_socket * topology.sockets
    found: Counter[str] = Counter()
    for one in range(running):
        for other in range(running):
            core, there = one % nr_cores, other % nr_cores
            if one == other:
                found["none"] += 1
            elif core == there:
                found["smt"] += 1
            elif core // topology.cores_per_ccx == there // topology.cores_per_ccx:
                found["ccx"] += 1
            elif core // (nr_cores // topology.sockets) == there // (nr_cores // topology.sockets):
                found["socket"] += 1
            else:
                found["remote"] += 1
    return found


@pytest.mark.parametrize("running", [1, 2, 4, 5, 8, 9, 16, 17, 32])
def test_transfers_by_tier(running: int) -> None:
    machine = with_topology(EVERYTHING)
    count = pairs(EVERYTHING, running)
    ns = sum(count[tier] * getattr(machine.transfers, tier).ns for tier in TRANSFER_TIERS) / running**2
    assert mean_transfer_ns(machine, running) == pytest.approx(ns)


def test_a_price_nobody_knows_is_named_when_it_is_needed() -> None:
    machine = replace(with_topology(EVERYTHING), transfers=Transfers(ccx=MACHINE.transfers.ccx))
    assert mean_transfer_ns(machine, 4) == pytest.approx(0.75 * 48)
    with pytest.raises(ValueError, match="tier 'socket' is unknown, and 5 CPUs need it"):
        mean_transfer_ns(machine, 5)
    with pytest.raises(ValueError, match=r"no \[topology\]"):
        contention("page_mapcount", machine=replace(MACHINE, topology=None))


@pytest.mark.parametrize("count", [0, -1, 1025, 1.5, True])
def test_an_impossible_topology_is_refused(count: object) -> None:
    with pytest.raises(ValueError, match="cores_per_ccx"):
        replace(EVERYTHING, cores_per_ccx=count)  # type: ignore[arg-type]


# ---- curves ------------------------------------------------------------------------------------------------------


def curve(scheme: str, **settings: object) -> ContentionCurve:
    return contention(scheme, **settings).curves[0]  # type: ignore[arg-type]


def test_small_folios_share_one_line() -> None:
    for scheme in scheme_names():
        found = curve(scheme, threads=[1, 64])
        assert [(line.object, line.lines, line.visits) for line in found.shared] == [("folio[0]", 1, 1)], scheme


def test_page_mapcounts_are_lines_of_their_own() -> None:
    """Of an order-9 folio mapped by PTEs: 510 counts beside head and T1, each visited by map and by unmap."""
    found = curve("page_mapcount", threads=[1], order=9)
    assert [(line.object, line.lines, line.visits) for line in found.shared if line.lines > 1] == [
        ("folio[2..511]", 510, 2)
    ]
    assert all(line.lines == 1 for line in curve("no_page_mapcount", threads=[1], order=9).shared)
    wide = replace(MACHINE, line_bytes=128)
    assert [line.object for line in curve("page_mapcount", threads=[1], order=9, machine=wide).shared] == [
        "folio[0]",
        "folio[1..255]",
    ]


def test_one_thread_pays_what_the_accesses_cost_in_l1() -> None:
    found = curve("zero_one_two_many", threads=[1], order=2)
    work = found.think_ns + sum(line.lines * line.held_ns for line in found.shared)
    assert found.points[0].latency_ns == pytest.approx(work)
    assert found.points[0].transfer_ns == 0
    slower = curve("zero_one_two_many", threads=[1], order=2, think_ns=100)
    assert slower.points[0].latency_ns == pytest.approx(work + 100)


def test_many_threads_are_held_up_by_the_busiest_line() -> None:
    found = curve("page_mapcount", threads=[1, 32, 64, 200], order=2)
    last = found.points[-1]
    assert last.running == 64 and last.threads == 200
    assert replace(last, threads=64) == found.points[-2]
    busiest = max(line.visits * last.transfer_ns + line.held_ns for line in found.shared)
    assert last.operations_per_us == pytest.approx(1000 / busiest, rel=0.01)
    assert last.utilisation == pytest.approx(1, abs=0.01) and last.bottleneck.startswith("folio[0]")


def test_walks_meet_in_the_lock_alone() -> None:
    found = curve("page_mapcount", threads=[1, 8], operations=["folio_referenced"], sharing="rmap")
    assert [(line.field, line.visits) for line in found.shared] == [("rmap_lock", 2)]
    no_walk = curve("page_mapcount", threads=[1, 8], sharing="rmap")
    assert no_walk.shared == () and no_walk.points[1].operations_per_us == pytest.approx(
        8 * no_walk.points[0].operations_per_us
    )


def points(*rates: float) -> ContentionCurve:
    of = curve("page_mapcount", threads=[1])
    rows = [
        ContentionPoint(
            threads=number,
            running=number,
            transfer_ns=1.0,
            operations_per_us=rate,
            latency_ns=1.0,
            bottleneck="",
            utilisation=0.0,
        )
        for number, rate in enumerate(rates, start=1)
    ]
    return replace(of, points=tuple(rows))


def test_crossovers() -> None:
    flat = points(3, 3, 3, 3, 3)
    found = crossovers(flat, points(1, 2, 4, 3, 2))
    assert [each.threads for each in found] == [3, 5]
    assert crossovers(flat, points(1, 2, 3, 2, 3)) == ()
    a = replace(flat, run=replace(flat.run, scheme="a"))
    b = replace(points(1, 4, 4, 4, 4), run=replace(flat.run, scheme="b"))
    (only,) = Contention(curves=(a, b)).crossovers()
    assert (only.threads, only.faster, only.slower) == (2, "b@7.0", "a@7.0")
    assert "from 2 threads on b@7.0 is faster" in report.contention_report(Contention(curves=(a, b))).plain
    with pytest.raises(ValueError, match="different numbers of threads"):
        crossovers(flat, points(1, 2))


@pytest.mark.parametrize(
    ("wrong", "rule"),
    [
        ({"threads": []}, "at least one number"),
        ({"threads": [2, 2]}, "threads 2 must ascend"),
        ({"threads": [0]}, "threads 0 must"),
        ({"threads": [5000]}, "threads 5000 must"),
        ({"sharing": "all"}, "sharing 'all'"),
        ({"think_ns": -1.0}, "think_ns -1.0"),
        ({"think_ns": float("nan")}, "think_ns nan"),
        ({"operations": []}, "at least one operation"),
        ({"operations": ["nonesuch"]}, "no operation named 'nonesuch'"),
        ({"order": 10}, "order 10"),
    ],
)
def test_wrong_inputs_are_refused(wrong: dict[str, object], rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        contention("page_mapcount", **wrong)  # type: ignore[arg-type]


# ---- what leaves the program -------------------------------------------------------------------------------------


def test_the_command_prints_text_json_and_a_picture(tmp_path: Path) -> None:
    target = tmp_path / "curves.svg"
    arguments = ("contention", *scheme_names(), "--threads", "1-70", "--order", "2")
    text = run(*arguments, "--plot", str(target))
    assert is_mail(text) and "inexact" in text and "64 threads at a time" in text
    assert target.read_text().startswith("<?xml")
    value = run_json(*arguments)
    assert value == json.loads(contention(",".join(scheme_names()), threads=range(1, 71), order=2).to_json())
    assert value["kind"] == "modelled, inexact" and "closed queue" in value["method"]
    assert [point["threads"] for point in value["curves"][0]["points"]] == list(range(1, 71))


@pytest.mark.parametrize("threads", ["", "0", "2-1", "1-", "x", "1-9999", "3,2", "-1"])
def test_the_command_refuses_threads(threads: str) -> None:
    run("contention", "page_mapcount", f"--threads={threads}", status=2)


def test_the_picture_has_a_curve_per_design() -> None:
    axes = plotting.curves(contention("page_mapcount,large_mapcount", threads=[1, 2, 4])).axes[0]
    assert [len(line.get_xdata()) for line in axes.lines] == [3, 3]
