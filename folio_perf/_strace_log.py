# SPDX-License-Identifier: BSD-3-Clause
"""Reader of ``strace -f -ttt -y`` logs.

A log has what the program asked for, with its arguments, and the process tree. It has no page fault, and nothing of
the mappings that exec makes: those come from snapshots, where the recorder takes them (`StraceReader.snapshot`).
``docs/traces.md`` says what is left out without them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from folio_perf._trace_builder import CALLS, CLONE_THREAD, CLONE_VM, ERROR_RETURN, Mapping, RowBuilder
from folio_perf._trace_format import TraceHeader
from folio_perf._trace_objects import is_anonymous
from folio_perf._trace_rows import LineError, shown
from folio_perf._trace_snapshot import PageEntries, SpaceTracker, Vma

__all__ = ["STRACE_CALLS", "StraceReader", "looks_like_strace"]

STRACE_CALLS: Final = (*CALLS, "clone", "clone3", "fork", "vfork", "execve", "execveat", "exit", "exit_group")
"""What ``strace -e trace=`` must name."""

_HEAD = re.compile(r"(?:(?:\[pid +(\d{1,10})\]|(\d{1,10})) +)?(\d{1,10})\.(\d{6}|\d{9}) (.*)", re.ASCII | re.DOTALL)
_WHOLE = re.compile(r"(\w+)\((.*)\) += (.*)", re.ASCII | re.DOTALL)
_BEGUN = re.compile(r"(\w+)\((.*?),? *<unfinished \.\.\.>\s*", re.ASCII | re.DOTALL)
_RESUMED = re.compile(r"<\.\.\. (\w+) resumed>(.*)\) += (.*)", re.ASCII | re.DOTALL)
_RESULT = re.compile(r"(-?\d{1,20}|0x[0-9a-f]{1,16}|\?)(?: ([A-Z]\w*)\b.*)?(?:[ <].*)?", re.ASCII | re.DOTALL)
_GONE = re.compile(
    r"\+\+\+ (exited with \d+|killed by \w+.*|superseded by execve in pid (\d{1,10})) \+\+\+\s*", re.ASCII
)
_OUTER_PID = re.compile(r"/\* (\d{1,10}) in strace's PID NS \*/", re.ASCII)
_NUMBER = r"(NULL|0x[0-9a-f]{1,16}|\d{1,20})"
_WORD = r"([A-Z0-9_|x a-f/*]+?)"
_FD = r"(-?\d{1,10})(?:<(.*)>(?:\(deleted\))?)?"
_ARGUMENTS: Final = {
    "mmap": re.compile(rf"{_NUMBER}, {_NUMBER}, {_WORD}, {_WORD}, {_FD}, {_NUMBER}", re.ASCII | re.DOTALL),
    "munmap": re.compile(rf"{_NUMBER}, {_NUMBER}", re.ASCII),
    "mremap": re.compile(rf"{_NUMBER}, {_NUMBER}, {_NUMBER}, {_WORD}(?:, {_NUMBER})?", re.ASCII),
    "mprotect": re.compile(rf"{_NUMBER}, {_NUMBER}, {_WORD}", re.ASCII),
    "madvise": re.compile(rf"{_NUMBER}, {_NUMBER}, {_WORD}", re.ASCII),
    "brk": re.compile(_NUMBER, re.ASCII),
}
_EXEC = re.compile(r'(?:AT_FDCWD(?:<.*?>)?, |\d+(?:<.*?>)?, )?"((?:[^"\\]|\\.)*)".*', re.ASCII | re.DOTALL)
_CLONE_FLAGS = re.compile(r"\bflags=([A-Z0-9_|xa-f]+)", re.ASCII)

# include/uapi/asm-generic/mman-common.h, mman.h, linux/mman.h, sched.h
_CONSTANTS: Final = {
    "PROT_NONE": 0, "PROT_READ": 1, "PROT_WRITE": 2, "PROT_EXEC": 4, "PROT_SEM": 8,
    "PROT_GROWSDOWN": 0x1000000, "PROT_GROWSUP": 0x2000000,
    "MAP_SHARED": 1, "MAP_PRIVATE": 2, "MAP_SHARED_VALIDATE": 3, "MAP_DROPPABLE": 8, "MAP_FIXED": 0x10,
    "MAP_ANONYMOUS": 0x20, "MAP_32BIT": 0x40, "MAP_GROWSDOWN": 0x100, "MAP_DENYWRITE": 0x800,
    "MAP_EXECUTABLE": 0x1000, "MAP_LOCKED": 0x2000, "MAP_NORESERVE": 0x4000, "MAP_POPULATE": 0x8000,
    "MAP_NONBLOCK": 0x10000, "MAP_STACK": 0x20000, "MAP_HUGETLB": 0x40000, "MAP_SYNC": 0x80000,
    "MAP_FIXED_NOREPLACE": 0x100000, "MREMAP_MAYMOVE": 1, "MREMAP_FIXED": 2, "MREMAP_DONTUNMAP": 4,
    "MADV_NORMAL": 0, "MADV_RANDOM": 1, "MADV_SEQUENTIAL": 2, "MADV_WILLNEED": 3, "MADV_DONTNEED": 4,
    "MADV_FREE": 8, "MADV_REMOVE": 9, "MADV_DONTFORK": 10, "MADV_DOFORK": 11, "MADV_MERGEABLE": 12,
    "MADV_UNMERGEABLE": 13, "MADV_HUGEPAGE": 14, "MADV_NOHUGEPAGE": 15, "MADV_DONTDUMP": 16, "MADV_DODUMP": 17,
    "MADV_WIPEONFORK": 18, "MADV_KEEPONFORK": 19, "MADV_COLD": 20, "MADV_PAGEOUT": 21, "MADV_POPULATE_READ": 22,
    "MADV_POPULATE_WRITE": 23, "MADV_DONTNEED_LOCKED": 24, "MADV_COLLAPSE": 25, "MADV_GUARD_INSTALL": 102,
    "MADV_GUARD_REMOVE": 103,
}  # fmt: skip
_CLONE: Final = {"CLONE_VM": CLONE_VM, "CLONE_VFORK": 0x4000, "CLONE_THREAD": CLONE_THREAD}
_BIRTHS: Final = {"clone": None, "clone3": None, "fork": 0, "vfork": CLONE_VM | 0x4000}


@dataclass(slots=True)
class _Begun:
    """A call that has begun and not ended."""

    name: str
    arguments: str
    child: int = 0  # of a clone: the task that has shown itself before the call ended


def looks_like_strace(text: str) -> bool:
    """Whether a line may be one of a log of strace."""
    return _HEAD.fullmatch(text.rstrip("\r\n")) is not None


class StraceReader:
    """Tells a `RowBuilder` what the lines say.

    Parameters
    ----------
    builder : RowBuilder
    kernel, command : str
        What the header says.
    execs_before : int
        Programs that the first process becomes before the recording begins.
    """

    def __init__(self, builder: RowBuilder, *, kernel: str = "", command: str = "", execs_before: int = 0) -> None:
        self.builder = builder
        self._kernel = kernel
        self._command = command
        self._skip = execs_before + 1 if execs_before else 0  # execs until the recording begins
        self._first = 0
        self._begun: dict[int, _Begun] = {}  # by tid
        self._tasks: set[int] = set()
        self._spaces: dict[int, SpaceTracker] = {}  # by pid
        self._bare: set[int] = set()  # processes whose image is not known
        self._tid = 0
        self._handlers: dict[str, Callable[[str, int], None]] = {
            **{name: self._call_of(name) for name in CALLS},
            "execve": self._exec,
            "execveat": self._exec,
        }

    @property
    def living(self) -> tuple[int, ...]:
        """The processes that may be looked at."""
        return tuple(self._spaces) if not self._skip else ()

    def finish(self) -> None:
        """Say that there are no more lines."""

    def header(self, *, origin: str) -> TraceHeader:
        """Return the header of what has been read."""
        return self.builder.header(origin=origin, kernel=self._kernel, command=self._command)

    def snapshot(self, pid: int, vmas: Iterable[tuple[Vma, PageEntries]]) -> None:
        """Take what a process has mapped now; see `SpaceTracker.compare`."""
        space = self._spaces.get(pid)
        if space is not None:
            space.compare(self.builder, pid, vmas)
            self.builder.end_exec(pid)
            self._bare.discard(pid)

    # ---- lines ---------------------------------------------------------------------------------

    def line(self, text: str) -> None:
        """Read a line."""
        head = _HEAD.fullmatch(text)
        if head is None:
            self._other_line(text)
            return
        bracketed, plain, sec, frac, rest = head.groups()
        tid = int(bracketed or plain or 1)
        if not 0 < tid <= 0x7FFFFFFF:
            raise LineError(f"process or thread id {tid} is not within 1 to 2^31 - 1")
        if int(sec) >= 1 << 33:
            raise LineError(f"time {sec} s is beyond 2^33 s")
        self._tid = tid
        self.builder.at(int(sec) * 1_000_000_000 + int(frac) * (1000 if len(frac) == 6 else 1), 0)
        self._show(tid)
        if rest.startswith(("--- ", "strace: ")):
            self.builder.ignored["signal"] += 1
        elif rest.startswith("+++ "):
            self._gone(rest)
        elif resumed := _RESUMED.fullmatch(rest):
            begun = self._begun.get(tid)
            if begun is None or begun.name != resumed[1]:
                self.builder.dropped["exit_without_call"] += 1
                return
            self._end(begun.name, begun.arguments + resumed[2], resumed[3])
        elif begin := _BEGUN.fullmatch(rest):
            self._begin(begin[1], begin[2])
        elif whole := _WHOLE.fullmatch(rest):
            self._begin(whole[1], whole[2])
            self._end(whole[1], whole[2], whole[3])
        else:
            raise LineError(f"not 'call(arguments) = result': {shown(rest)}")

    def _other_line(self, text: str) -> None:
        if not text.strip():
            self.builder.ignored["blank"] += 1
        elif text.startswith(("strace: ", "#")):
            self.builder.ignored["comment"] += 1
        else:
            raise LineError(f"not 'pid seconds.fraction call(arguments) = result' (strace -f -ttt): {shown(text)}")

    def _show(self, tid: int) -> None:
        """Take a task that shows itself: a child may do so before the call that makes it ends."""
        if tid in self._tasks:
            return
        waiting = [parent for parent, begun in self._begun.items() if begun.name in _BIRTHS and not begun.child]
        if waiting:
            if len(waiting) > 1:
                self.builder.assumed["parent_guessed"] += 1
            begun = self._begun[waiting[0]]
            begun.child = tid
            self._born(waiting[0], tid, begun)
            return
        self._tasks.add(tid)
        self._spaces[tid] = SpaceTracker(self.builder.page)
        self._bare.add(tid)
        self._first = self._first or tid

    def _born(self, parent_tid: int, tid: int, begun: _Begun) -> None:
        flags = _BIRTHS[begun.name]
        if flags is None:
            match = _CLONE_FLAGS.search(begun.arguments)
            if match is None:
                raise LineError(f"no flags in {shown(begun.arguments)}")
            flags = 0
            for word in match[1].split("|"):
                flags |= int(word, 16) if re.fullmatch(r"0x[0-9a-f]{1,16}", word) else _CLONE.get(word, 0)
        self._tasks.add(tid)
        parent = self.builder.pid_of(parent_tid)
        if self._skip:
            return
        # Thread or process; with its flags at once.
        self.builder.clone_flags(tid, flags, parent_tid)
        space = self._spaces.get(parent)
        if not flags & CLONE_THREAD and space is not None:
            self._spaces[tid] = space if flags & CLONE_VM else space.fork()
            if parent in self._bare:
                self._bare.add(tid)

    def _gone(self, rest: str) -> None:
        match = _GONE.fullmatch(rest)
        if match is None:
            raise LineError(f"not '+++ exited with N +++': {shown(rest)}")
        tid = self._tid
        self._begun.pop(tid, None)
        if match[2]:  # a thread's exec goes on under the number of its leader
            if (begun := self._begun.pop(int(match[2]), None)) is not None:
                self._begun[tid] = begun
            return
        self._tasks.discard(tid)
        pid = self.builder.pid_of(tid)
        self.builder.exit_task(pid, tid)
        if not self.builder.is_alive(pid):
            self._spaces.pop(pid, None)
            self._bare.discard(pid)
        self.builder.kept["exit"] += 1

    # ---- calls ---------------------------------------------------------------------------------

    def _begin(self, name: str, arguments: str) -> None:
        self._begun[self._tid] = _Begun(name, arguments)
        if self._skip or name not in CALLS:
            return
        values = self._values(name, arguments)
        if self._is_known(name, values):
            self.builder.begin_call(self._tid, name, values)

    def _end(self, name: str, arguments: str, result: str) -> None:
        begun = self._begun.pop(self._tid, _Begun(name, arguments))
        match = _RESULT.fullmatch(result)
        if match is None:
            raise LineError(f"{name} has no result in {shown(result)}")
        outer = _OUTER_PID.search(result)
        value = -1 if match[1] == "?" or match[2] else _integer(outer[1] if outer else match[1])
        if name in _BIRTHS:
            self._end_birth(begun, value)
        elif name in self._handlers:
            self._handlers[name](arguments, value)
        else:
            self.builder.ignored[name] += 1
            return
        self.builder.kept[name] += 1

    def _end_birth(self, begun: _Begun, value: int) -> None:
        if value <= 0:
            self.builder.dropped["failed_fork"] += 1
        elif value > 0x7FFFFFFF:
            raise LineError(f"child {value} is not within 1 to 2^31 - 1")
        elif value not in self._tasks:
            self._born(self._tid, value, begun)

    def _exec(self, arguments: str, value: int) -> None:
        if value:
            self.builder.dropped["failed_execve"] += 1
            return
        match = _EXEC.fullmatch(arguments)
        if match is None:
            raise LineError(f"no program in {shown(arguments)}")
        pid = self.builder.pid_of(self._tid)
        if self._skip:
            self._skip -= pid == self._first
            if self._skip:
                return
        self._tasks.add(pid)
        name = match[1].split("/")[-1][:15]  # TASK_COMM_LEN
        self.builder.exec(pid, self._tid, name)
        self._spaces[pid] = SpaceTracker(self.builder.page)
        self._bare.add(pid)

    def _is_known(self, name: str, values: tuple[int, ...]) -> bool:
        """Whether a call acts on what is known; the image of an exec is not, unless a snapshot has shown it."""
        pid = self.builder.pid_of(self._tid)
        space = self._spaces.get(pid)
        if space is None:
            self.builder.dropped["after_exit"] += 1
            return False
        if pid in self._bare:
            self._bare.discard(pid)
            self.builder.assumed["exec_image_unknown"] += 1
        if name in ("munmap", "mremap", "mprotect", "madvise") and not space.knows(values[0], values[0] + values[1]):
            self.builder.dropped["unknown_range"] += 1
            return False
        if name == "munmap":
            space.unmap(values[0], values[0] + values[1])
        elif name == "madvise" and values[2] in (4, 24):
            space.drop_pages(values[0], values[0] + values[1])
        return True

    def _values(self, name: str, arguments: str) -> tuple[int, ...]:
        match = _ARGUMENTS[name].fullmatch(arguments.strip())
        if match is None:
            raise LineError(f"not the arguments of {name}: {shown(arguments)}")
        groups = list(match.groups())
        if name == "mmap":
            del groups[5]  # the file's name
        values = [self._number(name, group or "0") for group in groups]
        return tuple(value & (1 << 64) - 1 for value in values)

    def _number(self, name: str, text: str) -> int:
        """Read a number or names of constants, ``A|B``; one may stand for the other: ``0x3 /* A|B */``."""
        text = re.sub(r"/\*.*?\*/", "", text).strip()
        total = 0
        for word in text.split("|"):
            if word == "NULL":
                continue
            if re.fullmatch(r"-?\d+|0x[0-9a-f]+", word, re.ASCII):
                value = _integer(word)
            elif word in _CONSTANTS:
                value = _CONSTANTS[word]
            elif re.fullmatch(r"\d+<<MAP_HUGE_SHIFT", word, re.ASCII) or word.startswith("MAP_HUGE_"):
                value = 0
            else:
                raise LineError(f"{name} has an unknown constant {word!r}")
            total |= value
        if not -(1 << 63) <= total < 1 << 64:
            raise LineError(f"{name} has {text}, which does not fit 64 bits")
        return total

    def _call_of(self, name: str) -> Callable[[str, int], None]:
        def end(arguments: str, value: int) -> None:
            if self._skip or not self.builder.in_call(self._tid, name):
                return
            result = value if value >= 0 else ERROR_RETURN
            if value >= 0:
                self._learn(name, arguments, value)
            self.builder.end_call(self._tid, name, result)

        return end

    def _learn(self, name: str, arguments: str, value: int) -> None:
        """Keep what is mapped, and what of; the call has succeeded."""
        pid = self.builder.pid_of(self._tid)
        space = self._spaces[pid]
        values = self._values(name, arguments)
        if name == "mmap":
            space.map(value, value + self._whole(values[1]))
            match = _ARGUMENTS["mmap"].fullmatch(arguments.strip())
            shared = values[3] & 0xF in (1, 3)
            path = match[6] if match is not None else None
            if path is not None and not values[3] & 0x20 and not is_anonymous(path, shared):
                path = re.sub(r"<(?:char|block) [\d:]+>$", "", path)
                obj = self.builder.objects.index(path, "path", 0, 0)
                mapping = Mapping(value, values[1], values[5], values[2] & 7, shared, path, obj)
                self.builder.map_record(pid, self._tid, mapping)
        elif name == "mremap":
            if values[1]:
                space.unmap(values[0], values[0] + self._whole(values[1]))
            space.map(value, value + self._whole(values[2]))
        elif name == "brk":
            heap = self.builder.heap_of(pid)
            if heap is not None and value > heap:
                space.map(heap & -self.builder.page, self._whole(value))
            elif heap is not None and value < heap:
                space.unmap(self._whole(value), self._whole(heap))

    def _whole(self, nr_bytes: int) -> int:
        return -(-nr_bytes // self.builder.page) * self.builder.page


def _integer(text: str) -> int:
    return int(text, 16) if text.startswith("0x") else int(text)
