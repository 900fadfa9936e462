# SPDX-License-Identifier: BSD-3-Clause
"""Scenarios: what happens to the memory of the modelled machine, as an ordered array of events.

A scenario is written as text or with `ScenarioBuilder`, which has the same verbs. One operation per line, ``#`` starts
a comment, offsets and lengths are base pages of the geometry, regions have fixed virtual addresses::

    scenario NAME ... end
    sysfs PATH VALUE                folio sizes, /sys/kernel/mm/transparent_hugepage/...
    obj NAME memfd|tmpfs|file N     file object of N pages; a file may add: order K, warm
    region NAME N [shift K]         virtual range of N pages, PMD-aligned + K pages
    map P R anon|anonshared [OFF N]
    map P R OBJ FILEOFF OFF N shared|private
    touch P R OFF N r|w|s           one access per page, ascending (s: a write of one same byte)
    fork P Q                        forkmany P K GROUP: K children named GROUP/0, GROUP/1 ...
    exit P                          exitgroup GROUP [K]: the last K that are left, or all
    unmap P R OFF N                 madv P R OFF N ADVICE      prot P R OFF N r|rw|none
    remap P R OFF N R2 OFF2         note TEXT
    truncobj OBJ N                  dropobj OBJ                readobj OBJ [ra]
    punchobj OBJ OFF N
    mlock, munlock, pin, splice P R OFF N                      unpin, unsplice P
    ksm, swapon, swapoff            splitdbg P R OFF N [ORDER]

For the model alone: ``on CPU VERB ...``, ``exec P``, ``smaps P [exact]``, and ``total_mapcount``, ``folio_referenced``,
``try_to_unmap``, ``migrate``, ``khugepaged P R OFF N``, ``deferred_split``. Only P0 exists at the start.
Declarations (sysfs, obj, region) hold for the whole scenario, wherever they stand; each other line is one step,
counted from 0.

A comment line before the first operation describes the scenario. Operations that are read but not modelled are listed
in `Scenario.unsupported` instead of becoming events.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from operator import index
from pathlib import Path

from folio_perf._scenario_data import (
    ADVICES,
    EVENT_DTYPE,
    MAX_CPUS,
    OBJECT_KINDS,
    EventFlag,
    ObjectSpec,
    Op,
    Region,
    Scenario,
    ScenarioDigest,
    ScenarioError,
    Unsupported,
)
from folio_perf._scenario_text import SCENARIO_NAME, SYSFS_ROOT, Block, Line, assemble, split
from folio_perf.geometry import Geometry

__all__ = [
    "ADVICES",
    "EVENT_DTYPE",
    "MAX_CPUS",
    "OBJECT_KINDS",
    "EventFlag",
    "ObjectSpec",
    "Op",
    "Region",
    "Scenario",
    "ScenarioBuilder",
    "ScenarioDigest",
    "ScenarioError",
    "Unsupported",
    "load_scenario",
    "parse_scenarios",
    "read_scenarios",
    "scenario_description",
    "scenario_names",
    "scenario_text",
]


def parse_scenarios(text: str, geometry: Geometry, source: str = "", *, strict: bool = True) -> list[Scenario]:
    """Read scenarios.

    Parameters
    ----------
    text : str
        One or more ``scenario NAME ... end``; the language is described in this module.
    geometry : Geometry
        Gives base pages and PMD size their meaning.
    source : str
        What errors call the text.
    strict : bool
        False: operations of processes that do not exist, and on ranges beyond their region, fail when they run, as on a
        real kernel (ESRCH, ENOMEM ...), instead of being errors here.

    Returns
    -------
    list of Scenario

    Raises
    ------
    ScenarioError
        At the first rule broken.
    """
    return [assemble(block, geometry, source, strict) for block in split(text, source)]


def read_scenarios(path: str | os.PathLike[str], geometry: Geometry, *, strict: bool = True) -> list[Scenario]:
    """Read the scenarios of a file; arguments and errors as `parse_scenarios`, OSError if it cannot be read."""
    where = os.fspath(path)
    try:
        text = Path(path).read_bytes().decode()
    except UnicodeDecodeError as error:
        raise ScenarioError(where, 0, f"not a text in UTF-8: {error.reason} at byte {error.start}") from error
    return parse_scenarios(text, geometry, where, strict=strict)


class ScenarioBuilder:
    """Write a scenario in Python: one method per verb of the text language, each returns the builder.

    Arguments are the words of the verb: names as str, numbers as int. Nothing is checked before `build`, which reports
    as `parse_scenarios` does, with lines counted as in `text`.

    Parameters
    ----------
    name : str
    geometry : Geometry
    description : str
        One line for lists.

    Examples
    --------
    >>> builder = ScenarioBuilder("cow", Geometry())
    >>> scenario = builder.region("A", 16).map("P0", "A", "anon").touch("P0", "A", 0, 16, "w").fork("P0", "P1").build()
    >>> scenario.nr_events
    3
    """

    def __init__(self, name: str, geometry: Geometry, *, description: str = "") -> None:
        self._name, self._geometry, self._description = name, geometry, description
        self._lines: list[tuple[str, ...]] = []
        self._cpu: int | None = None

    def text(self) -> str:
        """Write the scenario in its text form, which `parse_scenarios` reads back."""
        head = [f"scenario {self._name}"] + ([f"# {self._description}"] if self._description else [])
        return "\n".join([*head, *map(" ".join, self._lines), "end"]) + "\n"

    def build(self, *, strict: bool = True) -> Scenario:
        """Make the scenario; `strict` and errors as in `parse_scenarios`."""
        if not SCENARIO_NAME.fullmatch(self._name):
            raise ScenarioError("builder", 1, f"scenario name {self._name!r} must be letters, digits and _ . + -")
        if "\n" in self._description or self._description != self._description.strip():
            raise ScenarioError(
                "builder", 2, f"description {self._description!r} must be one line without space around it"
            )
        if self._cpu is not None:
            raise ScenarioError("builder", self._next_line, f"on({self._cpu}) must be followed by an operation")
        first = self._next_line - len(self._lines)
        lines = tuple(Line(number, words) for number, words in enumerate(self._lines, start=first))
        return assemble(Block(self._name, 1, lines, self._description, ""), self._geometry, "builder", strict)

    @property
    def _next_line(self) -> int:
        return len(self._lines) + (3 if self._description else 2)

    def on(self, cpu: int) -> ScenarioBuilder:
        """Let the next operation run on a CPU."""
        self._cpu = index(cpu)
        return self

    def sysfs(self, path: str, value: str) -> ScenarioBuilder:
        """Set a folio-size knob; `path` as on a real kernel, or what follows /sys/kernel/mm/transparent_hugepage/."""
        return self._add("sysfs", path if path.startswith("/") else SYSFS_ROOT + path, value)

    def obj(self, name: str, kind: str, nr_pages: int, *, order: int = 0, warm: bool = False) -> ScenarioBuilder:
        """Declare a memfd, tmpfs or file object."""
        options: tuple[str | int, ...] = ("order", order) if order else ()
        return self._add("obj", name, kind, nr_pages, *options, *(("warm",) if warm else ()))

    def region(self, name: str, nr_pages: int, *, shift: int = 0) -> ScenarioBuilder:
        """Declare a virtual range."""
        return self._add("region", name, nr_pages, *(("shift", shift) if shift else ()))

    def map(self, process: str, region: str, what: str, *arguments: str | int) -> ScenarioBuilder:
        """Map memory.

        Parameters
        ----------
        process, region : str
        what : str
            ``"anon"``, ``"anonshared"``, or the name of an object.
        arguments
            For anonymous memory nothing, or offset and length; for an object file offset, offset, length, and
            ``"shared"`` or ``"private"``.
        """
        return self._add("map", process, region, what, *arguments)

    def map_anon(self, process: str, region: str, *arguments: int) -> ScenarioBuilder:
        """Map private anonymous memory: the whole region, or offset and length."""
        return self._add("map", process, region, "anon", *arguments)

    def touch(self, process: str, region: str, offset: int, nr: int, access: str) -> ScenarioBuilder:
        """Access pages in ascending order: ``"r"``, ``"w"``, ``"s"``."""
        return self._add("touch", process, region, offset, nr, access)

    def fork(self, process: str, child: str) -> ScenarioBuilder:
        """Fork."""
        return self._add("fork", process, child)

    def forkmany(self, process: str, nr: int, group: str) -> ScenarioBuilder:
        """Fork `nr` children, named group/0, group/1 ..."""
        return self._add("forkmany", process, nr, group)

    def exit(self, process: str) -> ScenarioBuilder:
        """Exit."""
        return self._add("exit", process)

    def exitgroup(self, group: str, nr: int | None = None) -> ScenarioBuilder:
        """Let the last `nr` members that are left exit, or all."""
        return self._add("exitgroup", group, *(() if nr is None else (nr,)))

    def exec(self, process: str) -> ScenarioBuilder:
        """Replace the address space by an empty one."""
        return self._add("exec", process)

    def unmap(self, process: str, region: str, offset: int, nr: int) -> ScenarioBuilder:
        """Unmap a range (munmap)."""
        return self._add("unmap", process, region, offset, nr)

    def madv(self, process: str, region: str, offset: int, nr: int, advice: str) -> ScenarioBuilder:
        """Give advice on a range (madvise), such as ``"DONTNEED"``."""
        return self._add("madv", process, region, offset, nr, advice)

    def prot(self, process: str, region: str, offset: int, nr: int, protection: str) -> ScenarioBuilder:
        """Set the protection of a range (mprotect): ``"r"``, ``"rw"``, ``"none"``."""
        return self._add("prot", process, region, offset, nr, protection)

    def remap(
        self, process: str, region: str, offset: int, nr: int, target: str, target_offset: int
    ) -> ScenarioBuilder:
        """Move a range to a fixed address (mremap), same length."""
        return self._add("remap", process, region, offset, nr, target, target_offset)

    def truncobj(self, name: str, nr_pages: int) -> ScenarioBuilder:
        """Set the size of an object."""
        return self._add("truncobj", name, nr_pages)

    def punchobj(self, name: str, offset: int, nr: int) -> ScenarioBuilder:
        """Punch a hole into an object: its pages leave the page cache and every mapping but private copies."""
        return self._add("punchobj", name, offset, nr)

    def dropobj(self, name: str) -> ScenarioBuilder:
        """Drop the clean, unmapped page cache of an object."""
        return self._add("dropobj", name)

    def readobj(self, name: str, *, readahead: bool = False) -> ScenarioBuilder:
        """Read an object through, so that every page is resident."""
        return self._add("readobj", name, *(("ra",) if readahead else ()))

    def total_mapcount(self, process: str, region: str, offset: int, nr: int) -> ScenarioBuilder:
        """Ask for the total mapcount of each folio mapped in the range."""
        return self._add("total_mapcount", process, region, offset, nr)

    def folio_referenced(self, process: str, region: str, offset: int, nr: int) -> ScenarioBuilder:
        """Scan each folio mapped in the range for references, as reclaim does."""
        return self._add("folio_referenced", process, region, offset, nr)

    def try_to_unmap(self, process: str, region: str, offset: int, nr: int) -> ScenarioBuilder:
        """Unmap each folio mapped in the range everywhere, as reclaim does."""
        return self._add("try_to_unmap", process, region, offset, nr)

    def maybe_pinned(self, process: str, region: str, offset: int, nr: int) -> ScenarioBuilder:
        """Ask of each folio mapped in the range whether a device may hold it (page_maybe_dma_pinned)."""
        return self._add("maybe_pinned", process, region, offset, nr)

    def smaps(self, process: str, *, exact: bool = False) -> ScenarioBuilder:
        """Read /proc/PID/smaps; `exact`: the kernel walks where the design knows no mapcount, instead of guessing."""
        return self._add("smaps", process, *(("exact",) if exact else ()))

    def note(self, text: str) -> ScenarioBuilder:
        """Add a step that does nothing."""
        return self._add("note", *text.split())

    def mlock(self, process: str, region: str, offset: int, nr: int) -> ScenarioBuilder:
        """Lock a range (mlock): its pages are brought in."""
        return self._add("mlock", process, region, offset, nr)

    def munlock(self, process: str, region: str, offset: int, nr: int) -> ScenarioBuilder:
        """Unlock a range (munlock)."""
        return self._add("munlock", process, region, offset, nr)

    def pin(self, process: str, region: str, offset: int, nr: int) -> ScenarioBuilder:
        """Pin pages for a long time (io_uring buffer)."""
        return self._add("pin", process, region, offset, nr)

    def unpin(self, process: str) -> ScenarioBuilder:
        """Release the pins."""
        return self._add("unpin", process)

    def splice(self, process: str, region: str, offset: int, nr: int) -> ScenarioBuilder:
        """Take references without a pin (vmsplice into a pipe)."""
        return self._add("splice", process, region, offset, nr)

    def unsplice(self, process: str) -> ScenarioBuilder:
        """Close the pipe."""
        return self._add("unsplice", process)

    def ksm(self) -> ScenarioBuilder:
        """Run ksmd for four full scans."""
        return self._add("ksm")

    def splitdbg(self, process: str, region: str, offset: int, nr: int, order: int | None = None) -> ScenarioBuilder:
        """Split the folios mapped in the range, to order 0 or `order`, as through debugfs."""
        return self._add("splitdbg", process, region, offset, nr, *(() if order is None else (order,)))

    def deferred_split(self) -> ScenarioBuilder:
        """Work off the deferred split queue, as reclaim does."""
        return self._add("deferred_split")

    def migrate(self, process: str, region: str, offset: int, nr: int) -> ScenarioBuilder:
        """Move each folio mapped in the range to fresh pages."""
        return self._add("migrate", process, region, offset, nr)

    def khugepaged(self, process: str, region: str, offset: int, nr: int) -> ScenarioBuilder:
        """Let khugepaged scan a range."""
        return self._add("khugepaged", process, region, offset, nr)

    def swapon(self) -> ScenarioBuilder:
        """Add a swap device."""
        return self._add("swapon")

    def swapoff(self) -> ScenarioBuilder:
        """Remove the swap device; its pages come back."""
        return self._add("swapoff")

    def pagemap(self, process: str) -> ScenarioBuilder:
        """Read /proc/PID/pagemap."""
        return self._add("pagemap", process)

    def numa_maps(self, process: str) -> ScenarioBuilder:
        """Read /proc/PID/numa_maps."""
        return self._add("numa_maps", process)

    def kpagecount(self) -> ScenarioBuilder:
        """Read /proc/kpagecount."""
        return self._add("kpagecount")

    def move_pages(self, process: str, region: str, offset: int, nr: int) -> ScenarioBuilder:
        """Move what this process alone maps in the range to fresh pages, as mbind, move_pages and migrate_pages do."""
        return self._add("move_pages", process, region, offset, nr)

    def numa_balance(self, process: str, region: str, offset: int, nr: int) -> ScenarioBuilder:
        """Let NUMA balancing scan the range, and its process touch it from another node."""
        return self._add("numa_balance", process, region, offset, nr)

    def compact(self) -> ScenarioBuilder:
        """Compact memory: whatever can be moved moves."""
        return self._add("compact")

    def reclaim(self) -> ScenarioBuilder:
        """Reclaim all memory that can be had."""
        return self._add("reclaim")

    def memory_failure(self, process: str, region: str, offset: int, nr: int) -> ScenarioBuilder:
        """Let the pages mapped in the range go bad: those that map them are killed, unless a file has a clean copy."""
        return self._add("memory_failure", process, region, offset, nr)

    def page_idle(self) -> ScenarioBuilder:
        """Look at the accessed bits of all memory, and clear them."""
        return self._add("page_idle")

    def _add(self, verb: str, *arguments: str | int) -> ScenarioBuilder:
        words = [verb]
        for argument in arguments:
            if not isinstance(argument, str):
                argument = str(index(argument))
            elif len(argument.split()) != 1 or "#" in argument or argument.strip() != argument:
                raise ScenarioError("builder", self._next_line, f"{verb}: {argument!r} must be one word without '#'")
            words.append(argument)
        if self._cpu is not None:
            words[:0] = ["on", str(self._cpu)]
            self._cpu = None
        self._lines.append(tuple(words))
        return self


_DESCRIPTIONS = "descriptions.toml"


@cache
def _shipped() -> Mapping[str, tuple[str, Block]]:
    """File and block of each scenario that ships, in the order of the files."""
    blocks: dict[str, tuple[str, Block]] = {}
    for entry in sorted(
        resources.files("folio_perf").joinpath("data/scenarios").iterdir(), key=lambda entry: entry.name
    ):
        if entry.name.endswith(".txt"):
            for block in split(entry.read_text(encoding="utf-8"), entry.name):
                blocks[block.name] = (entry.name, block)
    return blocks


@cache
def _descriptions() -> Mapping[str, str]:
    content = (
        resources.files("folio_perf").joinpath("data/scenarios").joinpath(_DESCRIPTIONS).read_text(encoding="utf-8")
    )
    return {str(name): str(text) for name, text in tomllib.loads(content).items()}


def _shipped_block(name: str) -> tuple[str, Block]:
    if name not in _shipped():
        raise ValueError(f"no scenario named {name!r}; there are {', '.join(_shipped())}")
    return _shipped()[name]


def scenario_names() -> tuple[str, ...]:
    """Names of the scenarios that ship."""
    return tuple(_shipped())


def scenario_text(name: str) -> str:
    """Text of a scenario that ships, as it stands in its file; ValueError if there is none of that name."""
    return _shipped_block(name)[1].text


def scenario_description(name: str) -> str:
    """One line about a scenario that ships; ValueError if there is none of that name."""
    return _shipped_block(name)[1].description or _descriptions().get(name, "")


def load_scenario(name: str, geometry: Geometry, *, strict: bool = False) -> Scenario:
    """Read a scenario that ships.

    Parameters
    ----------
    name : str
        One of `scenario_names`.
    geometry : Geometry
    strict : bool
        Some of them show how an operation fails, so by default a failing event does not end the run.

    Raises
    ------
    ValueError
        If there is none of that name; the message lists those there are.
    """
    source, block = _shipped_block(name)
    return assemble(block._replace(description=scenario_description(name)), geometry, source, strict)
