# SPDX-License-Identifier: BSD-3-Clause
"""How much of a cache level address ranges hold, over time."""

from __future__ import annotations

from collections.abc import Mapping
from operator import index
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from folio_perf.results import Occupancy

if TYPE_CHECKING:
    from folio_perf.cache import CacheHierarchy


class OccupancyWatch:
    """Looks at a level of a hierarchy at first and after each `every` accesses; see `CacheHierarchy.watch`."""

    def __init__(
        self, caches: CacheHierarchy, level: str, ranges: Mapping[str, tuple[int, int]], every: int, cpu: int
    ) -> None:
        if index(every) < 1:
            raise ValueError(f"every {every} must be 1 or more")
        if not ranges:
            raise ValueError("there must be one address range or more to watch")
        self._caches, self._level, self._ranges, self._every, self._cpu = caches, level, dict(ranges), every, cpu
        self._nr_accesses = 0
        self._looks: list[int] = []
        self._held: list[list[int]] = []
        self._look()

    def access(
        self,
        addresses: NDArray[np.uint64],
        write: NDArray[np.bool_] | NDArray[np.uint8] | None = None,
        cpu: NDArray[np.uint8] | None = None,
        klass: NDArray[np.uint8] | None = None,
    ) -> None:
        """Access as `CacheHierarchy.access` does, and look in between; what came before a bad piece has happened."""
        start = 0
        while start < len(addresses):
            end = min(start + self._every - self._nr_accesses % self._every, len(addresses))
            part = slice(start, end)
            self._caches.access(
                addresses[part],
                None if write is None else write[part],
                None if cpu is None else cpu[part],
                None if klass is None else klass[part],
            )
            self._nr_accesses += end - start
            start = end
            if not self._nr_accesses % self._every:
                self._look()

    def occupancy(self) -> Occupancy:
        """Return what was seen so far, and now."""
        if self._looks[-1] != self._nr_accesses:
            self._look()
        size_bytes = next(each.size_bytes for each in self._caches.levels if each.name == self._level)
        return Occupancy(
            level=self._level,
            size_bytes=size_bytes,
            ranges=tuple((name, first, end) for name, (first, end) in self._ranges.items()),
            accesses=tuple(self._looks),
            held_bytes=tuple(map(tuple, self._held)),
        )

    def _look(self) -> None:
        held = [self._caches.occupancy_bytes(self._level, *each, cpu=self._cpu) for each in self._ranges.values()]
        self._looks.append(self._nr_accesses)
        self._held.append(held)
