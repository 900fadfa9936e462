# SPDX-License-Identifier: BSD-3-Clause
"""Machine files: what ships, and what a broken file is told."""

from __future__ import annotations

import ast
import operator
import pickle
import re
from dataclasses import replace
from pathlib import Path

import pytest
from csrc_names import constant

from folio_perf import hw
from folio_perf.machine import (
    DEFAULT_MACHINE,
    MAX_CACHE_LEVELS,
    PRICE_NAMES,
    TRANSFER_TIERS,
    CacheLevel,
    Machine,
    Price,
    Prices,
    Transfers,
    load_machine,
    machine_names,
)

SHIPPED = Path(__file__).resolve().parents[1] / "folio_perf" / "machines"
_OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}


def evaluate(formula: str) -> float:
    """Value of plain arithmetic, and nothing else."""

    def value(node: ast.expr) -> float:
        if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
            return float(node.value)
        assert isinstance(node, ast.BinOp), f"{formula!r} is not arithmetic"
        return float(_OPERATORS[type(node.op)](value(node.left), value(node.right)))

    return value(ast.parse(formula, mode="eval").body)


def all_prices(machine: Machine) -> list[tuple[str, Price]]:
    groups = [(level.name, level.prices) for level in machine.levels] + [("dram", machine.dram)]
    prices = [(f"{name}.{key}", getattr(prices, key)) for name, prices in groups for key in PRICE_NAMES]
    tiers = [(f"transfer.{tier}", getattr(machine.transfers, tier)) for tier in TRANSFER_TIERS]
    return [*prices, *tiers, ("code.hook_call", machine.hook_call)]


def test_default_machine() -> None:
    machine = load_machine(DEFAULT_MACHINE)
    assert machine.line_bytes == 64
    assert [(level.size_bytes, level.nr_ways) for level in machine.levels] == [
        (32 << 10, 8),
        (1 << 20, 16),
        (32 << 20, 16),
    ]
    assert [machine.nr_sets(level) for level in machine.levels] == [64, 1024, 32768]
    assert machine.levels[0].load_ns == 1.6
    assert machine.levels[2].stream_ns == 2.67


@pytest.mark.parametrize("name", machine_names())
def test_every_price_follows_from_its_source(name: str) -> None:
    for where, price in all_prices(load_machine(name)):
        if price.kind == "unknown":
            assert price == Price(ns=None), where
        elif price.kind == "measured":
            assert price.spread_ns is not None, where
            assert re.search(r"\b20[0-9]{2}-[0-9]{2}-[0-9]{2}\b", price.source), where
        else:
            assert price.ns == pytest.approx(evaluate(price.formula), rel=0.005), where
            assert re.search(r"https?://", price.source), where


def test_the_default_machine_lacks_no_price_of_an_access() -> None:
    unknown = [where for where, price in all_prices(load_machine(DEFAULT_MACHINE)) if price.ns is None]
    assert [where for where in unknown if not where.startswith(("transfer.", "code."))] == []


def known(*prices: Price) -> list[float]:
    return [price.ns for price in prices if price.ns is not None]


@pytest.mark.parametrize("name", machine_names())
def test_prices_grow_outwards(name: str) -> None:
    machine = load_machine(name)
    everywhere = [level.prices for level in machine.levels] + [machine.dram]
    for key in PRICE_NAMES:
        prices = known(*(getattr(each, key) for each in everywhere))
        assert prices == sorted(prices), key
    for each in everywhere:
        for access in ("load", "store", "rmw"):
            pair = known(getattr(each, f"{access}_streaming"), getattr(each, f"{access}_dependent"))
            assert pair == sorted(pair), access
    tiers = known(*(getattr(machine.transfers, tier) for tier in TRANSFER_TIERS))
    assert tiers == sorted(tiers)


def test_limit_is_that_of_the_engine() -> None:
    assert constant("FPERF_MAX_CACHE_LEVELS") == MAX_CACHE_LEVELS


def test_machine_is_a_value() -> None:
    machine = load_machine(DEFAULT_MACHINE)
    assert pickle.loads(pickle.dumps(machine)) == machine
    assert hash(machine) == hash(load_machine(DEFAULT_MACHINE))


def test_unknown_machine() -> None:
    with pytest.raises(ValueError, match=f"no machine named 'pdp-11'; there are .*{DEFAULT_MACHINE}.*path of a .toml"):
        load_machine("pdp-11")


def test_own_machine_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        (SHIPPED / f"{DEFAULT_MACHINE}.toml").read_text().replace(f'name = "{DEFAULT_MACHINE}"', 'name = "mine"')
    )
    assert load_machine(path).name == load_machine(str(path)).name == "mine"
    with pytest.raises(OSError, match=r"none\.toml"):
        load_machine(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        ("schema = 1", "schema = 2", "schema 2 must be 1"),
        ("schema = 1", "", "the file lacks 'schema'"),
        ("schema = 1", "schema = 1\ncolour = 3", "the file has 'colour', which means nothing here"),
        ("line_bytes = 64", "line_bytes = 32", "line_bytes 32 must be 64 or 128"),
        ('name = "l2"', 'name = "l3"', "cache level 2 is named 'l3', must be 'l2'"),
        ("nr_ways = 8", "nr_ways = 7", "l1 of 32768 bytes is not a whole number of sets of 7 ways x 64 bytes"),
        ("nr_ways = 8", "nr_ways = 0", "nr_ways 0 must be a positive int"),
        ("size_bytes = 32768", "size_bytes = -1", "size_bytes -1 must be a positive int"),
        ("size_bytes = 32768", 'size_bytes = "32K"', "size_bytes '32K' must be a positive int"),
        ("{ ns = 1.6,", "{ ns = 0.0,", "l1.load_dependent: ns 0.0 must be positive"),
        ("{ ns = 1.6,", "{ ns = -1.6,", "ns -1.6 must be positive"),
        ("{ ns = 1.6,", "{ ns = nan,", "ns nan must be positive"),
        ("{ ns = 1.6,", '{ ns = "fast",', "ns 'fast' must be a number"),
        ("{ ns = 1.6,", "{ ns = true,", "ns True must be a number"),
        ("{ ns = 1.6,", "{ cost = 1.6,", "l1.load_dependent lacks 'ns'"),
        ("{ ns = 1.6,", "{ ns = 1.6, spread_ns = 0.1,", "l1.load_dependent has 'spread_ns', which means nothing"),
        (
            'formula = "4 / 2.5"',
            'method = "chase", spread_ns = -1.0',
            "spread_ns -1.0 must be a number of ns, 0 or more",
        ),
        ('formula = "4 / 2.5"', 'method = ""', "method '' must be a non-empty string"),
        ("\n[transfer]", "\n[transfer]\nplanet = { ns = 1.0 }", "transfer has 'planet', which means nothing here"),
        ("\n[transfer]", "\n[transfer]\nsocket = { ns = 1.0 }", "transfer.socket lacks 'formula', 'source'"),
        ("\n[transfer]", "\n[code]\nhook_call = 3\n[transfer]", "code.hook_call must be a table, not 3"),
        ('source = ["mlc"]', 'source = ["folklore"]', "dram.load_dependent: there is no .source.folklore."),
        ('source = ["mlc"]', "source = []", "dram.load_dependent: source .. must be a list"),
        ("load_dependent = {", "load_late = {", "level l1 lacks 'load_dependent'"),
        ("\n[dram]", "\n[ram]", "the file lacks 'dram'"),
        ('date = "2023-04-13"', "", "source.mlc lacks 'date'"),
        ("schema = 1", "schema = ", "not a TOML file"),
    ],
)
def test_broken_machine_file(tmp_path: Path, old: str, new: str, rule: str) -> None:
    text = (SHIPPED / f"{DEFAULT_MACHINE}.toml").read_text()
    assert old in text
    path = tmp_path / "broken.toml"
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(ValueError, match=rule) as caught:
        load_machine(path)
    assert str(path) in str(caught.value)


def test_not_a_text(tmp_path: Path) -> None:
    path = tmp_path / "binary.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="not a TOML file"):
        load_machine(path)


def test_unknown_price(tmp_path: Path) -> None:
    text = (SHIPPED / f"{DEFAULT_MACHINE}.toml").read_text()
    line = next(line for line in text.splitlines() if line.startswith("rmw_streaming") and "12.0" in line)
    path = tmp_path / "partial.toml"
    path.write_text(text.replace(line, 'rmw_streaming = { ns = "unknown" }'))
    assert load_machine(path).dram.rmw_streaming == Price(ns=None)


def test_measured_price(tmp_path: Path) -> None:
    text = (SHIPPED / f"{DEFAULT_MACHINE}.toml").read_text()
    source = '[source.here]\ntitle = "this test"\ndate = "2026-11-25"\n'
    price = '{ ns = 3.5, spread_ns = 0.2, method = "chain of calls", source = ["here"] }'
    path = tmp_path / "measured.toml"
    path.write_text(f"{text}\n{source}\n[code]\nhook_call = {price}\n")
    machine = load_machine(path)
    assert machine.hook_call == Price(ns=3.5, spread_ns=0.2, method="chain of calls", source="this test, 2026-11-25")
    assert machine.hook_call.kind == "measured"
    assert machine.transfers.ccx.kind == "published"
    assert machine.transfers.socket.kind == "unknown"


def test_a_machine_without_transfers() -> None:
    machine = load_machine(DEFAULT_MACHINE)
    bare = Machine(name="m", description="d", line_bytes=64, levels=machine.levels, dram=machine.dram)
    assert bare.transfers == Transfers()
    assert [getattr(bare.transfers, tier).ns for tier in TRANSFER_TIERS] == [None] * len(TRANSFER_TIERS)


def test_a_price_is_published_or_measured() -> None:
    with pytest.raises(ValueError, match=r"must have a formula .published. or a method .measured."):
        Price(ns=2.0, formula="2", method="guess", source="test")
    with pytest.raises(ValueError, match="must have a formula"):
        Price(ns=2.0, source="test")
    with pytest.raises(ValueError, match="belongs to a measured price"):
        Price(ns=2.0, formula="2", source="test", spread_ns=0.1)


def test_a_price_needs_a_source() -> None:
    with pytest.raises(ValueError, match=r"a price of 2\.0 ns must name its source"):
        Price(ns=2.0, formula="2", source="")


@pytest.mark.parametrize("nr_levels", [0, 5])
def test_number_of_levels(nr_levels: int) -> None:
    price = Price(ns=1.0, formula="1", source="test")
    prices = Prices(**dict.fromkeys(PRICE_NAMES, price))
    levels = tuple(
        CacheLevel(name=f"l{number}", size_bytes=4096, nr_ways=1, prices=prices, source="test")
        for number in range(1, nr_levels + 1)
    )
    with pytest.raises(ValueError, match=f"machine m: {nr_levels} cache levels; there must be 1 to 4"):
        Machine(name="m", description="d", line_bytes=64, levels=levels, dram=prices)


def test_this_host_against_a_file() -> None:
    machine = load_machine(DEFAULT_MACHINE)
    caches = [(level.name, level.size_bytes, level.nr_ways) for level in machine.levels]
    same = replace(
        hw.host(),
        caches=tuple(
            hw.HostCache(name=name, size_bytes=size, nr_ways=ways, line_bytes=machine.line_bytes)
            for name, size, ways in caches
        ),
    )
    assert hw.host_differences(machine, same, machine.topology) == ()
    assert hw.host_differences(machine, replace(same, caches=()), None) == ()
    other = replace(same, caches=(*same.caches[:1], replace(same.caches[1], size_bytes=1 << 19, nr_ways=0)))
    assert [(each.what, each.host, each.machine) for each in hw.host_differences(machine, other, None)] == [
        ("l2.size_bytes", 1 << 19, 1 << 20),
        ("l3.size_bytes", None, 32 << 20),
    ]
    assert machine.topology
    fewer = replace(machine.topology, sockets=1)
    assert [each.what for each in hw.host_differences(machine, same, fewer)] == ["topology.sockets"]


def test_the_machines_that_ship() -> None:
    """Those the published measurements of this field were made on, and others with longer lines."""
    assert set(machine_names()) >= {
        DEFAULT_MACHINE,
        "ampere-altra",
        "ampereone",
        "apple-m2",
        "epyc-7313",
        "epyc-zen5-guest",
        "power8-64k",
        "sierra-forest",
        "xeon-silver-4210r",
    }
    assert {load_machine(name).line_bytes for name in machine_names()} == {64, 128}
    assert all(load_machine(name).topology for name in machine_names())
