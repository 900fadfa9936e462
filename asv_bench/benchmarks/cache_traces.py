# SPDX-License-Identifier: BSD-3-Clause
"""Address traces a to g, on which cache engines are compared: addresses (uint64) and stores (bool), always the same."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LINE = 64
BASE = 0x10_0000_0000
SEED = 42

Trace = tuple[NDArray[np.uint64], NDArray[np.bool_]]


def _trace(nr: int, addresses: NDArray[np.int64], write: NDArray[np.bool_]) -> Trace:
    return (addresses.ravel()[:nr] + BASE).astype(np.uint64), np.ascontiguousarray(write.ravel()[:nr])


def _quarter(nr: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    return rng.random(nr) < 0.25


def folio_walk(nr: int, rng: np.random.Generator) -> Trace:
    """a: per page of 2 MiB folios, read its struct page, read the head's, write the head's."""
    heads = np.arange(nr // 1536 + 1)[:, None, None] * (512 * LINE)
    pages = np.arange(512)[None, :, None] * LINE
    addresses = heads + np.concatenate([pages + 48, np.full_like(pages, 52), np.full_like(pages, 52)], axis=2)
    return _trace(nr, addresses, np.broadcast_to([False, False, True], addresses.shape))


def uniform(nr: int, rng: np.random.Generator) -> Trace:
    """b: uniformly random lines of 1 GiB, a quarter of them stores."""
    return _trace(nr, rng.integers(0, 1 << 24, nr) * LINE, _quarter(nr, rng))


def zipf(nr: int, rng: np.random.Generator) -> Trace:
    """c: Zipf of exponent 0.99 over 4 Mi scattered lines, a quarter of them stores."""
    nr_lines = 1 << 22
    weights = np.cumsum(np.arange(1, nr_lines + 1) ** -0.99)
    rank = np.minimum(np.searchsorted(weights / weights[-1], rng.random(nr)), nr_lines - 1)
    return _trace(nr, rng.permutation(nr_lines)[rank] * LINE, _quarter(nr, rng))


def tree(nr: int, rng: np.random.Generator) -> Trace:
    """d: walks from the root to a leaf of a binary tree of 22 levels, one node a line; the leaf is written."""
    depth = 22
    keys = rng.integers(0, 1 << depth, nr // depth + 1)[:, None]
    levels = np.arange(depth)[None, :]
    nodes = (1 << levels) + (keys >> (depth - levels))
    return _trace(nr, nodes * LINE, np.broadcast_to(levels == depth - 1, nodes.shape))


def _triad(nr: int, second: int, third: int) -> Trace:
    elements = np.arange((4 << 20) // 8)[:, None] * 8 + np.array([second, third, 0])
    times = nr // elements.size + 1
    write = np.broadcast_to([False, False, True], elements.shape)
    return _trace(nr, np.tile(elements, (times, 1)), np.tile(write, (times, 1)))


def triad_conflict(nr: int, rng: np.random.Generator) -> Trace:
    """e: a[i] = b[i] + s * c[i] over arrays that share sets of L1."""
    return _triad(nr, (8 << 20) + 4160, (16 << 20) + 8256)


def sequential(nr: int, rng: np.random.Generator) -> Trace:
    """f: reads of 8 bytes through 512 KiB, again and again."""
    return _trace(nr, np.arange(nr) * 8 % (512 << 10), np.zeros(nr, dtype=np.bool_))


def triad(nr: int, rng: np.random.Generator) -> Trace:
    """g: the same triad over arrays apart."""
    return _triad(nr, (8 << 20) + 64 * 20, (16 << 20) + 64 * 40)


TRACES = {"a": folio_walk, "b": uniform, "c": zipf, "d": tree, "e": triad_conflict, "f": sequential, "g": triad}


def trace(name: str, nr: int) -> Trace:
    """The first `nr` accesses of a trace."""
    return TRACES[name](nr, np.random.default_rng(SEED))
