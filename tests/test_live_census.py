# SPDX-License-Identifier: BSD-3-Clause
"""The census of a machine's folios, held against processes whose sharing is known, and against a slow recount."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from live_processes import BY_ALL, BY_TWO, NR_SHARED, family
from test_cli import is_mail, process, run, run_json
from typer.testing import CliRunner

from folio_perf import plotting, report
from folio_perf.cli import app
from folio_perf.live import census
from folio_perf.live.page_frames import (
    _TELLING,
    ANON,
    BUDDY,
    HEAD,
    HUGE,
    KINDS,
    KPAGECOUNT,
    LRU,
    MMAP,
    RESERVED,
    SLAB,
    SWAPBACKED,
    TAIL,
    UPTODATE,
    ZERO_PAGE,
    Look,
    PageFrames,
    flag,
)
from folio_perf.live.processes import entries_of, processes_of_cgroup, vmas_of
from folio_perf.results import MAPPED_BY, Census, CensusRow, mapped_by

TOP = Path(__file__).resolve().parents[1]
counts_readable = pytest.mark.skipif(
    not os.access(KPAGECOUNT, os.R_OK), reason="needs root and /proc/kpagecount (CONFIG_PROC_PAGE_MONITOR)"
)
NOBODY = 65534
THP_SETTING = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def folios(rows: tuple[CensusRow, ...], **wanted: object) -> int:
    return sum(row.folios for row in rows if all(getattr(row, name) == value for name, value in wanted.items()))


# ---- truth that is known -----------------------------------------------------------------------------------------


@counts_readable
@pytest.mark.parametrize("nr_children", [1, 3, 1000])
def test_known_sharing_is_counted_exactly(nr_children: int) -> None:
    nr_thps, everyone = 2, nr_children + 1
    with family(nr_children, nr_thps) as pid:
        found = census([pid])
    shared = {"kind": "shmem", "order": 0, "exact": True}
    of_one = NR_SHARED - BY_ALL - BY_TWO
    histogram: Counter[tuple[int, int]] = Counter()
    histogram[everyone, everyone] += BY_ALL
    histogram[2, 2] += BY_TWO
    histogram[1, 1] += of_one
    histogram[2, 1] += 1  # the page that is mapped twice
    counted: Counter[tuple[int | None, int | None]] = Counter()
    for row in found.rows:
        if row.kind == "shmem":
            assert row.exact and row.vmas == row.entries and row.mapped == mapped_by(row.vmas or 0)
            counted[row.vmas, row.processes] += row.folios
    assert counted == histogram
    assert folios(found.rows, **shared, mapped="zero") == 0
    if "[never]" in (THP_SETTING.read_text() if THP_SETTING.exists() else "[never]"):
        return  # the rest needs transparent huge pages
    thps = folios(found.rows, kind="anon", order=9, vmas=everyone, processes=everyone, entries=everyone, exact=True)
    if thps < nr_thps:
        pytest.skip(f"the kernel had no memory for {nr_thps} huge pages")
    assert thps in (nr_thps, nr_thps + 1)


@counts_readable
def test_ends_of_processes_are_seen() -> None:
    with family(3, 0) as pid:
        before = census([pid])
    assert folios(before.rows, kind="shmem", vmas=4) == BY_ALL
    with pytest.raises(ProcessLookupError, match=str(pid)):
        census([pid])


@counts_readable
def test_a_machine_is_counted_whole() -> None:
    with family(1, 0) as pid:
        found = census()
        vmas = vmas_of(pid)
        entries = entries_of(pid, vmas).vpn.size
    assert found.privileged and found.nr_page_frames * found.page_size_bytes > 1 << 24
    assert os.getpid() in {each.pid for each in found.processes}
    # Both wait, so nothing but reclaim changes what they map.
    there = next(each for each in found.processes if each.pid == pid)
    assert there.vmas == len(vmas) and abs(sum(there.pages.values()) - entries) < 20
    for kind in KINDS:
        assert sum(found.count(kind=kind, mapped=name)[0] for name in MAPPED_BY) == found.count(kind=kind)[0]
    assert found.count(mapped="zero", kind="file")[0] > 0 and found.count(mapped="many")[0] > 0
    frame = found.to_frame()
    assert int(frame["folios"].sum()) == found.count()[0] and frame.columns[0] == "kind"
    assert is_mail(report.census_report(found).plain)


def test_a_user_without_rights_is_told_what_is_left_out() -> None:
    if os.getuid():
        found = run_json("live", "census", "--pid", str(os.getpid()))
    else:
        # Nobody may not read this interpreter's files: rights are dropped once all is imported.
        script = (
            "import json, os, sys; from dataclasses import asdict; from folio_perf.live import census;"
            f" os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY});"
            " print(json.dumps({'censuses': [asdict(census([int(sys.argv[1])]))]}))"
        )
        with subprocess.Popen(["sleep", "60"], user=NOBODY, group=NOBODY) as sleeper:
            try:
                command = [sys.executable, "-c", script, str(sleeper.pid)]
                done = subprocess.run(command, capture_output=True, text=True, cwd=TOP)
            finally:
                sleeper.kill()
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
    (only,) = found["censuses"]
    assert only["nr_page_frames"] == 0 and only["left_out"]
    assert {row["mapped"] for row in only["rows"]} <= {"one", "two or many"}
    assert {row["kind"] for row in only["rows"]} == {"anon", "file or shmem"}
    assert sum(row["pages"] for row in only["rows"]) > 50
    assert all(row[key] is None for row in only["rows"] for key in ("order", "vmas", "processes", "entries"))
    rows = tuple(CensusRow(**row) for row in only["rows"])
    shown = Census(**{**only, "rows": rows, "processes": (), "left_out": tuple(only["left_out"])})
    text = report.census_report(shown).plain
    assert is_mail(text) and "left out: counts, orders" in text
    plotting.shares([shown, shown])


# ---- the command -------------------------------------------------------------------------------------------------


def test_census_as_text_json_and_picture(tmp_path: Path) -> None:
    with family(1, 0) as pid:
        assert is_mail(run("live", "census", "--pid", str(pid)))
        value = run_json("live", "census", "--pid", str(pid), "--plot", str(tmp_path / "census.png"))
    assert value["kind"] == "measured" and len(value["censuses"]) == 1
    assert (tmp_path / "census.png").stat().st_size > 10_000


def test_series(tmp_path: Path) -> None:
    with family(1, 0) as pid:
        arguments = ("live", "census", "--pid", str(pid), "--interval", "0.01", "--samples", "3")
        value = run_json(*arguments, "--plot", str(tmp_path / "series.svg"))
        text = run(*arguments)
    dates = [each["date"] for each in value["censuses"]]
    assert len(dates) == 3 and dates == sorted(dates)
    assert is_mail(text) and len(text.split("\n\n", 1)[0].splitlines()) == 3


def test_an_interrupted_series_shows_what_it_has() -> None:
    with (
        family(1, 0) as pid,
        process("live", "census", "--pid", str(pid), "--interval", "0.05") as child,
    ):
        assert child.stdout is not None
        assert child.stdout.readline().startswith("20")
        child.send_signal(signal.SIGINT)
        rest, errors = child.communicate(timeout=60)
    assert child.returncode == 0, errors
    assert "census: by how many VMAs" in rest


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--pid", "x"), "--pid: 'x' is not a whole number"),
        (("--pid", "999999999"), "999999999"),
        (("--pid", "1", "--all"), "only one of them"),
        (("--cgroup", "no/such/group"), "'no/such/group' is no control group"),
        (("--interval", "0"), "--interval: '0' is not a number of seconds"),
        (("--samples", "2"), "--samples: needs --interval"),
        (("--plot", "x.bmp"), "x.bmp"),
    ],
)
def test_wrong_options_are_named(arguments: tuple[str, ...], said: str) -> None:
    result = CliRunner().invoke(app, ["live", "census", *arguments])
    assert result.exit_code == 2 and not result.stdout
    assert said in result.stderr and result.stderr.count("\n") == 1


def test_a_control_group_names_its_processes() -> None:
    lines = Path("/proc/self/cgroup").read_text().splitlines() if Path("/proc/self/cgroup").exists() else []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        group = f"{controllers}{path}" if controllers else path
        try:
            pids = processes_of_cgroup(group)
        except ValueError:
            continue
        if os.getpid() in pids:
            assert census(pids, scope=group).scope == group
            return
    pytest.skip("this process's control group is not below /sys/fs/cgroup")


# ---- the reduction, against a slow one ---------------------------------------------------------------------------


def columns_of(look: Look) -> tuple[Any, ...]:
    folios = look.folios
    return folios.pfn, folios.nr, folios.kind, folios.entries, folios.total


class ArrayFrames(PageFrames):
    """Page frames from arrays that change between looks."""

    def __init__(self, states: list[tuple[list[int], list[int]]]) -> None:
        self.states = states
        self.reads = 0

    def flags(self, first: int, nr: int) -> Any:
        return np.array(self._state()[0][first : first + nr], dtype=np.uint64)

    def counts(self, first: int, nr: int) -> Any:
        counts = np.array(self._state()[1][first : first + nr], dtype=np.uint64)
        self.reads += 1
        return counts

    def _state(self) -> tuple[list[int], list[int]]:
        return self.states[min(self.reads, len(self.states) - 1)]


KIND_FLAGS = {
    "anon": (ANON, MMAP, LRU, SWAPBACKED, UPTODATE),
    "shmem": (SWAPBACKED, LRU, UPTODATE),
    "file": (LRU, UPTODATE),
    "hugetlb": (HUGE,),
    "other": (RESERVED, MMAP),
    "slab": (SLAB,),
    "free": (BUDDY,),
    "zero": (ZERO_PAGE, RESERVED),
}


@st.composite
def memories(draw: st.DrawFn) -> tuple[list[int], list[int], list[tuple[str, int, list[int]]]]:
    """Flags, counts, and the folios they were made from: kind, order, counts."""
    flags: list[int] = []
    counts: list[int] = []
    made = []
    for _ in range(draw(st.integers(1, 12))):
        kind = draw(st.sampled_from(sorted(KIND_FLAGS)))
        order = 0 if kind in ("free", "zero") else draw(st.integers(0, 4))
        count = [draw(st.integers(0, 5)) if kind not in ("slab", "free", "zero") else 0 for _ in range(1 << order)]
        made.append((kind, order, count))
        bits = int(flag(*KIND_FLAGS[kind]))
        head, tail = (1 << HEAD, 1 << TAIL) if order else (0, 0)
        # A page that is mapped says so; tails of old kernels say little else.
        mapped = [(each > 0) << MMAP for each in count]
        of_tail = 1 << TAIL if draw(st.booleans()) else bits & ~(1 << MMAP) | tail
        flags += [bits & ~(1 << MMAP) | head | mapped[0], *(of_tail | each for each in mapped[1:])]
        counts += count
    return flags, counts, made


@given(memory=memories())
@settings(max_examples=200, deadline=None)
def test_folios_of_memory_that_stands_still(memory: tuple[list[int], list[int], list[Any]]) -> None:
    flags, counts, made = memory
    look = ArrayFrames([(flags, counts)]).look()
    assert look.nr_page_frames == len(flags) and look.moved == look.unsettled == 0
    wanted = []
    pfn = 0
    for kind, order, count in made:
        if kind in KINDS and (kind != "other" or max(count)):
            wanted.append((pfn, 1 << order, KINDS.index(kind), max(count), sum(count)))
        pfn += 1 << order
    assert list(zip(*(column.tolist() for column in columns_of(look)), strict=True)) == wanted
    of_pages = look.folios.of_pages(np.arange(-1, len(flags) + 1)).tolist()
    for page, found in enumerate(of_pages, start=-1):
        inside = [i for i, (pfn, nr, *_) in enumerate(wanted) if pfn <= page < pfn + nr]
        assert found == (inside[0] if inside else -1)


@given(before=memories(), after=memories())
@settings(max_examples=100, deadline=None)
def test_folios_that_move_are_those_of_the_last_look(before: Any, after: Any) -> None:
    """Memory changes once, after some look: what comes out is the state after it, and what changed has moved."""
    nr = max(len(before[0]), len(after[0]))
    states = [
        (flags + [1 << BUDDY] * (nr - len(flags)), counts + [0] * (nr - len(counts)))
        for flags, counts, _ in (before, after)
    ]
    frames = ArrayFrames(states)
    look = frames.look()
    still = ArrayFrames([states[1]]).look()
    for one, other in zip(columns_of(look), columns_of(still), strict=True):
        np.testing.assert_array_equal(one, other)
    assert look.unsettled == 0
    changed = [
        (one ^ other) & int(_TELLING) != 0 or count != count_after
        for one, other, count, count_after in zip(states[0][0], states[1][0], states[0][1], states[1][1], strict=True)
    ]
    folios = zip(still.folios.pfn.tolist(), still.folios.nr.tolist(), strict=True)
    assert look.moved == sum(any(changed[pfn : pfn + nr]) for pfn, nr in folios)


def test_folios_that_never_stand_still_are_as_last_seen() -> None:
    flags = [int(flag(*KIND_FLAGS["file"]))] * 8
    frames = ArrayFrames([(flags, [look] + [1] * 7) for look in range(40)])
    look = frames.look()
    assert (look.moved, look.unsettled) == (1, 1)
    assert look.folios.pfn.tolist() == list(range(8))
