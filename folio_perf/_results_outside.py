# SPDX-License-Identifier: BSD-3-Clause
"""Work of mm that no count of mappings is part of, but that decisions resting on counts cause or save.

Kept apart from everything a design does itself: no row, total or time of a design contains any of it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class OutsideRow:
    """Work of one kind, done by events of one kind.

    Parameters
    ----------
    event : str
    work : str
        One of `folio_perf.profile.OUTSIDE`.
    count : int
    ns : float or None
        `count` times the constant of the kernel profile; None if that is unknown.
    """

    event: str
    work: str
    count: int
    ns: float | None
