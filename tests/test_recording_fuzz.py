# SPDX-License-Identifier: BSD-3-Clause
"""Damaged recordings of every kind: a clear error that names its place, or a trace that keeps the format's rules.

What is damaged was recorded from real programs. FOLIO_PERF_FUZZ=N tries N times as much.
"""

from __future__ import annotations

import gzip
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from test_record import perf_data  # noqa: F401
from test_strace import SMAPS

from folio_perf.geometry import Geometry
from folio_perf.record import import_perf_data
from folio_perf.simulate import simulate
from folio_perf.traces import Trace, TraceError, import_perf_script, import_snapshot, import_strace, read_trace
from folio_perf.validation.golden import GoldenError, compare_golden, read_golden

DATA = Path(__file__).parent / "data"
SCENARIOS = Path(__file__).parents[1] / "folio_perf" / "data" / "scenarios"
TIMES = int(os.environ.get("FOLIO_PERF_FUZZ", "1"))
WORDS = (
    "0", "-1", "1", "4096", "4294967296", "18446744073709551615", "18446744073709551616", "99999999999999999999999",
    "0x0", "0xffffffffffffffff", "0x7fffffffffff", "0x800000000000", "00", "07", "NULL", "?", "\x00", "\u0664", "é",
    "PERF_RECORD_MMAP2", "exec", "kB", "{", "}", '"', "<", ">", "(", ")", "|", ",", " ", "\t", "=", "...",
)  # fmt: skip


def some(lines: Sequence[str], number: int) -> list[str]:
    """Return lines of all kinds from the whole of a recording, in order, the beginning of it among them."""
    step = max(1, (len(lines) - number) // number)
    return [*lines[:number], *lines[number::step]]


def damaged_text(lines: Sequence[str], rng: random.Random) -> list[str]:
    """Change, lose, repeat, exchange or cut a few lines."""
    out = list(lines)
    for _ in range(rng.choice((1, 1, 2, 5))):
        at = rng.randrange(len(out))
        line = out[at]
        position = rng.randrange(len(line) + 1)
        match rng.randrange(8):
            case 0:
                out[at] = line[:position]
            case 1:
                out[at] = line[:position] + rng.choice(WORDS) + line[position + rng.randrange(4) :]
            case 2:
                words = line.split(" ")
                words[rng.randrange(len(words))] = rng.choice(WORDS)
                out[at] = " ".join(words)
            case 3:
                numbers = [index for index, letter in enumerate(line) if letter.isdigit()] or [0]
                start = end = rng.choice(numbers)
                while end < len(line) and line[end].isalnum():
                    end += 1
                out[at] = line[:start] + rng.choice(WORDS[:14]) + line[end:]
            case 4:
                del out[at]
                out = out or [""]
            case 5:
                out.insert(rng.randrange(len(out) + 1), line)
            case 6:
                other = rng.randrange(len(out))
                out[at], out[other] = out[other], out[at]
            case 7:
                other_line = rng.choice(out)
                out[at] = line[:position] + other_line[rng.randrange(len(other_line) + 1) :]
    return out


def damaged_bytes(content: bytes, rng: random.Random) -> bytes:
    out = bytearray(content)
    for _ in range(rng.choice((1, 2, 10))):
        at = rng.randrange(len(out))
        match rng.randrange(4):
            case 0:
                out[at] ^= 1 << rng.randrange(8)
            case 1:
                out[at : at + 8] = rng.choice((bytes(8), b"\xff" * 8, (1 << 63).to_bytes(8, "little")))
            case 2:
                del out[at : at + rng.randrange(1, 64)]
            case 3:
                del out[at:]
        if not out:
            break
    return bytes(out)


def perf_lines() -> list[str]:
    with gzip.open(DATA / "traces" / "redis-bgsave-thp.perf.txt.gz", "rt") as stream:
        return some([line.rstrip("\n") for line in stream], 150)


def strace_lines() -> list[str]:
    with gzip.open(DATA / "recordings" / "python-fork.strace.gz", "rt") as stream:
        return [line.rstrip("\n") for line in stream]


TEXTS: dict[str, tuple[Callable[..., Trace], Callable[[], list[str]]]] = {
    "perf script": (import_perf_script, perf_lines),
    "strace": (import_strace, strace_lines),
    "smaps": (import_snapshot, lambda: SMAPS),
}


@pytest.mark.parametrize("kind", TEXTS)
def test_a_damaged_text_names_its_line(kind: str) -> None:
    read, lines_of = TEXTS[kind]
    lines = lines_of()
    read(lines)
    refused = 0
    for seed in range(250 * TIMES):
        text = damaged_text(lines, random.Random(f"{kind} {seed}"))
        try:
            trace = read(text, name="damaged")
        except TraceError as error:
            refused += 1
            assert error.line is not None and 1 <= error.line <= len(text), (seed, str(error))
            assert str(error).startswith(f"damaged:{error.line}: "), seed
            continue
        made = trace.convert(Geometry())
        assert made.scenario.nr_events >= 0
        if not seed % 10:
            replays(trace)
    assert refused > 20  # damage that nobody notices would test nothing


def replays(trace: Trace) -> None:
    """Whatever it says, the model takes it or says why not."""
    try:
        result = simulate(trace, backend="count", strict=False)
    except (ValueError, MemoryError) as error:
        assert str(error)
    else:
        assert result.outcome.total == trace.to_scenario(Geometry()).nr_events


def pieces(path: Path) -> Iterator[tuple[int, bytes]]:
    content = path.read_bytes()
    for seed in range(150 * TIMES):
        yield seed, damaged_bytes(content, random.Random(f"{path.name} {seed}"))


def test_a_damaged_trace_is_refused_or_whole(tmp_path: Path) -> None:
    source = DATA / "traces" / "redis-bgsave-thp.parquet"
    whole = read_trace(source)
    path = tmp_path / "damaged.parquet"
    refused = 0
    for seed, content in pieces(source):
        path.write_bytes(content)
        try:
            found = read_trace(path)
        except TraceError as error:
            refused += 1
            assert "damaged.parquet" in str(error), seed
        else:
            assert (found.rows == whole.rows).all(), seed
    assert refused > 100


def test_a_damaged_gzip_is_refused(tmp_path: Path) -> None:
    source = DATA / "recordings" / "python-fork.strace.gz"
    path = tmp_path / "damaged.strace.gz"
    for seed, content in pieces(source):
        path.write_bytes(content)
        try:
            import_strace(path)
        except TraceError as error:
            assert "damaged.strace.gz" in str(error), seed


def test_damaged_data_of_perf_are_read_as_far_as_they_go(tmp_path: Path, perf_data: Path) -> None:  # noqa: F811
    content = perf_data.read_bytes()
    path = tmp_path / "damaged.data"
    for seed in range(12 * TIMES):
        path.write_bytes(damaged_bytes(content, random.Random(f"perf.data {seed}")))
        try:
            trace = import_perf_data(path)
        except TraceError as error:
            assert "damaged.data" in str(error), seed
        else:
            trace.to_scenario(Geometry())


def test_a_damaged_golden_file_names_its_line(tmp_path: Path) -> None:
    with gzip.open(DATA / "golden" / "6.12.jsonl.gz", "rt") as stream:
        lines = [next(stream).rstrip("\n") for _ in range(60)]
    end = max(number for number, line in enumerate(lines) if line.startswith('{"end"'))
    path = tmp_path / "damaged.jsonl"
    refused = 0
    for seed in range(50 * TIMES):
        path.write_text("\n".join(damaged_text(lines[: end + 1], random.Random(f"golden {seed}"))) + "\n")
        try:
            read_golden(path)
            if not seed % 5:
                compare_golden(path, scenarios=SCENARIOS)
        except GoldenError as error:
            refused += 1
            place, _, rule = str(error).removeprefix(f"{path}:").partition(": ")
            assert (place.isdigit() and int(place) >= 1 and rule) or "no scenario" in str(error), (seed, str(error))
    assert refused > 15


@pytest.mark.parametrize("kind", ["perf script", "strace", "smaps", "parquet", "perf.data"])
def test_on_the_command_line_there_is_one_line_and_no_traceback(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "damaged"
    target = tmp_path / "out.parquet"
    if kind in TEXTS:
        path.write_text("\n".join([*TEXTS[kind][1]()[:5], "\x00 nonsense"]) + "\n")
    else:
        path.write_bytes({"parquet": b"PAR1", "perf.data": b"PERFILE2"}[kind] + bytes(range(256)) * 20)
    words = ["replay", str(path)] if kind == "parquet" else ["import", str(path), "-o", str(target)]
    done = subprocess.run([sys.executable, "-m", "folio_perf", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stdout == ""
    assert len(done.stderr.splitlines()) == 1 and "damaged" in done.stderr
    assert (":6: " in done.stderr) == (kind in TEXTS)
    assert not target.exists()
