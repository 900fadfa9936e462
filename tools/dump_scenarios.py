#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Write the scenarios that ship as binary files for csrc/tests/run_scenarios.c, which runs them without Python.

    dump_scenarios.py DIRECTORY

Every scenario once per kernel profile at 4 KiB pages and once at 16 and 64 KiB, unless it has so many processes that
the large tables of those make it slow; every trace once. struct file_header of run_scenarios.c is the format: header,
objects, events.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from folio_perf._native.engine import EVENT_DTYPE, OBJECT_DTYPE, PROFILE_DTYPE, PROFILE_FIELDS
from folio_perf.geometry import FolioPolicy, Geometry
from folio_perf.profile import DEFAULT_KERNEL, KernelProfile, load_profile, profile_names
from folio_perf.scenario import OBJECT_KINDS, Scenario, load_scenario, scenario_names
from folio_perf.traces import load_trace, trace_names

MANY_PROCESSES = 100

HEADER_DTYPE = np.dtype(
    [
        ("magic", "S8"),
        ("page_shift", "u4"),
        ("nr_objects", "u4"),
        ("nr_events", "u8"),
        ("memory_bytes", "u8"),
        ("anon_orders_always", "u8"),
        ("anon_orders_madvise", "u8"),
        ("shmem_huge", "u8"),
        ("profile", PROFILE_DTYPE),
    ]
)


def dump(scenario: Scenario, geometry: Geometry, profile: KernelProfile) -> bytes:
    """One file: header, objects, events."""
    policy = scenario.folio_policy or FolioPolicy.parse("default")
    header = np.zeros(1, HEADER_DTYPE)
    header["magic"] = b"FPERFSC1"
    header["page_shift"] = geometry.page_shift
    header["memory_bytes"] = geometry.memory_bytes
    header["anon_orders_always"], header["anon_orders_madvise"] = policy.orders(geometry)
    header["shmem_huge"] = policy.shmem_orders(geometry)
    for field in PROFILE_FIELDS:
        header["profile"][field] = getattr(profile, field)

    objects = np.zeros(len(scenario.objects), OBJECT_DTYPE)
    for row, spec in zip(objects, scenario.objects, strict=True):
        row["kind"] = OBJECT_KINDS.index(spec.kind)
        row["nr_pages"], row["order"], row["warm"] = spec.nr_pages, spec.order, spec.warm

    header["nr_objects"], header["nr_events"] = objects.size, scenario.events.size
    return header.tobytes() + objects.tobytes() + scenario.events.astype(EVENT_DTYPE).tobytes()


def main() -> int:
    """Fill the directory named on the command line; return the exit status."""
    if len(sys.argv) != 2:
        sys.exit("usage: dump_scenarios.py DIRECTORY")
    directory = Path(sys.argv[1])
    directory.mkdir(parents=True, exist_ok=True)
    for old in directory.glob("*.events"):
        old.unlink()
    axes = [("4K", kernel) for kernel in profile_names()] + [("16K", DEFAULT_KERNEL), ("64K", DEFAULT_KERNEL)]
    for page_size, kernel in axes:
        geometry = Geometry.from_text(page_size, memory="16G")
        scenarios = [load_scenario(name, geometry) for name in scenario_names()]
        if page_size != "4K":
            scenarios = [scenario for scenario in scenarios if len(scenario.processes) < MANY_PROCESSES]
        elif kernel == DEFAULT_KERNEL:
            scenarios += [load_trace(name).to_scenario(geometry) for name in trace_names()]
        for scenario in scenarios:
            path = directory / f"{scenario.name}-{page_size}-{kernel}.events"
            path.write_bytes(dump(scenario, geometry, load_profile(kernel)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
