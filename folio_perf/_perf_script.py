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
from collections.abc import Callable
from typing import Final

from folio_perf._trace_builder import CALLS, Mapping, RowBuilder
from folio_perf._trace_format import TraceHeader
from folio_perf._trace_objects import is_anonymous
from folio_perf._trace_rows import LineError, shown

__all__ = ["PerfScriptReader"]

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
_LOST = re.compile(r"PERF_RECORD_LOST(?:_SAMPLES)? lost (\d{1,20})\s*", re.ASCII)
_FAULT = re.compile(rf"address={_HEX} ip=.* error_code=0x([0-9a-f]{{1,4}})\s*", re.ASCII | re.DOTALL)
_NEWTASK = re.compile(r"pid=(\d{1,10}) comm=.* clone_flags=(?:0x)?([0-9a-f]{1,16})\b.*", re.ASCII | re.DOTALL)
_EXITING = re.compile(r"comm=.* pid=(\d{1,10}) prio=-?\d+(?: group_dead=(true|false|0|1))?\s*", re.ASCII | re.DOTALL)
_EXECED = re.compile(r"filename=.* pid=(\d{1,10}) old_pid=(\d{1,10})\s*", re.ASCII | re.DOTALL)
_RETURN = re.compile(rf"{_HEX}\s*", re.ASCII)
_CALL: Final = {
    name: re.compile(", ".join(rf"{argument}: {_HEX}" for argument in arguments) + r"\s*", re.ASCII)
    for name, arguments in CALLS.items()
}


class PerfScriptReader:
    """Tells a `RowBuilder` what the lines say.

    Parameters
    ----------
    builder : RowBuilder
    kernel, command : str
        What the header says; they default to the header lines of ``perf script --header``, where the text has them.
    """

    def __init__(self, builder: RowBuilder, *, kernel: str = "", command: str = "") -> None:
        self.builder = builder
        self._kernel, self._kernel_found = kernel, ""
        self._command, self._command_found = command, ""
        self._tid = 0
        self._group_dead: dict[int, bool] = {}  # by tid, from sched_process_exit until EXIT
        self._kinds: dict[str, Callable[[str], None]] = {
            "exceptions:page_fault_user": self._page_fault,
            "exceptions:page_fault_kernel": self._page_fault,
            "task:task_newtask": self._newtask,
            "sched:sched_process_exec": self._process_exec,
            "sched:sched_process_exit": self._process_exit,
        }
        for name in CALLS:
            self._kinds[f"syscalls:sys_enter_{name}"] = self._enter_of(name)
            self._kinds[f"syscalls:sys_exit_{name}"] = self._exit_of(name)
        self._records: dict[str, Callable[[str], None]] = {
            "PERF_RECORD_MMAP2": self._mmap2,
            "PERF_RECORD_COMM": self._comm,
            "PERF_RECORD_FORK": self._fork,
            "PERF_RECORD_EXIT": self._exit,
            "PERF_RECORD_LOST": self._lost,
            "PERF_RECORD_LOST_SAMPLES": self._lost,
        }

    def line(self, text: str) -> None:
        """Read a line."""
        head = _HEAD.fullmatch(text)
        if head is None:
            self._other_line(text)
            return
        tid, cpu, sec, frac, rest = head.groups()
        self._tid = int(tid)
        if int(cpu) > 0xFFFF:
            raise LineError(f"CPU {cpu} is beyond 65535")
        if self._tid > 0x7FFFFFFF:
            raise LineError(f"thread id {tid} is beyond 2^31 - 1")
        if int(sec) >= 1 << 33:
            raise LineError(f"time {sec} s is beyond 2^33 s")
        self.builder.at(int(sec) * 1_000_000_000 + int(frac) * (1000 if len(frac) == 6 else 1), int(cpu))
        if rest.startswith("PERF_RECORD_"):
            self._record(rest)
            return
        kind = _KIND.match(rest)
        if kind is None:
            raise LineError(f"no event name in {shown(rest)}")
        name = kind.group(1)
        act = self._kinds.get(name)
        if act is None:
            self.builder.ignored[name] += 1
            return
        act(rest[kind.end() :].lstrip())
        self.builder.kept[name] += 1

    def finish(self) -> None:
        """Say that there are no more lines."""

    def header(self, *, origin: str) -> TraceHeader:
        """Return the header of what has been read."""
        return self.builder.header(
            origin=origin, kernel=self._kernel or self._kernel_found, command=self._command or self._command_found
        )

    def _record(self, rest: str) -> None:
        match = _RECORD.match(rest)
        if match is None:
            raise LineError(f"no record type in {shown(rest)}")
        name = match.group()
        act = self._records.get(name)
        if act is None:
            self.builder.ignored[name] += 1
        else:
            act(rest)
            self.builder.kept[name] += 1

    def _other_line(self, text: str) -> None:
        text = text.strip()
        if not text:
            self.builder.ignored["blank"] += 1
        elif text.startswith("#"):
            key, _, value = text.lstrip("# ").partition(":")
            if key.strip() == "os release":
                self._kernel_found = value.strip()
            elif key.strip() == "cmdline":
                self._command_found = value.strip()
            self.builder.ignored["comment"] += 1
        else:
            raise LineError(f"not 'comm tid [cpu] seconds.fraction: event': {shown(text)}")

    # ---- records -------------------------------------------------------------------------------

    def _comm(self, text: str) -> None:
        match = _COMM.fullmatch(text)
        if match is None:
            raise LineError(f"not 'PERF_RECORD_COMM: name:pid/tid': {shown(text)}")
        execed, name = match.group(1, 2)
        pid, tid = _task_id(match.group(3)), _task_id(match.group(4))
        if execed:
            self.builder.exec(pid, tid, name)
        else:
            self.builder.note_thread(pid, tid)

    def _fork(self, text: str) -> None:
        pid, tid, parent, parent_tid = self._task(text)
        if pid == parent:
            self.builder.born_thread(pid, tid, parent_tid)
        else:
            self.builder.born_process(pid, tid, parent, parent_tid)

    def _exit(self, text: str) -> None:
        pid, tid, _, _ = self._task(text)
        self.builder.exit_task(pid, tid, group_dead=self._group_dead.pop(tid, None))

    def _lost(self, text: str) -> None:
        match = _LOST.fullmatch(text)
        if match is None:
            raise LineError(f"not 'PERF_RECORD_LOST lost N': {shown(text)}")
        self.builder.dropped["lost_by_perf"] += _count(match.group(1))

    def _task(self, text: str) -> tuple[int, int, int, int]:
        match = _TASK.fullmatch(text)
        if match is None:
            raise LineError(f"not 'PERF_RECORD_FORK(pid:tid):(ppid:ptid)': {shown(text)}")
        pid, tid, parent, parent_tid = match.groups()
        return _task_id(pid), _task_id(tid), _task_id(parent), _task_id(parent_tid)

    def _mmap2(self, text: str) -> None:
        match = _MMAP2.fullmatch(text)
        if match is None:
            raise LineError(f"not a PERF_RECORD_MMAP2: {shown(text)}")
        if int(match.group(1)) < 0:
            self.builder.dropped["kernel_mapping"] += 1
            return
        pid, tid = _task_id(match.group(1)), _task_id(match.group(2))
        if self.builder.is_awaited(pid):
            self.builder.dropped["before_exec"] += 1
            return
        major, minor, inode, generation, build_id = match.group(7, 8, 9, 10, 11)
        read, write, execute, sharing, name = match.group(12, 13, 14, 15, 16)
        name = name.strip()
        shared = sharing == "s"
        obj = -1
        if not is_anonymous(name, shared):
            device = "build-id" if build_id else f"{major}:{minor}"
            obj = self.builder.objects.index(name, device, _count(inode or "0"), _count(generation or "0"))
        mapping = Mapping(
            start=int(match.group(3), 16),
            length=int(match.group(4), 16),
            offset=int(match.group(5), 16),
            prot=(read == "r") | (write == "w") << 1 | (execute == "x") << 2,
            shared=shared,
            name=name,
            obj=obj,
        )
        self.builder.map_record(pid, tid, mapping)

    # ---- tracepoints ---------------------------------------------------------------------------

    def _process_exec(self, text: str) -> None:
        match = _EXECED.fullmatch(text)
        if match is None:
            raise LineError(f"not 'filename=F pid=P old_pid=P': {shown(text)}")
        self.builder.end_exec(_task_id(match.group(1)))

    def _newtask(self, text: str) -> None:
        match = _NEWTASK.fullmatch(text)
        if match is None:
            raise LineError(f"not 'pid=P comm=C clone_flags=F': {shown(text)}")
        self.builder.clone_flags(_task_id(match.group(1)), int(match.group(2), 16), self._tid)

    def _process_exit(self, text: str) -> None:
        match = _EXITING.fullmatch(text)
        if match is None:
            raise LineError(f"not 'comm=C pid=P prio=N': {shown(text)}")
        if match.group(2) is not None:
            self._group_dead[_task_id(match.group(1))] = match.group(2) in ("true", "1")

    def _page_fault(self, text: str) -> None:
        match = _FAULT.fullmatch(text)
        if match is None:
            raise LineError(f"not 'address=A ip=I error_code=E': {shown(text)}")
        self.builder.fault(self._tid, int(match.group(1), 16), int(match.group(2), 16))

    def _enter_of(self, name: str) -> Callable[[str], None]:
        def enter(text: str) -> None:
            match = _CALL[name].fullmatch(text)
            if match is None:
                wanted = ", ".join(f"{argument}: 0x.." for argument in CALLS[name])
                raise LineError(f"not '{wanted}': {shown(text)}")
            self.builder.begin_call(self._tid, name, tuple(int(value, 16) for value in match.groups()))

        return enter

    def _exit_of(self, name: str) -> Callable[[str], None]:
        def leave(text: str) -> None:
            match = _RETURN.fullmatch(text)
            if match is None:
                raise LineError(f"not a return value '0x..': {shown(text)}")
            self.builder.end_call(self._tid, name, int(match.group(1), 16))

        return leave


def _task_id(text: str) -> int:
    value = int(text)
    if not 0 <= value <= 0x7FFFFFFF:
        raise LineError(f"process or thread id {text} is not within 0 to 2^31 - 1")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value >= 1 << 64:
        raise LineError(f"{text} does not fit 64 bits")
    return value
