# SPDX-License-Identifier: BSD-3-Clause
"""claims: what the mail of January 2022 says, held against the model."""

from __future__ import annotations

from dataclasses import asdict
from itertools import groupby
from typing import Annotated

import typer
from rich.text import Text

from folio_perf import report
from folio_perf.claims import Claim
from folio_perf.claims import claims as run_claims
from folio_perf.cli.application import app, checked, inputs, print_json, show_text
from folio_perf.cli.options import Json, PageSize
from folio_perf.geometry import Geometry, parse_size

NOT_OK = 1
"""Exit status if a claim does not hold."""


@app.command()
def claims(
    page_size: PageSize = "4K",
    number: Annotated[str | None, typer.Option("--id", help="Only this one: 9.1, 9.6 ...", metavar="ID")] = None,
    as_json: Json = False,
) -> None:
    """Hold each claim of the mail that proposed Zero, One, Two, Many against the model; status 1 if one fails."""
    geometry = checked("--page-size", _geometry, page_size)
    with inputs("--id"):
        rows = run_claims(geometry, number)
    if as_json:
        print_json([asdict(each) for each in rows])
    else:
        show_text(_report(rows, page_size))
    if not all(each.ok for each in rows):
        raise typer.Exit(NOT_OK)


def _geometry(text: str) -> Geometry:
    return Geometry(page_size_bytes=parse_size(text))


def _report(rows: tuple[Claim, ...], page_size: str) -> Text:
    parts = [report.heading(f"claims of the mail of January 2022, {page_size} pages; modelled"), Text("\n")]
    for (number, claim), group in groupby(rows, lambda each: (each.id, each.claim)):
        parts.append(report.heading(f"{number} {claim}"))
        cells = [
            (
                "ok" if each.ok else "NOT OK",
                each.scheme + "+" * each.reconstructed,
                each.got + ("" if each.ok else f", expected {each.expected}") + _method(each),
            )
            for each in group
        ]
        parts.append(report.table(("", "design", "got"), cells))
        parts.append(Text("\n"))
    failed = sum(not each.ok for each in rows)
    parts.append(report.facts([("rows", f"{len(rows)}, {failed} not ok")]))
    if any(each.reconstructed for each in rows):
        parts.append(report.paragraph(report.RECONSTRUCTED, style=report.NOTE))
    return Text.assemble(*parts)


def _method(claim: Claim) -> str:
    return " (extrapolated)" if claim.method == "extrapolated" else ""
