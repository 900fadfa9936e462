# SPDX-License-Identifier: BSD-3-Clause
"""Recordings in text become traces: of perf script, of strace, of smaps."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from folio_perf._perf_script import PerfScriptReader
from folio_perf._strace_log import StraceReader, looks_like_strace
from folio_perf._trace_builder import LineReader, RowBuilder, rows_of_lines
from folio_perf._trace_data import Trace
from folio_perf._trace_format import TRACE_DTYPE, USER_END, TraceError, TraceHeader, TraceObject
from folio_perf._trace_parquet import COMPRESSION_LEVEL, TraceWriter
from folio_perf._trace_snapshot import PageEntries, SnapshotReader, parse_vma

__all__ = ["RowSource", "import_perf_script", "import_snapshot", "import_strace", "text_source"]


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
    absent : callable, optional
        Gives `TraceHeader.absent` of the objects, once all lines have been read.
    """

    def __init__(
        self,
        reader: LineReader,
        lines: Iterable[str],
        *,
        name: str,
        source: str,
        origin: str,
        absent: Callable[[Sequence[TraceObject]], dict[int, tuple[tuple[int, int], ...]]] | None = None,
    ) -> None:
        self.name = name
        self.source = source
        self._reader = reader
        self._lines = lines
        self._origin = origin
        self._absent = absent

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
        header = self._reader.header(origin=self._origin)
        return replace(header, absent=self._absent(header.objects)) if self._absent else header

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
    reader = PerfScriptReader(RowBuilder(page_size_bytes), kernel=kernel, command=command)
    return RowSource.of_text(reader, lines, what="perf script", name=name).to_trace()


def import_strace(
    lines: str | Path | Iterable[str],
    *,
    name: str = "",
    kernel: str = "",
    command: str = "",
    page_size_bytes: int = 4096,
) -> Trace:
    """Read a log of ``strace -f -ttt -y``, which has calls and processes, but no faults and not what exec maps.

    Parameters and errors are those of `import_perf_script`.
    """
    reader = StraceReader(RowBuilder(page_size_bytes), kernel=kernel, command=command)
    return RowSource.of_text(reader, lines, what="strace", name=name).to_trace()


def import_snapshot(
    lines: str | Path | Iterable[str],
    *,
    name: str = "",
    kernel: str = "",
    command: str = "",
    page_size_bytes: int = 4096,
) -> Trace:
    """Read /proc/PID/smaps of one process or several, and pagemap where it lies beside the file.

    Parameters and errors are those of `import_perf_script`. ``FILE.pagemap``, or /proc/PID/pagemap if the file is
    /proc/PID/smaps, says which pages are there; smaps alone says how many.
    """
    return _snapshot_source(
        lines, name=name, kernel=kernel, command=command, page_size_bytes=page_size_bytes
    ).to_trace()


def _snapshot_source(
    lines: str | Path | Iterable[str], *, name: str, kernel: str, command: str, page_size_bytes: int
) -> RowSource:
    builder = RowBuilder(page_size_bytes)
    entries = None
    if isinstance(lines, str | Path):
        path = Path(lines)
        texts = list(text_lines(path))
        entries = _pagemap_beside(path, texts, page_size_bytes)
        name = name or _without_suffixes(path.name)
        reader = SnapshotReader(builder, kernel=kernel, command=command, entries=entries)
        return RowSource(reader, texts, name=name, source=path.name, origin=f"smaps, {path.name}")
    reader = SnapshotReader(builder, kernel=kernel, command=command)
    return RowSource.of_text(reader, lines, what="smaps", name=name)


def _pagemap_beside(path: Path, texts: list[str], page_size_bytes: int) -> PageEntries | None:
    """Return the entries of all VMAs of a file of smaps, if there is a pagemap."""
    saved = path.with_name(f"{path.name}.pagemap")
    try:
        if saved.exists():
            content = saved.read_bytes()
            if len(content) % 8:
                raise TraceError(f"{len(content)} bytes are no entries of 8 bytes", source=saved.name)
            return np.frombuffer(content, dtype="<u8")
        if path.name != "smaps" or path.parent.parent != Path("/proc"):
            return None
        pieces = []
        with path.with_name("pagemap").open("rb", buffering=0) as pagemap:
            for text in texts:
                vma = parse_vma(text.rstrip("\n"))
                if vma is not None and vma.end <= USER_END:
                    first, nr = vma.start // page_size_bytes, (vma.end - vma.start) // page_size_bytes
                    pieces.append(os.pread(pagemap.fileno(), 8 * nr, 8 * first))
    except OSError as error:
        raise TraceError(f"pagemap cannot be read: {error}", source=path.name) from error
    return np.frombuffer(b"".join(pieces), dtype=np.uint64)


def text_source(
    lines: str | Path | Iterable[str],
    *,
    name: str = "",
    kernel: str = "",
    command: str = "",
    page_size_bytes: int = 4096,
) -> RowSource:
    """Begin to read a recording in text, whichever of the three its first line says it is.

    Parameters and errors are those of `import_perf_script`.
    """
    stream = text_lines(Path(lines)) if isinstance(lines, str | Path) else iter(lines)
    first = next((line for line in stream if line.strip()), "")
    rest = lines if isinstance(lines, str | Path) else chain([first], stream)
    builder = RowBuilder(page_size_bytes)
    if parse_vma(first.rstrip("\r\n")) or first.startswith("# pid "):
        return _snapshot_source(rest, name=name, kernel=kernel, command=command, page_size_bytes=page_size_bytes)
    if looks_like_strace(first):
        return RowSource.of_text(StraceReader(builder, kernel=kernel, command=command), rest, what="strace", name=name)
    return RowSource.of_text(
        PerfScriptReader(builder, kernel=kernel, command=command), rest, what="perf script", name=name
    )


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
