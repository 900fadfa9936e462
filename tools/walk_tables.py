# SPDX-License-Identifier: BSD-3-Clause
"""Tables of docs/catastrophes.md: visits of walks by formula, in random order, and in the kernel's own order.

N processes share one page by fork; all but V of them leave it, one after another. Who is left, and in which order they
left, decides what a walk meets first: the interval tree keeps equal ranges in the order of their insertion.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import fmean
from typing import Final

import numpy as np
from numpy.typing import NDArray

from folio_perf import Geometry, ScenarioBuilder, load_profile, parse_scheme_spec, workload
from folio_perf._native import engine
from folio_perf.scenario import Scenario
from folio_perf.simulate import new_simulation

Table = Callable[[Sequence[str], Iterable[Sequence[str]]], str]

SEEDS: Final = 20
ORDERS: Final = ("fork", "reverse", "random")
GEOMETRY: Final = Geometry()
_SEED: Final = "zero_one_two_many"
_CASES: Final = ((10, 1), (10, 3), (100, 1), (100, 3), (100, 10), (1000, 3), (1000, 100))
_SERVERS: Final = (10, 100, 1000)


@dataclass(frozen=True)
class Shared:
    """One page, `candidates` processes that could map it, `mappers` that still do; the others left in `order`."""

    candidates: int
    mappers: int
    order: str
    seed: int = 0

    @property
    def leavers(self) -> NDArray[np.int64]:
        """Processes that leave, in turn; the server, process 0, stays for as long as anybody does."""
        children = np.arange(1, self.candidates)
        if self.order == "reverse":
            children = children[::-1]
        elif self.order == "random":
            children = np.random.default_rng(self.seed).permutation(children)
        return children[: self.candidates - self.mappers]

    def scenario(self, anon: bool) -> Scenario:
        """Fork, touch, leave (an anonymous page by copying it, a file's by dropping it), then a reclaim scan."""
        return _scenario(self, anon)


@cache
def _scenario(case: Shared, anon: bool) -> Scenario:
    builder = ScenarioBuilder("walk", GEOMETRY).obj("F", "file", 1, warm=True).region("A", 1)
    names = [f"P{number}" for number in range(case.candidates)]
    if anon:
        builder.map_anon("P0", "A").touch("P0", "A", 0, 1, "w")
    else:
        builder.map("P0", "A", "F", 0, 0, 1, "shared").touch("P0", "A", 0, 1, "r")
    for name in names[1:]:
        builder.fork("P0", name)
        if not anon:
            builder.touch(name, "A", 0, 1, "r")
    for number in case.leavers.tolist():
        if anon:
            builder.touch(names[number], "A", 0, 1, "w")
        else:
            builder.madv(names[number], "A", 0, 1, "DONTNEED")
    return builder.folio_referenced("P0", "A", 0, 1).build()


def _simulation(scenario: Scenario, scheme: str, walk_order_seed: int, kernel: str = "7.0") -> engine.Simulation:
    return new_simulation(
        scenario,
        scheme=parse_scheme_spec(scheme),
        kernel=load_profile(kernel),
        backend="count",
        walk_order_seed=walk_order_seed,
    )


def visits(scenario: Scenario, scheme: str, *, walk_order_seed: int = 0) -> tuple[int, int, int]:
    """VMAs visited: by the recounts of all, of the last event but one, and by the walk of the last event."""
    simulation = _simulation(scenario, scheme, walk_order_seed)
    seen = [0]
    for events in (scenario.events[:-2], scenario.events[-2:-1], scenario.events[-1:]):
        simulation.run(np.ascontiguousarray(events))
        seen.append(int(simulation.event_stats()["vma_visits"].sum()))
    return seen[2], seen[2] - seen[1], seen[3] - seen[2]


def stopped(candidates: int, mappers: int) -> float:
    """Visits expected of a walk that a count ends."""
    return mappers * (candidates + 1) / (mappers + 1)


def at_third(candidates: int, mappers: int) -> float:
    """Visits expected of a recount that ends at the third mapper."""
    return 3 * (candidates + 1) / (mappers + 1) if mappers >= 3 else candidates


def server_formula(candidates: int) -> float:
    """Visits expected of all recounts of a fork server's page; the walk that finds two visits everybody."""
    harmonic = [sum(1 / k for k in range(1, n + 1)) for n in (candidates, 3)]
    return 3 * (candidates + 1) * (harmonic[0] - harmonic[1]) + candidates


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:,.1f}"


def _spread(values: Sequence[int]) -> str:
    if min(values) == max(values):
        return _number(values[0])
    return f"{_number(fmean(values))} ({_number(min(values))}-{_number(max(values))})"


def in_random_order(case: Shared, anon: bool, scheme: str, place: int, runs: int) -> float:
    """Mean visits of walks whose candidates are drawn by lot; `place` as in `visits`."""
    scenario = case.scenario(anon)
    return fmean(visits(scenario, scheme, walk_order_seed=seed)[place] for seed in range(1, runs + 1))


WALKS: Final = {"ends with the last": ("mm_owner", 2), "ends at the third": (f"{_SEED}:recount=eager_stop3", 1)}
"""What a walk is, to the design that walks so and the place in `visits`."""


def walk_rows(anon: bool) -> list[tuple[str, ...]]:
    """Visits of one walk, which a count or the third mapper ends, by who left in which order."""
    rows = []
    for candidates, mappers in _CASES:
        for what, (scheme, place) in WALKS.items():
            if mappers < 3 and place == 1:
                continue  # below Many nobody walks
            formula = (stopped if place == 2 else at_third)(candidates, mappers)
            lots = in_random_order(Shared(candidates, mappers, "fork"), anon, scheme, place, SEEDS)
            cells = []
            for order in ORDERS:
                seeds = range(SEEDS) if order == "random" else (0,)
                cases = [Shared(candidates, mappers, order, seed).scenario(anon) for seed in seeds]
                cells.append(_spread([visits(each, scheme)[place] for each in cases]))
            rows.append((str(candidates), str(mappers), what, _number(formula), _number(lots), *cells))
    return rows


def _recounts(scheme: str, candidates: int, order: str, seed: int, *, lots: int = 0) -> int:
    """VMAs that recounts visit while the children of a fork server leave its page by copying it."""
    made = workload(
        "fork_server",
        GEOMETRY,
        children=candidates - 1,
        heap="4K",
        folio="order0",
        rewrite_share=1,
        turns=1,
        write_order=order,
        server_share=0,
        seed=seed,
    )
    simulation = _simulation(made, scheme, lots)
    simulation.run(made.events)
    return int(simulation.event_stats()["vma_visits"].sum())


def server_rows() -> list[tuple[str, ...]]:
    """Visits of all recounts of a fork server's page, by the order in which its children leave."""
    rows = []
    for candidates in _SERVERS:
        for recount in ("eager_stop3", "eager"):
            scheme = f"{_SEED}:recount={recount}"
            formula = server_formula(candidates) if recount == "eager_stop3" else candidates * (candidates - 2)
            lots = fmean(_recounts(scheme, candidates, "fork", 0, lots=seed) for seed in range(1, SEEDS + 1))
            cells = [
                _spread([_recounts(scheme, candidates, order, seed) for seed in seeds])
                for order, seeds in (("fork", (0,)), ("reverse", (0,)), ("random", range(SEEDS)))
            ]
            rows.append((str(candidates), f"`{recount}`", _number(formula), _number(lots), *cells))
    return rows


_STALE: Final = 3
_FILES: Final = ((64, 100), (1024, 100), (16384, 1000))
_LIBRARIES: Final = ((512, 10), (512, 100), (512, 1000))
_FILE_DESIGNS: Final = ("mm_owner", _SEED, f"{_SEED}:recount=on_reclaim", f"{_SEED}:recount=eager_stop3")


def _mapped_file(folios: int, processes: int, readers: int) -> ScenarioBuilder:
    """Let `processes` map a file of small folios, and the first `readers` of them read it."""
    builder = ScenarioBuilder("file", GEOMETRY).obj("F", "file", folios, warm=True).region("A", folios)
    builder.map("P0", "A", "F", 0, 0, folios, "shared")
    for number in range(1, processes):
        builder.fork("P0", f"P{number}")
    for number in range(readers):
        builder.touch(f"P{number}", "A", 0, folios, "r")
    return builder


def _visits_of_last(scenario: Scenario, scheme: str) -> int:
    """VMAs visited by the last event."""
    simulation = _simulation(scenario, scheme, 0)
    simulation.run(scenario.events[:-1])
    before = int(simulation.event_stats()["vma_visits"].sum())
    simulation.run(scenario.events[-1:])
    return int(simulation.event_stats()["vma_visits"].sum()) - before


def truncate_rows() -> list[tuple[str, ...]]:
    """Visits of a truncation to nothing, of a file that three processes read and dropped and all others only map."""
    rows = []
    for folios, processes in _FILES:
        builder = _mapped_file(folios, processes, _STALE)
        for number in range(_STALE):
            builder.madv(f"P{number}", "A", 0, folios, "DONTNEED")
        scenario = builder.truncobj("F", 0).build()
        cells = [_visits_of_last(scenario, scheme) for scheme in _FILE_DESIGNS]
        rows.append((f"{folios:,}", f"{processes:,}", f"{folios * processes:,}", *(f"{cell:,}" for cell in cells)))
    return rows


def pss_rows() -> list[tuple[str, ...]]:
    """Visits of one read of smaps whose numbers are exact, of a library that three processes use and all map."""
    rows = []
    for folios, processes in _LIBRARIES:
        scenario = _mapped_file(folios, processes, _STALE).smaps("P0", exact=True).build()
        cells = [_visits_of_last(scenario, scheme) for scheme in _FILE_DESIGNS]
        rows.append((f"{folios:,}", f"{processes:,}", f"{folios * processes:,}", *(f"{cell:,}" for cell in cells)))
    return rows


_FILLS: Final = (("ascending", "none"), ("descending", "none"), ("ascending", "ascending"), ("ascending", "descending"))


def presence_rows() -> list[tuple[str, ...]]:
    """PTE reads of presence tests while a folio of 512 pages is filled, and emptied, page by page."""
    rows = []
    for presence in engine.names("presences"):
        reads = []
        for fault, drop in _FILLS:
            made = workload("reverse_fault", GEOMETRY, fault_order=fault, drop_order=drop)
            # Later kernels map a folio whole at its first fault.
            simulation = _simulation(made, f"{_SEED}:presence={presence}", 0, "6.12")
            simulation.run(made.events)
            reads.append(int(simulation.event_stats()["pte_reads"].sum()))
        emptied = [each - reads[0] for each in reads[2:]]
        rows.append((f"`{presence}`", *(f"{each:,}" for each in (*reads[:2], *emptied))))
    return rows


_ORDERED: Final = ("formula", "by lot", *ORDERS)
_FILE_HEADERS: Final = ("folios", "VMAs", "product", "`mm_owner`", "`lazy`", "`on_reclaim`", "`eager_stop3`")

BLOCKS: Final[Mapping[str, Callable[[Table], str]]] = {
    "walks anon": lambda table: table(("Q", "V", "a walk that", *_ORDERED), walk_rows(True)),
    "walks file": lambda table: table(("Q", "V", "a walk that", *_ORDERED), walk_rows(False)),
    "fork server": lambda table: table(("N", "recount", *_ORDERED), server_rows()),
    "presence": lambda table: table(
        ("presence", "filled upwards", "downwards", "emptied upwards", "downwards"), presence_rows()
    ),
    "truncate": lambda table: table(_FILE_HEADERS, truncate_rows()),
    "exact pss": lambda table: table(_FILE_HEADERS, pss_rows()),
}
"""Generated parts of the page, given what lays out a table."""
