# SPDX-License-Identifier: BSD-3-Clause
"""Reads the text form of scenarios, described in `folio_perf.scenario`, into events."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, NoReturn

import numpy as np

from folio_perf._scenario_data import (
    ADVICES,
    EVENT_DTYPE,
    MAX_CPUS,
    MAX_OBJECT_PAGES,
    SMAPS_EXACT,
    TOUCH_FILL,
    EventFlag,
    ObjectSpec,
    Op,
    Region,
    Scenario,
    ScenarioError,
    Unsupported,
)
from folio_perf.geometry import PMD_SIZE, FolioPolicy, Geometry, format_size

_NO_EFFECT_ADVICES = ("WILLNEED",)
_UNSUPPORTED_ADVICES = {
    "SOFT_OFFLINE": "soft offlining is not modelled",
}

VA0 = 0x100000000000
"""Virtual address of the first region; addresses do not change results, fixed ones make them repeatable."""
VA_STRIDE = 1 << 32
VA_END = 1 << 47
"""End of the user address space with 48-bit addresses."""
MAX_NUMBER = (1 << 63) - 1
MAX_FORKS = 1 << 20
BEFORE_FIRST_STEP = -1


class Line(NamedTuple):
    """Words of one line, comment removed; never empty."""

    number: int
    words: tuple[str, ...]


class Block(NamedTuple):
    """One ``scenario NAME ... end``."""

    name: str
    line: int
    lines: tuple[Line, ...]
    description: str
    text: str


SCENARIO_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*", re.ASCII)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_MEMBER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(/[0-9]+)?", re.ASCII)
_NUMBER = re.compile(r"[0-9]+", re.ASCII)


def split(text: str, source: str) -> Iterator[Block]:
    """Cut a text into scenarios; the description is a comment line before the first operation."""
    name, start, comment = "", 0, ""
    lines: list[Line] = []
    seen: dict[str, int] = {}
    rows = text.split("\n")
    for number, row in enumerate(rows, start=1):
        content, _, remark = row.partition("#")
        words = tuple(content.split())
        if not words:
            if start and not lines:
                comment = comment or remark.strip()
        elif words[0] == "scenario":
            if start:
                raise ScenarioError(
                    source, number, f"nested scenario: 'end' of scenario {name} (line {start}) is missing"
                )
            if len(words) != 2 or not SCENARIO_NAME.fullmatch(words[1]):
                raise ScenarioError(source, number, "usage: scenario NAME, of letters, digits and _ . + -")
            if words[1] in seen:
                raise ScenarioError(source, number, f"scenario {words[1]} exists already (line {seen[words[1]]})")
            name, start, lines = words[1], number, []
            seen[name] = start
        elif words[0] == "end":
            if not start:
                raise ScenarioError(source, number, "'end' without a scenario")
            if len(words) != 1:
                raise ScenarioError(source, number, f"'end' takes no words, found {' '.join(words[1:])}")
            yield Block(name, start, tuple(lines), comment, "\n".join(rows[start - 1 : number]) + "\n")
            name, start, comment, lines = "", 0, "", []
        elif not start:
            raise ScenarioError(source, number, f"{words[0]} stands outside of scenario ... end")
        else:
            lines.append(Line(number, words))
    if start:
        raise ScenarioError(source, start, f"'end' of scenario {name} is missing")
    if not seen:
        raise ScenarioError(source, len(rows), "the text holds no scenario")


def assemble(block: Block, geometry: Geometry, source: str, strict: bool) -> Scenario:
    """Turn one block into a scenario."""
    assembler = _Assembler(geometry, source, strict)
    assembler.declare(block.lines)
    for line in block.lines:
        if line.words[0] not in _DECLARATIONS:
            assembler.operation(line)
    return assembler.scenario(block)


class _Words:
    """The words of one line, taken one by one and checked on the way."""

    def __init__(self, source: str, line: Line, usage: str) -> None:
        self._source, self._line, self._usage = source, line, usage
        self._next = 1

    def fail(self, rule: str) -> NoReturn:
        raise ScenarioError(self._source, self._line.number, f"{' '.join(self._line.words)}: {rule}")

    def more(self) -> bool:
        return self._next < len(self._line.words)

    def peek(self) -> str:
        if not self.more():
            self.fail(f"too few words, usage: {self._usage}")
        return self._line.words[self._next]

    def word(self) -> str:
        word = self.peek()
        self._next += 1
        return word

    def end(self) -> None:
        if self.more():
            self.fail(f"too many words from {self._line.words[self._next]!r} on, usage: {self._usage}")

    def number(self, what: str) -> int:
        word = self.word()
        if not _NUMBER.fullmatch(word):
            self.fail(f"{what} {word!r} must be a number without sign")
        if len(word) > len(str(MAX_NUMBER)) or int(word) > MAX_NUMBER:
            self.fail(f"{what} {word} must be below 2^63")
        return int(word)

    def count(self, what: str) -> int:
        value = self.number(what)
        if value == 0:
            self.fail(f"{what} must be at least 1")
        return value

    def name(self, what: str, pattern: re.Pattern[str] = _NAME) -> str:
        word = self.word()
        if not pattern.fullmatch(word):
            self.fail(f"{what} {word!r} must be letters, digits and _, starting with a letter or _")
        return word

    def choice(self, what: str, allowed: Iterable[str]) -> str:
        word = self.word()
        if word not in allowed:
            self.fail(f"{what} {word!r} must be one of {', '.join(allowed)}")
        return word


SYSFS_ROOT = "/sys/kernel/mm/transparent_hugepage/"
_SYSFS_FILE = re.compile(r"(?:hugepages-([1-9][0-9]{0,15})kB/)?(enabled|shmem_enabled)", re.ASCII)


class _Knobs:
    """Folio sizes as /sys/kernel/mm/transparent_hugepage holds them, from Debian's defaults on."""

    def __init__(self, geometry: Geometry) -> None:
        self._geometry = geometry
        self._values: dict[tuple[str, int | None], str] = {}

    def set(self, words: _Words) -> str | None:
        """Take one sysfs line; return why this geometry has no such file, if it has not."""
        path = words.word()
        match = _SYSFS_FILE.fullmatch(path.removeprefix(SYSFS_ROOT)) if path.startswith(SYSFS_ROOT) else None
        if match is None:
            words.fail(
                f"sysfs path {path} is not modelled; these are: {SYSFS_ROOT}{{enabled,shmem_enabled}}"
                f" and {SYSFS_ROOT}hugepages-<size>kB/{{enabled,shmem_enabled}}"
            )
        knob = match[2]
        allowed = ["always", "never"] + (["madvise"] if knob == "enabled" else []) + (["inherit"] if match[1] else [])
        value = words.choice(f"value of {knob}", allowed)
        words.end()
        if match[1] is None:
            self._values[knob, None] = value
            return None
        size = int(match[1]) << 10
        if size == self._geometry.pmd_size_bytes:
            size = PMD_SIZE
        try:
            if knob == "enabled":
                FolioPolicy(always_bytes=(size,)).orders(self._geometry)
            else:
                FolioPolicy(shmem_bytes=(size,)).shmem_orders(self._geometry)
        except ValueError as error:
            return str(error)
        self._values[knob, size] = value
        return None

    def policy(self) -> FolioPolicy | None:
        """Return the policy that was asked for, or None if no knob was set."""
        if not self._values:
            return None
        always = self._sizes("enabled", "always")
        madvise = self._sizes("enabled", "madvise")
        shmem = self._sizes("shmem_enabled", "always")
        parts = [
            f"{name}={','.join('pmd' if size == PMD_SIZE else format_size(size) for size in sizes)}"
            for name, sizes in (("always", always), ("madvise", madvise), ("shmem", shmem))
            if sizes
        ]
        name = " ".join(parts) or "order0"
        return FolioPolicy(always_bytes=always, madvise_bytes=madvise, shmem_bytes=shmem, name=name)

    def _sizes(self, knob: str, wanted: str) -> tuple[int, ...]:
        # Kernel defaults (v6.8): the PMD size inherits the global knob, other sizes are "never"; Debian sets the
        # global one to "madvise".
        whole = self._values.get((knob, None), "madvise" if knob == "enabled" else "never")
        sizes = {PMD_SIZE: "inherit"}
        sizes |= {size: value for (name, size), value in self._values.items() if name == knob and size is not None}
        return tuple(
            sorted(size for size, value in sizes.items() if (whole if value == "inherit" else value) == wanted)
        )


class _Assembler:
    """Turns the lines of one scenario into events, checking each on the way."""

    def __init__(self, geometry: Geometry, source: str, strict: bool) -> None:
        self._geometry, self._source, self._strict = geometry, source, strict
        self._knobs = _Knobs(geometry)
        self._objects: list[ObjectSpec] = []
        self._object_numbers: dict[str, int] = {}
        self._regions: dict[str, Region] = {}
        self._slot_ends: dict[Region, int] = {}
        self._processes: list[str] = ["P0"]
        self._process_numbers: dict[str, int] = {"P0": 0}
        self._alive: set[str] = {"P0"}
        self._forked: set[str] = {"P0"}
        self._groups: dict[str, list[str]] = {}
        self._group_parents: dict[str, str] = {}
        self._events: list[tuple[int, ...]] = []
        self._lines: list[int] = []
        self._steps: list[int] = []
        self._step_text: list[str] = []
        self._unsupported: list[Unsupported] = []
        self._line = 0
        self._cpu = 0

    # declarations

    def declare(self, lines: tuple[Line, ...]) -> None:
        shapes: dict[str, tuple[int, int]] = {}
        for line in lines:
            if line.words[0] not in _DECLARATIONS:
                continue
            words = _Words(self._source, line, _DECLARATIONS[line.words[0]])
            if line.words[0] == "sysfs":
                reason = self._knobs.set(words)
                if reason:
                    self._unsupported.append(Unsupported(BEFORE_FIRST_STEP, line.number, " ".join(line.words), reason))
            elif line.words[0] == "obj":
                self._declare_object(words)
            else:
                self._declare_region(words, shapes)
        self._place_regions(shapes, lines)

    def _declare_object(self, words: _Words) -> None:
        name = words.name("object")
        if name in self._object_numbers:
            words.fail(f"object {name} exists already")
        if name in ("anon", "anonshared"):
            words.fail(f"object {name!r} would hide the word 'map' uses for anonymous memory")
        kind = words.choice("kind of object", ("memfd", "tmpfs", "file"))
        nr_pages = words.count("number of pages")
        order, warm = 0, False
        if kind == "file" and words.more():
            option = words.choice("option", ("order", "warm"))
            if option == "order":
                order = words.number("folio order")
                if order > self._geometry.max_order:
                    words.fail(f"folio order {order} must be at most {self._geometry.max_order}")
                option = words.choice("option", ("warm",)) if words.more() else ""
            warm = option == "warm"
        words.end()
        self._object_numbers[name] = len(self._objects)
        self._add_object(words, name, kind, nr_pages, order, warm)

    def _add_object(
        self, words: _Words, name: str, kind: str, nr_pages: int, order: int = 0, warm: bool = False
    ) -> None:
        try:
            self._objects.append(ObjectSpec(name=name, kind=kind, nr_pages=nr_pages, order=order, warm=warm))
        except ValueError as error:
            words.fail(str(error))

    def _declare_region(self, words: _Words, shapes: dict[str, tuple[int, int]]) -> None:
        name = words.name("region")
        if name in shapes:
            words.fail(f"region {name} exists already")
        nr_pages, shift = words.count("number of pages"), 0
        if words.more():
            words.choice("option", ("shift",))
            shift = words.number("shift")
        words.end()
        if (nr_pages + shift) << self._geometry.page_shift > VA_END - VA0:
            words.fail(f"a region of {nr_pages} pages, shifted by {shift}, leaves the user address space")
        shapes[name] = (nr_pages, shift)

    def _place_regions(self, shapes: dict[str, tuple[int, int]], lines: tuple[Line, ...]) -> None:
        pmd = self._geometry.pmd_size_bytes
        largest = max((nr_pages + shift for nr_pages, shift in shapes.values()), default=0) << self._geometry.page_shift
        stride = -(-max(VA_STRIDE, largest + 1) // pmd) * pmd
        for number, (name, (nr_pages, shift)) in enumerate(shapes.items()):
            start = VA0 + number * stride
            if start + stride > VA_END:
                line = next(line for line in lines if line.words[:2] == ("region", name))
                rule = f"region {name}: {number + 1} regions, {format_size(stride)} apart, leave the user address space"
                raise ScenarioError(self._source, line.number, rule)
            region = Region((start >> self._geometry.page_shift) + shift, nr_pages)
            self._regions[name] = region
            self._slot_ends[region] = (start + stride) >> self._geometry.page_shift

    # operations

    def operation(self, line: Line) -> None:
        text = " ".join(line.words)
        self._line, self._cpu = line.number, 0
        verb = line.words[0]
        if verb == "on":
            prefix = _Words(self._source, line, "on CPU VERB ...")
            self._cpu = prefix.number("CPU")
            if self._cpu >= MAX_CPUS:
                prefix.fail(f"CPU {self._cpu} must be below {MAX_CPUS}")
            verb = prefix.word()
            line = Line(line.number, line.words[2:])
        if verb not in _VERBS:
            raise ScenarioError(self._source, line.number, f"unknown verb {verb!r}; there are {', '.join(_VERBS)}")
        usage, method, reason = _VERBS[verb]
        words = _Words(self._source, line, f"{verb} {usage}".rstrip())
        reason = method(self, words) or reason
        words.end()
        if reason:
            self._unsupported.append(Unsupported(len(self._step_text), line.number, text, reason))
        self._step_text.append(text)

    def scenario(self, block: Block) -> Scenario:
        return Scenario(
            name=block.name,
            events=np.array(self._events, dtype=EVENT_DTYPE) if self._events else np.zeros(0, EVENT_DTYPE),
            objects=tuple(self._objects),
            processes=tuple(self._processes),
            regions=self._regions,
            lines=np.array(self._lines, dtype=np.int32),
            steps=np.array(self._steps, dtype=np.int32),
            step_text=tuple(self._step_text),
            folio_policy=self._knobs.policy(),
            unsupported=tuple(self._unsupported),
            source=self._source,
            description=block.description,
            strict=self._strict,
        )

    def _emit(
        self,
        op: Op,
        process: int = 0,
        *,
        what: int = 0,
        flags: int = 0,
        vpn: int = 0,
        nr: int = 0,
        arg: int = 0,
        arg2: int = 0,
    ) -> None:
        self._events.append((int(op), self._cpu, process, what, int(flags), vpn, nr, arg, arg2))
        self._lines.append(self._line)
        self._steps.append(len(self._step_text))

    # what words stand for

    def _process(self, words: _Words) -> int:
        name = words.name("process", _MEMBER)
        if self._strict and name not in self._forked:
            words.fail(f"process {name} does not exist; there are {self._living()}")
        if self._strict and name not in self._alive:
            words.fail(f"process {name} has exited")
        return self._number_of(name)

    def _number_of(self, name: str) -> int:
        if name not in self._process_numbers:
            self._process_numbers[name] = len(self._processes)
            self._processes.append(name)
        return self._process_numbers[name]

    def _living(self) -> str:
        names = sorted(self._alive, key=self._process_numbers.__getitem__)
        return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "") if names else "none left"

    def _region(self, words: _Words) -> Region:
        name = words.word()
        if name not in self._regions:
            words.fail(f"region {name!r} is not declared; there are {', '.join(self._regions) or 'none'}")
        return self._regions[name]

    def _span(self, words: _Words, region: Region, offset: int, nr: int) -> int:
        if nr == 0:
            words.fail("the range holds no page")
        # The real kernel knows no regions: there a range may leave one, as long as it does not reach the next.
        end = region.vpn + region.nr_pages if self._strict else self._slot_ends[region]
        if region.vpn + offset + nr > end:
            words.fail(f"pages {offset} to {offset + nr - 1} leave the region of {region.nr_pages} pages")
        return region.vpn + offset

    def _range(self, words: _Words) -> tuple[int, int]:
        region = self._region(words)
        offset, nr = words.number("offset"), words.number("length")
        return self._span(words, region, offset, nr), nr

    def _object(self, words: _Words) -> int:
        name = words.word()
        if name not in self._object_numbers:
            words.fail(f"object {name!r} is not declared; there are {', '.join(self._object_numbers) or 'none'}")
        return self._object_numbers[name] + 1

    # verbs

    def map(self, words: _Words) -> None:
        process = self._process(words)
        region_name = words.peek()
        region = self._region(words)
        flags = EventFlag.PROT_READ | EventFlag.PROT_WRITE
        if words.peek() in ("anon", "anonshared"):
            kind = words.word()
            offset, nr = 0, region.nr_pages
            if words.more():
                offset, nr = words.number("offset"), words.number("length")
            vpn = self._span(words, region, offset, nr)
            what = 0
            if kind == "anonshared":
                self._add_object(words, f"anonshared@{region_name}", "anon_shared", nr)
                what = len(self._objects)
                flags |= EventFlag.MAP_SHARED
            self._emit(Op.MMAP, process, vpn=vpn, nr=nr, what=what, flags=flags)
            return
        what = self._object(words)
        file_offset = words.number("file offset")
        offset, nr = words.number("offset"), words.number("length")
        vpn = self._span(words, region, offset, nr)
        if file_offset + nr > MAX_OBJECT_PAGES:
            words.fail(f"file pages {file_offset} to {file_offset + nr - 1} lie beyond the largest file")
        if words.choice("sharing", ("shared", "private")) == "shared":
            flags |= EventFlag.MAP_SHARED
        self._emit(Op.MMAP, process, vpn=vpn, nr=nr, what=what, arg=file_offset, flags=flags)

    def touch(self, words: _Words) -> None:
        process = self._process(words)
        vpn, nr = self._range(words)
        access = words.choice("access", ("r", "w", "s"))
        flags = EventFlag(0) if access == "r" else EventFlag.TOUCH_WRITE
        self._emit(Op.TOUCH, process, vpn=vpn, nr=nr, what=TOUCH_FILL if access == "s" else 0, flags=flags)

    def unmap(self, words: _Words) -> None:
        process = self._process(words)
        vpn, nr = self._range(words)
        self._emit(Op.MUNMAP, process, vpn=vpn, nr=nr)

    def prot(self, words: _Words) -> None:
        process = self._process(words)
        vpn, nr = self._range(words)
        flags = {"r": EventFlag.PROT_READ, "rw": EventFlag.PROT_READ | EventFlag.PROT_WRITE, "none": EventFlag(0)}
        self._emit(Op.MPROTECT, process, vpn=vpn, nr=nr, flags=flags[words.choice("protection", flags)])

    def remap(self, words: _Words) -> None:
        process = self._process(words)
        vpn, nr = self._range(words)
        region = self._region(words)
        target = self._span(words, region, words.number("offset"), nr)
        self._emit(Op.MREMAP, process, vpn=vpn, nr=nr, arg=target, arg2=nr)

    def madv(self, words: _Words) -> str | None:
        process = self._process(words)
        vpn, nr = self._range(words)
        advice = words.choice("advice", (*ADVICES[:-1], *_NO_EFFECT_ADVICES, *_UNSUPPORTED_ADVICES))
        if advice in _UNSUPPORTED_ADVICES:
            return _UNSUPPORTED_ADVICES[advice]
        self._emit(Op.MADVISE, process, vpn=vpn, nr=nr, what=ADVICES.index(advice if advice in ADVICES else "IGNORED"))
        return None

    def fork(self, words: _Words) -> None:
        parent = self._process(words)
        self._fork(words, parent, words.name("process"))

    def _fork(self, words: _Words, parent: int, child: str) -> None:
        if child in self._forked:
            words.fail(f"process {child} {'exists already' if child in self._alive else 'has existed before'}")
        self._emit(Op.FORK, parent, arg=self._number_of(child))
        if self._processes[parent] in self._alive:
            self._forked.add(child)
            self._alive.add(child)

    def forkmany(self, words: _Words) -> None:
        parent = self._process(words)
        nr = words.count("number of children")
        if nr > MAX_FORKS:
            words.fail(f"{nr} children; one line forks at most {MAX_FORKS}")
        group = words.name("group")
        if group in self._groups:
            words.fail(f"group {group} exists already")
        self._groups[group] = []
        self._group_parents[group] = self._processes[parent]
        # A parent that does not exist fails once, as the real system call does, and leaves the group empty.
        for number in range(nr if self._processes[parent] in self._alive else 1):
            member = f"{group}/{number}"
            self._fork(words, parent, member)
            if member in self._alive:
                self._groups[group].append(member)

    def exit(self, words: _Words) -> None:
        process = self._process(words)
        name = self._processes[process]
        # Group members die with their parent on a real kernel (PR_SET_PDEATHSIG), in no given order.
        for group, members in self._groups.items():
            if self._group_parents[group] == name and any(member in self._alive for member in members):
                words.fail(f"process {name} still has children in group {group}: exitgroup {group} first")
        self._emit(Op.EXIT, process)
        self._alive.discard(name)

    def exitgroup(self, words: _Words) -> None:
        group = words.word()
        if group not in self._groups:
            words.fail(f"group {group!r} does not exist; there are {', '.join(self._groups) or 'none'}")
        living = [member for member in self._groups[group] if member in self._alive]
        nr = words.count("number of processes") if words.more() else len(living)
        if self._strict and nr > len(living):
            words.fail(f"{nr} processes; group {group} has {len(living)} left")
        for member in reversed(living[-nr:] if nr else []):
            self._emit(Op.EXIT, self._process_numbers[member])
            self._alive.discard(member)

    def exec(self, words: _Words) -> None:
        self._emit(Op.EXEC, self._process(words))

    def smaps(self, words: _Words) -> None:
        process, what = self._process(words), 0
        if words.more():
            words.choice("option", ("exact",))
            what = SMAPS_EXACT
        self._emit(Op.SMAPS, process, what=what)

    def truncobj(self, words: _Words) -> None:
        what = self._object(words)
        nr_pages = words.number("number of pages")
        if nr_pages > MAX_OBJECT_PAGES:
            words.fail(f"{nr_pages} pages; an object has at most 2^52")
        self._emit(Op.TRUNCATE, what=what, nr=nr_pages)

    def punchobj(self, words: _Words) -> None:
        what = self._object(words)
        offset, nr = words.number("offset"), words.number("length")
        if nr == 0:
            words.fail("the range holds no page")
        if offset + nr > MAX_OBJECT_PAGES:
            words.fail(f"pages {offset} to {offset + nr - 1} lie beyond the largest file")
        self._emit(Op.PUNCH_HOLE, what=what, vpn=offset, nr=nr)

    def dropobj(self, words: _Words) -> None:
        self._emit(Op.DROP_OBJECT, what=self._object(words))

    def readobj(self, words: _Words) -> None:
        what = self._object(words)
        if words.more():
            words.choice("option", ("ra",))
        self._emit(Op.READ_OBJECT, what=what)

    def splitdbg(self, words: _Words) -> None:
        process = self._process(words)
        vpn, nr = self._range(words)
        order = words.number("order") if words.more() else 0
        if order > self._geometry.pmd_order:
            words.fail(f"order {order} must be at most {self._geometry.pmd_order}")
        self._emit(Op.SPLIT, process, vpn=vpn, nr=nr, arg=order)

    def note(self, words: _Words) -> None:
        while words.more():
            words.word()


def _on_range(op: Op) -> Callable[[_Assembler, _Words], None]:
    """Verb of an operation that takes a process and a range, and nothing else."""

    def verb(assembler: _Assembler, words: _Words) -> None:
        process = assembler._process(words)
        vpn, nr = assembler._range(words)
        assembler._emit(op, process, vpn=vpn, nr=nr)

    return verb


def _alone(op: Op) -> Callable[[_Assembler, _Words], None]:
    """Verb of an operation that takes nothing."""

    def verb(assembler: _Assembler, _words: _Words) -> None:
        assembler._emit(op)

    return verb


def _on_process(op: Op) -> Callable[[_Assembler, _Words], None]:
    """Verb of an operation that takes a process, and nothing else."""

    def verb(assembler: _Assembler, words: _Words) -> None:
        assembler._emit(op, assembler._process(words))

    return verb


_DECLARATIONS = {
    "sysfs": "sysfs PATH VALUE",
    "obj": "obj NAME memfd|tmpfs|file N, for a file also: order K, warm",
    "region": "region NAME N [shift K]",
}

# Verb: usage, what reads it, and why it is not modelled, if it is not; the reader may return such a reason as well.
_VERBS: dict[str, tuple[str, Callable[[_Assembler, _Words], str | None], str]] = {
    "map": ("P R anon|anonshared [OFF N], or map P R OBJ FILEOFF OFF N shared|private", _Assembler.map, ""),
    "touch": ("P R OFF N r|w|s", _Assembler.touch, ""),
    "fork": ("P Q", _Assembler.fork, ""),
    "forkmany": ("P K GROUP", _Assembler.forkmany, ""),
    "exit": ("P", _Assembler.exit, ""),
    "exitgroup": ("GROUP [K]", _Assembler.exitgroup, ""),
    "exec": ("P", _Assembler.exec, ""),
    "unmap": ("P R OFF N", _Assembler.unmap, ""),
    "madv": ("P R OFF N ADVICE", _Assembler.madv, ""),
    "prot": ("P R OFF N r|rw|none", _Assembler.prot, ""),
    "remap": ("P R OFF N R2 OFF2", _Assembler.remap, ""),
    "truncobj": ("OBJ N", _Assembler.truncobj, ""),
    "punchobj": ("OBJ OFF N", _Assembler.punchobj, ""),
    "dropobj": ("OBJ", _Assembler.dropobj, ""),
    "readobj": ("OBJ [ra]", _Assembler.readobj, ""),
    "total_mapcount": ("P R OFF N", _on_range(Op.TOTAL_MAPCOUNT), ""),
    "folio_referenced": ("P R OFF N", _on_range(Op.FOLIO_REFERENCED), ""),
    "try_to_unmap": ("P R OFF N", _on_range(Op.TRY_TO_UNMAP), ""),
    "maybe_pinned": ("P R OFF N", _on_range(Op.MAYBE_PINNED), ""),
    "smaps": ("P [exact]", _Assembler.smaps, ""),
    "note": ("TEXT", _Assembler.note, ""),
    "mlock": ("P R OFF N", _on_range(Op.MLOCK), ""),
    "munlock": ("P R OFF N", _on_range(Op.MUNLOCK), ""),
    "pin": ("P R OFF N", _on_range(Op.PIN), ""),
    "unpin": ("P", _on_process(Op.UNPIN), ""),
    "splice": ("P R OFF N", _on_range(Op.SPLICE), ""),
    "unsplice": ("P", _on_process(Op.UNSPLICE), ""),
    "ksm": ("", _alone(Op.KSM), ""),
    "splitdbg": ("P R OFF N [ORDER]", _Assembler.splitdbg, ""),
    "deferred_split": ("", _alone(Op.DEFERRED_SPLIT), ""),
    "migrate": ("P R OFF N", _on_range(Op.MIGRATE), ""),
    "khugepaged": ("P R OFF N", _on_range(Op.KHUGEPAGED), ""),
    "swapon": ("", _alone(Op.SWAPON), ""),
    "swapoff": ("", _alone(Op.SWAPOFF), ""),
    "pagemap": ("P", _on_process(Op.PAGEMAP), ""),
    "numa_maps": ("P", _on_process(Op.NUMA_MAPS), ""),
    "kpagecount": ("", _alone(Op.KPAGECOUNT), ""),
    "move_pages": ("P R OFF N", _on_range(Op.MOVE_PAGES), ""),
    "numa_balance": ("P R OFF N", _on_range(Op.NUMA_BALANCE), ""),
    "compact": ("", _alone(Op.COMPACT), ""),
    "reclaim": ("", _alone(Op.RECLAIM), ""),
    "memory_failure": ("P R OFF N", _on_range(Op.MEMORY_FAILURE), ""),
    "page_idle": ("", _alone(Op.PAGE_IDLE), ""),
}
