# SPDX-License-Identifier: BSD-3-Clause
"""What a machine is: caches, prices, topology. Public names are in `folio_perf.machine`."""

from __future__ import annotations

from dataclasses import dataclass, fields

MAX_CACHE_LEVELS = 4
"""FPERF_MAX_CACHE_LEVELS of csrc/core/fperf_abi.h."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What one access costs, and who says so.

    Parameters
    ----------
    ns : float or None
        Nanoseconds; None if nobody published or measured it, which makes every total that needs it unknown.
    formula : str
        Arithmetic that gives a published `ns`: the published quantities, in ns, cycles, GHz, bytes and GB/s.
    source : str
        Who published the quantities, where and when; or who measured.
    method : str
        How a measured `ns` came about; empty for published ones.
    spread_ns : float or None
        Half the width of what a measured `ns` scattered over, in ns.
    """

    ns: float | None
    formula: str = ""
    source: str = ""
    method: str = ""
    spread_ns: float | None = None

    def __post_init__(self) -> None:
        if self.ns is not None:
            if type(self.ns) not in (int, float):
                raise ValueError(f"ns {self.ns!r} must be a number, or None if unknown")
            if not 0 < self.ns < 1e9:
                raise ValueError(f"ns {self.ns!r} must be positive and below one second")
            if not self.source:
                raise ValueError(f"a price of {self.ns} ns must name its source")
            if bool(self.method) == bool(self.formula):
                raise ValueError(f"a price of {self.ns} ns must have a formula (published) or a method (measured)")
        if self.spread_ns is not None:
            if type(self.spread_ns) not in (int, float) or not 0 <= self.spread_ns < 1e9:
                raise ValueError(f"spread_ns {self.spread_ns!r} must be a number of ns, 0 or more")
            if not self.method:
                raise ValueError(f"spread_ns {self.spread_ns!r} belongs to a measured price, which has a method")

    @property
    def kind(self) -> str:
        """``published``, ``measured`` or ``unknown``."""
        if self.ns is None:
            return "unknown"
        return "measured" if self.method else "published"


UNKNOWN_PRICE = Price(ns=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """Prices of one level: three kinds of access, each alone (dependent) and within a stream of consecutive lines."""

    load_dependent: Price
    load_streaming: Price
    store_dependent: Price
    store_streaming: Price
    rmw_dependent: Price
    rmw_streaming: Price


PRICE_NAMES: tuple[str, ...] = tuple(field.name for field in fields(Prices))


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfers:
    """What it costs to get a line that another CPU has just modified, by where that CPU is.

    A price is half a round trip of one line that two CPUs write in turn.

    Parameters
    ----------
    smt : Price
        The other thread of the same core.
    ccx : Price
        Another core that shares the last level cache: a core complex, or a whole monolithic die.
    socket : Price
        A core of the same socket behind another last level cache.
    remote : Price
        A core of another socket.
    """

    smt: Price = UNKNOWN_PRICE
    ccx: Price = UNKNOWN_PRICE
    socket: Price = UNKNOWN_PRICE
    remote: Price = UNKNOWN_PRICE


TRANSFER_TIERS: tuple[str, ...] = tuple(field.name for field in fields(Transfers))


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """How the CPUs of a machine lie to each other.

    Parameters
    ----------
    threads_per_core, cores_per_ccx, ccx_per_socket, sockets : int
        CPUs of a core, cores that share the last level cache, such groups of a socket, sockets.
    source : str
        Who says so.
    """

    threads_per_core: int
    cores_per_ccx: int
    ccx_per_socket: int
    sockets: int
    source: str

    def __post_init__(self) -> None:
        for name in TOPOLOGY_COUNTS:
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 1024:
                raise ValueError(f"topology: {name} {value!r} must be an int from 1 to 1024")
        if not self.source:
            raise ValueError("topology: the counts must name their source")

    @property
    def nr_cores(self) -> int:
        """Cores of the whole machine."""
        return self.cores_per_ccx * self.ccx_per_socket * self.sockets

    @property
    def nr_cpus(self) -> int:
        """CPUs as the kernel counts them."""
        return self.nr_cores * self.threads_per_core


TOPOLOGY_COUNTS: tuple[str, ...] = tuple(field.name for field in fields(Topology) if field.name != "source")


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheLevel:
    """One level of a cache hierarchy, as the machine file states it.

    Parameters
    ----------
    name : str
        ``l1`` to ``l4``, in order.
    size_bytes, nr_ways : int
        Capacity and associativity; the number of sets follows from the line size.
    prices : Prices
        What an access costs that this level serves.
    source : str
        Where the geometry comes from.
    """

    name: str
    size_bytes: int
    nr_ways: int
    prices: Prices
    source: str

    def __post_init__(self) -> None:
        for field in ("size_bytes", "nr_ways"):
            value = getattr(self, field)
            if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
                raise ValueError(f"cache {self.name}: {field} {value!r} must be a positive int")
        if not self.source:
            raise ValueError(f"cache {self.name}: the geometry must name its source")

    @property
    def load_ns(self) -> float | None:
        """Latency of a dependent load in ns."""
        return self.prices.load_dependent.ns

    @property
    def stream_ns(self) -> float | None:
        """Time per load in a stream, in ns."""
        return self.prices.load_streaming.ns


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A CPU: cache levels from the core outwards, then memory.

    Parameters
    ----------
    name, description : str
    line_bytes : int
        Cache line, 64 or 128.
    levels : tuple of CacheLevel
        One to four levels, named l1, l2, ... in order.
    dram : Prices
        What an access costs that no level serves.
    transfers : Transfers
        What it costs to take a line from another CPU's cache.
    hook_call : Price
        What calling a hook costs that does nothing: fixed work per call, in instructions rather than accesses.
    presence_test, presence_entry : Price
        What mm's presence test costs beside its accesses, and each page-table entry it looks at.
    topology : Topology or None
        How many CPUs there are, and how they lie to each other; None if the file does not say.

    Raises
    ------
    ValueError
        If the machine cannot exist; the message names the value and the rule.
    """

    name: str
    description: str
    line_bytes: int
    levels: tuple[CacheLevel, ...]
    dram: Prices
    transfers: Transfers = Transfers()
    hook_call: Price = UNKNOWN_PRICE
    presence_test: Price = UNKNOWN_PRICE
    presence_entry: Price = UNKNOWN_PRICE
    topology: Topology | None = None

    def __post_init__(self) -> None:
        if self.line_bytes not in (64, 128):
            raise ValueError(f"machine {self.name}: line_bytes {self.line_bytes!r} must be 64 or 128")
        if not 1 <= len(self.levels) <= MAX_CACHE_LEVELS:
            raise ValueError(
                f"machine {self.name}: {len(self.levels)} cache levels; there must be 1 to {MAX_CACHE_LEVELS}"
            )
        for number, level in enumerate(self.levels, start=1):
            if level.name != f"l{number}":
                raise ValueError(
                    f"machine {self.name}: cache level {number} is named {level.name!r}, must be 'l{number}'"
                )
            if level.size_bytes % (level.nr_ways * self.line_bytes):
                raise ValueError(
                    f"machine {self.name}: {level.name} of {level.size_bytes} bytes is not a whole number of sets of"
                    f" {level.nr_ways} ways x {self.line_bytes} bytes"
                )

    def nr_sets(self, level: CacheLevel) -> int:
        """Count the sets of one level."""
        return level.size_bytes // (level.nr_ways * self.line_bytes)


CODE_PRICES: tuple[str, ...] = ("hook_call", "presence_test", "presence_entry")
"""Members of `Machine` that are prices of instructions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Who says what a machine file says.

    Parameters
    ----------
    title, date : str
    url : str
        Empty if there is none.
    """

    title: str
    date: str
    url: str = ""

    @property
    def text(self) -> str:
        """As `Price.source` has it."""
        return ", ".join(part for part in (self.title, self.date, self.url) if part)
