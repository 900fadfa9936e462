# SPDX-License-Identifier: BSD-3-Clause
"""Random scenarios that a real kernel can run: a family of processes, a dozen ranges, and every operation there is.

Operations that fail are as welcome as others: the model must fail as the kernel does. What is left out is what no two
runs of a kernel answer alike: page-out, which depends on what the LRU lists hold, read-ahead of files, ksmd.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

__all__ = ["random_scenario"]

_THP: Final = "/sys/kernel/mm/transparent_hugepage/"
_SIZES_KB: Final = (16, 32, 64, 128, 256, 512, 1024)
_LENGTHS: Final = (1, 1, 2, 3, 5, 8, 16, 17, 31, 64, 100, 128, 300)
_NR_PROCESSES: Final = 5
_NR_FORKS: Final = 6
_ADVICES: Final = (
    "DONTNEED", "DONTNEED", "DONTNEED", "DONTFORK", "DOFORK", "POPULATE_WRITE", "POPULATE_READ", "WIPEONFORK",
    "HUGEPAGE", "NOHUGEPAGE", "RANDOM", "WILLNEED", "DONTNEED_LOCKED", "FREE", "COLD",
)  # fmt: skip
_REGIONS: Final = {"A": 1024, "B": 96, "S": 64, "T1": 1024, "T2": 1024, "C": 1536, "N1": 600, "X": 64, "D": 700}
_CHOSEN: Final = ("A", "A", "A", "B", "S", "T1", "T2", "C", "N1", "X", "D", "D")
_TARGET: Final = 1536
"""Pages of C, where moves go."""


def random_scenario(seed: int, number: int, nr_operations: int = 30) -> str:
    """Write a random scenario.

    Parameters
    ----------
    seed, number : int
        The same two make the same text.
    nr_operations : int
        Operations after the first mappings.

    Returns
    -------
    str
    """
    rng = random.Random(f"{seed}/{number}")
    lines = [f"scenario random_{seed}_{number}"]
    lines += _knobs(rng)
    lines += _places(rng)
    lines += _beginning(rng)
    lines += _Operations(rng).make(nr_operations)
    return "\n".join([*lines, "end", ""])


def _knobs(rng: random.Random) -> Iterator[str]:
    if rng.random() < 0.5:
        for size in rng.sample(_SIZES_KB, rng.choice([1, 2, 3])):
            yield f"sysfs {_THP}hugepages-{size}kB/enabled {rng.choice(['madvise', 'always'])}"
    if rng.random() < 0.2:
        yield f"sysfs {_THP}enabled {rng.choice(['always', 'never'])}"
    draw = rng.random()
    if draw < 0.2:
        yield f"sysfs {_THP}shmem_enabled always"
    elif draw < 0.4:
        yield f"sysfs {_THP}hugepages-{rng.choice([16, 64, 256])}kB/shmem_enabled always"


def _places(rng: random.Random) -> Iterator[str]:
    yield "obj M memfd 64"
    yield f"obj N memfd {rng.choice([600, 1024])}"
    yield "obj T tmpfs 1024"
    shifts = {
        "B": [16], "S": [0, 1, 2, 3, 4], "T2": [0, 0, 7, 256], "C": [0, 0, 1, 300], "N1": [0, 0, 64, 3],
        "D": [0, 0, 16, 100],
    }  # fmt: skip
    for region, nr_pages in _REGIONS.items():
        shift = rng.choice(shifts.get(region, [0]))
        yield f"region {region} {nr_pages}" + (f" shift {shift}" if shift else "")


def _beginning(rng: random.Random) -> Iterator[str]:
    yield "map P0 A anon"
    if rng.random() < 0.7:
        yield "madv P0 A 0 1024 HUGEPAGE"
    if rng.random() < 0.7:
        yield f"touch P0 A 0 1024 {rng.choice('wwwr')}"
    yield "map P0 B anon"
    if rng.random() < 0.7:
        yield "madv P0 B 0 96 HUGEPAGE"
    yield "touch P0 B 0 96 w"
    files = (
        ("S", "M", 64, ["shared", "private"], [64]),
        ("T1", "T", 1024, ["shared", "shared", "private"], [1, 512, 1024]),
        ("N1", "N", 600, ["shared", "shared", "private"], [1, 100, 600]),
    )
    for region, name, nr_pages, modes, touched in files:
        if rng.random() < 0.6:
            yield f"map P0 {region} {name} 0 0 {nr_pages} {rng.choice(modes)}"
            yield f"touch P0 {region} 0 {rng.choice(touched)} {rng.choice('wr')}"
    if rng.random() < 0.5:
        yield "map P0 X anonshared"
        yield f"touch P0 X 0 {rng.choice([1, 64])} {rng.choice('wr')}"
    if rng.random() < 0.5:
        yield "map P0 D anon"
        yield f"touch P0 D {rng.choice([0, 50])} {rng.choice([1, 100, 600])} {rng.choice('wr')}"


@dataclass(slots=True)
class _Operations:
    """Operations one after another, and who lives and holds what meanwhile."""

    rng: random.Random
    alive: list[str] = field(default_factory=lambda: ["P0"])
    nr_forks: int = 0
    pinning: str | None = None
    splicing: str | None = None

    def make(self, nr: int) -> Iterator[str]:
        kinds = {
            self._fork: 14, self._exit: 5, self._write: 17, self._read: 8, self._unmap: 8, self._advise: 10,
            self._collapse: 2, self._protect: 9, self._move: 7, self._move_back: 2, self._lock: 4, self._map_anon: 2,
            self._map_tmpfs: 2, self._map_memfd: 2, self._pin: 3, self._splice: 2, self._unsplice: 1,
            self._truncate: 1, self._unpin: 3,
        }  # fmt: skip
        for _ in range(nr):
            (kind,) = self.rng.choices(list(kinds), list(kinds.values()))
            yield from kind()

    def _process(self) -> str:
        return self.rng.choice(self.alive)

    def _range(self, region: str) -> tuple[int, int]:
        nr_pages, draw = _REGIONS[region], self.rng.random()
        if draw < 0.25:
            return 0, nr_pages
        if draw < 0.45:
            return self.rng.choice([0, nr_pages // 2]), nr_pages // 2
        offset = self.rng.randrange(nr_pages)
        return offset, min(nr_pages - offset, self.rng.choice(_LENGTHS))

    def _somewhere(self) -> tuple[str, str, int, int]:
        region = self.rng.choice(_CHOSEN)
        return self._process(), region, *self._range(region)

    def _fork(self) -> Iterator[str]:
        if self.nr_forks < _NR_FORKS and len(self.alive) < _NR_PROCESSES:
            parent = self._process()
            self.nr_forks += 1
            self.alive.append(f"P{self.nr_forks}")
            yield f"fork {parent} P{self.nr_forks}"

    def _exit(self) -> Iterator[str]:
        process = self._process()
        if len(self.alive) > 1 and process not in (self.pinning, self.splicing):
            self.alive.remove(process)
            yield f"exit {process}"

    def _touch(self, access: str) -> Iterator[str]:
        process, region, offset, nr = self._somewhere()
        yield f"touch {process} {region} {offset} {nr} {access}"

    def _write(self) -> Iterator[str]:
        return self._touch("w")

    def _read(self) -> Iterator[str]:
        return self._touch("r")

    def _unmap(self) -> Iterator[str]:
        process, region, offset, nr = self._somewhere()
        yield f"unmap {process} {region} {offset} {nr}"

    def _advise(self) -> Iterator[str]:
        process, region, offset, nr = self._somewhere()
        yield f"madv {process} {region} {offset} {nr} {self.rng.choice(_ADVICES)}"

    def _collapse(self) -> Iterator[str]:
        process, region, offset, _ = self._somewhere()
        yield f"madv {process} {region} {offset // 512 * 512} {min(512, _REGIONS[region])} COLLAPSE"

    def _protect(self) -> Iterator[str]:
        process, region, offset, nr = self._somewhere()
        yield f"prot {process} {region} {offset} {nr} {self.rng.choice(['r', 'rw', 'rw', 'none'])}"

    def _move(self) -> Iterator[str]:
        process, region, offset, nr = self._somewhere()
        if region == "C":
            region, offset, nr = "A", 0, min(nr, _REGIONS["A"])
        yield f"remap {process} {region} {offset} {nr} C {self.rng.randrange(max(_TARGET - nr, 1))}"

    def _move_back(self) -> Iterator[str]:
        process, _, offset, nr = self._somewhere()
        target = self.rng.randrange(300)
        yield f"remap {process} C {offset % 1200} {min(nr, 300)} {self.rng.choice(['A', 'D', 'N1'])} {target}"

    def _lock(self) -> Iterator[str]:
        process, region, offset, nr = self._somewhere()
        yield f"{self.rng.choice(['mlock', 'munlock'])} {process} {region} {offset} {nr}"

    def _map_anon(self) -> Iterator[str]:
        process, _, offset, nr = self._somewhere()
        yield f"map {process} {self.rng.choice(['A', 'B', 'D'])} anon {offset % 96} {min(nr, 40)}"

    def _map_tmpfs(self) -> Iterator[str]:
        process = self._process()
        yield f"map {process} T2 T 0 0 1024 {self.rng.choice(['shared', 'private'])}"
        yield f"touch {process} T2 0 1024 {self.rng.choice('rrw')}"

    def _map_memfd(self) -> Iterator[str]:
        process = self._process()
        yield f"map {process} N1 N {self.rng.choice([0, 0, 1, 64])} 0 500 {self.rng.choice(['shared', 'private'])}"
        yield f"touch {process} N1 0 {self.rng.choice([1, 20, 500])} {self.rng.choice('rw')}"

    def _pin(self) -> Iterator[str]:
        if self.pinning is None:
            process, _, offset, nr = self._somewhere()
            self.pinning = process
            region = self.rng.choice(["A", "A", "T1", "D", "N1", "B", "S"])
            yield f"pin {process} {region} {offset % 600} {min(nr, 70)}"

    def _unpin(self) -> Iterator[str]:
        if self.pinning is not None:
            process, self.pinning = self.pinning, None
            yield f"unpin {process}"

    def _splice(self) -> Iterator[str]:
        if self.splicing is None:
            process, _, offset, nr = self._somewhere()
            self.splicing = process
            region = self.rng.choice(["A", "A", "T1", "D", "N1", "B"])
            yield f"splice {process} {region} {offset % 90} {min(nr, 300)}"

    def _unsplice(self) -> Iterator[str]:
        if self.splicing is not None:
            process, self.splicing = self.splicing, None
            yield f"unsplice {process}"

    def _truncate(self) -> Iterator[str]:
        yield f"truncobj {self.rng.choice('TNM')} {self.rng.choice([0, 1, 30, 64, 300, 512, 600, 1000])}"
