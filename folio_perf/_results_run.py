# SPDX-License-Identifier: BSD-3-Clause
"""The result of one scenario under one scheme. Public names are in `folio_perf.results`."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from folio_perf._results_outside import OutsideRow
from folio_perf._results_smaps import SmapsRow, smaps_columns

if TYPE_CHECKING:
    import pandas as pd

KIND: Final = "modelled"
"""Of every number here; never mixed with what was measured or published."""

CLASSES: Final = ("page", "table", "rest")
"""Classes of modelled objects: struct pages, page tables, everything else. FPERF_FIELDS says which field is which."""

FIXED: Final = "fixed"
"""The cause every design pays alike (allocation, free, page-cache lookup, folio lock); left out of rows and totals."""

FORMAT_VERSION: Final = 1

# Locks outside struct page are fields of class `rest`. This one serialises all deferred splits of a node and is taken
# because of what the counts say, so it is counted with them.
_COUNTED_LOCK: Final = "split_queue_lock"


@dataclass(frozen=True, slots=True, kw_only=True)
class Axes:
    """Names along the axes of the counters, in order.

    Parameters
    ----------
    events, causes, fields : tuple of str
        Event kinds, why an access happens, and which field it touches.
    field_classes : tuple of str
        For each field one of `CLASSES`.
    accesses, dependences, levels : tuple of str
    """

    events: tuple[str, ...]
    causes: tuple[str, ...]
    fields: tuple[str, ...]
    field_classes: tuple[str, ...]
    accesses: tuple[str, ...]
    dependences: tuple[str, ...]
    levels: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.field_classes) != len(self.fields):
            raise ValueError(f"{len(self.field_classes)} classes for {len(self.fields)} fields")
        for name in self.field_classes:
            if name not in CLASSES:
                raise ValueError(f"field class {name!r} must be one of {', '.join(CLASSES)}")

    @property
    def shape(self) -> tuple[int, int, int, int, int, int]:
        """Shape of the counters: event kind, cause, field, access, dependence, level."""
        return (
            len(self.events),
            len(self.causes),
            len(self.fields),
            len(self.accesses),
            len(self.dependences),
            len(self.levels),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInfo:
    """What was run, on what.

    Parameters
    ----------
    scenario, scenario_hash : str
        Name, and SHA-256 over what a run depends on.
    scheme, kernel : str
        The two axes; the scheme with its options.
    counterfactual : bool
        That kernel never counted this way.
    reconstructed : bool
        The public description of the scheme is incomplete and was completed.
    machine : str
    page_size_bytes, line_bytes, memory_bytes : int
    folio_policy : str
    backend : str
        ``count`` or ``cache``.
    levels : tuple of str
        Where an access may be served on this machine, nearest first; empty if the back end does not know.
    """

    scenario: str
    scenario_hash: str
    scheme: str
    kernel: str
    counterfactual: bool
    reconstructed: bool
    machine: str
    page_size_bytes: int
    line_bytes: int
    memory_bytes: int
    folio_policy: str
    backend: str
    levels: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Events that failed for one reason.

    Parameters
    ----------
    name : str
        Of the error, such as ``NOT_MAPPED``.
    rule : str
        The rule they broke.
    count : int
    examples : tuple of str
        Place of the first of them: source, line, event index, operation.
    """

    name: str
    rule: str
    count: int
    examples: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of the events.

    Parameters
    ----------
    applied, noop : int
        Events that took effect; events that had nothing to do, such as a fault that fault-around had satisfied.
    failures : tuple of Failure
        The rest, by reason, most frequent first.
    dropped, assumed : mapping of str to int
        Of a trace: rows that became no event, events that rest on an assumption, by reason.
    unsupported : tuple of str
        Operations of a scenario that are not modelled, with their places.
    """

    applied: int
    noop: int
    failures: tuple[Failure, ...] = ()
    dropped: Mapping[str, int] = field(default_factory=dict)
    assumed: Mapping[str, int] = field(default_factory=dict)
    unsupported: tuple[str, ...] = ()

    @property
    def failed(self) -> int:
        """Events that failed."""
        return sum(failure.count for failure in self.failures)

    @property
    def total(self) -> int:
        """All events."""
        return self.applied + self.noop + self.failed


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRow:
    """Costs of one event kind, or of all (``event`` is ``total``). Without what every design pays alike.

    Parameters
    ----------
    scheme, kernel, event : str
    reconstructed : bool
        The public description of the scheme is incomplete and was completed.
    count : int
        Events of this kind; a touch is one event per fault it takes.
    rmw : int
        Atomic read-modify-writes on struct page fields, and takings of the deferred split queue's lock.
    lines_read, lines_written : int or None
        Distinct lines of struct pages per event, summed: only read, written. None where the back end cannot know.
    lines_table_read, lines_table_written, lines_rest_read, lines_rest_written : int or None
        The same for page tables, and for everything else.
    hits : mapping of str to int, or None
        Accesses by the level that served them, to objects of all classes.
    vma_visits, pte_reads : int
        VMAs visited and page-table entries read by rmap walks, recounts and presence tests.
    ns : float or None
        Modelled time of all these accesses, an upper bound; None where a price or a level is unknown.
    """

    scheme: str
    kernel: str
    reconstructed: bool
    event: str
    count: int
    rmw: int
    lines_read: int | None
    lines_written: int | None
    lines_table_read: int | None
    lines_table_written: int | None
    lines_rest_read: int | None
    lines_rest_written: int | None
    hits: Mapping[str, int] | None
    vma_visits: int
    pte_reads: int
    ns: float | None


@dataclass(frozen=True, kw_only=True, eq=False)
class EventStats:
    """Per event kind, beside the counters.

    Parameters
    ----------
    count, vma_visits, pte_reads : int64, shape (nr_event_kinds,)
    lines_read, lines_written : int64, shape (nr_event_kinds, 3)
        By class, in the order of `CLASSES`.
    folios_allocated, folios_freed, pages_zeroed, pages_copied, tlb_flushes : int64, shape (nr_event_kinds,)
        Work beside the accesses, of which `Result.outside` is made.
    """

    count: NDArray[np.int64]
    vma_visits: NDArray[np.int64]
    pte_reads: NDArray[np.int64]
    lines_read: NDArray[np.int64]
    lines_written: NDArray[np.int64]
    folios_allocated: NDArray[np.int64]
    folios_freed: NDArray[np.int64]
    pages_zeroed: NDArray[np.int64]
    pages_copied: NDArray[np.int64]
    tlb_flushes: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Result:
    """One scenario under one scheme.

    Parameters
    ----------
    run : RunInfo
    axes : Axes
    counters : int64, shape `Axes.shape`
        Accesses by event kind, cause, field, access, dependence, level.
    ns : float64, shape (nr_event_kinds, nr_causes, nr_fields)
        Modelled time; NaN where a price or a level is unknown.
    stats : EventStats
    totals : mapping of str to int or None
        What a run has once: `refs_peak`, `false_shared`, `leaked_pages` ...; None where the ledger was not kept.
    outcome : Outcome
    smaps : tuple of SmapsRow
        What each smaps event read, in order.
    outside : tuple of OutsideRow
        Work of mm outside the designs, by event kind and work, where there was any; in no other number here.

    Raises
    ------
    ValueError
        If an array does not have the shape of the axes.
    """

    run: RunInfo
    axes: Axes
    counters: NDArray[np.int64]
    ns: NDArray[np.float64]
    stats: EventStats
    totals: Mapping[str, int | None]
    outcome: Outcome
    smaps: tuple[SmapsRow, ...] = ()
    outside: tuple[OutsideRow, ...] = ()

    def __post_init__(self) -> None:
        shape = self.axes.shape
        nr_kinds = shape[0]
        stats = [(each.name, getattr(self.stats, each.name)) for each in fields(EventStats)]
        for name, array, wanted in (
            ("counters", self.counters, shape),
            ("ns", self.ns, shape[:3]),
            *((name, array, (nr_kinds, len(CLASSES))[: 1 + name.startswith("lines")]) for name, array in stats),
        ):
            if array.shape != wanted:
                raise ValueError(f"{name} of shape {array.shape} must have shape {wanted}")
            array.flags.writeable = False

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Result):
            return NotImplemented
        return self._key() == other._key()

    def __hash__(self) -> int:
        return hash((self.run, self.counters.tobytes()))

    def _key(self) -> tuple[object, ...]:
        arrays = [self.counters, self.ns, *(getattr(self.stats, each.name) for each in fields(EventStats))]
        return (
            self.run,
            self.axes,
            dict(self.totals),
            self.outcome,
            self.smaps,
            *(array.tobytes() for array in arrays),
        )

    @property
    def counted(self) -> NDArray[np.int64]:
        """Counters of what differs between designs: int64, all causes but `FIXED` summed, that axis gone."""
        total: NDArray[np.int64] = self.counters[:, self._counted_causes].sum(axis=1)
        return total

    @property
    def _counted_causes(self) -> NDArray[np.bool_]:
        return np.array([cause != FIXED for cause in self.axes.causes])

    @property
    def events(self) -> tuple[str, ...]:
        """Event kinds that occurred."""
        return tuple(name for name, count in zip(self.axes.events, self.stats.count, strict=True) if count)

    def row(self, event: str) -> EventRow:
        """Costs of one event kind.

        Raises
        ------
        ValueError
            If there is no event kind of that name.
        """
        if event not in self.axes.events:
            raise ValueError(f"no event kind {event!r}; there are {', '.join(self.axes.events)}")
        return self._row(event, slice(at := self.axes.events.index(event), at + 1))

    @property
    def rows(self) -> tuple[EventRow, ...]:
        """Costs of each event kind that occurred."""
        return tuple(self.row(event) for event in self.events)

    @property
    def total(self) -> EventRow:
        """Costs of all events together."""
        return self._row("total", slice(None))

    def _row(self, event: str, kinds: slice) -> EventRow:
        axes, known = self.axes, bool(self.run.levels)
        by_field = self.counted[kinds].sum(axis=0)
        struct_page = [
            of == "page" or name == _COUNTED_LOCK for name, of in zip(axes.fields, axes.field_classes, strict=True)
        ]
        by_level = by_field.sum(axis=(0, 1, 2))
        ns = float(self.ns[kinds][:, self._counted_causes].sum())
        lines = {
            f"lines{of}_{what}": int(getattr(self.stats, f"lines_{what}")[kinds, number].sum()) if known else None
            for number, of in enumerate(("", "_table", "_rest"))
            for what in ("read", "written")
        }
        return EventRow(
            scheme=self.run.scheme,
            kernel=self.run.kernel,
            reconstructed=self.run.reconstructed,
            event=event,
            count=int(self.stats.count[kinds].sum()),
            rmw=int(by_field[struct_page, axes.accesses.index("rmw")].sum()),
            **lines,
            hits={name: int(by_level[axes.levels.index(name)]) for name in self.run.levels} if known else None,
            vma_visits=int(self.stats.vma_visits[kinds].sum()),
            pte_reads=int(self.stats.pte_reads[kinds].sum()),
            ns=None if np.isnan(ns) else ns,
        )

    def to_frame(self, by: str = "event") -> pd.DataFrame:
        """Make a table.

        Parameters
        ----------
        by : {"event", "cause", "field", "process"}
            ``event``: one row per event kind, the columns of `EventRow`, one column ``hits_<level>`` each.
            ``cause``, ``field``: accesses by event kind and cause (`FIXED` among them), or by event kind and field
            (without `FIXED`), where there were any. ``process``: one row per reading of smaps, the columns of
            `SmapsRow` and the errors in per cent.

        Raises
        ------
        ValueError
            If `by` is none of these.
        """
        import pandas as pd

        if by == "event":
            return pd.DataFrame([flat(row) for row in self.rows])
        if by == "process":
            return pd.DataFrame([smaps_columns(row) for row in self.smaps])
        if by == "cause":
            counters, ns = self.counters.sum(axis=2), self.ns.sum(axis=2)
        elif by == "field":
            counters, ns = self.counted, self.ns[:, self._counted_causes].sum(axis=1)
        else:
            raise ValueError(f"by {by!r} must be one of event, cause, field, process")
        names = self.axes.causes if by == "cause" else self.axes.fields
        rows: list[dict[str, object]] = []
        for kind, at in np.argwhere(counters.any(axis=(2, 3, 4))):
            here = counters[kind, at]
            row: dict[str, object] = {"event": self.axes.events[kind], by: names[at]}
            if by == "field":
                row["class"] = self.axes.field_classes[at]
            row |= {name: int(here[number].sum()) for number, name in enumerate(self.axes.accesses)}
            row |= {f"hits_{name}": int(here[..., self.axes.levels.index(name)].sum()) for name in self.run.levels}
            rows.append(row | {"ns": float(ns[kind, at])})
        return pd.DataFrame(rows)

    def to_json(self) -> str:
        """Write everything as one JSON object; `from_json` reads it back."""
        axes = self.axes
        names = (axes.events, axes.causes, axes.fields, axes.accesses, axes.dependences, axes.levels)

        def sparse(array: NDArray[Any], value: type) -> list[list[object]]:
            places = np.argwhere(array != 0)
            return [
                [*(names[axis][at] for axis, at in enumerate(place)), _plain(value(array[tuple(place)]))]
                for place in places
            ]

        return json.dumps(
            {
                "kind": KIND,
                "format": FORMAT_VERSION,
                "run": asdict(self.run),
                "outcome": asdict(self.outcome),
                "rows": [asdict(row) for row in (*self.rows, self.total)],
                "totals": dict(self.totals),
                "smaps": [smaps_columns(row) for row in self.smaps],
                "outside": [asdict(row) for row in self.outside],
                "axes": asdict(axes),
                "counters": sparse(self.counters, int),
                "ns": sparse(self.ns, float),
                "stats": {each.name: getattr(self.stats, each.name).tolist() for each in fields(EventStats)},
            }
        )

    @classmethod
    def from_json(cls, text: str) -> Result:
        """Read what `to_json` wrote.

        Raises
        ------
        ValueError
            If `text` is something else, or of a format this program does not know.
        """
        try:
            return cls._from_object(json.loads(text))
        except (KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"not a result: {type(error).__name__}: {error}") from error

    @classmethod
    def _from_object(cls, value: Any) -> Result:
        if not isinstance(value, dict) or value.get("kind") != KIND or "run" not in value:
            raise ValueError("not a result of a modelled run")
        if value.get("format") != FORMAT_VERSION:
            raise ValueError(f"result of format {value.get('format')!r}; this program reads {FORMAT_VERSION}")
        axes = Axes(**{key: tuple(names) for key, names in value["axes"].items()})
        index = [
            {name: at for at, name in enumerate(names)}
            for names in (axes.events, axes.causes, axes.fields, axes.accesses, axes.dependences, axes.levels)
        ]
        counters = np.zeros(axes.shape, dtype=np.int64)
        ns = np.zeros(axes.shape[:3], dtype=np.float64)
        for array, entries in ((counters, value["counters"]), (ns, value["ns"])):
            for *place, number in entries:
                array[tuple(index[axis][name] for axis, name in enumerate(place))] = (
                    np.nan if number is None else number
                )
        outcome = dict(value["outcome"])
        outcome["failures"] = tuple(
            Failure(**{**failure, "examples": tuple(failure["examples"])}) for failure in outcome["failures"]
        )
        outcome["unsupported"] = tuple(outcome["unsupported"])
        stats = {
            each.name: np.array(value["stats"][each.name], dtype=np.int64).reshape(
                (len(axes.events), len(CLASSES))[: 1 + each.name.startswith("lines")]
            )
            for each in fields(EventStats)
        }
        return cls(
            run=RunInfo(**{**value["run"], "levels": tuple(value["run"]["levels"])}),
            axes=axes,
            counters=counters,
            ns=ns,
            stats=EventStats(**stats),
            totals=dict(value["totals"]),
            outcome=Outcome(**outcome),
            smaps=tuple(SmapsRow.from_columns(row) for row in value.get("smaps", ())),
            outside=tuple(OutsideRow(**row) for row in value.get("outside", ())),
        )

    def _repr_html_(self) -> str:
        return html_table(f"{self.run.scenario}: {self.run.scheme} on {self.run.kernel}", self.to_frame())


def _plain(value: object) -> object:
    return None if value != value else value  # NaN is not JSON


def flat(row: EventRow) -> dict[str, object]:
    """Spread the hits of a row over columns of their own."""
    columns: dict[str, object] = {}
    for key, value in asdict(row).items():
        if key == "hits":
            columns |= {f"hits_{level}": count for level, count in (value or {}).items()}
        else:
            columns[key] = value
    return columns


def html_table(title: str, frame: pd.DataFrame) -> str:
    """Render a table for notebooks, its numbers grouped by thousands."""
    table = frame.to_html(index=False, na_rep="", float_format="{:,.0f}".format, border=0)
    return f"<div><b>{html.escape(title)}</b> ({KIND})\n{table}</div>"
