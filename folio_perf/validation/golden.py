# SPDX-License-Identifier: BSD-3-Clause
"""Golden files: what real kernels answered to the scenarios, step by step, and whether the model answers the same.

A golden file is JSON lines. The first object of a scenario names it, the kernel and its ``profile``; then comes one
object per step with the page tables (``maps``), the pages, the large folios and smaps as the kernel showed them after
the step. `compare_golden` runs the same scenario in the model and compares every field that a kernel answers exactly.
"""

from __future__ import annotations

import gzip
import json
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from folio_perf._native import engine
from folio_perf._simulation import new_simulation
from folio_perf.geometry import Geometry
from folio_perf.profile import KernelProfile, load_profile
from folio_perf.scenario import ObjectSpec, Op, Scenario, read_scenarios
from folio_perf.schemes import SchemeSpec, parse_scheme_spec

__all__ = ["FIELDS", "FieldComparison", "GoldenError", "GoldenScenario", "compare_golden", "read_golden"]

FIELDS: Final = (
    "maps",
    "kpagecount",
    "mapcount",
    "folio_nr_pages",
    "anon_exclusive",
    "large_mapcount",
    "entire_mapcount",
    "nr_pages_mapped",
    "compound_mapcount",
    "double_map",
    "pagemap_exclusive",
    "pagemap_file",
    "rss",
    "pss",
    "anon_huge_pages",
    "shmem_pmd_mapped",
    "nr_vmas",
)
"""What is compared. A field a kernel does not have is not compared and not listed."""

_MAPPED_KINDS: Final = (engine.MAPPING_ANON, engine.MAPPING_FILE)
_ZERO_KINDS: Final = (engine.MAPPING_ZERO, engine.MAPPING_HUGE_ZERO)
_SMAPS_RSS, _SMAPS_PSS, _SMAPS_ANON_HUGE, _SMAPS_SHMEM_PMD, _SMAPS_NR_VMAS = 0, 1, 6, 7, 11
_PG_ANON_EXCLUSIVE, _PG_DOUBLE_MAP = 17, 20

# Field of a golden folio -> (name here, scheme that keeps it, offset in page[1], value where nothing is mapped).
_TAIL_FIELDS: Final = {
    "lm": ("large_mapcount", "large_mapcount", 16, -1),
    "em": ("entire_mapcount", "large_mapcount", 20, -1),
    "nm": ("nr_pages_mapped", "large_mapcount", 24, 0),
    "cmc": ("compound_mapcount", "page_mapcount", 20, -1),
}
_PER_PAGE_COUNTS: Final = ("page_mapcount", "large_mapcount")

PageName = tuple[str, int, int]
"""Region or object a page was born in, offset there, generation."""


class GoldenError(ValueError):
    """A golden file that cannot be read; the message names file, line and rule."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenScenario:
    """What one kernel answered to one scenario.

    Parameters
    ----------
    name : str
    kernel : str
        Release the kernel reported.
    profile : str
        Its version, ``"6.12"``.
    no_page_mapcount : bool
        Built with CONFIG_NO_PAGE_MAPCOUNT.
    skipped : str or None
        Why the kernel could not run it.
    steps : tuple of mapping
        As in the file, in order.
    """

    name: str
    kernel: str
    profile: str
    no_page_mapcount: bool
    skipped: str | None
    steps: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldComparison:
    """One field of one scenario, over all its steps.

    Parameters
    ----------
    kernel, scheme, scenario, field : str
    compared, equal : int
        Values looked at, and how many of them agree.
    first_difference : mapping or None
        ``step``, ``operation``, ``what``, ``expected`` and ``got`` of the first that does not.
    skipped : str or None
        Why nothing, or nothing after some step, was compared.
    """

    kernel: str
    scheme: str
    scenario: str
    field: str
    compared: int
    equal: int
    first_difference: Mapping[str, Any] | None
    skipped: str | None


def read_golden(path: str | os.PathLike[str]) -> tuple[GoldenScenario, ...]:
    """Read a golden file, plain or gzip.

    Raises
    ------
    GoldenError
        At the first line that is not what the format says.
    OSError
        If the file cannot be read.
    """
    where = os.fspath(path)
    scenarios: list[GoldenScenario] = []
    header: dict[str, Any] | None = None
    steps: list[Mapping[str, Any]] = []

    def finish() -> None:
        if header is not None:
            scenarios.append(
                GoldenScenario(
                    name=header["scenario"],
                    kernel=header["kernel"],
                    profile=header["profile"],
                    no_page_mapcount=bool(header.get("no_page_mapcount", False)),
                    skipped=header.get("skipped"),
                    steps=tuple(steps),
                )
            )

    for number, line in _lines(where):
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise GoldenError(f"{where}:{number}: not JSON: {error}") from error
        if not isinstance(record, dict):
            raise GoldenError(f"{where}:{number}: each line must be a JSON object")
        if "scenario" in record:
            finish()
            for key in ("scenario", "kernel", "profile"):
                if not isinstance(record.get(key), str):
                    raise GoldenError(f"{where}:{number}: header has no {key!r}")
            header, steps = record, []
        elif "end" in record:
            finish()
            header, steps = None, []
        else:
            if header is None:
                raise GoldenError(f"{where}:{number}: a step before the header of its scenario")
            if not isinstance(record.get("i"), int) or not isinstance(record.get("op"), str):
                raise GoldenError(f"{where}:{number}: a step needs its number 'i' and its text 'op'")
            steps.append(record)
    finish()
    if not scenarios:
        raise GoldenError(f"{where}: no scenario in it")
    return tuple(scenarios)


def _lines(where: str) -> Iterator[tuple[int, str]]:
    content = Path(where).read_bytes()
    try:
        text = (gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content).decode()
    except (UnicodeDecodeError, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise GoldenError(f"{where}: not a golden file: {error}") from error
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            yield number, line


def compare_golden(
    path: str | os.PathLike[str],
    *,
    scenarios: str | os.PathLike[str] | None = None,
    scenario: str | None = None,
    scheme: str | SchemeSpec | None = None,
    kernel: str | None = None,
) -> list[FieldComparison]:
    """Run the scenarios of a golden file in the model and compare what the kernel answered.

    Parameters
    ----------
    path : path
        The golden file.
    scenarios : path, optional
        Folder with the scenario texts (``*.txt``). Default: ``scenarios`` beside the file.
    scenario : str, optional
        Only this one.
    scheme : str or SchemeSpec, optional
        Default: the scheme that kernel shipped.
    kernel : str, optional
        Profile to use. Default: the file's own.

    Returns
    -------
    list of FieldComparison
        One per scenario and field.

    Raises
    ------
    GoldenError
        If the file, or the text of one of its scenarios, cannot be had.
    """
    folder = Path(scenarios) if scenarios is not None else Path(path).parent / "scenarios"
    texts = {each.name: each for file in sorted(folder.glob("*.txt")) for each in _read(file)}
    found = [golden for golden in read_golden(path) if scenario in (None, golden.name)]
    if not found:
        raise GoldenError(f"{os.fspath(path)}: no scenario {scenario!r} in it")
    results: list[FieldComparison] = []
    for golden in found:
        profile = load_profile(kernel or golden.profile)
        if scheme is None:
            spec = parse_scheme_spec(_shipped_scheme(golden))
        else:
            spec = parse_scheme_spec(scheme) if isinstance(scheme, str) else scheme
        if golden.name not in texts and not golden.skipped:
            raise GoldenError(f"{os.fspath(path)}: no text of scenario {golden.name!r} in {folder}")
        results += _Comparison(golden, texts.get(golden.name), spec, profile).run()
    return results


def _read(file: Path) -> list[Scenario]:
    return read_scenarios(file, Geometry(), strict=False)


def _shipped_scheme(golden: GoldenScenario) -> str:
    major, minor = (int(part) for part in golden.profile.split(".")[:2])
    if golden.no_page_mapcount:
        return "no_page_mapcount"
    for since, name in (((6, 15), "mm_owner"), ((6, 10), "large_mapcount"), ((6, 2), "nr_pages_mapped")):
        if (major, minor) >= since:
            return name
    return "page_mapcount"


class _Comparison:
    """One scenario under way: the simulation beside the steps of the file."""

    def __init__(
        self, golden: GoldenScenario, scenario: Scenario | None, spec: SchemeSpec, profile: KernelProfile
    ) -> None:
        self.golden, self.spec, self.profile = golden, spec, profile
        self.compared: dict[str, int] = {}
        self.equal: dict[str, int] = {}
        self.first: dict[str, dict[str, Any]] = {}
        self.skipped = golden.skipped
        self.step: Mapping[str, Any] = {}
        if golden.skipped is not None or scenario is None:
            return
        self.scenario = scenario
        self.simulation = new_simulation(scenario, scheme=spec, kernel=profile, backend="count")
        self.region_at = sorted((region.vpn, region.nr_pages, name) for name, region in scenario.regions.items())
        self.populated: set[tuple[int, int]] = set()

    def run(self) -> list[FieldComparison]:
        if self.skipped is None:
            self._run_steps()
        fields = [field for field in FIELDS if field in self.compared] or ["maps"]
        return [
            FieldComparison(
                kernel=self.golden.kernel,
                scheme=str(self.spec),
                scenario=self.golden.name,
                field=field,
                compared=self.compared.get(field, 0),
                equal=self.equal.get(field, 0),
                first_difference=self.first.get(field),
                skipped=self.skipped,
            )
            for field in fields
        ]

    def _run_steps(self) -> None:
        unsupported = {each.step: each for each in self.scenario.unsupported}
        if -1 in unsupported:
            self.skipped = f"{unsupported[-1].text}: {unsupported[-1].reason}"
            return
        for step in self.golden.steps:
            number = int(step["i"])
            if number in unsupported:
                self.skipped = f"from step {number} on: {unsupported[number].text}: {unsupported[number].reason}"
                return
            if number >= len(self.scenario.step_text) or self.scenario.step_text[number] != step["op"]:
                text = self.scenario.step_text[number : number + 1]
                raise GoldenError(
                    f"scenario {self.golden.name!r}, step {number}: the file ran {step['op']!r}, the text has {text}"
                )
            self.step = step
            self._populate()
            self._execute(number)
            if "maps" in step:
                self._compare_step()

    def _execute(self, number: int) -> None:
        events = self.scenario.events[self.scenario.steps == number]
        # What a file object holds is taken from the golden step, not from the model's idea of reading a file.
        read = (events["op"] == Op.READ_OBJECT) & np.isin(events["what"], [i + 1 for i, _ in self._files()])
        self.simulation.run(np.ascontiguousarray(events[~read]))

    def _files(self) -> Iterator[tuple[int, ObjectSpec]]:
        return ((i, each) for i, each in enumerate(self.scenario.objects) if each.kind == "file")

    def _populate(self) -> None:
        for index, each in self._files():
            for name, offset, nr, _gen, _count, _flags, folio_nr, *_ in self.step.get("pages", ()):
                if name != each.name:
                    continue
                order = max(int(folio_nr).bit_length() - 1, 0)
                for page in range(offset, offset + nr):
                    base = page >> order << order
                    if (index, base) not in self.populated:
                        self.populated.add((index, base))
                        self.simulation.populate(index, base, order)

    # ---- one step ----

    def _check(self, field: str, what: object, expected: object, got: object) -> None:
        self.compared[field] = self.compared.get(field, 0) + 1
        if expected == got:
            self.equal[field] = self.equal.get(field, 0) + 1
        elif field not in self.first:
            self.first[field] = {
                "step": self.step["i"],
                "operation": self.step["op"],
                "what": what,
                "expected": expected,
                "got": got,
            }

    def _compare_step(self) -> None:
        self.bytes = self.simulation.struct_pages().view(np.int32).reshape(-1, 16)
        self.flags = self.simulation.struct_pages().view(np.uint64).reshape(-1, 8)[:, 0]
        self.pages: dict[PageName, int] = {}
        self.names: dict[int, PageName] = {}
        for name, runs in self.step["maps"].items():
            self._compare_maps(name, runs)
        self._compare_pages()
        for folio in self.step.get("folios", ()):
            self._compare_folio(folio)
        for name, regions in self.step["smaps"].items():
            self._compare_smaps(name, regions)

    def _where(self, vpn: int) -> tuple[str, int] | None:
        for start, _nr, name in reversed(self.region_at):
            if vpn >= start:
                return name, vpn - start
        return None

    def _compare_maps(self, process: str, runs: Iterable[list[Any]]) -> None:
        expected: dict[tuple[str, int], tuple[str, int, int, int]] = {}
        for region, offset, nr, name, page_offset, generation, bits in runs:
            for i in range(nr):
                expected[region, offset + i] = (name, page_offset + i, generation, bits)
        got: dict[tuple[str, int], tuple[int, int, bool]] = {}
        for row in self.simulation.mappings(self.scenario.processes.index(process)):
            place = self._where(int(row["vpn"]))
            if place is None:
                continue
            for i in range(int(row["nr"])):
                pfn = int(row["pfn"])
                if row["kind"] in _MAPPED_KINDS:
                    pfn += i
                got[place[0], place[1] + i] = (int(row["kind"]), pfn, bool(row["pmd"]))
        unpopulated = self._unpopulated_regions()
        for at in sorted(expected.keys() | got.keys()):
            if at[0] in unpopulated:
                continue
            self._compare_entry(process, at, expected.get(at), got.get(at))

    def _compare_entry(
        self,
        process: str,
        at: tuple[str, int],
        expected: tuple[str, int, int, int] | None,
        got: tuple[int, int, bool] | None,
    ) -> None:
        what = f"{process} {at[0]} {at[1]}"
        if expected is None or got is None:
            self._check("maps", what, _entry_text(expected), self._got_text(got))
            return
        name, offset, generation, bits = expected
        kind, pfn, pmd = got
        if name == "ZERO":
            self._check("maps", what, "ZERO", "ZERO" if kind in _ZERO_KINDS else self._got_text(got))
        elif name == "SWAP":
            self._check("maps", what, "SWAP", "SWAP" if kind == engine.MAPPING_SWAP else self._got_text(got))
            return
        else:
            page: PageName = (name, offset, generation)
            same = kind in _MAPPED_KINDS and self.pages.setdefault(page, pfn) == pfn
            same = same and self.names.setdefault(pfn, page) == page
            self._check("maps", what, _entry_text(expected), _entry_text(expected) if same else self._got_text(got))
        # pagemap: bit 56 exclusive, bit 61 file or shared.
        is_file = kind in (engine.MAPPING_FILE, engine.MAPPING_HUGE_ZERO)
        self._check("pagemap_file", what, bool(bits & 2), is_file)
        if kind in _MAPPED_KINDS:
            self._check("pagemap_exclusive", what, bool(bits & 1), self._exclusive(pfn, pmd))

    def _exclusive(self, pfn: int, pmd: bool) -> bool:
        # Under a PMD page 0 decides for all, but on the kernels that looked at each page (6.12).
        each_page = 610 <= self.profile.version < 615
        return self._page_mapcount(self._head(pfn) if pmd and not each_page else pfn) == 1

    def _got_text(self, got: tuple[int, int, bool] | None) -> str:
        if got is None:
            return "-"
        kind, pfn, pmd = got
        if kind in _ZERO_KINDS:
            return "ZERO"
        if kind == engine.MAPPING_SWAP:
            return "SWAP"
        return f"pfn {pfn}{' pmd' if pmd else ''} ({_entry_text(self.names.get(pfn))})"

    def _unpopulated_regions(self) -> set[str]:
        """Regions that map a file object which is not wholly resident in the golden step."""
        regions: set[str] = set()
        for index, each in self._files():
            resident = sum(int(row[2]) for row in self.step.get("pages", ()) if row[0] == each.name)
            if resident < each.nr_pages:
                maps = (self.scenario.events["op"] == Op.MMAP) & (self.scenario.events["what"] == index + 1)
                for vpn in self.scenario.events["vpn"][maps]:
                    place = self._where(int(vpn))
                    if place is not None:
                        regions.add(place[0])
        return regions

    # ---- pages and folios ----

    def _head(self, pfn: int) -> int:
        return self.simulation.folio(pfn)["pfn"]

    def _page_mapcount(self, pfn: int) -> int:
        head = self._head(pfn)
        return self.simulation.ask(engine.names("questions").index("page_mapcount"), head, pfn - head)[1]

    def _resolve_pages(self) -> None:
        """Find the pages nobody maps: by another page of their folio, or by their place in an object."""
        for folio in self.step.get("folios", ()):
            names: list[PageName] = [(folio["h"], folio["o"] + i, folio["g"]) for i in range(folio["nr"])]
            known = next(((i, self.pages[name]) for i, name in enumerate(names) if name in self.pages), None)
            if known is not None:
                for i, name in enumerate(names):
                    self.pages.setdefault(name, known[1] - known[0] + i)
        resident: dict[tuple[str, int], int] | None = None
        for name, offset, nr, generation, *_ in self.step.get("pages", ()):
            for i in range(nr):
                page: PageName = (name, offset + i, generation)
                if page not in self.pages:
                    resident = self._resident() if resident is None else resident
                    if (name, offset + i) in resident:
                        self.pages[page] = resident[name, offset + i]

    def _resident(self) -> dict[tuple[str, int], int]:
        pages: dict[tuple[str, int], int] = {}
        pfn = 1
        while pfn < len(self.bytes):
            try:
                folio = self.simulation.folio(pfn)
            except ValueError:
                pfn += 1
                continue
            if not folio["anon"] and self.scenario.objects:
                name = self.scenario.objects[folio["object"]].name.removeprefix("anonshared@")
                for i in range(1 << folio["order"]):
                    pages[name, folio["index"] + i] = folio["pfn"] + i
            pfn = folio["pfn"] + (1 << folio["order"])
        return pages

    def _compare_pages(self) -> None:
        self._resolve_pages()
        for name, offset, nr, generation, kpagecount, letters, folio_nr, *kernel_fields in self.step.get("pages", ()):
            if "Z" in letters:  # the zero page is not counted
                continue
            for i in range(nr):
                page: PageName = (name, offset + i, generation)
                pfn = self.pages.get(page)
                if pfn is None:
                    # A page of a file that read-ahead brought in but nobody maps is the kernel's affair.
                    if not any(each.name == name for _, each in self._files()):
                        self._check("maps", _entry_text(page), "live", "unknown to the model")
                    continue
                self._compare_page(page, pfn, kpagecount, letters, folio_nr, kernel_fields)

    def _compare_page(
        self, page: PageName, pfn: int, kpagecount: int, letters: str, folio_nr: int, kernel_fields: list[int]
    ) -> None:
        what = _entry_text(page)
        self._check("kpagecount", what, kpagecount, self._page_mapcount(pfn))
        self._check("folio_nr_pages", what, folio_nr, 1 << self.simulation.folio(pfn)["order"])
        if kernel_fields:
            if self.spec.name in _PER_PAGE_COUNTS:
                self._check("mapcount", what, kernel_fields[0], int(self.bytes[pfn, 12]) + 1)
            if "A" in letters:
                exclusive = int(self.flags[pfn]) >> _PG_ANON_EXCLUSIVE & 1
                self._check("anon_exclusive", what, kernel_fields[1], exclusive)

    def _compare_folio(self, folio: Mapping[str, Any]) -> None:
        page: PageName = (folio["h"], folio["o"], folio["g"])
        head = self.pages.get(page)
        if head is None:
            return
        what = _entry_text(page)
        for key, (field, scheme, offset, start) in _TAIL_FIELDS.items():
            if key in folio and self.spec.name == scheme:
                self._check(field, what, folio[key], int(self.bytes[head + 1, offset // 4]) - start)
        if "dm" in folio and self.spec.name == "page_mapcount":
            self._check("double_map", what, folio["dm"], int(self.flags[head + 1]) >> _PG_DOUBLE_MAP & 1)

    def _compare_smaps(self, process: str, regions: Mapping[str, list[int]]) -> None:
        sums: dict[str, list[int]] = {}
        page_kb = 4
        for row in self.simulation.smaps(self.scenario.processes.index(process)):
            place = self._where(int(row["start"]))
            if place is None:
                continue
            total = sums.setdefault(place[0], [0] * 5)
            total[0] += int(row["rss_pages"]) * page_kb
            total[1] += int(row["pss_bytes"]) >> 10
            total[2] += int(row["anon_huge_pages"]) * page_kb
            total[3] += int(row["shmem_pmd_pages"]) * page_kb
            total[4] += 1
        unpopulated = self._unpopulated_regions()
        for region in sorted(regions.keys() | sums.keys()):
            expected = regions.get(region, [0] * 12)
            got = sums.get(region, [0] * 5)
            what = f"{process} {region}"
            self._check("nr_vmas", what, expected[_SMAPS_NR_VMAS], got[4])
            if region in unpopulated:
                continue
            self._check("rss", what, expected[_SMAPS_RSS], got[0])
            self._check("pss", what, expected[_SMAPS_PSS], got[1])
            self._check("anon_huge_pages", what, expected[_SMAPS_ANON_HUGE], got[2])
            self._check("shmem_pmd_mapped", what, expected[_SMAPS_SHMEM_PMD], got[3])


def _entry_text(entry: tuple[Any, ...] | None) -> str:
    return "-" if entry is None else f"{entry[0]}+{entry[1]} gen {entry[2]}"
