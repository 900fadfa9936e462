# SPDX-License-Identifier: BSD-3-Clause
"""Native microbenchmarks: what they report, what state they leave, what they refuse. No test looks at a time."""

from __future__ import annotations

import json
import os

import pytest
from typer.testing import CliRunner

from folio_perf import hw, parse_scheme_spec, scheme_names
from folio_perf.cli import app
from folio_perf.geometry import Geometry
from folio_perf.hw.operations import OPERATIONS
from folio_perf.hw.run import _Bench, _width

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
    assert len(rows) == 3 * 3 * 2 * 2
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
        assert row.folios == max(hw.REGIMES[row.regime] // (64 << row.order), 1)
    compared = hw.ratios(rows)
    # A baseline too short for the clock gives no ratio.
    base = {(row.operation, row.order, row.regime) for row in rows if row.scheme == "zero_one_two_many" and row.ns_low}
    others = [(row.operation, row.order, row.regime) for row in rows if row.scheme != "zero_one_two_many"]
    assert len(compared) == sum(point in base for point in others) > 0
    assert all(each.low <= each.ratio <= each.high for each in compared)


RECOUNTS = "zero_one_two_many:recount=on_reclaim"


@pytest.mark.parametrize(
    ("name", "scheme"),
    [(name, scheme) for name in OPERATIONS for scheme in scheme_names() if name != "recount"] + [("recount", RECOUNTS)],
)
def test_a_pass_is_undone(name: str, scheme: str) -> None:
    """After pass and undoing the struct pages are what they were before, in all back ends alike."""
    order = GEOMETRY.pmd_order if not OPERATIONS[name].orders(2, GEOMETRY.pmd_order) else 2
    left = {}
    for backend in ("count", "native"):
        bench = _Bench(parse_scheme_spec(scheme), OPERATIONS[name], order, "l1", GEOMETRY, backend)
        bench.prepare()
        bench.once()
        before = bench.simulation.struct_pages()
        bench.once()
        assert (bench.simulation.struct_pages() == before).all()
        left[backend] = before
    assert (left["count"] == left["native"]).all()


def test_the_process_keeps_its_cpus() -> None:
    before = os.sched_getaffinity(0)
    hw.run("mm_owner", operations=("map_1_pte",), orders=(0,), regimes=("l1",), **QUICK)
    assert os.sched_getaffinity(0) == before


def test_width_of_the_confidence_interval() -> None:
    assert _width([100] * 50) == 0
    assert _width(list(range(90, 111)) * 4) == pytest.approx(0.02, abs=0.02)
    assert _width([50, 150] * 50) > 0.4


def test_host_says_what_it_is() -> None:
    facts = hw.host()
    assert facts.cpu
    assert facts.nr_cpus >= 1
    assert all(size > 0 for _, size in facts.caches)


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


@pytest.mark.parametrize(("option", "value"), [("--orders", "x"), ("--seconds", "soon"), ("--cpu", "all")])
def test_bad_options(option: str, value: str) -> None:
    done = CliRunner().invoke(app, ["hw", "run", option, value])
    assert done.exit_code == 2
    assert option in done.stderr
