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


def build(configs: Sequence[LevelConfig], cpus: Cpus, shared_by: Sequence[str]) -> CacheHierarchy:
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
    )


def twin_of(configs: Sequence[LevelConfig], cpus: Cpus, shared_by: Sequence[str]) -> CoherentHierarchy:
    groups = _groups(cpus.nr, cpus.per_core, cpus.per_ccx, cpus.per_socket)
    return CoherentHierarchy(configs, cpus, [groups[scope] for scope in shared_by])


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
    configs: Sequence[LevelConfig], cpus: Cpus, shared_by: Sequence[str], seed: int, nr: int, span: int, *, classes: bool
) -> None:
    address, write, cpu, klass = random_accesses(seed, nr, span, cpus.nr)
    caches, twin = build(configs, cpus, shared_by), twin_of(configs, cpus, shared_by)
    caches.access(address, write, cpu, klass if classes else None)
    for at in range(nr):
        twin.access_from(int(cpu[at]), int(address[at]) // LINE, bool(write[at]), int(klass[at]) if classes else 0)
    assert_equal(caches, twin)


@settings(max_examples=300, deadline=None)
@given(data=st.data(), configs=hierarchies(), cpus=cpu_layouts(), seed=st.integers(0, 2**32))
def test_every_policy_equals_the_twin(data: st.DataObject, configs: list[LevelConfig], cpus: Cpus, seed: int) -> None:
    shared_by = data.draw(scopes(len(configs)))
    both(configs, cpus, shared_by, seed, 300, data.draw(st.sampled_from([4, 12, 60])), classes=True)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), configs=plain_hierarchies(), cpus=cpu_layouts(), seed=st.integers(0, 2**32))
def test_plain_caches_equal_the_twin(data: st.DataObject, configs: list[LevelConfig], cpus: Cpus, seed: int) -> None:
    shared_by = data.draw(scopes(len(configs)))
    both(configs, cpus, shared_by, seed, 1500, data.draw(st.sampled_from([4, 40, 300])), classes=False)
