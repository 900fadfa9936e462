# SPDX-License-Identifier: BSD-3-Clause
"""A database in memory that forks to save its data and is written to meanwhile, as Redis does (BGSAVE)."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from folio_perf.geometry import Geometry
from folio_perf.scenario import Op
from folio_perf.workloads._parameters import (
    CPUS,
    DEFAULT_GEOMETRY,
    SEED,
    SKEW,
    Size,
    count,
    folio_order,
    folio_size,
    generator,
    size,
)
from folio_perf.workloads._random import Stream
from folio_perf.workloads._script import Runs, Script, merge_order, to_pages

__all__ = ["snapshot"]


@generator("a database forks to save its data while it is written to")
def snapshot(
    *,
    geometry: Geometry = DEFAULT_GEOMETRY,
    data: Annotated[Size, size("anonymous memory of the database")] = "64M",
    folio: Annotated[Size, folio_size("folios of the data")] = "order4",
    saves: Annotated[int, count("saves", 1, 100_000, "children forked, one after the other")] = 2,
    save_writes: Annotated[int, count("writes", 0, 10_000_000, "records written during each save")] = 2000,
    quiet_writes: Annotated[int, count("writes", 0, 10_000_000, "records written after each save")] = 2000,
    record: Annotated[Size, size("memory one write changes")] = "4K",
    skew: Annotated[int, SKEW] = 4,
    reads: Annotated[int, count("reads", 1, 1_000_000, "pieces in which the child reads the data, start to end")] = 64,
    cpus: Annotated[int, CPUS] = 1,
    seed: Annotated[int, SEED] = 0,
) -> Script:
    """Let a database fork to save its data, and be written to while the child reads them.

    Records are written with replacement, as keys are: a record hit twice during a save is copied once. Which records
    are hot is random and stays. Reads of the child and writes of the database are spread evenly over the save.
    """
    script = Script(geometry, cpus=cpus, folio_order=folio_order(folio, geometry, anonymous=True))
    region = script.region("data", to_pages(data, geometry))
    records = Runs(region, to_pages(record, geometry))
    pieces = Runs(region, -(-region.nr_pages // reads))
    script.check_room(saves * (pieces.nr + save_writes + quiet_writes + 2))
    script.phase("the database fills its memory")
    script.add(script.map(0, region), script.touch_all(0, region, write=True))

    children = script.spawn("save", saves)[:, None]
    hottest = Stream(seed, "hot").permutations(1, records.nr)[0]
    written = hottest[Stream(seed, "writes").below(records.nr, (saves, save_writes + quiet_writes), skew=skew)]
    writes = script.touch(0, write=True, **records.spans(written))
    read = script.touch(children, write=False, **pieces.spans(np.arange(pieces.nr)))
    during = np.concatenate([read, writes[:, :save_writes]], axis=1)[:, merge_order(pieces.nr, save_writes)]
    fork = script.events(Op.FORK, 0, arg=children)
    leave = script.events(Op.EXIT, children)
    script.phase("the database saves, is written to, and is written to again")
    script.add(np.concatenate([fork, during, leave, writes[:, save_writes:]], axis=1))
    script.phase("the database exits")
    script.add(script.events(Op.EXIT, 0))
    return script
