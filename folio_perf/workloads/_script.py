# SPDX-License-Identifier: BSD-3-Clause
"""What all generators write with: processes, regions, objects, and events by the array instead of one by one."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from folio_perf.geometry import PMD_SIZE, FolioPolicy, Geometry, format_size
from folio_perf.scenario import ADVICES, EVENT_DTYPE, EventFlag, ObjectSpec, Op, Region, Scenario

Integers: TypeAlias = int | NDArray[np.int64]
Events: TypeAlias = NDArray[np.uint64]
"""Events as words, shape (..., WORDS): NumPy copies and selects plain words several times faster than structures."""

READ_WRITE: Final = EventFlag.PROT_READ | EventFlag.PROT_WRITE
MAX_EVENTS: Final = 1 << 26
"""3 GiB of events. Longer runs are made of several scenarios."""
MAX_RUNS: Final = 1 << 26
MAX_PROCESSES: Final = 1 << 22

_WORD: Final = np.dtype("<u8")
WORDS: Final = EVENT_DTYPE.itemsize // _WORD.itemsize
_PLACE: Final = {name: divmod(place[1], _WORD.itemsize) for name, place in (EVENT_DTYPE.fields or {}).items()}
"""Field: word it is in, and its first byte in there."""

_VA0: Final = 0x100000000000
"""Virtual address of the first region, as in the text form of scenarios."""
_VA_END: Final = 1 << 47
"""End of the user address space with 48-bit addresses."""


def to_pages(nr_bytes: int | str, geometry: Geometry) -> int:
    """Return the whole pages that hold so many bytes."""
    return -(-int(nr_bytes) >> geometry.page_shift)


def part(share: float, total: int) -> int:
    """Return how many of `total` a share is: rounded, but one at least if the share is not 0."""
    return max(int(share * total + 0.5), 1) if share and total else 0


def slices(total: int, turns: int) -> Iterator[slice]:
    """Cut 0 .. total - 1 into at most `turns` slices of nearly equal length, none of them empty."""
    bounds = np.arange(turns + 1) * total // turns
    for first, past in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        if first < past:
            yield slice(first, past)


def merge_order(first: int, second: int) -> NDArray[np.int64]:
    """Return the order that spreads two sequences evenly over each other.

    Parameters
    ----------
    first, second : int
        Their lengths; the second stands behind the first.

    Returns
    -------
    int64, shape (first + second,)
        Index of what comes first, next ...; both sequences stay in order. Of two that fall together that of the first
        sequence goes first.
    """
    # Each has the middle of its part of the time, in units in which that is whole.
    times = np.concatenate([(2 * np.arange(first) + 1) * second, (2 * np.arange(second) + 1) * first])
    return np.argsort(times, kind="stable")


class Runs:
    """A region cut into runs of pages, the last of which may be shorter.

    Parameters
    ----------
    region : Region
    run_pages : int

    Attributes
    ----------
    nr : int
        How many there are.

    Raises
    ------
    ValueError
        If there are too many to choose among.
    """

    def __init__(self, region: Region, run_pages: int) -> None:
        self._region, self._run_pages = region, min(run_pages, region.nr_pages)
        self.nr = -(-region.nr_pages // self._run_pages)
        if self.nr > MAX_RUNS:
            raise ValueError(f"{self.nr:,} runs of {run_pages} pages are more than {MAX_RUNS:,}; ask for longer ones")

    def spans(self, runs: NDArray[np.int64]) -> dict[str, NDArray[np.int64]]:
        """Return first page and length, the ``vpn`` and ``nr`` of events, of runs by number."""
        first = runs * self._run_pages
        return {
            "vpn": self._region.vpn + first,
            "nr": np.minimum(self._region.nr_pages - first, self._run_pages),
        }


class Script:
    """Events in the order they are added; process 0 exists from the start.

    Parameters
    ----------
    geometry : Geometry
    cpus : int
        Process n runs on CPU n modulo this.
    folio_order : int or None
        Folio order of anonymous memory; None leaves it to the user.
    """

    def __init__(self, geometry: Geometry, *, cpus: int = 1, folio_order: int | None = None) -> None:
        self._geometry, self._cpus, self._folio_order = geometry, cpus, folio_order
        self._processes = ["P0"]
        self._born: dict[str, int] = {}
        self._objects: list[ObjectSpec] = []
        self._regions: dict[str, Region] = {}
        self._end = _VA0 >> geometry.page_shift
        self._blocks: list[Events] = []
        self._phases: list[tuple[str, int]] = []
        self._nr_events = 0

    # ---- what there is ---------------------------------------------------------------------------------------------

    def spawn(self, group: str, nr: int) -> NDArray[np.int64]:
        """Give numbers to `nr` processes named group/0, group/1 ...; int64, shape (nr,). Events must fork them."""
        first = len(self._processes)
        if first + nr > MAX_PROCESSES:
            raise ValueError(f"{first + nr:,} processes are more than the {MAX_PROCESSES:,} of one workload")
        born = self._born.get(group, 0)
        self._born[group] = born + nr
        self._processes += [f"{group}/{number}" for number in range(born, born + nr)]
        return np.arange(first, first + nr, dtype=np.int64)

    def region(self, name: str, nr_pages: int, *, behind: str = "") -> Region:
        """Reserve addresses: aligned to a PMD, at least one PMD away from what is there, or right `behind` a region."""
        pmd_pages = self._geometry.entries_per_table
        if behind:
            start = self._regions[behind].vpn + self._regions[behind].nr_pages
        else:
            start = -(-self._end // pmd_pages) * pmd_pages + pmd_pages
        self._end = max(self._end, start + nr_pages)
        if self._end << self._geometry.page_shift > _VA_END:
            size = format_size(nr_pages << self._geometry.page_shift)
            raise ValueError(f"{size} of addresses for {name} are more than user space has left, of 128T")
        self._regions[name] = Region(start, nr_pages)
        return self._regions[name]

    def file(self, name: str, nr_pages: int, order: int) -> int:
        """Declare a file whose page cache uses folios of an order; return what events call it."""
        self._objects.append(ObjectSpec(name=name, kind="file", nr_pages=nr_pages, order=order))
        return len(self._objects)

    # ---- events ----------------------------------------------------------------------------------------------------

    def events(self, op: Op, process: Integers = 0, **fields: Integers) -> Events:
        """Make events.

        Parameters
        ----------
        op : Op
        process : int or int64 array
        **fields : int or int64 array
            Fields of EVENT_DTYPE; all are broadcast against each other.

        Returns
        -------
        uint64, the common shape and WORDS
        """
        fields |= {"op": int(op), "process": process}
        if self._cpus > 1:
            fields["cpu"] = process % self._cpus
        shape = np.broadcast_shapes(*(np.shape(value) for value in fields.values()))
        self.check_room(math.prod(shape))
        words: dict[int, Integers] = {}
        for name, value in fields.items():
            word, byte = _PLACE[name]
            words[word] = words.get(word, 0) | (value << 8 * byte)
        made = np.zeros((*shape, WORDS), dtype=_WORD)
        for word, values in words.items():
            made[..., word] = values
        return made

    def check_room(self, nr: int) -> None:
        """Refuse a number of further events that nobody can hold, before they take memory."""
        if self._nr_events + nr > MAX_EVENTS:
            raise ValueError(
                f"{self._nr_events + nr:,} events are more than the {MAX_EVENTS:,} of one scenario;"
                " ask for fewer or smaller processes, or longer runs"
            )

    def map(
        self,
        process: Integers,
        region: Region,
        *,
        what: int = 0,
        offset: Integers = 0,
        flags: int = READ_WRITE,
    ) -> Events:
        """Map a region, private anonymous unless `what` names an object."""
        return self.events(
            Op.MMAP, process, vpn=region.vpn, nr=region.nr_pages, what=what, arg=offset, flags=int(flags)
        )

    def touch(self, process: Integers, *, write: bool, vpn: Integers, nr: Integers) -> Events:
        """Access runs of pages."""
        return self.events(Op.TOUCH, process, vpn=vpn, nr=nr, flags=int(EventFlag.TOUCH_WRITE) if write else 0)

    def touch_all(self, process: Integers, region: Region, *, write: bool) -> Events:
        """Access all pages of a region."""
        return self.touch(process, write=write, vpn=region.vpn, nr=region.nr_pages)

    def advise(self, process: Integers, advice: str, *, vpn: Integers, nr: Integers) -> Events:
        """Give advice on ranges."""
        return self.events(Op.MADVISE, process, what=ADVICES.index(advice), vpn=vpn, nr=nr)

    def phase(self, text: str) -> None:
        """Say what the events added next are: a step of the scenario."""
        self._phases.append((text, self._nr_events))

    def add(self, *blocks: Events) -> None:
        """Append events, each array in C order."""
        for block in blocks:
            flat = block.reshape(-1, WORDS)
            self.check_room(len(flat))
            self._nr_events += len(flat)
            self._blocks.append(flat)

    def scenario(self, name: str, description: str, source: str) -> Scenario:
        """Make the scenario."""
        blocks, self._blocks = self._blocks, []  # so that they are gone before the scenario makes its copy
        words = np.concatenate(blocks)
        del blocks
        texts = [text for text, _ in self._phases]
        starts = np.array([start for _, start in self._phases] + [self._nr_events])
        return Scenario(
            name=name,
            events=words.view(EVENT_DTYPE)[:, 0],
            objects=tuple(self._objects),
            processes=tuple(self._processes),
            regions=dict(self._regions),
            steps=np.repeat(np.arange(len(texts), dtype=np.int32), np.diff(starts)),
            step_text=tuple(texts),
            folio_policy=self._policy(),
            source=source,
            description=description,
        )

    def _policy(self) -> FolioPolicy | None:
        if self._folio_order is None:
            return None
        if self._folio_order == 0:
            return FolioPolicy.parse("order0")
        if self._folio_order == self._geometry.pmd_order:
            return FolioPolicy(always_bytes=(PMD_SIZE,), madvise_bytes=(), name="thp")
        nr_bytes = self._geometry.page_size_bytes << self._folio_order
        return FolioPolicy(always_bytes=(nr_bytes,), madvise_bytes=(), name=f"mthp={format_size(nr_bytes)}")
