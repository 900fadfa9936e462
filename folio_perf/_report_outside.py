# SPDX-License-Identifier: BSD-3-Clause
"""Work of mm outside the designs. Public names are in `folio_perf.report`."""

from __future__ import annotations

from rich.text import Text

from folio_perf._report_pieces import heading, table
from folio_perf.results import Comparison


def outside_report(comparison: Comparison) -> Text:
    """Lay out, for each scheme of a comparison, the work that is no design's own, all events together."""
    works = list(dict.fromkeys(row.work for result in comparison.results for row in result.outside))
    rows = []
    for work in works:
        for result in comparison.results:
            found = [row for row in result.outside if row.work == work]
            ns = [row.ns for row in found if row.ns is not None]
            time = f"{sum(ns):,.0f}" if found and len(ns) == len(found) else "unknown" if found else "0"
            name = f"{result.run.scheme}@{result.run.kernel}{'+' * result.run.reconstructed}"
            rows.append((work.replace("_", " "), name, f"{sum(row.count for row in found):,}", time))
    title = heading("outside the designs, in no figure above; modelled")
    return Text.assemble(Text("\n"), title, Text("\n"), table(("work", "scheme", "count", "ns"), rows, right=(2, 3)))
