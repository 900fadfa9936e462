# SPDX-License-Identifier: BSD-3-Clause
"""Record a real program, and read what a recorder has written.

perf writes its data beside the trace while the program runs. Meanwhile ``perf script`` turns the data into text, the
text becomes rows, and the rows go into the trace. If that does not end well, because the recorder was killed or the
disk is full, the data stay and can be imported as far as they go. Where perf may not record, strace does, and pagemap
is looked at.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Final

import pyarrow as pa

from folio_perf._record_perf import (
    EVENTS,
    NotPermittedError,
    Perf,
    RecordError,
    find_perf,
    follow,
    is_perf_data,
    live_script,
    perf_data_source,
)
from folio_perf._record_program import ENDING, Program
from folio_perf._record_residency import absent_ranges
from folio_perf._record_strace import Strace, find_strace
from folio_perf.traces import (
    PerfScriptReader,
    RowBuilder,
    RowSource,
    StraceReader,
    Trace,
    TraceError,
    TraceHeader,
)

__all__ = [
    "EVENTS",
    "METHODS",
    "RecordError",
    "Recording",
    "data_path",
    "import_perf_data",
    "is_perf_data",
    "perf_data_source",
    "record",
]

METHODS: Final = ("auto", "perf", "strace")
"""How to record; ``auto`` is perf, and strace where perf is missing or not permitted."""

_COMPRESSION_LEVEL: Final = 3  # the program runs at the same time


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """What was recorded.

    Parameters
    ----------
    path : Path
        The trace.
    header : TraceHeader
        Of the trace.
    method : str
        ``perf`` or ``strace``.
    exit_status : int
        Of the program, as a shell has it; 128 and the signal's number if one ended it.
    interrupted : bool
        A signal to the recorder ended the recording.
    cut_short : str
        Why the recorder ended before the program did; empty if it did not.
    no_perf : str
        Why perf did not record; empty if it did, or was not asked to.
    no_rss : str
        Why nothing is known of Rss at exit; empty if it is.
    """

    path: Path
    header: TraceHeader
    method: str
    exit_status: int
    interrupted: bool
    cut_short: str = ""
    no_perf: str = ""
    no_rss: str = ""


def data_path(trace: str | os.PathLike[str], method: str = "perf") -> Path:
    """Return where is kept what the recorder writes: ``TRACE.perf.data``, or ``TRACE.strace``."""
    path = Path(trace)
    return path.with_name(f"{path.name}.{'perf.data' if method == 'perf' else method}")


def record(command: Sequence[str], target: str | os.PathLike[str], *, method: str = "auto") -> Recording:
    """Run a program and write its trace while it runs.

    SIGINT, SIGTERM and SIGHUP end the program and the recording, not the conversion. What the recorder wrote is
    removed once the trace is written.

    Parameters
    ----------
    command : sequence of str
        Program and arguments.
    target : str or path
        Where to write the trace.
    method : str
        One of `METHODS`.

    Raises
    ------
    ValueError
        If there is no such method.
    RecordError
        If the recorder is missing or not permitted, or the program cannot be found; or if the trace cannot be
        written, after which what the recorder wrote is still there.
    TraceError
        If the recorder wrote no recording.
    OSError
        If the recorder's data cannot be written.
    """
    if method not in METHODS:
        raise ValueError(f"method {method!r} is none of {', '.join(METHODS)}")
    if not command or shutil.which(command[0]) is None:
        raise RecordError(f"no program {command[0] if command else ''!r} to run")
    for each in METHODS[1:]:
        data = data_path(target, each)
        if data.exists():
            raise RecordError(f"{data} exists: an earlier recording; import or remove it")
    if not Path(target).parent.is_dir():
        raise RecordError(f"{Path(target).parent} is no directory")
    if method == "strace":
        return _record_by_strace(command, Path(target), "")
    try:
        return _record_by_perf(command, Path(target))
    except NotPermittedError as error:
        if method == "perf":
            raise
        if shutil.which("strace") is None:
            raise RecordError(f"{error}; nor is there strace, which could record less") from error
        return _record_by_strace(command, Path(target), str(error))


def _write(source: RowSource, target: Path, data: Path) -> TraceHeader:
    try:
        return source.to_file(target, compression_level=_COMPRESSION_LEVEL)
    except (OSError, pa.ArrowException) as error:
        raise RecordError(
            f"the trace cannot be written: {error}; what was recorded stays in {data}, "
            "folio-perf import reads it where there is room"
        ) from error


# ---- perf --------------------------------------------------------------------------------------------------------


def _record_by_perf(command: Sequence[str], target: Path) -> Recording:
    perf = find_perf()
    data = data_path(target)
    with Program(command) as program, Perf(perf, program.pid, data) as recorder:
        program.start(at_end=recorder.end)
        header = _convert(program, recorder, target, shlex.join(command))
        cut_short = recorder.failure()
        program.end()
        status = program.wait()
    data.unlink()
    return Recording(
        path=target,
        header=header,
        method="perf",
        exit_status=status,
        interrupted=program.ended_by is not None,
        cut_short=cut_short,
        no_rss=program.untraced,
    )


def _convert(program: Program, recorder: Perf, target: Path, command: str) -> TraceHeader:
    """Write the trace while perf writes its data."""
    builder = RowBuilder(4096, starts_with=program.pid, exit_rss=program.take_rss)
    reader = PerfScriptReader(builder, kernel=os.uname().release, command=command)
    script = live_script(subprocess.PIPE)
    follow(recorder.data, recorder.has_ended, script.stdin)

    def lines() -> Iterator[str]:
        yield from script
        if not recorder.has_ended():
            raise TraceError(f"perf script ended early: {script.last_word()}", source=recorder.data.name)
        if not builder.has_rows:
            raise TraceError(f"no events: {script.last_word()}", source=recorder.data.name)
        if builder.has_living_root or recorder.failure():
            builder.assumed["recording_cut_short"] = 1

    source = RowSource(
        reader,
        lines(),
        name=target.name,
        source=recorder.data.name,
        origin="folio-perf record, perf",
        absent=absent_ranges,
    )
    return _write(source, target, recorder.data)


# ---- strace ------------------------------------------------------------------------------------------------------


def _record_by_strace(command: Sequence[str], target: Path, no_perf: str) -> Recording:
    log = data_path(target, "strace")
    strace = Strace(find_strace(), command, log)
    builder = RowBuilder(os.sysconf("SC_PAGE_SIZE"), exit_rss=strace.take_rss)
    reader = StraceReader(
        builder, kernel=os.uname().release, command=shlex.join(command), execs_before=strace.execs_before
    )
    ended_by: list[int] = []

    def end(number: int, _: FrameType | None) -> None:
        ended_by.append(number)
        strace.end()

    def lines() -> Iterator[str]:
        yield from strace.lines(reader)
        if not builder.has_rows:
            raise NotPermittedError(f"strace may not record {command[0]} (exit status {strace.wait()})")
        if strace.status is None:
            builder.assumed["recording_cut_short"] = 1

    source = RowSource(
        reader,
        lines(),
        name=target.name,
        source=log.name,
        origin="folio-perf record, strace",
        absent=absent_ranges,
    )
    before = {number: signal.signal(number, end) for number in ENDING}
    try:
        header = _write(source, target, log)
    finally:
        cut_short = strace.status is None and not ended_by
        strace.end()
        status = strace.wait()
        for number, handler in before.items():
            signal.signal(number, handler)
    log.unlink()
    return Recording(
        path=target,
        header=header,
        method="strace",
        exit_status=status,
        interrupted=bool(ended_by),
        cut_short="strace was killed" if cut_short else "",
        no_perf=no_perf,
    )


def import_perf_data(path: str | os.PathLike[str], *, name: str = "", command: str = "") -> Trace:
    """Read a recording of perf, ``perf.data``, complete or cut short; see `perf_data_source`.

    Raises
    ------
    RecordError
        If perf is missing.
    TraceError
        If perf finds no event in the file, or its text breaks a rule.
    """
    return perf_data_source(path, name=name, command=command).to_trace()
