# SPDX-License-Identifier: BSD-3-Clause
"""hw contend: threads that use the same folio, measured beside the queue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby
from typing import Annotated

import typer
from rich.text import Text

from folio_perf import hw as measured
from folio_perf import report
from folio_perf.cli.application import checked, inputs, print_json, progress_bar, show_text
from folio_perf.cli.contention import thread_counts
from folio_perf.cli.hw import host_facts, hw_app, name_list, number
from folio_perf.cli.options import Json, folio_order
from folio_perf.hw.contend import DEFAULT_CONTENDERS
from folio_perf.machine import load_machine
from folio_perf.schemes import parse_scheme_specs

__all__ = ["contended_report"]


@hw_app.command("contend")
def hw_contend(
    schemes: Annotated[
        str, typer.Option("--schemes", help="NAME[:OPTION=VALUE,...][@KERNEL], separated by commas.", metavar="S,...")
    ] = DEFAULT_CONTENDERS,
    uses: Annotated[
        str, typer.Option("--uses", help=f"Of one word: {', '.join(measured.USES)}.", metavar="U,...")
    ] = ",".join(measured.USES),
    layouts: Annotated[
        str, typer.Option("--layouts", help=f"Who shares what: {', '.join(measured.LAYOUTS)}.", metavar="L,...")
    ] = ",".join(measured.LAYOUTS),
    threads: Annotated[
        str | None, typer.Option("--threads", help="8, 1-4 or 1,2,4; default 1 to the CPUs there are.", metavar="N")
    ] = None,
    cpus: Annotated[
        str | None, typer.Option("--cpus", help="The first thread runs on the first; default all.", metavar="N,...")
    ] = None,
    order: Annotated[str, typer.Option("--order", help="Of the folios.", metavar="N")] = "0",
    seconds: Annotated[str, typer.Option("--seconds", help="How long threads run each time.", metavar="X")] = "0.05",
    machine: Annotated[
        str | None,
        typer.Option("--machine", help="Prices of the queue; default this CPU's, measured first.", metavar="M"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Let threads map and unmap one folio, neighbours, or beside readers; throughput by their number."""
    specs = checked("--schemes", parse_scheme_specs, schemes) if schemes else ()
    with inputs(), progress_bar("measuring") as progress:
        rows = measured.contend(
            specs,
            uses=name_list(uses),
            layouts=name_list(layouts),
            threads=None if threads is None else checked("--threads", thread_counts, threads),
            cpus=None if cpus is None else [checked("--cpus", folio_order, word) for word in name_list(cpus)],
            order=checked("--order", folio_order, order),
            seconds=checked("--seconds", number, seconds),
            machine=None if machine is None else checked("--machine", load_machine, machine),
            progress=progress,
        )
    facts = measured.host()
    if as_json:
        print_json({"kind": "measured", "host": asdict(facts), "rows": [asdict(row) for row in rows]})
        return
    parts = [report.heading("measured on this CPU: threads that use the same lines"), Text("\n")]
    parts += [report.facts(host_facts(facts)), contended_report(rows)]
    show_text(Text.assemble(*parts))


def contended_report(rows: Sequence[measured.Contended]) -> Text:
    """Write measured throughput beside the queue's, a table per layout."""
    parts: list[Text] = []
    for layout, group in groupby(sorted(rows, key=lambda each: list(measured.LAYOUTS).index(each.layout)), _layout):
        cells = [
            (
                each.what,
                str(each.threads),
                f"{each.operations_per_us:.3g}",
                f"{each.spread:.2g}",
                "" if each.latency_ns is None else f"{each.latency_ns:.1f}",
                "" if each.reads_per_us is None else f"{each.reads_per_us:.3g}",
                "" if each.modelled_per_us is None else f"{each.modelled_per_us:.3g}",
            )
            for each in group
        ]
        headers = ("design or use", "threads", "op/us", "+-", "ns", "reads/us", "model")
        parts += [Text("\n"), report.heading(f"{layout}: {measured.LAYOUTS[layout]}")]
        parts.append(report.table(headers, cells, right=range(1, len(headers))))
    parts += [Text("\n"), report.paragraph("op/us of all threads that write; ns of one operation", style="dim")]
    parts.append(report.paragraph("model: op/us of a closed queue, inexact; empty where it says nothing", style="dim"))
    return Text.assemble(*parts)


def _layout(row: measured.Contended) -> str:
    return row.layout
