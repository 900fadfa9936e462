# SPDX-License-Identifier: BSD-3-Clause
"""A server with registered I/O buffers that forks, and page cache that so many processes map that it looks pinned."""

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
    size,
)
from folio_perf.workloads._random import Stream, ordered
from folio_perf.workloads._script import Script, to_pages

__all__ = ["pinned_buffers"]


@generator("a server with pinned I/O buffers forks, and is scanned for pins")
def pinned_buffers(
    *,
    geometry: Geometry = DEFAULT_GEOMETRY,
    buffers: Annotated[Size, size("anonymous memory pinned (io_uring registered buffers)")] = "4M",
    folio: Annotated[Size, folio_size("folios of the buffers")] = "order0",
    shared: Annotated[Size, size("page cache that all processes map, in small folios")] = "256K",
    workers: Annotated[int, count("processes", 0, 100_000, "children that map the page cache too")] = 100,
    forks: Annotated[int, count("processes", 0, 10_000, "children forked while the buffers are pinned")] = 2,
    scans: Annotated[int, count("scans", 1, 10_000, "times all folios are asked whether they may be pinned")] = 2,
    exit_order: Annotated[str, choice(EXIT_ORDERS, "order in which the workers leave")] = "fork",
    cpus: Annotated[int, CPUS] = 1,
    seed: Annotated[int, SEED] = 0,
) -> Script:
    """Pin buffers, fork, and ask of every folio whether a device may hold it.

    Compaction, migration and reclaim ask so. A page of a small folio counts as pinned from 1024 references on: with
    1023 processes each page of the shared page cache does, falsely. Children forked while the buffers are pinned get
    copies of them.
    """
    script = Script(geometry, cpus=cpus, folio_order=folio_order(folio, geometry, anonymous=True))
    pinned = script.region("buffers", to_pages(buffers, geometry))
    cache = script.region("cache", to_pages(shared, geometry))
    file = script.file("cache", cache.nr_pages, 0)
    script.check_room(8 * workers + 2 * forks + 4 * scans)
    script.phase("the server maps the page cache and fills its buffers")
    script.add(script.events(Op.READ_OBJECT, what=file))
    script.add(script.map(0, cache, what=file, flags=int(EventFlag.PROT_READ | EventFlag.MAP_SHARED)))
    script.add(script.touch_all(0, cache, write=False))

    script.phase("the workers are forked and read the page cache")
    pool = script.spawn("worker", workers)
    script.add(script.events(Op.FORK, 0, arg=pool), script.touch_all(pool, cache, write=False))

    script.phase("the buffers are registered")
    script.add(script.map(0, pinned), script.touch_all(0, pinned, write=True))
    script.add(script.events(Op.PIN, 0, vpn=pinned.vpn, nr=pinned.nr_pages))

    script.phase("children are forked, and leave")
    children = script.spawn("child", forks)
    script.add(np.stack([script.events(Op.FORK, 0, arg=children), script.events(Op.EXIT, children)], axis=1))

    script.phase("all folios are asked")
    asked = [script.events(Op.MAYBE_PINNED, 0, vpn=region.vpn, nr=region.nr_pages) for region in (cache, pinned)]
    script.add(np.stack([np.broadcast_to(each, (scans, *each.shape[-1:])) for each in asked], axis=1))

    script.phase("the buffers are given back, everybody exits")
    script.add(script.events(Op.UNPIN, 0))
    turn = ordered(np.arange(workers), exit_order, Stream(seed, "exit"))
    script.add(script.events(Op.EXIT, pool[turn]), script.events(Op.EXIT, 0))
    return script
