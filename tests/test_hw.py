# SPDX-License-Identifier: BSD-3-Clause
"""Native microbenchmarks: what they report, what state they leave, what they refuse. No test looks at a time."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from folio_perf import hw, parse_scheme_spec, scheme_names
from folio_perf._native import errors as native_errors
from folio_perf._native import hw as native
from folio_perf.cli import app
from folio_perf.geometry import Geometry
from folio_perf.hw.bench import Bench, Regime, between_steps, modelled_counts, regimes, width
from folio_perf.hw.calibrate import read_core_to_core
from folio_perf.hw.operations import OPERATIONS, Call, Operation
from folio_perf.hw.validate import modelled_ns
from folio_perf.machine import DEFAULT_MACHINE, TRANSFER_TIERS, load_machine

GEOMETRY = Geometry(memory_bytes=64 << 30)
QUICK = {"seconds": 0.001, "precision": 0.9}


def test_measurements_carry_the_models_counts() -> None:
    rows = hw.run(
        "page_mapcount@6.1,zero_one_two_many,mm_owner",
        operations=("map_ptes", "map_unmap_ptes", "total_mapcount"),
        orders=(4, 9),
        regimes=("l1", "cold"),
        **QUICK,
    )
    # The struct pages of an order 9 folio are more than half of L1.
    assert len(rows) == 3 * 3 * 3
    assert {(row.order, row.regime) for row in rows} == {(4, "l1"), (4, "cold"), (9, "cold")}
    counts = {(row.scheme, row.operation, row.order): (row.rmw, row.lines_read, row.lines_written) for row in rows}
    assert counts["page_mapcount", "map_ptes", 9] == (1536, 0, 512)
    assert counts["mm_owner", "map_ptes", 9] == (515, 0, 512)
    assert counts["zero_one_two_many", "map_ptes", 9] == (2, 0, 1)
    assert counts["page_mapcount", "total_mapcount", 9] == (0, 512, 0)
    assert counts["zero_one_two_many", "total_mapcount", 9] == (0, 1, 0)
    for row in rows:
        assert row.kind == "measured"
        assert 0 <= row.ns_low <= row.ns <= row.ns_high
        assert row.repeats >= 15
        assert 0 <= row.outliers < row.repeats
        assert row.folios >= 1
        assert set(row.counters) == set(hw.COUNTERS)
        for value in row.counters.values():
            assert value >= 0 if isinstance(value, float) else value.startswith("not available here: ")
    compared = hw.ratios(rows)
    # A baseline too short for the clock gives no ratio.
    base = {(row.operation, row.order, row.regime) for row in rows if row.scheme == "zero_one_two_many" and row.ns_low}
    others = [(row.operation, row.order, row.regime) for row in rows if row.scheme != "zero_one_two_many"]
    assert len(compared) == sum(point in base for point in others) > 0
    assert all(each.low <= each.ratio <= each.high for each in compared)


RECOUNTS = "zero_one_two_many:recount=on_reclaim"


def state(bench: Bench, scheme: str) -> NDArray[np.uint8]:
    """Read the struct pages, a counter of writers aside, which only ever grows."""
    pages = bench.simulation.struct_pages()
    if scheme == "rmap_id":
        pages[:, 56:] = 0
    return pages


@pytest.mark.parametrize(
    ("name", "scheme"),
    [(name, scheme) for name in OPERATIONS for scheme in scheme_names() if name != "recount"] + [("recount", RECOUNTS)],
)
def test_a_pass_is_undone(name: str, scheme: str) -> None:
    """After pass and undoing the struct pages are what they were before, in all back ends alike."""
    order = GEOMETRY.pmd_order if not OPERATIONS[name].orders(2, GEOMETRY.pmd_order) else 2
    left = {}
    for backend in ("count", "native"):
        bench = Bench(
            parse_scheme_spec(scheme),
            OPERATIONS[name],
            order,
            Regime(title="", nr_bytes=256 << order),
            geometry=GEOMETRY,
            machine=load_machine(DEFAULT_MACHINE),
            backend=backend,
        )
        bench.prepare()
        bench.once()
        before = state(bench, scheme)
        bench.once()
        assert (state(bench, scheme) == before).all()
        left[backend] = before
    assert (left["count"] == left["native"]).all()


def test_the_process_keeps_its_cpus() -> None:
    before = os.sched_getaffinity(0)
    hw.run("mm_owner", operations=("map_1_pte",), orders=(0,), regimes=("l1",), **QUICK)
    assert os.sched_getaffinity(0) == before


def test_width_of_the_confidence_interval() -> None:
    assert width([100] * 50) == 0
    assert width(list(range(90, 111)) * 4) == pytest.approx(0.02, abs=0.02)
    assert width([50, 150] * 50) > 0.4
    # Of what exceeds the time of nothing, ten times less here.
    assert width(list(range(90, 111)) * 4, 90) == pytest.approx(10 * width(list(range(90, 111)) * 4), rel=0.01)


def test_readings_are_spread_over_a_step_of_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("folio_perf.hw.bench._step_ns", lambda: 10)
    spread = between_steps([100, 110] * 500)
    assert 95 <= spread.min() <= spread.max() <= 115
    assert np.median(spread) == pytest.approx(105, abs=1)
    assert (spread == between_steps([100, 110] * 500)).all()


def bench_of(scheme: str, operation: str, order: int, regime: str) -> Bench:
    return Bench(
        parse_scheme_spec(scheme),
        OPERATIONS[operation],
        order,
        regimes(hw.host())[regime],
        geometry=GEOMETRY,
        machine=load_machine(DEFAULT_MACHINE),
        backend="cache",
    )


def test_regimes_are_what_they_say() -> None:
    """By what the simulated caches of the default machine serve."""
    for order, regime, level in ((0, "l1", 1), (2, "cold", 5)):
        counts = modelled_counts(bench_of("mm_owner", "map_1_pte", order, regime))
        by_level = counts.counters.sum(axis=(0, 1, 2, 3, 4))
        assert by_level[level] >= counts.nr_visits
        assert counts.nr_calls == 1
    cold = modelled_counts(bench_of("page_mapcount@6.1", "total_mapcount", 9, "cold"))
    assert cold.lines_read == 512
    # One line is waited for, the others come with it.
    assert cold.counters.sum(axis=(0, 1, 2, 3))[:, 5].tolist() == [cold.nr_visits, 511 * cold.nr_visits]


def test_modelled_time_is_the_sum_of_its_parts() -> None:
    machine = load_machine(DEFAULT_MACHINE)
    dram, l1 = machine.dram, machine.levels[0].prices
    counts = modelled_counts(bench_of("page_mapcount@6.1", "total_mapcount", 9, "cold"))
    plain = dram.load_dependent.ns + 511 * dram.load_streaming.ns + 2 * l1.load_streaming.ns  # type: ignore[operator]
    assert modelled_ns(counts, machine) == pytest.approx((plain, plain))
    # A presence test reads page tables while the struct page is on its way: the shorter of the two is hidden.
    counts = modelled_counts(bench_of("zero_one_two_many", "map_1_pte", 4, "cold"))
    modelled, plain = modelled_ns(counts, machine)
    assert plain - modelled == pytest.approx(dram.load_dependent.ns, rel=0.2)


def test_agreement_of_model_and_measurement() -> None:
    def row(scheme: str, measured: float, modelled: float, operation: str = "map") -> hw.Validated:
        return hw.Validated(
            scheme=scheme,
            kernel="7.0",
            operation=operation,
            order=0,
            regime="l1",
            measured_ns=measured,
            spread=0.0,
            modelled_ns=modelled,
            plain_ns=modelled,
        )

    rows = [row("a", 10, 11), row("b", 10.5, 10), row("c", 20, 18), row("d", 30, 18), row("a", 1, 9, "unmap")]
    found = hw.agreement(rows)
    # a-b do not differ by a tenth; c-d do, and the model cannot tell; a-c, a-d, b-c, b-d are right.
    assert (found.points, found.pairs, found.pairs_alike) == (5, 5, 1)
    assert found.right == pytest.approx(4 / 5)
    assert found.right_of_others == 1
    assert found.median_error == pytest.approx(0.1)
    with pytest.raises(ValueError, match="no point"):
        hw.agreement([])


def test_validate_measures_and_models_every_point() -> None:
    found = hw.validate(
        "mm_owner,zero_one_two_many",
        operations=("map_1_pte", "total_mapcount", "map_pmd"),
        orders=(0, 9),
        regimes=("cold",),
        rounds=1,
        seconds=0.001,
    )
    assert len(found.points) == 2 * (2 + 3)
    for each in found.points:
        assert each.measured_ns >= 0
        assert each.modelled_ns > 0
        assert each.plain_ns >= each.modelled_ns
    assert found.machine.levels[0].prices.rmw_dependent.method


def test_calibration_is_a_machine_file(tmp_path: Path) -> None:
    matrix = tmp_path / "sockets.csv"
    matrix.write_text(",\n120.5,\n130,125,\n")
    tier = "remote"
    found = hw.calibrate("here", rounds=1, core_to_core=matrix, tier=tier)
    path = tmp_path / "here.toml"
    path.write_text(found.to_toml())
    machine = load_machine(path)
    assert [level.size_bytes for level in machine.levels] == [level.size_bytes for level in found.machine.levels]
    assert machine.levels[0].load_ns == pytest.approx(found.machine.levels[0].load_ns, rel=1e-3)
    assert machine.transfers.remote.ns == 125
    assert "sockets.csv" in machine.transfers.remote.source
    assert machine.hook_call.kind == "measured"
    for prices in (machine.levels[0].prices, machine.dram):
        for name in ("load_dependent", "rmw_dependent", "rmw_streaming"):
            price = getattr(prices, name)
            assert price.ns and price.method and price.spread_ns is not None, name
            assert found.host.date[:10] in price.source


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1,2,3\n4,5\n", "line 1 has 3 columns, there are 2 CPUs"),
        (",\nfast,\n", "line 2, column 1: 'fast' is no number of ns"),
        (",\n0,\n", "line 2, column 1: 0 ns must be above 0"),
        ("1\n", "no latency between two CPUs"),
    ],
)
def test_broken_matrices(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "matrix.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=said):
        read_core_to_core(path)


def test_matrix_of_latencies(tmp_path: Path) -> None:
    path = tmp_path / "matrix.csv"
    path.write_text(",20,30\n20,,40\n30,40,\n\n")
    assert read_core_to_core(path).tolist() == [20, 30, 40]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"rounds": 0}, "rounds 0 must be from 1 to 100"),
        ({"core_to_core": "/nowhere/m.csv", "tier": "remote"}, "No such file"),
    ],
)
def test_bad_calibration(arguments: dict[str, object], said: str) -> None:
    with pytest.raises((ValueError, OSError), match=said):
        hw.calibrate("here", **arguments)  # type: ignore[arg-type]


def test_bad_tier(tmp_path: Path) -> None:
    path = tmp_path / "matrix.csv"
    path.write_text(",\n20,\n")
    with pytest.raises(ValueError, match=f"tier 'far' must be one of {', '.join(TRANSFER_TIERS)}"):
        hw.calibrate("here", core_to_core=path, tier="far")


def cpus_of_this_process() -> list[int]:
    return sorted(os.sched_getaffinity(0))


CROWDS = {
    "folio": lambda nr: [0] * nr,
    "neighbours": lambda nr: list(range(nr)),
}


@pytest.mark.parametrize("scheme", ["page_mapcount@6.1", "large_mapcount", "mm_owner", "no_page_mapcount"])
@pytest.mark.parametrize("layout", CROWDS)
def test_a_crowd_leaves_no_trace(scheme: str, layout: str) -> None:
    """Whatever way threads interleave, folios mapped and unmapped as often are as they were."""
    cpus = cpus_of_this_process()[:4]
    bench = Bench(
        parse_scheme_spec(scheme),
        Operation(title="", timed=(), before=((Call(hook=native.MAP_RUN),),)),
        2,
        Regime(title="", nr_bytes=4096),
        geometry=GEOMETRY,
        machine=load_machine(DEFAULT_MACHINE),
        backend="native",
        processes=len(cpus) + 1,
    )
    bench.prepare()
    before = bench.simulation.struct_pages()
    calls = [
        (Call(hook=native.MAP_RUN, process=number + 1), Call(hook=native.UNMAP_RUN, process=number + 1, path="zap"))
        for number in range(len(cpus))
    ]
    operations, ns = bench.contend(calls, cpus, CROWDS[layout](len(cpus)), 0.02)
    assert operations.sum() > 0 and (ns > 0).all()
    assert (operations % 32 == 0).all()
    after = bench.simulation.struct_pages()
    if scheme in ("mm_owner", "no_page_mapcount"):
        # Who came third was not tracked, and "shared" may be a memory: two words of the first tail.
        after[..., 1::4, 32:48] = before[..., 1::4, 32:48]
    assert (after == before).all()


def test_contention_is_measured_beside_the_queue() -> None:
    machine = load_machine(DEFAULT_MACHINE)
    rows = hw.contend("mm_owner", uses=("add", "bit_lock"), seconds=0.002, repeats=1, machine=machine)
    nr = len(cpus_of_this_process())
    found = {(row.what, row.layout, row.threads) for row in rows}
    assert found == {
        (what, layout, threads)
        for what in ("mm_owner@7.0", "add", "bit_lock")
        for layout in hw.LAYOUTS
        for threads in range(1, nr + 1)
        if layout != "readers" or threads > 1
    }
    for row in rows:
        assert row.operations_per_us >= 0
        assert 0 <= row.least_share <= 1
        assert (row.reads_per_us is None) == (row.layout != "readers")
        assert (row.modelled_per_us is None) == (row.layout == "readers")
    alone = {(row.what, row.layout): row for row in rows if row.threads == 1}
    # An add is one RMW in a stream of them; alone it does not matter where the others' folios are.
    assert alone["add", "folio"].modelled_ns == pytest.approx(machine.levels[0].prices.rmw_streaming.ns)
    assert alone["add", "folio"].modelled_per_us == alone["add", "neighbours"].modelled_per_us


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"uses": ("fly",)}, "no use named 'fly'; there are add, cmpxchg, bit_lock, rwsem"),
        ({"layouts": ("heap",)}, "no layout named 'heap'; there are folio"),
        ({"threads": (4096,)}, "threads 4096 must be from 1 to"),
        ({"cpus": (4095,)}, "CPU 4095 is none this process may use"),
        ({"order": 10}, "order 10 must be from 0 to 9"),
        ({"seconds": 0.0}, "seconds 0.0 must be above 0"),
        ({"repeats": 0}, "repeats 0 must be from 1 to 1000"),
    ],
)
def test_bad_contenders(arguments: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        hw.contend("mm_owner", **arguments)  # type: ignore[arg-type]


def test_commands_that_contend() -> None:
    arguments = ["hw", "contend", "--seconds", "0.001", "--schemes", "mm_owner", "--uses", "rwsem"]
    arguments += ["--layouts", "folio", "--machine", DEFAULT_MACHINE]
    value = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).stdout)
    assert {row["what"] for row in value["rows"]} == {"mm_owner@7.0", "rwsem"}
    text = CliRunner().invoke(app, arguments).stdout
    assert max(map(len, text.splitlines())) <= 72
    both = ["contention", "mm_owner", "--threads", "1", "--measure"]
    value = json.loads(CliRunner().invoke(app, [*both, "--json"]).stdout)
    assert [row["what"] for row in value["measured"]] == ["mm_owner@7.0"]
    value = json.loads(CliRunner().invoke(app, [*both, "--sharing", "rmap", "--json"]).stdout)
    assert [row["what"] for row in value["measured"]] == ["rwsem"]
    refused = CliRunner().invoke(app, ["contention", "mm_owner", "--threads", "4096", "--measure"])
    assert refused.exit_code == 2 and "--measure" in str(refused.stderr or refused.exception)


def test_a_line_passes_between_two_cpus() -> None:
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        pytest.skip("this process may run on one CPU only")
    before = os.sched_getaffinity(0)
    try:
        assert native.transfer(cpus[0], cpus[1], 10) > 0
        with pytest.raises(native_errors.FperfError):
            native.transfer(cpus[0], cpus[0], 10)
    finally:
        os.sched_setaffinity(0, before)


def test_host_says_what_it_is() -> None:
    facts = hw.host()
    assert facts.cpu
    assert facts.nr_cpus >= 1
    assert all(cache.size_bytes > 0 for cache in facts.caches)
    topology = hw.host_topology()
    assert topology is None or topology.nr_cpus >= facts.nr_cpus


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"operations": ("fly",)}, "no operation named 'fly'; there are map_1_pte"),
        ({"regimes": ("l9",)}, "no regime named 'l9'; there are l1"),
        ({"orders": (10,)}, "order 10 must be from 0 to 9"),
        ({"precision": 0.0}, "precision 0.0 must be between"),
        ({"seconds": 0.0}, "seconds 0.0 must be above 0"),
        ({"cpu": 4095}, "out of range"),
    ],
)
def test_bad_input(arguments: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        hw.run("mm_owner", **arguments)  # type: ignore[arg-type]


def test_command() -> None:
    arguments = ["hw", "run", "--orders", "2", "--seconds", "0.001", "--precision", "0.9", "--regimes", "l1"]
    done = CliRunner().invoke(app, [*arguments, "--json"])
    assert done.exit_code == 0, done.output
    value = json.loads(done.stdout)
    assert value["kind"] == "measured"
    assert {"scheme", "kernel", "operation", "order", "regime", "ns", "ns_low", "ns_high"} <= set(value["rows"][0])
    assert value["host"]["kernel"]
    text = CliRunner().invoke(app, arguments).stdout
    assert max(map(len, text.splitlines())) <= 72
    assert "map_unmap_ptes, order 2, l1" in text
    listed = json.loads(CliRunner().invoke(app, ["hw", "operations", "--json"]).stdout)
    assert [each["name"] for each in listed] == list(OPERATIONS)


def test_commands_that_price(tmp_path: Path) -> None:
    path = tmp_path / "here.toml"
    done = CliRunner().invoke(app, ["hw", "calibrate", "--rounds", "1", "-o", str(path)])
    assert done.exit_code == 0, done.output
    assert max(map(len, done.stdout.splitlines())) <= 72
    assert load_machine(path).name == "this-host"
    arguments = ["hw", "validate", "--rounds", "1", "--seconds", "0.001", "--orders", "2", "--regimes", "cold"]
    arguments += ["--schemes", "mm_owner", "--operations", "map_1_pte"]
    rows = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).stdout)
    wanted = {"scheme", "operation", "order", "regime", "measured_ns", "spread", "modelled_ns"}
    assert [wanted <= set(row) for row in rows] == [True]
    text = CliRunner().invoke(app, arguments).stdout
    assert max(map(len, text.splitlines())) <= 72
    assert "map_1_pte, order 2, cold" in text


@pytest.mark.parametrize("path", ["here.csv", "/nowhere/here.toml"])
def test_a_calibration_is_not_begun_for_a_file_that_cannot_be(path: str) -> None:
    done = CliRunner().invoke(app, ["hw", "calibrate", "-o", path])
    assert done.exit_code == 2
    assert path in done.stderr


@pytest.mark.parametrize(("option", "value"), [("--orders", "x"), ("--seconds", "soon"), ("--cpu", "all")])
def test_bad_options(option: str, value: str) -> None:
    done = CliRunner().invoke(app, ["hw", "run", option, value])
    assert done.exit_code == 2
    assert option in done.stderr
