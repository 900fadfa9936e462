# SPDX-License-Identifier: BSD-3-Clause
"""``python -m folio_perf``: the command line."""

from __future__ import annotations

from folio_perf.cli import main

if __name__ == "__main__":
    main()
