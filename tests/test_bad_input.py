# SPDX-License-Identifier: BSD-3-Clause
"""Wrong input ends with status 2 and one line that names the value, its place and the rule; nothing else happens."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import folio_perf
from folio_perf.cli import app
from folio_perf.scenario import EVENT_DTYPE, EventFlag, Op, Scenario, ScenarioError
from folio_perf.simulate import simulate
from folio_perf.traces import TraceError, read_trace

SHIPPED = Path(folio_perf.__file__).parent / "data" / "traces" / "redis-bgsave-thp.parquet"


def refused(*arguments: str) -> str:
    """Run a command that must be refused; return the line it says."""
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == 2, (result.stdout, result.exception)
    assert result.stdout == ""
    assert result.stderr.startswith("folio-perf: ")
    assert result.stderr.count("\n") == 1 and result.stderr.endswith("\n")
    assert "Traceback" not in result.stderr
    return result.stderr


# ---- options and names -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        (("fork_server", "--set", "children=many"), "--set: fork_server: children 'many' must be a whole number"),
        (("fork_server", "--set", "childs=3"), "--set: fork_server has no parameter 'childs'; did you mean children?"),
        (("fork_server", "--set", "geometry=64K"), "--set: fork_server has no parameter 'geometry'"),
        (("fork_server", "--set", "children"), "--set: 'children' must be NAME=VALUE"),
        (("fork_server(children=3", "--set", "heap=1M"), "--set: 'fork_server(children=3' is no workload; there are "),
        (("fork_server_small", "--set", "heap=1M"), "--set: 'fork_server_small' is no workload; there are fork_server"),
        (("fork_server(children=3",), "must end with a bracket"),
        (("fork_serve",), "no scenario, workload, trace or file named 'fork_serve'; did you mean fork_server"),
    ],
)
def test_wrong_workloads(arguments: Sequence[str], rule: str) -> None:
    assert rule in refused("compare", *arguments)


COMPARE = ("compare", "seed_thp_pte_map")
SHOW = ("show", "fork")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((*COMPARE, "--schemes", "page_count"), ("'page_count'", "page_mapcount, zero_one_two_many")),
        ((*COMPARE, "--schemes", ""), ("--schemes", "no scheme named ''")),
        ((*COMPARE, "--schemes", "page_mapcount,,"), ("--schemes", "no scheme named ''")),
        ((*COMPARE, "--set", "unknown=guess"), ("--set", "unknown=guess", "assume, walk, repair")),
        ((*COMPARE, "--set", "unknown=walk", "--set", "unknown=walk"), ("--set", "unknown", "twice")),
        ((*COMPARE, "--schemes", "page_mapcount:recount=eager"), ("no option 'recount'", "takes none")),
        ((*COMPARE, "--schemes", "zero_one_two_many:recount=later"), ("recount=later", "lazy, ")),
        ((*COMPARE, "--schemes", "zero_one_two_many:presence"), ("'presence'", "OPTION=VALUE")),
        ((*COMPARE, "--schemes", "large_mapcount@6.23"), ("'6.23'", "5.17, 6.1, 6.12, 7.0")),
        ((*COMPARE, "--schemes", "page_mapcount,page_mapcount"), ("page_mapcount", "named twice")),
        ((*COMPARE, "--schemes", "page_mapcount,page_mapcount@7.0"), ("page_mapcount on kernel 7.0", "named twice")),
        ((*COMPARE, "--kernel", "2.4"), ("--kernel", "'2.4'", "5.17, 6.1, 6.12, 7.0")),
        ((*COMPARE, "--kernel", "nowhere.toml"), ("nowhere.toml", "No such file")),
        ((*COMPARE, "--machine", "m68k"), ("--machine", "'m68k'", "generic-x86-64")),
        ((*COMPARE, "--machine", str(SHIPPED)), ("redis-bgsave-thp.parquet",)),
        ((*COMPARE, "--page-size", "5000"), ("--page-size", "5000", "power of two from 4096 to 262144")),
        ((*COMPARE, "--page-size", "12K"), ("--page-size", "12288", "power of two")),
        ((*COMPARE, "--page-size", "2K"), ("2048", "power of two from 4096")),
        ((*COMPARE, "--page-size", "512K"), ("524288", "to 262144")),
        ((*COMPARE, "--page-size", "-4K"), ("--page-size", "'-4K'", "not a size")),
        ((*COMPARE, "--page-size", "4Q"), ("'4Q'", "not a size")),
        ((*COMPARE, "--page-size", "9223372036854775808"), ("'9223372036854775808'", "below 2^63")),
        ((*COMPARE, "--page-size", ""), ("--page-size", "''", "not a size")),
        ((*COMPARE, "--line-size", "96"), ("--line-size", "96", "64 or 128")),
        ((*COMPARE, "--line-size", "-64"), ("--line-size", "'-64'", "not a size")),
        ((*COMPARE, "--folio", "large"), ("--folio", "'large'", "default, order0, thp, mthp=SIZE")),
        ((*COMPARE, "--folio", "mthp=3M"), ("3145728", "power of two")),
        ((*COMPARE, "--folio", "mthp=-64K"), ("'-64K'", "not a size")),
        ((*COMPARE, "--folio", "mthp=4M"), ("4M", "order 10", "2M (order 9)")),
        ((*COMPARE, "--folio", "mthp=64K", "--page-size", "64K"), ("64K", "order 0", "order 2")),
        ((*COMPARE, "--backend", "gpu"), ("--backend", "'gpu'", "count, cache")),
        ((*COMPARE, "--plot", "picture.jpeg"), ("--plot", "'picture.jpeg'", ".png, .svg, .pdf")),
        ((*COMPARE, "--plot", "nowhere/picture.png"), ("nowhere", "No such file or directory")),
        ((*COMPARE, "--colour", "red"), ("--colour",)),
        (("compare",), ("SCENARIO",)),
        (("compare", "seed_thp_pte_map", "seed_file_pte_map"), ("seed_file_pte_map",)),
        (("compare", "seed_thp_pte_mapp"), ("'seed_thp_pte_mapp'", "did you mean seed_thp_pte_map")),
        (("compare", "xyzzy"), ("'xyzzy'", "folio-perf scenarios")),
        (("compare", "nowhere/at/all.txt"), ("nowhere/at/all.txt",)),
        (("compare", "."), ("Is a directory",)),
        (("contrast", "seed_thp_pte_map"), ("contrast",)),
        (("show", "map"), ("'map'", "map_ptes")),
        ((*SHOW, "--scheme", "owner"), ("--scheme", "'owner'")),
        ((*SHOW, "--order", "10"), ("order 10", "from 0 to 9")),
        ((*SHOW, "--order", "-1"), ("order -1", "from 0 to 9")),
        ((*SHOW, "--order", "1"), ("order 1", "0 or 2 to 9")),
        ((*SHOW, "--order", "14", "--page-size", "64K"), ("order 14", "from 0 to 13")),
        ((*SHOW, "--order", "nine"), ("--order", "'nine'", "whole number")),
        ((*SHOW, "--order", "9223372036854775808"), ("9223372036854775808",)),
        ((*SHOW, "--order", "4", "--scheme", "page_mapcount@6.1"), ("order 4", "kernel 6.1", "0 or 9")),
        (("show", "map_pmd", "--order", "4"), ("map_pmd", "order 9, not 4")),
        (("scenarios", "show", "nothing"), ("'nothing'",)),
        (("scenarios", "show", "redis-bgsave-thp"), ("redis-bgsave-thp", "trace info")),
        (("scenarios", "delete"), ("delete",)),
        (("trace",), ("command",)),
        (("trace", "info", "nowhere.parquet"), ("nowhere.parquet",)),
        (("import", "nowhere.txt", "-o", "x.parquet"), ("nowhere.txt", "No such file")),
        (("import", str(SHIPPED), "-o", "x.parquet"), ("redis-bgsave-thp.parquet:1",)),
        (("import", str(SHIPPED), "-o", "nowhere/x.parquet"), ("folio-perf: nowhere: No such file",)),
        (("import", str(SHIPPED)), ("--output",)),
        (("schemes", "--json", "extra"), ("extra",)),
    ],
    ids=" ".join,
)
def test_command_line(
    arguments: Sequence[str], words: Sequence[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = refused(*arguments)
    for word in words:
        assert word in said
    assert list(tmp_path.iterdir()) == []


def test_as_a_process() -> None:
    command = [sys.executable, "-m", "folio_perf", "compare", "seed_thp_pte_map", "--kernel", "2.4"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(folio_perf.__file__).parents[1])
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("folio-perf: --kernel: ") and done.stderr.count("\n") == 1


# ---- scenarios ---------------------------------------------------------------------------------------------------

SYSFS = "/sys/kernel/mm/transparent_hugepage"
HEAD = "scenario s\nobj F file 16\nregion A 16\nregion B 16\nmap P0 A anon\n"  # the next line is line 6, event 1


@dataclass(frozen=True)
class Wrong:
    """A scenario whose line 6 is wrong."""

    line: str
    words: tuple[str, ...]
    runs: bool = False
    """It is read, and fails as event 1 when it runs."""


WRONG = [
    Wrong("teleport P0 A 0 1", ("'teleport'",)),
    Wrong("map P0 A anon", ("map P0 A anon", "overlaps"), runs=True),
    Wrong("map P0 A F 0 4 8 shared", ("overlaps",), runs=True),
    Wrong("unmap P0 B 0 16", (), runs=True),
    Wrong("touch P0 B 0 1 w", ("no mapping covers",), runs=True),
    Wrong("touch P0 A 0 17 w", ("17",)),
    Wrong("prot P0 B 0 16 r", ("not wholly inside mappings",), runs=True),
    Wrong("madv P0 B 0 16 DONTNEED", ("not wholly inside mappings",), runs=True),
    Wrong("madv P0 A 0 16 FASTER", ("FASTER",)),
    Wrong("touch P1 A 0 1 w", ("P1",)),
    Wrong("fork P1 P2", ("P1",)),
    Wrong("fork P0 P0", ("P0",)),
    Wrong("exit P0\nexit P0", ("P0",)),
    Wrong("touch P0 A -1 1 w", ("-1",)),
    Wrong("touch P0 A 0 -1 w", ("-1",)),
    Wrong("touch P0 A 0 0 w", ("0",)),
    Wrong("touch P0 A 9223372036854775808 1 w", ("9223372036854775808",)),
    Wrong("touch P0 A 0 9223372036854775808 w", ("9223372036854775808",)),
    Wrong("region C 9223372036854775808", ("9223372036854775808",)),
    Wrong("region C -4", ("-4",)),
    Wrong("region A 4", ("A",)),
    Wrong("obj G file 9223372036854775808", ("9223372036854775808",)),
    Wrong("obj G file 16 order 10", ("10",)),
    Wrong("obj G file 16 order -1", ("-1",)),
    Wrong("obj G pipe 16", ("pipe",)),
    Wrong("map P0 B G 0 0 16 shared", ("G",)),
    Wrong("map P0 C anon", ("C",)),
    Wrong("forkmany P0 -2 W", ("-2",)),
    Wrong("remap P0 A 0 8 A 4", ("mremap",), runs=True),
    Wrong("remap P0 A 0 16 A 8", ("16 pages",)),
    Wrong("madv P0 A 0 16 SOFT_OFFLINE", ("madv P0 A 0 16 SOFT_OFFLINE",)),
    Wrong("on 256 touch P0 A 0 1 w", ("256",)),
    Wrong("touch P0 A 0 1 x", ("x",)),
    Wrong("touch P0 A 0", ("touch",)),
]


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.line.replace("\n", ";"))
def test_scenario(wrong: Wrong, tmp_path: Path) -> None:
    path = tmp_path / "wrong.txt"
    path.write_text(f"{HEAD}{wrong.line}\nend\n")
    if wrong.line == "unmap P0 B 0 16":
        # munmap of what is not mapped is no error of the system call, but a scenario that does it means something else.
        assert "not wholly inside mappings" in refused("compare", str(path))
    said = refused("compare", str(path))
    assert f"{path}:" in said
    assert f"{path}:6: " in said or f"{path}:7: " in said
    if wrong.runs:
        assert "event 1 (" in said
    for word in wrong.words:
        assert word in said
    with pytest.raises(ScenarioError) as caught:
        simulate(path)
    assert caught.value.source == str(path) and caught.value.line in (6, 7)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ("holds no scenario",)),
        ("# nothing\n", ("holds no scenario",)),
        ("scenario s\nregion A 4\n", (":",)),
        ("region A 4\n", (":1:",)),
        ("scenario s\nend\nscenario s\nend\n", (":3:", "s")),
        ("scenario a\nend\nscenario b\nend\n", ("holds 2 scenarios", ":NAME", "a, b")),
        ("scenario a/b\nend\n", (":1:", "letters, digits")),
    ],
)
def test_scenario_file(text: str, words: Sequence[str], tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text(text)
    said = refused("compare", str(path))
    assert str(path) in said
    for word in words:
        assert word in said


def test_scenario_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("scenario a\nend\nscenario b\nend\n")
    said = refused("compare", f"{path}:x")
    assert str(path) in said and "no scenario 'x'" in said and "a, b" in said


def test_folio_sizes_that_a_page_size_does_not_have(tmp_path: Path) -> None:
    path = tmp_path / "sizes.txt"
    path.write_text(f"scenario s\nsysfs {SYSFS}/hugepages-64kB/enabled always\nregion A 16\nmap P0 A anon\nend\n")
    said = refused("compare", str(path), "--page-size", "64K")
    assert f"{path}:2: " in said and "64K" in said


# ---- arrays of events --------------------------------------------------------------------------------------------


def events(*rows: dict[str, int]) -> Scenario:
    array = np.zeros(len(rows), dtype=EVENT_DTYPE)
    for number, row in enumerate(rows):
        for key, value in row.items():
            array[key][number] = value
    return Scenario(name="array", events=array, source="array", processes=("P0", "P1"))


MAP = {"op": Op.MMAP, "vpn": 1 << 20, "nr": 16, "flags": EventFlag.PROT_READ | EventFlag.PROT_WRITE}


@pytest.mark.parametrize(
    ("row", "name"),
    [
        ({**MAP, "vpn": 1 << 63}, "ADDRESS"),
        ({**MAP, "vpn": (1 << 64) - 1, "nr": 2}, "ADDRESS"),
        ({**MAP, "vpn": 1 << 30, "nr": 1 << 63}, "ADDRESS"),
        ({**MAP, "vpn": 1 << 30, "nr": 0}, "EMPTY_RANGE"),
        (MAP, "OVERLAP"),
        ({"op": Op.TOUCH, "vpn": 1 << 63, "nr": 1}, "ADDRESS"),
        ({"op": Op.TOUCH, "vpn": 1 << 30, "nr": 1}, "SEGV"),
        ({"op": Op.TOUCH, "vpn": 1 << 20, "nr": 17}, "SEGV"),
        ({"op": Op.MUNMAP, "vpn": 1 << 30, "nr": 1}, "NOT_MAPPED"),
        ({"op": Op.MREMAP, "vpn": 1 << 20, "nr": 16, "arg": 1 << 63, "arg2": 16}, "ADDRESS"),
        ({"op": Op.EXIT, "process": 1}, "NO_PROCESS"),
        ({"op": Op.FORK, "arg": 0}, "PROCESS_EXISTS"),
    ],
)
def test_events(row: dict[str, int], name: str) -> None:
    with pytest.raises(ScenarioError, match=rf"^array:0: event 1 \(\w+\): .* \({name}\)$"):
        simulate(events(MAP, row))
    outcome = simulate(events(MAP, row), strict=False).outcome
    if name != "NOT_MAPPED":
        assert [failure.name for failure in outcome.failures] == [name]


def test_events_of_a_process_that_has_exited() -> None:
    with pytest.raises(ScenarioError, match=r"event 2 \(touch\): the process has exited"):
        simulate(events(MAP, {"op": Op.EXIT}, {"op": Op.TOUCH, "vpn": 1 << 20, "nr": 1}))


@pytest.mark.parametrize(
    ("row", "rule"),
    [
        ({"op": 99}, "op 99 must be below"),
        ({"op": Op.TOUCH, "process": 2}, "process 2 must be below 2"),
        ({"op": Op.TOUCH, "cpu": 256}, "cpu 256 must be below 256"),
        ({"op": Op.TOUCH, "flags": 1 << 20}, "flags 1048576 has a bit"),
        ({"op": Op.MMAP, "what": 3}, "what 3 is no object"),
        ({"op": Op.MADVISE, "what": 77}, "what 77 is no advice"),
        ({"op": Op.FORK, "arg": 5}, "arg 5 must be the child"),
    ],
)
def test_events_that_mean_nothing(row: dict[str, int], rule: str) -> None:
    with pytest.raises(ValueError, match=f"event 1: {rule}"):
        events(MAP, row)


# ---- traces ------------------------------------------------------------------------------------------------------


def refused_trace(path: Path) -> str:
    said = refused("compare", str(path))
    assert path.name in said
    assert refused("trace", "info", str(path)).count(path.name) >= 1
    with pytest.raises(TraceError):
        simulate(path)
    return said


@pytest.mark.parametrize("keep", [4, 100, 0.5, 0.999])
def test_truncated_trace(keep: float, tmp_path: Path) -> None:
    whole = SHIPPED.read_bytes()
    path = tmp_path / "cut.parquet"
    path.write_bytes(whole[: keep if isinstance(keep, int) else int(keep * len(whole))])
    refused_trace(path)


@pytest.mark.parametrize("at", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_damaged_trace(at: float, tmp_path: Path) -> None:
    content = bytearray(SHIPPED.read_bytes())
    for offset in range(8):
        content[int(at * len(content)) + offset] ^= 0xA5
    path = tmp_path / "damaged.parquet"
    path.write_bytes(content)
    try:
        unharmed = read_trace(path).rows
    except TraceError:
        refused_trace(path)
    else:
        # Parts of a Parquet footer serve nobody, and have no checksum.
        assert at > 0.8 and (unharmed == read_trace(SHIPPED).rows).all()


def test_foreign_files(tmp_path: Path) -> None:
    parquet = tmp_path / "foreign.parquet"
    pd.DataFrame({"time_ns": [1, 2]}).to_parquet(parquet)
    refused_trace(parquet)
    for content, word in (
        (b"\x7fELF\x02\x01\x01\xff\xfe", "UTF-8"),
        (b"\x1f\x8b\x08\x00", "folio-perf import"),
        (b"PERFILE2....", "perf script"),
        (b"redis-server 4711 [001]", ":1: "),
    ):
        path = tmp_path / "foreign"
        path.write_bytes(content)
        said = refused("compare", str(path))
        assert str(path) in said and word in said
    assert "redis-bgsave-thp.parquet" in refused("compare", f"{SHIPPED}:part")


def test_a_recording_that_is_none(tmp_path: Path) -> None:
    source = tmp_path / "words.txt"
    source.write_text("these are\nnot events\n")
    target = tmp_path / "out.parquet"
    said = refused("import", str(source), "-o", str(target))
    assert "words.txt:1: " in said
    assert refused("import", str(source), "-o", str(tmp_path / "nowhere" / "x.parquet"))
    assert refused("import", str(source), "-o", str(target), "--page-size", "5000")
    assert [path.name for path in tmp_path.iterdir()] == ["words.txt"]
