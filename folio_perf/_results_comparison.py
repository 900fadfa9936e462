# SPDX-License-Identifier: BSD-3-Clause
"""Several schemes on one scenario. Public names are in `folio_perf.results`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from folio_perf._results_run import KIND, EventRow, Result, flat, html_table
from folio_perf._results_smaps import smaps_columns

if TYPE_CHECKING:
    import pandas as pd

_SHARED = (
    "scenario",
    "scenario_hash",
    "machine",
    "page_size_bytes",
    "line_bytes",
    "memory_bytes",
    "folio_policy",
    "backend",
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Comparison:
    """Results of several schemes on the same scenario, machine and page size; the first is the baseline.

    Parameters
    ----------
    results : tuple of Result

    Raises
    ------
    ValueError
        If there is none, they were not run on the same, or one pair of scheme and kernel occurs twice.
    """

    results: tuple[Result, ...]

    def __post_init__(self) -> None:
        if not self.results:
            raise ValueError("a comparison needs at least one result")
        first = self.results[0].run
        for result in self.results[1:]:
            for name in _SHARED:
                here, there = getattr(first, name), getattr(result.run, name)
                if here != there:
                    raise ValueError(f"results differ in {name}: {here!r} and {there!r}")
        pairs = [(result.run.scheme, result.run.kernel) for result in self.results]
        for number, (scheme, kernel) in enumerate(pairs):
            if (scheme, kernel) in pairs[:number]:
                raise ValueError(f"scheme {scheme} on kernel {kernel} occurs twice")

    def __eq__(self, other: object) -> bool:
        return self.results == other.results if isinstance(other, Comparison) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.results)

    @property
    def events(self) -> tuple[str, ...]:
        """Event kinds that occurred under any of the schemes."""
        occurred = {event for result in self.results for event in result.events}
        return tuple(event for event in self.results[0].axes.events if event in occurred)

    @property
    def rows(self) -> tuple[EventRow, ...]:
        """One row per scheme and event kind, by scheme; every scheme has a row for each of `events`."""
        return tuple(result.row(event) for result in self.results for event in self.events)

    @property
    def totals(self) -> tuple[EventRow, ...]:
        """Costs of all events together, one row per scheme."""
        return tuple(result.total for result in self.results)

    def to_frame(self) -> pd.DataFrame:
        """Make a table of `rows`: the columns of `EventRow`, one column ``hits_<level>`` each."""
        import pandas as pd

        return pd.DataFrame([flat(row) for row in self.rows])

    def totals_frame(self) -> pd.DataFrame:
        """Make a table of `totals` and of what each run has once, one row per scheme."""
        import pandas as pd

        pairs = zip(self.results, self.totals, strict=True)
        frame = pd.DataFrame([flat(total) | dict(result.totals) for result, total in pairs])
        return frame.drop(columns="event")

    def to_json(self) -> str:
        """Write one JSON object: what was run, ``rows``, ``totals``, ``smaps`` and ``outside``.

        Rows are by scheme and event kind, totals by scheme, readings of smaps by scheme and event,
        work outside the designs by scheme, event kind and work. Values the back end
        cannot know are null. `Result.to_json` has the counters behind them.
        """
        run = self.results[0].run
        return json.dumps(
            {
                "kind": KIND,
                "scenario": run.scenario,
                "scenario_hash": run.scenario_hash,
                "machine": run.machine,
                "page_size": run.page_size_bytes,
                "line_size": run.line_bytes,
                "memory": run.memory_bytes,
                "folio_policy": run.folio_policy,
                "backend": run.backend,
                "schemes": [
                    {
                        "scheme": result.run.scheme,
                        "kernel": result.run.kernel,
                        "counterfactual": result.run.counterfactual,
                        "reconstructed": result.run.reconstructed,
                        "events": asdict(result.outcome)
                        | {"failed": result.outcome.failed, "total": result.outcome.total},
                    }
                    for result in self.results
                ],
                "rows": [asdict(row) for row in self.rows],
                "smaps": [
                    {"scheme": result.run.scheme, "kernel": result.run.kernel} | smaps_columns(row)
                    for result in self.results
                    for row in result.smaps
                ],
                "outside": [
                    {"scheme": result.run.scheme, "kernel": result.run.kernel} | asdict(row)
                    for result in self.results
                    for row in result.outside
                ],
                "totals": [
                    {key: value for key, value in asdict(result.total).items() if key != "event"} | dict(result.totals)
                    for result in self.results
                ],
            }
        )

    def _repr_html_(self) -> str:
        run = self.results[0].run
        title = f"{run.scenario} on {run.machine}"
        return html_table(f"{title}: totals", self.totals_frame()) + html_table(title, self.to_frame())
