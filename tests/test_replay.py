# SPDX-License-Identifier: BSD-3-Clause
"""The four recorded workloads run through the model under every scheme."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from folio_perf._native import engine
from folio_perf._simulation import new_simulation
from folio_perf.geometry import FolioPolicy, Geometry
from folio_perf.profile import load_profile
from folio_perf.schemes import parse_scheme_spec
from folio_perf.traces import read_trace

TRACES = sorted((Path(__file__).parent / "data" / "traces").glob("*.parquet"))
SPECS = ["page_mapcount", "large_mapcount", "zero_one_two_many", "zero_one_two_many:recount=eager_stop3"]


def test_there_are_four_recordings() -> None:
    assert len(TRACES) == 4


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("path", TRACES, ids=lambda path: path.stem)
def test_recordings_replay_without_contradiction(path: Path, spec: str) -> None:
    scenario = read_trace(path).to_scenario(Geometry())
    simulation = new_simulation(scenario, scheme=parse_scheme_spec(spec), kernel=load_profile("7.0"), backend="count")
    status = np.zeros(scenario.nr_events, dtype=np.int32)
    simulation.run(scenario.events, status)
    simulation.check()
    failed = np.count_nonzero(status < 0)
    assert failed <= 0.01 * scenario.nr_events
    assert failed == 0  # what these four reach; the bound above is what is promised
    # Every process of the recordings exits: what is left belongs to the page cache, or to a stale count.
    totals = simulation.totals()
    assert totals["pages_mapped"] == totals["pages_unmapped"]
    if spec.startswith("zero_one_two_many"):  # the others may look at one page and miss a sharer of the rest
        assert totals["false_exclusive"] == 0
    if spec != "zero_one_two_many":
        assert totals["leaked_pages"] == 0


COMBINATIONS = [
    *(("4K", policy) for policy in ("order0", "default", "mthp=64K", "mthp=16K,64K,2M", "thp")),
    *(("16K", policy) for policy in ("order0", "default", "mthp=64K,2M", "thp")),
    *(("64K", policy) for policy in ("order0", "default", "mthp=256K,2M", "thp")),
]
WHOLE_TRACES = {("16K", "thp"), ("64K", "order0"), ("4K", "mthp=16K,64K,2M")}


@pytest.mark.parametrize(("page_size", "policy"), COMBINATIONS)
@pytest.mark.parametrize("path", TRACES, ids=lambda path: path.stem)
def test_the_same_program_on_other_pages(path: Path, page_size: str, policy: str) -> None:
    if path.stem != "redis-bgsave-thp" and (page_size, policy) not in WHOLE_TRACES:
        pytest.skip("held by the shortest of the four")
    geometry = Geometry.from_text(page_size)
    scenario = read_trace(path).to_scenario(geometry)
    simulation = new_simulation(
        scenario,
        scheme=parse_scheme_spec("large_mapcount"),
        kernel=load_profile("7.0"),
        backend="count",
        geometry=geometry,
        folio=FolioPolicy.parse(policy),
    )
    status = np.zeros(scenario.nr_events, dtype=np.int32)
    simulation.run(scenario.events, status)
    simulation.check()
    # Mappings of 4 KiB pages do not all fit a coarser grid: docs/traces.md says which way each is rounded.
    assert np.count_nonzero(status < 0) <= (0 if page_size == "4K" else 0.008 * scenario.nr_events)


def test_children_of_vfork_share_their_parents_mm() -> None:
    path = next(each for each in TRACES if each.stem == "make-j4")
    scenario = read_trace(path).to_scenario(Geometry())
    forks = scenario.events[scenario.events["op"] == engine.names("ops").index("fork")]
    shared = np.count_nonzero(forks["flags"] & engine.FORK_SHARE_MM)
    assert (len(forks), shared) == (79, 73)
    # A fork that shares copies nothing: only the six real ones map pages for the child.
    simulation = new_simulation(
        scenario, scheme=parse_scheme_spec("page_mapcount"), kernel=load_profile("7.0"), backend="count"
    )
    fork_kind = engine.names("event_kinds").index("fork")
    per_fork = []
    for event in range(scenario.nr_events):
        before = simulation.totals()["pages_mapped"] if scenario.events[event]["op"] == forks[0]["op"] else None
        simulation.run(scenario.events[event : event + 1])
        if before is not None:
            per_fork.append(
                (
                    bool(scenario.events[event]["flags"] & engine.FORK_SHARE_MM),
                    simulation.totals()["pages_mapped"] - before,
                )
            )
    assert simulation.event_stats()["count"][fork_kind] == 79
    assert all(pages == 0 for is_shared, pages in per_fork if is_shared)
    assert all(pages > 0 for is_shared, pages in per_fork if not is_shared)
