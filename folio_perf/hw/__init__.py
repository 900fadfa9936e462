# SPDX-License-Identifier: BSD-3-Clause
"""Time on this CPU: the designs' own code with real atomics on real struct pages, beside what the model counts.

Every number of this room is *measured*; it comes with the host it was measured on, and with its spread.
"""

from __future__ import annotations

from folio_perf.hw.host import Host, host
from folio_perf.hw.operations import OPERATIONS, REGIMES
from folio_perf.hw.race import RACE_BACKENDS, RACE_KINDS, Race, race
from folio_perf.hw.run import Measurement, Ratio, ratios, run

__all__ = [
    "OPERATIONS",
    "RACE_BACKENDS",
    "RACE_KINDS",
    "REGIMES",
    "Host",
    "Measurement",
    "Race",
    "Ratio",
    "host",
    "race",
    "ratios",
    "run",
]
