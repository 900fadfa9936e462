# SPDX-License-Identifier: BSD-3-Clause
"""Options that several commands share, and what they are read into."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated

import typer

from folio_perf.cli.application import RefusedError, checked, inputs
from folio_perf.geometry import Geometry, parse_size
from folio_perf.machine import Machine
from folio_perf.scenario import Scenario
from folio_perf.schemes import UNKNOWN_POLICIES
from folio_perf.simulate import BACKENDS
from folio_perf.workloads import parse_settings, workload, workload_names

__all__ = [
    "BackendName",
    "FolioName",
    "Json",
    "KeepGoing",
    "KernelName",
    "LineSize",
    "MachineName",
    "PageSize",
    "Plot",
    "ScenarioName",
    "Settings",
    "folio_order",
    "geometry_of",
    "known_backend",
    "policy_of",
    "with_settings",
]

ScenarioName = Annotated[
    str,
    typer.Argument(
        metavar="SCENARIO",
        help="Scenario, workload or trace of 'scenarios', file of scenarios (FILE, FILE:NAME), or Parquet trace.",
        show_default=False,
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="Parameter of a workload ('scenarios show NAME' lists them), or unknown=assume|walk|repair: what consumers"
        " do about that answer; may be given again.",
        metavar="NAME=VALUE",
    ),
]
FolioName = Annotated[
    str | None,
    typer.Option(
        "--folio",
        help="Folio sizes of anonymous faults: order0, thp, mthp=64K, default. Else the scenario's own.",
        metavar="POLICY",
    ),
]
BackendName = Annotated[
    str, typer.Option("--backend", help="cache, or count: faster, but no lines, levels and times.", metavar="NAME")
]
KeepGoing = Annotated[bool, typer.Option("--keep-going", help="Count events that fail instead of ending at the first.")]
Plot = Annotated[str | None, typer.Option("--plot", help="Draw a picture: .png, .svg, .pdf.", metavar="FILE")]

Json = Annotated[bool, typer.Option("--json", help="Print one JSON value instead of text.")]
KernelName = Annotated[
    str, typer.Option("--kernel", help="What mm does apart from counting: a version, or a .toml file.", metavar="K")
]
MachineName = Annotated[
    str, typer.Option("--machine", help="Caches and prices: a name of 'machines', or a .toml file.", metavar="M")
]
PageSize = Annotated[str, typer.Option("--page-size", help="Base page: 4K, 16K, 64K ...", metavar="SIZE")]
LineSize = Annotated[
    str | None,
    typer.Option(
        "--line-size",
        help="Cache line, 64 or 128; default the machine's. Without times if it differs.",
        metavar="BYTES",
    ),
]


def geometry_of(page_size: str, line_size: str | None, machine: Machine) -> Geometry:
    """Read --page-size and --line-size; the line is the machine's unless it is given."""
    page = checked("--page-size", parse_size, page_size)
    line = machine.line_bytes if line_size is None else checked("--line-size", parse_size, line_size)
    with inputs("--page-size" if line_size is None else "--page-size, --line-size"):
        return Geometry(page_size_bytes=page, line_bytes=line)


def folio_order(text: str) -> int:
    """Read a folio order."""
    if not re.fullmatch(r"-?[0-9]{1,9}", text, re.ASCII):
        raise ValueError(f"{text!r} is not a folio order: a whole number, 0 for one page")
    return int(text)


def known_backend(name: str) -> str:
    """Read --backend."""
    if name not in BACKENDS:
        raise ValueError(f"{name!r} must be one of {', '.join(BACKENDS)}")
    return name


def policy_of(settings: Sequence[str]) -> tuple[list[str], str | None]:
    """Take ``unknown=...`` out of --set: the other settings, and its value or None."""
    policies = [
        setting.partition("=")[2].strip() for setting in settings if setting.partition("=")[0].strip() == "unknown"
    ]
    if len(policies) > 1:
        raise RefusedError("--set: unknown is given twice")
    if policies and policies[0] not in UNKNOWN_POLICIES:
        raise RefusedError(f"--set: unknown={policies[0]} is not one of {', '.join(UNKNOWN_POLICIES)}")
    others = [setting for setting in settings if setting.partition("=")[0].strip() != "unknown"]
    return others, policies[0] if policies else None


def with_settings(name: str, settings: Sequence[str], geometry: Geometry | None) -> str | Scenario:
    """Read SCENARIO and --set: the workload they make, or the name where nothing is set."""
    if not settings:
        return name
    if name not in workload_names():
        raise RefusedError(f"--set: {name!r} is no workload; there are {', '.join(workload_names())}")
    with inputs("--set"):
        return workload(name, geometry or Geometry(), **parse_settings(settings))
