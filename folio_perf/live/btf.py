# SPDX-License-Identifier: BSD-3-Clause
"""BTF, the types of the running kernel: structs, their members and where these stand, enumerators.

Source: Documentation/bpf/btf.rst. Every number of the file is checked before it is used.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

VMLINUX: Final = Path("/sys/kernel/btf/vmlinux")

_MAGIC: Final = 0xEB9F
_HEADER: Final = "HBBIIIII"
_NR_DEPTH: Final = 64
"""Anonymous structs inside each other, and typedefs of typedefs; no compiler makes as many."""

(
    _INT, _PTR, _ARRAY, _STRUCT, _UNION, _ENUM, _FWD, _TYPEDEF, _VOLATILE, _CONST, _RESTRICT, _FUNC, _FUNC_PROTO, _VAR,
    _DATASEC, _FLOAT, _DECL_TAG, _TYPE_TAG, _ENUM64,
) = range(1, 20)  # fmt: skip
# Bytes behind the 12 of each type: fixed, and per element.
_EXTRA: Final = {
    _INT: (4, 0), _PTR: (0, 0), _ARRAY: (12, 0), _STRUCT: (0, 12), _UNION: (0, 12), _ENUM: (0, 8), _FWD: (0, 0),
    _TYPEDEF: (0, 0), _VOLATILE: (0, 0), _CONST: (0, 0), _RESTRICT: (0, 0), _FUNC: (0, 0), _FUNC_PROTO: (0, 8),
    _VAR: (4, 0), _DATASEC: (0, 12), _FLOAT: (0, 0), _DECL_TAG: (4, 0), _TYPE_TAG: (0, 0), _ENUM64: (0, 12),
}  # fmt: skip
_MODIFIERS: Final = {_VOLATILE: "volatile ", _CONST: "const ", _RESTRICT: "restrict ", _TYPE_TAG: "", _TYPEDEF: ""}
_AGGREGATES: Final = {_STRUCT: "struct", _UNION: "union"}
_POINTER_BYTES: Final = 8


class BtfError(ValueError):
    """A file that is not BTF, or breaks its rules; the message names file, place and rule."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A member of a struct, those of anonymous structs and unions inside it included.

    Parameters
    ----------
    name : str
    offset_bits : int
        From the begin of the struct.
    bits : int or None
        Size; None if its type has none.
    type : str
        As C would write it.
    """

    name: str
    offset_bits: int
    bits: int | None
    type: str

    @property
    def offset(self) -> int:
        """In bytes, rounded down."""
        return self.offset_bits // 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Struct:
    """A struct or union: name, size in bytes, members by address."""

    name: str
    size: int
    members: tuple[Member, ...]

    def offset(self, member: str) -> int | None:
        """Offset of a member in bytes; None if there is none of that name."""
        return next((each.offset for each in self.members if each.name == member), None)


@dataclass(frozen=True, slots=True)
class _Type:
    at: int
    name_offset: int
    kind: int
    nr: int
    flag: bool
    value: int
    """Size, or type referred to."""


class Btf:
    """The types of one kernel.

    Parameters
    ----------
    data : bytes
        The whole file.
    source : str
        Its name, for errors.

    Raises
    ------
    BtfError
        If the header or the list of types breaks a rule.
    """

    def __init__(self, data: bytes, source: str = "BTF") -> None:
        self._data, self.source = data, source
        if len(data) < 24:
            self._fail(f"{len(data)} bytes are no BTF, whose header has 24")
        little = int.from_bytes(data[:2], "little") == _MAGIC
        if not little and int.from_bytes(data[:2], "big") != _MAGIC:
            self._fail(f"begins with {data[:2].hex()}, not with the magic number eb9f")
        self._order = "<" if little else ">"
        _, version, _, header, type_offset, type_bytes, string_offset, string_bytes = struct.unpack_from(
            self._order + _HEADER, data
        )
        if version != 1:
            self._fail(f"version {version} of BTF, not 1")
        self._types_at, self._strings_at = header + type_offset, header + string_offset
        self._types_end, self._strings_end = self._types_at + type_bytes, self._strings_at + string_bytes
        if header < 24 or max(self._types_end, self._strings_end) > len(data):
            self._fail(f"sections up to byte {max(self._types_end, self._strings_end)} in {len(data)} bytes")
        self._types = list(self._read_types())

    def _fail(self, rule: str) -> NoReturn:
        raise BtfError(f"{self.source}: {rule}")

    def _read_types(self) -> Iterator[_Type]:
        """Read the list of types; the first has number 1."""
        unpack = struct.Struct(self._order + "III").unpack_from
        at = self._types_at
        while at < self._types_end:
            if at + 12 > self._types_end:
                self._fail(f"a type at byte {at} ends behind the section")
            name_offset, info, value = unpack(self._data, at)
            kind, nr = info >> 24 & 0x1F, info & 0xFFFF
            if kind not in _EXTRA:
                self._fail(f"a type at byte {at} is of kind {kind}; this program knows 1 to {len(_EXTRA)}")
            fixed, each = _EXTRA[kind]
            end = at + 12 + fixed + each * nr
            if end > self._types_end:
                self._fail(f"a type at byte {at} ends behind the section")
            yield _Type(at, name_offset, kind, nr, bool(info >> 31), value)
            at = end

    @property
    def nr_types(self) -> int:
        """How many types there are."""
        return len(self._types)

    # ---- what callers ask ----

    def struct(self, name: str) -> Struct | None:
        """Find a struct or union by name; None if there is none."""
        for each in self._types:
            if each.kind in _AGGREGATES and self._name(each.name_offset) == name:
                members = sorted(self._members(each, 0, 0), key=lambda member: member.offset_bits)
                return Struct(name=name, size=each.value, members=tuple(members))
        return None

    def enumerators(self, prefix: str = "") -> dict[str, int]:
        """All enumerators whose names begin so."""
        found: dict[str, int] = {}
        for each in self._types:
            if each.kind not in (_ENUM, _ENUM64):
                continue
            form = struct.Struct(self._order + ("Ii" if each.kind == _ENUM else "III"))
            for place in range(each.nr):
                name_offset, low, *high = form.unpack_from(self._data, each.at + 12 + form.size * place)
                name = self._name(name_offset)
                if name.startswith(prefix):
                    found.setdefault(name, low | high[0] << 32 if high else low)
        return found

    # ---- how the file says it ----

    def _name(self, offset: int) -> str:
        start = self._strings_at + offset
        end = self._data.find(b"\0", start, self._strings_end)
        if start >= self._strings_end or end < 0:
            self._fail(f"name {offset} is outside the section of strings")
        try:
            return self._data[start:end].decode("ascii")
        except UnicodeDecodeError:
            self._fail(f"name {offset} is not ASCII")

    def _type(self, number: int) -> _Type | None:
        """Type of a number; None for 0, which is void."""
        if number > len(self._types):
            self._fail(f"type {number} of {len(self._types)}")
        return self._types[number - 1] if number else None

    def _members(self, aggregate: _Type, base: int, depth: int) -> Iterator[Member]:
        if depth == _NR_DEPTH:
            self._fail(f"a struct at byte {aggregate.at} contains itself")
        form = struct.Struct(self._order + "III")
        for place in range(aggregate.nr):
            name_offset, number, offset = form.unpack_from(self._data, aggregate.at + 12 + form.size * place)
            # With the flag set the upper eight bits are the width of a bit field.
            width = offset >> 24 if aggregate.flag else 0
            at = base + (offset & 0xFFFFFF if aggregate.flag else offset)
            name = self._name(name_offset)
            of = self._stripped(number)
            if not name and of is not None and of.kind in _AGGREGATES:
                yield from self._members(of, at, depth + 1)
                continue
            size = self._size(number, 0)
            bits = width or (None if size is None else 8 * size)
            yield Member(name=name, offset_bits=at, bits=bits, type=self._text(number, 0))

    def _stripped(self, number: int) -> _Type | None:
        of, depth = self._type(number), 0
        while of is not None and of.kind in _MODIFIERS:
            if depth == _NR_DEPTH:
                self._fail(f"type {number} refers to itself")
            of, depth = self._type(of.value), depth + 1
        return of

    def _array(self, of: _Type) -> tuple[int, int]:
        element, _, nr = struct.unpack_from(self._order + "III", self._data, of.at + 12)
        return element, nr

    def _size(self, number: int, depth: int) -> int | None:
        """Bytes of a type; None if it has no size."""
        of = self._stripped(number)
        if of is None or depth == _NR_DEPTH:
            return None
        if of.kind == _PTR:
            return _POINTER_BYTES
        if of.kind == _ARRAY:
            element, nr = self._array(of)
            size = self._size(element, depth + 1)
            return None if size is None else size * nr
        return of.value if of.kind in (_INT, _STRUCT, _UNION, _ENUM, _FLOAT, _ENUM64) else None

    def _text(self, number: int, depth: int) -> str:
        of = self._type(number)
        if of is None:
            return "void"
        if depth == _NR_DEPTH:
            self._fail(f"type {number} refers to itself")
        name = self._name(of.name_offset)
        if of.kind in _AGGREGATES:
            return f"{_AGGREGATES[of.kind]} {name}".rstrip()
        if of.kind == _FWD:
            return f"{'union' if of.flag else 'struct'} {name}"
        if of.kind in (_ENUM, _ENUM64):
            return f"enum {name}".rstrip()
        if of.kind == _PTR:
            return f"{self._text(of.value, depth + 1)} *"
        if of.kind == _ARRAY:
            element, nr = self._array(of)
            return f"{self._text(element, depth + 1)}[{nr}]"
        if of.kind == _FUNC_PROTO:
            return "function"
        if of.kind in _MODIFIERS and of.kind != _TYPEDEF:
            return _MODIFIERS[of.kind] + self._text(of.value, depth + 1)
        return name


def read_btf(path: str | os.PathLike[str] = VMLINUX) -> Btf:
    """Read a BTF file, by default that of the running kernel.

    Raises
    ------
    OSError
        If it cannot be read: a kernel without CONFIG_DEBUG_INFO_BTF has none.
    BtfError
        If it breaks a rule.
    """
    return Btf(Path(path).read_bytes(), os.fspath(path))
