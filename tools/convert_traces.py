# SPDX-License-Identifier: BSD-3-Clause
"""Make the Parquet traces of this repository from the text that perf script printed.

    python tools/convert_traces.py RECORDINGS

RECORDINGS holds NAME.perf.txt.gz for each workload below; docs/traces.md says how they are recorded. The results
replace tests/data/traces/NAME.parquet and, for the demo's input, folio_perf/data/traces/NAME.parquet. They are the same
to the byte for the same input and the same version of pyarrow.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from folio_perf.geometry import Geometry
from folio_perf.traces import TraceError, import_perf_script, write_trace

ROOT = Path(__file__).resolve().parent.parent
KERNEL = "6.18"
WORKLOADS = {
    "make-j4": "make -j4: gcc compiles 24 C files",
    "pool": "Python multiprocessing, 8 forked workers write to inherited memory",
    "redis-bgsave": "redis with 100k keys, BGSAVE while clients write",
    "redis-bgsave-thp": "redis with 100k keys, allocator on THP, BGSAVE while clients write",
}
SHIPPED = "redis-bgsave-thp"


def convert(recording: Path, target: Path, command: str) -> None:
    """Convert one recording and print what became of it."""
    trace = import_perf_script(recording, kernel=KERNEL, command=command)
    write_trace(trace, target)
    conversion = trace.convert(Geometry())
    print(f"{target.name}: {trace.header.lines_read} lines, {trace.rows.size} rows, {target.stat().st_size} bytes")
    print(f"  rows: {trace.counts()}")
    print(f"  dropped: {dict(trace.dropped)}")
    print(f"  assumed: {dict(trace.header.assumed) | dict(conversion.assumed)}")
    print(f"  events: {conversion.scenario.nr_events}, processes: {len(conversion.scenario.processes)}")


def main() -> int:
    """Convert every workload."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recordings", type=Path, metavar="RECORDINGS")
    recordings = parser.parse_args().recordings
    tested = ROOT / "tests" / "data" / "traces"
    shipped = ROOT / "folio_perf" / "data" / "traces"
    tested.mkdir(parents=True, exist_ok=True)
    shipped.mkdir(parents=True, exist_ok=True)
    try:
        for name, command in WORKLOADS.items():
            convert(recordings / f"{name}.perf.txt.gz", tested / f"{name}.parquet", command)
    except TraceError as error:
        print(error, file=sys.stderr)
        return 1
    shutil.copyfile(tested / f"{SHIPPED}.parquet", shipped / f"{SHIPPED}.parquet")
    return 0


if __name__ == "__main__":
    sys.exit(main())
