# SPDX-License-Identifier: BSD-3-Clause
"""The Parquet file of a trace, written and read piece by piece; ``docs/traces.md`` describes it."""

from __future__ import annotations

import errno
import os
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from folio_perf._trace_format import OP, OPS, TRACE_DTYPE, TraceError, TraceHeader, check_rows

__all__ = ["COMPRESSION_LEVEL", "ROW_GROUP_ROWS", "TraceFile", "TraceWriter"]

METADATA_KEY: Final = b"folio_perf.trace"
ROWS_KEY: Final = b"folio_perf.trace.rows"
CRC_KEY: Final = b"folio_perf.trace.crc32"
ROW_GROUP_ROWS: Final = 1 << 17
COMPRESSION_LEVEL: Final = 19

_ARROW_TYPES: Final = {
    name: pa.string() if name == "op" else pa.from_numpy_dtype(TRACE_DTYPE[name]) for name in TRACE_DTYPE.names or ()
}
# Times and addresses rarely repeat, but lie close to their predecessors.
_DELTA_COLUMNS: Final = ("time_ns", "address")
_READ_ERRORS: Final = (pa.ArrowException, OSError, ValueError, KeyError, OverflowError, MemoryError)
_SCHEMA: Final = pa.schema(
    [(name, pa.dictionary(pa.int8(), pa.string()) if name == "op" else kind) for name, kind in _ARROW_TYPES.items()]
)


class TraceWriter:
    """Writes a trace while its rows are still being made.

    The file is written beside the target and renamed at the end: an interruption leaves no half trace.

    Parameters
    ----------
    path : str or Path
        The target.
    row_group_rows : int
        Rows a reader has to hold at once, and the writer too.
    compression_level : int
        Of zstd.

    Raises
    ------
    ValueError
        If `row_group_rows` is not positive.
    OSError
        If the file cannot be written.
    """

    def __init__(
        self, path: str | Path, *, row_group_rows: int = ROW_GROUP_ROWS, compression_level: int = COMPRESSION_LEVEL
    ) -> None:
        if row_group_rows <= 0:
            raise ValueError(f"row_group_rows {row_group_rows} must be positive")
        self._target = Path(path)
        self._row_group_rows = row_group_rows
        self._waiting: list[NDArray[np.void]] = []
        self._nr_waiting = 0
        self.nr_rows = 0
        if not self._target.parent.is_dir():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self._target.parent))
        descriptor, temporary = tempfile.mkstemp(dir=self._target.parent, prefix=f".{self._target.name}.")
        os.close(descriptor)
        self._temporary = Path(temporary)
        try:
            self._file = pq.ParquetWriter(
                temporary,
                _SCHEMA,
                compression="zstd",
                compression_level=compression_level,
                use_dictionary=[name for name in _ARROW_TYPES if name not in _DELTA_COLUMNS],
                column_encoding=dict.fromkeys(_DELTA_COLUMNS, "DELTA_BINARY_PACKED"),
                write_statistics=False,
                write_page_checksum=True,
            )
        except BaseException:
            self._temporary.unlink(missing_ok=True)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Remove what was written, unless `finish` has been reached."""
        if self._temporary.exists():
            with suppress(OSError, pa.ArrowException):
                self._file.close()
            self._temporary.unlink(missing_ok=True)

    def write(self, rows: NDArray[np.void]) -> None:
        """Write rows (TRACE_DTYPE, shape (nr_rows,)); whole row groups go to the file at once."""
        self._waiting.append(rows)
        self._nr_waiting += rows.size
        while self._nr_waiting >= self._row_group_rows:
            together = np.concatenate(self._waiting)
            self._write_group(together[: self._row_group_rows])
            self._waiting = [together[self._row_group_rows :].copy()]
            self._nr_waiting = self._waiting[0].size

    def _write_group(self, rows: NDArray[np.void]) -> None:
        names = pa.array(OPS, pa.string())
        arrays = [
            pa.DictionaryArray.from_arrays(pa.array(rows["op"].astype(np.int8)), names)
            if name == "op"
            else pa.array(np.ascontiguousarray(rows[name]))
            for name in _ARROW_TYPES
        ]
        self._file.write_table(pa.Table.from_arrays(arrays, schema=_SCHEMA), row_group_size=self._row_group_rows)
        self.nr_rows += rows.size

    def finish(self, header: TraceHeader) -> None:
        """Write what is left and the header, and put the file in its place."""
        if self._nr_waiting:
            self._write_group(np.concatenate(self._waiting))
        text = header.to_json().encode()
        self._file.add_key_value_metadata(
            {METADATA_KEY: text, ROWS_KEY: str(self.nr_rows), CRC_KEY: f"{zlib.crc32(text):08x}"}
        )
        self._file.close()
        mask = os.umask(0)
        os.umask(mask)
        self._temporary.chmod(0o666 & ~mask)
        self._temporary.replace(self._target)


class TraceFile:
    """An open Parquet trace whose schema and header have been checked."""

    def __init__(self, path: str | Path) -> None:
        self.source = Path(path).name
        try:
            # An OS file, not a memory map: a page that fails its checksum raises, nothing else can.
            self._file = pq.ParquetFile(path, read_dictionary=["op"], page_checksum_verification=True)
            schema = self._file.schema_arrow
            metadata = self._file.metadata.metadata or {}
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
