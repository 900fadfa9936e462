# SPDX-License-Identifier: BSD-3-Clause
"""strace, where perf may not record: the calls from its log, the pages from looking at pagemap.

strace is asked to hold each process for a moment as it exits and after each exec. That is when it is looked at, and at
intervals in between. ``docs/traces.md`` says what such a recording lacks.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import IO, Final

import numpy as np

from folio_perf._record_perf import NotPermittedError
from folio_perf.traces import STRACE_CALLS, USER_END, PageEntries, StraceReader, Vma, parse_vma

__all__ = ["Strace", "find_strace"]

_INSTALL: Final = "install strace (Debian, Ubuntu, Fedora: strace)"
HELD_AT_EXEC_US: Final = 10_000
HELD_AT_EXIT_US: Final = 50_000
INTERVAL_S: Final = 0.05
_POLL_S: Final = 0.005
_SHARE_OF_TIME: Final = 10  # looking may take a tenth of it
_LARGEST_VMA_PAGES: Final = 1 << 22
_MOST_QUEUED: Final = 1000

_EXITING = re.compile(rb"(\d+) +\d+\.\d+ exit_group\(")
_EXECED = re.compile(r"(\d+) +\d+\.\d+ (?:execve(?:at)?\(.*|<\.\.\. execve(?:at)? resumed>.*)\) += 0(?: .*)?\n?")
_ENDED = re.compile(r"(\d+) +\d+\.\d+ \+\+\+ (?:exited with (\d+)|killed by (\w+).*) \+\+\+\n?")


def find_strace() -> str:
    """Return the path of strace; raise NotPermittedError if there is none."""
    found = shutil.which("strace")
    if found is None:
        raise NotPermittedError(f"there is no strace: {_INSTALL}")
    return found


class Strace:
    """A program under strace, and the lines of its log as they come.

    Parameters
    ----------
    strace : str
        As `find_strace` has it.
    command : sequence of str
        Program and arguments.
    log : Path
        Where strace writes its log.

    Attributes
    ----------
    status : int or None
        Of the program, once it has ended.
    """

    def __init__(self, strace: str, command: Sequence[str], log: Path) -> None:
        self.status: int | None = None
        self.root = 0
        self._rss: dict[int, int] = {}
        self._looked: set[bytes] = set()  # exits that have been looked at before their lines were whole
        self._queue: SimpleQueue[str | _Look | None] = SimpleQueue()
        self._failure: OSError | None = None
        self._cut_short = False
        # strace cannot hold the first program as it becomes itself; env is what that happens to.
        self.execs_before = 1
        words = [strace, "-f", "-q", "-ttt", "-y", "--seccomp-bpf", "-e", f"trace={','.join(STRACE_CALLS)}"]
        words += ["-e", f"inject=execve:delay_exit={HELD_AT_EXEC_US}"]
        words += ["-e", f"inject=exit_group:delay_enter={HELD_AT_EXIT_US}"]
        log.touch(exist_ok=False)
        self._log: IO[bytes] = log.open("rb", buffering=0)
        self._process = subprocess.Popen([*words, "-o", str(log), "env", *command])

    def take_rss(self, pid: int) -> int:
        """Return the Rss in bytes that a process had when it exited, 0 if unknown."""
        return self._rss.pop(pid, 0)

    def lines(self, reader: StraceReader) -> Iterator[str]:
        """Yield the lines of the log; between them, tell `reader` what the processes had mapped."""
        threading.Thread(target=self._watch, args=(reader,), name="strace", daemon=True).start()
        while (item := self._queue.get()) is not None:
            if isinstance(item, str):
                yield item
                continue
            if item.at_exit:
                self._rss[item.pid] = item.rss_bytes
            if item.at_exit and item.nr_skipped:
                reader.builder.assumed["vma_too_large_to_look_at"] += item.nr_skipped
            if item.vmas:
                reader.snapshot(item.pid, item.vmas)
            elif item.at_exit:
                reader.builder.assumed["exit_not_looked_at"] += 1
        if self._cut_short:
            reader.builder.dropped["line_cut_short"] += 1
        if self._failure is not None:
            raise self._failure

    def _watch(self, reader: StraceReader) -> None:
        """Read the log and look at processes when it is time, which making rows must not delay."""
        try:
            self._read_log(reader)
        except OSError as error:
            self._failure = error
            self.leave()
        finally:
            self._queue.put(None)

    def _read_log(self, reader: StraceReader) -> None:
        waiting = b""
        next_look = time.monotonic() + INTERVAL_S
        while True:
            ended = self._process.poll() is not None  # asked before reading: what was written before the end is read
            if chunk := self._log.read(1 << 16):
                *whole, waiting = (waiting + chunk).split(b"\n")
                for raw in whole:
                    self._exits(raw)
                    text = raw.decode("utf-8", "backslashreplace")
                    self._queue.put(text)
                    self._execs_and_ends(text)
                self._exits(waiting)  # strace writes how a call begins, then holds the process
            elif ended:
                self._cut_short = bool(waiting)
                return
            else:
                time.sleep(_POLL_S)
            if (began := time.monotonic()) >= next_look and self._queue.qsize() < _MOST_QUEUED:
                for pid in reader.living:
                    self._queue.put(_look(pid))
                now = time.monotonic()
                next_look = now + max(INTERVAL_S, _SHARE_OF_TIME * (now - began))

    def _exits(self, raw: bytes) -> None:
        exiting = _EXITING.match(raw)
        if exiting is None:
            return
        if exiting[0] in self._looked:
            self._looked.discard(exiting[0])
            return
        self._looked.add(exiting[0])
        tid = int(exiting[1])
        self._queue.put(_look(_field(tid, "status", "Tgid") or tid, at_exit=True))

    def _execs_and_ends(self, text: str) -> None:
        self.root = self.root or int(text.split(None, 1)[0])
        if execed := _EXECED.fullmatch(text):
            self._queue.put(_look(int(execed[1])))
        elif (ended := _ENDED.fullmatch(text)) and int(ended[1]) == self.root:
            self.status = int(ended[2]) if ended[2] else 128 + getattr(signal, ended[3], signal.SIGKILL)
            self.leave()

    def leave(self) -> None:
        """Let processes that outlive the program go; the log ends."""
        if self._process.poll() is None:
            self._process.kill()  # what it traces goes on

    def end(self) -> None:
        """Ask the program to end."""
        if self.status is None and self.root:
            with suppress(ProcessLookupError):
                os.kill(self.root, signal.SIGTERM)

    def wait(self) -> int:
        """Wait for strace; return the exit status of the program."""
        status = self._process.wait()
        self._log.close()
        return self.status if self.status is not None else (status if status >= 0 else 128 - status)


@dataclass(frozen=True, slots=True)
class _Look:
    """What a process had mapped; `vmas` is empty if it was gone."""

    pid: int
    vmas: list[tuple[Vma, PageEntries]]
    rss_bytes: int = 0
    at_exit: bool = False
    nr_skipped: int = 0  # VMAs that are too large to look at


def _look(pid: int, *, at_exit: bool = False) -> _Look:
    page = os.sysconf("SC_PAGE_SIZE")
    found = []
    skipped = 0
    try:
        with Path(f"/proc/{pid}/maps").open(errors="backslashreplace") as lines:
            vmas = [vma for line in lines if (vma := parse_vma(line.rstrip("\n")))]
        with Path(f"/proc/{pid}/pagemap").open("rb", buffering=0) as pagemap:
            for vma in vmas:
                nr = (vma.end - vma.start) // page
                if vma.end > USER_END or nr > _LARGEST_VMA_PAGES:
                    skipped += vma.end <= USER_END
                    nr = 0
                read = os.pread(pagemap.fileno(), 8 * nr, 8 * (vma.start // page))
                if len(read) != 8 * nr:
                    return _Look(pid, [], at_exit=at_exit)  # its address space is being taken down
                found.append((vma, np.frombuffer(read, dtype=np.uint64)))
    except OSError:
        return _Look(pid, [], at_exit=at_exit)
    rss = _field(pid, "smaps_rollup", "Rss") if at_exit else None
    return _Look(pid, found, rss_bytes=(rss or 0) << 10, at_exit=at_exit, nr_skipped=skipped)


def _field(pid: int, file: str, name: str) -> int | None:
    """Return the number that follows ``name:`` in a file of /proc/PID."""
    try:
        text = Path(f"/proc/{pid}/{file}").read_text()
    except OSError:
        return None
    found = re.search(rf"^{name}:\s+(\d+)", text, re.MULTILINE)
    return int(found[1]) if found else None
