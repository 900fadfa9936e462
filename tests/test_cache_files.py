# SPDX-License-Identifier: BSD-3-Clause
"""Traces and hierarchies as files, and the command that runs one through the other."""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_cli import is_mail, run, run_json

from folio_perf import cache_files
from folio_perf.cache_files import load_hierarchy, read_addresses

CONFIG = """
line_bytes = 64
[[level]]
name = "L1"
size_bytes = 256
nr_ways = 2
[[level]]
name = "L2"
size_bytes = 1536
nr_ways = 3
policy = "fifo"
"""
TEXTS = {
    "din": "0 1000\n1 1040\n2 400000\n0 1078 8\n0 1080\n1 ffffffff\n",
    "lackey": "==12== Lackey\nI  400000,3\n L 1000,8\n S 1040,4\n L 1078,16\n S ffffffff,1\n",
    "drcachesim": "  1  0: 77 ifetch 3 byte(s) @ 0x400000 mov\n"
    "  2  0: 77 read   8 byte(s) @ 0x0000000000001000 by PC 0x1\n"
    "  3  0: 77 write  4 byte(s) @ 0x1040 by PC 0x2\n"
    "  4  0: 77 read  16 byte(s) @ 0x1078 by PC 0x3\n"
    "  5  0: 77 write  1 byte(s) @ 0xffffffff by PC 0x3\n",
}
ADDRESSES = [0x1000, 0x1040, 0x1078, 0x1080, 0xFFFFFFFF]
WRITES = [False, True, False, False, True]


def read(path: Path, form: str) -> tuple[list[int], list[bool]]:
    pieces = list(read_addresses(path, form))
    return (
        [int(each) for piece in pieces for each in piece.addresses],
        [bool(each) for piece in pieces for each in piece.write],
    )


@pytest.mark.parametrize("form", TEXTS)
@pytest.mark.parametrize("piece", [1, 2, 1000])
@pytest.mark.parametrize("packed", [False, True])
def test_text(form: str, piece: int, packed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_files, "PIECE", piece)
    path = tmp_path / "trace"
    content = TEXTS[form].encode()
    path.write_bytes(gzip.compress(content) if packed else content)
    assert read(path, form) == (ADDRESSES, WRITES)


def test_a_modify_is_a_load_and_a_store(tmp_path: Path) -> None:
    path = tmp_path / "trace"
    path.write_text(" M 103c,8\n")
    assert read(path, "lackey") == ([0x103C, 0x1040] * 2, [False, False, True, True])


def test_parquet(tmp_path: Path) -> None:
    path = tmp_path / "trace.parquet"
    addresses = pa.array(ADDRESSES, pa.uint64())
    pq.write_table(pa.table({"address": addresses, "write": pa.array(WRITES)}), path)
    assert read(path, "parquet") == (ADDRESSES, WRITES)
    pq.write_table(pa.table({"address": addresses}), path)
    assert read(path, "parquet") == (ADDRESSES, [False] * 5)


@pytest.mark.parametrize(
    ("form", "content", "words"),
    [
        ("din", b"0 1000\n7 1040\n", r":2: b'7 1040\\n': label '7' must be 0, 1 or 2"),
        ("din", b"0\n", ":1: "),
        ("din", b"0 zz\n", "invalid literal"),
        ("din", b"0 -40\n", r"below 2\^57"),
        ("din", b"1 200000000000000\n", r"below 2\^57"),
        ("lackey", b" L 1000,0\n", "0 bytes at"),
        ("lackey", b"0 1000\n", "neither a load"),
        ("din", b"\xff\xfe\n", "ascii"),
        ("parquet", b"0 1000\n", "not a Parquet file"),
        ("elf", b"", "must be one of din, lackey, drcachesim, parquet"),
    ],
)
def test_bad_traces(form: str, content: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "trace"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=words):
        list(read_addresses(path, form))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("nr_ways = 2", "nr_ways = 0"), "nr_ways 0 must be"),
        (("nr_ways = 2", "nr_ways = 2.5"), "nr_ways 2.5 must be an int"),
        (("size_bytes = 256", "size_bytes = 200"), "no whole number of sets"),
        (("size_bytes = 256", ""), "level L1 lacks 'size_bytes'"),
        (("size_bytes = 256", "size_bytes = 256\nage = 3"), "level L1 has unknown 'age'"),
        (("line_bytes = 64", "line_bites = 64"), "'line_bites', which means nothing"),
        (("line_bytes = 64", "line_bytes = 63"), "line_bytes 63 must be one of"),
        (("[[level]]", "[[level"), "trace.toml: "),
        (("line_bytes = 64", "tlb = 3"), r"tlb must be written \[\[tlb\]\]"),
        (("[[level]]", "[[tlb]]\nname = 'L1'\n[[level]]"), "tlb L1 lacks 'nr_entries', 'nr_ways', 'page_bytes'"),
        (("[[level]]", "[[pages]]\nfirst = 0\nlast = 9\n[[level]]"), r"pages \? lacks 'end', 'page_bytes'"),
    ],
)
def test_bad_hierarchies(change: tuple[str, str], words: str, tmp_path: Path) -> None:
    path = tmp_path / "trace.toml"
    path.write_text(CONFIG.replace(*change, 1))
    with pytest.raises(ValueError, match=words):
        load_hierarchy(path)


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "folio_perf", "cache", *map(str, arguments)], capture_output=True, text=True, check=False
    )


def test_the_command(tmp_path: Path) -> None:
    config, trace = tmp_path / "config.toml", tmp_path / "trace.din"
    config.write_text(CONFIG)
    trace.write_text(TEXTS["din"])
    done = command(trace, "--config", config, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    caches = load_hierarchy(config)
    caches.access(np.array(ADDRESSES, dtype=np.uint64), np.array(WRITES))
    assert json.loads(done.stdout) == caches.stats().to_dict_full()
    table = command(trace, "--config", config)
    assert (table.returncode, table.stderr) == (0, "")
    assert "write-backs in" in table.stdout
    assert max(map(len, table.stdout.splitlines())) <= 72
    trace.write_text("9 9\n")
    wrong = command(trace, "--config", config, "--json")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "label '9' must be 0, 1 or 2" in wrong.stderr


PROGRAM = """
#include <stdlib.h>
int main(void)
{
	static int cells[200000];
	unsigned int at = 1, sum = 0;

	for (int i = 0; i < 150000; i++) {
		at = at * 1664525u + 1013904223u;
		cells[at % 200000] += i;
		sum += cells[i];
	}
	return sum == 1;
}
"""


def test_cachegrind_counts_as_many_misses(tmp_path: Path) -> None:
    """D1 of cachegrind; an access that straddles two lines is one of cachegrind's and two of ours."""
    valgrind, compiler = shutil.which("valgrind"), shutil.which("cc") or shutil.which("gcc")
    if not valgrind or not compiler:
        pytest.skip("needs valgrind and a C compiler")
    source, program = tmp_path / "program.c", tmp_path / "program"
    source.write_text(PROGRAM)
    subprocess.run([compiler, "-O1", "-o", program, source], check=True)
    out = tmp_path / "cachegrind"
    grind = [valgrind, "--tool=cachegrind", "--cache-sim=yes", "--D1=32768,8,64", f"--cachegrind-out-file={out}"]
    subprocess.run([*grind, program], check=True, capture_output=True)
    lines = out.read_text().splitlines()
    events = next(line for line in lines if line.startswith("events:")).split()[1:]
    totals = next(line for line in lines if line.startswith("summary:")).split()[1:]
    counts = dict(zip(events, map(int, totals), strict=True))
    trace = tmp_path / "lackey"
    with trace.open("wb") as stream:
        subprocess.run([valgrind, "--tool=lackey", "--trace-mem=yes", program], check=True, stderr=stream)
    config = tmp_path / "config.toml"
    config.write_text('[[level]]\nname = "D1"\nsize_bytes = 32768\nnr_ways = 8\n')
    caches = load_hierarchy(config)
    for addresses, write, _ in read_addresses(trace, "lackey"):
        caches.access(addresses, write)
    ours = caches.stats().to_dict()["D1"]["misses"]
    assert ours > 100_000
    assert ours == pytest.approx(counts["D1mr"] + counts["D1mw"], rel=0.005)


COHERENT = """
nr_cpus = 4
cpus_per_ccx = 2
[[level]]
name = "L1"
size_bytes = 256
nr_ways = 2
"""


def test_a_trace_of_several_cpus(tmp_path: Path) -> None:
    """Two CPUs of different CCXs count in one line, each its own word."""
    config, trace = tmp_path / "caches.toml", tmp_path / "trace.parquet"
    config.write_text(COHERENT)
    columns = {
        "address": pa.array([0x1000, 0x1008] * 50, pa.uint64()),
        "write": pa.array([True] * 100),
        "cpu": pa.array([0, 2] * 50, pa.uint8()),
    }
    pq.write_table(pa.table(columns), trace)
    seen: list[tuple[int, int]] = []
    (piece,) = read_addresses(trace, "parquet", progress=lambda done, total: seen.append((done, total)))
    assert seen == [(100, 100)]
    assert piece.cpu is not None and piece.cpu.tolist() == [0, 2] * 50
    value = run_json("cache", str(trace), "--config", str(config), "--sharing")
    assert value["transfers"]["read_modified"] == {"smt": 0, "ccx": 0, "socket": 99, "remote": 0}
    assert [(each["address"], each["taken_writing"], each["false_writing"]) for each in value["sharing"]] == [
        (0x1000, 99, 99)
    ]
    text = run("cache", str(trace), "--config", str(config), "--sharing")
    assert is_mail(text)
    assert "0x1000" in text and "+8 CPU 2" in text
    columns["cpu"] = pa.array([0, 7] * 50, pa.uint8())
    pq.write_table(pa.table(columns), trace)
    run("cache", str(trace), "--config", str(config), status=2)
    with pytest.raises(ValueError, match=r"cpu\[1\] is 7; there are 4 CPUs"):
        load_hierarchy(config).access(*next(read_addresses(trace, "parquet")))


TRANSLATED = """
split_misses = true
[[tlb]]
name = "dTLB"
nr_entries = 2
nr_ways = 2
page_bytes = [4096, 2097152]
[[pages]]
first = 0x200000
end = 0x400000
page_bytes = 2097152
[[level]]
name = "L1"
size_bytes = 256
nr_ways = 2
"""


def test_translations_kinds_and_occupancy(tmp_path: Path) -> None:
    config, trace, picture = tmp_path / "config.toml", tmp_path / "trace.din", tmp_path / "held.svg"
    config.write_text(TRANSLATED)
    addresses = [0, 0x200000, 0x3FF000, 0, 4096, 0x200000]
    trace.write_text("".join(f"0 {address:x}\n" for address in addresses))
    watch = ("--watch", "low=0:0x2000", "--watch", "huge=0x200000:0x400000", "--every", 2)
    done = command(trace, "--config", config, "--json", *watch, "--plot", picture)
    assert (done.returncode, done.stderr) == (0, "")
    value = json.loads(done.stdout)
    walks = {"4096": 2, "2097152": 2}
    assert value["tlb"] == {"dTLB": {"lookups": 6, "hits": 2, "misses": 4}, "walks": walks}
    assert value["L1"]["compulsory"] == 4
    assert [look["accesses"] for look in value["occupancy"]["looks"]] == [0, 2, 4, 6]
    assert value["occupancy"]["looks"][1]["held_bytes"] == [64, 64]
    assert b"<svg" in picture.read_bytes()
    text = command(trace, "--config", config, *watch)
    assert (text.returncode, text.stderr) == (0, "")
    assert "walks, pages of 2,048 KiB" in text.stdout
    assert max(map(len, text.stdout.splitlines())) <= 72
    for wrong, words in (
        (("--watch", "0:64"), "must be NAME=FIRST:END"),
        (("--watch", "a=0:64", "--watch", "a=0:64"), "'a' is given twice"),
        (("--plot", picture), "there is none"),
        (("--watch-level", "L1"), "nothing is watched"),
    ):
        bad = command(trace, "--config", config, *wrong)
        assert (bad.returncode, bad.stdout) == (2, "")
        assert words in " ".join(bad.stderr.split())
