# SPDX-License-Identifier: BSD-3-Clause
"""BTF: written by hand and read back, broken in every way, and that of the running kernel."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_cli import is_mail, run, run_json
from typer.testing import CliRunner

from folio_perf.cli import app
from folio_perf.live.btf import VMLINUX, Btf, BtfError, read_btf
from folio_perf.live.layout import layout_of
from folio_perf.schemes import scheme_info, scheme_names
from folio_perf.validation._golden_layout import _tail_fields

needs_btf = pytest.mark.skipif(
    not os.access(VMLINUX, os.R_OK), reason="this kernel has no types (CONFIG_DEBUG_INFO_BTF)"
)
INT, PTR, ARRAY, STRUCT, UNION, ENUM, TYPEDEF, CONST, ENUM64 = 1, 2, 3, 4, 5, 6, 8, 10, 19


class Writer:
    """Types one after another; numbers count from 1."""

    def __init__(self, order: str = "<") -> None:
        self.order, self.types, self.strings, self.nr = order, b"", b"\0", 0

    def name(self, text: str) -> int:
        if not text:
            return 0
        at = len(self.strings)
        self.strings += text.encode() + b"\0"
        return at

    def add(self, kind: int, name: str, value: int, *extra: tuple[int, ...], nr: int = 0, flag: bool = False) -> int:
        info = kind << 24 | nr | flag << 31
        self.types += struct.pack(self.order + "III", self.name(name), info, value)
        for each in extra:
            self.types += struct.pack(self.order + f"{len(each)}I", *each)
        self.nr += 1
        return self.nr

    def struct(self, name: str, size: int, members: list[tuple[str, int, int]], *, kind: int = STRUCT) -> int:
        rows = [(self.name(member), number, bits) for member, number, bits in members]
        return self.add(kind, name, size, *rows, nr=len(rows))

    def file(self) -> bytes:
        header = struct.pack(
            self.order + "HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(self.types), len(self.types), len(self.strings)
        )
        return header + self.types + self.strings


def small_kernel(order: str = "<") -> bytes:
    """A kernel of two structs."""
    writer = Writer(order)
    integer = writer.add(INT, "int", 4, (0x01000020,))
    count = writer.struct("", 4, [("counter", integer, 0)])
    atomic = writer.add(TYPEDEF, "atomic_t", count)
    pointer = writer.add(PTR, "", writer.add(CONST, "", integer))
    slots = writer.add(ARRAY, "", 0, (integer, integer, 2))
    either = writer.struct("", 8, [("_mapcount", atomic, 0), ("page_type", integer, 0), ("both", slots, 0)], kind=UNION)
    writer.struct("page", 64, [("flags", pointer, 0), ("mapping", pointer, 192), ("", either, 384)])
    bits = [(writer.name("narrow"), integer, 3 << 24 | 5), (writer.name("wide"), integer, 32)]
    writer.add(STRUCT, "fields", 8, *bits, nr=2, flag=True)
    writer.add(ENUM, "pageflags", 4, (writer.name("PG_head"), 6), (writer.name("PG_anon_exclusive"), 17), nr=2)
    writer.add(ENUM64, "wide", 8, (writer.name("BIG"), 1, 2), nr=1)
    return writer.file()


@pytest.mark.parametrize("order", ["<", ">"])
def test_structs_and_enumerators_are_read_back(order: str) -> None:
    btf = Btf(small_kernel(order))
    page = btf.struct("page")
    assert page is not None and page.size == 64
    found = [(each.name, each.offset_bits, each.bits, each.type) for each in page.members]
    assert found == [
        ("flags", 0, 64, "const int *"), ("mapping", 192, 64, "const int *"), ("_mapcount", 384, 32, "atomic_t"),
        ("page_type", 384, 32, "int"), ("both", 384, 64, "int[2]"),
    ]  # fmt: skip
    fields = btf.struct("fields")
    assert fields is not None
    assert [(each.name, each.offset_bits, each.bits) for each in fields.members] == [("narrow", 5, 3), ("wide", 32, 32)]
    assert btf.enumerators("PG_") == {"PG_head": 6, "PG_anon_exclusive": 17}
    assert btf.enumerators()["BIG"] == 1 | 2 << 32
    assert btf.struct("nonesuch") is None and page.offset("nonesuch") is None and page.offset("both") == 48


def read_all(data: bytes) -> None:
    """Ask for all there is."""
    btf = Btf(data, "file")
    for name in ("page", "fields", "pageflags"):
        btf.struct(name)
    btf.enumerators()
    layout_of(btf, scheme_names(), "mm_owner")


@given(data=st.data())
@settings(max_examples=300, deadline=None)
def test_a_broken_file_is_refused_in_words(data: st.DataObject) -> None:
    """Bytes changed, cut off or added: an error that names the file, or an answer; never anything else."""
    content = bytearray(small_kernel())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at : at + data.draw(st.sampled_from([0, 1, 4]))] = data.draw(st.binary(max_size=4))
    try:
        read_all(bytes(content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content))
    except BtfError as error:
        assert str(error).startswith("file: ")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda data: data[:10], "10 bytes are no BTF"),
        (lambda data: b"\x7fELF" + data[4:], "not with the magic number"),
        (lambda data: data[:2] + b"\2" + data[3:], "version 2 of BTF"),
        (lambda data: data[:-1], "sections up to byte"),
        (lambda data: data[:27] + b"\xff" + data[28:], "name"),
        (lambda data: data[:31] + b"\x1f" + data[32:], "is of kind 31"),
        (lambda data: data[:12] + struct.pack("<I", 20) + data[16:], "ends behind the section"),
    ],
)
def test_what_is_wrong_is_said(change: Any, said: str) -> None:
    with pytest.raises(BtfError, match=said):
        btf = Btf(change(small_kernel()), "file")
        for each in btf._types:
            btf._name(each.name_offset)


def test_types_that_contain_themselves_are_refused() -> None:
    writer = Writer()
    writer.add(TYPEDEF, "loop", 1)
    writer.struct("page", 64, [("", 3, 0), ("flags", 1, 0)])
    writer.struct("", 64, [("", 3, 0)])
    with pytest.raises(BtfError, match="itself"):
        Btf(writer.file()).struct("page")


def test_a_layout_that_differs_is_warned_about() -> None:
    layout = layout_of(Btf(small_kernel()), scheme_names(), "mm_owner")
    status = {(row.scheme, row.field): row.status for row in layout.rows}
    assert status["", "_mapcount"] == "same" and status["", "_refcount"] == "absent"
    assert status["mm_owner", "_large_mapcount"] == "absent"
    assert any(each.startswith("_large_mapcount: no such field") for each in layout.warnings)
    writer = Writer()
    integer = writer.add(INT, "int", 4, (0x01000020,))
    writer.struct("page", 128, [("flags", integer, 0), ("_mapcount", integer, 256)])
    layout = layout_of(Btf(writer.file()), scheme_names(), None)
    assert any("128 bytes here" in each for each in layout.warnings)
    assert any(each.startswith("_mapcount: page[0] +32 here") for each in layout.warnings)


def test_modelled_places_are_those_the_schemes_state() -> None:
    """As `schemes` describes them, and as golden files are read."""
    newest = {"page_mapcount": 601, "nr_pages_mapped": 609, "large_mapcount": 614, "mm_owner": 703}
    for row in layout_of(Btf(small_kernel()), scheme_names(), None).rows:
        if not row.scheme or row.field.startswith("PG_"):
            continue
        state = " ".join(scheme_info(row.scheme).state)
        assert row.field in state or row.field.startswith("_mm_id"), row
        if "+" in state.partition(row.field)[2] and row.scheme != "page_mapcount":
            assert f"+{row.modelled - 64}" in state, row
        if row.scheme in newest and not row.field.startswith("_mm_id"):
            assert _tail_fields(row.scheme, newest[row.scheme])[row.field.lstrip("_")].offset == row.modelled - 64


@needs_btf
def test_the_running_kernel_has_its_types() -> None:
    btf = read_btf()
    page, task = btf.struct("page"), btf.struct("task_struct")
    assert page is not None and page.size >= 56 and page.offset("_refcount") is not None
    assert task is not None and task.offset("mm") is not None
    assert btf.enumerators("PG_")["PG_locked"] == 0


@needs_btf
def test_btf_as_text_and_json(tmp_path: Path) -> None:
    assert is_mail(run("live", "btf", "--members"))
    value = run_json("live", "btf")
    assert value["kind"] == "measured" and value["source"] == str(VMLINUX)
    assert {row["scheme"] for row in value["rows"]} >= {"", "mm_owner", "page_mapcount"}
    file = tmp_path / "btf"
    file.write_bytes(small_kernel())
    assert "warning" in run("live", "btf", str(file), "--kernel", "6.18")
    assert "unknown" in run("live", "btf", str(file))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("/nonesuch",), "/nonesuch: No such file"),
        ((str(Path(__file__)), "--kernel", "6.18"), "magic number"),
        (("--kernel", "six"), "'six' is not a kernel version"),
    ],
)
def test_wrong_inputs_are_named(arguments: tuple[str, ...], said: str) -> None:
    result = CliRunner().invoke(app, ["live", "btf", *arguments])
    assert result.exit_code == 2 and not result.stdout
    assert said in result.stderr and result.stderr.count("\n") == 1
