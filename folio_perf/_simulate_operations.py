# SPDX-License-Identifier: BSD-3-Clause
"""Single operations on a single folio, access by access. Public names are in `folio_perf.simulate`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from folio_perf._native import engine
from folio_perf._native.errors import FperfError
from folio_perf._simulate_run import axes, create, event_stats, kernel_of, prepare, priced, run_info
from folio_perf.geometry import FolioPolicy, Geometry
from folio_perf.machine import DEFAULT_MACHINE, Machine
from folio_perf.profile import DEFAULT_KERNEL, KernelProfile
from folio_perf.results import CLASSES, AccessRun, AccessTrace, EventStats, Outcome, Result
from folio_perf.scenario import parse_scenarios
from folio_perf.schemes import SchemeSpec, parse_scheme_spec

_STRUCT_PAGE_BYTES: Final = 64
_PTE_BYTES: Final = 8
# The step after which the operation begins.
_MARK: Final = "note operation"

# What the operation finds: {n} pages of a folio of order {order}, {half} of them; P0 has mapped region A.
_STAGES: Final[Mapping[str, str]] = {
    # MADV_NOHUGEPAGE keeps a PMD-sized folio from being mapped by PMD.
    "file": """\
obj F file {n} order {order} warm
region A {n}
map P0 A F 0 0 {n} shared
madv P0 A 0 {n} NOHUGEPAGE""",
    "file_pmd": """\
obj F file {n} order {order} warm
region A {n}
map P0 A F 0 0 {n} shared""",
    "anon": """\
region A {n}
map P0 A anon""",
    "anon_pmd": """\
region A {n}
map P0 A anon
madv P0 A 0 {n} HUGEPAGE""",
}
# A VMA boundary splits the PMD into PTEs; afterwards the VMAs merge again.
_SPLIT: Final = "\nmadv P0 A 0 {half} DONTFORK\nmadv P0 A 0 {half} DOFORK"


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """An operation on one folio.

    Parameters
    ----------
    title : str
        What happens, in a line.
    stage : str
        A key of the stages: which memory is mapped.
    before : str
        What else happens first.
    run : str
        The operation, in the language of scenarios.
    by_pmd : bool
        The folio is that of a PMD and mapped by one.
    """

    title: str
    stage: str
    before: str
    run: str
    by_pmd: bool = False

    def scenario(self, name: str, order: int, geometry: Geometry, kernel: KernelProfile) -> tuple[str, FolioPolicy]:
        """Write the operation as a scenario; ValueError if there is no such folio."""
        pmd_order = geometry.pmd_order
        if not 0 <= order <= pmd_order:
            raise ValueError(
                f"order {order} must be from 0 to {pmd_order}, that of a PMD with"
                f" {geometry.page_size_bytes >> 10}K pages"
            )
        if self.by_pmd and order != pmd_order:
            raise ValueError(f"{name} needs a folio that a PMD maps: order {pmd_order}, not {order}")
        stage, before, policy = self.stage, self.before, FolioPolicy.parse("default")
        if stage == "anon":
            if order == pmd_order:
                stage = "anon_pmd"
                before = before.replace("{pte}", _SPLIT)
            elif order == 0:
                policy = FolioPolicy.parse("order0")
            elif order == 1:
                raise ValueError(f"order 1: anonymous folios have order 0 or 2 to {pmd_order}")
            elif not kernel.mthp:
                raise ValueError(f"order {order}: anonymous folios of kernel {kernel.name} have order 0 or {pmd_order}")
            else:
                size = geometry.page_size_bytes << order
                policy = FolioPolicy(always_bytes=(size,), madvise_bytes=(), name=f"mthp={size >> 10}K")
        parts = (_STAGES[stage] + before.replace("{pte}", ""), _MARK, self.run)
        text = "\n".join(parts).format(n=1 << order, half=max(1, 1 << order >> 1), order=order)
        return f"scenario {name}\n{text}\nend\n", policy


_TOUCHED_FILE = "\ntouch P0 A 0 {n} r"
_SHARED_FILE = f"{_TOUCHED_FILE}\nfork P0 P1\ntouch P1 A 0 {{n}} r"
_TOUCHED_ANON = "\ntouch P0 A 0 1 w{pte}"
_FORKED_ANON = f"{_TOUCHED_ANON}\nfork P0 P1"
_HUGE = "\ntouch P0 A 0 1 w"

_OPERATIONS: Final[Mapping[str, Operation]] = {
    "map_ptes": Operation(
        title="faults map a page-cache folio by PTEs, first process",
        stage="file",
        before="",
        run="touch P0 A 0 {n} r",
    ),
    "map_ptes_again": Operation(
        title="faults map a page-cache folio by PTEs, second process",
        stage="file",
        before=f"{_TOUCHED_FILE}\nfork P0 P1",
        run="touch P1 A 0 {n} r",
    ),
    "unmap_ptes": Operation(
        title="munmap of a page-cache folio mapped by PTEs, last process",
        stage="file",
        before=_TOUCHED_FILE,
        run="unmap P0 A 0 {n}",
    ),
    "unmap_ptes_shared": Operation(
        title="munmap of a page-cache folio mapped by PTEs, another process stays",
        stage="file",
        before=_SHARED_FILE,
        run="unmap P1 A 0 {n}",
    ),
    "map_pmd": Operation(
        title="a fault maps a page-cache folio by PMD",
        stage="file_pmd",
        before="",
        run="touch P0 A 0 1 r",
        by_pmd=True,
    ),
    "unmap_pmd": Operation(
        title="munmap of a page-cache folio mapped by PMD, last process",
        stage="file_pmd",
        before="\ntouch P0 A 0 1 r",
        run="unmap P0 A 0 {n}",
        by_pmd=True,
    ),
    "anon_fault": Operation(
        title="a write fault allocates an anonymous folio and maps it",
        stage="anon",
        before="",
        run="touch P0 A 0 1 w",
    ),
    "unmap_anon": Operation(
        title="munmap of an anonymous folio mapped by PTEs, last process",
        stage="anon",
        before=_TOUCHED_ANON,
        run="unmap P0 A 0 {n}",
    ),
    "unmap_anon_pmd": Operation(
        title="munmap of an anonymous folio mapped by PMD, last process",
        stage="anon_pmd",
        before=_HUGE,
        run="unmap P0 A 0 {n}",
        by_pmd=True,
    ),
    "fork": Operation(
        title="first fork of an anonymous folio mapped by PTEs",
        stage="anon",
        before=_TOUCHED_ANON,
        run="fork P0 P1",
    ),
    "fork_again": Operation(
        title="second fork of an anonymous folio mapped by PTEs",
        stage="anon",
        before=_FORKED_ANON,
        run="fork P0 P2",
    ),
    "fork_pmd": Operation(
        title="first fork of an anonymous folio mapped by PMD",
        stage="anon_pmd",
        before=_HUGE,
        run="fork P0 P1",
        by_pmd=True,
    ),
    "exit": Operation(
        title="a child exits that shares an anonymous folio mapped by PTEs",
        stage="anon",
        before=_FORKED_ANON,
        run="exit P1",
    ),
    "split_pmd": Operation(
        title="a VMA boundary splits an anonymous PMD into PTEs",
        stage="anon_pmd",
        before=_HUGE,
        run="madv P0 A 0 {half} DONTFORK",
        by_pmd=True,
    ),
    "cow_fault": Operation(
        title="a child writes to a page of a shared anonymous folio",
        stage="anon",
        before=_FORKED_ANON,
        run="touch P1 A 0 1 w",
    ),
    "cow_reuse": Operation(
        title="the parent writes to a page after its only child has left",
        stage="anon",
        before=f"{_FORKED_ANON}\nexit P1",
        run="touch P0 A 0 1 w",
    ),
    "total_mapcount": Operation(
        title="total mapcount of a page-cache folio mapped by PTEs",
        stage="file",
        before=_TOUCHED_FILE,
        run="total_mapcount P0 A 0 {n}",
    ),
    "folio_referenced": Operation(
        title="reclaim looks for references: a page-cache folio, two processes",
        stage="file",
        before=_SHARED_FILE,
        run="folio_referenced P0 A 0 {n}",
    ),
    "try_to_unmap": Operation(
        title="reclaim unmaps a page-cache folio from two processes",
        stage="file",
        before=_SHARED_FILE,
        run="try_to_unmap P0 A 0 {n}",
    ),
    "smaps": Operation(
        title="smaps of a process that shares a page-cache folio with another",
        stage="file",
        before=_SHARED_FILE,
        run="smaps P0",
    ),
}


def operation_names() -> tuple[str, ...]:
    """Names of the operations that `trace_operation` knows."""
    return tuple(_OPERATIONS)


def operation_title(name: str) -> str:
    """One line about an operation; ValueError if there is none of that name."""
    return _operation(name).title


def _operation(name: str) -> Operation:
    if name not in _OPERATIONS:
        raise ValueError(f"no operation named {name!r}; there are {', '.join(_OPERATIONS)}")
    return _OPERATIONS[name]


def trace_operation(
    operation: str,
    *,
    order: int,
    scheme: str | SchemeSpec,
    machine: str | os.PathLike[str] | Machine = DEFAULT_MACHINE,
    geometry: str | Geometry | None = None,
    kernel: str | os.PathLike[str] | KernelProfile = DEFAULT_KERNEL,
) -> AccessTrace:
    """List the memory accesses of one operation on one folio.

    Parameters
    ----------
    operation : str
        One of `operation_names`.
    order : int
        Of the folio, up to that of a PMD.
    scheme, machine, geometry, kernel
        As `simulate`.

    Returns
    -------
    AccessTrace
        The caches hold what the scenario before the operation left there.

    Raises
    ------
    ValueError
        If a name or value is wrong, or the kernel has no folio of that order for this operation.
    """
    found = _operation(operation)
    spec = parse_scheme_spec(scheme) if isinstance(scheme, str) else scheme
    setup = prepare(machine=machine, geometry=geometry, kernel=kernel)
    text, policy = found.scenario(operation, order, setup.geometry, kernel_of(spec, setup))
    setup = replace(setup, folio=policy)
    scenario = parse_scenarios(text, setup.geometry, operation)[0]
    first = int(np.searchsorted(scenario.steps, scenario.step_text.index(_MARK)))

    simulation = create(scenario, spec, setup, trace_accesses=True)
    nr_processes = len(scenario.processes)
    simulation.run(scenario.events[:first])
    simulation.accesses_clear()
    counters, stats = simulation.counters().astype(np.int64), event_stats(simulation)
    folios = _mapped_folios(simulation, nr_processes)
    simulation.run(scenario.events[first:])
    folios |= _mapped_folios(simulation, nr_processes)

    counters = simulation.counters().astype(np.int64) - counters
    spent = Result(
        run=run_info(scenario, spec, setup),
        axes=axes(),
        counters=counters,
        ns=priced(counters, setup),
        stats=_difference(event_stats(simulation), stats),
        totals={},
        outcome=Outcome(applied=scenario.nr_events - first, noop=0),
    )
    return AccessTrace(
        operation=operation,
        title=found.title,
        run=spent.run,
        order=order,
        nr_pages=1 << order,
        accesses=_access_runs(simulation.accesses(), setup.geometry, list(folios)),
        totals=spent.total,
        text=text,
    )


def _difference(after: EventStats, before: EventStats) -> EventStats:
    return EventStats(**{each.name: getattr(after, each.name) - getattr(before, each.name) for each in fields(after)})


def _mapped_folios(simulation: engine.Simulation, nr_processes: int) -> dict[tuple[int, int], None]:
    """Head pfn and order of each folio that a living process maps, in order of appearance."""
    folios: dict[tuple[int, int], None] = {}
    for process in range(nr_processes):
        try:
            rows = simulation.mappings(process)
        except FperfError:  # it does not exist yet, or no longer
            continue
        for row in rows[np.isin(rows["kind"], (engine.MAPPING_ANON, engine.MAPPING_FILE))]:
            folio = simulation.folio(int(row["pfn"]))
            folios[folio["pfn"], folio["order"]] = None
    return folios


def _access_runs(rows: NDArray[np.void], geometry: Geometry, folios: list[tuple[int, int]]) -> tuple[AccessRun, ...]:
    """Give the engine's access log names; accesses one after another at a constant stride become one run."""
    named = axes()
    labels: dict[tuple[str, int], str] = {}

    def label(kind: str, which: int) -> str:
        """Name an object by its kind and a number, in order of appearance."""
        number = sum(name == kind for name, _ in labels) + 1
        return labels.setdefault((kind, which), f"{kind} {number}")

    def place(row: np.void, of: str, field: str) -> tuple[str, int, int]:
        """Object, index of the first element in it, and bytes per element."""
        if of == "page":
            for number, (head, order) in enumerate(folios, start=1):
                if head <= row["object"] < head + (1 << order):
                    name = "folio" if len(folios) == 1 else f"folio {number}"
                    return name, int(row["object"]) - head, _STRUCT_PAGE_BYTES
            return f"pfn {int(row['object'])}", 0, _STRUCT_PAGE_BYTES
        if of == "table":
            entry = int(row["address"]) % geometry.page_size_bytes // _PTE_BYTES
            return label("table", int(row["object"])), entry, _PTE_BYTES
        return label(field, int(row["address"])), 0, 0

    runs: list[AccessRun] = []
    for start, count, stride, level in _merged(rows):
        row = rows[start]
        field = named.fields[row["field"]]
        of = named.field_classes[row["field"]]
        name, first, element = place(row, of, field)
        runs.append(
            AccessRun(
                event=named.events[row["event_kind"]],
                cause=named.causes[row["cause"]],
                access=named.accesses[row["access"]],
                field=field,
                object_class=of,
                object=name,
                first=first,
                step=stride // element if element else 0,
                count=count,
                lines=_distinct_lines(int(row["address"]), count, stride, geometry),
                level=named.levels[level],
            )
        )
    assert all(run.object_class in CLASSES for run in runs)
    return tuple(runs)


def _distinct_lines(address: int, count: int, stride: int, geometry: Geometry) -> int:
    """Lines that `count` accesses touch: one each if they are that far apart, else all from first to last."""
    if stride >= geometry.line_bytes:
        return count
    last = address + stride * (count - 1)
    return (last >> geometry.line_shift) - (address >> geometry.line_shift) + 1


def _merged(rows: NDArray[np.void]) -> list[tuple[int, int, int, int]]:
    """Merge rows that continue each other: (number of the first row, accesses, stride in bytes, slowest level)."""
    merged: list[tuple[int, int, int, int]] = []
    same = ("field", "access", "cause", "event_kind", "object")
    for number, row in enumerate(rows):
        count, stride, level = int(row["nr"]), int(row["stride"]), int(row["level"])
        if merged and count == 1:
            start, before, old_stride, old_level = merged[-1]
            head = rows[start]
            step = int(row["address"]) - int(head["address"]) - (before - 1) * old_stride
            if all(head[key] == row[key] for key in same) and step >= 0 and (before == 1 or step == old_stride):
                merged[-1] = (start, before + 1, step, max(level, old_level))
                continue
        merged.append((number, count, stride, level))
    return merged
