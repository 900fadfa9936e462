# SPDX-License-Identifier: BSD-3-Clause
"""What people name as input, and the scenario it stands for: the one place that decides which is which."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias

from folio_perf.geometry import Geometry
from folio_perf.scenario import Scenario, ScenarioError, load_scenario, read_scenarios, scenario_names
from folio_perf.traces import Trace, load_trace, read_trace, trace_names
from folio_perf.workloads import parse_call, workload, workload_names

ScenarioLike: TypeAlias = Scenario | Trace | str | os.PathLike[str]
"""A scenario; a trace; the name of one that ships, or of a workload; or the path of a file that holds one."""

_PARQUET = b"PAR1"
_GZIP = b"\x1f\x8b"
_PERF_RECORDING = b"PERFILE"


@dataclass(frozen=True, kw_only=True, eq=False)
class Input:
    """A scenario, and what its conversion left out.

    Attributes
    ----------
    scenario : Scenario
    dropped, assumed : Mapping[str, int]
        Rows of a trace that became no event, events that rest on an assumption, by reason.
    """

    scenario: Scenario
    dropped: Mapping[str, int] = field(default_factory=dict)
    assumed: Mapping[str, int] = field(default_factory=dict)


def resolve(source: ScenarioLike, geometry: Geometry, *, strict: bool | None = None) -> Input:
    """Find the scenario that is meant.

    Parameters
    ----------
    source : Scenario, Trace, str or path
        A workload may have settings, ``fork_server(children=1000)``. Of a text file with several scenarios,
        ``FILE:NAME`` is one.
    geometry : Geometry
    strict : bool or None
        Whether the first event that fails ends the run. None: as the scenario says; files of scenarios do, traces and
        the scenarios that ship do not.

    Raises
    ------
    ValueError
        If there is nothing of that name, or the file breaks a rule; ScenarioError and TraceError name the place.
    OSError
        If a file cannot be read.
    """
    if isinstance(source, Scenario):
        return Input(scenario=_with_strict(source, strict))
    if isinstance(source, Trace):
        return _converted(source, geometry, strict)
    text = os.fspath(source)
    if isinstance(source, str):
        if text in scenario_names():
            return Input(scenario=load_scenario(text, geometry, strict=bool(strict)))
        if text in trace_names():
            return _converted(load_trace(text), geometry, strict)
        if text.partition("(")[0].strip() in workload_names():
            name, settings = parse_call(text)
            return Input(scenario=_with_strict(workload(name, geometry, **settings), strict))
    if os.path.lexists(text):
        return _from_file(Path(text), None, geometry, strict)
    path, colon, name = text.rpartition(":")
    if colon and os.path.lexists(path):
        return _from_file(Path(path), name, geometry, strict)
    raise ValueError(_unknown(text))


def _with_strict(scenario: Scenario, strict: bool | None) -> Scenario:
    return scenario if strict is None or strict == scenario.strict else replace(scenario, strict=strict)


def _converted(trace: Trace, geometry: Geometry, strict: bool | None) -> Input:
    made = trace.convert(geometry)
    return Input(scenario=_with_strict(made.scenario, strict), dropped=made.dropped, assumed=made.assumed)


def _from_file(path: Path, name: str | None, geometry: Geometry, strict: bool | None) -> Input:
    with path.open("rb") as stream:
        head = stream.read(len(_PERF_RECORDING))
    if head.startswith(_PARQUET):
        if name is not None:
            raise ValueError(f"{path}: a trace is one scenario; nothing in it is named {name!r}")
        return _converted(read_trace(path), geometry, strict)
    if head.startswith(_GZIP):
        raise ScenarioError(str(path), 0, "compressed; the text of perf script becomes a trace with folio-perf import")
    if head.startswith(_PERF_RECORDING):
        raise ScenarioError(str(path), 0, "a recording of perf; run perf script on it, then folio-perf import")
    found = {each.name: each for each in read_scenarios(path, geometry, strict=strict is not False)}
    if name is None and len(found) > 1:
        raise ValueError(f"{path} holds {len(found)} scenarios; name one as {path}:NAME: {', '.join(found)}")
    if name is None:
        name = next(iter(found), "")
    if name not in found:
        raise ValueError(f"{path} holds no scenario {name!r}; there are: {', '.join(found) or 'none'}".rstrip())
    return Input(scenario=found[name])


def _unknown(text: str) -> str:
    names = (*trace_names(), *workload_names(), *scenario_names())
    close = difflib.get_close_matches(text, names, n=3)
    hint = f"did you mean {' or '.join(close)}?" if close else "folio-perf scenarios lists what ships"
    return f"no scenario, workload, trace or file named {text!r}; {hint}"
