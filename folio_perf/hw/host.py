# SPDX-License-Identifier: BSD-3-Clause
"""What is to be said of a host beside any number measured on it."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from folio_perf.machine import TOPOLOGY_COUNTS, Topology

__all__ = ["Host", "HostCache", "host", "host_topology", "tier_of"]

_CPU: Final = Path("/sys/devices/system/cpu")
_THP: Final = Path("/sys/kernel/mm/transparent_hugepage/enabled")
_UNKNOWN: Final = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class HostCache:
    """One data cache, as sysfs has it.

    Parameters
    ----------
    name : str
        ``l1``, ``l2`` ...
    size_bytes, nr_ways, line_bytes : int
        `nr_ways` is 0 where the kernel does not tell.
    """

    name: str
    size_bytes: int
    nr_ways: int
    line_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A host, as its kernel describes it.

    Parameters
    ----------
    cpu : str
        Model name.
    caches : tuple of HostCache
        Data caches of one CPU, nearest first.
    governor, smt, thp, virtualised : str
        ``unknown`` where the host does not say.
    kernel : str
    nr_cpus : int
        That this process may run on.
    date : str
        When, UTC.
    """

    cpu: str
    caches: tuple[HostCache, ...]
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
        caches=tuple(_caches(0)),
        governor=_read(_CPU / "cpu0/cpufreq/scaling_governor") or _UNKNOWN,
        smt={"0": "off", "1": "on"}.get(_read(_CPU / "smt/active"), _UNKNOWN),
        thp=thp.partition("[")[2].partition("]")[0] or _UNKNOWN,
        virtualised=_virtualised(names.get("flags", "").split()),
        kernel=platform.release(),
        nr_cpus=len(os.sched_getaffinity(0)),
        date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )


def _virtualised(flags: list[str]) -> str:
    """Whether it is a guest; x86 tells by a flag, others at most by the name of the hypervisor."""
    kind = _read(Path("/sys/hypervisor/type"))
    if "hypervisor" in flags or kind:
        return f"yes, {kind}" if kind else "yes"
    return "no" if flags else _UNKNOWN


def _caches(cpu: int) -> Iterator[HostCache]:
    for index in sorted((_CPU / f"cpu{cpu}/cache").glob("index*")):
        size = _read(index / "size")
        if _read(index / "type") in ("Data", "Unified") and size:
            yield HostCache(
                name=f"l{_read(index / 'level')}",
                size_bytes=int(size.rstrip("KM")) << (20 if size.endswith("M") else 10),
                nr_ways=_number(index / "ways_of_associativity"),
                line_bytes=_number(index / "coherency_line_size"),
            )


def host_topology() -> Topology | None:
    """Count how the CPUs of this host lie to each other; None where sysfs does not tell."""
    cpus = [cpu for path in _CPU.glob("cpu[0-9]*") if (path / "topology").is_dir() for cpu in [int(path.name[3:])]]
    cores = {_group(cpu, "thread_siblings_list") for cpu in cpus}
    complexes = {_last_cache(cpu) for cpu in cpus}
    sockets = {_group(cpu, "core_siblings_list") for cpu in cpus}
    if not cpus or not all((*cores, *complexes, *sockets)):
        return None
    counts = (
        len(cpus) // len(cores),
        max(len(cores) // len(complexes), 1),
        max(len(complexes) // len(sockets), 1),
        len(sockets),
    )
    return Topology(**dict(zip(TOPOLOGY_COUNTS, counts, strict=True)), source="sysfs of this host")


def tier_of(one: int, other: int) -> str:
    """Say how far two CPUs of this host are apart: one of `folio_perf.machine.TRANSFER_TIERS`."""
    if other in _group(one, "thread_siblings_list"):
        return "smt"
    if other in _last_cache(one):
        return "ccx"
    return "socket" if other in _group(one, "core_siblings_list") else "remote"


def _group(cpu: int, name: str) -> frozenset[int]:
    return _cpus(_read(_CPU / f"cpu{cpu}/topology/{name}"))


def _last_cache(cpu: int) -> frozenset[int]:
    """CPUs that share the last level cache; those of the socket where sysfs has no caches."""
    shared = [_cpus(_read(path / "shared_cpu_list")) for path in sorted((_CPU / f"cpu{cpu}/cache").glob("index*"))]
    return shared[-1] if shared else _group(cpu, "core_siblings_list")


def _cpus(text: str) -> frozenset[int]:
    """Read a list of CPUs such as 0-3,8."""
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        if first.strip().isdigit():
            found |= set(range(int(first), int(last or first) + 1))
    return frozenset(found)


def _number(path: Path) -> int:
    text = _read(path)
    return int(text) if text.isdigit() else 0


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
