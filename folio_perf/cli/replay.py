# SPDX-License-Identifier: BSD-3-Clause
"""replay: a recorded program under every design."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer
from rich.text import Text

from folio_perf import report
from folio_perf.cli.application import app, checked, inputs, print_json, progress_bar, show_text
from folio_perf.cli.options import (
    BackendName,
    FolioName,
    Json,
    KernelName,
    LineSize,
    MachineName,
    PageSize,
    geometry_of,
    known_backend,
)
from folio_perf.geometry import FolioPolicy
from folio_perf.machine import DEFAULT_MACHINE, load_machine
from folio_perf.profile import DEFAULT_KERNEL, load_profile
from folio_perf.replay import Replay, ReplayedProcess
from folio_perf.replay import replay as run_replay
from folio_perf.schemes import parse_scheme_specs
from folio_perf.traces import load_trace, read_trace, trace_names

NR_LISTED = 12


@app.command()
def replay(
    source: Annotated[
        str, typer.Argument(metavar="TRACE", help="A Parquet trace, or the name of one that ships.", show_default=False)
    ],
    schemes: Annotated[
        str | None,
        typer.Option(
            "--schemes",
            help="NAME[:OPTION=VALUE,...][@KERNEL], separated by commas; default all.",
            metavar="S,...",
        ),
    ] = None,
    kernel: KernelName = DEFAULT_KERNEL,
    machine: MachineName = DEFAULT_MACHINE,
    page_size: PageSize = "4K",
    line_size: LineSize = None,
    folio: FolioName = None,
    backend: BackendName = "cache",
    as_json: Json = False,
) -> None:
    """Replay a recorded program under all designs: what it costs, and what became of its processes."""
    checked("--backend", known_backend, backend)
    found = checked("--machine", load_machine, machine)
    geometry = geometry_of(page_size, line_size, found)
    specs = None if schemes is None else checked("--schemes", parse_scheme_specs, schemes)
    policy = None if folio is None else checked("--folio", FolioPolicy.parse, folio)
    profile = checked("--kernel", load_profile, kernel)
    with inputs(source):
        trace = load_trace(source) if source in trace_names() else read_trace(source)
    with inputs(), progress_bar(source) as progress:
        replayed = run_replay(
            trace,
            schemes=specs,
            kernel=profile,
            machine=found,
            geometry=geometry,
            folio=policy,
            backend=backend,
            progress=progress,
        )
    if as_json:
        print_json(
            {
                "outcome": asdict(replayed.outcome),
                "import": {"dropped": dict(trace.header.dropped), "assumed": dict(trace.header.assumed)},
                "processes": [asdict(process) for process in replayed.processes],
                "comparison": json.loads(replayed.comparison.to_json()),
            }
        )
        return
    show_text(report.comparison_report(replayed.comparison))
    show_text(_processes(replayed, geometry.page_size_bytes))


def _processes(replayed: Replay, page_size_bytes: int) -> Text:
    """List the processes with most events, and what they had mapped when they exited."""
    busiest = sorted(replayed.processes, key=lambda each: -(each.applied + each.noop + each.failed))
    sampled = any(each.smaps_rss_bytes for each in busiest)
    rows = [_row(each, page_size_bytes)[: None if sampled else 5] for each in busiest[:NR_LISTED]]
    heads = ("process", "applied", "no-op", "failed", "Rss at exit KiB", "smaps KiB", "differs")
    text = Text("\n")
    text.append(report.table(heads[: None if sampled else 5], rows, right=tuple(range(1, 7 if sampled else 5))))
    if len(busiest) > NR_LISTED:
        text.append(f"and {len(busiest) - NR_LISTED} more; --json lists all\n")
    return text


def _row(process: ReplayedProcess, page_size_bytes: int) -> tuple[str, ...]:
    rss = None if process.rss_pages is None else process.rss_pages * page_size_bytes
    smaps = process.smaps_rss_bytes
    return (
        process.name,
        f"{process.applied:,}",
        f"{process.noop:,}",
        f"{process.failed:,}",
        "" if rss is None else f"{rss >> 10:,}",
        "" if smaps is None else f"{smaps >> 10:,}",
        "" if rss is None or smaps is None else f"{(rss - smaps) / smaps:+.1%}",
    )
