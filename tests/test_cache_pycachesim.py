# SPDX-License-Identifier: BSD-3-Clause
"""The rules of pycachesim: our engine, a naive twin, and the program itself on the traces of the benchmarks."""

from __future__ import annotations

import importlib
import json
import subprocess
import venv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.pycachesim_rules import Level

from folio_perf import CacheHierarchy, CacheLevel

TOP = Path(__file__).resolve().parents[1]
CONFIG_A = ((64, 12), (1024, 16), (32768, 16))
SMALL = ((4, 12), (64, 16), (512, 16))
"""Sets and ways; the small one is config A's shape, small enough for short traces to run over."""


def build(shape: tuple[tuple[int, int], ...]) -> CacheHierarchy:
    levels = [
        CacheLevel(name=f"L{number}", size_bytes=nr_sets * nr_ways * 64, nr_ways=nr_ways)
        for number, (nr_sets, nr_ways) in enumerate(shape, 1)
    ]
    return CacheHierarchy(levels, rules="pycachesim")


def counts(caches: CacheHierarchy) -> list[list[int]]:
    """LOAD, MISS and EVICT of each level."""
    return [[row["fetches"], row["misses"], row["writebacks_out"]] for row in caches.stats().to_dict().values()]


@settings(max_examples=200, deadline=None)
@given(
    shape=st.lists(st.tuples(st.integers(1, 6), st.integers(1, 5)), min_size=1, max_size=4).map(tuple),
    seed=st.integers(0, 2**32),
    span=st.sampled_from([8, 30, 100]),
)
def test_equals_the_twin(shape: tuple[tuple[int, int], ...], seed: int, span: int) -> None:
    rng = np.random.default_rng(seed)
    lines, write = rng.integers(0, span, 500), rng.random(500) < 0.4
    levels: list[Level] = []
    for nr_sets, nr_ways in reversed(shape):
        levels.insert(0, Level(nr_sets, nr_ways, levels[0] if levels else None))
    for line, stores in zip(lines.tolist(), write.tolist(), strict=True):
        (levels[0].store if stores else levels[0].load)(line)
    caches = build(shape)
    caches.access((lines * 64).astype(np.uint64), write)
    assert counts(caches) == [[level.nr_load, level.nr_miss, level.nr_evict] for level in levels]


PEER = """
import json, sys
import cachesim

answers = []
for shape, addresses, write in json.load(sys.stdin):
    below, levels = None, []
    for nr_sets, nr_ways in reversed(shape):
        links = {} if below is None else {"store_to": below, "load_from": below}
        below = cachesim.Cache(f"L{len(levels)}", nr_sets, nr_ways, 64, "LRU", **links)
        levels.insert(0, below)
    memory = cachesim.MainMemory()
    memory.load_to(levels[-1])
    memory.store_from(levels[-1])
    caches = cachesim.CacheSimulator(levels[0], memory)
    for address, stores in zip(addresses, write):
        (caches.store if stores else caches.load)(address, length=1)
    rows = list(caches.stats())[: len(shape)]
    answers.append([[row[f"{name}_count"] for name in ("LOAD", "MISS", "EVICT")] for row in rows])
json.dump(answers, sys.stdout)
"""


@pytest.fixture(scope="module")
def peer() -> Path:
    """Python of an environment of its own that has pycachesim; the one `make bench` uses."""
    directory = TOP / "build" / "peers"
    python = directory / "bin" / "python"
    try:
        if not python.exists():
            venv.create(directory, with_pip=True)
        if subprocess.run([python, "-c", "import cachesim"], capture_output=True, check=False).returncode:
            install = [python, "-m", "pip", "install", "-qq", "--disable-pip-version-check", "pycachesim", "numpy"]
            subprocess.run(install, capture_output=True, check=True, timeout=120)
    except (OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"pycachesim cannot be installed here: {error}")
    return python


@pytest.mark.parametrize("shape", [CONFIG_A, SMALL], ids=["config A", "small"])
def test_equals_pycachesim(peer: Path, shape: tuple[tuple[int, int], ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(TOP / "asv_bench"))
    traces = importlib.import_module("benchmarks.cache_traces")
    work, ours = [], []
    for name in "abcde":
        addresses, write = traces.trace(name, 30_000)
        caches = build(shape)
        caches.access(addresses, write)
        ours.append(counts(caches))
        work.append((shape, addresses.tolist(), write.tolist()))
    done = subprocess.run([peer, "-c", PEER], input=json.dumps(work), capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == ours
    assert sum(evicted for trace in ours for _, _, evicted in trace) > 1000


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"rules": "cachesim"}, "rules 'cachesim' must be one of dinero, pycachesim"),
        ({"rules": "pycachesim", "nr_cpus": 2}, "are of one CPU"),
        ({"rules": "pycachesim", "split_misses": True}, "without track_sharing and split_misses"),
        ({"rules": "pycachesim", "policy": "fifo"}, "cache L1: the rules of pycachesim need LRU, NINE"),
    ],
)
def test_impossible_rules(arguments: dict[str, object], words: str) -> None:
    level = CacheLevel(name="L1", size_bytes=4096, nr_ways=4, policy=str(arguments.pop("policy", "lru")))
    with pytest.raises(ValueError, match=words):
        CacheHierarchy([level], **arguments)  # type: ignore[arg-type]
