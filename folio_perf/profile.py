# SPDX-License-Identifier: BSD-3-Clause
"""Kernel profiles: what mm did in one kernel version, apart from counting mappings.

A profile fixes batching, fault-around, CoW rules and object sizes; a scheme fixes the count. The two are independent,
so a scheme can be run on a kernel it never shipped in.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

__all__ = ["DEFAULT_KERNEL", "OUTSIDE", "KernelProfile", "is_kernel", "load_profile", "profile_names"]

DEFAULT_KERNEL = "7.0"
SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelProfile:
    """One field per member of ``struct fperf_profile`` (csrc/core/fperf_abi.h), and where each comes from.

    Parameters
    ----------
    name : str
        Kernel version, such as ``6.1``.
    released : str
        Month of the release, ``YYYY-MM``.
    sources : tuple of (str, str)
        Group of fields of the TOML file, and the source of its values.
    version : int
        ``major * 100 + minor``.
    anon_exclusive : bool
        PageAnonExclusive exists (v5.19).
    batch_file_fault, batch_file_fault_refs : bool
        A file fault makes one rmap call, takes references once, per run of PTEs instead of per page.
    batch_fork, batch_zap, batch_pmd_split, batch_try_to_unmap, batch_referenced : bool
        The same for fork, zap, PMD split, try_to_unmap of file folios, and folio_referenced.
    lookup_ref_donated : bool
        The reference of a fault's page-cache lookup becomes the first mapping's.
    fault_maps_folio, shmem_fault_maps_folio : bool
        A fault maps the whole folio where VMA and page table allow; the second for anonymous shmem only.
    cow_reuses_large : bool
        A write fault may reuse a PTE-mapped large folio (v6.15).
    huge_zero_write_thp : bool
        A write to the huge zero page allocates a THP (v6.13).
    mthp : bool
        Anonymous folios between order 0 and PMD order exist (v6.8).
    deferred_split_relock : bool
        The deferred-split queue lock is taken for every page that becomes unmapped.
    remap_spans_vmas : bool
        mremap may move several VMAs at once (v6.17).
    vma_bytes, vma_walk_lines_file, vma_walk_lines_anon : int
        Size of struct vm_area_struct, and 64-byte lines of it that an rmap walk reads.
    anon_vma_bytes : int
        Size of struct anon_vma.
    mm_walk_lines : int
        Lines of struct mm_struct that an rmap walk reads per VMA.
    max_map_count : int
        sysctl vm.max_map_count.
    fault_around_bytes : int
        Window that a file fault maps, a power of two.
    stack_limit_bytes : int
        How far a stack grows by itself.
    outside : tuple of (str, float)
        ns of one piece of work outside the designs, by its name in `OUTSIDE`; what is missing is unknown.
    stand_in : str
        Name of the documented profile this one was derived from; empty for a documented one.

    Raises
    ------
    ValueError
        If a value is impossible; the message names the field.
    """

    name: str
    released: str
    sources: tuple[tuple[str, str], ...]
    version: int
    anon_exclusive: bool
    batch_file_fault: bool
    batch_file_fault_refs: bool
    batch_fork: bool
    batch_zap: bool
    batch_pmd_split: bool
    batch_try_to_unmap: bool
    batch_referenced: bool
    lookup_ref_donated: bool
    fault_maps_folio: bool
    shmem_fault_maps_folio: bool
    cow_reuses_large: bool
    huge_zero_write_thp: bool
    mthp: bool
    deferred_split_relock: bool
    remap_spans_vmas: bool
    vma_bytes: int
    vma_walk_lines_file: int
    vma_walk_lines_anon: int
    anon_vma_bytes: int
    mm_walk_lines: int
    max_map_count: int
    fault_around_bytes: int
    stack_limit_bytes: int
    outside: tuple[tuple[str, float], ...] = ()
    stand_in: str = ""

    def __post_init__(self) -> None:
        for field in _FIELDS:
            value = getattr(self, field)
            kind = bool if field in _FLAGS else int
            if not isinstance(value, int) or isinstance(value, bool) is not (kind is bool):
                raise ValueError(f"profile {self.name}: {field} {value!r} must be {_ARTICLE[kind]}")
        for field, (low, high) in _LIMITS.items():
            value = getattr(self, field)
            if not low <= value <= high:
                raise ValueError(f"profile {self.name}: {field} {value} must be from {low} to {high}")
        for field in ("vma_bytes", "anon_vma_bytes"):
            if getattr(self, field) % 8:
                raise ValueError(f"profile {self.name}: {field} {getattr(self, field)} must be a multiple of 8")
        for field in ("vma_walk_lines_file", "vma_walk_lines_anon"):
            if getattr(self, field) > -(-self.vma_bytes // 64):
                raise ValueError(
                    f"profile {self.name}: {field} {getattr(self, field)} exceeds the lines of {self.vma_bytes} bytes"
                )
        for work, ns in self.outside:
            if type(ns) not in (int, float) or not 0 < ns < 1e9:
                raise ValueError(f"profile {self.name}: outside.{work} {ns!r} must be a number of ns above 0")
        if self.fault_around_bytes & (self.fault_around_bytes - 1):
            raise ValueError(
                f"profile {self.name}: fault_around_bytes {self.fault_around_bytes} must be a power of two"
            )

    @property
    def source(self) -> str:
        """All sources, one line per group of fields."""
        return "\n".join(f"{group}: {source}" for group, source in self.sources)


_GROUPS: Mapping[str, tuple[str, ...]] = {
    "kernel": ("version",),
    "batching": (
        "batch_file_fault",
        "batch_file_fault_refs",
        "batch_fork",
        "batch_zap",
        "batch_pmd_split",
        "batch_try_to_unmap",
        "batch_referenced",
    ),
    "fault": ("fault_around_bytes", "fault_maps_folio", "shmem_fault_maps_folio", "lookup_ref_donated"),
    "anon": ("anon_exclusive", "cow_reuses_large", "huge_zero_write_thp", "mthp", "deferred_split_relock"),
    "mremap": ("remap_spans_vmas",),
    "walk": ("vma_bytes", "vma_walk_lines_file", "vma_walk_lines_anon", "anon_vma_bytes", "mm_walk_lines"),
    "limits": ("max_map_count", "stack_limit_bytes"),
}
OUTSIDE = ("fault", "pte_write", "folio_alloc", "folio_free", "page_zero", "page_copy", "tlb_flush")
"""Work of mm that no count of mappings is part of, but that decisions resting on counts cause or save.

Faults, entries of PTE and PMD tables written, folios allocated and freed, base pages zeroed and copied, events that
flush TLBs (once each).
"""
_FIELDS = tuple(field for group in _GROUPS.values() for field in group)
_FLAGS = frozenset(field.name for field in fields(KernelProfile) if field.type in (bool, "bool"))
_ARTICLE = {bool: "true or false", int: "an int"}
_LIMITS = {
    "version": (200, 9999),
    "vma_bytes": (64, 1024),
    "vma_walk_lines_file": (1, 16),
    "vma_walk_lines_anon": (1, 16),
    "anon_vma_bytes": (64, 1024),
    "mm_walk_lines": (1, 16),
    "max_map_count": (1, (1 << 31) - 1),
    "fault_around_bytes": (4096, 1 << 40),
    "stack_limit_bytes": (0, 1 << 46),
}


_LAST_MINOR = {5: 19, 6: 19, 7: 3}
_FIRST = 510
_VERSION = re.compile(r"([0-9])\.(0|[1-9][0-9]?)", re.ASCII)

# What changed in versions without a file of their own: first version, field, value, source. A derived profile takes all
# that lie above the documented one it starts from.
_CHANGES: tuple[tuple[int, str, bool, str], ...] = (
    (519, "anon_exclusive", True, "PG_anon_exclusive entered with v5.19"),
    (601, "deferred_split_relock", False, "deferred_split_huge_page looks before it locks in 6.1"),
    (602, "deferred_split_relock", True, "deferred_split_folio locks before it looks, read in 6.2"),
    (603, "deferred_split_relock", False, "deferred_split_folio looks before it locks, read in 6.5"),
    (606, "batch_file_fault", True, "folio_add_file_rmap_range, 'mm: batch PTE mappings' (v6.6)"),
    (606, "batch_file_fault_refs", True, "filemap_map_folio_range (v6.6)"),
    (606, "lookup_ref_donated", False, "filemap_map_folio_range takes references of its own (v6.6)"),
    (608, "mthp", True, "R. Roberts, multi-size THP for anonymous memory (v6.8)"),
    (609, "batch_fork", True, "D. Hildenbrand, mm/memory: optimize fork() with PTE-mapped THP (v6.9)"),
    (609, "batch_zap", True, "D. Hildenbrand, mm/memory: optimize unmap/zap with PTE-mapped THP (v6.9)"),
    (610, "batch_pmd_split", True, "one call with one addition per count, read in 6.12"),
    (611, "shmem_fault_maps_folio", True, "B. Wang, mm: memory: extend finish_fault() to support large folio (v6.11)"),
    (613, "huge_zero_write_thp", True, "D. Jain, do not shatter hugezeropage on wp-fault (v6.13)"),
    (615, "cow_reuses_large", True, "commit 1da190f4d0a6 (v6.15)"),
    (617, "remap_spans_vmas", True, "L. Stoakes, mm/mremap: permit mremap() move of multiple VMAs (v6.17)"),
    (618, "fault_maps_folio", True, "K. Shutsemau, mm/filemap: map entire large folio faultaround (v6.18)"),
    (619, "batch_try_to_unmap", True, "read in 6.19.10"),
    (619, "batch_referenced", True, "read in 6.19.10"),
    (700, "lookup_ref_donated", True, "read in 7.0-rc6"),
)


def profile_names() -> tuple[str, ...]:
    """Names of the kernel profiles that ship, oldest first."""
    names = [entry.name[: -len(".toml")] for entry in _directory().iterdir() if entry.name.endswith(".toml")]
    return tuple(sorted(names, key=_number))


def is_kernel(name: str) -> bool:
    """Whether `load_profile` knows that version: one that ships, or any from 5.10 to 7.3."""
    return name in profile_names() or _released(name)


def _number(name: str) -> int:
    major, minor = map(int, name.split("."))
    return major * 100 + minor


def _released(name: str) -> bool:
    match = _VERSION.fullmatch(name)
    return match is not None and _number(name) >= _FIRST and int(match[2]) <= _LAST_MINOR.get(int(match[1]), -1)


def _derived(name: str) -> KernelProfile:
    """Make the profile of a version without a file: the nearest documented one, and what changed up to it."""
    version = _number(name)
    below = [each for each in profile_names() if _number(each) < version]
    base = load_profile(below[-1] if below else profile_names()[0])
    changes = [change for change in _CHANGES if base.version < change[0] <= version]
    taken = "; ".join(f"{field} {str(value).lower()}: {source}" for _, field, value, source in changes)
    changed: dict[str, Any] = {field: value for _, field, value, _ in changes}
    return replace(
        base,
        name=name,
        version=version,
        released="",
        stand_in=base.name,
        sources=(("derived", f"profile {base.name} stands in" + (f"; {taken}" if taken else "")), *base.sources),
        **changed,
    )


def load_profile(name_or_path: str | os.PathLike[str]) -> KernelProfile:
    """Read a kernel profile.

    Parameters
    ----------
    name_or_path : str or path
        One of `profile_names`, any other version from 5.10 to 7.3 (the nearest documented profile stands in, with the
        rules that changed since), or the path of a TOML file (it ends in ``.toml``).

    Raises
    ------
    ValueError
        If there is no profile of that name (the message lists them), or the file breaks a rule (the message names it).
    OSError
        If the file cannot be read.
    """
    text = os.fspath(name_or_path)
    if text in profile_names():
        return _parse(_directory().joinpath(f"{text}.toml").read_bytes(), f"{text}.toml")
    if not isinstance(name_or_path, str) or text.endswith(".toml"):
        return _parse(Path(text).read_bytes(), text)
    if _released(text):
        return _derived(text)
    raise ValueError(
        f"no kernel named {text!r}; there are {', '.join(profile_names())}, other versions from 5.10 to 7.3;"
        " or give the path of a .toml file"
    )


def _directory() -> Traversable:
    return resources.files("folio_perf").joinpath("profiles")


def _parse(content: bytes, where: str) -> KernelProfile:
    try:
        return _profile(tomllib.loads(content.decode()))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{where}: not a TOML file: {error}") from error
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _profile(table: Mapping[str, Any]) -> KernelProfile:
    _check_keys(table, "the file", {"schema", "name", "released", *_GROUPS}, {"outside"})
    if table["schema"] != SCHEMA:
        raise ValueError(f"schema {table['schema']!r} must be {SCHEMA}")
    values: dict[str, Any] = {}
    sources = []
    for group, names in _GROUPS.items():
        content = table[group]
        if not isinstance(content, dict):
            raise ValueError(f"{group} must be a table, not {content!r}")
        _check_keys(content, f"[{group}]", {"source", *names})
        sources.append((group, str(content["source"])))
        values.update((name, content[name]) for name in names)
    if "outside" in table:
        prices = dict(table["outside"]) if isinstance(table["outside"], dict) else {}
        _check_keys(prices, "[outside]", {"source"}, set(OUTSIDE))
        sources.append(("outside", str(prices.pop("source"))))
        values["outside"] = tuple(prices.items())
    return KernelProfile(name=str(table["name"]), released=str(table["released"]), sources=tuple(sources), **values)


def _check_keys(table: Mapping[str, Any], where: str, needed: set[str], allowed: Iterable[str] = ()) -> None:
    missing, extra = sorted(needed - set(table)), sorted(set(table) - needed - set(allowed))
    if missing:
        raise ValueError(f"{where} lacks {', '.join(map(repr, missing))}")
    if extra:
        raise ValueError(f"{where} has {', '.join(map(repr, extra))}, which means nothing here")
