# SPDX-License-Identifier: BSD-3-Clause
"""From what the kernel said, event by event, to the rows of a trace; ``docs/traces.md`` gives the rules.

A reader of some recording (text of perf, log of strace) finds the events and tells `RowBuilder`. Rows are made in
order and handed out as soon as nothing can change them any more, so memory does not grow with the recording.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from folio_perf._trace_format import USER_END, TraceError, TraceHeader
from folio_perf._trace_rows import MAP_SHARED_TYPES, MAP_TYPE, MAX_HELD_ROWS, LineError, Row, RowStore

__all__ = [
    "CALLS",
    "CLONE_THREAD",
    "CLONE_VM",
    "ERROR_RETURN",
    "LineReader",
    "Mapping",
    "RowBuilder",
    "rows_of_lines",
]

# include/uapi/linux/sched.h, asm-generic/mman.h, mman-common.h
CLONE_VM: Final = 0x100
CLONE_THREAD: Final = 0x10000
MAP_SHARED: Final = 0x01
MAP_PRIVATE: Final = 0x02
MAP_FIXED: Final = 0x10
MAP_ANONYMOUS: Final = 0x20
MAP_GROWSDOWN: Final = 0x100
MAP_HUGETLB: Final = 0x40000
MADV_DONTNEED: Final = (4, 24)  # MADV_DONTNEED, MADV_DONTNEED_LOCKED

ERROR_RETURN: Final = (1 << 64) - 4095  # IS_ERR_VALUE()

CALLS: Final[dict[str, tuple[str, ...]]] = {
    "mmap": ("addr", "len", "prot", "flags", "fd", "off"),
    "munmap": ("addr", "len"),
    "mremap": ("addr", "old_len", "new_len", "flags", "new_addr"),
    "mprotect": ("start", "len", "prot"),
    "madvise": ("start", "len_in", "behavior"),
    "brk": ("brk",),
}
"""The system calls that change mappings, and their arguments as the kernel names them."""


class LineReader(Protocol):
    """Reads a recording line by line and tells its `builder`."""

    builder: RowBuilder

    def line(self, text: str) -> None:
        """Read a line, without its newline; raise LineError if it breaks a rule."""

    def finish(self) -> None:
        """Say that there are no more lines."""

    def header(self, *, origin: str) -> TraceHeader:
        """Return the header of what has been read."""


@dataclass(slots=True)
class Mapping:
    """What a recording says of one mapping."""

    start: int
    length: int
    offset: int
    prot: int
    shared: bool
    name: str
    obj: int  # index into the objects, -1 anonymous


@dataclass(slots=True)
class _Call:
    """A system call between its beginning and its end."""

    name: str
    arguments: tuple[int, ...]
    place: int = -1  # where the row goes if the call takes effect at its beginning
    row: Row = ()  # and that row, kept back until the call is known to have succeeded
    mapping: Mapping | None = None


@dataclass(slots=True)
class _Process:
    """A thread group; ``heap`` is shared with a vfork parent until exec."""

    tids: set[int]
    heap: list[int | None]  # [break, start of the heap], None while unknown
    in_exec: bool = False
    image: list[int] = field(default_factory=list)  # rows of the mappings that the exec made
    stack: int = -1  # row of the stack that the exec made, until its first fault


def _unknown_rss(_: int) -> int:
    return 0


class RowBuilder(RowStore):
    """Turns events into rows.

    Parameters
    ----------
    page_size_bytes : int
        Base page size of the recorded machine.
    starts_with : int, optional
        The process whose exec begins the recording; what it did before is left out.
    exit_rss : callable, optional
        Gives the Rss in bytes that was sampled when a process, named by its pid, exited; 0 if none was.
    """

    def __init__(
        self,
        page_size_bytes: int,
        *,
        starts_with: int | None = None,
        exit_rss: Callable[[int], int] = _unknown_rss,
    ) -> None:
        super().__init__(page_size_bytes)
        self._awaited = starts_with
        self._exit_rss = exit_rss
        self._processes: dict[int, _Process] = {}
        self._tgid: dict[int, int] = {}  # of threads that do not lead their group
        self._calls: dict[int, _Call] = {}  # by tid
        self._forks: dict[int, int] = {}  # tid of a child whose clone flags are awaited -> its row
        self._dead: set[int] = set()

    # ---- rows that may still change ------------------------------------------------------------

    def _fixed_until(self) -> int:
        """Return the number of the first row that may still change, after giving up on those that wait too long."""
        end = self._first + len(self._rows)
        oldest = end - MAX_HELD_ROWS
        first = end
        for tid, index in list(self._forks.items()):
            if 0 <= index < oldest:
                self.assumed["clone_flags_unknown"] += 1
                del self._forks[tid]
            elif index >= 0:
                first = min(first, index)
        for call in self._calls.values():
            if 0 <= call.place < oldest:
                self.assumed["effect_at_end_of_call"] += 1
                call.place = -1
            elif call.place >= 0:
                first = min(first, call.place)
        for process in self._processes.values():
            if process.in_exec and process.image:
                if process.image[0] < oldest:
                    process.in_exec = False
                else:
                    first = min(first, process.image[0])
        return first

    def _end_what_is_open(self) -> None:
        self.dropped["call_without_exit"] += len(self._calls)
        self._calls.clear()
        self.assumed["clone_flags_unknown"] += sum(index >= 0 for index in self._forks.values())
        self._forks.clear()

    # ---- processes -----------------------------------------------------------------------------

    def pid_of(self, tid: int) -> int:
        """Return the thread group of a thread."""
        return self._tgid.get(tid, tid)

    @property
    def has_living_root(self) -> bool:
        """Whether one of the processes that the recording began with has not exited."""
        return any(pid in self._processes for pid in self._roots)

    def is_awaited(self, pid: int) -> bool:
        """Whether what a process does is left out, since the recording begins with its exec."""
        return pid == self._awaited

    def is_alive(self, pid: int) -> bool:
        """Whether a process is known and has not exited."""
        return pid in self._processes

    def in_call(self, tid: int, name: str) -> bool:
        """Whether a thread is in a call of that name."""
        call = self._calls.get(tid)
        return call is not None and call.name == name

    def heap_of(self, pid: int) -> int | None:
        """Return the break of a process, None if it is not known."""
        process = self._processes.get(pid)
        return process.heap[0] if process is not None else None

    def note_thread(self, pid: int, tid: int) -> None:
        """Learn by the way that a thread belongs to a process."""
        if pid != tid:
            self._tgid[tid] = pid
            if pid in self._processes:
                self._processes[pid].tids.add(tid)

    def _process(self, pid: int, tid: int) -> _Process | None:
        """Return a living process; one that nobody forked was there before the trace began."""
        process = self._processes.get(pid)
        if process is None:
            if pid == self._awaited:
                self.dropped["before_exec"] += 1
                return None
            if pid in self._dead or pid < 0:
                self.dropped["after_exit" if pid >= 0 else "no_process"] += 1
                return None
            self._roots.append(pid)
            process = self._processes[pid] = _Process(tids={tid}, heap=[None, None])
        return process

    def exec(self, pid: int, tid: int, name: str, *, image_follows: bool = True) -> None:
        """Let a process have a new, empty mm; its first mappings follow until `end_exec`."""
        if pid == self._awaited:
            self._awaited = None
        process = self._process(pid, tid)
        if process is None:
            return
        self._calls.pop(tid, None)
        self._tgid.pop(tid, None)
        # begin_new_exec(): the other threads are gone, the new mm is in place, its mappings follow.
        process.tids = {tid}
        process.heap = [None, None]
        process.in_exec = image_follows
        process.image = []
        process.stack = -1
        command = self._commands.setdefault(name, len(self._commands))
        self._append(self._row("exec", pid, command=command))

    def end_exec(self, pid: int) -> None:
        """Say that the mappings of an exec are complete."""
        process = self._processes.get(pid)
        if process is not None:
            process.in_exec = False

    def born_thread(self, pid: int, tid: int, parent_tid: int) -> None:
        """Let a thread be born; `clone_flags` may follow."""
        self._tgid[tid] = pid
        process = self._process(pid, parent_tid)
        if process is not None:
            process.tids.add(tid)
        self._forks[tid] = -1

    def born_process(self, pid: int, tid: int, parent: int, parent_tid: int) -> None:
        """Let a process be born; its `clone_flags` may follow."""
        self._tgid.pop(tid, None)
        mother = self._process(parent, parent_tid)
        if mother is None:
            return
        if self._processes.pop(pid, None) is not None:
            self.assumed["exit_not_recorded"] += 1
            self._append(self._row("exit", pid))
        self._dead.discard(pid)
        self._processes[pid] = _Process(tids={tid}, heap=list(mother.heap))
        self._forks[tid] = self._append(self._row("fork", parent, child=pid))

    def clone_flags(self, tid: int, clone_flags: int, parent_tid: int) -> None:
        """Say with which flags a task was made, which need not be known yet."""
        parent = self.pid_of(parent_tid)
        if tid not in self._forks:
            if clone_flags & CLONE_THREAD:
                self.born_thread(parent, tid, parent_tid)
            elif parent != tid:
                self.born_process(tid, tid, parent, parent_tid)
        index = self._forks.pop(tid, -1)
        if index < 0:
            return
        self._change(index, "clone_flags", clone_flags)
        if clone_flags & CLONE_VM and tid in self._processes and parent in self._processes:
            self._processes[tid].heap = self._processes[parent].heap

    def exit_task(self, pid: int, tid: int, *, group_dead: bool | None = None) -> None:
        """Let a thread exit; its process goes with the last one, by `group_dead` where that is known."""
        self._tgid.pop(tid, None)
        if self._forks.get(tid, 0) < 0:
            del self._forks[tid]
        if self._calls.pop(tid, None) is not None:
            self.dropped["call_without_exit"] += 1
        process = self._processes.get(pid)
        if process is None:
            self.dropped["exit_of_unknown_process"] += 1
            return
        process.tids.discard(tid)
        # The mm goes with the last thread; the leader may be the first to exit.
        if not process.tids if group_dead is None else group_dead:
            self._append(self._row("exit", pid, length=self._exit_rss(pid)))
            del self._processes[pid]
            self._dead.add(pid)

    # ---- mappings ------------------------------------------------------------------------------

    def map_record(self, pid: int, tid: int, mapping: Mapping) -> None:
        """Take what the kernel says of a mapping: it belongs to the call under way, or to no traced call."""
        if pid != tid:
            self._tgid[tid] = pid
        call = self._calls.get(tid)
        if call is None:
            self.kernel_mmap(pid, tid, mapping)
        elif call.mapping is None:
            call.mapping = mapping

    def kernel_mmap(self, pid: int, tid: int, mapping: Mapping) -> None:
        """Take a mapping that no traced call asked for: exec, shmat, growth of a stack."""
        process = self._process(pid, tid)
        if process is None:
            return
        stack = mapping.name == "[stack]"
        if stack and not process.in_exec:
            self.dropped["stack_growth"] += 1  # expand_downwards(); follows from the faults
            return
        start, length = mapping.start, mapping.length
        if not self._in_user_space((start, length)):
            return
        flags = MAP_FIXED | (MAP_SHARED if mapping.shared else MAP_PRIVATE)
        offset = self._object_offset(mapping.obj, mapping.offset)
        if mapping.obj < 0:
            flags |= MAP_ANONYMOUS
        if stack:
            flags |= MAP_GROWSDOWN
        number = self._append(
            self._row(
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
        if process.in_exec:
            # elf_load() maps the whole image at the first segment's offset and unmaps all but that
            # segment, without a record of it: the next segment shows where the first one ended.
            for index in process.image:
                low, high = self._range_of(index)
                if low < start < high:
                    self._change(index, "length", start - low)
            process.image.append(number)
        if stack:
            process.stack = number

    def _object_offset(self, obj: int, offset: int) -> int:
        if obj < 0 or self.objects.kind(obj) == "special":
            return 0
        if offset >= 1 << 62:
            raise LineError(f"file offset {offset:#x} is beyond 2^62")
        return offset

    def fault(self, tid: int, address: int, error_code: int) -> None:
        """Take a page fault."""
        if address >= USER_END:
            self.dropped["kernel_address"] += 1
            return
        pid = self.pid_of(tid)
        process = self._process(pid, tid)
        if process is None:
            return
        address &= -self.page
        if process.in_exec:
            self._fault_in_exec(process, address, error_code)
        self._append(self._row("fault", pid, address=address, length=self.page, error_code=error_code))

    def _fault_in_exec(self, process: _Process, address: int, error_code: int) -> None:
        """Learn from exec's own first stack fault which pages were there without a fault.

        copy_strings() fills the pages of arguments and environment through get_user_pages(); the
        stack's first fault (create_elf_tables()) is on the page below them.
        """
        if error_code & 4:
            process.in_exec = False
        elif process.stack >= 0:
            low, high = self._range_of(process.stack)
            if low <= address < high:
                self._change(process.stack, "length2", high - address - self.page)
                process.stack = -1

    # ---- system calls --------------------------------------------------------------------------

    def begin_call(self, tid: int, name: str, arguments: tuple[int, ...]) -> None:
        """Let a call of `CALLS` begin."""
        call = _Call(name, arguments)
        if self._calls.pop(tid, None) is not None:
            self.dropped["call_without_exit"] += 1
        pid = self.pid_of(tid)
        process = self._process(pid, tid)
        if process is None:
            return
        process.in_exec = False
        self._hold_place(call, pid, process)
        self._calls[tid] = call

    def _hold_place(self, call: _Call, pid: int, process: _Process) -> None:
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
        call.row = self._row(row[0], pid, **row[1])
        call.place = self._append(None)

    def end_call(self, tid: int, name: str, value: int) -> None:
        """Let a call end with a value, which is an error from `ERROR_RETURN` on."""
        call = self._calls.pop(tid, None)
        if call is None or call.name != name:
            self.dropped["exit_without_call"] += 1
        elif value >= ERROR_RETURN:
            self.dropped[f"failed_{name}"] += 1
        else:
            _END[name](self, call, self.pid_of(tid), value)

    def _put(self, call: _Call) -> None:
        """Put the row of a call that has succeeded where it belongs."""
        if call.place >= 0:
            self._rows[call.place - self._first] = call.row
        else:
            self._append((self.time_ns, *call.row[1:]))  # its place is given up

    def _end_mmap(self, call: _Call, pid: int, address: int) -> None:
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
        if not self._in_user_space((address, length)):
            return
        offset = 0 if flags & MAP_ANONYMOUS else self._object_offset(obj, offset)
        self._append(
            self._row(
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

    def _end_munmap(self, call: _Call, _pid: int, _value: int) -> None:
        address, length = call.arguments
        if self._in_user_space((address, length)):
            self._put(call)

    def _end_mremap(self, call: _Call, pid: int, new_address: int) -> None:
        address, length, new_length, flags, _ = call.arguments
        if length == 0:
            self.dropped["mremap_duplicate"] += 1
        elif self._in_user_space((address, length), (new_address, new_length)):
            self._append(
                self._row(
                    "mremap",
                    pid,
                    address=address,
                    length=length,
                    address2=new_address,
                    length2=new_length,
                    flags=flags & 0xFFFFFFFF,
                )
            )

    def _end_mprotect(self, call: _Call, pid: int, _value: int) -> None:
        address, length, prot = call.arguments
        if self._in_user_space((address, length)):
            self._append(self._row("mprotect", pid, address=address, length=length, prot=prot & 7))

    def _end_madvise(self, call: _Call, pid: int, _value: int) -> None:
        address, length, advice = call.arguments
        if not self._in_user_space((address, length)):
            return
        if call.row:
            self._put(call)
        else:
            self._append(self._row("madvise", pid, address=address, length=length, advice=advice & 0xFFFF))

    def _end_brk(self, call: _Call, pid: int, new: int) -> None:
        process = self._processes.get(pid)
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
        elif self._in_user_space((min(old, new), abs(new - old)), (new, max(old - start, 1))):
            process.heap[:] = [new, start]
            if new < old and call.row and call.arguments[0] == new:
                self._put(call)
            else:
                self._append(self._row("brk", pid, address=new, address2=old, length=old - start))


_END: Final[dict[str, Callable[[RowBuilder, _Call, int, int], None]]] = {
    "mmap": RowBuilder._end_mmap,
    "munmap": RowBuilder._end_munmap,
    "mremap": RowBuilder._end_mremap,
    "mprotect": RowBuilder._end_mprotect,
    "madvise": RowBuilder._end_madvise,
    "brk": RowBuilder._end_brk,
}


def rows_of_lines(reader: LineReader, lines: Iterable[str], *, source: str) -> Iterator[NDArray[np.void]]:
    """Read a recording to its end.

    Parameters
    ----------
    reader : LineReader
    lines : iterable of str
        With or without their newline.
    source : str
        Named in errors.

    Yields
    ------
    TRACE_DTYPE, shape (nr_rows,)
        Piece by piece, while lines are read.

    Raises
    ------
    TraceError
        Naming the first line that breaks a rule.
    """
    number = 0
    try:
        for number, text in enumerate(lines, 1):
            reader.line(text.rstrip("\r\n"))
            if not number % 1024:
                yield from reader.builder.take(source=source)
        reader.finish()
    except LineError as error:
        raise TraceError(str(error), source=source, line=number) from None
    yield from reader.builder.take(source=source, all_rows=True)
