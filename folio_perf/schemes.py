# SPDX-License-Identifier: BSD-3-Clause
"""The designs: what each counts, where it shipped, what it cannot answer, and how to ask for one by name.

Field names and offsets are those of the kernel's struct page; costs are atomic read-modify-writes (RMW) for a whole
folio of n pages, references included, page-table and folio locks left out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from folio_perf._scheme_table import SCHEMES, SchemeInfo
from folio_perf.profile import DEFAULT_KERNEL, is_kernel, profile_names

__all__ = [
    "UNKNOWN_POLICIES",
    "SchemeInfo",
    "SchemeSpec",
    "parse_scheme_spec",
    "parse_scheme_specs",
    "scheme_info",
    "scheme_names",
    "with_unknown",
]


_BY_NAME = {scheme.name: scheme for scheme in SCHEMES}


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemeSpec:
    """A scheme with its options, and the kernel it is to run on if the user named one.

    Parameters
    ----------
    name : str
        One of `scheme_names`.
    presence : {"scan", "oracle", "neighbours", "pmd_special", "batch"}
        Designs that count VMAs: how "does this VMA map the folio already?" is answered. ``scan`` reads PTEs in
        ascending order until one hits; ``oracle`` costs nothing, a lower bound; ``neighbours`` reads the entries
        beside the run first; ``pmd_special`` keeps a bit in the PMD entry, for folios that fill it; ``batch`` knows
        where the run is all that the VMA can map of the folio, and scans elsewhere.
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
    pins : {"bias", "exact"}
        ``bias``: a pin of a small folio is 1024 references, as the kernel has it; ``exact``: pins are counted in the
        bits that the count leaves free (J. Hubbard), so neither with ``threshold`` nor with ``anon_exact``.
    unknown : {"assume", "walk", "repair"}
        What consumers do where the design answers "unknown". ``assume``: the worse of it, mapped or shared, or the
        design's guess at a count; ``walk``: they walk for the answer; ``repair``: and tell the design what they found.
        A choice under every design; whoever walks anyway does not walk twice for it.
    variant : str
        Value of the option that only this design has (`SchemeInfo.variant`), given by its own name in a text; empty:
        the first of them, or there is no such option.
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
    pins: str = "bias"
    unknown: str = "assume"
    variant: str = ""
    kernel: str | None = None

    def __post_init__(self) -> None:
        info = scheme_info(self.name)
        for option in _OPTIONS:
            value = getattr(self, option)
            allowed = _options_of(info).get(option, (_OPTIONS[option][0],))
            if value not in _OPTIONS[option]:
                raise ValueError(f"{option}={value} is not one of {', '.join(_OPTIONS[option])}")
            if value not in allowed:
                raise ValueError(f"scheme {self.name} has no option {option!r}; {_describe_options(info)}")
        variants = info.options.get(info.variant, ("",))
        if not self.variant:
            object.__setattr__(self, "variant", variants[0])
        elif self.variant not in variants:
            what = f"{info.variant}={self.variant}" if info.variant else f"variant {self.variant!r}"
            raise ValueError(f"{what} is not one of scheme {self.name}; {_describe_options(info)}")
        if self.pins == "exact" and self.recount in ("threshold", "anon_exact"):
            raise ValueError(f"pins=exact leaves no bits for recount={self.recount}")
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
        info = self.info
        chosen = [
            f"{key}={value}"
            for key, values in _options_of(info).items()
            if (value := getattr(self, "variant" if key == info.variant else key)) != values[0]
        ]
        return self.name + (":" + ",".join(chosen) if chosen else "")

    def __str__(self) -> str:
        return self.label + (f"@{self.kernel}" if self.kernel else "")

    @property
    def variant_number(self) -> int:
        """What C knows `variant` as."""
        return self.info.options.get(self.info.variant, ("",)).index(self.variant)

    def counterfactual(self, default_kernel: str = DEFAULT_KERNEL) -> bool:
        """Whether the kernel it runs on (its own, else `default_kernel`) never counted this way."""
        return not self.info.shipped_in(self.kernel or default_kernel)


UNKNOWN_POLICIES = ("assume", "walk", "repair")
"""What consumers do about "unknown", the default first: a choice under every design. FPERF_UNKNOWN_ACTS."""
_OF_CONSUMERS = {"unknown": UNKNOWN_POLICIES}
_OPTIONS = {**_BY_NAME["zero_one_two_many"].options, **_OF_CONSUMERS}


def _options_of(info: SchemeInfo) -> dict[str, tuple[str, ...]]:
    return {**info.options, **_OF_CONSUMERS}


def with_unknown(spec: SchemeSpec, unknown: str | None) -> SchemeSpec:
    """Give a scheme that does not say what consumers do about "unknown" a policy; None leaves it as it is.

    Raises
    ------
    ValueError
        If there is no such policy.
    """
    return spec if unknown is None or spec.unknown != "assume" else replace(spec, unknown=unknown)


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
        if key not in _options_of(info):
            raise ValueError(f"scheme {name} has no option {key!r}; {_describe_options(info)}")
        if key in chosen:
            raise ValueError(f"option {key} is given twice")
        chosen[key] = value
    if info.variant in chosen:
        chosen["variant"] = chosen.pop(info.variant)
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
        return f"{info.name} takes none but unknown, one of {', '.join(UNKNOWN_POLICIES)}"
    options = _options_of(info).items()
    return "; ".join(f"{key} is one of {', '.join(values)}" for key, values in options)
