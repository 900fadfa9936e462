# SPDX-License-Identifier: BSD-3-Clause
"""catastrophes: a search for what becomes much slower, or faster."""

from __future__ import annotations

import re
from typing import Annotated

import typer

import folio_perf
from folio_perf import report
from folio_perf.catastrophes import DEFAULT_BASELINE, MAX_PROCESSES, PAGE_SIZES, ROUNDS
from folio_perf.cli.application import INTERRUPTED, app, checked, inputs, progress_bar, show_text
from folio_perf.cli.options import Json, KernelName, MachineName
from folio_perf.machine import DEFAULT_MACHINE, load_machine
from folio_perf.profile import DEFAULT_KERNEL, load_profile
from folio_perf.schemes import parse_scheme_spec

_TIME_LIMIT = "55"


@app.command()
def catastrophes(
    scheme: Annotated[
        list[str] | None,
        typer.Option(
            "--scheme",
            help="Design to search, with all its policies, or NAME:OPTION=VALUE,... that one; may be given again."
            " Default: all.",
            metavar="SCHEME",
        ),
    ] = None,
    baseline: Annotated[
        str, typer.Option("--baseline", help="What they are compared with.", metavar="SCHEME")
    ] = DEFAULT_BASELINE,
    processes: Annotated[
        str, typer.Option("--processes", help=f"At most so many share the memory, up to {MAX_PROCESSES}.", metavar="N")
    ] = "64",
    page_size: Annotated[
        str, typer.Option("--page-size", help="Base pages, one or more.", metavar="SIZE,...")
    ] = ",".join(PAGE_SIZES),
    rounds: Annotated[str, typer.Option("--rounds", help="Of the search, 48 scenarios each.", metavar="N")] = str(
        ROUNDS
    ),
    time_limit: Annotated[
        str, typer.Option("--time-limit", help="Seconds until it ends with what it has; 0: none.", metavar="S")
    ] = _TIME_LIMIT,
    seed: Annotated[str, typer.Option("--seed", help="Equal seeds find equal cases.", metavar="N")] = "0",
    workers: Annotated[
        str | None, typer.Option("--workers", help="Processes that run the model; default one per CPU.", metavar="N")
    ] = None,
    machine: MachineName = DEFAULT_MACHINE,
    kernel: KernelName = DEFAULT_KERNEL,
    as_json: Json = False,
) -> None:
    """Search for scenarios in which a design is slower, or faster, than another by the largest factor."""
    for each in [*(scheme or ()), baseline]:
        checked("--scheme" if each != baseline else "--baseline", parse_scheme_spec, each)
    found_machine = checked("--machine", load_machine, machine)
    profile = checked("--kernel", load_profile, kernel)
    limit = checked("--time-limit", _seconds, time_limit)
    numbers = {
        option: checked(option, _number, text)
        for option, text in (("--processes", processes), ("--rounds", rounds), ("--seed", seed))
    }
    nr_workers = None if workers is None else checked("--workers", _number, workers)
    with inputs(), progress_bar("searching") as progress:
        found = folio_perf.catastrophes(
            scheme or None,
            baseline=baseline,
            processes=numbers["--processes"],
            page_sizes=page_size.split(","),
            machine=found_machine,
            kernel=profile,
            seed=numbers["--seed"],
            rounds=numbers["--rounds"],
            time_limit=limit,
            workers=nr_workers,
            progress=progress,
        )
    if as_json:
        print(found.to_json())
    else:
        show_text(report.catastrophes_report(found))
    if found.ended == "interrupted":
        raise typer.Exit(INTERRUPTED)


def _number(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text, re.ASCII):
        raise ValueError(f"{text!r} is not a whole number")
    return int(text)


def _seconds(text: str) -> float | None:
    """Read --time-limit."""
    if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]+)?", text, re.ASCII):
        raise ValueError(f"{text!r} is not a number of seconds")
    return float(text) or None
