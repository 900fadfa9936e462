# SPDX-License-Identifier: BSD-3-Clause
"""Every benchmark sets itself up and says something: a broken one would otherwise be noticed only by its silence."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TOP / "asv_bench"))

from benchmarks import bench_cache, bench_engine, bench_tables  # noqa: E402


@pytest.mark.parametrize("benchmark", [bench_engine.MapUnmapByPte, bench_engine.ForkExitOrder0])
@pytest.mark.parametrize("backend", bench_engine.BACKENDS)
def test_speed_benchmarks_do_their_work(benchmark: type, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, small in (("nr_folios", 1), ("nr_pages", 64), ("nr_rounds", 1), ("repeats", 1)):
        monkeypatch.setattr(benchmark, name, small, raising=False)
    instance = benchmark()
    instance.setup("page_mapcount", backend)
    before = instance.simulation.totals()["pages_mapped"]
    for method in [each for each in dir(instance) if each.startswith(("time_", "track_"))]:
        value = getattr(instance, method)("page_mapcount", backend)
        assert value is None or value > 0
    assert instance.simulation.totals()["pages_mapped"] > before


def test_the_trace_is_replayed() -> None:
    instance = bench_engine.ReplayTrace()
    instance.setup("page_mapcount", "count")
    instance.time_replay("page_mapcount", "count")
    assert instance.simulation.totals()["pages_mapped"] > 40_000


@pytest.mark.parametrize("name", bench_cache.TRACES)
def test_cache_benchmarks_do_their_work(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_cache.Caches, "nr_accesses", 20_000)
    instance = bench_cache.Caches()
    instance.setup(name, 1)
    assert instance.addresses.shape == instance.write.shape == (20_000,)
    assert instance.track_ns_per_access(name, 1) > 0
    assert instance.caches.stats().to_dict()["L1"]["fetches"] == 20_000


def test_tables_are_those_of_the_model() -> None:
    instance = bench_tables.WholeFolio()
    instance.setup("total_mapcount", "page_mapcount", 9)
    assert instance.track_lines("total_mapcount", "page_mapcount", 9) == 512
    assert instance.track_rmw("total_mapcount", "page_mapcount", 9) == 0


# What asv looks for in a benchmark, then in its class, then in its module.
ASV_ATTRIBUTES = {"rounds", "repeat", "number", "sample_time", "warmup_time", "min_run_count", "timeout", "processes"}


@pytest.mark.parametrize("module", [bench_cache, bench_engine, bench_tables])
def test_no_function_takes_the_name_of_an_asv_attribute(module: object) -> None:
    assert {name for name in ASV_ATTRIBUTES if callable(getattr(module, name, None))} == set()


def test_bench_fails_if_nothing_came_out() -> None:
    done = subprocess.run(
        [sys.executable, "tools/bench.py", "no-such-benchmark"], cwd=TOP, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    done = subprocess.run(
        [sys.executable, "tools/bench.py", "track_rmw total_mapcount page_mapcount 4"],
        cwd=TOP,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "atomic RMW / folio" in done.stdout
