# SPDX-License-Identifier: BSD-3-Clause
from typing import Final

import numpy as np
from numpy.typing import NDArray

from folio_perf._native.engine import Simulation

MAP_RUN: Final[int]
UNMAP_RUN: Final[int]
FORK_RUN: Final[int]
MAP_PMD: Final[int]
UNMAP_PMD: Final[int]
SPLIT_PMD: Final[int]
RECOUNT: Final[int]
EXCLUSIVE_SET: Final[int]
EXCLUSIVE_CLEAR: Final[int]
ASK: Final[int]
PRESENT: Final[int]
EMPTY: Final[int]
MAX_CALLS: Final[int]
CALL_DTYPE: Final[np.dtype[np.void]]
PRIMITIVES: Final[tuple[str, ...]]
USES: Final[dict[str, int]]
MEMORIES: Final[tuple[str, ...]]

def clock_ns() -> int: ...
def clock_step_ns() -> int: ...
def pin(cpu: int) -> None: ...
def can_evict() -> bool: ...
def huge_pages(simulation: Simulation, nr: int) -> int: ...
def nr_timed(nr_visits: int) -> int: ...
def page_tables(simulation: Simulation, process: int, vpn: int, nr: int, ptes: bool) -> None: ...
def recounts(simulation: Simulation) -> bool: ...
def evict(simulation: Simulation) -> None: ...
def one_pass(
    simulation: Simulation, calls: NDArray[np.void], visit: NDArray[np.uint32], *, order: int, folio: int, vpn: int
) -> int: ...

class Arena:
    def __init__(self, nr_lines: int) -> None: ...
    def evict(self) -> None: ...
    def measure(self, primitive: int, visit: NDArray[np.uint32], run: int = 1) -> int: ...

def fork(size_bytes: int, memory: int) -> dict[str, int]: ...
def contend(
    simulation: Simulation,
    calls: NDArray[np.void],
    cpus: NDArray[np.uint32],
    folios: NDArray[np.uint32],
    *,
    order: int,
    folio: int,
    vpn: int,
    duration_ns: int,
) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]: ...
def transfer(cpu: int, other: int, rounds: int) -> int: ...
def counter_open(type: int, config: int) -> int: ...  # noqa: A002
def counter_read(fd: int) -> int: ...
def counter_close(fd: int) -> None: ...
