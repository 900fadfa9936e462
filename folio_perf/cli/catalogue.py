# SPDX-License-Identifier: BSD-3-Clause
"""schemes, kernels, scenarios: what there is to choose from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated

import typer
from rich.text import Text

from folio_perf import report
from folio_perf.cli.application import RefusedError, app, checked, print_json, show_text
from folio_perf.cli.options import Json
from folio_perf.profile import KernelProfile, load_profile, profile_names
from folio_perf.scenario import scenario_description, scenario_names, scenario_text
from folio_perf.schemes import SchemeInfo, scheme_info, scheme_names
from folio_perf.traces import load_trace, trace_names
from folio_perf.workloads import workload_description, workload_names, workload_parameters


@app.command()
def schemes(as_json: Json = False) -> None:
    """List the mapcount designs: what each counts, costs, and cannot tell."""
    infos = [scheme_info(name) for name in scheme_names()]
    if as_json:
        print_json([_scheme_object(info) for info in infos])
        return
    for number, info in enumerate(infos):
        show_text(Text("\n" * bool(number)))
        show_text(report.heading(f"{info.name}: {info.title}"))
        show_text(report.facts(_scheme_facts(info)))


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
def kernels(as_json: Json = False) -> None:
    """List the kernel profiles: what mm does apart from counting."""
    found = [load_profile(name) for name in profile_names()]
    if as_json:
        print_json([asdict(profile) for profile in found])
        return
    rows = [(profile.name, profile.released, *_profile_words(profile)) for profile in found]
    headers = ("kernel", "released", "batches", "fault maps", "counted by")
    show_text(report.table(headers, rows))
    show_text(Text("all values and their sources: --json\n", style="dim"))


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
def scenarios(context: typer.Context, as_json: Json = False) -> None:
    """List the scenarios, workloads and traces that ship, or print one."""
    if context.invoked_subcommand is not None:
        return
    listed = [(name, "scenario", scenario_description(name)) for name in scenario_names()]
    listed += [(name, "workload", workload_description(name)) for name in workload_names()]
    listed += [(name, "trace", load_trace(name).header.command) for name in trace_names()]
    if as_json:
        print_json([{"name": name, "kind": kind, "description": text} for name, kind, text in listed])
        return
    for number, (kind, title) in enumerate(
        (("scenario", "what happens"), ("workload", "what happens, by --set"), ("trace", "recorded command"))
    ):
        show_text(Text("\n" * bool(number)))
        show_text(report.table((kind, title), [(name, text) for name, each, text in listed if each == kind]))


@scenarios_app.command("show")
def scenarios_show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="One of 'scenarios'.", show_default=False)],
    as_json: Json = False,
) -> None:
    """Print the text of a scenario (edit it and give the file to 'compare'), or the parameters of a workload."""
    if name in trace_names():
        raise RefusedError(f"{name} is a trace, not a text; folio-perf trace info {name} describes it")
    if name in workload_names():
        _workload_show(name, as_json)
        return
    text = checked("", scenario_text, name)
    if as_json:
        print_json({"name": name, "description": scenario_description(name), "text": text})
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
        print_json({"name": name, "description": workload_description(name), "parameters": listed})
        return
    show_text(report.heading(f"{name}: {workload_description(name)}"))
    rows = [(each.name, str(each.default), f"{each.help}; {each.rule}") for each in parameters]
    show_text(report.table(("parameter", "default", "what it is"), rows))
