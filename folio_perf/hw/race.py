# SPDX-License-Identifier: BSD-3-Clause
"""Doing against modelling: fork and exit by the running kernel, and the model of the same, in turn."""

from __future__ import annotations

import platform
import re
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from folio_perf._native import hw
from folio_perf._native.engine import Simulation
from folio_perf.geometry import FolioPolicy, Geometry
from folio_perf.machine import DEFAULT_MACHINE, Machine, load_machine
from folio_perf.profile import DEFAULT_KERNEL, KernelProfile, load_profile
from folio_perf.scenario import Op, Scenario, ScenarioBuilder
from folio_perf.schemes import parse_scheme_spec
from folio_perf.simulate import new_simulation

__all__ = ["RACE_BACKENDS", "RACE_KINDS", "Race", "race"]

RACE_KINDS: Final = hw.MEMORIES
RACE_BACKENDS: Final = ("cache", "count")
MIN_REPEATS: Final = 7
_SCHEME: Final = "mm_owner"
_PAGE_BYTES: Final = 4096
_HUGE_BYTES: Final = 2 << 20
_HUGE_KINDS: Final = ("pte-thp", "pmd")


@dataclass(frozen=True, slots=True, kw_only=True)
class Race:
    """Fork and exit of one process, measured twice: by the kernel, and in the model.

    Parameters
    ----------
    kind : str
        How the memory is mapped, one of `RACE_KINDS`.
    backend : str
        Of the model, one of `RACE_BACKENDS`.
    kernel_ns_per_page, model_ns_per_page : float or None
        Median over repeats of the time of fork and exit together, per 4 KiB page; measured, both. None where skipped.
    kernel_spread, model_spread : float or None
        Half the distance of the quartiles, as a share of the median.
    ratio : float or None
        Model / kernel.
    repeats : int
    skipped : str
        Why it could not be measured; else empty.
    """

    kind: str
    backend: str
    kernel_ns_per_page: float | None
    model_ns_per_page: float | None
    kernel_spread: float | None
    model_spread: float | None
    ratio: float | None
    repeats: int
    skipped: str = ""


def race(
    *,
    kinds: Sequence[str] = RACE_KINDS,
    backends: Sequence[str] = RACE_BACKENDS,
    size_bytes: int = 1 << 30,
    repeats: int = MIN_REPEATS,
    progress: Callable[[int, int], object] | None = None,
) -> tuple[Race, ...]:
    """Let the running kernel fork a process and end its child, and let the model do the same, in turn.

    The process has `size_bytes` of private anonymous memory, all of it written; the child touches nothing. The model
    is that of mm_owner on the running kernel's rules, as far as they are documented, with the caches of the default
    machine. Both start each repeat from a process that was never forked; making it is not timed.

    Parameters
    ----------
    kinds : sequence of str
        Of `RACE_KINDS`: huge folios under PTEs, small folios touched in the order of addresses or in random order,
        huge folios under PMDs.
    backends : sequence of str
        Of `RACE_BACKENDS`.
    size_bytes : int
        A multiple of 2 MiB.
    repeats : int
        At least 7.
    progress : callable, optional
        Called with the number of repeats done, and of all.

    Returns
    -------
    tuple of Race
        In the order of `kinds`, then `backends`.

    Raises
    ------
    ValueError
        If a name is unknown or a number out of range.
    FperfError
        If the kernel cannot give a process so much memory.
    """
    for what, names, known in (("kind", kinds, RACE_KINDS), ("back end", backends, RACE_BACKENDS)):
        for name in names:
            if name not in known:
                raise ValueError(f"no {what} named {name!r}; there are {', '.join(known)}")
    if size_bytes <= 0 or size_bytes % _HUGE_BYTES:
        raise ValueError(f"size {size_bytes} must be a multiple of 2 MiB above 0")
    if repeats < MIN_REPEATS:
        raise ValueError(f"{repeats} repeats must be at least {MIN_REPEATS}")
    found: list[Race] = []
    for done, kind in enumerate(kinds):
        reason = _reason_to_skip(kind, size_bytes)
        kernel: list[float] = []
        model: dict[str, list[float]] = {backend: [] for backend in backends}
        runners = {} if reason else {backend: _Model(kind, backend, size_bytes) for backend in backends}
        for repeat in range(0 if reason else repeats):
            if progress is not None:
                progress(done * repeats + repeat, len(kinds) * repeats)
            forked = hw.fork(size_bytes, RACE_KINDS.index(kind))
            reason = _reason_to_discard(kind, size_bytes, forked)
            if reason:
                break
            kernel.append((forked["fork_ns"] + forked["exit_ns"]) * _PAGE_BYTES / size_bytes)
            for backend, runner in runners.items():
                model[backend].append(runner.once() * _PAGE_BYTES / size_bytes)
        found += [_result(kind, backend, kernel, model[backend], reason) for backend in backends]
    if progress is not None:
        progress(len(kinds) * repeats, len(kinds) * repeats)
    return tuple(found)


def _result(kind: str, backend: str, kernel: Sequence[float], model: Sequence[float], skipped: str) -> Race:
    if skipped:
        return Race(
            kind=kind,
            backend=backend,
            kernel_ns_per_page=None,
            model_ns_per_page=None,
            kernel_spread=None,
            model_spread=None,
            ratio=None,
            repeats=0,
            skipped=skipped,
        )
    kernel_ns, model_ns = statistics.median(kernel), statistics.median(model)
    return Race(
        kind=kind,
        backend=backend,
        kernel_ns_per_page=kernel_ns,
        model_ns_per_page=model_ns,
        kernel_spread=_spread(kernel),
        model_spread=_spread(model),
        ratio=model_ns / kernel_ns,
        repeats=len(kernel),
    )


def _spread(values: Sequence[float]) -> float:
    low, middle, high = statistics.quantiles(values, n=4)
    return (high - low) / 2 / middle


def _reason_to_skip(kind: str, size_bytes: int) -> str:
    free = re.search(r"^MemAvailable:\s+(\d+) kB$", _read("/proc/meminfo"), re.MULTILINE)
    if free and int(free[1]) << 10 < size_bytes + size_bytes // 4:
        return f"the host has {int(free[1]) >> 10} MiB of memory available, too few for a process of {size_bytes >> 20}"
    thp = _read("/sys/kernel/mm/transparent_hugepage/enabled")
    if kind in _HUGE_KINDS and not re.search(r"\[(always|madvise)\]", thp):
        return "the host gives no transparent huge pages" + (f": {thp.strip()}" if thp else "")
    return ""


def _reason_to_discard(kind: str, size_bytes: int, forked: dict[str, int]) -> str:
    """Say why the process was not what it should be; empty if it was."""
    if kind in _HUGE_KINDS and forked["huge_bytes"] < size_bytes:
        return f"the host gave huge pages for {forked['huge_bytes'] >> 20} of {size_bytes >> 20} MiB"
    if kind == "pte-thp" and forked["pmd_mapped_bytes"]:
        return f"{forked['pmd_mapped_bytes'] >> 20} MiB stayed under PMDs"
    return ""


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii")
    except OSError:
        return ""


def _running_kernel() -> KernelProfile:
    """Return the rules of the running kernel; those of the default one where nothing is known of it."""
    version = re.match(r"\d+\.\d+", platform.release())
    try:
        return load_profile(version[0] if version else DEFAULT_KERNEL)
    except ValueError:
        return load_profile(DEFAULT_KERNEL)


class _Model:
    """A modelled process of one kind, made afresh for each repeat."""

    def __init__(self, kind: str, backend: str, size_bytes: int) -> None:
        self._machine: Machine = load_machine(DEFAULT_MACHINE)
        self._geometry = Geometry(
            page_size_bytes=_PAGE_BYTES, line_bytes=self._machine.line_bytes, memory_bytes=2 * size_bytes + (64 << 20)
        )
        self._backend = backend
        self._kernel = _running_kernel()
        self._folio = FolioPolicy.parse("thp" if kind in _HUGE_KINDS else "order0")
        self._scenario = _scenario(kind, size_bytes // _PAGE_BYTES, self._geometry)

    def prepare(self) -> tuple[Simulation, NDArray[np.void]]:
        """Make a process that was never forked; return it with the events fork and exit."""
        simulation = new_simulation(
            self._scenario,
            scheme=parse_scheme_spec(_SCHEME),
            kernel=self._kernel,
            backend=self._backend,
            geometry=self._geometry,
            machine=self._machine,
            folio=self._folio,
        )
        simulation.run(self._scenario.events[:-2])
        return simulation, self._scenario.events[-2:]

    def once(self) -> int:
        """Time one fork and exit, in ns."""
        simulation, events = self.prepare()
        begin = time.perf_counter_ns()
        simulation.run(events)
        return time.perf_counter_ns() - begin


def _scenario(kind: str, nr_pages: int, geometry: Geometry) -> Scenario:
    """Build the process; the last two events are the fork and the exit."""
    builder = ScenarioBuilder("race", geometry).region("A", nr_pages).map_anon("P0", "A", 0, nr_pages)
    builder.touch("P0", "A", 0, nr_pages, "w")
    if kind == "pte-thp":
        huge = _HUGE_BYTES // _PAGE_BYTES
        for page in range(1, nr_pages, huge):
            builder.prot("P0", "A", page, 1, "r").prot("P0", "A", page, 1, "rw")
    scenario = builder.fork("P0", "P1").exit("P1").build()
    if kind != "order0-random":
        return scenario
    events = scenario.events
    (touch,) = np.flatnonzero(events["op"] == Op.TOUCH)
    touches = np.repeat(events[touch : touch + 1], nr_pages)
    touches["vpn"] += np.random.default_rng(1).permutation(nr_pages).astype(np.uint64)
    touches["nr"] = 1
    return Scenario(
        name=scenario.name,
        events=np.concatenate((events[:touch], touches, events[touch + 1 :])),
        processes=scenario.processes,
        regions=scenario.regions,
    )
