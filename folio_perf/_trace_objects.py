# SPDX-License-Identifier: BSD-3-Clause
"""What mappings are of, told from the names that PERF_RECORD_MMAP2 records carry."""

from __future__ import annotations

from typing import Any

from folio_perf._trace_format import TraceObject

__all__ = ["ObjectTable", "is_anonymous", "object_kind"]


def is_anonymous(name: str, shared: bool) -> bool:
    """Whether a name of an MMAP2 record means private anonymous memory.

    ``//anon`` is what the kernel writes (``perf_event_mmap_event()``), ``anon`` what is left of it
    where file names are cut to their last component.
    """
    if shared:
        return False
    return (
        name in ("anon", "//anon", "[heap]", "[stack]", "/dev/zero")
        or name.startswith(("[anon:", "[stack:", "//toolong", "//enomem"))
        or not name
    )


def object_kind(name: str) -> str:
    base = name.removesuffix(" (deleted)")
    if base.rsplit("/", 1)[-1] == "anon_hugepage":
        return "hugetlb"
    if base.rsplit("/", 1)[-1] == "zero":
        return "anon_shared"
    if base.startswith(("/memfd:", "memfd:", "/SYSV", "SYSV", "/dev/shm/")):
        return "memfd"
    if base.startswith(("[", "anon_inode:", "/anon_inode:", "/dev/")):
        return "special"
    return "file"


class ObjectTable:
    """Objects by identity, in order of appearance."""

    def __init__(self) -> None:
        self._index: dict[tuple[object, ...], int] = {}
        self._rows: list[list[Any]] = []

    def index(self, name: str, device: str, inode: int, generation: int) -> int:
        # Special mappings have no inode, build-ids none in the record.
        key = (device, inode, generation) if inode else (device, name)
        index = self._index.setdefault(key, len(self._rows))
        if index == len(self._rows):
            self._rows.append([name, device, inode, generation, 0, object_kind(name)])
        return index

    def unknown(self, name: str, kind: str) -> int:
        self._rows.append([name, "0:0", 0, 0, 0, kind])
        return len(self._rows) - 1

    def reach(self, index: int, end: int, *, written_shared: bool) -> None:
        row = self._rows[index]
        row[4] = max(row[4], end)
        # Filesystems without a block device have major 0; the ones that programs map shared and
        # writable are shmem (/dev/shm, memfd) far more often than network or overlay filesystems.
        if written_shared and row[5] == "file" and row[1].split(":")[0].strip("0") == "":
            row[5] = "memfd"

    def kind(self, index: int) -> str:
        kind: str = self._rows[index][5]
        return kind

    def finish(self) -> tuple[TraceObject, ...]:
        keys = ("name", "device", "inode", "generation", "size_bytes", "kind")
        return tuple(TraceObject(**dict(zip(keys, row, strict=True))) for row in self._rows)
