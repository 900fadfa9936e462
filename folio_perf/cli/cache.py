# SPDX-License-Identifier: BSD-3-Clause
"""cache: an address trace through a cache hierarchy of any kind."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from folio_perf import report
from folio_perf.cache import CacheStats
from folio_perf.cache_files import load_hierarchy, read_addresses
from folio_perf.cli.application import app, inputs, print_json, show_text
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
    as_json: Json = False,
) -> None:
    """Count what a trace of data accesses does in a cache hierarchy."""
    with inputs("--config"):
        caches = load_hierarchy(config)
    chosen = form.value if form else "parquet" if trace.suffix == ".parquet" else "din"
    with inputs("TRACE"):
        for addresses, write in read_addresses(trace, chosen, caches.line_bytes):
            caches.access(addresses, write)
    if as_json:
        print_json(caches.stats().to_dict_full())
    else:
        show_text(_report(caches.stats()))


def _report(stats: CacheStats) -> Text:
    rows = [
        (name, *(f"{counters[column]:,}" for column in ("fetches", "misses", "writebacks_in", "writebacks_out")))
        for name, counters in stats.to_dict_full().items()
    ]
    table = report.table(("level", "fetches", "misses", "write-backs in", "out"), rows)
    return Text.assemble(report.heading("lines; modelled"), Text("\n"), table)
