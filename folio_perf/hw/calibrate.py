# SPDX-License-Identifier: BSD-3-Clause
"""Prices of this CPU, from single accesses alone: no operation of a design takes part in them."""

from __future__ import annotations

import csv
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from folio_perf._native import hw
from folio_perf.geometry import Geometry
from folio_perf.hw.bench import Bench, Regime, median, regimes
from folio_perf.hw.host import Host, HostCache, host, host_topology, tier_of
from folio_perf.hw.operations import Call, Operation
from folio_perf.machine import (
    DEFAULT_MACHINE,
    TRANSFER_TIERS,
    UNKNOWN_PRICE,
    CacheLevel,
    Machine,
    Price,
    Prices,
    Source,
    Transfers,
    load_machine,
    machine_toml,
)
from folio_perf.schemes import parse_scheme_spec

__all__ = ["Calibration", "Yardstick", "calibrate", "read_core_to_core"]

_ACCESSES: Final = ("load", "store", "rmw")
_RUNS: Final = (1, 2, 4, 16, 64, 512)
_PRIMITIVES: Final[Mapping[str, int]] = {name: number for number, name in enumerate(hw.PRIMITIVES)}
_FEW: Final = 16
_SPACING: Final = 32
_PASS_SECONDS: Final = 0.004
_MIN_PASSES, _MAX_PASSES = 5, 40
_TRANSFER_ROUNDS: Final = 2000
_MAX_PAIRS: Final = 64
_SEED: Final = 0
THIS: Final = "this"
"""Key of the source of what was measured here."""

_DEPENDENT = "one {} behind a call, the CPU idle before and after; what a call without it takes is subtracted"
_STREAMING = "each further {} of runs of 2 to 512 consecutive lines, least squares of relative errors"


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """A host's prices.

    Parameters
    ----------
    machine : Machine
    host : Host
    sources : mapping of str to Source
        Of the prices, by their key in the file.
    seconds : float
        How long it took.
    """

    machine: Machine
    host: Host
    sources: Mapping[str, Source]
    seconds: float

    def to_toml(self) -> str:
        """Write the machine file."""
        return machine_toml(self.machine, self.sources)


def calibrate(
    name: str,
    *,
    cpu: int | None = None,
    rounds: int = 5,
    core_to_core: str | os.PathLike[str] | None = None,
    tier: str = "",
    progress: Callable[[int, int], object] | None = None,
) -> Calibration:
    """Measure the prices of this CPU.

    Parameters
    ----------
    name : str
        Of the machine.
    cpu : int, optional
        To run on; default the first this process may use.
    rounds : int
        Everything is measured so many times over, in turn: what disturbs the host for a while disturbs all alike.
    core_to_core : path, optional
        Matrix of a core-to-core-latency tool (`read_core_to_core`), for `tier`.
    tier : str
        One of `folio_perf.machine.TRANSFER_TIERS` that this host has no pair of.
    progress : callable, optional
        Called with the number of rounds done, and of all.

    Returns
    -------
    Calibration

    Raises
    ------
    ValueError
        If a value is out of range, or the host measures the tier itself.
    OSError
        If the matrix cannot be read.
    """
    if not 1 <= rounds <= 100:
        raise ValueError(f"rounds {rounds} must be from 1 to 100")
    imported = None if core_to_core is None else read_core_to_core(core_to_core)
    if imported is not None and tier not in TRANSFER_TIERS:
        raise ValueError(f"tier {tier!r} must be one of {', '.join(TRANSFER_TIERS)}")
    begin = time.monotonic()
    before, facts = os.sched_getaffinity(0), host()
    try:
        hw.pin(min(before) if cpu is None else cpu)
        yardstick = Yardstick(name, facts)
        for done in range(rounds):
            if progress is not None:
                progress(done, rounds + 1)
            yardstick.measure()
        if progress is not None:
            progress(rounds, rounds + 1)
        tiers = _transfers(sorted(before), yardstick.source)
    finally:
        os.sched_setaffinity(0, before)
    sources = {THIS: yardstick.source}
    if imported is not None and core_to_core is not None:
        if tier in tiers:
            raise ValueError(f"tier {tier!r} was measured on this host: {tiers[tier].ns:.4g} ns")
        date = time.strftime("%Y-%m-%d", time.gmtime(Path(core_to_core).stat().st_mtime))
        sources["imported"] = Source(title=f"core-to-core latencies in {Path(core_to_core).name}", date=date)
        middle, spread = _middle(imported)
        method = f"median of {imported.size} pairs of CPUs"
        tiers[tier] = Price(ns=middle, spread_ns=spread, method=method, source=sources["imported"].text)
    machine = replace(yardstick.machine(), transfers=Transfers(**tiers))
    if progress is not None:
        progress(rounds + 1, rounds + 1)
    return Calibration(
        machine=machine, host=yardstick.host, sources=sources, seconds=round(time.monotonic() - begin, 1)
    )


class Yardstick:
    """Single accesses, timed in rounds, and the machine they make. The caller binds the thread to a CPU.

    Parameters
    ----------
    name : str
        Of the machine.
    facts : Host
    """

    def __init__(self, name: str, facts: Host) -> None:
        self.name, self.host = name, facts
        self.source = Source(
            title=f"folio-perf hw calibrate on {facts.cpu}, Linux {facts.kernel}, guest: {facts.virtualised}",
            date=facts.date.partition(" ")[0],
        )
        self._caches = _usable_caches(self.host)
        sizes = regimes(self.host)
        self._arenas = {
            cache.name: _Arena(sizes[cache.name], first=cache.name == "l1")
            for cache in self._caches
            if cache.name in sizes
        }
        self._arenas["dram"] = _Arena(sizes["cold"] if hw.can_evict() else sizes["dram"], first=False)
        self._code = _code_benches(sizes["l1"], load_machine(DEFAULT_MACHINE))
        self._found: dict[tuple[str, str], list[float]] = defaultdict(list)

    def measure(self) -> None:
        """Time everything once."""
        for level, arena in self._arenas.items():
            for price, ns in arena.prices().items():
                self._found[level, price].append(ns)
        per_folio = {name: _per_folio(bench) for name, bench in self._code.items()}
        load = self._found["l1", "load_dependent"][-1]
        stream = self._found["l1", "load_streaming"][-1]
        call = per_folio["call"]
        found, entries = per_folio["found"], per_folio["entries"]
        nr_entries = (1 << _CODE_ORDER) - 1
        self._found["code", "hook_call"].append(call)
        self._found["code", "presence_test"].append(per_folio["present"] - call - load)
        # The walk to the entries is the same; the first entry is a load alone.
        self._found["code", "presence_entry"].append((entries - found - load) / nr_entries - stream)

    def machine(self) -> Machine:
        """Return the machine as measured so far, without transfers."""
        levels = tuple(
            CacheLevel(
                name=cache.name,
                size_bytes=cache.size_bytes,
                nr_ways=cache.nr_ways,
                prices=self._prices(cache.name),
                source="sysfs of this host",
            )
            for cache in self._caches
        )
        facts = self.host
        return Machine(
            name=self.name,
            description=f"{facts.cpu}, measured {facts.date}, {'a guest' if 'yes' in facts.virtualised else 'bare'}",
            line_bytes=self._caches[0].line_bytes,
            levels=levels,
            dram=self._prices("dram"),
            hook_call=self._price("code", "hook_call", "a hook that finds its struct page and does nothing"),
            presence_test=self._price("code", "presence_test", "a presence test of no entry, less its load of the PMD"),
            presence_entry=self._price(
                "code", "presence_entry", f"each of {(1 << _CODE_ORDER) - 1} entries of a presence test, less its load"
            ),
            topology=host_topology(),
        )

    def _prices(self, level: str) -> Prices:
        found = {}
        for access in _ACCESSES:
            told = f"; a chain of loads takes {self._middle(level, 'chase')[0]:.2f} ns" if access == "load" else ""
            found[f"{access}_dependent"] = self._price(level, f"{access}_dependent", _DEPENDENT.format(access) + told)
            found[f"{access}_streaming"] = self._price(level, f"{access}_streaming", _STREAMING.format(access))
        return Prices(**found)

    def _middle(self, level: str, name: str) -> tuple[float, float]:
        return _middle(np.array(self._found[level, name]))

    def _price(self, level: str, name: str, method: str) -> Price:
        ns, spread = self._middle(level, name)
        if ns <= 0:  # hidden behind what stands around it
            return UNKNOWN_PRICE
        return Price(ns=ns, spread_ns=spread, method=f"{method}; median of rounds", source=self.source.text)


def _middle(values: NDArray[np.float64]) -> tuple[float, float]:
    """Median, and half the distance of the quartiles."""
    low, middle, high = np.percentile(values, (25, 50, 75))
    return float(middle), float(high - low) / 2


def _usable_caches(facts: Host) -> tuple[HostCache, ...]:
    """List caches the model can simulate: those of the host, or else of the default machine."""
    whole = [
        cache
        for cache in facts.caches
        if cache.nr_ways and cache.line_bytes in (64, 128) and not cache.size_bytes % (cache.nr_ways * cache.line_bytes)
    ]
    if whole:
        return tuple(whole)
    usual = load_machine(DEFAULT_MACHINE)
    return tuple(
        HostCache(name=each.name, size_bytes=each.size_bytes, nr_ways=each.nr_ways, line_bytes=usual.line_bytes)
        for each in usual.levels
    )


class _Arena:
    """Lines that one level holds, or that are dropped from all before each pass."""

    def __init__(self, regime: Regime, *, first: bool) -> None:
        self._evicted, self._first = regime.evicted, first
        self._nr_lines = regime.nr_bytes // 64
        self._lines = hw.Arena(self._nr_lines)
        rng = np.random.default_rng(_SEED)
        self._visits = {}
        for run in _RUNS:
            if run <= self._nr_lines // 2:
                spacing = max(_SPACING // run, 1) if self._evicted else 1
                numbers = np.arange(0, self._nr_lines // run, spacing, dtype=np.uint32)
                self._visits[run] = rng.permutation(numbers)

    def prices(self) -> dict[str, float]:
        """Time all accesses: ns by name of their price, and of a chain of loads."""
        call = self._time("hook", 1)
        found = {"chase": self._time("chase", 1)}
        for access in _ACCESSES:
            runs = np.array(list(self._visits))
            ns = np.array([self._time(access, int(run)) - call for run in runs])
            alone = max(float(ns[0]), 0.0)
            found[f"{access}_dependent"] = alone
            more, rest = runs[1:] - 1, ns[1:]
            if self._first:
                # Further accesses to one line are served by L1, too.
                few = [run for run in self._visits if 1 < run <= _FEW]
                more = np.append(more, np.array(few) - 1)
                rest = np.append(rest, [self._time(f"{access}_again", run) - call for run in few])
            # Least squares of relative errors: ns = alone + more * price.
            weight = 1 / np.maximum(rest, 0.1) ** 2
            price = float((weight * more * (rest - alone)).sum() / (weight * more * more).sum())
            found[f"{access}_streaming"] = price
        return found

    def _time(self, primitive: str, run: int) -> float:
        """Time of one run, in ns; the clock's cost is spread over the runs of a pass, and subtracted."""
        visit, number = self._visits[run], _PRIMITIVES[primitive]
        self._pass(number, visit, run)
        once = max(self._pass(number, visit, run), 1)
        passes = min(max(int(_PASS_SECONDS * 1e9 / once), _MIN_PASSES), _MAX_PASSES)
        times = [self._pass(number, visit, run) for _ in range(passes)]
        return (median(times) - hw.clock_ns()) / visit.size

    def _pass(self, primitive: int, visit: NDArray[np.uint32], run: int) -> int:
        if self._evicted:
            self._lines.evict()
        return self._lines.measure(primitive, visit, run)


# ---- code --------------------------------------------------------------------------------------------------------

_CODE_ORDER: Final = 4
"""Of the folios whose entries are looked at; what does not depend on it is timed with as many small folios as fit."""
_CODE_PASSES: Final = 60


def _code_benches(regime: Regime, machine: Machine) -> Mapping[str, Bench]:
    """Build calls that do nothing, and presence tests alone: of mm, with no operation of a design in them."""
    timed = {
        "call": Call(hook=hw.EMPTY),
        "present": Call(hook=hw.PRESENT),
        "found": Call(hook=hw.PRESENT),
        "entries": Call(hook=hw.PRESENT, pages="one"),
    }
    spec = parse_scheme_spec("zero_one_two_many")
    geometry = Geometry(memory_bytes=64 << 30)
    return {
        name: Bench(
            spec,
            Operation(title=name, timed=(call,)),
            _CODE_ORDER if name in ("found", "entries") else 0,
            regime,
            geometry=geometry,
            machine=machine,
            backend="native",
        )
        for name, call in timed.items()
    }


def _per_folio(bench: Bench) -> float:
    times, nothing = [], []
    for _ in range(_CODE_PASSES):
        times.append(bench.once())
        nothing.append(bench.nothing())
    return (median(times) - median(nothing)) / bench.nr_timed


# ---- lines between CPUs ------------------------------------------------------------------------------------------


def _transfers(cpus: Sequence[int], source: Source) -> dict[str, Price]:
    """Time pairs of the CPUs this process may use, by tier; tiers without a pair are absent."""
    pairs = defaultdict(list)
    for one, other in combinations(cpus, 2):
        pairs[tier_of(one, other)].append((one, other))
    found = {}
    for name, some in pairs.items():
        some = some[:: max(len(some) // _MAX_PAIRS, 1)][:_MAX_PAIRS]
        times = [_transfer_ns(one, other) for one, other in some for _ in range(3)]
        ns, spread = _middle(np.array(times))
        method = f"a line two CPUs write in turn, half a round trip; median of {len(some)} pairs"
        found[name] = Price(ns=ns, spread_ns=spread, method=method, source=source.text)
    return found


def _transfer_ns(one: int, other: int) -> float:
    hw.transfer(one, other, _TRANSFER_ROUNDS // 10)
    return hw.transfer(one, other, _TRANSFER_ROUNDS) / (2 * _TRANSFER_ROUNDS)


def read_core_to_core(path: str | os.PathLike[str]) -> NDArray[np.float64]:
    """Read the CSV matrix of a core-to-core-latency tool: one row per CPU, ns to each other, empty where there is none.

    Parameters
    ----------
    path : path
        A square matrix or a triangle, without a header.

    Returns
    -------
    float64, shape (nr_pairs,)
        ns of all pairs of CPUs, each once.

    Raises
    ------
    ValueError
        If a cell is no number of ns, or the matrix is not square; the message names it.
    OSError
        If the file cannot be read.
    """
    with Path(path).open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.reader(file) if row]  # a CPU without a cell is still one; an empty line is none
    found = []
    for line, row in enumerate(rows, start=1):
        if len(row) > len(rows):
            raise ValueError(f"{os.fspath(path)}: line {line} has {len(row)} columns, there are {len(rows)} CPUs")
        found += list(_cells(row, f"{os.fspath(path)}: line {line}", line))
    if not found:
        raise ValueError(f"{os.fspath(path)}: no latency between two CPUs")
    return np.array(found, dtype=np.float64)


def _cells(row: Sequence[str], where: str, line: int) -> Iterable[float]:
    """Numbers below the diagonal; those above it are the same pairs the other way round."""
    for column, cell in enumerate(row[: line - 1], start=1):
        if not cell.strip():
            continue
        try:
            ns = float(cell)
        except ValueError:
            raise ValueError(f"{where}, column {column}: {cell!r} is no number of ns") from None
        if not 0 < ns < 1e9:
            raise ValueError(f"{where}, column {column}: {cell} ns must be above 0 and below one second")
        yield ns
