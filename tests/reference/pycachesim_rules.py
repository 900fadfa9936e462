# SPDX-License-Identifier: BSD-3-Clause
"""What pycachesim counts, as found by asking it: one level, and the one below; each set youngest line first."""

from __future__ import annotations


class Level:
    """LRU, write-back, write-allocate. Counters have the names that pycachesim gives them."""

    def __init__(self, nr_sets: int, nr_ways: int, below: Level | None) -> None:
        self.nr_ways, self.below = nr_ways, below
        self.sets: list[dict[int, bool]] = [{} for _ in range(nr_sets)]  # oldest first: line -> dirty
        self.nr_load = self.nr_miss = self.nr_evict = 0

    def load(self, line: int) -> None:
        self.nr_load += 1
        ways = self.sets[line % len(self.sets)]
        if line in ways:
            ways[line] = ways.pop(line)
            return
        self.nr_miss += 1
        if self.below:
            self.below.load(line)
        ways[line] = False
        if len(ways) > self.nr_ways:
            victim = next(iter(ways))
            if ways.pop(victim):
                self.nr_evict += 1
                if self.below:
                    self.below.store(victim)

    def store(self, line: int) -> None:
        ways = self.sets[line % len(self.sets)]
        if line not in ways:
            self.load(line)
        ways[line] = True
