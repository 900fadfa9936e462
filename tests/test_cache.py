# SPDX-License-Identifier: BSD-3-Clause
"""The cache engine against its naive twin, every counter of every class and every set's contents equal."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from reference import cache as lru_reference
from reference.cache_hierarchy import Hierarchy, LevelConfig

import folio_perf as fp
from folio_perf import CacheHierarchy, CacheLevel
from folio_perf._native import cache as native
from folio_perf.cache import CacheStats

LINE = 64
COUNTERS = native.COUNTERS_DTYPE.names or ()

# Config A of docs/performance.md.
CONFIG_A = [
    CacheLevel(name="L1", size_bytes=48 << 10, nr_ways=12),
    CacheLevel(name="L2", size_bytes=1 << 20, nr_ways=16),
    CacheLevel(name="L3", size_bytes=32 << 20, nr_ways=16),
]


@st.composite
def level_configs(draw: st.DrawFn, number: int) -> LevelConfig:
    policy = draw(st.sampled_from(native.POLICIES))
    inclusion = draw(st.sampled_from(native.INCLUSIONS)) if number else "nine"
    return LevelConfig(
        nr_sets=draw(st.integers(1, 5)),
        nr_ways=draw(st.sampled_from([1, 2, 4, 8]) if policy == "plru" else st.integers(1, 6)),
        policy=policy,
        inclusion=inclusion,
        write_back=draw(st.sampled_from([True, True, False])),
        write_allocate=draw(st.sampled_from([True, True, False])),
        next_line_prefetch=inclusion != "exclusive" and draw(st.booleans()),
        victim_lines=draw(st.sampled_from([0, 0, 1, 3])),
        seed=draw(st.integers(0, 2**64 - 1)),
    )


@st.composite
def hierarchies(draw: st.DrawFn) -> list[LevelConfig]:
    return [draw(level_configs(number)) for number in range(draw(st.integers(1, 4)))]


@st.composite
def plain_hierarchies(draw: st.DrawFn) -> list[LevelConfig]:
    """Those that the bulk engine knows."""
    return [
        LevelConfig(nr_sets=draw(st.sampled_from([1, 2, 4, 16])), nr_ways=draw(st.integers(1, 16)))
        for _ in range(draw(st.integers(1, 4)))
    ]


def build(
    configs: list[LevelConfig], line_bytes: int = LINE, nr_threads: int = 1, split_misses: bool = False
) -> CacheHierarchy:
    levels = [
        CacheLevel(
            name=f"L{number}",
            size_bytes=config.nr_sets * config.nr_ways * line_bytes,
            nr_ways=config.nr_ways,
            policy=config.policy,
            inclusion=config.inclusion,
            write_back=config.write_back,
            write_allocate=config.write_allocate,
            next_line_prefetch=config.next_line_prefetch,
            victim_lines=config.victim_lines,
            seed=config.seed,
        )
        for number, config in enumerate(configs, 1)
    ]
    return CacheHierarchy(levels, line_bytes=line_bytes, nr_threads=nr_threads, split_misses=split_misses)


def assert_equal(caches: CacheHierarchy, twin: Hierarchy) -> None:
    counters = caches.stats().counters
    for depth, count in enumerate(twin.count):
        got = {
            (klass, counter): int(counters[counter][klass, depth])
            for counter in COUNTERS
            for klass in np.flatnonzero(counters[counter][:, depth])
        }
        assert got == dict(count), f"level {depth + 1}"
    for depth, level in enumerate(twin.levels):
        for number, ways in enumerate(level.store.sets):
            held = [(line.address, line.dirty, line.prefetched) for line in caches.set_lines(f"L{depth + 1}", number)]
            size = caches.line_bytes
            assert held == [(line.number * size, line.dirty, line.prefetched) for line in ways if line]


def random_lines(seed: int, nr: int, span: int) -> tuple[NDArray[np.uint64], NDArray[np.bool_], NDArray[np.uint8]]:
    """Lines close together, in short streams and with returns."""
    rng = np.random.default_rng(seed)
    lines = rng.integers(0, span, nr)
    stream = rng.random(nr) < 0.3
    lines[1:][stream[1:]] = lines[:-1][stream[1:]] + rng.integers(0, 2, int(stream[1:].sum()))
    return lines.astype(np.uint64), rng.random(nr) < 0.3, rng.integers(0, 4, nr).astype(np.uint8)


@settings(max_examples=250, deadline=None)
@given(
    configs=hierarchies(),
    seed=st.integers(0, 2**32),
    span=st.sampled_from([6, 20, 100]),
    line_bytes=st.sampled_from([32, 64, 128]),
    split=st.booleans(),
)
def test_every_policy_equals_the_twin(
    configs: list[LevelConfig], seed: int, span: int, line_bytes: int, split: bool
) -> None:
    lines, write, klass = random_lines(seed, 300, span)
    caches, twin = build(configs, line_bytes, split_misses=split), Hierarchy(configs, split)
    inside = np.random.default_rng(seed).integers(0, line_bytes, lines.size).astype(np.uint64)
    caches.access(lines * np.uint64(line_bytes) + inside, write, klass=klass)
    for each in zip(lines.tolist(), write.tolist(), klass.tolist(), strict=True):
        twin.access(*each)
    assert_equal(caches, twin)


@settings(max_examples=60, deadline=None)
@given(
    configs=plain_hierarchies(),
    seed=st.integers(0, 2**32),
    span=st.sampled_from([4, 60, 400]),
    base=st.sampled_from([0, 0x10_0000_0000, 2**57 - 2**32]),
)
def test_bulk_equals_the_twin(configs: list[LevelConfig], seed: int, span: int, base: int) -> None:
    lines, write, klass = random_lines(seed, 3000, span)
    addresses = lines * np.uint64(LINE) + np.uint64(base)
    caches, twin = build(configs), Hierarchy(configs)
    numbers = (addresses // np.uint64(LINE)).tolist()
    caches.access(addresses[:2500], write[:2500])
    for number, store in zip(numbers[:2500], write[:2500].tolist(), strict=True):
        twin.access(number, store)
    assert_equal(caches, twin)
    caches.access_run(base, 37, write=True)
    for number in range(base // LINE, base // LINE + 37):
        twin.access(number, True)
    assert_equal(caches, twin)
    # Classes, and lines too far apart for the bulk engine, are the general one's: it goes on from the same state.
    caches.access(addresses[2500:], write[2500:], klass=klass[2500:])
    for each in zip(numbers[2500:], write[2500:].tolist(), klass[2500:].tolist(), strict=True):
        twin.access(*each)
    assert_equal(caches, twin)


def test_lines_far_apart_leave_the_bulk_engine() -> None:
    configs = [LevelConfig(nr_sets=4, nr_ways=2), LevelConfig(nr_sets=8, nr_ways=3)]
    caches, twin = build(configs), Hierarchy(configs)
    for addresses in ([5 * LINE, 9 * LINE, 13 * LINE], [2**57 - 1, 5 * LINE], [0, 17 * LINE, 2**50, 9 * LINE]):
        caches.access(np.array(addresses, dtype=np.uint64), np.ones(len(addresses), dtype=np.bool_))
        for address in addresses:
            twin.access(address // LINE, True)
        assert_equal(caches, twin)


def test_the_twins_agree() -> None:
    """The general reference, kept to NINE LRU, is the one of the `cache` back end."""
    configs = [LevelConfig(nr_sets=2, nr_ways=3), LevelConfig(nr_sets=4, nr_ways=4)]
    twin = Hierarchy(configs)
    lru = lru_reference.Hierarchy(
        [lru_reference.LevelConfig(size_bytes=c.nr_sets * c.nr_ways * LINE, nr_ways=c.nr_ways) for c in configs]
    )
    lines, write, _ = random_lines(3, 4000, 40)
    for number, store in zip(lines.tolist(), write.tolist(), strict=True):
        twin.access(number, store)
        lru.access(number * LINE, store)
    for depth, counters in enumerate(lru.counters()):
        for field in ("fetches", "hits", "misses", "writebacks_in", "writebacks_out"):
            assert twin.count[depth][0, field] == getattr(counters, field)


def config_a_trace(nr: int) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
    rng = np.random.default_rng(11)
    near, far = rng.integers(0, 1 << 16, nr), rng.integers(0, 1 << 24, nr)
    lines = np.where(rng.random(nr) < 0.7, near, far)
    return lines.astype(np.uint64) * np.uint64(64) + np.uint64(1 << 40), rng.random(nr) < 0.25


def test_threads_do_not_change_a_counter() -> None:
    addresses, write = config_a_trace(400_000)
    one = CacheHierarchy(CONFIG_A)
    one.access(addresses, write)
    for nr_threads in (2, 4):
        several = CacheHierarchy(CONFIG_A, nr_threads=nr_threads)
        several.access(addresses, write)
        assert several.stats() == one.stats()
        assert several.set_lines("L3", 77) == one.set_lines("L3", 77)


def test_bulk_equals_access_by_access_at_full_size() -> None:
    addresses, write = config_a_trace(300_000)
    bulk, general = CacheHierarchy(CONFIG_A), CacheHierarchy(CONFIG_A)
    bulk.access(addresses, write)
    general.access(addresses, write, klass=np.zeros(addresses.size, dtype=np.uint8))
    assert bulk.stats() == general.stats()
    assert min(bulk.stats().to_dict()["L2"].values()) > 0


SIMD_PROGRAM = """
import sys; sys.path[:0] = ["tests"]
from test_cache import CONFIG_A, config_a_trace
from folio_perf import CacheHierarchy
caches = CacheHierarchy(CONFIG_A, nr_threads=2)
caches.access(*config_a_trace(200_000))
import hashlib; print(hashlib.sha256(caches.stats().counters.tobytes()).hexdigest(), caches.set_lines("L1", 5))
"""


def test_every_instruction_set_gives_the_same(request: pytest.FixtureRequest) -> None:
    results = set()
    skipped = []
    for simd in ("portable", "avx2", "avx512"):
        done = subprocess.run(
            [sys.executable, "-c", SIMD_PROGRAM],
            env={"FOLIO_PERF_SIMD": simd, "PATH": "/usr/bin:/bin"},
            cwd=request.config.rootpath,
            capture_output=True,
            text=True,
        )
        if "(SIMD)" in done.stderr and simd != "portable":
            skipped.append(simd)
            continue
        assert done.returncode == 0, done.stderr
        results.add(done.stdout)
    assert len(results) == 1
    if len(skipped) == 2:
        pytest.skip(f"this CPU has neither {' nor '.join(skipped)}: portable code alone ran")


def test_inclusive_and_exclusive_hold_what_they_promise() -> None:
    lines, write, _ = random_lines(5, 5000, 60)
    addresses = lines * np.uint64(LINE)
    configs = [LevelConfig(nr_sets=4, nr_ways=2), LevelConfig(nr_sets=4, nr_ways=4)]
    for inclusion in ("inclusive", "exclusive"):
        caches = build([configs[0], replace(configs[1], inclusion=inclusion)])
        for start in range(0, addresses.size, 50):
            caches.access(addresses[start : start + 50], write[start : start + 50])
            held = [
                {line.address for number in range(4) for line in caches.set_lines(name, number)}
                for name in ("L1", "L2")
            ]
            assert held[0] <= held[1] if inclusion == "inclusive" else not held[0] & held[1]


def test_kinds_of_misses_by_hand() -> None:
    """Two lines that share a set of a direct-mapped cache of four; then five lines in turn, one too many."""
    caches = CacheHierarchy([CacheLevel(name="L1", size_bytes=4 * LINE, nr_ways=1)], split_misses=True)
    caches.access(np.array([0, 4, 0, 4, 0], dtype=np.uint64) * np.uint64(LINE))
    kinds = caches.stats().to_dict_full()["L1"]
    assert (kinds["compulsory"], kinds["conflict"], kinds["capacity"], kinds["misses"]) == (2, 3, 0, 5)
    full = CacheHierarchy([CacheLevel(name="L1", size_bytes=4 * LINE, nr_ways=4)], split_misses=True)
    full.access(np.tile(np.arange(5, dtype=np.uint64) * np.uint64(LINE), 3))
    kinds = full.stats().to_dict_full()["L1"]
    assert (kinds["compulsory"], kinds["conflict"], kinds["capacity"], kinds["misses"]) == (5, 0, 10, 15)
    full.reset()
    full.access(np.zeros(1, dtype=np.uint64))
    assert full.stats().to_dict_full()["L1"]["compulsory"] == 1
    with pytest.raises(ValueError, match="split_misses=True has no snapshot"):
        full.snapshot()


def test_stats_subtract_and_filter() -> None:
    caches = CacheHierarchy(CONFIG_A)
    addresses = np.arange(100, dtype=np.uint64) * np.uint64(64)
    caches.access(addresses, klass=np.full(100, 7, dtype=np.uint8))
    before = caches.stats()
    caches.access(addresses, np.ones(100, dtype=np.uint8), klass=np.full(100, 9, dtype=np.uint8))
    difference = caches.stats() - before
    assert difference.to_dict()["L1"] == {
        "fetches": 100, "hits": 100, "misses": 0, "writebacks_in": 0, "writebacks_out": 0,
    }  # fmt: skip
    assert difference.by_class(7).to_dict()["L1"]["fetches"] == 0
    assert caches.stats().by_class(7) == before
    assert list(before.to_dict()) == ["L1", "L2", "L3"]
    assert before.to_dict_full()["memory"]["fetches"] == 100
    with pytest.raises(ValueError, match="do not belong"):
        _ = before - CacheStats(("L1",), before.counters, before.transfers, before.remote_memory, before.tlb)


def test_snapshot_and_reset() -> None:
    addresses, write = config_a_trace(50_000)
    caches = CacheHierarchy(CONFIG_A)
    empty = caches.stats()
    caches.access(addresses, write)
    state, stats = caches.snapshot(), caches.stats()
    caches.access(addresses, write)
    later = caches.stats()
    caches.restore(state)
    assert caches.stats() == stats != later
    caches.access(addresses, write)
    assert caches.stats() == later
    caches.reset()
    assert caches.stats() == empty
    assert caches.occupancy_bytes("L3") == 0
    with pytest.raises(ValueError, match="of another configuration"):
        CacheHierarchy(CONFIG_A[:1]).restore(state)


def test_occupancy() -> None:
    caches = CacheHierarchy(CONFIG_A)
    first = 1 << 30
    addresses = np.arange(first, first + (32 << 10), 64, dtype=np.uint64)
    ranges = {"half": (first, first + (16 << 10)), "all": (first, first + (1 << 20))}
    watch = caches.watch("L1", ranges, every=200)
    for piece in np.array_split(addresses, 7):
        watch.access(piece)
    seen = watch.occupancy()
    assert seen.accesses == (0, 200, 400, 512)
    held = [min(nr * 64, bound) for nr in seen.accesses for bound in (16 << 10, 32 << 10)]
    assert [each for look in seen.held_bytes for each in look] == held
    assert (seen.level, seen.size_bytes) == ("L1", 48 << 10)
    assert seen.to_dict()["looks"][1] == {"accesses": 200, "held_bytes": [200 * 64, 200 * 64]}
    # Two of three ways of every set.
    assert caches.occupancy_bytes("L1") / CONFIG_A[0].size_bytes == pytest.approx(2 / 3)
    assert caches.occupancy_bytes("L1", first + 1, first + 2) == 64


@pytest.mark.parametrize(
    ("level", "ranges", "every", "words"),
    [
        ("L4", {"all": (0, 64)}, 1, "no level 'L4'"),
        ("L1", {"all": (64, 0)}, 1, "must lie within 0 and 2\\^57"),
        ("L1", {"all": (0, 64)}, 0, "every 0 must be 1 or more"),
        ("L1", {}, 1, "one address range or more"),
    ],
)
def test_impossible_watches(level: str, ranges: dict[str, tuple[int, int]], every: int, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        CacheHierarchy(CONFIG_A).watch(level, ranges, every=every)


@pytest.mark.parametrize(("size_bytes", "nr_ways", "held"), [(32 << 10, 8, 1.0), (48 << 10, 12, 2 / 3)])
def test_total_mapcount_of_a_folio_fills_l1_with_struct_pages(size_bytes: int, nr_ways: int, held: float) -> None:
    """page_mapcount reads the struct page of every page of a 2 MiB folio: 512 lines, 32 KiB."""
    struct_page = 64
    memmap = 1 << 40
    caches = CacheHierarchy([CacheLevel(name="L1", size_bytes=size_bytes, nr_ways=nr_ways)])
    for run in fp.trace_operation("total_mapcount", order=9, scheme="page_mapcount").accesses:
        assert (run.object, run.access) == ("folio", "load")
        pages = run.first + run.step * np.arange(run.count, dtype=np.uint64)
        caches.access((memmap + pages * struct_page).astype(np.uint64))
    assert caches.stats().to_dict()["L1"]["misses"] == 512
    assert caches.occupancy_bytes("L1", memmap, memmap + 512 * struct_page) == 32 << 10
    assert (32 << 10) / size_bytes == pytest.approx(held)


# ---- what is refused ----------------------------------------------------------------------------------------------

GOOD = np.array([0, 64, 128], dtype=np.uint64)


def read_only() -> NDArray[np.uint64]:
    array = GOOD.copy()
    array.setflags(write=False)
    return array


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"addresses": np.array([1, 2**57], dtype=np.uint64)}, ValueError, r"addresses\[1\] is 0x2"),
        ({"addresses": np.array([5, 1, -3])}, ValueError, r"addresses\[2\] is -0x3; it must be 0 or more"),
        ({"addresses": np.array([1.0, 2.0])}, TypeError, "array of float64, must be of uint64 or int64"),
        ({"addresses": [1, 2]}, TypeError, "must be a NumPy array"),
        ({"addresses": np.arange(10, dtype=np.uint64)[::2]}, ValueError, "contiguous"),
        ({"addresses": np.zeros((2, 2), dtype=np.uint64)}, ValueError, "one dimension"),
        ({"addresses": read_only()}, ValueError, "read-only"),
        ({"addresses": GOOD, "write": np.ones(2, dtype=np.bool_)}, ValueError, "2 elements for 3 addresses"),
        ({"addresses": GOOD, "write": np.ones(3)}, TypeError, "must be of bool or uint8"),
        ({"addresses": GOOD, "klass": np.full(3, 300)}, TypeError, "must be of uint8"),
        (
            {"addresses": GOOD, "cpu": np.array([0, 0, 1], dtype=np.uint8)},
            ValueError,
            r"cpu\[2\] is 1; there are 1 CPUs",
        ),
        ({"addresses": GOOD, "cpu": np.zeros(3)}, TypeError, "must be of uint8"),
    ],
)
def test_bad_accesses_change_nothing(arguments: dict[str, object], error: type[Exception], words: str) -> None:
    caches = CacheHierarchy(CONFIG_A[:1])
    caches.access(GOOD)
    before = caches.snapshot()
    with pytest.raises(error, match=words):
        caches.access(**arguments)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"below 2\^57"):
        caches.access_run(2**57 - 64, 2)
    assert (caches.snapshot() == before).all()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"nr_ways": 0}, "nr_ways 0 must be 1 to"),
        ({"size_bytes": 0}, "size_bytes 0 must be 1 to"),
        ({"size_bytes": 1000}, "no whole number of sets"),
        ({"policy": "mru"}, "policy 'mru' must be one of lru, plru, fifo, random"),
        ({"policy": "plru", "nr_ways": 12}, "needs a power of two"),
        ({"inclusion": "strict"}, "inclusion 'strict' must be one of"),
        ({"inclusion": "exclusive"}, "the first level has none above it"),
        ({"name": "memory"}, "none may be 'memory'"),
        ({"victim_lines": 5000}, "victim_lines 5000 must be 0 to 4096"),
    ],
)
def test_impossible_levels(arguments: dict[str, object], words: str) -> None:
    level = {"name": "L1", "size_bytes": 48 << 10, "nr_ways": 12, **arguments}
    with pytest.raises(ValueError, match=words):
        CacheHierarchy([CacheLevel(**level)])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"levels": []}, "0 levels; there must be 1 to 4"),
        ({"line_bytes": 48}, "line_bytes 48 must be one of 32, 64, 128"),
        ({"inclusion": "both"}, "inclusion 'both' must be one of"),
        ({"nr_cpus": 0}, "nr_cpus 0 must be"),
        ({"nr_threads": 3}, "nr_threads 3 must be a power of two"),
        ({"nr_threads": 2, "inclusion": "inclusive"}, "2 threads need LRU, NINE"),
    ],
)
def test_impossible_hierarchies(arguments: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        CacheHierarchy(**{"levels": CONFIG_A, **arguments})  # type: ignore[arg-type]


def test_public_names() -> None:
    assert {"CacheHierarchy", "CacheLevel", "CacheStats"} <= set(fp.__all__)
