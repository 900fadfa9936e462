# SPDX-License-Identifier: BSD-3-Clause
"""contention: what many threads reach that use the same lines."""

from __future__ import annotations

import re
from typing import Annotated

import typer

import folio_perf
from folio_perf import report
from folio_perf.cli.application import app, checked, inputs, show_text
from folio_perf.cli.options import Json, KernelName, MachineName, PageSize, Plot, folio_order
from folio_perf.contention import DEFAULT_OPERATIONS, MAX_THREADS, SHARING
from folio_perf.machine import DEFAULT_MACHINE, load_machine
from folio_perf.profile import DEFAULT_KERNEL, load_profile
from folio_perf.schemes import parse_scheme_specs


@app.command()
def contention(
    schemes: Annotated[
        list[str],
        typer.Argument(metavar="SCHEME...", help="NAME[:OPTION=VALUE,...][@KERNEL], one or more.", show_default=False),
    ],
    threads: Annotated[
        str, typer.Option("--threads", help="Numbers of threads: 8, 1-256 or 1,2,4.", metavar="N")
    ] = "1-256",
    operations: Annotated[
        str, typer.Option("--operation", help="What each thread repeats, of 'operations'.", metavar="NAME,...")
    ] = ",".join(DEFAULT_OPERATIONS),
    order: Annotated[str, typer.Option("--order", help="Of the folio: it has 2^N pages.", metavar="N")] = "0",
    sharing: Annotated[
        str, typer.Option("--sharing", help=f"What threads share: {' or '.join(SHARING)} (locks).", metavar="WHAT")
    ] = SHARING[0],
    think: Annotated[
        str, typer.Option("--think", help="Work beside it per operation, in ns: fault entry, flushes.", metavar="NS")
    ] = "0",
    machine: MachineName = DEFAULT_MACHINE,
    kernel: KernelName = DEFAULT_KERNEL,
    page_size: PageSize = "4K",
    plot: Plot = None,
    as_json: Json = False,
) -> None:
    """Model throughput by the number of threads: a closed queue for each line they share, inexact."""
    specs = [spec for text in schemes for spec in checked("SCHEME", parse_scheme_specs, text)]
    found = checked("--machine", load_machine, machine)
    profile = checked("--kernel", load_profile, kernel)
    counts = checked("--threads", _thread_counts, threads)
    nr_order, think_ns = checked("--order", folio_order, order), checked("--think", _ns, think)
    if plot is not None:
        from folio_perf import plotting

        checked("--plot", plotting.check_target, plot)
    with inputs():
        modelled = folio_perf.contention(
            specs,
            threads=counts,
            operations=operations.split(","),
            order=nr_order,
            sharing=sharing,
            machine=found,
            geometry=page_size,
            kernel=profile,
            think_ns=think_ns,
        )
    if plot is not None:
        with inputs("--plot"):
            plotting.save(modelled, plot)
    if as_json:
        print(modelled.to_json())
    else:
        show_text(report.contention_report(modelled))


def _thread_counts(text: str) -> list[int]:
    """Read --threads."""
    if match := re.fullmatch(r"(\d{1,6})-(\d{1,6})", text, re.ASCII):
        first, last = int(match[1]), int(match[2])
        if not 1 <= first <= last <= MAX_THREADS:
            raise ValueError(f"{text!r} must ascend from 1 to at most {MAX_THREADS}")
        return list(range(first, last + 1))
    if not re.fullmatch(r"\d{1,6}(,\d{1,6})*", text, re.ASCII):
        raise ValueError(f"{text!r} is no number of threads: 8, 1-256 or 1,2,4")
    return [int(each) for each in text.split(",")]


def _ns(text: str) -> float:
    """Read --think."""
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a time in ns") from None
