# SPDX-License-Identifier: BSD-3-Clause
"""Address traces and hierarchies as files; a trace is read in pieces, so its length costs no memory."""

from __future__ import annotations

import gzip
import os
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator
from inspect import signature
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from folio_perf.cache import ADDRESS_END, CacheHierarchy, CacheLevel, PageRange, TlbArray

__all__ = ["FORMATS", "Accesses", "load_hierarchy", "read_addresses"]

PIECE = 1 << 16
"""Accesses handed out at once, but for the lines that one straddles."""
MAX_ACCESS_BYTES = 1 << 20


class Accesses(NamedTuple):
    """A piece of a trace: uint64, bool and, where the trace names CPUs, uint8 arrays, each of shape (nr,)."""

    addresses: NDArray[np.uint64]
    write: NDArray[np.bool_]
    cpu: NDArray[np.uint8] | None = None


_Access = tuple[int, int, str]
"""Address, bytes, and what is done: "r", "w", or both in order."""


HIERARCHY_KEYS = frozenset(
    {
        "line_bytes",
        "inclusion",
        "nr_cpus",
        "cpus_per_core",
        "cpus_per_ccx",
        "cpus_per_socket",
        "memory_interleave_bytes",
        "forward_clean",
        "split_misses",
        "rules",
        "page_bytes",
    }
)


def load_hierarchy(path: str | os.PathLike[str], *, track_sharing: bool = False) -> CacheHierarchy:
    """Build the hierarchy that a TOML file describes.

    The file has one ``[[level]]`` per level with the fields of `CacheLevel`; it may have one ``[[tlb]]`` per array of
    the TLBs with those of `TlbArray`, one ``[[pages]]`` per stretch of pages with those of `PageRange`, and any other
    argument of `CacheHierarchy` but ``nr_threads``.

    Parameters
    ----------
    path : str or path
    track_sharing : bool
        As `CacheHierarchy` has it.

    Raises
    ------
    ValueError
        If the file breaks a rule; the message begins with its path.
    OSError
        If it cannot be read.
    """
    try:
        table = tomllib.loads(Path(path).read_bytes().decode())
        extra = sorted(set(table) - HIERARCHY_KEYS - set(_TABLES))
        if extra:
            raise ValueError(f"the file has {', '.join(map(repr, extra))}, which means nothing here")
        levels, tlb, pages = ([_made(name, row) for row in _rows(table, name)] for name in _TABLES)
        if not levels:
            raise ValueError("there must be one [[level]] or more")
        return CacheHierarchy(levels, track_sharing=track_sharing, tlb=tlb, pages=pages, **table)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{os.fspath(path)}: {error}") from error


class _Table(NamedTuple):
    make: Callable[..., Any]
    fields: frozenset[str]
    needed: frozenset[str]


def _table(kind: Callable[..., Any]) -> _Table:
    parameters = signature(kind).parameters.values()
    needed = frozenset(each.name for each in parameters if each.default is each.empty)
    return _Table(kind, frozenset(each.name for each in parameters), needed)


_TABLES = {"level": _table(CacheLevel), "tlb": _table(TlbArray), "pages": _table(PageRange)}


def _rows(table: dict[str, Any], name: str) -> list[Any]:
    rows = table.pop(name, [])
    if not isinstance(rows, list):
        raise ValueError(f"{name} must be written [[{name}]], once for each")
    return rows


def _made(kind: str, row: Any) -> Any:
    if not isinstance(row, dict):
        raise ValueError(f"{kind} {row!r} must be a table")
    make, known, needed = _TABLES[kind]
    for words, wrong in (("lacks", sorted(needed - set(row))), ("has unknown", sorted(set(row) - known))):
        if wrong:
            raise ValueError(f"{kind} {row.get('name', '?')} {words} {', '.join(map(repr, wrong))}")
    return make(**row)


# ---- lines of text, one access each -------------------------------------------------------------------------------


def _din(line: str) -> _Access | None:
    """Read a line of Dinero: label (0 read, 1 write, 2 instruction fetch) and hexadecimal address."""
    label, address, *_ = line.split()
    if label not in ("0", "1", "2"):
        raise ValueError(f"label {label!r} must be 0, 1 or 2")
    return None if label == "2" else (int(address, 16), 1, "rw"[int(label)])


_LACKEY = re.compile(r" ?([LSM]) ([0-9a-fA-F]+),(\d+)$")
_LACKEY_OTHER = re.compile(r"==|--|I  [0-9a-fA-F]+,\d+$")
_LACKEY_ACTIONS = {"L": "r", "S": "w", "M": "rw"}


def _lackey(line: str) -> _Access | None:
    """Read a line of valgrind's lackey with its option trace-mem: load, store or modify, address, size."""
    found = _LACKEY.match(line)
    if found:
        return int(found[2], 16), int(found[3]), _LACKEY_ACTIONS[found[1]]
    if not _LACKEY_OTHER.match(line):
        raise ValueError("neither a load, store, modify or instruction nor a message of valgrind")
    return None


_DRCACHESIM = re.compile(r"\b(read|write)\s+(\d+) byte\(s\) @ (?:0x)?([0-9a-fA-F]+)")


def _drcachesim(line: str) -> _Access | None:
    """Read a line of what the view tool of drcachesim prints; all but reads and writes is passed over."""
    found = _DRCACHESIM.search(line)
    return (int(found[3], 16), int(found[2]), found[1][0]) if found else None


_LINES: dict[str, Callable[[str], _Access | None]] = {"din": _din, "lackey": _lackey, "drcachesim": _drcachesim}

FORMATS = (*_LINES, "parquet")


def read_addresses(
    path: str | os.PathLike[str],
    form: str,
    line_bytes: int = 64,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[Accesses]:
    """Read the data accesses of a trace, piece by piece.

    Parameters
    ----------
    path : str or path
        Text may be compressed with gzip. Parquet has a column ``address`` (uint64) and may have ``write`` (bool) and
        ``cpu`` (uint8).
    form : str
        One of `FORMATS`. Instruction fetches are left out.
    line_bytes : int
        An access that straddles lines of this size is one access to each.
    progress : callable, optional
        Told, after each piece, how much has been read and of how much: bytes of a text, rows of Parquet.

    Yields
    ------
    Accesses

    Raises
    ------
    ValueError
        If the file breaks a rule; the message names path and line.
    OSError
        If it cannot be read.
    """
    if form not in FORMATS:
        raise ValueError(f"format {form!r} must be one of {', '.join(FORMATS)}")
    if form == "parquet":
        yield from _parquet(os.fspath(path), progress)
    else:
        yield from _text(os.fspath(path), _LINES[form], line_bytes, progress)


def _parquet(path: str, progress: Callable[[int, int], None] | None) -> Iterator[Accesses]:
    try:
        file = pq.ParquetFile(path)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path}: not a Parquet file: {error}") from error
    with file:
        for name, kind in (("address", pa.uint64()), ("write", pa.bool_()), ("cpu", pa.uint8())):
            if name in file.schema_arrow.names:
                if file.schema_arrow.field(name).type != kind:
                    raise ValueError(f"{path}: column {name!r} is {file.schema_arrow.field(name).type}, must be {kind}")
            elif name == "address":
                raise ValueError(f"{path}: there is no column 'address'")
        names = [name for name in ("address", "write", "cpu") if name in file.schema_arrow.names]
        done = 0
        for batch in file.iter_batches(batch_size=PIECE, columns=names):
            if any(column.null_count for column in batch.columns):
                raise ValueError(f"{path}: a column has nulls")
            addresses = np.array(batch.column("address"), dtype=np.uint64)
            write = (
                np.array(batch.column("write"), dtype=np.bool_) if "write" in names else np.zeros(len(batch), np.bool_)
            )
            cpu = np.array(batch.column("cpu"), dtype=np.uint8) if "cpu" in names else None
            yield Accesses(addresses, write, cpu)
            done += len(batch)
            if progress:
                progress(done, file.metadata.num_rows)


def _text(
    path: str,
    parse: Callable[[str], _Access | None],
    line_bytes: int,
    progress: Callable[[int, int], None] | None,
) -> Iterator[Accesses]:
    addresses: list[int] = []
    writes: list[bool] = []
    with Path(path).open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
        nr_bytes = file.seek(0, os.SEEK_END)
        file.seek(0)
        stream: Iterable[bytes] = gzip.GzipFile(fileobj=file) if packed else file
        for number, line in enumerate(stream, 1):
            try:
                text = line.decode("ascii").rstrip()
                found = parse(text) if text.strip() else None
                if found is None:
                    continue
                address, size, actions = found
                if not (1 <= size <= MAX_ACCESS_BYTES and 0 <= address <= ADDRESS_END - size):
                    raise ValueError(
                        f"{size} bytes at {address:#x}: 1 to {MAX_ACCESS_BYTES} bytes below 2^57 are allowed"
                    )
            except ValueError as error:
                raise ValueError(f"{path}:{number}: {line[:60]!r}: {error}") from error
            touched = [address, *range((address // line_bytes + 1) * line_bytes, address + size, line_bytes)]
            for action in actions:
                addresses += touched
                writes += [action == "w"] * len(touched)
            if len(addresses) >= PIECE:
                yield Accesses(np.array(addresses, dtype=np.uint64), np.array(writes, dtype=np.bool_))
                addresses, writes = [], []
                if progress:
                    progress(file.tell(), nr_bytes)
    if addresses:
        yield Accesses(np.array(addresses, dtype=np.uint64), np.array(writes, dtype=np.bool_))
