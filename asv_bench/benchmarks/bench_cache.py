# SPDX-License-Identifier: BSD-3-Clause
"""Our speed: the caches alone, config A of docs/performance.md, through the public interface."""

from __future__ import annotations

from time import perf_counter

import numpy as np

from folio_perf import CacheHierarchy, CacheLevel

from .cache_traces import TRACES, trace

CONFIG_A = [
    CacheLevel(name="L1", size_bytes=48 << 10, nr_ways=12),
    CacheLevel(name="L2", size_bytes=1 << 20, nr_ways=16),
    CacheLevel(name="L3", size_bytes=32 << 20, nr_ways=16),
]


class Caches:
    """Reads and stores of a trace."""

    param_names = ["trace", "nr_threads"]
    params = [list(TRACES), [1, 2]]
    nr_accesses = 2_000_000

    def setup(self, name, nr_threads):
        self.caches = CacheHierarchy(CONFIG_A, nr_threads=nr_threads)
        self.addresses, self.write = trace(name, self.nr_accesses)
        self.caches.access(self.addresses, self.write)  # touch all memory
        self.caches.reset()

    def track_ns_per_access(self, name, nr_threads):
        start = perf_counter()
        self.caches.access(self.addresses, self.write)
        return 1e9 * (perf_counter() - start) / self.nr_accesses

    track_ns_per_access.unit = "ns / access"


class CachesByClass:
    """The same, access by access, as attribution needs it."""

    param_names = ["trace"]
    params = [["a", "b", "c", "d"]]
    nr_accesses = 300_000

    def setup(self, name):
        self.caches = CacheHierarchy(CONFIG_A)
        self.addresses, self.write = trace(name, self.nr_accesses)
        self.klass = np.zeros(self.nr_accesses, dtype=np.uint8)
        self.caches.access(self.addresses, self.write, klass=self.klass)

    def track_ns_per_access(self, name):
        start = perf_counter()
        self.caches.access(self.addresses, self.write, klass=self.klass)
        return 1e9 * (perf_counter() - start) / self.nr_accesses

    track_ns_per_access.unit = "ns / access"
