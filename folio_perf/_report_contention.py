# SPDX-License-Identifier: BSD-3-Clause
"""Throughput by threads as text. Public names are in `folio_perf.report`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from rich.text import Text

from folio_perf._report_pieces import NOTE, RECONSTRUCTED, facts, heading, paragraph, table
from folio_perf.results import INEXACT, Contention, ContentionCurve

__all__ = ["contention_report"]

_NR_ROWS: Final = 12
_NR_LINES: Final = 4
_PER_BLOCK: Final = 4


def contention_report(contention: Contention) -> Text:
    """Write curves side by side, what limits each, and where they cross."""
    first = contention.curves[0]
    parts = [
        heading(f"contention: throughput by threads on {first.run.machine} (modelled, inexact)"),
        Text("\n"),
        facts(_setting(first)),
        Text("\n"),
    ]
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    names = [letters[number % len(letters)] + _marks(curve) for number, curve in enumerate(contention.curves)]
    rows = [
        (name, f"{curve.run.scheme}@{curve.run.kernel}, {curve.think_ns:,.0f} ns beside shared lines")
        for name, curve in zip(names, contention.curves, strict=True)
    ]
    parts += [table(("", "scheme@kernel"), rows)]
    for start in range(0, len(names), _PER_BLOCK):
        block = slice(start, start + _PER_BLOCK)
        parts += [Text("\n"), _curves(names[block], contention.curves[block])]
    parts += [Text("\n"), _lines(names, contention.curves), *_crossings(contention), Text("\n")]
    parts += [paragraph(note, style=NOTE) for note in _notes(contention)]
    return Text.assemble(*parts)


def _setting(curve: ContentionCurve) -> Iterator[tuple[str, str]]:
    yield "repeated", ", ".join(curve.operations)
    yield "folio", f"order {curve.order}"
    shared = "one folio, and the locks of its walks" if curve.sharing == "folio" else "the locks of rmap walks alone"
    yield "shared", shared


def _marks(curve: ContentionCurve) -> str:
    return "*" * curve.run.counterfactual + "+" * curve.run.reconstructed


def _curves(names: Sequence[str], curves: Sequence[ContentionCurve]) -> Text:
    rows = []
    for at in _shown(len(curves[0].points)):
        points = [curve.points[at] for curve in curves]
        rows.append(
            (
                str(points[0].threads),
                f"{points[0].transfer_ns:.0f}",
                *(f"{point.operations_per_us:.3g}" for point in points),
            )
        )
    headers = ("threads", "transfer, ns", *(f"{name}, op/us" for name in names))
    return table(headers, rows, right=range(len(headers)))


def _shown(nr_points: int) -> list[int]:
    """All points, or those at about equal ratios, the first and the last among them."""
    if nr_points <= _NR_ROWS:
        return list(range(nr_points))
    ratio = (nr_points - 1 + 1e-9) ** (1 / (_NR_ROWS - 2))
    return sorted({0, *(min(nr_points - 1, round(ratio**step)) for step in range(_NR_ROWS - 1))})


def _lines(names: Sequence[str], curves: Sequence[ContentionCurve]) -> Text:
    rows = []
    for name, curve in zip(names, curves, strict=True):
        busiest = sorted(curve.shared, key=lambda line: (-line.visits, -line.held_ns))[:_NR_LINES]
        rows += [
            (name, line.object, line.field, str(line.lines), str(line.visits), f"{line.held_ns:.1f}")
            for line in busiest
        ] or [(name, "none", "", "", "", "")]
    headers = ("", "shared line", "field", "lines", "visits", "held, ns")
    return table(headers, rows, right=(3, 4, 5))


def _crossings(contention: Contention) -> Iterator[Text]:
    if len(contention.curves) < 2:
        return
    found = contention.crossovers()
    yield Text("\n")
    for each in found:
        yield paragraph(f"from {each.threads} threads on {each.faster} is faster than {each.slower}")
    if not found:
        yield paragraph("no design overtakes another at any of these numbers of threads")


def _notes(contention: Contention) -> Iterator[str]:
    yield INEXACT
    yield "visits, held: per operation, how often it goes to each such line, and its work there"
    last = contention.curves[0].points[-1]
    if last.running < last.threads:
        yield f"the machine runs {last.running} threads at a time: more of them change nothing"
    runs = [curve.run for curve in contention.curves]
    if any(run.counterfactual for run in runs):
        yield "* counterfactual: no kernel of that version counted this way"
    if any(run.reconstructed for run in runs):
        yield RECONSTRUCTED
