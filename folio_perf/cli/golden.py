# SPDX-License-Identifier: BSD-3-Clause
"""golden: the model held against what real kernels answered."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer
from rich.text import Text

from folio_perf import report
from folio_perf.cli.application import app, checked, inputs, print_json, progress_bar, show_text
from folio_perf.cli.options import Json
from folio_perf.profile import KernelProfile, load_profile
from folio_perf.schemes import parse_scheme_spec
from folio_perf.validation.golden import FieldComparison, compare_golden, read_golden

DIFFERS = 1
"""Exit status if a value differs."""


@app.command()
def golden(
    files: Annotated[
        list[str], typer.Argument(metavar="FILE...", help="Golden files, plain or gzip.", show_default=False)
    ],
    scenarios: Annotated[
        str | None,
        typer.Option("--scenarios", help="Folder of texts; default 'scenarios' beside each file.", metavar="DIR"),
    ] = None,
    scenario: Annotated[str | None, typer.Option("--scenario", help="Only this one.", metavar="NAME")] = None,
    scheme: Annotated[
        str | None, typer.Option("--scheme", help="Instead of the one that kernel counts by.", metavar="S")
    ] = None,
    kernel: Annotated[
        str | None,
        typer.Option("--kernel", help="Profile instead of the file's own: a version, or a .toml file.", metavar="K"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare the model with what real kernels answered, step by step; status 1 if a value differs."""
    spec = None if scheme is None else checked("--scheme", parse_scheme_spec, scheme)
    profile = None if kernel is None else checked("--kernel", load_profile, kernel)
    found: list[list[FieldComparison]] = []
    for file in files:
        with inputs(), progress_bar(file) as progress:
            found.append(
                compare_golden(
                    file, scenarios=scenarios, scenario=scenario, scheme=spec, kernel=profile, progress=progress
                )
            )
    if as_json:
        print_json([asdict(each) for comparisons in found for each in comparisons])
    else:
        for number, (file, comparisons) in enumerate(zip(files, found, strict=True)):
            show_text(Text("\n" * bool(number)))
            show_text(_report(file, comparisons, profile))
    if any(each.equal != each.compared for comparisons in found for each in comparisons):
        raise typer.Exit(DIFFERS)


def _report(file: str, comparisons: list[FieldComparison], kernel: KernelProfile | None) -> Text:
    names = {each.scenario: each.skipped for each in comparisons}
    different = {each.scenario for each in comparisons if each.equal != each.compared}
    partly = {each.scenario for each in comparisons if each.skipped and each.compared}
    never = {name for name, reason in names.items() if reason} - partly
    profiles = [kernel] if kernel else [load_profile(version) for version in _versions(file, names)]
    pairs = [
        ("scenarios", f"{len(names)}: {len(different)} differ, {len(partly)} run in part, {len(never)} not at all"),
        *(("profile", _profile_text(each)) for each in profiles),
    ]
    rows = [(field, compared, equal) for field, compared, equal in _sums(comparisons)]
    parts = [
        report.heading(f"{file}: {comparisons[0].kernel}, {comparisons[0].scheme}"),
        report.facts(pairs),
        Text("\n"),
        report.table(("value", "compared", "equal"), rows, right=(1, 2)),
    ]
    if different:
        parts += [Text("\n"), report.table(("differs", "first", ""), _differences(comparisons))]
    if partly or never:
        skipped = [(name, reason) for name, reason in names.items() if reason]
        parts += [Text("\n"), report.table(("skipped", "why"), skipped)]
    return Text.assemble(*parts)


def _profile_text(profile: KernelProfile) -> str:
    if not profile.stand_in:
        return profile.name
    return f"{profile.name}: no file of its own; {profile.stand_in} stands in, with what changed up to {profile.name}"


def _versions(file: str, names: dict[str, str | None]) -> list[str]:
    """Profiles the file's headers name, each once."""
    return list(dict.fromkeys(each.profile for each in read_golden(file) if each.name in names))


def _sums(comparisons: list[FieldComparison]) -> list[tuple[str, str, str]]:
    fields = list(dict.fromkeys(each.field for each in comparisons))
    rows = []
    for field in (*fields, "all"):
        of = [each for each in comparisons if field in (each.field, "all")]
        compared, equal = sum(each.compared for each in of), sum(each.equal for each in of)
        rows.append((field, f"{compared:,}", f"{equal:,}"))
    return rows


def _differences(comparisons: list[FieldComparison]) -> list[tuple[str, str, str]]:
    """Of each scenario the earliest difference: its field, step and values."""
    first: dict[str, FieldComparison] = {}
    for each in comparisons:
        known = first.get(each.scenario)
        if each.first_difference and (known is None or _step(each) < _step(known)):
            first[each.scenario] = each
    rows = []
    for name, each in first.items():
        said = each.first_difference
        assert said is not None
        rows.append((name, "step", f"{said['step']}: {said['operation']}"))
        rows.append(("", each.field, f"{said['expected']} expected, {said['got']} in the model"))
    return rows


def _step(comparison: FieldComparison) -> int:
    assert comparison.first_difference is not None
    return int(comparison.first_difference["step"])
