# SPDX-License-Identifier: BSD-3-Clause
"""What all scheme twins share: the log of rmap calls, references, bytes of struct page, the driver ``replay``.

A twin keeps zero-based Python integers per folio. Only ``render_page`` knows that the kernel stores many of them minus
one. Offsets are those of schemes.md 1.2 and of the "State" table of each design.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from .anon_exclusive import AnonExclusive

PAGE_STRUCT_BYTES = 64
FLAGS_OFFSET = 0
MAPCOUNT_OFFSET = 48
REFCOUNT_OFFSET = 52
PG_ANON_EXCLUSIVE = 17
PG_DOUBLE_MAP = 20

RUN_ANON = 1
RUN_NEW = 2
RUN_DONATED = 4

# Fields whose atomics the twins count; the names are those of FPERF_FIELDS.
RMW_FIELDS = (
    "mapcount",
    "refcount",
    "anon_exclusive",
    "double_map",
    "compound_mapcount",
    "entire_mapcount",
    "large_mapcount",
    "nr_pages_mapped",
    "mm_id_lock",
    "mapcount_lock",
    "rmap_sequence",
    "rmap_value",
    "split_queue_lock",
    "pincount",
)

# struct fperf_rmap_op, byte for byte.
RMAP_OP_DTYPE = np.dtype(
    [
        ("folio", np.uint64),
        ("vpn", np.uint64),
        ("first", np.uint32),
        ("nr", np.uint32),
        ("flags", np.uint32),
        ("batched", np.uint16),
        ("refs_batched", np.uint16),
        ("mm_id", np.uint32),
        ("vma_id", np.uint32),
        ("delta", np.int32),
        ("order", np.uint32),
        ("first_answer", np.uint32),
        ("nr_answers", np.uint32),
        ("hook", np.uint16),
        ("cpu", np.uint16),
        ("pad", np.uint32),
    ]
)
assert RMAP_OP_DTYPE.itemsize == 64


class Hook(IntEnum):
    """Calls that change struct pages, numbered as enum fperf_rmap_hook."""

    FOLIO_INIT = 0
    FOLIO_FREE = 1
    MAP_RUN = 2
    UNMAP_RUN = 3
    FORK_RUN = 4
    MAP_PMD = 5
    UNMAP_PMD = 6
    SPLIT_PMD = 7
    VMA_SPLIT = 8
    VMA_MERGE = 9
    VMA_MOVE = 10
    RECOUNT = 11
    REF_ADD = 12
    EXCLUSIVE_SET = 13
    EXCLUSIVE_CLEAR = 14
    PIN_ADD = 15


class Answer(IntEnum):
    """What a scheme may answer, numbered as enum fperf_answer."""

    NO = 0
    YES = 1
    COUNT = 2
    UNKNOWN = 3


class Question(IntEnum):
    """What a consumer may ask, numbered as enum fperf_question."""

    MAPPED = 0
    SHARED = 1
    TOTAL_MAPCOUNT = 2
    PAGE_MAPCOUNT = 3
    MAPPING_REFS = 4


class Recount(Enum):
    """Who brings zero_one_two_many down from Many. When, the log says: a recount has its result among the answers."""

    LAZY = "lazy"
    ON_RECLAIM = "on_reclaim"
    ON_WRITE_FAULT = "on_write_fault"
    EAGER = "eager"
    EAGER_STOP3 = "eager_stop3"
    THRESHOLD = "threshold"
    ANON_EXACT = "anon_exact"


class TwinError(AssertionError):
    """The log asks for something no kernel would do in this state; names the operation and the rule."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    """Choices a scheme leaves open. The presence policy is no member: it changes reads, never state or atomics."""

    recount: Recount = Recount.LAZY
    naive: bool = False
    """Walk, then store. The safe recount marks the folio busy first; its exchange takes the mark away."""
    variant: int = 0
    """Which form of a scheme that has several, numbered as its option's values are."""
    pins_exact: bool = False
    """Pins of all folios are counted in the scheme's own word."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RmapOp:
    """One entry of the log, struct fperf_rmap_op.

    Attributes
    ----------
    folio : int
        pfn of the head.
    first, nr : int
        Pages ``[first, first + nr)`` of the folio; PMD operations always mean the whole folio.
    flags : int
        ``RUN_ANON``, ``RUN_NEW``, ``RUN_DONATED``.
    batched, refs_batched : int
        1: one rmap (reference) call for the run; 0: one per page.
    delta : int
        REF_ADD, PIN_ADD: change of the count, always one atomic.
    order : int
        FOLIO_INIT, FOLIO_FREE: order of the folio.
    first_answer, nr_answers : int
        Slice of the answers array that this call consumed.
    """

    hook: Hook
    folio: int
    first: int = 0
    nr: int = 1
    flags: int = 0
    batched: int = 1
    refs_batched: int = 1
    mm_id: int = 0
    vma_id: int = 0
    vpn: int = 0
    delta: int = 0
    order: int = 0
    first_answer: int = 0
    nr_answers: int = 0
    cpu: int = 0

    def __post_init__(self) -> None:
        for name in ("folio", "first", "nr", "order", "first_answer", "nr_answers"):
            value: int = getattr(self, name)
            if value < 0:
                raise ValueError(f"{name} is {value}, must not be negative")
        if self.batched not in (0, 1) or self.refs_batched not in (0, 1):
            raise ValueError(f"batched is {self.batched}, refs_batched {self.refs_batched}: each must be 0 or 1")
        if self.flags & ~(RUN_ANON | RUN_NEW | RUN_DONATED):
            raise ValueError(f"flags is {self.flags:#x}, only ANON, NEW and DONATED are known")

    @property
    def anon(self) -> bool:
        return bool(self.flags & RUN_ANON)

    @property
    def new(self) -> bool:
        return bool(self.flags & RUN_NEW)

    @property
    def donated(self) -> bool:
        return bool(self.flags & RUN_DONATED)

    @property
    def pages(self) -> range:
        return range(self.first, self.first + self.nr)

    def calls(self) -> Iterator[range]:
        """Pages of each rmap call the kernel made for this run."""
        if self.batched:
            yield self.pages
        else:
            for i in self.pages:
                yield range(i, i + 1)


class Answers:
    """The answers one call got, in order; using too many or too few of them is an error."""

    def __init__(self, values: Iterable[int] = ()) -> None:
        self._values = tuple(values)
        self._next = 0

    def take(self, what: str) -> int:
        if self._next == len(self._values):
            raise TwinError(f"the scheme has to know {what}, but the log holds no answer")
        value = self._values[self._next]
        self._next += 1
        if value < 0:
            raise TwinError(f"answer {value} to {what} is negative")
        return value

    @property
    def left(self) -> int:
        return len(self._values) - self._next


@dataclass(slots=True, kw_only=True)
class FolioState:
    """State every scheme has: where the folio is, and its references.

    Attributes
    ----------
    refs : int
        ``_refcount`` of the head.
    mapping_refs : int
        Those of them that mappings own.
    pins : int
        Exact count of pins, of a large folio.
    anon : bool or None
        None until something maps the folio.
    """

    pfn: int
    order: int
    refs: int = 1
    mapping_refs: int = 0
    pins: int = 0
    anon: bool | None = None

    @property
    def nr_pages(self) -> int:
        return 1 << self.order

    @property
    def large(self) -> bool:
        return self.order > 0

    @property
    def has_deferred_list(self) -> bool:
        """The list head lives in page[2], so a folio of two pages cannot be queued for splitting."""
        return self.order > 1


F = TypeVar("F", bound=FolioState)


@dataclass(slots=True)
class PageImage:
    """64 bytes of one struct page, and which of their bits the scheme or its components own."""

    values: bytearray = field(default_factory=lambda: bytearray(PAGE_STRUCT_BYTES))
    mask: bytearray = field(default_factory=lambda: bytearray(PAGE_STRUCT_BYTES))

    def put_signed(self, offset: int, value: int, nr_bytes: int) -> None:
        self.values[offset : offset + nr_bytes] = value.to_bytes(nr_bytes, sys.byteorder, signed=True)
        self.mask[offset : offset + nr_bytes] = b"\xff" * nr_bytes

    def put_s32(self, offset: int, value: int) -> None:
        self.put_signed(offset, value, 4)

    def put_u64(self, offset: int, value: int) -> None:
        self.values[offset : offset + 8] = value.to_bytes(8, sys.byteorder)
        self.mask[offset : offset + 8] = b"\xff" * 8

    def put_flag(self, bit: int, value: bool) -> None:
        flags = int.from_bytes(self.values[FLAGS_OFFSET : FLAGS_OFFSET + 8], sys.byteorder)
        owned = int.from_bytes(self.mask[FLAGS_OFFSET : FLAGS_OFFSET + 8], sys.byteorder)
        flags = flags & ~(1 << bit) | int(value) << bit
        owned |= 1 << bit
        self.values[FLAGS_OFFSET : FLAGS_OFFSET + 8] = flags.to_bytes(8, sys.byteorder)
        self.mask[FLAGS_OFFSET : FLAGS_OFFSET + 8] = owned.to_bytes(8, sys.byteorder)


SCHEMES: dict[str, type[SchemeTwin[Any]]] = {}


class SchemeTwin(ABC, Generic[F]):
    """One mapcount scheme, in plain Python integers.

    Parameters
    ----------
    kernel_version : int
        ``100 * major + minor`` of the kernel whose variant of the scheme is meant.
    params : Params
    """

    name: ClassVar[str]
    counts_vmas: ClassVar[bool] = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        SCHEMES[cls.name] = cls

    def __init__(self, kernel_version: int, params: Params) -> None:
        self.kernel_version = kernel_version
        self.params = params
        self.folios: dict[int, F] = {}
        self.exclusive = AnonExclusive()
        self.refs_peak = 0
        # The call being carried out, and what the log answers to its questions.
        self.op = RmapOp(hook=Hook.RECOUNT, folio=0)
        self.answers = Answers()
        self._rmw: dict[str, int] = {}
        self._head_of: dict[int, int] = {}

    @property
    def pincount_at(self) -> int:
        """Where a large folio's pins are counted, in bytes from page[1]."""
        return 28

    # -- what a scheme defines -----------------------------------------------------------------------------------

    @abstractmethod
    def new_folio(self, pfn: int, order: int) -> F:
        """State of a folio fresh from the allocator."""

    @abstractmethod
    def map_run(self, folio: F) -> None: ...

    @abstractmethod
    def unmap_run(self, folio: F) -> None: ...

    @abstractmethod
    def fork_run(self, folio: F) -> None: ...

    @abstractmethod
    def map_pmd(self, folio: F) -> None: ...

    @abstractmethod
    def unmap_pmd(self, folio: F) -> None: ...

    @abstractmethod
    def split_anon_pmd(self, folio: F) -> None: ...

    @abstractmethod
    def render_page(self, folio: F, i: int, image: PageImage) -> None:
        """Write the scheme's fields of page i; references and exclusive flags are written by the caller."""

    @abstractmethod
    def ask(self, pfn: int, question: Question, page: int = 0) -> tuple[Answer, int]:
        """Answer a consumer's question from the scheme's own state.

        Returns
        -------
        (Answer, int)
            The count is 0 unless the answer is COUNT.
        """

    @abstractmethod
    def check_unmapped(self, folio: F) -> None:
        """Raise TwinError if the folio's counts say that something still maps it."""

    def folio_of(self, pfn: int, page: int) -> F:
        """The live folio with that head, which must have that page."""
        folio = self.folios[pfn]
        if not 0 <= page < folio.nr_pages:
            raise ValueError(f"page {page} of a folio of {folio.nr_pages} pages")
        return folio

    def vmas_changed(self, folio: F) -> None:
        """VMA_SPLIT, VMA_MERGE, VMA_MOVE or RECOUNT; only called if the scheme counts VMAs."""
        raise NotImplementedError

    # -- common ----------------------------------------------------------------------------------------------------

    def count(self, rmw_field: str, nr: int = 1) -> None:
        """Charge nr atomic read-modify-writes to a field."""
        if nr:
            self._rmw[rmw_field] = self._rmw.get(rmw_field, 0) + nr

    def take_refs(self, folio: F, nr: int) -> None:
        """Give nr new mappings their references.

        A donated reference, or the allocation's own for a fresh anonymous folio, becomes one of them without another
        atomic.
        """
        taken = nr - (1 if self.op.new or self.op.donated else 0)
        folio.refs += taken
        folio.mapping_refs += nr
        self.refs_peak = max(self.refs_peak, folio.mapping_refs)
        self.count("refcount", ref_atomics(taken, self.op))

    def put_refs(self, folio: F, nr: int) -> None:
        """Drop the references of nr mappings that are gone."""
        folio.refs -= nr
        folio.mapping_refs -= nr
        self.count("refcount", ref_atomics(nr, self.op))

    def apply(self, op: RmapOp, answers: Answers | None = None) -> dict[str, int]:
        """Carry out one call of the log.

        Returns
        -------
        dict of str to int
            Atomic read-modify-writes by field name; fields not touched are missing.

        Raises
        ------
        TwinError
            If the call is illegal in the present state, or its answers do not fit what the scheme has to ask.
        """
        self.op = op
        self.answers = Answers() if answers is None else answers
        self._rmw = {}
        try:
            self._dispatch(op)
        except TwinError as error:
            raise TwinError(f"{self.name}: {op.hook.name} of folio {op.folio:#x}: {error}") from None
        if self.answers.left:
            raise TwinError(
                f"{self.name}: {op.hook.name} of folio {op.folio:#x}: {self.answers.left} answers that the scheme "
                "had no reason to ask for"
            )
        return self._rmw

    def _dispatch(self, op: RmapOp) -> None:
        if op.hook is Hook.FOLIO_INIT:
            self._folio_init(op)
            return
        folio = self.folios.get(op.folio)
        if folio is None:
            raise TwinError("no live folio has its head there")
        match op.hook:
            case Hook.FOLIO_FREE:
                self._folio_free(folio, op)
            case Hook.REF_ADD:
                folio.refs += op.delta
                self.count("refcount", 1 if op.delta else 0)
            case Hook.PIN_ADD:
                folio.pins += op.delta
                self.count("mapcount" if self.params.pins_exact else "pincount")
            case Hook.EXCLUSIVE_SET:
                self._check_run(folio, op)
                self.count("anon_exclusive", self.exclusive.set_run(folio.pfn + op.first, op.nr))
            case Hook.EXCLUSIVE_CLEAR:
                self._check_run(folio, op)
                self.count("anon_exclusive", self.exclusive.clear_run(folio.pfn + op.first, op.nr))
            case Hook.MAP_RUN:
                self._check_run(folio, op)
                self._check_kind(folio, op)
                self._check_new(folio, op)
                self.map_run(folio)
            case Hook.UNMAP_RUN:
                self._check_run(folio, op)
                self._check_kind(folio, op)
                self.unmap_run(folio)
            case Hook.FORK_RUN:
                self._check_run(folio, op)
                self._check_kind(folio, op)
                if op.new or op.donated:
                    raise TwinError("fork copies mappings that exist and holds no reference to hand over")
                self.fork_run(folio)
            case Hook.MAP_PMD:
                self._check_pmd(folio, op)
                self._check_kind(folio, op)
                self._check_new(folio, op)
                self.map_pmd(folio)
            case Hook.UNMAP_PMD:
                self._check_pmd(folio, op)
                self._check_kind(folio, op)
                self.unmap_pmd(folio)
            case Hook.SPLIT_PMD:
                self._check_pmd(folio, op)
                self._check_kind(folio, op)
                if op.anon:
                    self.split_anon_pmd(folio)
                else:
                    # A file PMD is not split: it goes, and faults refill the table.
                    self.unmap_pmd(folio)
            case Hook.VMA_SPLIT | Hook.VMA_MERGE | Hook.VMA_MOVE | Hook.RECOUNT if self.counts_vmas:
                self.vmas_changed(folio)
        if folio.refs < 0:
            raise TwinError(f"the reference count fell to {folio.refs}")
        if folio.refs < folio.mapping_refs:
            raise TwinError(f"{folio.refs} references, but mappings own {folio.mapping_refs}")

    def _folio_init(self, op: RmapOp) -> None:
        nr_pages = 1 << op.order
        if op.folio % nr_pages:
            raise TwinError(f"a folio of order {op.order} must be aligned to its size")
        for pfn in range(op.folio, op.folio + nr_pages):
            if pfn in self._head_of:
                raise TwinError(f"page {pfn:#x} already belongs to the live folio at {self._head_of[pfn]:#x}")
            self._head_of[pfn] = op.folio
        self.folios[op.folio] = self.new_folio(op.folio, op.order)

    def _folio_free(self, folio: F, op: RmapOp) -> None:
        if op.order != folio.order:
            raise TwinError(f"freed with order {op.order}, but it was allocated with order {folio.order}")
        if folio.refs:
            raise TwinError(f"freed while {folio.refs} references are held")
        self.check_unmapped(folio)
        for pfn in range(folio.pfn, folio.pfn + folio.nr_pages):
            del self._head_of[pfn]
        del self.folios[folio.pfn]
        self.exclusive.forget(folio.pfn, folio.nr_pages)

    @staticmethod
    def _check_run(folio: F, op: RmapOp) -> None:
        if op.nr == 0 or op.first + op.nr > folio.nr_pages:
            raise TwinError(f"pages [{op.first}, {op.first + op.nr}) are no run of a folio of {folio.nr_pages} pages")

    @staticmethod
    def _check_pmd(folio: F, op: RmapOp) -> None:
        if not folio.large:
            raise TwinError("a small folio cannot be mapped by a PMD")
        if op.first:
            raise TwinError(f"a PMD maps the whole folio, not pages from {op.first} on")

    @staticmethod
    def _check_kind(folio: F, op: RmapOp) -> None:
        if folio.anon is not None and folio.anon != op.anon:
            raise TwinError(f"mapped as {_kind(folio.anon)} before, as {_kind(op.anon)} now")
        folio.anon = op.anon

    def _check_new(self, folio: F, op: RmapOp) -> None:
        if op.new:
            if not op.anon:
                raise TwinError("only anonymous folios are mapped fresh from the allocator")
            self.check_unmapped(folio)

    def pages_bytes(self, nr_pages: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Render struct pages 0 .. nr_pages - 1.

        Returns
        -------
        values, mask : uint8, shape (nr_pages, 64)
            ``mask`` has a 1 for every bit that is meaningful: the scheme's fields, ``_refcount`` and
            PG_anon_exclusive of pages of live folios. Compare ``c & mask == values``.
        """
        values = np.zeros((nr_pages, PAGE_STRUCT_BYTES), dtype=np.uint8)
        mask = np.zeros((nr_pages, PAGE_STRUCT_BYTES), dtype=np.uint8)
        for folio in self.folios.values():
            for i in range(folio.nr_pages):
                pfn = folio.pfn + i
                if pfn >= nr_pages:
                    raise ValueError(f"page {pfn:#x} is live, but only {nr_pages} pages were asked for")
                image = PageImage()
                image.put_s32(REFCOUNT_OFFSET, folio.refs if i == 0 else 0)
                image.put_flag(PG_ANON_EXCLUSIVE, pfn in self.exclusive.pages)
                self.render_page(folio, i, image)
                page, offset = divmod(PAGE_STRUCT_BYTES + self.pincount_at, PAGE_STRUCT_BYTES)
                if i == page and not self.params.pins_exact:
                    image.put_s32(offset, folio.pins)
                values[pfn] = np.frombuffer(bytes(image.values), dtype=np.uint8)
                mask[pfn] = np.frombuffer(bytes(image.mask), dtype=np.uint8)
        return values, mask


def ref_atomics(nr: int, op: RmapOp) -> int:
    """Atomics a run needs for nr references."""
    return min(nr, 1) if op.refs_batched else nr


def _kind(anon: bool) -> str:
    return "anonymous" if anon else "file"


@dataclass(frozen=True, kw_only=True)
class ReferenceState:
    """Where a replayed log left the modelled machine.

    Attributes
    ----------
    twin : SchemeTwin
        Live folios by head pfn in ``twin.folios``, questions through ``twin.ask``.
    rmw : int64, shape (nr_ops, len(RMW_FIELDS))
        Atomic read-modify-writes each call made itself.
    donated : int64, shape (nr_ops,)
        1 where the caller handed over the reference of a page-cache lookup. Its get is a REF_ADD before the call;
        whoever counts it as the call's own adds this to the ``refcount`` column.
    hooks : uint16, shape (nr_ops,)
        Kind of each call, to select rows of ``rmw``.
    """

    fields: ClassVar[tuple[str, ...]] = RMW_FIELDS

    twin: SchemeTwin[Any]
    rmw: NDArray[np.int64]
    donated: NDArray[np.int64]
    hooks: NDArray[np.uint16]

    @property
    def folios(self) -> Mapping[int, FolioState]:
        return self.twin.folios

    def pages_bytes(self, nr_pages: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """See ``SchemeTwin.pages_bytes``."""
        return self.twin.pages_bytes(nr_pages)

    def rmw_of(self, *hooks: Hook) -> dict[str, int]:
        """Atomics by field, summed over all calls, or over those of the given hooks."""
        rows = self.rmw[np.isin(self.hooks, [int(h) for h in hooks])] if hooks else self.rmw
        return dict(zip(RMW_FIELDS, (int(v) for v in rows.sum(axis=0)), strict=True))


def kernel_number(version: int | str) -> int:
    """``6.1`` or ``601`` as the number FPERF_KERNEL() makes of it."""
    if isinstance(version, int):
        return version
    major, dot, minor = version.partition(".")
    if not (dot and major.isdigit() and minor.isdigit()):
        raise ValueError(f"kernel version {version!r} must read MAJOR.MINOR")
    return int(major) * 100 + int(minor)


def rmap_ops(log: NDArray[np.void] | Iterable[RmapOp]) -> Iterator[RmapOp]:
    """Entries of a log as objects.

    Parameters
    ----------
    log : structured array with the fields of RMAP_OP_DTYPE, or iterable of RmapOp
    """
    if isinstance(log, np.ndarray):
        names = [name for name in RMAP_OP_DTYPE.names or () if name not in ("hook", "pad")]
        columns = [log[name].tolist() for name in names]
        for hook, *row in zip(log["hook"].tolist(), *columns, strict=True):
            yield RmapOp(hook=Hook(hook), **dict(zip(names, row, strict=True)))
    else:
        yield from log


def replay(
    log: NDArray[np.void] | Iterable[RmapOp],
    answers: NDArray[np.int64] | Sequence[int],
    scheme: str,
    kernel_version: int | str,
    params: Params | None = None,
) -> ReferenceState:
    """Carry out a whole log under one scheme.

    Parameters
    ----------
    log : structured array with the fields of RMAP_OP_DTYPE, or iterable of RmapOp
    answers : int64, shape (nr_answers,)
        What the scheme was told when it asked mm; each call names its slice.
    scheme : str
        A key of ``SCHEMES``.
    kernel_version : int or str
        ``601`` or ``"6.1"``.
    params : Params, optional

    Returns
    -------
    ReferenceState

    Raises
    ------
    TwinError
        Names the index of the call and the rule it broke.
    ValueError
        If there is no twin of that name.
    """
    if scheme not in SCHEMES:
        raise ValueError(f"no twin of scheme {scheme!r}; there are {', '.join(sorted(SCHEMES))}")
    twin = SCHEMES[scheme](kernel_number(kernel_version), Params() if params is None else params)
    rows: list[list[int]] = []
    donated: list[int] = []
    hooks: list[int] = []
    for index, op in enumerate(rmap_ops(log)):
        end = op.first_answer + op.nr_answers
        if op.nr_answers and end > len(answers):
            raise TwinError(f"call {index}: answers [{op.first_answer}, {end}) of only {len(answers)}")
        try:
            consumed = answers[op.first_answer : end]
            rmw = twin.apply(op, Answers(int(v) for v in consumed))
        except TwinError as error:
            raise TwinError(f"call {index}: {error}") from None
        rows.append([rmw.get(name, 0) for name in RMW_FIELDS])
        donated.append(int(op.donated))
        hooks.append(int(op.hook))
    return ReferenceState(
        twin=twin,
        rmw=np.array(rows, dtype=np.int64).reshape(len(rows), len(RMW_FIELDS)),
        donated=np.array(donated, dtype=np.int64),
        hooks=np.array(hooks, dtype=np.uint16),
    )
