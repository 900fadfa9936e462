# SPDX-License-Identifier: BSD-3-Clause
"""Walks whose candidates are drawn by lot follow the formulas of docs/catastrophes.md."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))

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
