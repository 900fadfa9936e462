# SPDX-License-Identifier: BSD-3-Clause
"""Loops over a few arrays, whose rounds the fast engine leaves out, against the engine that goes access by access."""

from __future__ import annotations

import numpy as np
import pytest

from folio_perf import CacheHierarchy, CacheLevel

NR_ROUNDS = 3000


def _levels(nr_ways: int) -> list[CacheLevel]:
    return [
        CacheLevel(name="L1", size_bytes=64 * 16 * nr_ways, nr_ways=nr_ways),
        CacheLevel(name="L2", size_bytes=64 * 32 * 5, nr_ways=5),
        CacheLevel(name="L3", size_bytes=64 * 64 * 16, nr_ways=16),
    ]


def _loop(rng: np.random.Generator, nr_arrays: int, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """Elements of several arrays in turn, some of which share sets; now and then something else, or a store."""
    starts = rng.integers(0, 64, nr_arrays) * 64 + np.arange(nr_arrays) * (1 << 20)
    starts[rng.random(nr_arrays) < 0.5] &= ~np.int64(0xFFF)
    step = int(rng.choice((1, 4, 8, 16)))
    addresses = starts[None, :] + np.arange(NR_ROUNDS)[:, None] * step
    write = np.broadcast_to(rng.random(nr_arrays) < 0.4, addresses.shape).ravel().copy()
    addresses = addresses.ravel()
    odd = rng.random(addresses.size) < noise
    addresses[odd] = rng.integers(0, 1 << 22, int(odd.sum()))
    write[rng.random(addresses.size) < noise] ^= True
    return addresses.astype(np.uint64), write


@pytest.mark.parametrize("noise", [0.0, 0.02, 0.2])
@pytest.mark.parametrize("nr_arrays", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("nr_ways", [1, 2, 3, 12])
def test_rounds_left_out_count(nr_ways: int, nr_arrays: int, noise: float) -> None:
    addresses, write = _loop(np.random.default_rng(nr_ways * 100 + nr_arrays), nr_arrays, noise)
    fast, slow = CacheHierarchy(_levels(nr_ways)), CacheHierarchy(_levels(nr_ways))
    for some in np.array_split(np.arange(addresses.size), 3):
        fast.access(addresses[some], write[some])
        slow.access(addresses[some], write[some], klass=np.zeros(some.size, dtype=np.uint8))
    assert fast.stats().to_dict() == slow.stats().to_dict()
    for name, nr_sets in (("L1", 16), ("L2", 32), ("L3", 64)):
        for number in range(nr_sets):
            assert fast.set_lines(name, number) == slow.set_lines(name, number)
