#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Fill in what docs/ takes from the code: the designs, their cost formulas, what the model was held against.

    make_docs.py               rewrite the generated parts of docs/*.md
    make_docs.py --check       only say which files would change; exit status 1 if any
    make_docs.py --list        names of the generated parts
    make_docs.py NAME ...      print these parts

A generated part stands between ``<!-- begin generated: NAME -->`` and ``<!-- end generated: NAME -->``; all other text
is written by hand and left alone. Formulas are read out of tests/test_tables.py, so that a page cannot state one that
no test holds. Run it from a tree whose extension modules are built (make ext).
"""

from __future__ import annotations

import argparse
import ast
import inspect
import re
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from functools import cache, partial
from pathlib import Path

from folio_perf import (
    DEFAULT_SCHEMES,
    Geometry,
    KernelProfile,
    SchemeSpec,
    compare,
    load_profile,
    profile_names,
    scheme_info,
    scheme_names,
    simulate,
)
from folio_perf._native import engine, errors
from folio_perf._scenario_text import _UNSUPPORTED_ADVICES as UNSUPPORTED_ADVICES
from folio_perf._scenario_text import _VERBS as VERBS
from folio_perf.geometry import format_size
from folio_perf.results import Outcome
from folio_perf.validation.golden import FieldComparison, compare_golden

sys.path.insert(0, str(Path(__file__).parent))
import catastrophe_tables
import lock_tables
import pin_tables
import walk_tables

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
TESTS = ROOT / "tests"
WIDTH = 118

# Words with an underscore, struct pages by number, message ids; not what stands as code already.
_IDENTIFIER = re.compile(r"(?<![`\w/])(?:\w*_\w+|page\[\d\](?:\.\w+)?|<[^<>\s]+@[^<>\s]+>)(?![`\w/.]*`)")
_BEGIN = re.compile(r"^<!-- begin generated: ([\w. -]+) -->$", re.MULTILINE)

# The columns of tests/test_tables.py.
EVENTS: Mapping[str, str] = {
    "fmap1": "map file PTEs, first",
    "fmap2": "map file PTEs, second",
    "pmd1": "map file PMD, first",
    "pmd2": "map file PMD, second",
    "funmap": "unmap file PTEs, last",
    "aunmap": "unmap anon PTEs, last",
    "forka": "fork anon PTEs, first",
    "forkb": "fork anon PTEs, later",
    "split": "split an anon PMD",
}
_EVENTS_PER_TABLE = 5

GOLDEN_KERNELS = ("6.1", "6.12", "6.18", "7.3", "7.3-nopm", "host-6.18")
GRIDS = (("16K", "thp"), ("64K", "order0"))


class DocsError(Exception):
    """The documents, or what they are made from, break a rule."""


# ---- layout ------------------------------------------------------------------------------------------------------


def table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Write a Markdown table whose columns line up; cells of digits stand to the right."""
    cells = [list(headers), *(list(row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    right = [all(re.fullmatch(r"[0-9,.]+|-", row[column]) for row in cells[1:]) for column in range(len(headers))]

    def line(row: Sequence[str]) -> str:
        padded = (
            cell.rjust(width) if flush else cell.ljust(width)
            for cell, width, flush in zip(row, widths, right, strict=True)
        )
        return f"| {' | '.join(padded)} |"

    rule = "|".join("-" * (width + 1) + (":" if flush else "-") for width, flush in zip(widths, right, strict=True))
    return "\n".join([line(cells[0]), f"|{rule}|", *map(line, cells[1:])])


def bullets(title: str, items: Sequence[str]) -> str:
    """Write a list item with more of them below it."""
    return "\n".join([f"- {title}", *(paragraph(item, first="  - ", indent="    ") for item in items)])


def paragraph(text: str, *, first: str = "", indent: str = "") -> str:
    """Wrap a paragraph; identifiers and message ids stand as code."""
    return textwrap.fill(
        _IDENTIFIER.sub(r"`\g<0>`", text),
        WIDTH,
        initial_indent=first,
        subsequent_indent=indent,
        break_on_hyphens=False,
        break_long_words=False,
    )


# ---- formulas, out of tests/test_tables.py -----------------------------------------------------------------------


@cache
def _tests_module() -> ast.Module:
    return ast.parse((TESTS / "test_tables.py").read_text(encoding="utf-8"))


def _assigned(name: str) -> ast.Dict:
    for node in _tests_module().body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == name:
            assert isinstance(node.value, ast.Dict)
            return node.value
    raise DocsError(f"tests/test_tables.py does not define {name}")


def _items(node: ast.Dict) -> Iterator[tuple[str, ast.expr]]:
    for key, value in zip(node.keys, node.values, strict=True):
        assert isinstance(key, ast.Constant)
        yield str(key.value), value


def _formulas(node: ast.expr) -> tuple[str, ...]:
    """Parts of the tuple a lambda returns, as people write them: 2 * n + 1 is 2n+1."""
    assert isinstance(node, ast.Lambda) and isinstance(node.body, ast.Tuple)
    return tuple(ast.unparse(part).replace(" * n", "n").replace(" ", "") for part in node.body.elts)


@cache
def rmw_table() -> Mapping[str, Mapping[str, str]]:
    """Read the RMW formulas, by scheme@kernel and event."""
    columns = [name for name, _ in _items(_assigned("COLUMNS"))]
    if columns != list(EVENTS):
        raise DocsError(f"tests/test_tables.py has the columns {columns}, this tool describes {list(EVENTS)}")
    return {
        scheme: dict(zip(columns, _formulas(value), strict=True)) for scheme, value in _items(_assigned("RMW_TABLE"))
    }


@cache
def lines_table() -> Mapping[str, Mapping[str, str]]:
    """Read the formulas of lines read and written, by scheme@kernel and event."""
    found: dict[str, dict[str, str]] = {}
    for scheme, value in _items(_assigned("LINES")):
        assert isinstance(value, ast.Dict)
        found[scheme] = {event: _lines(*_formulas(formulas)) for event, formulas in _items(value)}
    return found


def _lines(read: str, written: str) -> str:
    parts = [f"{number} {what}" for number, what in ((read, "r"), (written, "w")) if number != "0"]
    return ", ".join(parts) or "0"


def _by_scheme_and_event(found: Mapping[str, Mapping[str, str]]) -> str:
    """Write one row per scheme@kernel, the events cut into tables that fit a page."""
    events = [event for event in EVENTS if any(event in row for row in found.values())]
    pieces = [events[:_EVENTS_PER_TABLE], events[_EVENTS_PER_TABLE:]] if len(events) > _EVENTS_PER_TABLE else [events]
    return "\n\n".join(
        table(
            ("scheme@kernel", *piece),
            [(scheme, *(row.get(event, "") for event in piece)) for scheme, row in found.items()],
        )
        for piece in pieces
    )


# ---- designs -----------------------------------------------------------------------------------------------------


def section_of(scheme: str) -> str:
    """Find the number of the section that describes a scheme: the one its C file cites."""
    path = ROOT / "csrc" / "scheme" / f"scheme_{scheme}.c"
    match = re.search(r"\bschemes\.md (\d+\.\d+)", path.read_text(encoding="utf-8"))
    if match is None:
        raise DocsError(f"{path.name}: the comment at its head must cite its section, such as schemes.md 3.1")
    return match[1]


def _status(scheme: str) -> str:
    info = scheme_info(scheme)
    if info.shipped is None:
        return info.status
    return f"{info.status}, Linux {info.shipped[0]} to {info.shipped[1]}"


def overview() -> str:
    """All designs."""
    rows = [(f"`{name}`", _status(name), section_of(name)) for name in scheme_names()]
    return table(("design", "status", "section"), sorted(rows, key=lambda row: _number(row[-1])))


def _number(section: str) -> tuple[int, ...]:
    return tuple(map(int, section.split(".")))


def scheme_section(name: str) -> str:
    """One design, as the table in folio_perf/schemes.py has it, and the formulas tests hold it to."""
    info = scheme_info(name)
    twin = TESTS / "reference" / f"{name}.py"
    code = [f"`csrc/scheme/scheme_{name}.c`"] + ([f"twin `tests/reference/{name}.py`"] if twin.exists() else [])
    facts = [
        f"- **Status**: {_status(name)} ({info.date})"
        + ("; **reconstructed**: the public description is incomplete" if info.reconstructed else ""),
        f"- **Source**: {info.source}",
        f"- **Code**: {', '.join(code)}",
    ]
    parts = [f"### {section_of(name)} `{name}`", paragraph(f"{_capital(info.title)}.")]
    lists = [paragraph(fact, indent="  ") for fact in facts]
    lists.append(bullets("**State**", info.state))
    lists.append(bullets("**RMW per whole-folio event**", info.costs))
    lists.append(bullets("**Cannot answer**", info.cannot_answer))
    if info.options:
        options = [f"`{key}`: {', '.join(f'`{value}`' for value in values)}" for key, values in info.options.items()]
        lists.append(bullets("**Policies**, the default first (section 7.4)", options))
    parts.append("\n".join(lists))
    costs = _costs_of(name)
    if costs:
        parts.append("What the tests hold it to (section 4 has the rules), by kernel:")
        parts.append(costs)
    return "\n\n".join(parts)


def _capital(title: str) -> str:
    """Start a title as a sentence starts, unless it starts with the name of a design."""
    return title if title.startswith(tuple(scheme_names())) else f"{title[0].upper()}{title[1:]}"


def _costs_of(name: str) -> str:
    kernels = [key.partition("@")[2] for key in rmw_table() if key.partition("@")[0] == name]
    columns = [(f"RMW {kernel}", rmw_table()[f"{name}@{kernel}"]) for kernel in kernels]
    columns += [
        (f"lines {kernel}", lines_table()[f"{name}@{kernel}"])
        for kernel in kernels
        if f"{name}@{kernel}" in lines_table()
    ]
    if not columns:
        return ""
    rows = [(title, *(row.get(event, "") for _, row in columns)) for event, title in EVENTS.items()]
    return table(("whole-folio event", *(header for header, _ in columns)), rows)


def policies() -> str:
    """Say what each value of each policy does, as `SchemeSpec` or, of a design's own, its row of the table has it."""
    lines = inspect.cleandoc(SchemeSpec.__doc__ or "").splitlines()
    texts: dict[str, str] = {}
    name = ""
    for line in lines:
        match = re.match(r"(\w+) : ", line)
        if match:
            name = match[1]
        elif line.startswith("    ") and name:
            texts[name] = f"{texts.get(name, '')} {line.strip()}".strip()
        else:
            name = ""
    for info in map(scheme_info, scheme_names()):
        if info.variant:
            texts[info.variant] = f"{info.name}: {info.variant_text}."
    parts = []
    options = {option: values for scheme in scheme_names() for option, values in scheme_info(scheme).options.items()}
    for option, values in options.items():
        missing = [value for value in values if value.isidentifier() and f"``{value}``" not in texts.get(option, "")]
        if option not in texts or missing:
            raise DocsError(
                f"neither SchemeSpec nor the table of designs says what {option}={'|'.join(missing or values)} does"
            )
        parts.append(paragraph(f"- **{option}**, {texts[option].replace('``', '`')}", indent="  "))
    return "\n".join(parts)


def sizes() -> str:
    """Arithmetic of one PMD by page size."""
    rows = []
    for size in ("4K", "16K", "64K"):
        geometry = Geometry.from_text(size)
        nr_pages = 1 << geometry.pmd_order
        rows.append(
            (
                size,
                str(geometry.entries_per_table),
                str(geometry.pmd_order),
                format_size(geometry.pmd_size_bytes),
                format_size(nr_pages * 64),
                str(nr_pages // 8),
            )
        )
    headers = ("page", "entries", "PMD order", "PMD folio", "struct pages", "PTE lines")
    return table(headers, rows)


def kernels() -> str:
    """All values of all profiles."""
    profiles = [load_profile(name) for name in profile_names()]
    left_out = {"name", "outside", "released", "sources", "stand_in", "version"}
    rows = [
        (f"`{field.name}`", *(_value(profile, field.name) for profile in profiles))
        for field in fields(KernelProfile)
        if field.name not in left_out
    ]
    return table(("profile", *(profile.name for profile in profiles)), rows)


def _value(profile: KernelProfile, name: str) -> str:
    value = getattr(profile, name)
    if isinstance(value, bool):
        return "yes" if value else "-"
    return format_size(value) if name in ("fault_around_bytes", "stack_limit_bytes") else str(value)


def unmodelled() -> str:
    """Operations and advice that scenarios may hold and the model leaves out."""
    reasons: dict[str, list[str]] = {}
    for verb, (_, _, reason) in VERBS.items():
        if reason:
            reasons.setdefault(reason, []).append(f"`{verb}`")
    for advice, reason in UNSUPPORTED_ADVICES.items():
        reasons.setdefault(reason, []).append(f"`madv {advice}`")
    return "\n".join(paragraph(f"- {', '.join(names)}: {reason}", indent="  ") for reason, names in reasons.items())


def error_list() -> str:
    """All errors of the C library."""
    codes = range(-1, -errors.NR_ERRORS, -1)
    return "\n".join(
        f"- **{errors.error_name(code)}** ({errors.error_errno(code)}): {errors.error_rule(code)}" for code in codes
    )


# ---- what the model was held against -----------------------------------------------------------------------------


@cache
def _golden(kernel: str) -> tuple[FieldComparison, ...]:
    scenarios = ROOT / "folio_perf" / "data" / "scenarios"
    return tuple(compare_golden(TESTS / "data" / "golden" / f"{kernel}.jsonl.gz", scenarios=scenarios))


def golden() -> str:
    """Values compared with what kernels answered, by kernel and by field."""
    summary, by_field = [], []
    for kernel in GOLDEN_KERNELS:
        found = _golden(kernel)
        names = {each.scenario: each.skipped for each in found}
        partly = {each.scenario for each in found if each.skipped and each.compared}
        never = {each.scenario for each in found if each.skipped} - partly
        summary.append(
            (
                found[0].kernel,
                f"`{found[0].scheme}`",
                str(len(names)),
                str(len(names) - len(partly) - len(never)),
                str(len(partly)),
                str(len(never)),
                f"{sum(each.equal for each in found):,}",
            )
        )
    fields = dict.fromkeys(each.field for kernel in GOLDEN_KERNELS for each in _golden(kernel))
    for field in (*fields, "all"):
        values = []
        for kernel in GOLDEN_KERNELS:
            of_field = [each for each in _golden(kernel) if field in (each.field, "all")]
            compared, equal = sum(each.compared for each in of_field), sum(each.equal for each in of_field)
            differ = "" if equal == compared else f" ({compared - equal:,} differ)"
            values.append(f"{compared:,}{differ}" if of_field else "-")
        by_field.append((field if field == "all" else f"`{field}`", *values))
    headers = ("value", *GOLDEN_KERNELS)
    return "\n\n".join(
        [
            table(("kernel", "scheme", "scenarios", "whole", "in part", "not at all", "equal values"), summary),
            table(headers, by_field),
        ]
    )


def golden_skipped() -> str:
    """Scenarios that could not be compared to the end, and why."""
    reasons: dict[tuple[str, str, str], list[str]] = {}
    for kernel in GOLDEN_KERNELS:
        for each in _golden(kernel):
            if each.skipped is None:
                continue
            found = reasons.setdefault((each.scenario, *_reason(each.skipped)), [])
            if kernel not in found:
                found.append(kernel)
    rows = [
        (f"`{scenario}`", "all" if len(where) == len(GOLDEN_KERNELS) else ", ".join(where), step, why)
        for (scenario, step, why), where in reasons.items()
    ]
    return table(("scenario", "kernel", "from", "reason"), rows)


def _reason(skipped: str) -> tuple[str, str]:
    match = re.fullmatch(r"from step (\d+) on: .*: (.+)", skipped)
    if match:
        return f"step {match[1]}", match[2]
    return "-", "the kernel has no folios of that size" if skipped.endswith("No such file or directory") else skipped


def random_scenarios() -> str:
    """Scenarios each test of tests/test_exactness.py runs unless told otherwise."""
    module = ast.parse((TESTS / "test_exactness.py").read_text(encoding="utf-8"))
    rows = []
    for node in module.body:
        if not isinstance(node, ast.FunctionDef) or not node.name.startswith("test_"):
            continue
        for call in ast.walk(node):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "seeds":
                number = call.args[1]
                assert isinstance(number, ast.Constant)
                rows.append((f"`{node.name}`", str(number.value)))
    return table(("test", "scenarios"), rows)


def replay() -> str:
    """Count what became of the events of the recorded workloads, at the page size they were recorded with."""
    rows = []
    for path in _recordings():
        outcomes = [result.outcome for result in compare(path, schemes=DEFAULT_SCHEMES, backend="count").results]
        if any(outcome != outcomes[0] for outcome in outcomes):
            raise DocsError(f"{path.name}: the events fare differently under {', '.join(DEFAULT_SCHEMES)}")
        rows.append((f"`{path.stem}`", *_counts(outcomes[0])))
    return table(("trace", "events", "applied", "no-ops", "failed", "dropped", "assumed"), rows)


def _recordings() -> Sequence[Path]:
    return sorted((TESTS / "data" / "traces").glob("*.parquet"))


def _counts(outcome: Outcome) -> tuple[str, ...]:
    numbers = (outcome.total, outcome.applied, outcome.noop, outcome.failed)
    return tuple(f"{number:,}" for number in (*numbers, sum(outcome.dropped.values()), sum(outcome.assumed.values())))


def replay_grids() -> str:
    """Count the events of the same programs that fail on larger pages."""
    rows = []
    for path in _recordings():
        for page, policy in GRIDS:
            outcome = simulate(path, scheme="large_mapcount", geometry=page, folio=policy, backend="count").outcome
            reasons = ", ".join(f"{failure.count} {failure.name}" for failure in outcome.failures) or "none"
            share = f"{100 * outcome.failed / outcome.total:.2f} %"
            rows.append((f"`{path.stem}`", f"{page} {policy}", f"{outcome.total:,}", share, reasons))
    return table(("trace", "pages", "events", "failed", "reasons"), rows)


_PIN_SCHEMES = tuple(f"`{scheme.partition(':')[2] or scheme}`" for scheme in pin_tables.SCHEMES)


def pins_false() -> str:
    """Say whom a count of references takes for pinned."""
    return table(("referred to by", "of them", *_PIN_SCHEMES), pin_tables.false_rows())


def pins_cost() -> str:
    """Say what that costs."""
    return table(("what", "kernel", *_PIN_SCHEMES), pin_tables.cost_rows())


def overflow() -> str:
    """Say how each reference count is driven over."""
    return table(
        ("scheme", "2 MiB folio", "of processes", "small folio", "forks", "pins", "then"), pin_tables.overflow_rows()
    )


BLOCKS: Mapping[str, Callable[[], str]] = {
    "overview": overview,
    **{f"scheme {name}": partial(scheme_section, name) for name in engine.names("schemes")},
    **{name: partial(make, table) for name, make in walk_tables.BLOCKS.items()},
    **{name: partial(make, table) for name, make in lock_tables.BLOCKS.items()},
    **{name: partial(make, table) for name, make in catastrophe_tables.BLOCKS.items()},
    "pins false": pins_false,
    "pins cost": pins_cost,
    "overflow": overflow,
    "policies": policies,
    "sizes": sizes,
    "rmw": lambda: _by_scheme_and_event(rmw_table()),
    "lines": lambda: _by_scheme_and_event(lines_table()),
    "kernels": kernels,
    "unmodelled": unmodelled,
    "errors": error_list,
    "golden": golden,
    "golden-skipped": golden_skipped,
    "random": random_scenarios,
    "replay": replay,
    "replay-grids": replay_grids,
}


# ---- files -------------------------------------------------------------------------------------------------------


def names_in(text: str, where: str) -> tuple[str, ...]:
    """Names of the generated parts of a text, in order.

    Raises
    ------
    DocsError
        If a part has no end, stands there twice, or is none this tool makes.
    """
    names = _BEGIN.findall(text)
    for name in names:
        if name not in BLOCKS:
            raise DocsError(f"{where}: no generated part is named {name!r}; there are {', '.join(BLOCKS)}")
        if names.count(name) > 1 or text.count(_end(name)) != 1:
            raise DocsError(f"{where}: {name!r} must begin once and end once")
    return tuple(names)


def _end(name: str) -> str:
    return f"<!-- end generated: {name} -->"


def filled(text: str, where: str) -> str:
    """Return a text with its generated parts made anew; errors as `names_in`."""
    for name in names_in(text, where):
        head, begin, rest = text.partition(f"<!-- begin generated: {name} -->")
        _, end, tail = rest.partition(_end(name))
        text = f"{head}{begin}\n{BLOCKS[name]()}\n{end}{tail}"
    return text


def pages() -> Sequence[Path]:
    """Files with generated parts."""
    return [path for path in sorted(DOCS.glob("*.md")) if _BEGIN.search(path.read_text(encoding="utf-8"))]


def main() -> int:
    """Rewrite, check, or print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--list", action="store_true")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.names if name not in BLOCKS]
    if unknown:
        parser.error(f"no generated part is named {unknown[0]!r}; there are {', '.join(BLOCKS)}")
    if arguments.list:
        print("\n".join(BLOCKS))
        return 0
    try:
        if arguments.names:
            print("\n\n".join(BLOCKS[name]() for name in arguments.names))
            return 0
        changed = False
        for path in pages():
            old = path.read_text(encoding="utf-8")
            new = filled(old, path.name)
            if new == old:
                continue
            changed = True
            print(f"{path.relative_to(ROOT)}: {'out of date' if arguments.check else 'rewritten'}")
            if not arguments.check:
                path.write_text(new, encoding="utf-8")
        return 1 if changed and arguments.check else 0
    except DocsError as error:
        print(f"make_docs.py: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
