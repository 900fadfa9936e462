# SPDX-License-Identifier: BSD-3-Clause
"""Draws recipes, keeps the best of each niche and varies them. Part of `folio_perf.catastrophes`.

Nothing here runs the model: a round of recipes goes out, their factors come back. All of it follows from the seed.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from folio_perf._catastrophes_bench import Niche, Plan
from folio_perf._catastrophes_recipe import ORDERS, PAGES, SHARES, VERBS, WHO, Recipe, Step
from folio_perf.geometry import Geometry, parse_size

_FOLIOS: Final = (1, 2, 4, 8)
_MAX_STEPS: Final = 6
_MAX_MAPPINGS: Final = 1 << 15
"""Pages times processes: larger scenarios take too long to be tried by the hundred."""
_USUAL: Final = ("read", "write", "drop", "exit", "unmap", "fork")
"""Verbs that are drawn more often: what makes and ends sharing."""
_FRESH: Final = 0.25
"""Share of a round that is drawn anew."""


@dataclass(frozen=True, slots=True)
class Elite:
    """The recipe with the largest factor of a niche."""

    recipe: Recipe
    factor: float

    def beaten_by(self, recipe: Recipe, factor: float) -> bool:
        """Tell whether another is better: by its factor, or as good and smaller."""
        if factor > 1.01 * self.factor:
            return True
        return factor >= 0.99 * self.factor and recipe.size < self.recipe.size


class Search:
    """What was found so far, and what to try next."""

    def __init__(self, plan: Plan, seed: int) -> None:
        self.plan = plan
        self.elites: dict[Niche, Elite] = {}
        self.tried = 0
        self._random = random.Random(seed)
        self._seen: set[Recipe] = set()
        self._processes = _ladder(plan.processes)
        self._orders = {size: _orders(Geometry(page_size_bytes=parse_size(size))) for size in plan.page_sizes}

    def round(self, nr: int) -> list[Recipe]:
        """Draw recipes that were not tried yet."""
        drawn: list[Recipe] = []
        for _ in range(20 * nr):
            if len(drawn) == nr:
                break
            recipe = self._fresh() if not self.elites or self._random.random() < _FRESH else self._varied()
            if recipe not in self._seen:
                self._seen.add(recipe)
                drawn.append(recipe)
        return drawn

    def learn(self, recipe: Recipe, factors: Mapping[Niche, float]) -> None:
        """Take in what a recipe has shown."""
        self.tried += 1
        for niche, factor in factors.items():
            elite = self.elites.get(niche)
            if elite is None or elite.beaten_by(recipe, factor):
                self.elites[niche] = Elite(recipe, factor)

    def groups(self, least: float) -> list[list[tuple[Niche, Elite]]]:
        """Niches of one event kind and cause together; groups and their members by factor, the largest first."""
        found: dict[tuple[str, str, str], list[tuple[Niche, Elite]]] = {}
        for niche, elite in sorted(self.elites.items(), key=lambda item: (-item[1].factor, item[0])):
            if elite.factor >= least:
                found.setdefault((niche.direction, niche.event, niche.cause), []).append((niche, elite))
        return list(found.values())

    # drawing

    def _fresh(self) -> Recipe:
        pick = self._random.choice
        page_size = pick(self.plan.page_sizes)
        share = pick(tuple(SHARES))
        steps = [self._step(share) for _ in range(pick((1, 2, 2, 3, 3, 4)))]
        if not SHARES[share].anon:
            # Nothing of a file is mapped before somebody touches it.
            steps.insert(0, Step(verb=pick(("read", "write")), who=pick(("all", "few", "all")), pages=self._pages()))
        return self._fitting(
            Recipe(
                page_size=page_size,
                order=pick(self._orders[page_size]),
                folios=pick(_FOLIOS),
                share=share,
                processes=pick(self._processes),
                fill=pick(("whole", "whole", "reverse", "random")),
                extent=pick(SHARES[share].extents),
                by_pte=pick((False, True)),
                steps=tuple(steps),
                seed=self._random.randrange(4),
            )
        )

    def _step(self, share: str) -> Step:
        memory = ("any", "anon" if SHARES[share].anon else "file")
        verbs = [name for name, verb in VERBS.items() if verb.memory in memory]
        name = self._random.choice([*verbs, *(_USUAL * 2)])
        return Step(verb=name, who=self._random.choice(WHO), turns=self._random.choice(ORDERS), pages=self._pages())

    def _pages(self) -> str:
        return self._random.choice(("whole", "whole", "whole", *PAGES))

    def _varied(self) -> Recipe:
        recipe = self._parent()
        for _ in range(self._random.choice((1, 1, 1, 2, 3))):
            recipe = self._random.choice(self._changes())(recipe)
        return self._fitting(recipe)

    def _parent(self) -> Recipe:
        """One of the elites; every second time one of the third with the largest factors."""
        found = sorted(self.elites.items(), key=lambda item: (-item[1].factor, item[0]))
        if self._random.random() < 0.5:
            found = found[: max(1, len(found) // 3)]
        return self._random.choice(found)[1].recipe

    def _changes(self) -> Sequence[Callable[[Recipe], Recipe]]:
        return (
            self._change_step,
            self._change_step,
            self._add_step,
            self._add_step,
            self._drop_step,
            self._swap_steps,
            self._cross,
            lambda recipe: replace(recipe, processes=self._near(self._processes, recipe.processes)),
            lambda recipe: replace(recipe, order=self._near(self._orders[recipe.page_size], recipe.order)),
            lambda recipe: replace(recipe, folios=self._near(_FOLIOS, recipe.folios)),
            lambda recipe: replace(recipe, page_size=self._random.choice(self.plan.page_sizes)),
            lambda recipe: replace(recipe, share=self._random.choice(tuple(SHARES))),
            lambda recipe: replace(
                recipe, fill=self._random.choice(PAGES[:4]), extent=self._random.choice(("whole", "half"))
            ),
            lambda recipe: replace(recipe, by_pte=not recipe.by_pte),
        )

    def _near(self, values: Sequence[int], value: int) -> int:
        """Go one up or down in a list, or anywhere."""
        if value not in values or self._random.random() < 0.3:
            return self._random.choice(values)
        at = values.index(value) + self._random.choice((-1, 1))
        return values[min(max(at, 0), len(values) - 1)]

    def _change_step(self, recipe: Recipe) -> Recipe:
        if not recipe.steps:
            return self._add_step(recipe)
        at = self._random.randrange(len(recipe.steps))
        other = self._step(recipe.share)
        field = self._random.choice(("verb", "who", "turns", "pages"))
        step = replace(recipe.steps[at], **{field: getattr(other, field)})
        return replace(recipe, steps=(*recipe.steps[:at], step, *recipe.steps[at + 1 :]))

    def _add_step(self, recipe: Recipe) -> Recipe:
        at = self._random.randrange(len(recipe.steps) + 1)
        return replace(recipe, steps=(*recipe.steps[:at], self._step(recipe.share), *recipe.steps[at:]))

    def _drop_step(self, recipe: Recipe) -> Recipe:
        if len(recipe.steps) < 2:
            return recipe
        at = self._random.randrange(len(recipe.steps))
        return replace(recipe, steps=recipe.steps[:at] + recipe.steps[at + 1 :])

    def _swap_steps(self, recipe: Recipe) -> Recipe:
        if len(recipe.steps) < 2:
            return recipe
        at = self._random.randrange(len(recipe.steps) - 1)
        first, second = recipe.steps[at : at + 2]
        return replace(recipe, steps=(*recipe.steps[:at], second, first, *recipe.steps[at + 2 :]))

    def _cross(self, recipe: Recipe) -> Recipe:
        """Let the steps of another elite follow the first of these."""
        other = self._parent()
        at = self._random.randrange(len(recipe.steps) + 1)
        return replace(recipe, steps=recipe.steps[:at] + other.steps[self._random.randrange(len(other.steps) + 1) :])

    def _fitting(self, recipe: Recipe) -> Recipe:
        """Bring a recipe within the limits, and what has no meaning in it to one form."""
        share = SHARES[recipe.share]
        orders = self._orders[recipe.page_size]
        order = max((each for each in orders if each <= recipe.order), default=orders[0])
        pmd_order = orders[-1]
        folios, processes = recipe.folios, recipe.processes
        while folios > 1 and (folios << order) * processes > _MAX_MAPPINGS:
            folios //= 2
        while processes > 1 and (folios << order) * processes > _MAX_MAPPINGS:
            processes //= 2
        memory = ("any", "anon" if share.anon else "file")
        steps = [self._plain(step, order) for step in recipe.steps if VERBS[step.verb].memory in memory]
        return replace(
            recipe,
            order=order,
            folios=folios,
            processes=processes,
            fill=recipe.fill if share.anon and order else "whole",
            extent=recipe.extent if recipe.extent in share.extents and (folios << order) > 1 else "whole",
            by_pte=recipe.by_pte and order == pmd_order,
            steps=tuple(steps[:_MAX_STEPS]),
        )

    @staticmethod
    def _plain(step: Step, order: int) -> Step:
        verb = VERBS[step.verb]
        if not verb.who:
            return Step(verb=step.verb)
        if step.verb == "fork":
            # One more shares the memory; if all forked, the number of processes would mean nothing.
            return Step(verb=step.verb, who=step.who if step.who in ("first", "last") else "first")
        return replace(
            step,
            pages=step.pages if verb.pages and order else "whole",
            turns="forward" if step.who in ("first", "last") else step.turns,
        )


def _ladder(most: int) -> tuple[int, ...]:
    """Numbers of processes to draw from: 1, 2, 3, 4, 6, 8, 12, 16 ... up to `most`."""
    values = {1, 2, most}
    step = 1
    while step <= most:
        values |= {each for each in (step, 3 * step // 2) if each <= most}
        step *= 2
    return tuple(sorted(values))


def _orders(geometry: Geometry) -> tuple[int, ...]:
    """Orders to draw from: small folios, some sizes between, and that of a PMD."""
    pmd_order = geometry.pmd_order
    return tuple(sorted({0, 2, 4, pmd_order // 2 + 2, pmd_order - 1, pmd_order}))
