# SPDX-License-Identifier: BSD-3-Clause
"""cache: an address trace through a cache hierarchy of any kind."""

from __future__ import annotations

import re
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from folio_perf import plotting, report
from folio_perf.cache import CacheHierarchy, CacheStats, OccupancyWatch, SharedLine
from folio_perf.cache_files import load_hierarchy, read_addresses
from folio_perf.cli.application import app, inputs, print_json, progress_bar, show_text
from folio_perf.cli.options import Json, Plot
from folio_perf.results import Occupancy


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
    watch: Annotated[
        list[str] | None,
        typer.Option(
            "--watch", help="See over time how much of a level these addresses hold.", metavar="NAME=FIRST:END"
        ),
    ] = None,
    watch_level: Annotated[
        str | None, typer.Option("--watch-level", help="Of --watch; the first level if not given.", metavar="LEVEL")
    ] = None,
    every: Annotated[int, typer.Option("--every", help="Accesses between two looks of --watch.", min=1)] = 10_000,
    plot: Plot = None,
    as_json: Json = False,
) -> None:
    """Count what a trace of data accesses does in a cache hierarchy."""
    with inputs("--config"):
        caches = load_hierarchy(config, track_sharing=sharing)
    with inputs("--plot"):
        if plot and not watch:
            raise ValueError("a picture shows what --watch sees, and there is none")
        if plot:
            plotting.check_target(plot)
    watched = _watch(caches, watch or [], watch_level, every)
    chosen = form.value if form else "parquet" if trace.suffix == ".parquet" else "din"
    with inputs("TRACE"), progress_bar(trace.name) as progress:
        for piece in read_addresses(trace, chosen, caches.line_bytes, progress=progress):
            (watched or caches).access(*piece)
    if watched and plot:
        with inputs("--plot"):
            plotting.save(watched.occupancy(), plot)
    stats, shared = caches.stats(), caches.sharing() if sharing else []
    if as_json:
        transfers = {"transfers": stats.transfers_to_dict()} if caches.nr_cpus > 1 else {}
        lines = {"sharing": [asdict(each) for each in shared]} if sharing else {}
        tlb = {"tlb": stats.tlb_to_dict()} if stats.tlb.names else {}
        seen = {"occupancy": watched.occupancy().to_dict()} if watched else {}
        print_json({**stats.to_dict_full(), **transfers, **tlb, **lines, **seen})
        return
    show_text(_report(stats))
    if caches.split_misses:
        show_text(_kinds(stats))
    if stats.tlb.names:
        show_text(_tlb(stats))
    if caches.nr_cpus > 1:
        show_text(_transfers(stats))
    if sharing:
        show_text(_sharing(shared))
    if watched:
        show_text(_occupancy(watched.occupancy()))


def _watch(caches: CacheHierarchy, texts: list[str], level: str | None, every: int) -> OccupancyWatch | None:
    with inputs("--watch"):
        if not texts:
            if level is not None:
                raise ValueError("--watch-level says where to look, and nothing is watched")
            return None
        ranges = {}
        for text in texts:
            found = re.fullmatch(r"([^=]+)=(0[xX][0-9a-fA-F]+|\d+):(0[xX][0-9a-fA-F]+|\d+)", text)
            if not found:
                raise ValueError(f"{text!r} must be NAME=FIRST:END, addresses in decimal or with 0x")
            if found[1] in ranges:
                raise ValueError(f"{found[1]!r} is given twice")
            ranges[found[1]] = (int(found[2], 0), int(found[3], 0))
        return caches.watch(level or caches.levels[0].name, ranges, every=every)


def _report(stats: CacheStats) -> Text:
    rows = [
        (name, *(f"{counters[column]:,}" for column in ("fetches", "misses", "writebacks_in", "writebacks_out")))
        for name, counters in stats.to_dict_full().items()
    ]
    table = report.table(("level", "fetches", "misses", "write-backs in", "out"), rows, right=range(1, 5))
    return Text.assemble(report.heading("lines; modelled"), Text("\n"), table)


def _kinds(stats: CacheStats) -> Text:
    kinds = ("compulsory", "capacity", "conflict", "coherence")
    rows = [
        (name, *(f"{counters[kind]:,}" for kind in kinds))
        for name, counters in stats.to_dict_full().items()
        if name in stats.names
    ]
    title = report.heading("misses by kind; modelled")
    return Text.assemble(Text("\n"), title, Text("\n"), report.table(("level", *kinds), rows, right=range(1, 5)))


def _tlb(stats: CacheStats) -> Text:
    *arrays, (_, walks) = stats.tlb_to_dict().items()
    rows = [(name, *(f"{row[column]:,}" for column in ("lookups", "hits", "misses"))) for name, row in arrays]
    rows += [(f"walks, pages of {int(size) >> 10:,} KiB", f"{nr:,}", "", "") for size, nr in walks.items()]
    title = report.heading("translations; modelled")
    table = report.table(("TLB", "lookups", "hits", "misses"), rows, right=range(1, 4))
    return Text.assemble(Text("\n"), title, Text("\n"), table)


NR_LOOKS = 16
"""Looks that a table shows at most; JSON has all."""


def _occupancy(seen: Occupancy) -> Text:
    last = len(seen.accesses) - 1
    shown = sorted({round(number * last / (NR_LOOKS - 1)) for number in range(NR_LOOKS)})
    rows = [
        (f"{seen.accesses[look]:,}", name, f"{held:,}", f"{100 * held / seen.size_bytes:.1f}")
        for look in shown
        for (name, _, _), held in zip(seen.ranges, seen.held_bytes[look], strict=True)
    ]
    title = report.heading(f"what {seen.level} ({seen.size_bytes:,} bytes) holds; modelled")
    table = report.table(("accesses", "of", "bytes", "per cent"), rows, right=(0, 2, 3))
    return Text.assemble(Text("\n"), title, Text("\n"), table)


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
