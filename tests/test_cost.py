# SPDX-License-Identifier: BSD-3-Clause
"""Prices times counters."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from csrc_names import enum_names, macro_names
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from folio_perf.cost import ACCESSES, DEPENDENCES, LEVELS, price, price_matrix, total_ns
from folio_perf.machine import DEFAULT_MACHINE, Price, load_machine

MACHINE = load_machine(DEFAULT_MACHINE)
SHAPE = (len(ACCESSES), len(DEPENDENCES), len(LEVELS))
KNOWN = ("l1", "l2", "l3", "dram")


def one(access: str, dependence: str, level: str, nr: int = 1) -> NDArray[np.uint64]:
    counters = np.zeros(SHAPE, np.uint64)
    counters[ACCESSES.index(access), DEPENDENCES.index(dependence), LEVELS.index(level)] = nr
    return counters


def test_axes_are_those_of_the_counters() -> None:
    assert tuple(name for _, name in macro_names("FPERF_LEVELS")) == LEVELS
    assert tuple(enum_names("fperf_access", "FPERF_"))[:-1] == ACCESSES
    assert tuple(enum_names("fperf_dependence", "FPERF_"))[:-1] == DEPENDENCES


def test_price_matrix() -> None:
    matrix = price_matrix(MACHINE)
    assert matrix.shape == SHAPE
    assert matrix.dtype == np.float64
    assert matrix[0, 0, LEVELS.index("l2")] == 5.6
    assert matrix[2, 1, LEVELS.index("dram")] == 12.0
    assert np.isnan(matrix[:, :, LEVELS.index("unknown")]).all()
    assert np.isnan(matrix[:, :, LEVELS.index("l4")]).all()
    assert not np.isnan(matrix[:, :, [LEVELS.index(level) for level in KNOWN]]).any()


@pytest.mark.parametrize("level", KNOWN)
@pytest.mark.parametrize("dependence", DEPENDENCES)
@pytest.mark.parametrize("access", ACCESSES)
def test_one_access(access: str, dependence: str, level: str) -> None:
    prices = MACHINE.dram if level == "dram" else MACHINE.levels[KNOWN.index(level)].prices
    assert (
        total_ns(one(access, dependence, level, 1000), MACHINE) == 1000 * getattr(prices, f"{access}_{dependence}").ns
    )


def test_unknown_level_is_unknown_and_not_free() -> None:
    counters = one("load", "dependent", "unknown") + one("load", "dependent", "l1")
    assert np.isnan(price(counters, MACHINE))
    assert total_ns(counters, MACHINE) is None


def test_a_level_the_machine_lacks() -> None:
    assert total_ns(one("store", "streaming", "l4"), MACHINE) is None


def test_an_unknown_price() -> None:
    unknown = Price(ns=None)
    machine = replace(MACHINE, dram=replace(MACHINE.dram, rmw_streaming=unknown))
    assert total_ns(one("rmw", "streaming", "dram"), machine) is None
    assert total_ns(one("rmw", "dependent", "dram"), machine) == 86.4


def test_nothing_counted_costs_nothing() -> None:
    assert total_ns(np.zeros((4, *SHAPE), np.uint64), MACHINE) == 0.0
    assert price(np.zeros((0, *SHAPE), np.uint64), MACHINE).shape == (0,)
    assert total_ns(np.zeros((0, *SHAPE), np.uint64), MACHINE) == 0.0


def test_leading_axes_stay() -> None:
    counters = np.zeros((2, 5, *SHAPE), np.uint64)
    counters[0, 1] = one("load", "dependent", "l1", 10)
    counters[1, 4] = one("load", "dependent", "unknown")
    ns = price(counters, MACHINE)
    assert ns.shape == (2, 5)
    assert ns[0, 1] == 16.0
    assert np.isnan(ns[1, 4])
    assert np.nansum(ns) == 16.0


@pytest.mark.parametrize("shape", [(), (3,), (3, 2), (3, 2, 5), (6, 2, 3)])
def test_wrong_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"must end in \(3, 2, 6\)"):
        price(np.zeros(shape, np.uint64), MACHINE)


def test_wrong_type() -> None:
    with pytest.raises(ValueError, match="counters of type float64 must be integers"):
        price(np.zeros(SHAPE), MACHINE)  # type: ignore[arg-type]


counts = hnp.arrays(np.uint64, (3, *SHAPE), elements=st.integers(0, 1 << 40))


@given(counts, counts)
def test_prices_are_linear(first: NDArray[np.uint64], second: NDArray[np.uint64]) -> None:
    priced = [LEVELS.index(level) for level in KNOWN]
    for counters in (first, second):
        counters[..., [level for level in range(len(LEVELS)) if level not in priced]] = 0
    total = price(first + second, MACHINE)
    np.testing.assert_allclose(total, price(first, MACHINE) + price(second, MACHINE), rtol=1e-12)
    slow = sum(
        int(first[i, a, d, level]) * float(price_matrix(MACHINE)[a, d, level])
        for i in range(3)
        for a in range(3)
        for d in range(2)
        for level in priced
    )
    assert total_ns(first, MACHINE) == pytest.approx(slow, rel=1e-12)
