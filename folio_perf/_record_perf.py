# SPDX-License-Identifier: BSD-3-Clause
"""perf: what it is asked to record, and the reading of what it wrote, at once or afterwards."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from select import select
from typing import IO, Final, Self

from folio_perf.traces import PerfScriptReader, RowBuilder, RowSource, TraceError

__all__ = [
    "EVENTS",
    "NotPermittedError",
    "Perf",
    "RecordError",
    "ScriptText",
    "find_perf",
    "follow",
    "is_perf_data",
    "live_script",
    "perf_data_source",
]

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
_MAGIC: Final = b"PERFILE2"
_PIPE_HEADER: Final = (16).to_bytes(8, "little")  # struct perf_pipe_file_header: magic and its own size, nothing else
_SHOWN: Final = ("--show-mmap-events", "--show-task-events", "--show-lost-events")
_POLL_S: Final = 0.05
_PING_S: Final = 0.2
_CHUNK_BYTES: Final = 1 << 20


class RecordError(ValueError):
    """A program that cannot be recorded: why, and what to do about it."""


class NotPermittedError(RecordError):
    """A recorder that is not there, or may not record."""


def find_perf() -> str:
    """Return the path of perf; raise NotPermittedError if there is none."""
    found = shutil.which("perf")
    if found is None:
        raise NotPermittedError(f"there is no perf: {_INSTALL}")
    return found


def _record_words(perf: str, pid: int, control: tuple[int, int]) -> list[str]:
    """Return the command that records a process and all it starts, written to standard output as it comes.

    Parameters
    ----------
    perf : str
    pid : int
    control : (int, int)
        File descriptors: perf starts when the first says ``enable``, and answers on the second.
    """
    events = [word for event in EVENTS for word in ("-e", event)]
    # Anonymous mappings are reported with --data alone; -q leaves the terminal to the program.
    fixed = ["record", "-q", "--data", "--sample-cpu", "-m", "8M", "-o", "-", "-p", str(pid)]
    return [perf, *fixed, "--control", f"fd:{control[0]},{control[1]}", "-D", "-1", *events]


def is_perf_data(path: str | os.PathLike[str]) -> bool:
    """Whether a file is a recording of perf."""
    with Path(path).open("rb") as stream:
        return stream.read(len(_MAGIC)) == _MAGIC


def is_stream(path: Path) -> bool:
    """Whether a recording of perf was written to a pipe; perf reads such a file from its standard input alone."""
    with path.open("rb") as stream:
        return stream.read(16) == _MAGIC + _PIPE_HEADER


class ScriptText:
    """The text that ``perf script`` makes of a recording, line by line.

    Parameters
    ----------
    words : sequence of str
        Arguments of perf script.
    stdin : file or int
        Where it reads.

    Attributes
    ----------
    complaint : str
        What perf said on standard error, once all lines have been read.
    status : int
        Its exit status, likewise.
    """

    def __init__(self, words: Sequence[str], *, stdin: IO[bytes] | int) -> None:
        self.complaint = ""
        self.status = 0
        self._said = tempfile.TemporaryFile()  # noqa: SIM115
        # A session of its own: Ctrl-C ends the program, not the reading.
        self._process = subprocess.Popen(
            [find_perf(), "script", *words],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=self._said,
            start_new_session=True,
        )

    @property
    def stdin(self) -> IO[bytes]:
        """Where to write what perf script shall read, if that is a pipe."""
        assert self._process.stdin is not None
        return self._process.stdin

    def __iter__(self) -> Iterator[str]:
        """Yield the lines; perf is ended with the iteration, however it ends."""
        assert self._process.stdout is not None
        try:
            for line in self._process.stdout:
                # A command's name may hold any bytes.
                yield line.decode("utf-8", "backslashreplace")
        except BaseException:
            self._process.kill()
            raise
        finally:
            self._process.stdout.close()
            self.status = self._process.wait()
            self._said.seek(0)
            self.complaint = self._said.read().decode("utf-8", "backslashreplace")
            self._said.close()

    def last_word(self) -> str:
        """Return the last line of the complaint."""
        lines = [line.strip() for line in self.complaint.splitlines() if line.strip()]
        return lines[-1] if lines else "perf says nothing"


class Perf:
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
                    _record_words(perf, pid, (control, answer)),
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
                raise NotPermittedError(
                    "perf may not record the page-fault and system-call tracepoints (they need root): "
                    f"{self.last_word()}"
                )
        except BaseException:
            self._close()
            raise
        os.set_blocking(tell, False)
        os.set_blocking(heard, False)
        self._next_ping = 0.0

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
        """Whether perf writes nothing any more; if it does, let it write what it has, every now and then.

        By itself perf waits until half a buffer of 8 MiB is full, which a kill of it would lose.
        """
        if self._process.poll() is not None:
            return True
        if (now := time.monotonic()) >= self._next_ping:
            self._next_ping = now + _PING_S
            _, tell, heard, _ = self._control
            with suppress(BlockingIOError):
                os.read(heard, 1 << 12)
            with suppress(BlockingIOError):
                os.write(tell, b"ping\n")
        return False

    def failure(self) -> str:
        """Return why perf, which has ended, did not write everything; empty if it did."""
        status = self._process.wait()
        if status in (0, -signal.SIGINT):
            return ""
        return self.last_word() or ("perf was killed" if status < 0 else f"perf ended with status {status}")

    def last_word(self) -> str:
        """Return what perf complained of, in one line."""
        self._said.seek(0)
        lines = [line.strip() for line in self._said.read().decode("utf-8", "backslashreplace").splitlines()]
        return " ".join(line for line in lines[:4] if line)


def follow(data: Path, has_ended: Callable[[], bool], pipe: IO[bytes]) -> threading.Thread:
    """Write a growing file to a pipe, in a thread of its own, until nothing can come any more.

    Parameters
    ----------
    data : Path
    has_ended : callable
        Whether whoever writes the file has ended.
    pipe : file
        Closed at the end.
    """

    def copy() -> None:
        try:
            with data.open("rb") as stream, pipe:
                while True:
                    ended = has_ended()  # asked before reading: what was written before the end is read
                    if chunk := stream.read(_CHUNK_BYTES):
                        pipe.write(chunk)
                        pipe.flush()
                    elif ended:
                        return
                    else:
                        waited.wait(_POLL_S)
        except OSError:  # perf script has gone; its status tells why
            return

    waited = threading.Event()
    thread = threading.Thread(target=copy, name="follow", daemon=True)
    thread.start()
    return thread


def live_script(stdin: IO[bytes] | int) -> ScriptText:
    """Read a recording that comes from a pipe, or was written to one."""
    return ScriptText(["-f", "-i", "-", *_SHOWN], stdin=stdin)


def perf_data_source(path: str | os.PathLike[str], *, name: str = "", command: str = "") -> RowSource:
    """Read a recording of perf, ``perf.data`` or the same from a pipe, complete or cut short.

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
    """
    source = Path(path)
    kernel, recorded = _described(source)
    attached = re.search(r" -p (\d+) ", recorded)
    builder = RowBuilder(4096, starts_with=int(attached[1]) if attached else None)
    # A recording of a process that was there already does not name its program.
    reader = PerfScriptReader(builder, kernel=kernel, command=command or ("" if attached else recorded))
    return RowSource(
        reader,
        _data_lines(source, builder),
        name=name or source.name.removesuffix(".data").removesuffix(".perf"),
        source=source.name,
        origin=f"perf, {source.name}",
    )


def _described(source: Path) -> tuple[str, str]:
    """Return kernel release and command line of a recording; apart from its events, for the latter may have lines."""
    if is_stream(source):
        with source.open("rb") as stream:
            lines = iter(ScriptText(["-f", "-i", "-", "--header"], stdin=stream))
            head = []
            for line in lines:
                if not line.startswith("#"):
                    break
                head.append(line)
            lines.close()  # type: ignore[attr-defined]
    else:
        head = list(ScriptText(["-f", "-i", str(source), "--header-only"], stdin=subprocess.DEVNULL))
    text = "".join(head)
    kernel = re.search(r"^# os release : (\S+)", text, re.MULTILINE)
    recorded = re.search(r"^# cmdline : (.*)", text, re.MULTILINE)
    return kernel[1] if kernel else "", recorded[1].strip() if recorded else ""


def _data_lines(source: Path, builder: RowBuilder) -> Iterator[str]:
    if is_stream(source):
        with source.open("rb") as stream:
            script = live_script(stream)
            yield from script
        cut = bool(script.status) or builder.has_living_root  # a stream does not say where it ends
    else:
        script = ScriptText(["-f", "-i", str(source), *_SHOWN], stdin=subprocess.DEVNULL)
        yield from script
        cut = bool(script.status) or "size field is 0" in script.complaint
    if not builder.has_rows:
        raise TraceError(f"no events: {script.last_word()}", source=source.name)
    if cut:
        builder.assumed["recording_cut_short"] = 1
