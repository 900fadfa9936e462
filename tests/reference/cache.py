# SPDX-License-Identifier: BSD-3-Clause
"""A naive cache hierarchy: set-associative LRU, write-back, write-allocate, neither inclusive nor exclusive.

Each set is a Python list, most recently used line first. The rules (cache.md, "Semantics"):

* a load or store that misses is fetched from the next level first, and only then the victim leaves;
* a dirty victim is written back to the next level; there it refreshes the line's age if it is present, and takes a way
  without any fetch from below if it is not, since the whole line is known;
* a line found in a level stays there when the level above fetches it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelConfig:
    """Size of one level; the number of sets follows from the line size."""

    size_bytes: int
    nr_ways: int

    def __post_init__(self) -> None:
        if self.size_bytes < 1 or self.nr_ways < 1:
            raise ValueError(f"size_bytes is {self.size_bytes}, nr_ways {self.nr_ways}: both must be at least 1")


@dataclass(slots=True)
class LevelCounters:
    """Traffic of one level, in lines.

    Attributes
    ----------
    fetches : int
        Loads and stores (first level) or fetches of the level above.
    hits, misses : int
        ``hits + misses == fetches``; write-backs are neither.
    writebacks_in, writebacks_out : int
        Dirty lines received from the level above, handed to the level below.
    """

    fetches: int = 0
    hits: int = 0
    misses: int = 0
    writebacks_in: int = 0
    writebacks_out: int = 0


@dataclass(slots=True)
class Line:
    number: int
    dirty: bool


@dataclass(slots=True)
class Level:
    nr_sets: int
    nr_ways: int
    sets: list[list[Line]]
    counters: LevelCounters = field(default_factory=LevelCounters)

    def find(self, number: int) -> Line | None:
        """The line if it is present, then made the youngest of its set."""
        ways = self.sets[number % self.nr_sets]
        for position, line in enumerate(ways):
            if line.number == number:
                ways.insert(0, ways.pop(position))
                return line
        return None

    def insert(self, number: int, dirty: bool) -> Line | None:
        """Put a line in as the youngest; returns the line that had to leave."""
        ways = self.sets[number % self.nr_sets]
        victim = ways.pop() if len(ways) == self.nr_ways else None
        ways.insert(0, Line(number, dirty))
        return victim


class Hierarchy:
    """One CPU's caches.

    Parameters
    ----------
    levels : sequence of LevelConfig
        First level first, 1 to 4 of them.
    line_bytes : int
        The same in all levels.

    Attributes
    ----------
    memory_fetches, memory_writebacks : int
        Lines that memory delivered and took back.

    Raises
    ------
    ValueError
        If a level is no whole number of sets.
    """

    def __init__(self, levels: Sequence[LevelConfig], line_bytes: int = 64) -> None:
        if not 1 <= len(levels) <= 4:
            raise ValueError(f"{len(levels)} levels, must be 1 to 4")
        self.line_bytes = line_bytes
        self.levels: list[Level] = []
        for number, config in enumerate(levels, start=1):
            nr_sets, rest = divmod(config.size_bytes, config.nr_ways * line_bytes)
            if rest or not nr_sets:
                raise ValueError(
                    f"level {number}: {config.size_bytes} bytes are no whole number of sets of {config.nr_ways} lines "
                    f"of {line_bytes} bytes"
                )
            self.levels.append(Level(nr_sets, config.nr_ways, [[] for _ in range(nr_sets)]))
        self.memory_fetches = 0
        self.memory_writebacks = 0

    def access(self, address: int, write: bool = False) -> int:
        """Load or store one line.

        Returns
        -------
        int
            Level that had it, from 0; the number of levels if memory had to deliver it.
        """
        number = address // self.line_bytes
        served = self._fetch(0, number)
        if write:
            youngest = self.levels[0].sets[number % self.levels[0].nr_sets][0]
            assert youngest.number == number
            youngest.dirty = True
        return served

    def replay(self, trace: Iterable[int]) -> list[int]:
        """Run a trace whose addresses carry the write flag in bit 0; returns the serving level of each access."""
        return [self.access(int(entry) & ~1, bool(int(entry) & 1)) for entry in trace]

    def counters(self) -> list[LevelCounters]:
        """Counters of each level, first level first."""
        return [level.counters for level in self.levels]

    def contents(self) -> list[list[list[tuple[int, bool]]]]:
        """``[level][set]``: line number and dirty bit of each way in use, youngest first."""
        return [[[(line.number, line.dirty) for line in ways] for ways in level.sets] for level in self.levels]

    def _fetch(self, depth: int, number: int) -> int:
        if depth == len(self.levels):
            self.memory_fetches += 1
            return depth
        level = self.levels[depth]
        level.counters.fetches += 1
        if level.find(number) is not None:
            level.counters.hits += 1
            return depth
        level.counters.misses += 1
        served = self._fetch(depth + 1, number)
        self._insert(depth, number, dirty=False)
        return served

    def _insert(self, depth: int, number: int, dirty: bool) -> None:
        level = self.levels[depth]
        victim = level.insert(number, dirty)
        if victim is not None and victim.dirty:
            level.counters.writebacks_out += 1
            self._write_back(depth + 1, victim.number)

    def _write_back(self, depth: int, number: int) -> None:
        if depth == len(self.levels):
            self.memory_writebacks += 1
            return
        level = self.levels[depth]
        level.counters.writebacks_in += 1
        line = level.find(number)
        if line is not None:
            line.dirty = True
        else:
            self._insert(depth, number, dirty=True)
