# SPDX-License-Identifier: BSD-3-Clause
"""hw: the designs' own code on this CPU, measured."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import groupby
from typing import Annotated

import typer
from rich.text import Text

from folio_perf import hw as measured
from folio_perf import report
from folio_perf.cli.application import app, checked, inputs, print_json, progress_bar, show_text
from folio_perf.cli.options import Json, PageSize, folio_order
from folio_perf.geometry import Geometry, parse_size
from folio_perf.hw.run import DEFAULT_SCHEMES
from folio_perf.schemes import parse_scheme_specs, scheme_names

hw_app = typer.Typer(rich_markup_mode=None, help="Measure the designs' own code on this CPU.")
app.add_typer(hw_app, name="hw")

_NS = "ns"


def name_list(text: str) -> tuple[str, ...]:
    """Read names separated by commas."""
    return tuple(word.strip() for word in text.split(",") if word.strip())


def order_list(text: str) -> tuple[int, ...]:
    """Read orders separated by commas."""
    return tuple(folio_order(word) for word in name_list(text))


def number(text: str) -> float:
    """Read a number that is not negative."""
    if not re.fullmatch(r"[0-9]*\.?[0-9]+", text, re.ASCII):
        raise ValueError(f"{text!r} is not a number such as 0.25")
    return float(text)


@hw_app.command("run")
def hw_run(
    schemes: Annotated[
        str,
        typer.Option(
            "--schemes", help="NAME[:OPTION=VALUE,...][@KERNEL], separated by commas; or all.", metavar="S,..."
        ),
    ] = DEFAULT_SCHEMES,
    operations: Annotated[
        str, typer.Option("--operations", help="Of 'hw operations', or all.", metavar="O,...")
    ] = "map_unmap_ptes,fork_later,total_mapcount",
    orders: Annotated[str, typer.Option("--orders", help="Of the folios, or all.", metavar="N,...")] = "0,4,9",
    regimes: Annotated[
        str,
        typer.Option(
            "--regimes",
            help="Struct pages in l1, l2, l3, dram, or cold: evicted before each pass; or all.",
            metavar="R,...",
        ),
    ] = "l2,cold",
    page_size: PageSize = "4K",
    precision: Annotated[
        str, typer.Option("--precision", help="Confidence interval of the median to end at, as a share.", metavar="X")
    ] = "0.02",
    seconds: Annotated[str, typer.Option("--seconds", help="At most so long for each number.", metavar="X")] = "0.25",
    cpu: Annotated[str | None, typer.Option("--cpu", help="To run on; default the first allowed.", metavar="N")] = None,
    as_json: Json = False,
) -> None:
    """Execute operations with real atomics on real struct pages; median time, spread, and the modelled counts."""
    page = checked("--page-size", parse_size, page_size)
    with inputs("--page-size"):
        geometry = Geometry(page_size_bytes=page, memory_bytes=64 << 30)
    names = tuple(measured.OPERATIONS) if operations == "all" else name_list(operations)
    specs = checked("--schemes", parse_scheme_specs, ",".join(scheme_names()) if schemes == "all" else schemes)
    found_orders = range(geometry.pmd_order + 1) if orders == "all" else checked("--orders", order_list, orders)
    with inputs(), progress_bar("measuring") as progress:
        rows = measured.run(
            specs,
            operations=names,
            orders=found_orders,
            regimes=tuple(measured.REGIMES) if regimes == "all" else name_list(regimes),
            geometry=geometry,
            precision=checked("--precision", number, precision),
            seconds=checked("--seconds", number, seconds),
            cpu=None if cpu is None else checked("--cpu", folio_order, cpu),
            progress=progress,
        )
    facts, compared = measured.host(), measured.ratios(rows)
    if as_json:
        print_json(
            {
                "kind": "measured",
                "host": asdict(facts),
                "rows": [asdict(row) for row in rows],
                "ratios": [asdict(each) for each in compared],
            }
        )
    else:
        show_text(_report(facts, rows, compared))


@hw_app.command("operations")
def hw_operations(as_json: Json = False) -> None:
    """List what 'hw run' can measure."""
    titles = {name: each.title for name, each in measured.OPERATIONS.items()}
    if as_json:
        print_json([{"name": name, "title": title} for name, title in titles.items()])
    else:
        show_text(report.table(("operation", "what is timed"), titles.items()))


def _time(ns: float) -> str:
    return f"{ns:,.1f}" if ns < 1000 else f"{ns:,.0f}"


def _report(facts: measured.Host, rows: Sequence[measured.Measurement], compared: Sequence[measured.Ratio]) -> Text:
    parts = [report.heading("measured on this CPU: ns per folio, median and quartiles"), Text("\n")]
    parts.append(report.facts(host_facts(facts)))
    for (order, regime, operation), group in groupby(rows, lambda each: (each.order, each.regime, each.operation)):
        parts.append(Text("\n"))
        title = measured.OPERATIONS[operation].title
        parts.append(report.heading(f"{operation}, order {order}, {regime}: {title}"))
        cells = [
            (
                f"{each.scheme}@{each.kernel}{'+' * each.reconstructed}",
                _time(each.ns),
                f"{_time(each.ns_low)}-{_time(each.ns_high)}",
                f"{each.rmw:.0f}",
                f"{each.lines_read + each.lines_written:.0f}",
                f"{each.repeats}{'' if each.precise else '!'}" + (f" ({each.outliers})" if each.outliers else ""),
            )
            for each in group
        ]
        parts.append(report.table(("design", _NS, "spread", "RMW", "lines", "passes"), cells, right=range(1, 6)))
    parts += [Text("\n"), *(report.paragraph(note, style="dim") for note in _notes(rows))]
    if compared:
        parts.append(Text("\n"))
        parts.append(report.heading(f"times as long as {compared[0].baseline}"))
        cells = [
            (
                each.operation,
                str(each.order),
                each.regime,
                f"{each.ratio:.2f}",
                f"{each.low:.2f}-{each.high:.2f}",
                each.scheme + "+" * each.reconstructed,
            )
            for each in compared
        ]
        parts.append(report.table(("operation", "order", "from", "times", "spread", "design"), cells, right=(1, 3, 4)))
    return Text.assemble(*parts)


def _notes(rows: Sequence[measured.Measurement]) -> Iterator[str]:
    yield "RMW and lines of struct pages are modelled; passes in brackets lie far above the median, and are kept"
    if not all(each.precise for each in rows):
        yield "! time was up before the confidence interval was as narrow as asked for"
    for name in measured.COUNTERS:
        values = {each.counters[name] for each in rows}
        missing = [value for value in values if isinstance(value, str)]
        yield f"counter {name}: {missing[0] if missing else 'per folio in the JSON form'}"
    if any(each.reconstructed for each in rows):
        yield report.RECONSTRUCTED


def host_facts(facts: measured.Host) -> list[tuple[str, str]]:
    """Name what a host says of itself, for `folio_perf.report.facts`."""
    caches = ", ".join(f"{cache.name} {report.size_text(cache.size_bytes)}" for cache in facts.caches)
    return [
        ("CPU", f"{facts.cpu}, {facts.nr_cpus} CPUs, SMT {facts.smt}, governor {facts.governor}"),
        ("caches", caches or "unknown"),
        ("kernel", f"{facts.kernel}, THP {facts.thp}, virtualised {facts.virtualised}"),
        ("date", facts.date),
    ]
