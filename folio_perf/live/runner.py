# SPDX-License-Identifier: BSD-3-Clause
"""Scenarios on the running kernel: real processes do what the text says, and each step is written down.

Where the kernel or the user's rights do not allow an operation, the scenario ends before it and says so: that is no
behaviour.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import platform
import re
import socket
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NoReturn, Self

from folio_perf._native import live as native
from folio_perf.live.actors import Actor, ActorError, Answer, Group, Nursery
from folio_perf.live.kernel_folios import KernelFolios
from folio_perf.live.knobs import Knobs
from folio_perf.live.page_frames import PageFrames
from folio_perf.live.processes import frames_visible, page_size
from folio_perf.live.snapshot import Snapshots
from folio_perf.scenario import Scenario

__all__ = ["Machine", "Recording", "running_version"]

THP: Final = Path("/sys/kernel/mm/transparent_hugepage")
KHUGEPAGED: Final = THP / "khugepaged/scan_sleep_millisecs"
KSM: Final = Path("/sys/kernel/mm/ksm")
_SPLIT: Final = Path("/sys/kernel/debug/split_huge_pages")
_PARKED: Final = "4294967295"
_DEFAULTS: Final = {"enabled": "madvise", "shmem_enabled": "never", "defrag": "madvise"}
_PMD_FOLDER: Final = "hugepages-2048kB"
_PAGE: Final = 4096
_OBJECT_CHUNK: Final = 2 << 20
_NR_SCANS: Final = 4
"""The scan under way when ksmd starts, and three whole ones."""
_SCAN_TIMEOUT_S: Final = 30.0
_LOCK_NAME: Final = "\0folio_perf live scenarios"
_LOCK_TIMEOUT_S: Final = 600.0
_KSM_KNOBS: Final = {"pages_to_scan": "20000", "sleep_millisecs": "5", "smart_scan": "0"}

_ADVICES: Final = {
    "NORMAL": 0, "RANDOM": 1, "SEQUENTIAL": 2, "WILLNEED": 3, "DONTNEED": 4, "FREE": 8, "REMOVE": 9, "DONTFORK": 10,
    "DOFORK": 11, "MERGEABLE": 12, "UNMERGEABLE": 13, "HUGEPAGE": 14, "NOHUGEPAGE": 15, "WIPEONFORK": 18,
    "KEEPONFORK": 19, "COLD": 20, "PAGEOUT": 21, "POPULATE_READ": 22, "POPULATE_WRITE": 23, "DONTNEED_LOCKED": 24,
    "COLLAPSE": 25, "GUARD_INSTALL": 102, "GUARD_REMOVE": 103,
}  # fmt: skip
_PROTECTIONS: Final = {"none": 0, "r": mmap.PROT_READ, "rw": mmap.PROT_READ | mmap.PROT_WRITE}
_RANGE_VERBS: Final = {"unmap": "unmap", "mlock": "lock", "munlock": "unlock", "pin": "pin", "splice": "splice"}
_MODEL_ONLY: Final = (
    "runs in the model alone: on a real kernel no system call does this to chosen folios, or nobody could tell when"
)

# What the environment is to blame for, by operation; all else is behaviour.
_RIGHTS: Final = frozenset({errno.EPERM, errno.EACCES, errno.ENOSYS})
_SCARCE: Final = frozenset({errno.ENOMEM, errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOSPC})
_ENVIRONMENT: Final = {
    "map": _RIGHTS | {errno.ENFILE, errno.EAGAIN},
    "fork": _RIGHTS | _SCARCE,
    "forkmany": _RIGHTS | _SCARCE,
    "mlock": _RIGHTS | {errno.EAGAIN},
    "pin": _RIGHTS | _SCARCE,
    "splice": _RIGHTS | {errno.EMFILE, errno.ENFILE},
}


def _defaults() -> Iterator[tuple[Path, str]]:
    """Folio sizes of a machine on which no sysfs line was said: huge pages where they are asked for, nothing else."""
    yield from ((THP / name, value) for name, value in _DEFAULTS.items() if (THP / name).exists())
    for folder in sorted(THP.glob("hugepages-*kB")):
        value = "inherit" if folder.name == _PMD_FOLDER else "never"
        yield from ((folder / name, value) for name in ("enabled", "shmem_enabled") if (folder / name).exists())


class CannotRunError(Exception):
    """What the scenario asks for cannot be done on this machine, or by this user; the text says what."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """What the kernel answered.

    Parameters
    ----------
    header : dict
        As in a golden file.
    steps : tuple of dict
    environment : str or None
        Why the scenario ended early, or never began.
    retries : int
        Looks that were taken again because page tables had changed meanwhile.
    """

    header: dict[str, Any]
    steps: tuple[dict[str, Any], ...]
    environment: str | None
    retries: int

    def lines(self) -> Iterator[dict[str, Any]]:
        """Yield the objects of the golden file."""
        yield self.header
        yield from self.steps
        yield {"end": self.header["scenario"]}


def running_version() -> str:
    """Version of the running kernel: ``"6.18"``."""
    match = re.match(r"[0-9]+\.[0-9]+", platform.release())
    if match is None:
        raise ValueError(f"kernel release {platform.release()!r} does not begin with MAJOR.MINOR")
    return match[0]


class Machine:
    """The machine this runs on, ready for scenarios. A context; on leaving it everything is as it was.

    Attributes
    ----------
    left_out : tuple of str
        What cannot be read here, and why.
    """

    def __init__(self) -> None:
        if page_size() != _PAGE:
            raise ValueError(f"scenarios are about pages of 4 KiB; this machine has {page_size()} bytes")
        self._stack = contextlib.ExitStack()
        self._frames: PageFrames | None = None
        self._folios: KernelFolios | None = None
        self.left_out: tuple[str, ...] = ()
        self.no_page_mapcount = False

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            left_out = []
            lock = stack.enter_context(_only_one())
            try:
                if not frames_visible():
                    raise PermissionError(errno.EPERM, "page frame numbers are hidden", "/proc/PID/pagemap")
                self._frames = PageFrames()
                stack.callback(self._frames.close)
            except OSError as error:
                left_out.append(f"identity, counts and flags of pages: {error.filename}: {error.strerror}")
            try:
                self._folios = None if self._frames is None else KernelFolios()
            except (OSError, ValueError) as error:
                left_out.append(f"fields of struct folio: {error}")
            self._knobs = stack.enter_context(Knobs(lock))
            try:
                self._knobs.set(KHUGEPAGED, _PARKED)
            except OSError as error:
                if error.errno != errno.ENOENT:
                    left_out.append(f"khugepaged cannot be parked: {error.strerror}; it may change pages meanwhile")
            self._nursery = Nursery()
            stack.callback(self._nursery.close)
            self.left_out = tuple(left_out)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def counts(self) -> bool:
        """Whether pages have names and counts here."""
        return self._frames is not None

    def run(self, scenario: Scenario, text: str) -> Recording:
        """Run a scenario; `text` is what it was read from, with its sysfs lines."""
        run = _Run(scenario, self._knobs)
        header = {
            "scenario": scenario.name,
            "kernel": platform.release(),
            "profile": running_version(),
            "no_page_mapcount": self.no_page_mapcount,
            "regions": {name: region.nr_pages for name, region in scenario.regions.items()},
        }
        steps: list[dict[str, Any]] = []
        environment = None
        snapshots = None
        try:
            self._begin()
            run.prepare(text)
            snapshots = Snapshots(scenario.regions, run.files(), self._frames, self._folios)
            run.start(self._nursery)
            for number, operation in enumerate(scenario.step_text):
                steps.append(run.step(number, operation, snapshots))
        except CannotRunError as error:
            environment = str(error)
            if not steps:
                header["skipped"] = environment
        except ActorError as error:
            environment = f"after {len(steps)} steps: {error}"
        finally:
            run.end()
            self._knobs.restore()
        return Recording(
            header=header,
            steps=tuple(steps),
            environment=environment,
            retries=0 if snapshots is None else snapshots.retries,
        )

    def _begin(self) -> None:
        """Set what scenarios take for granted, where this machine has it otherwise."""
        for path, value in _defaults():
            chosen = re.search(r"\[(.*?)\]", path.read_text())
            if chosen is not None and chosen[1] != value:
                try:
                    self._knobs.set(path, value)
                except OSError as error:
                    raise CannotRunError(f"{path} is {chosen[1]!r} here, not {value!r}: {error.strerror}") from error
        with contextlib.suppress(OSError):
            self._knobs.set(KHUGEPAGED, _PARKED)


@contextlib.contextmanager
def _only_one() -> Iterator[socket.socket]:
    """Wait until nobody else runs scenarios here: a name that one socket can have, in no filesystem."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as lock:
        end = time.monotonic() + _LOCK_TIMEOUT_S
        while True:
            try:
                lock.bind(_LOCK_NAME)
            except OSError as error:
                if error.errno != errno.EADDRINUSE or time.monotonic() > end:
                    raise RuntimeError(
                        f"another program has run scenarios on this kernel for {_LOCK_TIMEOUT_S:.0f} s"
                    ) from error
                time.sleep(0.1)
            else:
                break
        yield lock


@dataclass(slots=True)
class _Object:
    name: str
    descriptor: int
    nr_pages: int


@dataclass(slots=True)
class _Run:
    """One scenario under way."""

    scenario: Scenario
    knobs: Knobs
    _objects: list[_Object] = field(default_factory=list)
    _actors: dict[str, Actor] = field(default_factory=dict)
    _groups: dict[str, Group] = field(default_factory=dict)

    # ---- before and after ----

    def prepare(self, text: str) -> None:
        """Set knobs, make objects."""
        for line in text.splitlines():
            words = line.partition("#")[0].split()
            if words and words[0] == "sysfs":
                try:
                    self.knobs.set(words[1], words[2])
                except OSError as error:
                    raise CannotRunError(f"sysfs {words[1]} {words[2]}: {error.strerror}") from error
        for each in self.scenario.objects:
            if each.kind != "anon_shared":
                try:
                    self._objects.append(_Object(each.name, _open(each.kind, each.name, each.nr_pages), each.nr_pages))
                except OSError as error:
                    raise CannotRunError(f"obj {each.name} {each.kind}: {error.strerror}") from error

    def files(self) -> dict[str, int]:
        """Name and descriptor of each object."""
        return {each.name: each.descriptor for each in self._objects}

    def start(self, nursery: Nursery) -> None:
        """Start the first process."""
        first = self._actors["P0"] = nursery.first()
        for place, each in enumerate(self._objects):
            first.tell("object", thing=place, descriptor=each.descriptor)

    def end(self) -> None:
        """End all processes, close all objects."""
        for group in self._groups.values():
            group.end()
        for actor in reversed(self._actors.values()):
            actor.end()
        for each in self._objects:
            os.close(each.descriptor)

    # ---- steps ----

    def step(self, number: int, operation: str, snapshots: Snapshots) -> dict[str, Any]:
        """Carry a step out and look."""
        words = operation.split()
        begin = time.monotonic()
        answer = self._carry_out(number, words)
        blamed = _ENVIRONMENT.get(words[0], _RIGHTS if words[0] != "touch" else frozenset())
        if answer.result < 0 and answer.error in blamed:
            self._refuse(number, operation, answer.error)
        step: dict[str, Any] = {
            "s": self.scenario.name,
            "i": number,
            "op": operation,
            "rc": answer.result,
            "errno": answer.error,
            "us": round((time.monotonic() - begin) * 1e6),
        }
        if words[0] != "note":
            alive = {name: actor.pid for name, actor in self._actors.items()}
            step |= snapshots.take(alive, group_alive=any(len(group) for group in self._groups.values()))
        return step

    def _refuse(self, number: int, operation: str, error: int) -> NoReturn:
        raise CannotRunError(f"step {number}: {operation}: {os.strerror(error)}")

    def _carry_out(self, number: int, words: list[str]) -> Answer:
        match words:
            case ["note", *_]:
                return Answer(0, 0)
            case ["fork", parent, child]:
                return self._fork(parent, child)
            case ["forkmany", parent, nr, group]:
                return self._fork_many(parent, int(nr), group)
            case ["exit", process]:
                if process not in self._actors:
                    return Answer(-1, errno.ESRCH)
                self._actors.pop(process).end()
                return Answer(0, 0)
            case ["exitgroup", group, *nr]:
                self._groups[group].end(int(nr[0]) if nr else None)
                return Answer(0, 0)
            case ["ksm"]:
                return self._ksm()
            case ["swapon" | "swapoff" as verb]:
                return _tried(self.knobs.swapon if verb == "swapon" else self.knobs.swapoff)
            case ["dropobj" | "readobj" | "truncobj", *_]:
                return self._object_step(words)
            case ["splitdbg", process, region, offset, nr, *order]:
                return self._split(process, region, int(offset), int(nr), order)
            case [verb, process, *arguments] if verb in _ACTOR_VERBS and "/" not in process:
                if process not in self._actors:
                    return Answer(-1, errno.ESRCH)
                return self._actor_step(process, verb, arguments)
        raise CannotRunError(f"step {number}: {' '.join(words)}: {_MODEL_ONLY}")

    def _fork(self, parent: str, child: str) -> Answer:
        if parent not in self._actors:
            return Answer(-1, errno.ESRCH)
        answer, actor = self._actors[parent].fork()
        if actor is not None:
            self._actors[child] = actor
        return answer

    def _fork_many(self, parent: str, nr: int, name: str) -> Answer:
        if parent not in self._actors:
            return Answer(-1, errno.ESRCH)
        answer, group = self._actors[parent].fork_many(nr)
        self._groups[name] = group
        # Some children are not what the scenario is about.
        return answer if answer.result in (-1, nr) else Answer(-1, errno.EAGAIN)

    def _at(self, region: str, offset: str) -> int:
        return (self.scenario.regions[region].vpn + int(offset)) * _PAGE

    def _actor_step(self, process: str, verb: str, arguments: list[str]) -> Answer:
        actor, writer = self._actors[process], self.scenario.processes.index(process)
        region, *rest = arguments or [""]
        match verb, rest:
            case "map", ["anon" | "anonshared" as what, *place]:
                offset, nr = place or ("0", str(self.scenario.regions[region].nr_pages))
                at = {"start": self._at(region, offset), "length": int(nr) * _PAGE}
                return actor.tell("map_anon", flag=what == "anonshared", **at)
            case "map", [name, file_offset, offset, nr, mode]:
                places = [place for place, each in enumerate(self._objects) if each.name == name]
                at = {"start": self._at(region, offset), "length": int(nr) * _PAGE, "other": int(file_offset) * _PAGE}
                return actor.tell("map_object", flag=mode == "shared", thing=places[0], **at)
            case "unpin" | "unsplice", []:
                return actor.tell(verb)
            case _:
                at = {"start": self._at(region, rest[0]), "length": int(rest[1]) * _PAGE}
        match verb, rest[2:]:
            case "touch", [access]:
                return actor.tell("touch", flag=ord(access), writer=writer, **at)
            case "madv", [advice]:
                return actor.tell("advise", flag=_ADVICES[advice], **at)
            case "prot", [protection]:
                return actor.tell("protect", flag=_PROTECTIONS[protection], **at)
            case "remap", [to, offset]:
                return actor.tell("remap", other=self._at(to, offset), **at)
        return actor.tell(_RANGE_VERBS[verb], **at)

    def _object_step(self, words: list[str]) -> Answer:
        each = next(each for each in self._objects if each.name == words[1])
        if words[0] == "truncobj":
            return _tried(lambda: os.ftruncate(each.descriptor, int(words[2]) * _PAGE))
        if words[0] == "dropobj":
            os.fsync(each.descriptor)
            return _tried(lambda: os.posix_fadvise(each.descriptor, 0, 0, os.POSIX_FADV_DONTNEED))
        if len(words) > 2:
            os.posix_fadvise(each.descriptor, 0, each.nr_pages * _PAGE, os.POSIX_FADV_WILLNEED)
        done = 0
        while part := len(os.pread(each.descriptor, _OBJECT_CHUNK, done)):
            done += part
        return Answer(done // _PAGE, 0)

    def _ksm(self) -> Answer:
        try:
            for name, value in _KSM_KNOBS.items():
                if (KSM / name).exists():
                    self.knobs.set(KSM / name, value)
            self.knobs.set(KSM / "run", "1")
            scans, end = _scans(), time.monotonic() + _SCAN_TIMEOUT_S
            while _scans() < scans + _NR_SCANS:
                if time.monotonic() > end:
                    raise CannotRunError(f"ksm: ksmd has not scanned all for {_SCAN_TIMEOUT_S:.0f} s")
                time.sleep(0.005)
            self.knobs.set(KSM / "run", "0")
        except OSError as error:
            return Answer(-1, error.errno or errno.EIO)
        return Answer(0, 0)

    def _split(self, process: str, region: str, offset: int, nr: int, order: list[str]) -> Answer:
        if process not in self._actors:
            return Answer(-1, errno.ESRCH)
        start = self._at(region, str(offset))
        command = ",".join([str(self._actors[process].pid), hex(start), hex(start + nr * _PAGE), *order])
        return _tried(lambda: _SPLIT.write_text(command))


_ACTOR_VERBS: Final = frozenset(
    {"map", "touch", "madv", "prot", "remap", "unpin", "unsplice", *_RANGE_VERBS},
)


def _scans() -> int:
    return int((KSM / "full_scans").read_text())


def _tried(call: Any) -> Answer:
    try:
        call()
    except OSError as error:
        return Answer(-1, error.errno or errno.EIO)
    return Answer(0, 0)


def _open(kind: str, name: str, nr_pages: int) -> int:
    """Make a file object that is gone with its last descriptor."""
    if kind == "memfd":
        file = os.memfd_create(name, os.MFD_CLOEXEC)
    elif kind == "tmpfs":
        file = native.tmpfs(name)
    else:
        folder = "/var/tmp" if os.access("/var/tmp", os.W_OK) else tempfile.gettempdir()
        file, path = tempfile.mkstemp(prefix="folio_perf-", dir=folder)
        Path(path).unlink()
    try:
        if kind == "file":
            data = bytes([7]) * min(_OBJECT_CHUNK, nr_pages * _PAGE)
            for at in range(0, nr_pages * _PAGE, _OBJECT_CHUNK):
                os.pwrite(file, data[: nr_pages * _PAGE - at], at)
            os.fsync(file)
        else:
            os.ftruncate(file, nr_pages * _PAGE)
    except BaseException:
        os.close(file)
        raise
    return file
