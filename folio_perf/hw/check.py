# SPDX-License-Identifier: BSD-3-Clause
"""What a host is not that a machine file describes, by what its kernel says of caches and CPUs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from folio_perf.hw.host import Host
from folio_perf.machine import TOPOLOGY_COUNTS, Machine, Topology

__all__ = ["HostDifference", "host_differences"]


@dataclass(frozen=True, slots=True, kw_only=True)
class HostDifference:
    """One thing in which a host is not what a machine file describes.

    Parameters
    ----------
    what : str
        Such as ``l2.size_bytes`` or ``topology.sockets``.
    host, machine : int or None
        None where that side has no such thing.
    """

    what: str
    host: int | None
    machine: int | None


def host_differences(machine: Machine, host: Host, topology: Topology | None) -> tuple[HostDifference, ...]:
    """List in what a host is not the machine; what its kernel does not tell is no difference.

    Parameters
    ----------
    machine : Machine
    host : Host
    topology : Topology or None
        Of the host.
    """
    compared = [*_caches(machine, host), *_counts(machine, topology)]
    return tuple(HostDifference(what=what, host=here, machine=there) for what, here, there in compared if here != there)


def _caches(machine: Machine, host: Host) -> Iterator[tuple[str, int | None, int | None]]:
    there = {level.name: level for level in machine.levels}
    here = {cache.name: cache for cache in host.caches}
    if not here:
        return
    for name in dict.fromkeys([*there, *here]):
        level, cache = there.get(name), here.get(name)
        yield f"{name}.size_bytes", cache.size_bytes if cache else None, level.size_bytes if level else None
        if level and cache and cache.nr_ways:
            yield f"{name}.nr_ways", cache.nr_ways, level.nr_ways
        if cache and cache.line_bytes:
            yield f"{name}.line_bytes", cache.line_bytes, machine.line_bytes


def _counts(machine: Machine, topology: Topology | None) -> Iterator[tuple[str, int | None, int | None]]:
    if topology is None or machine.topology is None:
        return
    for name in TOPOLOGY_COUNTS:
        yield f"topology.{name}", getattr(topology, name), getattr(machine.topology, name)
