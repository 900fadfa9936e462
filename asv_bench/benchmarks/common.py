# SPDX-License-Identifier: BSD-3-Clause
"""What benchmarks share: simulations that stand ready, so that only the events under test are timed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from folio_perf._native.engine import Simulation
from folio_perf._simulation import new_simulation
from folio_perf.geometry import FolioPolicy, Geometry
from folio_perf.machine import load_machine
from folio_perf.profile import load_profile
from folio_perf.scenario import Scenario, ScenarioBuilder
from folio_perf.schemes import parse_scheme_spec, scheme_names

SCHEME_NAMES = list(scheme_names())
GEOMETRY = Geometry()
PAGES_PER_FOLIO = GEOMETRY.entries_per_table


def simulation_of(
    scenario: Scenario, scheme: str, backend: str, *, folio: str = "order0", window: int = 65536
) -> Simulation:
    """A simulation of the scenario's machine, before its first event; `window` is fault_around_bytes."""
    return new_simulation(
        scenario,
        scheme=parse_scheme_spec(scheme),
        kernel=replace(load_profile("7.0"), fault_around_bytes=window),
        backend=backend,
        machine=load_machine("generic-x86-64"),
        folio=FolioPolicy.parse(folio),
    )


def again(scenario: Scenario, nr_setup: int, nr_rounds: int) -> tuple[np.ndarray, np.ndarray]:
    """Events that prepare, and the rest of the scenario `nr_rounds` times over."""
    return (
        np.ascontiguousarray(scenario.events[:nr_setup]),
        np.ascontiguousarray(np.tile(scenario.events[nr_setup:], nr_rounds)),
    )


def file_folios(nr_folios: int) -> ScenarioBuilder:
    """A shared mapping of `nr_folios` resident 2 MiB folios that only PTEs may map."""
    nr = nr_folios * PAGES_PER_FOLIO
    builder = ScenarioBuilder("bench", GEOMETRY).obj("F", "file", nr, order=9, warm=True).region("A", nr)
    return builder.map("P0", "A", "F", 0, 0, nr, "shared").madv("P0", "A", 0, nr, "NOHUGEPAGE")
