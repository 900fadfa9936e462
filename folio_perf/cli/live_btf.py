# SPDX-License-Identifier: BSD-3-Clause
"""live btf: where this kernel keeps what the designs keep."""

from __future__ import annotations

import os
import platform
from dataclasses import asdict
from typing import Annotated

import typer
from rich.text import Text

from folio_perf import report
from folio_perf.cli.application import checked, inputs, print_json, show_text
from folio_perf.cli.live import live_app
from folio_perf.cli.options import Json
from folio_perf.live.btf import VMLINUX, Btf, read_btf
from folio_perf.live.layout import Layout, LayoutRow, layout_of
from folio_perf.live.runner import running_version
from folio_perf.results import MEASURED
from folio_perf.schemes import scheme_names
from folio_perf.validation.golden import shipped_scheme

_ANY = "all designs"


@live_app.command("btf")
def live_btf(
    file: Annotated[
        str | None,
        typer.Argument(metavar="[FILE]", help="BTF of another kernel; default this one's.", show_default=False),
    ] = None,
    kernel: Annotated[
        str | None, typer.Option("--kernel", help="Version of FILE, to know what it counts by.", metavar="V")
    ] = None,
    members: Annotated[bool, typer.Option("--members", help="Also list all of struct folio.")] = False,
    as_json: Json = False,
) -> None:
    """Show where the kernel keeps the fields of each design, and warn where the modelled layout differs."""
    version = kernel if kernel is not None else running_version() if file is None else None
    scheme = None if version is None else checked("--kernel", _scheme, version)
    where = os.fspath(VMLINUX) if file is None else file
    with inputs():
        btf = read_btf(where)
        layout = layout_of(btf, scheme_names(), scheme)
    if as_json:
        rows = [asdict(row) | {"status": row.status} for row in layout.rows]
        print_json({"kind": MEASURED, "source": where} | asdict(layout) | {"rows": rows})
    else:
        name = platform.release() if file is None else version
        show_text(_report(layout, btf, where, name, members=members))


def _scheme(version: str) -> str:
    parts = version.split(".")
    if len(parts) < 2 or not all(part.isascii() and part.isdecimal() for part in parts[:2]):
        raise ValueError(f"{version!r} is not a kernel version such as 6.18")
    return shipped_scheme(version)


def _report(layout: Layout, btf: Btf, source: str, kernel: str | None, *, members: bool) -> Text:
    pairs = [
        ("types", f"{btf.nr_types:,} in {source}"),
        ("kernel", f"{kernel or 'unknown'}, counts by {layout.scheme or 'unknown'}"),
        ("struct page", f"{layout.page_bytes} bytes"),
    ]
    rows = [
        (row.scheme or _ANY, row.field, _place(row, row.modelled), _place(row, row.here), row.status)
        for row in layout.rows
    ]
    parts = [
        report.heading("live btf: where fields of designs stand (measured)"),
        Text("\n"),
        report.facts(pairs),
        Text("\n"),
        report.table(("design", "field", "model", "here", ""), rows),
        Text("\n"),
    ]
    if layout.warnings:
        parts.append(report.facts(("warning", each) for each in layout.warnings))
    elif layout.scheme is not None:
        parts.append(Text(f"what {layout.scheme} needs stands where the model has it\n"))
    if members:
        cells = [
            (str(each.offset), "" if each.bits is None else f"{each.bits / 8:g}", each.name, each.type)
            for each in layout.members
        ]
        parts += [Text("\n"), report.table(("byte", "size", "member", "type"), cells, right=(0, 1))]
    return Text.assemble(*parts)


def _place(row: LayoutRow, at: int | None) -> str:
    if at is None:
        return "-"
    return f"bit {at}" if row.field.startswith("PG_") else f"[{at // 64}] +{at % 64}"
