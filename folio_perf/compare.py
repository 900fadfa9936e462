# SPDX-License-Identifier: BSD-3-Clause
"""Run one scenario under several schemes, side by side."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait

from folio_perf.geometry import FolioPolicy, Geometry
from folio_perf.machine import DEFAULT_MACHINE, Machine
from folio_perf.profile import DEFAULT_KERNEL, KernelProfile
from folio_perf.results import Comparison, Result
from folio_perf.schemes import SchemeSpec, parse_scheme_spec, parse_scheme_specs, with_unknown
from folio_perf.simulate import Progress, ScenarioLike, kernel_of, prepare, resolve, run_scenario

__all__ = ["DEFAULT_SCHEMES", "compare"]

DEFAULT_SCHEMES = (
    "page_mapcount",
    "large_mapcount",
    "zero_one_two_many",
    "zero_one_two_many:recount=eager_stop3",
)
"""What shipped, oldest first; then the proposal that never recounts, and the one that recounts at once."""


class _CancelledError(Exception):
    """Ends a run nobody waits for any more."""


def compare(
    scenario: ScenarioLike,
    *,
    schemes: str | Iterable[str | SchemeSpec] | None = None,
    machine: str | os.PathLike[str] | Machine = DEFAULT_MACHINE,
    geometry: str | Geometry | None = None,
    kernel: str | os.PathLike[str] | KernelProfile = DEFAULT_KERNEL,
    backend: str = "cache",
    folio: str | FolioPolicy | None = None,
    truth: bool = True,
    strict: bool | None = None,
    unknown: str | None = None,
    progress: Progress | None = None,
    workers: int | None = None,
) -> Comparison:
    """Run a scenario under several schemes.

    Parameters
    ----------
    scenario : Scenario, Trace, str or path
        As `simulate`.
    schemes : str or iterable of str or SchemeSpec, optional
        ``a,b@6.1`` or one by one; the first is the baseline. Default `DEFAULT_SCHEMES`.
    machine, geometry, kernel, backend, folio, truth, strict, unknown
        As `simulate`; `kernel` is that of all schemes that do not name one.
    progress : callable, optional
        See `Progress`; events of all runs together, called from other threads, one call at a time.
    workers : int, optional
        Threads that run schemes at the same time; default one per CPU. The engine runs without the GIL.

    Returns
    -------
    Comparison
        In the order of `schemes`, whatever the number of workers.

    Raises
    ------
    ValueError, OSError, MemoryError
        As `simulate`; also if `schemes` is empty or holds one pair of scheme and kernel twice.
    """
    if workers is not None and workers < 1:
        raise ValueError(f"workers {workers} must be at least 1")
    setup = prepare(machine=machine, geometry=geometry, kernel=kernel, backend=backend, folio=folio, truth=truth)
    specs = tuple(with_unknown(spec, unknown) for spec in _specs(DEFAULT_SCHEMES if schemes is None else schemes))
    if not specs:
        raise ValueError("there must be at least one scheme to compare")
    pairs = [(spec.label, kernel_of(spec, setup).name) for spec in specs]
    for number, (label, name) in enumerate(pairs):
        if (label, name) in pairs[:number]:
            raise ValueError(f"scheme {label} on kernel {name} is named twice")
    given = resolve(scenario, setup.geometry, strict=strict)

    total = given.scenario.nr_events * len(specs)
    done = [0] * len(specs)
    cancelled = threading.Event()
    one_call = threading.Lock()

    def run(number: int) -> Result:
        def advance(events: int, _: int) -> None:
            if cancelled.is_set():
                raise _CancelledError
            if progress is not None:
                with one_call:
                    done[number] = events
                    progress(sum(done), total)

        return run_scenario(given, specs[number], setup, advance)

    pool = ThreadPoolExecutor(min(workers or os.cpu_count() or 1, len(specs)))
    try:
        futures = [pool.submit(run, number) for number in range(len(specs))]
        wait(futures, return_when=FIRST_EXCEPTION)
        # The first scheme that failed, whichever thread was faster.
        failed = [error for future in futures if future.done() and (error := future.exception())]
        if failed:
            raise failed[0]
        return Comparison(results=tuple(future.result() for future in futures))
    finally:
        # After an error, or Ctrl-C in this thread, the other runs end at their next look; nobody waits for them.
        cancelled.set()
        pool.shutdown(wait=False, cancel_futures=True)


def _specs(schemes: str | Iterable[str | SchemeSpec]) -> tuple[SchemeSpec, ...]:
    if isinstance(schemes, str):
        return parse_scheme_specs(schemes)
    return tuple(parse_scheme_spec(each) if isinstance(each, str) else each for each in schemes)
