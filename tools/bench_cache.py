#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Caches side by side with pycachesim: reads of each trace through config A, in turn, medians of five.

bench_cache.py [ACCESSES]      2,000,000 unless told

pycachesim is installed into build/peers; where it cannot be had, our own figures stand alone. Its misses must be ours:
with reads only the two models agree, and the comparison is refused if they do not.
"""

from __future__ import annotations

import importlib
import statistics
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from time import perf_counter

import numpy as np

from folio_perf import CacheHierarchy

TOP = Path(__file__).resolve().parents[1]
BENCHMARKS = TOP / "asv_bench"
PEERS = TOP / "build" / "peers"
ROUNDS = 5


def peer_python() -> Path | None:
    """Python of an environment that has pycachesim, or None."""
    python = PEERS / "bin" / "python"
    try:
        if not python.exists():
            venv.create(PEERS, with_pip=True)
        if subprocess.run([python, "-c", "import cachesim, numpy"], capture_output=True, check=False).returncode:
            options = ["-qq", "--disable-pip-version-check"]
            subprocess.run([str(python), "-m", "pip", "install", *options, "pycachesim", "numpy"], check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"pycachesim skipped: it cannot be installed here: {error}")
        return None
    return python


def main(nr: int) -> int:
    """Print a row per trace."""
    sys.path.insert(0, str(BENCHMARKS))
    config_a = importlib.import_module("benchmarks.bench_cache").CONFIG_A
    traces = importlib.import_module("benchmarks.cache_traces")
    python = peer_python()
    print(f"reads of {nr} accesses, ns per access, median of {ROUNDS}, in turn")
    print(f"{'trace':<6}{'ours':>9}{'pycachesim':>12}{'ratio':>8}")
    with tempfile.TemporaryDirectory() as directory:
        for name in traces.TRACES:
            addresses, _ = traces.trace(name, nr)
            path = Path(directory) / f"{name}.npy"
            np.save(path, addresses)
            caches = CacheHierarchy(config_a)
            ours, theirs = [], []
            misses: list[list[int]] = []
            for _ in range(ROUNDS):
                caches.reset()
                start = perf_counter()
                caches.access(addresses)
                ours.append(1e9 * (perf_counter() - start) / nr)
                if python:
                    peer = TOP / "tools" / "pycachesim_peer.py"
                    answer = subprocess.run(
                        [python, peer], input=f"{path}\n", capture_output=True, text=True, check=True
                    ).stdout.split()
                    theirs.append(float(answer[0]))
                    misses.append([int(each) for each in answer[1:]])
            expected = [level["misses"] for level in caches.stats().to_dict().values()]
            if any(each != expected for each in misses):
                print(f"trace {name}: misses {misses[0]} of pycachesim are not ours, {expected}", file=sys.stderr)
                return 1
            own = statistics.median(ours)
            peer_ns = statistics.median(theirs) if theirs else None
            print(f"{name:<6}{own:>9.2f}" + (f"{peer_ns:>12.1f}{peer_ns / own:>8.1f}" if peer_ns else ""), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 2_000_000))
