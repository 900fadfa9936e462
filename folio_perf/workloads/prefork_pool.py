# SPDX-License-Identifier: BSD-3-Clause
"""A pool of forked workers that serve requests and are replaced now and then, as in Apache prefork or Gunicorn."""

from __future__ import annotations

from typing import Annotated, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from folio_perf.geometry import Geometry
from folio_perf.scenario import Op
from folio_perf.workloads._parameters import (
    CPUS,
    DEFAULT_GEOMETRY,
    EXIT_ORDERS,
    SEED,
    SKEW,
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

__all__ = ["prefork_pool"]

_PIECE: Final = 1 << 16
"""Events worked on at once: they stay in the cache."""


@generator("forked workers serve requests, write their heap apart and are replaced")
def prefork_pool(
    *,
    geometry: Geometry = DEFAULT_GEOMETRY,
    workers: Annotated[int, count("processes", 1, 100_000, "workers alive at once")] = 16,
    heap: Annotated[Size, size("anonymous memory the parent fills before it forks")] = "16M",
    folio: Annotated[Size, folio_size("folios of the heap")] = "order4",
    requests: Annotated[int, count("requests", 0, 100_000_000, "requests served by all workers together")] = 2000,
    lifetime: Annotated[int, count("requests", 1, 100_000_000, "requests after which a worker is replaced")] = 50,
    rewrite_share: Annotated[float, share("part of the heap one request rewrites")] = 0.005,
    run: Annotated[Size, size("memory rewritten in one go")] = "16K",
    skew: Annotated[int, SKEW] = 4,
    scratch: Annotated[Size, size("memory a request fills and gives back (MADV_DONTNEED)", minimum=0)] = "64K",
    exit_order: Annotated[str, choice(EXIT_ORDERS, "order in which the workers exit at the end")] = "fork",
    cpus: Annotated[int, CPUS] = 1,
    seed: Annotated[int, SEED] = 0,
) -> Script:
    """Let forked workers serve requests: each rewrites a little of the heap, and fills and frees scratch memory.

    A request goes to a random worker. One that has served `lifetime` requests exits, and the parent forks another that
    shares the heap anew. Which runs of the heap are hot is random and the same for all workers.
    """
    script = Script(geometry, cpus=cpus, folio_order=folio_order(folio, geometry, anonymous=True))
    region = script.region("heap", to_pages(heap, geometry))
    runs = Runs(region, to_pages(run, geometry))
    rewritten = part(rewrite_share, runs.nr)
    script.check_room(requests * (rewritten + 4 * bool(scratch) + 1))

    script.phase("the parent fills its heap")
    script.add(script.map(0, region), script.touch_all(0, region, write=True))
    duties = _duties(Stream(seed, "workers").below(workers, (requests,)), workers, lifetime)
    numbers = script.spawn("worker", workers + int(np.count_nonzero(duties.retires)))
    script.phase("the parent forks the pool")
    script.add(script.events(Op.FORK, 0, arg=numbers[:workers]))

    hottest = Stream(seed, "hot").permutations(1, runs.nr)[0]
    writes = Stream(seed, "writes")
    arena = script.region("scratch", to_pages(scratch, geometry)) if scratch else None
    script.phase("the workers serve requests")
    # In pieces, since every request has columns for what only some of them need.
    for piece in slices(requests, requests * (rewritten + 5) // _PIECE + 1):
        worker = numbers[duties.worker[piece], None]
        is_first, retires = duties.is_first[piece, None], duties.retires[piece, None]
        always = np.ones_like(retires)
        written = hottest[writes.below(runs.nr, (len(worker), rewritten), skew=skew)]
        columns = [script.touch(worker, write=True, **runs.spans(written))]
        happens = [np.broadcast_to(always, written.shape)]
        if arena:
            columns += [
                script.map(worker, arena),
                script.touch_all(worker, arena, write=True),
                script.advise(worker, "DONTNEED", vpn=arena.vpn, nr=arena.nr_pages),
            ]
            happens += [is_first, always, always]
        successor = numbers[duties.successor[piece], None]
        columns += [script.events(Op.EXIT, worker), script.events(Op.FORK, 0, arg=successor)]
        happens += [retires, retires]
        script.add(np.concatenate(columns, axis=1)[np.concatenate(happens, axis=1)])
    script.phase("the workers exit")
    script.add(script.events(Op.EXIT, ordered(numbers[duties.last], exit_order, Stream(seed, "exit_order"))))
    script.phase("the parent exits")
    script.add(script.events(Op.EXIT, 0))
    return script


class _Duties(NamedTuple):
    """Who serves what. Workers are numbered in order of birth.

    Attributes
    ----------
    worker : int64, shape (requests,)
        Who serves the request.
    is_first, retires : bool, shape (requests,)
        Whether it is the worker's first request, its last one.
    successor : int64, shape (requests,)
        Who is forked in the place of a worker that retires; without meaning for others.
    last : int64, shape (workers,)
        Who is there at the end.
    """

    worker: NDArray[np.int64]
    is_first: NDArray[np.bool_]
    retires: NDArray[np.bool_]
    successor: NDArray[np.int64]
    last: NDArray[np.int64]


def _duties(place: NDArray[np.int64], workers: int, lifetime: int) -> _Duties:
    """Say who serves requests that go to given places of the pool, of which each is always filled."""
    by_place = np.argsort(place, kind="stable")
    served = np.bincount(place, minlength=workers)
    start = np.cumsum(served) - served
    before = np.empty_like(place)  # requests that the place has served before
    before[by_place] = np.arange(place.size) - start[place[by_place]]
    retires = (before + 1) % lifetime == 0
    successor = workers - 1 + np.cumsum(retires)

    def holder(of: NDArray[np.int64], after: NDArray[np.int64]) -> NDArray[np.int64]:
        """Who holds a place after so many requests: the first, or the successor made by its last retirement."""
        retirement = start[of] + after // lifetime * lifetime - 1
        found = of.copy()
        later = after >= lifetime
        found[later] = successor[by_place[retirement[later]]]
        return found

    worker, last = holder(place, before), holder(np.arange(workers), served)
    return _Duties(worker, before % lifetime == 0, retires, successor, last)
