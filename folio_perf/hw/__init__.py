# SPDX-License-Identifier: BSD-3-Clause
"""This CPU: the designs' own code, executed with real atomics on real struct pages, and timed.

Every number of this room is *measured*; it comes with the host it was measured on, and with its spread. What the model
counts for the same operation stands beside it.
"""

from __future__ import annotations

from folio_perf.hw.host import Host, host
from folio_perf.hw.operations import OPERATIONS, REGIMES
from folio_perf.hw.run import Measurement, Ratio, ratios, run

__all__ = ["OPERATIONS", "REGIMES", "Host", "Measurement", "Ratio", "host", "ratios", "run"]
