# SPDX-License-Identifier: BSD-3-Clause
"""Makes findings of recipes: small ones, followed as they grow. Part of `folio_perf.catastrophes`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Final

import numpy as np

from folio_perf._catastrophes_bench import Bench, Niche, policy_of
from folio_perf._catastrophes_recipe import Recipe
from folio_perf._catastrophes_search import Elite
from folio_perf.results import Case, SmallestCase

KEPT: Final = 0.9
"""Part of a factor that has to stay when a scenario is made smaller."""
SHOWN: Final = 2.0
"""A factor that shows: what the smallest scenario has to keep."""
LEAST: Final = 1.2
"""A smaller factor is no finding."""

_OWN: Final = 1.5
"""A variant that shows so much more in a scenario of its own gets it."""
_MOST_LINES: Final = 200
"""Scenarios with more lines are not made smaller line by line."""
_FOR_RECIPE: Final = 40_000
_FOR_SMALLEST: Final = 60_000
"""What making a recipe, and then a scenario, small may cost, in units of `Bench.spent`."""

Growth = tuple[tuple[int, float], ...]


class _OutOfTimeError(Exception):
    """The search has to end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Finished:
    """What the variants of a group show in one recipe."""

    recipe: Recipe
    growth: dict[int, Growth]
    size_exponent: float | None
    smallest: SmallestCase | None


def finish(bench: Bench, members: Sequence[tuple[Niche, Elite]], deadline: float = float("inf")) -> list[Case]:
    """Make findings of variants that were slower (faster) at the same event kind for the same cause.

    Parameters
    ----------
    bench : Bench
    members : sequence of (Niche, Elite)
        The one with the largest factor first: its recipe is made small, and stands for those who show as much in it.
    deadline : float
        Of `time.monotonic`; of what is not done by then the first is left as it was found.
    """
    cases: list[Case] = []
    left = list(members)
    while left:
        leader, elite = left[0]
        try:
            done = _Finisher(bench, leader, deadline).finished(elite.recipe)
        except _OutOfTimeError:
            cases += [case for case in [_as_found(bench, leader, elite.recipe)] if case]
            break
        shown = {number: dict(points).get(done.recipe.processes, 0.0) for number, points in done.growth.items()}
        alike = [
            niche for niche, each in left if each.factor <= _OWN * shown.get(niche.variant, 0.0) or niche == leader
        ]
        cases += [case for niche in alike if (case := _case(bench, niche, done))]
        left = [(niche, each) for niche, each in left if niche not in alike]
    return [case for case in cases if case.factor >= LEAST]


def _as_found(bench: Bench, niche: Niche, recipe: Recipe) -> Case | None:
    return _case(bench, niche, _Finished(recipe=recipe, growth={}, size_exponent=None, smallest=None))


def _case(bench: Bench, niche: Niche, done: _Finished) -> Case | None:
    spec, recipe = bench.plan.variants[niche.variant], done.recipe
    before, after = bench.costs(niche, recipe)
    if not before.ns or not after.ns:
        return None
    growth = done.growth.get(niche.variant, ())
    return Case(
        direction=niche.direction,
        scheme=spec.name,
        policy=policy_of(spec),
        baseline=str(bench.plan.baseline),
        event=niche.event,
        cause=niche.cause,
        pattern=recipe.pattern,
        page_size=recipe.page_size,
        order=recipe.order,
        processes=recipe.processes,
        factor=after.ns / before.ns if niche.direction == "worst" else before.ns / after.ns,
        growth_exponent=exponent(growth) if growth else None,
        size_exponent=done.size_exponent,
        growth=growth,
        recipe=asdict(recipe),
        scenario=recipe.text(f"{niche.event}_{niche.direction}", recipe.pattern),
        cost=after,
        baseline_cost=before,
        smallest=done.smallest,
        reconstructed=spec.info.reconstructed,
    )


def exponent(points: Iterable[tuple[float, float]]) -> float:
    """Slope of a least-squares fit of logarithms; 0 if there are fewer than three points."""
    found = list(points)
    if len(found) < 3:
        return 0.0
    x, y = np.log(np.array(found, dtype=np.float64).T)
    return float(np.polyfit(x, y, 1)[0])


class _Finisher:
    """Makes the recipe of one niche small, and follows it."""

    def __init__(self, bench: Bench, niche: Niche, deadline: float) -> None:
        self._bench, self._niche, self._deadline = bench, niche, deadline
        self._afford = 0

    def _may_spend(self, units: int) -> None:
        self._afford = self._bench.spent + units

    def finished(self, recipe: Recipe) -> _Finished:
        """Shrink a recipe, see how it grows, look for the smallest scenario; `_OutOfTimeError` if time is up."""
        self._may_spend(_FOR_RECIPE)
        recipe = self._shrunk(recipe, KEPT * self._factor(recipe))
        growth = self._growth(recipe)
        mine = growth.get(self._niche.variant, ())
        most = max((factor for _, factor in mine), default=0.0)
        recipe = recipe.at(next((nr for nr, factor in mine if factor >= KEPT * most), recipe.processes))
        return _Finished(
            recipe=recipe,
            growth=growth,
            size_exponent=self._size_exponent(recipe),
            smallest=self._smallest(recipe, min(SHOWN, KEPT * self._factor(recipe))),
        )

    def _factor(self, recipe: Recipe, text: str | None = None) -> float:
        self._look_at_the_clock()
        return self._bench.factor(self._niche, recipe, text)

    def _shows(self, least: float, recipe: Recipe, text: str | None = None) -> bool:
        """Tell whether a factor stays; where nothing more can be afforded, no."""
        return self._bench.spent < self._afford and self._factor(recipe, text) >= least

    def _look_at_the_clock(self) -> None:
        if time.monotonic() > self._deadline:
            raise _OutOfTimeError

    # growth

    def _growth(self, recipe: Recipe) -> dict[int, Growth]:
        """Factors of all variants by the number of processes, at powers of two and the most."""
        most = self._bench.plan.processes
        points: dict[int, list[tuple[int, float]]] = {}
        for nr in sorted({*(1 << bit for bit in range(most.bit_length())), recipe.processes, most}):
            self._look_at_the_clock()
            for variant, factor in self._bench.by_variant(self._niche, recipe.at(nr)).items():
                points.setdefault(variant, []).append((nr, factor))
        return {variant: tuple(found) for variant, found in points.items()}

    def _size_exponent(self, recipe: Recipe) -> float | None:
        orders = range(max(2, recipe.order - 3), recipe.order + 1)
        points = [(1 << order, self._factor(replace(recipe, order=order))) for order in orders]
        points = [(pages, factor) for pages, factor in points if factor > 0]
        return exponent(points) if len(points) > 2 else None

    # smaller

    def _shrunk(self, recipe: Recipe, least: float) -> Recipe:
        """Go to simpler recipes while the factor stays."""
        going = True
        while going:
            going = False
            for simpler in _simpler(recipe):
                if simpler.size < recipe.size and self._shows(least, simpler):
                    recipe, going = simpler, True
                    break
        return recipe

    def _smallest(self, recipe: Recipe, least: float) -> SmallestCase:
        """Fewest processes and pages, then fewest lines, that still show a factor of `least`."""
        self._may_spend(_FOR_SMALLEST)
        candidates = (recipe.at(nr) for nr in range(1, recipe.processes))
        recipe = next((each for each in candidates if self._shows(least, each)), recipe)
        if recipe.order:
            smaller = (replace(recipe, order=order, by_pte=False) for order in (0, *range(2, recipe.order)))
            recipe = next((each for each in smaller if self._shows(least, each)), recipe)
        recipe = self._shrunk(recipe, least)
        lines = recipe.text(f"{self._niche.event}_{self._niche.direction}").splitlines()

        def text(body: Sequence[str]) -> str:
            return "\n".join([lines[0], *body, lines[-1]]) + "\n"

        body = lines[1:-1]
        if len(body) <= _MOST_LINES:
            body = _fewest(body, lambda kept: self._shows(least, recipe, text(kept)))
        return SmallestCase(
            page_size=recipe.page_size,
            order=recipe.order,
            processes=recipe.processes,
            factor=self._factor(recipe, text(body)),
            scenario=text(body),
        )


def _simpler(recipe: Recipe) -> Iterator[Recipe]:
    """Recipes that are simpler in one respect, the largest cuts first."""
    steps = recipe.steps
    for at in range(len(steps)):
        yield replace(recipe, steps=steps[:at] + steps[at + 1 :])
    if recipe.folios > 1:
        yield replace(recipe, folios=1)
        yield replace(recipe, folios=recipe.folios // 2)
    yield replace(recipe, fill="whole")
    yield replace(recipe, extent="whole")
    yield replace(recipe, by_pte=False)
    for at, step in enumerate(steps):
        for simple in (
            replace(step, pages="whole"),
            replace(step, turns="forward"),
            replace(step, who="all" if step.verb != "fork" else step.who),
            replace(step, who="first"),
        ):
            yield replace(recipe, steps=(*steps[:at], simple, *steps[at + 1 :]))


def _fewest(lines: list[str], shows: Callable[[Sequence[str]], bool]) -> list[str]:
    """Leave out lines, in pieces of half the text down to single ones, while it still shows."""
    size = len(lines) // 2
    while size:
        at = 0
        while at < len(lines):
            without = lines[:at] + lines[at + size :]
            if shows(without):
                lines = without
            else:
                at += size
        size //= 2
    return lines
