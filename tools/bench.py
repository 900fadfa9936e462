#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Run the benchmarks of asv_bench in this process and print what they say; fails if none said anything.

bench.py [WORD...]      only those whose name holds one of the words
"""

from __future__ import annotations

import importlib
import inspect
import itertools
import statistics
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

BENCHMARKS = Path(__file__).resolve().parents[1] / "asv_bench"
TIMED_RUNS = 5


def cases(words: list[str]) -> list[tuple[str, type, str, tuple[Any, ...]]]:
    """(name, class, method, parameters) of every case."""
    found = []
    for file in sorted((BENCHMARKS / "benchmarks").glob("bench_*.py")):
        module = importlib.import_module(f"benchmarks.{file.stem}")
        classes: list[tuple[str, Any]] = inspect.getmembers(module, inspect.isclass)
        for name, benchmark in classes:
            if benchmark.__module__ != module.__name__ or name.startswith("_"):
                continue
            methods = [each for each in dir(benchmark) if each.startswith(("time_", "track_"))]
            for method, parameters in itertools.product(methods, itertools.product(*benchmark.params)):
                label = f"{name}.{method} {' '.join(map(str, parameters))}"
                if not words or any(word in label for word in words):
                    found.append((label, benchmark, method, parameters))
    return found


def measure(benchmark: type, method: str, parameters: tuple[Any, ...]) -> tuple[float, float, str]:
    """Median, half the spread, unit."""
    values = []
    unit = "ms"
    for _ in range(1 if method.startswith("track_") else TIMED_RUNS):
        instance = benchmark()
        instance.setup(*parameters)
        call = getattr(instance, method)
        start = perf_counter()
        value = call(*parameters)
        elapsed = perf_counter() - start
        if method.startswith("track_"):
            unit = getattr(getattr(benchmark, method), "unit", "")
            values.append(float(value))
        else:
            values.append(1e3 * elapsed)
    return statistics.median(values), (max(values) - min(values)) / 2, unit


def main(words: list[str]) -> int:
    """Print a line per case."""
    sys.path.insert(0, str(BENCHMARKS))
    chosen = cases(words)
    for label, benchmark, method, parameters in chosen:
        median, spread, unit = measure(benchmark, method, parameters)
        print(f"{label:<62} {median:12.3f} +-{spread:8.3f} {unit}", flush=True)
    if not chosen:
        print(f"no benchmark of that name: {' '.join(words)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
