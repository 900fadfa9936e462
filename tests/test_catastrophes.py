# SPDX-License-Identifier: BSD-3-Clause
"""The search for what becomes catastrophically slower: what it combines, finds, makes small and prints."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import folio_perf as fp
from folio_perf import report
from folio_perf._catastrophes_bench import Bench, Niche
from folio_perf._catastrophes_finish import KEPT, LEAST, finish
from folio_perf._catastrophes_recipe import MAX_LINES, SHARES, VERBS, WHO, Recipe, Step, TooLargeError
from folio_perf._catastrophes_search import Elite, Search
from folio_perf._report_catastrophes import _collapsed
from folio_perf.catastrophes import MAX_PROCESSES, _plan, variants
from folio_perf.cli import app

SEED_DESIGN = "zero_one_two_many"
EAGER = f"{SEED_DESIGN}:recount=eager"
SIZES = ("4K", "64K")


@cache
def bench(scheme: str = SEED_DESIGN, baseline: str = "mm_owner") -> Bench:
    return Bench(_plan(scheme, baseline, 16, SIZES, fp.DEFAULT_MACHINE, fp.DEFAULT_KERNEL))


@cache
def small_search() -> fp.Catastrophes:
    return fp.catastrophes(SEED_DESIGN, processes=8, page_sizes=("4K",), rounds=2, seed=1, workers=1)


def number_of(variant: str) -> int:
    return [str(each) for each in bench().plan.variants].index(variant)


# ---- what is combined --------------------------------------------------------------------------------------------


def test_every_recipe_is_a_scenario_of_so_many_sharers() -> None:
    """Every way to share, followed by every step, runs or is refused as a whole; whoever shares is there."""
    for share, spec in SHARES.items():
        for verb, of in VERBS.items():
            if of.memory not in ("any", "anon" if spec.anon else "file"):
                continue
            steps = () if spec.anon else (Step(verb="read"),)
            recipe = Recipe(
                page_size="4K", order=2, folios=2, share=share, processes=5, steps=(*steps, Step(verb=verb))
            )
            scenario = bench().scenario(recipe)
            assert scenario is not None, (share, verb)
            nr_mms = 1 if share == "file_by_vmas" else 5
            assert len(scenario.processes) >= nr_mms
            outcome = fp.simulate(replace(scenario, strict=False), scheme="mm_owner").outcome
            failed = outcome.failures
            # MADV_COLLAPSE wants a range that a PMD could map.
            assert not failed or verb == "collapse", (share, verb, failed)


@pytest.mark.parametrize("who", WHO)
def test_who_takes_a_step(who: str) -> None:
    recipe = Recipe(
        page_size="4K", order=0, folios=1, share="fork_star", processes=6, steps=(Step(verb="exit", who=who),)
    )
    gone = {"all": "012345", "first": "0", "last": "5", "few": "012"}
    gone |= {"but_first": "12345", "but_two": "2345", "but_few": "345"}
    exits = [line for line in recipe.text().splitlines() if line.startswith("exit")]
    assert exits == [f"exit P{number}" for number in gone[who]]


@pytest.mark.parametrize(
    ("pages", "expected"),
    [
        ("whole", [(0, 8)]),
        ("forward", [(page, 1) for page in (0, 1, 2, 3, 4, 5, 6, 7)]),
        ("reverse", [(page, 1) for page in (3, 2, 1, 0, 7, 6, 5, 4)]),
        ("but_last", [(0, 3), (4, 3)]),
        ("last", [(3, 1), (7, 1)]),
    ],
)
def test_pages_of_a_step_go_in_order_within_a_folio(pages: str, expected: list[tuple[int, int]]) -> None:
    steps = (Step(verb="drop", pages=pages),)
    text = Recipe(page_size="4K", order=2, folios=2, share="fork_star", processes=1, steps=steps).text()
    lines = [line.split() for line in text.splitlines() if line.endswith("DONTNEED")]
    assert [(int(words[3]), int(words[4])) for words in lines] == expected


def test_halves_and_orders_at_random_follow_from_the_recipe() -> None:
    recipe = Recipe(
        page_size="4K", order=3, folios=1, share="file_by_mms", processes=4, extent="half",
        steps=(Step(verb="read", turns="random", pages="random"),),
    )  # fmt: skip
    assert recipe.text() == recipe.text() != replace(recipe, seed=1).text()
    halves = {line.split()[5] for line in recipe.text().splitlines() if line.startswith("map")}
    assert halves == {"0", "4"}


def test_what_is_too_large_is_not_tried() -> None:
    steps = (Step(verb="write", pages="reverse"),)
    recipe = Recipe(page_size="64K", order=13, folios=2, share="file_by_mms", processes=4, by_pte=True, steps=steps)
    with pytest.raises(TooLargeError):
        recipe.text()
    assert MAX_LINES > 1 << 13 and bench().factors(recipe) == {}


def test_a_design_is_searched_with_all_its_policies() -> None:
    options = fp.scheme_info(SEED_DESIGN).options
    found = variants(SEED_DESIGN)
    assert len(found) == len(options["presence"]) + len(options["recount"]) - 1 == len(set(found))
    assert variants(EAGER) == (fp.parse_scheme_spec(EAGER),)
    assert variants("large_mapcount@6.12") == (fp.parse_scheme_spec("large_mapcount@6.12"),)


# ---- factors -----------------------------------------------------------------------------------------------------


def test_a_factor_is_the_ratio_of_whole_times() -> None:
    """Against the results of `simulate`, what all designs pay included; both directions, every kind and variant."""
    recipe = Recipe(
        page_size="4K", order=2, folios=2, share="fork_star", processes=7,
        steps=(Step(verb="write", who="but_two", turns="reverse"), Step(verb="exit")),
    )  # fmt: skip
    factors = bench().factors(recipe)
    scenario = bench().scenario(recipe)
    assert scenario is not None
    before = fp.simulate(scenario, scheme="mm_owner")
    told = 0
    for number, spec in enumerate(bench().plan.variants):
        after = fp.simulate(scenario, scheme=spec)
        for event in before.events:
            kind = before.axes.events.index(event)
            ratio = after.ns[kind].sum() / before.ns[kind].sum() if before.ns[kind].sum() else 1.0
            same = [each for each in factors if (each.variant, each.event) == (number, event)]
            if ratio == 1:
                assert not same
                continue
            (niche,) = same
            assert niche.direction == ("worst" if ratio > 1 else "best")
            assert factors[niche] == pytest.approx(max(ratio, 1 / ratio), rel=1e-9)
            told += 1
    assert told > 20


def test_what_fails_is_no_case() -> None:
    niche = Niche(direction="worst", variant=0, event="exit", cause="operation")
    recipe = Recipe(page_size="4K", order=0, folios=1, share="fork_star", processes=2)
    text = "scenario x\nregion A 1\nmap P0 A anon\nunmap P0 A 0 1\nunmap P0 A 0 1\ntouch P0 A 0 1 w\nend\n"
    assert bench().factor(niche, recipe, text) == 0
    assert bench().factor(niche, recipe, "scenario x\nexit P7\nend\n") == 0


# ---- what is found -----------------------------------------------------------------------------------------------


def one_case(event: str, cause: str, variant: str, recipe: Recipe) -> fp.Case:
    niche = Niche(direction="worst", variant=number_of(variant), event=event, cause=cause)
    assert bench().factors(recipe)[niche] > 1, bench().factors(recipe)
    cases = finish(bench(), [(niche, Elite(recipe, bench().factors(recipe)[niche]))])
    assert len(cases) == 1
    return cases[0]


# The five that must be found, as somebody who knows them would write them down, with more around them than needed.
KNOWN: dict[str, tuple[str, str, str, Recipe]] = {
    "eager recount on exit": (
        "exit", "recount", EAGER,
        Recipe(page_size="4K", order=2, folios=2, share="fork_chain", processes=8,
               steps=(Step(verb="referenced", who="first"), Step(verb="exit", turns="random"))),
    ),
    "fork-server heap": (
        "cow_fault", "recount", EAGER,
        Recipe(page_size="4K", order=0, folios=4, share="fork_star", processes=8,
               steps=(Step(verb="write", who="but_first"), Step(verb="smaps", who="last"))),
    ),
    "reverse-order faults": (
        "file_fault", "presence", SEED_DESIGN,
        Recipe(page_size="64K", order=12, folios=1, share="file_by_mms", processes=2, extent="half",
               steps=(Step(verb="write", who="first", pages="reverse"),)),
    ),
    "truncate at stale Many": (
        "truncate", "walk", SEED_DESIGN,
        Recipe(page_size="4K", order=0, folios=4, share="file_inherited", processes=8,
               steps=(Step(verb="read"), Step(verb="maybe_pinned", who="first"), Step(verb="drop", turns="random"),
                      Step(verb="truncate"))),
    ),
    "exact PSS": (
        "smaps", "walk", SEED_DESIGN,
        Recipe(page_size="4K", order=0, folios=4, share="file_by_mms", processes=8,
               steps=(Step(verb="read"), Step(verb="exact_smaps", who="few"))),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", KNOWN)
def test_a_case_is_made_small_and_keeps_its_factor(name: str) -> None:
    event, cause, variant, recipe = KNOWN[name]
    case = one_case(event, cause, variant, recipe)
    niche = Niche(direction="worst", variant=number_of(variant), event=event, cause=cause)
    assert case.factor >= KEPT * bench().factors(recipe)[niche]
    # What is printed can be run, and shows what is said of it.
    for text, factor, page_size in [
        (case.scenario, case.factor, case.page_size),
        *([(case.smallest.scenario, case.smallest.factor, case.smallest.page_size)] if case.smallest else []),
    ]:
        geometry = fp.Geometry.from_text(page_size)
        scenario = fp.parse_scenarios(text, geometry)[0]
        old, new = (fp.simulate(scenario, scheme=each, geometry=geometry) for each in ("mm_owner", variant))
        kind = old.axes.events.index(event)
        assert new.ns[kind].sum() / old.ns[kind].sum() == pytest.approx(factor)
    assert case.smallest is not None
    assert case.smallest.factor >= min(2, KEPT * case.factor)
    assert len(case.smallest.scenario) <= len(case.scenario)


def test_no_line_of_a_smallest_scenario_can_be_left_out() -> None:
    event, cause, variant, recipe = KNOWN["fork-server heap"]
    case = one_case(event, cause, variant, recipe)
    assert case.smallest is not None
    niche = Niche(direction="worst", variant=number_of(variant), event=event, cause=cause)
    lines = case.smallest.scenario.splitlines()
    # Three share the page; the first that leaves recounts.
    assert len(lines) <= 9
    for at in range(1, len(lines) - 1):
        text = "\n".join(lines[:at] + lines[at + 1 :]) + "\n"
        assert bench().factor(niche, recipe, text) < min(2, KEPT * case.factor)


def test_growth_by_processes_and_by_pages() -> None:
    """Visits of a recount of all, and of exact PSS, grow with the processes; reverse faults with the folio."""
    heap = one_case(*KNOWN["fork-server heap"])
    assert [nr for nr, _ in heap.growth] == [2, 4, 8, 16]
    assert heap.growth_exponent is not None and heap.growth_exponent > 0.5
    first, last = heap.growth[0], heap.growth[-1]
    slope = math.log(last[1] / first[1]) / math.log(last[0] / first[0])
    assert heap.growth_exponent == pytest.approx(slope, abs=0.2)
    reverse = one_case(*KNOWN["reverse-order faults"])
    assert reverse.growth_exponent is not None and reverse.growth_exponent < 0.1
    assert reverse.size_exponent is not None and reverse.size_exponent > 0.3
    assert reverse.cost.pte_reads > 100 * reverse.cost.count > 0 == reverse.baseline_cost.pte_reads


def test_what_is_drawn_follows_from_the_seed() -> None:
    rounds = [[Search(bench().plan, seed).round(20) for _ in range(2)] for seed in (0, 0, 1)]
    assert rounds[0] == rounds[1] != rounds[2]
    assert len({recipe for recipes in rounds[0] for recipe in recipes}) == 20


def test_a_niche_keeps_the_larger_factor_and_the_smaller_recipe() -> None:
    search = Search(bench().plan, 0)
    niche = Niche(direction="worst", variant=0, event="exit", cause="recount")
    small = Recipe(page_size="4K", order=0, folios=1, share="fork_star", processes=4)
    large = replace(small, folios=8, steps=(Step(verb="exit"),))
    for recipe, factor, kept in ((large, 5.0, large), (small, 4.0, large), (small, 4.99, small), (large, 5.02, small)):
        search.learn(recipe, {niche: factor})
        assert search.elites[niche].recipe == kept
    search.learn(large, {niche: 6.0})
    assert search.elites[niche] == Elite(large, 6.0)
    for _ in range(3):
        assert all(len(recipe.steps) <= 6 for recipe in search.round(30))


def test_a_small_search_finds_the_walks_without_being_told() -> None:
    found = small_search()
    assert found.ended == "done" and found.tried == 2 * 48
    # Which event kinds two rounds come across is a matter of luck; that recounts and lost counts show is not.
    causes = {case.cause for case in found.worst if case.factor > 10}
    assert {"recount", "walk"} <= causes
    assert found.worst[0].factor > 10 and found.best[0].factor > 2
    for direction in ("worst", "best"):
        factors = [group[0].factor for group in found.groups(direction)]
        assert factors == sorted(factors, reverse=True) and factors[-1] >= LEAST
    # Nobody but those who recount pays for it.
    recounting = {"eager", "eager_stop3", "threshold", "on_write_fault", "on_reclaim", "repair"}
    for case in found.worst:
        assert case.cause != "recount" or recounting & set(re.split("[=,]", case.policy)), case.policy


def test_what_is_recorded_has_the_walks_that_must_be_found() -> None:
    """Findings of a whole search, which docs/catastrophes.md runs: event kind, cause, and how the memory is shared."""
    path = Path(__file__).parent / "data" / "catastrophes.json"
    entries = [entry for entry in json.loads(path.read_text(encoding="utf-8")) if entry["direction"] == "worst"]
    found = {(entry["event"], entry["cause"], entry["recipe"]["share"].split("_")[0]) for entry in entries}
    assert {("smaps", "walk"), ("exit", "recount")} <= {kind[:2] for kind in found}
    assert {("cow_fault", "recount", "fork"), ("truncate", "walk", "file")} <= found


def test_equal_seeds_find_equal_cases_whoever_works() -> None:
    arguments: dict[str, Any] = {"processes": 4, "page_sizes": ("4K",), "rounds": 1, "seed": 7}
    alone = fp.catastrophes(EAGER, workers=1, **arguments)
    assert alone.cases and alone == fp.catastrophes(EAGER, workers=2, **arguments)


def test_the_time_limit_ends_it_with_what_it_has() -> None:
    start = time.monotonic()
    found = fp.catastrophes(SEED_DESIGN, processes=4, page_sizes=("4K",), time_limit=1.0, workers=1, rounds=10_000)
    assert found.ended == "time limit" and found.cases
    assert time.monotonic() - start < 60
    assert all(case.scenario for case in found.cases)
    assert "by the time limit" in report.catastrophes_report(found).plain


def test_progress_is_told() -> None:
    told: list[tuple[int, int]] = []
    fp.catastrophes(
        EAGER, processes=2, page_sizes=("4K",), rounds=1, workers=1, progress=lambda *each: told.append(each)
    )
    assert (48, 48) in told and all(0 <= done <= total for done, total in told)


def test_other_designs_and_baselines() -> None:
    found = fp.catastrophes(
        "no_page_mapcount", baseline="page_mapcount", processes=4, page_sizes=("4K",), rounds=1, workers=1
    )
    assert found.baseline == "page_mapcount" and {case.scheme for case in found.cases} == {"no_page_mapcount"}
    assert {case.policy for case in found.cases} == {""}


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        ({"processes": 1}, "processes 1 must be from 2"),
        ({"processes": MAX_PROCESSES + 1}, "must be from 2 to 1024"),
        ({"rounds": 0}, "rounds 0 must be at least 1"),
        ({"workers": 0}, "workers 0 must be at least 1"),
        ({"seed": -1}, "seed -1 must be at least 0"),
        ({"time_limit": 0.5}, "time limit 0.5 must be at least 1 second"),
        ({"page_sizes": ()}, "at least one page size"),
        ({"page_sizes": ("5K",)}, "5120"),
        ({"schemes": "nonesuch"}, "nonesuch"),
        ({"schemes": "mm_owner"}, "other than the baseline mm_owner"),
        ({"baseline": "nonesuch"}, "nonesuch"),
        ({"kernel": "1.0"}, "1.0"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict[str, Any], rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        fp.catastrophes(**arguments)


# ---- output ------------------------------------------------------------------------------------------------------


def test_the_report_is_a_mail() -> None:
    text = report.catastrophes_report(small_search()).plain
    assert all(len(line) <= 72 for line in text.splitlines() if not line.startswith("  sysfs"))
    assert "(modelled)" in text and "worst policy" in text and "reconstructed" in text
    case = small_search().worst[0]
    assert case.pattern.split(";")[0] in text


def test_lines_that_count_are_written_as_one() -> None:
    lines = ["fork P0 P1", "fork P0 P2", "fork P0 P3", "touch P3 A 0 1 w", "touch P2 A 0 1 w", "exit P5", "exit P4"]
    assert list(_collapsed(lines)) == ["fork P0 P{1..3}", *lines[3:]]
    down = [f"touch P0 A {page} 1 w" for page in (7, 6, 5, 4)]
    assert list(_collapsed(down)) == ["touch P0 A {7..4} 1 w"]
    assert list(_collapsed(["x 1 1", "x 2 2", "x 3 3"])) == ["x 1 1", "x 2 2", "x 3 3"]


def test_json_is_a_list_of_cases() -> None:
    value = json.loads(small_search().to_json())
    assert isinstance(value, list) and len(value) == len(small_search().cases)
    keys = "scheme policy event pattern page_size order processes factor growth_exponent scenario"
    assert set(keys.split()) <= set(value[0]) and value[0]["kind"] == "modelled"
    assert value[0]["cost"] == asdict(small_search().cases[0].cost)


COMMAND = ("catastrophes", "--scheme", EAGER, "--processes", "4", "--page-size", "4K", "--workers", "1")


def test_command() -> None:
    done = CliRunner().invoke(app, [*COMMAND, "--rounds", "1", "--json"])
    assert done.exit_code == 0, done.output
    assert all(each["scheme"] == SEED_DESIGN for each in json.loads(done.stdout))
    text = CliRunner().invoke(app, [*COMMAND, "--rounds", "50", "--time-limit", "1"])
    assert text.exit_code == 0 and "what becomes slower than mm_owner" in text.stdout


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        (("--scheme", "nonesuch"), "--scheme: scheme 'nonesuch'"),
        (("--baseline", "nonesuch"), "--baseline: scheme 'nonesuch'"),
        (("--processes", "many"), "--processes: 'many' is not a whole number"),
        (("--time-limit", "soon"), "--time-limit: 'soon' is not a number of seconds"),
        (("--page-size", "4K,5K"), "5120"),
        (("--processes", "5000"), "processes 5000 must be from 2 to 1024"),
    ],
)
def test_command_refuses(arguments: tuple[str, ...], rule: str) -> None:
    done = CliRunner().invoke(app, ["catastrophes", *arguments])
    assert done.exit_code == 2 and rule in done.stderr, done.stderr


@pytest.mark.parametrize("total", ["search", "findings"])
def test_ctrl_c_keeps_what_was_found(total: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def press(done: int, of: int) -> None:
        if done > 30 if total == "search" else (of != 48 and done == 2):
            raise KeyboardInterrupt

    @contextmanager
    def pressing(_: str) -> Iterator[Callable[[int, int], None]]:
        yield press

    monkeypatch.setattr("folio_perf.cli.catastrophes.progress_bar", pressing)
    done = CliRunner().invoke(app, [*COMMAND, "--rounds", "1", "--json"])
    assert done.exit_code == 130
    value = json.loads(done.stdout)
    assert value and {each["ended"] for each in value} == {"interrupted"}
    # Findings that were ready are whole, the others as they were found.
    assert any(each["growth"] for each in value) == (total == "findings")
    assert any(not each["growth"] for each in value)


def test_what_a_recipe_may_do_depends_on_no_design() -> None:
    """Recipes drawn at random: an event that fails under one design fails under all."""
    search = Search(bench().plan, 5)
    recipes = [recipe for recipe in search.round(40) if (recipe.folios << recipe.order) * recipe.processes < 512]
    for recipe in recipes[:8]:
        scenario = bench().scenario(recipe)
        assert scenario is not None
        lenient = replace(scenario, strict=False)
        failed = {
            fp.simulate(lenient, scheme=scheme, geometry=bench().setup(recipe).geometry).outcome.failed
            for scheme in ("mm_owner", SEED_DESIGN, EAGER)
        }
        assert len(failed) == 1, recipe.pattern
