# SPDX-License-Identifier: BSD-3-Clause
"""explain(): parts that add up to the difference of two runs, and what text, JSON and pictures say of them."""

from __future__ import annotations

import itertools
import json
import math
import os
from dataclasses import replace
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
import pytest
from random_scenarios import random_scenario
from test_cli import is_mail, run, run_json

from folio_perf import plotting, report
from folio_perf.cost import price_matrix
from folio_perf.explain import explain, explain_results
from folio_perf.geometry import Geometry
from folio_perf.machine import Machine, Price, load_machine
from folio_perf.results import FIXED, Explanation, Result
from folio_perf.scenario import parse_scenarios
from folio_perf.schemes import scheme_names
from folio_perf.simulate import simulate

MACHINE = load_machine("generic-x86-64")
PRICES = price_matrix(MACHINE)
SCENARIO = "truncate_stale"
# More of them on request: FOLIO_PERF_SCENARIOS=1000.
SEEDS = range(int(os.environ.get("FOLIO_PERF_SCENARIOS", "0")) or 6)
PAIRS = list(itertools.combinations(scheme_names(), 2))


@lru_cache(maxsize=64)
def ran(seed: int, scheme: str, machine: Machine = MACHINE) -> Result:
    scenario = parse_scenarios(random_scenario(seed, nr_operations=15), Geometry(), f"seed{seed}")[0]
    return simulate(replace(scenario, strict=False), scheme=scheme, machine=machine)


@cache
def slow_machine() -> Machine:
    """Another machine: a small L1, no L3, other prices."""
    l1, l2, _ = MACHINE.levels
    dear = replace(l1.prices, rmw_dependent=Price(ns=20.0, formula="20", source="test"))
    return replace(
        MACHINE, name="slow", levels=(replace(l1, size_bytes=8192, prices=dear), replace(l2, size_bytes=262144))
    )


def cells_ns(result: Result, prices: np.ndarray) -> float:
    """Price every single cell in the slow way."""
    return math.fsum(
        int(result.counters[tuple(place)]) * float(prices[tuple(place[3:])]) for place in np.argwhere(result.counters)
    )


def check_sums(found: Explanation, a: Result, b: Result, prices_a: np.ndarray, prices_b: np.ndarray) -> None:
    ns = [cells_ns(a, prices_a), cells_ns(b, prices_b)]
    assert found.total.count == int(b.counters.sum()) - int(a.counters.sum())
    assert sum(part.count for part in found.parts) == found.total.count
    scale = max(1.0, *ns)
    assert found.total.ns is not None
    assert abs(found.total.ns - (ns[1] - ns[0])) <= 1e-9 * scale
    assert abs(math.fsum(part.ns or 0.0 for part in found.parts) - found.total.ns) <= 1e-9 * scale
    assert found.a_ns == pytest.approx(ns[0], rel=1e-12) and found.b_ns == pytest.approx(ns[1], rel=1e-12)
    groups = found.groups().values()
    assert sum(group.count for group in groups) == found.total.count
    assert math.fsum(group.ns or 0.0 for group in groups) == pytest.approx(found.total.ns, abs=1e-9 * scale)


@pytest.mark.parametrize("seed", SEEDS)
def test_parts_add_up_for_every_pair_of_schemes(seed: int) -> None:
    for one, other in PAIRS:
        a, b = ran(seed, one), ran(seed, other)
        found = explain_results(a, b, PRICES)
        check_sums(found, a, b, PRICES, PRICES)
        own = found.own
        assert b.total.ns is not None and a.total.ns is not None and own.ns is not None
        assert own.ns == pytest.approx(b.total.ns - a.total.ns, abs=1e-9 * max(1.0, a.total.ns, b.total.ns))
        assert own.count == int(b.counted.sum()) - int(a.counted.sum())
        assert own.count + found.fixed.count == found.total.count


@pytest.mark.parametrize("seed", SEEDS)
def test_parts_add_up_for_two_machines(seed: int) -> None:
    prices = price_matrix(slow_machine())
    known = np.nan_to_num(prices)
    for scheme in scheme_names():
        a, b = ran(seed, scheme), ran(seed, scheme, slow_machine())
        found = explain_results(a, b, PRICES, prices)
        check_sums(found, a, b, np.nan_to_num(PRICES), known)
        assert "price" in {part.effect for part in found.parts}
        assert sum(abs(part.count) for part in found.parts if part.effect == "price") == 0


def test_the_other_way_round_is_the_negative() -> None:
    a, b, prices = ran(0, "page_mapcount"), ran(0, "large_mapcount", slow_machine()), price_matrix(slow_machine())
    there = {key(part): (part.count, part.ns) for part in explain_results(a, b, PRICES, prices).parts}
    back = {key(part): (-part.count, -(part.ns or 0.0)) for part in explain_results(b, a, prices, PRICES).parts}
    assert there == back


def key(part: object) -> tuple[str, ...]:
    return tuple(getattr(part, name) for name in ("event", "cause", "field", "price", "effect"))


def test_each_cell_is_there_once_and_the_largest_comes_first() -> None:
    found = explain("page_mapcount", "zero_one_two_many", SCENARIO)
    assert len({key(part) for part in found.parts}) == len(found.parts)
    sizes = [abs(part.ns or 0.0) for part in found.parts]
    assert sizes == sorted(sizes, reverse=True) and sizes[-1] > 0
    assert {part.group for part in found.parts} >= {"rmw", "presence", FIXED, "loads from l1"}


def test_a_part_is_the_counters_times_the_price() -> None:
    a, b = (simulate("seed_thp_pte_map", scheme=scheme) for scheme in ("page_mapcount", "large_mapcount"))
    found = explain_results(a, b, PRICES)
    scan = [part for part in found.parts if (part.event, part.field) == ("total_mapcount", "mapcount")]
    # Two questions about 512 pages: the scan that large_mapcount saves; -1024 lines over all levels.
    assert sum(part.count for part in scan) == -1024
    for part in scan:
        level = {"l1": 0.233, "l2": 0.576}[part.level]
        assert part.access == "load" and part.dependence == "streaming" and part.ns == part.count * level


def test_the_same_on_the_same_has_no_parts() -> None:
    found = explain("page_mapcount", "page_mapcount", SCENARIO)
    assert found.parts == () and found.total.count == 0 and found.total.ns == 0.0
    assert "every access is the same" in report.explanation_report(found).plain


def test_an_unknown_price_cancels_or_makes_the_total_unknown() -> None:
    unknown = np.full_like(PRICES, np.nan)
    a, b = ran(1, "page_mapcount"), ran(1, "large_mapcount")
    found = explain_results(a, b, unknown)
    assert found.total.ns is None and found.a_ns is None and found.total.count == b.counters.sum() - a.counters.sum()
    assert explain_results(a, a, unknown).total.ns == 0.0
    # Two machines of unknown price may differ in anything.
    assert explain_results(a, a, unknown, unknown.copy()).total.ns is None


def test_the_count_back_end_explains_counts() -> None:
    found = explain("page_mapcount", "large_mapcount", SCENARIO, backend="count")
    timed = explain("page_mapcount", "large_mapcount", SCENARIO)
    assert found.total.ns is None and found.total.count == timed.total.count
    with pytest.raises(ValueError, match="two machines are one"):
        explain("page_mapcount", "page_mapcount", SCENARIO, backend="count", machine_b=slow_machine())


def test_wrong_inputs_are_refused() -> None:
    with pytest.raises(ValueError, match="no scheme"):
        explain("page_mapcount", "nonesuch", SCENARIO)
    with pytest.raises(ValueError, match=r"must have shape \(3, 2, 6\)"):
        explain_results(ran(0, "page_mapcount"), ran(0, "page_mapcount"), np.zeros((2, 2)))


def test_progress_reaches_the_events_of_both_runs() -> None:
    seen: list[tuple[int, int]] = []
    explain("page_mapcount", "large_mapcount", SCENARIO, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1][0] == seen[-1][1] and [done for done, _ in seen] == sorted(done for done, _ in seen)


# ---- what leaves the program -------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["cache", "count"])
@pytest.mark.parametrize("scenario", [SCENARIO, "seed_thp_pte_map"])
def test_every_report_fits_a_mail(scenario: str, backend: str) -> None:
    for a, b in itertools.pairwise(scheme_names()):
        assert is_mail(report.explanation_report(explain(a, b, scenario, backend=backend)).plain)
    if backend == "cache":
        assert is_mail(
            report.explanation_report(
                explain("page_mapcount", "large_mapcount", scenario, machine_b=slow_machine())
            ).plain
        )


def test_the_command_prints_text_and_json(tmp_path: Path) -> None:
    text = run("explain", "page_mapcount", "large_mapcount", SCENARIO)
    assert is_mail(text) and "B - A" in text and "largest parts" in text
    value = run_json("explain", "page_mapcount", "large_mapcount", SCENARIO)
    assert value == json.loads(explain("page_mapcount", "large_mapcount", SCENARIO).to_json())
    assert {"event", "field", "price", "count", "ns"} <= set(value["parts"][0])
    assert sum(part["count"] for part in value["parts"]) == value["total"]["count"]
    assert math.fsum(part["ns"] for part in value["parts"]) == pytest.approx(value["total"]["ns"], abs=1e-9)
    assert value["total"]["ns"] == pytest.approx(value["b"]["ns"] - value["a"]["ns"], abs=1e-6)


def test_the_command_takes_two_machines_and_no_more(tmp_path: Path) -> None:
    file = tmp_path / "other.toml"
    text = Path(plotting.__file__).with_name("machines").joinpath("generic-x86-64.toml").read_text()
    file.write_text(text.replace("size_bytes = 32768", "size_bytes = 16384"))
    machines = ("--machine", "generic-x86-64", "--machine", str(file))
    value = run_json("explain", "page_mapcount", "page_mapcount", SCENARIO, *machines)
    assert value["total"]["count"] == 0 and value["total"]["ns"] > 0
    run("explain", "page_mapcount", "page_mapcount", SCENARIO, *machines, "--machine", str(file), status=2)
    run("explain", "page_mapcount", "page_mapcount", SCENARIO, "--backend", "native", status=2)
    run("explain", "page_mapcount", "nonesuch", SCENARIO, status=2)


def test_a_workload_can_be_set() -> None:
    value = run_json("explain", "page_mapcount", "large_mapcount", "fork_server", "--set", "children=2")
    assert value["a"]["scenario"].startswith("fork_server")


def test_the_waterfall_goes_from_a_to_b(tmp_path: Path) -> None:
    found = explain("page_mapcount", "zero_one_two_many", SCENARIO)
    axes = plotting.waterfall(found).axes[0]
    bars = axes.patches
    assert found.a_ns is not None and found.b_ns is not None
    ends = [bar.get_x() + bar.get_width() for bar in bars[:2]]
    assert ends == pytest.approx([found.a_ns, found.b_ns])
    steps = bars[2:]
    assert steps[0].get_x() == pytest.approx(found.a_ns)
    assert math.fsum(bar.get_width() for bar in steps) == pytest.approx(found.b_ns - found.a_ns)
    target = tmp_path / "waterfall.png"
    run("explain", "page_mapcount", "zero_one_two_many", SCENARIO, "--plot", str(target))
    assert target.read_bytes().startswith(b"\x89PNG")
    run("explain", "page_mapcount", "zero_one_two_many", SCENARIO, "--plot", str(tmp_path / "x.gif"), status=2)
    assert len(plotting.waterfall(explain("page_mapcount", "large_mapcount", SCENARIO, backend="count")).axes) == 1


def test_levels_nobody_knows_are_not_named() -> None:
    found = explain("page_mapcount", "zero_one_two_many", SCENARIO, backend="count")
    text = report.explanation_report(found).plain
    assert "loads" in {part.group for part in found.parts}
    assert "unknown" in text and "from unknown" not in text and "load unknown" not in text
