# SPDX-License-Identifier: BSD-3-Clause
"""The difference of two runs as text. Public names are in `folio_perf.report`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from rich.text import Text

from folio_perf._report_pieces import NOTE, RECONSTRUCTED, count_text, facts, heading, paragraph, table, time_unit
from folio_perf.results import KIND, Difference, Explanation, Part, RunInfo

__all__ = ["explanation_report"]

_NR_GROUPS: Final = 12
_NR_PARTS: Final = 12
_COUNT: Final = 9


def explanation_report(explanation: Explanation) -> Text:
    """Write why two runs differ: both totals, causes by event kind, then the largest single parts."""
    unit, divisor = time_unit(max((abs(each.ns or 0.0) for each in explanation.groups().values()), default=0.0))
    parts = [
        heading(f"{explanation.a.scenario}: why B costs what A does not ({KIND})"),
        Text("\n"),
        facts(_setting(explanation, unit, divisor)),
    ]
    if not explanation.parts:
        return Text.assemble(*parts, Text("\n"), Text("every access is the same, at the same price\n"))
    parts += [Text("\n"), _groups(explanation, unit, divisor), Text("\n"), _largest(explanation, unit, divisor)]
    parts += [Text("\n"), *(paragraph(note, style=NOTE) for note in _notes(explanation))]
    return Text.assemble(*parts)


def _setting(explanation: Explanation, unit: str, divisor: float) -> Iterator[tuple[str, str]]:
    for name, run, ns in (("A", explanation.a, explanation.a_ns), ("B", explanation.b, explanation.b_ns)):
        yield name, f"{_title(run)}: {_time(ns, divisor)} {unit if ns is not None else ''}".rstrip()
    total, own, fixed = explanation.total, explanation.own, explanation.fixed
    yield "B - A", _difference(total, unit, divisor)
    yield "", f"the designs' own: {_difference(own, unit, divisor)}"
    yield "", f"what all designs pay: {_difference(fixed, unit, divisor)}"


def _title(run: RunInfo) -> str:
    marks = "*" * run.counterfactual + "+" * run.reconstructed
    return f"{run.scheme}@{run.kernel}{marks} on {run.machine}"


def _difference(difference: Difference, unit: str, divisor: float) -> str:
    time = "time unknown" if difference.ns is None else f"{_time(difference.ns, divisor, sign=True)} {unit}"
    return f"{time}, {difference.count:+,} accesses"


def _time(ns: float | None, divisor: float, *, sign: bool = False) -> str:
    return "unknown" if ns is None else f"{ns / divisor:{'+' if sign else ''},.1f}"


def _count(count: int) -> str:
    return ("+" if count > 0 else "") + count_text(count, _COUNT - 1)


def _groups(explanation: Explanation, unit: str, divisor: float) -> Text:
    groups = list(explanation.groups().items())
    rows: list[tuple[str, ...]] = [
        (event, group, _count(each.count), _time(each.ns, divisor, sign=True))
        for (event, group), each in groups[:_NR_GROUPS]
    ]
    if len(groups) > _NR_GROUPS:
        rest = [part for part in explanation.parts if (part.event, part.group) in dict(groups[_NR_GROUPS:])]
        rows.append(_sum_row(f"{len(groups) - _NR_GROUPS} more", rest, divisor, 1))
    rows.append(_sum_row("total", explanation.parts, divisor, 1))
    return table(("event", "cause", "accesses", unit), rows, right=(2, 3))


def _largest(explanation: Explanation, unit: str, divisor: float) -> Text:
    shown = explanation.parts[:_NR_PARTS]
    rows: list[tuple[str, ...]] = [
        (part.event, part.field, _price(part), _count(part.count), _time(part.ns, divisor, sign=True)) for part in shown
    ]
    rest = explanation.parts[_NR_PARTS:]
    if rest:
        rows.append(_sum_row(f"{len(rest)} more", rest, divisor, 2))
    return table(("event", "field", "largest parts", "accesses", unit), rows, right=(3, 4))


def _sum_row(name: str, parts: tuple[Part, ...] | list[Part], divisor: float, blanks: int) -> tuple[str, ...]:
    total = Difference.of(parts)
    return (name, *[""] * blanks, _count(total.count), _time(total.ns, divisor, sign=True))


def _price(part: Part) -> str:
    stream = " stream" if part.dependence == "streaming" else ""
    level = "" if part.level == "unknown" else f" {part.level}"
    return f"{part.access}{level}{stream}" + (" price" if part.effect == "price" else "")


def _notes(explanation: Explanation) -> Iterator[str]:
    yield (
        "rmw: atomics of the operation itself, wherever they were served; walk, presence, recount: all accesses of that"
        " cause; fixed: what every design pays alike, here served by other levels"
    )
    if any(part.effect == "price" for part in explanation.parts):
        yield "other prices: the same accesses on the other machine"
    if explanation.total.ns is not None:
        yield "times are upper bounds: misses do not overlap, other than in a stream"
    runs = (explanation.a, explanation.b)
    if any(run.counterfactual for run in runs):
        yield "* counterfactual: no kernel of that version counted this way"
    if any(run.reconstructed for run in runs):
        yield RECONSTRUCTED
