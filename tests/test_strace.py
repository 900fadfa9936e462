# SPDX-License-Identifier: BSD-3-Clause
"""Logs of strace and snapshots of smaps and pagemap, read and recorded; skipped where there is no strace."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest

from folio_perf.geometry import Geometry
from folio_perf.record import RecordError, data_path, record
from folio_perf.replay import ReplayedProcess, replay
from folio_perf.scenario import EventFlag, Op
from folio_perf.traces import OPS, Trace, TraceError, import_snapshot, import_strace, read_trace

LOG = Path(__file__).parent / "data" / "recordings" / "python-fork.strace.gz"
PAGE = 4096
MIB = 1 << 20

PROGRAM = """
import os, time
heap = bytearray(8 << 20)
if not os.fork():
    more = bytearray(4 << 20)
    os._exit(3)
os.wait()
os._exit(0)
"""


@cache
def why_not() -> str:
    """Why nothing can be recorded by strace here; empty if it can."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    probe = subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True, text=True, check=False)
    return f"strace may not trace: {probe.stderr.strip()[:100]}" if probe.returncode else ""


@pytest.fixture
def strace() -> None:
    if reason := why_not():
        pytest.skip(reason)


def operations(trace: Trace, pid: int) -> list[str]:
    rows = trace.rows[trace.rows["pid"] == pid]
    return [OPS[op] for op in rows["op"].tolist()]


# ---- logs -----------------------------------------------------------------------------------------------------------


def test_a_log_of_strace_becomes_calls_and_processes() -> None:
    """sh runs ls, then a Python that maps and unmaps, starts a thread and forks."""
    trace = import_strace(LOG)
    counts = trace.counts()
    assert (counts["exec"], counts["fork"], counts["exit"]) == (3, 3, 4)
    assert "fault" not in counts  # no log has them
    assert trace.header.commands == ("sh", "ls", "python3")
    # What exec maps is not in the log either; calls on it are counted, not kept.
    assert trace.header.assumed["exec_image_unknown"] == 3
    assert trace.header.dropped["unknown_range"] > 0
    assert any(each.name.endswith("/libc.so.6") for each in trace.header.objects)
    replayed = replay(trace, schemes="page_mapcount", backend="count")
    assert replayed.outcome.failed == 0 and replayed.outcome.total == trace.rows.size


def log(*lines: str) -> Trace:
    return import_strace([f"10 {100 + number}.000001 {line}" for number, line in enumerate(lines)])


def test_calls_by_several_threads_are_joined() -> None:
    trace = import_strace(
        [
            '10 1.000000 execve("/bin/a", ["a"], 0x1 /* 3 vars */) = 0',
            "10 1.000001 clone3({flags=CLONE_VM|CLONE_THREAD, stack=0x7f0000000000}, 88 <unfinished ...>",
            "11 1.000002 mmap(NULL, 8192, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0 <unfinished ...>",
            "10 1.000003 <... clone3 resumed> => {parent_tid=[11]}, 88) = 11",
            "11 1.000004 <... mmap resumed>)        = 0x7f0000000000",
            "10 1.000005 munmap(0x7f0000000000, 4096) = 0",
            "11 1.000006 +++ exited with 0 +++",
            "10 1.000007 +++ exited with 0 +++",
        ]
    )
    assert operations(trace, 10) == ["exec", "mmap", "munmap", "exit"]
    assert set(trace.rows["pid"].tolist()) == {10}


def test_a_child_may_show_itself_before_the_call_that_makes_it_ends() -> None:
    trace = import_strace(
        [
            '10 1.000000 execve("/bin/a", ["a"], 0x1 /* 3 vars */) = 0',
            "10 1.000001 vfork( <unfinished ...>",
            '12 1.000002 execve("/bin/b", ["b"], 0x1 /* 3 vars */ <unfinished ...>',
            "10 1.000003 <... vfork resumed>) = 12",
            "12 1.000004 <... execve resumed>) = 0",
            "10 1.000005 clone(child_stack=NULL, flags=CLONE_CHILD_SETTID|SIGCHLD, child_tidptr=0x7f20) = 13",
            "13 1.000006 exit_group(0) = ?",
            "13 1.000007 +++ exited with 0 +++",
        ]
    )
    forks = trace.rows[trace.rows["child"] > 0]
    assert [(int(row["child"]), int(row["clone_flags"])) for row in forks] == [(12, 0x4100), (13, 0)]
    assert operations(trace, 12) == ["exec"] and operations(trace, 13) == ["exit"]


def test_exec_by_a_thread_goes_on_under_the_number_of_its_leader() -> None:
    trace = import_strace(
        [
            '10 1.000000 execve("/bin/a", ["a"], 0x1 /* 3 vars */) = 0',
            "10 1.000001 clone(child_stack=0x1, flags=CLONE_VM|CLONE_THREAD) = 11",
            '11 1.000002 execve("/bin/b", ["b"], 0x1 /* 3 vars */ <unfinished ...>',
            "10 1.000003 +++ superseded by execve in pid 11 +++",
            "10 1.000004 <... execve resumed>) = 0",
            "10 1.000005 +++ killed by SIGTERM +++",
        ]
    )
    assert trace.header.commands == ("a", "b")
    assert operations(trace, 10) == ["exec", "exec", "exit"]


def test_constants_may_be_names_or_numbers() -> None:
    names = log("mmap(NULL, 8192, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0) = 0x7f0000000000")
    numbers = log("mmap(0, 0x2000, 0x3, 0x22, 0xffffffff, 0) = 0x7f0000000000".replace("0xffffffff", "4294967295"))
    both = log(
        "mmap(NULL, 8192, 0x3 /* PROT_READ|PROT_WRITE */, 0x22 /* MAP_PRIVATE|MAP_ANONYMOUS */, -1, 0) = 0x7f0000000000"
    )
    assert names.rows.tolist() == numbers.rows.tolist() == both.rows.tolist()


def test_a_file_is_one_object_by_its_path() -> None:
    trace = log(
        "mmap(NULL, 8192, PROT_READ, MAP_PRIVATE|MAP_DENYWRITE, 3</lib/x.so>, 0) = 0x7f0000000000",
        "mmap(0x7f0000002000, 4096, PROT_READ|PROT_EXEC, MAP_PRIVATE|MAP_FIXED, 3</lib/x.so>, 0x2000) = 0x7f0000002000",
        "mmap(NULL, 4096, PROT_READ|PROT_WRITE, MAP_SHARED, 4</memfd:pool (deleted)>(deleted), 0) = 0x7f0000010000",
        "mmap(NULL, 4096, PROT_READ|PROT_WRITE, MAP_SHARED|MAP_ANONYMOUS, -1, 0) = 0x7f0000020000",
    )
    assert [(each.kind, each.size_bytes) for each in trace.header.objects] == [
        ("file", 0x3000), ("memfd", 0x1000), ("anon_shared", 0x1000),
    ]  # fmt: skip


def test_failed_calls_and_ranges_that_nobody_mapped_are_counted() -> None:
    trace = log(
        "mmap(NULL, 18446744073709551615, PROT_READ, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0) = -1 ENOMEM (Cannot allocate)",
        "mprotect(0x55e3919cb000, 8192, PROT_READ) = 0",
        "<... brk resumed>) = 0x1000",
        "fork() = -1 EAGAIN (Resource temporarily unavailable)",
    )
    assert not trace.rows.size
    assert trace.header.dropped == {
        "failed_mmap": 1, "unknown_range": 1, "exit_without_call": 1, "failed_fork": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("hello", "not 'pid seconds.fraction call(arguments) = result'"),
        ("10 100.0 brk(NULL) = 0x1", "not 'pid seconds.fraction"),
        ("10 100.000001 brk", "not 'call(arguments) = result'"),
        ("0 100.000001 brk(NULL) = 0x1", "thread id 0 is not within 1 to 2^31 - 1"),
        ("10 9999999999.000001 brk(NULL) = 0x1", "beyond 2^33 s"),
        ("10 100.000001 brk(NULL) = oops", "brk has no result"),
        ("10 100.000001 brk(heap) = 0x1", "not the arguments of brk"),
        ("10 100.000001 munmap(0x1000) = 0", "not the arguments of munmap"),
        ("10 100.000001 mmap(NULL, 1, PROT_SING, MAP_PRIVATE, -1, 0) = 0x1000", "unknown constant 'PROT_SING'"),
        ("10 100.000001 munmap(99999999999999999999, 1) = 0", "does not fit 64 bits"),
        ("10 100.000001 +++ vanished +++", "not '+++ exited with N +++'"),
        ("10 100.000001 clone(child_stack=NULL) = 11", "no flags"),
        ("10 100.000001 fork() = 99999999999", "child 99999999999 is not"),
        ("10 100.000001 execve(NULL) = 0", "no program"),
    ],
)
def test_a_bad_line_is_named(line: str, rule: str) -> None:
    good = "10 99.000001 brk(NULL) = 0x55e3c8c44000"
    with pytest.raises(TraceError, match=re.escape(rule)) as caught:
        import_strace([good, line], name="bad.strace")
    assert caught.value.line == 2


# ---- recording ------------------------------------------------------------------------------------------------------


def agrees(process: ReplayedProcess, share: float) -> bool:
    assert process.rss_pages is not None and process.smaps_rss_bytes is not None
    return abs(process.rss_pages * PAGE - process.smaps_rss_bytes) <= share * process.smaps_rss_bytes


@pytest.mark.usefixtures("strace")
def test_where_perf_is_missing_strace_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("strace", "env", "true"):
        (tools / name).symlink_to(str(shutil.which(name)))
    target = tmp_path / "t.parquet"
    with monkeypatch.context() as context:
        context.setenv("PATH", str(tools))
        recording = record([sys.executable, "-S", "-c", PROGRAM], target)
    assert recording.method == "strace" and "no perf" in recording.no_perf
    assert (recording.exit_status, recording.interrupted, recording.cut_short) == (0, False, "")
    assert not data_path(target, "strace").exists()
    replayed = replay(recording.path, schemes="page_mapcount", backend="count")
    assert replayed.outcome.applied + replayed.outcome.noop >= 0.995 * replayed.outcome.total
    parent, child = replayed.processes
    # smaps had them when they were held at their exit; the pages of the child are those of fork and its own.
    assert agrees(parent, 0.1) and agrees(child, 0.1)
    assert (parent.rss_pages or 0) * PAGE > 8 * MIB and (child.rss_pages or 0) * PAGE > 12 * MIB


@pytest.mark.usefixtures("strace")
def test_status_of_the_program_and_a_missing_one(tmp_path: Path) -> None:
    assert record(["sh", "-c", "exit 3"], tmp_path / "a", method="strace").exit_status == 3
    assert record(["sh", "-c", "kill -TERM $$"], tmp_path / "b", method="strace").exit_status == 143
    with pytest.raises(ValueError, match="method 'dtrace' is none of auto, perf, strace"):
        record(["true"], tmp_path / "c", method="dtrace")


def test_without_perf_and_strace_nothing_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RecordError, match=r"install perf.*nor is there strace"):
        record([sys.executable], tmp_path / "t")
    with pytest.raises(RecordError, match="install strace"):
        record([sys.executable], tmp_path / "t", method="strace")


# ---- snapshots ------------------------------------------------------------------------------------------------------

SMAPS = """\
# pid 7 prog
55e3919cb000-55e3919cd000 r--p 00001000 fe:00 77                         /usr/bin/prog
Size:                  8 kB
Rss:                   4 kB
Anonymous:             0 kB
VmFlags: rd mr mw me
7f0000000000-7f0000004000 rw-p 00000000 00:00 0
Rss:                  12 kB
Anonymous:            12 kB
7ffe1d900000-7ffe1d921000 rw-p 00000000 00:00 0                          [stack]
Rss:                   8 kB
Anonymous:             8 kB
# pid 8 prog
7f0000000000-7f0000004000 rw-s 00000000 00:01 9                          /dev/shm/x
Rss:                  16 kB
Anonymous:             0 kB
""".splitlines()


def test_smaps_say_how_much_is_mapped() -> None:
    trace = import_snapshot(SMAPS)
    made = trace.convert(Geometry())
    touched = [event.tolist() for event in made.scenario.events if event["op"] == Op.TOUCH]
    writes = sum(bool(event[4] & EventFlag.TOUCH_WRITE) for event in touched)
    # One page of the file, three anonymous, two of the stack (and exec's own touch of its end), four shared.
    assert len(touched) == 1 + 3 + 2 + 1 + 4 and writes == 6
    assert trace.header.assumed == {"first_pages_of_vma": 6}
    assert [each.kind for each in trace.header.objects] == ["file", "memfd"]


@contextmanager
def a_process() -> Iterator[int]:
    script = "x = bytearray(8 << 20); print(len(x), flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-S", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None and child.stdin is not None
        child.stdout.readline()
        yield child.pid
        child.stdin.write("\n")


def mapped_pages(trace: Trace) -> int:
    """Pages that the rows of a snapshot touch, and that of the end of the stack."""
    return int((trace.rows["op"] == OPS.index("fault")).sum())


def test_a_snapshot_of_a_living_process(tmp_path: Path) -> None:
    """smaps and pagemap, read in place, saved, and smaps alone: the same number of pages."""
    with a_process() as pid:
        smaps = Path(f"/proc/{pid}/smaps")
        live = import_snapshot(smaps)
        text = smaps.read_text()
        saved = tmp_path / "saved.smaps"
        saved.write_text(text)
        with smaps.with_name("pagemap").open("rb", buffering=0) as pagemap:
            pieces = [
                os.pread(pagemap.fileno(), (int(end, 16) - int(start, 16)) // 512, int(start, 16) // 512)
                for start, end in re.findall(r"^([0-9a-f]+)-([0-9a-f]+) ", text, re.MULTILINE)
                if int(end, 16) <= 1 << 47
            ]
        (tmp_path / "saved.smaps.pagemap").write_bytes(b"".join(pieces))
        kept = import_snapshot(saved)
        alone = import_snapshot(text.splitlines())
    rss = sum(map(int, re.findall(r"^Rss: +(\d+) kB", text, re.MULTILINE))) // 4
    assert mapped_pages(alone) == rss
    # pagemap has the zero page and the special pages, which are not in Rss.
    assert abs(mapped_pages(live) - rss) <= 0.02 * rss
    assert abs(mapped_pages(kept) - mapped_pages(live)) <= 2  # it may still have been on its way to input()
    assert "first_pages_of_vma" not in kept.header.assumed
    replayed = replay(kept, schemes="page_mapcount", backend="count")
    assert replayed.outcome.applied + replayed.outcome.noop >= 0.995 * replayed.outcome.total


@pytest.mark.parametrize(
    ("number", "line", "rule"),
    [
        (2, "Rss: 4 kB", "field Rss before any VMA"),
        (3, "hello", "neither a VMA nor a field of smaps"),
        (4, "Rss: 400 kB", "Rss 400 kB is more than its VMA"),
        (4, "Rss: some kB", "not 'N kB'"),
        (7, "55e3919cc000-55e3919cd000 r--p 00001000 fe:00 77 x", "begins before the last one ends"),
        (7, "7f0000000000-7e0000004000 rw-p 00000000 00:00 0", "ends before it begins"),
        (7, "7f0000000001-7f0000004000 rw-p 00000000 00:00 0", "is not made of pages"),
        (13, "# pid 7 again", "pid 7 occurs twice"),
        (13, "# pid 0 none", "pid 0 is not within 1 to 2^31 - 1"),
        (7, "600000000000-700000000000 rw-p 00000000 00:00 0\nRss: 16777220 kB", "more than 4,194,304 pages"),
    ],
)
def test_a_bad_line_of_smaps_is_named(number: int, line: str, rule: str) -> None:
    lines = [*SMAPS[: number - 1], *line.split("\n")]
    with pytest.raises(TraceError, match=re.escape(rule)) as caught:
        import_snapshot(lines, name="bad.smaps")
    assert caught.value.line == len(lines)


def test_a_pagemap_of_another_size_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.smaps"
    path.write_text("\n".join(SMAPS[:12]) + "\n")
    pagemap = tmp_path / "p.smaps.pagemap"
    for content, rule in ((bytes(15), "15 bytes are no entries"), (bytes(16), "ends before the VMA"),
                          (bytes(8 * 999), "999 entries")):  # fmt: skip
        pagemap.write_bytes(content)
        with pytest.raises(TraceError, match=rule):
            import_snapshot(path)
    pagemap.write_bytes(bytes(8 * (2 + 4 + 33)))
    assert not (import_snapshot(path).rows["op"] == OPS.index("fault")).any()


@pytest.mark.usefixtures("strace")
def test_a_killed_recorder_leaves_a_log_that_can_be_imported(tmp_path: Path) -> None:
    target = tmp_path / "t.parquet"
    words = ["record", "--method", "strace", "-o", str(target), "--", "sh", "-c", "ls / > /dev/null; exec sleep 2"]
    child = subprocess.Popen([sys.executable, "-m", "folio_perf", *words], stdout=subprocess.DEVNULL)
    kept = data_path(target, "strace")
    while child.poll() is None and not (
        kept.exists() and re.search(rb'execve\("[^"]*/sleep".* = 0', kept.read_bytes())
    ):
        time.sleep(0.02)
    child.kill()
    child.wait()
    assert "sleep" in import_strace(kept).header.commands
    with pytest.raises(TraceError):
        read_trace(target)
