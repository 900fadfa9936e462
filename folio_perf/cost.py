# SPDX-License-Identifier: BSD-3-Clause
"""Price counted accesses: C counts, Python prices.

Prices are linear in the counters, so the difference of two schemes splits exactly into its causes, and a machine with
other latencies needs no new simulation. The sum is an upper bound: misses are taken not to overlap, other than within a
stream of consecutive lines, and no work is taken to hide behind them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from folio_perf.machine import Machine, Prices

__all__ = ["ACCESSES", "DEPENDENCES", "LEVELS", "price", "price_matrix", "total_ns"]

# The order of enum fperf_access, enum fperf_dependence and FPERF_LEVELS, csrc/core/fperf_types.h.
ACCESSES = ("load", "store", "rmw")
DEPENDENCES = ("dependent", "streaming")
LEVELS = ("unknown", "l1", "l2", "l3", "l4", "dram")


def price_matrix(machine: Machine) -> NDArray[np.float64]:
    """Prices of one machine in the order of the counters.

    Parameters
    ----------
    machine : Machine

    Returns
    -------
    float64, shape (3, 2, 6)
        ns per access, [access][dependence][level] as in `ACCESSES`, `DEPENDENCES` and `LEVELS`. NaN where there is no
        price: level ``unknown``, levels the machine does not have, and prices it calls unknown.
    """
    matrix = np.full((len(ACCESSES), len(DEPENDENCES), len(LEVELS)), np.nan)
    for name, prices in [(level.name, level.prices) for level in machine.levels] + [("dram", machine.dram)]:
        matrix[:, :, LEVELS.index(name)] = _by_access(prices)
    return matrix


def _by_access(prices: Prices) -> NDArray[np.float64]:
    rows = [[getattr(prices, f"{access}_{dependence}").ns for dependence in DEPENDENCES] for access in ACCESSES]
    return np.array(rows, dtype=np.float64)


def price(counters: NDArray[np.integer[Any]], machine: Machine) -> NDArray[np.float64]:
    """Price counters, keeping their leading axes.

    Parameters
    ----------
    counters : integer, shape (..., 3, 2, 6)
        Accesses counted, [access][dependence][level] last.
    machine : Machine

    Returns
    -------
    float64, shape (...)
        Modelled ns, an upper bound; NaN where an access was counted that has no price, as with the count back end,
        which does not know the levels. Where nothing was counted the price is 0.

    Raises
    ------
    ValueError
        If the last three axes are not (3, 2, 6), or the counters are not integers.
    """
    matrix = price_matrix(machine)
    counters = np.asarray(counters)
    if counters.shape[-3:] != matrix.shape:
        raise ValueError(f"counters of shape {counters.shape} must end in {matrix.shape}: [access][dependence][level]")
    if not np.issubdtype(counters.dtype, np.integer):
        raise ValueError(f"counters of type {counters.dtype} must be integers")
    flat = counters.reshape(*counters.shape[:-3], matrix.size)
    unpriced = np.isnan(matrix).ravel()
    ns: NDArray[np.float64] = flat @ np.nan_to_num(matrix, nan=0.0).ravel()
    return np.where((flat[..., unpriced] != 0).any(axis=-1), np.nan, ns)


def total_ns(counters: NDArray[np.integer[Any]], machine: Machine) -> float | None:
    """Price all counters together.

    Returns
    -------
    float or None
        Modelled ns, an upper bound; None, never 0, where an access was counted that has no price. Errors as `price`.
    """
    total = float(price(counters, machine).sum())
    return None if np.isnan(total) else total
