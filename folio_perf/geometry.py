# SPDX-License-Identifier: BSD-3-Clause
"""Page, folio and memory sizes of the modelled machine, and which folio sizes faults may take."""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = [
    "PMD_SIZE",
    "FolioPolicy",
    "Geometry",
    "format_size",
    "parse_size",
]

PTE_BYTES = 8
MIN_PAGE_BYTES = 4 << 10
MAX_PAGE_BYTES = 256 << 10
MAX_MEMORY_BYTES = 16 << 40

PMD_SIZE = 0
"""In a `FolioPolicy`: the size one PMD maps, whatever it is on the geometry at hand."""

_UNITS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}
_SIZE = re.compile(r"([0-9]{1,19})(?:([KMGT])I?B?|B?)", re.ASCII)


def parse_size(text: str) -> int:
    """Read a size as people write it.

    Parameters
    ----------
    text : str
        Decimal digits and an optional unit, powers of 1024: ``4096``, ``4K``, ``64kB``, ``2MiB``, ``1T``.

    Returns
    -------
    int
        Bytes.

    Raises
    ------
    ValueError
        If `text` is not a size, or 2^63 bytes or more.
    """
    match = _SIZE.fullmatch(text.strip().upper())
    if match is None:
        raise ValueError(f"{text!r} is not a size: digits and one of K, M, G, T, such as 64K or 2M")
    value = int(match[1]) << _UNITS[match[2] or ""]
    if value >= 1 << 63:
        raise ValueError(f"size {text!r} must be below 2^63 bytes")
    return value


def format_size(nr_bytes: int) -> str:
    """Write a size in the largest unit that divides it: 65536 as ``64K``; the inverse of `parse_size`."""
    for unit, shift in reversed(_UNITS.items()):
        if nr_bytes and nr_bytes % (1 << shift) == 0:
            return f"{nr_bytes >> shift}{unit}"
    return str(nr_bytes)


def _is_power_of_two(value: int) -> bool:
    return value > 0 and value & (value - 1) == 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometry:
    """Sizes of the modelled machine.

    Parameters
    ----------
    page_size_bytes : int
        Base page: a power of two from 4 KiB to 256 KiB.
    line_bytes : int
        Cache line: 64 or 128. A struct page is 64 bytes on all of them.
    memory_bytes : int
        Modelled RAM: a multiple of the page size, at most 16 TiB. Its struct pages are reserved, not committed.

    Raises
    ------
    ValueError
        If a size is impossible; the message names it.
    """

    page_size_bytes: int = 4096
    line_bytes: int = 64
    memory_bytes: int = 256 << 30

    def __post_init__(self) -> None:
        for field in ("page_size_bytes", "line_bytes", "memory_bytes"):
            value = getattr(self, field)
            if not isinstance(value, int) or isinstance(value, bool):
                raise ValueError(f"{field} {value!r} must be an int")
        page = self.page_size_bytes
        if not (_is_power_of_two(page) and MIN_PAGE_BYTES <= page <= MAX_PAGE_BYTES):
            raise ValueError(f"page size {page} must be a power of two from 4096 to 262144 bytes")
        if self.line_bytes not in (64, 128):
            raise ValueError(f"line size {self.line_bytes} must be 64 or 128 bytes")
        if self.memory_bytes <= 0 or self.memory_bytes % page:
            raise ValueError(f"memory size {self.memory_bytes} must be a positive multiple of the page size {page}")
        if self.memory_bytes > MAX_MEMORY_BYTES:
            raise ValueError(f"memory size {self.memory_bytes} must be at most {MAX_MEMORY_BYTES} bytes (16 TiB)")

    @classmethod
    def from_text(cls, page_size: str, *, line_bytes: int = 64, memory: str = "256G") -> Geometry:
        """Make a geometry from sizes as people write them: ``Geometry.from_text("64K")``."""
        return cls(page_size_bytes=parse_size(page_size), line_bytes=line_bytes, memory_bytes=parse_size(memory))

    @property
    def page_shift(self) -> int:
        """Binary logarithm of the page size."""
        return self.page_size_bytes.bit_length() - 1

    @property
    def line_shift(self) -> int:
        """Binary logarithm of the line size."""
        return self.line_bytes.bit_length() - 1

    @property
    def entries_per_table(self) -> int:
        """Entries of one page table: it fills one base page."""
        return self.page_size_bytes // PTE_BYTES

    @property
    def pmd_order(self) -> int:
        """Order of the folio one PMD maps: 9 for 4 KiB, 11 for 16 KiB, 13 for 64 KiB pages."""
        return self.entries_per_table.bit_length() - 1

    @property
    def max_order(self) -> int:
        """Largest folio order: that of a PMD, since no shipped scheme maps more as one folio."""
        return self.pmd_order

    @property
    def pmd_size_bytes(self) -> int:
        """Bytes one PMD maps: 2 MiB for 4 KiB, 32 MiB for 16 KiB, 512 MiB for 64 KiB pages."""
        return self.page_size_bytes << self.pmd_order

    @property
    def nr_pages(self) -> int:
        """Base pages of the modelled RAM."""
        return self.memory_bytes >> self.page_shift


@dataclass(frozen=True, slots=True, kw_only=True)
class FolioPolicy:
    """Folio sizes that faults may take, as ``/sys/kernel/mm/transparent_hugepage`` states them.

    Sizes are bytes; `PMD_SIZE` (0) stands for the size one PMD maps. Of the sizes allowed a fault takes the largest
    that fits VMA and page table.

    Parameters
    ----------
    always_bytes : tuple of int
        For anonymous memory everywhere.
    madvise_bytes : tuple of int
        For anonymous memory under MADV_HUGEPAGE, in addition.
    shmem_bytes : tuple of int
        For memfd and shared anonymous memory. tmpfs objects are mounted with huge=always and do not need it.
    name : str
        What tables call the policy.
    """

    always_bytes: tuple[int, ...] = ()
    madvise_bytes: tuple[int, ...] = (PMD_SIZE,)
    shmem_bytes: tuple[int, ...] = ()
    name: str = "default"

    def __post_init__(self) -> None:
        for field in ("always_bytes", "madvise_bytes", "shmem_bytes"):
            for size in getattr(self, field):
                if not isinstance(size, int) or not (size == PMD_SIZE or _is_power_of_two(size)):
                    raise ValueError(f"{field}: folio size {size!r} must be a power of two, or 0 for the PMD size")

    @classmethod
    def parse(cls, text: str) -> FolioPolicy:
        """Read a policy.

        Parameters
        ----------
        text : str
            ``default`` (PMD size under MADV_HUGEPAGE, as Debian ships it), ``order0`` (small folios only), ``thp``
            (PMD size everywhere), ``mthp=64K`` or ``mthp=16K,64K`` (exactly these sizes, everywhere).

        Raises
        ------
        ValueError
            If `text` is none of them.
        """
        kind, equals, sizes = text.partition("=")
        if not equals and kind in _POLICIES:
            return _POLICIES[kind]
        if kind == "mthp" and equals:
            always = tuple(sorted({parse_size(size) for size in sizes.split(",")}))
            if PMD_SIZE in always:
                raise ValueError(f"folio policy {text!r}: a folio of 0 bytes does not exist")
            return cls(always_bytes=always, madvise_bytes=(), name=f"mthp={','.join(map(format_size, always))}")
        raise ValueError(f"folio policy {text!r} must be one of default, order0, thp, mthp=SIZE[,SIZE...]")

    def orders(self, geometry: Geometry) -> tuple[int, int]:
        """Folio orders on one geometry.

        Returns
        -------
        tuple of int
            (always, madvise): bit k stands for order k.

        Raises
        ------
        ValueError
            If the geometry has no folio of that size.
        """
        return (
            _mask(self.always_bytes, geometry, _MIN_ANON_ORDER),
            _mask(self.madvise_bytes, geometry, _MIN_ANON_ORDER),
        )

    def shmem_orders(self, geometry: Geometry) -> int:
        """Folio orders for memfd and shared anonymous memory, bit k for order k; errors as `orders`."""
        return _mask(self.shmem_bytes, geometry, _MIN_SHMEM_ORDER)


# The deferred-split list needs the third struct page, so anonymous folios have order 2 at least:
# THP_ORDERS_ALL_ANON, include/linux/huge_mm.h (v6.8).
_MIN_ANON_ORDER = 2
_MIN_SHMEM_ORDER = 1

_POLICIES = {
    "default": FolioPolicy(),
    "order0": FolioPolicy(madvise_bytes=(), name="order0"),
    "thp": FolioPolicy(always_bytes=(PMD_SIZE,), madvise_bytes=(), name="thp"),
}


def _mask(sizes: tuple[int, ...], geometry: Geometry, min_order: int) -> int:
    mask = 0
    for size in sizes:
        order = geometry.pmd_order
        if size != PMD_SIZE:
            order = size.bit_length() - 1 - geometry.page_shift
            if not min_order <= order <= geometry.max_order:
                page, smallest = geometry.page_size_bytes, geometry.page_size_bytes << min_order
                raise ValueError(
                    f"folio size {format_size(size)} is order {order} with {format_size(page)} pages;"
                    f" sizes run from {format_size(smallest)} (order {min_order})"
                    f" to {format_size(geometry.pmd_size_bytes)} (order {geometry.max_order})"
                )
        mask |= 1 << order
    return mask
