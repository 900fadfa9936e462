# SPDX-License-Identifier: BSD-3-Clause
"""The claims of the mail that proposed Zero, One, Two, Many: all hold, and the model is what says so."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

import folio_perf.claims  # noqa: F401
from folio_perf import claims, scheme_names
from folio_perf.cli import app

MODULE = __import__("sys").modules["folio_perf.claims"]


@pytest.mark.parametrize("page_size", ["4K", "16K", "64K"])
def test_every_claim_holds(page_size: str) -> None:
    rows = claims(page_size)
    assert [row for row in rows if not row.ok] == []
    numbers = {row.id.rstrip("abcdefghi") for row in rows}
    assert numbers == {f"9.{number}" for number in range(1, 15)}
    assert {row.id for row in rows} >= {f"9.6{letter}" for letter in "abcdefghi"}
    assert {row.method for row in rows} == {"run", "extrapolated"}
    assert all(row.id.startswith("9.6") for row in rows if row.method == "extrapolated")
    # Every design that shipped answers the seed's question and pays for a mapping.
    asked = {row.scheme.partition("@")[0] for row in rows if row.id == "9.1"}
    assert asked >= {"page_mapcount", "nr_pages_mapped", "large_mapcount", "mm_owner", "zero_one_two_many"}
    assert {row.scheme.partition("@")[0].partition(":")[0] for row in rows} <= set(scheme_names())


def test_a_claim_that_does_not_hold_is_not_ok(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODULE._MAP_RMW, "mm_owner", lambda n: (n, n))
    wrong = [row for row in claims(number="9.5") if not row.ok]
    assert [(row.id, row.scheme, row.expected, row.got) for row in wrong] == [
        ("9.5", "mm_owner@7.0", "512", "515"),
        ("9.5", "mm_owner@7.0", "512", "4"),
    ]
    done = CliRunner().invoke(app, ["claims", "--id", "9.5"])
    assert done.exit_code == 1
    assert "NOT OK" in done.stdout


def test_command() -> None:
    done = CliRunner().invoke(app, ["claims", "--id", "9.6", "--json"])
    assert done.exit_code == 0
    rows = json.loads(done.stdout)
    assert {row["id"][:3] for row in rows} == {"9.6"}
    assert set(rows[0]) == {"id", "claim", "scheme", "expected", "got", "ok", "method", "reconstructed"}
    assert {row.id for row in claims(number="9.6c")} == {"9.6c"}
    text = CliRunner().invoke(app, ["claims", "--id", "9.1", "--page-size", "64K"]).stdout
    assert max(map(len, text.splitlines())) <= 72
    assert "32 lines, 2048 B" in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--id", "9.99"], "'9.99' is none of 9.1"),
        (["--id", "9.6x"], "'9.6x' is none of 9.6a"),
        (["--page-size", "5K"], "5120"),
    ],
)
def test_bad_input(arguments: list[str], said: str) -> None:
    done = CliRunner().invoke(app, ["claims", *arguments])
    assert done.exit_code == 2
    assert said in done.stderr
