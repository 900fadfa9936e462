# SPDX-License-Identifier: BSD-3-Clause
"""The documents say what the code says: generated parts, names, pictures, examples, links."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest
from test_golden import COMPARED
from test_layering import C_ARROWS, CSRC, PACKAGE, PLAIN, PYTHON_ARROWS, reachable

import folio_perf as fp
from folio_perf._native import engine, errors
from folio_perf._scenario_text import _DECLARATIONS, _UNSUPPORTED_ADVICES, _VERBS
from folio_perf.results import EventRow

TOP = Path(__file__).resolve().parents[1]
DOCS = TOP / "docs"
MINE = ("architecture.md", "contention.md", "glossary.md", "live.md", "scenarios.md", "schemes.md", "validation.md")


def text_of(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


@cache
def make_docs() -> ModuleType:
    """tools/make_docs.py as a module."""
    spec = importlib.util.spec_from_file_location("make_docs", TOP / "tools" / "make_docs.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def generated(name: str) -> str:
    """What stands between the comments of a generated part."""
    for page in DOCS.glob("*.md"):
        match = re.search(
            rf"<!-- begin generated: {re.escape(name)} -->\n(.*?)\n<!-- end generated: {re.escape(name)} -->",
            page.read_text(encoding="utf-8"),
            re.DOTALL,
        )
        if match:
            return match[1]
    pytest.fail(f"no page has a generated part {name!r}: tools/make_docs.py would fill it in between its comments")


# ---- generated parts ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", make_docs().BLOCKS)
def test_generated_parts_are_up_to_date(name: str) -> None:
    assert generated(name) == make_docs().BLOCKS[name](), "run: python tools/make_docs.py"


def test_every_scheme_has_a_section() -> None:
    headings = re.findall(r"^### (\S+) `(\w+)`$", text_of("schemes.md"), re.MULTILINE)
    assert {name for _, name in headings} == set(engine.names("schemes"))
    assert len({number for number, _ in headings}) == len(headings), "two designs with one section number"


def test_sections_that_the_code_cites_exist() -> None:
    numbers = set(re.findall(r"^#{2,3} (\d+(?:\.\d+)?) ", text_of("schemes.md"), re.MULTILINE))
    sources = [*CSRC.rglob("*.[ch]"), *PACKAGE.rglob("*.py"), *(TOP / "tests").rglob("*.py")]
    cited = {
        (number, path.relative_to(TOP).as_posix())
        for path in sources
        for number in re.findall(r"\bschemes\.md (\d+(?:\.\d+)?)\b(?! rule)", path.read_text(encoding="utf-8"))
        if path != Path(__file__)
    }
    assert cited
    missing = sorted((number, path) for number, path in cited if number not in numbers)
    assert not missing, f"schemes.md has no such sections: {missing}"


def test_rules_that_the_code_cites_exist() -> None:
    section = text_of("schemes.md").split("### 1.3 ")[1].split("\n### ")[0]
    rules = set(re.findall(r"^(\d+)\. ", section, re.MULTILINE))
    for path in CSRC.rglob("*.[ch]"):
        assert set(re.findall(r"schemes\.md 1\.3 rule (\d+)", path.read_text(encoding="utf-8"))) <= rules, path


def test_golden_figures_are_those_of_the_golden_test() -> None:
    total = generated("golden").splitlines()[-1]
    figures = [int(figure.replace(",", "")) for figure in re.findall(r"[\d,]*\d", total)]
    assert len(figures) == len(COMPARED)
    assert all(figure >= least for figure, least in zip(figures, COMPARED.values(), strict=True))
    assert "differ" not in generated("golden")


def test_the_tool_checks_prints_and_refuses(tmp_path: Path) -> None:
    tool = make_docs()
    with pytest.raises(tool.DocsError, match="no generated part is named 'nonesuch'"):
        tool.names_in("<!-- begin generated: nonesuch -->", "page")
    with pytest.raises(tool.DocsError, match="must begin once and end once"):
        tool.names_in("<!-- begin generated: sizes -->\n", "page")
    stale = "before\n<!-- begin generated: sizes -->\nold\n<!-- end generated: sizes -->\nafter\n"
    fresh = tool.filled(stale, "page")
    assert fresh.startswith("before\n") and fresh.endswith("\nafter\n") and "| 4K " in fresh
    assert tool.filled(fresh, "page") == fresh
    done = subprocess.run(
        [sys.executable, str(TOP / "tools" / "make_docs.py"), "nonesuch"], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 2 and "no generated part is named 'nonesuch'" in done.stderr


# ---- words -------------------------------------------------------------------------------------------------------


def glossary(section: str | None = None) -> set[str]:
    """Words that the glossary explains, in one of its sections or anywhere."""
    text = text_of("glossary.md")
    if section is not None:
        text = text.split(f"\n## {section}\n")[1].split("\n## ")[0]
    return {
        word for line in re.findall(r"^- (\*\*.*)", text, re.MULTILINE) for word in re.findall(r"\*\*(.+?)\*\*", line)
    }


@cache
def comparison() -> fp.Comparison:
    return fp.compare("thp_fork_chain3", schemes="page_mapcount,zero_one_two_many")


def test_every_column_of_a_row_is_in_the_glossary() -> None:
    assert {field.name for field in fields(EventRow)} <= glossary("Columns of a row")


def test_every_column_of_a_frame_is_in_the_glossary() -> None:
    columns = {*comparison().to_frame().columns, *comparison().totals_frame().columns}
    columns = {"hits" if column.startswith("hits_") else column for column in columns}
    assert columns <= glossary("Columns of a row") | glossary("Totals of a run")


def test_every_total_is_in_the_glossary() -> None:
    totals = comparison().results[0].totals
    assert set(totals) == glossary("Totals of a run")


def test_every_key_of_compare_json_is_in_the_glossary() -> None:
    import json

    value = json.loads(comparison().to_json())
    assert {*value, *value["schemes"][0]} <= glossary()
    # A count of events beside what they are.
    assert set(value["schemes"][0]["events"]) - {"total"} <= glossary()


@pytest.mark.parametrize(
    ("kind", "section"), [("event_kinds", "Event kinds"), ("causes", "Causes"), ("fields", "Fields")]
)
def test_every_name_of_the_counters_is_in_the_glossary(kind: str, section: str) -> None:
    assert glossary(section) == set(engine.names(kind))  # type: ignore[arg-type]


def test_classes_of_fields_are_those_of_the_code() -> None:
    classes = dict(zip(engine.names("fields"), engine.names("field_classes"), strict=True))
    section = text_of("glossary.md").split("\n## Fields\n")[1].split("\n## ")[0]
    for line in re.findall(r"^- (\*\*.+)", section, re.MULTILINE):
        names, _, said = line.partition(": ")
        for name in re.findall(r"\*\*(\w+)\*\*", names):
            assert said.split(":")[0].upper() == classes[name], line


def test_every_error_is_in_the_glossary() -> None:
    assert glossary("Errors") == {errors.error_name(code) for code in range(-1, -errors.NR_ERRORS, -1)}


@pytest.mark.parametrize("kind", ["questions", "backends"])
def test_every_question_and_back_end_is_explained(kind: str) -> None:
    for name in engine.names(kind):  # type: ignore[arg-type]
        assert f"`{name}`" in text_of("glossary.md"), name


def test_every_consumer_is_described() -> None:
    section = text_of("schemes.md").split("\n## 6 ")[1].split("\n## ")[0]
    for path in (CSRC / "consumer").glob("*.c"):
        assert path.stem == "table" or f"`{path.name}`" in section, path


def test_every_verb_and_advice_is_described() -> None:
    text = text_of("scenarios.md")
    blocks = "\n".join(re.findall(r"```text\n(.*?)```", text, re.DOTALL))
    described = set(re.findall(r"^(\w+)", blocks, re.MULTILINE)) | set(re.findall(r"`(\w+)`", generated("unmodelled")))
    assert set(_VERBS) | set(_DECLARATIONS) <= described
    for advice in (*fp.scenario.ADVICES[:-1], *_UNSUPPORTED_ADVICES):
        assert re.search(rf"\b{advice}\b", text), advice


# ---- the picture -------------------------------------------------------------------------------------------------


def picture(heading: str) -> dict[str, set[str]]:
    """Room -> rooms it may know, as docs/architecture.md has it."""
    section = text_of("architecture.md").split(f"\n### {heading}\n")[1].split("\n#")[0]
    rows = re.findall(r"^\| `(\w+)` +\| (.*?) +\|", section, re.MULTILINE)
    return {room: set(re.findall(r"\w+", arrows)) for room, arrows in rows}


def drawn(arrows: dict[str, set[str]], rooms: set[str]) -> dict[str, set[str]]:
    return {room: reachable(arrows, room) & rooms for room in arrows if room in rooms}


@pytest.mark.parametrize(
    ("heading", "arrows", "directory"),
    [("C: csrc", C_ARROWS, CSRC), ("Python: folio_perf", PYTHON_ARROWS, PACKAGE)],
    ids=["C", "Python"],
)
def test_the_picture_is_what_the_layering_test_enforces(
    heading: str, arrows: dict[str, set[str]], directory: Path
) -> None:
    """Of the rooms there are; what a room may know includes what those it knows may know."""
    there = {room for room in arrows if (directory / room).is_dir() or (directory / f"{room}.py").is_file()}
    shown = picture(heading)
    assert set(shown) == there
    assert drawn(shown, there) == drawn(arrows, there)


def test_plain_data_is_named() -> None:
    assert ", ".join(f"`{room}`" for room in sorted(PLAIN)[:-1]) in text_of("architecture.md")


# ---- examples, names, links --------------------------------------------------------------------------------------


def code_blocks(language: str) -> Iterator[tuple[str, str]]:
    for name in MINE:
        for number, block in enumerate(re.findall(rf"```{language}\n(.*?)```", text_of(name), re.DOTALL)):
            yield f"{name}-{number}", block


@pytest.mark.parametrize(("where", "block"), list(code_blocks("python")), ids=lambda value: value[:24])
def test_python_examples_run(where: str, block: str, capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(block, where, "exec"), {})
    assert capsys.readouterr().out


def test_scenario_examples_are_what_the_python_examples_build() -> None:
    (where, text), *_ = code_blocks("scenario")
    scenario = fp.parse_scenarios(text, fp.Geometry(), where)[0]
    names: dict[str, object] = {}
    exec(next(block for _, block in code_blocks("python")), names)
    builder = names["builder"]
    assert isinstance(builder, fp.ScenarioBuilder)
    assert builder.build().hash == scenario.hash
    assert not scenario.unsupported


@pytest.mark.parametrize("name", MINE)
def test_links_lead_somewhere(name: str) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", text_of(name)):
        assert re.match(r"https?://", target) or (DOCS / target).is_file(), target


@pytest.mark.parametrize("name", MINE)
def test_files_and_symbols_that_are_named_exist(name: str) -> None:
    text = re.sub(r"```.*?```", "", text_of(name), flags=re.DOTALL)
    for path in re.findall(r"`((?:csrc|folio_perf|tests|tools|docs)/[\w./*-]+)`", text):
        if "NAME" not in path and "PATH" not in path:
            assert list(TOP.glob(path.rstrip("/"))), path
    symbols = set(re.findall(r"`(fperf_\w+|FPERF_\w+|test_\w+)(?:\(\))?`", text))
    sources = "\n".join(
        path.read_text(encoding="utf-8") for path in (*CSRC.rglob("*.[ch]"), *(TOP / "tests").glob("*.py"))
    )
    assert {symbol for symbol in symbols if not re.search(rf"\b{symbol}\b", sources)} == set()


@pytest.mark.parametrize("name", MINE)
def test_options_and_commands_that_are_named_exist(name: str) -> None:
    source = "\n".join(path.read_text(encoding="utf-8") for path in sorted((PACKAGE / "cli").glob("*.py")))
    tool = (TOP / "tools" / "make_docs.py").read_text(encoding="utf-8")
    for option in set(re.findall(r"(?<![\w-])(--[a-z][a-z-]+)", text_of(name))):
        assert f'"{option}"' in source or f'"{option}"' in tool, option
    for command in set(re.findall(r"folio-perf ([a-z]+)", text_of(name))):
        assert re.search(rf"^def {command}_?\(|^{command}_app = |\"{command}\"", source, re.MULTILINE), command
    for target in set(re.findall(r"`make ([a-z-]+)`", text_of(name))):
        assert re.search(rf"^{target}:", (TOP / "Makefile").read_text(encoding="utf-8"), re.MULTILINE), target


def test_parts_named_in_commands_exist() -> None:
    for arguments in re.findall(r"tools/make_docs\.py ([a-z][\w -]*)$", text_of("validation.md"), re.MULTILINE):
        assert set(arguments.split()) <= set(make_docs().BLOCKS), arguments


def test_prices_that_are_quoted_are_those_of_the_machine() -> None:
    machine = fp.load_machine("generic-x86-64")
    text = " ".join(text_of("validation.md").split())
    for level in machine.levels[1:]:
        assert f"{level.prices.rmw_streaming.ns} ns where {level.name.upper()}" in text


@pytest.mark.parametrize("name", MINE)
def test_lines_are_readable(name: str) -> None:
    for number, line in enumerate(text_of(name).splitlines(), start=1):
        assert len(line) <= 118 and line == line.rstrip(), f"{name}:{number}"
