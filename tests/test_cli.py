# SPDX-License-Identifier: BSD-3-Clause
"""The command line: every command, as text and as JSON, through typer's runner and as a process."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import folio_perf
from folio_perf.cli import app
from folio_perf.cli.compare import DEMO_PICTURE
from folio_perf.geometry import Geometry
from folio_perf.machine import machine_names
from folio_perf.profile import profile_names
from folio_perf.scenario import scenario_names, scenario_text
from folio_perf.schemes import scheme_names
from folio_perf.simulate import operation_names
from folio_perf.traces import read_trace, trace_names
from folio_perf.workloads import workload_names, workload_parameters

TRACES = Path(__file__).parent / "data" / "traces"


def run(*arguments: str, status: int = 0) -> str:
    """Run a command; return its standard output."""
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == status, (result.stderr, result.exception)
    return result.stdout


def run_json(*arguments: str) -> Any:
    """Run a command with --json: standard output is one JSON value and nothing else."""
    text = run(*arguments, "--json")
    assert text.count("\n") == 1 and text.endswith("\n")
    return json.loads(text)


@contextmanager
def process(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Start a command; end it in any case."""
    command = [sys.executable, "-m", "folio_perf", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(Path(folio_perf.__file__).parents[1])}
    # Whoever runs these tests in the background of a shell has told its children to ignore Ctrl-C.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    finally:
        signal.signal(signal.SIGINT, before)
    with child:
        try:
            yield child
        finally:
            child.kill()


def is_mail(text: str) -> bool:
    return all(len(line) <= 72 for line in text.splitlines()) and "\x1b" not in text


# ---- lists -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "names"),
    [
        ("schemes", scheme_names()),
        ("machines", machine_names()),
        ("kernels", profile_names()),
        ("operations", operation_names()),
        ("scenarios", (*scenario_names(), *workload_names(), *trace_names())),
    ],
)
def test_lists(command: str, names: Sequence[str]) -> None:
    text = run(command)
    assert is_mail(text)
    assert all(name in text for name in names)
    assert [entry["name"] for entry in run_json(command)] == list(names)


def test_schemes_say_what_stands_behind_them() -> None:
    by_name = {entry["name"]: entry for entry in run_json("schemes")}
    assert by_name["page_mapcount"]["shipped"] == {"first": "4.5", "last": "6.1"}
    proposal = by_name["zero_one_two_many"]
    assert proposal["shipped"] is None and proposal["reconstructed"] is True
    assert {"presence", "recount"} <= set(proposal["options"])
    assert "reconstructed" in run("schemes")


def test_every_price_of_a_machine_has_a_source() -> None:
    (machine,) = (entry for entry in run_json("machines") if entry["name"] == "generic-x86-64")
    prices = [price for level in machine["levels"] for price in level["prices"].values()] + list(
        machine["dram"].values()
    )
    assert len(prices) == 24
    assert all(price["source"] for price in prices if price["ns"] is not None)


@pytest.mark.parametrize("name", machine_names())
def test_a_machine_is_shown(name: str) -> None:
    text = run("machines", "show", name)
    assert is_mail(text)
    shown = run_json("machines", "show", name)
    assert shown == next(entry for entry in run_json("machines") if entry["name"] == name)
    assert all(f"{price['ns']:g}" in text for price in shown["dram"].values() if price["ns"] is not None)
    assert name in run("machines")


def test_this_host_is_checked_against_a_machine() -> None:
    likest = run_json("machines", "check")
    assert likest["machine"] in machine_names()
    named = run_json("machines", "check", "power8-64k")
    assert len(named["differences"]) >= len(likest["differences"])
    text = run("machines", "check", "power8-64k")
    assert is_mail(text)
    assert all(each["what"] in text for each in named["differences"])


def test_a_workload_is_shown_set_and_run() -> None:
    text = run("scenarios", "show", "fork_server")
    assert is_mail(text)
    parameters = run_json("scenarios", "show", "fork_server")["parameters"]
    assert [each["name"] for each in parameters] == [each.name for each in workload_parameters("fork_server")]
    assert all(each["name"] in text and str(each["default"]) in text for each in parameters)
    small = ("--set", "heap=64K", "--backend", "count", "--page-size", "16K")
    made = run_json("compare", "fork_server", "--set", "children=3", *small)
    assert made["scenario"] == "fork_server(children=3, heap=64K)"
    (forks,) = {row["count"] for row in made["rows"] if row["event"] == "fork"}
    assert forks == 3
    assert run_json("compare", made["scenario"], *small[2:])["scenario_hash"] == made["scenario_hash"]


def test_a_scenario_can_be_printed_edited_and_run(tmp_path: Path) -> None:
    text = run("scenarios", "show", "fork_server_small")
    assert text == scenario_text("fork_server_small")
    assert run_json("scenarios", "show", "fork_server_small")["text"] == text
    path = tmp_path / "mine.txt"
    path.write_text(text.replace("forkmany P0 8 W", "forkmany P0 9 W"))
    mine = run_json("compare", str(path), "--backend", "count")
    assert mine["scenario_hash"] != run_json("compare", "fork_server_small", "--backend", "count")["scenario_hash"]
    (forks,) = {row["count"] for row in mine["rows"] if row["event"] == "fork"}
    assert forks == 9


# ---- compare -----------------------------------------------------------------------------------------------------


def test_compare_prints_a_table() -> None:
    text = run(
        "compare", "seed_file_pte_map", "--schemes", "page_mapcount@6.1,zero_one_two_many:presence=oracle,recount=lazy"
    )
    assert is_mail(text)
    assert "A    page_mapcount@6.1" in text
    assert "B*+  zero_one_two_many:presence=oracle@7.0" in text


def test_compare_json_is_the_api() -> None:
    arguments = ("seed_file_pte_map", "--schemes", "page_mapcount,large_mapcount@6.12", "--kernel", "6.1")
    value = run_json("compare", *arguments, "--page-size", "16K", "--folio", "mthp=64K")
    same = folio_perf.compare(
        "seed_file_pte_map", schemes="page_mapcount,large_mapcount@6.12", kernel="6.1", geometry="16K", folio="mthp=64K"
    )
    assert value == json.loads(same.to_json())
    assert value["folio_policy"] == "mthp=64K"
    assert run_json("compare", *arguments, "--line-size", "128")["line_size"] == 128


def test_compare_reads_machine_and_kernel_files(tmp_path: Path) -> None:
    package = Path(folio_perf.__file__).parent
    machine = tmp_path / "mine.toml"
    machine.write_text((package / "machines/generic-x86-64.toml").read_text().replace("32768", "65536"))
    kernel = tmp_path / "kernel.toml"
    kernel.write_text((package / "profiles/6.1.toml").read_text())
    arguments = ("compare", "seed_thp_pte_map", "--schemes", "page_mapcount")
    value = run_json(*arguments, "--machine", str(machine), "--kernel", str(kernel))
    assert value["schemes"][0]["counterfactual"] is False
    assert value["rows"] != run_json(*arguments, "--kernel", "6.1")["rows"]


def test_keep_going_counts_what_fails(tmp_path: Path) -> None:
    path = tmp_path / "failing.txt"
    path.write_text("scenario s\nregion A 4\nmap P0 A anon\nmap P0 A anon\ntouch P0 A 0 4 w\nend\n")
    run("compare", str(path), status=2)
    (events,) = (
        entry["events"]
        for entry in run_json("compare", str(path), "--keep-going", "--schemes", "page_mapcount")["schemes"]
    )
    assert (events["applied"], events["failed"]) == (2, 1)
    assert events["failures"][0]["name"] == "OVERLAP"
    assert events["failures"][0]["examples"] == [f"{path}:4: event 1 (map P0 A anon)"]


def test_demo_is_the_main_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = run("demo")
    assert is_mail(text)
    assert text.startswith("redis-bgsave-thp: what each mapcount design costs (modelled)")
    assert text.endswith(f"picture: {DEMO_PICTURE}\n")
    assert [path.name for path in tmp_path.iterdir()] == [DEMO_PICTURE]
    assert (tmp_path / DEMO_PICTURE).stat().st_size > 20_000


# ---- show --------------------------------------------------------------------------------------------------------


def test_show_me_the_512() -> None:
    text = run("show", "total_mapcount", "--scheme", "page_mapcount", "--order", "9")
    assert is_mail(text)
    assert re.search(r"^load +mapcount +folio\[0\.\.511\] +512 +512 ", text, re.MULTILINE)
    assert "struct pages 512 read, 0 written" in " ".join(text.split())
    value = run_json("show", "total_mapcount", "--scheme", "page_mapcount", "--order", "9")
    assert value["totals"]["lines_read"] == 512
    assert [access["field"] for access in value["accesses"]] == ["mapping", "compound_mapcount", "mapcount"]


def test_show_takes_the_largest_folio_and_can_show_everything() -> None:
    text = run("show", "map_ptes", "--page-size", "64K", "--scheme", "large_mapcount@7.0", "--all")
    assert "order 13, 8192 pages of 64K" in text
    assert "fixed" in text and "left out" not in text
    assert "left out:" in run("show", "map_ptes", "--order", "0")


# ---- traces ------------------------------------------------------------------------------------------------------


def test_import_makes_the_trace_that_ships(tmp_path: Path) -> None:
    source = TRACES / "redis-bgsave-thp.perf.txt.gz"
    target = tmp_path / "redis.parquet"
    said = run(
        "import", str(source), "-o", str(target), "--name", "redis", "--command", "redis-server", "--kernel", "6.18"
    )
    assert is_mail(said) and said.startswith("redis: redis-server")
    assert [path.name for path in tmp_path.iterdir()] == ["redis.parquet"]
    shipped = folio_perf.load_trace("redis-bgsave-thp")
    assert (read_trace(target).rows == shipped.rows).all()
    value = run_json("trace", "info", str(target))
    assert value["rows"] == shipped.rows.size
    assert value["scenario_hash"] == shipped.to_scenario(Geometry()).hash
    assert value["operations"] == shipped.counts()
    assert is_mail(run("trace", "info", "redis-bgsave-thp"))
    rows = run_json("compare", str(target), "--backend", "count")["rows"]
    assert rows == run_json("compare", "redis-bgsave-thp", "--backend", "count")["rows"]


# ---- as a process ------------------------------------------------------------------------------------------------


def test_as_a_process_through_a_pipe() -> None:
    with process("compare", "cow_after_exit", "--json") as child:
        out, err = child.communicate(timeout=60)
    assert (child.returncode, err) == (0, "")
    assert json.loads(out)["scenario"] == "cow_after_exit"


def test_help_and_version() -> None:
    assert run("--version") == f"folio-perf {folio_perf.__version__}\n"
    assert run() == run("--help")
    for command in (
        "demo",
        "compare",
        "show",
        "schemes",
        "machines",
        "kernels",
        "scenarios",
        "import",
        "trace",
        "record",
        "replay",
    ):
        assert f"  {command} " in run("--help")
        assert "Usage: " in run(command, "--help")


def test_a_reader_that_leaves_early_is_no_error_of_ours() -> None:
    with process("scenarios", "--json") as child:
        assert child.stdout is not None and child.stderr is not None
        child.stdout.close()
        assert child.wait(timeout=60) == 1
        assert child.stderr.read() == ""


def cpu_seconds(pid: int) -> float:
    """What a process has used of a CPU, all its threads together."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def test_ctrl_c(tmp_path: Path) -> None:
    # Every exit walks all VMAs that are left, for each page, twice over: far longer than the test may take.
    path = tmp_path / "endless.txt"
    path.write_text(
        "scenario endless\nregion A 64\nmap P0 A anon\ntouch P0 A 0 64 w\nforkmany P0 20000 W\nexitgroup W\nend\n"
    )
    with process("compare", str(path), "--schemes", "zero_one_two_many:recount=eager,large_mapcount") as child:
        # Past its imports, however busy the machine is: they take less than this of a CPU.
        while child.poll() is None and cpu_seconds(child.pid) < 4:
            time.sleep(0.1)
        assert child.poll() is None
        child.send_signal(signal.SIGINT)
        started = time.monotonic()
        out, err = child.communicate(timeout=30)
    assert (child.returncode, out, err) == (130, "", "folio-perf: interrupted\n")
    assert time.monotonic() - started < 10
