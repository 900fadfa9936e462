# SPDX-License-Identifier: BSD-3-Clause
"""Run a recorded workload under many schemes, and say what became of each of its processes."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from folio_perf._native import engine
from folio_perf.compare import compare
from folio_perf.geometry import FolioPolicy, Geometry
from folio_perf.machine import DEFAULT_MACHINE, Machine
from folio_perf.profile import DEFAULT_KERNEL, KernelProfile
from folio_perf.results import Comparison, Outcome
from folio_perf.scenario import Op, Scenario
from folio_perf.schemes import SchemeSpec, scheme_names
from folio_perf.simulate import Progress, Setup, new_simulation, prepare, resolve
from folio_perf.traces import Trace, load_trace, read_trace, trace_names

__all__ = ["Replay", "ReplayedProcess", "replay"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayedProcess:
    """What became of the events of one process.

    Parameters
    ----------
    name : str
        ``command[pid]``; the command is the last one it executed.
    applied, noop, failed : int
        Events that took effect, had nothing to do, contradicted the state of the model.
    rss_pages : int or None
        Modelled: base pages mapped when it exits, before teardown, counted as smaps counts Rss. None if it does not
        exit within the trace.
    smaps_rss_bytes : int or None
        Measured: Rss that smaps of the recorded kernel gave at the same moment. None if it was not sampled.
    """

    name: str
    applied: int
    noop: int
    failed: int
    rss_pages: int | None
    smaps_rss_bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """A trace, replayed.

    Parameters
    ----------
    comparison : Comparison
        What each scheme cost. What mm does depends on no scheme, so all have one outcome.
    processes : tuple of ReplayedProcess
        In order of appearance.
    """

    comparison: Comparison
    processes: tuple[ReplayedProcess, ...]

    @property
    def outcome(self) -> Outcome:
        """Events applied, without effect and failed, by reason; rows that became no event."""
        return self.comparison.results[0].outcome


def replay(
    trace: Trace | str | os.PathLike[str],
    *,
    schemes: str | Iterable[str | SchemeSpec] | None = None,
    machine: str | os.PathLike[str] | Machine = DEFAULT_MACHINE,
    geometry: str | Geometry | None = None,
    kernel: str | os.PathLike[str] | KernelProfile = DEFAULT_KERNEL,
    backend: str = "cache",
    folio: str | FolioPolicy | None = None,
    progress: Progress | None = None,
) -> Replay:
    """Replay a trace under several schemes.

    Parameters
    ----------
    trace : Trace, str or path
        A trace, the name of one that ships, or a Parquet file.
    schemes : str or iterable of str or SchemeSpec, optional
        As `compare`; default every scheme there is.
    machine, geometry, kernel, backend, folio, progress
        As `compare`. With pages larger than the recorded ones, ranges are rounded as ``docs/traces.md`` says.

    Returns
    -------
    Replay

    Raises
    ------
    ValueError, OSError, MemoryError
        As `compare`.
    """
    setup = prepare(machine=machine, geometry=geometry, kernel=kernel, backend=backend, folio=folio)
    if not isinstance(trace, Trace):
        shipped = isinstance(trace, str) and trace in trace_names()
        trace = load_trace(str(trace)) if shipped else read_trace(Path(trace))
    given = resolve(trace, setup.geometry, strict=False)
    comparison = compare(
        trace,
        schemes=scheme_names() if schemes is None else schemes,
        machine=machine,
        geometry=setup.geometry,
        kernel=setup.kernel,
        backend=backend,
        folio=folio,
        strict=False,
        progress=progress,
    )
    return Replay(comparison=comparison, processes=_processes(trace, given.scenario, comparison, setup))


def _processes(trace: Trace, scenario: Scenario, comparison: Comparison, setup: Setup) -> tuple[ReplayedProcess, ...]:
    """Run once more, counting alone, and look at each process before it exits."""
    spec = SchemeSpec(name=comparison.results[0].run.scheme.partition(":")[0])
    simulation = new_simulation(
        scenario,
        scheme=spec,
        kernel=setup.kernel,
        backend="count",
        geometry=setup.geometry,
        folio=setup.folio,
        truth=False,
    )
    events = scenario.events
    status = np.zeros(events.size, dtype=np.int32)
    rss: dict[int, int] = {}
    sampled: dict[int, int] = {}
    done = 0
    for event in [*np.flatnonzero(events["op"] == int(Op.EXIT)).tolist(), events.size]:
        simulation.run(events[done:event], status[done:event])
        done = event
        if event < events.size:
            process = int(events["process"][event])
            rss[process] = int(simulation.smaps(process)["rss_pages"].sum())
            sampled[process] = int(trace.rows["length"][scenario.lines[event] - 1])
    number = len(scenario.processes)
    owner = events["process"].astype(np.int64)
    became = np.select([status == engine.APPLIED, status == engine.NOOP], [0, 1], 2)
    counts = np.bincount(owner * 3 + became, minlength=3 * number).reshape(number, 3)
    return tuple(
        ReplayedProcess(
            name=name,
            applied=int(applied),
            noop=int(noop),
            failed=int(failed),
            rss_pages=rss.get(index),
            smaps_rss_bytes=sampled.get(index) or None,
        )
        for index, (name, (applied, noop, failed)) in enumerate(zip(scenario.processes, counts.tolist(), strict=True))
    )
