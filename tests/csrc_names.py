# SPDX-License-Identifier: BSD-3-Clause
"""Reads lists and structs out of the C headers, so that tests can compare Python's copy with the original."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

CSRC = Path(__file__).resolve().parents[1] / "csrc"
_INTEGERS = {"uint16_t": "<u2", "uint32_t": "<u4", "uint64_t": "<u8"}


@cache
def headers() -> str:
    """Text of all headers, comments removed."""
    text = "\n".join(path.read_text() for path in sorted(CSRC.glob("*/*.h")))
    return re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)


def _found(pattern: str) -> str:
    match = re.search(pattern, headers(), flags=re.DOTALL)
    assert match, f"no header has {pattern}"
    return match[1]


def macro_names(macro: str) -> list[tuple[str, str]]:
    """(NAME, name) of each X(NAME, name, ...) of an X-macro list."""
    return re.findall(r"X\((\w+),\s*(\w+)", _found(rf"#define {macro}\(X\)((?:[^\n]*\\\n)*[^\n]*)"))


def struct_fields(struct: str) -> list[tuple[str, str]]:
    """(name, NumPy type) of each member of a struct of unsigned integers, in order."""
    members = re.findall(r"(uint\d+_t)\s+(\w+);", _found(rf"struct {struct} {{(.*?)}};"))
    return [(name, _INTEGERS[kind]) for kind, name in members]


def enum_names(enum: str, prefix: str) -> list[str]:
    """Constants of ``enum { PREFIX_NAME, ... }`` in order, by name."""
    return [word.strip().removeprefix(prefix).lower() for word in _found(rf"enum {enum} {{(.*?)}};").split(",")]


def flag_values(prefix: str) -> dict[str, int]:
    """Constants PREFIX_NAME = 1u << k, by NAME."""
    found = re.findall(rf"\b{prefix}(\w+) = 1u << (\d+)", headers())
    return {name: 1 << int(shift) for name, shift in found}


def constant(name: str) -> int:
    """Value of ``#define NAME number``."""
    return int(_found(rf"#define {name} (\d+)"))
