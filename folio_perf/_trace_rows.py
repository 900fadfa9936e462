# SPDX-License-Identifier: BSD-3-Clause
"""The rows of a trace while they are being made: kept until nothing can change them, then handed out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from folio_perf._trace_format import OP, TRACE_DTYPE, USER_END, TraceHeader, check_rows
from folio_perf._trace_objects import ObjectTable

__all__ = ["MAP_SHARED_TYPES", "MAP_TYPE", "MAX_HELD_ROWS", "LineError", "Row", "RowStore", "shown"]

# asm-generic/mman-common.h
MAP_SHARED_TYPES: Final = (0x01, 0x03)  # MAP_SHARED, MAP_SHARED_VALIDATE
MAP_TYPE: Final = 0x0F
PROT_WRITE: Final = 0x2

# Rows are taken out by the thousand; one that waits for its end may hold back no more than this.
PIECE_ROWS: Final = 1 << 13
MAX_HELD_ROWS: Final = 1 << 16

Row = tuple[int, ...]
_COLUMN: Final = {name: index for index, name in enumerate(TRACE_DTYPE.names or ())}


class LineError(Exception):
    """A line that breaks the rule given as the argument."""


def shown(text: str) -> str:
    """Quote the text of a line for an error, cut to 80 characters."""
    return repr(text if len(text) <= 80 else text[:77] + "...")


class RowStore:
    """Rows in order of time, and what the header says of them.

    Parameters
    ----------
    page_size_bytes : int
        Base page size of the recorded machine.

    Attributes
    ----------
    time_ns, cpu : int
        When and where the next events happen.
    kept, ignored, dropped, assumed : Counter of str
        See `TraceHeader`.
    objects : ObjectTable
    """

    def __init__(self, page_size_bytes: int) -> None:
        self.page = page_size_bytes
        self.time_ns = 0
        self.cpu = 0
        self.kept: Counter[str] = Counter()
        self.ignored: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        self.assumed: Counter[str] = Counter()
        self.objects = ObjectTable()
        self._rows: list[Row | None] = []
        self._first = 0  # number of the first of them; all indices of rows count from the start of the trace
        self._made = 0  # rows handed out
        self._last_ns = 0
        self._commands: dict[str, int] = {}
        self._roots: list[int] = []

    def at(self, time_ns: int, cpu: int) -> None:
        """Say when and where the next events happen; time does not run backwards."""
        self.cpu = cpu
        if time_ns < self.time_ns:
            self.assumed["time_ran_backwards"] += 1
        else:
            self.time_ns = time_ns

    @property
    def has_rows(self) -> bool:
        """Whether there is any row yet."""
        return bool(self._made or any(row is not None for row in self._rows))

    def _row(
        self,
        op: str,
        pid: int,
        *,
        address: int = 0,
        length: int = 0,
        address2: int = 0,
        length2: int = 0,
        prot: int = 0,
        flags: int = 0,
        obj: int = -1,
        offset: int = 0,
        advice: int = 0,
        error_code: int = 0,
        child: int = 0,
        clone_flags: int = 0,
        command: int = -1,
    ) -> Row:
        return (
            self.time_ns,
            self.cpu,
            pid,
            OP[op],
            address,
            length,
            address2,
            length2,
            prot,
            flags,
            obj,
            offset,
            advice,
            error_code,
            child,
            clone_flags,
            command,
        )

    def _append(self, row: Row | None) -> int:
        """Append a row, or the place of one; return its number."""
        self._rows.append(row)
        return self._first + len(self._rows) - 1

    def _change(self, index: int, column: str, value: int) -> None:
        row = list(self._rows[index - self._first] or ())
        row[_COLUMN[column]] = value
        self._rows[index - self._first] = tuple(row)

    def _range_of(self, index: int) -> tuple[int, int]:
        row = self._rows[index - self._first]
        assert row is not None
        return row[_COLUMN["address"]], row[_COLUMN["address"]] + row[_COLUMN["length"]]

    def _in_user_space(self, *ranges: tuple[int, int]) -> bool:
        """Whether the ranges (address, length) can be rows; count them if not."""
        if any(length == 0 for _, length in ranges):
            self.dropped["empty_range"] += 1
        elif any(address + length > USER_END for address, length in ranges):
            self.dropped["above_user_space"] += 1
        else:
            return True
        return False

    def take(self, *, source: str, all_rows: bool = False) -> Iterator[NDArray[np.void]]:
        """Hand out the rows that nothing can change any more.

        Parameters
        ----------
        source : str
            Named in errors.
        all_rows : bool
            The recording is over; otherwise nothing is handed out before a piece is full.

        Yields
        ------
        TRACE_DTYPE, shape (nr_rows,)

        Raises
        ------
        TraceError
            Naming the first row that breaks a rule of the format.
        """
        if all_rows:
            self._end_what_is_open()
        elif len(self._rows) < PIECE_ROWS:
            return
        end = len(self._rows) if all_rows else self._fixed_until() - self._first
        ready = [row for row in self._rows[:end] if row is not None]
        if not ready:
            return
        del self._rows[:end]
        self._first += end
        rows = np.array(ready, dtype=TRACE_DTYPE)
        self._measure_objects(rows)
        check_rows(rows, self.header(), source=source, first=self._made, time_ns=self._last_ns)
        self._made += rows.size
        self._last_ns = int(rows["time_ns"][-1])
        yield rows

    def _fixed_until(self) -> int:
        """Return the number of the first row that may still change."""
        raise NotImplementedError

    def _end_what_is_open(self) -> None:
        """Let no row change any more."""
        raise NotImplementedError

    def _measure_objects(self, rows: NDArray[np.void]) -> None:
        """Give each object the size that its mappings reach."""
        for row in rows[rows["object"] >= 0]:
            self.objects.reach(
                int(row["object"]),
                int(row["offset"]) + int(row["length"]),
                written_shared=bool(row["prot"] & PROT_WRITE and row["flags"] & MAP_TYPE in MAP_SHARED_TYPES),
            )

    def header(self, *, origin: str = "", kernel: str = "", command: str = "") -> TraceHeader:
        """Return the header of the rows so far."""
        return TraceHeader(
            origin=origin,
            kernel=kernel,
            command=command,
            page_size_bytes=self.page,
            objects=self.objects.finish(),
            commands=tuple(self._commands),
            roots=tuple(self._roots),
            lines_kept=+self.kept,
            lines_ignored=+self.ignored,
            dropped=+self.dropped,
            assumed=+self.assumed,
        )
