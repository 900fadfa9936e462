# SPDX-License-Identifier: BSD-3-Clause
"""live verify: the model held against the running kernel."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from folio_perf import report
from folio_perf.cli.application import RefusedError, checked, inputs, print_json, progress_bar, show_text
from folio_perf.cli.golden import DIFFERS
from folio_perf.cli.live import live_app, whole_number
from folio_perf.cli.options import Json
from folio_perf.live.random_scenarios import random_scenario
from folio_perf.live.runner import Machine, Recording, running_version
from folio_perf.live.verify import Verification, detect_no_page_mapcount, scenario_blocks, verify, write_golden
from folio_perf.profile import KernelProfile, load_profile
from folio_perf.results import MEASURED
from folio_perf.scenario import scenario_names, scenario_text
from folio_perf.schemes import SchemeSpec, parse_scheme_spec
from folio_perf.validation.golden import shipped_scheme

_VERDICTS = ("agrees", "differs", "unstable", "not run")


@live_app.command("verify")
def live_verify(
    scenarios: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SCENARIO...]", help="Names of 'scenarios', or files; default all names.", show_default=False
        ),
    ] = None,
    nr_random: Annotated[
        str | None, typer.Option("--random", help="So many random scenarios instead.", metavar="N")
    ] = None,
    seed: Annotated[
        str | None, typer.Option("--seed", help="Of the random ones; default a new one.", metavar="S")
    ] = None,
    operations: Annotated[str, typer.Option("--operations", help="Of each random one.", metavar="N")] = "30",
    tries: Annotated[
        str, typer.Option("--tries", help="Runs spent on shortening a scenario that differs; 0: none.", metavar="N")
    ] = "400",
    scheme: Annotated[
        str | None, typer.Option("--scheme", help="Instead of the one this kernel counts by.", metavar="S")
    ] = None,
    kernel: Annotated[
        str | None, typer.Option("--kernel", help="Profile instead of the running version's.", metavar="K")
    ] = None,
    output: Annotated[
        str | None, typer.Option("-o", "--output", help="Keep the answers as a golden file.", metavar="FILE")
    ] = None,
    as_json: Json = False,
) -> None:
    """Run scenarios on the running kernel with real processes, and compare with the model; status 1 if one differs."""
    if scenarios and nr_random is not None:
        raise RefusedError("--random: either random scenarios or named ones")
    if nr_random is None and seed is not None:
        raise RefusedError("--seed: needs --random")
    spec = None if scheme is None else checked("--scheme", parse_scheme_spec, scheme)
    profile = None if kernel is None else checked("--kernel", load_profile, kernel)
    nr_tries = 0 if tries == "0" else checked("--tries", whole_number, tries)
    texts = _texts(scenarios or [], nr_random, seed, checked("--operations", whole_number, operations))
    kept: list[Recording] = []
    found: list[Verification] = []
    with inputs(), Machine() as machine, progress_bar("running") as progress:
        machine.no_page_mapcount = detect_no_page_mapcount(machine)
        scheme_name = spec.label if spec else shipped_scheme(running_version(), machine.no_page_mapcount)
        keep = kept.append if output is not None else None
        for each in verify(machine, texts, scheme=spec, kernel=profile, shrink_tries=nr_tries, keep=keep):
            found.append(each)
            if progress is not None:
                progress(len(found), len(texts))
        left_out = machine.left_out
    if output is not None:
        with inputs("--output"):
            write_golden(output, kept)
    if as_json:
        print_json({"kind": MEASURED, "left_out": left_out, "scenarios": [asdict(each) for each in found]})
    else:
        show_text(_report(found, scheme_name, profile, left_out))
    if any(each.verdict == "differs" for each in found):
        raise typer.Exit(DIFFERS)


def _texts(names: Sequence[str], nr_random: str | None, seed: str | None, operations: int) -> list[str]:
    if nr_random is not None:
        number = checked("--seed", _seed, seed) if seed is not None else secrets.randbelow(1 << 31)
        return [random_scenario(number, i, operations) for i in range(checked("--random", whole_number, nr_random))]
    texts = []
    for name in names or scenario_names():
        if name in scenario_names():
            texts.append(f"{scenario_text(name).rstrip()}\n")
            continue
        with inputs(name):
            blocks = scenario_blocks(Path(name).read_text(encoding="utf-8"))
        if not blocks:
            raise RefusedError(f"{name}: no scenario in it")
        texts += blocks
    return texts


def _seed(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > 18:
        raise ValueError(f"{text!r} is not a whole number")
    return int(text)


def _report(
    found: Sequence[Verification], scheme: str | SchemeSpec, profile: KernelProfile | None, left_out: Sequence[str]
) -> Text:
    verdicts = Counter(each.verdict for each in found)
    version = profile or load_profile(running_version())
    pairs = [
        ("scenarios", f"{len(found)}: " + ", ".join(f"{verdicts[each]} {each}" for each in _VERDICTS)),
        ("values", f"{sum(e.compared for e in found):,} compared, {sum(e.equal for e in found):,} equal"),
        ("model", f"{scheme}, profile {version.name}"),
        *(("left out", reason) for reason in left_out),
    ]
    parts = [report.heading("live: the model held against the running kernel (measured)"), Text("\n")]
    parts.append(report.facts(pairs))
    told = [(each.scenario, each.verdict, _why(each)) for each in found if each.verdict != "agrees" or _why(each)]
    if told:
        parts += [Text("\n"), report.table(("scenario", "verdict", "why"), told)]
    for each in found:
        if each.shrunk is not None:
            title = "nothing can be left out" if each.minimal else "perhaps not the shortest"
            parts += [Text("\n"), report.heading(f"{each.scenario}, shortened ({title})"), Text(each.shrunk)]
    return Text.assemble(*parts)


def _why(each: Verification) -> str:
    reasons = []
    if each.differences:
        first = min(each.differences, key=lambda field: (field.first_difference or {}).get("step", 0))
        said = first.first_difference or {}
        values = f"{said['expected']} here, {said['got']} in the model"
        reasons.append(f"step {said['step']}: {said['operation']}: {first.field}: {values}")
    if each.environment:
        reasons.append(f"here: {each.environment}")
    if each.model:
        reasons.append(f"in the model: {each.model}")
    return "; ".join(reasons)
