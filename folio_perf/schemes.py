# SPDX-License-Identifier: BSD-3-Clause
"""The designs: what each counts, where it shipped, what it cannot answer, and how to ask for one by name.

Field names and offsets are those of the kernel's struct page; costs are atomic read-modify-writes (RMW) for a whole
folio of n pages, references included, page-table and folio locks left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from folio_perf.profile import DEFAULT_KERNEL, is_kernel, profile_names

__all__ = [
    "SchemeInfo",
    "SchemeSpec",
    "parse_scheme_spec",
    "parse_scheme_specs",
    "scheme_info",
    "scheme_names",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemeInfo:
    """One design.

    Parameters
    ----------
    name : str
        The kernel's own word for the counter.
    title : str
        What it counts, in a line.
    shipped : (str, str) or None
        First and last mainline version that counted this way; None for a proposal.
    status : str
        ``shipped`` or ``proposal``.
    source : str
        Commits, or the mail that proposed it.
    date : str
        When, ``YYYY-MM`` or a span of them.
    state : tuple of str
        Its fields in struct page.
    costs : tuple of str
        RMW per whole-folio event.
    cannot_answer : tuple of str
        What its counters cannot tell, and when they are wrong.
    options : mapping of str to tuple of str
        Choices the public description leaves open; the first value of each is the default.
    reconstructed : bool
        True if the public description is incomplete and we completed it.
    """

    name: str
    title: str
    shipped: tuple[str, str] | None
    status: str
    source: str
    date: str
    state: tuple[str, ...]
    costs: tuple[str, ...]
    cannot_answer: tuple[str, ...]
    options: Mapping[str, tuple[str, ...]]
    reconstructed: bool

    def shipped_in(self, kernel: str) -> bool:
        """Whether mainline `kernel` ("6.1") counted this way."""
        if self.shipped is None:
            return False
        first, last = map(_version, self.shipped)
        return first <= _version(kernel) <= last


_NO_OPTIONS: Mapping[str, tuple[str, ...]] = MappingProxyType({})

_SCHEMES = (
    SchemeInfo(
        name="page_mapcount",
        title="a count per page, a compound count per folio, and a double-map bit",
        shipped=("4.5", "6.1"),
        status="shipped",
        source="commit 53f9263baba6 (K. Shutemov, v4.5); replaced by d8dd5e979d09, be5ef2d9b006, 4b51634cd16a (v6.2)",
        date="2016-03 to 2022-12",
        state=(
            "_mapcount of every page, s32 from -1: PTE mappings; of files also the PMD mappings",
            "compound_mapcount in page[1], s32 from -1: PMD mappings",
            "PageDoubleMap in page[1].flags: the per-page counts of an anonymous folio carry one for the PMD side",
            "_refcount of the head: one reference per mapping",
        ),
        costs=(
            "map n PTEs of a file: 3n",
            "unmap n PTEs: 2n; of the last mapper, anonymous: 3n (5.17), 2n+1 (6.1)",
            "map or unmap a file by PMD: n+2",
            "fork n anonymous PTEs: 2n, the first time 3n from v5.19 on",
            "split an anonymous PMD: n+3, with other PMD mappings 2n+3",
        ),
        cannot_answer=(
            "total mapcount and 'mapped?' without reading up to n lines, and then not as one snapshot",
            "partially mapped: noticed only at the unmap that makes a page unmapped",
            "mapped by more than one mm: callers ask 'mapcount of this page > 1' instead",
        ),
        options=_NO_OPTIONS,
        reconstructed=False,
    ),
    SchemeInfo(
        name="large_mapcount",
        title="one total per folio beside the per-page counts",
        shipped=("6.10", "6.14"),
        status="shipped",
        source="commits 05c5323b2a34, eefb9b2725e3 (v6.10); <20240409192301.907377-1-david@redhat.com>",
        date="2024-07 to 2025-03",
        state=(
            "_large_mapcount in page[1] +16, s32 from -1: PTE and PMD mappings, each once",
            "_entire_mapcount in page[1] +20, s32 from -1: PMD mappings",
            "_nr_pages_mapped in page[1] +24, s32 from 0: pages with a PTE mapping, + 0x800000 if PMD-mapped",
            "_mapcount of every page, s32 from -1: PTE mappings",
            "_refcount of the head: one reference per mapping",
        ),
        costs=(
            "map n PTEs: n+3 the first time, then n+2",
            "unmap n PTEs: n+3 by the last mapper, else n+2",
            "map or unmap by PMD: 4 the first (last) time, else 3",
            "fork n anonymous PTEs: 2n+2 the first time, then n+2",
            "split an anonymous PMD: n+6",
        ),
        cannot_answer=(
            "mapped by more than one mm: estimated from the total and page 0, wrong both ways",
            "mappings of one page without its own line",
        ),
        options=_NO_OPTIONS,
        reconstructed=False,
    ),
    SchemeInfo(
        name="zero_one_two_many",
        title="a two-bit count of the VMAs that map any page of the folio: 0, 1, 2, many",
        shipped=None,
        status="proposal",
        source="M. Wilcox, linux-mm, 27 January 2022 or shortly before (spinics linux-mm/msg282633); never coded",
        date="2022-01",
        state=(
            "count in the head's _mapcount word +48, 2 bits from 0",
            "_refcount of the head: mappings own as many references as the count says, three at most",
        ),
        costs=(
            "map or unmap in a VMA, below many: 2, and a presence test of up to n PTE reads",
            "map, unmap or fork at many: 0",
            "split a PMD: 0",
            "recount: a walk over the VMAs of the interval tree",
            "PageAnonExclusive (v5.19) adds n to the first fork of n anonymous PTEs and to an exclusive PMD split",
        ),
        cannot_answer=(
            "anything at many: mapped or not, by how many, by whom, until someone walks",
            "mapped by more than one mm at two: both VMAs may belong to one mm",
            "number of PTE mappings, mappings of one page, partially mapped",
            "when to stop an rmap walk: every candidate VMA is visited",
            "an unmapped folio stuck at many: its memory leaks until a walk repairs it",
        ),
        options=MappingProxyType(
            {
                "presence": ("scan", "oracle", "neighbours", "pmd_special", "batch"),
                "recount": (
                    "lazy",
                    "on_reclaim",
                    "on_write_fault",
                    "eager",
                    "eager_stop3",
                    "threshold",
                    "anon_exact",
                ),
                "period": ("16", "4", "64", "256"),
                "race": ("safe", "naive"),
            }
        ),
        reconstructed=True,
    ),
)
_BY_NAME = {scheme.name: scheme for scheme in _SCHEMES}


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemeSpec:
    """A scheme with its options, and the kernel it is to run on if the user named one.

    Parameters
    ----------
    name : str
        One of `scheme_names`.
    presence : {"scan", "oracle", "neighbours", "pmd_special", "batch"}
        zero_one_two_many: how "does this VMA map the folio already?" is answered. ``scan`` reads PTEs in ascending
        order until one hits; ``oracle`` costs nothing, a lower bound; ``neighbours`` reads the entries beside the run
        first; ``pmd_special`` keeps a bit in the PMD entry, for folios that fill it; ``batch`` knows where the run is
        all that the VMA can map of the folio, and scans elsewhere.
    recount : {"lazy", "on_reclaim", "on_write_fault", "eager", "eager_stop3", "threshold", "anon_exact"}
        zero_one_two_many: who walks to leave many. ``lazy``: nobody; ``on_reclaim``: reclaim, which walks anyway;
        ``on_write_fault``: a write fault before it copies; ``eager``: each unmap; ``eager_stop3``: each unmap, until
        the walk has found three mappers; ``threshold``: each `period`-th unmap; ``anon_exact``: anonymous folios count
        their VMAs exactly and never reach many, files are lazy.
    period : {"16", "4", "64", "256"}
        ``threshold``: unmaps at many from one recount to the next.
    race : {"safe", "naive"}
        ``safe``: a recount marks the folio busy and gives up if somebody maps or unmaps meanwhile; ``naive``: it walks
        and stores, and can miss a mapper.
    kernel : str or None
        One of `folio_perf.profile.profile_names`; None leaves the choice to the comparison.

    Raises
    ------
    ValueError
        If there is no scheme, option, value or kernel of that name; the message lists those there are.
    """

    name: str
    presence: str = "scan"
    recount: str = "lazy"
    period: str = "16"
    race: str = "safe"
    kernel: str | None = None

    def __post_init__(self) -> None:
        info = scheme_info(self.name)
        for option in _OPTIONS:
            value = getattr(self, option)
            allowed = info.options.get(option, (_OPTIONS[option][0],))
            if value not in _OPTIONS[option]:
                raise ValueError(f"{option}={value} is not one of {', '.join(_OPTIONS[option])}")
            if value not in allowed:
                raise ValueError(f"scheme {self.name} has no option {option!r}; {_describe_options(info)}")
        if self.kernel is not None and not is_kernel(self.kernel):
            known = f"there are {', '.join(profile_names())}, and versions from 5.10 to 7.3"
            raise ValueError(f"no kernel named {self.kernel!r}; {known}")

    @property
    def info(self) -> SchemeInfo:
        """The design."""
        return scheme_info(self.name)

    @property
    def label(self) -> str:
        """Name with those options that differ from the default, without the kernel; `parse_scheme_spec` reads it."""
        chosen = [
            f"{key}={getattr(self, key)}"
            for key, values in self.info.options.items()
            if getattr(self, key) != values[0]
        ]
        return self.name + (":" + ",".join(chosen) if chosen else "")

    def __str__(self) -> str:
        return self.label + (f"@{self.kernel}" if self.kernel else "")

    def counterfactual(self, default_kernel: str = DEFAULT_KERNEL) -> bool:
        """Whether the kernel it runs on (its own, else `default_kernel`) never counted this way."""
        return not self.info.shipped_in(self.kernel or default_kernel)


_OPTIONS = _BY_NAME["zero_one_two_many"].options


def scheme_names() -> tuple[str, ...]:
    """Names of the schemes, by date."""
    return tuple(_BY_NAME)


def scheme_info(name: str) -> SchemeInfo:
    """Return the design of that name.

    Raises
    ------
    ValueError
        If there is none; the message lists those there are.
    """
    if name not in _BY_NAME:
        raise ValueError(f"no scheme named {name!r}; there are {', '.join(_BY_NAME)}")
    return _BY_NAME[name]


def parse_scheme_spec(text: str) -> SchemeSpec:
    """Read ``NAME[:OPTION=VALUE,...][@KERNEL]``, such as ``zero_one_two_many:presence=oracle,recount=eager@6.1``.

    Raises
    ------
    ValueError
        As `SchemeSpec`, naming `text`.
    """
    try:
        return _parse_spec(text.strip())
    except ValueError as error:
        raise ValueError(f"scheme {text!r}: {error}") from error


def _parse_spec(text: str) -> SchemeSpec:
    head, at, kernel = text.partition("@")
    name, colon, options = head.partition(":")
    info = scheme_info(name)
    chosen: dict[str, str] = {}
    for part in options.split(",") if colon else ():
        key, equals, value = (word.strip() for word in part.partition("="))
        if not equals:
            raise ValueError(f"option {part!r} must be OPTION=VALUE; {_describe_options(info)}")
        if key not in info.options:
            raise ValueError(f"scheme {name} has no option {key!r}; {_describe_options(info)}")
        if key in chosen:
            raise ValueError(f"option {key} is given twice")
        chosen[key] = value
    return SchemeSpec(name=name, kernel=kernel if at else None, **chosen)


def parse_scheme_specs(text: str) -> tuple[SchemeSpec, ...]:
    """Read a list of schemes separated by commas; a piece ``OPTION=VALUE`` belongs to the scheme before it.

    Raises
    ------
    ValueError
        As `parse_scheme_spec`; also if a scheme is named twice.
    """
    pieces: list[str] = []
    for piece in text.split(","):
        if pieces and re.match(r"\s*\w+\s*=", piece):
            pieces[-1] += "," + piece
        else:
            pieces.append(piece)
    specs = tuple(map(parse_scheme_spec, pieces))
    for number, spec in enumerate(specs):
        if spec in specs[:number]:
            raise ValueError(f"scheme {spec} is named twice")
    return specs


def _describe_options(info: SchemeInfo) -> str:
    if not info.options:
        return f"{info.name} takes none"
    return "; ".join(f"{key} is one of {', '.join(values)}" for key, values in info.options.items())


def _version(kernel: str) -> tuple[int, int]:
    match = re.fullmatch(r"([0-9]+)\.([0-9]+)", kernel)
    if match is None:
        raise ValueError(f"kernel version {kernel!r} must be MAJOR.MINOR")
    return int(match[1]), int(match[2])
