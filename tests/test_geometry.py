# SPDX-License-Identifier: BSD-3-Clause
"""Geometry, sizes as text, folio policies."""

from __future__ import annotations

import pickle
from dataclasses import FrozenInstanceError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from folio_perf.geometry import PMD_SIZE, FolioPolicy, Geometry, format_size, parse_size


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("4096", 4096),
        ("4K", 4096),
        ("4k", 4096),
        ("64kB", 65536),
        ("64KiB", 65536),
        ("2M", 2 << 20),
        (" 2MiB ", 2 << 20),
        ("512b", 512),
        ("1G", 1 << 30),
        ("16T", 16 << 40),
        ("0", 0),
    ],
)
def test_parse_size(text: str, expected: int) -> None:
    assert parse_size(text) == expected


@pytest.mark.parametrize("text", ["", "K", "-4K", "4 K", "4KK", "4P", "1.5K", "0x1000", "four", "4iB", "9" * 40, "٤K"])
def test_parse_size_refuses(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        parse_size(text)


@pytest.mark.parametrize("text", ["9223372036854775808", "8388608T"])
def test_parse_size_refuses_huge(text: str) -> None:
    with pytest.raises(ValueError, match=f"'{text}' must be below 2\\^63"):
        parse_size(text)


@given(st.integers(0, (1 << 63) - 1))
def test_format_size_is_the_inverse(nr_bytes: int) -> None:
    assert parse_size(format_size(nr_bytes)) == nr_bytes


@pytest.mark.parametrize(
    ("page_size", "shift", "entries", "pmd_order", "pmd_size"),
    [
        ("4K", 12, 512, 9, "2M"),
        ("8K", 13, 1024, 10, "8M"),
        ("16K", 14, 2048, 11, "32M"),
        ("32K", 15, 4096, 12, "128M"),
        ("64K", 16, 8192, 13, "512M"),
        ("128K", 17, 16384, 14, "2G"),
        ("256K", 18, 32768, 15, "8G"),
    ],
)
def test_derived_sizes(page_size: str, shift: int, entries: int, pmd_order: int, pmd_size: str) -> None:
    geometry = Geometry.from_text(page_size)
    assert geometry.page_shift == shift
    assert geometry.entries_per_table == entries
    assert geometry.pmd_order == geometry.max_order == pmd_order
    assert geometry.pmd_size_bytes == parse_size(pmd_size)
    assert geometry.nr_pages == geometry.memory_bytes // geometry.page_size_bytes


def test_defaults() -> None:
    geometry = Geometry()
    assert (geometry.page_size_bytes, geometry.line_bytes, geometry.memory_bytes) == (4096, 64, 256 << 30)
    assert geometry.line_shift == 6
    assert Geometry.from_text("16K", line_bytes=128, memory="16T").line_shift == 7


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        ({"page_size_bytes": 2048}, "page size 2048 must be a power of two from 4096 to 262144"),
        ({"page_size_bytes": 12288}, "page size 12288 must be a power of two"),
        ({"page_size_bytes": 1 << 19}, "page size 524288 must be a power of two"),
        ({"page_size_bytes": 0}, "page size 0 must be a power of two"),
        ({"page_size_bytes": -4096}, "page size -4096 must be a power of two"),
        ({"page_size_bytes": 4096.0}, "page_size_bytes 4096.0 must be an int"),
        ({"page_size_bytes": True}, "page_size_bytes True must be an int"),
        ({"line_bytes": 32}, "line size 32 must be 64 or 128"),
        ({"memory_bytes": 0}, "memory size 0 must be a positive multiple of the page size 4096"),
        ({"memory_bytes": -4096}, "memory size -4096 must be a positive multiple"),
        ({"memory_bytes": 4097}, "memory size 4097 must be a positive multiple"),
        ({"memory_bytes": (16 << 40) + 4096}, "must be at most 17592186044416 bytes"),
    ],
)
def test_impossible_geometry(arguments: dict[str, int], rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        Geometry(**arguments)


def test_geometry_is_a_value() -> None:
    geometry = Geometry()
    with pytest.raises(FrozenInstanceError):
        geometry.line_bytes = 128  # type: ignore[misc]
    assert pickle.loads(pickle.dumps(geometry)) == geometry
    assert len({geometry, Geometry(), Geometry(line_bytes=128)}) == 2


@pytest.mark.parametrize(
    ("text", "page_size", "always", "madvise"),
    [
        ("default", "4K", 0, 1 << 9),
        ("default", "64K", 0, 1 << 13),
        ("order0", "4K", 0, 0),
        ("thp", "16K", 1 << 11, 0),
        ("mthp=64K", "4K", 1 << 4, 0),
        ("mthp=64K", "16K", 1 << 2, 0),
        ("mthp=16K,64K", "4K", 1 << 2 | 1 << 4, 0),
        ("mthp=64K,16K,64K", "4K", 1 << 2 | 1 << 4, 0),
        ("mthp=2M", "4K", 1 << 9, 0),
    ],
)
def test_folio_policy(text: str, page_size: str, always: int, madvise: int) -> None:
    policy = FolioPolicy.parse(text)
    assert policy.orders(Geometry.from_text(page_size)) == (always, madvise)
    assert policy.shmem_orders(Geometry.from_text(page_size)) == 0
    assert FolioPolicy.parse(policy.name) == policy


@pytest.mark.parametrize("text", ["", "mthp", "thp=2M", "order1", "default=", "mthp=64K=2"])
def test_folio_policy_refuses(text: str) -> None:
    with pytest.raises(ValueError, match=r"folio policy|is not a size"):
        FolioPolicy.parse(text)


@pytest.mark.parametrize(
    ("text", "page_size", "rule"),
    [
        ("mthp=4K", "4K", "folio size 4K is order 0 with 4K pages; sizes run from 16K .order 2. to 2M .order 9."),
        ("mthp=8K", "4K", "folio size 8K is order 1"),
        ("mthp=4M", "4K", "folio size 4M is order 10 with 4K pages"),
        ("mthp=16K", "64K", "folio size 16K is order -2 with 64K pages"),
    ],
)
def test_folio_sizes_a_geometry_lacks(text: str, page_size: str, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        FolioPolicy.parse(text).orders(Geometry.from_text(page_size))


def test_folio_policy_sizes() -> None:
    with pytest.raises(ValueError, match="always_bytes: folio size 48000 must be a power of two"):
        FolioPolicy(always_bytes=(48000,))
    with pytest.raises(ValueError, match="does not exist"):
        FolioPolicy.parse("mthp=0")
    assert FolioPolicy(shmem_bytes=(8192, PMD_SIZE)).shmem_orders(Geometry()) == 1 << 1 | 1 << 9
