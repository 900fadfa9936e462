# SPDX-License-Identifier: BSD-3-Clause
"""hw race: the running kernel and the model at the same task, both measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated

import typer
from rich.text import Text

from folio_perf import hw as measured
from folio_perf import report
from folio_perf.cli.application import checked, inputs, print_json, progress_bar, show_text
from folio_perf.cli.hw import hw_app
from folio_perf.cli.options import Json
from folio_perf.geometry import parse_size


def _names(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


@hw_app.command("race")
def hw_race(
    kinds: Annotated[str, typer.Option("--kinds", help="How the memory is mapped.", metavar="K,...")] = ",".join(
        measured.RACE_KINDS
    ),
    backends: Annotated[
        str, typer.Option("--backends", help="Of the model: with caches, or counting only.", metavar="B,...")
    ] = ",".join(measured.RACE_BACKENDS),
    size: Annotated[str, typer.Option("--size", help="Memory of the process.", metavar="SIZE")] = "1G",
    repeats: Annotated[int, typer.Option("--repeats", help="At least 7.", metavar="N")] = 7,
    as_json: Json = False,
) -> None:
    """Let the running kernel fork a process and end its child, and the model do the same; compare times."""
    with inputs(), progress_bar("racing") as progress:
        races = measured.race(
            kinds=_names(kinds),
            backends=_names(backends),
            size_bytes=checked("--size", parse_size, size),
            repeats=repeats,
            progress=progress,
        )
    if as_json:
        print_json([asdict(each) for each in races])
    else:
        show_text(_report(races))


def _report(races: Sequence[measured.Race]) -> Text:
    parts = [report.heading("fork and exit: ns per page of the process, measured"), Text("\n")]
    cells = [
        (
            each.kind,
            each.backend,
            _figure(each.kernel_ns_per_page),
            _figure(each.model_ns_per_page),
            _figure(each.ratio),
        )
        for each in races
    ]
    parts.append(report.table(("kind", "model", "kernel ns", "model ns", "ratio"), cells, right=(2, 3, 4)))
    skipped = {each.kind: each.skipped for each in races if each.skipped}
    if skipped:
        parts += [Text("\n"), report.table(("skipped", "why"), skipped.items())]
    return Text.assemble(*parts)


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}" if value < 1 else f"{value:.2f}"
