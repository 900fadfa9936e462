# SPDX-License-Identifier: BSD-3-Clause
"""A run of the model: what it needs, checked; and what it reports. Public names are in `folio_perf.simulate`."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from folio_perf import cost
from folio_perf._native import engine
from folio_perf._native.errors import FperfError, error_name, error_rule
from folio_perf._simulate_inputs import Input
from folio_perf._simulation import new_simulation
from folio_perf.geometry import FolioPolicy, Geometry
from folio_perf.machine import DEFAULT_MACHINE, Machine, load_machine
from folio_perf.profile import DEFAULT_KERNEL, OUTSIDE, KernelProfile, load_profile
from folio_perf.results import Axes, EventStats, Failure, Outcome, OutsideRow, Result, RunInfo, SmapsRow
from folio_perf.scenario import Scenario, ScenarioError
from folio_perf.schemes import SchemeSpec

BACKENDS: Final = ("count", "cache")
"""``count`` counts accesses; ``cache`` also knows lines, levels and so time."""

Progress: TypeAlias = Callable[[int, int], object]
"""Called now and then with the number of events done, and of all events; an exception it raises ends the run."""

_NR_EXAMPLES: Final = 5
# What the ledger alone can tell.
_TRUTH_TOTALS: Final = (
    "false_shared",
    "false_exclusive",
    "false_mapped",
    "false_pinned",
    "stale_many",
    "leaked_pages",
    "leaked_pages_peak",
    "leaked_page_events",
    "copies_needless",
    "refused_needlessly",
    "skipped_as_shared",
    "killed_needlessly",
    "swap_slots_kept",
    "partial_missed",
    "false_not_exclusive",
    "false_page_exclusive",
    "page_mapcounts_wrong",
    "mapmax_error_abs",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """The modelled machine, apart from the scheme: everything resolved and checked.

    Parameters
    ----------
    machine : Machine
        With the lines of `geometry`.
    geometry : Geometry
    kernel : KernelProfile
    backend : str
        One of `BACKENDS`.
    folio : FolioPolicy or None
        None: the scenario's, else the default.
    truth : bool
    priced : bool
        False if the machine's prices are for lines of another size.
    """

    machine: Machine
    geometry: Geometry
    kernel: KernelProfile
    backend: str
    folio: FolioPolicy | None
    truth: bool
    priced: bool


def prepare(
    *,
    machine: str | os.PathLike[str] | Machine = DEFAULT_MACHINE,
    geometry: str | Geometry | None = None,
    kernel: str | os.PathLike[str] | KernelProfile = DEFAULT_KERNEL,
    backend: str = "cache",
    folio: str | FolioPolicy | None = None,
    truth: bool = True,
) -> Setup:
    """Resolve and check what a run needs beside scenario and scheme; arguments and errors as `simulate`."""
    if backend not in BACKENDS:
        raise ValueError(f"back end {backend!r} must be one of {', '.join(BACKENDS)}")
    found = machine if isinstance(machine, Machine) else load_machine(machine)
    if isinstance(geometry, str):
        geometry = Geometry.from_text(geometry, line_bytes=found.line_bytes)
    geometry = geometry or Geometry(line_bytes=found.line_bytes)
    if isinstance(folio, str):
        folio = FolioPolicy.parse(folio)
    if folio is not None:
        folio.orders(geometry)
        folio.shmem_orders(geometry)
    return Setup(
        machine=replace(found, line_bytes=geometry.line_bytes),
        geometry=geometry,
        kernel=kernel if isinstance(kernel, KernelProfile) else load_profile(kernel),
        backend=backend,
        folio=folio,
        truth=truth,
        priced=found.line_bytes == geometry.line_bytes,
    )


def run_scenario(given: Input, spec: SchemeSpec, setup: Setup, progress: Progress | None = None) -> Result:
    """Run what has been resolved and checked; errors of the events as `simulate`."""
    scenario = given.scenario
    if scenario.strict:
        scenario.check_supported()
    simulation = create(scenario, spec, setup)
    status = np.zeros(scenario.nr_events, dtype=np.int32)
    total = scenario.nr_events
    try:
        simulation.run(
            scenario.events, status, progress=None if progress is None else lambda done: progress(done, total)
        )
    except FperfError as error:
        if error.index is None:
            raise
        raise event_error(scenario, error) from error
    totals: dict[str, int | None] = {
        name: value if setup.truth or name not in _TRUTH_TOTALS else None for name, value in simulation.totals().items()
    }
    counters, stats = simulation.counters().astype(np.int64), event_stats(simulation)
    return Result(
        run=run_info(scenario, spec, setup),
        axes=axes(),
        counters=counters,
        ns=priced(counters, setup),
        stats=stats,
        totals=totals,
        outcome=_outcome(given, status),
        smaps=_smaps(simulation, setup.truth),
        outside=outside(counters, stats, kernel_of(spec, setup)),
    )


def _smaps(simulation: engine.Simulation, truth: bool) -> tuple[SmapsRow, ...]:
    return tuple(
        SmapsRow(
            process=int(row["process"]),
            rss_bytes=int(row["rss_bytes"]),
            pss_bytes=int(row["pss_bytes"]),
            uss_bytes=int(row["uss_bytes"]),
            pss_true_bytes=int(row["pss_true_bytes"]) if truth else None,
            uss_true_bytes=int(row["uss_true_bytes"]) if truth else None,
        )
        for row in simulation.smaps_log()
    )


def kernel_of(spec: SchemeSpec, setup: Setup) -> KernelProfile:
    """Return the kernel a scheme runs on: the one it names, else that of the setup."""
    return load_profile(spec.kernel) if spec.kernel else setup.kernel


def create(scenario: Scenario, spec: SchemeSpec, setup: Setup, *, trace_accesses: bool = False) -> engine.Simulation:
    """Create the simulation of a run."""
    return new_simulation(
        scenario,
        scheme=spec,
        kernel=kernel_of(spec, setup),
        backend=setup.backend,
        geometry=setup.geometry,
        machine=setup.machine,
        folio=setup.folio,
        truth=setup.truth,
        trace_accesses=trace_accesses,
    )


_FAULTS = ("anon_fault", "file_fault", "cow_fault", "swap_fault")


def outside(counters: NDArray[np.int64], stats: EventStats, kernel: KernelProfile) -> tuple[OutsideRow, ...]:
    """Count the work outside the designs by event kind, and price what the kernel profile has a price for."""
    named = axes()
    tables = [named.fields.index(name) for name in ("pte", "pmd")]
    writes = [number for number, access in enumerate(named.accesses) if access != "load"]
    counts = {
        "fault": np.where([event in _FAULTS for event in named.events], stats.count, 0),
        "pte_write": counters[:, :, tables][:, :, :, writes].sum(axis=(1, 2, 3, 4, 5)),
        "folio_alloc": stats.folios_allocated,
        "folio_free": stats.folios_freed,
        "page_zero": stats.pages_zeroed,
        "page_copy": stats.pages_copied,
        "tlb_flush": stats.tlb_flushes,
    }
    prices = dict(kernel.outside)
    return tuple(
        OutsideRow(event=event, work=work, count=nr, ns=prices[work] * nr if work in prices else None)
        for number, event in enumerate(named.events)
        for work in OUTSIDE
        if (nr := int(counts[work][number]))
    )


def event_stats(simulation: engine.Simulation) -> EventStats:
    """Copy what a simulation has counted beside the counters."""
    stats = simulation.event_stats()
    return EventStats(**{name: stats[name].astype(np.int64) for name in stats.dtype.names or ()})


def axes() -> Axes:
    """Names along the axes of the engine's counters."""
    return Axes(
        events=engine.names("event_kinds"),
        causes=engine.names("causes"),
        fields=engine.names("fields"),
        field_classes=tuple(name.lower() for name in engine.names("field_classes")),
        accesses=cost.ACCESSES,
        dependences=cost.DEPENDENCES,
        levels=engine.names("levels"),
    )


def run_info(scenario: Scenario, spec: SchemeSpec, setup: Setup) -> RunInfo:
    """Say what is run, on what."""
    kernel = kernel_of(spec, setup)
    policy = setup.folio or scenario.folio_policy or FolioPolicy.parse("default")
    known = setup.backend != "count"
    return RunInfo(
        scenario=scenario.name,
        scenario_hash=scenario.hash,
        scheme=spec.label,
        kernel=kernel.name,
        counterfactual=not spec.info.shipped_in(f"{kernel.version // 100}.{kernel.version % 100}"),
        reconstructed=spec.info.reconstructed,
        machine=setup.machine.name,
        page_size_bytes=setup.geometry.page_size_bytes,
        line_bytes=setup.geometry.line_bytes,
        memory_bytes=setup.geometry.memory_bytes,
        folio_policy=policy.name,
        backend=setup.backend,
        levels=(*(level.name for level in setup.machine.levels), "dram") if known else (),
    )


def priced(counters: NDArray[np.int64], setup: Setup) -> NDArray[np.float64]:
    """Price counters: ns by event kind, cause and field; NaN throughout where no time can be stated."""
    if setup.priced and setup.backend != "count":
        return cost.price(counters, setup.machine)
    return np.full(counters.shape[:3], np.nan)


def event_error(scenario: Scenario, error: FperfError) -> ScenarioError:
    """Make the error of an event that failed into one that names its place."""
    index = error.index or 0
    rule = f"{_event(scenario, index)}: {error.rule} ({error.name})"
    return ScenarioError(scenario.source, int(scenario.lines[index]), rule)


def _event(scenario: Scenario, index: int) -> str:
    """``event 7 (touch P0 A 0 1 w)``: what `Scenario.where` says after source and line."""
    where = scenario.where(index)
    return where[where.index(f"event {index} (") :]


def _outcome(given: Input, status: NDArray[np.int32]) -> Outcome:
    scenario = given.scenario
    codes = Counter(status[status < 0].tolist())
    failures = tuple(
        Failure(
            name=error_name(code),
            rule=error_rule(code),
            count=count,
            examples=tuple(scenario.where(int(event)) for event in np.flatnonzero(status == code)[:_NR_EXAMPLES]),
        )
        for code, count in codes.most_common()
    )
    return Outcome(
        applied=int((status == engine.APPLIED).sum()),
        noop=int((status == engine.NOOP).sum()),
        failures=failures,
        dropped=dict(given.dropped),
        assumed=dict(given.assumed),
        unsupported=tuple(
            f"{scenario.source}:{entry.line}: {entry.text}: {entry.reason}" for entry in scenario.unsupported
        ),
    )
