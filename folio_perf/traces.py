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
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from folio_perf._perf_script import parse_perf_script
from folio_perf._trace_events import Converter
from folio_perf._trace_format import (
    FORMAT_VERSION,
    OP,
    OPS,
    TRACE_DTYPE,
    TraceError,
    TraceHeader,
    TraceObject,
    check_rows,
)
from folio_perf.geometry import Geometry
from folio_perf.scenario import Scenario

__all__ = [
    "FORMAT_VERSION",
    "OPS",
    "TRACE_DTYPE",
    "Conversion",
    "Trace",
    "TraceError",
    "TraceHeader",
    "TraceObject",
    "import_perf_script",
    "iter_batches",
    "iter_events",
    "load_trace",
    "read_header",
    "read_trace",
    "trace_names",
    "write_trace",
]

METADATA_KEY: Final = b"folio_perf.trace"
ROWS_KEY: Final = b"folio_perf.trace.rows"
CRC_KEY: Final = b"folio_perf.trace.crc32"
ROW_GROUP_ROWS: Final = 1 << 17

_ARROW_TYPES: Final = {
    name: pa.string() if name == "op" else pa.from_numpy_dtype(TRACE_DTYPE[name]) for name in TRACE_DTYPE.names or ()
}
# Times and addresses rarely repeat, but lie close to their predecessors.
_DELTA_COLUMNS: Final = ("time_ns", "address")
_READ_ERRORS: Final = (pa.ArrowException, OSError, ValueError, KeyError, OverflowError, MemoryError)


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
    if isinstance(lines, str | Path):
        path = Path(lines)
        source = path.name
        name = name or source.removesuffix(".gz").removesuffix(".txt").removesuffix(".perf")
        stream = _text_lines(path)
    else:
        source = name or "lines"
        name = name or "trace"
        stream = iter(lines)
    header, rows = parse_perf_script(
        stream,
        source=source,
        origin=f"perf script, {source}",
        kernel=kernel,
        command=command,
        page_size_bytes=page_size_bytes,
    )
    return Trace(name=name, header=header, rows=rows, source=source)


def _text_lines(path: Path) -> Iterator[str]:
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
    """Write a trace as Parquet (zstd), readable row group by row group.

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
    """
    if row_group_rows <= 0:
        raise ValueError(f"row_group_rows {row_group_rows} must be positive")
    names = pa.array(OPS, pa.string())
    arrays = [
        pa.DictionaryArray.from_arrays(pa.array(trace.rows["op"].astype(np.int8)), names)
        if name == "op"
        else pa.array(np.ascontiguousarray(trace.rows[name]))
        for name in _ARROW_TYPES
    ]
    header = trace.header.to_json().encode()
    metadata = {METADATA_KEY: header, ROWS_KEY: str(trace.rows.size), CRC_KEY: f"{zlib.crc32(header):08x}"}
    table = pa.Table.from_arrays(arrays, names=list(_ARROW_TYPES), metadata=metadata)
    pq.write_table(
        table,
        path,
        row_group_size=row_group_rows,
        compression="zstd",
        compression_level=19,
        use_dictionary=[name for name in _ARROW_TYPES if name not in _DELTA_COLUMNS],
        column_encoding=dict.fromkeys(_DELTA_COLUMNS, "DELTA_BINARY_PACKED"),
        write_statistics=False,
        write_page_checksum=True,
    )


class _File:
    """An open Parquet trace whose schema and header have been checked."""

    def __init__(self, path: str | Path) -> None:
        self.source = Path(path).name
        try:
            # An OS file, not a memory map: a page that fails its checksum raises, nothing else can.
            self._file = pq.ParquetFile(path, read_dictionary=["op"], page_checksum_verification=True)
            schema = self._file.schema_arrow
            metadata = schema.metadata or {}
        except KeyError as error:
            raise TraceError("a Parquet file, but not a trace: no column 'op'", source=self.source) from error
        except _READ_ERRORS as error:
            raise TraceError(f"not a readable Parquet file: {error}", source=self.source) from error
        if METADATA_KEY not in metadata:
            key = METADATA_KEY.decode()
            raise TraceError(f"a Parquet file, but not a trace: no metadata {key!r}", source=self.source)
        # Parquet checks its pages, not its footer.
        header = metadata[METADATA_KEY]
        if metadata.get(CRC_KEY, crc := b"%08x" % zlib.crc32(header)) != crc:
            raise TraceError("damaged: the header does not have its checksum", source=self.source)
        self.header = TraceHeader.from_json(header, source=self.source)
        self._check_schema(schema)
        rows = metadata.get(ROWS_KEY, b"").decode("ascii", "replace")
        if rows != str(self._file.metadata.num_rows):
            rule = f"damaged: {self._file.metadata.num_rows} rows, metadata {ROWS_KEY.decode()!r} says {rows!r}"
            raise TraceError(rule, source=self.source)
        self._nr_rows = int(rows)

    def _check_schema(self, schema: Any) -> None:
        for name, wanted in _ARROW_TYPES.items():
            index = schema.get_field_index(name)
            if index < 0:
                raise TraceError(f"lacks the column {name!r}", source=self.source)
            found = schema.field(index).type
            if pa.types.is_dictionary(found):
                found = found.value_type
            if found != wanted:
                raise TraceError(f"column {name!r} is {found}, not {wanted}", source=self.source)

    def batches(self, max_rows: int) -> Iterator[NDArray[np.void]]:
        """Yield the rows in order, `max_rows` at most at once, never across row groups."""
        first = time_ns = 0
        try:
            for group in range(self._file.num_row_groups):
                stream = self._file.iter_batches(max_rows, row_groups=[group], columns=list(_ARROW_TYPES))
                for batch in stream:
                    rows = self._rows(batch, first)
                    check_rows(rows, self.header, source=self.source, first=first, time_ns=time_ns)
                    first += rows.size
                    time_ns = int(rows["time_ns"][-1]) if rows.size else time_ns
                    yield rows
            if first != self._nr_rows:
                raise TraceError(f"damaged: {first} rows instead of {self._nr_rows}", source=self.source)
        except TraceError:
            raise
        except _READ_ERRORS as error:
            raise TraceError(f"damaged after row {first}: {error}", source=self.source) from error

    def _rows(self, batch: Any, first: int) -> NDArray[np.void]:
        rows = np.zeros(batch.num_rows, dtype=TRACE_DTYPE)
        for name in _ARROW_TYPES:
            column = batch.column(batch.schema.get_field_index(name))
            if column.null_count:
                raise TraceError(f"column {name!r} has nulls", source=self.source, row=first)
            if name == "op":
                column = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
                words = column.dictionary.to_pylist()
                codes = np.array([OP.get(word, len(OPS)) for word in words], dtype=np.uint8)
                rows[name] = codes[column.indices.to_numpy(zero_copy_only=False)] if words else 0
            else:
                rows[name] = column.to_numpy(zero_copy_only=False)
        return rows


def read_header(path: str | Path) -> TraceHeader:
    """Read what a Parquet trace says about itself, without its rows.

    Raises
    ------
    TraceError
        If the file is no trace, is damaged, or has a format version this program does not know.
    """
    return _File(path).header


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
    yield from _File(path).batches(max_rows)


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
    file = _File(path)
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
    file = _File(path)
    batches = list(file.batches(ROW_GROUP_ROWS))
    rows = np.concatenate(batches) if batches else np.empty(0, dtype=TRACE_DTYPE)
    return Trace(
        name=name or Path(path).name.removesuffix(".parquet"), header=file.header, rows=rows, source=file.source
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
    with resources.as_file(resources.files("folio_perf") / "data" / "traces" / f"{name}.parquet") as path:
        return read_trace(path, name=name)
