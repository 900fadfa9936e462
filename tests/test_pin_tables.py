# SPDX-License-Identifier: BSD-3-Clause
"""The tables of docs/pins.md against what is known without running anything."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))

import pin_tables
from pin_tables import COSTS, PAGES, SCHEMES


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("processes", [1000, 2048])
def test_small_folios_look_pinned_from_1023_mappings_on(scheme: str, processes: int) -> None:
    counted = not scheme.startswith("zero_one_two_many")
    # One reference is the page cache's.
    mapped = [sum(number * PAGES // processes <= page for number in range(processes)) for page in range(PAGES)]
    expected = sum(mappers + 1 >= 1024 for mappers in mapped) / PAGES if counted else 0
    assert pin_tables.false_share(pin_tables.shared_file(processes, 0), scheme, PAGES) == expected


@pytest.mark.parametrize("scheme", SCHEMES)
def test_large_folios_count_their_pins(scheme: str) -> None:
    assert pin_tables.false_share(pin_tables.shared_file(1100, 2), scheme, PAGES) == 0


def test_references_of_pipes_look_like_pins_but_where_pins_are_counted() -> None:
    scenario = pin_tables.held_by_pipes(1024)
    assert [pin_tables.false_share(scenario, scheme, 1) for scheme in SCHEMES] == [1, 1, 1, 0]


def test_what_false_alarms_cost() -> None:
    children = 1100
    old_fork, new_fork, swapped, migrated, _ = COSTS
    # From the 1024th mapping on fork takes each page for pinned, and gives the child a copy.
    assert pin_tables.cost_of(old_fork, "page_mapcount", children) == PAGES * (children + 1 - 1024)
    assert pin_tables.cost_of(old_fork, "zero_one_two_many", children) == 0
    assert pin_tables.cost_of(new_fork, "mm_owner", children) == 0
    assert pin_tables.cost_of(swapped, "mm_owner", children) == 0
    assert pin_tables.cost_of(swapped, "mm_owner", 1000) == PAGES
    assert pin_tables.cost_of(migrated, "mm_owner", children) == PAGES


def test_how_a_count_is_driven_up() -> None:
    assert [pin_tables.refs_per_mapping(scheme, 9) for scheme in SCHEMES] == [512, 512, 0, 0]
    assert [pin_tables.refs_per_mapping(scheme, 0) for scheme in SCHEMES] == [1, 1, 0, 0]
    assert [pin_tables.refs_per_fork(scheme) for scheme in SCHEMES] == [512, 512, 0, 0]
    assert [pin_tables.refs_per_pin(scheme, 0) for scheme in SCHEMES] == [1024] * 3 + [1]
    assert [pin_tables.refs_per_pin(scheme, 9) for scheme in SCHEMES] == [1] * 4


def test_the_last_step() -> None:
    assert pin_tables.last_step("mm_owner") == "-, REF_OVERFLOW"
    assert pin_tables.last_step("zero_one_two_many").startswith("+")
