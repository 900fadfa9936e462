# SPDX-License-Identifier: BSD-3-Clause
"""Slow, obvious twins of what the C library does fast.

``base``
    The log of rmap calls, the common part of all scheme twins, and ``replay``.
``page_mapcount``, ``large_mapcount`` ...; ``anon_exclusive``, ``owner_slots``
    One mapcount scheme (or component of several) each.
``cache``
    A set-associative LRU hierarchy.
``mm``
    What the page tables say, with no history at all.

Nothing here is shared with the C code or with ``folio_perf``: agreement is evidence.
"""

# Importing a scheme's module enters it in base.SCHEMES.
from . import (
    anon_exclusive,
    base,
    cache,
    large_mapcount,
    mm,
    mm_owner,
    no_page_mapcount,
    nr_pages_mapped,
    page_mapcount,
    total_mapped_pages,
    zero_one_two_many,
)

__all__ = [
    "anon_exclusive",
    "base",
    "cache",
    "large_mapcount",
    "mm",
    "mm_owner",
    "no_page_mapcount",
    "nr_pages_mapped",
    "page_mapcount",
    "total_mapped_pages",
    "zero_one_two_many",
]
