# SPDX-License-Identifier: BSD-3-Clause
"""Which pages of the files that a program mapped are in the page cache: mincore(2), as the recording ends.

Fault-around maps what is in the page cache. A library has holes there where nobody has ever looked.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from folio_perf.traces import TraceObject

__all__ = ["absent_ranges"]

MAX_FILE_BYTES: Final = 256 << 20
"""Larger files are taken to be there."""

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)
_libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
_libc.mincore.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p)
_MAP_FAILED: Final = ctypes.c_void_p(-1).value


def absent_ranges(objects: Sequence[TraceObject]) -> dict[int, tuple[tuple[int, int], ...]]:
    """Return the ranges (first byte, length) of files that are not in the page cache, by index of the object.

    A file that is gone, cannot be read or is another by now is left out, as is one of which nothing is absent. The
    kernel tells the truth to the owner of a file and to who may write it (root may); it tells others that all is there.
    """
    found = {}
    for index, each in enumerate(objects):
        if each.kind == "file" and each.name.startswith("/") and (ranges := _absent(each)):
            found[index] = ranges
    return found


def _absent(each: TraceObject) -> tuple[tuple[int, int], ...]:
    try:
        with Path(each.name).open("rb") as stream:
            status = os.fstat(stream.fileno())
            if (each.inode and status.st_ino != each.inode) or not 0 < status.st_size <= MAX_FILE_BYTES:
                return ()
            nr_pages = -(-status.st_size // mmap.PAGESIZE)
            resident = np.zeros(nr_pages, dtype=np.uint8)
            start = _libc.mmap(None, status.st_size, mmap.PROT_READ, mmap.MAP_SHARED, stream.fileno(), 0)
            if start == _MAP_FAILED:
                return ()
            try:
                if _libc.mincore(start, status.st_size, resident.ctypes.data):
                    return ()
            finally:
                _libc.munmap(start, status.st_size)
    except OSError:
        return ()
    edges = np.flatnonzero(np.diff(resident & 1, prepend=1, append=1))
    firsts, ends = edges[::2].tolist(), edges[1::2].tolist()
    return tuple(
        (first * mmap.PAGESIZE, (end - first) * mmap.PAGESIZE) for first, end in zip(firsts, ends, strict=True)
    )
