# SPDX-License-Identifier: BSD-3-Clause
"""The vocabulary of recorded traces: operations, row layout, objects, header.

``docs/traces.md`` describes the same things for people and for other programs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "FORMAT_VERSION",
    "OBJECT_KINDS",
    "OPS",
    "TRACE_DTYPE",
    "USER_END",
    "TraceError",
    "TraceHeader",
    "TraceObject",
    "check_rows",
]

FORMAT_VERSION: Final = 1

OPS: Final = (
    "exec",
    "fork",
    "exit",
    "mmap",
    "kernel_mmap",
    "munmap",
    "mremap",
    "mprotect",
    "madvise",
    "brk",
    "fault",
)
"""Names of the operations; a row's ``op`` is an index into this tuple."""

OP: Final[Mapping[str, int]] = MappingProxyType({name: code for code, name in enumerate(OPS)})

OBJECT_KINDS: Final = ("file", "memfd", "anon_shared", "special", "hugetlb")
"""What a mapping can be of; ``special`` maps page frames that have no mapcount, such as the vDSO."""

USER_END: Final = 1 << 47
"""First address beyond user space with 4-level page tables (x86-64)."""

TRACE_DTYPE: Final = np.dtype(
    [
        ("time_ns", np.uint64),
        ("cpu", np.uint16),
        ("pid", np.uint32),
        ("op", np.uint8),
        ("address", np.uint64),
        ("length", np.uint64),
        ("address2", np.uint64),
        ("length2", np.uint64),
        ("prot", np.uint8),
        ("flags", np.uint32),
        ("object", np.int32),
        ("offset", np.uint64),
        ("advice", np.uint16),
        ("error_code", np.uint16),
        ("child", np.uint32),
        ("clone_flags", np.uint64),
        ("command", np.int32),
    ]
)
"""One row of a trace in memory; ``docs/traces.md`` says which operation uses which column."""


class TraceError(ValueError):
    """A trace that cannot be read: what is wrong, where, and which rule it breaks.

    Parameters
    ----------
    rule : str
        What is wrong.
    source : str
        File name, or what the lines came from.
    line : int, optional
        Line of a text (from 1).
    row : int, optional
        Row of a Parquet trace (from 0).
    """

    def __init__(self, rule: str, *, source: str = "", line: int | None = None, row: int | None = None) -> None:
        self.rule = rule
        self.source = source
        self.line = line
        self.row = row
        place = source or "trace"
        if line is not None:
            place += f":{line}"
        if row is not None:
            place += f": row {row}"
        super().__init__(f"{place}: {rule}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceObject:
    """Something that rows map: a file, shared memory, or a special mapping.

    Attributes
    ----------
    name : str
        File name as recorded, possibly cut to its last component.
    device : str
        ``major:minor`` in hexadecimal, or ``build-id`` when the recording holds that instead.
    inode, generation : int
        Identity within the device; both 0 for special mappings.
    size_bytes : int
        Largest offset + length any mapping reaches: an upper bound of what the program could use,
        not the size of the file.
    kind : str
        One of `OBJECT_KINDS`.
    """

    name: str
    device: str
    inode: int
    generation: int
    size_bytes: int
    kind: str

    def __post_init__(self) -> None:
        for key in ("name", "device"):
            value = getattr(self, key)
            if not isinstance(value, str):
                raise ValueError(f"{key} {value!r} is not a string")
        for key in ("inode", "generation", "size_bytes"):
            value = getattr(self, key)
            if type(value) is not int or not 0 <= value < 1 << 64:
                raise ValueError(f"{key} {value!r} of {self.name!r} is not a 64-bit count")
        if self.kind not in OBJECT_KINDS:
            known = ", ".join(OBJECT_KINDS)
            raise ValueError(f"kind {self.kind!r} of {self.name!r} is none of {known}")


def _frozen(counts: Mapping[str, int]) -> Mapping[str, int]:
    return MappingProxyType(dict(sorted(counts.items())))


def _no_counts() -> Mapping[str, int]:
    return MappingProxyType({})


@dataclass(frozen=True, kw_only=True)
class TraceHeader:
    """What a trace says about itself, beside its rows.

    Attributes
    ----------
    origin : str
        Where the trace came from: tool and file name.
    kernel : str
        Release of the kernel that was recorded; empty if unknown.
    command : str
        What was recorded; empty if unknown.
    page_size_bytes : int
        Base page size of the recording. Fault addresses are rounded down to it.
    objects : tuple of TraceObject
        What the column ``object`` points into.
    commands : tuple of str
        What the column ``command`` points into.
    roots : tuple of int
        pids that were alive before the trace began, in order of appearance.
    lines_kept, lines_ignored : Mapping[str, int]
        Lines of the recording by kind; together every line there was.
    dropped : Mapping[str, int]
        Records understood and left out, by reason.
    assumed : Mapping[str, int]
        Records kept although something about them had to be assumed, by reason.
    absent : Mapping[int, tuple of (int, int)]
        Ranges (first byte, length) of objects of kind file that were not in the page cache when the recording ended,
        ascending, by index of the object.
    """

    origin: str
    kernel: str
    command: str
    page_size_bytes: int
    objects: tuple[TraceObject, ...] = ()
    commands: tuple[str, ...] = ()
    roots: tuple[int, ...] = ()
    lines_kept: Mapping[str, int] = field(default_factory=_no_counts)
    lines_ignored: Mapping[str, int] = field(default_factory=_no_counts)
    dropped: Mapping[str, int] = field(default_factory=_no_counts)
    assumed: Mapping[str, int] = field(default_factory=_no_counts)
    absent: Mapping[int, tuple[tuple[int, int], ...]] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        for key in ("origin", "kernel", "command"):
            if not isinstance(getattr(self, key), str):
                raise ValueError(f"{key} {getattr(self, key)!r} is not a string")
        page = self.page_size_bytes
        if type(page) is not int or not 1 << 12 <= page <= 1 << 18 or page & (page - 1):
            raise ValueError(f"page size {page!r} is not a power of two from 4096 to 262144")
        for pid in self.roots:
            if type(pid) is not int or not 0 <= pid < 1 << 32:
                raise ValueError(f"root {pid!r} is not a pid")
        for name in self.commands:
            if not isinstance(name, str):
                raise ValueError(f"command {name!r} is not a string")
        for key in ("lines_kept", "lines_ignored", "dropped", "assumed"):
            counts = getattr(self, key)
            for reason, count in counts.items():
                if not isinstance(reason, str) or type(count) is not int or count < 0:
                    raise ValueError(f"{key} {reason!r}: {count!r} is not a count")
            object.__setattr__(self, key, _frozen(counts))
        for index, ranges in self.absent.items():
            if not 0 <= index < len(self.objects) or self.objects[index].kind != "file":
                raise ValueError(f"absent: object {index} is no file")
            end = 0
            for first, length in ranges:
                if type(first) is not int or type(length) is not int or not end <= first < first + length < 1 << 63:
                    raise ValueError(f"absent: {first!r}, {length!r} of object {index} is no range behind {end}")
                end = first + length
        object.__setattr__(self, "absent", MappingProxyType(dict(self.absent)))

    @property
    def lines_read(self) -> int:
        """Lines the recording had."""
        return sum(self.lines_kept.values()) + sum(self.lines_ignored.values())

    def to_json(self) -> str:
        """Return the header as the JSON text the Parquet file carries."""
        columns = ("name", "device", "inode", "generation", "size_bytes", "kind")
        value: dict[str, Any] = {
            "version": FORMAT_VERSION,
            "origin": self.origin,
            "kernel": self.kernel,
            "command": self.command,
            "page_size_bytes": self.page_size_bytes,
            "objects": {key: [asdict(obj)[key] for obj in self.objects] for key in columns},
            "commands": list(self.commands),
            "roots": list(self.roots),
            "lines_read": self.lines_read,
            "lines_kept": dict(self.lines_kept),
            "lines_ignored": dict(self.lines_ignored),
            "dropped": dict(self.dropped),
            "assumed": dict(self.assumed),
        }
        if self.absent:
            value["absent"] = {str(index): ranges for index, ranges in self.absent.items()}
        return json.dumps(value, separators=(",", ":"), sort_keys=True)

    @classmethod
    def from_json(cls, text: str | bytes, *, source: str = "") -> TraceHeader:
        """Read the header from the JSON text of a Parquet file.

        Raises
        ------
        TraceError
            If the text is no header, or one of a format version this program does not know.
        """
        try:
            value: Any = json.loads(text)
            if not isinstance(value, dict):
                raise TraceError("the trace header is not a JSON object", source=source)
            version = value["version"]
            if type(version) is not int or not 1 <= version <= FORMAT_VERSION:
                raise TraceError(
                    f"format version {version!r}; this program reads 1 to {FORMAT_VERSION}",
                    source=source,
                )
            columns: dict[str, list[Any]] = value["objects"]
            rows = zip(*columns.values(), strict=True)
            header = cls(
                origin=value["origin"],
                kernel=value["kernel"],
                command=value["command"],
                page_size_bytes=value["page_size_bytes"],
                objects=tuple(TraceObject(**dict(zip(columns, row, strict=True))) for row in rows),
                commands=tuple(value["commands"]),
                roots=tuple(value["roots"]),
                lines_kept=value["lines_kept"],
                lines_ignored=value["lines_ignored"],
                dropped=value["dropped"],
                assumed=value["assumed"],
                absent={
                    int(index): tuple((first, length) for first, length in ranges)
                    for index, ranges in value.get("absent", {}).items()
                },
            )
        except TraceError:
            raise
        except KeyError as error:
            raise TraceError(f"the trace header lacks {error}", source=source) from error
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise TraceError(f"bad trace header: {error}", source=source) from error
        return header


def check_rows(rows: NDArray[np.void], header: TraceHeader, *, source: str, first: int, time_ns: int = 0) -> None:
    """Check rows against the header and the limits of the format.

    Parameters
    ----------
    rows : TRACE_DTYPE, shape (nr_rows,)
    header : TraceHeader
    source : str
        Named in the error.
    first : int
        Number of the first row within the trace.
    time_ns : int
        Time of the row before it.

    Raises
    ------
    TraceError
        Naming the first row that breaks a rule, and the rule.
    """
    if not rows.size:
        return
    address, length = rows["address"], rows["length"]
    address2, length2 = rows["address2"], rows["length2"]
    end = np.uint64(USER_END)
    rules = (
        (rows["op"] >= len(OPS), "unknown operation"),
        (
            (address > end) | (length > end) | (address + length > end),
            "address and length reach beyond 2^47",
        ),
        (
            (address2 > end) | (length2 > end) | (address2 + length2 > end),
            "address2 and length2 reach beyond 2^47",
        ),
        (
            (rows["object"] < -1) | (rows["object"] >= len(header.objects)),
            f"object is none of the {len(header.objects)} in the header",
        ),
        (
            (rows["command"] < -1) | (rows["command"] >= len(header.commands)),
            f"command is none of the {len(header.commands)} in the header",
        ),
        (rows["offset"] > np.uint64((1 << 63) - 1), "offset is negative"),
        (np.diff(rows["time_ns"].view(np.int64), prepend=time_ns) < 0, "time runs backwards"),
    )
    for bad, rule in rules:
        if bad.any():
            raise TraceError(rule, source=source, row=first + int(np.argmax(bad)))
