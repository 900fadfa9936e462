# SPDX-License-Identifier: BSD-3-Clause
"""Random scenarios: every scheme against the truth, its slow twin and the other back ends.

The truth is a recount of all page tables (`Simulation.check`), which also holds references, rmap reachability and each
answer a scheme gives as a count against it. The twins (tests/reference) know only the log of rmap calls.
FOLIO_PERF_SCENARIOS=N runs N scenarios per test instead of the short number.
"""

from __future__ import annotations

import os
import random
from dataclasses import dataclass

import numpy as np
import pytest
from random_scenarios import random_scenario
from reference.base import Params, Recount, replay

from folio_perf._native import engine
from folio_perf._simulation import new_simulation
from folio_perf.geometry import Geometry
from folio_perf.machine import load_machine
from folio_perf.profile import KernelProfile, load_profile, profile_names
from folio_perf.scenario import Scenario, parse_scenarios
from folio_perf.schemes import SchemeSpec, parse_scheme_spec, scheme_info

NR_SCENARIOS = int(os.environ.get("FOLIO_PERF_SCENARIOS", "0"))
POLICIES = [
    f"zero_one_two_many:presence={presence},recount={recount}"
    for presence in engine.names("presences")
    for recount in engine.names("recounts")
]
PINS = ["zero_one_two_many:pins=exact", "zero_one_two_many:recount=eager,pins=exact"]
ANSWERS = [
    f"{scheme}unknown={unknown}"
    for scheme in ("zero_one_two_many:", "zero_one_two_many:recount=threshold,", "no_page_mapcount:")
    for unknown in ("walk", "repair")
]
PLACES = [
    f"{name}:presence={presence}" for name in ("vma_pt_tuples", "vma_count") for presence in engine.names("presences")
]
VARIANTS = [
    f"{info.name}:{info.variant}={value}"
    for info in map(scheme_info, engine.names("schemes"))
    if info.variant
    for value in info.options[info.variant][1:]
]
SPECS = [
    *(name for name in engine.names("schemes") if "presence" not in scheme_info(name).options),
    *VARIANTS,
    *PLACES,
    *POLICIES,
    *PINS,
    *ANSWERS,
]
OWNERS = (
    "vma_pt_tuples",
    "vma_count",
    "rmap_id",
    "mm_owner_20bit",
    "mm_owner",
    "no_page_mapcount",
    "total_mapped_pages",
    "zero_one_two_stopped",
)
FIELDS, CAUSES = engine.names("fields"), engine.names("causes")
RMW = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One random scenario on a random kernel and page size."""

    scenario: Scenario
    geometry: Geometry
    kernel: KernelProfile
    spec: SchemeSpec

    def __str__(self) -> str:
        return f"{self.scenario.name} {self.spec} on {self.kernel.name}, {self.geometry.page_size_bytes} byte pages"

    def simulation(self, backend: str, *, log_rmap: bool = False, truth: bool = True) -> engine.Simulation:
        return new_simulation(
            self.scenario,
            scheme=self.spec,
            kernel=self.kernel,
            backend=backend,
            geometry=self.geometry,
            machine=load_machine("generic-x86-64"),
            log_rmap=log_rmap,
            truth=truth,
        )


def case(seed: int, spec: str) -> Case:
    rng = random.Random(seed)
    page = rng.choice((4096, 4096, 4096, 16384, 65536))
    geometry = Geometry(page_size_bytes=page, memory_bytes=64 << 30)
    scenario = parse_scenarios(random_scenario(seed, mthp=page == 4096), geometry, strict=False)[0]
    kernel = load_profile(rng.choice(profile_names()))
    return Case(scenario=scenario, geometry=geometry, kernel=kernel, spec=parse_scheme_spec(spec))


def seeds(spec: str, short: int) -> range:
    """Few for each of the many policies of one scheme, more for the others."""
    base = 100_000 * SPECS.index(spec)
    return range(base, base + (NR_SCENARIOS or short * (1 if spec in (*POLICIES, *ANSWERS) else 5)))


@pytest.mark.parametrize("spec", SPECS)
def test_the_truth_holds_after_every_event(spec: str) -> None:
    for seed in seeds(spec, 12):
        here = case(seed, spec)
        simulation = here.simulation("count")
        for i in range(here.scenario.nr_events):
            simulation.run(here.scenario.events[i : i + 1])
            try:
                simulation.check()
            except AssertionError as error:
                pytest.fail(f"{here}, after {here.scenario.where(i)}: {error}")
        totals = simulation.totals()
        if here.spec.name == "zero_one_two_many":
            # References due to mappings never exceed three, and "exclusive" is never wrong. What S promises about the
            # number of VMAs is part of check().
            assert totals["refs_peak"] <= 3 or here.spec.recount == "anon_exact", here
            assert totals["false_exclusive"] == 0, here
        else:
            assert totals["leaked_pages_peak"] == 0, here
        if here.spec.name in OWNERS:
            # "Exclusive" is never wrong.
            assert totals["false_exclusive"] == 0, here


@pytest.mark.parametrize("spec", SPECS)
def test_twins_agree_in_every_byte_and_every_atomic(spec: str) -> None:
    for seed in seeds(spec, 4):
        here = case(seed + 50_000, spec)
        simulation = here.simulation("count", log_rmap=True)
        simulation.run(here.scenario.events)
        pages = simulation.struct_pages()
        params = Params(
            recount=Recount[here.spec.recount.upper()],
            pins_exact=here.spec.pins == "exact",
            variant=here.spec.variant_number,
        )
        twin = replay(simulation.rmap_log(), simulation.answers(), here.spec.name, here.kernel.version, params)
        values, mask = twin.pages_bytes(len(pages))
        assert np.array_equal(pages & mask, values), here
        counted = simulation.counters().sum(axis=(0, 4, 5))
        by_field = counted[[cause != "fixed" for cause in CAUSES], :, RMW].sum(axis=0)
        of_hooks = np.asarray(twin.hooks) != engine.names("hooks").index("ref_add")
        for field, expected in zip(twin.fields, twin.rmw[of_hooks].sum(axis=0), strict=True):
            if field == "refcount":
                continue  # lookups hand over references under rules of their own: tests/test_tables.py
            name = "folio_state" if field == "mapcount" and here.spec.name == "zero_one_two_many" else field
            assert by_field[FIELDS.index(name)] == expected, (str(here), field)


@pytest.mark.parametrize("spec", SPECS)
def test_back_ends_leave_the_same_struct_pages(spec: str) -> None:
    for seed in seeds(spec, 3):
        here = case(seed + 70_000, spec)
        left: dict[str, tuple[np.ndarray, dict[str, int]]] = {}
        for backend in engine.names("backends"):
            simulation = here.simulation(backend)
            simulation.run(here.scenario.events)
            simulation.check()
            left[backend] = simulation.struct_pages(), simulation.totals()
        for backend in ("cache", "native"):
            assert np.array_equal(left["count"][0], left[backend][0]), (str(here), backend)
            assert left["count"][1] == left[backend][1], (str(here), backend)


@pytest.mark.parametrize("spec", SPECS)
def test_four_threads_replay_the_log_natively(spec: str) -> None:
    for seed in seeds(spec, 2):
        here = case(seed + 80_000, spec)
        simulation = here.simulation("count", log_rmap=True)
        simulation.run(here.scenario.events)
        pages = simulation.struct_pages()
        replayed, _ns = simulation.replay_native(simulation.rmap_log(), simulation.answers(), 4)
        assert np.array_equal(replayed[: len(pages)], pages[: len(replayed)]), here


@pytest.mark.parametrize("spec", SPECS)
def test_counts_do_not_depend_on_the_ledger_or_the_back_end(spec: str) -> None:
    """With the oracle's presence test, which reads the ledger's view, the ledger must stay."""
    for seed in seeds(spec, 2):
        here = case(seed + 90_000, spec)
        counters = {}
        for backend, truth in (("count", True), ("count", False), ("cache", True)):
            simulation = here.simulation(backend, truth=truth)
            simulation.run(here.scenario.events)
            counters[backend, truth] = simulation.counters().sum(axis=(4, 5))
        assert np.array_equal(counters["count", True], counters["count", False]), here
        assert np.array_equal(counters["count", True], counters["cache", True]), here
