# SPDX-License-Identifier: BSD-3-Clause
"""smaps whose numbers have to be exact: designs that lost the number walk for it."""

from __future__ import annotations

import pytest

import folio_perf as fp


def shared_file(mappers: int, candidates: int, order: int, *, exact: bool) -> fp.Scenario:
    """`candidates` processes map a file of four folios, `mappers` of them read it; smaps of the first is read."""
    nr = 4 << order
    builder = fp.ScenarioBuilder("pss", fp.Geometry()).obj("F", "file", nr, order=order, warm=True).region("A", nr)
    for number in range(1, candidates):
        builder.fork("P0", f"P{number}")
    for number in range(candidates):
        builder.map(f"P{number}", "A", "F", 0, 0, nr, "shared")
    for number in range(mappers):
        builder.touch(f"P{number}", "A", 0, max(1, nr - number), "r")
    return builder.smaps("P0", exact=exact).build()


@pytest.mark.parametrize("order", [0, 2])
def test_at_many_the_guess_errs_and_the_walk_does_not(order: int) -> None:
    guess = fp.simulate(shared_file(9, 30, order, exact=False), scheme="zero_one_two_many")
    exact = fp.simulate(shared_file(9, 30, order, exact=True), scheme="zero_one_two_many")
    assert guess.totals["pss_error_abs"] and not exact.totals["pss_error_abs"]
    # Every candidate once per folio, whoever maps it.
    assert (guess.row("smaps").vma_visits, exact.row("smaps").vma_visits) == (0, 4 * 30)


@pytest.mark.parametrize("scheme", ["mm_owner", "page_mapcount", "zero_one_two_many"])
def test_who_knows_the_number_does_not_walk(scheme: str) -> None:
    # Two mappers: below Many, and small folios.
    scenarios = [shared_file(2, 30, 0, exact=exact) for exact in (False, True)]
    guess, exact = (fp.simulate(scenario, scheme=scheme).row("smaps") for scenario in scenarios)
    assert guess == exact
    assert not exact.vma_visits
