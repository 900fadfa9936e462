# SPDX-License-Identifier: BSD-3-Clause
"""tools/check_inline.py finds indirect calls, and only those."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[1] / "tools" / "check_inline.py"
CC = shlex.split(os.environ.get("CC", "cc"))

pytestmark = pytest.mark.skipif(
    not (shutil.which(CC[0]) and shutil.which("objdump")), reason="needs a C compiler and objdump"
)

TABLE = "struct ops { int (*ask)(int); }; int outside(int);\n"
CLEAN = {
    "by name": "int hook(int x) { return outside(x) + 1; }",
    "tail call by name": "int hook(int x) { return outside(x); }",
    "a switch": "int hook(int x, int *p) { switch (x) { case 0: return *p; case 1: return -9; case 2: return *p * 7;"
    " case 3: return 8; case 4: return *p / 3; case 5: return 77; default: return 1; } }",
}
INDIRECT = {
    "through a table": "int hook(const struct ops *ops) { return ops->ask(1) + 1; }",
    "tail call": "int hook(const struct ops *ops) { return ops->ask(1); }",
    "in a function a hook calls": "static __attribute__((noinline)) int far(const struct ops *ops) {"
    " return ops->ask(1) + 1; } int hook(const struct ops *ops) { return far(ops) + 2; }",
}


def check(source: str, where: Path, *cflags: str) -> subprocess.CompletedProcess[str]:
    unit = where / "hook.c"
    unit.write_text(TABLE + source)
    target = unit.with_suffix(".o")
    subprocess.run([*CC, "-O2", "-fPIC", "-fno-jump-tables", *cflags, "-c", str(unit), "-o", str(target)], check=True)
    return subprocess.run([sys.executable, str(TOOL), "-v", str(target)], capture_output=True, text=True)


@pytest.mark.parametrize("source", CLEAN.values(), ids=CLEAN.keys())
@pytest.mark.parametrize("cflags", [[], ["-fno-plt"]], ids=["plt", "no-plt"])
def test_accepts(source: str, cflags: list[str], tmp_path: Path) -> None:
    done = check(source, tmp_path, *cflags)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 indirect calls" in done.stdout


@pytest.mark.parametrize("source", INDIRECT.values(), ids=INDIRECT.keys())
def test_finds(source: str, tmp_path: Path) -> None:
    done = check(source, tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert " 1 indirect calls" in done.stdout


def test_nothing_to_check_is_an_error(tmp_path: Path) -> None:
    assert check("", tmp_path).returncode == 1
