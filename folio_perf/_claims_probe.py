# SPDX-License-Identifier: BSD-3-Clause
"""Small runs whose last step is looked at. Public names are in `folio_perf.claims`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from folio_perf._native import engine
from folio_perf.geometry import FolioPolicy, Geometry
from folio_perf.machine import DEFAULT_MACHINE, load_machine
from folio_perf.profile import load_profile
from folio_perf.scenario import ScenarioBuilder
from folio_perf.schemes import SchemeSpec
from folio_perf.simulate import new_simulation

STRUCT_PAGE_BYTES = 64
_MAPCOUNT_WORD, _REFCOUNT_WORD = 12, 13


@dataclass(frozen=True, kw_only=True)
class Subject:
    """One folio under one design, on a kernel and page size.

    Parameters
    ----------
    spec : SchemeSpec
        With its kernel.
    geometry : Geometry
    order : int
        Of the folio.
    """

    spec: SchemeSpec
    geometry: Geometry
    order: int

    @property
    def nr_pages(self) -> int:
        """Pages of the folio."""
        return 1 << self.order

    def scenario(self) -> ScenarioBuilder:
        """Return a scenario that has a region ``A`` of the folio's size and nothing else."""
        return ScenarioBuilder("claim", self.geometry).region("A", self.nr_pages)

    def file(self, *, huge: bool = False, processes: int = 1) -> ScenarioBuilder:
        """Map the folio, a file's; nobody has touched it yet."""
        builder = self.scenario().obj("F", "file", self.nr_pages, order=self.order, warm=True)
        builder.map("P0", "A", "F", 0, 0, self.nr_pages, "shared")
        if not huge and self.order == self.geometry.pmd_order:
            builder.madv("P0", "A", 0, self.nr_pages, "NOHUGEPAGE")
        for child in range(1, processes):
            builder.fork("P0", f"P{child}")
        return builder

    def file_by_ptes(self, processes: int = 1) -> ScenarioBuilder:
        """Map all pages of the file folio by PTEs in each process."""
        builder = self.file(processes=processes)
        for process in range(processes):
            builder.touch(f"P{process}", "A", 0, self.nr_pages, "r")
        return builder

    def anon(self) -> ScenarioBuilder:
        """Map a fresh anonymous folio; a PMD maps it if it is large enough."""
        return self.scenario().map_anon("P0", "A").touch("P0", "A", 0, self.nr_pages, "w")

    def anon_by_ptes(self) -> ScenarioBuilder:
        """Map it by PTEs; a VMA border, made and taken back, splits a PMD."""
        builder = self.anon()
        if self.order == self.geometry.pmd_order:
            builder.madv("P0", "A", 0, self.nr_pages // 2, "DONTFORK").madv("P0", "A", 0, self.nr_pages // 2, "DOFORK")
        return builder

    def probe(self, builder: ScenarioBuilder, **how: Any) -> Probe:
        """Run a scenario; its last operation is looked at."""
        return Probe(self, builder, **how)


class Probe:
    """A run, and what its last operation did.

    Parameters
    ----------
    subject : Subject
    builder : ScenarioBuilder
    line_bytes : int
        Cache line of the modelled machine.
    walk_order_seed : int
        As `folio_perf.simulate.new_simulation`.
    refs : int, optional
        Reference count of the head that the last operation finds, whatever the run made of it.
    """

    def __init__(
        self,
        subject: Subject,
        builder: ScenarioBuilder,
        *,
        line_bytes: int = 64,
        walk_order_seed: int = 0,
        refs: int | None = None,
    ) -> None:
        geometry = replace(subject.geometry, line_bytes=line_bytes)
        kernel = load_profile(subject.spec.kernel or "7.0")
        # One fault maps the whole folio, and there are folios of any order, as the claims have it.
        kernel = replace(kernel, fault_around_bytes=subject.nr_pages * geometry.page_size_bytes, mthp=True)
        scenario = builder.build()
        policy = FolioPolicy(
            always_bytes=(subject.nr_pages * geometry.page_size_bytes,) if subject.order else (),
            madvise_bytes=(),
            shmem_bytes=(),
            name="claim",
        )
        self.simulation = simulation = new_simulation(
            scenario,
            scheme=subject.spec,
            kernel=kernel,
            backend="cache",
            geometry=geometry,
            machine=replace(load_machine(DEFAULT_MACHINE), line_bytes=line_bytes),
            folio=policy,
            trace_accesses=True,
            walk_order_seed=walk_order_seed,
        )
        last = scenario.steps == scenario.steps[-1]
        simulation.run(np.ascontiguousarray(scenario.events[~last]))
        simulation.accesses_clear()
        self.pages_before = simulation.struct_pages()
        counters, stats = simulation.counters().astype(np.int64), simulation.event_stats()
        self.head = self._first_mapped()
        if refs is not None:
            simulation.preset_refs(self.head, refs)
        simulation.run(np.ascontiguousarray(scenario.events[last]))
        self._counters = simulation.counters().astype(np.int64) - counters
        after = simulation.event_stats()
        self.lines_read, self.lines_written = (
            int((after[name][:, 0] - stats[name][:, 0]).sum()) for name in ("lines_read", "lines_written")
        )
        self.visits = int((after["vma_visits"] - stats["vma_visits"]).sum())
        self.pte_reads = int((after["pte_reads"] - stats["pte_reads"]).sum())
        self.head = self.head or self._first_mapped()

    def _first_mapped(self) -> int:
        """Head of the folio that some process maps; 0 if nobody maps any."""
        for process in range(8):
            try:
                rows = self.simulation.mappings(process)
            except ValueError:
                continue
            rows = rows[np.isin(rows["kind"], (engine.MAPPING_ANON, engine.MAPPING_FILE))]
            if rows.size:
                return int(self.simulation.folio(int(rows["pfn"][0]))["pfn"])
        return 0

    @cached_property
    def _rmw_of_fields(self) -> dict[str, int]:
        fixed = engine.names("causes").index("fixed")
        rmw = np.delete(self._counters, fixed, axis=1).sum(axis=(0, 1, 4, 5))[:, 2]
        return dict(zip(engine.names("fields"), rmw.tolist(), strict=True))

    def rmw(self, field: str | None = None) -> int:
        """Atomics of the last operation: on one field, or on struct pages and the deferred split queue's lock."""
        if field is not None:
            return self._rmw_of_fields[field]
        classes = dict(zip(engine.names("fields"), engine.names("field_classes"), strict=True))
        return sum(
            count
            for name, count in self._rmw_of_fields.items()
            if classes[name] == "PAGE" or name == "split_queue_lock"
        )

    @property
    def pages(self) -> NDArray[np.uint8]:
        """Struct pages now: uint8, shape (nr_pages, 64)."""
        return self.simulation.struct_pages()

    def changed_bytes(self) -> dict[int, tuple[int, int]]:
        """Where the last operation changed struct pages: page of the folio -> (first byte, last byte)."""
        pages = self.pages
        before = np.zeros_like(pages)
        before[: len(self.pages_before)] = self.pages_before
        found = {}
        for page in np.flatnonzero((pages != before).any(axis=1)):
            where = np.flatnonzero(pages[page] != before[page])
            found[int(page) - self.head] = (int(where[0]), int(where[-1]))
        return found

    def _word(self, pfn: int, word: int) -> int:
        return int(self.pages.view(np.int32).reshape(-1, 16)[pfn, word])

    @property
    def refcount(self) -> int:
        """Reference count of the head, as its bytes have it."""
        return self._word(self.head, _REFCOUNT_WORD)

    @property
    def state(self) -> int:
        """The two bits of zero_one_two_many."""
        return self._word(self.head, _MAPCOUNT_WORD) & 3

    @property
    def mapping_refs(self) -> int:
        """References that mappings own."""
        return int(self.simulation.folio(self.head)["mapping_refs"])

    @property
    def true_vmas(self) -> int:
        """VMAs that map the folio."""
        return int(self.simulation.folio(self.head)["true_vmas"])

    def lines_of(self, field: str, line_bytes: int = 64) -> NDArray[np.int64]:
        """Distinct lines the last operation touched for one field, as line numbers in the modelled memory."""
        rows = self.simulation.accesses()
        rows = rows[rows["field"] == engine.names("fields").index(field)]
        touched = [int(row["address"]) + np.arange(int(row["nr"]), dtype=np.int64) * int(row["stride"]) for row in rows]
        return np.unique(np.concatenate(touched) // line_bytes) if touched else np.zeros(0, dtype=np.int64)
