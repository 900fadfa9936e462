# SPDX-License-Identifier: BSD-3-Clause
"""Modelled costs of whole-folio events: exact, so a change of any of them is a change of the model."""

from __future__ import annotations

from folio_perf.simulate import trace_operation

from .common import SCHEME_NAMES

OPERATIONS = ["map_ptes", "unmap_ptes", "fork", "fork_again", "total_mapcount"]


class WholeFolio:
    """RMWs and distinct struct page lines of one operation on one folio."""

    param_names = ["operation", "scheme", "order"]
    params = [OPERATIONS, SCHEME_NAMES, [4, 9]]

    def setup(self, operation: str, scheme: str, order: int) -> None:
        self.totals = trace_operation(operation, order=order, scheme=scheme).totals

    def track_rmw(self, operation: str, scheme: str, order: int) -> int:
        return self.totals.rmw

    track_rmw.unit = "atomic RMW / folio"

    def track_lines(self, operation: str, scheme: str, order: int) -> int:
        return (self.totals.lines_read or 0) + (self.totals.lines_written or 0)

    track_lines.unit = "lines / folio"
