# SPDX-License-Identifier: BSD-3-Clause
"""Conversion of trace rows (bytes, pids) to events of the model (pages, dense process numbers).

The rules, and what they mean at page sizes other than the recorded one, are in ``docs/traces.md``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from folio_perf._trace_format import OP, OPS, TraceError, TraceHeader, check_rows
from folio_perf.geometry import Geometry
from folio_perf.scenario import ADVICES, EVENT_DTYPE, EventFlag, ObjectSpec, Op

__all__ = ["Converter"]

# Plain integers: rows become events by the ten thousand.
EV_MMAP: Final = int(Op.MMAP)
EV_MUNMAP: Final = int(Op.MUNMAP)
EV_MREMAP: Final = int(Op.MREMAP)
EV_MPROTECT: Final = int(Op.MPROTECT)
EV_MADVISE: Final = int(Op.MADVISE)
EV_TOUCH: Final = int(Op.TOUCH)
EV_FORK: Final = int(Op.FORK)
EV_EXEC: Final = int(Op.EXEC)
EV_EXIT: Final = int(Op.EXIT)
PROT_READ: Final = int(EventFlag.PROT_READ)
PROT_WRITE: Final = int(EventFlag.PROT_WRITE)
MAP_SHARED: Final = int(EventFlag.MAP_SHARED)
MAP_FIXED: Final = int(EventFlag.MAP_FIXED)
MAP_GROWSDOWN: Final = int(EventFlag.MAP_GROWSDOWN)
TOUCH_WRITE: Final = int(EventFlag.TOUCH_WRITE)
FORK_SHARE_MM: Final = int(EventFlag.FORK_SHARE_MM)
DONTNEED: Final = ADVICES.index("DONTNEED")
POPULATE_READ: Final = ADVICES.index("POPULATE_READ")
POPULATE_WRITE: Final = ADVICES.index("POPULATE_WRITE")
FREE: Final = ADVICES.index("FREE")
IGNORED: Final = ADVICES.index("IGNORED")

# MADV_* of asm-generic/mman-common.h.
_ADVICE: Final = {
    4: DONTNEED,
    24: DONTNEED,  # MADV_DONTNEED_LOCKED
    8: FREE,
    20: ADVICES.index("COLD"),
    14: ADVICES.index("HUGEPAGE"),
    15: ADVICES.index("NOHUGEPAGE"),
    10: ADVICES.index("DONTFORK"),
    11: ADVICES.index("DOFORK"),
    18: ADVICES.index("WIPEONFORK"),
    19: ADVICES.index("KEEPONFORK"),
    22: POPULATE_READ,
    23: POPULATE_WRITE,
}
# Advice whose outcome a trace does not tell: MADV_PAGEOUT reclaims what it can, MADV_COLLAPSE makes THPs of
# what it may; and one that is not modelled: MADV_REMOVE punches holes.
_UNMODELLED_ADVICE: Final = {9: "madv_remove", 21: "madv_pageout", 25: "madv_collapse"}

# Linux flags in the rows.
LINUX_MAP_SHARED_TYPES: Final = (0x01, 0x03)
LINUX_MAP_GROWSDOWN: Final = 0x100
LINUX_MAP_LOCKED: Final = 0x2000
LINUX_MAP_POPULATE: Final = 0x8000
LINUX_MAP_NONBLOCK: Final = 0x10000
LINUX_MREMAP_DONTUNMAP: Final = 0x4
LINUX_CLONE_VM: Final = 0x100
FAULT_WRITE: Final = 0x2

MAX_CPUS: Final = 256

_COUNTED_KINDS: Final = ("file", "memfd", "anon_shared")

Event = tuple[int, int, int, int, int, int, int, int, int]


class _Hidden:
    """Address ranges of processes whose pages have no mapcount, and when they were there.

    Ranges are in bytes and keep the row from which they hold, so that the faults of a batch can be
    tested against them at once.
    """

    def __init__(self) -> None:
        self._open: dict[int, list[tuple[int, int, int, str]]] = {}
        self._closed: list[tuple[int, int, int, int, int, str]] = []

    def add(self, process: int, start: int, end: int, row: int, reason: str) -> None:
        self.cut(process, start, end, row)
        self._open.setdefault(process, []).append((start, end, row, reason))

    def cut(self, process: int, start: int, end: int, row: int) -> None:
        """Something else is mapped at the range from `row` on, or nothing."""
        ranges = self._open.get(process)
        if not ranges or not any(low < end and start < high for low, high, _, _ in ranges):
            return
        kept = []
        for low, high, since, reason in ranges:
            if high <= start or end <= low:
                kept.append((low, high, since, reason))
                continue
            self._closed.append((process, low, high, since, row, reason))
            if low < start:
                kept.append((low, start, row, reason))
            if end < high:
                kept.append((end, high, row, reason))
        self._open[process] = kept

    def covers(self, process: int, start: int, end: int) -> bool:
        """Whether one hidden range holds all of a range."""
        return any(low <= start and end <= high for low, high, _, _ in self._open.get(process, ()))

    def fork(self, parent: int, child: int, row: int) -> None:
        if parent in self._open:
            self._open[child] = [(low, high, row, reason) for low, high, _, reason in self._open[parent]]

    def end(self, process: int, row: int) -> None:
        for low, high, since, reason in self._open.pop(process, ()):
            self._closed.append((process, low, high, since, row, reason))

    def take(self, end_row: int) -> list[tuple[int, int, int, int, int, str]]:
        """Return (process, start, end, first row, last row + 1, reason) of a batch; start the next."""
        taken = self._closed
        self._closed = []
        for process, ranges in self._open.items():
            taken.extend((process, low, high, since, end_row, reason) for low, high, since, reason in ranges)
            self._open[process] = [(low, high, 0, reason) for low, high, _, reason in ranges]
        return taken


class Converter:
    """Turns the rows of one trace, batch after batch, into events.

    Parameters
    ----------
    header : TraceHeader
    geometry : Geometry
        Of the modelled machine.
    source : str
        Named in errors.

    Attributes
    ----------
    dropped, assumed : Counter of str
        Rows without an event, and events that rest on an assumption, by reason, so far.
    """

    def __init__(self, header: TraceHeader, geometry: Geometry, *, source: str) -> None:
        self.dropped: Counter[str] = Counter()
        self.assumed: Counter[str] = Counter()
        self._header = header
        self._source = source
        self._shift = geometry.page_shift
        self._mask = geometry.page_size_bytes - 1
        self._recorded_mask = header.page_size_bytes - 1
        self._object_numbers: list[int] = []
        numbered = 0
        for obj in header.objects:
            counted = obj.kind in _COUNTED_KINDS
            self._object_numbers.append(numbered if counted else -1)
            numbered += counted
        self._numbers: dict[int, int] = {}
        self._names: list[list[str | int]] = []
        self._births: list[tuple[int, int, int]] = []
        self._hidden = _Hidden()
        self._events: list[Event] = []
        self._rows: list[int] = []
        self._next_row = 0
        self._time_ns = 0
        self._act: dict[int, Callable[[int, tuple[int, ...], int], None]] = {
            OP[name]: getattr(self, f"_{name}") for name in OPS if name != "fault"
        }

    @property
    def processes(self) -> tuple[str, ...]:
        """Names of the processes so far, ``command[pid]``; the index is the process number."""
        return tuple(f"{command}[{pid}]" for command, pid in self._names) or ("[0]",)

    def objects(self, file_order: int) -> tuple[ObjectSpec, ...]:
        """Return what the events map, in the order of their numbers.

        Parameters
        ----------
        file_order : int
            Order of the folios that the page cache uses for files.
        """
        # A file mapping whose address and offset are not congruent modulo a larger page reaches
        # one page further than the file.
        slack = int(self._mask > self._recorded_mask)
        return tuple(
            ObjectSpec(
                name=f"{obj.name}#{index}",
                kind=obj.kind,
                nr_pages=max(1, self._up(obj.size_bytes)) + slack,
                order=file_order if obj.kind == "file" else 0,
                warm=obj.kind == "file",
                absent=self._absent(index, max(1, self._up(obj.size_bytes)) + slack),
            )
            for index, obj in enumerate(self._header.objects)
            if obj.kind in _COUNTED_KINDS
        )

    def _absent(self, index: int, nr_pages: int) -> tuple[tuple[int, int], ...]:
        """Return the pages of an object that were not in the page cache: those no byte of which was."""
        found = []
        for first, length in self._header.absent.get(index, ()):
            page, nr = self._inner(first, length)
            nr = min(nr, nr_pages - page)
            if nr > 0:
                found.append((page, nr))
        return tuple(found)

    def feed(self, rows: NDArray[np.void]) -> tuple[NDArray[np.void], NDArray[np.int64]]:
        """Convert the next rows.

        Parameters
        ----------
        rows : TRACE_DTYPE, shape (nr_rows,)

        Returns
        -------
        events : EVENT_DTYPE, shape (nr_events,)
        row : int64, shape (nr_events,)
            Row of the trace that each event comes from; -1 for those that set the stage.

        Raises
        ------
        TraceError
            If a row breaks the format's rules or belongs to a process nobody started.
        """
        first = self._next_row
        check_rows(rows, self._header, source=self._source, first=first, time_ns=self._time_ns)
        self._births = [(0, pid, number) for pid, number in self._numbers.items()]
        self._events, self._rows = [], []
        if first == 0:
            self._set_stage()
        beyond = rows["cpu"] >= MAX_CPUS
        if beyond.any():
            self.assumed["cpu_modulo_256"] += int(beyond.sum())
            rows = rows.copy()
            rows["cpu"] %= MAX_CPUS
        is_fault = rows["op"] == OP["fault"]
        others = np.flatnonzero(~is_fault)
        for index, row in zip(others.tolist(), rows[others].tolist(), strict=True):
            number = self._numbers.get(row[2])
            if number is None:
                raise TraceError(
                    f"process {row[2]} is neither a root nor forked before", source=self._source, row=first + index
                )
            self._act[row[3]](number, row, index)
        faults = np.flatnonzero(is_fault)
        fault_events, faults = self._faults(rows[faults], faults, first)
        events = np.concatenate([np.array(self._events, dtype=EVENT_DTYPE), fault_events])
        order = np.array(self._rows, dtype=np.int64)
        order = np.concatenate([order, faults])
        in_order = np.argsort(order, kind="stable")
        order = order[in_order]
        order[order >= 0] += first
        self._next_row += len(rows)
        if len(rows):
            self._time_ns = int(rows["time_ns"][-1])
        return events[in_order], order

    # ---- pages ---------------------------------------------------------------------------------

    def _up(self, nr_bytes: int) -> int:
        return (nr_bytes + self._mask) >> self._shift

    def _emit(
        self, index: int, op: int, cpu: int, process: int, what: int = 0, flags: int = 0,
        vpn: int = 0, nr: int = 0, arg: int = 0, arg2: int = 0,
    ) -> None:  # fmt: skip
        self._events.append((op, cpu, process, what, flags, vpn, nr, arg, arg2))
        self._rows.append(index)

    def _born(self, pid: int, command: str, index: int) -> int:
        number = len(self._names)
        self._names.append([command, pid])
        self._numbers[pid] = number
        self._births.append((index, pid, number))
        return number

    def _set_stage(self) -> None:
        """Let every process exist that the trace does not see being forked.

        The model starts with process 0, empty; the others are forked from it while it still is.
        """
        for pid in self._header.roots:
            number = self._born(pid, "", 0)
            if number:
                self._emit(-1, EV_FORK, 0, 0, arg=number)

    def _outer(self, address: int, length: int) -> tuple[int, int]:
        """Pages that hold any byte of a range: vpn, nr."""
        vpn = address >> self._shift
        return vpn, self._up(address + length) - vpn

    def _inner(self, address: int, length: int) -> tuple[int, int]:
        """Pages that hold nothing but the range (whose end the recorded kernel rounded up)."""
        end = (address + length + self._recorded_mask) & ~self._recorded_mask
        vpn = self._up(address)
        return vpn, max(0, (end >> self._shift) - vpn)

    def _is_hidden(self, process: int, address: int, length: int, op: str) -> bool:
        hidden = self._hidden.covers(process, address, address + length)
        if hidden:
            self.dropped[f"{op}_of_special_mapping"] += 1
        return hidden

    # ---- one row each --------------------------------------------------------------------------

    def _exec(self, process: int, row: tuple[int, ...], index: int) -> None:
        if row[16] >= 0:
            self._names[process][0] = self._header.commands[row[16]]
        self._hidden.end(process, index)
        self._emit(index, EV_EXEC, row[1], process)

    def _fork(self, process: int, row: tuple[int, ...], index: int) -> None:
        child = self._born(row[14], str(self._names[process][0]), index)
        self._hidden.fork(process, child, index)
        flags = FORK_SHARE_MM if row[15] & LINUX_CLONE_VM else 0
        self._emit(index, EV_FORK, row[1], process, flags=flags, arg=child)

    def _exit(self, process: int, row: tuple[int, ...], index: int) -> None:
        self._hidden.end(process, index)
        self._emit(index, EV_EXIT, row[1], process)

    def _mmap(self, process: int, row: tuple[int, ...], index: int) -> None:
        cpu, address, length, linux_flags, obj = row[1], row[4], row[5], row[9], row[10]
        if obj >= 0 and self._object_numbers[obj] < 0:
            kind = self._header.objects[obj].kind
            end = (address + length + self._recorded_mask) & ~self._recorded_mask
            self._hidden.add(process, address, end, index, f"fault_in_{kind}_mapping")
            self.dropped[f"{kind}_mapping"] += 1
            return
        self._hidden.cut(process, address, address + length, index)
        flags = MAP_FIXED | _prot(row[8])
        if linux_flags & 0xF in LINUX_MAP_SHARED_TYPES:
            flags |= MAP_SHARED
        if linux_flags & LINUX_MAP_GROWSDOWN:
            flags |= MAP_GROWSDOWN
        vpn, nr = self._outer(address, length)
        what = self._object_numbers[obj] + 1 if obj >= 0 else 0
        offset = row[11] >> self._shift if what else 0
        self._emit(index, EV_MMAP, cpu, process, what, flags, vpn, nr, offset)
        # do_mmap(): MAP_POPULATE without MAP_NONBLOCK, and VM_LOCKED. populate_vma_page_range():
        # write faults for writable private VMAs.
        populate = linux_flags & (LINUX_MAP_POPULATE | LINUX_MAP_NONBLOCK) == LINUX_MAP_POPULATE
        if row[8] and (populate or linux_flags & LINUX_MAP_LOCKED):
            write = flags & PROT_WRITE and not flags & MAP_SHARED
            advice = POPULATE_WRITE if write else POPULATE_READ
            self._emit(index, EV_MADVISE, cpu, process, advice, 0, vpn, nr)

    def _kernel_mmap(self, process: int, row: tuple[int, ...], index: int) -> None:
        self._mmap(process, row, index)
        populated = min(row[7], row[5])
        if populated:
            vpn, nr = self._outer(row[4] + row[5] - populated, populated)
            self.assumed["argument_pages"] += nr
            self._emit(index, EV_TOUCH, row[1], process, 0, TOUCH_WRITE, vpn, nr)

    def _munmap(self, process: int, row: tuple[int, ...], index: int) -> None:
        address, length = row[4], row[5]
        if self._is_hidden(process, address, length, "munmap"):
            self._hidden.cut(process, address, address + length, index)
            return
        self._hidden.cut(process, address, address + length, index)
        vpn, nr = self._inner(address, length)
        if nr:
            self._emit(index, EV_MUNMAP, row[1], process, 0, 0, vpn, nr)
        else:
            self.dropped["munmap_within_a_page"] += 1

    def _mremap(self, process: int, row: tuple[int, ...], index: int) -> None:
        address, length, new_address, new_length = row[4:8]
        if self._is_hidden(process, address, length, "mremap"):
            self._hidden.cut(process, address, address + length, index)
            return
        self._hidden.cut(process, new_address, new_address + new_length, index)
        new_vpn, new_nr = self._outer(new_address, new_length)
        vpn, nr = self._inner(address, length)  # what it shares with neighbours stays with them
        if address == new_address:
            # Its first page may be that of a neighbour by now; what grows or shrinks is the end.
            nr = self._up(address + length) - vpn
            new_vpn, new_nr = vpn, self._up(new_address + new_length) - vpn
        if (vpn, nr) == (new_vpn, new_nr) or not new_nr:
            self.dropped["mremap_within_a_page"] += 1
        elif nr:
            self._emit(index, EV_MREMAP, row[1], process, 0, 0, vpn, nr, new_vpn, new_nr)
        else:
            self.assumed["mremap_within_a_page_is_mmap"] += 1
            self._emit(index, EV_MMAP, row[1], process, 0, MAP_FIXED | PROT_READ | PROT_WRITE, new_vpn, new_nr)
        if nr and row[9] & LINUX_MREMAP_DONTUNMAP:
            # The old range stays mapped, empty; its protection is not in the call.
            self.assumed["mremap_dontunmap_leaves_read_write"] += 1
            self._emit(index, EV_MMAP, row[1], process, 0, MAP_FIXED | PROT_READ | PROT_WRITE, vpn, nr)

    def _mprotect(self, process: int, row: tuple[int, ...], index: int) -> None:
        address, length = row[4], row[5]
        if self._is_hidden(process, address, length, "mprotect"):
            return
        flags = _prot(row[8])
        vpn, nr = self._outer(address, length) if flags & PROT_WRITE else self._inner(address, length)
        if nr:
            self._emit(index, EV_MPROTECT, row[1], process, 0, flags, vpn, nr)
        else:
            self.dropped["mprotect_within_a_page"] += 1

    def _madvise(self, process: int, row: tuple[int, ...], index: int) -> None:
        address, length, linux_advice = row[4], row[5], row[12]
        if self._is_hidden(process, address, length, "madvise"):
            return
        advice = _ADVICE.get(linux_advice, IGNORED)
        if linux_advice in _UNMODELLED_ADVICE:
            self.assumed[f"{_UNMODELLED_ADVICE[linux_advice]}_ignored"] += 1
        vpn, nr = self._inner(address, length) if advice in (DONTNEED, FREE) else self._outer(address, length)
        if nr:
            self._emit(index, EV_MADVISE, row[1], process, advice, 0, vpn, nr)
        else:
            self.dropped["madvise_within_a_page"] += 1

    def _brk(self, process: int, row: tuple[int, ...], index: int) -> None:
        new, old = self._up(row[4]), self._up(row[6])
        if not row[5]:
            old = row[6] >> self._shift  # the first page of a heap belongs to it from its first byte on
        if new > old:
            flags = MAP_FIXED | PROT_READ | PROT_WRITE
            self._emit(index, EV_MMAP, row[1], process, 0, flags, old, new - old)
        elif new < old:
            self._emit(index, EV_MUNMAP, row[1], process, 0, 0, new, old - new)
        else:
            self.dropped["brk_within_a_page"] += 1

    # ---- all faults of a batch -----------------------------------------------------------------

    def _faults(
        self, rows: NDArray[np.void], index: NDArray[np.int64], first: int
    ) -> tuple[NDArray[np.void], NDArray[np.int64]]:
        hidden = self._hidden.take(int(index[-1]) + 1 if index.size else 0)
        if not index.size:
            return np.empty(0, dtype=EVENT_DTYPE), index
        process = self._processes_of(rows["pid"], index, first)
        keep = np.ones(index.size, dtype=np.bool_)
        by_process = np.lexsort((index, process))
        ordered = process[by_process]
        address = rows["address"]
        for number, start, end, since, until, reason in hidden:
            left, right = np.searchsorted(ordered, (number, number + 1))
            candidates = by_process[left:right]
            left, right = np.searchsorted(index[candidates], (since, until))
            candidates = candidates[left:right]
            inside = candidates[(address[candidates] >= start) & (address[candidates] < end)]
            inside = inside[keep[inside]]
            if inside.size:
                keep[inside] = False
                self.dropped[reason] += int(inside.size)
        kept = rows[keep]
        events = np.zeros(kept.size, dtype=EVENT_DTYPE)
        events["op"] = EV_TOUCH
        events["cpu"] = kept["cpu"]
        events["process"] = process[keep]
        events["flags"] = np.where(kept["error_code"] & FAULT_WRITE, TOUCH_WRITE, 0)
        events["vpn"] = kept["address"] >> np.uint64(self._shift)
        events["nr"] = 1
        return events, index[keep]

    def _processes_of(self, pid: NDArray[np.uint32], index: NDArray[np.int64], first: int) -> NDArray[np.int64]:
        """Process number of each fault: that of the last process born with its pid."""
        births = np.array(self._births, dtype=np.uint64).reshape(-1, 3)
        shift = np.uint64(32)
        keys = births[:, 1] << shift | births[:, 0]
        order = np.argsort(keys, kind="stable")
        found = np.searchsorted(keys[order], pid.astype(np.uint64) << shift | index.astype(np.uint64), side="right")
        known = found > 0
        known[known] = births[order[found[known] - 1], 1] == pid[known]
        if not known.all():
            bad = int(np.argmin(known))
            raise TraceError(
                f"process {int(pid[bad])} is neither a root nor forked before",
                source=self._source,
                row=first + int(index[bad]),
            )
        numbers: NDArray[np.int64] = births[order[found - 1], 2].astype(np.int64)
        return numbers


def _prot(linux_prot: int) -> int:
    """PROT_* as flags of an event; what may be executed or written may be read."""
    return (PROT_READ if linux_prot & 7 else 0) | (PROT_WRITE if linux_prot & 2 else 0)
