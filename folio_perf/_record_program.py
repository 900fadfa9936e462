# SPDX-License-Identifier: BSD-3-Clause
"""The program that is recorded, and what its processes had mapped as they exited."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import FrameType
from typing import IO, Final, Self

from folio_perf import _record_tracer
from folio_perf._record_perf import RecordError

__all__ = ["ENDING", "Program"]

ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""These end the recording, not the conversion of what was recorded."""

_GRACE_S: Final = 2.0  # for a program to end after SIGTERM, so that its exit is still recorded


class Program:
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
        self._at_end: Callable[[], object] = bool
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
        self._before = {number: signal.signal(number, self._signalled) for number in ENDING}
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

    def start(self, *, at_end: Callable[[], object]) -> None:
        """Let the child become the program; `at_end` is called, from another thread, once it has ended."""
        if self.ended_by is not None:
            raise RecordError(f"{self.ended_by.name} before the program began")
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
