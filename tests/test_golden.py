# SPDX-License-Identifier: BSD-3-Clause
"""What real kernels answered: the model must give the same in every field that is exact."""

from __future__ import annotations

import copy
import gzip
import json
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_cli import is_mail, run, run_json

from folio_perf.geometry import Geometry
from folio_perf.scenario import parse_scenarios
from folio_perf.validation.golden import (
    FieldComparison,
    GoldenError,
    compare_golden,
    fields_of,
    read_golden,
    shipped_scheme,
)

DATA = Path(__file__).parent / "data" / "golden"
SCENARIOS = Path(str(resources.files("folio_perf") / "data" / "scenarios"))
KERNELS = ("6.1", "6.12", "6.18", "7.3", "7.3-nopm", "host-6.18")

# Values compared at least, so that a comparison that silently stops comparing is noticed.
COMPARED = {
    "6.1": 886_000,
    "6.12": 922_000,
    "6.18": 929_000,
    "7.3": 922_000,
    "7.3-nopm": 925_000,
    "host-6.18": 925_000,
}


@pytest.fixture(scope="module", params=KERNELS)
def results(request: pytest.FixtureRequest) -> tuple[str, list[FieldComparison]]:
    return request.param, compare_golden(DATA / f"{request.param}.jsonl.gz", scenarios=SCENARIOS)


def test_every_exact_field_is_equal(results: tuple[str, list[FieldComparison]]) -> None:
    kernel, comparisons = results
    different = [each for each in comparisons if each.equal != each.compared]
    assert not different, different[0].first_difference
    assert sum(each.compared for each in comparisons) >= COMPARED[kernel]


def test_random_scenarios_are_equal() -> None:
    """Five of 530 random ones that once differed: late pins, zero pages of MADV_FREE, KSM pages nobody joined."""
    random = DATA / "random"
    comparisons = compare_golden(random / "6.18.jsonl.gz", scenarios=random)
    assert len({each.scenario for each in comparisons}) == 5
    different = [each for each in comparisons if each.equal != each.compared or each.skipped]
    assert not different, different[0]
    assert sum(each.compared for each in comparisons) >= 2_687_000


def test_the_list_of_what_is_skipped_is_known(results: tuple[str, list[FieldComparison]]) -> None:
    _, comparisons = results
    skipped = {each.scenario: each.skipped for each in comparisons if each.skipped}
    for scenario, reason in skipped.items():
        # The 6.1 kernel has no folios of that size.
        assert scenario.startswith("mthp") and "No such file" in reason, (scenario, reason)


def test_all_fields_of_the_kernel_are_compared(results: tuple[str, list[FieldComparison]]) -> None:
    kernel, comparisons = results
    major, minor = kernel.removeprefix("host-").removesuffix("-nopm").split(".")
    scheme = shipped_scheme(f"{major}.{minor}", kernel.endswith("-nopm"))
    fields = fields_of(scheme, int(major) * 100 + int(minor))
    assert {each.field for each in comparisons if each.compared} == set(fields)
    # One object per scenario and field, each once.
    assert len({(each.scenario, each.field) for each in comparisons}) == len(comparisons)


@pytest.mark.parametrize(
    ("version", "nopm", "scheme"),
    [
        ("5.10", False, "page_mapcount"),
        ("6.1", False, "page_mapcount"),
        ("6.2", False, "nr_pages_mapped"),
        ("6.9", False, "nr_pages_mapped"),
        ("6.10", False, "large_mapcount"),
        ("6.14", False, "large_mapcount"),
        ("6.15", False, "mm_owner"),
        ("7.3", False, "mm_owner"),
        ("7.3", True, "no_page_mapcount"),
    ],
)
def test_the_scheme_follows_from_the_version(version: str, nopm: bool, scheme: str) -> None:
    assert shipped_scheme(version, nopm) == scheme


# ---- the comparison has teeth ------------------------------------------------------------------------------------


def differing(comparisons: list[FieldComparison]) -> set[str]:
    return {each.field for each in comparisons if each.equal != each.compared}


def test_a_wrong_scheme_is_noticed() -> None:
    comparisons = compare_golden(
        DATA / "6.1.jsonl.gz", scenarios=SCENARIOS, scenario="tmpfs_thp_pmd_and_pte", scheme="large_mapcount"
    )
    assert differing(comparisons) == {"mapcount"}  # file pages under a PMD count there on 6.1 only


def test_a_wrong_kernel_is_noticed() -> None:
    """6.12 copies the page of a large folio whose other mapper is gone; from 6.15 on it is reused."""
    for kernel in ("6.15", "7.0"):
        comparisons = compare_golden(
            DATA / "6.12.jsonl.gz", scenarios=SCENARIOS, scenario="mthp64k_fork_cow_reuse", kernel=kernel
        )
        assert "kpagecount" in differing(comparisons)


def entry(step: dict[str, Any]) -> list[Any]:
    found: list[Any] = step["maps"]["P0"][0]
    return found


def change_map(step: dict[str, Any], place: int, value: object) -> None:
    entry(step)[place] = value


CHANGES: list[tuple[str, Callable[[dict[str, Any]], None]]] = [
    ("maps", lambda step: step["maps"].update(P0=[["A", 0, 511, *entry(step)[3:]], ["A", 511, 1, *entry(step)[3:]]])),
    ("maps", lambda step: change_map(step, 3, "ZERO")),
    ("maps", lambda step: change_map(step, 3, "SWAP")),
    ("maps", lambda step: step["maps"].update(P0=[])),
    ("pagemap_exclusive", lambda step: change_map(step, 6, entry(step)[6] ^ 1)),
    ("pagemap_file", lambda step: change_map(step, 6, entry(step)[6] ^ 2)),
    ("pagemap_uffd_wp", lambda step: change_map(step, 6, entry(step)[6] ^ 4)),
    ("pagemap_guard", lambda step: change_map(step, 6, entry(step)[6] ^ 8)),
    ("kpagecount", lambda step: step["pages"][0].__setitem__(4, 7)),
    ("folio_nr_pages", lambda step: step["pages"][0].__setitem__(6, 4)),
    ("mapcount", lambda step: step["pages"][0].__setitem__(7, 9)),
    ("anon_exclusive", lambda step: step["pages"][0].__setitem__(8, 1 - step["pages"][0][8])),
    ("large_mapcount", lambda step: step["folios"][0].update(lm=3)),
    ("entire_mapcount", lambda step: step["folios"][0].update(em=3)),
    ("nr_pages_mapped", lambda step: step["folios"][0].update(nm=3)),
    ("pin_count", lambda step: step["folios"][0].update(pin=3)),
    ("owner_slots", lambda step: step["folios"][0].update(mid=["-", "m0"])),
    ("owner_slots", lambda step: step["folios"][0].update(midmc=[2, 0])),
    ("maybe_mapped_shared", lambda step: step["folios"][0].update(shared=1)),
    ("rss", lambda step: step["smaps"]["P0"]["A"].__setitem__(0, 1)),
    ("pss", lambda step: step["smaps"]["P0"]["A"].__setitem__(1, 1)),
    ("anon_huge_pages", lambda step: step["smaps"]["P0"]["A"].__setitem__(6, 1)),
    ("shmem_pmd_mapped", lambda step: step["smaps"]["P0"]["A"].__setitem__(7, 1)),
    ("nr_vmas", lambda step: step["smaps"]["P0"]["A"].__setitem__(11, 9)),
]


@pytest.mark.parametrize(("field", "change"), CHANGES, ids=[f"{n}-{field}" for n, (field, _) in enumerate(CHANGES)])
def test_a_changed_value_is_noticed(tmp_path: Path, field: str, change: Callable[[dict[str, Any]], None]) -> None:
    lines = scenario_lines("6.18", "thp_fork_chain3")
    step = next(line for line in lines if line.get("i") == 2)
    change(step)
    path = golden_file(tmp_path, *map(json.dumps, lines))
    comparisons = compare_golden(path, scenarios=SCENARIOS)
    assert field in differing(comparisons)
    (found,) = (each for each in comparisons if each.field == field)
    assert found.first_difference is not None
    assert found.first_difference.keys() == {"step", "operation", "expected", "got"}
    assert (found.first_difference["step"], found.first_difference["operation"]) == (2, "touch P0 A 0 512 w")
    assert found.first_difference["expected"] != found.first_difference["got"]


# ---- what is no golden file --------------------------------------------------------------------------------------


def scenario_lines(kernel: str, name: str) -> list[dict[str, Any]]:
    """Header and steps of one scenario of a golden file."""
    with gzip.open(DATA / f"{kernel}.jsonl.gz", "rt") as file:
        records = [json.loads(line) for line in file]
    start = next(i for i, record in enumerate(records) if record.get("scenario") == name)
    end = next((i for i in range(start + 1, len(records)) if "scenario" in records[i]), len(records))
    return [record for record in records[start:end] if "end" not in record]


def golden_file(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "golden.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return path


HEADER = json.dumps({"scenario": "s", "kernel": "6.1.0", "profile": "6.1"})
EMPTY: dict[str, Any] = {"i": 0, "op": "x", "maps": {}, "pages": [], "smaps": {}}


def step_with(**change: object) -> str:
    return json.dumps({**EMPTY, **change})


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["{"], "1: not JSON"),
        (["[" * 100_000], "1: not JSON"),
        (["[1]"], "1: each line must be a JSON object"),
        ([json.dumps({"scenario": "s", "kernel": "6.1.0"})], "1: header has no 'profile'"),
        ([json.dumps({"scenario": "s", "kernel": "6", "profile": "six"})], "1: profile 'six' is not a kernel version"),
        ([json.dumps({"i": 0, "op": "map P0 A anon"})], "1: a step before the header"),
        (['{"end": "s"}'], "1: the end of no scenario"),
        ([HEADER, json.dumps({"i": "0", "op": "map"})], "2: a step needs its number"),
        ([HEADER, step_with(), step_with()], "3: step 0 after step 0"),
        ([HEADER, step_with(pages={})], "2: 'pages' must be a list"),
        ([HEADER, step_with(smaps=[])], "2: 'smaps' must be an object"),
        ([HEADER, step_with(maps={"P0": 3})], "2: maps of P0 must be a list"),
        ([HEADER, step_with(maps={"P0": [["A", 0]]})], r"2: maps of P0: \['A', 0\] is not \[region, off"),
        ([HEADER, step_with(maps={"P0": [["A", -1, 1, "A", 0, 0, 0]]})], "2: maps of P0: a number of .* out of range"),
        ([HEADER, step_with(maps={"P0": [["A", 0, True, "A", 0, 0, 0]]})], "2: maps of P0: .* is not"),
        ([HEADER, step_with(pages=[["A", 0, 1, 0, 1, "", 0]])], "2: pages: a folio of 0 pages"),
        ([HEADER, step_with(pages=[["A", 0, 1, 0, 1, "", 1, None, 0, 0]])], "2: pages: .* is not"),
        ([HEADER, step_with(folios=[3])], "2: folios: 3 does not name its head"),
        ([HEADER, step_with(folios=[{"h": "A", "o": 0, "g": 0}])], "2: folios: nr None of A must be 2 or more"),
        ([HEADER, step_with(folios=[{"h": "A", "o": 0, "g": 0, "nr": 2, "lm": "1"}])], "2: folios: lm '1' of A"),
        ([HEADER, step_with(folios=[{"h": "A", "o": 0, "g": 0, "nr": 2, "mid": "m0"}])], "2: folios: mid 'm0' of A"),
        ([HEADER, step_with(smaps={"P0": {"A": [1, 2]}})], "2: smaps of P0 A must be 12 numbers"),
        ([""], "no scenario in it"),
    ],
)
def test_malformed_files_name_line_and_rule(tmp_path: Path, lines: list[str], message: str) -> None:
    with pytest.raises(GoldenError, match=message):
        read_golden(golden_file(tmp_path, *lines))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: lines[0].update(scenario="unheard_of"), ":1: no text of scenario 'unheard_of' in"),
        (lambda lines: lines[0].update(profile="4.19"), "no kernel named '4.19'"),
        (lambda lines: lines[0].update(no_page_mapcount=True), "kernel 6.12 has no CONFIG_NO_PAGE_MAPCOUNT"),
        (lambda lines: lines[3].update(op="touch P0 A 0 511 w"), ":4: step 2 ran 'touch P0 A 0 511 w', the text has"),
        (lambda lines: lines[-1].update(i=99), "step 99 ran .*, the text has no such step"),
        (lambda lines: lines[3]["maps"].update(P7=[]), ":4: process 'P7' is not in the text of thp_fork_chain3"),
        (lambda lines: lines[3]["maps"]["P0"].append(["B", 0, 1, "A", 0, 0, 0]), ":4: region 'B' is not in the text"),
        (lambda lines: change_map(lines[3], 2, 513), ":4: pages 0 to 512 leave region A"),
        (lambda lines: lines[3]["smaps"]["P0"].update(Z=[0] * 12), ":4: region 'Z' is not in the text"),
    ],
)
def test_files_that_do_not_fit_their_scenarios(
    tmp_path: Path, change: Callable[[list[dict[str, Any]]], object], message: str
) -> None:
    lines = scenario_lines("6.12", "thp_fork_chain3")
    change(lines)
    with pytest.raises(ValueError, match=message):
        compare_golden(golden_file(tmp_path, *map(json.dumps, lines)), scenarios=SCENARIOS)


def test_a_truncated_gzip_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "golden.jsonl.gz"
    path.write_bytes(gzip.compress(HEADER.encode() * 100)[:60])
    with pytest.raises(GoldenError, match="not a golden file"):
        read_golden(path)


def test_an_unknown_scenario_is_an_error() -> None:
    with pytest.raises(GoldenError, match="no scenario 'nonesuch'"):
        compare_golden(DATA / "6.1.jsonl.gz", scenarios=SCENARIOS, scenario="nonesuch")


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 600)
    | st.integers()
    | st.floats()
    | st.sampled_from(["A", "P0", "ZERO", "SWAP", "", "6.12", "M", "AMTB", "m0", "-"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["P0", "A", "i", "nr", "h"]), inner),
    max_leaves=6,
)
SMALL = scenario_lines("6.12", "order0_fork_cow")[:6]


def places(value: object, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place inside a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(place for key, each in inner for place in places(each, (*at, key)))]


@given(st.sampled_from(places(SMALL)[1:]), VALUES, st.booleans())
def test_any_change_of_a_file_is_compared_or_refused_with_its_line(
    tmp_path_factory: pytest.TempPathFactory, place: tuple[Any, ...], value: object, remove: bool
) -> None:
    lines: Any = copy.deepcopy(SMALL)
    holder = lines
    for key in place[:-1]:
        holder = holder[key]
    if remove:
        del holder[place[-1]]
    else:
        holder[place[-1]] = value
    path = golden_file(tmp_path_factory.mktemp("fuzz"), *map(json.dumps, lines))
    try:
        comparisons = compare_golden(path, scenarios=SCENARIOS)
    except ValueError as error:
        assert str(error)
        return
    assert all(0 <= each.equal <= each.compared for each in comparisons)


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "golden.jsonl"
    path.write_bytes(content)
    with pytest.raises(GoldenError):
        read_golden(path)


# ---- the command -------------------------------------------------------------------------------------------------


def test_the_command_prints_one_object_per_scenario_and_field() -> None:
    files = [str(DATA / f"{kernel}.jsonl.gz") for kernel in KERNELS]
    options = ("--scenarios", str(SCENARIOS), "--scenario", "thp_partial_munmap")
    value = run_json("golden", *files, *options)
    keys = {"kernel", "scheme", "scenario", "field", "compared", "equal", "first_difference", "skipped"}
    assert all(each.keys() == keys for each in value)
    assert {each["scheme"] for each in value} == {"page_mapcount", "large_mapcount", "mm_owner", "no_page_mapcount"}
    assert {each["first_difference"] for each in value} == {None}
    assert all(each["compared"] == each["equal"] for each in value)
    assert len({(each["kernel"], each["scenario"], each["field"]) for each in value}) == len(value)


def test_the_command_reports_in_72_columns() -> None:
    options = ("--scenarios", str(SCENARIOS))
    file = str(DATA / "6.12.jsonl.gz")
    other = ("--scenario", "mthp64k_fork_cow_reuse", "--kernel", "6.16")
    text = run("golden", file, *options, *other, status=1)
    assert is_mail(text.replace(str(DATA), ""))
    assert "6.12 stands in" in text and "7: touch P0 A 21 1 w" in text
    skipping = run("golden", str(DATA / "6.1.jsonl.gz"), *options, "--scenario", "mthp_orders")
    assert "No such file" in skipping and is_mail(skipping.replace(str(DATA), ""))


def test_the_folder_of_texts_stands_beside_the_file(tmp_path: Path) -> None:
    path = golden_file(tmp_path, *map(json.dumps, scenario_lines("6.12", "thp_fork_chain3")))
    with pytest.raises(GoldenError, match="no folder with scenario texts"):
        compare_golden(path)
    (tmp_path / "scenarios").mkdir()
    (tmp_path / "scenarios" / "all.txt").write_text((SCENARIOS / "10_anon_thp.txt").read_text())
    assert not differing(compare_golden(path))
    (tmp_path / "scenarios" / "twice.txt").write_text((SCENARIOS / "10_anon_thp.txt").read_text())
    with pytest.raises(GoldenError, match=r"twice\.txt: scenario thp_fork_chain3 stands in"):
        compare_golden(path)


def test_shipped_texts_are_those_the_kernels_ran() -> None:
    texts = {
        each.name: each
        for file in SCENARIOS.glob("*.txt")
        for each in parse_scenarios(file.read_text(), Geometry(), file.name, strict=False)
    }
    for path in sorted(DATA.glob("*.jsonl.gz")):
        for golden in read_golden(path):
            assert golden.skipped or golden.name in texts, (path, golden.name)
