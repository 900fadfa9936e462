# SPDX-License-Identifier: BSD-3-Clause
"""What a scenario is once it is read: events, objects, processes. Public names are in `folio_perf.scenario`."""

from __future__ import annotations

import enum
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from folio_perf.geometry import FolioPolicy

EVENT_DTYPE = np.dtype(
    [
        ("op", "<u2"),
        ("cpu", "<u2"),
        ("process", "<u4"),
        ("what", "<u4"),
        ("flags", "<u4"),
        ("vpn", "<u8"),
        ("nr", "<u8"),
        ("arg", "<u8"),
        ("arg2", "<u8"),
    ]
)
"""struct fperf_event of csrc/core/fperf_types.h, which says what each operation uses."""


class Op(enum.IntEnum):
    """Operations of an event: FPERF_OPS."""

    MMAP = 0
    MUNMAP = 1
    MREMAP = 2
    MPROTECT = 3
    MADVISE = 4
    TOUCH = 5
    FORK = 6
    EXEC = 7
    EXIT = 8
    TRUNCATE = 9
    READ_OBJECT = 10
    DROP_OBJECT = 11
    TOTAL_MAPCOUNT = 12
    FOLIO_REFERENCED = 13
    TRY_TO_UNMAP = 14
    SMAPS = 15
    PIN = 16
    UNPIN = 17
    SPLICE = 18
    UNSPLICE = 19
    MLOCK = 20
    MUNLOCK = 21
    MAYBE_PINNED = 22
    SPLIT = 23
    DEFERRED_SPLIT = 24
    MIGRATE = 25
    KHUGEPAGED = 26
    SWAPON = 27
    SWAPOFF = 28
    PAGEMAP = 29
    NUMA_MAPS = 30
    KPAGECOUNT = 31
    MOVE_PAGES = 32
    NUMA_BALANCE = 33
    COMPACT = 34
    RECLAIM = 35
    PAGE_IDLE = 36
    MEMORY_FAILURE = 37
    KSM = 38
    PUNCH_HOLE = 39


class EventFlag(enum.IntFlag):
    """Flags of an event."""

    PROT_READ = 1 << 0
    PROT_WRITE = 1 << 1
    MAP_SHARED = 1 << 2
    MAP_FIXED = 1 << 3
    MAP_GROWSDOWN = 1 << 4
    TOUCH_WRITE = 1 << 5
    FORK_SHARE_MM = 1 << 6


TOUCH_FILL = 1
"""``what`` of a TOUCH event that fills its pages with one byte."""

SMAPS_EXACT = 1
"""``what`` of a SMAPS event that walks where the scheme knows no mapcount."""

ADVICES = (
    "DONTNEED",
    "HUGEPAGE",
    "NOHUGEPAGE",
    "DONTFORK",
    "DOFORK",
    "WIPEONFORK",
    "KEEPONFORK",
    "POPULATE_READ",
    "POPULATE_WRITE",
    "DONTNEED_LOCKED",
    "NORMAL",
    "RANDOM",
    "SEQUENTIAL",
    "DONTDUMP",
    "DODUMP",
    "COLD",
    "PAGEOUT",
    "COLLAPSE",
    "FREE",
    "MERGEABLE",
    "UNMERGEABLE",
    "REMOVE",
    "GUARD_INSTALL",
    "GUARD_REMOVE",
    "IGNORED",
)
"""FPERF_ADVICES: ``what`` of a MADVISE event is an index into this."""

OBJECT_KINDS = ("file", "memfd", "tmpfs", "anon_shared")
"""FPERF_OBJECT_KINDS."""

MAX_CPUS = 256
MAX_OBJECT_PAGES = 1 << 52
"""2^64 bytes of 4 KiB pages: no file is larger."""
MAX_OBJECT_ORDER = 15
"""PMD order of 256 KiB pages."""


class ScenarioError(ValueError):
    """A scenario breaks a rule.

    Attributes
    ----------
    source : str
        File, or what stands for it.
    line : int
        Line, counted from 1; 0 if the error belongs to no line.
    rule : str
        The rule broken, naming the value.
    """

    def __init__(self, source: str, line: int, rule: str) -> None:
        self.source, self.line, self.rule = source or "<text>", line, rule
        super().__init__(source, line, rule)

    def __str__(self) -> str:
        return f"{self.source}:{self.line}: {self.rule}"


class Region(NamedTuple):
    """A virtual range that operations name.

    Attributes
    ----------
    vpn : int
        First page, as virtual page number.
    nr_pages : int
        Length in base pages.
    """

    vpn: int
    nr_pages: int


class Unsupported(NamedTuple):
    """An operation that was read but is not modelled.

    Attributes
    ----------
    step : int
        Step that it stands for; -1 if it holds before the first step.
    line : int
        Line in the source.
    text : str
        The operation.
    reason : str
        Why it is not modelled.
    """

    step: int
    line: int
    text: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectSpec:
    """A file object that scenarios map.

    Parameters
    ----------
    name : str
    kind : str
        One of `OBJECT_KINDS`: ``file`` is page cache of a filesystem, ``memfd`` shmem, ``tmpfs`` shmem with
        huge=always, ``anon_shared`` the object behind MAP_SHARED | MAP_ANONYMOUS.
    nr_pages : int
        Size in base pages.
    order : int
        ``file`` only: folio order its page cache uses, clipped at the ends of the file.
    warm : bool
        ``file`` only: it is in the page cache before the scenario starts.
    absent : tuple of (int, int)
        Of a warm file, the ranges (first page, number of pages) that are not; ascending.
    """

    name: str
    kind: str
    nr_pages: int
    order: int = 0
    warm: bool = False
    absent: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in OBJECT_KINDS:
            raise ValueError(f"object {self.name}: kind {self.kind!r} must be one of {', '.join(OBJECT_KINDS)}")
        if not 1 <= self.nr_pages <= MAX_OBJECT_PAGES:
            raise ValueError(f"object {self.name}: {self.nr_pages} pages; there must be 1 to 2^52")
        if self.kind != "file" and (self.order or self.warm):
            raise ValueError(f"object {self.name}: only a file has an order or is warm, not {self.kind}")
        if self.absent and not self.warm:
            raise ValueError(f"object {self.name}: pages are absent from a warm file only")
        end = 0
        for first, nr in self.absent:
            if not (end <= first and 0 < nr <= self.nr_pages - first):
                raise ValueError(
                    f"object {self.name}: absent range {first}, {nr} is not one of its {self.nr_pages} pages"
                )
            end = first + nr
        if not 0 <= self.order <= MAX_OBJECT_ORDER:
            raise ValueError(f"object {self.name}: folio order {self.order} must be from 0 to {MAX_OBJECT_ORDER}")


class ScenarioDigest:
    """`Scenario.hash` of events that come piece by piece; the parameters are members of `Scenario`."""

    def __init__(
        self,
        *,
        objects: Sequence[ObjectSpec],
        folio_policy: FolioPolicy | None = None,
        strict: bool,
        unsupported: Sequence[Unsupported] = (),
    ) -> None:
        policy = folio_policy
        rest = {
            "objects": [
                [spec.kind, spec.nr_pages, spec.order, spec.warm, *([spec.absent] if spec.absent else ())]
                for spec in objects
            ],
            "folio_policy": policy and [policy.always_bytes, policy.madvise_bytes, policy.shmem_bytes],
            "strict": strict,
            "unsupported": [[entry.step, entry.text] for entry in unsupported],
        }
        self._sha256 = hashlib.sha256(json.dumps(rest, sort_keys=True).encode())

    def update(self, events: NDArray[np.void]) -> None:
        """Take the next events (EVENT_DTYPE, shape (nr_events,))."""
        self._sha256.update(events.tobytes())

    def hexdigest(self) -> str:
        """Return the hash of the events so far."""
        return self._sha256.hexdigest()


@dataclass(frozen=True, kw_only=True, eq=False)
class Scenario:
    """What happens, in order. Made by `parse_scenarios`, `ScenarioBuilder` or a trace.

    Parameters
    ----------
    name : str
    events : structured array of `EVENT_DTYPE`, shape (nr_events,)
        Copied, and read-only from then on.
    objects : tuple of ObjectSpec
        Index = object number; ``what`` of an event is that plus one.
    processes : tuple of str
        Index = process number. Process 0 exists at the start; a name that no event forks never exists.
    regions : mapping of str to Region
        Names of virtual ranges.
    lines : int32, shape (nr_events,)
        Source line of each event, 0 where there is none. Default: all 0.
    steps : int32, shape (nr_events,)
        Step each event belongs to; several events may share one. Default: each event is a step.
    step_text : tuple of str
        The operation of each step, steps without events included; empty for traces.
    folio_policy : FolioPolicy or None
        What sysfs lines ask for; None leaves the choice to the user.
    unsupported : tuple of Unsupported
        Operations left out of `events`.
    source : str
        File, ``builder``, or a trace.
    description : str
        One line for lists.
    strict : bool
        True: the first event that fails ends the run. False: it fails as the system call would, and the run goes on.

    Raises
    ------
    ValueError
        If the arrays do not fit each other, or an event has an operation, object or flag that does not exist.
    """

    name: str
    events: NDArray[np.void]
    objects: tuple[ObjectSpec, ...] = ()
    processes: tuple[str, ...] = ("P0",)
    regions: Mapping[str, Region] = field(default_factory=dict)
    lines: NDArray[np.int32] = None  # type: ignore[assignment]  # __post_init__ fills in the default
    steps: NDArray[np.int32] = None  # type: ignore[assignment]
    step_text: tuple[str, ...] = ()
    folio_policy: FolioPolicy | None = None
    unsupported: tuple[Unsupported, ...] = ()
    source: str = ""
    description: str = ""
    strict: bool = True

    def __post_init__(self) -> None:
        if self.events.dtype != EVENT_DTYPE or self.events.ndim != 1:
            raise ValueError(
                f"events of type {self.events.dtype}, {self.events.ndim} dimensions, must be 1-D EVENT_DTYPE"
            )
        nr_events = self.events.size
        object.__setattr__(self, "events", self.events.copy())
        for name, default in (("lines", np.zeros(nr_events)), ("steps", np.arange(nr_events))):
            given = getattr(self, name)
            values = np.array(default if given is None else given, dtype=np.int32)
            if values.shape != (nr_events,):
                raise ValueError(f"{name} of shape {values.shape} must have one entry for each of {nr_events} events")
            object.__setattr__(self, name, values)
        self._freeze()
        self._check_events()

    def _freeze(self) -> None:
        for values in (self.events, self.lines, self.steps):
            values.flags.writeable = False

    def _check_events(self) -> None:
        op, what = self.events["op"], self.events["what"]
        nr_objects, nr_processes = len(self.objects), len(self.processes)
        of_object = np.isin(op, (Op.TRUNCATE, Op.READ_OBJECT, Op.DROP_OBJECT))
        child = (op == Op.FORK) & (self.events["arg"] >= nr_processes)
        rules = (
            ("op", op >= len(Op), f"must be below {len(Op)}"),
            ("cpu", self.events["cpu"] >= MAX_CPUS, f"must be below {MAX_CPUS}"),
            ("process", self.events["process"] >= nr_processes, f"must be below {nr_processes}"),
            ("flags", self.events["flags"] > sum(EventFlag), "has a bit that means nothing"),
            ("what", (op == Op.MADVISE) & (what >= len(ADVICES)), "is no advice"),
            ("what", (of_object | (op == Op.MMAP)) & (what > nr_objects), f"is no object; there are {nr_objects}"),
            ("what", of_object & (what == 0), "is no object"),
            ("arg", child, f"must be the child, a process number below {nr_processes}"),
        )
        for name, broken, rule in rules:
            if broken.any():
                number = int(broken.argmax())
                raise ValueError(f"event {number}: {name} {self.events[name][number]} {rule}")

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._freeze()

    def __eq__(self, other: object) -> bool:
        """Compare everything but the source, which says where a scenario was written and not what it is."""
        if not isinstance(other, Scenario):
            return NotImplemented
        return self._values() == other._values()

    def __hash__(self) -> int:
        return hash((self.name, self.hash))

    def _values(self) -> tuple[object, ...]:
        arrays = (self.lines.tobytes(), self.steps.tobytes())
        texts = (self.name, self.description, self.processes, self.step_text, dict(self.regions))
        return (self.hash, self.unsupported, *texts, *arrays)

    @property
    def nr_events(self) -> int:
        """Number of events."""
        return int(self.events.size)

    @property
    def nr_steps(self) -> int:
        """Number of steps, those without events included."""
        return max(len(self.step_text), int(self.steps[-1]) + 1 if self.nr_events else 0)

    @cached_property
    def hash(self) -> str:
        """SHA-256 over what a run depends on, in hex: events, objects, folio policy, strictness, operations left out.

        Names, comments and line numbers are left out; the value is the same on all machines.
        """
        digest = ScenarioDigest(
            objects=self.objects, folio_policy=self.folio_policy, strict=self.strict, unsupported=self.unsupported
        )
        digest.update(self.events)
        return digest.hexdigest()

    def where(self, event: int) -> str:
        """Name the place of one event for messages: ``file:line: event 7 (touch P0 A 0 1 w)``."""
        line, step = int(self.lines[event]), int(self.steps[event])
        place = f"{self.source}:{line}: " if line else f"{self.source}: " if self.source else ""
        text = self.step_text[step] if step < len(self.step_text) else Op(int(self.events["op"][event])).name.lower()
        return f"{place}event {event} ({text})"

    def check_supported(self) -> None:
        """Raise ScenarioError if the scenario holds an operation that is not modelled, naming line and verb."""
        if self.unsupported:
            first = self.unsupported[0]
            raise ScenarioError(self.source, first.line, f"{first.text}: {first.reason}")
