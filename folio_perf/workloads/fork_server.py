# SPDX-License-Identifier: BSD-3-Clause
"""A server that forks a child per job: many mms share one heap, and write it apart."""

from __future__ import annotations

from typing import Annotated

from folio_perf.geometry import Geometry
from folio_perf.scenario import Op
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
from folio_perf.workloads._script import Runs, Script, part, slices, to_pages

__all__ = ["fork_server"]


@generator("a server forks children that rewrite a share of its heap and exit")
def fork_server(
    *,
    geometry: Geometry = DEFAULT_GEOMETRY,
    children: Annotated[int, count("processes", 1, 1_000_000, "children of one generation, all alive at once")] = 100,
    heap: Annotated[Size, size("anonymous memory the server fills before it forks")] = "16M",
    folio: Annotated[Size, folio_size("folios of the heap")] = "order4",
    rewrite_share: Annotated[float, share("part of the heap each child rewrites")] = 0.1,
    run: Annotated[Size, size("memory rewritten in one go")] = "64K",
    turns: Annotated[int, count("turns", 1, 10_000, "each child rewrites so many slices, in turn with the others")] = 4,
    write_order: Annotated[str, choice(EXIT_ORDERS, "order of the children within a turn")] = "fork",
    exit_order: Annotated[str, choice(EXIT_ORDERS, "order in which the children exit")] = "fork",
    server_share: Annotated[float, share("part of the heap the server rewrites when they are gone")] = 0.1,
    generations: Annotated[int, count("generations", 1, 10_000, "how often all this happens")] = 1,
    cpus: Annotated[int, CPUS] = 1,
    seed: Annotated[int, SEED] = 0,
) -> Script:
    """Let a server fork children that rewrite a share of its heap and exit.

    Every child rewrites other runs of pages, at random. With ``rewrite_share=1, turns=1`` the children leave each page
    by copying it, in `write_order`; with ``rewrite_share=0`` by exiting, in `exit_order`.
    """
    script = Script(geometry, cpus=cpus, folio_order=folio_order(folio, geometry, anonymous=True))
    region = script.region("heap", to_pages(heap, geometry))
    runs = Runs(region, to_pages(run, geometry))
    rewritten = part(rewrite_share, runs.nr)
    writes, write_orders, exit_orders, server = (
        Stream(seed, purpose) for purpose in ("writes", "write_order", "exit_order", "server")
    )
    script.phase("the server fills its heap")
    script.add(script.map(0, region), script.touch_all(0, region, write=True))
    script.check_room(generations * children * (rewritten + 2))
    for _ in range(generations):
        processes = script.spawn("child", children)
        script.phase("the server forks")
        script.add(script.events(Op.FORK, 0, arg=processes))
        script.phase("the children rewrite their share of the heap")
        chosen = writes.subsets(children, runs.nr, rewritten)
        for turn in slices(rewritten, turns):
            order = ordered(processes, write_order, write_orders)
            mine = chosen[order - processes[0], turn]
            script.add(script.touch(order[:, None], write=True, **runs.spans(mine)))
        script.phase("the children exit")
        script.add(script.events(Op.EXIT, ordered(processes, exit_order, exit_orders)))
        script.phase("the server rewrites its share of the heap")
        script.add(script.touch(0, write=True, **runs.spans(server.subsets(1, runs.nr, part(server_share, runs.nr)))))
    script.phase("the server exits")
    script.add(script.events(Op.EXIT, 0))
    return script
