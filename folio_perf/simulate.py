# SPDX-License-Identifier: BSD-3-Clause
"""Run one scenario under one scheme.

`simulate` is the main function of the Python API; `trace_operation` lists what a single operation touches, access by
access. Both resolve names (of scenarios, schemes, machines, kernels, folio policies) and check every value before
anything runs.
"""

from __future__ import annotations

import os

from folio_perf._simulate_inputs import Input, ScenarioLike, resolve
from folio_perf._simulate_operations import operation_names, operation_title, trace_operation
from folio_perf._simulate_run import BACKENDS, Progress, Setup, axes, kernel_of, prepare, run_scenario
from folio_perf._simulation import new_simulation
from folio_perf.geometry import FolioPolicy, Geometry
from folio_perf.machine import DEFAULT_MACHINE, Machine
from folio_perf.profile import DEFAULT_KERNEL, KernelProfile
from folio_perf.results import Result
from folio_perf.schemes import SchemeSpec, parse_scheme_spec, with_unknown

__all__ = [
    "BACKENDS",
    "DEFAULT_SCHEME",
    "Input",
    "Progress",
    "ScenarioLike",
    "Setup",
    "axes",
    "kernel_of",
    "new_simulation",
    "operation_names",
    "operation_title",
    "prepare",
    "resolve",
    "run_scenario",
    "simulate",
    "trace_operation",
]

DEFAULT_SCHEME = "page_mapcount"


def simulate(
    scenario: ScenarioLike,
    *,
    scheme: str | SchemeSpec = DEFAULT_SCHEME,
    machine: str | os.PathLike[str] | Machine = DEFAULT_MACHINE,
    geometry: str | Geometry | None = None,
    kernel: str | os.PathLike[str] | KernelProfile = DEFAULT_KERNEL,
    backend: str = "cache",
    folio: str | FolioPolicy | None = None,
    truth: bool = True,
    strict: bool | None = None,
    unknown: str | None = None,
    progress: Progress | None = None,
) -> Result:
    """Run a scenario under a scheme.

    Parameters
    ----------
    scenario : Scenario, Trace, str or path
        A name stands for what ships (`scenario_names`, `trace_names`) or a workload (`workload_names`), with its
        settings if there are any: ``fork_server(children=1000)``; a path for a file of scenarios or a Parquet
        trace; ``FILE:NAME`` picks one of several scenarios.
    scheme : str or SchemeSpec
        ``NAME[:OPTION=VALUE,...][@KERNEL]``.
    machine : str, path or Machine
        Cache hierarchy and prices.
    geometry : str or Geometry, optional
        Page, line and memory size, or just the page size as text; default 4 KiB pages, the machine's lines, 256 GiB.
        With lines of another size than the machine's the caches keep size and ways, and no time is stated: prices
        are per line.
    kernel : str, path or KernelProfile
        What mm does apart from counting; a kernel named by `scheme` goes first.
    backend : {"cache", "count"}
        ``count`` leaves lines, levels and time unknown, and is faster.
    folio : str or FolioPolicy, optional
        Folio sizes of anonymous faults; default the scenario's own, else PMD size under MADV_HUGEPAGE.
    truth : bool
        Keep the ledger that knows which answers were wrong.
    strict : bool, optional
        Whether the first event that fails ends the run; None: as the scenario says.
    unknown : {"assume", "walk", "repair"}, optional
        What consumers do where the scheme answers "unknown", unless `scheme` says so itself; see `SchemeSpec`.
    progress : callable, optional
        See `Progress`.

    Returns
    -------
    Result

    Raises
    ------
    ValueError
        If a name or value is wrong; the message names it and the rule. ScenarioError (TraceError) if the scenario
        (trace) breaks a rule, or an event of a strict scenario fails; it names source, line and event.
    OSError
        If a file cannot be read.
    MemoryError
        If the host has no room for the modelled machine.
    """
    spec = with_unknown(parse_scheme_spec(scheme) if isinstance(scheme, str) else scheme, unknown)
    setup = prepare(machine=machine, geometry=geometry, kernel=kernel, backend=backend, folio=folio, truth=truth)
    return run_scenario(resolve(scenario, setup.geometry, strict=strict), spec, setup, progress)
