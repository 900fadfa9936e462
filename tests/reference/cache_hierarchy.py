# SPDX-License-Identifier: BSD-3-Clause
"""A naive cache hierarchy with every policy, write policy and inclusion: what the C engine must equal, slowly.

Each level is a list of sets, each set a list of lines or empty ways. Under LRU and FIFO the list is ordered, youngest
first; under tree-PLRU and random a line keeps its place. Random is xorshift64* (Vigna 2016): its upper half, modulo
ways.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

MASK = (1 << 64) - 1


@dataclass(slots=True)
class Line:
    number: int
    dirty: bool = False
    prefetched: bool = False


class Store:
    """Lines in sets under one policy."""

    def __init__(self, nr_sets: int, nr_ways: int, policy: str, seed: int = 0) -> None:
        self.nr_sets, self.nr_ways, self.policy = nr_sets, nr_ways, policy
        self.sets: list[list[Line | None]] = [[None] * nr_ways for _ in range(nr_sets)]
        # Of tree-PLRU: for each set and node, which child was used longer ago; node 1 is the root.
        self.older = [dict.fromkeys(range(1, nr_ways), 0) for _ in range(nr_sets)]
        self.rng = (seed * 0x9E3779B97F4A7C15 & MASK) ^ 0xBF58476D1CE4E5B9 or 1

    def find(self, number: int) -> Line | None:
        return next((line for line in self.sets[number % self.nr_sets] if line and line.number == number), None)

    def use(self, number: int) -> Line | None:
        ways, line = self.sets[number % self.nr_sets], self.find(number)
        if line and self.policy == "lru":
            ways.remove(line)
            ways.insert(0, line)
        elif line and self.policy == "plru":
            self._point_away(number, ways.index(line))
        return line

    def insert(self, line: Line) -> Line | None:
        ways = self.sets[line.number % self.nr_sets]
        if self.policy in ("lru", "fifo"):
            ways.insert(0, line)
            return ways.pop()
        way = ways.index(None) if None in ways else self._victim(line.number)
        gone, ways[way] = ways[way], line
        if self.policy == "plru":
            self._point_away(line.number, way)
        return gone

    def remove(self, number: int) -> Line | None:
        ways, line = self.sets[number % self.nr_sets], self.find(number)
        if line and self.policy in ("lru", "fifo"):
            ways.remove(line)
            ways.append(None)
        elif line:
            ways[ways.index(line)] = None
        return line

    def _victim(self, number: int) -> int:
        if self.policy == "random":
            self.rng ^= self.rng >> 12
            self.rng = (self.rng ^ self.rng << 25) & MASK
            self.rng ^= self.rng >> 27
            return (self.rng * 0x2545F4914F6CDD1D & MASK) // 2**32 % self.nr_ways
        node = 1
        while node < self.nr_ways:
            node = 2 * node + self.older[number % self.nr_sets][node]
        return node - self.nr_ways

    def _point_away(self, number: int, way: int) -> None:
        node = way + self.nr_ways
        while node > 1:
            self.older[number % self.nr_sets][node // 2] = 1 - node % 2
            node //= 2


@dataclass(kw_only=True)
class LevelConfig:
    nr_sets: int
    nr_ways: int
    policy: str = "lru"
    inclusion: str = "nine"
    write_back: bool = True
    write_allocate: bool = True
    next_line_prefetch: bool = False
    victim_lines: int = 0
    seed: int = 0


class FullCache:
    """Fully associative, LRU: beside a level, it tells what kind of miss one is."""

    def __init__(self, nr_lines: int) -> None:
        self.nr_lines = nr_lines
        self.held: list[int] = []
        self.seen: set[int] = set()
        self.lost: set[int] = set()

    def fetch(self, number: int, *, takes_in: bool, gives_away: bool) -> str:
        if number not in self.seen:
            kind = "compulsory"
        elif number in self.lost:
            kind = "coherence"
        else:
            kind = "conflict" if number in self.held else "capacity"
        if gives_away or not (takes_in or number in self.held):
            self.seen.add(number)
            self.lost.discard(number)
            self.held = [line for line in self.held if line != number]
        else:
            self.put(number)
        return kind

    def put(self, number: int) -> None:
        self.seen.add(number)
        self.lost.discard(number)
        self.held = [number, *(line for line in self.held if line != number)][: self.nr_lines]

    def lose(self, number: int) -> None:
        if number in self.seen:
            self.held = [line for line in self.held if line != number]
            self.lost.add(number)


class Level:
    def __init__(self, config: LevelConfig) -> None:
        self.full = FullCache(config.nr_sets * config.nr_ways)
        self.config = config
        self.store = Store(config.nr_sets, config.nr_ways, config.policy, config.seed)
        self.victims = Store(1, config.victim_lines, "lru")
        self.exclusive = config.inclusion == "exclusive"


class Hierarchy:
    """``count[level][class, counter]``; the last level is memory."""

    def __init__(self, configs: Sequence[LevelConfig], split_misses: bool = False) -> None:
        self.split_misses = split_misses
        self.levels = [Level(config) for config in configs]
        self.count: list[Counter[tuple[int, str]]] = [Counter() for _ in range(len(configs) + 1)]
        self.klass = 0

    def access(self, line: int, write: bool = False, klass: int = 0) -> None:
        self.klass = klass
        self._fetch(0, line, write)

    def _note(self, at: int, counter: str) -> None:
        self.count[at][self.klass, counter] += 1

    def _fetch(self, at: int, number: int, write: bool) -> bool:
        """Returns whether the line comes up dirty: an exclusive level gives its only copy away."""
        self._note(at, "fetches")
        if at == len(self.levels):
            return False
        level = self.levels[at]
        line = level.store.use(number)
        self._note(at, "hits" if line else "misses")
        takes_in = level.config.write_allocate or not write
        kind = level.full.fetch(number, takes_in=takes_in, gives_away=level.exclusive)
        if not line and self.split_misses:
            self._note(at, kind)
        line = line or self._recall(at, number)
        if line:
            if line.prefetched:
                self._note(at, "prefetches_useful")
                line.prefetched = False
            if level.exclusive:
                level.store.remove(number)
                return line.dirty
            if write:
                self._store(at, line)
            return False
        if write and not level.config.write_allocate:
            self._write_below(at, number)
            return False
        line = Line(number, self._fetch(at + 1, number, False))
        if level.exclusive:
            return line.dirty
        line.dirty |= write and level.config.write_back
        self._put(at, line)
        if write and not level.config.write_back:
            self._write_below(at, number)
        if level.config.next_line_prefetch:
            self._prefetch(at, number + 1)
        return False

    def _store(self, at: int, line: Line) -> None:
        if self.levels[at].config.write_back:
            line.dirty = True
        else:
            self._write_below(at, line.number)

    def _prefetch(self, at: int, number: int) -> None:
        level = self.levels[at]
        if not (level.store.find(number) or level.victims.find(number)):
            self._note(at, "prefetches")
            self._put(at, Line(number, self._fetch(at + 1, number, False), prefetched=True))
            level.full.put(number)

    def _recall(self, at: int, number: int) -> Line | None:
        line = self.levels[at].victims.remove(number)
        if line:
            self._note(at, "victim_hits")
            self._put(at, line)
        return line

    def _put(self, at: int, line: Line) -> None:
        level = self.levels[at]
        gone = level.store.insert(line)
        if gone and level.config.victim_lines:
            gone = level.victims.insert(gone)
        if gone:
            self._evict(at, gone)

    def _evict(self, at: int, line: Line) -> None:
        if line.prefetched:
            self._note(at, "prefetches_useless")
        if self.levels[at].config.inclusion == "inclusive":
            for above, level in self._above(at):
                lost = level.store.remove(line.number) or level.victims.remove(line.number)
                if lost:
                    self._note(above, "back_invalidations")
                    if lost.prefetched:
                        self._note(above, "prefetches_useless")
                    line.dirty |= lost.dirty
        if at + 1 < len(self.levels) and self.levels[at + 1].exclusive:
            if line.dirty:
                self._note(at, "writebacks_out")
            self._hand_down(at + 1, line.number, line.dirty)
        elif line.dirty:
            self._write_below(at, line.number)

    def _above(self, at: int) -> list[tuple[int, Level]]:
        return list(enumerate(self.levels[:at]))

    def _hand_down(self, at: int, number: int, dirty: bool) -> None:
        level = self.levels[at]
        here = level.store.use(number) or self._recall(at, number)
        self._note(at, "writebacks_in" if dirty else "victims_in")
        if dirty and not level.config.write_back:
            self._write_below(at, number)
            dirty = False
        if here:
            here.dirty |= dirty
        else:
            self._put(at, Line(number, dirty))
        level.full.put(number)

    def _write_below(self, at: int, number: int) -> None:
        self._note(at, "writebacks_out")
        self._write_back(at + 1, number)

    def _write_back(self, at: int, number: int) -> None:
        self._note(at, "writebacks_in")
        if at == len(self.levels):
            return
        level = self.levels[at]
        line = level.store.use(number) or self._recall(at, number)
        if line or level.config.write_allocate:
            level.full.put(number)
        if line:
            self._store(at, line)
        else:
            if level.config.write_allocate:
                self._put(at, Line(number, level.config.write_back))
            if not (level.config.write_back and level.config.write_allocate):
                self._write_below(at, number)
