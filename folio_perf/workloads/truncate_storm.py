# SPDX-License-Identifier: BSD-3-Clause
"""A file that many processes map, few touch, and somebody truncates."""

from __future__ import annotations

from typing import Annotated

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
from folio_perf.workloads._script import READ_WRITE, Runs, Script, part, to_pages

__all__ = ["truncate_storm"]


@generator("many processes map a file, few touch it, and it is truncated")
def truncate_storm(
    *,
    geometry: Geometry = DEFAULT_GEOMETRY,
    processes: Annotated[int, count("processes", 1, 1_000_000, "processes that map the file, shared")] = 200,
    file: Annotated[Size, size("size of the file")] = "16M",
    folio: Annotated[Size, folio_size("folios of the page cache")] = "order4",
    mappers_share: Annotated[float, share("part of the processes that touch the file")] = 0.02,
    touched_share: Annotated[float, share("part of the file each of them reads")] = 1.0,
    leavers_share: Annotated[float, share("part of them that drops its pages (MADV_DONTNEED) before")] = 0.5,
    run: Annotated[Size, size("file read in one go")] = "64K",
    storms: Annotated[int, count("truncations", 1, 100_000, "how often the file is written, read and truncated")] = 1,
    exit_order: Annotated[str, choice(EXIT_ORDERS, "order in which the processes exit")] = "fork",
    cpus: Annotated[int, CPUS] = 1,
    seed: Annotated[int, SEED] = 0,
) -> Script:
    """Let many processes map a file, few of them touch it, some of these leave, and truncate it to nothing.

    Process 0 maps the file and forks the others, which inherit the mapping and none of its pages. Each storm has other
    mappers. Of a truncation, i_mmap has all processes as candidates, however few map a page.
    """
    order = folio_order(folio, geometry, anonymous=False)
    script = Script(geometry, cpus=cpus)
    region = script.region("file", to_pages(file, geometry))
    cache = script.file("file", region.nr_pages, order)
    runs = Runs(region, to_pages(run, geometry))
    mappers = part(mappers_share, processes)
    leavers = part(leavers_share, mappers)
    touched = part(touched_share, runs.nr)
    script.check_room(2 * processes + storms * (mappers * touched + leavers + 3))

    script.phase("the processes map the file")
    others = script.spawn("mapper", processes - 1)
    script.add(script.map(0, region, what=cache, flags=READ_WRITE | EventFlag.MAP_SHARED))
    script.add(script.events(Op.FORK, 0, arg=others))
    who, what = Stream(seed, "mappers"), Stream(seed, "reads")
    for _ in range(storms):
        script.phase("the file is written")
        script.add(script.events(Op.READ_OBJECT, what=cache))
        script.phase("a few processes read it")
        chosen = who.subsets(1, processes, mappers)[0]
        reads = what.subsets(mappers, runs.nr, touched)
        reads.sort(axis=1)
        script.add(script.touch(chosen[:, None], write=False, **runs.spans(reads)))
        script.phase("some of them drop its pages")
        script.add(script.advise(chosen[:leavers], "DONTNEED", vpn=region.vpn, nr=region.nr_pages))
        script.phase("the file is truncated")
        script.add(script.events(Op.TRUNCATE, what=cache, nr=0))
        script.phase("the file grows")
        script.add(script.events(Op.TRUNCATE, what=cache, nr=region.nr_pages))
    script.phase("the processes exit")
    script.add(script.events(Op.EXIT, ordered(others, exit_order, Stream(seed, "exit_order"))))
    script.add(script.events(Op.EXIT, 0))
    return script
