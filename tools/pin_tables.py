# SPDX-License-Identifier: BSD-3-Clause
"""Tables of docs/pins.md: who is falsely taken for pinned, what that costs, and which reference count overflows when.

Nothing here is a formula: the model runs the scenario, or, where nobody could run it to its end, a short form of it,
and the table says so.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil
from typing import Final

import numpy as np

from folio_perf import Geometry, ScenarioBuilder, load_profile, parse_scheme_spec, simulate, workload
from folio_perf._native import engine
from folio_perf._native.errors import FperfError
from folio_perf.geometry import FolioPolicy
from folio_perf.scenario import Scenario
from folio_perf.simulate import new_simulation

GEOMETRY: Final = Geometry()
SCHEMES: Final = ("page_mapcount", "mm_owner", "zero_one_two_many", "zero_one_two_many:pins=exact")
PAGES: Final = 32
_OVERFLOWING: Final = ("large_mapcount", "no_page_mapcount", "rmap_id", "vma_pt_tuples", "vma_count")
_MAPPERS: Final = (1000, 1023, 1536, 2048, 4096)
_HOLDERS: Final = (1000, 1024)
_SIGN: Final = 1 << 31
_MAX_MAP_COUNT: Final = 65_530
_PID_MAX: Final = 1 << 22
_GIB: Final = 1 << 30


def _forks(builder: ScenarioBuilder, processes: int) -> list[str]:
    """Fork P0 until there are so many processes; return their names."""
    builder.forkmany("P0", processes - 1, "C")
    return ["P0", *(f"C/{child}" for child in range(processes - 1))]


def shared_file(processes: int, order: int) -> Scenario:
    """Map a file of `PAGES` folios of which folio i is mapped by N(i + 1)/PAGES of N processes; ask all."""
    nr = PAGES << order
    builder = ScenarioBuilder("mapped", GEOMETRY).obj("F", "file", nr, order=order).region("A", nr).readobj("F")
    builder.map("P0", "A", "F", 0, 0, nr, "shared")
    for number, name in enumerate(_forks(builder, processes)):
        first = (number * PAGES // processes) << order
        builder.touch(name, "A", first, nr - first, "r")
    return builder.maybe_pinned("P0", "A", 0, nr).build()


def held_by_pipes(holders: int) -> Scenario:
    """Let so many pipes hold a reference to a page of P0, which no device has pinned, and ask."""
    builder = ScenarioBuilder("held", GEOMETRY).obj("F", "file", 1).region("A", 1).readobj("F")
    builder.map("P0", "A", "F", 0, 0, 1, "shared").touch("P0", "A", 0, 1, "r")
    # Each forgets the mapping again, so that only what the pipe holds adds up.
    for name in _forks(builder, holders + 1)[1:]:
        builder.splice(name, "A", 0, 1).unmap(name, "A", 0, 1)
    return builder.maybe_pinned("P0", "A", 0, 1).build()


def false_share(scenario: Scenario, scheme: str, folios: int) -> float:
    """Share of the folios asked that are called pinned, though nobody has pinned any."""
    # A fault maps the one page, so that who touches what is who maps it.
    kernel = replace(load_profile("7.0"), fault_around_bytes=GEOMETRY.page_size_bytes)
    simulation = new_simulation(scenario, scheme=parse_scheme_spec(scheme), kernel=kernel, backend="count")
    simulation.run(scenario.events)
    return simulation.totals()["false_pinned"] / folios


def false_rows() -> list[tuple[str, ...]]:
    """Count false "maybe pinned" by what refers to a folio."""
    rows = []
    for order, what in ((0, "order 0"), (4, "order 4")):
        for processes in _MAPPERS if not order else _MAPPERS[-1:]:
            scenario = shared_file(processes, order)
            shares = [false_share(scenario, scheme, PAGES) for scheme in SCHEMES]
            rows.append((f"page cache, {what}", f"{processes:,}", *(f"{100 * share:.0f} %" for share in shares)))
    for holders in _HOLDERS:
        scenario = held_by_pipes(holders)
        shares = [false_share(scenario, scheme, 1) for scheme in SCHEMES]
        rows.append(("references of pipes", f"{holders:,}", *(f"{100 * share:.0f} %" for share in shares)))
    return rows


@dataclass(frozen=True)
class Cost:
    """What a process pays for false alarms that has pinned one page, and has so many children."""

    what: str
    kernel: str
    total: str
    asked: str = ""
    """Operations on the pages after the forks, one a line."""


COSTS: Final = (
    Cost("pages that forks copy", "5.17", "cow_copies"),
    Cost("pages that forks copy", "7.0", "cow_copies"),
    Cost("pages reclaim swaps out", "7.0", "swap_outs", "swapon|reclaim"),
    Cost("pages migrated", "7.0", "migrations", "migrate"),
    Cost("migrations refused", "7.0", "migrations_refused", "migrate"),
)
CHILDREN: Final = 2048


def costly(cost: Cost, children: int = CHILDREN) -> Scenario:
    """P0 has pinned a page of its own; `PAGES` others it shares with its children, one by one forked."""
    builder = ScenarioBuilder("pays", GEOMETRY).region("A", PAGES).region("B", 1)
    builder.map_anon("P0", "A").touch("P0", "A", 0, PAGES, "w").map_anon("P0", "B").touch("P0", "B", 0, 1, "w")
    builder.pin("P0", "B", 0, 1).madv("P0", "B", 0, 1, "DONTFORK").forkmany("P0", children, "C")
    if cost.asked == "migrate":
        builder.migrate("P0", "A", 0, PAGES)
    elif cost.asked:
        builder.swapon().reclaim()
    return builder.build()


def cost_of(cost: Cost, scheme: str, children: int = CHILDREN) -> int:
    """Run it."""
    scenario = costly(cost, children)
    result = simulate(scenario, scheme=scheme, kernel=cost.kernel, backend="count", folio="order0")
    return int(result.totals[cost.total] or 0)


def cost_rows() -> list[tuple[str, ...]]:
    """Count what false alarms cost, by kernel and scheme."""
    return [(cost.what, cost.kernel, *(f"{cost_of(cost, scheme):,}" for scheme in SCHEMES)) for cost in COSTS]


# ---- overflow ------------------------------------------------------------------------------------------------------


def refs_per_mapping(scheme: str, order: int) -> int:
    """Count references that one more VMA adds that maps a whole file folio by PTEs."""
    peaks = [
        int(simulate(_attack(mappings, order), scheme=scheme, backend="count").totals["refs_peak"] or 0)
        for mappings in (8, 16)
    ]
    return (peaks[1] - peaks[0]) // 8


def _attack(mappings: int, order: int) -> Scenario:
    return workload("refcount_attack", GEOMETRY, mappings=mappings, order=order)


def refs_per_fork(scheme: str) -> int:
    """Count references that one more child adds of a process that maps a THP by PTEs."""
    peaks = []
    for children in (8, 16):
        builder = ScenarioBuilder("forks", GEOMETRY).region("A", 512).map_anon("P0", "A")
        builder.touch("P0", "A", 0, 512, "w").madv("P0", "A", 0, 256, "DONTFORK").madv("P0", "A", 0, 256, "DOFORK")
        result = simulate(builder.forkmany("P0", children, "C").build(), scheme=scheme, folio="thp", backend="count")
        peaks.append(int(result.totals["refs_peak"] or 0))
    return (peaks[1] - peaks[0]) // 8


def refs_per_pin(scheme: str, order: int) -> int:
    """Count references that a pin of a page adds."""
    counts = []
    for pinned in (False, True):
        simulation, folio = _one_folio(scheme, order, pinned=pinned)
        counts.append(int(simulation.folio(folio)["refcount"]))
    return counts[1] - counts[0]


def _one_folio(scheme: str, order: int, *, pinned: bool) -> tuple[engine.Simulation, int]:
    nr = 1 << order
    builder = ScenarioBuilder("pin", GEOMETRY).region("A", nr).map_anon("P0", "A").touch("P0", "A", 0, nr, "w")
    if pinned:
        builder.pin("P0", "A", 0, 1)
    scenario = builder.build()
    simulation = new_simulation(
        scenario,
        scheme=parse_scheme_spec(scheme),
        kernel=load_profile("7.0"),
        backend="count",
        folio=FolioPolicy.parse("thp" if order else "order0"),
    )
    simulation.run(scenario.events)
    return simulation, int(simulation.folio(int(simulation.mappings(0)["pfn"][0]))["pfn"])


def last_step(scheme: str) -> str:
    """Say what the mapping that follows 2^31 - 1 references does to a page-cache page, and the pin after that."""
    builder = ScenarioBuilder("last", GEOMETRY).obj("M", "memfd", 1).region("A", 1)
    builder.map("P0", "A", "M", 0, 0, 1, "shared").touch("P0", "A", 0, 1, "w").forkmany("P0", 4, "C")
    for child in range(3):
        builder.touch(f"C/{child}", "A", 0, 1, "r")
    builder.touch("C/3", "A", 0, 1, "r").pin("P0", "A", 0, 1)
    scenario = builder.build()
    spec, kernel = parse_scheme_spec(scheme), load_profile("7.0")
    simulation = new_simulation(scenario, scheme=spec, kernel=kernel, backend="count")
    simulation.run(np.ascontiguousarray(scenario.events[:-2]))
    folio = int(simulation.mappings(0)["pfn"][0])
    simulation.preset_refs(folio, _SIGN - 1)
    simulation.run(np.ascontiguousarray(scenario.events[-2:-1]))
    refs = int(simulation.folio(folio)["refcount"])
    try:
        simulation.run(np.ascontiguousarray(scenario.events[-1:]))
        pin = "pin granted"
    except FperfError as error:
        pin = error.name
    return f"{'+' if refs > 0 else '-'}, {pin}"


def _steps(each: int) -> str:
    return f"{_SIGN // each:,}" if each > 0 else "never"


def _pins_to_the_end(scheme: str) -> int:
    """Pins of a small folio's page until a count is negative: that of references, or of pins, which begins at bit 3."""
    by_refs = _SIGN // refs_per_pin(scheme, 0)
    return min(by_refs, _SIGN >> 3) if parse_scheme_spec(scheme).pins == "exact" else by_refs


def _mapping_cost(each: int, order: int) -> str:
    """Say how many processes and GiB so many full mappings take."""
    if each <= 0:
        return "-"
    mappings = _SIGN // each
    # A PMD's worth of PTEs fills a table; a small page needs an entry of its own.
    table = GEOMETRY.page_size_bytes if order == GEOMETRY.pmd_order else 8
    memory = mappings * (table + load_profile("7.0").vma_bytes) / _GIB
    return f"{ceil(mappings / _MAX_MAP_COUNT):,}; {memory:,.0f} GiB"


def _fork_cost(each: int) -> str:
    if each <= 0:
        return "never"
    forks = _SIGN // each
    return f"{forks:,}" + (" (> PIDs)" if forks > _PID_MAX else "")


def overflow_rows() -> list[tuple[str, ...]]:
    """Say how each scheme's reference count is driven to 2^31."""
    rows: list[tuple[str, ...]] = []
    for scheme in (*SCHEMES, *_OVERFLOWING):
        large, small = refs_per_mapping(scheme, 9), refs_per_mapping(scheme, 0)
        rows.append(
            (
                f"`{scheme}`" if ":" not in scheme else f"the same, `{scheme.partition(':')[2]}`",
                _steps(large),
                _mapping_cost(large, 9),
                _mapping_cost(small, 0),
                _fork_cost(refs_per_fork(scheme)),
                f"{_pins_to_the_end(scheme):,}",
                last_step(scheme),
            )
        )
    return rows
