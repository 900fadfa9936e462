# SPDX-License-Identifier: BSD-3-Clause
"""Recorded workloads: what real programs asked of the kernel, kept as Parquet, replayed as scenarios.

`import_perf_script` reads a recording, `write_trace` and `read_trace` keep it, `Trace.to_scenario`
turns it into events of the model. `iter_batches` and `iter_events` do the same piece by piece, for
traces larger than memory. ``docs/traces.md`` describes the file format and every rule of conversion.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from folio_perf._perf_script import PerfScriptReader
from folio_perf._strace_log import STRACE_CALLS, StraceReader
from folio_perf._trace_builder import RowBuilder
from folio_perf._trace_data import Conversion, Trace
from folio_perf._trace_events import Converter
from folio_perf._trace_format import (
    FORMAT_VERSION,
    OPS,
    TRACE_DTYPE,
    USER_END,
    TraceError,
    TraceHeader,
    TraceObject,
)
from folio_perf._trace_import import RowSource, import_perf_script, import_snapshot, import_strace, text_source
from folio_perf._trace_parquet import ROW_GROUP_ROWS, TraceFile, TraceWriter
from folio_perf._trace_snapshot import PageEntries, Vma, parse_vma
from folio_perf.geometry import Geometry
from folio_perf.scenario import ScenarioDigest

__all__ = [
    "FORMAT_VERSION",
    "OPS",
    "STRACE_CALLS",
    "TRACE_DTYPE",
    "USER_END",
    "Conversion",
    "PageEntries",
    "PerfScriptReader",
    "RowBuilder",
    "RowSource",
    "StraceReader",
    "Trace",
    "TraceError",
    "TraceHeader",
    "TraceObject",
    "TraceSummary",
    "Vma",
    "import_perf_script",
    "import_snapshot",
    "import_strace",
    "iter_batches",
    "iter_events",
    "load_trace",
    "parse_vma",
    "read_header",
    "read_trace",
    "shipped_trace",
    "summarize_trace",
    "text_source",
    "trace_names",
    "write_trace",
]


# ---- Parquet -------------------------------------------------------------------------------------


def write_trace(trace: Trace, path: str | Path, *, row_group_rows: int = ROW_GROUP_ROWS) -> None:
    """Write a trace as Parquet (zstd), readable row group by row group; all of it or nothing.

    Parameters
    ----------
    trace : Trace
    path : str or Path
    row_group_rows : int
        Rows a reader has to hold at once.

    Raises
    ------
    ValueError
        If `row_group_rows` is not positive.
    OSError
        If the file cannot be written.
    """
    with TraceWriter(path, row_group_rows=row_group_rows) as writer:
        writer.write(trace.rows)
        writer.finish(trace.header)


def read_header(path: str | Path) -> TraceHeader:
    """Read what a Parquet trace says about itself, without its rows.

    Raises
    ------
    TraceError
        If the file is no trace, is damaged, or has a format version this program does not know.
    """
    return TraceFile(path).header


def iter_batches(path: str | Path, *, max_rows: int = ROW_GROUP_ROWS) -> Iterator[NDArray[np.void]]:
    """Yield the rows of a Parquet trace piece by piece.

    Parameters
    ----------
    path : str or Path
    max_rows : int
        Rows per piece, at most. Memory stays within one row group.

    Yields
    ------
    TRACE_DTYPE, shape (nr_rows,)

    Raises
    ------
    TraceError
        As `read_trace`; damage is found when its piece is reached.
    """
    if max_rows <= 0:
        raise ValueError(f"max_rows {max_rows} must be positive")
    yield from TraceFile(path).batches(max_rows)


def iter_events(path: str | Path, geometry: Geometry, *, max_rows: int = ROW_GROUP_ROWS) -> Iterator[NDArray[np.void]]:
    """Yield the events of a Parquet trace piece by piece: those of `Trace.to_scenario`, in order.

    Parameters
    ----------
    path : str or Path
    geometry : Geometry
        Of the modelled machine.
    max_rows : int
        Rows per piece, at most.

    Yields
    ------
    EVENT_DTYPE, shape (nr_events,)

    Raises
    ------
    TraceError
        As `read_trace` and `Trace.to_scenario`.
    """
    if max_rows <= 0:
        raise ValueError(f"max_rows {max_rows} must be positive")
    file = TraceFile(path)
    converter = Converter(file.header, geometry, source=file.source)
    for rows in file.batches(max_rows):
        yield converter.feed(rows)[0]


def read_trace(path: str | Path, *, name: str = "") -> Trace:
    """Read a Parquet trace.

    Parameters
    ----------
    path : str or Path
    name : str
        Of the trace; default the file name without its suffix.

    Raises
    ------
    TraceError
        If the file is no trace, is damaged, or has a format version this program does not know.
    """
    file = TraceFile(path)
    batches = list(file.batches(ROW_GROUP_ROWS))
    rows = np.concatenate(batches) if batches else np.empty(0, dtype=TRACE_DTYPE)
    return Trace(
        name=name or Path(path).name.removesuffix(".parquet"), header=file.header, rows=rows, source=file.source
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceSummary:
    """What a trace holds.

    Attributes
    ----------
    header : TraceHeader
    nr_rows : int
    operations : dict of str to int
        Rows by operation, in the order of `OPS`.
    seconds : float
        From the first row to the last, by the recording's clock.
    nr_processes, nr_events : int
        Of the scenario at the recorded page size.
    dropped, assumed : dict of str to int
        Of the conversion to that scenario.
    scenario_hash : str
        As `Scenario.hash`.
    """

    header: TraceHeader
    nr_rows: int
    operations: dict[str, int]
    seconds: float
    nr_processes: int
    nr_events: int
    dropped: dict[str, int]
    assumed: dict[str, int]
    scenario_hash: str


def summarize_trace(path: str | Path) -> TraceSummary:
    """Say what a Parquet trace holds, reading it piece by piece.

    Raises
    ------
    TraceError
        As `read_trace` and `Trace.to_scenario`.
    """
    file = TraceFile(path)
    converter = Converter(file.header, Geometry(page_size_bytes=file.header.page_size_bytes), source=file.source)
    digest = ScenarioDigest(objects=converter.objects(0), strict=False)
    counts = np.zeros(len(OPS), dtype=np.int64)
    first_ns: int | None = None
    last_ns = nr_events = 0
    for rows in file.batches(ROW_GROUP_ROWS):
        if not rows.size:
            continue
        counts += np.bincount(rows["op"], minlength=len(OPS))
        first_ns = int(rows["time_ns"][0]) if first_ns is None else first_ns
        last_ns = int(rows["time_ns"][-1])
        events, _ = converter.feed(rows)
        digest.update(events)
        nr_events += events.size
    return TraceSummary(
        header=file.header,
        nr_rows=int(counts.sum()),
        operations={name: int(counts[code]) for code, name in enumerate(OPS) if counts[code]},
        seconds=(last_ns - (first_ns or 0)) / 1e9,
        nr_processes=len(converter.processes),
        nr_events=nr_events,
        dropped=dict(sorted(converter.dropped.items())),
        assumed=dict(sorted(converter.assumed.items())),
        scenario_hash=digest.hexdigest(),
    )


# ---- traces that ship ----------------------------------------------------------------------------


def trace_names() -> tuple[str, ...]:
    """Return the names of the traces that ship with the package."""
    folder = resources.files("folio_perf") / "data" / "traces"
    names = (entry.name for entry in folder.iterdir()) if folder.is_dir() else ()
    return tuple(sorted(name.removesuffix(".parquet") for name in names if name.endswith(".parquet")))


def load_trace(name: str) -> Trace:
    """Read a trace that ships with the package.

    Raises
    ------
    ValueError
        If no trace has that name.
    """
    if name not in trace_names():
        raise ValueError(f"no trace {name!r}; there are: {', '.join(trace_names())}")
    with shipped_trace(name) as path:
        return read_trace(path, name=name)


@contextmanager
def shipped_trace(name: str) -> Iterator[Path]:
    """Give the file of a trace that ships with the package, for as long as the context lasts."""
    with resources.as_file(resources.files("folio_perf") / "data" / "traces" / f"{name}.parquet") as path:
        yield path
