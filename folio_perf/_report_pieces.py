# SPDX-License-Identifier: BSD-3-Clause
"""Pieces that reports are made of: tables, headings, numbers. Public names are in `folio_perf.report`."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from rich.text import Text

WIDTH: Final = 72
COLUMN: Final = 11
_NARROW: Final = 10
_UNITS: Final = ("", "K", "M", "G", "T", "P", "E")

HEADING: Final = "bold"
NOTE: Final = "dim"
RECONSTRUCTED: Final = "+ reconstructed: the public description is incomplete"

_TIMES: Final = (("ns", 1.0), ("us", 1e3), ("ms", 1e6), ("s", 1e9))


def count_text(count: int, width: int = COLUMN - 1) -> str:
    """Write a count with commas if it fits, else rounded to four digits: 12,345 or 12.35G."""
    text = f"{count:,}"
    if len(text) <= width:
        return text
    value, step = float(count), 0
    while abs(value) >= 999.95 and step + 1 < len(_UNITS):
        value /= 1000
        step += 1
    return f"{value:.4g}{_UNITS[step]}"


def time_unit(largest_ns: float) -> tuple[str, float]:
    """Choose a unit that leaves the largest time two digits before the point; return it and how many ns it has."""
    return next((each for each in reversed(_TIMES) if largest_ns >= 10 * each[1]), _TIMES[0])


def size_text(nr_bytes: int) -> str:
    """Write a size in the largest unit that divides it: 65536 as 64K."""
    for unit, shift in (("T", 40), ("G", 30), ("M", 20), ("K", 10)):
        if nr_bytes and nr_bytes % (1 << shift) == 0:
            return f"{nr_bytes >> shift}{unit}"
    return str(nr_bytes)


def table(headers: Sequence[str], rows: Iterable[Sequence[str]], *, right: Iterable[int] = ()) -> Text:
    """Lay out a table; the last column is wrapped so that no line is longer than `WIDTH`.

    Parameters
    ----------
    headers : sequence of str
    rows : iterable of sequence of str
        As many cells as headers.
    right : iterable of int
        Columns to align to the right.
    """
    cells = [list(row) for row in rows]
    flush = set(right)
    widths = [max(map(len, column)) for column in zip(headers, *cells, strict=True)]
    # Close together what would not fit otherwise; only the last column is ever wrapped.
    gap = "  " if sum(widths) + 2 * (len(widths) - 1) <= WIDTH or widths[-1] > _NARROW else " "
    room = max(WIDTH - sum(widths[:-1]) - len(gap) * (len(widths) - 1), _NARROW)

    def lines(row: Sequence[str]) -> Iterator[str]:
        last = textwrap.wrap(row[-1], room, break_on_hyphens=False) or [""]
        for number, piece in enumerate(last):
            left = [
                cell.rjust(width) if column in flush else cell.ljust(width)
                for column, (cell, width) in enumerate(
                    zip(row if number == 0 else [""] * len(row), widths, strict=True)
                )
            ][:-1]
            yield gap.join([*left, piece.rjust(widths[-1]) if len(widths) - 1 in flush else piece]).rstrip()

    text = Text("\n".join(lines(headers)), style=HEADING)
    text.append("\n")
    return Text.assemble(text, *(f"{line}\n" for row in cells for line in lines(row)))


def heading(text: str) -> Text:
    """Write a heading, wrapped."""
    return paragraph(text, style=HEADING)


def facts(pairs: Iterable[tuple[str, str]]) -> Text:
    """Lay out names and what is to be said about them, one below the other."""
    pairs = list(pairs)
    indent = max(len(name) for name, _ in pairs) + 3
    lines = []
    for name, said in pairs:
        wrapped = textwrap.wrap(said, WIDTH - indent, break_on_hyphens=False) or [""]
        lines.append(f"{name:<{indent}}{wrapped[0]}".rstrip())
        lines += [" " * indent + line for line in wrapped[1:]]
    return Text("".join(f"{line}\n" for line in lines))


def paragraph(text: str, *, indent: int = 0, style: str = "") -> Text:
    """Wrap a text; all lines but the first are indented by two more."""
    lines = textwrap.wrap(
        text,
        WIDTH,
        initial_indent=" " * indent,
        subsequent_indent=" " * (indent + 2),
        break_on_hyphens=False,
        break_long_words=False,
    )
    return Text("".join(f"{line}\n" for line in lines), style=style)


def counted(counts: Mapping[str, int]) -> str:
    """Write counts by reason: 3 not modelled, 1 unknown."""
    return ", ".join(f"{count:,} {reason.replace('_', ' ')}" for reason, count in counts.items())


def plural(count: int, word: str, words: str = "") -> str:
    """Write a count and what is counted: 1 event, 2 events."""
    return f"{count:,} {word if count == 1 else words or word + 's'}"
