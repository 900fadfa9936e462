# SPDX-License-Identifier: BSD-3-Clause
"""What the search combines: ways to share memory, and steps of those who share it. Part of `folio_perf.catastrophes`.

A recipe is a few choices that stand for a scenario of any number of processes: who comes to share the memory how, in
which order they fill it, and what they and the kernel do next. Nothing here knows a scheme.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from folio_perf.geometry import Geometry, parse_size
from folio_perf.scenario import ScenarioBuilder

ORDERS: Final = ("forward", "reverse", "random")
"""In which order processes take their turns, or pages of a folio theirs."""

PAGES: Final = ("whole", "forward", "reverse", "random", "but_last", "last")
"""What of its range a step is about: all of it at once, page by page in an order, or a part."""

WHO: Final = ("all", "first", "last", "few", "but_first", "but_two", "but_few")
"""Which of those who share the memory take the step; "few" are the first three."""

_FEW: Final = 3
MAX_LINES: Final = 10_000
"""Of one scenario: what is larger is not tried."""


class TooLargeError(Exception):
    """The scenario of a recipe would have more than `MAX_LINES` operations."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of those who share the memory.

    Parameters
    ----------
    verb : str
        A key of `VERBS`.
    who : str
        One of `WHO`.
    turns : str
        One of `ORDERS`: who goes first.
    pages : str
        One of `PAGES`; for verbs that go by pages.
    """

    verb: str
    who: str = "all"
    turns: str = "forward"
    pages: str = "whole"

    def __str__(self) -> str:
        """Write it in a few words: ``write: all but two in reverse``."""
        verb = VERBS[self.verb]
        words = [self.verb.replace("_", " ")]
        if verb.who:
            words.append(f"by {self.who.replace('_', ' ')}")
            if self.turns != "forward" and self.who not in ("first", "last"):
                words.append(f"in {self.turns} order")
        if verb.pages and self.pages != "whole":
            words.append({"but_last": "all but the last page", "last": "the last page"}.get(self.pages, ""))
            if not words[-1]:
                words[-1] = f"page by page {self.pages}"
        return " ".join(words)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Choices that stand for a scenario.

    Parameters
    ----------
    page_size : str
        Base page: ``4K`` ...
    order, folios : int
        Of the memory that is shared: so many folios of 2^order pages.
    share : str
        A key of `SHARES`: how it comes to be shared.
    processes : int
        How many share it; for `vmas` VMAs of one process.
    fill : str
        One of `PAGES`: how the first of them fills anonymous memory.
    extent : str
        ``whole``, or ``half``: each maps one half of it, in turn.
    by_pte : bool
        Keep folios of PMD order from being mapped by PMD.
    steps : tuple of Step
    seed : int
        Of random orders.
    """

    page_size: str
    order: int
    folios: int
    share: str
    processes: int
    fill: str = "whole"
    extent: str = "whole"
    by_pte: bool = False
    steps: tuple[Step, ...] = ()
    seed: int = 0

    @property
    def geometry(self) -> Geometry:
        """Sizes of the modelled machine, with lines of 64 bytes."""
        return Geometry(page_size_bytes=parse_size(self.page_size))

    @property
    def pattern(self) -> str:
        """The sharing pattern and what follows, in a line."""
        words = [SHARES[self.share].title]
        if self.extent == "half":
            words.append("halves")
        if SHARES[self.share].anon and self.fill not in ("whole", "forward"):
            words.append(f"filled {self.fill}")
        if self.by_pte:
            words.append("by PTE")
        return "; ".join([", ".join(words), *map(str, self.steps)])

    @property
    def size(self) -> tuple[int, ...]:
        """What makes a recipe larger than another, in the order of its weight."""
        odd = (self.fill != "whole") + (self.extent != "whole") + self.by_pte
        for step in self.steps:
            odd += 2 * (step.pages != "whole") + 2 * (step.turns != "forward")
            odd += {"all": 0, "first": 1}.get(step.who, 2)
        return (len(self.steps), odd, self.folios << self.order, self.processes)

    def at(self, processes: int) -> Recipe:
        """Return the same for another number of processes."""
        return replace(self, processes=processes)

    def text(self, name: str = "case", description: str = "") -> str:
        """Write the scenario; TooLargeError if it has more than `MAX_LINES` operations."""
        return _Writer(self, name, description).text()


@dataclass(slots=True)
class _Holder:
    """One that maps the memory: a process, and where."""

    process: str
    region: str
    offset: int
    nr_pages: int
    mapped: bool = True


@dataclass(frozen=True, slots=True)
class Share:
    """A way to come to share memory."""

    title: str
    anon: bool
    write: Callable[[_Writer], None]
    extents: tuple[str, ...] = ("whole",)


@dataclass(frozen=True, slots=True)
class Verb:
    """What a step may do: for each who takes it one line per range, or one line for all."""

    write: Callable[[_Writer, _Holder, int, int], None]
    memory: str = "any"
    pages: bool = False
    who: bool = True


class _Writer:
    """Writes the scenario of one recipe, and knows who maps what meanwhile."""

    def __init__(self, recipe: Recipe, name: str, description: str) -> None:
        self.recipe = recipe
        self.geometry = recipe.geometry
        self.builder = ScenarioBuilder(name, self.geometry, description=description)
        self.nr_pages = recipe.folios << recipe.order
        self.holders: list[_Holder] = []
        self.gone: set[str] = set()
        self.pinned: set[str] = set()
        self.nr_processes = 1
        self._random = random.Random(recipe.seed)
        self._lines = 0

    def text(self) -> str:
        self._folio_sizes()
        share = SHARES[self.recipe.share]
        if not share.anon:
            order = self.recipe.order
            self.builder.obj("F", "file", self.nr_pages, order=order, warm=True)
        share.write(self)
        for step in self.recipe.steps:
            self._step(step)
        return self.builder.text()

    def _folio_sizes(self) -> None:
        recipe = self.recipe
        if SHARES[recipe.share].anon and recipe.order:
            kib = (self.geometry.page_size_bytes << recipe.order) >> 10
            self.builder.sysfs(f"hugepages-{kib}kB/enabled", "always")

    def count(self, lines: int = 1) -> None:
        self._lines += lines
        if self._lines > MAX_LINES:
            raise TooLargeError

    # who shares

    def region(self, name: str, nr_pages: int) -> str:
        self.builder.region(name, nr_pages)
        return name

    def process(self) -> str:
        name = f"P{self.nr_processes}"
        self.nr_processes += 1
        return name

    def fork(self, parent: str, child: str) -> None:
        self.count()
        self.builder.fork(parent, child)

    def hold(self, process: str, region: str, offset: int = 0, nr_pages: int | None = None) -> None:
        self.holders.append(_Holder(process, region, offset, self.nr_pages if nr_pages is None else nr_pages))

    def fill_anon(self) -> None:
        """Let P0 fill anonymous memory; a PMD it is mapped by goes, if the recipe says so."""
        recipe = self.recipe
        self.region("A", self.nr_pages)
        self.builder.map_anon("P0", "A")
        holder = _Holder("P0", "A", 0, self.nr_pages)
        for offset, nr in self.pieces(holder, recipe.fill):
            self.count()
            self.builder.touch("P0", "A", offset, nr, "w")
        if recipe.by_pte and recipe.order == self.geometry.pmd_order:
            for folio in range(recipe.folios):
                half = 1 << recipe.order >> 1
                self.builder.madv("P0", "A", folio << recipe.order, half, "DONTFORK")
                self.builder.madv("P0", "A", folio << recipe.order, half, "DOFORK")
        self.hold("P0", "A")

    def map_file(self, process: str, region: str, number: int) -> None:
        """Map the file, or one half of each folio of it."""
        recipe, nr = self.recipe, self.nr_pages
        offset = 0
        if recipe.extent == "half":
            nr = max(1, nr >> 1)
            offset = nr if number % 2 and self.nr_pages > 1 else 0
        self.count()
        self.builder.map(process, region, "F", offset, offset, nr, "shared")
        if recipe.by_pte and recipe.order == self.geometry.pmd_order:
            self.builder.madv(process, region, offset, nr, "NOHUGEPAGE")
        self.hold(process, region, offset, nr)

    # what they do

    def _step(self, step: Step) -> None:
        verb = VERBS[step.verb]
        if not verb.who:
            self.count()
            verb.write(self, self.holders[0], 0, 0)
            return
        for holder in self._chosen(step):
            if not holder.mapped or holder.process in self.gone:
                continue
            pages = step.pages if verb.pages else "whole"
            for offset, nr in self.pieces(holder, pages):
                self.count()
                verb.write(self, holder, offset, nr)

    def _chosen(self, step: Step) -> list[_Holder]:
        alive = [each for each in self.holders if each.mapped and each.process not in self.gone]
        first = {"few": slice(0, _FEW), "first": slice(0, 1), "last": slice(-1, None)}
        rest = {"but_first": 1, "but_two": 2, "but_few": _FEW}
        chosen = alive[first.get(step.who, slice(rest.get(step.who, 0), None))]
        return self.ordered(chosen, step.turns)

    def ordered(self, things: Sequence[_Holder], order: str) -> list[_Holder]:
        things = list(things)
        if order == "reverse":
            things.reverse()
        elif order == "random":
            self._random.shuffle(things)
        return things

    def pieces(self, holder: _Holder, pages: str) -> Iterator[tuple[int, int]]:
        """Offsets and lengths of the ranges a step is about; pages go in order within each folio."""
        if pages == "whole":
            yield holder.offset, holder.nr_pages
            return
        size = min(1 << self.recipe.order, holder.nr_pages)
        for start in range(holder.offset, holder.offset + holder.nr_pages, size):
            if pages == "last":
                yield start + size - 1, 1
            elif pages == "but_last":
                if size > 1:
                    yield start, size - 1
            else:
                self.count(0 if size <= MAX_LINES else size)
                within = list(range(size))
                if pages == "reverse":
                    within.reverse()
                elif pages == "random":
                    self._random.shuffle(within)
                yield from ((start + page, 1) for page in within)


# ---- ways to share -----------------------------------------------------------------------------------------------


def _star(writer: _Writer) -> None:
    writer.fill_anon()
    for _ in range(writer.recipe.processes - 1):
        child = writer.process()
        writer.fork("P0", child)
        writer.hold(child, "A")


def _chain(writer: _Writer) -> None:
    writer.fill_anon()
    parent = "P0"
    for _ in range(writer.recipe.processes - 1):
        child = writer.process()
        writer.fork(parent, child)
        writer.hold(child, "A")
        parent = child


def _inherited(writer: _Writer) -> None:
    writer.region("A", writer.nr_pages)
    writer.map_file("P0", "A", 0)
    first = writer.holders[0]
    for _ in range(writer.recipe.processes - 1):
        child = writer.process()
        writer.fork("P0", child)
        writer.hold(child, "A", first.offset, first.nr_pages)


def _mms(writer: _Writer) -> None:
    writer.region("A", writer.nr_pages)
    others = [writer.process() for _ in range(writer.recipe.processes - 1)]
    for child in others:
        writer.fork("P0", child)
    for number, process in enumerate(["P0", *others]):
        writer.map_file(process, "A", number)


def _vmas(writer: _Writer) -> None:
    for number in range(writer.recipe.processes):
        writer.map_file("P0", writer.region(f"A{number}", writer.nr_pages), number)


SHARES: Final[dict[str, Share]] = {
    "fork_star": Share("anon memory, forked star", True, _star),
    "fork_chain": Share("anon memory, forked chain", True, _chain),
    "file_inherited": Share("file inherited by fork", False, _inherited, ("whole", "half")),
    "file_by_mms": Share("file mapped by each", False, _mms, ("whole", "half")),
    "file_by_vmas": Share("file in VMAs of one mm", False, _vmas, ("whole", "half")),
}
"""How memory comes to be shared."""


# ---- steps -------------------------------------------------------------------------------------------------------


def _on_range(method: str, *arguments: str) -> Callable[[_Writer, _Holder, int, int], None]:
    """Make a verb of one of `ScenarioBuilder` that takes process, region, offset, length and words of its own."""

    def write(writer: _Writer, holder: _Holder, offset: int, nr: int) -> None:
        getattr(writer.builder, method)(holder.process, holder.region, offset, nr, *arguments)

    return write


def _on_process(method: str) -> Callable[[_Writer, _Holder, int, int], None]:
    def write(writer: _Writer, holder: _Holder, _offset: int, _nr: int) -> None:
        getattr(writer.builder, method)(holder.process)

    return write


def _alone(method: str) -> Callable[[_Writer, _Holder, int, int], None]:
    def write(writer: _Writer, _holder: _Holder, _offset: int, _nr: int) -> None:
        getattr(writer.builder, method)()

    return write


def _exit(writer: _Writer, holder: _Holder, _offset: int, _nr: int) -> None:
    writer.builder.exit(holder.process)
    writer.gone.add(holder.process)


def _unmap(writer: _Writer, holder: _Holder, offset: int, nr: int) -> None:
    writer.builder.unmap(holder.process, holder.region, offset, nr)
    holder.mapped = False


def _fork(writer: _Writer, holder: _Holder, _offset: int, _nr: int) -> None:
    child = writer.process()
    writer.builder.fork(holder.process, child)
    writer.hold(child, holder.region, holder.offset, holder.nr_pages)


def _pin(writer: _Writer, holder: _Holder, offset: int, nr: int) -> None:
    """Pin, once per process at a time."""
    if holder.process not in writer.pinned:
        writer.builder.pin(holder.process, holder.region, offset, nr)
        writer.pinned.add(holder.process)


def _unpin(writer: _Writer, holder: _Holder, _offset: int, _nr: int) -> None:
    if holder.process in writer.pinned:
        writer.builder.unpin(holder.process)
        writer.pinned.discard(holder.process)


def _halve(writer: _Writer, holder: _Holder, offset: int, nr: int) -> None:
    """Split the VMA: one half becomes read-only."""
    writer.builder.prot(holder.process, holder.region, offset, max(1, nr // 2), "r")


def _join(writer: _Writer, holder: _Holder, offset: int, nr: int) -> None:
    writer.builder.prot(holder.process, holder.region, offset, nr, "rw")


def _exact_smaps(writer: _Writer, holder: _Holder, _offset: int, _nr: int) -> None:
    writer.builder.smaps(holder.process, exact=True)


def _truncate(writer: _Writer, _holder: _Holder, _offset: int, _nr: int) -> None:
    writer.builder.truncobj("F", 0)


def _drop_cache(writer: _Writer, _holder: _Holder, _offset: int, _nr: int) -> None:
    writer.builder.dropobj("F")


VERBS: Final[dict[str, Verb]] = {
    "read": Verb(_on_range("touch", "r"), pages=True),
    "write": Verb(_on_range("touch", "w"), pages=True),
    "drop": Verb(_on_range("madv", "DONTNEED"), pages=True),
    "unmap": Verb(_unmap),
    "exit": Verb(_exit),
    "fork": Verb(_fork),
    "halve_vma": Verb(_halve),
    "join_vma": Verb(_join),
    "lock": Verb(_on_range("mlock")),
    "unlock": Verb(_on_range("munlock")),
    "pin": Verb(_pin, memory="anon"),
    "unpin": Verb(_unpin, memory="anon"),
    "cold": Verb(_on_range("madv", "COLD")),
    "pageout": Verb(_on_range("madv", "PAGEOUT")),
    "free": Verb(_on_range("madv", "FREE"), memory="anon"),
    "collapse": Verb(_on_range("madv", "COLLAPSE")),
    "khugepaged": Verb(_on_range("khugepaged")),
    "referenced": Verb(_on_range("folio_referenced")),
    "try_to_unmap": Verb(_on_range("try_to_unmap")),
    "total_mapcount": Verb(_on_range("total_mapcount")),
    "maybe_pinned": Verb(_on_range("maybe_pinned")),
    "migrate": Verb(_on_range("migrate")),
    "split": Verb(_on_range("splitdbg")),
    "smaps": Verb(_on_process("smaps")),
    "exact_smaps": Verb(_exact_smaps),
    "pagemap": Verb(_on_process("pagemap")),
    "numa_maps": Verb(_on_process("numa_maps")),
    "move_pages": Verb(_on_range("move_pages")),
    "numa_balance": Verb(_on_range("numa_balance")),
    "kpagecount": Verb(_alone("kpagecount"), who=False),
    "compact": Verb(_alone("compact"), who=False),
    "reclaim": Verb(_alone("reclaim"), who=False),
    "page_idle": Verb(_alone("page_idle"), who=False),
    "truncate": Verb(_truncate, memory="file", who=False),
    "drop_cache": Verb(_drop_cache, memory="file", who=False),
    "deferred_split": Verb(_alone("deferred_split"), memory="anon", who=False),
    "swap_on": Verb(_alone("swapon"), memory="anon", who=False),
    "swap_off": Verb(_alone("swapoff"), memory="anon", who=False),
}
"""What they, and the kernel on their behalf, may do."""
