# SPDX-License-Identifier: BSD-3-Clause
"""Runs a recipe under a baseline and under variants of designs, and says who got slower at what.

Part of `folio_perf.catastrophes`. Times are those of all modelled accesses of an event kind, ``fixed`` among them: what
every design pays alike is part of what an event takes, and a design that multiplies next to nothing is no catastrophe.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from folio_perf._catastrophes_recipe import Recipe, TooLargeError
from folio_perf._native.errors import FperfError
from folio_perf.cost import price_matrix
from folio_perf.geometry import Geometry
from folio_perf.machine import Machine
from folio_perf.profile import KernelProfile
from folio_perf.results import EventCost
from folio_perf.scenario import Scenario, ScenarioError, parse_scenarios
from folio_perf.schemes import SchemeSpec
from folio_perf.simulate import Input, Setup, axes, kernel_of, new_simulation, prepare, run_scenario

DIRECTIONS: Final = ("worst", "best")

_POLICIES: Final = ("presence", "recount")


def policies_of(spec: SchemeSpec) -> dict[str, tuple[str, ...]]:
    """List the options of a design that a search varies; others stay as they are."""
    return {name: values for name, values in spec.info.options.items() if name in _POLICIES}


def policy_of(spec: SchemeSpec) -> str:
    """Write the options of a design: those that are varied, and what else is not as usual; empty if it has none."""
    usual = {"unknown": "assume"} | {name: values[0] for name, values in spec.info.options.items()}
    return ",".join(
        f"{name}={getattr(spec, name)}"
        for name in (*spec.info.options, "unknown")
        if name in _POLICIES or getattr(spec, name) != usual[name]
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a search compares.

    Parameters
    ----------
    baseline : SchemeSpec
    variants : tuple of SchemeSpec
        Designs with their policies.
    machine : Machine
    kernel : KernelProfile
        Of designs that name none.
    page_sizes : tuple of str
    processes : int
        At most so many share the memory.
    """

    baseline: SchemeSpec
    variants: tuple[SchemeSpec, ...]
    machine: Machine
    kernel: KernelProfile
    page_sizes: tuple[str, ...]
    processes: int


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Niche:
    """What a finding is about: one event kind of one variant, slower (or faster) for one cause.

    Parameters
    ----------
    direction : str
        One of `DIRECTIONS`.
    variant : int
        Index into the variants of the plan.
    event, cause : str
    """

    direction: str
    variant: int
    event: str
    cause: str


_RUN: Final = 90
_EVENTS: Final = 2
_ACCESSES: Final = 300
"""Of `Bench.spent`: units per run, events and accesses per unit."""
MAX_ACCESSES: Final = 3_000_000
"""Of one run: what does more is not tried further."""


class Bench:
    """Runs recipes; one per process. Nothing is kept between runs but the modelled machines.

    Attributes
    ----------
    plan : Plan
    spent : int
        Work done so far, in units of about ten microseconds, the same on every computer: what a search may afford must
        not depend on how fast it is.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.spent = 0
        self._setups: dict[str, Setup] = {}

    @cached_property
    def _names(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        named = axes()
        return named.events, named.causes

    def setup(self, recipe: Recipe) -> Setup:
        """Return the modelled machine a recipe runs on."""
        if recipe.page_size not in self._setups:
            geometry = Geometry.from_text(recipe.page_size, line_bytes=self.plan.machine.line_bytes)
            self._setups[recipe.page_size] = prepare(
                machine=self.plan.machine, geometry=geometry, kernel=self.plan.kernel
            )
        return self._setups[recipe.page_size]

    def scenario(self, recipe: Recipe, text: str | None = None) -> Scenario | None:
        """Read the scenario of a recipe, or another text on its machine; None if it breaks a rule or is too large."""
        try:
            found = parse_scenarios(text or recipe.text(), self.setup(recipe).geometry)[0]
        except (ScenarioError, TooLargeError):
            return None
        return None if found.unsupported else found

    def factors(
        self, recipe: Recipe, text: str | None = None, variants: Sequence[int] | None = None
    ) -> dict[Niche, float]:
        """Run a recipe (or a text on its machine) under the baseline and variants.

        Parameters
        ----------
        recipe : Recipe
        text : str, optional
        variants : sequence of int, optional
            Indices into the variants of the plan; default all.

        Returns
        -------
        dict of Niche to float
            How many times longer (worst) or shorter (best) all events of a kind together take; only factors above 1.
            Empty if an event fails, or a run takes more than `MAX_ACCESSES`.
        """
        scenario = self.scenario(recipe, text)
        if scenario is None:
            return {}
        setup = self.setup(recipe)
        before = self._times(scenario, self.plan.baseline, setup)
        if before is None:
            return {}
        numbers = range(len(self.plan.variants)) if variants is None else variants
        found: dict[Niche, float] = {}
        for number in numbers:
            after = self._times(scenario, self.plan.variants[number], setup)
            if after is None:
                return {}
            found.update(self._compared(number, before, after))
        return found

    def by_variant(
        self, niche: Niche, recipe: Recipe, text: str | None = None, variants: Sequence[int] | None = None
    ) -> dict[int, float]:
        """Return the factors that variants show at the event kind of a niche, whatever the cause."""
        return {
            each.variant: factor
            for each, factor in self.factors(recipe, text, variants).items()
            if (each.direction, each.event) == (niche.direction, niche.event)
        }

    def factor(self, niche: Niche, recipe: Recipe, text: str | None = None) -> float:
        """Return the factor of one niche, whatever its cause; 0 where it is not slower (faster), or an event fails."""
        return self.by_variant(niche, recipe, text, (niche.variant,)).get(niche.variant, 0.0)

    def _times(self, scenario: Scenario, spec: SchemeSpec, setup: Setup) -> NDArray[np.float64] | None:
        """Run under one scheme: ns by event kind and cause; None if an event fails, or it takes too long."""
        simulation = new_simulation(
            scenario,
            scheme=spec,
            kernel=kernel_of(spec, setup),
            backend=setup.backend,
            geometry=setup.geometry,
            machine=setup.machine,
        )
        try:
            simulation.run(scenario.events)
        except FperfError:
            return None
        # Prices do not depend on the field.
        counters = simulation.counters().sum(axis=2)
        accesses = int(counters.sum())
        self.spent += _RUN + scenario.nr_events // _EVENTS + accesses // _ACCESSES
        if accesses > MAX_ACCESSES:
            return None
        times: NDArray[np.float64] = counters.reshape(*counters.shape[:2], -1) @ self._prices
        return times

    @cached_property
    def _prices(self) -> NDArray[np.float64]:
        return np.nan_to_num(price_matrix(self.plan.machine)).ravel()

    def _compared(
        self, variant: int, before: NDArray[np.float64], after: NDArray[np.float64]
    ) -> Iterator[tuple[Niche, float]]:
        events, causes = self._names
        sums = before.sum(axis=1), after.sum(axis=1)
        for kind in np.flatnonzero((sums[0] > 0) & (sums[1] > 0)):
            factor = float(sums[1][kind] / sums[0][kind])
            if factor == 1:
                continue
            direction, sign = ("worst", 1) if factor > 1 else ("best", -1)
            cause = causes[int((sign * (after[kind] - before[kind])).argmax())]
            niche = Niche(direction=direction, variant=variant, event=events[kind], cause=cause)
            yield niche, factor if factor > 1 else 1 / factor

    def costs(self, niche: Niche, recipe: Recipe, text: str | None = None) -> tuple[EventCost, EventCost]:
        """Count what the events of a niche take under the baseline and under the variant."""
        scenario = self.scenario(recipe, text)
        if scenario is None:
            raise ValueError(f"no scenario: {recipe.pattern}")
        setup = self.setup(recipe)
        specs = (self.plan.baseline, self.plan.variants[niche.variant])
        return (
            _cost(niche.event, scenario, specs[0], setup),
            _cost(niche.event, scenario, specs[1], setup),
        )


def _cost(event: str, scenario: Scenario, spec: SchemeSpec, setup: Setup) -> EventCost:
    result = run_scenario(Input(scenario=scenario), spec, setup)
    row = result.row(event)
    kind = result.axes.events.index(event)
    lines = (
        row.lines_read,
        row.lines_written,
        row.lines_table_read,
        row.lines_table_written,
        row.lines_rest_read,
        row.lines_rest_written,
    )
    by_cause: Mapping[str, float] = dict(zip(result.axes.causes, result.ns[kind].sum(axis=1).tolist(), strict=True))
    return EventCost(
        count=row.count,
        rmw=row.rmw,
        lines=sum(each or 0 for each in lines),
        vma_visits=row.vma_visits,
        pte_reads=row.pte_reads,
        ns=sum(by_cause.values()),
        ns_by_cause={name: ns for name, ns in by_cause.items() if ns},
    )
