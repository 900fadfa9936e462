# SPDX-License-Identifier: BSD-3-Clause
"""A census of a machine's folios as text. Public names are in `folio_perf.report`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from rich.text import Text

from folio_perf._report_pieces import NOTE, count_text, facts, heading, paragraph, plural, size_text, table
from folio_perf.results import MAPPED_BY, SHARED, Census, CensusRow

__all__ = ["census_line", "census_report"]

_NR_PROCESSES: Final = 10
_MAPPED: Final = MAPPED_BY[1:]


def census_report(census: Census) -> Text:
    """Write what maps the folios of a machine: by kind, by order, how many VMAs, which processes."""
    parts = [
        heading(f"census: by how many VMAs folios are mapped (measured, {census.date})"),
        Text("\n"),
        facts(_setting(census)),
        Text("\n"),
    ]
    if census.privileged:
        kinds = list(dict.fromkeys(row.kind for row in census.rows))
        groups = [(kind, [row for row in census.rows if row.kind == kind]) for kind in kinds]
        parts += [_classes("kind", [*groups, ("all", list(census.rows))])]
        orders = sorted({row.order for row in census.rows if row.order and row.mapped != "zero"})
        if orders:
            sizes = {order: size_text(census.page_size_bytes << order) for order in (0, *orders)}
            of_order = {order: [row for row in census.rows if row.order == order] for order in sizes}
            by_order = [(f"{order} ({size})", of_order[order]) for order, size in sizes.items()]
            parts += [Text("\n"), _classes("order", by_order)]
        parts += [Text("\n"), _histogram(census)]
    else:
        parts.append(_entries(census))
    if census.processes:
        parts += [Text("\n"), _processes(census)]
    parts += [Text("\n"), *(paragraph(note, style=NOTE) for note in _notes(census))]
    return Text.assemble(*parts)


def census_line(census: Census) -> str:
    """Write a census in one line: time, mapped folios and their shares."""
    if not census.privileged:
        one, shared = (census.count(mapped=name)[1] for name in ("one", SHARED))
        return f"{census.date}  {one + shared:,} entries  one {_share(one, one + shared)}"
    counts = [census.count(mapped=name)[0] for name in _MAPPED]
    shares = "  ".join(f"{name} {_share(nr, sum(counts))}" for name, nr in zip(_MAPPED, counts, strict=True))
    return f"{census.date}  {sum(counts):,} mapped  {shares}"


def _setting(census: Census) -> Iterator[tuple[str, str]]:
    yield "of", census.scope
    yield "kernel", f"{census.kernel}, {size_text(census.page_size_bytes)} pages"
    if not census.privileged:
        yield "read", f"{plural(len(census.processes), 'process', 'processes')} in {census.seconds:.1f} s"
        return
    memory = census.nr_page_frames * census.page_size_bytes / (1 << 30)
    yield "read", f"{memory:.1f} GiB, {plural(len(census.processes), 'process', 'processes')}, {census.seconds:.1f} s"
    moved = f"{plural(census.moved_folios, 'folio')} moved meanwhile and were read again"
    unsettled = (
        f"; {census.unsettled_folios:,} never stood still and are as last seen" if census.unsettled_folios else ""
    )
    yield "change", moved + unsettled
    if census.inexact_folios:
        yield (
            "inexact",
            (
                f"{plural(census.inexact_folios, 'folio')}: counts and page tables differ, since processes came, went"
                " or could not be read; at least so many VMAs"
            ),
        )


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f}%" if whole else "-"


def _classes(what: str, groups: Sequence[tuple[str, list[CensusRow]]]) -> Text:
    rows = []
    for name, group in groups:
        folios = [sum(row.folios for row in group if row.mapped == mapped) for mapped in MAPPED_BY]
        pages = [sum(row.pages for row in group if row.mapped == mapped) for mapped in MAPPED_BY]
        rows.append(
            (
                name,
                count_text(folios[0], 9),
                count_text(sum(folios[1:]), 9),
                *(_share(nr, sum(folios[1:])) for nr in folios[1:]),
                count_text(sum(pages[1:]), 9),
                _share(pages[3], sum(pages[1:])),
            )
        )
    headers = (what, "zero", "mapped", *_MAPPED, "pages", "in many")
    return table(headers, rows, right=range(1, 8))


def _histogram(census: Census) -> Text:
    """Count folios by VMAs, processes and entries of the page that has most; from 4 on by powers of two."""
    measures: tuple[tuple[str, Callable[[CensusRow], int]], ...] = (
        ("by VMAs", lambda row: row.vmas or 0),
        ("by processes", lambda row: row.processes or 0),
        ("by entries", lambda row: row.entries or 0),
    )
    sums: dict[int, list[int]] = {}
    for row in census.rows:
        if row.mapped == "zero":
            continue
        for place, (_, value) in enumerate(measures):
            sums.setdefault(_bucket(value(row)), [0] * len(measures))[place] += row.folios
    rows = [(_bucket_text(low), *(f"{nr:,}" for nr in counts)) for low, counts in sorted(sums.items())]
    return table(("mapped", *(name for name, _ in measures)), rows, right=range(4))


def _bucket(value: int) -> int:
    return value if value < 4 else 1 << value.bit_length() - 1


def _bucket_text(low: int) -> str:
    return f"{low:,}" if low < 4 else f"{low:,}-{2 * low - 1:,}"


def _entries(census: Census) -> Text:
    rows = []
    for kind in dict.fromkeys(row.kind for row in census.rows):
        one, shared = (census.count(kind=kind, mapped=mapped)[1] for mapped in ("one", SHARED))
        rows.append((kind, f"{one + shared:,}", _share(one, one + shared), _share(shared, one + shared)))
    return table(("kind", "entries", "one", SHARED), rows, right=(1, 2, 3))


def _processes(census: Census) -> Text:
    names = _MAPPED if census.privileged else ("one", SHARED)
    rows = [
        (
            str(each.pid),
            each.name[:20],
            f"{each.vmas:,}",
            count_text(sum(each.pages.values()), 9),
            *(_share(each.pages[name], sum(each.pages.values())) for name in names),
        )
        for each in census.processes[:_NR_PROCESSES]
    ]
    return table(("pid", "process", "VMAs", "entries", *names), rows, right=(0, *range(2, 4 + len(names))))


def _notes(census: Census) -> Iterator[str]:
    if census.privileged:
        yield (
            "zero: in the page cache or swap cache, mapped by nobody. Shares are of mapped folios; 'in many' is the"
            " share of mapped folios' pages whose folio more than two VMAs map."
        )
    if len(census.processes) > _NR_PROCESSES:
        yield f"the {_NR_PROCESSES} largest of {len(census.processes):,} processes; --json has all"
    for reason in census.left_out:
        yield f"left out: {reason}"
