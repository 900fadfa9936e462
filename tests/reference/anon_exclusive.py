# SPDX-License-Identifier: BSD-3-Clause
"""Twin of PageAnonExclusive: one flag bit per page, beside every mapcount scheme (v5.19+)."""

from __future__ import annotations


class AnonExclusive:
    """The set of pages that are known to belong to one mm alone.

    The flag is set without looking (one atomic per page) and cleared only where it is set: fork looks first, so a
    later fork of the same folio costs reads and no atomics.
    """

    def __init__(self) -> None:
        self.pages: set[int] = set()

    def set_run(self, first_pfn: int, nr_pages: int) -> int:
        """Mark pages exclusive; returns the atomic read-modify-writes it took."""
        self.pages.update(range(first_pfn, first_pfn + nr_pages))
        return nr_pages

    def clear_run(self, first_pfn: int, nr_pages: int) -> int:
        """Unmark pages; returns the atomic read-modify-writes it took."""
        found = self.pages & set(range(first_pfn, first_pfn + nr_pages))
        self.pages -= found
        return len(found)

    def forget(self, first_pfn: int, nr_pages: int) -> None:
        """Freeing resets the flags word with plain stores."""
        self.pages -= set(range(first_pfn, first_pfn + nr_pages))
