# SPDX-License-Identifier: BSD-3-Clause
"""Recorded workloads: the perf reader, the Parquet format, the conversion to events.

The conversion is judged by what the real kernel said: every recorded fault must hit a VMA that allows it, and whether a
page of anonymous memory was present is told by bit 0 of the fault's error code.
"""

from __future__ import annotations

import gzip
import os
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from folio_perf._perf_script import PerfScriptReader
from folio_perf._simulation import new_simulation
from folio_perf._trace_builder import RowBuilder, rows_of_lines
from folio_perf._trace_rows import MAX_HELD_ROWS, PIECE_ROWS
from folio_perf.geometry import Geometry
from folio_perf.profile import load_profile
from folio_perf.scenario import ADVICES, EVENT_DTYPE, EventFlag, Op
from folio_perf.schemes import parse_scheme_spec
from folio_perf.traces import (
    OPS,
    TRACE_DTYPE,
    Conversion,
    Trace,
    TraceError,
    TraceHeader,
    TraceObject,
    import_perf_script,
    iter_batches,
    iter_events,
    load_trace,
    read_header,
    read_trace,
    trace_names,
    write_trace,
)

DATA = Path(__file__).parent / "data" / "traces"
NAMES = ("make-j4", "pool", "redis-bgsave", "redis-bgsave-thp")
TEXT = DATA / "redis-bgsave-thp.perf.txt.gz"
PAGE = 4096
GEOMETRY = Geometry()
CLONE_VM = 0x100
CLONE_VFORK = 0x4000
STACK_LIMIT = 8 << 20


@cache
def trace(name: str) -> Trace:
    return read_trace(DATA / f"{name}.parquet")


@cache
def conversion(name: str, page_size_bytes: int = PAGE) -> Conversion:
    return trace(name).convert(Geometry(page_size_bytes=page_size_bytes))


def recordings() -> Iterator[Path]:
    """The texts at hand: one is in the repository, the others where FOLIO_PERF_RECORDINGS points."""
    yield TEXT
    folder = os.environ.get("FOLIO_PERF_RECORDINGS")
    if folder:
        yield from sorted(path for path in Path(folder).glob("*.perf.txt.gz") if path.name != TEXT.name)


RECORDINGS = list(recordings())


def row_list(found: Trace, op: str) -> list[dict[str, int]]:
    names = TRACE_DTYPE.names or ()
    return [dict(zip(names, row, strict=True)) for row in found.rows[found.rows["op"] == OPS.index(op)].tolist()]


# ---- a slow model of address spaces ---------------------------------------------------------------------------------


@dataclass
class Vma:
    start: int
    end: int
    flags: int
    what: int = 0
    anonymous: bool = True


@dataclass
class Mm:
    """VMAs of one process in pages, and the anonymous pages that are present."""

    vmas: list[Vma] = field(default_factory=list)
    present: set[int] = field(default_factory=set)

    def copy(self) -> Mm:
        return Mm([replace(vma) for vma in self.vmas], set(self.present))

    def overlapping(self, start: int, end: int) -> list[Vma]:
        return [vma for vma in self.vmas if vma.start < end and start < vma.end]

    def take(self, start: int, end: int) -> list[Vma]:
        """Unmap a range; return what was there, cut to the range."""
        taken, kept = [], []
        for vma in self.vmas:
            low, high = max(start, vma.start), min(end, vma.end)
            if low >= high:
                kept.append(vma)
                continue
            taken.append(replace(vma, start=low, end=high))
            if vma.start < low:
                kept.append(replace(vma, end=low))
            if high < vma.end:
                kept.append(replace(vma, start=high))
        self.vmas = kept
        return taken

    def drop(self, start: int, end: int) -> set[int]:
        gone = {page for page in self.present if start <= page < end}
        self.present -= gone
        return gone

    def put(self, vmas: Iterable[Vma]) -> None:
        self.vmas = sorted([*self.vmas, *vmas], key=lambda vma: vma.start)

    def find(self, page: int, stack_limit: int) -> Vma | None:
        """VMA of a page; a stack grows down to it."""
        index = bisect_right(self.vmas, page, key=lambda vma: vma.start)
        if index and page < self.vmas[index - 1].end:
            return self.vmas[index - 1]
        if index < len(self.vmas):
            above = self.vmas[index]
            if above.flags & EventFlag.MAP_GROWSDOWN and above.end - page <= stack_limit:
                above.start = page
                return above
        return None


@dataclass
class Replay:
    """What replaying a scenario over `Mm` found."""

    covered: int = 0
    uncovered: list[str] = field(default_factory=list)
    contradictions: Counter[str] = field(default_factory=Counter)
    agreed: int = 0  # faults whose error code fits the pages we take to be present
    disagreed: list[str] = field(default_factory=list)


def replay(made: Conversion, found: Trace, page_size_bytes: int = PAGE) -> Replay:
    out = Replay()
    mms = {0: Mm()}
    limit = STACK_LIMIT // page_size_bytes
    for number, event in enumerate(made.scenario.events.tolist()):
        op, _, process, what, flags, vpn, nr, arg, arg2 = event
        mm = mms[process]
        end = vpn + nr
        row = found.rows[made.rows[number]] if made.rows[number] >= 0 else None
        if op == Op.MMAP:
            asked_fixed = row is not None and (OPS[row["op"]] == "kernel_mmap" or row["flags"] & 0x10)
            if not asked_fixed and mm.overlapping(vpn, end):
                out.contradictions["the kernel chose a range in use"] += 1
            mm.take(vpn, end)
            mm.drop(vpn, end)
            mm.put([Vma(vpn, end, flags, what, what == 0)])
        elif op == Op.MUNMAP:
            if not mm.take(vpn, end):
                out.contradictions["munmap of nothing"] += 1
            mm.drop(vpn, end)
        elif op == Op.MREMAP:
            moved = mm.take(vpn, end)
            pages = mm.drop(vpn, end)
            if sum(vma.end - vma.start for vma in moved) != nr:
                out.contradictions["mremap of a hole"] += 1
            mm.take(arg, arg + arg2)
            mm.drop(arg, arg + arg2)
            mm.put([replace(vma, start=arg, end=arg + arg2) for vma in moved[:1]])
            mm.present |= {page - vpn + arg for page in pages if page - vpn < arg2}
        elif op == Op.MPROTECT:
            taken = mm.take(vpn, end)
            if sum(vma.end - vma.start for vma in taken) != nr:
                out.contradictions["mprotect of a hole"] += 1
            keep = ~(EventFlag.PROT_READ | EventFlag.PROT_WRITE)
            mm.put([replace(vma, flags=vma.flags & keep | flags) for vma in taken])
        elif op == Op.MADVISE:
            if ADVICES[what] == "DONTNEED":
                mm.drop(vpn, end)
        elif op == Op.TOUCH:
            for page in range(vpn, end):
                judge(out, mm, page, flags, row, limit)
        elif op == Op.FORK:
            mms[arg] = mm if flags & EventFlag.FORK_SHARE_MM else mm.copy()
        elif op == Op.EXEC:
            mms[process] = Mm()
        elif op == Op.EXIT:
            del mms[process]
        else:
            raise AssertionError(op)
    return out


def judge(out: Replay, mm: Mm, page: int, flags: int, row: Any, limit: int) -> None:
    vma = mm.find(page, limit)
    needed = EventFlag.PROT_WRITE if flags & EventFlag.TOUCH_WRITE else EventFlag.PROT_READ
    if vma is None or not vma.flags & needed:
        out.uncovered.append(f"page {page:#x}: {'protection' if vma else 'no VMA'}")
        return
    out.covered += 1
    if vma.anonymous:
        if row is not None and OPS[row["op"]] == "fault":
            # Error code bit 0: the page was there, its protection was not enough.
            if bool(row["error_code"] & 1) == (page in mm.present):
                out.agreed += 1
            else:
                out.disagreed.append(f"row time {row['time_ns']}: page {page:#x} of {row['pid']}")
        mm.present.add(page)


@pytest.mark.parametrize("page_size_bytes", [4 << 10, 16 << 10, 64 << 10])
@pytest.mark.parametrize("name", NAMES)
def test_recorded_faults_hit_mappings_that_allow_them(name: str, page_size_bytes: int) -> None:
    found = replay(conversion(name, page_size_bytes), trace(name), page_size_bytes)
    covered = found.covered / (found.covered + len(found.uncovered))
    if page_size_bytes == PAGE:
        assert not found.uncovered
        assert not found.contradictions
    else:
        assert covered >= 0.99, found.uncovered[:5]


@pytest.mark.parametrize("name", ["make-j4", "pool", "redis-bgsave"])
def test_anonymous_pages_are_present_when_the_kernel_found_them_present(name: str) -> None:
    """Under THP one fault fills 512 pages, so that trace cannot be judged page by page."""
    found = replay(conversion(name), trace(name))
    assert found.agreed > 5000
    # pool: copy_fpstate_to_sigframe() faults twice on one stack page, first with page faults disabled.
    assert len(found.disagreed) <= (name == "pool"), found.disagreed[:5]


def test_the_replay_notices_a_lost_mapping() -> None:
    """The checks above are not vacuous: without brk, or with fork copying nothing, they fail."""
    made, source = conversion("redis-bgsave"), trace("redis-bgsave")
    keep = np.ones(made.rows.size, dtype=np.bool_)
    keep[np.isin(made.rows, np.flatnonzero(source.rows["op"] == OPS.index("brk")))] = False
    scenario = replace(made.scenario, events=made.scenario.events[keep], lines=None, steps=None)
    assert replay(replace(made, scenario=scenario, rows=made.rows[keep]), source).uncovered

    exits = made.scenario.events["op"] == Op.EXIT
    events = made.scenario.events.copy()
    events["flags"][events["op"] == Op.FORK] = EventFlag.FORK_SHARE_MM
    shared = replace(made.scenario, events=events[~exits], lines=None, steps=None)
    assert replay(replace(made, scenario=shared, rows=made.rows[~exits]), source).disagreed


# ---- the recordings -------------------------------------------------------------------------------------------------


def grep_kinds(path: Path) -> Counter[str]:
    """Kinds of lines, counted without the parser."""
    kinds: Counter[str] = Counter()
    pattern = re.compile(r"\d\.\d{6}: +(PERF_RECORD_[A-Z0-9_]+|[a-z_0-9]+:[a-z_0-9]+)")
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for text in lines:
            match = pattern.search(text)
            assert match, text
            kinds[match.group(1)] += 1
    return kinds


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.name.split(".")[0])
def test_rows_count_as_grep_does(path: Path) -> None:
    kinds = grep_kinds(path)
    read = import_perf_script(path)
    header = read.header
    assert Counter(header.lines_kept) + Counter(header.lines_ignored) == kinds
    assert header.lines_read == kinds.total()
    assert set(header.lines_ignored) == {"sched:sched_process_fork"}
    counts = Counter(read.counts())
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        text = stream.read()
    execs = len(re.findall("PERF_RECORD_COMM exec: ", text))
    threads = sum(pid == ppid for pid, ppid in re.findall(r"RECORD_FORK\((\d+):\d+\):\((\d+):", text))
    brk = kinds["syscalls:sys_exit_brk"] - header.dropped["brk_without_change"]
    assert counts == +Counter(
        {
            "exec": execs,
            "fork": kinds["PERF_RECORD_FORK"] - threads,
            "exit": kinds["PERF_RECORD_EXIT"] - threads,
            "fault": kinds["exceptions:page_fault_user"] + kinds["exceptions:page_fault_kernel"],
            "kernel_mmap": len(re.findall(r"PERF_RECORD_MMAP2", text)) - mmap2_within_calls(text),
            "brk": brk,
            **{
                name: kinds[f"syscalls:sys_exit_{name}"] for name in ("mmap", "munmap", "mremap", "mprotect", "madvise")
            },
        }
    )
    # Everything that can be compared with the text line by line: the faults.
    faults = re.findall(r"page_fault_\w+: address=0x([0-9a-f]+) ip=\S+ error_code=0x([0-9a-f]+)", text)
    expected = np.array([(int(address, 16) & -PAGE, int(code, 16)) for address, code in faults], dtype=np.uint64)
    rows = read.rows[read.rows["op"] == OPS.index("fault")]
    np.testing.assert_array_equal(rows["address"], expected[:, 0])
    np.testing.assert_array_equal(rows["error_code"], expected[:, 1])


def mmap2_within_calls(text: str) -> int:
    """MMAP2 records between enter and exit of a call of the same thread."""
    inside, count = set(), 0
    pattern = r"^.{16} +(\d+) \[\d+\] +[\d.]+: +(?:syscalls:sys_(enter|exit)_\w+|PERF_RECORD_MMAP2 \d+/(\d+)):"
    for tid, kind, record_tid in re.findall(pattern, text, re.MULTILINE):
        if kind == "enter":
            inside.add(tid)
        elif kind == "exit":
            inside.discard(tid)
        else:
            count += record_tid in inside
    return count


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.name.split(".")[0])
def test_committed_traces_are_what_the_importer_makes(path: Path) -> None:
    read = import_perf_script(path)
    kept = trace(read.name)
    np.testing.assert_array_equal(read.rows, kept.rows)
    assert replace(kept.header, kernel="", command="") == read.header


def test_the_shipped_trace_is_one_of_them() -> None:
    assert trace_names() == ("redis-bgsave-thp",)
    shipped = load_trace("redis-bgsave-thp")
    np.testing.assert_array_equal(shipped.rows, trace("redis-bgsave-thp").rows)
    assert shipped.header.kernel == "6.18"
    with pytest.raises(ValueError, match="no trace 'nope'; there are: redis-bgsave-thp"):
        load_trace("nope")


def test_vfork_children_of_make_share_their_parents_mm() -> None:
    flags = [row["clone_flags"] for row in row_list(trace("make-j4"), "fork")]
    vforks = [bool(flag & CLONE_VM) and bool(flag & CLONE_VFORK) for flag in flags]
    assert (len(flags), sum(vforks)) == (79, 73)
    events = conversion("make-j4").scenario.events
    forks = events[events["op"] == Op.FORK]
    np.testing.assert_array_equal(forks["flags"] == EventFlag.FORK_SHARE_MM, vforks)
    assert not conversion("pool").scenario.events["flags"][conversion("pool").scenario.events["op"] == Op.FORK].any()


def test_threads_of_redis_are_no_processes() -> None:
    found = trace("redis-bgsave-thp")
    with gzip.open(TEXT, "rt", encoding="utf-8") as stream:
        text = stream.read()
    server = 10454
    assert len(re.findall(rf"RECORD_FORK\({server}:\d+\):\({server}:", text)) == 4
    assert server in {row["child"] for row in row_list(found, "fork")}
    assert not {10456, 10457, 10458, 10459} & set(found.rows["pid"].tolist())
    # Its leader exits first; the mm goes with the last thread.
    last = re.findall(rf"([\d.]+): PERF_RECORD_EXIT\({server}:\d+\)", text)
    assert len(last) == 5
    exits = [row["time_ns"] for row in row_list(found, "exit") if row["pid"] == server]
    assert exits == [int(last[-1].replace(".", "")) * 1000]


@pytest.mark.parametrize("name", NAMES)
def test_scenarios_of_the_recordings(name: str) -> None:
    made, source = conversion(name), trace(name)
    scenario = made.scenario
    assert scenario.events.dtype == EVENT_DTYPE
    assert not scenario.strict
    assert len(scenario.processes) == 1 + np.count_nonzero(scenario.events["op"] == Op.FORK)
    assert scenario.events["process"].max() < len(scenario.processes)
    touches = np.count_nonzero(scenario.events["op"] == Op.TOUCH)
    hidden = made.dropped["fault_in_special_mapping"]
    stacks = np.count_nonzero(source.rows["length2"][source.rows["op"] == OPS.index("kernel_mmap")])
    assert touches == source.counts()["fault"] - hidden + stacks
    assert all(spec.warm == (spec.kind == "file") for spec in scenario.objects)
    ends = scenario.events["arg"] + scenario.events["nr"]
    maps = (scenario.events["op"] == Op.MMAP) & (scenario.events["what"] > 0)
    sizes = np.array([spec.nr_pages for spec in scenario.objects])
    assert (ends[maps] <= sizes[scenario.events["what"][maps] - 1]).all()
    assert set(made.dropped) == {"special_mapping", "fault_in_special_mapping"}
    assert set(source.dropped) == {"special_mapping", "fault_in_special_mapping", "brk_without_change"}


@pytest.mark.parametrize("page_size_bytes", [16 << 10, 64 << 10])
@pytest.mark.parametrize("name", NAMES)
def test_objects_are_large_enough_at_larger_pages(name: str, page_size_bytes: int) -> None:
    scenario = conversion(name, page_size_bytes).scenario
    maps = scenario.events[(scenario.events["op"] == Op.MMAP) & (scenario.events["what"] > 0)]
    sizes = np.array([spec.nr_pages for spec in scenario.objects])
    assert (maps["arg"] + maps["nr"] <= sizes[maps["what"] - 1]).all()
    assert (scenario.events["nr"][np.isin(scenario.events["op"], (Op.MMAP, Op.MUNMAP, Op.MPROTECT))] > 0).all()


# ---- rules of import, one small recording each ----------------------------------------------------------------------


class Recording:
    """Lines of perf script, one microsecond apart."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def add(self, text: str, *, tid: int = 10, cpu: int = 0, comm: str = "prog") -> Recording:
        time = 1_000_000 + len(self.lines)
        self.lines.append(f"{comm:>16} {tid:5d} [{cpu:03d}] {time // 1_000_000:5d}.{time % 1_000_000:06d}: {text}")
        return self

    def call(self, name: str, arguments: str, value: int, *inside: str, tid: int = 10) -> Recording:
        self.add(f"syscalls:sys_enter_{name}: {arguments}", tid=tid)
        for text in inside:
            self.add(text, tid=tid)
        return self.add(f"syscalls:sys_exit_{name}: {value:#x}", tid=tid)

    def mmap(
        self,
        address: int,
        length: int,
        *,
        prot: int = 3,
        flags: int = 0x22,
        record: str = "",
        offset: int = 0,
        tid: int = 10,
    ) -> Recording:
        arguments = f"addr: 0x00000000, len: {length:#x}, prot: {prot:#x}, flags: {flags:#x}, fd: 0x3, off: {offset:#x}"
        return self.call("mmap", arguments, address, *filter(None, [record]), tid=tid)

    def brk(self, asked: int, value: int, *inside: str) -> Recording:
        return self.call("brk", f"brk: {asked:#x}", value, *inside)

    def exec(self, pid: int = 10, name: str = "prog") -> Recording:
        return self.add(f"PERF_RECORD_COMM exec: {name}:{pid}/{pid}", tid=pid)

    def fork(self, child: int, parent: int = 10, flags: int | None = 0x1200000) -> Recording:
        self.add(f"PERF_RECORD_FORK({child}:{child}):({parent}:{parent})", tid=parent)
        if flags is not None:
            self.add(f"task:task_newtask: pid={child} comm=prog clone_flags={flags:x} oom_score_adj=0", tid=parent)
        return self

    def thread(self, tid: int, pid: int = 10) -> Recording:
        self.add(f"PERF_RECORD_FORK({pid}:{tid}):({pid}:{pid})", tid=pid)
        return self.add(f"task:task_newtask: pid={tid} comm=prog clone_flags=3d0f00 oom_score_adj=0", tid=pid)

    def exit(self, pid: int, tid: int | None = None, group_dead: str = "") -> Recording:
        tid = pid if tid is None else tid
        if group_dead:
            self.add(f"sched:sched_process_exit: comm=prog pid={tid} prio=120 group_dead={group_dead}", tid=tid)
        return self.add(f"PERF_RECORD_EXIT({pid}:{tid}):(1:1)", tid=tid)

    def fault(self, address: int, code: int = 6, *, tid: int = 10, kind: str = "user") -> Recording:
        return self.add(f"exceptions:page_fault_{kind}: address={address:#x} ip=0x401000 error_code={code:#x}", tid=tid)

    def read(self) -> Trace:
        return import_perf_script(self.lines, name="test")

    def convert(self, page_size_bytes: int = PAGE) -> Conversion:
        return self.read().convert(Geometry(page_size_bytes=page_size_bytes))


def mmap2(
    start: int, length: int, name: str, *, prot: str = "rw-p", ids: str = "00:00 0 0", offset: int = 0, pid: int = 10
) -> str:
    return f"PERF_RECORD_MMAP2 {pid}/{pid}: [{start:#x}({length:#x}) @ {offset:#x} {ids}]: {prot} {name}"


def shown(made: Conversion) -> list[tuple[Any, ...]]:
    """Events without CPU, operations by name."""
    return [(Op(op).name, *rest) for op, _, *rest in made.scenario.events.tolist()]


RW_FIXED = EventFlag.PROT_READ | EventFlag.PROT_WRITE | EventFlag.MAP_FIXED


def test_mmap_takes_its_range_from_the_call_and_its_file_from_the_record() -> None:
    """The record shows the merged VMA, which reaches further than the call."""
    recording = Recording()
    recording.mmap(0x7F0000000000, 0x2000, record=mmap2(0x7F0000000000, 0x9000, "anon"))
    recording.mmap(
        0x7F0000002000, 0x1801, prot=5, flags=0x812, offset=0x3000,
        record=mmap2(0x7F0000001000, 0x5000, "lib.so", prot="r-xp", ids="fe:00 77 5", offset=0x1000),
    )  # fmt: skip
    made = recording.convert()
    assert shown(made) == [
        ("MMAP", 0, 0, RW_FIXED, 0x7F0000000, 2, 0, 0),
        ("MMAP", 0, 1, EventFlag.PROT_READ | EventFlag.MAP_FIXED, 0x7F0000002, 2, 3, 0),
    ]
    (lib,) = made.scenario.objects
    assert (lib.kind, lib.nr_pages, lib.warm) == ("file", 5, True)


def test_a_failed_call_is_counted_and_left_out() -> None:
    recording = Recording()
    recording.mmap((1 << 64) - 12, 0x1000)
    recording.call("munmap", "addr: 0x7f0000000000, len: 0x1000", (1 << 64) - 22)
    recording.call("mprotect", "start: 0x7f0000000000, len: 0x1000, prot: 0x3", (1 << 64) - 12)
    read = recording.read()
    assert not read.rows.size
    assert read.header.dropped == {"failed_mmap": 1, "failed_mprotect": 1, "failed_munmap": 1}


def test_munmap_and_dontneed_take_effect_when_they_begin() -> None:
    """Between begin and end of the munmap another thread gets the range: the mmap must stay."""
    recording = Recording().thread(11)
    recording.mmap(0x7F0000000000, 0x1000)
    recording.add("syscalls:sys_enter_munmap: addr: 0x7f0000000000, len: 0x1000", tid=10)
    recording.mmap(0x7F0000000000, 0x1000, tid=11)
    recording.add("syscalls:sys_exit_munmap: 0x0", tid=10)
    recording.add("syscalls:sys_enter_madvise: start: 0x7f0000000000, len_in: 0x1000, behavior: 0x4", tid=10)
    recording.fault(0x7F0000000000, tid=11)
    recording.add("syscalls:sys_exit_madvise: 0x0", tid=10)
    assert [event[0] for event in shown(recording.convert())] == ["MMAP", "MUNMAP", "MMAP", "MADVISE", "TOUCH"]


def test_mremap_and_mprotect_take_effect_when_they_end() -> None:
    recording = Recording()
    recording.mmap(0x7F0000000000, 0x2000)
    recording.call(
        "mremap",
        "addr: 0x7f0000000000, old_len: 0x2000, new_len: 0x5000, flags: 0x1, new_addr: 0x0",
        0x7F1000000000,
    )
    recording.call(
        "mprotect", "start: 0x7f1000000000, len: 0x1000, prot: 0x1", 0, mmap2(0x7F1000000000, 0x1000, "anon")
    )
    made = recording.convert()
    assert shown(made)[1:] == [
        ("MREMAP", 0, 0, 0, 0x7F0000000, 2, 0x7F1000000, 5),
        ("MPROTECT", 0, 0, EventFlag.PROT_READ, 0x7F1000000, 1, 0, 0),
    ]


def test_brk_grows_and_shrinks_the_heap() -> None:
    heap = 0x555500000000
    recording = Recording().exec()
    recording.brk(0, heap + 0x123)
    recording.brk(heap + 0x3000, heap + 0x3000, mmap2(heap, 0x3000, "[heap]"))
    recording.brk(heap + 0x3800, heap + 0x3800, mmap2(heap, 0x4000, "[heap]"))
    recording.brk(heap + 0x1000, heap + 0x1000)
    recording.brk(heap + 0x9000, heap + 0x1000)
    vpn = heap >> 12
    made = recording.convert()
    assert shown(made) == [
        ("EXEC", 0, 0, 0, 0, 0, 0, 0),
        ("MMAP", 0, 0, RW_FIXED, vpn, 3, 0, 0),
        ("MMAP", 0, 0, RW_FIXED, vpn + 3, 1, 0, 0),
        ("MUNMAP", 0, 0, 0, vpn + 1, 3, 0, 0),
    ]
    assert recording.read().dropped == {"brk_without_change": 2}


def test_a_heap_older_than_the_trace_starts_where_its_record_says() -> None:
    heap = 0x555500000000
    recording = Recording().brk(heap + 0x3000, heap + 0x3000, mmap2(heap, 0x3000, "[heap]"))
    assert shown(recording.convert()) == [("MMAP", 0, 0, RW_FIXED, heap >> 12, 3, 0, 0)]
    assert recording.read().header.assumed == {"heap_start": 1}


def test_exec_image() -> None:
    """The first segment's record spans the image; stack pages above exec's first stack fault hold arguments."""
    image, stack = 0x555500000000, 0x7FFF00000000
    recording = Recording().mmap(0x7F0000000000, 0x1000).exec()
    recording.add(mmap2(stack, 0x21000, "[stack]", offset=0x7FFFFFFDE000))
    recording.add(mmap2(image, 0x9000, "prog", prot="r--p", ids="fe:00 9 0"))
    recording.add(mmap2(image + 0x2000, 0x3000, "prog", prot="r-xp", ids="fe:00 9 0", offset=0x2000))
    recording.add(mmap2(image + 0x5000, 0x2000, "prog", ids="fe:00 9 0", offset=0x5000))
    recording.add(mmap2(image + 0x7000, 0x2000, "anon", offset=image + 0x7000))
    recording.add(mmap2(0x7FFE00000000, 0x2000, "[vdso]", prot="r-xp"))
    recording.fault(stack + 0x1EFFF, 2, kind="kernel")
    recording.add("sched:sched_process_exec: filename=prog pid=10 old_pid=10")
    recording.fault(stack + 0x1D000, 6)
    recording.fault(0x7FFE00001020, 4)
    made = recording.convert()
    vpn, top = image >> 12, stack >> 12
    read_fixed = EventFlag.PROT_READ | EventFlag.MAP_FIXED
    write = EventFlag.TOUCH_WRITE
    assert shown(made)[1:] == [
        ("EXEC", 0, 0, 0, 0, 0, 0, 0),
        ("MMAP", 0, 0, RW_FIXED | EventFlag.MAP_GROWSDOWN, top, 0x21, 0, 0),
        ("TOUCH", 0, 0, write, top + 0x1F, 2, 0, 0),
        ("MMAP", 0, 1, read_fixed, vpn, 2, 0, 0),
        ("MMAP", 0, 1, read_fixed, vpn + 2, 3, 2, 0),
        ("MMAP", 0, 1, RW_FIXED, vpn + 5, 2, 5, 0),
        ("MMAP", 0, 0, RW_FIXED, vpn + 7, 2, 0, 0),
        ("TOUCH", 0, 0, write, top + 0x1E, 1, 0, 0),
        ("TOUCH", 0, 0, write, top + 0x1D, 1, 0, 0),
    ]
    assert made.scenario.processes == ("prog[10]",)
    assert made.dropped == {"special_mapping": 1, "fault_in_special_mapping": 1}
    assert made.assumed == {"argument_pages": 2}


def test_a_record_outside_calls_and_exec_is_a_mapping_of_its_own() -> None:
    recording = Recording().exec()
    recording.add("sched:sched_process_exec: filename=prog pid=10 old_pid=10")
    recording.add(mmap2(0x7F0000000000, 0x4000, "SYSV00000000 (deleted)", prot="rw-s", ids="00:01 5 1"))
    recording.add(mmap2(0x7FFF00000000, 0x22000, "[stack]"))
    made = recording.convert()
    assert shown(made)[1:] == [("MMAP", 0, 1, RW_FIXED | EventFlag.MAP_SHARED, 0x7F0000000, 4, 0, 0)]
    assert made.scenario.objects[0].kind == "memfd"
    assert recording.read().dropped == {"stack_growth": 1}


def test_special_mappings_are_inherited_and_end() -> None:
    vdso = 0x7FFE00000000
    recording = Recording().exec().add(mmap2(vdso, 0x2000, "[vdso]", prot="r-xp")).fork(20)
    recording.fault(vdso, 4, tid=20).fault(vdso, 4)
    recording.call("munmap", f"addr: {vdso:#x}, len: 0x1000", 0)
    recording.fault(vdso, 4).fault(vdso + 0x1000, 4).fault(vdso, 4, tid=20)
    recording.exec(20).fault(vdso, 4, tid=20)
    made = recording.convert()
    touched = [(event[1], event[4]) for event in shown(made) if event[0] == "TOUCH"]
    assert touched == [(0, vdso >> 12), (1, vdso >> 12)]
    assert made.dropped == {"special_mapping": 1, "munmap_of_special_mapping": 1, "fault_in_special_mapping": 4}


@pytest.mark.parametrize(
    ("name", "ids", "prot", "kind"),
    [
        ("zero (deleted)", "00:01 7 1", "rw-s", "anon_shared"),
        ("/dev/zero (deleted)", "00:01 7 1", "rw-s", "anon_shared"),
        ("memfd:x (deleted)", "00:01 8 1", "rw-s", "memfd"),
        ("/dev/shm/queue", "00:1b 8 1", "r--s", "memfd"),
        ("sem.abc", "00:1b 95 1", "rw-s", "memfd"),
        ("locale-archive", "fe:00 95 1", "r--p", "file"),
        ("table.db", "fe:00 96 1", "rw-s", "file"),
        ("with space.so", "fe:00 97 1", "r-xp", "file"),
    ],
)
def test_kinds_of_objects(name: str, ids: str, prot: str, kind: str) -> None:
    bits = sum(bit for letter, bit in zip(prot, (1, 2, 4), strict=False) if letter != "-")
    flags = 0x01 if prot.endswith("s") else 0x02
    made = Recording().mmap(0x7F0000000000, 0x1000, prot=bits, flags=flags, record=mmap2(
        0x7F0000000000, 0x1000, name, prot=prot, ids=ids)).convert()  # fmt: skip
    (spec,) = made.scenario.objects
    assert spec.kind == kind
    assert spec.name.startswith(name)
    assert bool(made.scenario.events["flags"][0] & EventFlag.MAP_SHARED) == prot.endswith("s")


@pytest.mark.parametrize(
    ("name", "ids", "flags", "reason"),
    [
        ("/dev/dri/card0", "00:06 9 1", 0x01, "special_mapping"),
        ("anon_inode:[io_uring]", "00:0f 9 1", 0x01, "special_mapping"),
        ("anon_hugepage (deleted)", "00:10 9 1", 0x40022, "hugetlb_mapping"),
        ("", "", 0x40022, "hugetlb_mapping"),
    ],
)
def test_mappings_without_counted_pages_and_their_faults_are_dropped(
    name: str, ids: str, flags: int, reason: str
) -> None:
    record = mmap2(0x7F0000000000, 0x200000, name, ids=ids) if name else ""
    made = Recording().mmap(0x7F0000000000, 0x200000, flags=flags, record=record).fault(0x7F0000001000).convert()
    assert not made.scenario.nr_events
    assert made.dropped == {reason: 1, f"fault_in_{reason}": 1}


def test_build_ids_stand_in_for_inodes() -> None:
    text = "PERF_RECORD_MMAP2 10/10: [0x7f0000000000(0x1000) @ 0 <0a1b2c3d>]: r-xp libc.so.6"
    made = Recording().exec().add(text).convert()
    assert [spec.kind for spec in made.scenario.objects] == ["file"]
    assert shown(made)[1][2] == 1


def test_populate_faults_pages_in() -> None:
    recording = Recording()
    recording.mmap(0x7F0000000000, 0x3000, flags=0x8022)
    recording.mmap(0x7F0000010000, 0x3000, flags=0x8001, prot=3, record=mmap2(
        0x7F0000010000, 0x3000, "f", prot="rw-s", ids="fe:00 3 0"))  # fmt: skip
    recording.mmap(0x7F0000020000, 0x3000, flags=0x18022)
    advices = [(event[0], ADVICES[event[2]]) for event in shown(recording.convert()) if event[0] == "MADVISE"]
    assert advices == [("MADVISE", "POPULATE_WRITE"), ("MADVISE", "POPULATE_READ")]


@pytest.mark.parametrize(
    ("number", "advice"),
    [(4, "DONTNEED"), (14, "HUGEPAGE"), (15, "NOHUGEPAGE"), (10, "DONTFORK"), (11, "DOFORK"), (18, "WIPEONFORK"),
     (19, "KEEPONFORK"), (22, "POPULATE_READ"), (23, "POPULATE_WRITE"), (3, "IGNORED"), (8, "FREE"), (9, "IGNORED")],
)  # fmt: skip
def test_advice(number: int, advice: str) -> None:
    recording = Recording().mmap(0x7F0000000000, 0x1000)
    recording.call("madvise", f"start: 0x7f0000000000, len_in: 0x1000, behavior: {number:#x}", 0)
    made = recording.convert()
    assert shown(made)[1] == ("MADVISE", 0, ADVICES.index(advice), 0, 0x7F0000000, 1, 0, 0)
    assert bool(made.assumed) == (number == 9)


def test_processes_threads_and_exits() -> None:
    recording = Recording().exec().fork(20).thread(21, 20)
    recording.fault(0x1000, tid=21)
    recording.exit(20, 20).fault(0x2000, tid=21).exit(20, 21).exit(10)
    made = recording.convert()
    assert [event[:2] for event in shown(made)] == [
        ("EXEC", 0), ("FORK", 0), ("TOUCH", 1), ("TOUCH", 1), ("EXIT", 1), ("EXIT", 0),
    ]  # fmt: skip


def test_group_dead_decides_when_threads_are_unknown() -> None:
    """Attached to a running program: its threads were never seen being born."""
    recording = Recording().fault(0x1000).exit(10, 10, "false").exit(10, 12, "true")
    assert [event[0] for event in shown(recording.convert())] == ["TOUCH", "EXIT"]


def test_a_reused_pid_is_a_new_process() -> None:
    recording = Recording().exec().fork(20).fault(0x1000, tid=20).exit(20).fork(20).fault(0x2000, tid=20)
    recording.fork(20).fault(0x3000, tid=20)
    made = recording.convert()
    touched = [(event[1], event[4]) for event in shown(made) if event[0] == "TOUCH"]
    assert touched == [(1, 1), (2, 2), (3, 3)]
    assert [event[1] for event in shown(made) if event[0] == "EXIT"] == [1, 2]
    assert recording.read().header.assumed == {"exit_not_recorded": 1}


def test_processes_older_than_the_trace_start_empty() -> None:
    recording = Recording().fault(0x1000).fault(0x2000, tid=30).fork(31, 30).fault(0x3000, tid=31)
    made = recording.convert()
    assert [event[:2] + event[6:7] for event in shown(made)] == [
        ("FORK", 0, 1), ("TOUCH", 0, 0), ("TOUCH", 1, 0), ("FORK", 1, 2), ("TOUCH", 2, 0),
    ]  # fmt: skip
    assert made.rows.tolist() == [-1, 0, 1, 2, 3]
    assert made.scenario.lines.tolist() == [0, 1, 2, 3, 4]


def test_fork_without_clone_flags_is_taken_for_a_fork() -> None:
    recording = Recording().exec().fork(20, flags=None)
    assert shown(recording.convert())[1] == ("FORK", 0, 0, 0, 0, 0, 1, 0)
    assert recording.read().header.assumed == {"clone_flags_unknown": 1}


def test_newtask_alone_tells_of_a_fork_and_of_a_thread() -> None:
    recording = Recording().exec()
    recording.add("task:task_newtask: pid=20 comm=prog clone_flags=4100 oom_score_adj=0")
    recording.add("task:task_newtask: pid=11 comm=prog clone_flags=3d0f00 oom_score_adj=0")
    recording.fault(0x1000, tid=20).fault(0x2000, tid=11)
    assert [event[:2] + event[3:4] for event in shown(recording.convert())] == [
        ("EXEC", 0, 0), ("FORK", 0, EventFlag.FORK_SHARE_MM),
        ("TOUCH", 1, EventFlag.TOUCH_WRITE), ("TOUCH", 0, EventFlag.TOUCH_WRITE),
    ]  # fmt: skip


def test_a_vfork_child_moves_its_parents_break_until_it_execs() -> None:
    heap = 0x555500000000
    recording = Recording().exec().brk(0, heap).fork(20, flags=0x4100)
    recording.call("brk", f"brk: {heap + 0x1000:#x}", heap + 0x1000, tid=20)
    recording.brk(heap + 0x2000, heap + 0x2000)
    recording.exec(20).call("brk", "brk: 0x0", heap + 0x77000, tid=20)
    recording.brk(heap + 0x3000, heap + 0x3000)
    maps = [(event[1], event[4], event[5]) for event in shown(recording.convert()) if event[0] == "MMAP"]
    vpn = heap >> 12
    assert maps == [(1, vpn, 1), (0, vpn + 1, 1), (0, vpn + 2, 1)]


def test_what_cannot_be_a_row_is_counted() -> None:
    recording = Recording().exec()
    recording.fault(0xFFFF888000000000, 2, kind="kernel")
    recording.add("syscalls:sys_exit_munmap: 0x0")
    recording.add("syscalls:sys_enter_munmap: addr: 0x1000, len: 0x1000")
    recording.exit(10)
    recording.fault(0x1000)
    recording.exit(77)
    recording.add("PERF_RECORD_MMAP2 -1/0: [0xffffffff81000000(0x1000) @ 0 00:00 0 0]: r-xp vmlinux")
    recording.add("PERF_RECORD_SWITCH_CPU_WIDE OUT          next pid/tid: 1/1")
    recording.add("    12345 cycles:u:  401000 main+0x0 (prog)")
    recording.add("block:block_rq_issue: 254,0 R 4096 () 0 + 8 [prog]")
    recording.lines += ["", "# os release : 6.18.1", "# cmdline : /usr/bin/perf record -- make"]
    read = recording.read()
    assert read.header.dropped == {
        "after_exit": 1,
        "call_without_exit": 1,
        "exit_of_unknown_process": 1,
        "exit_without_call": 1,
        "kernel_address": 1,
        "kernel_mapping": 1,
    }
    assert read.header.lines_ignored == {
        "PERF_RECORD_SWITCH_CPU_WIDE": 1, "blank": 1, "block:block_rq_issue": 1, "comment": 2, "cycles:u": 1,
    }  # fmt: skip
    assert read.header.lines_read == len(recording.lines)
    assert (read.header.kernel, read.header.command) == ("6.18.1", "/usr/bin/perf record -- make")
    assert read.counts() == {"exec": 1, "exit": 1}


def test_lines_out_of_order_keep_their_place() -> None:
    recording = Recording().fault(0x1000).fault(0x2000)
    recording.lines.reverse()
    read = recording.read()
    assert read.rows["address"].tolist() == [0x2000, 0x1000]
    assert (np.diff(read.rows["time_ns"].astype(np.int64)) >= 0).all()
    assert read.header.assumed == {"time_ran_backwards": 1}


def test_cpus_beyond_those_of_the_model_wrap() -> None:
    lines = Recording().add("exceptions:page_fault_user: address=0x1000 ip=0x1 error_code=0x6", cpu=300).lines
    read = import_perf_script(lines)
    assert read.rows["cpu"].tolist() == [300]
    made = read.convert(GEOMETRY)
    assert made.scenario.events["cpu"].tolist() == [44]
    assert made.assumed == {"cpu_modulo_256": 1}


# ---- other page sizes -----------------------------------------------------------------------------------------------


def test_larger_pages_round_outwards_to_map_and_inwards_to_remove() -> None:
    recording = Recording()
    recording.mmap(0x7F0000003000, 0x30000)
    recording.call("munmap", "addr: 0x7f0000013000, len: 0x20000", 0)
    recording.call("munmap", "addr: 0x7f0000003000, len: 0x1000", 0)
    recording.call("mprotect", "start: 0x7f0000003000, len: 0x1000, prot: 0x1", 0)
    recording.call("mprotect", "start: 0x7f0000003000, len: 0x1000, prot: 0x3", 0)
    recording.fault(0x7F0000012000)
    made = recording.convert(64 << 10)
    assert shown(made) == [
        ("MMAP", 0, 0, RW_FIXED, 0x7F000000, 4, 0, 0),
        ("MUNMAP", 0, 0, 0, 0x7F000002, 1, 0, 0),
        ("MPROTECT", 0, 0, EventFlag.PROT_READ | EventFlag.PROT_WRITE, 0x7F000000, 1, 0, 0),
        ("TOUCH", 0, 0, EventFlag.TOUCH_WRITE, 0x7F000001, 1, 0, 0),
    ]
    assert made.dropped == {"munmap_within_a_page": 1, "mprotect_within_a_page": 1}
    assert shown(recording.convert())[1] == ("MUNMAP", 0, 0, 0, 0x7F0000013, 0x20, 0, 0)


def test_a_move_at_larger_pages_leaves_what_it_shares_with_neighbours() -> None:
    recording = Recording().mmap(0x7F0000003000, 0x30000)
    recording.call(
        "mremap", "addr: 0x7f0000003000, old_len: 0x30000, new_len: 0x40000, flags: 0x1, new_addr: 0x0", 0x7F1000005000
    )
    recording.call(
        "mremap", "addr: 0x7f1000005000, old_len: 0x40000, new_len: 0x90000, flags: 0x1, new_addr: 0x0", 0x7F1000005000
    )
    recording.call(
        "mremap", "addr: 0x7f1000005000, old_len: 0x1000, new_len: 0x1000, flags: 0x3, new_addr: 0x0", 0x7F2000005000
    )
    made = recording.convert(64 << 10)
    assert shown(made)[1:] == [
        ("MREMAP", 0, 0, 0, 0x7F000001, 2, 0x7F100000, 5),
        ("MREMAP", 0, 0, 0, 0x7F100001, 4, 0x7F100001, 9),
        ("MMAP", 0, 0, RW_FIXED, 0x7F200000, 1, 0, 0),
    ]
    assert made.assumed == {"mremap_within_a_page_is_mmap": 1}


def test_mremap_dontunmap_leaves_an_empty_mapping() -> None:
    recording = Recording().mmap(0x7F0000000000, 0x2000)
    recording.call(
        "mremap", "addr: 0x7f0000000000, old_len: 0x2000, new_len: 0x2000, flags: 0x5, new_addr: 0x0", 0x7F1000000000
    )
    made = recording.convert()
    assert shown(made)[1:] == [
        ("MREMAP", 0, 0, 0, 0x7F0000000, 2, 0x7F1000000, 2),
        ("MMAP", 0, 0, RW_FIXED, 0x7F0000000, 2, 0, 0),
    ]
    assert made.assumed == {"mremap_dontunmap_leaves_read_write": 1}


def test_the_break_at_larger_pages() -> None:
    heap = 0x555500005000
    recording = Recording().exec().brk(0, heap).brk(heap + 0x1000, heap + 0x1000).brk(heap + 0x20000, heap + 0x20000)
    recording.brk(heap + 0x1000, heap + 0x1000)
    vpn = heap >> 16
    made = recording.convert(64 << 10)
    assert shown(made)[1:] == [
        ("MMAP", 0, 0, RW_FIXED, vpn, 1, 0, 0),
        ("MMAP", 0, 0, RW_FIXED, vpn + 1, 2, 0, 0),
        ("MUNMAP", 0, 0, 0, vpn + 1, 2, 0, 0),
    ]


def test_file_order() -> None:
    scenario = trace("redis-bgsave-thp").to_scenario(GEOMETRY, file_order=4)
    assert {spec.order for spec in scenario.objects if spec.kind == "file"} == {4}
    for order in (-1, 10):
        with pytest.raises(ValueError, match=f"file order {order} must be between 0 and 9"):
            trace("redis-bgsave-thp").to_scenario(GEOMETRY, file_order=order)


# ---- bad text -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("nonsense", "not 'comm tid [cpu] seconds.fraction: event': 'nonsense'"),
        ("prog 10 [000] 1.000000: what is this", "no event name in 'what is this'"),
        ("prog 10 [99999] 1.000000: a:b: c", "CPU 99999 is beyond 65535"),
        ("prog 3000000000 [0] 1.000000: a:b: c", "thread id 3000000000 is beyond 2^31 - 1"),
        ("prog 10 [000] 9999999999.000000: a:b: c", "time 9999999999 s is beyond 2^33 s"),
        ("prog 10 [000] 1.000000: PERF_RECORD_", "no record type in 'PERF_RECORD_'"),
        ("prog 10 [000] 1.000000: PERF_RECORD_MMAP2 10/10: [0x1(", "not a PERF_RECORD_MMAP2"),
        ("prog 10 [000] 1.000000: PERF_RECORD_COMM exec: x", "not 'PERF_RECORD_COMM: name:pid/tid'"),
        ("prog 10 [000] 1.000000: PERF_RECORD_COMM exec: x:-5/1", "id -5 is not within 0 to 2^31 - 1"),
        ("prog 10 [000] 1.000000: PERF_RECORD_FORK(1:1)", "not 'PERF_RECORD_FORK(pid:tid):(ppid:ptid)'"),
        ("prog 10 [000] 1.000000: PERF_RECORD_EXIT(1:1):(x:1)", "not 'PERF_RECORD_FORK(pid:tid):(ppid:ptid)'"),
        ("prog 10 [000] 1.000000: exceptions:page_fault_user: address=12", "not 'address=A ip=I error_code=E'"),
        ("prog 10 [000] 1.000000: syscalls:sys_enter_mmap: addr: 0x0", "not 'addr: 0x.., len: 0x.., prot: 0x.., flags"),
        ("prog 10 [000] 1.000000: syscalls:sys_enter_brk: brk: 0x12345678123456789", "not 'brk: 0x..'"),
        ("prog 10 [000] 1.000000: syscalls:sys_exit_brk: -12", "not a return value '0x..': '-12'"),
        ("prog 10 [000] 1.000000: task:task_newtask: pid=1", "not 'pid=P comm=C clone_flags=F'"),
        ("prog 10 [000] 1.000000: sched:sched_process_exec: x", "not 'filename=F pid=P old_pid=P'"),
        ("prog 10 [000] 1.000000: sched:sched_process_exit: x", "not 'comm=C pid=P prio=N'"),
    ],
)
def test_a_malformed_line_is_named(text: str, rule: str) -> None:
    lines = [*Recording().exec().fault(0x1000).lines, text, *Recording().lines]
    with pytest.raises(TraceError) as caught:
        import_perf_script(lines, name="bad.txt")
    assert caught.value.line == 3
    assert rule in caught.value.rule
    assert str(caught.value).startswith("bad.txt:3: ")


def test_names_may_hold_spaces_and_brackets() -> None:
    lines = (
        Recording().add("exceptions:page_fault_user: address=0x1000 ip=0x1 error_code=0x6", comm="Web [000] 1 C").lines
    )
    assert import_perf_script(lines).rows["pid"].tolist() == [10]


with gzip.open(TEXT, "rt", encoding="utf-8") as _stream:
    _LINES = _stream.readlines()
SAMPLE = [*_LINES[:60], *_LINES[250:330], *_LINES[1690:1745], *_LINES[16000:16110]]
NASTY = st.sampled_from(
    ["", "-1", "0x", "0xffffffffffffffff", "0x7fffffffffff", "99999999999", "\x00", "é", "[", "(", ":", " ", "\n"]
)


@st.composite
def damaged(draw: st.DrawFn) -> list[str]:
    lines = draw(st.lists(st.sampled_from(SAMPLE), min_size=1, max_size=30))
    for _ in range(draw(st.integers(0, 3))):
        index = draw(st.integers(0, len(lines) - 1))
        line = lines[index]
        start = draw(st.integers(0, len(line)))
        end = draw(st.integers(start, min(len(line), start + 12)))
        lines[index] = line[:start] + draw(NASTY | st.text(max_size=6)) + line[end:]
    return lines


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(damaged())
def test_damaged_text_raises_nothing_but_trace_errors(lines: list[str]) -> None:
    try:
        read = import_perf_script(lines)
    except TraceError as error:
        assert error.line is not None or error.row is not None
        return
    assert read.header.lines_read == len(lines)
    for page_size_bytes in (4 << 10, 64 << 10):
        made = read.convert(Geometry(page_size_bytes=page_size_bytes))
        assert made.scenario.nr_events == made.rows.size


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(max_size=60), max_size=4))
def test_arbitrary_text_raises_nothing_but_trace_errors(lines: list[str]) -> None:
    try:
        assert not import_perf_script(lines).rows.size
    except TraceError as error:
        assert error.line is not None


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    packed = TEXT.read_bytes()
    for name, content in (
        ("cut.txt.gz", packed[: len(packed) // 2]),
        ("damaged.txt.gz", packed[:1000] + b"\xff" * 64 + packed[1064:]),
        ("parquet", (DATA / "pool.parquet").read_bytes()),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(TraceError, match=re.escape(name)):
            import_perf_script(tmp_path / name)
    with pytest.raises(TraceError, match=r"cannot be read: .*No such file"):
        import_perf_script(tmp_path / "none")


def test_plain_and_compressed_files_are_the_same(tmp_path: Path) -> None:
    lines = "".join(f"{line}\n" for line in Recording().exec(name="m\xe9").fault(0x1000).lines)
    (tmp_path / "a.perf.txt").write_bytes(lines.encode("latin-1"))
    with gzip.open(tmp_path / "a.perf.txt.gz", "wb") as stream:
        stream.write(lines.encode("latin-1"))
    plain, packed = (import_perf_script(tmp_path / name) for name in ("a.perf.txt", "a.perf.txt.gz"))
    np.testing.assert_array_equal(plain.rows, packed.rows)
    assert plain.name == packed.name == "a"
    assert plain.header.commands == ("m\\xe9",)


# ---- Parquet --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row_group_rows", [997, 1 << 17])
@pytest.mark.parametrize("name", NAMES)
def test_round_trip(name: str, row_group_rows: int, tmp_path: Path) -> None:
    path = tmp_path / "copy.parquet"
    write_trace(trace(name), path, row_group_rows=row_group_rows)
    copy = read_trace(path)
    np.testing.assert_array_equal(copy.rows, trace(name).rows)
    assert copy.header == trace(name).header == read_header(path)
    assert copy.name == "copy"
    assert not copy.rows.flags.writeable


@pytest.mark.parametrize("page_size_bytes", [4 << 10, 64 << 10])
@pytest.mark.parametrize("name", NAMES)
def test_streaming_gives_the_same(name: str, page_size_bytes: int, tmp_path: Path) -> None:
    path = tmp_path / "stream.parquet"
    write_trace(trace(name), path, row_group_rows=5000)
    batches = list(iter_batches(path, max_rows=700))
    assert max(batch.size for batch in batches) <= 700
    np.testing.assert_array_equal(np.concatenate(batches), trace(name).rows)
    geometry = Geometry(page_size_bytes=page_size_bytes)
    events = np.concatenate(list(iter_events(path, geometry, max_rows=700)))
    np.testing.assert_array_equal(events, conversion(name, page_size_bytes).scenario.events)


def test_an_empty_trace(tmp_path: Path) -> None:
    empty = import_perf_script([], name="empty")
    write_trace(empty, tmp_path / "empty.parquet")
    copy = read_trace(tmp_path / "empty.parquet")
    assert copy.rows.size == 0
    assert copy.to_scenario(GEOMETRY).nr_events == 0
    assert list(iter_batches(tmp_path / "empty.parquet")) == []


def test_other_tools_read_the_rows() -> None:
    """Plain Parquet types, operations by name."""
    table = pq.read_table(DATA / "redis-bgsave-thp.parquet")
    assert table.num_rows == trace("redis-bgsave-thp").rows.size
    assert Counter(table["op"].to_pylist()) == Counter(trace("redis-bgsave-thp").counts())
    assert table.schema.field("address").type == pa.uint64()


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.9, 0.9999])
def test_a_truncated_file(share: float, tmp_path: Path) -> None:
    content = (DATA / "redis-bgsave-thp.parquet").read_bytes()
    path = tmp_path / "cut.parquet"
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(TraceError, match=r"cut\.parquet: not a readable Parquet file"):
        read_trace(path)


def test_damaged_bytes_are_found(tmp_path: Path) -> None:
    """Pages carry checksums; damage in the footer may go unnoticed only where nothing depends on it."""
    content = (DATA / "redis-bgsave-thp.parquet").read_bytes()
    path = tmp_path / "damaged.parquet"
    rng = np.random.default_rng(7)
    for position in rng.integers(0, len(content), 120).tolist():
        path.write_bytes(content[:position] + bytes([content[position] ^ 0x41]) + content[position + 1 :])
        try:
            found = read_trace(path)
        except TraceError as error:
            assert "damaged.parquet" in str(error)
        else:
            np.testing.assert_array_equal(found.rows, trace("redis-bgsave-thp").rows)


def rewritten(tmp_path: Path, table: Any, header: bytes | None) -> Path:
    path = tmp_path / "other.parquet"
    rows = str(table.num_rows).encode()
    table = table.replace_schema_metadata(
        {} if header is None else {b"folio_perf.trace": header, b"folio_perf.trace.rows": rows}
    )
    pq.write_table(table, path)
    return path


def small_table() -> Any:
    return pq.read_table(DATA / "redis-bgsave-thp.parquet").slice(0, 50)


def header_text() -> bytes:
    return trace("redis-bgsave-thp").header.to_json().encode()


def test_a_trace_written_by_another_program(tmp_path: Path) -> None:
    found = read_trace(rewritten(tmp_path, small_table(), header_text()))
    np.testing.assert_array_equal(found.rows, trace("redis-bgsave-thp").rows[:50])


@pytest.mark.parametrize(
    ("header", "rule"),
    [
        (None, "not a trace: no metadata 'folio_perf.trace'"),
        (b"{", "bad trace header"),
        (b"[]", "not a JSON object"),
        (b'"' + b"\xff" + b'"', "bad trace header"),
        (b"{}", "lacks 'version'"),
        (b'{"version": 2}', "format version 2; this program reads 1 to 1"),
        (b'{"version": "1"}', "format version '1'"),
        (
            header_text().replace(b'"page_size_bytes":4096', b'"page_size_bytes":4095'),
            "page size 4095 is not a power of two",
        ),
        (header_text().replace(b'"kernel":"6.18"', b'"kernel":6.18'), "kernel 6.18 is not a string"),
        (header_text().replace(b'"special"', b'"dragon"', 1), "kind 'dragon'"),
        (header_text().replace(b'"roots":[', b'"roots":[-1,'), "root -1 is not a pid"),
        (header_text().replace(b'"fe:00",', b"", 1), "bad trace header"),
    ],
)
def test_bad_headers(header: bytes | None, rule: str, tmp_path: Path) -> None:
    path = rewritten(tmp_path, small_table(), header)
    for read in (read_trace, read_header):
        with pytest.raises(TraceError, match=re.escape(rule)):
            read(path)


@pytest.mark.parametrize(
    ("column", "value", "rule"),
    [
        ("op", "teleport", "row 7: unknown operation"),
        ("address", 1 << 62, "row 7: address and length reach beyond 2^47"),
        ("length", (1 << 64) - 1, "row 7: address and length reach beyond 2^47"),
        ("address2", 1 << 48, "row 7: address2 and length2 reach beyond 2^47"),
        ("object", 4000, "row 7: object is none of the"),
        ("object", -2, "row 7: object is none of the"),
        ("command", 99, "row 7: command is none of the"),
        ("offset", 1 << 63, "row 7: offset is negative"),
        ("time_ns", 5, "row 7: time runs backwards"),
        ("time_ns", (1 << 64) - 1, "row 7: time runs backwards"),
    ],
)
def test_bad_rows(column: str, value: object, rule: str, tmp_path: Path) -> None:
    table = small_table()
    index = table.schema.get_field_index(column)
    values = table[column].to_pylist()
    values[7] = value
    table = table.set_column(index, column, pa.array(values, table.schema.field(column).type))
    with pytest.raises(TraceError, match=re.escape(rule)):
        read_trace(rewritten(tmp_path, table, header_text()))


def test_bad_columns(tmp_path: Path) -> None:
    table = small_table()
    with pytest.raises(TraceError, match="lacks the column 'cpu'"):
        read_trace(rewritten(tmp_path, table.drop_columns(["cpu"]), header_text()))
    index = table.schema.get_field_index("cpu")
    wide = table.set_column(index, "cpu", table["cpu"].cast(pa.int64()))
    with pytest.raises(TraceError, match="column 'cpu' is int64, not uint16"):
        read_trace(rewritten(tmp_path, wide, header_text()))
    holes = table.set_column(index, "cpu", pa.array([None] * table.num_rows, pa.uint16()))
    with pytest.raises(TraceError, match="column 'cpu' has nulls"):
        read_trace(rewritten(tmp_path, holes, header_text()))


def test_row_count_and_checksum_of_the_header(tmp_path: Path) -> None:
    path = rewritten(tmp_path, small_table(), header_text())
    metadata = pq.read_schema(path).metadata
    for key, value, rule in (
        (b"folio_perf.trace.rows", b"51", "damaged: 50 rows, metadata 'folio_perf.trace.rows' says '51'"),
        (b"folio_perf.trace.rows", b"\xff", "damaged: 50 rows"),
        (b"folio_perf.trace.crc32", b"00000000", "damaged: the header does not have its checksum"),
    ):
        pq.write_table(small_table().replace_schema_metadata({**metadata, key: value}), path)
        with pytest.raises(TraceError, match=rule):
            read_header(path)


def test_rows_of_a_process_nobody_started() -> None:
    good = Recording().fault(0x1000).mmap(0x7F0000000000, 0x1000).read()
    for index in (0, 1):
        rows = good.rows.copy()
        rows["pid"][index] = 99
        with pytest.raises(TraceError, match=f"row {index}: process 99 is neither a root nor forked before"):
            replace(good, rows=rows).to_scenario(GEOMETRY)


def test_arguments() -> None:
    found = trace("redis-bgsave-thp")
    with pytest.raises(ValueError, match="row_group_rows 0 must be positive"):
        write_trace(found, "unused", row_group_rows=0)
    for stream in (iter_batches("unused", max_rows=0), iter_events("unused", GEOMETRY, max_rows=-1)):
        with pytest.raises(ValueError, match=r"max_rows .* must be positive"):
            next(iter(stream))
    with pytest.raises(ValueError, match="need one dimension of TRACE_DTYPE"):
        replace(found, rows=np.zeros(3))
    with pytest.raises(ValueError, match="inode -1 of 'x' is not a 64-bit count"):
        TraceObject(name="x", device="0:0", inode=-1, generation=0, size_bytes=0, kind="file")
    with pytest.raises(ValueError, match="dropped 'x': -1 is not a count"):
        TraceHeader(origin="", kernel="", command="", page_size_bytes=4096, dropped={"x": -1})


def test_what_perf_lost_is_counted() -> None:
    recording = Recording().fault(0x1000)
    recording.add("PERF_RECORD_LOST lost 90139")
    recording.add("PERF_RECORD_LOST_SAMPLES lost 2")
    assert recording.read().header.dropped == {"lost_by_perf": 90141}


def test_rows_leave_while_the_recording_is_read() -> None:
    """A munmap in the air holds them back, but not for ever."""
    recording = Recording().mmap(0x7F0000000000, 0x1000)
    recording.add("syscalls:sys_enter_munmap: addr: 0x7f0000000000, len: 0x1000", tid=11)
    nr_faults = MAX_HELD_ROWS + 3 * PIECE_ROWS
    for number in range(nr_faults):
        recording.fault(0x7F0000100000 + number * PAGE)
    recording.add("syscalls:sys_exit_munmap: 0x0", tid=11)
    builder = RowBuilder(PAGE)
    sizes = []
    for rows in rows_of_lines(PerfScriptReader(builder), recording.lines, source="test"):
        sizes.append(rows.size)
        last = OPS[int(rows["op"][-1])]
    # The munmap is in its place no more: it stands where it ended.
    assert sum(sizes) == 1 + nr_faults + 1 and last == "munmap"
    assert max(sizes) < MAX_HELD_ROWS + PIECE_ROWS and len(sizes) >= 3
    assert builder.assumed["effect_at_end_of_call"] == 1


def test_pages_that_were_not_in_the_page_cache_stay_out_of_it(tmp_path: Path) -> None:
    """A file of 16 pages, 5 to 7 absent: fault-around maps 13 of them, all 16 without the holes."""
    recording = Recording()
    record = mmap2(0x7F0000000000, 0x10000, "/lib/x", prot="r--p", ids="fe:00 77 5")
    recording.mmap(0x7F0000000000, 0x10000, prot=1, flags=2, record=record)
    recording.fault(0x7F0000000000, 4)
    whole = recording.read()
    holes = replace(whole, header=replace(whole.header, absent={0: ((0x5000, 0x3000),)}))
    write_trace(holes, tmp_path / "holes.parquet")
    assert read_header(tmp_path / "holes.parquet") == holes.header
    assert holes.to_scenario(GEOMETRY).hash != whole.to_scenario(GEOMETRY).hash

    def mapped(trace: Trace, geometry: Geometry = GEOMETRY) -> int:
        scenario = trace.to_scenario(geometry)
        spec = parse_scheme_spec("page_mapcount")
        kernel = load_profile("7.0")
        simulation = new_simulation(scenario, scheme=spec, kernel=kernel, backend="count", geometry=geometry)
        simulation.run(scenario.events)
        return int(simulation.smaps(0)["rss_pages"].sum())

    assert (mapped(whole), mapped(holes)) == (16, 13)
    # A larger page is absent if all of it is: here none of the four.
    assert mapped(holes, Geometry(page_size_bytes=16 << 10)) == mapped(whole, Geometry(page_size_bytes=16 << 10))


@pytest.mark.parametrize(
    "absent", [{0: ((0, 0),)}, {0: ((4096, 4096), (0, 4096))}, {700: ((0, 4096),)}, {0: ((-1, 2),)}]
)
def test_bad_ranges_of_absent_pages(absent: dict[int, tuple[tuple[int, int], ...]]) -> None:
    header = trace("redis-bgsave-thp").header
    with pytest.raises(ValueError, match="absent"):
        replace(header, absent=absent)


def test_conversion_is_repeatable() -> None:
    first: NDArray[Any] = trace("pool").to_scenario(GEOMETRY).events
    again = read_trace(DATA / "pool.parquet").to_scenario(GEOMETRY)
    np.testing.assert_array_equal(first, again.events)
    assert again.hash == conversion("pool").scenario.hash
