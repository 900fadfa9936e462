# SPDX-License-Identifier: BSD-3-Clause
"""hw calibrate, hw validate: prices of this CPU, and the model held against it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.text import Text

from folio_perf import hw as measured
from folio_perf import report
from folio_perf.cli.application import checked, inputs, print_json, progress_bar, show_text
from folio_perf.cli.hw import host_facts, hw_app, name_list, number, order_list
from folio_perf.cli.options import Json, folio_order
from folio_perf.machine import CODE_PRICES, TRANSFER_TIERS, Machine, Price
from folio_perf.schemes import parse_scheme_specs

Rounds = Annotated[str, typer.Option("--rounds", help="How many times over, in turn.", metavar="N")]
Cpu = Annotated[str | None, typer.Option("--cpu", help="To run on; default the first allowed.", metavar="N")]

_WORST: Final = 12


@hw_app.command("calibrate")
def hw_calibrate(
    name: Annotated[str, typer.Option("--name", help="Of the machine.", metavar="NAME")] = "this-host",
    output: Annotated[
        str | None, typer.Option("-o", "--output", help="Write the machine file here.", metavar="FILE.toml")
    ] = None,
    core_to_core: Annotated[
        str | None,
        typer.Option("--core-to-core", help="CSV matrix of a core-to-core-latency tool, for --tier.", metavar="CSV"),
    ] = None,
    tier: Annotated[
        str, typer.Option("--tier", help=f"Of the matrix: {', '.join(TRANSFER_TIERS)}.", metavar="TIER")
    ] = "",
    rounds: Rounds = "5",
    cpu: Cpu = None,
    as_json: Json = False,
) -> None:
    """Measure what accesses cost on this CPU, by single accesses alone, and write a machine file."""
    if output is not None and not output.endswith(".toml"):
        raise typer.BadParameter(f"{output!r} must end in .toml", param_hint="--output")
    if output is not None and not Path(output).resolve().parent.is_dir():
        raise typer.BadParameter(f"{output!r}: there is no such directory", param_hint="--output")
    with inputs(), progress_bar("calibrating") as progress:
        found = measured.calibrate(
            name,
            cpu=_cpu(cpu),
            rounds=checked("--rounds", folio_order, rounds),
            core_to_core=core_to_core,
            tier=tier,
            progress=progress,
        )
    if output is not None:
        with inputs("--output"):
            _write(Path(output), found.to_toml())
    if as_json:
        print_json({"kind": "measured", **asdict(found)})
        return
    parts = [report.heading(f"measured on this CPU in {found.seconds:g} s: prices in ns"), Text("\n")]
    parts += [report.facts(host_facts(found.host)), Text("\n"), *_price_tables(found.machine)]
    if output is None:
        parts.append(Text("\n--output FILE.toml keeps them, with spread and method of each\n", style="dim"))
    show_text(Text.assemble(*parts))


def _write(path: Path, text: str) -> None:
    """Put a file in place whole, or not at all."""
    aside = path.with_name(f".{path.name}.new")
    try:
        aside.write_text(text, encoding="utf-8")
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def _cpu(text: str | None) -> int | None:
    return None if text is None else checked("--cpu", folio_order, text)


def _price_tables(machine: Machine) -> Iterator[Text]:
    prices = [(level.name, level.prices) for level in machine.levels] + [("dram", machine.dram)]
    rows = [
        (name, *(_ns(getattr(each, f"{access}_{form}")) for access in ("load", "store", "rmw") for form in _FORMS))
        for name, each in prices
    ]
    headers = ("from", "load", "stream", "store", "stream", "RMW", "stream")
    yield report.table(headers, rows, right=range(1, len(headers)))
    others = [(f"transfer, {tier}", getattr(machine.transfers, tier)) for tier in TRANSFER_TIERS]
    others += [(name.replace("_", " "), getattr(machine, name)) for name in CODE_PRICES]
    yield Text("\n")
    yield report.table(("", "ns", "+-"), [(name, *_with_spread(price)) for name, price in others], right=(1, 2))


_FORMS: Final = ("dependent", "streaming")


def _ns(price: Price) -> str:
    return "unknown" if price.ns is None else f"{price.ns:.3g}"


def _with_spread(price: Price) -> tuple[str, str]:
    return _ns(price), "" if price.spread_ns is None else f"{price.spread_ns:.2g}"


@hw_app.command("validate")
def hw_validate(
    schemes: Annotated[
        str, typer.Option("--schemes", help="NAME[:OPTION=VALUE,...][@KERNEL], ...; or all.", metavar="S,...")
    ] = "all",
    operations: Annotated[
        str, typer.Option("--operations", help="Of 'hw operations', or all.", metavar="O,...")
    ] = "all",
    orders: Annotated[str, typer.Option("--orders", help="Of the folios.", metavar="N,...")] = "0,2,4,9",
    regimes: Annotated[
        str, typer.Option("--regimes", help="Where struct pages are: as 'hw run'.", metavar="R,...")
    ] = "l1,l2,cold",
    rounds: Rounds = "7",
    seconds: Annotated[
        str, typer.Option("--seconds", help="At most so long for each number and round.", metavar="X")
    ] = "0.012",
    cpu: Cpu = None,
    as_json: Json = False,
) -> None:
    """Measure every operation of every design, model it at this CPU's prices, and show both."""
    listed = None if schemes == "all" else checked("--schemes", parse_scheme_specs, schemes)
    found_orders = checked("--orders", order_list, orders)
    with inputs(), progress_bar("measuring") as progress:
        found = measured.validate(
            listed,
            operations=tuple(measured.OPERATIONS) if operations == "all" else name_list(operations),
            orders=found_orders,
            regimes=name_list(regimes),
            rounds=checked("--rounds", folio_order, rounds),
            seconds=checked("--seconds", number, seconds),
            cpu=_cpu(cpu),
            progress=progress,
        )
    if as_json:
        print_json([asdict(each) for each in found.points])
    else:
        show_text(_validation(found))


def _validation(found: measured.Validation) -> Text:
    parts = [report.heading("measured on this CPU, modelled at its prices: ns per folio"), Text("\n")]
    parts += [report.facts(host_facts(found.host)), Text("\n"), *_price_tables(found.machine)]
    order = sorted(found.points, key=lambda each: (each.regime, each.order, each.operation))
    for (regime, nr, operation), group in groupby(order, lambda each: (each.regime, each.order, each.operation)):
        parts += [Text("\n"), report.heading(f"{operation}, order {nr}, {regime}"), _rows(group)]
    parts += [Text("\n"), report.heading(f"the {_WORST} points the model is farthest from")]
    worst = sorted(found.points, key=lambda each: -each.error)[:_WORST]
    cells = [
        (each.operation, str(each.order), each.regime, f"{each.ratio:.2f}", f"{each.scheme}@{each.kernel}")
        for each in worst
    ]
    parts.append(report.table(("operation", "order", "from", "ratio", "design"), cells, right=(1, 3)))
    parts += [Text("\n"), _summary(found.points)]
    return Text.assemble(*parts)


def _rows(group: Iterable[measured.Validated]) -> Text:
    cells = [
        (
            f"{each.scheme}@{each.kernel}",
            f"{each.measured_ns:,.1f}",
            f"{each.spread:,.1f}",
            f"{each.modelled_ns:,.1f}",
            f"{each.ratio:.2f}",
        )
        for each in group
    ]
    return report.table(("design", "measured", "+-", "modelled", "ratio"), cells, right=range(1, 5))


def _summary(points: Iterable[measured.Validated]) -> Text:
    points = tuple(points)
    groups = [("all", points)]
    groups += [(name, some) for name in measured.REGIMES if (some := tuple(p for p in points if p.regime == name))]
    cells = []
    for name, some in groups:
        each = measured.agreement(some)
        cells.append(
            (
                name,
                str(each.points),
                f"{each.median_error:.1%}",
                f"{each.p90_error:.1%}",
                str(each.pairs),
                f"{each.right:.1%}",
                f"{each.right_of_others:.1%}",
            )
        )
    headers = ("from", "points", "median error", "90 %", "pairs", "in order", "told apart")
    text = report.table(headers, cells, right=range(1, len(headers)))
    note = (
        "pairs: designs that differ by more than a tenth in an operation; in order: the model has them the right way"
        " round; told apart: the same without pairs that make the very same accesses"
    )
    return Text.assemble(text, report.paragraph(note, style="dim"))
