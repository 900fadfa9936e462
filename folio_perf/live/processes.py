# SPDX-License-Identifier: BSD-3-Clause
"""Processes: their VMAs and page tables as /proc/PID/maps and /proc/PID/pagemap show them.

Sources: Documentation/admin-guide/mm/pagemap.rst (bits of an entry, PAGEMAP_SCAN of v6.7), proc_pid_maps(5).
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from folio_perf.live.page_frames import U64, Ints, read_words

PROC: Final = Path("/proc")
CGROUPS: Final = Path("/sys/fs/cgroup")

PFN_MASK: Final = np.uint64((1 << 55) - 1)
EXCLUSIVE, UFFD_WP, GUARD, FILE, SWAPPED, PRESENT = 56, 57, 58, 61, 62, 63

_SCAN: Final = 0xC0606610
"""_IOWR('f', 16, struct pm_scan_arg)."""
_SCAN_ARGUMENT: Final = struct.Struct("=12Q")
_SCAN_PRESENT: Final = 1 << 3
_NR_REGIONS: Final = 1 << 14
_GAP: Final = 512
"""Entries worth reading though absent, rather than asking once more."""
_PIECE: Final = 1 << 20
_REGION = np.dtype([("start", np.uint64), ("end", np.uint64), ("categories", np.uint64)])


@dataclass(frozen=True, slots=True)
class Vma:
    """A line of /proc/PID/maps: page numbers of the range, and of the file's offset; what is mapped."""

    start: int
    end: int
    offset: int
    name: str


@dataclass(frozen=True, slots=True)
class Entries:
    """Present page-table entries of a process, by address.

    Attributes
    ----------
    vpn : int64, shape (nr,)
    bits : uint64, shape (nr,)
        As in pagemap.
    """

    vpn: Ints
    bits: U64

    @property
    def pfn(self) -> Ints:
        """Page frames; 0 where the reader may not know them."""
        return (self.bits & PFN_MASK).astype(np.int64)

    def has(self, bit: int) -> NDArray[np.bool_]:
        """Whether a bit is set."""
        return np.asarray(self.bits >> np.uint64(bit) & np.uint64(1) == 1)


def page_size() -> int:
    """Bytes of a base page of this machine."""
    return os.sysconf("SC_PAGE_SIZE")


def frames_visible() -> bool:
    """Whether pagemap shows page frame numbers to this user (CAP_SYS_ADMIN)."""
    with mmap.mmap(-1, page_size(), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        memory[0] = 1
        return page_frame_of(memory) != 0


def page_frame_of(memory: mmap.mmap) -> int:
    """Page frame of the first page of a mapping of this process; 0 if it is hidden."""
    array = np.frombuffer(memory, dtype=np.uint8)
    vpn = array.ctypes.data // page_size()
    del array
    with (PROC / "self/pagemap").open("rb") as pagemap:
        return int(read_words(pagemap.fileno(), vpn, 1)[0] & PFN_MASK)


def process_ids() -> list[int]:
    """Numbers of all processes that can be seen."""
    return sorted(int(path.name) for path in PROC.iterdir() if path.name.isdecimal())


def processes_of_cgroup(path: str) -> list[int]:
    """Numbers of the processes of a control group and of the groups below it.

    Parameters
    ----------
    path : str
        A folder, absolute or below /sys/fs/cgroup.

    Raises
    ------
    ValueError
        If it is no control group.
    """
    folder = CGROUPS / path.lstrip("/") if not path.startswith(str(CGROUPS)) else Path(path)
    if not (folder / "cgroup.procs").is_file():
        raise ValueError(f"{path!r} is no control group: there is no {folder / 'cgroup.procs'}")
    found: set[int] = set()
    for file in [folder / "cgroup.procs", *folder.rglob("cgroup.procs")]:
        try:
            found.update(map(int, file.read_text().split()))
        except FileNotFoundError:
            continue  # a group that has gone meanwhile
    return sorted(found)


def process_name(pid: int) -> str:
    """Return its name as ps shows it, empty if it has gone."""
    try:
        return (PROC / str(pid) / "comm").read_text(errors="replace").strip()
    except OSError:
        return ""


def vmas_of(pid: int) -> list[Vma]:
    """Read /proc/PID/maps; OSError as open(2) and read(2)."""
    shift = page_size().bit_length() - 1
    found = []
    for line in (PROC / str(pid) / "maps").read_bytes().splitlines():
        fields = line.split(maxsplit=5)
        start, end = (int(bound, 16) >> shift for bound in fields[0].split(b"-"))
        name = fields[5].decode(errors="replace") if len(fields) > 5 else ""
        found.append(Vma(start, end, int(fields[2], 16) >> shift, name))
    return found


def entries_of(pid: int, vmas: list[Vma]) -> Entries:
    """Read the present entries of some VMAs; OSError as open(2) and read(2)."""
    descriptor = os.open(PROC / str(pid) / "pagemap", os.O_RDONLY | os.O_CLOEXEC)
    try:
        vpn, bits = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.uint64)]
        for start, end in _present(descriptor, vmas):
            for piece in range(start, end, _PIECE):
                words = read_words(descriptor, piece, min(end - piece, _PIECE))
                at = np.flatnonzero(words >> np.uint64(PRESENT))
                vpn.append(at + piece)
                bits.append(words[at])
    finally:
        os.close(descriptor)
    return Entries(np.concatenate(vpn), np.concatenate(bits))


def _present(descriptor: int, vmas: list[Vma]) -> Iterator[tuple[int, int]]:
    """Ranges of pages to read: those with present entries, or all of each VMA where the kernel cannot tell."""
    ranges = [(vma.start, vma.end) for vma in vmas if vma.name != "[vsyscall]"]
    if not ranges:
        return
    try:
        found = _scanned(descriptor, ranges[0][0], ranges[-1][1])
    except OSError:
        yield from ranges
        return
    if found.size:
        starts, ends = found[:, 0], found[:, 1]
        far = np.flatnonzero(starts[1:] - ends[:-1] > _GAP)
        yield from zip(starts[np.concatenate(([0], far + 1))].tolist(), ends[np.append(far, -1)].tolist(), strict=True)


def _scanned(descriptor: int, start: int, end: int) -> Ints:
    """Ranges with present entries, by PAGEMAP_SCAN: first and last + 1, shape (nr_ranges, 2)."""
    size = page_size()
    regions = np.zeros(_NR_REGIONS, dtype=_REGION)
    found = [np.zeros((0, 2), dtype=np.int64)]
    while start < end:
        argument = bytearray(
            _SCAN_ARGUMENT.pack(
                _SCAN_ARGUMENT.size,
                0,
                start * size,
                end * size,
                0,
                regions.ctypes.data,
                regions.size,
                0,
                0,
                _SCAN_PRESENT,
                0,
                _SCAN_PRESENT,
            )
        )
        nr = fcntl.ioctl(descriptor, _SCAN, argument)
        part = np.stack((regions["start"][:nr], regions["end"][:nr]), axis=1) // np.uint64(size)
        found.append(part.astype(np.int64))
        start = _SCAN_ARGUMENT.unpack(argument)[4] // size
    return np.concatenate(found)
