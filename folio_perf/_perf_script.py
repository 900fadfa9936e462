# SPDX-License-Identifier: BSD-3-Clause
"""Reader of ``perf script --show-mmap-events --show-task-events`` text.

Three streams are joined: system calls (what the program asked for), PERF_RECORD_MMAP2 (which file a
mapping is of, and what exec mapped), page faults. ``docs/traces.md`` gives the rules.

An MMAP2 record shows the whole VMA after merging, and mprotect and brk emit it too
(``perf_event_mmap()`` in ``mprotect_fixup()`` and ``do_brk_flags()``); so within a system call it only
names the file, and the range comes from the call.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from folio_perf._trace_format import OP, TRACE_DTYPE, USER_END, TraceError, TraceHeader, check_rows
from folio_perf._trace_objects import ObjectTable, is_anonymous

__all__ = ["parse_perf_script"]

# include/uapi/linux/sched.h, asm-generic/mman.h, mman-common.h
CLONE_VM: Final = 0x100
CLONE_THREAD: Final = 0x10000
MAP_SHARED: Final = 0x01
MAP_PRIVATE: Final = 0x02
MAP_SHARED_TYPES: Final = (0x01, 0x03)  # MAP_SHARED, MAP_SHARED_VALIDATE
MAP_TYPE: Final = 0x0F
MAP_FIXED: Final = 0x10
MAP_ANONYMOUS: Final = 0x20
MAP_GROWSDOWN: Final = 0x100
MAP_HUGETLB: Final = 0x40000
PROT_WRITE: Final = 0x2
MADV_DONTNEED: Final = (4, 24)  # MADV_DONTNEED, MADV_DONTNEED_LOCKED

ERROR_RETURN: Final = (1 << 64) - 4095  # IS_ERR_VALUE()

_HEAD = re.compile(
    r"\s*\S.*?\s+(-?\d{1,10})\s+\[(\d{1,5})\]"
    r"\s+(\d{1,10})\.(\d{6}|\d{9}):\s+(.*)",
    re.ASCII | re.DOTALL,
)
_KIND = re.compile(r"(?:\d+\s+)?([^\s:,()\[\]]+(?::[^\s:,()\[\]]+)*):(?:\s|$)", re.ASCII)
_RECORD = re.compile(r"PERF_RECORD_\w+", re.ASCII)
_HEX = r"0x([0-9a-f]{1,16})"
_PID = r"(-?\d{1,10})"
_MMAP2 = re.compile(
    rf"PERF_RECORD_MMAP2 {_PID}/{_PID}: \[{_HEX}\({_HEX}\) @ (0|{_HEX}) "
    r"(?:([0-9a-f]{1,8}):([0-9a-f]{1,8}) (\d{1,20}) (\d{1,20})|<([0-9a-f]{1,64})>)\]: "
    r"([r-])([w-])([x-])([ps]) (.*)",
    re.ASCII | re.DOTALL,
)
_COMM = re.compile(rf"PERF_RECORD_COMM( exec)?: (.*):{_PID}/{_PID}\s*", re.ASCII | re.DOTALL)
_TASK = re.compile(rf"PERF_RECORD_(?:FORK|EXIT)\({_PID}:{_PID}\):\({_PID}:{_PID}\)\s*", re.ASCII)
_FAULT = re.compile(rf"address={_HEX} ip=.* error_code=0x([0-9a-f]{{1,4}})\s*", re.ASCII | re.DOTALL)
_NEWTASK = re.compile(r"pid=(\d{1,10}) comm=.* clone_flags=(?:0x)?([0-9a-f]{1,16})\b.*", re.ASCII | re.DOTALL)
_EXITING = re.compile(r"comm=.* pid=(\d{1,10}) prio=-?\d+(?: group_dead=(true|false|0|1))?\s*", re.ASCII | re.DOTALL)
_EXECED = re.compile(r"filename=.* pid=(\d{1,10}) old_pid=(\d{1,10})\s*", re.ASCII | re.DOTALL)
_RETURN = re.compile(rf"{_HEX}\s*", re.ASCII)

_ARGUMENTS: Final[dict[str, tuple[str, ...]]] = {
    "mmap": ("addr", "len", "prot", "flags", "fd", "off"),
    "munmap": ("addr", "len"),
    "mremap": ("addr", "old_len", "new_len", "flags", "new_addr"),
    "mprotect": ("start", "len", "prot"),
    "madvise": ("start", "len_in", "behavior"),
    "brk": ("brk",),
}
_CALL: Final = {
    name: re.compile(", ".join(rf"{argument}: {_HEX}" for argument in arguments) + r"\s*", re.ASCII)
    for name, arguments in _ARGUMENTS.items()
}

Row = tuple[int, ...]
_COLUMN: Final = {name: index for index, name in enumerate(TRACE_DTYPE.names or ())}


class _LineError(Exception):
    """A line that breaks the rule given as the argument."""


@dataclass(slots=True)
class _Mapping:
    """One MMAP2 record."""

    start: int
    length: int
    offset: int
    prot: int
    shared: bool
    name: str
    obj: int  # index into the objects, -1 anonymous


@dataclass(slots=True)
class _Call:
    """A system call between its enter and its exit line."""

    name: str
    arguments: tuple[int, ...]
    place: int = -1  # where the row goes if the call takes effect at entry
    row: Row = ()  # and that row, kept back until the call is known to have succeeded
    mapping: _Mapping | None = None


@dataclass(slots=True)
class _Process:
    """A thread group; ``heap`` is shared with a vfork parent until exec."""

    tids: set[int]
    heap: list[int | None]  # [break, start of the heap], None while unknown
    in_exec: bool = False
    image: list[int] = field(default_factory=list)  # rows of the mappings that the exec made
    stack: int = -1  # row of the stack that the exec made, until its first fault


class _Parser:
    """Turns lines into rows; `finish` gives header and rows."""

    def __init__(self, page_size_bytes: int) -> None:
        self.page = page_size_bytes
        self.rows: list[Row | None] = []
        self.kept: Counter[str] = Counter()
        self.ignored: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        self.assumed: Counter[str] = Counter()
        self.objects = ObjectTable()
        self.commands: dict[str, int] = {}
        self.processes: dict[int, _Process] = {}
        self.roots: list[int] = []
        self.tgid: dict[int, int] = {}  # of threads that do not lead their group
        self.calls: dict[int, _Call] = {}  # by tid
        self.forks: dict[int, int] = {}  # tid of a child whose clone flags are awaited -> its row
        self.group_dead: dict[int, bool] = {}  # by tid, from sched_process_exit until EXIT
        self.dead: set[int] = set()
        self.kernel = ""
        self.command = ""
        self.time_ns = 0
        self.cpu = 0
        self.tid = 0
        self.kinds: dict[str, Callable[[str], None]] = {
            "exceptions:page_fault_user": self.page_fault,
            "exceptions:page_fault_kernel": self.page_fault,
            "task:task_newtask": self.newtask,
            "sched:sched_process_exec": self.process_exec,
            "sched:sched_process_exit": self.process_exit,
        }
        for name in _ARGUMENTS:
            self.kinds[f"syscalls:sys_enter_{name}"] = self.make_enter(name)
            self.kinds[f"syscalls:sys_exit_{name}"] = self.make_exit(name)
        self.records: dict[str, Callable[[str], None]] = {
            "PERF_RECORD_MMAP2": self.mmap2,
            "PERF_RECORD_COMM": self.comm,
            "PERF_RECORD_FORK": self.fork,
            "PERF_RECORD_EXIT": self.exit,
        }

    # ---- lines ---------------------------------------------------------------------------------

    def line(self, text: str) -> None:
        head = _HEAD.fullmatch(text)
        if head is None:
            self.other_line(text)
            return
        tid, cpu, sec, frac, rest = head.groups()
        self.tid = int(tid)
        self.cpu = int(cpu)
        if self.cpu > 0xFFFF:
            raise _LineError(f"CPU {cpu} is beyond 65535")
        if self.tid > 0x7FFFFFFF:
            raise _LineError(f"thread id {tid} is beyond 2^31 - 1")
        if int(sec) >= 1 << 33:
            raise _LineError(f"time {sec} s is beyond 2^33 s")
        time_ns = int(sec) * 1_000_000_000 + int(frac) * (1000 if len(frac) == 6 else 1)
        if time_ns < self.time_ns:
            self.assumed["time_ran_backwards"] += 1
        else:
            self.time_ns = time_ns
        if rest.startswith("PERF_RECORD_"):
            self.record(rest)
            return
        kind = _KIND.match(rest)
        if kind is None:
            raise _LineError(f"no event name in {_shown(rest)}")
        name = kind.group(1)
        act = self.kinds.get(name)
        if act is None:
            self.ignored[name] += 1
            return
        act(rest[kind.end() :].lstrip())
        self.kept[name] += 1

    def record(self, rest: str) -> None:
        match = _RECORD.match(rest)
        if match is None:
            raise _LineError(f"no record type in {_shown(rest)}")
        name = match.group()
        act = self.records.get(name)
        if act is None:
            self.ignored[name] += 1
        else:
            act(rest)
            self.kept[name] += 1

    def other_line(self, text: str) -> None:
        text = text.strip()
        if not text:
            self.ignored["blank"] += 1
        elif text.startswith("#"):
            key, _, value = text.lstrip("# ").partition(":")
            if key.strip() == "os release":
                self.kernel = value.strip()
            elif key.strip() == "cmdline":
                self.command = value.strip()
            self.ignored["comment"] += 1
        else:
            raise _LineError(f"not 'comm tid [cpu] seconds.fraction: event': {_shown(text)}")

    # ---- rows ----------------------------------------------------------------------------------

    def make_row(
        self,
        op: str,
        pid: int,
        *,
        address: int = 0,
        length: int = 0,
        address2: int = 0,
        length2: int = 0,
        prot: int = 0,
        flags: int = 0,
        obj: int = -1,
        offset: int = 0,
        advice: int = 0,
        error_code: int = 0,
        child: int = 0,
        clone_flags: int = 0,
        command: int = -1,
    ) -> Row:
        return (
            self.time_ns,
            self.cpu,
            pid,
            OP[op],
            address,
            length,
            address2,
            length2,
            prot,
            flags,
            obj,
            offset,
            advice,
            error_code,
            child,
            clone_flags,
            command,
        )

    def change(self, index: int, column: str, value: int) -> None:
        row = list(self.rows[index] or ())
        row[_COLUMN[column]] = value
        self.rows[index] = tuple(row)

    def in_user_space(self, *ranges: tuple[int, int]) -> bool:
        """Whether the ranges (address, length) can be rows; count them if not."""
        if any(length == 0 for _, length in ranges):
            self.dropped["empty_range"] += 1
        elif any(address + length > USER_END for address, length in ranges):
            self.dropped["above_user_space"] += 1
        else:
            return True
        return False

    # ---- processes -----------------------------------------------------------------------------

    def process(self, pid: int, tid: int) -> _Process | None:
        """Return a living process; one that nobody forked was there before the trace began."""
        process = self.processes.get(pid)
        if process is None:
            if pid in self.dead or pid < 0:
                self.dropped["after_exit" if pid >= 0 else "no_process"] += 1
                return None
            self.roots.append(pid)
            process = self.processes[pid] = _Process(tids={tid}, heap=[None, None])
        return process

    def comm(self, text: str) -> None:
        match = _COMM.fullmatch(text)
        if match is None:
            raise _LineError(f"not 'PERF_RECORD_COMM: name:pid/tid': {_shown(text)}")
        execed, name = match.group(1, 2)
        pid, tid = _task_id(match.group(3)), _task_id(match.group(4))
        if not execed:
            if pid != tid:
                self.tgid[tid] = pid
                if pid in self.processes:
                    self.processes[pid].tids.add(tid)
            return
        process = self.process(pid, tid)
        if process is None:
            return
        self.calls.pop(tid, None)
        self.tgid.pop(tid, None)
        # begin_new_exec(): the other threads are gone, the new mm is in place, its mappings follow.
        process.tids = {tid}
        process.heap = [None, None]
        process.in_exec = True
        process.image = []
        process.stack = -1
        command = self.commands.setdefault(name, len(self.commands))
        self.rows.append(self.make_row("exec", pid, command=command))

    def process_exec(self, text: str) -> None:
        match = _EXECED.fullmatch(text)
        if match is None:
            raise _LineError(f"not 'filename=F pid=P old_pid=P': {_shown(text)}")
        process = self.processes.get(_task_id(match.group(1)))
        if process is not None:
            process.in_exec = False

    def fork(self, text: str) -> None:
        pid, tid, parent, parent_tid = self.task(text)
        if pid == parent:
            self.born_thread(pid, tid, parent_tid)
        else:
            self.born_process(pid, tid, parent, parent_tid)

    def born_thread(self, pid: int, tid: int, parent_tid: int) -> None:
        self.tgid[tid] = pid
        process = self.process(pid, parent_tid)
        if process is not None:
            process.tids.add(tid)
        self.forks[tid] = -1

    def born_process(self, pid: int, tid: int, parent: int, parent_tid: int) -> None:
        self.tgid.pop(tid, None)
        mother = self.process(parent, parent_tid)
        if mother is None:
            return
        if self.processes.pop(pid, None) is not None:
            self.assumed["exit_not_recorded"] += 1
            self.rows.append(self.make_row("exit", pid))
        self.dead.discard(pid)
        self.processes[pid] = _Process(tids={tid}, heap=list(mother.heap))
        self.forks[tid] = len(self.rows)
        self.rows.append(self.make_row("fork", parent, child=pid))

    def newtask(self, text: str) -> None:
        match = _NEWTASK.fullmatch(text)
        if match is None:
            raise _LineError(f"not 'pid=P comm=C clone_flags=F': {_shown(text)}")
        tid, clone_flags = _task_id(match.group(1)), int(match.group(2), 16)
        parent = self.tgid.get(self.tid, self.tid)
        if tid not in self.forks:
            if clone_flags & CLONE_THREAD:
                self.born_thread(parent, tid, self.tid)
            elif parent != tid:
                self.born_process(tid, tid, parent, self.tid)
        index = self.forks.pop(tid, -1)
        if index < 0:
            return
        self.change(index, "clone_flags", clone_flags)
        if clone_flags & CLONE_VM and tid in self.processes and parent in self.processes:
            self.processes[tid].heap = self.processes[parent].heap

    def process_exit(self, text: str) -> None:
        match = _EXITING.fullmatch(text)
        if match is None:
            raise _LineError(f"not 'comm=C pid=P prio=N': {_shown(text)}")
        if match.group(2) is not None:
            self.group_dead[_task_id(match.group(1))] = match.group(2) in ("true", "1")

    def exit(self, text: str) -> None:
        pid, tid, _, _ = self.task(text)
        group_dead = self.group_dead.pop(tid, None)
        self.tgid.pop(tid, None)
        if self.calls.pop(tid, None) is not None:
            self.dropped["call_without_exit"] += 1
        process = self.processes.get(pid)
        if process is None:
            self.dropped["exit_of_unknown_process"] += 1
            return
        process.tids.discard(tid)
        # The mm goes with the last thread; the leader may be the first to exit.
        if not process.tids if group_dead is None else group_dead:
            self.rows.append(self.make_row("exit", pid))
            del self.processes[pid]
            self.dead.add(pid)

    def task(self, text: str) -> tuple[int, int, int, int]:
        match = _TASK.fullmatch(text)
        if match is None:
            raise _LineError(f"not 'PERF_RECORD_FORK(pid:tid):(ppid:ptid)': {_shown(text)}")
        pid, tid, parent, parent_tid = match.groups()
        return _task_id(pid), _task_id(tid), _task_id(parent), _task_id(parent_tid)

    # ---- mappings ------------------------------------------------------------------------------

    def mmap2(self, text: str) -> None:
        match = _MMAP2.fullmatch(text)
        if match is None:
            raise _LineError(f"not a PERF_RECORD_MMAP2: {_shown(text)}")
        pid, tid = int(match.group(1)), int(match.group(2))
        if pid < 0:
            self.dropped["kernel_mapping"] += 1
            return
        pid, tid = _task_id(match.group(1)), _task_id(match.group(2))
        start, length = int(match.group(3), 16), int(match.group(4), 16)
        offset = int(match.group(5), 16)
        major, minor, inode, generation, build_id = match.group(7, 8, 9, 10, 11)
        read, write, execute, sharing, name = match.group(12, 13, 14, 15, 16)
        name = name.strip()
        shared = sharing == "s"
        obj = -1
        if not is_anonymous(name, shared):
            device = "build-id" if build_id else f"{major}:{minor}"
            obj = self.objects.index(name, device, _count(inode or "0"), _count(generation or "0"))
        mapping = _Mapping(
            start=start,
            length=length,
            offset=offset,
            prot=(read == "r") | (write == "w") << 1 | (execute == "x") << 2,
            shared=shared,
            name=name,
            obj=obj,
        )
        if pid != tid:
            self.tgid[tid] = pid
        call = self.calls.get(tid)
        if call is None:
            self.kernel_mmap(pid, tid, mapping)
        elif call.mapping is None:
            call.mapping = mapping

    def kernel_mmap(self, pid: int, tid: int, mapping: _Mapping) -> None:
        """Take a mapping that no traced call asked for: exec, shmat, growth of a stack."""
        process = self.process(pid, tid)
        if process is None:
            return
        stack = mapping.name == "[stack]"
        if stack and not process.in_exec:
            self.dropped["stack_growth"] += 1  # expand_downwards(); follows from the faults
            return
        start, length = mapping.start, mapping.length
        if not self.in_user_space((start, length)):
            return
        flags = MAP_FIXED | (MAP_SHARED if mapping.shared else MAP_PRIVATE)
        offset = self.object_offset(mapping.obj, mapping.offset)
        if mapping.obj < 0:
            flags |= MAP_ANONYMOUS
        if process.in_exec:
            # elf_load() maps the whole image at the first segment's offset and unmaps all but that
            # segment, without a record of it: the next segment shows where the first one ended.
            for index in process.image:
                row = self.rows[index]
                assert row is not None
                if row[_COLUMN["address"]] < start < row[_COLUMN["address"]] + row[_COLUMN["length"]]:
                    self.change(index, "length", start - row[_COLUMN["address"]])
            process.image.append(len(self.rows))
        if stack:
            flags |= MAP_GROWSDOWN
            process.stack = len(self.rows)
        self.rows.append(
            self.make_row(
                "kernel_mmap",
                pid,
                address=start,
                length=length,
                length2=min(self.page, length) if stack else 0,
                prot=mapping.prot,
                flags=flags,
                obj=mapping.obj,
                offset=offset,
            )
        )

    def object_offset(self, obj: int, offset: int) -> int:
        if obj < 0 or self.objects.kind(obj) == "special":
            return 0
        if offset >= 1 << 62:
            raise _LineError(f"file offset {offset:#x} is beyond 2^62")
        return offset

    def page_fault(self, text: str) -> None:
        match = _FAULT.fullmatch(text)
        if match is None:
            raise _LineError(f"not 'address=A ip=I error_code=E': {_shown(text)}")
        address, error_code = int(match.group(1), 16), int(match.group(2), 16)
        if address >= USER_END:
            self.dropped["kernel_address"] += 1
            return
        pid = self.tgid.get(self.tid, self.tid)
        process = self.process(pid, self.tid)
        if process is None:
            return
        address &= -self.page
        if process.in_exec:
            self.fault_in_exec(process, address, error_code)
        self.rows.append(self.make_row("fault", pid, address=address, length=self.page, error_code=error_code))

    def fault_in_exec(self, process: _Process, address: int, error_code: int) -> None:
        """Learn from exec's own first stack fault which pages were there without a fault.

        copy_strings() fills the pages of arguments and environment through get_user_pages(); the
        stack's first fault (create_elf_tables()) is on the page below them.
        """
        if error_code & 4:
            process.in_exec = False
        elif process.stack >= 0:
            row = self.rows[process.stack]
            assert row is not None
            end = row[_COLUMN["address"]] + row[_COLUMN["length"]]
            if row[_COLUMN["address"]] <= address < end:
                self.change(process.stack, "length2", end - address - self.page)
                process.stack = -1

    # ---- system calls --------------------------------------------------------------------------

    def make_enter(self, name: str) -> Callable[[str], None]:
        def enter(text: str) -> None:
            match = _CALL[name].fullmatch(text)
            if match is None:
                wanted = ", ".join(f"{argument}: 0x.." for argument in _ARGUMENTS[name])
                raise _LineError(f"not '{wanted}': {_shown(text)}")
            call = _Call(name, tuple(int(value, 16) for value in match.groups()))
            if self.calls.pop(self.tid, None) is not None:
                self.dropped["call_without_exit"] += 1
            pid = self.tgid.get(self.tid, self.tid)
            process = self.process(pid, self.tid)
            if process is None:
                return
            process.in_exec = False
            self.hold_place(call, pid, process)
            self.calls[self.tid] = call

        return enter

    def hold_place(self, call: _Call, pid: int, process: _Process) -> None:
        """Hold the place of a call that frees addresses: another thread may get them before it ends."""
        if call.name == "munmap":
            address, length = call.arguments
            row = ("munmap", {"address": address, "length": length})
        elif call.name == "madvise" and call.arguments[2] in MADV_DONTNEED:
            address, length, advice = call.arguments
            row = ("madvise", {"address": address, "length": length, "advice": advice})
        elif call.name == "brk":
            old, start = process.heap
            if old is None or start is None or not start <= call.arguments[0] < old:
                return
            row = ("brk", {"address": call.arguments[0], "address2": old, "length": old - start})
        else:
            return
        call.place = len(self.rows)
        call.row = self.make_row(row[0], pid, **row[1])
        self.rows.append(None)

    def make_exit(self, name: str) -> Callable[[str], None]:
        finish: Callable[[_Call, int, int], None] = getattr(self, f"exit_{name}")

        def leave(text: str) -> None:
            match = _RETURN.fullmatch(text)
            if match is None:
                raise _LineError(f"not a return value '0x..': {_shown(text)}")
            call = self.calls.pop(self.tid, None)
            if call is None or call.name != name:
                self.dropped["exit_without_call"] += 1
                return
            value = int(match.group(1), 16)
            if value >= ERROR_RETURN:
                self.dropped[f"failed_{name}"] += 1
                return
            finish(call, self.tgid.get(self.tid, self.tid), value)

        return leave

    def exit_mmap(self, call: _Call, pid: int, address: int) -> None:
        _, length, prot, flags, _, offset = call.arguments
        mapping = call.mapping
        shared = flags & MAP_TYPE in MAP_SHARED_TYPES
        if flags & MAP_HUGETLB and (mapping is None or mapping.obj < 0):
            obj = self.objects.unknown("hugetlb", "hugetlb")
        elif mapping is not None:
            obj = mapping.obj
        elif flags & MAP_ANONYMOUS and not shared:
            obj = -1
        else:
            obj = self.objects.unknown("unknown", "anon_shared" if flags & MAP_ANONYMOUS else "file")
            self.assumed["object_unknown"] += 1
        if not self.in_user_space((address, length)):
            return
        offset = 0 if flags & MAP_ANONYMOUS else self.object_offset(obj, offset)
        self.rows.append(
            self.make_row(
                "mmap",
                pid,
                address=address,
                length=length,
                prot=prot & 7,
                flags=flags & 0xFFFFFFFF,
                obj=obj,
                offset=offset,
            )
        )

    def exit_munmap(self, call: _Call, _pid: int, _value: int) -> None:
        address, length = call.arguments
        if self.in_user_space((address, length)):
            self.rows[call.place] = call.row

    def exit_mremap(self, call: _Call, pid: int, new_address: int) -> None:
        address, length, new_length, flags, _ = call.arguments
        if length == 0:
            self.dropped["mremap_duplicate"] += 1
        elif self.in_user_space((address, length), (new_address, new_length)):
            self.rows.append(
                self.make_row(
                    "mremap",
                    pid,
                    address=address,
                    length=length,
                    address2=new_address,
                    length2=new_length,
                    flags=flags & 0xFFFFFFFF,
                )
            )

    def exit_mprotect(self, call: _Call, pid: int, _value: int) -> None:
        address, length, prot = call.arguments
        if self.in_user_space((address, length)):
            self.rows.append(self.make_row("mprotect", pid, address=address, length=length, prot=prot & 7))

    def exit_madvise(self, call: _Call, pid: int, _value: int) -> None:
        address, length, advice = call.arguments
        if not self.in_user_space((address, length)):
            return
        if call.place >= 0:
            self.rows[call.place] = call.row
        else:
            self.rows.append(self.make_row("madvise", pid, address=address, length=length, advice=advice & 0xFFFF))

    def exit_brk(self, call: _Call, pid: int, new: int) -> None:
        process = self.processes.get(pid)
        if process is None:
            self.dropped["after_exit"] += 1
            return
        old, start = process.heap
        if old is None and call.mapping is not None:
            old = start = call.mapping.start
            self.assumed["heap_start"] += 1
        if old is None or start is None or old == new:
            process.heap[:] = [new, new if start is None else start]
            self.dropped["brk_without_change"] += 1
        elif new < start:
            process.heap[:] = [new, new]
            self.assumed["heap_moved"] += 1  # prctl(PR_SET_MM_START_BRK), or a heap from before the trace
        elif self.in_user_space((min(old, new), abs(new - old))):
            process.heap[:] = [new, start]
            if new < old and call.place >= 0 and call.arguments[0] == new:
                self.rows[call.place] = call.row
            else:
                self.rows.append(self.make_row("brk", pid, address=new, address2=old, length=old - start))

    # ---- the end -------------------------------------------------------------------------------

    def finish(self, *, source: str, origin: str, kernel: str, command: str) -> tuple[TraceHeader, NDArray[np.void]]:
        self.dropped["call_without_exit"] += len(self.calls)
        self.assumed["clone_flags_unknown"] += sum(index >= 0 for index in self.forks.values())
        rows = np.array([row for row in self.rows if row is not None], dtype=TRACE_DTYPE)
        self.measure_objects(rows)
        header = TraceHeader(
            origin=origin,
            kernel=kernel or self.kernel,
            command=command or self.command,
            page_size_bytes=self.page,
            objects=self.objects.finish(),
            commands=tuple(self.commands),
            roots=tuple(self.roots),
            lines_kept=+self.kept,
            lines_ignored=+self.ignored,
            dropped=+self.dropped,
            assumed=+self.assumed,
        )
        check_rows(rows, header, source=source, first=0)
        return header, rows

    def measure_objects(self, rows: NDArray[np.void]) -> None:
        """Give each object the size that its mappings reach."""
        for row in rows[rows["object"] >= 0]:
            self.objects.reach(
                int(row["object"]),
                int(row["offset"]) + int(row["length"]),
                written_shared=bool(row["prot"] & PROT_WRITE and row["flags"] & MAP_TYPE in MAP_SHARED_TYPES),
            )


def _shown(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "...")


def _task_id(text: str) -> int:
    value = int(text)
    if not 0 <= value <= 0x7FFFFFFF:
        raise _LineError(f"process or thread id {text} is not within 0 to 2^31 - 1")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value >= 1 << 64:
        raise _LineError(f"{text} does not fit 64 bits")
    return value


def parse_perf_script(
    lines: Iterable[str],
    *,
    source: str,
    origin: str,
    kernel: str = "",
    command: str = "",
    page_size_bytes: int = 4096,
) -> tuple[TraceHeader, NDArray[np.void]]:
    """Read the text of ``perf script --show-mmap-events --show-task-events``.

    Parameters
    ----------
    lines : iterable of str
        The lines, with or without their newline.
    source : str
        Named in errors.
    origin, kernel, command : str
        What the header says; kernel and command default to the header lines of ``perf script
        --header``, where the text has them.
    page_size_bytes : int
        Base page size of the recorded machine.

    Returns
    -------
    TraceHeader
    TRACE_DTYPE, shape (nr_rows,)

    Raises
    ------
    TraceError
        Naming the first line that breaks a rule.
    """
    parser = _Parser(page_size_bytes)
    number = 0
    try:
        for number, text in enumerate(lines, 1):  # noqa: B007
            parser.line(text.rstrip("\r\n"))
    except _LineError as error:
        raise TraceError(str(error), source=source, line=number) from None
    return parser.finish(source=source, origin=origin, kernel=kernel, command=command)
