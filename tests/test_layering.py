# SPDX-License-Identifier: BSD-3-Clause
"""Which room may know which: reads every #include of csrc and every import of folio_perf.

The tables below are the picture of docs/architecture.md. An arrow that is not drawn there is a failure; levels may be
skipped, so a room also knows what the rooms it knows know.
"""

from __future__ import annotations

import ast
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[1]
CSRC = TOP / "csrc"
PACKAGE = TOP / "folio_perf"

# Room -> the rooms it includes. hw may include schemes, mm never: it calls them through mm/rmap_hooks.h.
C_ARROWS: dict[str, set[str]] = {
    "core": set(),
    "memmap": {"core"},
    "cache": {"core"},
    "access": {"memmap", "cache"},
    "mm": {"access"},
    "consumer": {"mm"},
    "scheme": {"mm"},
    "engine": {"consumer", "scheme"},
    "hw": {"mm", "scheme"},
    "live": set(),
    "tests": {"engine", "hw", "live"},
}

# Plain data: imports nothing of ours, anyone may import it.
PLAIN = {"geometry", "machine", "profile", "results"}

PYTHON_ARROWS: dict[str, set[str]] = {
    "geometry": set(),
    "machine": set(),
    "profile": set(),
    "results": set(),
    "_native": set(),
    "cache": {"_native"},
    "cache_files": {"cache"},
    "cost": {"machine"},
    "scenario": {"geometry", "_native"},
    "schemes": {"profile", "_native"},
    "custom": {"schemes"},
    "workloads": {"scenario"},
    "traces": {"scenario"},
    "_simulation": {"scenario", "schemes", "machine", "geometry", "profile", "_native"},
    "simulate": {"_simulation", "cost", "traces", "workloads"},
    "compare": {"simulate"},
    "record": {"traces"},
    "replay": {"compare"},
    "claims": {"simulate"},
    "explain": {"simulate"},
    "contention": {"simulate"},
    "catastrophes": {"simulate"},
    "sweep": {"simulate", "cost", "workloads"},
    "hw": {"simulate", "compare", "contention"},
    "live": {"simulate", "compare", "validation"},
    "validation": {"simulate", "compare"},
    "plotting": {"results"},
    "report": {"results"},
    "__init__": {"cache", "catastrophes", "claims", "compare", "contention", "custom", "explain", "sweep", "traces"}
    | {"workloads"},
    "cli": {"__init__", "record", "replay", "cache_files", "report", "plotting", "hw", "live", "validation"},
    "__main__": {"cli"},
}

# Parts of a room that has outgrown one file are private to it: _scenario_text.py belongs to scenario, _trace_format.py
# to traces. Those named otherwise stand here.
PART_OF = {"_perf_script": "traces", "_strace_log": "traces"}

# Package -> the rooms that may import it.
THIRD_PARTY = {"matplotlib": {"plotting"}, "numba": {"custom", "workloads"}}

# The rooms whose C code may look at a clock; engine, because a native replay is timed where it runs.
TIMED_ROOMS = {"hw", "live", "engine", "tests"}

BACKENDS = ("COUNT", "CACHE", "NATIVE")
# Included at the end of access/access.h and nowhere else, one per back end, on top of what stands there.
FRAGMENTS = {f"access/access_{name}.h" for name in ("count", "cache", "native", "plain")}


def reachable(arrows: dict[str, set[str]], room: str) -> set[str]:
    """All rooms that ``room`` may know: levels may be skipped."""
    seen: set[str] = set()
    waiting = [room]
    while waiting:
        new = arrows[waiting.pop()] - seen
        seen |= new
        waiting += new
    return seen


@pytest.mark.parametrize("arrows", [C_ARROWS, PYTHON_ARROWS], ids=["C", "Python"])
def test_picture_has_no_cycle(arrows: dict[str, set[str]]) -> None:
    assert {room for room in arrows if room in reachable(arrows, room)} == set()


def c_files(pattern: str) -> list[Path]:
    return sorted(CSRC.rglob(pattern))


@cache
def includes(path: Path) -> tuple[str, ...]:
    """What a file includes of ours: #include "room/file.h"."""
    return tuple(re.findall(r'^\s*#\s*include\s+"([^"]+)"', path.read_text(), re.MULTILINE))


def test_every_include_is_an_arrow() -> None:
    wrong = []
    for path in c_files("*.[ch]"):
        room = path.relative_to(CSRC).parts[0]
        if room not in C_ARROWS:
            wrong.append(f"{path.relative_to(TOP)}: csrc/{room} is not in the picture")
            continue
        allowed = reachable(C_ARROWS, room) | {room}
        for included in includes(path):
            if not (CSRC / included).is_file():
                wrong.append(f"{path.relative_to(TOP)}: {included} is not a path below csrc")
            elif included.split("/")[0] not in allowed:
                wrong.append(f"{path.relative_to(TOP)}: {room} must not include {included}")
    assert not wrong, "\n".join(wrong)


def test_back_end_fragments_are_included_by_access_alone() -> None:
    users = {path.relative_to(CSRC).as_posix() for path in c_files("*.[ch]") if FRAGMENTS & set(includes(path))}
    assert users <= {"access/access.h"} | FRAGMENTS


def test_c_file_names_are_unique() -> None:
    names = [path.name for path in c_files("*.c")]
    assert sorted(names) == sorted(set(names))


def test_c_knows_no_time_except_where_it_measures() -> None:
    clock = re.compile(r"#\s*include\s+<(?:sys/)?time\.h>|\bclock_gettime\b|\bgettimeofday\b|__rdtsc")
    users = {path for path in c_files("*.[ch]") if clock.search(path.read_text())}
    assert {path for path in users if path.relative_to(CSRC).parts[0] not in TIMED_ROOMS} == set()


def source_lists() -> dict[str, list[str]]:
    lines = (CSRC / "sources.mk").read_text().splitlines()
    pairs = [line.split(":=", 1) for line in lines if ":=" in line and not line.startswith("#")]
    return {name.strip(): words.split() for name, words in pairs}


def test_globs_of_the_build_find_every_c_file() -> None:
    lists = source_lists()
    found = {path for glob in lists["FPERF_SOURCES"] for path in TOP.glob(glob)}
    left_out = {path for glob in lists["FPERF_NOT_SOURCES"] for path in TOP.glob(glob)}
    assert found == set(c_files("*.c"))
    assert {path for path in left_out if path.parent != CSRC / "tests"} == set()


def closure(header: str) -> set[str]:
    """The headers of ours that ``header`` brings in, itself among them."""
    seen: set[str] = set()
    waiting = [header]
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting += includes(CSRC / name)
    return seen


CC = shlex.split(os.environ.get("CC", "cc"))


@pytest.mark.skipif(not shutil.which(CC[0]), reason=f"needs the C compiler {CC[0]}")
@pytest.mark.parametrize("backend", ["", *BACKENDS])
def test_every_header_compiles_alone(backend: str, tmp_path: Path) -> None:
    units = []
    for path in c_files("*.h"):
        header = path.relative_to(CSRC).as_posix()
        # Headers above the access room are compiled once per back end, all others without one.
        if header in FRAGMENTS or ("access/access.h" in closure(header)) != bool(backend):
            continue
        unit = tmp_path / f"{header.replace('/', '_')}.c"
        # Twice: the include guard is part of it.
        unit.write_text(f'#include "{header}"\n#include "{header}"\n')
        units.append(str(unit))
    assert units
    flags = [flag for flag in source_lists()["FPERF_CFLAGS"] if flag != "-Icsrc"]
    define = [f"-DFPERF_BACKEND_{backend}"] if backend else []
    command = [*CC, *flags, f"-I{CSRC}", "-Werror", "-Wno-unused-function", *define, "-fsyntax-only", *units]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def part_of(module: str) -> str | None:
    """The room a private module is a part of."""
    if module.startswith("_") and module not in PYTHON_ARROWS:
        word = module.split("_")[1]
        return PART_OF.get(module) or next((room for room in (word, f"{word}s") if room in PYTHON_ARROWS), None)
    return None


def python_modules() -> Iterator[tuple[str, Path]]:
    """All (room, file) of folio_perf."""
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).with_suffix("").parts[0]
        yield part_of(name) or name, path


def imported(path: Path) -> Iterator[str]:
    """Dotted names a file imports, wherever in it the import stands; of ours always with what is taken from it."""
    package = path.relative_to(TOP).with_suffix("").parts[:-1]
    for node in ast.walk(ast.parse(path.read_text(), path.name)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = list(package[: len(package) - node.level + 1]) if node.level else []
            base += node.module.split(".") if node.module else []
            if base[0] == "folio_perf":
                yield from (".".join([*base, alias.name]) for alias in node.names)
            else:
                yield ".".join(base)


def room_of(name: str) -> str:
    """Room of a dotted name below folio_perf; a name that is no module is one of the public names."""
    first = name.split(".")[1] if "." in name else "__init__"
    is_module = (PACKAGE / first).is_dir() or (PACKAGE / f"{first}.py").is_file()
    return part_of(first) or first if is_module else "__init__"


def test_every_import_is_an_arrow() -> None:
    wrong = []
    for room, path in python_modules():
        where = path.relative_to(TOP)
        if room not in PYTHON_ARROWS:
            wrong.append(f"{where}: {room} is not in the picture")
            continue
        allowed = reachable(PYTHON_ARROWS, room) | {room} | (set() if room in PLAIN else PLAIN)
        for name in imported(path):
            package = name.split(".")[0]
            if package == "folio_perf":
                private = part_of(name.split(".")[1]) if "." in name else None
                if room_of(name) not in allowed or private not in (None, room):
                    wrong.append(f"{where}: {room} must not import {name}")
            if room not in THIRD_PARTY.get(package, {room}):
                wrong.append(f"{where}: only {' and '.join(sorted(THIRD_PARTY[package]))} may import {package}")
    assert not wrong, "\n".join(wrong)


def test_the_membrane_imports_nothing_of_ours() -> None:
    line = re.compile(r"^\s*(?:from|c?import)\s+(folio_perf[\w.]*)", re.MULTILINE)
    for path in sorted((PACKAGE / "_native").glob("*.p[yx][xdi]")):
        names = line.findall(path.read_text())
        assert [name for name in names if not name.startswith("folio_perf._native")] == [], path


def test_plain_data_is_plain() -> None:
    assert {room for room in PLAIN if PYTHON_ARROWS[room]} == set()
