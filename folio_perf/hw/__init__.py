# SPDX-License-Identifier: BSD-3-Clause
"""Time on this CPU: the designs' own code with real atomics on real struct pages, beside what the model counts.

Every number of this room is *measured* unless it says otherwise; it comes with its host and its spread.
"""

from __future__ import annotations

from folio_perf.hw.bench import REGIMES
from folio_perf.hw.calibrate import Calibration, calibrate, read_core_to_core
from folio_perf.hw.check import HostDifference, host_differences
from folio_perf.hw.contend import LAYOUTS, USES, Contended, contend
from folio_perf.hw.counters import COUNTERS
from folio_perf.hw.host import Host, HostCache, host, host_topology
from folio_perf.hw.operations import OPERATIONS
from folio_perf.hw.race import RACE_BACKENDS, RACE_KINDS, Race, race
from folio_perf.hw.run import Measurement, Ratio, ratios, run
from folio_perf.hw.validate import Agreement, Validated, Validation, agreement, validate

__all__ = [
    "COUNTERS",
    "LAYOUTS",
    "OPERATIONS",
    "RACE_BACKENDS",
    "RACE_KINDS",
    "REGIMES",
    "USES",
    "Agreement",
    "Calibration",
    "Contended",
    "Host",
    "HostCache",
    "HostDifference",
    "Measurement",
    "Race",
    "Ratio",
    "Validated",
    "Validation",
    "agreement",
    "calibrate",
    "contend",
    "host",
    "host_differences",
    "host_topology",
    "race",
    "ratios",
    "read_core_to_core",
    "run",
    "validate",
]
