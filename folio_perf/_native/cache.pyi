# SPDX-License-Identifier: BSD-3-Clause
from typing import Final

import numpy as np
from numpy.typing import NDArray

MAX_LEVELS: Final[int]
NR_CLASSES: Final[int]
ADDRESS_BITS: Final[int]
MAX_THREADS: Final[int]
MAX_CPUS: Final[int]
LEVEL_DTYPE: Final[np.dtype[np.void]]
COUNTERS_DTYPE: Final[np.dtype[np.void]]
SHARED_LINE_DTYPE: Final[np.dtype[np.void]]
LINE_USE_DTYPE: Final[np.dtype[np.void]]
LINE_DTYPE: Final[np.dtype[np.void]]
PAGE_RANGE_DTYPE: Final[np.dtype[np.void]]
TLB_COUNTERS_DTYPE: Final[np.dtype[np.void]]
MAX_TLB_ARRAYS: Final[int]
MAX_PAGE_SIZES: Final[int]
RULES: Final[tuple[str, ...]]
POLICIES: Final[tuple[str, ...]]
INCLUSIONS: Final[tuple[str, ...]]
TRANSFERS: Final[tuple[str, ...]]
TIERS: Final[tuple[str, ...]]

class Hierarchy:
    def __init__(
        self,
        levels: NDArray[np.void],
        line_shift: int,
        nr_threads: int,
        cpus: tuple[int, int, int, int],
        interleave_shift: int,
        forward_clean: bool,
        track_sharing: bool,
        split_misses: bool,
        rules: int,
        page_shifts: list[int],
        tlb_arrays: list[tuple[int, int, int, int]],
        page_ranges: NDArray[np.void],
    ) -> None: ...
    def reset(self) -> None: ...
    def access(
        self,
        address: NDArray[np.uint64],
        write: NDArray[np.uint8] | None,
        cpu: NDArray[np.uint8] | None,
        klass: NDArray[np.uint8] | None,
    ) -> None: ...
    def run(self, address: int, nr: int, write: bool, cpu: int, klass: int) -> None: ...
    def counters(self) -> NDArray[np.void]: ...
    def transfers(self) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]: ...
    def translations(self) -> NDArray[np.void]: ...
    def sharing(self) -> tuple[NDArray[np.void], NDArray[np.void]] | None: ...
    def occupancy(self, level: int, cpu: int, first: int, end: int) -> int: ...
    def nr_sets(self, level: int) -> int: ...
    def set_lines(self, level: int, cpu: int, number: int, nr_ways: int) -> NDArray[np.void]: ...
    def save(self) -> NDArray[np.uint8]: ...
    def restore(self, state: NDArray[np.uint8]) -> None: ...
