# SPDX-License-Identifier: BSD-3-Clause
"""What becomes catastrophically slower? A search for the scenarios in which a design loses, or wins, most.

Recipes combine ways to share memory (forked in a star or a chain, a file mapped by many mms or by many VMAs of one,
whole or in halves) with steps of those who share it (touching pages in some order, leaving in some order, fork, pins,
and the kernel paths that ask how often a folio is mapped). Each runs under a baseline and under every variant of the
designs searched, and is compared event kind by event kind. The best recipe of each niche (variant, event kind, cause)
is kept and varied; in the end each is made as small as it can be, and followed as the number of processes grows.

Times are modelled: exact counts at the machine's prices. What every design pays alike is part of them here, other than
in the rows of a run, so that a factor is that of the event's modelled accesses as a whole.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Final, Generic, Protocol, TypeVar

import numpy as np

from folio_perf._catastrophes_bench import DIRECTIONS, Bench, Niche, Plan, policies_of, policy_of
from folio_perf._catastrophes_finish import LEAST, finish
from folio_perf._catastrophes_recipe import Recipe
from folio_perf._catastrophes_search import Search
from folio_perf.cost import price_matrix
from folio_perf.geometry import Geometry
from folio_perf.machine import DEFAULT_MACHINE, Machine
from folio_perf.profile import DEFAULT_KERNEL, KernelProfile
from folio_perf.results import Case, Catastrophes
from folio_perf.schemes import SchemeSpec, parse_scheme_spec, scheme_names
from folio_perf.simulate import Progress, axes, prepare

__all__ = ["DEFAULT_BASELINE", "MAX_PROCESSES", "PAGE_SIZES", "ROUNDS", "catastrophes", "variants"]

DEFAULT_BASELINE: Final = "mm_owner"
PAGE_SIZES: Final = ("4K", "16K", "64K")
MAX_PROCESSES: Final = 1024
ROUNDS: Final = 16
"""Rounds of a search that nothing ends earlier."""

_PER_ROUND: Final = 48
_PER_TASK: Final = 3
_SEARCHED: Final = 0.55
"""Part of the time that goes into the search; the rest makes its findings small, up to the last part."""
_LAST: Final = 0.9

_T = TypeVar("_T")
_T_co = TypeVar("_T_co", covariant=True)


def variants(scheme: str | SchemeSpec) -> tuple[SchemeSpec, ...]:
    """List a design with its policies: one at a time differs from the default.

    Parameters
    ----------
    scheme : str or SchemeSpec
        ``NAME`` stands for all its variants, ``NAME:OPTION=VALUE,...`` for that one.

    Raises
    ------
    ValueError
        As `parse_scheme_spec`.
    """
    spec = parse_scheme_spec(scheme) if isinstance(scheme, str) else scheme
    named = ":" in scheme if isinstance(scheme, str) else spec.label != spec.name
    if named:
        return (spec,)
    return (
        spec,
        *(replace(spec, **{name: value}) for name, values in policies_of(spec).items() for value in values[1:]),
    )


def catastrophes(
    schemes: str | SchemeSpec | Iterable[str | SchemeSpec] | None = None,
    *,
    baseline: str | SchemeSpec = DEFAULT_BASELINE,
    processes: int = 64,
    page_sizes: Sequence[str] = PAGE_SIZES,
    machine: str | os.PathLike[str] | Machine = DEFAULT_MACHINE,
    kernel: str | os.PathLike[str] | KernelProfile = DEFAULT_KERNEL,
    seed: int = 0,
    rounds: int = ROUNDS,
    time_limit: float | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Catastrophes:
    """Search for the scenarios in which designs are slower, or faster, than a baseline by the largest factor.

    Parameters
    ----------
    schemes : str, SchemeSpec or iterable of them, optional
        As `variants`; default all designs but the baseline.
    baseline : str or SchemeSpec
    processes : int
        At most so many share the memory: 2 to `MAX_PROCESSES`.
    page_sizes : sequence of str
        Base pages.
    machine, kernel
        As `simulate`; the machine must know its prices.
    seed : int
        Equal seeds find equal cases, whatever the number of workers, unless the time limit ends the search.
    rounds : int
        Of the search, 48 scenarios each.
    time_limit : float, optional
        Seconds after which what was found is returned. Ctrl-C does the same.
    workers : int, optional
        Processes that run the model; default one per CPU. With more than one, a script that calls this must guard its
        main part by ``if __name__ == "__main__"``.
    progress : callable, optional
        See `Progress`; counts scenarios, then findings.

    Returns
    -------
    Catastrophes

    Raises
    ------
    ValueError
        If a name or value is wrong, or the machine lacks a price; the message says which.
    """
    plan = _plan(schemes, baseline, processes, page_sizes, machine, kernel)
    for name, value, least in (("rounds", rounds, 1), ("seed", seed, 0), ("workers", workers or 1, 1)):
        if value < least:
            raise ValueError(f"{name} {value} must be at least {least}")
    if workers == 0:
        raise ValueError("workers 0 must be at least 1")
    if time_limit is not None and not 1 <= time_limit < float("inf"):
        raise ValueError(f"time limit {time_limit!r} must be at least 1 second")
    run = _Run(plan, seed, time_limit, progress)
    with _workers(plan, workers or os.cpu_count() or 1) as submit:
        run.search(submit, rounds)
        cases = run.finish(submit)
    return Catastrophes(
        cases=tuple(cases),
        baseline=str(plan.baseline),
        kernel=plan.kernel.name,
        machine=plan.machine.name,
        seed=seed,
        tried=run.found.tried,
        variants=tuple(map(str, plan.variants)),
        ended=run.ended,
    )


def _plan(
    schemes: str | SchemeSpec | Iterable[str | SchemeSpec] | None,
    baseline: str | SchemeSpec,
    processes: int,
    page_sizes: Sequence[str],
    machine: str | os.PathLike[str] | Machine,
    kernel: str | os.PathLike[str] | KernelProfile,
) -> Plan:
    base = parse_scheme_spec(baseline) if isinstance(baseline, str) else baseline
    if schemes is None:
        schemes = tuple(name for name in scheme_names() if name != base.label)
    elif isinstance(schemes, (str, SchemeSpec)):
        schemes = (schemes,)
    chosen = dict.fromkeys(spec for scheme in schemes for spec in variants(scheme) if spec != base)
    if not chosen:
        raise ValueError(f"there must be a scheme other than the baseline {base}")
    if not 2 <= processes <= MAX_PROCESSES:
        raise ValueError(f"processes {processes} must be from 2 to {MAX_PROCESSES}")
    if not page_sizes:
        raise ValueError("there must be at least one page size")
    for size in page_sizes:
        Geometry.from_text(size)
    setup = prepare(machine=machine, kernel=kernel)
    levels = [axes().levels.index(name) for name in (*(level.name for level in setup.machine.levels), "dram")]
    if np.isnan(price_matrix(setup.machine)[:, :, levels]).any():
        raise ValueError(f"machine {setup.machine.name} does not know all its prices")
    return Plan(
        baseline=base,
        variants=tuple(chosen),
        machine=setup.machine,
        kernel=setup.kernel,
        page_sizes=tuple(dict.fromkeys(page_sizes)),
        processes=processes,
    )


class _Run:
    """One search on its way: what was found, and what ended it."""

    def __init__(self, plan: Plan, seed: int, time_limit: float | None, progress: Progress | None) -> None:
        self.found = Search(plan, seed)
        self.ended = "done"
        self._bench = Bench(plan)
        self._start = time.monotonic()
        self._limit = float("inf") if time_limit is None else time_limit
        self._progress = progress

    def search(self, submit: _Submit, rounds: int) -> None:
        """Try rounds of recipes."""
        total = rounds * _PER_ROUND
        for _ in range(rounds):
            recipes = self.found.round(_PER_ROUND)
            pieces = [recipes[at : at + _PER_TASK] for at in range(0, len(recipes), _PER_TASK)]
            tasks = [submit(_factors, piece) for piece in pieces]
            with self._watched(tasks):
                for piece, factors in zip(pieces, self._results(tasks, _SEARCHED), strict=True):
                    for recipe, found in zip(piece, factors, strict=True):
                        self.found.learn(recipe, found)
                    self._advance(self.found.tried, total)
            if self.ended != "done":
                return

    def finish(self, submit: _Submit) -> list[Case]:
        """Make findings of what was found, the largest first, as long as there is time; the rest as it is."""
        groups = self.found.groups(LEAST)
        cases: list[Case] = []
        done = 0
        if self.ended != "interrupted":
            tasks = [submit(finish, group, self._deadline(_LAST)) for group in groups]
            with self._watched(tasks):
                for found in self._results(tasks, 1.0):
                    cases += found
                    done += 1
                    self._advance(done, len(groups))
        for group in groups[done:]:
            cases += finish(self._bench, group, 0.0)
        if self.ended == "done" and any(case.growth_exponent is None for case in cases):
            self.ended = "time limit"
        order = [(spec.name, policy_of(spec)) for spec in self.found.plan.variants]
        cases.sort(
            key=lambda case: (
                DIRECTIONS.index(case.direction),
                -round(case.factor, 6),
                order.index((case.scheme, case.policy)),
            )
        )
        return cases

    @contextmanager
    def _watched(self, tasks: Sequence[_Task[_T]]) -> Iterator[None]:
        """Take note of what ends a part of the search, and call off what is not done by then."""
        try:
            yield
        except TimeoutError:
            self.ended = "time limit"
        except KeyboardInterrupt:
            self.ended = "interrupted"
        finally:
            for task in tasks:
                task.cancel()

    def _deadline(self, part: float) -> float:
        """When so much of the time is over."""
        return self._start + part * self._limit

    def _results(self, tasks: Sequence[_Task[_T]], part: float) -> Iterator[_T]:
        """Results in order; TimeoutError when so much of the time is over."""
        deadline = self._deadline(part)
        for task in tasks:
            yield task.result(timeout=None if deadline == float("inf") else max(0.0, deadline - time.monotonic()))

    def _advance(self, done: int, total: int) -> None:
        if self._progress is not None:
            self._progress(done, total)


# ---- processes that run the model --------------------------------------------------------------------------------


class _Task(Protocol[_T_co]):
    """What `concurrent.futures.Future` is to this module."""

    def result(self, timeout: float | None = None) -> _T_co: ...

    def cancel(self) -> bool: ...


class _Submit(Protocol):
    """Takes a function that is given a bench first, and its other arguments."""

    def __call__(self, run: Callable[..., _T], *arguments: object) -> _Task[_T]: ...


_bench: Bench | None = None


def _start_worker(plan: Plan) -> None:
    global _bench
    # Ctrl-C is for the process that waits.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _bench = Bench(plan)


def _in_worker(run: Callable[..., _T], *arguments: object) -> _T:
    assert _bench is not None
    return run(_bench, *arguments)


def _factors(bench: Bench, recipes: Sequence[Recipe]) -> list[dict[Niche, float]]:
    return [bench.factors(recipe) for recipe in recipes]


class _Here(Generic[_T]):
    """A task that runs in this process, when its result is asked for."""

    def __init__(self, run: Callable[[], _T]) -> None:
        self._run = run

    def result(self, timeout: float | None = None) -> _T:
        if timeout is not None and timeout <= 0:
            raise TimeoutError
        return self._run()

    def cancel(self) -> bool:
        return True


@contextmanager
def _workers(plan: Plan, nr: int) -> Iterator[_Submit]:
    """Yield a function that submits a task to `nr` processes; one is this process."""
    if nr == 1:
        bench = Bench(plan)
        yield lambda run, *arguments: _Here(partial(run, bench, *arguments))
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(nr, mp_context=context, initializer=_start_worker, initargs=(plan,))
    try:
        yield lambda run, *arguments: pool.submit(_in_worker, run, *arguments)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
