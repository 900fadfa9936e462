# SPDX-License-Identifier: BSD-3-Clause
"""The command ``folio-perf``.

Results go to standard output, one JSON value with ``--json``; everything else goes to standard error. Exit status 0:
done; 2: the command line or an input is wrong, and one line says what and which rule; 130: interrupted.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.text import Text
from typer.core import TyperGroup

import folio_perf
from folio_perf import report
from folio_perf.geometry import FolioPolicy, Geometry, parse_size
from folio_perf.machine import DEFAULT_MACHINE, Machine, Price, load_machine, machine_names
from folio_perf.profile import DEFAULT_KERNEL, KernelProfile, load_profile, profile_names
from folio_perf.results import Comparison
from folio_perf.scenario import Scenario, scenario_description, scenario_names, scenario_text
from folio_perf.schemes import SchemeInfo, parse_scheme_spec, parse_scheme_specs, scheme_info, scheme_names
from folio_perf.simulate import BACKENDS, DEFAULT_SCHEME, operation_names, operation_title
from folio_perf.traces import Trace, import_perf_script, load_trace, read_trace, trace_names, write_trace
from folio_perf.workloads import (
    parse_settings,
    workload,
    workload_description,
    workload_names,
    workload_parameters,
)

__all__ = ["app", "main"]

PROGRAM = "folio-perf"
DEMO_TRACE = "redis-bgsave-thp"
DEMO_PICTURE = "folio-perf-demo.png"
_INTERRUPTED = 130

_T = TypeVar("_T")


# ---- how things go wrong -----------------------------------------------------------------------------------------


class _RefusedError(Exception):
    """The command line or an input is wrong; the text says what and which rule."""

    exit_code = 2

    def format_message(self) -> str:
        return str(self)


class _Commands(TyperGroup):
    """All commands. Errors of the user become one line and an exit status; errors of ours keep their traceback."""

    def main(self, *args: Any, **extra: Any) -> Any:
        if not extra.get("standalone_mode", True):
            return super().main(*args, **extra)
        extra["standalone_mode"] = False
        try:
            # Without standalone mode an exit status asked for comes back as the result.
            status = super().main(*args, **extra)
            sys.stdout.flush()
        except (KeyboardInterrupt, typer.Abort):
            status = _INTERRUPTED
        except BrokenPipeError:
            # Whoever read our output has had enough of it; nobody is left to tell.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            status = 1
        except Exception as error:
            # Errors of typer, whose classes moved between its versions, and `_RefusedError`.
            if not hasattr(error, "format_message"):
                raise
            print(f"{PROGRAM}: {_one_line(error.format_message())}", file=sys.stderr)
            status = getattr(error, "exit_code", 2)
        if status == _INTERRUPTED:
            print(f"{PROGRAM}: interrupted", file=sys.stderr)
        sys.exit(status or 0)


def _one_line(text: str) -> str:
    return "; ".join(line.strip().rstrip(":") for line in text.splitlines() if line.strip())


@contextmanager
def _inputs(option: str = "") -> Iterator[None]:
    """Turn what a wrong input raises into `_RefusedError`; `option` is named if it is not in the message."""
    try:
        yield
    except MemoryError as error:
        raise _RefusedError(str(error) or "out of memory") from error
    except ValueError as error:
        raise _RefusedError(f"{option}: {error}" if option else str(error)) from error
    except BrokenPipeError:
        raise
    except OSError as error:
        raise _RefusedError(f"{error.filename or option}: {error.strerror or error}") from error


def _checked(option: str, read: Callable[[str], _T], value: str) -> _T:
    with _inputs(option):
        return read(value)


# ---- output ------------------------------------------------------------------------------------------------------


def _show(text: Text) -> None:
    """Print a report: with styles on a terminal, plain elsewhere; never rewrapped."""
    Console(highlight=False).print(text, end="", soft_wrap=True)


def _print_json(value: object) -> None:
    print(json.dumps(value))


@contextmanager
def _progress(what: str) -> Iterator[Callable[[int, int], None] | None]:
    """Show a bar on standard error while it is a terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


# ---- options -----------------------------------------------------------------------------------------------------

_Json = Annotated[bool, typer.Option("--json", help="Print one JSON value instead of text.")]
_Kernel = Annotated[
    str, typer.Option("--kernel", help="What mm does apart from counting: a version, or a .toml file.", metavar="K")
]
_MachineName = Annotated[
    str, typer.Option("--machine", help="Caches and prices: a name of 'machines', or a .toml file.", metavar="M")
]
_PageSize = Annotated[str, typer.Option("--page-size", help="Base page: 4K, 16K, 64K ...", metavar="SIZE")]
_LineSize = Annotated[
    str | None,
    typer.Option(
        "--line-size",
        help="Cache line, 64 or 128; default the machine's. Without times if it differs.",
        metavar="BYTES",
    ),
]


def _geometry(page_size: str, line_size: str | None, machine: Machine) -> Geometry:
    page = _checked("--page-size", parse_size, page_size)
    line = machine.line_bytes if line_size is None else _checked("--line-size", parse_size, line_size)
    with _inputs("--page-size" if line_size is None else "--page-size, --line-size"):
        return Geometry(page_size_bytes=page, line_bytes=line)


def _order(text: str) -> int:
    if not re.fullmatch(r"-?[0-9]{1,9}", text, re.ASCII):
        raise ValueError(f"{text!r} is not a folio order: a whole number, 0 for one page")
    return int(text)


app = typer.Typer(
    cls=_Commands,
    name=PROGRAM,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="What Linux folio mapcount designs cost: cache lines, atomics, wrong answers.",
)


@app.callback(invoke_without_command=True)
def _start(
    context: typer.Context, version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False
) -> None:
    if version:
        print(f"{PROGRAM} {folio_perf.__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        print(context.get_help())


# ---- commands ----------------------------------------------------------------------------------------------------


@app.command()
def demo(
    plot: Annotated[str, typer.Option("--plot", help="Where the picture goes.", metavar="FILE")] = DEMO_PICTURE,
) -> None:
    """Compare the designs on a recorded workload: Redis saving its data while clients write."""
    _compare(DEMO_TRACE, machine=load_machine(DEFAULT_MACHINE), plot=plot)
    _show(Text(f"picture: {plot}\n", style="dim"))


@app.command()
def compare(
    scenario: Annotated[
        str,
        typer.Argument(
            metavar="SCENARIO",
            help="Scenario, workload or trace of 'scenarios', file of scenarios (FILE, FILE:NAME), or Parquet trace.",
            show_default=False,
        ),
    ],
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Parameter of a workload ('scenarios show NAME' lists them); may be given again.",
            metavar="NAME=VALUE",
        ),
    ] = None,
    schemes: Annotated[
        str | None,
        typer.Option(
            "--schemes",
            help="NAME[:OPTION=VALUE,...][@KERNEL], separated by commas; first is baseline.",
            metavar="S,...",
        ),
    ] = None,
    kernel: _Kernel = DEFAULT_KERNEL,
    machine: _MachineName = DEFAULT_MACHINE,
    page_size: _PageSize = "4K",
    line_size: _LineSize = None,
    folio: Annotated[
        str | None,
        typer.Option(
            "--folio",
            help="Folio sizes of anonymous faults: order0, thp, mthp=64K, default. Else the scenario's own.",
            metavar="POLICY",
        ),
    ] = None,
    backend: Annotated[
        str,
        typer.Option("--backend", help="cache, or count: faster, but no lines, levels and times.", metavar="NAME"),
    ] = "cache",
    keep_going: Annotated[
        bool, typer.Option("--keep-going", help="Count events that fail instead of ending at the first.")
    ] = False,
    plot: Annotated[
        str | None, typer.Option("--plot", help="Draw a picture: .png, .svg, .pdf.", metavar="FILE")
    ] = None,
    as_json: _Json = False,
) -> None:
    """Run one scenario under several mapcount designs, side by side."""
    found = _checked("--machine", load_machine, machine)
    _compare(
        scenario,
        settings=settings or (),
        schemes=schemes,
        kernel=_checked("--kernel", load_profile, kernel),
        machine=found,
        geometry=_geometry(page_size, line_size, found),
        folio=folio,
        backend=backend,
        strict=False if keep_going else None,
        plot=plot,
        as_json=as_json,
    )


def _compare(
    scenario: str,
    *,
    machine: Machine,
    settings: Sequence[str] = (),
    schemes: str | None = None,
    kernel: KernelProfile | None = None,
    geometry: Geometry | None = None,
    folio: str | None = None,
    backend: str = "cache",
    strict: bool | None = None,
    plot: str | None = None,
    as_json: bool = False,
) -> None:
    if backend not in BACKENDS:
        raise _RefusedError(f"--backend: {backend!r} must be one of {', '.join(BACKENDS)}")
    specs = None if schemes is None else _checked("--schemes", parse_scheme_specs, schemes)
    policy = None if folio is None else _checked("--folio", FolioPolicy.parse, folio)
    if plot is not None:
        from folio_perf import plotting

        _checked("--plot", plotting.check_target, plot)
    source = _with_settings(scenario, settings, geometry) if settings else scenario
    with _inputs(), _progress(scenario) as progress:
        comparison: Comparison = folio_perf.compare(
            source,
            schemes=specs,
            kernel=kernel or DEFAULT_KERNEL,
            machine=machine,
            geometry=geometry,
            folio=policy,
            backend=backend,
            strict=strict,
            progress=progress,
        )
    if plot is not None:
        with _inputs("--plot"):
            plotting.save(comparison, plot)
    if as_json:
        print(comparison.to_json())
    else:
        _show(report.comparison_report(comparison))


def _with_settings(name: str, settings: Sequence[str], geometry: Geometry | None) -> Scenario:
    if name not in workload_names():
        raise _RefusedError(f"--set: {name!r} is no workload; there are {', '.join(workload_names())}")
    with _inputs("--set"):
        return workload(name, geometry or Geometry(), **parse_settings(settings))


@app.command()
def show(
    operation: Annotated[str, typer.Argument(metavar="OPERATION", help="One of 'operations'.", show_default=False)],
    scheme: Annotated[
        str, typer.Option("--scheme", help="NAME[:OPTION=VALUE,...][@KERNEL]", metavar="S")
    ] = DEFAULT_SCHEME,
    order: Annotated[
        str | None, typer.Option("--order", help="Of the folio: it has 2^N pages; default that of a PMD.", metavar="N")
    ] = None,
    kernel: _Kernel = DEFAULT_KERNEL,
    machine: _MachineName = DEFAULT_MACHINE,
    page_size: _PageSize = "4K",
    line_size: _LineSize = None,
    everything: Annotated[bool, typer.Option("--all", help="Also accesses that every design pays alike.")] = False,
    as_json: _Json = False,
) -> None:
    """Show the memory accesses of one operation on one folio, in order."""
    found = _checked("--machine", load_machine, machine)
    spec = _checked("--scheme", parse_scheme_spec, scheme)
    profile = _checked("--kernel", load_profile, kernel)
    geometry = _geometry(page_size, line_size, found)
    with _inputs():
        trace = folio_perf.trace_operation(
            operation,
            order=geometry.pmd_order if order is None else _checked("--order", _order, order),
            scheme=spec,
            machine=found,
            geometry=geometry,
            kernel=profile,
        )
    if as_json:
        print(trace.to_json())
    else:
        _show(report.accesses_report(trace, everything=everything))


@app.command()
def operations(as_json: _Json = False) -> None:
    """List the operations that 'show' knows."""
    titles = {name: operation_title(name) for name in operation_names()}
    if as_json:
        _print_json([{"name": name, "title": title} for name, title in titles.items()])
    else:
        _show(report.table(("operation", "what happens"), titles.items()))


@app.command()
def schemes(as_json: _Json = False) -> None:
    """List the mapcount designs: what each counts, costs, and cannot tell."""
    infos = [scheme_info(name) for name in scheme_names()]
    if as_json:
        _print_json([_scheme_object(info) for info in infos])
        return
    for number, info in enumerate(infos):
        _show(Text("\n" * bool(number)))
        _show(report.heading(f"{info.name}: {info.title}"))
        _show(report.facts(_scheme_facts(info)))


def _scheme_object(info: SchemeInfo) -> dict[str, object]:
    return {
        "name": info.name,
        "title": info.title,
        "shipped": None if info.shipped is None else {"first": info.shipped[0], "last": info.shipped[1]},
        "status": info.status,
        "source": info.source,
        "date": info.date,
        "state": list(info.state),
        "costs": list(info.costs),
        "cannot_answer": list(info.cannot_answer),
        "options": {key: list(values) for key, values in info.options.items()},
        "reconstructed": info.reconstructed,
    }


def _scheme_facts(info: SchemeInfo) -> Iterator[tuple[str, str]]:
    if info.shipped is None:
        yield "status", f"{info.status}, {info.date}"
    else:
        yield "status", f"{info.status}, Linux {info.shipped[0]} to {info.shipped[1]}"
    if info.reconstructed:
        yield "", "reconstructed: the public description is incomplete"
    yield "source", info.source
    for name, lines in (("state", info.state), ("RMW", info.costs), ("cannot tell", info.cannot_answer)):
        for number, line in enumerate(lines):
            yield "" if number else name, line
    for number, (key, values) in enumerate(info.options.items()):
        yield "" if number else "options", f"{key}={'|'.join(values)}"


@app.command()
def machines(as_json: _Json = False) -> None:
    """List the machines: cache hierarchies with prices."""
    found = [load_machine(name) for name in machine_names()]
    if as_json:
        _print_json([asdict(machine) for machine in found])
        return
    for machine in found:
        _show(report.heading(f"{machine.name}: {machine.description}"))
        levels = [
            (level.name, report.size_text(level.size_bytes), str(level.nr_ways), level.prices)
            for level in machine.levels
        ]
        rows = [
            (
                name,
                size,
                ways,
                *map(_ns, (prices.load_dependent, prices.load_streaming, prices.rmw_dependent, prices.rmw_streaming)),
            )
            for name, size, ways, prices in [*levels, ("dram", "", "", machine.dram)]
        ]
        headers = ("level", "size", "ways", "load, ns", "in a stream", "RMW, ns", "in a stream")
        _show(report.table(headers, rows, right=range(1, len(headers))))
    _show(Text("sources of all prices: --json\n", style="dim"))


def _ns(price: Price) -> str:
    return "unknown" if price.ns is None else f"{price.ns:g}"


@app.command()
def kernels(as_json: _Json = False) -> None:
    """List the kernel profiles: what mm does apart from counting."""
    found = [load_profile(name) for name in profile_names()]
    if as_json:
        _print_json([asdict(profile) for profile in found])
        return
    rows = [(profile.name, profile.released, *_profile_words(profile)) for profile in found]
    headers = ("kernel", "released", "batches", "fault maps", "counted by")
    _show(report.table(headers, rows))
    _show(Text("all values and their sources: --json\n", style="dim"))


def _profile_words(profile: KernelProfile) -> tuple[str, str, str]:
    batches = [
        word
        for word, value in (
            ("faults", profile.batch_file_fault),
            ("fork", profile.batch_fork),
            ("zap", profile.batch_zap),
        )
        if value
    ]
    window = "whole folio" if profile.fault_maps_folio else report.size_text(profile.fault_around_bytes)
    version = f"{profile.version // 100}.{profile.version % 100}"
    counted = [name for name in scheme_names() if scheme_info(name).shipped_in(version)]
    return ", ".join(batches) or "-", window, ", ".join(counted) or "a later design"


scenarios_app = typer.Typer(
    rich_markup_mode=None, help="List the scenarios, workloads and traces that ship, or print one."
)
app.add_typer(scenarios_app, name="scenarios")


@scenarios_app.callback(invoke_without_command=True)
def scenarios(context: typer.Context, as_json: _Json = False) -> None:
    """List the scenarios, workloads and traces that ship, or print one."""
    if context.invoked_subcommand is not None:
        return
    listed = [(name, "scenario", scenario_description(name)) for name in scenario_names()]
    listed += [(name, "workload", workload_description(name)) for name in workload_names()]
    listed += [(name, "trace", load_trace(name).header.command) for name in trace_names()]
    if as_json:
        _print_json([{"name": name, "kind": kind, "description": text} for name, kind, text in listed])
        return
    for number, (kind, title) in enumerate(
        (("scenario", "what happens"), ("workload", "what happens, by --set"), ("trace", "recorded command"))
    ):
        _show(Text("\n" * bool(number)))
        _show(report.table((kind, title), [(name, text) for name, each, text in listed if each == kind]))


@scenarios_app.command("show")
def scenarios_show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="One of 'scenarios'.", show_default=False)],
    as_json: _Json = False,
) -> None:
    """Print the text of a scenario (edit it and give the file to 'compare'), or the parameters of a workload."""
    if name in trace_names():
        raise _RefusedError(f"{name} is a trace, not a text; folio-perf trace info {name} describes it")
    if name in workload_names():
        _workload_show(name, as_json)
        return
    text = _checked("", scenario_text, name)
    if as_json:
        _print_json({"name": name, "description": scenario_description(name), "text": text})
    else:
        print(text, end="" if text.endswith("\n") else "\n")


def _workload_show(name: str, as_json: bool) -> None:
    parameters = workload_parameters(name)
    if as_json:
        listed = [
            {
                "name": each.name,
                "type": each.type,
                "default": each.default,
                "unit": each.unit,
                "help": each.help,
                "rule": each.rule,
            }
            for each in parameters
        ]
        _print_json({"name": name, "description": workload_description(name), "parameters": listed})
        return
    _show(report.heading(f"{name}: {workload_description(name)}"))
    rows = [(each.name, str(each.default), f"{each.help}; {each.rule}") for each in parameters]
    _show(report.table(("parameter", "default", "what it is"), rows))


@app.command("import")
def import_(
    source: Annotated[
        str,
        typer.Argument(
            metavar="FILE", help="Text of perf script, plain or gzip; - for standard input.", show_default=False
        ),
    ],
    output: Annotated[
        str, typer.Option("--output", "-o", help="The Parquet trace to write.", metavar="TRACE", show_default=False)
    ],
    name: Annotated[str, typer.Option("--name", help="Name of the trace; default that of the file.")] = "",
    command: Annotated[str, typer.Option("--command", help="What was recorded, if the text does not say so.")] = "",
    kernel: Annotated[str, typer.Option("--kernel", help="On which kernel, if the text does not say so.")] = "",
    page_size: _PageSize = "4K",
    as_json: _Json = False,
) -> None:
    """Turn a recording (perf script text) into a trace; docs/traces.md says how to record."""
    page = _checked("--page-size", parse_size, page_size)
    with _inputs("--page-size"):
        Geometry(page_size_bytes=page)
    with _inputs(source):
        trace = import_perf_script(
            _standard_input() if source == "-" else Path(source),
            name=name or ("trace" if source == "-" else ""),
            command=command,
            kernel=kernel,
            page_size_bytes=page,
        )
    with _inputs("--output"):
        _write_whole(trace, Path(output))
    _trace_info(trace, as_json)


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
    as_json: _Json = False,
) -> None:
    """Say what a trace holds, and what of it a replay leaves out."""
    with _inputs(source):
        trace = load_trace(source) if source in trace_names() else read_trace(source)
    _trace_info(trace, as_json)


def _trace_info(trace: Trace, as_json: bool) -> None:
    header = trace.header
    with _inputs():
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
        _print_json(value)
        return

    def counts(of: dict[str, int]) -> str:
        return ", ".join(f"{number:,} {word.replace('_', ' ')}" for word, number in of.items()) or "none"

    _show(report.heading(f"{trace.name}: {header.command or 'command unknown'}"))
    _show(Text("\n"))
    _show(
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


def main() -> NoReturn:
    """Run the command line; ends the process."""
    try:
        app(prog_name=PROGRAM)
    except SystemExit as end:
        if end.code != _INTERRUPTED:
            raise
        # Python would wait for threads that may be deep in a long event; whoever pressed Ctrl-C would not.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(_INTERRUPTED)
    sys.exit(0)
