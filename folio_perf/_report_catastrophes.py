# SPDX-License-Identifier: BSD-3-Clause
"""What a search for catastrophes has found, as text. Public names are in `folio_perf.report`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from rich.text import Text

from folio_perf._report_pieces import NOTE, count_text, facts, heading, paragraph, plural, table
from folio_perf.results import KIND, Case, Catastrophes, EventCost

__all__ = ["catastrophes_report"]

_SHOWN: Final = 1.5
_NR_TOLD: Final = 8
_NR_BEST: Final = 3
_WORDS: Final = {"worst": ("slower", "times as long"), "best": ("faster", "times as fast")}
_NUMBER: Final = re.compile(r"\d+")
_SHORTEST_RUN: Final = 3
_ALIKE: Final = 0.9


def catastrophes_report(found: Catastrophes) -> Text:
    """Write what is slower and what is faster than the baseline, then the leading cases one by one."""
    parts = [
        heading(f"what becomes slower than {found.baseline}, and what faster ({KIND})"),
        Text("\n"),
        facts(_setting(found)),
    ]
    for direction, (word, _) in _WORDS.items():
        groups = [group for group in found.groups(direction) if group[0].factor >= _SHOWN]
        parts.append(Text("\n"))
        if groups:
            parts.append(_overview(word, groups))
        else:
            parts.append(paragraph(f"nothing is {word} by a factor of {_SHOWN}"))
    for direction in _WORDS:
        leading = [group for group in found.groups(direction) if group[0].factor >= _SHOWN]
        leading = leading[: _NR_TOLD if direction == "worst" else _NR_BEST]
        for number, group in enumerate(leading, start=1):
            parts += [Text("\n"), *_told(number, group)]
    parts += [Text("\n"), *(paragraph(note, style=NOTE) for note in _notes(found))]
    return Text.assemble(*parts)


def _setting(found: Catastrophes) -> Iterator[tuple[str, str]]:
    yield "searched", f"{plural(len(found.variants), 'variant')} of {', '.join(_schemes(found))}"
    yield "on", f"kernel {found.kernel}, {found.machine}"
    yield "tried", f"{plural(found.tried, 'scenario')}, seed {found.seed}"
    if found.ended != "done":
        yield "ended", f"by {'the time limit' if found.ended == 'time limit' else 'interruption'}: not all was tried"


def _schemes(found: Catastrophes) -> list[str]:
    return list(dict.fromkeys(re.split("[:@]", name)[0] for name in found.variants))


def _overview(word: str, groups: Sequence[Sequence[Case]]) -> Text:
    rows = [
        (case.event, case.cause, _factor(case.factor), _power("N", case.growth_exponent), _design(case))
        for case, *_ in groups
    ]
    return table(
        (word, "by its", "factor", "grows", "worst policy" if word == "slower" else "policy"), rows, right=(2,)
    )


def _told(number: int, group: Sequence[Case]) -> Iterator[Text]:
    case = group[0]
    word, times = _WORDS[case.direction]
    yield heading(f"{word} {number}: {case.event}, {_factor(case.factor)} {times}, by its {case.cause}")
    yield facts(_facts(group))
    if case.smallest is not None:
        small = case.smallest
        yield paragraph(
            f"shows from {plural(small.processes, 'process', 'processes')} on ({_factor(small.factor)} {times},"
            f" {small.page_size} pages, order {small.order}):"
        )
        for line in _collapsed(small.scenario.splitlines()):
            yield Text(f"  {line}\n")


def _facts(group: Sequence[Case]) -> Iterator[tuple[str, str]]:
    case = group[0]
    yield "design", _design(case) + "+" * case.reconstructed
    yield "pattern", case.pattern
    yield "where", f"{case.page_size} pages, order {case.order}, {plural(case.processes, 'process', 'processes')}"
    if case.growth_exponent is not None:
        points = ", ".join(f"{_factor(factor)} at {nr}" for nr, factor in case.growth[-4:])
        yield "grows", f"as {_power('N', case.growth_exponent)}: {points}"
    if case.size_exponent is not None and abs(case.size_exponent) >= 0.1:
        yield "", f"as {_power('pages', case.size_exponent)} of a folio"
    yield "takes", f"{_cost(case.cost)}; {case.baseline}: {_cost(case.baseline_cost)}"
    if group[1:]:
        yield "also", ", ".join(_others(group))


def _others(group: Sequence[Case]) -> Iterator[str]:
    """Name the other policies, as one where they all show the same."""
    case, *others = group
    if len(others) >= _SHORTEST_RUN and others[-1].factor >= _ALIKE * case.factor:
        yield f"{len(others)} other policies, {_factor(others[-1].factor)} or more"
        return
    yield from (f"{_design(other)} {_factor(other.factor)}" for other in others[:_NR_TOLD])
    if others[_NR_TOLD:]:
        yield f"{len(others) - _NR_TOLD} more"


def _design(case: Case) -> str:
    """Name policies without what is default, and the design where it has none."""
    words = [
        word.partition("=")[2] for word in case.policy.split(",") if word not in ("", "presence=scan", "recount=lazy")
    ]
    return f"{case.scheme} {','.join(words)}".rstrip()


def _cost(cost: EventCost) -> str:
    words = [f"{plural(cost.count, 'event')}, {count_text(round(cost.ns))} ns"]
    for value, name in ((cost.rmw, "RMW"), (cost.vma_visits, "VMAs"), (cost.pte_reads, "PTE reads")):
        if value:
            words.append(f"{count_text(value)} {name}")
    return ", ".join(words)


def _factor(factor: float) -> str:
    return f"{factor:,.0f}" if factor >= 100 else f"{factor:.1f}"


def _power(base: str, exponent: float | None) -> str:
    return "?" if exponent is None else f"{base}^{exponent + 0.0:.1f}"


def _collapsed(lines: Sequence[str]) -> Iterator[str]:
    """Write lines that count up or down by one number as one: ``touch P{1..62} A 0 1 w``."""
    at = 0
    while at < len(lines):
        end = at + 1
        step = _step(lines[at], lines[end]) if end < len(lines) else None
        while step and end < len(lines) and _step(lines[end - 1], lines[end]) == step:
            end += 1
        if not step or abs(step[1]) != 1 or end - at < _SHORTEST_RUN:
            yield lines[at]
            at += 1
            continue
        first, last = (list(_NUMBER.finditer(lines[each]))[step[0]] for each in (at, end - 1))
        yield f"{lines[at][: first.start()]}{{{first[0]}..{last[0]}}}{lines[at][first.end() :]}"
        at = end


def _step(a: str, b: str) -> tuple[int, int] | None:
    """Which number of two lines differs, and by how much; None unless it is the only difference."""
    if _NUMBER.sub("#", a) != _NUMBER.sub("#", b):
        return None
    pairs = list(zip(map(int, _NUMBER.findall(a)), map(int, _NUMBER.findall(b)), strict=True))
    differ = [number for number, (x, y) in enumerate(pairs) if x != y]
    return (differ[0], pairs[differ[0]][1] - pairs[differ[0]][0]) if len(differ) == 1 else None


def _notes(found: Catastrophes) -> Iterator[str]:
    yield (
        "factor: time of all modelled accesses of the event kind, over that of the baseline; N^x: slope of a fit over"
        " the numbers of processes"
    )
    yield (
        "by its fixed: what every design pays alike was done here and not there, such as freeing a folio that another"
        " design keeps"
    )
    yield "an upper bound of times: misses do not overlap, other than in a stream, and instructions cost nothing"
    if any(case.reconstructed for case in found.cases):
        yield "+ reconstructed: the public description is incomplete"
