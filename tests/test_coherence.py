# SPDX-License-Identifier: BSD-3-Clause
"""Caches of several CPUs against their naive twin: every counter, every transfer and every set's contents equal."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from reference.cache_hierarchy import LevelConfig
from reference.coherence import TIERS, CoherentHierarchy, Cpus
from test_cache import COUNTERS, LINE, hierarchies, plain_hierarchies

from folio_perf import CacheHierarchy, CacheLevel
from folio_perf.cache import SCOPES, _groups

KINDS = ("read_shared", "read_modified", "upgrade", "invalidation")


@st.composite
def cpu_layouts(draw: st.DrawFn, max_cpus: int = 8) -> Cpus:
    per_core = draw(st.integers(1, 2))
    per_ccx = per_core * draw(st.integers(1, 3))
    return Cpus(
        nr=draw(st.integers(2, max_cpus)),
        per_core=per_core,
        per_ccx=per_ccx,
        per_socket=per_ccx * draw(st.integers(1, 2)),
        interleave_lines=draw(st.sampled_from([0, 1, 8])),
        forward_clean=draw(st.booleans()),
    )


@st.composite
def scopes(draw: st.DrawFn, nr_levels: int) -> list[str]:
    return sorted((draw(st.sampled_from(SCOPES)) for _ in range(nr_levels)), key=SCOPES.index)


def build(
    configs: Sequence[LevelConfig],
    cpus: Cpus,
    shared_by: Sequence[str],
    track_sharing: bool = False,
    split: bool = False,
) -> CacheHierarchy:
    return CacheHierarchy(
        [
            CacheLevel(
                name=f"L{number}",
                size_bytes=config.nr_sets * config.nr_ways * LINE,
                nr_ways=config.nr_ways,
                policy=config.policy,
                inclusion=config.inclusion,
                write_back=config.write_back,
                write_allocate=config.write_allocate,
                next_line_prefetch=config.next_line_prefetch,
                victim_lines=config.victim_lines,
                seed=config.seed,
                shared_by=scope,
            )
            for number, (config, scope) in enumerate(zip(configs, shared_by, strict=True), 1)
        ],
        nr_cpus=cpus.nr,
        cpus_per_core=cpus.per_core,
        cpus_per_ccx=cpus.per_ccx,
        cpus_per_socket=cpus.per_socket,
        memory_interleave_bytes=cpus.interleave_lines * LINE,
        forward_clean=cpus.forward_clean,
        track_sharing=track_sharing,
        split_misses=split,
    )


def twin_of(
    configs: Sequence[LevelConfig], cpus: Cpus, shared_by: Sequence[str], split: bool = False
) -> CoherentHierarchy:
    groups = _groups(cpus.nr, cpus.per_core, cpus.per_ccx, cpus.per_socket)
    return CoherentHierarchy(configs, cpus, [groups[scope] for scope in shared_by], split)


def assert_equal(caches: CacheHierarchy, twin: CoherentHierarchy) -> None:
    stats = caches.stats()
    for depth, count in enumerate(twin.count):
        got = {
            (klass, counter): int(stats.counters[counter][klass, depth])
            for counter in COUNTERS
            for klass in np.flatnonzero(stats.counters[counter][:, depth])
        }
        assert got == dict(count), f"level {depth + 1}"
    transfers: dict[object, int] = {
        (int(klass), KINDS[kind], TIERS[tier]): int(stats.transfers[klass, kind, tier])
        for klass, kind, tier in np.argwhere(stats.transfers)
    }
    transfers.update(
        {(int(k), "remote_memory"): int(stats.remote_memory[k]) for k in np.flatnonzero(stats.remote_memory)}
    )
    assert transfers == dict(twin.transfers)
    for depth, (instances, width) in enumerate(zip(twin.instances, twin.shared_by, strict=True)):
        for k, level in enumerate(instances):
            for number, ways in enumerate(level.store.sets):
                held = [
                    (line.address // LINE, line.dirty, line.prefetched)
                    for line in caches.set_lines(f"L{depth + 1}", number, cpu=k * width)
                ]
                assert held == [(line.number, line.dirty, line.prefetched) for line in ways if line], (depth, k, number)


def random_accesses(
    seed: int, nr: int, span: int, nr_cpus: int
) -> tuple[NDArray[np.uint64], NDArray[np.bool_], NDArray[np.uint8], NDArray[np.uint8]]:
    """Lines close together, in short streams, by CPUs that take turns of a few accesses."""
    rng = np.random.default_rng(seed)
    lines = rng.integers(0, span, nr)
    stream = rng.random(nr) < 0.3
    lines[1:][stream[1:]] = lines[:-1][stream[1:]] + rng.integers(0, 2, int(stream[1:].sum()))
    cpu = np.repeat(rng.integers(0, nr_cpus, nr), rng.integers(1, 4, nr))[:nr]
    return (
        lines.astype(np.uint64) * np.uint64(LINE) + rng.integers(0, LINE, nr).astype(np.uint64),
        rng.random(nr) < 0.3,
        cpu.astype(np.uint8),
        rng.integers(0, 4, nr).astype(np.uint8),
    )


def both(
    configs: Sequence[LevelConfig],
    cpus: Cpus,
    shared_by: Sequence[str],
    seed: int,
    nr: int,
    span: int,
    *,
    classes: bool = False,
    track_sharing: bool = False,
    split: bool = False,
) -> tuple[CacheHierarchy, CoherentHierarchy]:
    address, write, cpu, klass = random_accesses(seed, nr, span, cpus.nr)
    caches, twin = build(configs, cpus, shared_by, track_sharing, split), twin_of(configs, cpus, shared_by, split)
    caches.access(address, write, cpu, klass if classes else None)
    for at in range(nr):
        line, inside = divmod(int(address[at]), LINE)
        twin.access_from(int(cpu[at]), line, bool(write[at]), int(klass[at]) if classes else 0, inside // 8)
    assert_equal(caches, twin)
    return caches, twin


@settings(max_examples=300, deadline=None)
@given(data=st.data(), configs=hierarchies(), cpus=cpu_layouts(), seed=st.integers(0, 2**32))
def test_every_policy_equals_the_twin(data: st.DataObject, configs: list[LevelConfig], cpus: Cpus, seed: int) -> None:
    shared_by = data.draw(scopes(len(configs)))
    span, split = data.draw(st.sampled_from([4, 12, 60])), data.draw(st.booleans())
    both(configs, cpus, shared_by, seed, 300, span, classes=True, split=split)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), configs=plain_hierarchies(), cpus=cpu_layouts(), seed=st.integers(0, 2**32))
def test_plain_caches_equal_the_twin(data: st.DataObject, configs: list[LevelConfig], cpus: Cpus, seed: int) -> None:
    shared_by = data.draw(scopes(len(configs)))
    both(configs, cpus, shared_by, seed, 1500, data.draw(st.sampled_from([4, 40, 300])))


@settings(max_examples=60, deadline=None)
@given(data=st.data(), configs=hierarchies(), cpus=cpu_layouts(), seed=st.integers(0, 2**32))
def test_sharing_equals_the_twin(data: st.DataObject, configs: list[LevelConfig], cpus: Cpus, seed: int) -> None:
    shared_by = data.draw(scopes(len(configs)))
    caches, twin = both(configs, cpus, shared_by, seed, 300, data.draw(st.sampled_from([4, 12])), track_sharing=True)
    names = ("taken_reading", "false_reading", "taken_writing", "false_writing")
    found = caches.sharing(limit=1000)
    assert {(each.address // LINE, name): nr for each in found for name in names if (nr := getattr(each, name))} == {
        key: nr for key, nr in twin.taken.items() if nr
    }
    assert [each.taken for each in found] == sorted((each.taken for each in found), reverse=True)
    assert sum(word.nr_read + word.nr_written for each in found for word in each.words) <= 300


# ---- by hand -----------------------------------------------------------------------------------------------------

SMALL = [
    CacheLevel(name="L1", size_bytes=4 * LINE, nr_ways=4),
    CacheLevel(name="L2", size_bytes=16 * LINE, nr_ways=4),
    CacheLevel(name="L3", size_bytes=64 * LINE, nr_ways=4),
]


def two_sockets(**more: object) -> CacheHierarchy:
    """Eight CPUs: two to a CCX, four to a socket."""
    return CacheHierarchy(SMALL, nr_cpus=8, cpus_per_ccx=2, cpus_per_socket=4, **more)  # type: ignore[arg-type]


def access(caches: CacheHierarchy, *steps: tuple[int, str, int]) -> dict[str, dict[str, int]]:
    """Run (CPU, "r" or "w", address) and tell the transfers that were made."""
    before = caches.stats()
    for cpu, what, address in steps:
        caches.access(np.array([address], dtype=np.uint64), np.array([what == "w"]), np.array([cpu], dtype=np.uint8))
    made = (caches.stats() - before).transfers_to_dict()
    return {kind: nonzero for kind, row in made.items() if (nonzero := {tier: nr for tier, nr in row.items() if nr})}


def test_a_line_goes_from_exclusive_to_modified_in_silence() -> None:
    assert access(two_sockets(), (0, "r", 0), (0, "w", 0), (0, "w", 0)) == {}


@pytest.mark.parametrize(("reader", "tier"), [(1, "ccx"), (2, "socket"), (4, "remote")])
def test_a_modified_line_is_written_back_where_the_paths_meet(reader: int, tier: str) -> None:
    caches = two_sockets(memory_interleave_bytes=4096)
    access(caches, (0, "w", 0))
    before = caches.stats()
    assert access(caches, (reader, "r", 0)) == {"read_modified": {tier: 1}}
    did = (caches.stats() - before).to_dict_full()
    assert did["memory"]["fetches"] == 0
    assert (did["L2"]["writebacks_out"], did["L3"]["writebacks_in"]) == ((1, 1) if tier == "ccx" else (0, 0))
    assert did["memory"]["writebacks_in"] == (tier != "ccx")
    # Both have it clean now: a store by either takes it from the other, and says so once.
    assert access(caches, (0, "w", 0))["upgrade"] == {tier: 1}
    assert access(caches, (reader, "w", 0))["read_modified"] == {tier: 1}


def test_a_clean_line_comes_from_the_nearest_holder_or_from_memory() -> None:
    caches = two_sockets()
    access(caches, (0, "r", 0))
    assert access(caches, (5, "r", 0)) == {"read_shared": {"remote": 1}}
    assert access(caches, (2, "r", 0)) == {"read_shared": {"socket": 1}}
    assert access(caches, (6, "r", 0)) == {"read_shared": {"socket": 1}}
    # Every private cache and every last level of the others loses it.
    assert access(caches, (0, "w", 0)) == {"upgrade": {"remote": 1}, "invalidation": {"socket": 2, "remote": 4}}
    memory = two_sockets(forward_clean=False)
    access(memory, (0, "r", 0))
    assert access(memory, (5, "r", 0)) == {"remote_memory": {"remote": 1}}


def test_memory_has_a_home() -> None:
    caches = two_sockets(memory_interleave_bytes=4096)
    assert access(caches, (0, "r", 0), (0, "r", 4096), (4, "r", 8192), (4, "r", 3 * 4096)) == {
        "remote_memory": {"remote": 2}
    }


def test_siblings_share_the_levels_of_their_core() -> None:
    """Unless the first level is each thread's own: then what passes between siblings is counted."""
    whole = CacheHierarchy(SMALL, nr_cpus=4, cpus_per_core=2)
    assert access(whole, (0, "w", 0), (1, "w", 0)) == {}
    own = CacheHierarchy(
        [CacheLevel(name="L1", size_bytes=4 * LINE, nr_ways=4, shared_by="cpu"), *SMALL[1:]], nr_cpus=4, cpus_per_core=2
    )
    assert access(own, (0, "w", 0), (1, "w", 0)) == {"read_modified": {"smt": 1}, "invalidation": {"smt": 1}}


def test_a_line_that_another_cpu_took_is_missed_for_coherence() -> None:
    caches = two_sockets(split_misses=True)
    access(caches, (0, "r", 0), (1, "w", 0), (0, "r", 0), (0, "r", 0))
    kinds = caches.stats().to_dict_full()["L1"]
    assert (kinds["compulsory"], kinds["coherence"], kinds["misses"]) == (2, 1, 3)


def test_false_sharing_is_told_from_true() -> None:
    caches = two_sockets(track_sharing=True)
    # Two counters in one line, then one counter of both.
    access(caches, *[(cpu, "w", 256 + 8 * cpu) for _ in range(10) for cpu in (0, 1)])
    access(caches, *[(cpu, "w", 512) for _ in range(10) for cpu in (0, 4)])
    access(caches, (3, "r", 1024), (3, "w", 1024))
    false, true = sorted(caches.sharing(), key=lambda each: each.address)
    assert (false.address, false.taken, false.taken_falsely) == (256, 19, 19)
    assert (true.address, true.taken, true.taken_falsely) == (512, 19, 0)
    words = [(word.offset, word.cpu, word.nr_read, word.nr_written) for word in false.words]
    assert words == [(0, 0, 0, 10), (8, 1, 0, 10)]
    assert len(caches.sharing(limit=1)) == 1
    caches.reset()
    assert caches.sharing() == []
    with pytest.raises(ValueError, match="not tracked"):
        two_sockets().sharing()


def test_snapshot_and_restore() -> None:
    address, write, cpu, _ = random_accesses(7, 4000, 200, 8)
    caches = two_sockets()
    caches.access(address[:1500], write[:1500], cpu[:1500])
    state, stats = caches.snapshot(), caches.stats()
    caches.access(address[1500:], write[1500:], cpu[1500:])
    later = caches.stats()
    caches.restore(state)
    assert caches.stats() == stats != later
    caches.access(address[1500:], write[1500:], cpu[1500:])
    assert caches.stats() == later


def test_lines_far_apart_leave_the_fast_engine() -> None:
    """The general one, which tracking needs from the start, goes on with what the fast one had."""
    address, write, cpu, klass = random_accesses(8, 4000, 200, 8)
    address[2000:] += np.uint64(1 << 50)
    fast, general = two_sockets(), two_sockets(track_sharing=True)
    for part in (slice(0, 2000), slice(2000, 2010), slice(1000, 4000)):
        for caches in (fast, general):
            caches.access(address[part], write[part], cpu[part], klass[part])
        assert fast.stats() == general.stats()
    for each in range(8):
        assert [fast.set_lines("L1", 0, cpu=each), fast.set_lines("L3", 5, cpu=each)] == [
            general.set_lines("L1", 0, cpu=each),
            general.set_lines("L3", 5, cpu=each),
        ]


def test_both_engines_agree_at_full_size() -> None:
    levels = [
        CacheLevel(name="L1", size_bytes=48 << 10, nr_ways=12),
        CacheLevel(name="L2", size_bytes=1 << 20, nr_ways=16),
        CacheLevel(name="L3", size_bytes=4 << 20, nr_ways=16),
    ]
    rng = np.random.default_rng(3)
    nr = 150_000
    lines = np.where(rng.random(nr) < 0.6, rng.integers(0, 1 << 12, nr), rng.integers(0, 1 << 18, nr)).astype(np.uint64)
    write, cpu = rng.random(nr) < 0.25, rng.integers(0, 16, nr).astype(np.uint8)
    layout = {"nr_cpus": 16, "cpus_per_core": 2, "cpus_per_ccx": 4, "cpus_per_socket": 8}
    fast = CacheHierarchy(levels, **layout)  # type: ignore[arg-type]
    slow = CacheHierarchy(levels, track_sharing=True, **layout)  # type: ignore[arg-type]
    for each in (fast, slow):
        each.access(lines * np.uint64(64), write, cpu)
    assert fast.stats() == slow.stats()
    assert all(sum(row.values()) for kind, row in fast.stats().transfers_to_dict().items() if kind != "smt")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"nr_cpus": 257}, "nr_cpus 257 must be 1 to 256"),
        ({"nr_cpus": 4, "cpus_per_core": 2, "cpus_per_ccx": 3}, "cpus_per_ccx 3 must be a whole multiple of 2"),
        ({"nr_cpus": 4, "cpus_per_core": 0}, "cpus_per_core 0 must be"),
        ({"nr_cpus": 4, "memory_interleave_bytes": 48}, "memory_interleave_bytes 48 must be 0 or a power of two"),
        ({"nr_cpus": 2, "nr_threads": 2}, "2 threads: the caches of 2 CPUs are served by one"),
    ],
)
def test_impossible_layouts(arguments: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        CacheHierarchy(SMALL, **arguments)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="shared by a cpu, 1 CPUs; the level above by 2"):
        CacheHierarchy(
            [SMALL[0], CacheLevel(name="L2", size_bytes=LINE, nr_ways=1, shared_by="cpu")], nr_cpus=4, cpus_per_core=2
        )
    with pytest.raises(ValueError, match="shared_by 'die' must be one of cpu, core, ccx, socket, machine"):
        CacheLevel(name="L1", size_bytes=LINE, nr_ways=1, shared_by="die")
