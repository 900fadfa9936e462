# SPDX-License-Identifier: BSD-3-Clause
"""The memory accesses of one operation, in order. Public names are in `folio_perf.results`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from folio_perf._results_run import KIND, EventRow, RunInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessRun:
    """Accesses to one field of consecutive objects, at a constant stride.

    Parameters
    ----------
    event, cause : str
        What the access is accounted under.
    access : str
        ``load``, ``store`` or ``rmw``.
    field : str
    object_class : str
        ``page``, ``table`` or ``rest``.
    object : str
        Which object: ``folio``, ``folio 2`` ..., ``table 1`` ..., ``vma 1`` ...
    first : int
        Index of the first struct page in its folio, or of the first entry in its page table; else 0.
    step : int
        From one to the next, in struct pages or table entries; 0 if it is the same field again.
    count : int
        Accesses.
    lines : int
        Distinct cache lines among them.
    level : str
        The level that served the slowest of them.
    """

    event: str
    cause: str
    access: str
    field: str
    object_class: str
    object: str
    first: int
    step: int
    count: int
    lines: int
    level: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessTrace:
    """What one operation touches, under one scheme.

    Parameters
    ----------
    operation, title : str
        Name and description of the operation.
    run : RunInfo
    order : int
        Of the folio it works on.
    nr_pages : int
        Its pages.
    accesses : tuple of AccessRun
        In order, those left out of `totals` (cause ``fixed``) among them.
    totals : EventRow
        Costs of the operation.
    text : str
        The scenario it was taken from, in the language of scenarios; the operation is what follows its note.
    """

    operation: str
    title: str
    run: RunInfo
    order: int
    nr_pages: int
    accesses: tuple[AccessRun, ...]
    totals: EventRow
    text: str

    def to_json(self) -> str:
        """Write everything as one JSON object."""
        run = self.run
        totals: Mapping[str, object] = asdict(self.totals)
        return json.dumps(
            {
                "kind": KIND,
                "operation": self.operation,
                "title": self.title,
                "scheme": run.scheme,
                "kernel": run.kernel,
                "counterfactual": run.counterfactual,
                "reconstructed": run.reconstructed,
                "machine": run.machine,
                "page_size": run.page_size_bytes,
                "line_size": run.line_bytes,
                "order": self.order,
                "nr_pages": self.nr_pages,
                "accesses": [asdict(access) for access in self.accesses],
                "totals": {key: totals[key] for key in totals if key not in ("scheme", "kernel", "event")},
                "scenario": self.text,
            }
        )
