# SPDX-License-Identifier: BSD-3-Clause
"""demo, compare, show, operations: designs side by side, and one operation line by line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer
from rich.text import Text

import folio_perf
from folio_perf import report
from folio_perf.cli.application import app, checked, inputs, print_json, progress_bar, show_text
from folio_perf.cli.options import (
    BackendName,
    FolioName,
    Json,
    KeepGoing,
    KernelName,
    LineSize,
    MachineName,
    PageSize,
    Plot,
    ScenarioName,
    Settings,
    folio_order,
    geometry_of,
    known_backend,
    policy_of,
    with_settings,
)
from folio_perf.geometry import FolioPolicy, Geometry
from folio_perf.machine import DEFAULT_MACHINE, Machine, load_machine
from folio_perf.profile import DEFAULT_KERNEL, KernelProfile, load_profile
from folio_perf.results import Comparison
from folio_perf.schemes import parse_scheme_spec, parse_scheme_specs
from folio_perf.simulate import DEFAULT_SCHEME, operation_names, operation_title

DEMO_TRACE = "redis-bgsave-thp"
DEMO_PICTURE = "folio-perf-demo.png"


@app.command()
def demo(
    plot: Annotated[str, typer.Option("--plot", help="Where the picture goes.", metavar="FILE")] = DEMO_PICTURE,
) -> None:
    """Compare the designs on a recorded workload: Redis saving its data while clients write."""
    _compare(DEMO_TRACE, machine=load_machine(DEFAULT_MACHINE), plot=plot)
    show_text(Text(f"picture: {plot}\n", style="dim"))


@app.command()
def compare(
    scenario: ScenarioName,
    settings: Settings = None,
    schemes: Annotated[
        str | None,
        typer.Option(
            "--schemes",
            help="NAME[:OPTION=VALUE,...][@KERNEL], separated by commas; first is baseline.",
            metavar="S,...",
        ),
    ] = None,
    kernel: KernelName = DEFAULT_KERNEL,
    machine: MachineName = DEFAULT_MACHINE,
    page_size: PageSize = "4K",
    line_size: LineSize = None,
    folio: FolioName = None,
    backend: BackendName = "cache",
    keep_going: KeepGoing = False,
    outside: Annotated[
        bool, typer.Option("--outside", help="Also tell the work that is no design's own: faults, copies, flushes ...")
    ] = False,
    plot: Plot = None,
    as_json: Json = False,
) -> None:
    """Run one scenario under several mapcount designs, side by side."""
    found = checked("--machine", load_machine, machine)
    _compare(
        scenario,
        settings=settings or (),
        schemes=schemes,
        kernel=checked("--kernel", load_profile, kernel),
        machine=found,
        geometry=geometry_of(page_size, line_size, found),
        folio=folio,
        backend=backend,
        strict=False if keep_going else None,
        outside=outside,
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
    outside: bool = False,
    plot: str | None = None,
    as_json: bool = False,
) -> None:
    checked("--backend", known_backend, backend)
    specs = None if schemes is None else checked("--schemes", parse_scheme_specs, schemes)
    policy = None if folio is None else checked("--folio", FolioPolicy.parse, folio)
    if plot is not None:
        from folio_perf import plotting

        checked("--plot", plotting.check_target, plot)
    settings, unknown = policy_of(settings)
    source = with_settings(scenario, settings, geometry)
    with inputs(), progress_bar(scenario) as progress:
        comparison: Comparison = folio_perf.compare(
            source,
            schemes=specs,
            kernel=kernel or DEFAULT_KERNEL,
            machine=machine,
            geometry=geometry,
            folio=policy,
            backend=backend,
            strict=strict,
            unknown=unknown,
            progress=progress,
        )
    if plot is not None:
        with inputs("--plot"):
            plotting.save(comparison, plot)
    if as_json:
        print(comparison.to_json())
    else:
        show_text(report.comparison_report(comparison))
        if outside:
            show_text(report.outside_report(comparison))


@app.command()
def show(
    operation: Annotated[str, typer.Argument(metavar="OPERATION", help="One of 'operations'.", show_default=False)],
    scheme: Annotated[
        str, typer.Option("--scheme", help="NAME[:OPTION=VALUE,...][@KERNEL]", metavar="S")
    ] = DEFAULT_SCHEME,
    order: Annotated[
        str | None, typer.Option("--order", help="Of the folio: it has 2^N pages; default that of a PMD.", metavar="N")
    ] = None,
    kernel: KernelName = DEFAULT_KERNEL,
    machine: MachineName = DEFAULT_MACHINE,
    page_size: PageSize = "4K",
    line_size: LineSize = None,
    everything: Annotated[bool, typer.Option("--all", help="Also accesses that every design pays alike.")] = False,
    as_json: Json = False,
) -> None:
    """Show the memory accesses of one operation on one folio, in order."""
    found = checked("--machine", load_machine, machine)
    spec = checked("--scheme", parse_scheme_spec, scheme)
    profile = checked("--kernel", load_profile, kernel)
    geometry = geometry_of(page_size, line_size, found)
    with inputs():
        trace = folio_perf.trace_operation(
            operation,
            order=geometry.pmd_order if order is None else checked("--order", folio_order, order),
            scheme=spec,
            machine=found,
            geometry=geometry,
            kernel=profile,
        )
    if as_json:
        print(trace.to_json())
    else:
        show_text(report.accesses_report(trace, everything=everything))


@app.command()
def operations(as_json: Json = False) -> None:
    """List the operations that 'show' knows."""
    titles = {name: operation_title(name) for name in operation_names()}
    if as_json:
        print_json([{"name": name, "title": title} for name, title in titles.items()])
    else:
        show_text(report.table(("operation", "what happens"), titles.items()))
