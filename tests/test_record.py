# SPDX-License-Identifier: BSD-3-Clause
"""Real programs recorded here and now, and the recorded workloads replayed; without perf, only the latter."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from folio_perf.record import EVENTS, RecordError, data_path, import_perf_data, record
from folio_perf.replay import replay
from folio_perf.schemes import scheme_names
from folio_perf.traces import TraceError, read_trace
from folio_perf.validation._golden_file import GoldenError, read_golden

DATA = Path(__file__).parent / "data"
TRACES = sorted((DATA / "traces").glob("*.parquet"))
PROGRAM = ("sh", "-c", f"{sys.executable} -c 'x = bytearray(8 << 20)'; ls / > /dev/null")
CLONE_VM = 0x100
PAGE = 4096


@cache
def why_not() -> str:
    """Why nothing can be recorded here; empty if it can."""
    if shutil.which("perf") is None:
        return "perf is not installed"
    words = [word for event in EVENTS for word in ("-e", event)]
    probe = subprocess.run(
        ["perf", "record", "-q", "-o", "/dev/null", *words, "--", "true"], capture_output=True, text=True, check=False
    )
    return f"perf may not record tracepoints: {probe.stderr.strip()[:100]}" if probe.returncode else ""


@pytest.fixture
def perf() -> None:
    if reason := why_not():
        pytest.skip(reason)


def start(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "folio_perf", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finish(child: subprocess.Popen[str]) -> Any:
    out, err = child.communicate(timeout=60)
    assert child.returncode == 0, err
    return json.loads(out)


def until_killed(folder: Path) -> list[str]:
    """A program that does not end by itself, and says in a file that it has begun."""
    return ["sh", "-c", f"ls / > /dev/null; echo yes > {folder}/started; exec sleep 60"]


def wait_for(path: Path, nr_bytes: int) -> None:
    deadline = time.monotonic() + 30
    while not path.exists() or path.stat().st_size < nr_bytes:
        assert time.monotonic() < deadline, f"{path.name} did not grow to {nr_bytes} bytes"
        time.sleep(0.05)


# ---- replay ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", TRACES, ids=lambda path: path.stem)
def test_recorded_workloads_replay_under_every_scheme(path: Path) -> None:
    replayed = replay(path, backend="count")
    outcome = replayed.outcome
    assert [result.run.scheme for result in replayed.comparison.results] == list(scheme_names())
    assert {result.outcome.failed for result in replayed.comparison.results} == {outcome.failed}
    assert outcome.applied + outcome.noop >= 0.995 * outcome.total
    processes = replayed.processes
    assert sum(each.applied for each in processes) == outcome.applied
    assert sum(each.noop for each in processes) == outcome.noop
    assert sum(each.failed for each in processes) == outcome.failed
    # Every process of the recordings exits, with something mapped unless it is a thread group that never ran.
    assert all(each.rss_pages is not None for each in processes)
    assert max(each.rss_pages or 0 for each in processes) > 1000


def test_replay_on_the_command_line(tmp_path: Path) -> None:
    words = ("replay", str(TRACES[-1]), "--backend", "count", "--page-size", "16K", "--folio", "thp")
    value = finish(start(*words, "--json"))
    assert value["outcome"]["noop"] > 0
    assert len(value["processes"]) == 12
    text, _ = start(*words).communicate(timeout=60)
    assert "Rss at exit KiB" in text and max(map(len, text.splitlines())) <= 72
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(TRACES[-1].read_bytes()[:-100])
    child = start("replay", str(broken))
    _, err = child.communicate(timeout=60)
    assert child.returncode == 2 and "broken.parquet" in err and len(err.splitlines()) == 1


# ---- record ---------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("perf")
def test_a_program_is_recorded_alone_and_replays(tmp_path: Path) -> None:
    target = tmp_path / "run.parquet"
    value = finish(start("record", "-o", str(target), "--json", "--", *PROGRAM))
    assert [path.name for path in tmp_path.iterdir()] == ["run.parquet"]
    trace = read_trace(target)
    assert value["rows"] == trace.rows.size
    assert trace.header.kernel == os.uname().release
    names = set(trace.header.commands)
    assert {"sh", "ls"} < names and len(names) == 3, names
    assert any(name.startswith("python") for name in names)
    replayed = replay(trace, schemes="page_mapcount", backend="count")
    assert replayed.outcome.applied + replayed.outcome.noop >= 0.995 * replayed.outcome.total
    # The bytearray is there when its process exits.
    assert max(each.rss_pages or 0 for each in replayed.processes) > 2048


POOL = """
import multiprocessing
numbers = list(range(200_000))
def work(size):
    return sum(numbers) + len([0] * size)
with multiprocessing.get_context("fork").Pool(4) as pool:
    pool.map(work, [100_000] * 12)
    pool.close()
    pool.join()
"""


def sizes_always_used() -> list[str]:
    """Folio sizes that the running kernel gives to anonymous memory without being asked."""
    knobs = Path("/sys/kernel/mm/transparent_hugepage")
    on = [path.parent.name for path in knobs.glob("*/enabled") if "[always]" in path.read_text()]
    inherit = [path for path in knobs.glob("*/enabled") if "[inherit]" in path.read_text()]
    whole = (knobs / "enabled").read_text() if (knobs / "enabled").exists() else ""
    return on + [path.parent.name for path in inherit if "[always]" in whole]


@pytest.mark.usefixtures("perf")
@pytest.mark.parametrize("program", ["compiler", "pool"])
def test_mapped_pages_at_exit_are_those_of_smaps(tmp_path: Path, program: str) -> None:
    command = [sys.executable, "-c", POOL]
    if program == "compiler":
        if shutil.which("make") is None or shutil.which("gcc") is None:
            pytest.skip("make and gcc are not installed")
        for name in "abc":
            (tmp_path / f"{name}.c").write_text(f"#include <stdio.h>\nint {name}(void) {{ return puts(__FILE__); }}\n")
        (tmp_path / "Makefile").write_text("lib.a: a.o b.o c.o\n\tar rcs $@ $^\n")
        command = ["make", "-s", "-j2", "-C", str(tmp_path), "CC=gcc"]
    before = sizes_always_used()
    recording = record(command, tmp_path / "t.parquet")
    if before or sizes_always_used():
        pytest.skip("the kernel uses large folios for all programs; the replay is of one that does not")
    assert recording.exit_status == 0 and not recording.no_rss
    replayed = replay(recording.path, schemes="page_mapcount", backend="count")
    assert replayed.outcome.applied + replayed.outcome.noop >= 0.995 * replayed.outcome.total
    pairs = [(each, each.smaps_rss_bytes) for each in replayed.processes if each.rss_pages is not None]
    assert len(pairs) >= 5 and all(sampled for _, sampled in pairs)
    assert not [
        f"{each.name}: modelled {each.rss_pages * 4} KiB, smaps {sampled >> 10} KiB"
        for each, sampled in pairs
        if abs(each.rss_pages * PAGE - sampled) > 0.05 * sampled
    ]


@pytest.mark.usefixtures("perf")
def test_a_command_may_have_several_lines(tmp_path: Path) -> None:
    command = ["sh", "-c", "true\nls > /dev/null"]
    recording = record(command, tmp_path / "t")
    assert recording.header.kernel == os.uname().release
    assert recording.header.command == shlex.join(command)
    data = tmp_path / "perf.data"
    subprocess.run(["perf", "record", "-q", "--data", "-o", data, "-e", EVENTS[0], "--", *command], check=True)
    assert import_perf_data(data).header.command.endswith("sh -c true")


@pytest.mark.usefixtures("perf")
def test_clone_flags_are_kept(tmp_path: Path) -> None:
    script = "import subprocess; subprocess.run(['/bin/true'], close_fds=False)"  # posix_spawn or vfork
    recording = record([sys.executable, "-c", script], tmp_path / "t")
    rows = read_trace(recording.path).rows
    forks = rows[rows["child"] > 0]
    assert recording.exit_status == 0 and not recording.interrupted
    assert len(forks) == 1 and int(forks["clone_flags"][0]) & CLONE_VM


@pytest.mark.usefixtures("perf")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_recording_ended_by_a_signal_is_a_trace(tmp_path: Path, number: signal.Signals) -> None:
    target = tmp_path / "t.parquet"
    child = start("record", "-o", str(target), "--json", "--", *until_killed(tmp_path))
    wait_for(tmp_path / "started", 1)
    child.send_signal(number)
    value = finish(child)
    assert value["rows"] == read_trace(target).rows.size > 0
    assert not data_path(target).exists()


@pytest.mark.usefixtures("perf")
def test_a_killed_recorder_leaves_data_that_can_be_imported(tmp_path: Path) -> None:
    target = tmp_path / "t.parquet"
    child = start("record", "-o", str(target), "--", "sh", "-c", "ls / > /dev/null; exec sleep 2")
    wait_for(data_path(target), 1)
    time.sleep(0.5)
    child.kill()
    child.communicate(timeout=60)
    # perf goes on without its parent, until the program has ended.
    deadline = time.monotonic() + 30
    value = None
    while value is None and time.monotonic() < deadline:
        time.sleep(1)
        done = start("import", str(data_path(target)), "-o", str(target), "--json")
        out, _ = done.communicate(timeout=60)
        value = json.loads(out) if done.returncode == 0 else None
    assert value is not None and value["rows"] == read_trace(target).rows.size > 0


@pytest.fixture(scope="module")
def perf_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What perf writes of a program, as by hand."""
    if reason := why_not():
        pytest.skip(reason)
    data = tmp_path_factory.mktemp("perf") / "perf.data"
    words = [word for event in EVENTS for word in ("-e", event)]
    subprocess.run(["perf", "record", "-q", "--data", "-o", data, *words, "--", "ls", "/"], check=True)
    return data


@pytest.mark.parametrize("share", [0.1, 0.4, 2 / 3, 0.9])
def test_data_cut_short_are_read_to_where_they_end(tmp_path: Path, perf_data: Path, share: float) -> None:
    whole = perf_data.read_bytes()
    cut = tmp_path / "cut.data"
    cut.write_bytes(whole[: int(len(whole) * share)])
    try:
        trace = import_perf_data(cut)
    except TraceError as error:
        assert "cut.data" in str(error)
    else:
        complete = import_perf_data(perf_data).rows.size
        # Behind the events stand only features of the header.
        assert trace.rows.size < complete or share > 0.8
        assert ("recording_cut_short" in trace.header.assumed) == (trace.rows.size < complete)


@pytest.mark.usefixtures("perf")
def test_when_perf_is_killed_the_program_ends_and_what_came_before_is_kept(tmp_path: Path) -> None:
    target = tmp_path / "t.parquet"
    child = start("record", "-o", str(target), "--json", "--", *until_killed(tmp_path))
    wait_for(tmp_path / "started", 1)
    time.sleep(1)  # perf writes what it has seen
    pids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    (perf,) = (pid for pid in pids if parent_and_words(pid) == (child.pid, [shutil.which("perf"), "record"]))
    os.kill(perf, signal.SIGKILL)
    out, err = child.communicate(timeout=60)
    assert child.returncode == 0, err
    assert "the recorder ended early (perf was killed); what came before is kept" in err
    value = json.loads(out)
    assert value["rows"] == read_trace(target).rows.size > 0
    assert value["assumed"]["import"]["recording_cut_short"] == 1
    assert not data_path(target).exists()


def parent_and_words(pid: int) -> tuple[int, list[str]]:
    try:
        parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        return parent, Path(f"/proc/{pid}/cmdline").read_text().split("\0")[:2]
    except OSError:
        return 0, []


@pytest.mark.usefixtures("perf")
def test_a_full_disk_is_named_and_what_was_written_is_kept(tmp_path: Path) -> None:
    """On a file system of 2 MiB of its own; perf's data of forty thousand faults do not fit."""
    small = tmp_path / "small"
    kept = tmp_path / "kept"
    small.mkdir()
    kept.mkdir()
    record_it = f'{sys.executable} -m folio_perf record -o {small}/t.parquet -- {sys.executable} -S -c "$1"'
    script = f"mount -t tmpfs -o size=2m tmpfs {small} || exit 99; {record_it}; echo $? > {kept}/status"
    program = "import time\nfor _ in range(4): x = bytearray(40 << 20); time.sleep(0.1)"
    words = ["unshare", "-m", "sh", "-c", f"{script}; cp {small}/* {kept}", "sh", program]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode == 99 or shutil.which("unshare") is None:
        pytest.skip("no file system of its own can be mounted")
    assert "No space left on device" in done.stderr
    if (kept / "status").read_text() == "2\n":  # no room for the trace either
        assert f"stays in {small}/t.parquet.perf.data" in done.stderr
        assert sorted(path.name for path in kept.iterdir()) == ["status", "t.parquet.perf.data"]
        trace = import_perf_data(kept / "t.parquet.perf.data")
    else:
        assert "the recorder ended early" in done.stderr
        assert sorted(path.name for path in kept.iterdir()) == ["status", "t.parquet"]
        trace = read_trace(kept / "t.parquet")
    assert trace.rows.size > 1000 and trace.header.assumed["recording_cut_short"] == 1


def test_what_cannot_be_recorded_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RecordError, match="no program 'no-such-program'"):
        record(["no-such-program"], tmp_path / "t")
    with monkeypatch.context() as context:
        context.setenv("PATH", str(tmp_path))
        with pytest.raises(RecordError, match="install perf"):
            record([sys.executable], tmp_path / "t")
    if shutil.which("perf") is not None:
        data_path(tmp_path / "t").touch()
        with pytest.raises(RecordError, match="an earlier recording"):
            record(["true"], tmp_path / "t")


# ---- malformed golden files -----------------------------------------------------------------------------------------

_GOLDEN_LINES = (
    '{"scenario":"a","kernel":"6.12.1","profile":"6.12","no_page_mapcount":false,"regions":{"A":4}}',
    '{"s":"a","i":0,"op":"map P0 A anon","rc":0,"errno":0,"maps":{"P0":[]},"pages":[],"folios":[],"smaps":{}}',
    '{"end":"a"}',
)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=8,
)


@st.composite
def golden_lines(draw: st.DrawFn) -> Sequence[str]:
    """Lines of a golden file, one member of each replaced by anything, one line perhaps cut."""
    lines = []
    for line in _GOLDEN_LINES:
        value = json.loads(line)
        value[draw(st.sampled_from(sorted(value)))] = draw(_JSON)
        text = json.dumps(value)
        lines.append(text[: draw(st.integers(0, len(text)))] if draw(st.booleans()) else text)
    return lines


def test_what_is_fuzzed_is_well_formed(tmp_path: Path) -> None:
    path = tmp_path / "whole.jsonl"
    path.write_text("\n".join(_GOLDEN_LINES) + "\n")
    assert [len(each.steps) for each in read_golden(path)] == [1]


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(golden_lines())
def test_a_malformed_golden_file_names_its_line(tmp_path: Path, lines: Sequence[str]) -> None:
    path = tmp_path / "fuzzed.jsonl"
    path.write_text("\n".join(lines) + "\n")
    try:
        read_golden(path)
    except GoldenError as error:
        assert str(error).startswith(f"{path}:")
