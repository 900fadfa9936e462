# SPDX-License-Identifier: BSD-3-Clause
"""CPU descriptions: cache geometry and what an access costs at each level, each number with its source.

A machine is data. `load_machine` reads one of the files that ship in ``machines/`` or any other TOML file of the same
form; the form is described at the head of ``machines/generic-x86-64.toml``.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

__all__ = [
    "DEFAULT_MACHINE",
    "PRICE_NAMES",
    "TOPOLOGY_COUNTS",
    "TRANSFER_TIERS",
    "CacheLevel",
    "Machine",
    "Price",
    "Prices",
    "Topology",
    "Transfers",
    "load_machine",
    "machine_names",
    "parse_machine",
]

DEFAULT_MACHINE = "generic-x86-64"
SCHEMA = 1
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


def machine_names() -> tuple[str, ...]:
    """Names of the machines that ship, sorted."""
    return tuple(
        sorted(entry.name[: -len(".toml")] for entry in _directory().iterdir() if entry.name.endswith(".toml"))
    )


def load_machine(name_or_path: str | os.PathLike[str]) -> Machine:
    """Read a machine.

    Parameters
    ----------
    name_or_path : str or path
        One of `machine_names`, or the path of a TOML file (it ends in ``.toml``).

    Raises
    ------
    ValueError
        If there is no machine of that name (the message lists them), or the file breaks a rule (the message names it).
    OSError
        If the file cannot be read.
    """
    text = os.fspath(name_or_path)
    if text in machine_names():
        return parse_machine(_directory().joinpath(f"{text}.toml").read_bytes(), f"{text}.toml")
    if not isinstance(name_or_path, str) or text.endswith(".toml"):
        return parse_machine(Path(text).read_bytes(), text)
    raise ValueError(
        f"no machine named {text!r}; there are {', '.join(machine_names())}, or give the path of a .toml file"
    )


def _directory() -> Traversable:
    return resources.files("folio_perf").joinpath("machines")


def parse_machine(content: bytes, where: str) -> Machine:
    """Read the bytes of a machine file; ValueError, which begins with `where`, if they break a rule."""
    try:
        return _machine(tomllib.loads(content.decode()))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{where}: not a TOML file: {error}") from error
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _machine(table: Mapping[str, Any]) -> Machine:
    needed = {"schema", "name", "description", "line_bytes", "source", "level", "dram"}
    _check_keys(table, "the file", needed, {"transfer", "code", "topology"})
    if table["schema"] != SCHEMA:
        raise ValueError(f"schema {table['schema']!r} must be {SCHEMA}")
    sources = {}
    for key, source in _table(table["source"], "source").items():
        _check_keys(_table(source, f"source.{key}"), f"source.{key}", {"title", "date"}, {"url"})
        sources[key] = ", ".join(str(source[part]) for part in ("title", "date", "url") if part in source)
    levels = table["level"]
    if not isinstance(levels, list):
        raise ValueError("'level' must be an array of tables: [[level]]")
    return Machine(
        name=_text(table, "name"),
        description=_text(table, "description"),
        line_bytes=table["line_bytes"],
        levels=tuple(_level(_table(level, "level"), sources) for level in levels),
        dram=_prices(_table(table["dram"], "dram"), "dram", sources),
        transfers=Transfers(**_some_prices(table, "transfer", TRANSFER_TIERS, sources)),
        **_some_prices(table, "code", ("hook_call",), sources),
        topology=_topology(_table(table["topology"], "topology")) if "topology" in table else None,
    )


def _topology(table: Mapping[str, Any]) -> Topology:
    _check_keys(table, "topology", {*TOPOLOGY_COUNTS, "source"})
    return Topology(**{name: table[name] for name in TOPOLOGY_COUNTS}, source=_text(table, "source"))


def _some_prices(
    table: Mapping[str, Any], key: str, names: tuple[str, ...], sources: Mapping[str, str]
) -> dict[str, Price]:
    """Prices of a table that may be absent, as may each of them."""
    found = _table(table.get(key, {}), key)
    _check_keys(found, key, (), names)
    return {name: _price(_table(value, f"{key}.{name}"), f"{key}.{name}", sources) for name, value in found.items()}


def _level(table: Mapping[str, Any], sources: Mapping[str, str]) -> CacheLevel:
    geometry = {"name", "size_bytes", "nr_ways", "source"}
    _check_keys(table, f"level {table.get('name', '?')}", geometry | set(PRICE_NAMES))
    name = _text(table, "name")
    return CacheLevel(
        name=name,
        size_bytes=table["size_bytes"],
        nr_ways=table["nr_ways"],
        source=_text(table, "source"),
        prices=_prices({key: table[key] for key in PRICE_NAMES}, name, sources),
    )


def _prices(table: Mapping[str, Any], where: str, sources: Mapping[str, str]) -> Prices:
    _check_keys(table, where, set(PRICE_NAMES))
    return Prices(
        **{key: _price(_table(table[key], f"{where}.{key}"), f"{where}.{key}", sources) for key in PRICE_NAMES}
    )


def _price(table: Mapping[str, Any], where: str, sources: Mapping[str, str]) -> Price:
    if table.get("ns") == "unknown":
        _check_keys(table, where, {"ns"})
        return UNKNOWN_PRICE
    measured = "method" in table
    _check_keys(table, where, {"ns", "source", "method" if measured else "formula"}, {"spread_ns"} if measured else ())
    keys = table["source"]
    if not isinstance(keys, list) or not keys:
        raise ValueError(f"{where}: source {keys!r} must be a list of keys of [source]")
    for key in keys:
        if key not in sources:
            raise ValueError(f"{where}: there is no [source.{key}]")
    try:
        return Price(
            ns=table["ns"],
            formula="" if measured else _text(table, "formula"),
            method=_text(table, "method") if measured else "",
            spread_ns=table.get("spread_ns"),
            source="; ".join(sources[key] for key in keys),
        )
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _check_keys(table: Mapping[str, Any], where: str, needed: Iterable[str], allowed: Iterable[str] = ()) -> None:
    needed = set(needed)
    missing, extra = sorted(needed - set(table)), sorted(set(table) - needed - set(allowed))
    if missing:
        raise ValueError(f"{where} lacks {', '.join(map(repr, missing))}")
    if extra:
        raise ValueError(f"{where} has {', '.join(map(repr, extra))}, which means nothing here")


def _table(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{where} must be a table, not {value!r}")
    return value


def _text(table: Mapping[str, Any], key: str) -> str:
    value = table[key]
    if not isinstance(value, str) or not value:
        raise ValueError(f"{key} {value!r} must be a non-empty string")
    return value
