# SPDX-License-Identifier: BSD-3-Clause
"""One scenario of a golden file: the model run beside it, and each step's values held against the kernel's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from folio_perf._native import engine
from folio_perf._simulation import new_simulation
from folio_perf.profile import KernelProfile
from folio_perf.scenario import ObjectSpec, Op, Scenario
from folio_perf.schemes import SchemeSpec
from folio_perf.validation._golden_file import GoldenScenario, Step
from folio_perf.validation._golden_layout import FolioBytes, folio_fields, has_owner_slots
from folio_perf.validation._golden_pages import SWAP, UNKNOWN, ZERO, PageNames, expand_maps, expand_pages

_PAGE_FIELDS: Final = ("maps", "kpagecount", "mapcount", "folio_nr_pages", "anon_exclusive")
_ENTRY_FIELDS: Final = ("pagemap_exclusive", "pagemap_file", "pagemap_uffd_wp", "pagemap_guard")
_SMAPS_FIELDS: Final = ("rss", "pss", "anon_huge_pages", "shmem_pmd_mapped", "nr_vmas")
# Places of these in a golden smaps row.
_SMAPS_PLACES: Final = (0, 1, 6, 7, 11)
_MAPPED_KINDS: Final = (engine.MAPPING_ANON, engine.MAPPING_FILE)
# A guard marker is a swap entry to pagemap.
_SWAP_KINDS: Final = (engine.MAPPING_SWAP, engine.MAPPING_GUARD)
_ZERO_KINDS: Final = (engine.MAPPING_ZERO, engine.MAPPING_HUGE_ZERO)
# Operations by files of debugfs and sysfs or by a device: where they fail, the machine lacks that; nothing happened.
_BY_FILES: Final = ("splitdbg", "ksm", "swapon", "swapoff")
_KB: Final = 1024
# smaps rows up to so many pages behind a region's begin count as its own; regions are twice as far apart.
_REACH: Final = (1 << 31) // 4096
_PAGE_KB: Final = 4

Ints = NDArray[np.int64]


def fields_of(scheme: str, version: int) -> tuple[str, ...]:
    """Names of what is compared under a scheme, on a kernel (``100 * major + minor``), in order of output."""
    pages = [field for field in _PAGE_FIELDS if field != "anon_exclusive" or version >= 519]
    return (*pages, *folio_fields(scheme), "pin_count", *_ENTRY_FIELDS, *_SMAPS_FIELDS)


class Comparison:
    """One scenario under way: the simulation beside the steps of the file.

    Attributes
    ----------
    compared, equal : dict of str to int
        By field: values looked at, and how many agree.
    first : dict of str to dict
        By field: the first difference.
    skipped : str or None
        Why nothing, or nothing from some step on, was compared.
    """

    def __init__(
        self, golden: GoldenScenario, scenario: Scenario | None, spec: SchemeSpec, profile: KernelProfile
    ) -> None:
        self.compared: dict[str, int] = {}
        self.equal: dict[str, int] = {}
        self.first: dict[str, dict[str, Any]] = {}
        self.skipped = golden.skipped
        self._golden, self._spec, self._profile = golden, spec, profile
        if golden.skipped is not None or scenario is None:
            return
        self._scenario = scenario
        self._simulation = new_simulation(scenario, scheme=spec, kernel=profile, backend="count")
        self._regions = sorted((region.vpn, region.nr_pages, name) for name, region in scenario.regions.items())
        self._processes = {name: number for number, name in enumerate(scenario.processes)}
        self._populated: set[tuple[int, int]] = set()
        self._names = PageNames()
        self._step: Step = {}

    def run(self) -> None:
        """Run the scenario to its end, or to the first operation the model does not know."""
        if self.skipped is not None:
            return
        unsupported = {each.step: each for each in self._scenario.unsupported}
        if -1 in unsupported:
            self.skipped = f"{unsupported[-1].text}: {unsupported[-1].reason}"
            return
        for index, step in enumerate(self._golden.steps):
            number = step["i"]
            if number in unsupported:
                self.skipped = f"from step {number} on: {unsupported[number].text}: {unsupported[number].reason}"
                return
            self._check_fits(index, step)
            self._step = step
            self._populate()
            self._execute(number)
            if "maps" in step:
                self._compare_step()

    def _check_fits(self, index: int, step: Step) -> None:
        """Refuse a step that is not the text's, or names what the text does not declare."""
        texts = self._scenario.step_text
        if step["i"] >= len(texts) or texts[step["i"]] != " ".join(step["op"].split()):
            text = repr(texts[step["i"]]) if step["i"] < len(texts) else "no such step"
            self._golden.fail(index, f"step {step['i']} ran {step['op']!r}, the text has {text}")
        if step["op"].split()[0] in _BY_FILES and type(step.get("rc")) is not int:
            self._golden.fail(index, f"rc {step.get('rc')!r} of {step['op']!r} must be an int")
        if "maps" not in step:
            return
        for process in (*step["maps"], *step["smaps"]):
            if process not in self._processes:
                self._golden.fail(index, f"process {process!r} is not in the text of {self._golden.name}")
        regions = {run[0] for runs in step["maps"].values() for run in runs}
        regions.update(region for sums in step["smaps"].values() for region in sums)
        for region in sorted(regions - self._scenario.regions.keys()):
            self._golden.fail(index, f"region {region!r} is not in the text of {self._golden.name}")
        for runs in step["maps"].values():
            for run in runs:
                if run[1] + run[2] > self._scenario.regions[run[0]].nr_pages:
                    self._golden.fail(index, f"pages {run[1]} to {run[1] + run[2] - 1} leave region {run[0]}")

    def _execute(self, number: int) -> None:
        if self._step["op"].split()[0] in _BY_FILES and self._step["rc"] < 0:
            return
        events = self._scenario.events[self._scenario.steps == number]
        # What a file object holds is taken from the golden step, not from the model's idea of reading a file.
        read = (events["op"] == Op.READ_OBJECT) & np.isin(events["what"], [i + 1 for i, _ in self._files()])
        self._simulation.run(np.ascontiguousarray(events[~read]))

    # ---- file objects: layout and residence are the kernel's affair ----

    def _files(self) -> Iterator[tuple[int, ObjectSpec]]:
        return ((i, each) for i, each in enumerate(self._scenario.objects) if each.kind == "file")

    def _populate(self) -> None:
        for index, each in self._files():
            for name, offset, nr, _gen, _count, _flags, folio_nr, *_ in self._step.get("pages", ()):
                if name != each.name:
                    continue
                order = max(int(folio_nr).bit_length() - 1, 0)
                for page in range(offset, offset + nr):
                    base = page >> order << order
                    if (index, base) not in self._populated:
                        self._populated.add((index, base))
                        self._simulation.populate(index, base, order)

    def _unpopulated_regions(self) -> set[str]:
        """Regions that map a file object which is not wholly resident in the golden step."""
        regions: set[str] = set()
        for index, each in self._files():
            resident = sum(row[2] for row in self._step["pages"] if row[0] == each.name)
            if resident < each.nr_pages:
                maps = (self._scenario.events["op"] == Op.MMAP) & (self._scenario.events["what"] == index + 1)
                regions.update(filter(None, (self._region_of(int(vpn)) for vpn in self._scenario.events["vpn"][maps])))
        return regions

    def _region_of(self, vpn: int) -> str | None:
        """Name of the region at whose address, or behind which, a page lies."""
        for start, _nr, name in reversed(self._regions):
            if vpn >= start:
                return name if vpn < start + _REACH else None
        return None

    # ---- one step ----

    def _check(self, field: str, expected: Ints, got: Ints, describe: Callable[[int], tuple[str, str]]) -> None:
        """Compare two arrays; `describe` says of one index what was expected and what the model has."""
        same = expected == got
        self.compared[field] = self.compared.get(field, 0) + same.size
        self.equal[field] = self.equal.get(field, 0) + int(same.sum())
        if field not in self.first and not same.all():
            wanted, found = describe(int(same.argmin()))
            self.first[field] = {
                "step": self._step["i"],
                "operation": self._step["op"],
                "expected": wanted,
                "got": found,
            }

    def _check_values(self, field: str, places: Sequence[str], expected: Any, got: Any) -> None:
        expected, got = np.asarray(expected, dtype=np.int64), np.asarray(got, dtype=np.int64)
        self._check(field, expected, got, lambda i: (f"{places[i]}: {expected[i]}", f"{places[i]}: {got[i]}"))

    def _compare_step(self) -> None:
        self._bytes = FolioBytes(self._simulation.struct_pages(), self._spec.name, self._profile.version)
        unpopulated = self._unpopulated_regions()
        self._compare_maps(unpopulated)
        self._compare_pages()
        self._compare_folios()
        self._compare_smaps(unpopulated)

    # ---- page tables ----

    def _entries(self, process: str, skip: set[str]) -> tuple[Ints, Ints, Ints, Ints]:
        """Return what the model maps inside regions: vpn, kind, pfn, whether under a PMD."""
        rows = self._simulation.mappings(self._processes[process])
        nr = rows["nr"].astype(np.int64)
        first = np.repeat(np.cumsum(nr) - nr, nr)
        step = np.arange(int(nr.sum()), dtype=np.int64) - first
        kind = np.repeat(rows["kind"].astype(np.int64), nr)
        vpn = np.repeat(rows["vpn"].astype(np.int64), nr) + step
        pfn = np.repeat(rows["pfn"].astype(np.int64), nr)
        pfn = np.where(np.isin(kind, _MAPPED_KINDS), pfn + step, pfn)
        inside = np.zeros(vpn.size, dtype=bool)
        for start, size, name in self._regions:
            if name not in skip:
                inside |= (vpn >= start) & (vpn < start + size)
        return vpn[inside], kind[inside], pfn[inside], np.repeat(rows["pmd"].astype(np.int64), nr)[inside]

    def _compare_maps(self, skip: set[str]) -> None:
        starts = {name: region.vpn for name, region in self._scenario.regions.items()}
        self._names.begin_step(self._bytes.nr_pages.size)
        for process, runs in self._step["maps"].items():
            wanted = expand_maps([run for run in runs if run[0] not in skip], starts, self._names)
            if not self._alive(process):
                self._check_values("maps", [f"process {process} lives"], [1], [0])
                continue
            vpn, kind, pfn, pmd = self._entries(process, skip)
            where = np.union1d(wanted.vpn, vpn)
            key, bits = np.full(where.size, -9), np.zeros(where.size, dtype=np.int64)
            at = np.searchsorted(where, wanted.vpn)
            key[at], bits[at] = wanted.key, wanted.bits
            found_kind, found_pfn, found_pmd = (np.full(where.size, -9) for _ in range(3))
            at = np.searchsorted(where, vpn)
            found_kind[at], found_pfn[at], found_pmd[at] = kind, pfn, pmd
            mapped = np.isin(found_kind, _MAPPED_KINDS)
            same = (key == ZERO) & np.isin(found_kind, _ZERO_KINDS)
            same |= (key == SWAP) & np.isin(found_kind, _SWAP_KINDS)
            same |= (key == UNKNOWN) & (mapped | np.isin(found_kind, _ZERO_KINDS))
            pages = (key >= 0) & mapped
            same[pages] = self._names.identify(key[pages], found_pfn[pages])

            here = (process, where, key, found_kind, found_pfn)
            describe = partial(self._describe_entry, *here)
            self._check("maps", np.ones(where.size, dtype=np.int64), same.astype(np.int64), describe)
            both = (key != -9) & (found_kind != -9)
            self._compare_entries(process, where[both], bits[both], found_kind[both], found_pfn[both], found_pmd[both])

    def _describe_entry(self, process: str, vpn: Ints, key: Ints, kind: Ints, pfn: Ints, i: int) -> tuple[str, str]:
        place = f"{process} {self._place(int(vpn[i]))}"
        return f"{place}: {self._names.text(int(key[i]))}", f"{place}: {self._got(int(kind[i]), int(pfn[i]))}"

    def _alive(self, process: str) -> bool:
        try:
            self._simulation.mappings(self._processes[process])
        except ValueError:
            return False
        return True

    def _place(self, vpn: int) -> str:
        name = self._region_of(vpn)
        return f"page {vpn:#x}" if name is None else f"{name} {vpn - self._scenario.regions[name].vpn}"

    def _got(self, kind: int, pfn: int) -> str:
        if kind in _ZERO_KINDS:
            return "ZERO"
        if kind in _SWAP_KINDS:
            return "SWAP"
        if kind not in _MAPPED_KINDS:
            return "nothing"
        known = self._names.name_of(pfn)
        return f"pfn {pfn}" + (f", which is {known}" if known else "")

    def _compare_entries(self, process: str, vpn: Ints, bits: Ints, kind: Ints, pfn: Ints, pmd: Ints) -> None:
        """Bits of /proc/PID/pagemap: 56 exclusive, 57 uffd-wp, 58 guard region, 61 file or shared."""
        huge_zero = (kind == engine.MAPPING_HUGE_ZERO) & (self._profile.version < 619)
        mapped = np.isin(kind, _MAPPED_KINDS)
        exclusive = np.zeros(kind.size, dtype=np.int64)
        exclusive[mapped] = self._exclusive(pfn[mapped], pmd[mapped])
        nothing = np.zeros(kind.size, dtype=np.int64)
        for field, bit, got in (
            ("pagemap_exclusive", 0, exclusive),
            ("pagemap_file", 1, ((kind == engine.MAPPING_FILE) | huge_zero).astype(np.int64)),
            ("pagemap_uffd_wp", 2, nothing),
            ("pagemap_guard", 3, nothing),
        ):
            wanted = bits >> bit & 1

            def describe(i: int, wanted: Ints = wanted, got: Ints = got) -> tuple[str, str]:
                place = f"{process} {self._place(int(vpn[i]))}"
                return f"{place}: {wanted[i]}", f"{place}: {got[i]}"

            self._check(field, wanted, got, describe)

    def _exclusive(self, pfn: Ints, pmd: Ints) -> Ints:
        if self._spec.name == "no_page_mapcount":
            return 1 - self._maybe_shared(self._bytes.heads[pfn])
        # Under a PMD page 0 decides for all, but on the kernels that looked at each page (v6.11 to v6.14).
        each_page = 611 <= self._profile.version < 615
        counted = pfn if each_page else np.where(pmd == 1, self._bytes.heads[pfn], pfn)
        exclusive: Ints = (self._mapcounts(counted) == 1).astype(np.int64)
        return exclusive

    def _mapcounts(self, pfn: Ints) -> Ints:
        unique, inverse = np.unique(pfn, return_inverse=True)
        mapcounts: Ints = self._simulation.page_mapcounts(unique.astype(np.uint64))
        return mapcounts[inverse]

    def _maybe_shared(self, heads: Ints) -> Ints:
        question = engine.names("questions").index("shared")
        unique, inverse = np.unique(heads, return_inverse=True)
        answers = [self._simulation.ask(question, int(head), 0)[0] != engine.NO for head in unique]
        shared: Ints = np.array(answers, dtype=np.int64)
        return shared[inverse]

    # ---- pages and folios ----

    def _compare_pages(self) -> None:
        # The zero page is not counted. A page of an object that has become anonymous is no longer that page: its frame
        # went to memory of the recorder that is not dumped.
        objects = {each.name for each in self._scenario.objects}
        rows = [
            row
            for row in self._step["pages"]
            if "Z" not in row[5] and not ("A" in row[5] and row[0] in objects and not self._names.mapped(*row[:4]))
        ]
        pages = expand_pages(rows, self._names)
        self._names.resolve_folios([(f["h"], f["o"], f["g"], f["nr"]) for f in self._step.get("folios", ())])
        for number, each in enumerate(self._scenario.objects):
            # Large folios may reach beyond the end of the object.
            nr = (each.nr_pages + 512) & ~511
            if each.nr_pages <= 1 << 24:
                name = each.name.removeprefix("anonshared@")
                self._names.resolve_object(name, self._simulation.resident(number, nr))
        pfn = self._names.pfns_of(pages.key)
        self._report_unknown(pages.key[pfn < 0])
        known = pfn >= 0
        key, pfn = pages.key[known], pfn[known]

        def check(field: str, expected: Ints, got: Ints, which: NDArray[np.bool_] | None = None) -> None:
            at = np.arange(key.size) if which is None else np.flatnonzero(which)

            def describe(i: int) -> tuple[str, str]:
                place = self._names.text(int(key[at[i]]))
                return f"{place}: {expected[at[i]]}", f"{place}: {got[at[i]]}"

            self._check(field, expected[at], got[at], describe)

        check("kpagecount", pages.kpagecount[known], self._mapcounts(pfn))
        check("folio_nr_pages", pages.nr_pages[known], self._bytes.nr_pages[pfn])
        read = pages.has_fields[known]
        check("mapcount", pages.mapcount[known], self._bytes.mapcount[pfn], read)
        if self._profile.anon_exclusive:
            check("anon_exclusive", pages.exclusive[known], self._bytes.anon_exclusive[pfn], read & pages.anon[known])
        self._names.remember()

    def _report_unknown(self, keys: Ints) -> None:
        """Pages the kernel has and the model has not; of files that is read-ahead, the kernel's affair."""
        files = {each.name for _, each in self._files()}
        unknown = [key for key in keys.tolist() if self._names.origin(key) not in files]
        if unknown:
            nothing = np.zeros(len(unknown), dtype=np.int64)
            texts = [self._names.text(key) for key in unknown]
            self._check("maps", nothing + 1, nothing, lambda i: (f"{texts[i]} lives", "no such page"))

    def _compare_folios(self) -> None:
        zero = {(row[0], row[1], row[3]) for row in self._step["pages"] if "Z" in row[5]}
        found = [
            (each, int(head), self._names.text_of(each["h"], each["o"], each["g"]))
            for each in self._step.get("folios", ())
            if (each["h"], each["o"], each["g"]) not in zero
            and (head := self._names.pfn_of(each["h"], each["o"], each["g"])) is not None
            and self._bytes.nr_pages[head] > 1
        ]
        places = [place for _, _, place in found]
        for field, keys in self._bytes.tail_fields.items():
            at = [i for i, (each, _, _) in enumerate(found) if keys.golden in each]
            if at:
                heads = np.array([found[i][1] for i in at])
                wanted = [found[i][0][keys.golden] for i in at]
                self._check_values(field, [places[i] for i in at], wanted, self._bytes.tail_field(field, heads))
        at = [i for i, (each, _, _) in enumerate(found) if "pin" in each]
        pins = [self._simulation.folio(found[i][1])["pins"] for i in at]
        self._check_values("pin_count", [places[i] for i in at], [found[i][0]["pin"] for i in at], pins)
        if has_owner_slots(self._spec.name):
            self._compare_owners([each for each in found if "mid" in each[0]])

    def _compare_owners(self, found: list[tuple[Mapping[str, Any], int, str]]) -> None:
        """Compare both slots, an mm and its mappings each; labels of mms may differ in nothing but the name."""
        of_label: dict[str, int] = {"-": 0}
        of_mm: dict[int, str] = {0: "-"}
        wanted, got = [], []
        for each, head, place in found:
            slots = self._bytes.owner_slots(head)
            for number, (label, count) in enumerate(zip(each["mid"], each["midmc"], strict=True)):
                mm, held = slots[number]
                same = of_label.setdefault(label, mm) == mm and of_mm.setdefault(mm, label) == label
                wanted.append(f"{place} slot {number}: {label} {count}")
                found_label = of_mm.get(mm, str(mm))
                got.append(wanted[-1] if same and held == count else f"{place} slot {number}: {found_label} {held}")
        ones = np.ones(len(wanted), dtype=np.int64)
        equal = np.array([a == b for a, b in zip(wanted, got, strict=True)], dtype=np.int64)
        self._check("owner_slots", ones, equal, lambda i: (wanted[i], got[i]))
        names = [place for _, _, place in found]
        self._check_values(
            "maybe_mapped_shared",
            names,
            [each["shared"] for each, _, _ in found],
            [self._bytes.shared_bit(head) for _, head, _ in found],
        )

    # ---- smaps ----

    def _compare_smaps(self, skip: set[str]) -> None:
        for process, regions in self._step["smaps"].items():
            if not self._alive(process):
                continue
            # The filesystem of file objects may live in memory; then its pages are swap-backed, as shmem's are.
            files = {each.name for _, each in self._files()}
            in_memory = any(page[0] in files and "B" in page[5] for page in self._step["pages"])
            sums: dict[str, list[int]] = {}
            for row in self._simulation.smaps(self._processes[process]):
                name = self._region_of(int(row["start"]))
                if name is None:
                    continue
                total = sums.setdefault(name, [0] * len(_SMAPS_FIELDS))
                values = (
                    int(row["rss_pages"]) * _PAGE_KB,
                    int(row["pss_bytes"]) // _KB,
                    int(row["anon_huge_pages"]) * _PAGE_KB,
                    int(row["shmem_pmd_pages"] + (row["file_pmd_pages"] if in_memory else 0)) * _PAGE_KB,
                    1,
                )
                for i, value in enumerate(values):
                    total[i] += value
            names = sorted(regions.keys() | sums.keys())
            for i, field in enumerate(_SMAPS_FIELDS):
                of = [name for name in names if field == "nr_vmas" or name not in skip]
                wanted = [regions[name][_SMAPS_PLACES[i]] if name in regions else 0 for name in of]
                got = [sums[name][i] if name in sums else 0 for name in of]
                self._check_values(field, [f"{process} {name}" for name in of], wanted, got)
