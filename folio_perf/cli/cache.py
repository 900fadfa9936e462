# SPDX-License-Identifier: BSD-3-Clause
"""cache: an address trace through a cache hierarchy of any kind."""

from __future__ import annotations

from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from folio_perf import report
from folio_perf.cache import CacheStats, SharedLine
from folio_perf.cache_files import load_hierarchy, read_addresses
from folio_perf.cli.application import app, inputs, print_json, progress_bar, show_text
from folio_perf.cli.options import Json


class Format(StrEnum):
    """Of a trace."""

    din = "din"
    lackey = "lackey"
    drcachesim = "drcachesim"
    parquet = "parquet"


@app.command()
def cache(
    trace: Annotated[Path, typer.Argument(help="Addresses; text may be compressed with gzip.", metavar="TRACE")],
    config: Annotated[Path, typer.Option("--config", help="The hierarchy: a TOML file (docs/caches.md).")],
    form: Annotated[
        Format | None, typer.Option("--format", help="Of TRACE; if not given, parquet by its name, else din.")
    ] = None,
    sharing: Annotated[
        bool, typer.Option("--sharing", help="Also list the lines that CPUs took from each other most often.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Count what a trace of data accesses does in a cache hierarchy."""
    with inputs("--config"):
        caches = load_hierarchy(config, track_sharing=sharing)
    chosen = form.value if form else "parquet" if trace.suffix == ".parquet" else "din"
    with inputs("TRACE"), progress_bar(trace.name) as progress:
        for piece in read_addresses(trace, chosen, caches.line_bytes, progress=progress):
            caches.access(*piece)
    stats, shared = caches.stats(), caches.sharing() if sharing else []
    if as_json:
        transfers = {"transfers": stats.transfers_to_dict()} if caches.nr_cpus > 1 else {}
        lines = {"sharing": [asdict(each) for each in shared]} if sharing else {}
        print_json({**stats.to_dict_full(), **transfers, **lines})
        return
    show_text(_report(stats))
    if caches.nr_cpus > 1:
        show_text(_transfers(stats))
    if sharing:
        show_text(_sharing(shared))


def _report(stats: CacheStats) -> Text:
    rows = [
        (name, *(f"{counters[column]:,}" for column in ("fetches", "misses", "writebacks_in", "writebacks_out")))
        for name, counters in stats.to_dict_full().items()
    ]
    table = report.table(("level", "fetches", "misses", "write-backs in", "out"), rows, right=range(1, 5))
    return Text.assemble(report.heading("lines; modelled"), Text("\n"), table)


def _transfers(stats: CacheStats) -> Text:
    kinds = stats.transfers_to_dict()
    tiers = list(kinds["read_shared"])
    rows = [(kind.replace("_", " "), *(f"{row.get(tier, 0):,}" for tier in tiers)) for kind, row in kinds.items()]
    title = report.heading("transfers between CPUs, by where the other one is; modelled")
    return Text.assemble(Text("\n"), title, Text("\n"), report.table(("kind", *tiers), rows, right=range(1, 5)))


def _sharing(shared: list[SharedLine]) -> Text:
    title = report.heading("lines that CPUs took from each other; modelled")
    if not shared:
        return Text.assemble(Text("\n"), title, Text("\nnone\n"))
    rows: list[tuple[str, ...]] = []
    for line in shared:
        rows.append((f"{line.address:#x}", "", f"{line.taken:,}", f"{line.taken_falsely:,}", "", ""))
        rows += [
            ("", f"+{word.offset} CPU {word.cpu}", "", "", f"{word.nr_read:,}", f"{word.nr_written:,}")
            for word in line.words
        ]
    table = report.table(("line", "word", "taken", "falsely", "read", "written"), rows, right=(2, 3, 4, 5))
    return Text.assemble(Text("\n"), title, Text("\n"), table)
