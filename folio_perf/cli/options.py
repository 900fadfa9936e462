# SPDX-License-Identifier: BSD-3-Clause
"""Options that several commands share, and what they are read into."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from folio_perf.cli.application import checked, inputs
from folio_perf.geometry import Geometry, parse_size
from folio_perf.machine import Machine

__all__ = ["Json", "KernelName", "LineSize", "MachineName", "PageSize", "folio_order", "geometry_of"]

Json = Annotated[bool, typer.Option("--json", help="Print one JSON value instead of text.")]
KernelName = Annotated[
    str, typer.Option("--kernel", help="What mm does apart from counting: a version, or a .toml file.", metavar="K")
]
MachineName = Annotated[
    str, typer.Option("--machine", help="Caches and prices: a name of 'machines', or a .toml file.", metavar="M")
]
PageSize = Annotated[str, typer.Option("--page-size", help="Base page: 4K, 16K, 64K ...", metavar="SIZE")]
LineSize = Annotated[
    str | None,
    typer.Option(
        "--line-size",
        help="Cache line, 64 or 128; default the machine's. Without times if it differs.",
        metavar="BYTES",
    ),
]


def geometry_of(page_size: str, line_size: str | None, machine: Machine) -> Geometry:
    """Read --page-size and --line-size; the line is the machine's unless it is given."""
    page = checked("--page-size", parse_size, page_size)
    line = machine.line_bytes if line_size is None else checked("--line-size", parse_size, line_size)
    with inputs("--page-size" if line_size is None else "--page-size, --line-size"):
        return Geometry(page_size_bytes=page, line_bytes=line)


def folio_order(text: str) -> int:
    """Read a folio order."""
    if not re.fullmatch(r"-?[0-9]{1,9}", text, re.ASCII):
        raise ValueError(f"{text!r} is not a folio order: a whole number, 0 for one page")
    return int(text)
