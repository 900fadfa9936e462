# SPDX-License-Identifier: BSD-3-Clause
"""Random numbers that are the same on every machine and under every NumPy.

NumPy keeps the raw output of a bit generator and of SeedSequence stable, but not what the methods of
`numpy.random.Generator` make of it (NEP 19). So everything here is made of raw PCG64 output, by integer operations and
single IEEE multiplications.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

_BLOCK: Final = 1 << 22
"""Random keys held at once; few of the columns made of them may be needed."""
_SPARSE: Final = 8
"""Up to 1/8 of the numbers it is cheaper to draw again what was drawn twice than to shuffle all."""


class Stream:
    """One sequence of random numbers.

    Parameters
    ----------
    seed : int
    purpose : str
        What the numbers are for. Streams for other purposes are independent, so that a change of one parameter leaves
        alone what it does not concern.
    """

    def __init__(self, seed: int, purpose: str) -> None:
        self._bits = np.random.PCG64(np.random.SeedSequence(seed, spawn_key=tuple(purpose.encode())))

    def _raw(self, shape: tuple[int, ...]) -> NDArray[np.uint64]:
        raw: NDArray[np.uint64] = self._bits.random_raw(int(np.prod(shape, dtype=np.int64)))
        return raw.reshape(shape)

    def fractions(self, shape: tuple[int, ...]) -> NDArray[np.float64]:
        """Return float64 in [0, 1), uniform, multiples of 2^-53."""
        return (self._raw(shape) >> np.uint64(11)).astype(np.float64) * 2.0**-53

    def below(self, limit: int, shape: tuple[int, ...], *, skew: int = 1) -> NDArray[np.int64]:
        """Return int64 from 0 to `limit` - 1.

        Parameters
        ----------
        limit : int
            At least 1; the bias is below limit / 2^53.
        shape : tuple of int
        skew : int
            1: uniform. k: the first x of the numbers gets x^(1/k) of the draws.
        """
        uniform = self.fractions(shape)
        value = uniform
        for _ in range(skew - 1):  # pow() may differ in the last bit from one libm to the next
            value = value * uniform
        return (value * limit).astype(np.int64)

    def permutations(self, rows: int, n: int, keep: int | None = None) -> NDArray[np.int64]:
        """Return int64, shape (rows, keep): the first `keep` (default all) of a permutation of 0 to n - 1 per row.

        Sorted are keys with the number itself in the low bits: no ties, so that any sort gives the same.
        """
        keep = n if keep is None else keep
        found = np.empty((rows, keep), dtype=np.int64)
        mask = np.uint64((1 << (n - 1).bit_length()) - 1) if n else np.uint64(0)
        numbers = np.arange(n, dtype=np.uint64)
        step = max(_BLOCK // max(n, 1), 1)
        for first in range(0, rows, step):
            keys = self._raw((min(step, rows - first), n))
            keys &= ~mask
            keys |= numbers
            keys.sort(axis=1)
            found[first : first + step] = keys[:, :keep] & mask
        return found

    def subsets(self, rows: int, n: int, k: int) -> NDArray[np.int64]:
        """Return int64, shape (rows, k): k different numbers below n per row, in random order."""
        if k * _SPARSE > n:
            return self.permutations(rows, n, k)
        # The first k different ones of a sequence of independent draws: every subset is equally likely.
        chosen = self.below(n, (rows, k))
        again = np.zeros(chosen.shape, dtype=bool)
        while True:
            chosen.sort(axis=1)
            np.equal(chosen[:, 1:], chosen[:, :-1], out=again[:, 1:])
            missing = int(np.count_nonzero(again))
            if not missing:
                break
            chosen[again] = self.below(n, (missing,))
        shuffled: NDArray[np.int64] = np.take_along_axis(chosen, self.permutations(rows, k), axis=1)
        return shuffled


def ordered(numbers: NDArray[np.int64], order: str, stream: Stream) -> NDArray[np.int64]:
    """Return processes (or pages) in an order: as they are (``fork``, ``ascending``), reversed, or at random."""
    if order in ("reverse", "descending"):
        return np.flip(numbers)
    if order == "random":
        return numbers[stream.permutations(1, numbers.size).ravel()]
    return numbers
