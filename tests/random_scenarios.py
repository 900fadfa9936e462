# SPDX-License-Identifier: BSD-3-Clause
"""Random but seeded scenarios over everything the engine can do, in the text form.

Operations that fail on a real kernel are kept: the model must fail the same way and stay consistent.
"""

from __future__ import annotations

import random

REGIONS = {"A": 1024, "B": 96, "S": 64, "T1": 1024, "T2": 1024, "C": 1536, "F1": 600, "F2": 600}
ADVICES = (
    "DONTNEED",
    "DONTNEED",
    "DONTFORK",
    "DOFORK",
    "WIPEONFORK",
    "HUGEPAGE",
    "NOHUGEPAGE",
    "POPULATE_READ",
    "POPULATE_WRITE",
    "FREE",
    "FREE",
    "MERGEABLE",
    "MERGEABLE",
)
RESHAPING = (
    "splitdbg {place}",
    "splitdbg {place} 2",
    "splitdbg {place} 4",
    "deferred_split",
    "migrate {place}",
    "migrate {place}",
    "khugepaged {place}",
    "madv {place} COLLAPSE",
    "madv {place} COLLAPSE",
    "madv {place} COLD",
    "swapon",
    "madv {place} PAGEOUT",
    "madv {place} PAGEOUT",
    "swapoff",
    "ksm",
    "ksm",
    "ksm",
    "madv {place} UNMERGEABLE",
    "madv {place} GUARD_INSTALL",
    "madv {place} GUARD_INSTALL",
    "madv {place} GUARD_REMOVE",
    "madv {place} REMOVE",
    "madv {place} REMOVE",
    "punchobj T 3 700",
)
ASKING = (
    "smaps {process}",
    "smaps {process} exact",
    "pagemap {process}",
    "numa_maps {process}",
    "kpagecount",
    "move_pages {place}",
    "numa_balance {place}",
    "compact",
    "reclaim",
    "page_idle",
    "memory_failure {spot}",
)
LENGTHS = (1, 1, 2, 3, 5, 8, 16, 17, 31, 64, 100, 128, 300, 512)


def _range(rng: random.Random, nr_pages: int) -> tuple[int, int]:
    """Return offset and length: often all or a half, else anything."""
    kind = rng.random()
    if kind < 0.2:
        return 0, nr_pages
    if kind < 0.4:
        return rng.choice((0, nr_pages // 2)), nr_pages // 2
    offset = rng.randrange(nr_pages)
    return offset, min(nr_pages - offset, rng.choice(LENGTHS))


def _head(rng: random.Random, mthp: bool) -> list[str]:
    lines: list[str] = []
    policy = rng.choice(("default", "thp", "mthp") if mthp else ("default", "thp"))
    if policy == "mthp":
        for size in ("64kB", "16kB"):
            lines.append(f"sysfs /sys/kernel/mm/transparent_hugepage/hugepages-{size}/enabled always")
    if policy != "default":
        lines.append("sysfs /sys/kernel/mm/transparent_hugepage/enabled always")
    lines += ["obj M memfd 64", "obj T tmpfs 1024", f"obj F file 600 order {rng.choice((1, 2, 4))} warm"]
    shifts = {
        "B": 16,
        "S": rng.randrange(5),
        "T2": rng.choice((0, 7, 256)),
        "C": rng.choice((0, 1, 300)),
        "F1": rng.choice((0, 3)),
    }
    lines += [f"region {name} {nr} shift {shifts.get(name, 0)}" for name, nr in REGIONS.items()]
    lines += ["map P0 A anon", "madv P0 A 0 1024 HUGEPAGE", f"touch P0 A 0 1024 {rng.choice('wr')}"]
    lines += ["map P0 B anon", "touch P0 B 0 96 w"]
    lines += [f"madv P0 {region} 0 {REGIONS[region]} MERGEABLE" for region in "AB" if rng.random() < 0.4]
    for mapping in (
        "S M 0 0 64 shared",
        "T1 T 0 0 1024 shared",
        "F1 F 0 0 600 private",
        "F2 F 0 0 600 shared",
    ):
        if rng.random() < 0.6:
            region = mapping.split()[0]
            lines += [f"map P0 {mapping}", f"touch P0 {region} 0 {REGIONS[region]} {rng.choice('rw')}"]
    return lines


def random_scenario(seed: int, *, nr_operations: int = 40, mthp: bool = True) -> str:
    """Return one scenario; equal seeds give equal texts. `mthp`: also 16 and 64 KiB folios (4 KiB pages only)."""
    rng = random.Random(seed)
    lines = _head(rng, mthp)
    live, born = ["P0"], 1
    for _ in range(nr_operations):
        process, region, kind = rng.choice(live), rng.choice(list(REGIONS)), rng.random()
        offset, nr = _range(rng, REGIONS[region])
        place = f"{process} {region} {offset} {nr}"
        if kind < 0.14 and len(live) < 7:
            lines.append(f"fork {process} P{born}")
            live.append(f"P{born}")
            born += 1
        elif kind < 0.20 and len(live) > 1:
            lines.append(f"exit {process}")
            live.remove(process)
        elif kind < 0.42:
            lines.append(f"touch {place} {rng.choice('wwrs')}")
        elif kind < 0.53:
            lines.append(f"unmap {place}")
        elif kind < 0.60:
            lines.append(f"madv {place} {rng.choice(ADVICES)}")
        elif kind < 0.70:
            lines.append(f"prot {place} {rng.choice(('r', 'rw', 'rw', 'none'))}")
        elif kind < 0.78 and region != "C":
            lines.append(f"remap {place} C {rng.randrange(1536 - nr)}")
        elif kind < 0.81:
            lines.append(f"map {process} {rng.choice('AB')} anon {offset % 56} {min(nr, 40)}")
        elif kind < 0.84:
            lines.append(f"map {process} T2 T 0 0 1024 {rng.choice(('shared', 'private'))}")
        elif kind < 0.86:
            lines.append(f"exec {process}")
        elif kind < 0.88:
            lines.append(f"folio_referenced {place}")
        elif kind < 0.92:
            lines.append(rng.choice(RESHAPING).format(place=place))
        elif kind < 0.95:
            lines.append(f"try_to_unmap {place}")
        elif kind < 0.96:
            lines.append(f"total_mapcount {place}")
        elif kind < 0.98:
            lines.append(rng.choice(ASKING).format(process=process, place=place, spot=f"{process} {region} {offset} 1"))
        elif kind < 0.985:
            lines.append(rng.choice((f"pin {place}", f"unpin {process}", f"splice {place}", f"unsplice {process}")))
        elif kind < 0.99:
            lines.append(f"{rng.choice(('mlock', 'munlock'))} {place}")
        elif kind < 0.995:
            lines.append(f"truncobj T {rng.randrange(1, 1024)}")
        else:
            lines.append("dropobj F")
    return "\n".join([f"scenario random_{seed}", *lines, "end"]) + "\n"
