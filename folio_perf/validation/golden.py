# SPDX-License-Identifier: BSD-3-Clause
"""Golden files: what real kernels answered to scenarios, step by step, and whether the model answers the same.

A golden file is JSON lines. The first object of a scenario names it, the kernel and its ``profile``; then comes one
object per step with the page tables (``maps``), the pages, the large folios and smaps as the kernel showed them after
the step. `compare_golden` runs the same scenario in the model and compares every field that a kernel answers exactly.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from folio_perf.geometry import Geometry
from folio_perf.profile import KernelProfile, load_profile
from folio_perf.scenario import Scenario, read_scenarios
from folio_perf.schemes import SchemeSpec, parse_scheme_spec, scheme_names
from folio_perf.validation._golden_comparison import Comparison, fields_of
from folio_perf.validation._golden_file import GoldenError, GoldenScenario, golden_scenarios, read_golden
from folio_perf.validation._golden_pages import UNKNOWN_PAGE

__all__ = [
    "UNKNOWN_PAGE",
    "FieldComparison",
    "GoldenError",
    "GoldenScenario",
    "compare_golden",
    "compare_scenario",
    "fields_of",
    "golden_scenarios",
    "read_golden",
    "shipped_scheme",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldComparison:
    """One field of one scenario, over all its steps.

    Parameters
    ----------
    kernel : str
        Release the kernel reported.
    scheme, scenario, field : str
    compared, equal : int
        Values looked at, and how many of them agree.
    first_difference : mapping or None
        ``step``, ``operation``, ``expected`` and ``got`` of the first that does not.
    skipped : str or None
        Why nothing, or nothing from some step on, was compared.
    """

    kernel: str
    scheme: str
    scenario: str
    field: str
    compared: int
    equal: int
    first_difference: Mapping[str, Any] | None
    skipped: str | None


def compare_golden(
    path: str | os.PathLike[str],
    *,
    scenarios: str | os.PathLike[str] | None = None,
    scenario: str | None = None,
    scheme: str | SchemeSpec | None = None,
    kernel: str | KernelProfile | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[FieldComparison]:
    """Run the scenarios of a golden file in the model and compare what the kernel answered.

    Parameters
    ----------
    path : path
        The golden file, plain or gzip.
    scenarios : path, optional
        Folder with the scenario texts (``*.txt``). Default: ``scenarios`` beside the file.
    scenario : str, optional
        Only this one.
    scheme : str or SchemeSpec, optional
        Default: the scheme that kernel shipped.
    kernel : str or KernelProfile, optional
        Profile to use. Default: the file's own.
    progress : callable, optional
        Called with the number of scenarios done, and of all.

    Returns
    -------
    list of FieldComparison
        One per scenario and field, in the order of the file and of `fields_of`.

    Raises
    ------
    GoldenError
        If the file, or the text of one of its scenarios, cannot be had, or they do not fit each other.
    ScenarioError
        If a text breaks the rules of the language.
    ValueError
        If there is no scheme or kernel of that name.
    """
    where = os.fspath(path)
    found = [golden for golden in read_golden(path) if scenario in (None, golden.name)]
    if not found:
        raise GoldenError(f"{where}: no scenario {scenario!r} in it")
    folder = Path(scenarios) if scenarios is not None else Path(path).parent / "scenarios"
    texts = _texts(folder)
    results: list[FieldComparison] = []
    for number, golden in enumerate(found):
        profile = kernel if isinstance(kernel, KernelProfile) else load_profile(kernel or golden.profile)
        spec = _scheme(golden, scheme)
        text = texts.get(golden.name)
        if text is None and golden.skipped is None:
            raise GoldenError(f"{where}:{golden.line}: no text of scenario {golden.name!r} in {folder}")
        results += _compare(golden, text, spec, profile)
        if progress is not None:
            progress(number + 1, len(found))
    return results


def _texts(folder: Path) -> dict[str, Scenario]:
    if not folder.is_dir():
        raise GoldenError(f"{folder}: no folder with scenario texts")
    texts: dict[str, Scenario] = {}
    for file in sorted(folder.glob("*.txt")):
        for each in read_scenarios(file, Geometry(), strict=False):
            if each.name in texts:
                raise GoldenError(f"{file}: scenario {each.name} stands in {texts[each.name].source} too")
            texts[each.name] = each
    return texts


def compare_scenario(
    golden: GoldenScenario,
    scenario: Scenario,
    *,
    scheme: str | SchemeSpec | None = None,
    kernel: str | KernelProfile | None = None,
) -> list[FieldComparison]:
    """Run one scenario in the model and compare what a kernel answered; parameters and errors as `compare_golden`."""
    profile = kernel if isinstance(kernel, KernelProfile) else load_profile(kernel or golden.profile)
    return _compare(golden, scenario, _scheme(golden, scheme), profile)


def _compare(
    golden: GoldenScenario, text: Scenario | None, spec: SchemeSpec, profile: KernelProfile
) -> list[FieldComparison]:
    comparison = Comparison(golden, text, spec, profile)
    comparison.run()
    return [
        FieldComparison(
            kernel=golden.kernel,
            scheme=spec.label,
            scenario=golden.name,
            field=field,
            compared=comparison.compared.get(field, 0),
            equal=comparison.equal.get(field, 0),
            first_difference=comparison.first.get(field),
            skipped=comparison.skipped,
        )
        for field in fields_of(spec.name, profile.version)
    ]


def _scheme(golden: GoldenScenario, scheme: str | SchemeSpec | None) -> SchemeSpec:
    """Return the scheme asked for, else the one that kernel shipped."""
    if scheme is not None:
        return parse_scheme_spec(scheme) if isinstance(scheme, str) else scheme
    name = shipped_scheme(golden.profile, golden.no_page_mapcount)
    if name not in scheme_names():
        raise GoldenError(f"scenario {golden.name!r}: kernel {golden.profile} counts by {name}, which is not modelled")
    return parse_scheme_spec(name)


def shipped_scheme(version: str, no_page_mapcount: bool = False) -> str:
    """Name of the scheme a kernel version counts by.

    Raises
    ------
    GoldenError
        If the version was built with CONFIG_NO_PAGE_MAPCOUNT before there was such an option (v6.15).
    """
    major, minor = (int(part) for part in version.split(".")[:2])
    if no_page_mapcount and (major, minor) < (6, 15):
        raise GoldenError(f"kernel {version} has no CONFIG_NO_PAGE_MAPCOUNT; v6.15 brought it")
    if no_page_mapcount:
        return "no_page_mapcount"
    for since, name in (((6, 15), "mm_owner"), ((6, 10), "large_mapcount"), ((6, 2), "nr_pages_mapped")):
        if (major, minor) >= since:
            return name
    return "page_mapcount"
