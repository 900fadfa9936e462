# SPDX-License-Identifier: BSD-3-Clause
"""Twin of ``mm_owner_20bit``: ``mm_owner`` as first posted. Until a number needs the 21st bit nothing differs."""

from __future__ import annotations

from typing import ClassVar

from .mm_owner import MmOwner


class MmOwner20Bit(MmOwner):
    """See schemes.md 3.13."""

    name: ClassVar[str] = "mm_owner_20bit"
