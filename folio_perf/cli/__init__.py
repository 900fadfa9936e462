# SPDX-License-Identifier: BSD-3-Clause
"""The command ``folio-perf``.

Results go to standard output, one JSON value with ``--json``; everything else goes to standard error. Exit status 0:
done; 1: a golden file and the model differ, or a claim does not hold; 2: the command line or an input is wrong, and
one line says what and which rule; 130: interrupted.

One module a group of commands; each registers its own when it is imported, in the order of ``--help``.
"""

from __future__ import annotations

from folio_perf.cli.application import app, main

# A line per module, in the order of --help.
# isort: off
from folio_perf.cli import compare
from folio_perf.cli import explain
from folio_perf.cli import contention
from folio_perf.cli import catastrophes
from folio_perf.cli import catalogue
from folio_perf.cli import machines
from folio_perf.cli import recordings
from folio_perf.cli import replay
from folio_perf.cli import golden
from folio_perf.cli import claims
from folio_perf.cli import cache
from folio_perf.cli import hw
from folio_perf.cli import race
from folio_perf.cli import live
from folio_perf.cli import live_verify
from folio_perf.cli import live_btf
from folio_perf.cli import hw_prices
from folio_perf.cli import hw_contend

# isort: on

__all__ = [
    "app",
    "cache",
    "catalogue",
    "catastrophes",
    "claims",
    "compare",
    "contention",
    "explain",
    "golden",
    "hw",
    "hw_contend",
    "hw_prices",
    "live",
    "live_btf",
    "live_verify",
    "machines",
    "main",
    "race",
    "recordings",
    "replay",
]
