# SPDX-License-Identifier: BSD-3-Clause
"""The command itself: how it starts, what it prints on, and how wrong inputs end it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, NoReturn, TypeVar

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.text import Text
from typer.core import TyperGroup

import folio_perf

__all__ = ["RefusedError", "app", "checked", "inputs", "main", "print_json", "progress_bar", "show_text"]

PROGRAM = "folio-perf"
INTERRUPTED = 130

_T = TypeVar("_T")


# ---- how things go wrong -----------------------------------------------------------------------------------------


class RefusedError(Exception):
    """The command line or an input is wrong; the text says what and which rule."""

    exit_code = 2

    def format_message(self) -> str:
        """Return the text, as typer asks its own errors for theirs."""
        return str(self)


class _Commands(TyperGroup):
    """All commands. Errors of the user become one line and an exit status; errors of ours keep their traceback."""

    def main(self, *args: Any, **extra: Any) -> Any:
        if not extra.get("standalone_mode", True):
            return super().main(*args, **extra)
        extra["standalone_mode"] = False
        try:
            # Without standalone mode an exit status asked for comes back as the result.
            status = super().main(*args, **extra)
            sys.stdout.flush()
        except (KeyboardInterrupt, typer.Abort):
            status = INTERRUPTED
        except BrokenPipeError:
            # Whoever read our output has had enough of it; nobody is left to tell.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            status = 1
        except Exception as error:
            # Errors of typer, whose classes moved between its versions, and `RefusedError`.
            if not hasattr(error, "format_message"):
                raise
            print(f"{PROGRAM}: {_one_line(error.format_message())}", file=sys.stderr)
            status = getattr(error, "exit_code", 2)
        if status == INTERRUPTED:
            print(f"{PROGRAM}: interrupted", file=sys.stderr)
        sys.exit(status or 0)


def _one_line(text: str) -> str:
    return "; ".join(line.strip().rstrip(":") for line in text.splitlines() if line.strip())


@contextmanager
def inputs(option: str = "") -> Iterator[None]:
    """Turn what a wrong input raises into `RefusedError`; `option` is named if it is not in the message."""
    try:
        yield
    except MemoryError as error:
        raise RefusedError(str(error) or "out of memory") from error
    except ValueError as error:
        raise RefusedError(f"{option}: {error}" if option else str(error)) from error
    except BrokenPipeError:
        raise
    except OSError as error:
        raise RefusedError(f"{error.filename or option}: {error.strerror or error}") from error


def checked(option: str, read: Callable[[str], _T], value: str) -> _T:
    """Read the value of an option; what `read` raises becomes `RefusedError`."""
    with inputs(option):
        return read(value)


# ---- output ------------------------------------------------------------------------------------------------------


def show_text(text: Text) -> None:
    """Print a report: with styles on a terminal, plain elsewhere; never rewrapped."""
    Console(highlight=False).print(text, end="", soft_wrap=True)


def print_json(value: object) -> None:
    """Print one JSON value."""
    print(json.dumps(value))


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[[int, int], None] | None]:
    """Show a bar on standard error while it is a terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


# ---- the command -------------------------------------------------------------------------------------------------

app = typer.Typer(
    cls=_Commands,
    name=PROGRAM,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="What Linux folio mapcount designs cost: cache lines, atomics, wrong answers.",
)


@app.callback(invoke_without_command=True)
def _start(
    context: typer.Context, version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False
) -> None:
    if version:
        print(f"{PROGRAM} {folio_perf.__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        print(context.get_help())


def main() -> NoReturn:
    """Run the command line; ends the process."""
    try:
        app(prog_name=PROGRAM)
    except SystemExit as end:
        if end.code != INTERRUPTED:
            raise
        # Python would wait for threads that may be deep in a long event; whoever pressed Ctrl-C would not.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(INTERRUPTED)
    sys.exit(0)
