# SPDX-License-Identifier: BSD-3-Clause
"""Naive caches of several CPUs, kept coherent with MESI: what the C engine must equal, slowly.

Levels with equally many CPUs to an instance make up a place: the private levels of a core, the last level of a CCX. A
CPU's path is the places it goes through, innermost first; all other places are foreign to it. Dirty is M, a clean line
that no foreign place holds is E, any other is S; nothing but the contents of the caches is kept.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from reference.cache_hierarchy import Hierarchy, Level, LevelConfig, Line

TIERS = ("smt", "ccx", "socket", "remote")


@dataclass(kw_only=True)
class Cpus:
    """How many there are, and how many make up a core, a CCX and a socket; lines of a stretch of memory of a socket."""

    nr: int
    per_core: int
    per_ccx: int
    per_socket: int
    interleave_lines: int = 0
    forward_clean: bool = True

    def tier(self, one: int, other: int) -> int:
        sizes = (self.per_core, self.per_ccx, self.per_socket)
        return next((tier for tier, size in enumerate(sizes) if one // size == other // size), 3)

    def is_home(self, cpu: int, line: int) -> bool:
        if not self.interleave_lines:
            return cpu < self.per_socket
        return line // self.interleave_lines % -(-self.nr // self.per_socket) == cpu // self.per_socket


class Place:
    def __init__(self, cpus: range, levels: list[Level]) -> None:
        self.cpus, self.levels = cpus, levels

    def lines(self, number: int) -> list[Line]:
        stores = [store for level in self.levels for store in (level.store, level.victims)]
        return [line for store in stores if (line := store.find(number))]


class CoherentHierarchy(Hierarchy):
    """``transfers[class, kind, tier]`` and ``transfers[class, "remote_memory"]`` beside ``count``."""

    def __init__(
        self, configs: Sequence[LevelConfig], cpus: Cpus, shared_by: Sequence[int], split_misses: bool = False
    ) -> None:
        super().__init__(configs, split_misses)
        self.cpus, self.shared_by = cpus, shared_by
        self.instances = [
            [Level(replace(config, seed=(config.seed + k) % 2**64)) for k in range(-(-cpus.nr // width))]
            for config, width in zip(configs, shared_by, strict=True)
        ]
        self.places = [
            Place(
                range(k * width, min((k + 1) * width, cpus.nr)),
                [each[k] for each, own in zip(self.instances, shared_by, strict=True) if own == width],
            )
            for width in sorted(set(shared_by))
            for k in range(-(-cpus.nr // width))
        ]
        self.transfers: Counter[tuple[int, str] | tuple[int, str, str]] = Counter()
        self.words_read: dict[tuple[int, int], set[int]] = defaultdict(set)
        self.words_written: dict[tuple[int, int], set[int]] = defaultdict(set)
        self.taken: Counter[tuple[int, str]] = Counter()

    def access_from(self, cpu: int, line: int, write: bool = False, klass: int = 0, word: int | None = 0) -> None:
        self.cpu, self.klass, self.word = cpu, klass, word
        self.levels = [each[cpu // width] for each, width in zip(self.instances, self.shared_by, strict=True)]
        self._acquire(line, write)
        if word is not None:
            (self.words_written if write else self.words_read)[cpu, line].add(word)
        self._fetch(0, line, write)

    def _take(self, number: int, write: bool, losers: list[Place]) -> None:
        """By word, since each loser got the line: did one of them use what is used now?"""
        truly = False
        for cpu in {cpu for place in losers for cpu in place.cpus}:
            used = self.words_written[cpu, number] | (self.words_read[cpu, number] if write else set())
            truly |= self.word in used
            self.words_written[cpu, number].clear()
            if write:
                self.words_read[cpu, number].clear()
        kind = "writing" if write else "reading"
        self.taken[number, f"taken_{kind}"] += 1
        self.taken[number, f"false_{kind}"] += not truly

    def _move(self, kind: str, tier: int, nr: int = 1) -> None:
        self.transfers[self.klass, kind, TIERS[tier]] += nr

    def _acquire(self, number: int, write: bool) -> None:
        """Make it true that the line may be read, or written, by this CPU: `source` says where it then comes from."""
        self.source: int | str = "memory"
        path = [place for place in self.places if self.cpu in place.cpus]
        foreign = [place for place in self.places if self.cpu not in place.cpus and place.lines(number)]
        tiers = [self.cpus.tier(self.cpu, place.cpus[0]) for place in foreign]
        dirty = [place for place in foreign if any(line.dirty for line in place.lines(number))]
        mine = next((place for place in path if place.lines(number)), None)
        # A copy of one's own is stale if one of the CPUs that share it has modified the line since.
        stale = mine is None or any(place.cpus[0] in mine.cpus for place in dirty)
        if not foreign:
            return
        if write and mine is path[0]:
            self._move("upgrade", max(tiers))
        elif dirty and stale and (not write or self.levels[0].config.write_allocate):
            self._move("read_modified", self.cpus.tier(self.cpu, dirty[0].cpus[0]))
            self.source = "delivered"
        elif self.cpus.forward_clean:
            self.source = min(tiers)
        first = self.levels[0]
        holds = bool(first.store.find(number) or first.victims.find(number))
        taken_over = write and first.config.write_back and (first.config.write_allocate or holds)
        if dirty and (write or stale) and not taken_over:
            self._clean(number, dirty)
        if write:
            for place, tier in zip(foreign, tiers, strict=True):
                self._move("invalidation", tier)
                self._lose(place, number)
        if write or self.source == "delivered":
            self._take(number, write, foreign if write else dirty[:1])

    def _clean(self, number: int, dirty: list[Place]) -> None:
        """Write what other places have modified back, to where their way down meets that of this CPU."""
        owner = dirty[0].cpus[0]
        for place in dirty:
            for line in place.lines(number):
                line.dirty = False
        meet = next(
            (at for at, width in enumerate(self.shared_by) if owner // width == self.cpu // width), len(self.shared_by)
        )
        self._write_below(meet - 1, number)

    def _lose(self, place: Place, number: int) -> None:
        for level in place.levels:
            lost = level.store.remove(number) or level.victims.remove(number)
            level.full.lose(number)
            if lost and lost.prefetched:
                self._note(next(at for at, each in enumerate(self.instances) if level in each), "prefetches_useless")

    def _fetch(self, at: int, number: int, write: bool) -> bool:
        if at == len(self.levels) and self.source == "delivered":
            return False
        if at == len(self.levels) and isinstance(self.source, int):
            self._move("read_shared", self.source)
            return False
        if at == len(self.levels) and not self.cpus.is_home(self.cpu, number):
            self.transfers[self.klass, "remote_memory"] += 1
        return super()._fetch(at, number, write)

    def _prefetch(self, at: int, number: int) -> None:
        level = self.levels[at]
        if not (level.store.find(number) or level.victims.find(number)):
            word, self.word = self.word, None
            self._acquire(number, False)
            self.word = word
            super()._prefetch(at, number)

    def _above(self, at: int) -> list[tuple[int, Level]]:
        width = self.shared_by[at]
        sharers = {cpu for cpu in range(self.cpus.nr) if cpu // width == self.cpu // width}
        return [
            (above, level)
            for above in range(at)
            for k, level in enumerate(self.instances[above])
            if k * self.shared_by[above] in sharers
        ]
