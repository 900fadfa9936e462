# SPDX-License-Identifier: BSD-3-Clause
"""machines: the CPUs there are prices for, and what one of them consists of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated

import typer
from rich.text import Text

from folio_perf import hw, report
from folio_perf.cli.application import app, checked, print_json, show_text
from folio_perf.cli.options import Json
from folio_perf.machine import PRICE_NAMES, TRANSFER_TIERS, Machine, Price, load_machine, machine_names

machines_app = typer.Typer(rich_markup_mode=None, help="List the machines: cache hierarchies with prices; or show one.")
app.add_typer(machines_app, name="machines")


@machines_app.callback(invoke_without_command=True)
def machines(context: typer.Context, as_json: Json = False) -> None:
    """List the machines: cache hierarchies with prices; or show one."""
    if context.invoked_subcommand is not None:
        return
    found = [load_machine(name) for name in machine_names()]
    if as_json:
        print_json([asdict(machine) for machine in found])
        return
    rows = []
    for machine in found:
        sizes = [report.size_text(level.size_bytes) for level in machine.levels]
        prices = [price for _, price in _prices(machine)]
        known = sum(price.ns is not None for price in prices)
        cpus = str(machine.topology.nr_cpus) if machine.topology else "unknown"
        rows.append((machine.name, cpus, str(machine.line_bytes), "/".join(sizes), f"{known} of {len(prices)}"))
    show_text(report.table(("machine", "CPUs", "line", "caches", "prices known"), rows, right=(1, 2, 4)))
    show_text(Text("prices and sources of one: machines show NAME\n", style="dim"))


@machines_app.command("show")
def machines_show(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="One of 'machines', or a .toml file.", show_default=False)
    ],
    as_json: Json = False,
) -> None:
    """Show what a machine consists of, what its accesses cost, and who says so."""
    machine = checked("", load_machine, name)
    if as_json:
        print_json(asdict(machine))
        return
    show_text(report.heading(f"{machine.name}: {machine.description}"))
    show_text(report.facts(_facts(machine)))
    levels = [(level.name, level.prices) for level in machine.levels] + [("dram", machine.dram)]
    rows = [(where, *(_ns(getattr(prices, key)) for key in PRICE_NAMES)) for where, prices in levels]
    heads = ("", "load", "stream", "store", "stream", "RMW", "stream")
    show_text(Text("\n"))
    show_text(report.heading("an access that the level serves, ns: alone, and one of a stream"))
    show_text(report.table(heads, rows, right=range(1, len(heads))))
    tiers = [(tier, _ns(getattr(machine.transfers, tier))) for tier in TRANSFER_TIERS]
    show_text(Text("\n"))
    show_text(report.heading("a line another CPU has just modified, ns, by where that CPU is"))
    show_text(report.table([tier for tier, _ in tiers], [tuple(ns for _, ns in tiers)], right=range(len(tiers))))
    sources = sorted({source for _, price in _prices(machine) for source in price.source.split("; ") if source})
    if sources:
        show_text(Text("\n"))
        show_text(report.heading("sources; which price has which: --json"))
        show_text(report.facts([("", source) for source in sources]))


@machines_app.command("check")
def machines_check(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME", help="One of 'machines', or a .toml file; if not given, the likest.", show_default=False
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Tell in what this host is not the machine; a difference is a warning, and stops nothing."""
    here, topology = hw.host(), hw.host_topology()
    machines = [load_machine(each) for each in machine_names()] if name is None else [checked("", load_machine, name)]
    compared = [(machine, hw.host_differences(machine, here, topology)) for machine in machines]
    machine, differences = min(compared, key=lambda each: len(each[1]))
    if as_json:
        print_json(
            {
                "machine": machine.name,
                "host": asdict(here),
                "topology": topology and asdict(topology),
                "differences": [asdict(each) for each in differences],
            }
        )
        return
    show_text(report.heading(f"this host ({here.cpu}) against {machine.name}"))
    if not differences:
        show_text(Text("no difference in what the kernel tells of caches and CPUs\n"))
        return
    rows = [(each.what, _count(each.host), _count(each.machine)) for each in differences]
    show_text(report.table(("", "this host", machine.name), rows, right=(1, 2)))
    show_text(Text("warning: that file is of another machine; hw calibrate makes one of this\n"))


def _count(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _facts(machine: Machine) -> Iterator[tuple[str, str]]:
    yield "line", f"{machine.line_bytes} bytes"
    for level in machine.levels:
        size = report.size_text(level.size_bytes)
        yield level.name, f"{size}, {level.nr_ways} ways, {machine.nr_sets(level)} sets ({level.source})"
    if machine.topology:
        shape = machine.topology
        yield (
            "CPUs",
            f"{shape.nr_cpus}: {shape.sockets} x {shape.ccx_per_socket} x {shape.cores_per_ccx} cores of"
            f" {shape.threads_per_core}, by socket and last level cache ({shape.source})",
        )
    if machine.hook_call.ns is not None:
        yield "a call", f"{_ns(machine.hook_call)} ns for a hook that does nothing"


def _prices(machine: Machine) -> list[tuple[str, Price]]:
    """All prices of accesses and transfers."""
    levels = [(level.name, level.prices) for level in machine.levels] + [("dram", machine.dram)]
    accesses = [(f"{where}.{key}", getattr(prices, key)) for where, prices in levels for key in PRICE_NAMES]
    return accesses + [(f"transfer.{tier}", getattr(machine.transfers, tier)) for tier in TRANSFER_TIERS]


def _ns(price: Price) -> str:
    return "unknown" if price.ns is None else f"{price.ns:g}"
