# SPDX-License-Identifier: BSD-3-Clause
"""TLBs against their naive twin, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.tlb import Tlb

from folio_perf import CacheHierarchy, CacheLevel
from folio_perf.cache import PageRange, TlbArray

KB4, MB2, GB1 = 4 << 10, 2 << 20, 1 << 30
LEVELS = [CacheLevel(name="L1", size_bytes=4096, nr_ways=4)]

ZEN4 = [
    TlbArray(name="L1", nr_entries=72, nr_ways=72, page_bytes=(KB4, MB2, GB1)),
    TlbArray(name="L2", nr_entries=3072, nr_ways=24, page_bytes=(KB4, MB2), level=2),
    TlbArray(name="L2 1G", nr_entries=64, nr_ways=64, page_bytes=GB1, level=2),
]


@st.composite
def tlbs(draw: st.DrawFn) -> list[TlbArray]:
    """Arrays of one or two levels over three page sizes, split or shared in any way."""
    arrays = []
    for level in (1, 2):
        owner = {size: draw(st.integers(0, 2)) for size in (KB4, MB2, GB1)}
        for number in sorted(set(owner.values())):
            ways = draw(st.integers(1, 5))
            array = TlbArray(
                name=f"L{level}.{number}",
                nr_entries=ways * draw(st.integers(1, 5)),
                nr_ways=ways,
                page_bytes=tuple(size for size in owner if owner[size] == number),
                level=level,
            )
            if level == 1 or draw(st.booleans()):
                arrays.append(array)
    return arrays


@settings(max_examples=150, deadline=None)
@given(arrays=tlbs(), seed=st.integers(0, 2**32), cpus=st.sampled_from([(1, 1), (3, 1), (4, 2)]), classes=st.booleans())
def test_equals_the_twin(arrays: list[TlbArray], seed: int, cpus: tuple[int, int], classes: bool) -> None:
    rng = np.random.default_rng(seed)
    pages = [PageRange(4 * MB2, 9 * MB2, MB2), PageRange(GB1, 4 * GB1, GB1), PageRange(4 * GB1, 4 * GB1 + MB2, MB2)]
    places = [rng.integers(0, 24 * MB2, 600), rng.integers(0, 16 * KB4, 600), rng.integers(0, 6 * GB1, 600)]
    addresses = rng.permutation(np.concatenate(places)).astype(np.uint64)
    cpu = rng.integers(0, cpus[0], addresses.size).astype(np.uint8)
    klass = rng.integers(0, 3, addresses.size).astype(np.uint8) if classes else np.zeros(addresses.size, np.uint8)
    caches = CacheHierarchy(LEVELS, nr_cpus=cpus[0], cpus_per_core=cpus[1], tlb=arrays, pages=pages)
    twin = Tlb(arrays, KB4, pages)
    half = addresses.size // 2
    state = None
    for start, end in ((0, half), (half, addresses.size)):
        piece = slice(start, end)
        caches.access(addresses[piece], cpu=cpu[piece], klass=klass[piece] if classes else None)
        for row in zip(addresses[piece].tolist(), (cpu[piece] // cpus[1]).tolist(), klass[piece].tolist(), strict=True):
            twin.access(*row)
        if state is None:
            state = caches.snapshot()
    caches.access_run(5 * MB2 + 192, 200, klass=2, cpu=cpus[0] - 1)
    for line in range(200):
        twin.access(5 * MB2 + 192 + line * 64, (cpus[0] - 1) // cpus[1], 2)
    for number in range(3):
        got = {
            (number, name, field): value
            for name, row in caches.stats().by_class(number).tlb_to_dict().items()
            for field, value in row.items()
            if field != "misses" and value
        }
        assert got == {key: value for key, value in twin.count.items() if key[0] == number and value}
    end_stats = caches.stats()
    caches.restore(state)
    caches.access(addresses[half:], cpu=cpu[half:], klass=klass[half:] if classes else None)
    caches.access_run(5 * MB2 + 192, 200, klass=2, cpu=cpus[0] - 1)
    assert caches.stats() == end_stats


def test_a_walk_of_struct_pages_by_huge_and_small_pages() -> None:
    """1 GiB of folios is 16 MiB of struct pages: 8 translations where vmemmap is mapped by 2 MiB, 4096 by 4 KiB."""
    heads = np.arange(0, 16 << 20, 64, dtype=np.uint64)
    huge = CacheHierarchy(LEVELS, tlb=ZEN4, pages=[PageRange(0, 16 << 20, MB2)])
    small = CacheHierarchy(LEVELS, tlb=ZEN4)
    for _ in range(2):
        huge.access(heads)
        small.access(heads)
    assert huge.stats().tlb_to_dict()["walks"] == {"4096": 0, str(MB2): 8}
    # 4096 pages in turn are more than 3072 entries of LRU: none is left when it is asked for again.
    assert small.stats().tlb_to_dict() == {
        "L1": {"lookups": 2 * heads.size, "hits": 2 * (heads.size - 4096), "misses": 8192},
        "L2": {"lookups": 8192, "hits": 0, "misses": 8192},
        "L2 1G": {"lookups": 0, "hits": 0, "misses": 0},
        "walks": {"4096": 8192},
    }
    before = small.stats()
    small.access(heads[:64])
    assert (small.stats() - before).tlb_to_dict()["walks"] == {"4096": 1}
    small.reset()
    assert small.stats().tlb_to_dict()["L1"] == {"lookups": 0, "hits": 0, "misses": 0}


def test_the_caches_do_not_notice() -> None:
    rng = np.random.default_rng(1)
    addresses, write = rng.integers(0, 1 << 24, 20_000).astype(np.uint64), rng.random(20_000) < 0.3
    plain, translated = CacheHierarchy(LEVELS), CacheHierarchy(LEVELS, tlb=ZEN4)
    for caches in (plain, translated):
        caches.access(addresses, write)
    assert plain.stats().to_dict_full() == translated.stats().to_dict_full()
    assert plain.stats().tlb_to_dict() == {"walks": {"4096": 0}}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"nr_entries": 0}, "nr_entries 0 must be 1 to"),
        ({"nr_entries": 10, "nr_ways": 4}, "10 entries are no whole number of 4 ways"),
        ({"page_bytes": 5000}, "page_bytes 5000 must be a power of two"),
        ({"page_bytes": ()}, "holds pages of no size"),
        ({"level": 3}, "level 3 must be 1 or 2"),
        ({"name": ""}, "needs a name"),
    ],
)
def test_impossible_arrays(arguments: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        TlbArray(**{"name": "L1", "nr_entries": 64, "nr_ways": 4, "page_bytes": KB4, **arguments})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"pages": [(0, MB2, MB2)], "tlb": ZEN4[1:2]}, "no TLB of level 1 holds them"),
        ({"pages": [(0, MB2 + KB4, MB2)], "tlb": ZEN4}, "must begin and end at multiples of 2097152"),
        ({"pages": [(0, 2 * MB2, MB2), (MB2, 3 * MB2, MB2)], "tlb": ZEN4}, "overlaps the pages before"),
        ({"pages": [(MB2, MB2, MB2)], "tlb": ZEN4}, "must lie within"),
        ({"pages": [(0, MB2, MB2)]}, "there are none"),
        ({"page_bytes": 16 << 10, "tlb": ZEN4}, "pages of 16384 bytes: no TLB of level 1"),
        ({"tlb": [ZEN4[0], ZEN4[0]]}, "names must differ"),
        ({"tlb": [ZEN4[0], TlbArray(name="M", nr_entries=1, nr_ways=1, page_bytes=MB2)]}, "both hold pages of 2097152"),
        (
            {"tlb": [TlbArray(name=f"{i}", nr_entries=1, nr_ways=1, page_bytes=4096 << i) for i in range(9)]},
            "8 at most",
        ),
    ],
)
def test_impossible_tlbs(arguments: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        CacheHierarchy(LEVELS, **arguments)  # type: ignore[arg-type]
