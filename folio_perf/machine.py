# SPDX-License-Identifier: BSD-3-Clause
"""CPU descriptions: cache geometry and what an access costs at each level, each number with its source.

A machine is data. `load_machine` reads one of the files that ship in ``machines/`` or any other TOML file of the same
form; the form is described at the head of ``machines/generic-x86-64.toml``.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Iterable, Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from folio_perf._machine_data import (
    CODE_PRICES,
    MAX_CACHE_LEVELS,
    PRICE_NAMES,
    TOPOLOGY_COUNTS,
    TRANSFER_TIERS,
    UNKNOWN_PRICE,
    CacheLevel,
    Machine,
    Price,
    Prices,
    Source,
    Topology,
    Transfers,
)

__all__ = [
    "CODE_PRICES",
    "DEFAULT_MACHINE",
    "MAX_CACHE_LEVELS",
    "PRICE_NAMES",
    "TOPOLOGY_COUNTS",
    "TRANSFER_TIERS",
    "UNKNOWN_PRICE",
    "CacheLevel",
    "Machine",
    "Price",
    "Prices",
    "Source",
    "Topology",
    "Transfers",
    "load_machine",
    "machine_names",
    "machine_toml",
    "parse_machine",
]

DEFAULT_MACHINE = "generic-x86-64"
SCHEMA = 1


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
        sources[key] = Source(**{part: str(value) for part, value in source.items()}).text
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
        **_some_prices(table, "code", CODE_PRICES, sources),
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


# ---- writing -----------------------------------------------------------------------------------------------------


def machine_toml(machine: Machine, sources: Mapping[str, Source]) -> str:
    """Write a machine as `load_machine` reads it.

    Parameters
    ----------
    machine : Machine
    sources : mapping of str to Source
        By the key they get in the file; every price names one of them.

    Raises
    ------
    ValueError
        If a price has a source that is none of `sources`.
    """
    keys = {source.text: key for key, source in sources.items()}
    lines = [
        "# SPDX-License-Identifier: BSD-3-Clause",
        "# Prices are ns per access; the form is described at the head of generic-x86-64.toml.",
        "",
        f"schema = {SCHEMA}",
        f"name = {_quoted(machine.name)}",
        f"description = {_quoted(machine.description)}",
        f"line_bytes = {machine.line_bytes}",
    ]
    for key, source in sources.items():
        lines += ["", f"[source.{key}]", f"title = {_quoted(source.title)}", f"date = {_quoted(source.date)}"]
        lines += [f"url = {_quoted(source.url)}"] if source.url else []
    for level in machine.levels:
        lines += ["", "[[level]]", f"name = {_quoted(level.name)}", f"size_bytes = {level.size_bytes}"]
        lines += [f"nr_ways = {level.nr_ways}", f"source = {_quoted(level.source)}"]
        lines += _price_lines(((name, getattr(level.prices, name)) for name in PRICE_NAMES), keys)
    lines += ["", "[dram]", *_price_lines(((name, getattr(machine.dram, name)) for name in PRICE_NAMES), keys)]
    tiers = _price_lines(_known(machine.transfers, TRANSFER_TIERS), keys)
    lines += ["", "[transfer]", *tiers] if tiers else []
    code = _price_lines(_known(machine, CODE_PRICES), keys)
    lines += ["", "[code]", *code] if code else []
    if machine.topology is not None:
        counts = [f"{name} = {getattr(machine.topology, name)}" for name in TOPOLOGY_COUNTS]
        lines += ["", "[topology]", *counts, f"source = {_quoted(machine.topology.source)}"]
    return "\n".join(lines) + "\n"


def _known(owner: Machine | Transfers, names: Iterable[str]) -> Iterable[tuple[str, Price]]:
    return [(name, price) for name in names if (price := getattr(owner, name)).ns is not None]


def _price_lines(prices: Iterable[tuple[str, Price]], keys: Mapping[str, str]) -> list[str]:
    return [f"{name} = {_price_toml(price, keys)}" for name, price in prices]


def _price_toml(price: Price, keys: Mapping[str, str]) -> str:
    if price.ns is None:
        return '{ ns = "unknown" }'
    if price.source not in keys:
        raise ValueError(f"no source is {price.source!r}")
    parts = [f"ns = {price.ns:.4g}"]
    if price.formula:
        parts.append(f"formula = {_quoted(price.formula)}")
    else:
        parts += [f"spread_ns = {price.spread_ns:.2g}"] if price.spread_ns is not None else []
        parts.append(f"method = {_quoted(price.method)}")
    return f"{{ {', '.join(parts)}, source = [{_quoted(keys[price.source])}] }}"


def _quoted(text: str) -> str:
    """Quote a text as TOML does; JSON's escapes are among its own."""
    return json.dumps(text, ensure_ascii=False)
