# SPDX-License-Identifier: BSD-3-Clause
"""Workloads: scenarios made by parameters, of any size, the same on every machine.

A workload is a keyword-only function that returns a `Scenario`; `workload` calls one by name, with settings that may be
text, as a command line has them::

    fork_server(geometry=Geometry.from_text("64K"), children=1000, exit_order="reverse")
    workload("fork_server", Geometry.from_text("64K"), children="1000", exit_order="reverse")

`workload_parameters` lists what can be set. All randomness follows from ``seed``.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from folio_perf.geometry import Geometry
from folio_perf.scenario import Scenario
from folio_perf.workloads._parameters import DEFAULT_GEOMETRY, REGISTRY, Parameter, Workload
from folio_perf.workloads.fork_server import fork_server
from folio_perf.workloads.pinned_buffers import pinned_buffers
from folio_perf.workloads.prefork_pool import prefork_pool
from folio_perf.workloads.refcount_attack import refcount_attack
from folio_perf.workloads.reverse_fault import reverse_fault
from folio_perf.workloads.shared_library import shared_library
from folio_perf.workloads.snapshot import snapshot
from folio_perf.workloads.truncate_storm import truncate_storm

__all__ = [
    "Parameter",
    "fork_server",
    "parse_call",
    "parse_settings",
    "pinned_buffers",
    "prefork_pool",
    "refcount_attack",
    "reverse_fault",
    "shared_library",
    "snapshot",
    "truncate_storm",
    "workload",
    "workload_description",
    "workload_names",
    "workload_parameters",
]


def workload_names() -> tuple[str, ...]:
    """Names of the workloads."""
    return tuple(REGISTRY)


def workload_description(name: str) -> str:
    """One line about a workload; ValueError if there is none of that name."""
    return _found(name).description


def workload_parameters(name: str) -> tuple[Parameter, ...]:
    """Return what can be set in a workload, in the order of its signature; ValueError if there is none of that name."""
    return tuple(_found(name).parameters.values())


def workload(name: str, geometry: Geometry = DEFAULT_GEOMETRY, /, **settings: object) -> Scenario:
    """Make the scenario of a workload.

    Parameters
    ----------
    name : str
        One of `workload_names`.
    geometry : Geometry
        Base pages and PMD size; default 4 KiB pages.
    **settings
        Parameters of the workload, as values or as text (``children=1000`` or ``children="1000"``).

    Returns
    -------
    Scenario
        Named after the workload and the settings that differ from the defaults: ``fork_server(children=1000)``.

    Raises
    ------
    ValueError
        If there is no such workload or parameter (the message lists those there are), or a value breaks its rule.
    """
    return _found(name).scenario(geometry, settings)


def parse_call(text: str) -> tuple[str, dict[str, str]]:
    """Read what a scenario made by `workload` is named: ``fork_server``, ``fork_server(children=1000, heap=64M)``.

    Returns
    -------
    name : str
        Of the workload, which need not exist.
    settings : dict of str to str
        For `workload`.

    Raises
    ------
    ValueError
        If the settings are not in brackets, separated by commas, and ``NAME=VALUE`` each.
    """
    name, bracket, rest = text.strip().partition("(")
    if not bracket:
        return name, {}
    if not rest.endswith(")"):
        raise ValueError(f"{text!r} must end with a bracket, as in fork_server(children=1000)")
    inner = rest[:-1].strip()
    return name.strip(), parse_settings(inner.split(",") if inner else [])


def parse_settings(texts: Iterable[str]) -> dict[str, str]:
    """Read settings as a command line has them.

    Parameters
    ----------
    texts : iterable of str
        ``NAME=VALUE`` each.

    Raises
    ------
    ValueError
        If a text is not of that form, or a name stands twice.
    """
    settings: dict[str, str] = {}
    for text in texts:
        name, equals, value = (piece.strip() for piece in text.partition("="))
        if not (name and equals and value):
            raise ValueError(f"{text!r} must be NAME=VALUE, such as children=1000")
        if name in settings:
            raise ValueError(f"{name} is set twice")
        settings[name] = value
    return settings


def _found(name: str) -> Workload:
    if name not in REGISTRY:
        close = difflib.get_close_matches(name, REGISTRY, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise ValueError(f"no workload named {name!r}; {hint}there are {', '.join(REGISTRY)}")
    return REGISTRY[name]
