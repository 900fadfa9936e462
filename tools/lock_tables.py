# SPDX-License-Identifier: BSD-3-Clause
"""Table of docs/catastrophes.md: what the locks of walks cost when many processes exit at a time.

One exit of one page's mapping comes from the exact model, access by access. What it shares with others that exit, the
page's line and the lock of the tree, becomes queues (folio_perf/contention.py, which says how wrong that is); the rest
is the time of the model, caches and all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
from walk_tables import Table

from folio_perf import Geometry, Machine, ScenarioBuilder, load_machine, load_profile, parse_scheme_spec, price
from folio_perf._simulate_operations import _access_runs, _mapped_folios
from folio_perf.contention import _split, mean_transfer_ns, solve
from folio_perf.simulate import axes, new_simulation

AT_ONCE: Final = (1, 8, 32, 64)
"""Processes that exit at a time, each on a CPU of its own."""
SHARERS: Final = (10, 100, 1000)
DESIGNS: Final = {
    "`mm_owner`": "mm_owner",
    "`lazy`": "zero_one_two_many",
    "`eager_stop3`": "zero_one_two_many:recount=eager_stop3",
    "`eager`": "zero_one_two_many:recount=eager",
}
_EXIT: Final = "exit"


@dataclass(frozen=True)
class Exit:
    """One process of many that share a page exits.

    Parameters
    ----------
    own_ns : float
        Modelled time beside the lines that others who exit use.
    walk_ns : float
        Of that, the walk under the lock.
    demands_ns : tuple of float
        Work on each shared line, once it is there.
    visits : tuple of int
        How often it goes to each.
    lock : int
        Which of them is the lock of the tree; -1: none is taken.
    """

    own_ns: float
    walk_ns: float
    demands_ns: tuple[float, ...]
    visits: tuple[int, ...]
    lock: int

    def latency(self, machine: Machine, at_once: int, *, walks_in_turn: bool = False) -> float:
        """Mean ns of one exit if so many go on at a time; `walks_in_turn`: a walk keeps out all others."""
        transfer = mean_transfer_ns(machine, at_once)
        pairs = zip(self.demands_ns, self.visits, strict=True)
        demands = np.array([held + visits * transfer for held, visits in pairs])
        think = self.own_ns
        if walks_in_turn and self.lock >= 0:
            demands[self.lock] += self.walk_ns
            think -= self.walk_ns
        return solve(at_once, think, demands)[1]


@cache
def exit_of(scheme: str, sharers: int, anon: bool) -> Exit:
    """Run the model up to the exit of the second oldest of `sharers` processes, and take that one apart."""
    geometry, machine = Geometry(), load_machine("generic-x86-64")
    builder = ScenarioBuilder(_EXIT, geometry).obj("F", "file", 1, warm=True).region("A", 1)
    if anon:
        builder.map_anon("P0", "A").touch("P0", "A", 0, 1, "w")
    else:
        builder.map("P0", "A", "F", 0, 0, 1, "shared").touch("P0", "A", 0, 1, "r")
    for number in range(1, sharers):
        builder.fork("P0", f"P{number}")
        if not anon:
            builder.touch(f"P{number}", "A", 0, 1, "r")
    scenario = builder.exit("P1").build()
    simulation = new_simulation(
        scenario,
        scheme=parse_scheme_spec(scheme),
        kernel=load_profile("7.0"),
        backend="cache",
        geometry=geometry,
        machine=machine,
        trace_accesses=True,
    )
    simulation.run(scenario.events[:-1])
    simulation.accesses_clear()
    folios = list(_mapped_folios(simulation, 1))
    before = simulation.counters().astype(np.int64)
    simulation.run(scenario.events[-1:])
    spent = price(simulation.counters().astype(np.int64) - before, machine)
    _, shared = _split([_access_runs(simulation.accesses(), geometry, folios)], machine, "folio")
    lines = [line for line in shared for _ in range(line.lines)]
    fields = [line.field for line in lines]
    named = axes()
    recount = spent[:, named.causes.index("recount")].sum(axis=0)
    lock_ns = float(recount[named.fields.index("rmap_lock")])
    return Exit(
        own_ns=float(spent.sum()) - sum(line.held_ns for line in lines),
        walk_ns=float(recount.sum()) - lock_ns,
        demands_ns=tuple(line.held_ns for line in lines),
        visits=tuple(line.visits for line in lines),
        lock=fields.index("rmap_lock") if "rmap_lock" in fields else -1,
    )


def lock_rows() -> Iterator[tuple[str, ...]]:
    """Microseconds of one exit by the number of those that go on at a time; last: if walks keep each other out."""
    machine = load_machine("generic-x86-64")
    for anon in (True, False):
        for sharers in SHARERS:
            for name, scheme in DESIGNS.items():
                found = exit_of(scheme, sharers, anon)
                times = [found.latency(machine, at_once) for at_once in AT_ONCE]
                last = found.latency(machine, AT_ONCE[-1], walks_in_turn=True)
                yield (
                    "anonymous" if anon else "file",
                    str(sharers),
                    name,
                    *(f"{ns / 1000:,.2f}" for ns in times),
                    f"{last / 1000:,.2f}" if found.lock >= 0 else "",
                )


_HEADERS: Final = ("page", "sharers", "design", *map(str, AT_ONCE), f"{AT_ONCE[-1]}, walks in turn")

BLOCKS: Final[Mapping[str, Callable[[Table], str]]] = {"locks": lambda table: table(_HEADERS, lock_rows())}
"""Generated parts of the page, given what lays out a table."""
