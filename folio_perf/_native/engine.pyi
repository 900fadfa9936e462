# SPDX-License-Identifier: BSD-3-Clause
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Literal, TypedDict

import numpy as np
from numpy.typing import NDArray

PROT_READ: Final[int]
PROT_WRITE: Final[int]
MAP_SHARED: Final[int]
MAP_FIXED: Final[int]
MAP_GROWSDOWN: Final[int]
TOUCH_WRITE: Final[int]
FORK_SHARE_MM: Final[int]
EVENT_FLAGS: Final[int]
WHAT_ANON: Final[int]
APPLIED: Final[int]
NOOP: Final[int]
NO: Final[int]
YES: Final[int]
COUNT: Final[int]
UNKNOWN: Final[int]
MAPPING_ANON: Final[int]
MAPPING_FILE: Final[int]
MAPPING_ZERO: Final[int]
MAPPING_SWAP: Final[int]
MAPPING_HUGE_ZERO: Final[int]
MAPPING_GUARD: Final[int]
MAX_CACHE_LEVELS: Final[int]

COUNTERS_SHAPE: Final[tuple[int, int, int, int, int, int]]

EVENT_DTYPE: Final[np.dtype[np.void]]
EVENT_STATS_DTYPE: Final[np.dtype[np.void]]
MAPPING_DTYPE: Final[np.dtype[np.void]]
SMAPS_DTYPE: Final[np.dtype[np.void]]
VMA_DTYPE: Final[np.dtype[np.void]]
ACCESS_DTYPE: Final[np.dtype[np.void]]
RMAP_OP_DTYPE: Final[np.dtype[np.void]]
OBJECT_DTYPE: Final[np.dtype[np.void]]
PROFILE_DTYPE: Final[np.dtype[np.void]]

PROFILE_FIELDS: Final[tuple[str, ...]]
CONFIG_FIELDS: Final[tuple[str, ...]]
NAME_TABLES: Final[dict[str, int]]

class SimulationConfig(TypedDict):
    page_shift: int
    line_shift: int
    backend: int
    scheme: int
    presence: int
    recount: int
    recount_period: int
    unknown: int
    recount_naive: int
    pins_exact: int
    variant: int
    contents: int
    walk_order_seed: int
    truth: int
    strict: int
    log_rmap: int
    trace_accesses: int
    cache: Sequence[tuple[int, int]]
    memory_bytes: int
    anon_orders_always: int
    anon_orders_madvise: int
    shmem_huge: int
    profile: Mapping[str, int]

def names(
    kind: Literal[
        "ops",
        "event_kinds",
        "causes",
        "fields",
        "field_classes",
        "levels",
        "backends",
        "advices",
        "object_kinds",
        "questions",
        "schemes",
        "hooks",
        "presences",
        "recounts",
        "unknown_acts",
    ],
) -> tuple[str, ...]: ...

class Simulation:
    def __init__(self, config: SimulationConfig) -> None: ...
    def add_object(self, kind: int, nr_pages: int, *, order: int = 0, warm: bool = False) -> int: ...
    def populate(self, object_index: int, index: int, order: int) -> None: ...
    def run(
        self,
        events: NDArray[np.void],
        status: NDArray[np.int32] | None = None,
        *,
        progress: Callable[[int], object] | None = None,
    ) -> int: ...
    def preset_refs(self, pfn: int, refs: int) -> None: ...
    def interrupt(self, visits: int, event: NDArray[np.void]) -> None: ...
    def counters(self) -> NDArray[np.uint64]: ...
    def event_stats(self) -> NDArray[np.void]: ...
    def totals(self) -> dict[str, int]: ...
    def struct_pages(self) -> NDArray[np.uint8]: ...
    def mappings(self, process: int) -> NDArray[np.void]: ...
    def smaps(self, process: int) -> NDArray[np.void]: ...
    def smaps_log(self) -> NDArray[np.void]: ...
    def folio(self, pfn: int) -> dict[str, int]: ...
    def resident(self, object_index: int, nr: int) -> NDArray[np.uint64]: ...
    def page_mapcounts(self, pfns: NDArray[np.uint64]) -> NDArray[np.int64]: ...
    def ask(self, question: int, folio_pfn: int, page: int) -> tuple[int, int]: ...
    def check(self) -> None: ...
    def accesses(self) -> NDArray[np.void]: ...
    def accesses_clear(self) -> None: ...
    def rmap_log(self) -> NDArray[np.void]: ...
    def answers(self) -> NDArray[np.int64]: ...
    def replay_native(
        self, log: NDArray[np.void], answers: NDArray[np.int64], nr_threads: int
    ) -> tuple[NDArray[np.uint8], int]: ...
