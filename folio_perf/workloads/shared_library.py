# SPDX-License-Identifier: BSD-3-Clause
"""A shared library that many processes map and few use in full: page-cache folios in many VMAs."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from folio_perf.geometry import Geometry
from folio_perf.scenario import EventFlag, Op
from folio_perf.workloads._parameters import (
    CPUS,
    DEFAULT_GEOMETRY,
    EXIT_ORDERS,
    SEED,
    Size,
    choice,
    count,
    folio_order,
    folio_size,
    generator,
    share,
    size,
)
from folio_perf.workloads._random import Stream, ordered
from folio_perf.workloads._script import Runs, Script, part, to_pages

__all__ = ["shared_library"]


@generator("many processes map one library, write its data, use parts of its text")
def shared_library(
    *,
    geometry: Geometry = DEFAULT_GEOMETRY,
    processes: Annotated[int, count("processes", 1, 1_000_000, "processes that start and then run at once")] = 100,
    text: Annotated[Size, size("text of the library, mapped read-only")] = "8M",
    data: Annotated[Size, size("data of the library, which relocation writes at start")] = "256K",
    folio: Annotated[Size, folio_size("folios of the page cache")] = "order4",
    touched_share: Annotated[float, share("part of the text each process uses")] = 0.25,
    common_share: Annotated[float, share("part of what it uses that all use; the rest is random")] = 0.8,
    run: Annotated[Size, size("text used in one go")] = "16K",
    smaps: Annotated[int, count("processes", 0, 1_000_000, "processes whose smaps is read while all run")] = 1,
    reclaim_scans: Annotated[int, count("scans", 0, 1000, "how often reclaim looks for references")] = 0,
    exit_order: Annotated[str, choice(EXIT_ORDERS, "order in which the processes exit")] = "fork",
    cpus: Annotated[int, CPUS] = 1,
    seed: Annotated[int, SEED] = 0,
) -> Script:
    """Let many processes map one library privately, write its data and use parts of its text.

    Each process is started by vfork and exec, so it shares nothing but the page cache, where the library already is. A
    reclaim scan asks folio_referenced() of each folio that the first process maps.
    """
    order = folio_order(folio, geometry, anonymous=False)
    script = Script(geometry, cpus=cpus)
    code = script.region("text", to_pages(text, geometry))
    variables = script.region("data", to_pages(data, geometry), behind="text")
    library = script.file("library", code.nr_pages + variables.nr_pages, order)
    runs = Runs(code, to_pages(run, geometry))
    used = part(touched_share, runs.nr)
    common = min(part(common_share, used), used)
    if smaps > processes:
        raise ValueError(f"smaps {smaps:,} must be at most the number of processes, {processes:,}")
    script.check_room(processes * (used + 6))

    script.phase("the library is read")
    script.add(script.events(Op.READ_OBJECT, what=library))
    script.phase("the processes start, and use the library")
    numbers = script.spawn("user", processes)
    user = numbers[:, None]
    shuffled = Stream(seed, "text").permutations(1, runs.nr)[0]
    own = Stream(seed, "own_text").subsets(processes, runs.nr - common, used - common)
    chosen = np.concatenate([np.broadcast_to(shuffled[:common], (processes, common)), shuffled[common:][own]], axis=1)
    script.add(
        np.concatenate(
            [
                script.events(Op.FORK, 0, arg=user, flags=int(EventFlag.FORK_SHARE_MM)),
                script.events(Op.EXEC, user),
                script.map(user, code, what=library, flags=EventFlag.PROT_READ),
                script.map(user, variables, what=library, offset=code.nr_pages),
                script.touch_all(user, variables, write=True),
                script.touch(user, write=False, **runs.spans(chosen)),
            ],
            axis=1,
        )
    )
    script.phase("smaps is read")
    script.add(script.events(Op.SMAPS, ordered(numbers, "random", Stream(seed, "smaps"))[:smaps]))
    script.phase("reclaim looks for references")
    script.add(
        script.events(Op.FOLIO_REFERENCED, np.repeat(numbers[:1], reclaim_scans), vpn=code.vpn, nr=code.nr_pages)
    )
    script.phase("the processes exit")
    script.add(script.events(Op.EXIT, ordered(numbers, exit_order, Stream(seed, "exit_order"))))
    return script
