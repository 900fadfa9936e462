# SPDX-License-Identifier: BSD-3-Clause
"""Record a real program with perf, and read what perf has written.

perf writes its data beside the trace while the program runs; when it has ended, ``perf script`` turns the data into
text and `import_perf_script` the text into a trace. If that does not happen, because the recorder was killed or the
disk is full, the data stay and `import_perf_data` reads as much of them as there is.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Final

from folio_perf.traces import Trace, TraceError, import_perf_script

__all__ = ["EVENTS", "RecordError", "Recording", "data_path", "import_perf_data", "record"]

_CALLS: Final = ("mmap", "munmap", "mremap", "mprotect", "madvise", "brk")
EVENTS: Final = (
    "task:task_newtask",
    "exceptions:page_fault_user",
    "exceptions:page_fault_kernel",
    "sched:sched_process_fork",
    "sched:sched_process_exec",
    "sched:sched_process_exit",
    *(f"syscalls:sys_{end}_{call}" for call in _CALLS for end in ("enter", "exit")),
)
"""Tracepoints that are recorded; task_newtask carries the clone flags."""

_INSTALL: Final = "install perf (Debian: linux-perf, Ubuntu: linux-tools-generic, Fedora: perf)"
# perf ends by itself on these, after it has written what it has; later ones must not stop the conversion.
_ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class RecordError(ValueError):
    """A program that cannot be recorded: why, and what to do about it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """What was recorded.

    Parameters
    ----------
    trace : Trace
    data : Path
        What perf wrote.
    exit_status : int
        Of the program, as a shell has it; 128 and the signal's number if one ended it.
    interrupted : bool
        A signal to the recorder ended the recording.
    """

    trace: Trace
    data: Path
    exit_status: int
    interrupted: bool


def data_path(trace: str | os.PathLike[str]) -> Path:
    """Return where perf's data are kept while TRACE is being recorded: ``TRACE.perf.data``."""
    path = Path(trace)
    return path.with_name(f"{path.name}.perf.data")


def record(command: Sequence[str], target: str | os.PathLike[str], *, name: str = "") -> Recording:
    """Run a program under perf.

    SIGINT, SIGTERM and SIGHUP end the recording, not the conversion. perf's data are left at `data_path`; whoever has
    written the trace may remove them.

    Parameters
    ----------
    command : sequence of str
        Program and arguments.
    target : str or path
        Where the trace is going to be written.
    name : str
        Of the trace; default the program's.

    Raises
    ------
    RecordError
        If perf is missing or not permitted, or the program cannot be found.
    TraceError
        If perf's data are no recording.
    OSError
        If the data cannot be written.
    """
    if not command or shutil.which(command[0]) is None:
        raise RecordError(f"no program {command[0] if command else ''!r} to run")
    perf = _perf()
    data = data_path(target)
    if data.exists():
        raise RecordError(f"{data} exists: an earlier recording; import or remove it")
    if not data.parent.is_dir():
        raise RecordError(f"{data.parent} is no directory")
    events = [word for event in EVENTS for word in ("-e", event)]
    _check_permitted(perf, events)
    # Anonymous mappings are reported with --data alone; -q leaves the terminal to the program.
    words = [perf, "record", "-q", "--data", "-m", "8M", "-o", str(data), *events, "--", *command]
    status, ended_by = _run(words)
    if not data.exists():
        raise RecordError(f"perf wrote nothing (exit status {status})")
    trace = import_perf_data(data, name=name or Path(command[0]).name, command=shlex.join(command))
    return Recording(trace=trace, data=data, exit_status=status, interrupted=ended_by is not None)


def _perf() -> str:
    found = shutil.which("perf")
    if found is None:
        raise RecordError(f"there is no perf: {_INSTALL}")
    return found


def _check_permitted(perf: str, events: Sequence[str]) -> None:
    """Record nothing, to hear from perf what it may not do before the program has run."""
    with tempfile.TemporaryDirectory() as folder:
        probe = subprocess.run(
            [perf, "record", "-q", "--data", "-o", f"{folder}/probe", *events, "--", "true"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    if probe.returncode:
        said = " ".join(line.strip() for line in probe.stderr.splitlines()[:4] if line.strip())
        raise RecordError(f"perf may not record the page-fault and system-call tracepoints (they need root): {said}")


def _run(words: Sequence[str]) -> tuple[int, signal.Signals | None]:
    """Run perf to its end; a signal that would end us ends perf, which ends the program."""
    ended_by: list[signal.Signals] = []
    child: subprocess.Popen[bytes] | None = None

    def end(number: int, _: FrameType | None) -> None:
        ended_by.append(signal.Signals(number))
        if child is not None and child.poll() is None:
            child.send_signal(signal.SIGINT)

    before = {number: signal.signal(number, end) for number in _ENDING}
    try:
        child = subprocess.Popen(words)
        if ended_by:
            child.send_signal(signal.SIGINT)
        status = child.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return (status if status >= 0 else 128 - status), (ended_by[0] if ended_by else None)


def import_perf_data(path: str | os.PathLike[str], *, name: str = "", command: str = "") -> Trace:
    """Read a recording of perf, ``perf.data``, complete or cut short.

    Where perf complains about the end of the data, what precedes it is kept and the header counts
    ``recording_cut_short`` among what is assumed.

    Parameters
    ----------
    path : str or path
    name : str
        Of the trace; default the file name without its suffixes.
    command : str
        What was recorded; default the command line of perf, the first line of it.

    Raises
    ------
    RecordError
        If perf is missing.
    TraceError
        If perf finds no event in the file, or its text breaks a rule.
    """
    source = Path(path)
    perf_script = [_perf(), "script", "-f", "-i", str(source)]
    # The header apart from the events: a command line in it may have lines of its own.
    header_text = subprocess.run(
        [*perf_script, "--header-only"], stdin=subprocess.DEVNULL, capture_output=True, check=False
    ).stdout.decode("utf-8", "backslashreplace")
    kernel = re.search(r"^# os release : (\S+)", header_text, re.MULTILINE)
    recorded = re.search(r"^# cmdline : (.*)", header_text, re.MULTILINE)
    words = [*perf_script, "--show-mmap-events", "--show-task-events"]
    with tempfile.TemporaryFile() as said:
        with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said) as perf:
            assert perf.stdout is not None
            try:
                trace = import_perf_script(
                    _decoded(perf.stdout),
                    name=name or source.name.removesuffix(".data").removesuffix(".perf"),
                    kernel=kernel[1] if kernel else "",
                    command=command or (recorded[1].strip() if recorded else ""),
                )
            except BaseException:
                perf.kill()
                raise
        said.seek(0)
        complaint = said.read().decode("utf-8", "backslashreplace")
    if not trace.rows.size:
        lines = [line.strip() for line in complaint.splitlines() if line.strip()]
        raise TraceError(f"no events: {lines[-1] if lines else 'perf says nothing'}", source=source.name)
    header = replace(trace.header, origin=f"perf, {source.name}")
    if perf.returncode or "size field is 0" in complaint:
        header = replace(header, assumed={**header.assumed, "recording_cut_short": 1})
    return replace(trace, header=header, source=source.name)


def _decoded(stream: Iterable[bytes]) -> Iterator[str]:
    for line in stream:
        yield line.decode("utf-8", "backslashreplace")
