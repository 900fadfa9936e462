# SPDX-License-Identifier: BSD-3-Clause
"""A trace in memory, and the scenario that is made of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from folio_perf._trace_events import Converter
from folio_perf._trace_format import OPS, TRACE_DTYPE, TraceHeader, check_rows
from folio_perf.geometry import Geometry
from folio_perf.scenario import Scenario

__all__ = ["Conversion", "Trace"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Conversion:
    """A scenario made from a trace, and what was left out of it.

    Attributes
    ----------
    scenario : Scenario
    rows : int64, shape (nr_events,)
        Row of the trace behind each event; -1 for those that set the stage.
    dropped : Mapping[str, int]
        Rows that became no event, by reason.
    assumed : Mapping[str, int]
        Events that rest on an assumption, by reason.
    """

    scenario: Scenario
    rows: NDArray[np.int64]
    dropped: Mapping[str, int]
    assumed: Mapping[str, int]


@dataclass(frozen=True, kw_only=True, eq=False)
class Trace:
    """A recorded workload.

    Attributes
    ----------
    name : str
    header : TraceHeader
        Origin, objects and counts.
    rows : TRACE_DTYPE, shape (nr_rows,)
        The recorded events in time order, read-only. Addresses, lengths and offsets are bytes.
    source : str
        File the trace came from.
    """

    name: str
    header: TraceHeader
    rows: NDArray[np.void]
    source: str = ""

    def __post_init__(self) -> None:
        if self.rows.dtype != TRACE_DTYPE or self.rows.ndim != 1:
            raise ValueError(f"rows of shape {self.rows.shape}, {self.rows.dtype}: need one dimension of TRACE_DTYPE")
        check_rows(self.rows, self.header, source=self.source or self.name, first=0)
        rows = self.rows.view()
        rows.flags.writeable = False
        object.__setattr__(self, "rows", rows)

    def counts(self) -> dict[str, int]:
        """Return the number of rows by operation, in the order of `OPS`."""
        counts = np.bincount(self.rows["op"], minlength=len(OPS))
        return {name: int(counts[code]) for code, name in enumerate(OPS) if counts[code]}

    def convert(self, geometry: Geometry, *, file_order: int = 0) -> Conversion:
        """Turn the trace into a scenario and say what was left out.

        Parameters
        ----------
        geometry : Geometry
            Of the modelled machine; see ``docs/traces.md`` for pages larger than the recorded ones.
        file_order : int
            Order of the folios that the page cache uses for files; a trace does not know it.

        Raises
        ------
        TraceError
            If a row belongs to a process that nobody started.
        """
        if not 0 <= file_order <= geometry.max_order:
            raise ValueError(f"file order {file_order} must be between 0 and {geometry.max_order}")
        converter = Converter(self.header, geometry, source=self.source or self.name)
        events, rows = converter.feed(self.rows)
        scenario = Scenario(
            name=self.name,
            events=events,
            objects=converter.objects(file_order),
            processes=converter.processes,
            lines=(rows + 1).astype(np.int32),
            source=self.source or self.name,
            description=self.header.command,
            strict=False,
        )
        return Conversion(
            scenario=scenario,
            rows=rows,
            dropped=MappingProxyType(dict(sorted(converter.dropped.items()))),
            assumed=MappingProxyType(dict(sorted(converter.assumed.items()))),
        )

    def to_scenario(self, geometry: Geometry, *, file_order: int = 0) -> Scenario:
        """Turn the trace into a scenario; `convert` also says what was left out."""
        return self.convert(geometry, file_order=file_order).scenario

    @cached_property
    def dropped(self) -> Mapping[str, int]:
        """Records left out by reason: at import, and in conversion at the recorded page size."""
        counts = dict(self.header.dropped)
        for reason, number in self.convert(Geometry(page_size_bytes=self.header.page_size_bytes)).dropped.items():
            counts[reason] = counts.get(reason, 0) + number
        return MappingProxyType(dict(sorted(counts.items())))
