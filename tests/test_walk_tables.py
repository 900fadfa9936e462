# SPDX-License-Identifier: BSD-3-Clause
"""Walks whose candidates are drawn by lot follow the formulas of docs/catastrophes.md."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import folio_perf as fp
from folio_perf.contention import mean_transfer_ns

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))

import lock_tables
import walk_tables
from walk_tables import Shared, at_third, in_random_order, stopped

# The fewer candidates, the more a single walk varies.
RUNS = {10: 400, 100: 100}


@pytest.mark.parametrize("anon", [True, False])
@pytest.mark.parametrize(("candidates", "mappers"), [(10, 3), (100, 10)])
@pytest.mark.parametrize("walk", walk_tables.WALKS)
def test_walks_by_lot_follow_the_formulas(walk: str, candidates: int, mappers: int, anon: bool) -> None:
    scheme, place = walk_tables.WALKS[walk]
    formula = (stopped if place == 2 else at_third)(candidates, mappers)
    mean = in_random_order(Shared(candidates, mappers, "fork"), anon, scheme, place, RUNS[candidates])
    assert mean == pytest.approx(formula, rel=0.03)


def test_at_many_a_walk_visits_everybody() -> None:
    for order in walk_tables.ORDERS:
        scenario = Shared(50, 5, order).scenario(anon=True)
        assert walk_tables.visits(scenario, "zero_one_two_many")[2] == 50
        assert walk_tables.visits(scenario, "mm_owner")[2] <= 50


def test_a_thousand_processes_by_lot_and_in_the_kernels_order() -> None:
    rows = {(row[0], row[1]): row[2:] for row in walk_tables.server_rows()}
    formula, lots, fork, reverse, _ = rows["1000", "`eager_stop3`"]
    assert formula == "17,973"
    assert float(lots.replace(",", "")) == pytest.approx(17_973, rel=0.03)
    assert (fork, reverse) == ("501,494", "3,991")
    assert rows["1000", "`eager`"][:4] == ("998,000",) * 4


def test_truncation_at_stale_many_visits_every_vma_for_every_folio() -> None:
    *_, last = rows = walk_tables.truncate_rows()
    assert last[:3] == ("16,384", "1,000", "16,384,000")
    for folios, processes, product, today, lazy, on_reclaim, eager in rows:
        number = {name: int(cell.replace(",", "")) for name, cell in (("f", folios), ("p", processes), ("x", product))}
        assert number["x"] == number["f"] * number["p"]
        # Every VMA once, where the range is unmapped; then, at Many, all of them for each folio.
        assert today == eager == processes
        assert lazy == on_reclaim == f"{number['x'] + number['p']:,}"


def test_exact_pss_visits_every_vma_for_every_folio() -> None:
    for _, _, product, today, *others in walk_tables.pss_rows():
        assert today == "0" and set(others) == {product}


@pytest.mark.parametrize("anon", [True, False])
@pytest.mark.parametrize("design", lock_tables.DESIGNS.values())
def test_an_exit_alone_takes_the_time_of_the_model(design: str, anon: bool) -> None:
    machine = fp.load_machine("generic-x86-64")
    taken = lock_tables.exit_of(design, 100, anon)
    builder = fp.ScenarioBuilder("exit", fp.Geometry()).obj("F", "file", 1, warm=True).region("A", 1)
    builder = builder.map_anon("P0", "A") if anon else builder.map("P0", "A", "F", 0, 0, 1, "shared")
    builder.touch("P0", "A", 0, 1, "w" if anon else "r")
    for number in range(1, 100):
        builder.fork("P0", f"P{number}")
        if not anon:
            builder.touch(f"P{number}", "A", 0, 1, "r")
    result = fp.simulate(builder.exit("P1").build(), scheme=design, machine=machine)
    modelled = result.ns[result.axes.events.index("exit")].sum()
    assert taken.latency(machine, 1) == pytest.approx(modelled)
    assert (taken.lock >= 0) == ("eager" in design) == (taken.walk_ns > 0)
    for at_once in lock_tables.AT_ONCE[1:]:
        shared, in_turn = (taken.latency(machine, at_once, walks_in_turn=turns) for turns in (False, True))
        assert taken.latency(machine, 1) <= shared <= in_turn
        # Whoever waits for walks waits for all but its own, at most.
        assert in_turn <= at_once * (taken.latency(machine, 1) + 4 * mean_transfer_ns(machine, at_once))
