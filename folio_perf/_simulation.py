# SPDX-License-Identifier: BSD-3-Clause
"""From the words of the Python API to a simulation of the C library: one place that assembles its configuration."""

from __future__ import annotations

from typing import Final

import numpy as np

from folio_perf._native import engine
from folio_perf.geometry import FolioPolicy, Geometry
from folio_perf.machine import Machine
from folio_perf.profile import KernelProfile
from folio_perf.scenario import ADVICES, OBJECT_KINDS, ObjectSpec, Op, Scenario
from folio_perf.schemes import SchemeSpec

__all__ = ["new_simulation"]


# What these do depends on what pages hold.
_LOOK_AT_CONTENTS: Final = (Op.SPLIT, Op.DEFERRED_SPLIT, Op.KSM)
_ADVICES_THAT_SPLIT: Final = tuple(ADVICES.index(advice) for advice in ("COLD", "PAGEOUT", "FREE"))


def new_simulation(
    scenario: Scenario,
    *,
    scheme: SchemeSpec,
    kernel: KernelProfile,
    backend: str,
    geometry: Geometry | None = None,
    machine: Machine | None = None,
    folio: FolioPolicy | None = None,
    truth: bool = True,
    log_rmap: bool = False,
    trace_accesses: bool = False,
    walk_order_seed: int = 0,
) -> engine.Simulation:
    """Create the machine a scenario runs on, its file objects in place; no event has run.

    Parameters
    ----------
    scenario : Scenario
        Gives objects, strictness, and a folio policy where `folio` is None.
    scheme : SchemeSpec
    kernel : KernelProfile
    backend : str
        ``count``, ``cache`` or ``native``.
    geometry : Geometry, optional
    machine : Machine, optional
        Its cache levels; needed by the ``cache`` back end.
    folio : FolioPolicy, optional
        Default: the scenario's, else the default policy.
    truth, log_rmap, trace_accesses : bool
        Keep the ledger; log the calls that change struct pages; list all accesses.
    walk_order_seed : int
        Draw the candidates of rmap walks like lots, for formulas that assume random order; 0: the kernel's order.

    Raises
    ------
    ValueError
        If the pieces do not fit each other.
    """
    geometry = geometry or Geometry()
    policy = folio or scenario.folio_policy or FolioPolicy.parse("default")
    always, madvise = policy.orders(geometry)
    if backend not in engine.names("backends"):
        raise ValueError(f"back end {backend!r} must be one of {', '.join(engine.names('backends'))}")
    if backend == "cache" and machine is None:
        raise ValueError("the cache back end needs a machine")
    if machine is not None and backend == "cache" and machine.line_bytes != geometry.line_bytes:
        raise ValueError(
            f"machine {machine.name!r} has lines of {machine.line_bytes} bytes, the geometry of {geometry.line_bytes}"
        )
    levels = machine.levels if machine is not None and backend == "cache" else ()
    config: engine.SimulationConfig = {
        "page_shift": geometry.page_shift,
        "line_shift": geometry.line_shift,
        "backend": engine.names("backends").index(backend),
        "scheme": engine.names("schemes").index(scheme.name),
        "presence": engine.names("presences").index(scheme.presence),
        "recount": engine.names("recounts").index(scheme.recount),
        "recount_period": int(scheme.period) if scheme.recount == "threshold" else 0,
        "unknown": engine.names("unknown_acts").index(scheme.unknown),
        "recount_naive": int(scheme.race == "naive"),
        "pins_exact": int(scheme.pins == "exact"),
        "variant": scheme.variant_number,
        "contents": int(_looks_at_contents(scenario)),
        "walk_order_seed": walk_order_seed,
        "truth": int(truth),
        "strict": int(scenario.strict),
        "log_rmap": int(log_rmap),
        "trace_accesses": int(trace_accesses),
        "cache": tuple((level.size_bytes, level.nr_ways) for level in levels),
        "memory_bytes": geometry.memory_bytes,
        "anon_orders_always": always,
        "anon_orders_madvise": madvise,
        "shmem_huge": policy.shmem_orders(geometry),
        "profile": {name: int(getattr(kernel, name)) for name in engine.PROFILE_FIELDS},
    }
    simulation = engine.Simulation(config)
    for each in scenario.objects:
        warm = each.warm and not each.absent
        number = simulation.add_object(OBJECT_KINDS.index(each.kind), each.nr_pages, order=each.order, warm=warm)
        if each.absent:
            _populate(simulation, number, each)
    return simulation


def _populate(simulation: engine.Simulation, number: int, spec: ObjectSpec) -> None:
    """Bring in what is not absent, in folios of the file's order where they fit, else in small ones."""
    present = 0
    for first, nr in (*spec.absent, (spec.nr_pages, 0)):
        while present < first:
            order = spec.order if present % (1 << spec.order) == 0 and present + (1 << spec.order) <= first else 0
            simulation.populate(number, present, order)
            present += 1 << order
        present = first + nr


def _looks_at_contents(scenario: Scenario) -> bool:
    """Tell whether it splits folios, which maps the zero page in place of empty pages, or merges equal ones."""
    op, what = scenario.events["op"], scenario.events["what"]
    advises = (op == Op.MADVISE) & np.isin(what, _ADVICES_THAT_SPLIT)
    return bool((np.isin(op, _LOOK_AT_CONTENTS) | advises).any())
