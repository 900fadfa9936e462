# SPDX-License-Identifier: BSD-3-Clause
"""record, import, trace: recordings of real programs."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from folio_perf import report
from folio_perf.cli.application import app, checked, inputs, print_json, show_text
from folio_perf.cli.options import Json, PageSize
from folio_perf.geometry import Geometry, parse_size
from folio_perf.record import import_perf_data, record
from folio_perf.traces import Trace, import_perf_script, load_trace, read_trace, trace_names, write_trace

_PERF_RECORDING = b"PERFILE"


@app.command("record", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
def record_(
    command: Annotated[
        list[str], typer.Argument(metavar="COMMAND", help="Program and arguments, after --.", show_default=False)
    ],
    output: Annotated[
        str, typer.Option("--output", "-o", help="The Parquet trace to write.", metavar="TRACE", show_default=False)
    ],
    name: Annotated[str, typer.Option("--name", help="Name of the trace; default that of the program.")] = "",
    as_json: Json = False,
) -> None:
    """Run a program under perf and keep what it asked of the kernel as a trace."""
    with inputs("COMMAND"):
        recording = record(command, output, name=name)
    with inputs("--output"):
        _write_whole(recording.trace, Path(output))
    recording.data.unlink()
    if recording.interrupted:
        print("recording ended by a signal; what came before it is kept", file=sys.stderr)
    elif recording.exit_status:
        print(f"{command[0]} ended with status {recording.exit_status}", file=sys.stderr)
    _trace_info(recording.trace, as_json)


@app.command("import")
def import_(
    source: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="Text of perf script, plain or gzip, or - for it; or perf.data.",
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
        if source != "-" and _is_perf_data(source):
            if kernel or page != 4096:
                raise ValueError("perf.data is of 4K pages and names its kernel: no --kernel, no --page-size")
            trace = import_perf_data(source, name=name, command=command)
        else:
            trace = import_perf_script(
                _standard_input() if source == "-" else Path(source),
                name=name or ("trace" if source == "-" else ""),
                command=command,
                kernel=kernel,
                page_size_bytes=page,
            )
    with inputs("--output"):
        _write_whole(trace, Path(output))
    _trace_info(trace, as_json)


def _is_perf_data(source: str) -> bool:
    with Path(source).open("rb") as stream:
        return stream.read(len(_PERF_RECORDING)) == _PERF_RECORDING


def _standard_input() -> Iterator[str]:
    for line in sys.stdin.buffer:
        yield line.decode("utf-8", "backslashreplace")


def _write_whole(trace: Trace, target: Path) -> None:
    """Write beside the target, then rename: an interrupted import leaves no half trace."""
    descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    os.close(descriptor)
    try:
        write_trace(trace, temporary)
        mask = os.umask(0)
        os.umask(mask)
        Path(temporary).chmod(0o666 & ~mask)
        Path(temporary).replace(target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


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
    with inputs(source):
        trace = load_trace(source) if source in trace_names() else read_trace(source)
    _trace_info(trace, as_json)


def _trace_info(trace: Trace, as_json: bool) -> None:
    header = trace.header
    with inputs():
        made = trace.convert(Geometry(page_size_bytes=header.page_size_bytes))
    seconds = float(trace.rows["time_ns"][-1] - trace.rows["time_ns"][0]) / 1e9 if trace.rows.size else 0.0
    value: dict[str, Any] = {
        "name": trace.name,
        "origin": header.origin,
        "kernel": header.kernel,
        "command": header.command,
        "page_size": header.page_size_bytes,
        "rows": int(trace.rows.size),
        "operations": trace.counts(),
        "seconds": seconds,
        "processes": len(made.scenario.processes),
        "objects": len(header.objects),
        "lines": {"read": header.lines_read, "kept": dict(header.lines_kept), "ignored": dict(header.lines_ignored)},
        "dropped": {"import": dict(header.dropped), "replay": dict(made.dropped)},
        "assumed": {"import": dict(header.assumed), "replay": dict(made.assumed)},
        "events": made.scenario.nr_events,
        "scenario_hash": made.scenario.hash,
    }
    if as_json:
        print_json(value)
        return

    def counts(of: dict[str, int]) -> str:
        return ", ".join(f"{number:,} {word.replace('_', ' ')}" for word, number in of.items()) or "none"

    show_text(report.heading(f"{trace.name}: {header.command or 'command unknown'}"))
    show_text(Text("\n"))
    show_text(
        report.facts(
            [
                ("recorded", f"kernel {header.kernel or 'unknown'}, {report.size_text(header.page_size_bytes)} pages"),
                ("rows", f"{value['rows']:,} in {seconds:.3f} s: {counts(value['operations'])}"),
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
