# SPDX-License-Identifier: BSD-3-Clause
"""Fields of struct page and struct folio of the running kernel, read where BTF says they stand. Nothing is written."""

from __future__ import annotations

import mmap
import os
from typing import Final

import numpy as np
from numpy.typing import NDArray

from folio_perf._native.live import KernelMemory
from folio_perf.live.btf import Btf, Struct, read_btf
from folio_perf.live.page_frames import Ints
from folio_perf.live.processes import page_frame_of

Bytes = NDArray[np.uint8]

_NR_STRUCTS: Final = 4
"""Struct pages of a folio in which the kernel keeps counts."""
_WORD: Final = 8


class KernelFolios:
    """Struct pages by page frame.

    Raises
    ------
    OSError
        If kernel memory or types may not be read.
    BtfError
        If the types are malformed, or lack what this needs.
    """

    def __init__(self) -> None:
        self._btf = read_btf()
        self._memory = KernelMemory()
        self.page, self._folio = _struct(self._btf, "page"), self._btf.struct("folio")
        flags = self._btf.enumerators("PG_")
        self._flags = {name: flags.get(f"PG_{name}") for name in ("anon_exclusive", "double_map", "partially_mapped")}
        self._base = self._vmemmap()

    def _vmemmap(self) -> int:
        """Address of the struct page of page frame 0.

        The page cache of a file of one page holds the address of that page's struct page; pagemap has its frame.
        """
        file = os.memfd_create("folio_perf", os.MFD_CLOEXEC)
        try:
            os.ftruncate(file, mmap.PAGESIZE)
            with mmap.mmap(file, mmap.PAGESIZE) as memory:
                memory[0] = 1
                pfn = page_frame_of(memory)
                at = self._memory.task()
                for name, member in (("task_struct", "files"), ("files_struct", "fdt"), ("fdtable", "fd")):
                    at = self._pointer(at + self._offset(name, member))
                at = self._pointer(at + _WORD * file)
                at = self._pointer(at + self._offset("file", "f_mapping"))
                page = self._pointer(at + self._offset("address_space", "i_pages") + self._offset("xarray", "xa_head"))
        finally:
            os.close(file)
        if not pfn or page & 3:
            raise PermissionError(1, "page frame numbers are hidden from this user", "/proc/self/pagemap")
        return page - pfn * self.page.size

    def _offset(self, name: str, member: str) -> int:
        offset = _struct(self._btf, name).offset(member)
        if offset is None:
            raise ValueError(f"this kernel's struct {name} has no member {member}")
        return offset

    def _pointer(self, address: int) -> int:
        word = bytearray(_WORD)
        self._memory.read(address, word)
        return int.from_bytes(word, "little")

    def struct_pages(self, pfn: Ints) -> Bytes:
        """Read struct pages; page frames ascend. uint8, shape (nr, size of a struct page)."""
        found = np.zeros((pfn.size, self.page.size), dtype=np.uint8)
        self._memory.gather(self._base, pfn.astype(np.uint64), found)
        return found

    def folio(self, pfn: int, nr_pages: int) -> dict[str, int]:
        """Read the counts of a large folio, as raw as the kernel has them, by golden key; absent what it has not."""
        raw = bytearray(min(nr_pages, _NR_STRUCTS) * self.page.size)
        self._memory.read(self._base + pfn * self.page.size, raw)
        words = np.frombuffer(raw, dtype=np.int32)
        found = {}
        for key, (offset, start) in self._counts().items():
            if offset + 4 <= len(raw):
                found[key] = int(words[offset // 4]) - start
        tail_flags = int(np.frombuffer(raw, dtype=np.uint64)[self.page.size // _WORD])
        for key, name in (("dm", "double_map"), ("pm", "partially_mapped")):
            bit = self._flags[name]
            if bit is not None:
                found[key] = tail_flags >> bit & 1
        return found

    def owners(self, pfn: int) -> tuple[tuple[int, int], tuple[int, int], int] | None:
        """Both owner slots, id of the mm (0 if empty) and mappings, and the shared bit; None before v6.15."""
        if self._folio is None or self._folio.offset("_mm_id") is None:
            return None
        ids, counts = self._folio.offset("_mm_id") or 0, self._folio.offset("_mm_id_mapcount") or 0
        raw = bytearray(2 * self.page.size)
        self._memory.read(self._base + pfn * self.page.size, raw)
        words = np.frombuffer(raw, dtype=np.uint32)
        first, second = (int(words[ids // 4 + slot]) for slot in (0, 1))
        mappings = [int(words[counts // 4 + slot].astype(np.int32)) + 1 for slot in (0, 1)]
        mask = (1 << 31) - 1
        return (first & mask, mappings[0]), (second & mask, mappings[1]), second >> 31

    def _counts(self) -> dict[str, tuple[int, int]]:
        """Golden key of each count: offset from the folio, and what stands there while nothing is mapped."""
        size, folio = self.page.size, self._folio
        found: dict[str, tuple[int, int]] = {}

        def add(key: str, start: int, *places: tuple[Struct | None, str, int]) -> None:
            for of, member, base in places:
                offset = None if of is None else of.offset(member)
                if offset is not None:
                    found[key] = (base + offset, start)
                    return

        add("ref", 0, (self.page, "_refcount", 0))
        add("mc0", -1, (self.page, "_mapcount", 0))
        add("lm", -1, (folio, "_large_mapcount", 0))
        add("em", -1, (folio, "_entire_mapcount", 0))
        add("nm", 0, (folio, "_nr_pages_mapped", 0))
        add("pin", 0, (folio, "_pincount", 0), (self.page, "compound_pincount", size),
            (self.page, "hpage_pinned_refcount", 2 * size))  # fmt: skip
        if "em" not in found:
            add("cmc", -1, (self.page, "compound_mapcount", size))
        return found

    def anon_exclusive(self, pages: Bytes) -> Ints:
        """Whether PageAnonExclusive is set in some struct pages; zeros before v5.19."""
        bit = self._flags["anon_exclusive"]
        if bit is None:
            return np.zeros(len(pages), dtype=np.int64)
        flags = pages[:, :_WORD].copy().view(np.uint64).reshape(-1)
        return (flags >> np.uint64(bit) & np.uint64(1)).astype(np.int64)

    def word(self, pages: Bytes, member: str) -> Ints:
        """Read a 32-bit member of some struct pages."""
        offset = self._offset("page", member)
        return pages[:, offset : offset + 4].copy().view(np.int32).reshape(-1).astype(np.int64)


def _struct(btf: Btf, name: str) -> Struct:
    found = btf.struct(name)
    if found is None:
        raise ValueError(f"the types of this kernel have no struct {name}")
    return found
