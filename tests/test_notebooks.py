# SPDX-License-Identifier: BSD-3-Clause
"""Every notebook runs from start to end, in a kernel of its own, and draws something."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).resolve().parents[1] / "notebooks").glob("*.py"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(path: Path, tmp_path: Path) -> None:
    made = tmp_path / f"{path.stem}.ipynb"
    subprocess.run([sys.executable, "-m", "jupytext", "--quiet", "--to", "ipynb", "-o", made, path], check=True)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--nbmake", "--overwrite", made]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:]
    outputs = [each for cell in json.loads(made.read_text())["cells"] for each in cell.get("outputs", [])]
    assert sum("image/png" in each.get("data", {}) for each in outputs) >= 4


def test_there_are_notebooks() -> None:
    assert NOTEBOOKS
