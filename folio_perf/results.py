# SPDX-License-Identifier: BSD-3-Clause
"""What a run of the model reports: counters, what follows from them, and how both leave the program.

Results are plain values: they know no scheme, no machine and no engine, only the names of their axes. All but
the census of a machine is ``modelled``: exact counts of the C model, and nanoseconds that a price list made of them.
"""

from __future__ import annotations

from folio_perf._results_accesses import AccessRun, AccessTrace
from folio_perf._results_catastrophes import Case, Catastrophes, EventCost, SmallestCase
from folio_perf._results_census import MAPPED_BY, MEASURED, SHARED, Census, CensusProcess, CensusRow, mapped_by
from folio_perf._results_comparison import Comparison
from folio_perf._results_contention import (
    INEXACT,
    Contention,
    ContentionCurve,
    ContentionPoint,
    Crossover,
    SharedLine,
    crossovers,
)
from folio_perf._results_explanation import EFFECTS, Difference, Explanation, Part
from folio_perf._results_occupancy import Occupancy
from folio_perf._results_outside import OutsideRow
from folio_perf._results_run import (
    CLASSES,
    FIXED,
    KIND,
    Axes,
    EventRow,
    EventStats,
    Failure,
    Outcome,
    Result,
    RunInfo,
)
from folio_perf._results_smaps import SmapsRow

__all__ = [
    "CLASSES",
    "EFFECTS",
    "FIXED",
    "INEXACT",
    "KIND",
    "MAPPED_BY",
    "MEASURED",
    "SHARED",
    "AccessRun",
    "AccessTrace",
    "Axes",
    "Case",
    "Catastrophes",
    "Census",
    "CensusProcess",
    "CensusRow",
    "Comparison",
    "Contention",
    "ContentionCurve",
    "ContentionPoint",
    "Crossover",
    "Difference",
    "EventCost",
    "EventRow",
    "EventStats",
    "Explanation",
    "Failure",
    "Occupancy",
    "Outcome",
    "OutsideRow",
    "Part",
    "Result",
    "RunInfo",
    "SharedLine",
    "SmallestCase",
    "SmapsRow",
    "crossovers",
    "mapped_by",
]
