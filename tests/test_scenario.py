# SPDX-License-Identifier: BSD-3-Clause
"""The scenario language: what text and builder become, and what broken text is told."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from csrc_names import flag_values, macro_names, struct_fields
from hypothesis import given
from hypothesis import strategies as st

from folio_perf.geometry import PMD_SIZE, FolioPolicy, Geometry
from folio_perf.scenario import (
    ADVICES,
    EVENT_DTYPE,
    OBJECT_KINDS,
    EventFlag,
    ObjectSpec,
    Op,
    Region,
    Scenario,
    ScenarioBuilder,
    ScenarioError,
    load_scenario,
    parse_scenarios,
    read_scenarios,
    scenario_description,
    scenario_names,
    scenario_text,
)

GEOMETRY = Geometry()
PAGE_SIZES = ("4K", "8K", "16K", "32K", "64K", "128K", "256K")
RW = EventFlag.PROT_READ | EventFlag.PROT_WRITE
DATA = Path(__file__).resolve().parents[1] / "folio_perf" / "data" / "scenarios"


def parse(body: str, *, strict: bool = True, geometry: Geometry = GEOMETRY) -> Scenario:
    (scenario,) = parse_scenarios(f"scenario s\n{body}\nend\n", geometry, "test.txt", strict=strict)
    return scenario


def event(op: Op, process: int = 0, **values: int) -> tuple[int, ...]:
    row = (
        {"cpu": 0, "what": 0, "flags": 0, "vpn": 0, "nr": 0, "arg": 0, "arg2": 0}
        | {"op": op, "process": process}
        | values
    )
    return tuple(int(row[name]) for name in EVENT_DTYPE.names or ())


def rows(scenario: Scenario) -> list[tuple[int, ...]]:
    return [tuple(row) for row in scenario.events.tolist()]


# the C vocabulary


def test_event_layout_is_that_of_c() -> None:
    assert EVENT_DTYPE.descr == struct_fields("fperf_event")
    assert EVENT_DTYPE.itemsize == 48


def test_names_are_those_of_c() -> None:
    assert [op.name for op in Op] == [name for name, _ in macro_names("FPERF_OPS")]
    assert [int(op) for op in Op] == list(range(len(Op)))
    assert list(ADVICES) == [name for name, _ in macro_names("FPERF_ADVICES")]
    assert list(OBJECT_KINDS) == [name for _, name in macro_names("FPERF_OBJECT_KINDS")]
    flags = flag_values("FPERF_")
    assert {flag.name: int(flag) for flag in EventFlag} == {name: flags[name] for name in EventFlag.__members__}


# each verb

DECLARED = "region A 16 shift 3\nregion B 16\nobj M memfd 8\nobj T tmpfs 8\n"
A, B = (0x100000000000 >> 12) + 3, (0x100000000000 + (1 << 32)) >> 12


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("map P0 A anon", event(Op.MMAP, vpn=A, nr=16, flags=RW)),
        ("map P0 A anon 2 5", event(Op.MMAP, vpn=A + 2, nr=5, flags=RW)),
        ("map P0 A anonshared", event(Op.MMAP, vpn=A, nr=16, what=3, flags=RW | EventFlag.MAP_SHARED)),
        ("map P0 B M 3 1 4 shared", event(Op.MMAP, vpn=B + 1, nr=4, what=1, arg=3, flags=RW | EventFlag.MAP_SHARED)),
        ("map P0 B T 0 0 16 private", event(Op.MMAP, vpn=B, nr=16, what=2, flags=RW)),
        ("touch P0 A 0 16 r", event(Op.TOUCH, vpn=A, nr=16)),
        ("touch P0 A 1 2 w", event(Op.TOUCH, vpn=A + 1, nr=2, flags=EventFlag.TOUCH_WRITE)),
        ("touch P0 A 1 2 s", event(Op.TOUCH, vpn=A + 1, nr=2, flags=EventFlag.TOUCH_WRITE, what=1)),
        ("on 3 touch P0 A 15 1 r", event(Op.TOUCH, vpn=A + 15, nr=1, cpu=3)),
        ("on 255 exit P0", event(Op.EXIT, cpu=255)),
        ("fork P0 P1", event(Op.FORK, arg=1)),
        ("exit P0", event(Op.EXIT)),
        ("exec P0", event(Op.EXEC)),
        ("unmap P0 A 4 4", event(Op.MUNMAP, vpn=A + 4, nr=4)),
        ("prot P0 A 0 2 r", event(Op.MPROTECT, vpn=A, nr=2, flags=EventFlag.PROT_READ)),
        ("prot P0 A 0 2 rw", event(Op.MPROTECT, vpn=A, nr=2, flags=RW)),
        ("prot P0 A 0 2 none", event(Op.MPROTECT, vpn=A, nr=2)),
        ("remap P0 A 1 2 B 14", event(Op.MREMAP, vpn=A + 1, nr=2, arg=B + 14, arg2=2)),
        ("madv P0 A 0 16 DONTNEED", event(Op.MADVISE, vpn=A, nr=16, what=0)),
        ("madv P0 A 0 16 POPULATE_WRITE", event(Op.MADVISE, vpn=A, nr=16, what=8)),
        ("madv P0 A 0 16 WILLNEED", event(Op.MADVISE, vpn=A, nr=16, what=ADVICES.index("IGNORED"))),
        ("madv P0 A 0 16 DONTNEED_LOCKED", event(Op.MADVISE, vpn=A, nr=16, what=9)),
        ("pin P0 A 2 4", event(Op.PIN, vpn=A + 2, nr=4)),
        ("unpin P0", event(Op.UNPIN)),
        ("splice P0 A 0 16", event(Op.SPLICE, vpn=A, nr=16)),
        ("unsplice P0", event(Op.UNSPLICE)),
        ("mlock P0 A 15 1", event(Op.MLOCK, vpn=A + 15, nr=1)),
        ("munlock P0 B 0 16", event(Op.MUNLOCK, vpn=B, nr=16)),
        ("truncobj M 0", event(Op.TRUNCATE, what=1)),
        ("truncobj T 100", event(Op.TRUNCATE, what=2, nr=100)),
        ("dropobj M", event(Op.DROP_OBJECT, what=1)),
        ("readobj M ra", event(Op.READ_OBJECT, what=1)),
        ("readobj T", event(Op.READ_OBJECT, what=2)),
        ("total_mapcount P0 A 0 1", event(Op.TOTAL_MAPCOUNT, vpn=A, nr=1)),
        ("folio_referenced P0 A 0 1", event(Op.FOLIO_REFERENCED, vpn=A, nr=1)),
        ("try_to_unmap P0 A 0 1", event(Op.TRY_TO_UNMAP, vpn=A, nr=1)),
        ("maybe_pinned P0 A 0 1", event(Op.MAYBE_PINNED, vpn=A, nr=1)),
        ("smaps P0", event(Op.SMAPS)),
        ("smaps P0 exact", event(Op.SMAPS, what=1)),
        ("splitdbg P0 A 0 2", event(Op.SPLIT, vpn=A, nr=2)),
        ("splitdbg P0 A 0 2 4", event(Op.SPLIT, vpn=A, nr=2, arg=4)),
        ("deferred_split", event(Op.DEFERRED_SPLIT)),
        ("khugepaged P0 A 0 2", event(Op.KHUGEPAGED, vpn=A, nr=2)),
        ("madv P0 A 0 16 COLLAPSE", event(Op.MADVISE, vpn=A, nr=16, what=ADVICES.index("COLLAPSE"))),
        ("swapon", event(Op.SWAPON)),
        ("swapoff", event(Op.SWAPOFF)),
        ("pagemap P0", event(Op.PAGEMAP)),
        ("numa_maps P0", event(Op.NUMA_MAPS)),
        ("kpagecount", event(Op.KPAGECOUNT)),
        ("move_pages P0 A 0 2", event(Op.MOVE_PAGES, vpn=A, nr=2)),
        ("numa_balance P0 A 0 2", event(Op.NUMA_BALANCE, vpn=A, nr=2)),
        ("compact", event(Op.COMPACT)),
        ("reclaim", event(Op.RECLAIM)),
        ("page_idle", event(Op.PAGE_IDLE)),
        ("memory_failure P0 A 0 2", event(Op.MEMORY_FAILURE, vpn=A, nr=2)),
        ("migrate P0 A 0 2", event(Op.MIGRATE, vpn=A, nr=2)),
    ],
)
def test_verb(line: str, expected: tuple[int, ...]) -> None:
    scenario = parse(DECLARED + line)
    assert rows(scenario) == [expected]
    assert scenario.step_text == (line,)
    assert scenario.lines.tolist() == [6]
    assert scenario.steps.tolist() == [0]
    assert scenario.unsupported == ()


def test_objects() -> None:
    scenario = parse("obj F file 9\nobj G file 16 order 4\nobj H file 16 warm\nobj I file 16 order 2 warm\n" + DECLARED)
    assert scenario.objects == (
        ObjectSpec(name="F", kind="file", nr_pages=9),
        ObjectSpec(name="G", kind="file", nr_pages=16, order=4),
        ObjectSpec(name="H", kind="file", nr_pages=16, warm=True),
        ObjectSpec(name="I", kind="file", nr_pages=16, order=2, warm=True),
        ObjectSpec(name="M", kind="memfd", nr_pages=8),
        ObjectSpec(name="T", kind="tmpfs", nr_pages=8),
    )


def test_each_anonshared_map_has_its_own_object() -> None:
    scenario = parse(DECLARED + "map P0 A anonshared\nmap P0 B anonshared 0 2")
    assert [(spec.kind, spec.nr_pages) for spec in scenario.objects[2:]] == [("anon_shared", 16), ("anon_shared", 2)]
    assert scenario.events["what"].tolist() == [3, 4]


def test_declarations_hold_wherever_they_stand() -> None:
    late = parse("map P0 A M 0 0 8 shared\nobj M memfd 8\nregion A 8\n")
    assert rows(late) == rows(parse("region A 8\nobj M memfd 8\nmap P0 A M 0 0 8 shared"))
    assert late.steps.tolist() == [0]


def test_steps_count_every_operation_and_no_declaration() -> None:
    scenario = parse("note first\nregion A 8\nmap P0 A anon\nksm\n# comment\n\ntouch P0 A 0 1 w  # first page\nnote")
    assert scenario.step_text == ("note first", "map P0 A anon", "ksm", "touch P0 A 0 1 w", "note")
    assert scenario.steps.tolist() == [1, 2, 3]
    assert scenario.lines.tolist() == [4, 5, 8]
    assert scenario.nr_steps == 5
    assert scenario.nr_events == 3


# processes and groups


def test_group_members_leave_from_the_last_on() -> None:
    scenario = parse("forkmany P0 4 G\nfork P0 P1\nexitgroup G 2\nexit G/0\nexitgroup G\nexitgroup G\nexit P1")
    assert scenario.processes == ("P0", "G/0", "G/1", "G/2", "G/3", "P1")
    assert scenario.events["op"].tolist() == [Op.FORK] * 5 + [Op.EXIT] * 5
    assert scenario.events["arg"].tolist()[:5] == [1, 2, 3, 4, 5]
    assert scenario.events["process"].tolist()[5:] == [4, 3, 1, 2, 5]
    assert scenario.steps.tolist() == [0, 0, 0, 0, 1, 2, 2, 3, 4, 6]
    assert scenario.nr_steps == 7


def test_members_are_processes() -> None:
    scenario = parse("region A 4\nforkmany P0 2 G\ntouch G/1 A 0 1 w\nfork G/1 P1")
    assert scenario.events["process"].tolist() == [0, 0, 2, 2]


def test_real_kernel_semantics_of_processes_that_do_not_exist() -> None:
    body = (
        "region A 4\ntouch Q A 0 1 w\nfork Q R\nexit P0\ntouch P0 A 0 1 r\nforkmany P0 3 G\nexitgroup G\nexitgroup G 7"
    )
    scenario = parse(body, strict=False)
    assert scenario.processes == ("P0", "Q", "R", "G/0")
    assert rows(scenario)[1:] == [
        event(Op.FORK, 1, arg=2),
        event(Op.EXIT),
        event(Op.TOUCH, vpn=0x100000000, nr=1),
        event(Op.FORK, 0, arg=3),
    ]
    assert scenario.steps.tolist() == [0, 1, 2, 3, 4]
    assert scenario.nr_steps == 7
    assert not scenario.strict


def test_real_kernel_semantics_of_ranges_beyond_the_region() -> None:
    scenario = parse("region A 4\nregion B 4\nunmap P0 A 2 4\nremap P0 A 0 6 B 100", strict=False)
    assert scenario.events["nr"].tolist() == [4, 6]
    with pytest.raises(ScenarioError, match=r"pages 0 to 1048576 leave the region of 4 pages"):
        parse("region A 4\nunmap P0 A 0 1048577", strict=False)


def test_a_process_may_come_to_exist_after_it_was_missed() -> None:
    scenario = parse("exit P1\nfork P0 P1\nexit P1", strict=False)
    assert scenario.processes == ("P0", "P1")
    assert rows(scenario) == [event(Op.EXIT, 1), event(Op.FORK, 0, arg=1), event(Op.EXIT, 1)]


# regions


@given(
    page_size=st.sampled_from(PAGE_SIZES),
    shapes=st.lists(st.tuples(st.integers(1, 1 << 20), st.integers(0, 1 << 16)), min_size=1, max_size=6),
)
def test_regions_are_aligned_and_apart(page_size: str, shapes: list[tuple[int, int]]) -> None:
    geometry = Geometry.from_text(page_size)
    body = "\n".join(f"region R{i} {nr} shift {shift}" for i, (nr, shift) in enumerate(shapes))
    regions = parse(body, geometry=geometry).regions
    end = 0
    for i, (nr, shift) in enumerate(shapes):
        region = regions[f"R{i}"]
        assert region.nr_pages == nr
        assert (region.vpn - shift) % geometry.entries_per_table == 0
        assert region.vpn - shift >= end
        # never two regions under one PMD table entry
        end = -(-(region.vpn + nr) // geometry.entries_per_table) * geometry.entries_per_table
    assert end << geometry.page_shift <= 1 << 47


def test_regions_lie_where_the_real_kernel_has_them() -> None:
    regions = parse("region A 512\nregion B 16 shift 5").regions
    assert regions == {"A": Region(0x100000000000 >> 12, 512), "B": Region((0x100100000000 >> 12) + 5, 16)}


def test_large_regions_move_the_others_apart() -> None:
    regions = parse(f"region A {3 << 20}\nregion B 1").regions
    assert regions["B"].vpn - regions["A"].vpn == (3 << 20) + 512


# sysfs

ROOT = "/sys/kernel/mm/transparent_hugepage/"


@pytest.mark.parametrize(
    ("lines", "always", "madvise", "shmem"),
    [
        (["hugepages-64kB/enabled madvise"], (), (PMD_SIZE, 65536), ()),
        (["hugepages-64kB/enabled always"], (65536,), (PMD_SIZE,), ()),
        (["hugepages-64kB/enabled never"], (), (PMD_SIZE,), ()),
        (["hugepages-64kB/enabled inherit"], (), (PMD_SIZE, 65536), ()),
        (["enabled always"], (PMD_SIZE,), (), ()),
        (["enabled never"], (), (), ()),
        (["enabled always", "hugepages-64kB/enabled inherit"], (PMD_SIZE, 65536), (), ()),
        (["hugepages-2048kB/enabled never"], (), (), ()),
        (["hugepages-2048kB/enabled always", "enabled never"], (PMD_SIZE,), (), ()),
        (["shmem_enabled always"], (), (PMD_SIZE,), (PMD_SIZE,)),
        (["hugepages-8kB/shmem_enabled always"], (), (PMD_SIZE,), (8192,)),
        (["hugepages-64kB/shmem_enabled inherit", "shmem_enabled always"], (), (PMD_SIZE,), (PMD_SIZE, 65536)),
    ],
)
def test_sysfs(lines: list[str], always: tuple[int, ...], madvise: tuple[int, ...], shmem: tuple[int, ...]) -> None:
    policy = parse("\n".join(f"sysfs {ROOT}{line}" for line in lines)).folio_policy
    assert policy is not None
    assert (policy.always_bytes, policy.madvise_bytes, policy.shmem_bytes) == (always, madvise, shmem)
    assert policy.name


def test_no_sysfs_asks_for_nothing() -> None:
    assert parse("").folio_policy is None


def test_sysfs_file_that_a_geometry_lacks() -> None:
    scenario = parse(f"sysfs {ROOT}hugepages-64kB/enabled madvise\nnote", geometry=Geometry.from_text("64K"))
    assert scenario.folio_policy is None
    (entry,) = scenario.unsupported
    assert entry.step == -1
    assert "folio size 64K is order 0 with 64K pages" in entry.reason
    with pytest.raises(ScenarioError, match=r"test\.txt:2: sysfs .*hugepages-64kB/enabled madvise: folio size 64K"):
        scenario.check_supported()


# unsupported


@pytest.mark.parametrize(
    "line",
    [
        "madv P0 A 0 1 SOFT_OFFLINE",
    ],
)
def test_read_but_not_modelled(line: str) -> None:
    scenario = parse(f"region A 1\nmap P0 A anon\n{line}\ntouch P0 A 0 1 w")
    (entry,) = scenario.unsupported
    assert entry[:3] == (1, 4, line)
    assert entry.reason.endswith("not modelled")
    assert scenario.steps.tolist() == [0, 2]
    with pytest.raises(ScenarioError, match=f"test.txt:4: {line}: .* not modelled"):
        scenario.check_supported()


def test_supported() -> None:
    parse("region A 1\nmap P0 A anon").check_supported()


# errors


@pytest.mark.parametrize(
    ("body", "line", "rule"),
    [
        ("frobnicate P0", 1, "unknown verb 'frobnicate'; there are map, touch, fork"),
        ("on 1 region A 4", 1, "unknown verb 'region'"),
        ("on 256 smaps P0", 1, "CPU 256 must be below 256"),
        ("on x smaps P0", 1, "CPU 'x' must be a number without sign"),
        ("on 1", 1, "too few words, usage: on CPU VERB ..."),
        ("region A", 1, "too few words, usage: region NAME N [shift K]"),
        ("region A 4 5", 1, "option '5' must be one of shift"),
        ("region A 4 shift", 1, "too few words, usage: region NAME N [shift K]"),
        ("region A 4 shift 5 6", 1, "too many words from '6' on"),
        ("region 4 4", 1, "region '4' must be letters, digits and _"),
        ("region A 0", 1, "number of pages must be at least 1"),
        ("region A -4", 1, "number of pages '-4' must be a number without sign"),
        ("region A four", 1, "number of pages 'four' must be a number without sign"),
        ("region A 4.5", 1, "number of pages '4.5' must be a number without sign"),
        ("region A 0x4", 1, "number of pages '0x4' must be a number without sign"),
        ("region A ٤", 1, "must be a number without sign"),
        ("region A 9223372036854775808", 1, "number of pages 9223372036854775808 must be below 2^63"),
        ("region A " + "9" * 5000, 1, "must be below 2^63"),
        ("region A 9223372036854775807", 1, "leaves the user address space"),
        ("region A 4 shift 34359738368", 1, "leaves the user address space"),
        ("region A 4\nregion A 5", 2, "region A exists already"),
        ("region A 4\nregion B 12884901888\nregion C 4", 3, "region C: 3 regions, "),
        ("obj F pipe 4", 1, "kind of object 'pipe' must be one of memfd, tmpfs, file"),
        ("obj F file 0", 1, "number of pages must be at least 1"),
        ("obj F file 4503599627370497", 1, "there must be 1 to 2^52"),
        ("obj F file 4 cold", 1, "option 'cold' must be one of order, warm"),
        ("obj F file 4 order 10", 1, "folio order 10 must be at most 9"),
        ("obj F file 4 order 2 order", 1, "option 'order' must be one of warm"),
        ("obj F file 4 warm warm", 1, "too many words from 'warm' on"),
        ("obj F memfd 4 warm", 1, "too many words from 'warm' on"),
        ("obj F file 4\nobj F memfd 4", 2, "object F exists already"),
        ("obj anon file 4", 1, "object 'anon' would hide the word"),
        ("sysfs /proc/sys/vm/swappiness 60", 1, "sysfs path /proc/sys/vm/swappiness is not modelled"),
        (f"sysfs {ROOT}defrag always", 1, f"sysfs path {ROOT}defrag is not modelled"),
        (f"sysfs {ROOT}enabled inherit", 1, "value of enabled 'inherit' must be one of always, never, madvise"),
        (f"sysfs {ROOT}shmem_enabled advise", 1, "value of shmem_enabled 'advise' must be one of always, never"),
        (f"sysfs {ROOT}hugepages-0kB/enabled always", 1, "is not modelled"),
        (f"sysfs {ROOT}enabled", 1, "too few words, usage: sysfs PATH VALUE"),
        (f"sysfs {ROOT}enabled always now", 1, "too many words from 'now' on"),
        ("touch P1 A 0 1 w", 1, "process P1 does not exist; there are P0"),
        ("touch 1P A 0 1 w", 1, "process '1P' must be letters, digits and _"),
        ("exit P0\nexit P0", 2, "process P0 has exited"),
        ("exit P0\nexit P1", 2, "process P1 does not exist; there are none left"),
        ("fork P0 P0", 1, "process P0 exists already"),
        ("fork P0 P1\nexit P1\nfork P0 P1", 3, "process P1 has existed before"),
        ("fork P0 G/1", 1, "process 'G/1' must be letters, digits and _"),
        ("fork P0", 1, "too few words, usage: fork P Q"),
        ("forkmany P0 0 G", 1, "number of children must be at least 1"),
        ("forkmany P0 1048577 G", 1, "1048577 children; one line forks at most 1048576"),
        ("forkmany P0 1 G\nforkmany P0 1 G", 2, "group G exists already"),
        ("exitgroup G", 1, "group 'G' does not exist; there are none"),
        ("forkmany P0 2 G\nexitgroup H", 2, "group 'H' does not exist; there are G"),
        ("forkmany P0 2 G\nexitgroup G 3", 2, "3 processes; group G has 2 left"),
        ("forkmany P0 2 G\nexitgroup G 0", 2, "number of processes must be at least 1"),
        ("forkmany P0 2 G\nexit P0", 2, "process P0 still has children in group G: exitgroup G first"),
        ("map P0 A anon", 1, "region 'A' is not declared; there are none"),
        ("region B 4\nmap P0 A anon", 2, "region 'A' is not declared; there are B"),
        ("region A 4\nmap P0 A", 2, "too few words, usage: map P R anon|anonshared [OFF N], or map P R OBJ"),
        ("region A 4\nmap P0 A anon 1", 2, "too few words"),
        ("region A 4\nmap P0 A anon 1 4", 2, "pages 1 to 4 leave the region of 4 pages"),
        ("region A 4\nmap P0 A anon 1 2 3", 2, "too many words from '3' on"),
        ("region A 4\nmap P0 A F 0 0 4 shared", 2, "object 'F' is not declared; there are none"),
        ("region A 4\nobj F file 4\nmap P0 A F 0 0 4", 3, "too few words"),
        ("region A 4\nobj F file 4\nmap P0 A F 0 0 4 both", 3, "sharing 'both' must be one of shared, private"),
        ("region A 4\nobj F file 4\nmap P0 A F 4503599627370496 0 4 shared", 3, "lie beyond the largest file"),
        ("region A 4\ntouch P0 A 0 5 w", 2, "pages 0 to 4 leave the region of 4 pages"),
        ("region A 4\ntouch P0 A 4 1 w", 2, "pages 4 to 4 leave the region of 4 pages"),
        ("region A 4\ntouch P0 A 9223372036854775807 1 w", 2, "leave the region of 4 pages"),
        ("region A 4\ntouch P0 A 0 0 w", 2, "the range holds no page"),
        ("region A 4\ntouch P0 A 0 1 x", 2, "access 'x' must be one of r, w, s"),
        ("region A 4\ntouch P0 A 0 1", 2, "too few words, usage: touch P R OFF N r|w|s"),
        ("region A 4\ntouch P0 A -1 1 w", 2, "offset '-1' must be a number without sign"),
        ("region A 4\ntouch P0 A 0 x w", 2, "length 'x' must be a number without sign"),
        ("region A 4\nprot P0 A 0 1 rwx", 2, "protection 'rwx' must be one of r, rw, none"),
        ("region A 4\nmadv P0 A 0 1 HURRY", 2, "advice 'HURRY' must be one of DONTNEED, HUGEPAGE"),
        ("region A 4\nmadv P0 A 0 1 IGNORED", 2, "advice 'IGNORED' must be one of"),
        ("region A 4\nremap P0 A 0 2 A 3", 2, "pages 3 to 4 leave the region of 4 pages"),
        ("region A 4\nremap P0 A 0 2 B 0", 2, "region 'B' is not declared"),
        ("truncobj F 4", 1, "object 'F' is not declared"),
        ("obj F file 4\ntruncobj F 4503599627370497", 2, "4503599627370497 pages; an object has at most 2^52"),
        ("obj F file 4\nreadobj F now", 2, "option 'now' must be one of ra"),
        ("obj F file 4\ndropobj F F", 2, "too many words from 'F' on"),
        ("region A 4\npin P0 A 0 5", 2, "pages 0 to 4 leave the region of 4 pages"),
        ("region A 4\nsplitdbg P0 A 0 4 x", 2, "order 'x' must be a number without sign"),
        ("ksm now", 1, "too many words from 'now' on, usage: ksm"),
        ("unpin P3", 1, "process P3 does not exist"),
    ],
)
def test_broken_operation(body: str, line: int, rule: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        parse(body)
    assert rule in caught.value.rule
    assert (caught.value.source, caught.value.line) == ("test.txt", line + 1)
    assert str(caught.value) == f"test.txt:{line + 1}: {caught.value.rule}"
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


@pytest.mark.parametrize(
    ("text", "line", "rule"),
    [
        ("", 1, "the text holds no scenario"),
        ("# nothing\n\n", 3, "the text holds no scenario"),
        ("scenario a\nregion A 4\n", 1, "'end' of scenario a is missing"),
        ("scenario a\nscenario b\nend\n", 2, "nested scenario: 'end' of scenario a (line 1) is missing"),
        ("end\n", 1, "'end' without a scenario"),
        ("scenario a\nend a\n", 2, "'end' takes no words, found a"),
        ("scenario\nend\n", 1, "usage: scenario NAME"),
        ("scenario a b\nend\n", 1, "usage: scenario NAME"),
        ("scenario a/b\nend\n", 1, "usage: scenario NAME"),
        ("exit P0\n", 1, "exit stands outside of scenario ... end"),
        ("scenario a\nend\nexit P0\n", 3, "exit stands outside of scenario ... end"),
        ("scenario a\nend\nscenario a\nend\n", 3, "scenario a exists already (line 1)"),
    ],
)
def test_broken_text(text: str, line: int, rule: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        parse_scenarios(text, GEOMETRY)
    assert rule in caught.value.rule
    assert str(caught.value) == f"<text>:{line}: {caught.value.rule}"


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "two.txt"
    path.write_bytes(b"scenario a\r\nnote\r\nend\r\nscenario b\nexit P9\nend\n")
    with pytest.raises(ScenarioError, match=r"two\.txt:5: exit P9: process P9 does not exist"):
        read_scenarios(path, GEOMETRY)
    assert [scenario.name for scenario in read_scenarios(str(path), GEOMETRY, strict=False)] == ["a", "b"]
    path.write_bytes(b"scenario \xff\n")
    with pytest.raises(ScenarioError, match=r"two\.txt:0: not a text in UTF-8: .* at byte 9"):
        read_scenarios(path, GEOMETRY)
    with pytest.raises(OSError, match="three"):
        read_scenarios(tmp_path / "three.txt", GEOMETRY)


VOCABULARY = (
    "scenario end sysfs obj region map touch fork forkmany exit exitgroup exec unmap madv prot remap mlock pin unpin"
    " ksm splitdbg punchobj truncobj dropobj readobj note on smaps total_mapcount P0 P1 A B F G G/0 anon anonshared"
    " memfd file tmpfs r w rw none shared private DONTNEED FREE 0 1 2 4 -1 9223372036854775808 shift order warm # x"
    " \N{SNOWMAN} \x00"
)
WORDS = VOCABULARY.split(" ")


@given(st.lists(st.lists(st.sampled_from(WORDS), max_size=9).map(" ".join), max_size=8).map("\n".join), st.booleans())
def test_any_text_is_read_or_refused_with_a_place(text: str, strict: bool) -> None:
    try:
        parse_scenarios(f"scenario s\nregion A 4\n{text}\nend", GEOMETRY, "fuzz", strict=strict)
    except ScenarioError as error:
        assert 1 <= error.line <= text.count("\n") + 4
        assert error.rule


# builder

NAMES = st.sampled_from(["A", "B", "C_long_name"])
SIZES = {"A": 512, "B": 16, "C_long_name": 2000}
SHIFTS = {"A": 0, "B": 7, "C_long_name": 300}
BUILT = "map map_anon touch unmap prot madv remap fork exit total_mapcount smaps exec truncobj note pin unpin mlock on"
Call = tuple[str, tuple[Any, ...]]


@st.composite
def programs(draw: st.DrawFn) -> list[Call]:
    """Builder calls that obey the rules of the language."""
    alive, calls = ["P0"], list[Call]()

    def span() -> tuple[str, int, int]:
        region = draw(NAMES)
        offset = draw(st.integers(0, SIZES[region] - 1))
        return region, offset, draw(st.integers(1, SIZES[region] - offset))

    for number in range(draw(st.integers(0, 12))):
        process = draw(st.sampled_from(alive))
        verb = draw(st.sampled_from(BUILT.split()))
        if verb in ("touch", "prot", "madv"):
            advices = ["DONTNEED", "SOFT_OFFLINE", "RANDOM"]
            choices = {"touch": ["r", "w", "s"], "prot": ["r", "rw", "none"], "madv": advices}
            calls.append((verb, (process, *span(), draw(st.sampled_from(choices[verb])))))
        elif verb in ("unmap", "total_mapcount", "pin", "mlock"):
            calls.append((verb, (process, *span())))
        elif verb == "map_anon":
            region, offset, nr = span()
            calls.append((verb, (process, region, offset, nr) if draw(st.booleans()) else (process, region)))
        elif verb == "map":
            region, offset, nr = span()
            sharing = draw(st.sampled_from(["shared", "private"]))
            calls.append((verb, (process, region, "F", draw(st.integers(0, 9)), offset, nr, sharing)))
        elif verb == "remap":
            region, offset, nr = span()
            if nr <= SIZES["A"]:
                calls.append((verb, (process, region, offset, nr, "A", SIZES["A"] - nr)))
        elif verb == "fork":
            calls.append((verb, (process, f"Q{number}")))
            alive.append(f"Q{number}")
        elif verb == "exit":
            if len(alive) > 1:
                calls.append((verb, (process,)))
                alive.remove(process)
        elif verb == "note":
            calls.append((verb, (draw(st.sampled_from(["", "hello", "two  words", "scenario"])),)))
        elif verb == "truncobj":
            calls.append((verb, ("F", draw(st.integers(0, 64)))))
        elif verb == "on":
            calls.extend([(verb, (draw(st.integers(0, 255)),)), ("smaps", (process,))])
        else:
            calls.append((verb, (process,)))
    return calls


def build(calls: list[Call], geometry: Geometry, description: str = "") -> ScenarioBuilder:
    builder = ScenarioBuilder("built", geometry, description=description).obj("F", "file", 64, order=2, warm=True)
    for name, size in SIZES.items():
        builder.region(name, size, shift=SHIFTS[name])
    for method, arguments in calls:
        assert getattr(builder, method)(*arguments) is builder
    return builder


def slow_events(calls: list[Call], geometry: Geometry) -> list[tuple[int, ...]]:
    """What the calls mean, written down a second time without any checks."""
    start = {name: ((0x100000000000 + i * max(1 << 32, geometry.pmd_size_bytes)) >> geometry.page_shift) + SHIFTS[name]
             for i, name in enumerate(SIZES)}  # fmt: skip
    numbers, events, cpu = {"P0": 0}, [], 0
    for method, arguments in calls:
        process = numbers.get(arguments[0], 0) if method not in ("truncobj", "note", "on") else 0
        place: dict[str, int] = {}
        if len(arguments) >= 4 and method != "map":
            place = {"vpn": start[arguments[1]] + arguments[2], "nr": arguments[3]}
        row: tuple[int, ...] | None = None
        if method == "on":
            cpu = arguments[0]
            continue
        if method == "map":
            _, region, _, file_offset, offset, nr, sharing = arguments
            flags = RW | (EventFlag.MAP_SHARED if sharing == "shared" else 0)
            row = event(Op.MMAP, process, vpn=start[region] + offset, nr=nr, what=1, arg=file_offset, flags=flags)
        elif method == "map_anon":
            whole = {"vpn": start[arguments[1]], "nr": SIZES[arguments[1]]}
            row = event(Op.MMAP, process, flags=RW, **(place or whole))
        elif method == "touch":
            flags = 0 if arguments[4] == "r" else EventFlag.TOUCH_WRITE
            row = event(Op.TOUCH, process, flags=flags, what=int(arguments[4] == "s"), **place)
        elif method == "prot":
            row = event(Op.MPROTECT, process, flags={"r": 1, "rw": 3, "none": 0}[arguments[4]], **place)
        elif method == "madv" and arguments[4] != "SOFT_OFFLINE":
            row = event(Op.MADVISE, process, what={"DONTNEED": 0, "RANDOM": 11}[arguments[4]], **place)
        elif method == "remap":
            row = event(Op.MREMAP, process, arg=start["A"] + arguments[5], arg2=arguments[3], **place)
        elif method == "fork":
            numbers[arguments[1]] = len(numbers)
            row = event(Op.FORK, process, arg=numbers[arguments[1]])
        elif method == "truncobj":
            row = event(Op.TRUNCATE, what=1, nr=arguments[1])
        elif method in ("unmap", "total_mapcount", "pin", "mlock"):
            row = event(Op["MUNMAP" if method == "unmap" else method.upper()], process, **place)
        elif method in ("exit", "exec", "smaps", "unpin"):
            row = event(Op[method.upper()], process, cpu=cpu)
        if row:
            events.append(row)
        cpu = 0
    return events


@given(programs(), st.sampled_from(PAGE_SIZES))
def test_builder(calls: list[Call], page_size: str) -> None:
    geometry = Geometry.from_text(page_size)
    scenario = build(calls, geometry).build()
    assert rows(scenario) == slow_events(calls, geometry)
    assert scenario.nr_steps == sum(method != "on" for method, _ in calls)
    assert len(scenario.unsupported) == sum("SOFT_OFFLINE" in arguments for _, arguments in calls)


@given(programs(), st.sampled_from(PAGE_SIZES), st.sampled_from(["", "one line", "with # sign"]), st.booleans())
def test_text_of_a_builder_is_read_back(calls: list[Call], page_size: str, description: str, strict: bool) -> None:
    geometry = Geometry.from_text(page_size)
    builder = build(calls, geometry, description)
    (scenario,) = parse_scenarios(builder.text(), geometry, strict=strict)
    built = builder.build(strict=strict)
    assert scenario == built
    assert hash(scenario) == hash(built)
    assert scenario.description == description
    assert (scenario.source, built.source) == ("", "builder")


@given(programs(), st.randoms(use_true_random=False))
def test_layout_of_the_text_does_not_matter(calls: list[Call], random: Any) -> None:
    text = build(calls, GEOMETRY).text()
    (plain,) = parse_scenarios(text, GEOMETRY)
    lines: list[str] = []
    for line in text.splitlines():
        lines += ["# remark", "", "\t # and more"][: random.randint(0, 3)]
        space = random.choice([" ", "  ", "\t"])
        lines.append(space.join(["", *line.split()]) + random.choice(["", " ", " # touch P9", "#x", "\r"]))
    (loose,) = parse_scenarios("\n".join(lines), GEOMETRY)
    assert rows(loose) == rows(plain)
    assert loose.hash == plain.hash
    assert loose.step_text == plain.step_text


@pytest.mark.parametrize(
    ("use", "rule"),
    [
        (lambda b: b.touch("P0", "A", 0, 1, "w").build(), "builder:2: touch P0 A 0 1 w: region 'A' is not declared"),
        (
            lambda b: b.region("A", 4).touch("P0", "A", 0, 5, "w").build(),
            "builder:3: touch .* leave the region of 4 pages",
        ),
        (lambda b: b.region("A", 4).touch("P0", "A", 0, -1, "w").build(), "builder:3: .*length '-1' must be a number"),
        (lambda b: b.region("A 4 shift 3", 4), "builder:2: region: 'A 4 shift 3' must be one word without '#'"),
        (lambda b: b.note("ok").region("A#", 4), "builder:3: region: 'A#' must be one word without '#'"),
        (lambda b: b.note("a # b"), "builder:2: note: '#' must be one word without '#'"),
        (lambda b: b.fork("P0", ""), "builder:2: fork: '' must be one word"),
        (lambda b: b.on(3).build(), r"builder:2: on\(3\) must be followed by an operation"),
        (lambda b: b.on(300).smaps("P0").build(), "builder:2: on 300 smaps P0: CPU 300 must be below 256"),
    ],
)
def test_builder_errors(use: Callable[[ScenarioBuilder], object], rule: str) -> None:
    with pytest.raises(ScenarioError, match=rule):
        use(ScenarioBuilder("b", GEOMETRY))


def test_builder_takes_whole_numbers() -> None:
    with pytest.raises(TypeError):
        ScenarioBuilder("b", GEOMETRY).region("A", 4.0)  # type: ignore[arg-type]
    scenario = ScenarioBuilder("b", GEOMETRY).region("A", np.int64(4)).map_anon("P0", "A").build()  # type: ignore[arg-type]
    assert scenario.events["nr"].tolist() == [4]


@pytest.mark.parametrize(("name", "description"), [("a b", ""), ("", ""), ("a", "two\nlines"), ("a", " spaced")])
def test_builder_names(name: str, description: str) -> None:
    with pytest.raises(ScenarioError, match=r"scenario name|description"):
        ScenarioBuilder(name, GEOMETRY, description=description).build()


def test_builder_has_every_verb() -> None:
    builder = ScenarioBuilder("all", GEOMETRY, description="each verb once")
    builder.sysfs("hugepages-64kB/enabled", "always").sysfs(ROOT + "enabled", "never").obj("F", "file", 8).region(
        "A", 8
    )
    builder.map("P0", "A", "anonshared", 0, 4).map_anon("P0", "A", 4, 4).touch("P0", "A", 0, 1, "w")
    builder.fork("P0", "P1").forkmany("P0", 2, "G").exitgroup("G", 1).exitgroup("G").exec("P1").exit("P1")
    builder.madv("P0", "A", 0, 1, "DONTNEED").prot("P0", "A", 0, 1, "r").remap("P0", "A", 0, 1, "A", 7)
    builder.unmap("P0", "A", 0, 1).truncobj("F", 4).punchobj("F", 1, 2).dropobj("F").readobj("F").readobj(
        "F", readahead=True
    )
    builder.total_mapcount("P0", "A", 0, 1).folio_referenced("P0", "A", 0, 1).try_to_unmap("P0", "A", 0, 1).smaps("P0")
    builder.maybe_pinned("P0", "A", 0, 1)
    builder.note("any text").mlock("P0", "A", 0, 1).munlock("P0", "A", 0, 1).pin("P0", "A", 0, 1).unpin("P0")
    builder.splice("P0", "A", 0, 1).unsplice("P0").ksm().splitdbg("P0", "A", 0, 1).splitdbg("P0", "A", 0, 1, 3)
    builder.swapon().swapoff().deferred_split().migrate("P0", "A", 0, 1).khugepaged("P0", "A", 0, 1)
    builder.pagemap("P0").numa_maps("P0").kpagecount().move_pages("P0", "A", 0, 1).numa_balance("P0", "A", 0, 1)
    builder.compact().reclaim().page_idle().memory_failure("P0", "A", 0, 1)
    scenario = builder.build()
    assert parse_scenarios(builder.text(), GEOMETRY) == [scenario]
    assert scenario.folio_policy == FolioPolicy(always_bytes=(65536,), madvise_bytes=(), name="always=64K")
    assert {Op(op) for op in scenario.events["op"]} == set(Op)
    assert not scenario.unsupported


# values


def test_hash_is_the_same_on_all_machines() -> None:
    scenario = load_scenario("order0_fork_cow", GEOMETRY)
    assert scenario.hash == "1421f63c921d47ac60289b3f55becced1d5ae03e81a7ef209317a6bd2bd9485c"


def test_hash_tells_apart_what_matters() -> None:
    base = "region A 16\nobj F file 8\nmap P0 A anon\n"
    hashes = {
        parse(base).hash,
        parse(base, strict=False).hash,
        parse(base + "touch P0 A 0 1 r").hash,
        parse(base + "touch P0 A 0 1 w").hash,
        parse(base + "on 1 touch P0 A 0 1 w").hash,
        parse(base + "ksm").hash,
        parse(base.replace("file 8", "file 9")).hash,
        parse(base.replace("file 8", "file 8 order 2")).hash,
        parse(base.replace("file 8", "file 8 warm")).hash,
        parse(f"sysfs {ROOT}enabled always\n" + base).hash,
    }
    assert len(hashes) == 10
    assert parse(base.replace("A", "B")).hash == parse(base).hash == parse("# remark\n" + base).hash


def test_a_scenario_cannot_be_changed() -> None:
    scenario = parse(DECLARED + "map P0 A anon")
    for array in (scenario.events, scenario.lines, scenario.steps):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = array[0]
    with pytest.raises(AttributeError):
        scenario.name = "other"  # type: ignore[misc]


def test_a_scenario_travels() -> None:
    scenario = parse(DECLARED + "map P0 A anon\nksm\nfork P0 P1")
    assert scenario.hash
    copy = pickle.loads(pickle.dumps(scenario))
    assert copy == scenario
    assert copy.hash == scenario.hash
    assert not copy.events.flags.writeable


def test_the_events_given_are_copied() -> None:
    events = np.zeros(2, EVENT_DTYPE)
    events["op"] = Op.EXIT
    scenario = Scenario(name="raw", events=events)
    events["op"] = Op.EXEC
    assert scenario.events["op"].tolist() == [Op.EXIT] * 2
    assert scenario.steps.tolist() == [0, 1]
    assert scenario.lines.tolist() == [0, 0]
    assert scenario.nr_steps == 2
    assert scenario.where(1) == "event 1 (exit)"
    assert Scenario(name="none", events=np.zeros(0, EVENT_DTYPE)).nr_steps == 0


def test_place_of_an_event() -> None:
    scenario = parse(DECLARED + "note\nmap P0 A anon")
    assert scenario.where(0) == "test.txt:7: event 0 (map P0 A anon)"


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"op": 99}, "event 1: op 99 must be below 40"),
        ({"cpu": 256}, "event 1: cpu 256 must be below 256"),
        ({"process": 1}, "event 1: process 1 must be below 1"),
        ({"flags": 1 << 7}, "event 1: flags 128 has a bit that means nothing"),
        ({"op": Op.MMAP, "what": 2}, "event 1: what 2 is no object; there are 1"),
        ({"op": Op.TRUNCATE, "what": 0}, "event 1: what 0 is no object"),
        ({"op": Op.MADVISE, "what": len(ADVICES)}, f"event 1: what {len(ADVICES)} is no advice"),
        ({"op": Op.FORK, "arg": 1}, "event 1: arg 1 must be the child, a process number below 1"),
    ],
)
def test_impossible_events(change: dict[str, int], rule: str) -> None:
    events = np.zeros(3, EVENT_DTYPE)
    events["op"] = Op.SMAPS
    for name, value in change.items():
        events[name][1] = value
    with pytest.raises(ValueError, match=rule):
        Scenario(name="raw", events=events, objects=(ObjectSpec(name="F", kind="file", nr_pages=1),))


def test_impossible_arrays() -> None:
    with pytest.raises(ValueError, match="events of type float64, 1 dimensions, must be 1-D EVENT_DTYPE"):
        Scenario(name="raw", events=np.zeros(3))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="2 dimensions"):
        Scenario(name="raw", events=np.zeros((1, 1), EVENT_DTYPE))
    with pytest.raises(ValueError, match=r"lines of shape \(1,\) must have one entry for each of 2 events"):
        Scenario(name="raw", events=np.zeros(2, EVENT_DTYPE), lines=np.zeros(1, np.int32))


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        ({"kind": "pipe"}, "object X: kind 'pipe' must be one of file, memfd, tmpfs, anon_shared"),
        ({"nr_pages": 0}, "object X: 0 pages; there must be 1 to 2.52"),
        ({"nr_pages": -1}, "object X: -1 pages"),
        ({"order": 16}, "object X: folio order 16 must be from 0 to 15"),
        ({"kind": "memfd", "order": 1}, "object X: only a file has an order or is warm, not memfd"),
    ],
)
def test_impossible_object(arguments: dict[str, Any], rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        ObjectSpec(**(dict[str, Any](name="X", kind="file", nr_pages=1) | arguments))


# what ships


def test_shipped_names() -> None:
    names = scenario_names()
    assert len(names) == len(set(names)) == 36
    assert {"order0_fork_cow", "many_anon_thp_1000", "seed_thp_pte_map"} <= set(names)
    with pytest.raises(ValueError, match=r"no scenario named 'nothing'; there are .*order0_fork_cow"):
        load_scenario("nothing", GEOMETRY)
    with pytest.raises(ValueError, match="no scenario named"):
        scenario_text("nothing")


@pytest.mark.parametrize("name", scenario_names())
def test_shipped_scenario(name: str) -> None:
    text = scenario_text(name)
    assert text.startswith(f"scenario {name}\n")
    assert text.endswith("end\n")
    assert 20 < len(scenario_description(name)) < 120
    declared = ("scenario", "end", "region", "obj", "sysfs")
    steps = [words for line in text.splitlines() if (words := line.split("#")[0].split()) and words[0] not in declared]
    for page_size in PAGE_SIZES:
        scenario = load_scenario(name, Geometry.from_text(page_size))
        assert scenario.name == name
        assert scenario.description == scenario_description(name)
        assert scenario.nr_steps == len(steps)
        assert list(scenario.step_text) == [" ".join(words) for words in steps]
        assert not scenario.strict
        assert scenario.source.endswith(".txt")
    (again,) = parse_scenarios(text, GEOMETRY, strict=False)
    assert again.hash == load_scenario(name, GEOMETRY).hash


@pytest.mark.parametrize(
    "name", [name for name in scenario_names() if "scenario " + name in (DATA / "50_seed.txt").read_text()]
)
def test_our_own_scenarios_hold_under_the_strict_rules(name: str) -> None:
    load_scenario(name, GEOMETRY, strict=True).check_supported()


def test_shipped_scenarios_not_modelled() -> None:
    skipped = {name: load_scenario(name, GEOMETRY).unsupported for name in scenario_names()}
    assert not {name for name, entries in skipped.items() if entries}
