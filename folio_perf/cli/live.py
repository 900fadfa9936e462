# SPDX-License-Identifier: BSD-3-Clause
"""live: the running kernel, what it shows of its folios."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Collection
from dataclasses import asdict
from typing import Annotated

import typer
from rich.text import Text

from folio_perf import live, report
from folio_perf.cli.application import RefusedError, app, checked, inputs, print_json, progress_bar, show_text
from folio_perf.cli.options import Json, Plot
from folio_perf.live.processes import processes_of_cgroup
from folio_perf.results import MEASURED, Census

live_app = typer.Typer(rich_markup_mode=None, help="Ask the running kernel.")
app.add_typer(live_app, name="live")


def _seconds(text: str) -> float:
    if not re.fullmatch(r"[0-9]*\.?[0-9]+", text, re.ASCII) or not math.isfinite(float(text)) or not float(text):
        raise ValueError(f"{text!r} is not a number of seconds such as 0.5")
    return float(text)


def whole_number(text: str) -> int:
    """Read a number of things, 1 or more."""
    if not re.fullmatch(r"0*[1-9][0-9]{0,8}", text, re.ASCII):
        raise ValueError(f"{text!r} is not a whole number from 1 on")
    return int(text)


@live_app.command("census")
def live_census(
    pid: Annotated[
        list[str] | None,
        typer.Option("--pid", help="Folios this process maps; may be given again.", metavar="N"),
    ] = None,
    cgroup: Annotated[
        str | None,
        typer.Option(
            "--cgroup", help="Folios the processes of a control group map; below /sys/fs/cgroup.", metavar="G"
        ),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All memory; the default.")] = False,
    interval: Annotated[
        str | None, typer.Option("--interval", help="Count again every so many seconds, until Ctrl-C.", metavar="S")
    ] = None,
    samples: Annotated[
        str | None, typer.Option("--samples", help="With --interval: end after so many.", metavar="N")
    ] = None,
    plot: Plot = None,
    as_json: Json = False,
) -> None:
    """Count by how many VMAs the folios of this machine are mapped: Zero, One, Two, Many."""
    if (pid is not None) + (cgroup is not None) + everything > 1:
        raise RefusedError("--pid, --cgroup, --all: only one of them")
    if samples is not None and interval is None:
        raise RefusedError("--samples: needs --interval")
    wait = None if interval is None else checked("--interval", _seconds, interval)
    nr_samples = None if samples is None else checked("--samples", whole_number, samples)
    pids = None if pid is None else [checked("--pid", whole_number, each) for each in pid]
    if plot is not None:
        from folio_perf import plotting

        checked("--plot", plotting.check_target, plot)
    found = [_census(pids, cgroup)] if wait is None else _series(pids, cgroup, wait, nr_samples, show=not as_json)
    if as_json:
        print_json({"kind": MEASURED, "censuses": [asdict(each) for each in found]})
    else:
        show_text(report.census_report(found[-1]))
    if plot is not None:
        with inputs("--plot"):
            plotting.save(found, plot)


def _census(pids: Collection[int] | None, cgroup: str | None) -> Census:
    scope = None
    with inputs("--pid" if cgroup is None else "--cgroup"), progress_bar("reading memory") as progress:
        if cgroup is not None:
            scope, pids = f"control group {cgroup}", processes_of_cgroup(cgroup)
        try:
            return live.census(pids, scope=scope, progress=progress)
        except ProcessLookupError as error:
            raise ValueError(str(error)) from error


def _series(
    pids: Collection[int] | None, cgroup: str | None, wait: float, nr_samples: int | None, *, show: bool
) -> list[Census]:
    """Count again and again; Ctrl-C ends the series, not what was counted."""
    found: list[Census] = []
    begin = time.monotonic()
    try:
        while nr_samples is None or len(found) < nr_samples:
            # On a grid of its own: how long a census takes does not add up.
            time.sleep(max(0.0, begin + wait * len(found) - time.monotonic()))
            found.append(_census(pids, cgroup))
            if show:
                show_text(Text(f"{report.census_line(found[-1])}\n"))
    except KeyboardInterrupt:
        if not found:
            raise
    if show:
        show_text(Text("\n"))
    return found
