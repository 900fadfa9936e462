# SPDX-License-Identifier: BSD-3-Clause
"""tools/setup.sh names what is missing on a machine in one line, with the Debian package that brings it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SETUP = Path(__file__).parents[1] / "tools" / "setup.sh"


def script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def setup(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(SETUP), *arguments], env=os.environ | environment, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )


def test_no_compiler() -> None:
    done = setup("compiler", CC="no-such-compiler")
    assert done.returncode == 1
    assert done.stderr == "folio_perf: no C compiler (no-such-compiler); on Debian: apt install build-essential\n"


def test_compiler_without_libc_headers(tmp_path: Path) -> None:
    cc = script(tmp_path / "cc", 'echo "stdlib.h: No such file or directory" >&2; exit 1')
    done = setup("compiler", CC=cc)
    assert done.returncode == 1
    assert done.stderr == f"folio_perf: {cc} cannot build a C program; on Debian: apt install build-essential\n"


def test_options_in_cc(tmp_path: Path) -> None:
    script(tmp_path / "cc", '[ "$1" = -m64 ]')
    assert setup("compiler", CC=f"{tmp_path}/cc -m64").returncode == 0


@pytest.mark.parametrize(
    ("python", "message"),
    [
        ("exit 127", "Python 3.11 or newer is needed; on Debian 12 or newer: apt install python3"),
        (
            'case "$*" in *version_info\\ \\<*) exit 1;; *) echo 3.9;; esac',
            "Python 3.11 or newer is needed, found only 3.9; on Debian 12 or newer: apt install python3",
        ),
        (
            'case "$*" in *ensurepip*) exit 1;; *print*) echo 3.11;; esac',
            "Python 3.11 has no venv module; on Debian: apt install python3-venv",
        ),
        (
            'case "$*" in *Python.h*) exit 1;; *print*) echo 3.11;; esac',
            "Python 3.11 has no headers; on Debian: apt install python3-dev",
        ),
    ],
    ids=["none", "too old", "no venv", "no headers"],
)
@pytest.mark.parametrize("command", [["venv", "{}", "test"], ["user", "{}"]], ids=["venv", "user"])
def test_python_that_will_not_do(tmp_path: Path, command: list[str], python: str, message: str) -> None:
    venv = tmp_path / "venv"
    done = setup(*(word.format(venv) for word in command), PYTHON=script(tmp_path / "python", python))
    assert (done.returncode, done.stderr) == (1, f"folio_perf: {message}\n")
    assert not venv.exists()


def test_what_is_set_up_already_is_left_alone(tmp_path: Path) -> None:
    """The stamp alone decides: a directory that is no environment, but has it, is not touched."""
    bin_dir = tmp_path / "bin"
    bin_dir.mkdir()
    log = tmp_path / "log"
    script(bin_dir / "python", f'echo "$*" >>{log}; case "$*" in *requirements*) exit 0;; esac')
    for _ in range(2):
        done = setup("venv", str(tmp_path), "test", PYTHON=sys.executable)
        assert done.returncode == 0, done.stderr
    calls = log.read_text().splitlines()
    assert len([call for call in calls if "install" in call]) == 1


def test_unknown_command() -> None:
    done = setup("everything")
    assert done.returncode == 1
    assert done.stderr.startswith("folio_perf: setup.sh: ")
