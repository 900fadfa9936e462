# SPDX-License-Identifier: BSD-3-Clause
"""The model held against the running kernel: scenarios run on both, step by step, field by field."""

from __future__ import annotations

import gzip
import json
import os
import platform
import re
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from folio_perf.geometry import Geometry
from folio_perf.live.runner import Machine, Recording
from folio_perf.live.shrink import shrink
from folio_perf.profile import KernelProfile
from folio_perf.scenario import Scenario, ScenarioError, parse_scenarios
from folio_perf.schemes import SchemeSpec
from folio_perf.validation.golden import FieldComparison, compare_scenario, golden_scenarios

__all__ = ["Verification", "detect_no_page_mapcount", "scenario_blocks", "verify", "write_golden"]

AGREES, DIFFERS, UNSTABLE, NOT_RUN = "agrees", "differs", "unstable", "not run"

_NR_RUNS: Final = 3
"""A difference is behaviour if so many runs in a row show it."""
_VMSTAT: Final = Path("/proc/vmstat")
_FALLBACKS: Final = re.compile(r"^(thp_\w*fallback\w*|thp_collapse_alloc_failed) ([0-9]+)$", re.MULTILINE)
_BLOCK: Final = re.compile(r"^[ \t]*scenario[ \t].*?^[ \t]*end\b[^\n]*\n?", re.MULTILINE | re.DOTALL)
_FIRST_WITHOUT_PAGE_COUNTS: Final = (6, 15)
_OPTION: Final = "CONFIG_NO_PAGE_MAPCOUNT=y"
_PROBE: Final = """\
scenario no_page_mapcount_probe
region A 512
map P0 A anon
madv P0 A 0 512 HUGEPAGE
touch P0 A 0 512 w
unmap P0 A 256 256
end
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What became of one scenario.

    Parameters
    ----------
    scenario : str
    verdict : str
        ``agrees``; ``differs``: so in each of three runs; ``unstable``: a later run agreed, so something else than the
        scenario made the difference; ``not run``: nothing could be compared.
    steps : int
        Steps the kernel carried out.
    compared, equal : int
        Values.
    differences : tuple of FieldComparison
        Fields that differ, in the last run.
    environment : str or None
        Why the scenario ended early or was never run here, or what else this machine had to do with a difference.
    model : str or None
        From where on the model does not know the scenario.
    text : str
        The scenario.
    shrunk : str or None
        The shortest found that differs in one of the same fields.
    minimal : bool
        Nothing more can be left out of it.
    seconds : float
    """

    scenario: str
    verdict: str
    steps: int
    compared: int
    equal: int
    differences: tuple[FieldComparison, ...]
    environment: str | None
    model: str | None
    text: str
    shrunk: str | None
    minimal: bool
    seconds: float


def scenario_blocks(text: str) -> list[str]:
    """Split a file of scenarios into the text of each."""
    return _BLOCK.findall(text)


def detect_no_page_mapcount(machine: Machine) -> bool:
    """Whether this kernel was built with CONFIG_NO_PAGE_MAPCOUNT: its count of a page is then an average.

    Of a huge page of which half was unmapped, such a kernel reports one mapping of each page. Where counts cannot be
    read, the configuration that distributions keep in /boot decides.
    """
    (scenario,) = parse_scenarios(_PROBE, Geometry(), "probe")
    recording = machine.run(scenario, _PROBE)
    version = tuple(map(int, recording.header["profile"].split(".")))
    if version < _FIRST_WITHOUT_PAGE_COUNTS:
        return False
    if machine.counts and not recording.environment:
        pages = [run for run in recording.steps[-1]["pages"] if run[0] == "A" and run[1] >= 256 and run[6] > 1]
        return bool(pages) and all(run[4] == 1 for run in pages)
    try:
        return _OPTION in Path(f"/boot/config-{platform.release()}").read_text()
    except OSError:
        return False


def verify(
    machine: Machine,
    texts: Iterable[str],
    *,
    scheme: str | SchemeSpec | None = None,
    kernel: str | KernelProfile | None = None,
    shrink_tries: int = 400,
    keep: Callable[[Recording], None] | None = None,
) -> Iterator[Verification]:
    """Run scenarios on this machine and in the model, and compare.

    Parameters
    ----------
    machine : Machine
        Entered.
    texts : iterable of str
        One scenario each.
    scheme : str or SchemeSpec, optional
        Default: the one the running kernel counts by.
    kernel : str or KernelProfile, optional
        Default: the running kernel's version.
    shrink_tries : int
        Runs spent on shortening a scenario that differs.
    keep : callable, optional
        Called with what the kernel answered, before it is compared.

    Yields
    ------
    Verification
        In the order of `texts`.

    Raises
    ------
    ScenarioError
        If a text breaks the rules of the language.
    ValueError
        If there is no scheme or kernel of that name.
    """
    for text in texts:
        yield _Verifier(machine, scheme, kernel, shrink_tries, keep).one(text)


@dataclass(frozen=True, slots=True)
class _Verifier:
    machine: Machine
    scheme: str | SchemeSpec | None
    kernel: str | KernelProfile | None
    shrink_tries: int
    keep: Callable[[Recording], None] | None

    def one(self, text: str) -> Verification:
        begin = time.monotonic()
        (scenario,) = parse_scenarios(text, Geometry(), "live", strict=False)
        fallbacks = _fallbacks()
        recording = self.machine.run(scenario, text)
        if self.keep is not None:
            self.keep(recording)
        fields = self._compare(recording, scenario)
        different = _different(fields)
        environment, shrunk, minimal = recording.environment, None, False
        verdict = AGREES if any(each.compared for each in fields) else NOT_RUN
        if different:
            verdict, different, why = self._again(scenario, text, different)
            environment = environment or why
            if _fallbacks() != fallbacks:
                # Whoever's they were: they may be the reason, so it is not known to be behaviour.
                verdict = UNSTABLE
                environment = environment or "the kernel found no memory for some huge pages meanwhile"
            elif verdict == DIFFERS and self.shrink_tries:
                shrunk, minimal = self._shrink(text, different)
        return Verification(
            scenario=scenario.name,
            verdict=verdict,
            steps=len(recording.steps),
            compared=sum(each.compared for each in fields),
            equal=sum(each.equal for each in fields),
            differences=different,
            environment=environment,
            model=None if recording.environment and not recording.steps else fields[0].skipped,
            text=text,
            shrunk=shrunk,
            minimal=minimal,
            seconds=time.monotonic() - begin,
        )

    def _compare(self, recording: Recording, scenario: Scenario) -> list[FieldComparison]:
        # As a golden file would hand it over: tuples become lists, and what the format forbids is found.
        objects = [json.loads(json.dumps(each)) for each in recording.lines()]
        (golden,) = golden_scenarios(enumerate(objects, start=1), "live")
        return compare_scenario(golden, scenario, scheme=self.scheme, kernel=self.kernel)

    def _again(
        self, scenario: Scenario, text: str, different: tuple[FieldComparison, ...]
    ) -> tuple[str, tuple[FieldComparison, ...], str | None]:
        """Run a scenario that differs again; one that then agrees differs for another reason than its operations."""
        for number in range(2, _NR_RUNS + 1):
            again = _different(self._compare(self.machine.run(scenario, text), scenario))
            if not again:
                return UNSTABLE, different, f"run {number} agreed"
            different = again
        return DIFFERS, different, None

    def _shrink(self, text: str, different: Sequence[FieldComparison]) -> tuple[str, bool]:
        fields = {each.field for each in different}

        def still(candidate: str) -> bool:
            try:
                (scenario,) = parse_scenarios(candidate, Geometry(), "live", strict=False)
            except ScenarioError:
                return False
            recording = self.machine.run(scenario, candidate)
            return bool(fields & {each.field for each in _different(self._compare(recording, scenario))})

        return shrink(text, still, tries=self.shrink_tries)


def _different(fields: Iterable[FieldComparison]) -> tuple[FieldComparison, ...]:
    return tuple(each for each in fields if each.equal != each.compared)


def _fallbacks() -> dict[str, int]:
    """Huge pages the kernel had no memory for, since it started."""
    try:
        return {name: int(nr) for name, nr in _FALLBACKS.findall(_VMSTAT.read_text())}
    except OSError:
        return {}


def write_golden(path: str | os.PathLike[str], recordings: Iterable[Recording]) -> None:
    """Write what the kernel answered as a golden file, compressed if its name ends in ``.gz``; whole or not at all."""
    target = Path(path)
    descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(descriptor, "wb") as raw:
            stream: Any = gzip.GzipFile(fileobj=raw, mode="wb", mtime=0) if target.suffix == ".gz" else raw
            for recording in recordings:
                for each in recording.lines():
                    stream.write(json.dumps(each, separators=(",", ":")).encode() + b"\n")
            if stream is not raw:
                stream.close()
        Path(temporary).chmod(0o644)
        Path(temporary).replace(target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
