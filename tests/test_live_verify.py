# SPDX-License-Identifier: BSD-3-Clause
"""Scenarios on the running kernel: the model agrees, wrong models do not, and nothing is left behind.

FOLIO_PERF_LIVE=1 (``make live``) runs every shipped scenario and 200 random ones; without it a few of each.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_cli import is_mail, process, run_json

from folio_perf.geometry import Geometry
from folio_perf.live import runner
from folio_perf.live.page_frames import KPAGECOUNT
from folio_perf.live.random_scenarios import random_scenario
from folio_perf.live.runner import Machine, Recording
from folio_perf.live.shrink import shrink
from folio_perf.live.verify import detect_no_page_mapcount, scenario_blocks, verify, write_golden
from folio_perf.profile import load_profile
from folio_perf.scenario import parse_scenarios, scenario_names, scenario_text
from folio_perf.validation.golden import compare_golden, read_golden

TOP = Path(__file__).resolve().parents[1]
LONG = bool(os.environ.get("FOLIO_PERF_LIVE"))
NR_RANDOM = 200 if LONG else 2
SHORT = (
    "thp_fork_chain3",
    "thp_mremap_cross_pmd",
    "mthp64k_fork_cow_reuse",
    "tmpfs_thp_pmd_and_pte",
    "pin_order0_fork",
)


def why_not() -> str:
    """Say why this kernel cannot be asked; empty if it can."""
    if os.getuid():
        return "needs root"
    if not KPAGECOUNT.exists():
        return "this kernel has no /proc/kpagecount (CONFIG_PROC_PAGE_MONITOR)"
    if not runner.THP.exists():
        return "this kernel has no transparent huge pages"
    try:
        load_profile(runner.running_version())
    except ValueError as error:
        return str(error)
    return ""


needs_kernel = pytest.mark.skipif(bool(why_not()), reason=why_not() or "runs")


@pytest.fixture
def machine() -> Iterator[Machine]:
    with Machine() as found:
        if not found.counts:
            pytest.skip(f"cannot read page frames here: {found.left_out}")
        found.no_page_mapcount = detect_no_page_mapcount(found)
        yield found


def recount(recording: Recording) -> int:
    """Hold kpagecount and the counts of large folios against the page tables of the same step; return how many."""
    checked, groups = 0, 0
    for step in recording.steps:
        groups += step["op"].startswith("forkmany")
        if "pages" not in step or groups or recording.header["no_page_mapcount"]:
            continue
        entries: Counter[tuple[str, int, int]] = Counter()
        for runs in step["maps"].values():
            for _, _, nr, name, at, generation, _ in runs:
                entries.update((name, at + i, generation) for i in range(nr) if name not in ("SWAP", "ZERO"))
        for name, at, nr, generation, count, flags, *_ in step["pages"]:
            for i in range(nr):
                assert "Z" in flags or entries[name, at + i, generation] == count, (step["op"], name, at + i)
            checked += nr
        for folio in step.get("folios", ()):
            pages = [entries[folio["h"], folio["o"] + i, folio["g"]] for i in range(folio["nr"])]
            if "lm" in folio and "em" in folio:
                assert sum(pages) == folio["em"] * (folio["nr"] - 1) + folio["lm"], (step["op"], folio)
    return checked


# ---- the model and the kernel ------------------------------------------------------------------------------------


@needs_kernel
@pytest.mark.parametrize("name", scenario_names() if LONG else SHORT)
def test_shipped_scenarios_agree(machine: Machine, name: str) -> None:
    kept: list[Recording] = []
    (found,) = verify(machine, [scenario_text(name)], keep=kept.append, shrink_tries=0)
    if found.verdict == "not run" or found.verdict == "unstable":
        pytest.skip(f"{found.verdict}: {found.environment}")
    assert found.verdict == "agrees", found.differences
    assert found.compared > 0 and found.compared == found.equal
    assert recount(kept[0]) > 0 or name.startswith("ext4") or found.environment


@needs_kernel
def test_random_scenarios_agree(machine: Machine) -> None:
    unstable = 0
    for number in range(NR_RANDOM):
        kept: list[Recording] = []
        (found,) = verify(machine, [random_scenario(1, number)], keep=kept.append, shrink_tries=60)
        assert found.verdict != "differs", (found.shrunk, found.differences)
        unstable += found.verdict == "unstable"
        if found.verdict == "agrees":
            assert recount(kept[0]) > 0 and found.compared == found.equal > 1000
    assert unstable <= NR_RANDOM // 4


@needs_kernel
def test_a_wrong_model_is_found_out_and_shortened(machine: Machine) -> None:
    """6.12 copies on the write that later kernels reuse the folio for."""
    if tuple(map(int, runner.running_version().split("."))) < (6, 16):
        pytest.skip("needs a kernel that reuses large folios (v6.16)")
    (found,) = verify(machine, [scenario_text("mthp64k_fork_cow_reuse")], kernel="6.12", scheme="mm_owner")
    if found.verdict == "unstable":
        pytest.skip(f"{found.environment}")
    assert found.verdict == "differs" and found.minimal and found.shrunk is not None
    operations = [line for line in found.shrunk.splitlines() if line.split()[0] in ("fork", "exit", "touch")]
    assert [line.split()[0] for line in operations] == ["touch", "fork", "exit", "touch"]
    (again,) = verify(machine, [found.shrunk], shrink_tries=0)
    assert again.verdict == "agrees"


@needs_kernel
def test_what_the_machine_lacks_is_no_behaviour(machine: Machine) -> None:
    text = "scenario s\nregion A 8\nmap P0 A anon\ntouch P0 A 0 8 w\nexec P0\ntouch P0 A 0 8 w\nend\n"
    (found,) = verify(machine, [text])
    assert found.verdict == "agrees" and found.steps == 2
    assert found.environment is not None and "exec P0" in found.environment
    text = "scenario s\nsysfs /sys/kernel/mm/transparent_hugepage/hugepages-3kB/enabled always\nregion A 8\nend\n"
    scenario = parse_scenarios(text, Geometry(), strict=False)[0]
    recording = machine.run(scenario, text)
    assert recording.steps == () and recording.environment is not None
    assert "No such file" in recording.header["skipped"]


@needs_kernel
def test_answers_make_a_golden_file(machine: Machine, tmp_path: Path) -> None:
    text = scenario_text("order0_fork_cow")
    kept: list[Recording] = []
    list(verify(machine, [text], keep=kept.append))
    (tmp_path / "scenarios").mkdir()
    (tmp_path / "scenarios" / "s.txt").write_text(text)
    for name in ("live.jsonl", "live.jsonl.gz"):
        write_golden(tmp_path / name, kept)
        (golden,) = read_golden(tmp_path / name)
        assert golden.name == "order0_fork_cow" and len(golden.steps) == len(kept[0].steps)
        fields = compare_golden(tmp_path / name)
        assert sum(each.compared for each in fields) == sum(each.equal for each in fields) > 100
    assert sorted(path.name for path in tmp_path.iterdir()) == ["live.jsonl", "live.jsonl.gz", "scenarios"]


# ---- nothing is left behind --------------------------------------------------------------------------------------

HOLD = """
import os, sys, time
from folio_perf.live.runner import Machine
with Machine() as machine:
    machine._knobs.set(sys.argv[1], sys.argv[2])
    first = machine._nursery.first()
    child = first.fork()[1]
    group = first.fork_many(5)[1]
    members = os.listdir(f"/proc/self/fd")
    print(first.pid, child.pid, machine._nursery._process.pid, flush=True)
    time.sleep(600)
"""


def alive(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


@needs_kernel
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_knobs_and_processes_after_the_runner_was_killed(number: signal.Signals) -> None:
    knob = runner.THP / "hugepages-1024kB/enabled"
    if not knob.exists():
        pytest.skip("this kernel has no mTHP sizes (v6.8)")
    before, sleep_before = knob.read_text(), runner.KHUGEPAGED.read_text()
    value = "always" if "[always]" not in before else "never"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(knob), value], stdout=subprocess.PIPE, text=True, cwd=TOP
    ) as child:
        assert child.stdout is not None
        pids = [int(word) for word in child.stdout.readline().split()]
        assert len(pids) == 3 and all(map(alive, pids))
        assert f"[{value}]" in knob.read_text() and runner.KHUGEPAGED.read_text() != sleep_before
        child.send_signal(number)
        child.wait()
    end = time.monotonic() + 30
    while time.monotonic() < end and (knob.read_text() != before or any(map(alive, pids))):
        time.sleep(0.05)
    assert knob.read_text() == before and runner.KHUGEPAGED.read_text() == sleep_before
    assert not any(map(alive, pids))


@needs_kernel
def test_knobs_after_the_watchdog_was_killed() -> None:
    before = runner.KHUGEPAGED.read_text()
    with Machine() as machine:
        assert runner.KHUGEPAGED.read_text() != before or before == "4294967295\n"
        machine._knobs._process.kill()
        machine._knobs._process.wait()
        with pytest.raises((RuntimeError, OSError)):
            machine._knobs.restore()
    assert runner.KHUGEPAGED.read_text() == before


@needs_kernel
def test_without_rights_page_tables_and_smaps_are_compared() -> None:
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, "--user", "true"], capture_output=True).returncode:
        pytest.skip("no user namespaces here")
    command = [unshare, "--user", sys.executable, "-m", "folio_perf", "live", "verify", "order0_fork_cow", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=TOP)
    assert done.returncode == 0, done.stderr
    value = json.loads(done.stdout)
    (found,) = value["scenarios"]
    assert any("page frame numbers are hidden" in reason for reason in value["left_out"])
    assert found["verdict"] == "agrees" and found["compared"] == found["equal"] > 100


# ---- the command -------------------------------------------------------------------------------------------------


@needs_kernel
def test_verify_as_text_and_json(tmp_path: Path) -> None:
    file = tmp_path / "two.txt"
    file.write_text(scenario_text("order0_fork_cow") + "\n" + scenario_text("vmsplice_ref"))
    value = run_json("live", "verify", str(file), "-o", str(tmp_path / "live.jsonl"))
    assert value["kind"] == "measured"
    assert [each["scenario"] for each in value["scenarios"]] == ["order0_fork_cow", "vmsplice_ref"]
    assert len(read_golden(tmp_path / "live.jsonl")) == 2
    with process("live", "verify", "--random", "1", "--seed", "7", "--operations", "5") as child:
        text, errors = child.communicate(timeout=300)
    assert child.returncode == 0, errors
    assert is_mail(text) and "1: 1 agrees, 0 differs" in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nonesuch",), "nonesuch: No such file or directory"),
        (("--random", "0"), "--random: '0' is not a whole number"),
        (("--random", "1", "x"), "--random: either"),
        (("--seed", "1"), "--seed: needs --random"),
        (("--kernel", "9"), "--kernel"),
        (("--scheme", "x"), "--scheme"),
        (("--tries", "-1"), "--tries"),
    ],
)
def test_wrong_options_are_named(arguments: tuple[str, ...], said: str) -> None:
    from typer.testing import CliRunner

    from folio_perf.cli import app

    result = CliRunner().invoke(app, ["live", "verify", *arguments])
    assert result.exit_code == 2 and not result.stdout
    assert said in result.stderr and result.stderr.count("\n") == 1


# ---- the text side, on any machine -------------------------------------------------------------------------------


def test_random_scenarios_are_of_the_language_and_repeat() -> None:
    verbs: Counter[str] = Counter()
    for number in range(60):
        text = random_scenario(3, number, 40)
        assert text == random_scenario(3, number, 40) != random_scenario(4, number, 40)
        (scenario,) = parse_scenarios(text, Geometry(), strict=False)
        assert not scenario.unsupported
        verbs.update(each.split()[0] for each in scenario.step_text)
    assert set(verbs) >= {
        "map", "touch", "fork", "exit", "unmap", "madv", "prot", "remap", "mlock", "munlock", "pin", "unpin",
        "splice", "unsplice", "truncobj",
    }  # fmt: skip


def test_blocks_of_a_file() -> None:
    assert len([name for name in scenario_names() if scenario_blocks(scenario_text(name) + "\n")]) == len(
        scenario_names()
    )
    assert scenario_blocks("# nothing\n") == []
    assert len(scenario_blocks("scenario a\nend\n\n# between\nscenario b # c\nnote x\nend\n")) == 2


@given(wanted=st.sets(st.integers(0, 29), max_size=5), bound=st.integers(0, 40))
@settings(max_examples=50, deadline=None)
def test_shrinking_finds_what_matters(wanted: set[int], bound: int) -> None:
    """Whatever lines and whatever number a scenario needs, nothing else is left of it."""
    lines = [f"note line{i}" for i in range(30)]
    text = "\n".join(["scenario s", "region A 64", *lines, "touch P0 A 0 50 w", "end"])

    def still(candidate: str) -> bool:
        body = candidate.splitlines()
        numbers = [int(line.split()[4]) for line in body if line.startswith("touch")]
        return all(f"note line{i}" in body for i in wanted) and any(number >= bound for number in numbers)

    found, minimal = shrink(text, still, tries=5000)
    assert minimal and still(found)
    assert found.splitlines()[1:-1] == [*(f"note line{i}" for i in sorted(wanted)), f"touch P0 A 0 {bound} w"]


def test_shrinking_ends_when_tries_run_out() -> None:
    text = scenario_text("thp_fork_chain3")
    calls: Mapping[str, list[str]] = {"texts": []}

    def still(candidate: str) -> bool:
        calls["texts"].append(candidate)
        return len(candidate) > len(text) // 2

    found, minimal = shrink(text, still, tries=7)
    assert not minimal and len(calls["texts"]) == 7 and still(found)
    assert isinstance(json.dumps(found), str)


def test_a_recording_is_what_a_golden_file_holds() -> None:
    header: dict[str, Any] = {"scenario": "s", "kernel": "k", "profile": "6.18", "no_page_mapcount": False}
    recording = Recording(header=header, steps=({"i": 0, "op": "note x"},), environment=None, retries=0)
    assert [sorted(each) for each in recording.lines()] == [
        ["kernel", "no_page_mapcount", "profile", "scenario"], ["i", "op"], ["end"],
    ]  # fmt: skip
