# SPDX-License-Identifier: BSD-3-Clause
"""The running kernel: what it shows of its folios, held against the model.

Every number of this room is *measured*.
"""

from __future__ import annotations

from folio_perf.live.census import census

__all__ = ["census"]
