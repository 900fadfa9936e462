# SPDX-License-Identifier: BSD-3-Clause
"""compare(), and what text, JSON and pictures say of a comparison."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from folio_perf import plotting, report
from folio_perf.compare import DEFAULT_SCHEMES, compare
from folio_perf.geometry import Geometry
from folio_perf.profile import profile_names
from folio_perf.results import AccessTrace, Comparison
from folio_perf.scenario import ScenarioBuilder, ScenarioError
from folio_perf.schemes import parse_scheme_spec
from folio_perf.simulate import operation_names, simulate, trace_operation

SCENARIO = "truncate_stale"
MANY = (
    "page_mapcount@5.17,page_mapcount@6.1,large_mapcount@6.12,zero_one_two_many,zero_one_two_many:recount=eager,"
    "zero_one_two_many:presence=oracle,large_mapcount,page_mapcount,zero_one_two_many@6.1"
)


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    return compare(SCENARIO)


# ---- running -----------------------------------------------------------------------------------------------------


def test_a_comparison_is_its_runs(comparison: Comparison) -> None:
    assert [result.run.scheme for result in comparison.results] == list(DEFAULT_SCHEMES)
    for scheme, result in zip(DEFAULT_SCHEMES, comparison.results, strict=True):
        assert simulate(SCENARIO, scheme=scheme) == result


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_the_number_of_workers_changes_nothing(comparison: Comparison, workers: int) -> None:
    assert compare(SCENARIO, workers=workers) == comparison


def test_schemes_may_name_kernels() -> None:
    found = compare(SCENARIO, schemes="page_mapcount@6.1,large_mapcount", kernel="6.12", backend="count")
    pairs = [(result.run.scheme, result.run.kernel, result.run.counterfactual) for result in found.results]
    assert pairs == [("page_mapcount", "6.1", False), ("large_mapcount", "6.12", False)]
    assert (
        compare(SCENARIO, schemes=["page_mapcount@6.1", parse_scheme_spec("large_mapcount@6.12")], backend="count")
        == found
    )


def test_one_pair_once() -> None:
    for schemes in ("page_mapcount,page_mapcount", ["page_mapcount", "page_mapcount@7.0"]):
        with pytest.raises(ValueError, match=r"page_mapcount.* is named twice"):
            compare(SCENARIO, schemes=schemes)
    with pytest.raises(ValueError, match="at least one scheme"):
        compare(SCENARIO, schemes=[])
    with pytest.raises(ValueError, match="workers 0 must be at least 1"):
        compare(SCENARIO, workers=0)


def test_results_of_different_things_are_no_comparison() -> None:
    first, other = simulate(SCENARIO, backend="count"), simulate(SCENARIO, backend="count", geometry="16K")
    with pytest.raises(ValueError, match=r"differ in (scenario_hash|page_size_bytes)"):
        Comparison(results=(first, other))
    with pytest.raises(ValueError, match="occurs twice"):
        Comparison(results=(first, first))
    with pytest.raises(ValueError, match="at least one"):
        Comparison(results=())


def test_an_event_that_fails_ends_all_runs() -> None:
    builder = ScenarioBuilder("failing", Geometry()).region("A", 4).touch("P0", "A", 0, 1, "r")
    with pytest.raises(ScenarioError, match=r"builder:3: event 0 \(touch P0 A 0 1 r\): .*\(SEGV\)"):
        compare(builder.build())


def test_progress_reaches_all_events_and_can_end_the_runs() -> None:
    seen: list[tuple[int, int]] = []
    found = compare("redis-bgsave-thp", backend="count", progress=lambda done, total: seen.append((done, total)))
    total = found.results[0].outcome.total * len(found.results)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1] == (total, total)

    def stop(_done: int, _total: int) -> None:
        raise KeyboardInterrupt

    before = set(threading.enumerate())
    with pytest.raises(KeyboardInterrupt):
        compare("redis-bgsave-thp", backend="count", progress=stop)
    for thread in set(threading.enumerate()) - before:
        thread.join(timeout=10)
        assert not thread.is_alive()


# ---- as values ---------------------------------------------------------------------------------------------------


def test_rows_are_per_scheme_and_event_kind(comparison: Comparison) -> None:
    assert [(row.scheme, row.event) for row in comparison.rows] == [
        (scheme, event) for scheme in DEFAULT_SCHEMES for event in comparison.events
    ]
    assert {"mmap", "file_fault", "fork", "truncate", "exit"} <= set(comparison.events)
    frame = comparison.to_frame()
    assert len(frame) == len(comparison.rows)
    assert frame["rmw"].tolist() == [row.rmw for row in comparison.rows]
    totals = comparison.totals_frame()
    assert totals["refs_peak"].tolist() == [result.totals["refs_peak"] for result in comparison.results]
    assert comparison._repr_html_().count("<table") == 2


@pytest.mark.parametrize("backend", ["cache", "count"])
def test_json_is_one_object(backend: str) -> None:
    found = compare(SCENARIO, backend=backend, geometry="16K")
    value = json.loads(found.to_json())
    assert value["kind"] == "modelled"
    assert (value["scenario"], value["machine"], value["page_size"]) == (SCENARIO, "generic-x86-64", 16384)
    assert value["scenario_hash"] == found.results[0].run.scenario_hash
    assert len(value["rows"]) == len(found.rows)
    for row in value["rows"] + value["totals"]:
        assert row["scheme"] in DEFAULT_SCHEMES and row["kernel"] == "7.0"
        for key in ("count", "rmw", "vma_visits", "pte_reads"):
            assert type(row[key]) is int
        if backend == "count":
            assert [row[key] for key in ("lines_read", "lines_written", "hits", "ns")] == [None] * 4
        else:
            assert type(row["lines_read"]) is int and type(row["lines_written"]) is int and type(row["ns"]) is float
            assert list(row["hits"]) == ["l1", "l2", "l3", "dram"]
    for total in value["totals"]:
        assert {"refs_peak", "false_shared", "stale_many", "leaked_pages"} <= set(total)
        rows = [row for row in value["rows"] if row["scheme"] == total["scheme"]]
        assert total["rmw"] == sum(row["rmw"] for row in rows)
    assert [entry["counterfactual"] for entry in value["schemes"]] == [True] * 4
    assert [entry["reconstructed"] for entry in value["schemes"]] == [False, False, True, True]


# ---- as text -----------------------------------------------------------------------------------------------------


def fits_a_mail(text: str) -> bool:
    return all(len(line) <= report.WIDTH and line == line.rstrip() for line in text.splitlines()) and text.isascii()


def test_the_report_names_what_was_run(comparison: Comparison) -> None:
    text = report.comparison_report(comparison).plain
    run = comparison.results[0].run
    for word in ("(modelled)", "generic-x86-64", "4K", "folio policy default", run.scenario_hash[:16]):
        assert word in text
    assert "C*+  zero_one_two_many@7.0" in text and "D*+  zero_one_two_many:recount=eager_stop3@7.0" in text
    assert "* counterfactual" in text and "+ reconstructed" in text
    assert text.index("atomic RMW") < text.index("time, ")
    assert f"{comparison.totals[0].rmw:,}" in text
    assert fits_a_mail(text)


@pytest.mark.parametrize("backend", ["cache", "count"])
@pytest.mark.parametrize("scenario", ["redis-bgsave-thp", "fork_server_thp", "pin_order0_fork", "mthp_orders"])
def test_every_report_fits_a_mail(scenario: str, backend: str) -> None:
    text = report.comparison_report(compare(scenario, schemes=MANY, backend=backend, geometry="64K")).plain
    assert fits_a_mail(text)
    assert ("knows no lines" in text) == (backend == "count")


def test_the_report_lists_what_failed() -> None:
    builder = ScenarioBuilder("failing", Geometry()).region("A", 4).map_anon("P0", "A")
    builder.madv("P0", "A", 0, 4, "SOFT_OFFLINE")
    builder.fork("P0", "P1").exit("P1").touch("P1", "A", 0, 1, "r").touch("P0", "A", 0, 4, "w").touch(
        "P0", "A", 0, 4, "w"
    )
    text = report.comparison_report(compare(builder.build(strict=False))).plain
    assert "6 events: 4 applied, 1 no-op, 1 failed" in text
    assert "1 EXITED: the process has exited" in text
    assert "builder:7: event 3 (touch P1 A 0 1 r)" in text
    assert "1 operation left out" in text and "builder:4: madv P0 A 0 4 SOFT_OFFLINE" in text
    assert fits_a_mail(text)


def test_only_what_differs_has_a_block(comparison: Comparison) -> None:
    text = report.comparison_report(comparison).plain
    assert "\nmmap, " not in text and "the same counts under all of them: mmap" in text
    single = report.comparison_report(compare(SCENARIO, schemes="page_mapcount")).plain
    assert "relative to" not in single and fits_a_mail(single)


def test_counts_are_exact_as_long_as_they_fit() -> None:
    assert [report.count_text(value) for value in (0, 1234, 99999999, 999999999, 12345678901)] == [
        "0",
        "1,234",
        "99,999,999",
        "1G",
        "12.35G",
    ]


# ---- operations --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", profile_names())
@pytest.mark.parametrize("operation", operation_names())
def test_every_operation_fits_a_mail(operation: str, kernel: str) -> None:
    for scheme in ("page_mapcount", "zero_one_two_many:recount=eager"):
        trace = trace_operation(operation, order=9, scheme=scheme, kernel=kernel)
        text = report.accesses_report(trace, everything=True).plain
        assert fits_a_mail(text)
        assert json.loads(trace.to_json())["kind"] == "modelled"


def test_loops_are_folded_without_loss() -> None:
    trace = trace_operation("map_ptes", order=9, scheme="page_mapcount@6.1")
    lines = report.accesses_report(trace).plain.splitlines()
    assert len(lines) < 45
    assert next(line for line in lines if " x {" in line).startswith("31 x {")
    assert any("folio[16..31] +16" in line for line in lines)
    assert folded_accesses(trace) == sum(access.count for access in trace.accesses if access.cause != "fixed")


def folded_accesses(trace: AccessTrace) -> int:
    """Accesses that the text stands for: times by the loop they are in."""
    lines = iter(report.accesses_report(trace).plain.splitlines())
    repeats, total = 1, 0
    for line in lines:
        if line.startswith("access "):
            break
    for line in lines:
        if not line:
            break
        if line.endswith("{"):
            repeats = int(line.split()[0])
        elif line == "}":
            repeats = 1
        else:
            total += repeats * next(int(word) for word in line.split()[2:] if word.isdigit())
    return total


def test_folding_prefers_one_loop_to_many_lines() -> None:
    base = trace_operation("total_mapcount", order=0, scheme="page_mapcount")
    one = base.accesses[0]
    runs = tuple(replace(one, field="abc"[number % 3], first=number // 3) for number in range(300))
    text = report.accesses_report(replace(base, accesses=runs)).plain
    assert "100 x {" in text and text.count("folio[0] +1") == 3


# ---- pictures ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", plotting.PICTURE_SUFFIXES)
def test_a_picture_is_whole_or_not_there(comparison: Comparison, tmp_path: Path, suffix: str) -> None:
    target = tmp_path / f"picture{suffix}"
    plotting.save(comparison, target)
    head = target.read_bytes()[:5]
    assert {".png": b"\x89PNG\r", ".pdf": b"%PDF-", ".svg": b"<?xml"}[suffix] == head
    assert target.stat().st_mode & 0o400
    assert [entry.name for entry in tmp_path.iterdir()] == [target.name]


def test_a_picture_says_what_it_shows(comparison: Comparison, tmp_path: Path) -> None:
    words = " ".join(
        text.get_text() for text in plotting.figure(comparison).findobj(match=lambda each: hasattr(each, "get_text"))
    )
    for word in ("modelled", "generic-x86-64", "4K pages", "time, upper bound", "total", "truncate", "counterfactual"):
        assert word in words
    for result in comparison.results:
        assert f"{result.run.scheme}@{result.run.kernel}" in words
    plotting.save(compare(SCENARIO, schemes=MANY, backend="count"), tmp_path / "many.png")


def test_a_picture_that_fails_leaves_nothing(
    comparison: Comparison, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match=r"'x\.jpeg' must end in one of \.png, \.svg, \.pdf"):
        plotting.save(comparison, "x.jpeg")
    with pytest.raises(FileNotFoundError):
        plotting.save(comparison, tmp_path / "nowhere" / "x.png")
    with pytest.raises(IsADirectoryError):
        (tmp_path / "folder.png").mkdir()
        plotting.save(comparison, tmp_path / "folder.png")
    (tmp_path / "folder.png").rmdir()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        plotting.save(comparison, tmp_path / "x.png")
    assert list(tmp_path.iterdir()) == []
