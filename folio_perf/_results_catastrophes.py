# SPDX-License-Identifier: BSD-3-Clause
"""Where a design is slower, or faster, than another by the largest factor. Public names are in `folio_perf.results`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from folio_perf._results_run import KIND


@dataclass(frozen=True, slots=True, kw_only=True)
class EventCost:
    """What all events of one kind took in one run.

    Parameters
    ----------
    count : int
        Events.
    rmw, lines, vma_visits, pte_reads : int
        As in `EventRow`, `lines` being all distinct lines per event, of struct pages, page tables and the rest, read or
        written, summed. Without what every design pays alike.
    ns : float
        Modelled time of all accesses, an upper bound; with what every design pays alike.
    ns_by_cause : mapping of str to float
        Its parts.
    """

    count: int
    rmw: int
    lines: int
    vma_visits: int
    pte_reads: int
    ns: float
    ns_by_cause: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class SmallestCase:
    """The smallest scenario in which a case still shows.

    Parameters
    ----------
    page_size : str
    order, processes : int
    factor : float
        At least 2, or nine tenths of the factor of the case where that is less.
    scenario : str
        In the language of scenarios; of up to 200 lines none can be left out.
    """

    page_size: str
    order: int
    processes: int
    factor: float
    scenario: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One finding of a search: one event kind of one design.

    Parameters
    ----------
    direction : str
        ``worst``: slower than the baseline; ``best``: faster.
    scheme, policy : str
        The design, and its options as ``presence=...,recount=...``; empty if it has none.
    baseline : str
    event : str
        Event kind that got slower or faster.
    cause : str
        Why: the cause whose time changed most.
    pattern : str
        Who shares the memory how, and what they do.
    page_size : str
    order, processes : int
    factor : float
        Time of all events of the kind, over that of the baseline (``best``: the other way round).
    growth_exponent : float or None
        Of the factor by the number of processes: slope of a least-squares fit of logarithms over `growth`. None if the
        search ended before.
    size_exponent : float or None
        The same by the number of pages of a folio; None for small folios.
    growth : tuple of (int, float)
        Number of processes, and factor.
    recipe : mapping of str to object
        The same as choices: page size, order, folios, how the memory is shared, steps ...
    scenario : str
        What was run, in the language of scenarios.
    cost, baseline_cost : EventCost
    smallest : SmallestCase or None
        None if the search ended before.
    reconstructed : bool
        The public description of the scheme is incomplete.
    """

    direction: str
    scheme: str
    policy: str
    baseline: str
    event: str
    cause: str
    pattern: str
    page_size: str
    order: int
    processes: int
    factor: float
    growth_exponent: float | None
    size_exponent: float | None
    growth: tuple[tuple[int, float], ...]
    recipe: Mapping[str, Any]
    scenario: str
    cost: EventCost
    baseline_cost: EventCost
    smallest: SmallestCase | None
    reconstructed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Catastrophes:
    """What a search has found.

    Parameters
    ----------
    cases : tuple of Case
        Worst first, then the best; each by factor.
    baseline, kernel, machine : str
    seed : int
    tried : int
        Scenarios, each under the baseline and all variants.
    variants : tuple of str
        Designs with their options.
    ended : str
        ``done``; ``time limit`` or ``interrupted``: what was found until then.
    """

    cases: tuple[Case, ...]
    baseline: str
    kernel: str
    machine: str
    seed: int
    tried: int
    variants: tuple[str, ...]
    ended: str

    @property
    def worst(self) -> tuple[Case, ...]:
        """Cases that are slower than the baseline, the worst first."""
        return tuple(case for case in self.cases if case.direction == "worst")

    @property
    def best(self) -> tuple[Case, ...]:
        """Cases that are faster, the best first."""
        return tuple(case for case in self.cases if case.direction == "best")

    def groups(self, direction: str) -> tuple[tuple[Case, ...], ...]:
        """Return cases of one event kind and cause together, each led by its largest factor, in that order."""
        found: dict[tuple[str, str], list[Case]] = {}
        for case in self.cases:
            if case.direction == direction:
                found.setdefault((case.event, case.cause), []).append(case)
        return tuple(tuple(group) for group in found.values())

    def to_json(self) -> str:
        """Write the cases as a JSON list."""
        return json.dumps([self._object(case) for case in self.cases])

    def _object(self, case: Case) -> dict[str, Any]:
        return {"kind": KIND, "kernel": self.kernel, "machine": self.machine, "ended": self.ended} | asdict(case)
