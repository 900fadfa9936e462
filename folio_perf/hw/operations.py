# SPDX-License-Identifier: BSD-3-Clause
"""What is measured: calls of a scheme's hooks on one folio, and the calls that bring the folio back to where it was."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from folio_perf._native import engine, hw
from folio_perf.profile import KernelProfile

_ANON = 1
_QUESTIONS: Final = engine.names("questions")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call of a hook.

    Parameters
    ----------
    hook : int
        One of those of `folio_perf._native.hw`.
    process : int
        Whose VMA maps the folio.
    pages : {"all", "one"}
    path : str
        Kernel path that makes the call: ``fault``, ``fork``, ``zap`` or ``split``; its profile says how it batches.
    value : int
        Question, or mappers a recount found.
    anon : bool
    """

    hook: int
    process: int = 0
    pages: str = "all"
    path: str = "fault"
    value: int = 0
    anon: bool = False

    def row(self, nr_pages: int, kernel: KernelProfile) -> tuple[int, ...]:
        """Return the members of ``struct fperf_hw_call``."""
        batched, refs_batched = {
            "fault": (kernel.batch_file_fault, kernel.batch_file_fault_refs),
            "fork": (kernel.batch_fork, kernel.batch_fork),
            "zap": (kernel.batch_zap, True),
            "split": (kernel.batch_pmd_split, True),
        }[self.path]
        nr = nr_pages if self.pages == "all" else 1
        flags = _ANON if self.anon else 0
        return (self.hook, self.process, 0, nr, flags, int(batched), int(refs_batched), self.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """Something to measure.

    Parameters
    ----------
    title : str
    before : tuple of tuple of Call
        Passes that make the state in which the operation starts; not timed.
    timed : tuple of Call
        Made on each folio, one folio after another.
    back : tuple of tuple of Call
        Passes that undo it; not timed.
    orders : callable
        Whether it can be measured on a folio of that order, given the PMD's.
    """

    title: str
    timed: tuple[Call, ...]
    before: tuple[tuple[Call, ...], ...] = ()
    back: tuple[tuple[Call, ...], ...] = ()
    orders: Callable[[int, int], bool] = lambda order, pmd_order: order <= pmd_order

    @property
    def by_pmd(self) -> bool:
        """Whether it is about a PMD entry, where then no page table hangs."""
        return any(call.hook in (hw.MAP_PMD, hw.UNMAP_PMD) for call in self.timed)

    def calls(self, calls: tuple[Call, ...], nr_pages: int, kernel: KernelProfile) -> NDArray[np.void]:
        """Return calls as the membrane takes them."""
        return np.array([each.row(nr_pages, kernel) for each in calls], dtype=hw.CALL_DTYPE)


def _large(order: int, pmd_order: int) -> bool:
    return 0 < order <= pmd_order


def _pmd(order: int, pmd_order: int) -> bool:
    return order == pmd_order


def _ask(question: str) -> Call:
    return Call(hook=hw.ASK, value=_QUESTIONS.index(question))


_MAP = Call(hook=hw.MAP_RUN)
_UNMAP = Call(hook=hw.UNMAP_RUN, path="zap")
_MAP_ONE = Call(hook=hw.MAP_RUN, pages="one")
_UNMAP_ONE = Call(hook=hw.UNMAP_RUN, pages="one", path="zap")
_MAP_PMD = Call(hook=hw.MAP_PMD)
_UNMAP_PMD = Call(hook=hw.UNMAP_PMD, path="zap")
_FORK = Call(hook=hw.FORK_RUN, process=1, path="fork", anon=True)
_UNMAP_CHILD = Call(hook=hw.UNMAP_RUN, process=1, path="zap", anon=True)
_ANON_MAP = Call(hook=hw.MAP_RUN, anon=True)
_ANON_PMD = Call(hook=hw.MAP_PMD, anon=True)
_ANON_UNMAP = Call(hook=hw.UNMAP_RUN, path="zap", anon=True)
_SPLIT = Call(hook=hw.SPLIT_PMD, path="split", anon=True)
_SET = Call(hook=hw.EXCLUSIVE_SET)
_CLEAR = Call(hook=hw.EXCLUSIVE_CLEAR)

OPERATIONS: Final[Mapping[str, Operation]] = {
    "map_1_pte": Operation(title="map one PTE", timed=(_MAP_ONE,), back=((_UNMAP_ONE,),)),
    "unmap_1_pte": Operation(
        title="unmap one PTE, the last", before=((_MAP_ONE,),), timed=(_UNMAP_ONE,), back=((_MAP_ONE,),)
    ),
    "map_ptes": Operation(title="map all PTEs in one call", timed=(_MAP,), back=((_UNMAP,),), orders=_large),
    "unmap_ptes": Operation(
        title="unmap all PTEs in one call", before=((_MAP,),), timed=(_UNMAP,), back=((_MAP,),), orders=_large
    ),
    "map_unmap_ptes": Operation(title="map, then unmap all PTEs", timed=(_MAP, _UNMAP), orders=_large),
    "map_pmd": Operation(title="map by PMD", timed=(_MAP_PMD,), back=((_UNMAP_PMD,),), orders=_pmd),
    "unmap_pmd": Operation(
        title="unmap a PMD", before=((_MAP_PMD,),), timed=(_UNMAP_PMD,), back=((_MAP_PMD,),), orders=_pmd
    ),
    "split_pmd": Operation(
        title="split an anonymous PMD into PTEs",
        before=((_ANON_PMD,),),
        timed=(_SPLIT,),
        back=((_ANON_UNMAP,), (_ANON_PMD,)),
        orders=_pmd,
    ),
    "fork_first": Operation(
        title="fork, the flag of each exclusive page cleared",
        before=((_ANON_MAP,), (_SET,)),
        timed=(_CLEAR, _FORK),
        back=((_UNMAP_CHILD,), (_SET,)),
    ),
    "fork_later": Operation(
        title="fork of what is shared already", before=((_ANON_MAP,),), timed=(_FORK,), back=((_UNMAP_CHILD,),)
    ),
    "total_mapcount": Operation(title="ask for the total mapcount", before=((_MAP,),), timed=(_ask("total_mapcount"),)),
    "maybe_shared": Operation(title="ask whether more than one mm maps it", before=((_MAP,),), timed=(_ask("shared"),)),
    "recount": Operation(
        title="recount at Many: nobody left",
        before=tuple((Call(hook=hw.MAP_RUN, process=process),) for process in range(4)),
        timed=(Call(hook=hw.RECOUNT, value=0),),
        back=tuple((Call(hook=hw.MAP_RUN, process=process),) for process in range(3)),
    ),
}
"""By name."""
