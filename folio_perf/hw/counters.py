# SPDX-License-Identifier: BSD-3-Clause
"""Hardware counters around a pass, where the host lets a program without privileges have them."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from folio_perf._native import hw

__all__ = ["COUNTERS", "Counters"]

_HARDWARE, _CACHE, _RAW = 0, 3, 4  # PERF_TYPE_*
_READ_MISS: Final = 1 << 16

COUNTERS: Final[Mapping[str, tuple[int, int]]] = {
    "cycles": (_HARDWARE, 0),
    "instructions": (_HARDWARE, 1),
    "l1_misses": (_CACHE, 0 | _READ_MISS),
    "llc_misses": (_CACHE, 2 | _READ_MISS),
    "hitm": (_RAW, 0x04D2),
}
"""Type and config of perf_event_open(); ``hitm`` is MEM_LOAD_L3_HIT_RETIRED.XSNP_HITM of Intel CPUs since Skylake."""

_REASONS: Final = {
    errno.ENOENT: "this CPU, or its hypervisor, has no such counter",
    errno.EOPNOTSUPP: "this CPU, or its hypervisor, has no such counter",
    errno.ENODEV: "this kernel drives no counters of this CPU",
    errno.EACCES: "kernel.perf_event_paranoid forbids it",
    errno.EPERM: "kernel.perf_event_paranoid or a seccomp filter forbids it",
    errno.ENOSYS: "this kernel was built without perf_event_open()",
}


class Counters:
    """Counters of the calling thread, in user mode. One instance per thread; close it."""

    def __init__(self) -> None:
        self._files: dict[str, int] = {}
        self.missing: dict[str, str] = {}
        """Why the others cannot be had, by name."""
        for name, (kind, config) in COUNTERS.items():
            if kind == _RAW and "GenuineIntel" not in Path("/proc/cpuinfo").read_text():
                self.missing[name] = "not available here: no event is known for this CPU"
                continue
            file = hw.counter_open(kind, config)
            if file < 0:
                self.missing[name] = f"not available here: {_REASONS.get(-file, os.strerror(-file))}"
            else:
                self._files[name] = file

    def read(self) -> dict[str, int]:
        """Return what each has counted so far."""
        return {name: hw.counter_read(file) for name, file in self._files.items()}

    def close(self) -> None:
        """Give the counters back."""
        for file in self._files.values():
            hw.counter_close(file)
        self._files = {}
