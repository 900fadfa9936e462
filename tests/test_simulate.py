# SPDX-License-Identifier: BSD-3-Clause
"""simulate() and trace_operation(): what they accept, what they report, and that the report adds up."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import numpy as np
import pytest

import folio_perf
from folio_perf import cost
from folio_perf.geometry import FolioPolicy, Geometry
from folio_perf.machine import load_machine
from folio_perf.profile import load_profile
from folio_perf.results import FIXED, EventRow, Result
from folio_perf.scenario import ScenarioBuilder, ScenarioError, scenario_text
from folio_perf.schemes import parse_scheme_spec
from folio_perf.simulate import axes, simulate, trace_operation
from folio_perf.traces import load_trace, write_trace

SCHEMES = ("page_mapcount", "large_mapcount", "zero_one_two_many", "zero_one_two_many:presence=oracle,recount=eager")
SCENARIO = "fork_server_small"


@pytest.fixture(scope="module")
def result() -> Result:
    return simulate(SCENARIO, scheme="zero_one_two_many:recount=eager_stop3")


# ---- what is run -------------------------------------------------------------------------------------------------


def test_a_scenario_is_found_by_value_name_and_path(tmp_path: Path) -> None:
    text = tmp_path / "one.txt"
    text.write_text(scenario_text(SCENARIO))
    several = tmp_path / "several.txt"
    several.write_text(scenario_text(SCENARIO) + scenario_text("cow_after_exit"))
    by_value = simulate(folio_perf.load_scenario(SCENARIO, Geometry()), backend="count")
    for given in (SCENARIO, text, str(text), f"{several}:{SCENARIO}"):
        found = simulate(given, backend="count", strict=False)
        assert found.run.scenario == SCENARIO
        assert found.run.scenario_hash == by_value.run.scenario_hash
        assert np.array_equal(found.counters, by_value.counters)


def test_a_trace_is_found_by_value_name_and_path(tmp_path: Path) -> None:
    trace = load_trace("redis-bgsave-thp")
    path = tmp_path / "copy.parquet"
    write_trace(trace, path)
    results = [simulate(given, backend="count") for given in (trace, "redis-bgsave-thp", path, str(path))]
    assert {each.run.scenario_hash for each in results} == {trace.to_scenario(Geometry()).hash}
    assert len({each.counters.tobytes() for each in results}) == 1
    assert results[0].outcome.dropped == dict(trace.convert(Geometry()).dropped)
    # A name that ships goes before a file of that name.
    assert results[1].run.scenario == "redis-bgsave-thp"


def test_the_run_says_what_was_run() -> None:
    found = simulate(SCENARIO, scheme="large_mapcount@6.12", kernel="7.0", geometry="16K", folio="thp")
    run = found.run
    assert (run.scheme, run.kernel, run.counterfactual, run.reconstructed) == ("large_mapcount", "6.12", False, False)
    assert (run.page_size_bytes, run.line_bytes, run.folio_policy) == (16384, 64, "thp")
    assert (run.machine, run.backend, run.levels) == ("generic-x86-64", "cache", ("l1", "l2", "l3", "dram"))
    assert simulate(SCENARIO, scheme="large_mapcount", backend="count").run.counterfactual
    assert simulate(SCENARIO, scheme="zero_one_two_many@6.1", backend="count").run.reconstructed


def test_folio_sizes_come_from_the_caller_else_the_scenario_else_the_default() -> None:
    builder = ScenarioBuilder("sizes", Geometry()).sysfs("hugepages-64kB/enabled", "always").region("A", 64)
    scenario = builder.map_anon("P0", "A").touch("P0", "A", 0, 64, "w").build()
    assert simulate(scenario).row("anon_fault").count == 4
    assert simulate(scenario, folio="order0").row("anon_fault").count == 64
    assert simulate(scenario, folio=FolioPolicy.parse("mthp=128K")).row("anon_fault").count == 2
    assert simulate(SCENARIO, backend="count").run.folio_policy == "default"


def test_a_line_of_another_size_has_no_price() -> None:
    narrow = simulate("seed_thp_pte_map")
    wide = simulate("seed_thp_pte_map", geometry=Geometry(line_bytes=128))
    assert narrow.row("total_mapcount").lines_read == 2 * 512
    assert wide.row("total_mapcount").lines_read == 2 * 256
    assert wide.total.ns is None
    assert wide.total.hits is not None


# ---- what is reported --------------------------------------------------------------------------------------------


def test_rows_add_up_to_the_total(result: Result) -> None:
    for name in EventRow.__dataclass_fields__:
        values = [getattr(row, name) for row in result.rows]
        total = getattr(result.total, name)
        if name == "hits":
            assert total == {level: sum(hits[level] for hits in values) for level in result.run.levels}
        elif name == "ns":
            assert total == pytest.approx(sum(values), rel=1e-12)
        elif name not in ("scheme", "kernel", "reconstructed", "event"):
            assert total == sum(values), name


def test_rows_are_the_counters_without_what_every_design_pays(result: Result) -> None:
    names = axes()
    counted = [cause != FIXED for cause in names.causes]
    pages = [
        of == "page" or name == "split_queue_lock" for name, of in zip(names.fields, names.field_classes, strict=True)
    ]
    prices = cost.price_matrix(load_machine("generic-x86-64"))
    for row in result.rows:
        here = result.counters[names.events.index(row.event)][counted]
        assert row.rmw == here[:, pages, names.accesses.index("rmw")].sum()
        assert row.hits == {level: here[..., names.levels.index(level)].sum() for level in result.run.levels}
        assert row.ns == pytest.approx(np.nansum(here * prices))
        assert row.scheme == result.run.scheme and row.kernel == result.run.kernel
    assert result.counters[:, names.causes.index(FIXED)].sum() > 0


@pytest.mark.parametrize("scheme", SCHEMES)
def test_count_back_end_counts_the_same_and_knows_no_lines(scheme: str) -> None:
    cache = simulate("truncate_stale", scheme=scheme)
    count = simulate("truncate_stale", scheme=scheme, backend="count")
    # Levels, and what waits for what, are known where there are lines.
    assert count.counters.sum(axis=(-1, -2)).tolist() == cache.counters.sum(axis=(-1, -2)).tolist()
    assert count.totals == cache.totals
    for mine, other in zip(count.rows, cache.rows, strict=True):
        for name in ("event", "count", "rmw", "vma_visits", "pte_reads"):
            assert getattr(mine, name) == getattr(other, name)
        unknown = [name for name in EventRow.__dataclass_fields__ if name.startswith("lines")] + ["hits", "ns"]
        assert [getattr(mine, name) for name in unknown] == [None] * len(unknown)
        assert None not in [getattr(other, name) for name in unknown]


def test_a_run_repeats_to_the_bit(result: Result) -> None:
    again = simulate(SCENARIO, scheme="zero_one_two_many:recount=eager_stop3")
    assert again == result
    assert hash(again) == hash(result)
    assert again != simulate(SCENARIO, scheme="zero_one_two_many")


@pytest.mark.parametrize("backend", ["cache", "count"])
def test_json_and_pickle_keep_everything(backend: str) -> None:
    scenario = ScenarioBuilder("failing", Geometry()).region("A", 4).map_anon("P0", "A").touch("P0", "A", 0, 4, "w")
    scenario.fork("P0", "P1").exit("P1").exit("P1")
    before = simulate(scenario.build(strict=False), backend=backend)
    assert before.outcome.failed == 1
    assert Result.from_json(before.to_json()) == before
    assert pickle.loads(pickle.dumps(before)) == before


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"kind": "measured"}', '{"kind": "modelled", "run": 1, "format": 9}', '{"kind": "modelled"}'],
)
def test_json_of_something_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        Result.from_json(text)
    broken = simulate(SCENARIO, backend="count").to_json().replace('"refcount"', '"surprise"', 1)
    with pytest.raises(ValueError, match="not a result"):
        Result.from_json(broken)


def test_frames(result: Result) -> None:
    events = result.to_frame()
    assert list(events["event"]) == list(result.events)
    assert events["rmw"].sum() == result.total.rmw
    assert events["ns"].sum() == pytest.approx(result.total.ns)
    assert {"hits_l1", "hits_dram"} <= set(events)
    causes = result.to_frame(by="cause")
    assert FIXED in set(causes["cause"])
    assert causes[["load", "store", "rmw"]].to_numpy().sum() == result.counters.sum()
    fields = result.to_frame(by="field")
    assert fields.loc[fields["class"] == "page", "rmw"].sum() == result.total.rmw
    assert fields["ns"].sum() == pytest.approx(result.total.ns)
    with pytest.raises(ValueError, match="'colour' must be one of"):
        result.to_frame(by="colour")
    assert "<table" in result._repr_html_() and "modelled" in result._repr_html_()


def test_arrays_cannot_be_changed(result: Result) -> None:
    for array in (result.counters, result.ns, result.stats.count):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


def test_without_the_ledger_wrong_answers_are_unknown() -> None:
    known = simulate("cow_after_exit", scheme="zero_one_two_many")
    unknown = simulate("cow_after_exit", scheme="zero_one_two_many", truth=False)
    assert known.totals["stale_many"] is not None
    for name in ("false_shared", "false_exclusive", "false_mapped", "stale_many", "leaked_pages", "leaked_pages_peak"):
        assert unknown.totals[name] is None
    assert unknown.totals["refs_peak"] == known.totals["refs_peak"] == 3
    assert unknown.total == known.total


# ---- events that fail --------------------------------------------------------------------------------------------


def failing() -> ScenarioBuilder:
    builder = ScenarioBuilder("failing", Geometry()).region("A", 8).region("B", 8).map_anon("P0", "A", 0, 4)
    return (
        builder.touch("P0", "A", 0, 4, "w")
        .touch("P0", "A", 4, 4, "w")
        .unmap("P0", "B", 0, 8)
        .touch("P0", "B", 0, 1, "r")
    )


def test_a_strict_scenario_ends_at_the_first_event_that_fails() -> None:
    with pytest.raises(ScenarioError) as caught:
        simulate(failing().build())
    assert (caught.value.source, caught.value.line) == ("builder", 6)
    assert re.match(r"builder:6: event 2 \(touch P0 A 4 4 w\): .* \(SEGV\)$", str(caught.value))


def test_a_lenient_scenario_counts_and_lists_them() -> None:
    for given in (failing().build(strict=False), failing().build()):
        outcome = simulate(given, strict=False, backend="count").outcome
        assert (outcome.applied, outcome.noop, outcome.failed, outcome.total) == (2, 1, 2, 5)
        (failure,) = outcome.failures
        assert (failure.name, failure.count) == ("SEGV", 2)
        assert failure.examples == (
            "builder:6: event 2 (touch P0 A 4 4 w)",
            "builder:8: event 4 (touch P0 B 0 1 r)",
        )


def test_operations_that_are_not_modelled() -> None:
    scenario = ScenarioBuilder("guarded", Geometry()).region("A", 8).map_anon("P0", "A")
    scenario.madv("P0", "A", 0, 8, "SOFT_OFFLINE")
    with pytest.raises(ScenarioError, match=r"builder:4: madv P0 A 0 8 SOFT_OFFLINE: "):
        simulate(scenario.build())
    (entry,) = simulate(scenario.build(), strict=False, backend="count").outcome.unsupported
    assert entry.startswith("builder:4: madv P0 A 0 8 SOFT_OFFLINE: ")


def test_progress_counts_events_and_can_end_the_run() -> None:
    seen: list[tuple[int, int]] = []
    found = simulate("redis-bgsave-thp", backend="count", progress=lambda done, total: seen.append((done, total)))
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    assert seen[-1] == (found.outcome.total, found.outcome.total)

    def stop(_done: int, _total: int) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        simulate("redis-bgsave-thp", backend="count", progress=stop)


# ---- one operation -----------------------------------------------------------------------------------------------


def test_show_me_the_512() -> None:
    trace = trace_operation("total_mapcount", order=9, scheme="page_mapcount")
    counts = [run for run in trace.accesses if run.field == "mapcount"]
    assert [(run.access, run.object, run.first, run.step, run.count, run.lines) for run in counts] == [
        ("load", "folio", 0, 1, 512, 512)
    ]
    assert (trace.totals.lines_read, trace.totals.lines_written, trace.totals.rmw) == (512, 0, 0)
    assert trace_operation("total_mapcount", order=9, scheme="large_mapcount").totals.lines_read == 2
    wide = trace_operation("total_mapcount", order=9, scheme="page_mapcount", geometry=Geometry(line_bytes=128))
    assert wide.totals.lines_read == 256


@pytest.mark.parametrize(
    ("scheme", "operation", "rmw"),
    [
        ("page_mapcount@6.1", "map_ptes", 3 * 512),
        ("page_mapcount@6.1", "unmap_ptes", 2 * 512),
        ("page_mapcount@6.1", "map_pmd", 512 + 2),
        ("page_mapcount@6.1", "unmap_anon", 2 * 512 + 1),
        ("page_mapcount@6.1", "fork", 3 * 512),
        ("page_mapcount@6.1", "fork_again", 2 * 512),
        ("page_mapcount@5.17", "split_pmd", 512 + 3),
        ("large_mapcount@6.12", "map_ptes", 512 + 3 * 32),  # 32 windows of fault-around
        ("large_mapcount@7.0", "map_ptes", 512 + 3),
        ("large_mapcount@7.0", "map_ptes_again", 512 + 2),
        ("large_mapcount@6.12", "map_pmd", 4),
        ("large_mapcount@6.12", "fork", 2 * 512 + 2),
        ("zero_one_two_many@7.0", "map_ptes", 2),
        ("zero_one_two_many@7.0", "unmap_ptes", 2),
        ("zero_one_two_many@5.17", "fork", 2),
    ],
)
def test_rmw_of_an_operation(scheme: str, operation: str, rmw: int) -> None:
    assert trace_operation(operation, order=9, scheme=scheme).totals.rmw == rmw


@pytest.mark.parametrize("kernel", ["5.17", "6.12", "7.0"])
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("operation", folio_perf.operation_names())
def test_the_list_holds_every_access(operation: str, scheme: str, kernel: str) -> None:
    for order in (0, 4, 9):
        try:
            trace = trace_operation(operation, order=order, scheme=scheme, kernel=kernel)
        except ValueError as error:
            assert "order" in str(error)
            continue
        counted = [run for run in trace.accesses if run.cause != FIXED]
        hits = sum((trace.totals.hits or {}).values())
        assert sum(run.count for run in counted) == hits
        listed = [run for run in counted if run.access == "rmw"]
        pages = [run for run in listed if run.object_class == "page" or run.field == "split_queue_lock"]
        assert sum(run.count for run in pages) == trace.totals.rmw
        assert trace.totals.count >= 1
        for run in trace.accesses:
            assert 1 <= run.lines <= run.count
            assert not run.object.startswith("pfn")


def test_order_is_that_of_the_geometry() -> None:
    assert trace_operation("map_pmd", order=13, scheme="page_mapcount", geometry="64K").totals.rmw == 8192 + 2
    for order, geometry in ((10, "4K"), (14, "64K"), (-1, "4K")):
        with pytest.raises(ValueError, match=f"order {order} must be from 0 to "):
            trace_operation("map_ptes", order=order, scheme="page_mapcount", geometry=geometry)
    with pytest.raises(ValueError, match=r"anonymous folios of kernel 6\.1 have order 0 or 9"):
        trace_operation("fork", order=4, scheme="page_mapcount", kernel="6.1")
    with pytest.raises(ValueError, match="order 1: anonymous folios"):
        trace_operation("fork", order=1, scheme="page_mapcount")
    with pytest.raises(ValueError, match="order 9, not 8"):
        trace_operation("map_pmd", order=8, scheme="page_mapcount")
    with pytest.raises(ValueError, match="no operation named 'mapp'"):
        trace_operation("mapp", order=9, scheme="page_mapcount")


def test_specs_and_values_are_taken_as_they_are() -> None:
    by_name = simulate(SCENARIO, scheme="page_mapcount@6.1", backend="count")
    by_value = simulate(
        SCENARIO,
        scheme=parse_scheme_spec("page_mapcount"),
        kernel=load_profile("6.1"),
        machine=load_machine("generic-x86-64"),
        geometry=Geometry(),
        folio=FolioPolicy.parse("default"),
        backend="count",
    )
    assert by_name == by_value
