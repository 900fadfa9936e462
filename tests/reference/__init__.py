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

from importlib import import_module
from pkgutil import iter_modules

# Importing a scheme's module enters it in base.SCHEMES.
__all__ = [module.name for module in iter_modules(__path__)]
for _name in __all__:
    import_module(f"{__name__}.{_name}")
