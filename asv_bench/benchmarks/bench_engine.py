# SPDX-License-Identifier: BSD-3-Clause
"""How fast the engine itself is. Speed of ours, not of a kernel; nothing here is a modelled time."""

from __future__ import annotations

from time import perf_counter

from folio_perf._native import engine
from folio_perf.geometry import Geometry
from folio_perf.scenario import ScenarioBuilder
from folio_perf.traces import load_trace

from .common import GEOMETRY, PAGES_PER_FOLIO, SCHEME_NAMES, again, file_folios, simulation_of

BACKENDS = list(engine.names("backends"))


class _Timed:
    """Run the same events again and again; report the fastest round per unit of work."""

    # Short rounds and many of them: the fastest is one that nothing else interrupted.
    nr_rounds = 2
    repeats = 40
    units: float

    def _best(self) -> float:
        best = float("inf")
        for _ in range(self.repeats):
            start = perf_counter()
            self.simulation.run(self.events)
            best = min(best, perf_counter() - start)
        return best / self.units


class MapUnmapByPte(_Timed):
    """Map and unmap 2 MiB file folios by PTEs; 512 KiB of struct pages, warm."""

    param_names = ["scheme", "backend"]
    params = [SCHEME_NAMES, BACKENDS]
    nr_folios = 16

    def setup(self, scheme: str, backend: str) -> None:
        nr = self.nr_folios * PAGES_PER_FOLIO
        builder = file_folios(self.nr_folios).touch("P0", "A", 0, nr, "r").madv("P0", "A", 0, nr, "DONTNEED")
        scenario = builder.build()
        before, self.events = again(scenario, 2, self.nr_rounds)
        self.simulation = simulation_of(scenario, scheme, backend, window=2 << 20)
        self.simulation.run(before)
        self.simulation.run(self.events)
        self.units = self.nr_rounds * nr * 2

    def time_rounds(self, scheme: str, backend: str) -> None:
        self.simulation.run(self.events)

    def track_ns_per_pte(self, scheme: str, backend: str) -> float:
        return self._best() * 1e9

    track_ns_per_pte.unit = "ns / PTE operation"


class ForkExitOrder0(_Timed):
    """Fork a process with 64 MiB of order-0 pages, and let the child exit."""

    param_names = ["scheme", "backend"]
    params = [SCHEME_NAMES, BACKENDS]
    nr_pages = 16384

    def setup(self, scheme: str, backend: str) -> None:
        builder = ScenarioBuilder("bench", GEOMETRY).region("A", self.nr_pages).map_anon("P0", "A")
        builder.touch("P0", "A", 0, self.nr_pages, "w").fork("P0", "P1").exit("P1")
        scenario = builder.build()
        before, self.events = again(scenario, 2, self.nr_rounds)
        self.simulation = simulation_of(scenario, scheme, backend)
        self.simulation.run(before)
        self.simulation.run(self.events)
        self.units = self.nr_rounds * self.nr_pages * 2

    def time_rounds(self, scheme: str, backend: str) -> None:
        self.simulation.run(self.events)

    def track_pte_events_per_s(self, scheme: str, backend: str) -> float:
        return 1e-6 / self._best()

    track_pte_events_per_s.unit = "M PTE events / s"


class ReplayTrace:
    """The recorded workload of the demo, from its first event to its last."""

    param_names = ["scheme", "backend"]
    params = [SCHEME_NAMES, BACKENDS]

    def setup(self, scheme: str, backend: str) -> None:
        self.scenario = load_trace("redis-bgsave-thp").to_scenario(Geometry())
        self.simulation = simulation_of(self.scenario, scheme, backend, folio="default")

    def time_replay(self, scheme: str, backend: str) -> None:
        self.simulation.run(self.scenario.events)

    # A simulation runs its trace once.
    time_replay.number = 1
    time_replay.warmup_time = 0.0
