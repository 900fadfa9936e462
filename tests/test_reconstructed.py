# SPDX-License-Identifier: BSD-3-Clause
"""Numbers of a design whose public description is incomplete say so wherever they appear."""

from __future__ import annotations

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from folio_perf import claims, compare, contention, explain, scheme_info, scheme_names, simulate
from folio_perf.cli import app

SCENARIO = "seed_file_pte_map"
RECONSTRUCTED = ("subpages_mapcount_locked", "vma_pt_tuples", "vma_count", "rmap_id", "mm_owner_20bit")
MARK, LEGEND = "+", "+ reconstructed: the public description is incomplete"
HW = ("hw", "run", "--operations", "map_pmd", "--orders", "9", "--regimes", "cold", "--seconds", "0.001")


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    return result.output


def run_json(*arguments: str) -> Any:
    return json.loads(run(*arguments, "--json"))


def test_the_table_says_which_they_are() -> None:
    marked = {name for name in scheme_names() if scheme_info(name).reconstructed}
    assert marked >= set(RECONSTRUCTED)
    assert not {name for name in marked if scheme_info(name).shipped}


@pytest.mark.parametrize("scheme", RECONSTRUCTED)
def test_rows_of_a_run_carry_the_mark(scheme: str) -> None:
    result = simulate(SCENARIO, scheme=scheme, backend="count")
    assert result.run.reconstructed
    assert result.to_frame()["reconstructed"].all()
    both = compare(SCENARIO, schemes=f"mm_owner,{scheme}", backend="count")
    assert {row.scheme: row.reconstructed for row in both.rows} == {"mm_owner": False, scheme: True}
    assert all(row["reconstructed"] is (row["scheme"] == scheme) for row in json.loads(both.to_json())["rows"])
    assert all(row["reconstructed"] is (row["scheme"] == scheme) for row in json.loads(both.to_json())["totals"])


def test_every_text_marks_them_and_explains_the_mark() -> None:
    for arguments in (
        ("compare", SCENARIO, "--schemes", "mm_owner,vma_count", "--backend", "count"),
        ("explain", "mm_owner", "vma_count", SCENARIO),
        ("contention", "mm_owner", "vma_count", "--threads", "1-4"),
        ("claims", "--id", "9.5"),
        (*HW, "--schemes", "zero_one_two_many,vma_count"),
    ):
        assert LEGEND in run(*arguments), arguments
    for arguments in (
        ("compare", SCENARIO, "--schemes", "mm_owner,page_mapcount", "--backend", "count"),
        ("explain", "mm_owner", "page_mapcount", SCENARIO),
        ("contention", "mm_owner", "page_mapcount", "--threads", "1-4"),
        (*HW, "--schemes", "mm_owner,page_mapcount"),
    ):
        assert LEGEND not in run(*arguments), arguments
    assert f"vma_count@7.0{MARK}" in run("claims", "--id", "9.5")


def test_other_numbers_carry_the_mark_too() -> None:
    explanation = json.loads(explain("mm_owner", "rmap_id", SCENARIO).to_json())
    assert (explanation["a"]["reconstructed"], explanation["b"]["reconstructed"]) == (False, True)
    curves = contention("mm_owner,rmap_id", threads=range(1, 3), order=2)
    assert curves.to_frame().groupby("scheme")["reconstructed"].all().to_dict() == {"mm_owner": False, "rmap_id": True}
    for row in claims(number="9.1"):
        assert row.reconstructed is scheme_info(row.scheme.partition("@")[0]).reconstructed
    measured = run_json(*HW, "--schemes", "zero_one_two_many,rmap_id,mm_owner")
    assert {row["scheme"]: row["reconstructed"] for row in measured["rows"]} == {
        "zero_one_two_many": True,
        "rmap_id": True,
        "mm_owner": False,
    }
    assert all(ratio["reconstructed"] for ratio in measured["ratios"])  # the baseline is one of them
