# SPDX-License-Identifier: BSD-3-Clause
"""The format of golden files: reading, and what is wrong with a file that is not one."""

from __future__ import annotations

import gzip
import json
import os
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn

_VERSION: Final = re.compile(r"[0-9]{1,3}\.[0-9]{1,3}(\.[0-9]{1,4})?", re.ASCII)
_MAX_PAGE: Final = 1 << 36
_MAX_COUNT: Final = 1 << 40
_NR_SMAPS: Final = 12

Step = Mapping[str, Any]
"""One step as in the file; what `_check_step` asks for holds."""


class GoldenError(ValueError):
    """A golden file that cannot be read or does not fit its scenarios; the message names file, line and rule."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenScenario:
    """What one kernel answered to one scenario.

    Parameters
    ----------
    name : str
    kernel : str
        Release the kernel reported.
    profile : str
        Its version, ``"6.12"``.
    no_page_mapcount : bool
        Built with CONFIG_NO_PAGE_MAPCOUNT.
    skipped : str or None
        Why the kernel could not run it.
    steps : tuple of mapping
        As in the file, in order.
    source : str
        The file.
    line : int
        Line of the header; a step stands as many lines below it as the order says.
    lines : tuple of int
        Line of each step.
    """

    name: str
    kernel: str
    profile: str
    no_page_mapcount: bool
    skipped: str | None
    steps: tuple[Step, ...]
    source: str
    line: int
    lines: tuple[int, ...]

    def fail(self, step: int, rule: str) -> NoReturn:
        """Raise GoldenError for the step of that index in `steps`."""
        raise GoldenError(f"{self.source}:{self.lines[step]}: {rule}")


def read_golden(path: str | os.PathLike[str]) -> tuple[GoldenScenario, ...]:
    """Read a golden file, plain or gzip.

    Raises
    ------
    GoldenError
        At the first line that is not what the format says.
    OSError
        If the file cannot be read.
    """
    where = os.fspath(path)
    return golden_scenarios(_objects(where), where)


def golden_scenarios(objects: Iterable[tuple[int, object]], where: str) -> tuple[GoldenScenario, ...]:
    """Read the objects of a golden file, each with its line; `where` names the file.

    Raises
    ------
    GoldenError
        At the first object that is not what the format says.
    """
    scenarios: list[GoldenScenario] = []
    header: dict[str, Any] | None = None
    header_line = 0
    steps: list[tuple[int, Step]] = []

    def finish() -> None:
        if header is not None:
            scenarios.append(_scenario(header, steps, where, header_line))

    for number, record in objects:
        try:
            if not isinstance(record, dict):
                _broken("each line must be a JSON object")
            if "scenario" in record:
                finish()
                _check_header(record)
                header, header_line, steps = record, number, []
            elif "end" in record:
                if header is None:
                    _broken("the end of no scenario")
                finish()
                header, steps = None, []
            else:
                if header is None:
                    _broken("a step before the header of its scenario")
                _check_step(record)
                if steps and record["i"] <= steps[-1][1]["i"]:
                    _broken(f"step {record['i']} after step {steps[-1][1]['i']}")
                steps.append((number, record))
        except _BrokenRuleError as error:
            raise GoldenError(f"{where}:{number}: {error}") from None
    finish()
    if not scenarios:
        raise GoldenError(f"{where}: no scenario in it")
    return tuple(scenarios)


def _objects(where: str) -> Iterator[tuple[int, object]]:
    for number, line in _lines(where):
        try:
            yield number, json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            raise GoldenError(f"{where}:{number}: not JSON: {error}") from error


def _scenario(header: Mapping[str, Any], steps: list[tuple[int, Step]], where: str, line: int) -> GoldenScenario:
    return GoldenScenario(
        name=header["scenario"],
        kernel=header["kernel"],
        profile=".".join(header["profile"].split(".")[:2]),
        no_page_mapcount=header.get("no_page_mapcount", False),
        skipped=header.get("skipped"),
        steps=tuple(step for _, step in steps),
        source=where,
        line=line,
        lines=tuple(number for number, _ in steps),
    )


def _lines(where: str) -> Iterator[tuple[int, str]]:
    content = Path(where).read_bytes()
    try:
        text = (gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content).decode()
    except (UnicodeDecodeError, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise GoldenError(f"{where}: not a golden file: {error}") from error
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, line


# ---- what a line must hold ---------------------------------------------------------------------------------------


class _BrokenRuleError(Exception):
    pass


def _broken(rule: str) -> NoReturn:
    raise _BrokenRuleError(rule)


def _is_int(value: object, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _are_ints(values: Iterable[object], low: int, high: int) -> bool:
    return all(_is_int(each, low, high) for each in values)


def _check_header(record: Mapping[str, Any]) -> None:
    for key in ("scenario", "kernel", "profile"):
        if not isinstance(record.get(key), str) or not record[key]:
            _broken(f"header has no {key!r}")
    if not _VERSION.fullmatch(record["profile"]):
        _broken(f"profile {record['profile']!r} is not a kernel version such as 6.12")
    if not isinstance(record.get("no_page_mapcount", False), bool):
        _broken(f"no_page_mapcount {record['no_page_mapcount']!r} must be true or false")
    if not isinstance(record.get("skipped", ""), str) and record["skipped"] is not None:
        _broken(f"skipped {record['skipped']!r} must be a text")


def _check_step(record: Mapping[str, Any]) -> None:
    if not _is_int(record.get("i"), 0, 1 << 30) or not isinstance(record.get("op"), str):
        _broken("a step needs its number 'i' and its text 'op'")
    if "maps" not in record:
        return
    for key, kind in (("maps", dict), ("pages", list), ("smaps", dict), ("folios", list)):
        if key == "folios" and key not in record:
            continue
        if not isinstance(record.get(key), kind):
            _broken(f"{key!r} must be {'an object' if kind is dict else 'a list'}")
    for process, runs in record["maps"].items():
        if not isinstance(runs, list):
            _broken(f"maps of {process} must be a list")
        for run in runs:
            _check_map(run, f"maps of {process}")
    for page in record["pages"]:
        _check_page(page)
    for folio in record.get("folios", ()):
        _check_folio(folio)
    for process, regions in record["smaps"].items():
        if not isinstance(regions, dict):
            _broken(f"smaps of {process} must be an object")
        for region, sums in regions.items():
            if not isinstance(sums, list) or len(sums) != _NR_SMAPS or not _are_ints(sums, 0, _MAX_COUNT):
                _broken(f"smaps of {process} {region} must be {_NR_SMAPS} numbers")


def _check_run(run: object, what: str, form: str, kinds: tuple[type, ...]) -> None:
    if not isinstance(run, list) or len(run) != len(kinds):
        _broken(f"{what}: {run!r} is not [{form}]")
    for value, kind in zip(run, kinds, strict=True):
        if not isinstance(value, kind) or isinstance(value, bool):
            _broken(f"{what}: {run!r} is not [{form}]")


def _check_map(run: object, what: str) -> None:
    _check_run(run, what, "region, off, n, page_name, page_off, gen, bits", (str, int, int, str, int, int, int))
    assert isinstance(run, list)
    _check_numbers((run[1], run[2], run[5], run[6]), what, run)
    # Offsets of pages may be negative: a folio may begin before the region it was first seen in.
    if not _is_int(run[4], -_MAX_PAGE, _MAX_PAGE):
        _broken(f"{what}: page offset {run[4]!r}")


def _check_numbers(values: tuple[int, ...], what: str, run: object) -> None:
    if not all(0 <= value < _MAX_PAGE for value in values):
        _broken(f"{what}: a number of {run!r} is out of range")


def _check_page(page: object) -> None:
    form = "name, off, n, gen, kpagecount, flags, folio_nr_pages, _mapcount, anon_exclusive, refcount"
    kinds = (str, int, int, int, int, str, int)
    if not isinstance(page, list) or len(page) not in (7, 10):
        _broken(f"pages: {page!r} is not [{form}]")
    _check_run(page[:7], "pages", form, kinds)
    _check_numbers((page[2], page[3], page[4]), "pages", page)
    if not _is_int(page[1], -_MAX_PAGE, _MAX_PAGE):
        _broken(f"pages: offset {page[1]!r}")
    if not 1 <= page[6] <= 1 << 20:
        _broken(f"pages: a folio of {page[6]} pages")
    if not all(_is_int(value, -(1 << 32), 1 << 32) for value in page[7:]):
        _broken(f"pages: {page!r} is not [{form}]")


def _check_folio(folio: object) -> None:
    if not isinstance(folio, dict) or not isinstance(folio.get("h"), str):
        _broken(f"folios: {folio!r} does not name its head")
    if not _is_int(folio.get("o"), -_MAX_PAGE, _MAX_PAGE) or not _is_int(folio.get("g"), 0, _MAX_PAGE):
        _broken(f"folios: {folio['h']} needs its offset 'o' and generation 'g'")
    if not _is_int(folio.get("nr"), 2, 1 << 20):
        _broken(f"folios: nr {folio.get('nr')!r} of {folio['h']} must be 2 or more")
    for key in ("lm", "em", "cmc", "nm", "pin", "dm", "shared"):
        if key in folio and not _is_int(folio[key], -(1 << 32), 1 << 32):
            _broken(f"folios: {key} {folio[key]!r} of {folio['h']} must be a number")
    if "mid" in folio:
        slots, counts = folio["mid"], folio.get("midmc")
        if not isinstance(slots, list) or len(slots) != 2 or not all(isinstance(each, str) for each in slots):
            _broken(f"folios: mid {slots!r} of {folio['h']} must be two labels")
        if not isinstance(counts, list) or len(counts) != 2 or not _are_ints(counts, -(1 << 32), 1 << 32):
            _broken(f"folios: midmc {counts!r} of {folio['h']} must be two numbers")
        if "shared" not in folio:
            _broken(f"folios: {folio['h']} has owner slots, but no 'shared'")
