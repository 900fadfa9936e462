# SPDX-License-Identifier: BSD-3-Clause
"""record, import, trace: recordings of real programs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from folio_perf import report
from folio_perf.cli.application import app, checked, inputs, print_json, show_text
from folio_perf.cli.options import Json, PageSize
from folio_perf.geometry import Geometry, parse_size
from folio_perf.record import METHODS, is_perf_data, perf_data_source, record
from folio_perf.traces import RowSource, shipped_trace, summarize_trace, text_source, trace_names


@app.command("record", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
def record_(
    command: Annotated[
        list[str], typer.Argument(metavar="COMMAND", help="Program and arguments, after --.", show_default=False)
    ],
    output: Annotated[
        str, typer.Option("--output", "-o", help="The Parquet trace to write.", metavar="TRACE", show_default=False)
    ],
    name: Annotated[str, typer.Option("--name", help="Name of the trace; default that of the program.")] = "",
    method: Annotated[
        str, typer.Option("--method", help="perf, strace, or auto: strace where perf may not record.")
    ] = "auto",
    as_json: Json = False,
) -> None:
    """Run a program and keep what it asked of the kernel as a trace."""
    with inputs("COMMAND" if method in METHODS else "--method"):
        recording = record(command, output, method=method)
    if recording.no_perf:
        print(f"recorded by strace, which shows less: {recording.no_perf}", file=sys.stderr)
    if recording.no_rss:
        print(f"Rss at exit is not known: {recording.no_rss}", file=sys.stderr)
    if recording.cut_short:
        print(f"the recorder ended early ({recording.cut_short}); what came before is kept", file=sys.stderr)
    elif recording.interrupted:
        print("recording ended by a signal; what came before it is kept", file=sys.stderr)
    elif recording.exit_status:
        print(f"{command[0]} ended with status {recording.exit_status}", file=sys.stderr)
    _trace_info(recording.path, name or Path(command[0]).name, as_json)


@app.command("import")
def import_(
    source: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="Text of perf script, log of strace, smaps (plain, gzip, or -), or perf.data.",
            show_default=False,
        ),
    ],
    output: Annotated[
        str, typer.Option("--output", "-o", help="The Parquet trace to write.", metavar="TRACE", show_default=False)
    ],
    name: Annotated[str, typer.Option("--name", help="Name of the trace; default that of the file.")] = "",
    command: Annotated[str, typer.Option("--command", help="What was recorded, if the text does not say so.")] = "",
    kernel: Annotated[str, typer.Option("--kernel", help="On which kernel, if the text does not say so.")] = "",
    page_size: PageSize = "4K",
    as_json: Json = False,
) -> None:
    """Turn a recording of perf into a trace; docs/traces.md says how to record."""
    page = checked("--page-size", parse_size, page_size)
    with inputs("--page-size"):
        Geometry(page_size_bytes=page)
    with inputs(source):
        reading = _reading(source, name=name, command=command, kernel=kernel, page_size_bytes=page)
        reading.to_file(output)
    _trace_info(Path(output), reading.name, as_json)


def _reading(source: str, *, name: str, command: str, kernel: str, page_size_bytes: int) -> RowSource:
    """Find out what a recording is, and begin to read it."""
    if source != "-" and is_perf_data(source):
        if kernel or page_size_bytes != 4096:
            raise ValueError("perf.data is of 4K pages and names its kernel: no --kernel, no --page-size")
        return perf_data_source(source, name=name, command=command)
    return text_source(
        _standard_input() if source == "-" else Path(source),
        name=name or ("trace" if source == "-" else ""),
        command=command,
        kernel=kernel,
        page_size_bytes=page_size_bytes,
    )


def _standard_input() -> Iterator[str]:
    for line in sys.stdin.buffer:
        yield line.decode("utf-8", "backslashreplace")


trace_app = typer.Typer(rich_markup_mode=None, help="Look into recorded traces.")
app.add_typer(trace_app, name="trace")


@trace_app.command("info")
def trace_info(
    source: Annotated[
        str, typer.Argument(metavar="FILE", help="A Parquet trace, or the name of one that ships.", show_default=False)
    ],
    as_json: Json = False,
) -> None:
    """Say what a trace holds, and what of it a replay leaves out."""
    if source in trace_names():
        with shipped_trace(source) as path:
            _trace_info(path, source, as_json)
    else:
        _trace_info(Path(source), Path(source).name.removesuffix(".parquet"), as_json)


def _trace_info(path: Path, name: str, as_json: bool) -> None:
    with inputs(str(path)):
        found = summarize_trace(path)
    header = found.header
    value: dict[str, Any] = {
        "name": name,
        "origin": header.origin,
        "kernel": header.kernel,
        "command": header.command,
        "page_size": header.page_size_bytes,
        "rows": found.nr_rows,
        "operations": found.operations,
        "seconds": found.seconds,
        "processes": found.nr_processes,
        "objects": len(header.objects),
        "lines": {"read": header.lines_read, "kept": dict(header.lines_kept), "ignored": dict(header.lines_ignored)},
        "dropped": {"import": dict(header.dropped), "replay": found.dropped},
        "assumed": {"import": dict(header.assumed), "replay": found.assumed},
        "events": found.nr_events,
        "scenario_hash": found.scenario_hash,
    }
    if as_json:
        print_json(value)
        return

    def counts(of: dict[str, int]) -> str:
        return ", ".join(f"{number:,} {word.replace('_', ' ')}" for word, number in of.items()) or "none"

    show_text(report.heading(f"{name}: {header.command or 'command unknown'}"))
    show_text(Text("\n"))
    show_text(
        report.facts(
            [
                ("recorded", f"kernel {header.kernel or 'unknown'}, {report.size_text(header.page_size_bytes)} pages"),
                ("rows", f"{value['rows']:,} in {found.seconds:.3f} s: {counts(value['operations'])}"),
                ("processes", f"{value['processes']:,}; {value['objects']:,} objects mapped"),
                ("lines", f"{header.lines_read:,} read, {sum(header.lines_ignored.values()):,} of no interest"),
                ("import", f"left out: {counts(value['dropped']['import'])}"),
                ("", f"assumed: {counts(value['assumed']['import'])}"),
                ("replay", f"{value['events']:,} events, hash {value['scenario_hash'][:16]}"),
                ("", f"left out: {counts(value['dropped']['replay'])}"),
                ("", f"assumed: {counts(value['assumed']['replay'])}"),
            ]
        )
    )
