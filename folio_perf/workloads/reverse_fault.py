# SPDX-License-Identifier: BSD-3-Clause
"""Folios mapped page by page, last page first: the worst case of a test that looks for the first mapped page."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from folio_perf.geometry import Geometry
from folio_perf.scenario import EventFlag, Op
from folio_perf.workloads._parameters import DEFAULT_GEOMETRY, PAGE_ORDERS, SEED, choice, count, generator
from folio_perf.workloads._random import Stream, ordered
from folio_perf.workloads._script import READ_WRITE, Script

__all__ = ["reverse_fault"]


@generator("a resident folio is mapped page by page, in descending order")
def reverse_fault(
    *,
    geometry: Geometry = DEFAULT_GEOMETRY,
    order: Annotated[int, count("order", 0, 15, "folio order; at most that of a PMD")] = 9,
    folios: Annotated[int, count("folios", 1, 1_000_000, "folios, one after the other")] = 1,
    fault_order: Annotated[str, choice(PAGE_ORDERS, "order of the pages within a folio")] = "descending",
    drop_order: Annotated[
        str, choice(("none", *PAGE_ORDERS), "order in which they are dropped one by one; none: at exit")
    ] = "none",
    seed: Annotated[int, SEED] = 0,
) -> Script:
    """Map resident file folios page by page.

    Faults are writes to a shared mapping of a file, which map one page each up to v6.17, since fault-around is for
    reads; v6.18 maps the folio whole at the first. Huge mappings
    are forbidden (MADV_NOHUGEPAGE), so a folio of PMD order is mapped by PTEs as well. Mapping n pages in descending
    order, a presence test that scans from the first page reads n(n - 1)/2 empty entries: 130,816 for order 9. Dropping
    (MADV_DONTNEED) is worst in ascending order.
    """
    if order > geometry.max_order:
        raise ValueError(f"order {order} must be at most {geometry.max_order}, that of a PMD")
    nr_pages = 1 << order
    script = Script(geometry)
    script.check_room(folios * nr_pages * (1 if drop_order == "none" else 2))
    region = script.region("file", folios * nr_pages)
    file = script.file("file", region.nr_pages, order)
    # A folio lies as it would under a PMD, so that all its entries are in one page table.
    first = region.vpn + np.arange(folios)[:, None] * nr_pages

    def pages(within: str, purpose: str) -> NDArray[np.int64]:
        stream = Stream(seed, purpose)
        if within == "random":
            return first + stream.permutations(folios, nr_pages)
        return first + ordered(np.arange(nr_pages), within, stream)

    script.phase("the file is read")
    script.add(script.events(Op.READ_OBJECT, what=file))
    script.phase("the process maps the file")
    script.add(script.map(0, region, what=file, flags=READ_WRITE | EventFlag.MAP_SHARED))
    script.add(script.advise(0, "NOHUGEPAGE", vpn=region.vpn, nr=region.nr_pages))
    script.phase("the process touches page after page")
    script.add(script.touch(0, write=True, vpn=pages(fault_order, "faults"), nr=1))
    if drop_order != "none":
        script.phase("the process drops page after page")
        script.add(script.advise(0, "DONTNEED", vpn=pages(drop_order, "drops"), nr=1))
    script.phase("the process exits")
    script.add(script.events(Op.EXIT, 0))
    return script
