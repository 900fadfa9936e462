# SPDX-License-Identifier: BSD-3-Clause
"""Where a kernel keeps what the designs keep, and where the model keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from folio_perf.live.btf import Btf, BtfError, Member, Struct

__all__ = ["Layout", "LayoutRow", "layout_of"]

_PAGE_BYTES: Final = 64
_COMMON: Final = {"flags": 0, "mapping": 24, "_mapcount": 48, "_refcount": 52}
"""Byte offsets in any struct page: schemes.md 1.1, csrc/memmap/struct_page.h."""
_TAIL: Final[Mapping[str, Mapping[str, int]]] = {
    "page_mapcount": {"compound_mapcount": 20},
    "subpages_mapcount_locked": {"compound_mapcount": 20, "subpages_mapcount": 24},
    "rmap_id": {"_total_mapcount": 16, "_entire_mapcount": 24, "_nr_pages_mapped": 28},
    "nr_pages_mapped": {"_entire_mapcount": 24, "_nr_pages_mapped": 28},
    "large_mapcount": {"_large_mapcount": 16, "_entire_mapcount": 20, "_nr_pages_mapped": 24},
    "mm_owner_20bit": {
        "_large_mapcount": 16, "_nr_pages_mapped": 20, "_entire_mapcount": 24, "_mm_id_mapcount": 32, "_mm_id": 40,
    },
    "mm_owner": {
        "_large_mapcount": 16, "_nr_pages_mapped": 20, "_entire_mapcount": 24, "_mm_id_mapcount": 32, "_mm_id": 40,
    },
    "no_page_mapcount": {"_large_mapcount": 16, "_entire_mapcount": 24, "_mm_id_mapcount": 32, "_mm_id": 40},
    "total_mapped_pages": {
        "_total_mapped_pages": 24, "_mm_id_mapcount": 32, "_mm_id": 40, "_large_mapcount": 48,
    },
}  # fmt: skip
"""Byte offsets in page[1], by scheme: the state each scheme file describes; the newest, where it moved."""
_BITS: Final = {"head": 6, "anon_exclusive": 17}
"""Bits of flags: csrc/memmap/struct_page.h."""
_DOUBLE_MAP: Final = {"double_map": 20}


@dataclass(frozen=True, slots=True, kw_only=True)
class LayoutRow:
    """One field.

    Parameters
    ----------
    scheme : str
        Empty for what all designs share.
    field : str
        The kernel's name; ``PG_...`` for a bit of ``flags``.
    page : int
        Struct page of the folio it stands in, in the model.
    modelled : int
        Byte from the begin of the folio's first struct page, in the model; of a bit, its number.
    here : int or None
        The same in this kernel; None if it has no such field.
    type : str or None
        The kernel's type.
    """

    scheme: str
    field: str
    page: int
    modelled: int
    here: int | None
    type: str | None

    @property
    def status(self) -> str:
        """``same``, ``differs`` or ``absent``."""
        return "absent" if self.here is None else "same" if self.here == self.modelled else "differs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The layout of a kernel beside the model's.

    Parameters
    ----------
    page_bytes : int
        Size of struct page.
    scheme : str or None
        What this kernel counts by.
    rows : tuple of LayoutRow
    members : tuple of Member
        Of struct folio, or of struct page where there is no struct folio (before v5.16).
    warnings : tuple of str
        Where the modelled layout is not that of the kernel, for what this kernel counts by.
    """

    page_bytes: int
    scheme: str | None
    rows: tuple[LayoutRow, ...]
    members: tuple[Member, ...]
    warnings: tuple[str, ...]


def layout_of(btf: Btf, schemes: tuple[str, ...], scheme: str | None) -> Layout:
    """Look up the fields of all schemes in a kernel's types.

    Parameters
    ----------
    btf : Btf
    schemes : tuple of str
        Names of the schemes there are.
    scheme : str or None
        The one this kernel counts by, if that is known; its fields are warned about.

    Raises
    ------
    BtfError
        If the types have no struct page, or break a rule.
    """
    page = btf.struct("page")
    if page is None:
        raise BtfError(f"{btf.source}: no struct page among the types; these are not those of a whole kernel")
    folio = btf.struct("folio")
    flags = btf.enumerators("PG_")
    rows = [_row("", name, 0, offset, _find(name, 0, page, folio)) for name, offset in _COMMON.items()]
    rows += [_bit("", name, bit, flags) for name, bit in _BITS.items()]
    for each in schemes:
        for name, offset in _TAIL.get(each, {}).items():
            rows.append(_row(each, name, 1, offset, _find(name, 1, page, folio)))
        if each == "page_mapcount":
            rows += [_bit(each, name, bit, flags) for name, bit in _DOUBLE_MAP.items()]
    return Layout(
        page_bytes=page.size,
        scheme=scheme,
        rows=tuple(rows),
        members=(folio or page).members,
        warnings=tuple(_warnings(page, rows, scheme)),
    )


def _find(name: str, number: int, page: Struct, folio: Struct | None) -> tuple[int, str] | None:
    """Byte from the begin of the folio, and type."""
    for struct, base in ((folio, 0), (page, number * page.size)):
        member = None if struct is None else next((each for each in struct.members if each.name == name), None)
        if member is not None:
            return base + member.offset, member.type
    return None


def _row(scheme: str, name: str, page: int, offset: int, found: tuple[int, str] | None) -> LayoutRow:
    here, kind = found if found is not None else (None, None)
    return LayoutRow(scheme=scheme, field=name, page=page, modelled=page * _PAGE_BYTES + offset, here=here, type=kind)


def _bit(scheme: str, name: str, bit: int, flags: Mapping[str, int]) -> LayoutRow:
    return LayoutRow(
        scheme=scheme, field=f"PG_{name}", page=0, modelled=bit, here=flags.get(f"PG_{name}"), type="bit of flags"
    )


def _warnings(page: Struct, rows: list[LayoutRow], scheme: str | None) -> list[str]:
    found = []
    if page.size != _PAGE_BYTES:
        found.append(f"struct page has {page.size} bytes here, {_PAGE_BYTES} in the model: other lines are shared")
    for row in rows:
        if row.scheme not in ("", scheme) or row.status == "same":
            continue
        if row.status == "absent" and row.field.startswith("PG_"):
            continue  # not every kernel has every flag
        if row.status == "absent":
            found.append(f"{row.field}: no such field here; the model keeps it at {_place(row.field, row.modelled)}")
            continue
        assert row.here is not None
        same_line = row.field.startswith("PG_") or row.here // _PAGE_BYTES == row.modelled // _PAGE_BYTES
        moved = f"{row.field}: {_place(row.field, row.here)} here, {_place(row.field, row.modelled)} in the model"
        found.append(f"{moved}{'; the same line' if same_line else ': another line'}")
    return found


def _place(field: str, at: int) -> str:
    if field.startswith("PG_"):
        return f"bit {at}"
    return f"page[{at // _PAGE_BYTES}] +{at % _PAGE_BYTES}"
