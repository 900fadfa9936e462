# SPDX-License-Identifier: BSD-3-Clause
"""Results as text: tables of at most 72 columns that survive a mail, with styles for a terminal.

Every function returns a `rich.text.Text`; its ``plain`` is what a mail gets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from rich.text import Text

from folio_perf._report_catastrophes import catastrophes_report
from folio_perf._report_census import census_line, census_report
from folio_perf._report_contention import contention_report
from folio_perf._report_explanation import explanation_report
from folio_perf._report_outside import outside_report
from folio_perf._report_pieces import (
    COLUMN,
    HEADING,
    NOTE,
    RECONSTRUCTED,
    WIDTH,
    count_text,
    counted,
    facts,
    heading,
    paragraph,
    plural,
    size_text,
    table,
    time_unit,
)
from folio_perf.results import (
    FIXED,
    KIND,
    AccessRun,
    AccessTrace,
    Comparison,
    EventRow,
    Failure,
    Outcome,
    RunInfo,
    SmapsRow,
)

__all__ = [
    "NOTE",
    "RECONSTRUCTED",
    "WIDTH",
    "accesses_report",
    "catastrophes_report",
    "census_line",
    "census_report",
    "comparison_report",
    "contention_report",
    "count_text",
    "explanation_report",
    "facts",
    "heading",
    "outside_report",
    "paragraph",
    "size_text",
    "table",
]

_LABEL: Final = 28
_SCHEMES_PER_BLOCK: Final = (WIDTH - _LABEL) // COLUMN
_HASH_DIGITS: Final = 16
_NR_LISTED: Final = 5
_LONGEST_LOOP: Final = 24


# ---- comparison --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Measure:
    """One line of a block: what it is called, and where a row has it."""

    label: str
    get: Callable[[EventRow], float | None]
    time: bool = False


def _hits(level: str) -> Callable[[EventRow], float | None]:
    return lambda row: None if row.hits is None else row.hits[level]


_COUNTS: Final = (
    _Measure(label="events", get=lambda row: row.count),
    _Measure(label="atomic RMW, struct pages", get=lambda row: row.rmw),
    _Measure(label="struct page lines read", get=lambda row: row.lines_read),
    _Measure(label="struct page lines written", get=lambda row: row.lines_written),
    _Measure(label="page-table lines read", get=lambda row: row.lines_table_read),
    _Measure(label="page-table lines written", get=lambda row: row.lines_table_written),
    _Measure(label="other lines read", get=lambda row: row.lines_rest_read),
    _Measure(label="other lines written", get=lambda row: row.lines_rest_written),
    _Measure(label="VMAs visited", get=lambda row: row.vma_visits),
    _Measure(label="PTEs read by walks, presence", get=lambda row: row.pte_reads),
)
_TIME: Final = _Measure(label="time", get=lambda row: row.ns, time=True)

# Of what a run has once; those that are 0 in every run are left out.
_TOTALS: Final[Mapping[str, str]] = {
    "refs_peak": "mapping references, peak",
    "false_shared": "falsely 'shared'",
    "false_exclusive": "falsely 'not shared'",
    "false_mapped": "falsely 'mapped'",
    "false_pinned": "falsely 'maybe pinned'",
    "stale_many": "answers lost to Many",
    "leaked_pages": "pages leaked at the end",
    "leaked_pages_peak": "pages leaked, peak",
    "anon_vma_hazard": "anon_vmas freed too early",
    "cow_copies": "CoW copies",
    "cow_reuses": "CoW reuses",
    "pss_error_abs": "PSS error, bytes",
    "uss_error_abs": "USS error, bytes",
    "swap_outs": "pages swapped out",
    "swap_ins": "pages swapped in",
    "file_discards": "file pages discarded",
    "folio_splits": "folios split",
    "splits_refused": "folio splits refused",
    "migrations": "folios migrated",
    "migrations_refused": "migrations refused",
    "collapses": "collapses",
    "collapses_refused": "collapses refused",
    "answers_walked": "answers walked for",
    "leaked_page_events": "leaked pages x events",
    "copies_needless": "CoW copies, needless",
    "refused_needlessly": "refused needlessly",
    "skipped_as_shared": "skipped as shared, falsely",
    "swap_slots_wasted": "swap slots for nothing",
    "swap_slots_kept": "swap slots kept for nothing",
    "memory_failures": "pages gone bad",
    "killed": "processes killed",
    "killed_needlessly": "bad pages, killed for nothing",
    "partial_missed": "partial mappings missed",
    "false_not_exclusive": "pagemap: falsely not excl.",
    "false_page_exclusive": "pagemap: falsely exclusive",
    "page_mapcounts_wrong": "kpagecount: wrong counts",
    "mapmax_error_abs": "numa_maps: mapmax error",
}

# Of the readings of smaps, the one that is off furthest.
_WORST: Final[Mapping[str, Callable[[SmapsRow], float | None]]] = {
    "PSS error, worst process, %": lambda row: row.pss_error_percent,
    "USS error, worst process, %": lambda row: row.uss_error_percent,
}


def comparison_report(comparison: Comparison) -> Text:
    """Write a comparison: what was run, totals, then for each event kind what differs between the schemes."""
    first = comparison.results[0]
    parts = [
        heading(f"{first.run.scenario}: what each mapcount design costs ({KIND})"),
        Text("\n"),
        facts(_setting(comparison)),
        *_troubles(comparison),
        Text("\n"),
        _legend(comparison),
    ]
    for start in range(0, len(comparison.results), _SCHEMES_PER_BLOCK):
        parts += _block(comparison, range(start, min(start + _SCHEMES_PER_BLOCK, len(comparison.results))))
    parts += [Text("\n"), *_notes(comparison)]
    return Text.assemble(*parts)


def _setting(comparison: Comparison) -> Iterator[tuple[str, str]]:
    run = comparison.results[0].run
    yield "machine", f"{run.machine}, {run.line_bytes}-byte lines, back end {run.backend}"
    yield "pages", f"{size_text(run.page_size_bytes)}; folio policy {run.folio_policy}"
    yield "scenario", f"hash {run.scenario_hash[:_HASH_DIGITS]}"
    for letters, outcome in _by_value(comparison):
        yield f"replayed{letters}", _outcome_text(outcome)
    outcome = comparison.results[0].outcome
    if outcome.dropped:
        yield "left out", f"{counted(outcome.dropped)} (rows of the trace)"
    if outcome.assumed:
        yield "assumed", f"{counted(outcome.assumed)} (rows of the trace)"


def _outcome_text(outcome: Outcome) -> str:
    return (
        f"{plural(outcome.total, 'event')}: {outcome.applied:,} applied, {plural(outcome.noop, 'no-op')},"
        f" {outcome.failed:,} failed"
    )


def _by_value(comparison: Comparison) -> Iterator[tuple[str, Outcome]]:
    """Outcomes with the letters of the schemes that have them; no letters if all agree."""
    groups: list[tuple[Outcome, str]] = []
    for number, result in enumerate(comparison.results):
        for at, (known, letters) in enumerate(groups):
            if known == result.outcome:
                groups[at] = (known, letters + _letter(number))
                break
        else:
            groups.append((result.outcome, _letter(number)))
    for outcome, letters in groups:
        yield "" if len(groups) == 1 else f" {letters}", outcome


def _troubles(comparison: Comparison) -> Iterator[Text]:
    for letters, outcome in _by_value(comparison):
        for failure in outcome.failures:
            yield paragraph(f"{_failure_text(failure)}{letters and f' (under{letters})'}", indent=2)
            for example in failure.examples[:2]:
                yield paragraph(example, indent=4)
    unsupported = comparison.results[0].outcome.unsupported
    if unsupported:
        yield paragraph(f"{plural(len(unsupported), 'operation')} left out because the model does not know them:")
        for entry in unsupported[:_NR_LISTED]:
            yield paragraph(entry, indent=2)
        if len(unsupported) > _NR_LISTED:
            yield paragraph(f"and {len(unsupported) - _NR_LISTED} more", indent=2)


def _failure_text(failure: Failure) -> str:
    return f"{failure.count:,} {failure.name}: {failure.rule}"


def _letter(number: int) -> str:
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    return letters[number] if number < len(letters) else _letter(number // 26 - 1) + letters[number % 26]


def _marks(run: RunInfo) -> str:
    return "*" * run.counterfactual + "+" * run.reconstructed


def _legend(comparison: Comparison) -> Text:
    rows = [
        (_letter(number) + _marks(result.run), f"{result.run.scheme}@{result.run.kernel}")
        for number, result in enumerate(comparison.results)
    ]
    return table(("", "scheme@kernel"), rows)


def _notes(comparison: Comparison) -> Iterator[Text]:
    runs = [result.run for result in comparison.results]
    if any(run.counterfactual for run in runs):
        yield paragraph("* counterfactual: no kernel of that version counted this way", style=NOTE)
    if any(run.reconstructed for run in runs):
        yield paragraph(RECONSTRUCTED, style=NOTE)
    if any(total.ns is not None for total in comparison.totals):
        yield paragraph(
            "time: the accesses above at the machine's prices, an upper bound (misses do not overlap); costs that"
            " every design pays alike are left out",
            style=NOTE,
        )
    elif runs[0].backend == "count":
        yield paragraph("the count back end knows no lines, levels and times", style=NOTE)
    else:
        yield paragraph(
            f"no times: the prices of {runs[0].machine} are not for {runs[0].line_bytes}-byte lines, or unknown",
            style=NOTE,
        )


def _block(comparison: Comparison, columns: range) -> Iterator[Text]:
    """Totals, then each event kind, of some of the schemes."""
    results = [comparison.results[number] for number in columns]
    letters = [_letter(number) + _marks(comparison.results[number].run) for number in columns]
    baseline = comparison.totals[0]
    hits = [_Measure(label=f"accesses served by {level}", get=_hits(level)) for level in results[0].run.levels]

    yield Text("\n")
    yield Text(_line("total", letters), style=HEADING)
    rows = [result.total for result in results]
    for measure in (*_COUNTS, *hits):
        values = [measure.get(row) for row in rows]
        if any(values):
            yield Text(_measure_line(measure, values))
        if measure.label.startswith("atomic"):
            yield from _relative(values, measure.get(baseline))
    for name, label in _TOTALS.items():
        totals = [result.totals.get(name) for result in results]
        if any(totals):
            yield Text(_line(label, [_number(value) for value in totals]))
    for label, get in _WORST.items():
        worst = [max((abs(get(row) or 0.0) for row in result.smaps), default=0.0) for result in results]
        if any(worst):
            yield Text(_line(label, [f"{percent:,.1f}" for percent in worst]))
    values = [row.ns for row in rows]
    if any(values):
        yield Text(_measure_line(_TIME, values))
        yield from _relative(values, baseline.ns)

    alike = []
    for event in comparison.events:
        everywhere = [result.row(event) for result in comparison.results]
        rows = [result.row(event) for result in results]
        differing = [measure for measure in _COUNTS if len({measure.get(row) for row in everywhere}) > 1]
        if not differing:
            alike.append(event)
            continue
        yield Text("\n")
        counts = {row.count for row in everywhere}
        head = f"{event}, {plural(rows[0].count, 'event')}" if len(counts) == 1 else event
        yield Text(_line(head, letters), style=HEADING)
        for measure in (*differing, _TIME):
            values = [measure.get(row) for row in rows]
            if any(values):
                yield Text(_measure_line(measure, values))
    if alike:
        yield Text("\n")
        yield paragraph(f"the same counts under all of them: {', '.join(alike)}")


def _relative(values: Sequence[float | None], baseline: float | None) -> Iterator[Text]:
    if not baseline or len(values) < 2:
        return
    cells = ["-" if value is None else f"{value / baseline:.2f}" for value in values]
    yield Text(_line("  relative to A", cells), style=NOTE)


def _measure_line(measure: _Measure, values: Sequence[float | None]) -> str:
    if not measure.time:
        return _line(measure.label, [_number(None if value is None else int(value)) for value in values])
    largest = max((value for value in values if value is not None), default=0.0)
    unit, divisor = time_unit(largest)
    cells = ["-" if value is None else f"{value / divisor:,.1f}" for value in values]
    return _line(f"{measure.label}, {unit}", cells)


def _number(value: int | None) -> str:
    return "-" if value is None else count_text(value)


def _line(label: str, cells: Sequence[str]) -> str:
    return f"{label:<{_LABEL}}{''.join(cell.rjust(COLUMN) for cell in cells)}".rstrip() + "\n"


# ---- one operation -----------------------------------------------------------------------------------------------


def accesses_report(trace: AccessTrace, *, everything: bool = False) -> Text:
    """Write the accesses of one operation in order, loops folded, and what they add up to.

    Parameters
    ----------
    trace : AccessTrace
    everything : bool
        Also those that every design pays alike.
    """
    run = trace.run
    shown = [access for access in trace.accesses if everything or access.cause != FIXED]
    hidden = sum(access.count for access in trace.accesses) - sum(access.count for access in shown)
    pages = "a page" if trace.nr_pages == 1 else f"{trace.nr_pages} pages"
    marks = ", ".join(["counterfactual"] * run.counterfactual + ["reconstructed"] * run.reconstructed)
    parts = [
        heading(f"{trace.operation}: {trace.title}"),
        Text("\n"),
        facts(
            [
                ("scheme", f"{run.scheme}@{run.kernel}{marks and f' ({marks})'}"),
                ("folio", f"order {trace.order}, {pages} of {size_text(run.page_size_bytes)}"),
                ("machine", f"{run.machine}, {run.line_bytes}-byte lines; {KIND}"),
            ]
        ),
        Text("\n"),
        table(("access", "field", "where", "times", "lines", "from", ""), _access_rows(shown, run), right=(3, 4)),
        Text("\n"),
        facts(_access_totals(trace)),
    ]
    if hidden:
        parts.append(
            paragraph(
                f"left out: {plural(hidden, 'access', 'accesses')} that every design pays alike (--all shows them)",
                style=NOTE,
            )
        )
    return Text.assemble(*parts)


def _access_rows(runs: Sequence[AccessRun], info: RunInfo) -> Iterator[tuple[str, ...]]:
    event = ""
    several = len({run.event for run in runs}) > 1
    for repeats, start, length in _loops(runs):
        body = runs[start : start + length]
        if several and body[0].event != event:
            event = body[0].event
            yield (f"{event}:", "", "", "", "", "", "")
        if repeats == 1:
            yield from (_access_row(run) for run in body)
            continue
        yield (f"{repeats} x {{", "", "", "", "", "", "")
        for number, run in enumerate(body, start=start):
            every = runs[number : start + repeats * length : length]
            slowest = max((each.level for each in every), key=info.levels.index)
            yield _access_row(replace(run, level=slowest), indent="  ", advance=every[1].first - run.first)
        yield ("}", "", "", "", "", "", "")


def _access_row(run: AccessRun, *, indent: str = "", advance: int = 0) -> tuple[str, ...]:
    return (
        f"{indent}{run.access}",
        run.field,
        _where(run) + (f" {advance:+}" if advance else ""),
        f"{run.count:,}",
        f"{run.lines:,}",
        run.level,
        "" if run.cause == "operation" else run.cause,
    )


def _where(run: AccessRun) -> str:
    if run.object_class == "rest":
        return run.object
    if run.step == 0 or run.count == 1:
        return f"{run.object}[{run.first}]"
    last = run.first + run.step * (run.count - 1)
    return f"{run.object}[{run.first}..{last}]" + (f" by {run.step}" if run.step > 1 else "")


def _loops(runs: Sequence[AccessRun]) -> list[tuple[int, int, int]]:
    """Fold what repeats, each time at a constant distance within its objects, into as few lines as possible.

    Returns
    -------
    list of (repeats, start, length)
    """
    number: dict[tuple[object, ...], int] = {}
    shapes = [number.setdefault(_shape(run), len(number)) for run in runs]
    nr = len(runs)
    folds: list[list[tuple[int, int]]] = [[] for _ in range(nr)]
    for length in range(1, min(_LONGEST_LOOP, nr // 2) + 1):
        # alike[i]: how many runs from i on equal those `length` later; steady[i]: ... at the same distance once more.
        alike, steady = [0] * (nr + 1), [0] * (nr + 1)
        distance = [runs[at + length].first - runs[at].first for at in range(nr - length)]
        for at in reversed(range(nr - length)):
            if shapes[at] == shapes[at + length]:
                alike[at] = alike[at + 1] + 1
                if at + length < nr - length and alike[at + length] and distance[at] == distance[at + length]:
                    steady[at] = steady[at + 1] + 1
            if alike[at] >= length:
                folds[at].append((2 + steady[at] // length, length))

    # Fewest lines for what follows each place, from the back; a fold costs its body and two braces.
    lines = [0] * (nr + 1)
    choice: list[tuple[int, int]] = [(1, 1)] * nr
    for at in reversed(range(nr)):
        lines[at] = 1 + lines[at + 1]
        for repeats, length in folds[at]:
            cost = length + 2 + lines[at + repeats * length]
            if cost < lines[at]:
                lines[at], choice[at] = cost, (repeats, length)
    found, at = [], 0
    while at < nr:
        repeats, length = choice[at]
        found.append((repeats, at, length))
        at += repeats * length
    return found


def _shape(run: AccessRun) -> tuple[object, ...]:
    """All but the place within the object, and the level, which depends on what went before."""
    where = run.object if run.object_class != "rest" else ""
    return (run.event, run.cause, run.access, run.field, where, run.step, run.count)


def _access_totals(trace: AccessTrace) -> Iterator[tuple[str, str]]:
    total = trace.totals
    yield "atomic RMW", f"{total.rmw:,} on struct pages"
    yield (
        "distinct lines",
        f"struct pages {total.lines_read:,} read, {total.lines_written:,} written; page tables"
        f" {total.lines_table_read:,} read, {total.lines_table_written:,} written; other"
        f" {total.lines_rest_read:,} read, {total.lines_rest_written:,} written",
    )
    yield "served by", ", ".join(f"{level} {count:,}" for level, count in (total.hits or {}).items())
    if total.vma_visits or total.pte_reads:
        yield "walks", f"{plural(total.vma_visits, 'VMA')} visited, {plural(total.pte_reads, 'PTE')} read"
    if total.count > 1:
        yield "events", f"{total.count:,}"
    yield "time", "unknown" if total.ns is None else f"{total.ns:,.1f} ns, an upper bound"
