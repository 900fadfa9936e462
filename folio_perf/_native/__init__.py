# SPDX-License-Identifier: BSD-3-Clause
"""The one boundary between Python and libfperf.

``core.pxd`` and ``engine.pxd`` repeat the C headers line by line, ``errors`` is the only place where error codes
become exceptions, ``engine`` converts, calls, checks and returns.
"""
