# SPDX-License-Identifier: BSD-3-Clause
"""The boundary alone: what crosses it, what is refused, and whether both sides still say the same."""

from __future__ import annotations

import ast
import os
import pickle
import re
import shlex
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from folio_perf import scenario
from folio_perf._native import engine, errors
from folio_perf._native.engine import EVENT_DTYPE, Simulation
from folio_perf.profile import KernelProfile, load_profile, profile_names

TOP = Path(__file__).resolve().parents[2]
CSRC = TOP / "csrc"
NATIVE = TOP / "folio_perf" / "_native"
STRUCT_OF = {
    "EVENT_DTYPE": "fperf_event",
    "EVENT_STATS_DTYPE": "fperf_event_stats",
    "MAPPING_DTYPE": "fperf_mapping_row",
    "VMA_DTYPE": "fperf_vma_row",
    "ACCESS_DTYPE": "fperf_access_row",
    "RMAP_OP_DTYPE": "fperf_rmap_op",
    "OBJECT_DTYPE": "fperf_object_desc",
    "PROFILE_DTYPE": "fperf_profile",
}
OP = {name: number for number, name in enumerate(engine.names("ops"))}
VPN = 1 << 20
NO_SUCH_PROCESS = 77


def config(**changes: Any) -> dict[str, Any]:
    """A configuration that works, with changes."""
    profile = load_profile("7.0")
    return {
        "page_shift": 12,
        "line_shift": 6,
        "backend": engine.names("backends").index("count"),
        "scheme": 0,
        "presence": engine.names("presences").index("scan"),
        "recount": engine.names("recounts").index("lazy"),
        "recount_period": 0,
        "unknown": 0,
        "recount_naive": 0,
        "pins_exact": 0,
        "variant": 0,
        "contents": 0,
        "walk_order_seed": 0,
        "truth": 1,
        "strict": 1,
        "log_rmap": 1,
        "trace_accesses": 0,
        "cache": [(32 << 10, 8), (1 << 20, 16)],
        "memory_bytes": 1 << 32,
        "anon_orders_always": 0,
        "anon_orders_madvise": 0,
        "shmem_huge": 0,
        "profile": {field: getattr(profile, field) for field in engine.PROFILE_FIELDS},
    } | changes


def events(*rows: dict[str, int]) -> np.ndarray:
    array = np.zeros(len(rows), EVENT_DTYPE)
    for row, values in zip(array, rows, strict=True):
        for name, value in values.items():
            row[name] = value
    return array


MMAP = {"op": OP["mmap"], "vpn": VPN, "nr": 64, "flags": engine.PROT_READ | engine.PROT_WRITE}
WRITE = {"op": OP["touch"], "vpn": VPN, "nr": 64, "flags": engine.TOUCH_WRITE}
FORK = {"op": OP["fork"], "arg": 1}
WRONG = {"op": OP["touch"], "process": NO_SUCH_PROCESS, "vpn": VPN, "nr": 1}


@pytest.fixture
def simulation() -> Simulation:
    return Simulation(config())


# ---- errors -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", range(1, errors.NR_ERRORS))
def test_every_code_has_its_exception(code: int) -> None:
    with pytest.raises(errors.FperfError) as caught:
        errors.raise_for(-code, 5)
    error = caught.value
    assert (error.code, error.index) == (-code, 5)
    assert error.name == errors.error_name(code) == errors.error_name(-code)
    assert error.rule == errors.error_rule(code)
    assert error.errno == errors.error_errno(code) > 0
    assert str(error) == f"event 5: {error.rule} ({error.name})"
    assert isinstance(error, MemoryError) is (error.name in ("NO_MEMORY", "ADDR_SPACE"))
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), again.code, again.index, str(again)) == (type(error), error.code, 5, str(error))


def test_codes_are_those_of_the_header() -> None:
    listed = re.findall(r"^\tX\((\w+),", (CSRC / "core/fperf_error.h").read_text(), re.MULTILINE)
    assert [errors.error_name(code) for code in range(1, errors.NR_ERRORS)] == listed


def test_success_raises_nothing() -> None:
    errors.raise_for(0)
    errors.raise_for(1)
    assert errors.error_name(0) == "OK"


@pytest.mark.parametrize("code", [errors.NR_ERRORS, -errors.NR_ERRORS, 2**31 - 1, -(2**31)])
def test_no_such_code(code: int) -> None:
    for function in (errors.error_name, errors.error_rule, errors.error_errno, errors.FperfError):
        with pytest.raises(ValueError, match="no error code"):
            function(code)


# ---- both sides say the same --------------------------------------------------------------------------------------


def c_structs() -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Name and (type, member) pairs of each struct in the headers of core."""
    for header in sorted(CSRC.glob("core/*.h")):
        text = re.sub(r"/\*.*?\*/", "", header.read_text(), flags=re.DOTALL)
        for name, body in re.findall(r"^struct (\w+) \{(.*?)^\};", text, re.DOTALL | re.MULTILINE):
            members = []
            for declaration in filter(None, (part.strip() for part in body.split(";"))):
                kind, names = declaration.removeprefix("struct ").split(None, 1)
                members += [(kind, member.strip()) for member in names.split(",")]
            yield name, members


def test_pxd_repeats_the_structs_of_the_headers() -> None:
    text = (NATIVE / "core.pxd").read_text()
    bodies = dict(re.findall(r"^    struct (\w+):\n((?:        .*\n)+)", text, re.MULTILINE))
    mirrored = {name: [tuple(line.split()) for line in body.splitlines()] for name, body in bodies.items()}
    declared = dict(c_structs())
    assert mirrored == {name: members for name, members in declared.items() if name in mirrored}
    assert set(STRUCT_OF.values()) | {"fperf_config", "fperf_profile", "fperf_totals"} <= set(mirrored)


def c_functions(text: str) -> list[str]:
    """Prototypes in a header or a .pxd, spelt alike."""
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    text = re.sub(r"^#.*|\bstruct |\benum |FPERF_MUST_CHECK", "", text, flags=re.MULTILINE)
    text = re.sub(r" (\w+)\[\w+\]", r" *\1", text)  # an array parameter is a pointer
    found = re.findall(r"^\s*(\w[\w *]*?\bfperf_\w+\([^()]*\))", text, re.MULTILINE)
    return [re.sub(r"\W+", " ", function.replace("*", " ptr ")).strip() for function in found]


def test_pxd_repeats_the_functions_of_the_headers() -> None:
    for name, header in (("engine.pxd", "engine/engine.h"), ("core.pxd", "core/fperf_error.h")):
        declared = c_functions((CSRC / header).read_text())
        assert declared and c_functions((NATIVE / name).read_text()) == declared, header


CC = shlex.split(os.environ.get("CC", "cc"))


@pytest.mark.skipif(not shutil.which(CC[0]), reason=f"needs the C compiler {CC[0]}")
def test_dtypes_have_the_layout_of_the_structs(tmp_path: Path) -> None:
    lines = ['#include "engine/engine.h"']
    for name, struct in STRUCT_OF.items():
        dtype = getattr(engine, name)
        lines.append(f'_Static_assert(sizeof(struct {struct}) == {dtype.itemsize}, "{struct}");')
        assert dtype.names
        for field in dtype.names:
            kind, offset = dtype.fields[field][:2]
            member = f"((struct {struct} *)0)->{field}"
            lines.append(f'_Static_assert(offsetof(struct {struct}, {field}) == {offset}, "{struct}.{field}");')
            lines.append(f'_Static_assert(sizeof({member}) == {kind.itemsize}, "{struct}.{field}");')
            if kind.shape == ():
                signed = "<" if kind.kind == "i" else ">"
                lines.append(f'_Static_assert((__typeof__({member}))-1 {signed} 0, "{struct}.{field}");')
    unit = tmp_path / "layout.c"
    unit.write_text("\n".join(lines) + "\n")
    done = subprocess.run([*CC, "-std=gnu11", f"-I{CSRC}", "-fsyntax-only", str(unit)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("kind", "macro"),
    [
        ("ops", "OPS"),
        ("event_kinds", "EVENT_KINDS"),
        ("causes", "CAUSES"),
        ("fields", "FIELDS"),
        ("levels", "LEVELS"),
        ("backends", "BACKENDS"),
        ("advices", "ADVICES"),
        ("object_kinds", "OBJECT_KINDS"),
        ("questions", "QUESTIONS"),
    ],
)
def test_names_are_those_of_the_header(kind: Any, macro: str) -> None:
    text = (CSRC / "core/fperf_types.h").read_text()
    (body,) = re.findall(rf"^#define FPERF_{macro}\(X\)((?:.*\\\n)+.*\n)", text, re.MULTILINE)
    assert engine.names(kind) == tuple(re.findall(r"\bX\(\w+,\s*(\w+)", body))


def test_every_name_table_can_be_read() -> None:
    for kind in engine.NAME_TABLES:
        table = engine.names(kind)  # type: ignore[arg-type]
        assert table and all(table), kind
    with pytest.raises(KeyError):
        engine.names("colours")  # type: ignore[arg-type]
    shape = engine.COUNTERS_SHAPE
    axes = [len(engine.names("event_kinds")), len(engine.names("causes")), len(engine.names("fields"))]
    assert shape == (*axes, 3, 2, len(engine.names("levels")))


def test_scenarios_speak_of_the_same_events() -> None:
    assert scenario.EVENT_DTYPE == EVENT_DTYPE
    assert tuple(op.name.lower() for op in scenario.Op) == engine.names("ops")
    assert engine.names("advices") == scenario.ADVICES
    assert engine.names("object_kinds") == scenario.OBJECT_KINDS
    for flag in scenario.EventFlag:
        assert flag.name and getattr(engine, flag.name) == flag
    assert sum(scenario.EventFlag) == engine.EVENT_FLAGS


def test_profiles_fill_the_struct() -> None:
    assert set(engine.PROFILE_FIELDS) == set(KernelProfile.__dataclass_fields__) - {
        "name",
        "released",
        "sources",
        "stand_in",
        "outside",
    }
    for name in profile_names():
        profile = load_profile(name)
        Simulation(config(profile={field: getattr(profile, field) for field in engine.PROFILE_FIELDS}))


def test_pyi_declares_what_there_is() -> None:
    for module in (engine, errors):
        assert module.__file__
        tree = ast.parse((NATIVE / f"{module.__name__.split('.')[-1]}.pyi").read_text())
        declared: dict[str, set[str]] = {}
        for node in tree.body:
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                declared[node.target.id] = set()
            elif isinstance(node, ast.FunctionDef | ast.ClassDef):
                members = node.body if isinstance(node, ast.ClassDef) else []
                declared[node.name] = {member.name for member in members if isinstance(member, ast.FunctionDef)}
        declared.pop("SimulationConfig", None)
        for name, methods in declared.items():
            assert all(hasattr(getattr(module, name), method) for method in methods), name
    public = {name for name in vars(Simulation) if not name.startswith("_")}
    pyi = (NATIVE / "engine.pyi").read_text()
    assert public == set(re.findall(r"^    def ([a-z]\w*)\(", pyi, re.MULTILINE))
    keys = re.search(r"class SimulationConfig\(TypedDict\):\n((?:    .*\n)+)", pyi)
    assert keys and tuple(re.findall(r"^    (\w+):", keys[1], re.MULTILINE)) == engine.CONFIG_FIELDS


def test_config_has_the_members_of_the_struct() -> None:
    members = [name for _, name in dict(c_structs())["fperf_config"]]
    members.remove("abi_version")
    members.remove("nr_cache_levels")
    assert [name.split("[")[0] for name in members] == list(engine.CONFIG_FIELDS)


# ---- configurations -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"colour": 1}, TypeError),
        ({"profile": {}}, TypeError),
        ({"page_shift": -1}, OverflowError),
        ({"page_shift": 2**32}, OverflowError),
        ({"memory_bytes": 2**64}, OverflowError),
        ({"page_shift": 12.5}, TypeError),
        ({"page_shift": "12"}, TypeError),
        ({"page_shift": None}, TypeError),
        ({"profile": config()["profile"] | {"version": 700.5}}, TypeError),
        ({"cache": [(32768.5, 8)]}, TypeError),
        ({"cache": [(1, 2, 3)]}, ValueError),
        ({"cache": [(32 << 10, 8)] * (engine.MAX_CACHE_LEVELS + 1)}, errors.FperfError),
        ({"page_shift": 11}, errors.FperfError),
        ({"page_shift": 19}, errors.FperfError),
        ({"scheme": 1000}, errors.FperfError),
    ],
)
def test_impossible_configurations(changes: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        Simulation(config(**changes))  # type: ignore[arg-type]


def test_missing_key_is_named() -> None:
    incomplete = config()
    del incomplete["truth"]
    with pytest.raises(TypeError, match="truth"):
        Simulation(incomplete)  # type: ignore[arg-type]


# ---- events -------------------------------------------------------------------------------------------------------


def test_read_only_events(simulation: Simulation) -> None:
    batch = events(MMAP, WRITE)
    batch.flags.writeable = False
    assert simulation.run(batch) == 2


def test_no_events(simulation: Simulation) -> None:
    calls: list[int] = []
    assert simulation.run(events(), np.zeros(0, np.int32), progress=calls.append) == 0
    assert calls == []


@pytest.mark.parametrize(
    ("batch", "error"),
    [
        (events(MMAP).view(np.uint8), TypeError),
        (events(MMAP).astype(EVENT_DTYPE.newbyteorder(">")), TypeError),
        (events(MMAP, WRITE).tolist(), TypeError),
        (None, TypeError),
        (events(MMAP, WRITE)[::-1], ValueError),
        (events(MMAP, WRITE)[:, None], ValueError),
    ],
    ids=["bytes", "big endian", "list", "None", "not contiguous", "two dimensions"],
)
def test_events_of_another_kind(simulation: Simulation, batch: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        simulation.run(batch)
    assert simulation.totals()["pages_live"] == 0


def test_status_of_another_kind(simulation: Simulation) -> None:
    read_only = np.zeros(2, np.int32)
    read_only.flags.writeable = False
    for status, error in (
        (np.zeros(2, np.int64), TypeError),
        ([0, 0], TypeError),
        (np.zeros(1, np.int32), ValueError),
        (np.zeros((2, 1), np.int32), ValueError),
        (np.zeros(4, np.int32)[::2], ValueError),
        (read_only, ValueError),
    ):
        with pytest.raises(error):
            simulation.run(events(MMAP, WRITE), status)  # type: ignore[arg-type]
    assert simulation.run(events(MMAP)) == 1


@pytest.mark.parametrize("at", [1, 255, 256, 257, 5000])
def test_strict_run_ends_at_the_event_that_fails(simulation: Simulation, at: int) -> None:
    batch = np.repeat(events(WRITE), 6000)
    batch[0] = events(MMAP)[0]
    batch[at] = events(WRONG)[0]
    status = np.full(batch.size, 99, np.int32)
    with pytest.raises(errors.FperfError, match="NO_PROCESS") as caught:
        simulation.run(batch, status)
    assert caught.value.index == at
    assert caught.value.errno == 3
    assert (status[:at] >= 0).all() and (status[:at] <= 1).all()


def test_lenient_run_notes_the_event_that_fails() -> None:
    simulation = Simulation(config(strict=0))
    status = np.full(3, 99, np.int32)
    assert simulation.run(events(MMAP, WRONG, WRITE), status) == 3
    assert status[0] == status[2] == engine.APPLIED
    assert errors.error_name(int(status[1])) == "NO_PROCESS"
    assert simulation.run(events(WRONG)) == 1


def test_progress_is_called_and_may_end_the_run(simulation: Simulation) -> None:
    simulation.run(events(MMAP, WRITE))
    batch = np.repeat(events(WRITE), 100_000)
    calls: list[int] = []
    simulation.run(batch, progress=calls.append)
    assert calls == sorted(calls) and calls[-1] == batch.size and len(calls) > 1

    def stop(done: int) -> None:
        raise InterruptedError(done)

    with pytest.raises(InterruptedError):
        simulation.run(batch, progress=stop)
    simulation.check()


def test_signals_end_a_run_between_two_events(simulation: Simulation) -> None:
    simulation.run(events(MMAP, WRITE))
    batch = np.repeat(events(WRITE), 1_000_000)

    def stop(*_: object) -> None:
        raise InterruptedError

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, 0.005)
    try:
        with pytest.raises(InterruptedError):
            simulation.run(batch)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    simulation.check()
    assert simulation.run(events(WRITE)) == 1


def test_two_threads_cannot_be_inside_one_simulation(simulation: Simulation) -> None:
    simulation.run(events(MMAP, WRITE))
    batch = np.repeat(events(WRITE), 200_000)
    seen: list[Exception] = []
    stopped = threading.Event()

    def look() -> None:
        while not stopped.is_set():
            try:
                simulation.totals()
            except RuntimeError as error:
                seen.append(error)
                return

    other = threading.Thread(target=look)
    other.start()
    while other.is_alive() and not seen:
        simulation.run(batch)
    stopped.set()
    other.join()
    assert "one instance per thread" in str(seen[0])


# ---- what comes back ----------------------------------------------------------------------------------------------


def test_results_are_copies_that_outlive_the_simulation() -> None:
    simulation = Simulation(config(trace_accesses=1, backend=engine.names("backends").index("cache")))
    simulation.run(events(MMAP, WRITE))
    counters, pages = simulation.counters(), simulation.struct_pages()
    assert counters.shape == engine.COUNTERS_SHAPE and counters.dtype == np.uint64 and counters.sum() > 0
    assert pages.shape[1:] == (64,) and pages.dtype == np.uint8 and len(pages) >= 64
    results = [
        counters,
        pages,
        simulation.event_stats(),
        simulation.mappings(0),
        simulation.smaps(0),
        simulation.accesses(),
        simulation.rmap_log(),
        simulation.answers(),
    ]
    before = [result.tobytes() for result in results]
    assert all(result.flags.owndata or result.base.flags.owndata for result in results)
    assert all(result.flags.writeable for result in results)
    simulation.run(events(FORK, WRITE))
    assert simulation.counters().sum() > counters.sum()
    del simulation
    assert [result.tobytes() for result in results] == before


def test_what_a_process_maps(simulation: Simulation) -> None:
    simulation.run(events(MMAP, WRITE))
    rows = simulation.mappings(0)
    assert rows.dtype == engine.MAPPING_DTYPE
    assert rows["vpn"][0] == VPN and rows["nr"].sum() == 64
    assert set(rows["kind"]) == {engine.MAPPING_ANON} and rows["writable"].all()
    (vma,) = simulation.smaps(0)
    assert (vma["start"], vma["end"], vma["rss_pages"]) == (VPN, VPN + 64, 64)
    folio = simulation.folio(int(rows["pfn"][0]))
    assert folio["pfn"] == rows["pfn"][0] and folio["true_pte"] == 1 and folio["anon"] == 1
    mapped = engine.names("questions").index("mapped")
    assert simulation.ask(mapped, folio["pfn"], 0)[0] == engine.YES


def test_totals_and_stats_have_the_members_of_the_structs(simulation: Simulation) -> None:
    simulation.run(events(MMAP, WRITE, FORK))
    assert list(simulation.totals()) == [name for _, name in dict(c_structs())["fperf_totals"]]
    stats = simulation.event_stats()
    assert stats.dtype == engine.EVENT_STATS_DTYPE and stats.shape == engine.COUNTERS_SHAPE[:1]
    assert stats["count"][engine.names("event_kinds").index("fork")] == 1


def test_accesses_can_be_cleared() -> None:
    simulation = Simulation(config(trace_accesses=1, backend=engine.names("backends").index("cache")))
    assert simulation.accesses().shape == (0,)
    simulation.run(events(MMAP, WRITE))
    assert simulation.accesses().size > 0
    simulation.accesses_clear()
    assert simulation.accesses().shape == (0,)


@pytest.mark.parametrize("nr_threads", [1, 4])
def test_native_replay_leaves_the_same_struct_pages(simulation: Simulation, nr_threads: int) -> None:
    simulation.run(events(MMAP, WRITE, FORK))
    pages, ns = simulation.replay_native(simulation.rmap_log(), simulation.answers(), nr_threads)
    assert ns > 0
    np.testing.assert_array_equal(pages, simulation.struct_pages())


def test_native_replay_refuses_another_log(simulation: Simulation) -> None:
    with pytest.raises(TypeError):
        simulation.replay_native(events(MMAP), simulation.answers(), 1)
    with pytest.raises(ValueError):
        simulation.replay_native(simulation.rmap_log(), np.zeros(1, np.int32), 1)  # type: ignore[arg-type]


def test_questions_about_what_is_not_there(simulation: Simulation) -> None:
    simulation.run(events(MMAP))
    for call, arguments in (
        (simulation.mappings, (NO_SUCH_PROCESS,)),
        (simulation.smaps, (NO_SUCH_PROCESS,)),
        (simulation.folio, (2**40,)),
        (simulation.ask, (1000, 0, 0)),
        (simulation.ask, (0, 2**40, 0)),
        (simulation.populate, (9, 0, 0)),
        (simulation.add_object, (1000, 1)),
    ):
        with pytest.raises(errors.FperfError):
            call(*arguments)
    with pytest.raises(OverflowError):
        simulation.add_object(0, -1)


def test_objects_are_numbered_in_order(simulation: Simulation) -> None:
    assert [simulation.add_object(0, 16, order=2), simulation.add_object(1, 4)] == [0, 1]
    simulation.populate(0, 0, 2)


def test_a_simulation_stays_in_its_process(simulation: Simulation) -> None:
    with pytest.raises(TypeError):
        pickle.dumps(simulation)
