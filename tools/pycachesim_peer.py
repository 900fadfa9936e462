# SPDX-License-Identifier: BSD-3-Clause
"""pycachesim as a peer: run by the Python of an environment that has it, a request a line, an answer a line.

A request is the path of a .npy file of addresses. They are read, by its fastest call, through config A; the answer is
the ns per access and MISS of the three levels.
"""

from __future__ import annotations

import sys
from time import perf_counter
from typing import Any

import cachesim
import numpy as np


def config_a() -> Any:
    """Build an empty hierarchy."""
    memory = cachesim.MainMemory()
    l3 = cachesim.Cache("L3", 32768, 16, 64, "LRU")
    l2 = cachesim.Cache("L2", 1024, 16, 64, "LRU", store_to=l3, load_from=l3)
    l1 = cachesim.Cache("L1", 64, 12, 64, "LRU", store_to=l2, load_from=l2)
    memory.load_to(l3)
    memory.store_from(l3)
    return cachesim.CacheSimulator(l1, memory)


for request in sys.stdin:
    addresses = np.load(request.strip()).tolist()
    caches = config_a()
    start = perf_counter()
    caches.load(addresses)
    elapsed = perf_counter() - start
    print(1e9 * elapsed / len(addresses), *[level["MISS_count"] for level in list(caches.stats())[:3]], flush=True)
