# SPDX-License-Identifier: BSD-3-Clause
"""What kernels 6.1 and 6.12 answered: the model must give the same in every field that is exact."""

from __future__ import annotations

import gzip
import json
from importlib import resources
from pathlib import Path

import pytest

from folio_perf.validation.golden import FIELDS, FieldComparison, GoldenError, compare_golden, read_golden

DATA = Path(__file__).parent / "data" / "golden"
SCENARIOS = Path(str(resources.files("folio_perf") / "data" / "scenarios"))

# What this version does not model, by the first operation of the scenario that needs it.
NOT_MODELLED = {
    "thp_madv_free": "FREE",
    "collapse_order0": "COLLAPSE",
    "split_debugfs": "splitdbg",
    "ksm_merge": "MERGEABLE",
    "swap_pageout": "swapon",
    "ext4_collapse": "COLLAPSE",
}
# Values compared, so that a comparison that silently stops comparing is noticed.
COMPARED = {"6.1": 521_556, "6.12": 548_011}


@pytest.fixture(scope="module", params=["6.1", "6.12"])
def results(request: pytest.FixtureRequest) -> tuple[str, list[FieldComparison]]:
    return request.param, compare_golden(DATA / f"{request.param}.jsonl.gz", scenarios=SCENARIOS)


def test_every_exact_field_is_equal(results: tuple[str, list[FieldComparison]]) -> None:
    kernel, comparisons = results
    different = [each for each in comparisons if each.equal != each.compared]
    assert not different, different[0].first_difference
    assert sum(each.compared for each in comparisons) == COMPARED[kernel]


def test_the_list_of_what_is_skipped_is_known(results: tuple[str, list[FieldComparison]]) -> None:
    _, comparisons = results
    skipped = {each.scenario: each.skipped for each in comparisons if each.skipped}
    for scenario, reason in skipped.items():
        if scenario.startswith("mthp"):  # the 6.1 kernel has no folios of that size
            assert "No such file" in reason
        else:
            assert NOT_MODELLED[scenario] in reason


def test_all_fields_are_compared(results: tuple[str, list[FieldComparison]]) -> None:
    kernel, comparisons = results
    fields = {each.field for each in comparisons if each.compared}
    tail = {"compound_mapcount", "double_map"} if kernel == "6.1" else set(FIELDS[5:8])
    assert fields == set(FIELDS) - {"compound_mapcount", "double_map", *FIELDS[5:8]} | tail


def test_a_wrong_scheme_is_noticed() -> None:
    comparisons = compare_golden(
        DATA / "6.1.jsonl.gz", scenarios=SCENARIOS, scenario="tmpfs_thp_pmd_and_pte", scheme="large_mapcount"
    )
    wrong = [each.field for each in comparisons if each.equal != each.compared]
    assert wrong == ["mapcount"]  # file pages under a PMD count there on 6.1 only


def test_a_wrong_kernel_is_noticed() -> None:
    """6.12 copies the page of a large folio whose other mapper is gone; 7.0 reuses it."""
    comparisons = compare_golden(
        DATA / "6.12.jsonl.gz", scenarios=SCENARIOS, scenario="mthp64k_fork_cow_reuse", kernel="7.0"
    )
    assert any(each.equal != each.compared for each in comparisons)


def golden_file(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "golden.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return path


HEADER = json.dumps({"scenario": "s", "kernel": "6.1.0", "profile": "6.1"})


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["{"], "1: not JSON"),
        (["[1]"], "1: each line must be a JSON object"),
        ([json.dumps({"scenario": "s", "kernel": "6.1.0"})], "1: header has no 'profile'"),
        ([json.dumps({"i": 0, "op": "map P0 A anon"})], "1: a step before the header"),
        ([HEADER, json.dumps({"i": "0", "op": "map"})], "2: a step needs its number"),
        ([""], "no scenario in it"),
    ],
)
def test_malformed_files_name_line_and_rule(tmp_path: Path, lines: list[str], message: str) -> None:
    with pytest.raises(GoldenError, match=message):
        read_golden(golden_file(tmp_path, *lines))


def test_a_truncated_gzip_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "golden.jsonl.gz"
    path.write_bytes(gzip.compress(HEADER.encode() * 100)[:60])
    with pytest.raises(GoldenError, match="not a golden file"):
        read_golden(path)


def test_an_unknown_scenario_is_an_error() -> None:
    with pytest.raises(GoldenError, match="no scenario 'nonesuch'"):
        compare_golden(DATA / "6.1.jsonl.gz", scenarios=SCENARIOS, scenario="nonesuch")
