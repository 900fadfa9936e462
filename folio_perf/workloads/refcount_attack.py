# SPDX-License-Identifier: BSD-3-Clause
"""One folio mapped as often as the limit on VMAs allows, to drive its reference count up."""

from __future__ import annotations

from typing import Annotated, Final

import numpy as np

from folio_perf.geometry import Geometry
from folio_perf.scenario import EventFlag, Op
from folio_perf.workloads._parameters import CPUS, DEFAULT_GEOMETRY, SEED, choice, count, generator
from folio_perf.workloads._random import Stream, ordered
from folio_perf.workloads._script import Script

__all__ = ["refcount_attack"]

MAX_MAP_COUNT: Final = 65_530
"""VMAs of one process, sysctl vm.max_map_count: DEFAULT_MAX_MAP_COUNT of include/linux/mm.h."""


@generator("one file folio is mapped by as many VMAs as there may be")
def refcount_attack(
    *,
    geometry: Geometry = DEFAULT_GEOMETRY,
    mappings: Annotated[int, count("VMAs", 1, 1 << 24, "VMAs that map the folio, of all processes together")] = 200,
    processes: Annotated[int, count("processes", 1, 1 << 20, "processes they are spread over")] = 1,
    order: Annotated[int, count("order", 0, 15, "folio order; at most that of a PMD")] = 9,
    unmap_order: Annotated[
        str, choice(("none", "ascending", "descending", "random"), "order of munmap; none: at exit")
    ] = "none",
    cpus: Annotated[int, CPUS] = 1,
    seed: Annotated[int, SEED] = 0,
) -> Script:
    """Map one folio of a file in many VMAs, each time with all its pages, by PTEs.

    In designs that hold one reference per entry each mapping adds 2^order of them: 2^31 references of an order-9 folio
    take 4,194,304 mappings, which 65 processes can have. A folio of PMD order is mapped by PTEs because huge mappings
    are forbidden (MADV_NOHUGEPAGE).
    """
    if order > geometry.max_order:
        raise ValueError(f"order {order} must be at most {geometry.max_order}, that of a PMD")
    if processes > mappings:
        raise ValueError(f"processes {processes:,} must be at most the number of mappings, {mappings:,}")
    most = -(-mappings // processes)
    if most > MAX_MAP_COUNT:
        raise ValueError(
            f"mappings {mappings:,} must be at most {MAX_MAP_COUNT:,} (vm.max_map_count) for each of"
            f" {processes:,} processes; ask for {-(-mappings // MAX_MAP_COUNT)} processes"
        )
    nr_pages = 1 << order
    script = Script(geometry, cpus=cpus)
    script.check_room(4 * mappings + 2 * processes)
    region = script.region("mappings", most * nr_pages)
    file = script.file("file", nr_pages, order)
    attackers = np.append(np.zeros(1, dtype=np.int64), script.spawn("attacker", processes - 1))

    script.phase("the file is read")
    script.add(script.events(Op.READ_OBJECT, what=file))
    script.phase("the process forks, before it maps anything")
    script.add(script.events(Op.FORK, 0, arg=attackers[1:]))
    script.phase("the processes map the file again and again")
    number = np.arange(mappings)
    who = attackers[number % processes]
    vpn = region.vpn + number // processes * nr_pages
    flags = int(EventFlag.PROT_READ | EventFlag.MAP_SHARED)
    steps = [script.events(Op.MMAP, who, vpn=vpn, nr=nr_pages, what=file, flags=flags)]
    if order == geometry.pmd_order:
        steps.append(script.advise(who, "NOHUGEPAGE", vpn=vpn, nr=nr_pages))
    steps.append(script.touch(who, write=False, vpn=vpn, nr=nr_pages))
    script.add(np.stack(steps, axis=1))
    if unmap_order != "none":
        script.phase("the processes unmap")
        turn = ordered(number, unmap_order, Stream(seed, "unmap"))
        script.add(script.events(Op.MUNMAP, who[turn], vpn=vpn[turn], nr=nr_pages))
    script.phase("the processes exit")
    script.add(script.events(Op.EXIT, attackers[::-1]))
    return script
