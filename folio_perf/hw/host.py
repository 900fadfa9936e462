# SPDX-License-Identifier: BSD-3-Clause
"""What is to be said of a host beside any number measured on it."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

_CPU = Path("/sys/devices/system/cpu")
_THP = Path("/sys/kernel/mm/transparent_hugepage/enabled")
_UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A host, as its kernel describes it.

    Parameters
    ----------
    cpu : str
        Model name.
    caches : tuple of (str, int)
        Data caches of one CPU, nearest first: name such as ``l1``, size in bytes.
    governor, smt, thp, virtualised : str
        ``unknown`` where the host does not say.
    kernel : str
    nr_cpus : int
        That this process may run on.
    date : str
        When, UTC.
    """

    cpu: str
    caches: tuple[tuple[str, int], ...]
    governor: str
    smt: str
    thp: str
    virtualised: str
    kernel: str
    nr_cpus: int
    date: str


def host() -> Host:
    """Describe this host."""
    info = _read(Path("/proc/cpuinfo"))
    words = [line.partition(":") for line in info.splitlines()]
    names = {key.strip(): value.strip() for key, _, value in words}
    thp = _read(_THP)
    return Host(
        cpu=names.get("model name") or names.get("cpu") or platform.machine(),
        caches=_caches(),
        governor=_read(_CPU / "cpu0/cpufreq/scaling_governor") or _UNKNOWN,
        smt={"0": "off", "1": "on"}.get(_read(_CPU / "smt/active"), _UNKNOWN),
        thp=thp.partition("[")[2].partition("]")[0] or _UNKNOWN,
        virtualised="yes" if "hypervisor" in names.get("flags", "").split() else _UNKNOWN,
        kernel=platform.release(),
        nr_cpus=len(os.sched_getaffinity(0)),
        date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )


def _caches() -> tuple[tuple[str, int], ...]:
    found = {}
    for index in sorted((_CPU / "cpu0/cache").glob("index*")):
        if _read(index / "type") in ("Data", "Unified"):
            size = _read(index / "size")
            found[f"l{_read(index / 'level')}"] = int(size.rstrip("KM")) << (20 if size.endswith("M") else 10)
    return tuple(sorted(found.items()))


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
