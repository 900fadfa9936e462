# SPDX-License-Identifier: BSD-3-Clause
"""Record a real program, and read what a recorder has written.

perf writes its data beside the trace while the program runs. Meanwhile ``perf script`` turns the data into text, the
text becomes rows, and the rows go into the trace. If that does not end well, because the recorder was killed or the
disk is full, the data stay and `import_perf_data` reads as much of them as there is.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from select import select
from types import FrameType
from typing import IO, Final, Self

import pyarrow as pa

from folio_perf import _record_tracer
from folio_perf._record_perf import (
    EVENTS,
    RecordError,
    find_perf,
    follow,
    is_perf_data,
    live_script,
    perf_data_source,
    record_words,
)
from folio_perf.traces import PerfScriptReader, RowBuilder, RowSource, Trace, TraceError, TraceHeader

__all__ = [
    "EVENTS",
    "RecordError",
    "Recording",
    "data_path",
    "import_perf_data",
    "is_perf_data",
    "perf_data_source",
    "record",
]

# These end the recording, not the conversion of what was recorded.
_ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_GRACE_S: Final = 2.0  # for a program to end after SIGTERM, so that its exit is still recorded
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
    exit_status : int
        Of the program, as a shell has it; 128 and the signal's number if one ended it.
    interrupted : bool
        A signal to the recorder ended the recording.
    cut_short : str
        Why the recorder ended before the program did; empty if it did not.
    untraced : str
        Why nothing is known of Rss at exit; empty if it is.
    """

    path: Path
    header: TraceHeader
    exit_status: int
    interrupted: bool
    cut_short: str = ""
    untraced: str = ""


def data_path(trace: str | os.PathLike[str]) -> Path:
    """Return where perf's data are kept while TRACE is being recorded: ``TRACE.perf.data``."""
    path = Path(trace)
    return path.with_name(f"{path.name}.perf.data")


def record(command: Sequence[str], target: str | os.PathLike[str]) -> Recording:
    """Run a program under perf and write its trace while it runs.

    SIGINT, SIGTERM and SIGHUP end the program and the recording, not the conversion. perf's data are removed once the
    trace is written.

    Parameters
    ----------
    command : sequence of str
        Program and arguments.
    target : str or path
        Where to write the trace.

    Raises
    ------
    RecordError
        If perf is missing or not permitted, or the program cannot be found; or if the trace cannot be written, after
        which perf's data are still there.
    TraceError
        If perf's data are no recording.
    OSError
        If the data cannot be written.
    """
    if not command or shutil.which(command[0]) is None:
        raise RecordError(f"no program {command[0] if command else ''!r} to run")
    perf = find_perf()
    data = data_path(target)
    if data.exists():
        raise RecordError(f"{data} exists: an earlier recording; import or remove it")
    if not data.parent.is_dir():
        raise RecordError(f"{data.parent} is no directory")
    with _Program(command) as program, _Perf(perf, program.pid, data) as recorder:
        program.start(at_end=recorder.end)
        try:
            header = _convert(program, recorder, Path(target), shlex.join(command))
        except (OSError, pa.ArrowException) as error:
            raise RecordError(
                f"the trace cannot be written: {error}; what was recorded stays in {data}, "
                "folio-perf import reads it where there is room"
            ) from error
        cut_short = "" if program.has_ended or program.ended_by else recorder.last_word() or "perf was killed"
        program.end()
        status = program.wait()
    data.unlink()
    return Recording(
        path=Path(target),
        header=header,
        exit_status=status,
        interrupted=program.ended_by is not None,
        cut_short=cut_short,
        untraced=program.untraced,
    )


def _convert(program: _Program, recorder: _Perf, target: Path, command: str) -> TraceHeader:
    """Write the trace while perf writes its data."""
    builder = RowBuilder(4096, starts_with=program.pid, exit_rss=program.take_rss)
    reader = PerfScriptReader(builder, kernel=os.uname().release, command=command)
    script = live_script(subprocess.PIPE)
    thread = follow(recorder.data, recorder.has_ended, script.stdin)

    def lines() -> Iterator[str]:
        yield from script
        if not builder.has_rows:
            raise TraceError(f"no events: {script.last_word()}", source=recorder.data.name)
        if not program.has_ended and not program.ended_by:
            builder.assumed["recording_cut_short"] = 1

    source = RowSource(reader, lines(), name=target.name, source=recorder.data.name, origin="folio-perf record, perf")
    try:
        return source.to_file(target, compression_level=_COMPRESSION_LEVEL)
    finally:
        thread.join(timeout=_GRACE_S)


class _Program:
    """The program that is recorded, under the tracer; it waits until `start`.

    A signal that would end us ends it.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self.untraced = ""
        self.has_ended = False
        self.ended_by: signal.Signals | None = None
        self._status: int | None = None
        self._rss: dict[int, deque[tuple[int, bool]]] = {}
        self._started = False
        self._at_end: Callable[[], None] = bool
        report, said = os.pipe()
        wait, self._gate = os.pipe()
        try:
            self._tracer = subprocess.Popen(
                [sys.executable, "-I", "-S", _record_tracer.__file__, str(wait), str(said), *command],
                pass_fds=(wait, said),
            )
        finally:
            os.close(wait)
            os.close(said)
        self._report: IO[str] = os.fdopen(report)
        self.pid = self._first_words()

    def _first_words(self) -> int:
        for line in self._report:
            word, _, rest = line.rstrip("\n").partition(" ")
            if word == "child":
                return int(rest)
            self.untraced = rest
        raise RecordError("the tracer did not start")

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._signalled) for number in _ENDING}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if not self._started:
            os.close(self._gate)  # the child ends without having become the program
        self.end()
        self._tracer.wait()
        if self._started:
            self._listener.join()
        self._report.close()

    def start(self, *, at_end: Callable[[], None]) -> None:
        """Let the child become the program; `at_end` is called, from another thread, once it has ended."""
        self._at_end = at_end
        self._started = True
        os.write(self._gate, b"x")
        os.close(self._gate)
        self._listener = threading.Thread(target=self._listen, name="tracer", daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        for line in self._report:
            word, *numbers = line.split()
            if word == "rss":
                samples = self._rss.setdefault(int(numbers[0]), deque())
                if samples and not samples[-1][1]:
                    samples.pop()  # of a thread that turned out not to be the last
                samples.append((int(numbers[1]), False))
            elif word == "gone":
                samples = self._rss.get(int(numbers[0]), deque())
                if samples:
                    samples.append((samples.pop()[0], True))
            elif word == "end":
                self._status = int(numbers[0])
        self.has_ended = True
        self._at_end()

    def take_rss(self, pid: int) -> int:
        """Return the Rss in bytes that a process had when it exited, 0 if unknown; then that of the next of its pid."""
        samples = self._rss.get(pid)
        return samples.popleft()[0] if samples else 0

    def _signalled(self, number: int, _: FrameType | None) -> None:
        self.ended_by = signal.Signals(number)
        self.end()
        timer = threading.Timer(_GRACE_S, self._at_end)
        timer.daemon = True
        timer.start()

    def end(self) -> None:
        """Ask the program to end, if it has not."""
        if self._started and not self.has_ended:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGTERM)

    def wait(self) -> int:
        """Wait for the program; return its exit status."""
        self._tracer.wait()
        self._listener.join()
        return self._status if self._status is not None else 128 + signal.SIGKILL


class _Perf:
    """perf, recording a process and all it starts, from the beginning of the context on."""

    def __init__(self, perf: str, pid: int, data: Path) -> None:
        self.data = data
        self._said = tempfile.TemporaryFile()  # noqa: SIM115
        # perf takes a closed end of these for an error.
        self._control = (*os.pipe(), *os.pipe())
        control, tell, heard, answer = self._control
        try:
            with data.open("xb") as out:
                # A session of its own: Ctrl-C ends the program, which ends the recording.
                self._process = subprocess.Popen(
                    record_words(perf, pid, (control, answer)),
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=self._said,
                    pass_fds=(control, answer),
                    start_new_session=True,
                )
            os.write(tell, b"enable\n")
            while self._process.poll() is None and not select([heard], [], [], 0.1)[0]:
                pass
            if self._process.poll() is not None:
                data.unlink()
                raise RecordError(
                    "perf may not record the page-fault and system-call tracepoints (they need root): "
                    f"{self.last_word()}"
                )
        except BaseException:
            self._close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()
        self._process.wait()
        self._close()

    def _close(self) -> None:
        for descriptor in self._control:
            os.close(descriptor)
        self._said.close()

    def end(self) -> None:
        """Let perf write what it has, and end."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)

    def has_ended(self) -> bool:
        """Whether perf writes nothing any more."""
        return self._process.poll() is not None

    def last_word(self) -> str:
        """Return what perf complained of, in one line."""
        self._said.seek(0)
        lines = [line.strip() for line in self._said.read().decode("utf-8", "backslashreplace").splitlines()]
        return " ".join(line for line in lines[:4] if line)


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
