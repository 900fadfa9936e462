# SPDX-License-Identifier: BSD-3-Clause
"""explain: why one design, or one machine, costs more than another."""

from __future__ import annotations

from typing import Annotated

import typer

import folio_perf
from folio_perf import report
from folio_perf.cli.application import RefusedError, app, checked, inputs, progress_bar, show_text
from folio_perf.cli.options import (
    BackendName,
    FolioName,
    Json,
    KeepGoing,
    KernelName,
    PageSize,
    Plot,
    ScenarioName,
    Settings,
    geometry_of,
    known_backend,
    with_settings,
)
from folio_perf.geometry import FolioPolicy
from folio_perf.machine import DEFAULT_MACHINE, load_machine
from folio_perf.profile import DEFAULT_KERNEL, load_profile
from folio_perf.schemes import parse_scheme_spec

_MACHINES = 2


@app.command()
def explain(
    a: Annotated[
        str, typer.Argument(metavar="A", help="NAME[:OPTION=VALUE,...][@KERNEL] to start from.", show_default=False)
    ],
    b: Annotated[str, typer.Argument(metavar="B", help="What it is compared with.", show_default=False)],
    scenario: ScenarioName,
    settings: Settings = None,
    kernel: KernelName = DEFAULT_KERNEL,
    machines: Annotated[
        list[str] | None,
        typer.Option(
            "--machine",
            help=f"Caches and prices, default {DEFAULT_MACHINE}; given twice, A runs on the first, B on the second.",
            metavar="M",
        ),
    ] = None,
    page_size: PageSize = "4K",
    folio: FolioName = None,
    backend: BackendName = "cache",
    keep_going: KeepGoing = False,
    plot: Plot = None,
    as_json: Json = False,
) -> None:
    """Split what B costs more than A into its causes, largest first."""
    names = machines or [DEFAULT_MACHINE]
    if len(names) > _MACHINES:
        raise RefusedError(f"--machine: {len(names)} machines; there are two runs")
    found = [checked("--machine", load_machine, name) for name in names]
    first, second = checked("A", parse_scheme_spec, a), checked("B", parse_scheme_spec, b)
    profile = checked("--kernel", load_profile, kernel)
    policy = None if folio is None else checked("--folio", FolioPolicy.parse, folio)
    checked("--backend", known_backend, backend)
    source = with_settings(scenario, settings or (), geometry_of(page_size, None, found[0]))
    if plot is not None:
        from folio_perf import plotting

        checked("--plot", plotting.check_target, plot)
    with inputs(), progress_bar(scenario) as progress:
        explanation = folio_perf.explain(
            first,
            second,
            source,
            machine=found[0],
            machine_b=found[-1],
            geometry=page_size,
            kernel=profile,
            backend=backend,
            folio=policy,
            strict=False if keep_going else None,
            progress=progress,
        )
    if plot is not None:
        with inputs("--plot"):
            plotting.save(explanation, plot)
    if as_json:
        print(explanation.to_json())
    else:
        show_text(report.explanation_report(explanation))
