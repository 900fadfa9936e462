#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Tables of docs/catastrophes.md: what the search found for Zero, One, Two, Many, and a verdict per recount policy.

    catastrophe_tables.py          search again, and record the leading findings in tests/data/catastrophes.json

The tables run what is recorded there, so that they follow the model without a search.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, Final

from walk_tables import Table

from folio_perf import DEFAULT_KERNEL, DEFAULT_MACHINE, Case, catastrophes, scheme_info, simulate
from folio_perf._catastrophes_bench import Bench, Niche, policy_of
from folio_perf._catastrophes_finish import exponent
from folio_perf._catastrophes_recipe import Recipe, Step
from folio_perf.catastrophes import DEFAULT_BASELINE, PAGE_SIZES, _plan

RECORD: Final = Path(__file__).resolve().parent.parent / "tests" / "data" / "catastrophes.json"
PROCESSES: Final = 64
SEED: Final = 0
DESIGN: Final = "zero_one_two_many"

_LEAST: Final = 2.0
_MOST: Final = {"worst": 24, "best": 8}
_LADDER: Final = (16, 32, 64)
_WIDTH: Final = 118


@dataclass(frozen=True)
class Found:
    """A recorded finding: what to run, and at which event kind to look."""

    niche: Niche
    recipe: Recipe


@cache
def bench() -> Bench:
    """Return what the search ran on."""
    return Bench(_plan(DESIGN, DEFAULT_BASELINE, PROCESSES, PAGE_SIZES, DEFAULT_MACHINE, DEFAULT_KERNEL))


def record() -> None:
    """Search, and write the leading findings."""
    found = catastrophes(DESIGN, processes=PROCESSES, seed=SEED)
    leading = {direction: [group[0] for group in found.groups(direction)] for direction in _MOST}
    kept = [
        case
        for direction, most in _MOST.items()
        # What was followed as it grows, and shows.
        for case in [case for case in leading[direction] if case.growth and case.factor >= _LEAST][:most]
    ]
    RECORD.write_text("[\n" + ",\n".join(json.dumps(_entry(case)) for case in kept) + "\n]\n", encoding="utf-8")


def _entry(case: Case) -> dict[str, Any]:
    return {
        "direction": case.direction,
        "event": case.event,
        "cause": case.cause,
        "policy": case.policy,
        "recipe": case.recipe,
    }


@cache
def recorded() -> tuple[Found, ...]:
    """Read the recorded findings."""
    policies = [policy_of(spec) for spec in bench().plan.variants]
    entries = json.loads(RECORD.read_text(encoding="utf-8"))
    return tuple(
        Found(
            niche=Niche(
                direction=entry["direction"],
                variant=policies.index(entry["policy"]),
                event=entry["event"],
                cause=entry["cause"],
            ),
            recipe=Recipe(**{**entry["recipe"], "steps": tuple(Step(**step) for step in entry["recipe"]["steps"])}),
        )
        for entry in entries
    )


@cache
def _factors(recipe: Recipe) -> dict[Niche, float]:
    return bench().factors(recipe)


def _growth(each: Found, variant: int, causes: Sequence[str] = ()) -> list[tuple[int, float]]:
    """Factors of a variant at the event kind of a finding, by number of processes; of these causes, or of any."""
    niche = each.niche
    return [
        (nr, factor)
        for nr in _LADDER
        for other, factor in _factors(each.recipe.at(nr)).items()
        if (other.direction, other.variant, other.event) == (niche.direction, variant, niche.event)
        and other.cause in (causes or (other.cause,))
    ]


def _power(points: Sequence[tuple[int, float]]) -> str:
    return f"N^{exponent(points) + 0.0:.1f}" if len(points) > 2 else ""


def found(direction: str, table: Table) -> str:
    """Describe each recorded finding: what got slower (faster), why, how much; then in which pattern."""
    chosen = [each for each in recorded() if each.niche.direction == direction]
    chosen.sort(key=lambda each: -dict(_growth(each, each.niche.variant)).get(PROCESSES, 1.0))
    rows = [(str(number), *_row(each)) for number, each in enumerate(chosen, start=1)]
    patterns = [
        f"{number}. {each.recipe.page_size} pages, order {each.recipe.order}: {each.recipe.pattern}."
        for number, each in enumerate(chosen, start=1)
    ]
    wrapped = [textwrap.fill(text, _WIDTH, subsequent_indent="   ", break_on_hyphens=False) for text in patterns]
    return table(("", "event", "by its", "factor", "grows", "policy"), rows) + "\n\n" + "\n".join(wrapped)


def _row(each: Found) -> tuple[str, ...]:
    niche = each.niche
    points = _growth(each, niche.variant)
    factor = dict(points).get(PROCESSES, 1.0)
    words = policy_of(bench().plan.variants[niche.variant]).split(",")
    chosen = [word for word in words if word not in ("presence=scan", "recount=lazy")] or ["recount=lazy"]
    policy = f"`{','.join(chosen)}`"
    return niche.event, niche.cause, f"{factor:,.0f}" if factor >= 100 else f"{factor:.1f}", _power(points), policy


_CATASTROPHIC: Final = 10.0
_GROWS: Final = 0.5


def verdict_rows() -> list[tuple[str, ...]]:
    """Say for each recount policy how much slower its recounts and the walks of others make an event kind at most."""
    rows = []
    for policy in scheme_info(DESIGN).options["recount"]:
        specs = bench().plan.variants
        number = [policy_of(spec) for spec in specs].index(f"presence=scan,recount={policy}")
        worst = {cause: _worst(number, cause) for cause in ("recount", "walk")}
        kept = max(_kept(found, number) for found in recorded())
        rows.append((f"`{policy}`", *map(_shown, worst.values()), f"{kept:,}", _verdict(worst["recount"], kept)))
    return rows


Worst = tuple[float, float, str]


def _worst(number: int, cause: str) -> Worst:
    """Largest factor of a variant for a cause among what is recorded, how it grows, and of which event kind."""
    largest: Worst = (1.0, 0.0, "")
    for each in recorded():
        points = _growth(each, number, (cause,)) if each.niche.direction == "worst" else []
        if points and points[-1][1] > largest[0]:
            largest = (points[-1][1], exponent(points), each.niche.event)
    return largest


@cache
def _kept(found: Found, number: int) -> int:
    """Pages that stale counts keep alive at most."""
    scenario = bench().scenario(found.recipe.at(PROCESSES))
    if scenario is None:
        return 0
    spec, setup = bench().plan.variants[number], bench().setup(found.recipe)
    return simulate(scenario, scheme=spec, geometry=setup.geometry).totals["leaked_pages_peak"] or 0


def _shown(worst: Worst) -> str:
    factor, power, event = worst
    return f"{factor:,.0f} ({event}, N^{power + 0.0:.1f})" if event else "none"


def _verdict(recounts: Worst, kept: int) -> str:
    factor, power, _ = recounts
    time = "catastrophic" if factor >= _CATASTROPHIC and power >= _GROWS else "slower" if factor >= 2 else "not slower"
    return time + (", keeps memory" if kept else "")


_VERDICT: Final = ("policy", "recounts, at worst", "others' walks", "pages kept", "verdict")

BLOCKS: Final[Mapping[str, Callable[[Table], str]]] = {
    "found worst": partial(found, "worst"),
    "found best": partial(found, "best"),
    "verdict": lambda table: table(_VERDICT, verdict_rows()),
}
"""Generated parts of the page, given what lays out a table."""


if __name__ == "__main__":
    record()
