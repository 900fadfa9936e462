# SPDX-License-Identifier: BSD-3-Clause
"""Work outside the designs: counted by hand, priced by the kernel profile, in no other number."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

import folio_perf as fp
from folio_perf.cli import main
from folio_perf.geometry import Geometry
from folio_perf.profile import OUTSIDE, load_profile
from folio_perf.results import Result
from folio_perf.scenario import Scenario, ScenarioBuilder


def fork_and_write(nr: int = 8) -> Scenario:
    """A process faults in pages, forks, and its child writes to all of them, then ends."""
    builder = ScenarioBuilder("fork_and_write", Geometry()).region("A", nr).map_anon("P0", "A")
    return builder.touch("P0", "A", 0, nr, "w").fork("P0", "P1").touch("P1", "A", 0, nr, "w").exit("P1").build()


def counts(result: Result) -> Counter[tuple[str, str]]:
    return Counter({(row.event, row.work): row.count for row in result.outside})


@pytest.mark.parametrize("backend", ["count", "cache"])
def test_by_hand(backend: str) -> None:
    result = fp.simulate(fork_and_write(), scheme="mm_owner", backend=backend, folio="order0")
    got = counts(result)
    assert {key: got[key] for key in got if key[1] != "pte_write"} == {
        ("anon_fault", "fault"): 8,
        ("anon_fault", "folio_alloc"): 8,
        ("anon_fault", "page_zero"): 8,
        ("fork", "tlb_flush"): 1,
        ("cow_fault", "fault"): 8,
        ("cow_fault", "folio_alloc"): 8,
        ("cow_fault", "page_copy"): 8,
        ("cow_fault", "tlb_flush"): 8,
        ("exit", "folio_free"): 8,
        ("exit", "tlb_flush"): 1,
    }
    # Write-protected in the parent, written in the child; cleared and set again by each copy.
    assert got["fork", "pte_write"] >= 16
    assert got["cow_fault", "pte_write"] == 16


def test_only_known_prices_are_priced_and_nothing_else_changes() -> None:
    kernel = load_profile("7.0")
    without = fp.simulate(fork_and_write(), scheme="mm_owner", kernel=replace(kernel, outside=()), folio="order0")
    result = fp.simulate(fork_and_write(), scheme="mm_owner", kernel=kernel, folio="order0")
    free = dict(kernel.outside)["folio_free"]
    assert {row.work: row.ns for row in result.outside if row.event == "exit"}["folio_free"] == 8 * free
    assert all(row.ns is None for row in without.outside)
    assert [replace(row, ns=None) for row in result.outside] == list(without.outside)
    assert result.total == without.total
    assert Result.from_json(result.to_json()).outside == result.outside


def test_a_thp_is_zeroed_whole() -> None:
    builder = ScenarioBuilder("thp", Geometry()).region("A", 512).map_anon("P0", "A")
    scenario = builder.touch("P0", "A", 0, 1, "w").build()
    got = counts(fp.simulate(scenario, scheme="mm_owner", folio="thp"))
    assert got["anon_fault", "page_zero"] == 512
    assert got["anon_fault", "folio_alloc"] == 1


def test_bad_prices(tmp_path: Path) -> None:
    shipped = Path(fp.__file__).parent / "profiles" / "7.0.toml"
    for old, new, words in (
        ("folio_free = 131.0", "folio_free = -1", "outside.folio_free -1 must be a number of ns above 0"),
        ("folio_free = 131.0", "folio_freed = 1.0", "has 'folio_freed', which means nothing here"),
    ):
        path = tmp_path / "mine.toml"
        path.write_text(shipped.read_text().replace(old, new))
        with pytest.raises(ValueError, match=words):
            load_profile(path)


def test_on_the_command_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["folio-perf", "compare", "seed_thp_pte_map", "--schemes", "mm_owner", "--outside"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 0
    text = capsys.readouterr().out
    assert "outside the designs, in no figure above" in text
    assert all(len(line) <= 72 for line in text.splitlines())
    monkeypatch.setattr("sys.argv", ["folio-perf", "compare", "seed_thp_pte_map", "--schemes", "mm_owner", "--json"])
    with pytest.raises(SystemExit):
        main()
    rows = json.loads(capsys.readouterr().out)["outside"]
    assert {row["work"] for row in rows} <= set(OUTSIDE)
    assert rows[0]["scheme"] == "mm_owner"
