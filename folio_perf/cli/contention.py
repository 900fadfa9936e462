# SPDX-License-Identifier: BSD-3-Clause
"""contention: what many threads reach that use the same lines."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated

import typer

import folio_perf
from folio_perf import hw as measured
from folio_perf import report
from folio_perf.cli.application import RefusedError, app, checked, inputs, print_json, progress_bar, show_text
from folio_perf.cli.options import Json, KernelName, MachineName, PageSize, Plot, folio_order
from folio_perf.contention import DEFAULT_OPERATIONS, MAX_THREADS, SHARING
from folio_perf.machine import DEFAULT_MACHINE, load_machine
from folio_perf.profile import DEFAULT_KERNEL, load_profile
from folio_perf.schemes import SchemeSpec, parse_scheme_specs


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
    measure: Annotated[
        bool,
        typer.Option("--measure", help="Beside it, what threads on this host reach: hooks alone, as 'hw contend'."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Model throughput by the number of threads: a closed queue for each line they share, inexact."""
    specs = [spec for text in schemes for spec in checked("SCHEME", parse_scheme_specs, text)]
    found = checked("--machine", load_machine, machine)
    profile = checked("--kernel", load_profile, kernel)
    counts = checked("--threads", thread_counts, threads)
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
    rows = _measured(specs, counts, sharing, nr_order) if measure else ()
    if as_json:
        print_json(json.loads(modelled.to_json()) | ({"measured": [asdict(row) for row in rows]} if measure else {}))
        return
    show_text(report.contention_report(modelled))
    if measure:
        from folio_perf.cli.hw_contend import contended_report

        show_text(contended_report(rows))


def _measured(
    specs: Sequence[SchemeSpec], counts: Sequence[int], sharing: str, order: int
) -> tuple[measured.Contended, ...]:
    """Measure the designs on one folio, or the lock of walks alone, with as many threads as there are CPUs for."""
    nr_cpus = len(os.sched_getaffinity(0))
    threads = [nr for nr in counts if nr <= nr_cpus]
    if not threads:
        raise RefusedError(f"--measure: this process may use {nr_cpus} CPUs, and --threads begins with {counts[0]}")
    with inputs("--measure"), progress_bar("measuring") as progress:
        return measured.contend(
            specs if sharing == "folio" else (),
            uses=() if sharing == "folio" else ("rwsem",),
            layouts=("folio",),
            threads=threads,
            order=order,
            progress=progress,
        )


def thread_counts(text: str) -> list[int]:
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
