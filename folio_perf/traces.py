# SPDX-License-Identifier: BSD-3-Clause
"""Recorded workloads: what real programs asked of the kernel, kept as Parquet, replayed as scenarios.

`import_perf_script` reads a recording, `write_trace` and `read_trace` keep it, `Trace.to_scenario`
turns it into events of the model. `iter_batches` and `iter_events` do the same piece by piece, for
traces larger than memory. ``docs/traces.md`` describes the file format and every rule of conversion.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from folio_perf._perf_script import PerfScriptReader
from folio_perf._trace_events import Converter
from folio_perf._trace_format import (
    FORMAT_VERSION,
    OPS,
    TRACE_DTYPE,
    TraceError,
    TraceHeader,
    TraceObject,
    check_rows,
)
from folio_perf._trace_parquet import COMPRESSION_LEVEL, ROW_GROUP_ROWS, TraceFile, TraceWriter
from folio_perf._trace_rows import LineReader, RowBuilder, rows_of_lines
from folio_perf.geometry import Geometry
from folio_perf.scenario import Scenario, ScenarioDigest

__all__ = [
    "FORMAT_VERSION",
    "OPS",
    "TRACE_DTYPE",
    "Conversion",
    "PerfScriptReader",
    "RowBuilder",
    "RowSource",
    "Trace",
    "TraceError",
    "TraceHeader",
    "TraceObject",
    "TraceSummary",
    "import_perf_script",
    "iter_batches",
    "iter_events",
    "load_trace",
    "read_header",
    "read_trace",
    "shipped_trace",
    "summarize_trace",
    "text_source",
    "trace_names",
    "write_trace",
]


@dataclass(frozen=True, kw_only=True, eq=False)
class Conversion:
    """A scenario made from a trace, and what was left out of it.

    Attributes
    ----------
    scenario : Scenario
    rows : int64, shape (nr_events,)
        Row of the trace behind each event; -1 for those that set the stage.
    dropped : Mapping[str, int]
        Rows that became no event, by reason.
    assumed : Mapping[str, int]
        Events that rest on an assumption, by reason.
    """

    scenario: Scenario
    rows: NDArray[np.int64]
    dropped: Mapping[str, int]
    assumed: Mapping[str, int]


@dataclass(frozen=True, kw_only=True, eq=False)
class Trace:
    """A recorded workload.

    Attributes
    ----------
    name : str
    header : TraceHeader
        Origin, objects and counts.
    rows : TRACE_DTYPE, shape (nr_rows,)
        The recorded events in time order, read-only. Addresses, lengths and offsets are bytes.
    source : str
        File the trace came from.
    """

    name: str
    header: TraceHeader
    rows: NDArray[np.void]
    source: str = ""

    def __post_init__(self) -> None:
        if self.rows.dtype != TRACE_DTYPE or self.rows.ndim != 1:
            raise ValueError(f"rows of shape {self.rows.shape}, {self.rows.dtype}: need one dimension of TRACE_DTYPE")
        check_rows(self.rows, self.header, source=self.source or self.name, first=0)
        rows = self.rows.view()
        rows.flags.writeable = False
        object.__setattr__(self, "rows", rows)

    def counts(self) -> dict[str, int]:
        """Return the number of rows by operation, in the order of `OPS`."""
        counts = np.bincount(self.rows["op"], minlength=len(OPS))
        return {name: int(counts[code]) for code, name in enumerate(OPS) if counts[code]}

    def convert(self, geometry: Geometry, *, file_order: int = 0) -> Conversion:
        """Turn the trace into a scenario and say what was left out.

        Parameters
        ----------
        geometry : Geometry
            Of the modelled machine; see ``docs/traces.md`` for pages larger than the recorded ones.
        file_order : int
            Order of the folios that the page cache uses for files; a trace does not know it.

        Raises
        ------
        TraceError
            If a row belongs to a process that nobody started.
        """
        if not 0 <= file_order <= geometry.max_order:
            raise ValueError(f"file order {file_order} must be between 0 and {geometry.max_order}")
        converter = Converter(self.header, geometry, source=self.source or self.name)
        events, rows = converter.feed(self.rows)
        scenario = Scenario(
            name=self.name,
            events=events,
            objects=converter.objects(file_order),
            processes=converter.processes,
            lines=(rows + 1).astype(np.int32),
            source=self.source or self.name,
            description=self.header.command,
            strict=False,
        )
        return Conversion(
            scenario=scenario,
            rows=rows,
            dropped=MappingProxyType(dict(sorted(converter.dropped.items()))),
            assumed=MappingProxyType(dict(sorted(converter.assumed.items()))),
        )

    def to_scenario(self, geometry: Geometry, *, file_order: int = 0) -> Scenario:
        """Turn the trace into a scenario; `convert` also says what was left out."""
        return self.convert(geometry, file_order=file_order).scenario

    @cached_property
    def dropped(self) -> Mapping[str, int]:
        """Records left out by reason: at import, and in conversion at the recorded page size."""
        counts = dict(self.header.dropped)
        for reason, number in self.convert(Geometry(page_size_bytes=self.header.page_size_bytes)).dropped.items():
            counts[reason] = counts.get(reason, 0) + number
        return MappingProxyType(dict(sorted(counts.items())))


# ---- import --------------------------------------------------------------------------------------


class RowSource:
    """A recording on its way to being a trace: rows piece by piece, and a header at the end.

    Parameters
    ----------
    reader : LineReader
    lines : iterable of str
        What it reads.
    name : str
        Of the trace.
    source : str
        File name, or what the lines came from; named in errors.
    origin : str
        See `TraceHeader`.
    """

    def __init__(self, reader: LineReader, lines: Iterable[str], *, name: str, source: str, origin: str) -> None:
        self.name = name
        self.source = source
        self._reader = reader
        self._lines = lines
        self._origin = origin

    @classmethod
    def of_text(cls, reader: LineReader, lines: str | Path | Iterable[str], *, what: str, name: str) -> RowSource:
        """Read a file, gzip-compressed or not, or lines; `what` they are becomes part of the origin."""
        if isinstance(lines, str | Path):
            path = Path(lines)
            source, stream = path.name, text_lines(path)
            name = name or _without_suffixes(source)
        else:
            source, stream = name or "lines", iter(lines)
            name = name or "trace"
        return cls(reader, stream, name=name, source=source, origin=f"{what}, {source}")

    def __iter__(self) -> Iterator[NDArray[np.void]]:
        """Yield the rows, TRACE_DTYPE, once; raise TraceError where a line breaks a rule."""
        return rows_of_lines(self._reader, self._lines, source=self.source)

    @property
    def header(self) -> TraceHeader:
        """What has been read so far; complete once all rows have been yielded."""
        return self._reader.header(origin=self._origin)

    def to_trace(self) -> Trace:
        """Read all of it."""
        pieces = list(self)
        rows = np.concatenate(pieces) if pieces else np.empty(0, dtype=TRACE_DTYPE)
        return Trace(name=self.name, header=self.header, rows=rows, source=self.source)

    def to_file(self, path: str | Path, *, compression_level: int = COMPRESSION_LEVEL) -> TraceHeader:
        """Write the trace as it is read, all of it or nothing; memory does not grow with it.

        Raises
        ------
        TraceError
            Where a line breaks a rule.
        OSError
            If the file cannot be written.
        """
        with TraceWriter(path, compression_level=compression_level) as writer:
            for rows in self:
                writer.write(rows)
            header = self.header
            writer.finish(header)
        return header


def _without_suffixes(file_name: str) -> str:
    for suffix in (".gz", ".txt", ".data", ".perf", ".strace", ".smaps"):
        file_name = file_name.removesuffix(suffix)
    return file_name


def import_perf_script(
    lines: str | Path | Iterable[str],
    *,
    name: str = "",
    kernel: str = "",
    command: str = "",
    page_size_bytes: int = 4096,
) -> Trace:
    """Read a recording: the text of ``perf script --show-mmap-events --show-task-events``.

    Parameters
    ----------
    lines : str, Path or iterable of str
        A file, gzip-compressed or not, or the lines themselves.
    name : str
        Of the trace; default the file name without its suffixes.
    kernel, command : str
        What was recorded, where the text does not say so itself (``perf script --header``).
    page_size_bytes : int
        Base page size of the recorded machine.

    Raises
    ------
    TraceError
        If the file cannot be read, or a line breaks a rule; it names the line and the rule.
    """
    return text_source(lines, name=name, kernel=kernel, command=command, page_size_bytes=page_size_bytes).to_trace()


def text_source(
    lines: str | Path | Iterable[str],
    *,
    name: str = "",
    kernel: str = "",
    command: str = "",
    page_size_bytes: int = 4096,
) -> RowSource:
    """Begin to read a recording in text; the parameters are those of `import_perf_script`."""
    reader = PerfScriptReader(RowBuilder(page_size_bytes), kernel=kernel, command=command)
    return RowSource.of_text(reader, lines, what="perf script", name=name)


def text_lines(path: Path) -> Iterator[str]:
    """Yield the lines of a text file, gzip-compressed or not; raise TraceError if it cannot be read."""
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
        with gzip.open(path) if packed else path.open("rb") as stream:
            for line in stream:
                # A command's name may hold any bytes.
                yield line.decode("utf-8", "backslashreplace")
    except (OSError, EOFError, zlib.error) as error:
        raise TraceError(f"cannot be read: {error}", source=path.name) from error


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
