# SPDX-License-Identifier: BSD-3-Clause
"""The race: what it reports, what it skips, what it refuses. No test looks at a time."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from folio_perf import hw
from folio_perf._native import hw as native
from folio_perf.cli import app
from folio_perf.hw.race import MIN_REPEATS, _Model
from folio_perf.scenario import Op

SIZE = 4 << 20
NR_PAGES = SIZE >> 12


def test_a_race_has_a_row_per_kind_and_back_end() -> None:
    done: list[tuple[int, int]] = []
    rows = hw.race(size_bytes=SIZE, progress=lambda *each: done.append(each))
    assert [(row.kind, row.backend) for row in rows] == [
        (kind, backend) for kind in ("pte-thp", "order0", "order0-random", "pmd") for backend in ("cache", "count")
    ]
    assert done[-1] == (4 * MIN_REPEATS, 4 * MIN_REPEATS)
    for row in rows:
        if row.skipped:
            assert row.kind in ("pte-thp", "pmd")
            assert row.kernel_ns_per_page is row.model_ns_per_page is row.ratio is None
            continue
        assert row.repeats == MIN_REPEATS
        assert row.kernel_ns_per_page is not None and row.model_ns_per_page is not None
        assert row.kernel_ns_per_page > 0
        assert row.ratio == row.model_ns_per_page / row.kernel_ns_per_page
    cache, count = rows[2:4]
    assert cache.kernel_ns_per_page == count.kernel_ns_per_page


@pytest.mark.parametrize("kind", hw.RACE_KINDS)
def test_the_process_is_what_it_should_be(kind: str) -> None:
    """After the fork each page is mapped twice in the model, by the folios of its kind; after the exit once."""
    model = _Model(kind, "count", SIZE)
    simulation, events = model.prepare()
    assert [int(each) for each in events["op"]] == [Op.FORK, Op.EXIT]
    simulation.run(events[:1])
    rows = simulation.mappings(1)
    assert rows["nr"].sum() == NR_PAGES
    assert set(rows["pmd"].tolist()) == {int(kind == "pmd")}
    pfns = np.ascontiguousarray(rows["pfn"])
    orders = {simulation.folio(int(pfn))["order"] for pfn in pfns}
    assert orders == {9 if kind in ("pte-thp", "pmd") else 0}
    assert set(simulation.page_mapcounts(pfns).tolist()) == {2}
    simulation.run(events[1:])
    assert set(simulation.page_mapcounts(pfns).tolist()) == {1}


def test_random_order_is_one() -> None:
    """Pages next to each other are not on frames next to each other."""
    simulation, events = _Model("order0-random", "count", SIZE).prepare()
    simulation.run(events)
    pfns = simulation.mappings(0)["pfn"].astype(np.int64)
    assert pfns.size == NR_PAGES
    assert (np.diff(pfns) == 1).mean() < 0.01


def test_the_kernel_forks_what_was_asked_for() -> None:
    forked = native.fork(SIZE, hw.RACE_KINDS.index("order0"))
    assert forked["fork_ns"] > 0
    assert forked["exit_ns"] > 0
    assert forked["huge_bytes"] == forked["pmd_mapped_bytes"] == 0


def test_what_the_host_has_not_is_skipped_with_a_reason() -> None:
    rows = hw.race(kinds=("order0",), size_bytes=1 << 50)
    assert len(rows) == 2
    assert all("MiB of memory available" in row.skipped and row.ratio is None for row in rows)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kinds": ("thp",)}, "no kind named 'thp'"),
        ({"backends": ("native",)}, "no back end named 'native'"),
        ({"size_bytes": 4096}, "size 4096 must be a multiple of 2 MiB"),
        ({"repeats": 6}, "6 repeats must be at least 7"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        hw.race(**arguments)  # type: ignore[arg-type]


def test_command_line() -> None:
    runner = CliRunner()
    options = ["hw", "race", "--kinds", "order0", "--size", "4M"]
    found = runner.invoke(app, [*options, "--json"])
    assert found.exit_code == 0, found.output
    rows = json.loads(found.stdout)
    assert [(row["kind"], row["backend"]) for row in rows] == [("order0", "cache"), ("order0", "count")]
    assert all(row["ratio"] == row["model_ns_per_page"] / row["kernel_ns_per_page"] for row in rows)
    text = runner.invoke(app, options).stdout
    assert "order0" in text
    assert all(len(line) <= 72 for line in text.splitlines())
