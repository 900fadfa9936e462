# SPDX-License-Identifier: BSD-3-Clause
"""Runs the program that is recorded and looks at each of its processes as it exits.

A program of its own, started by path, so that it shares no thread and no memory with the recorder::

    _record_tracer.py GATE REPORT COMMAND...

It needs nothing but the standard library. The child that becomes COMMAND waits for a byte on file descriptor GATE,
while perf attaches to it. The kernel stops a traced task at PTRACE_EVENT_EXIT, before its address space is taken
down; that is when smaps is read. On file descriptor REPORT stand lines::

    child PID             the child, before it has become COMMAND
    untraced REASON       nothing will be known of Rss at exit
    rss PID BYTES         of a process, as its last thread exits
    gone PID              a process that was waited for; its pid may be used again
    end STATUS            COMMAND has ended; status as a shell has it

Processes that outlive COMMAND are let go.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import Any

# include/uapi/linux/ptrace.h, wait.h
CONT, GETEVENTMSG, SEIZE, LISTEN = 7, 0x4201, 0x4206, 0x4208
OPTIONS = 0x2 | 0x4 | 0x8 | 0x10 | 0x40  # PTRACE_O_TRACE FORK, VFORK, CLONE, EXEC, EXIT
EVENT_EXEC, EVENT_EXIT, EVENT_STOP = 4, 6, 128
WALL = 0x40000000
GROUP_STOPS = (signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)
FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
libc.ptrace.restype = ctypes.c_long


def _read(path: str) -> str:
    try:
        with open(path) as stream:  # noqa: PTH123
            return stream.read()
    except OSError:
        return ""


def _field(text: str, name: str) -> int | None:
    """Return the number that follows ``name:`` at the start of a line of a /proc file."""
    for line in text.splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    return None


class Tracer:
    """Follows a process and all it starts, until it has ended."""

    def __init__(self, child: int, report: int) -> None:
        self.child = child
        self.report = report
        self.group: dict[int, int] = {}  # thread -> its process
        self.threads: dict[int, set[int]] = {}  # process -> its threads

    def say(self, text: str) -> None:
        os.write(self.report, f"{text}\n".encode())

    def note(self, tid: int) -> int | None:
        """Return the process of a thread; remember both."""
        pid = self.group.get(tid)
        if pid is None:
            pid = _field(_read(f"/proc/{tid}/status"), "Tgid")
            if pid is not None:
                self.group[tid] = pid
                self.threads.setdefault(pid, set()).add(tid)
        return pid

    def stopped(self, tid: int, event: int) -> None:
        pid = self.note(tid)
        if pid is None:
            return
        if event == EVENT_EXEC:  # the thread that calls exec becomes the only one, and the leader
            for other in self.threads.pop(pid, set()) - {pid}:
                self.group.pop(other, None)
            self.group[pid], self.threads[pid] = pid, {pid}
        elif event == EVENT_EXIT:
            self.threads[pid].discard(tid)
            if self.threads[pid]:
                return
            kib = _field(_read(f"/proc/{tid}/smaps_rollup"), "Rss")
            if kib is not None:
                self.say(f"rss {pid} {kib << 10}")

    def ended(self, tid: int) -> None:
        pid = self.group.pop(tid, None)
        if pid is None:
            return
        self.threads.get(pid, set()).discard(tid)
        if pid == tid:
            self.threads.pop(pid, None)
            self.say(f"gone {pid}")

    def run(self) -> int:
        """Follow until the child has ended; return its status."""
        while True:
            tid, status = os.waitpid(-1, WALL)
            if not os.WIFSTOPPED(status):
                self.ended(tid)
                if tid == self.child:
                    code = os.waitstatus_to_exitcode(status)
                    return code if code >= 0 else 128 - code
                continue
            stop, event = os.WSTOPSIG(status), status >> 16
            self.stopped(tid, event)
            if event == EVENT_STOP and stop in GROUP_STOPS:
                libc.ptrace(LISTEN, tid, None, None)
            else:
                # Stops with an event are ours; all other signals are for the program.
                libc.ptrace(CONT, tid, None, None if event else stop)


def _become(command: list[str], gate: int, before: dict[signal.Signals, Any]) -> None:
    """Wait at the gate, then become the program, which finds signals as they were found here."""
    go = os.read(gate, 1)
    if not go:
        os._exit(0)
    for number, handler in before.items():
        signal.signal(number, handler)
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execvp(command[0], command)
    except OSError as error:
        os.write(2, f"{command[0]}: {error.strerror}\n".encode())
        os._exit(127 if isinstance(error, FileNotFoundError) else 126)


def main(gate: int, report: int, command: list[str]) -> int:
    """Run the program to its end."""
    # Ctrl-C is for the program and for the recorder, which tells us by ending the program.
    before = {number: signal.signal(number, signal.SIG_IGN) for number in FORWARDED}
    os.set_inheritable(gate, False)
    os.set_inheritable(report, False)
    child = os.fork()
    if not child:
        _become(command, gate, before)
    os.close(gate)
    tracer = Tracer(child, report)
    if libc.ptrace(SEIZE, child, None, OPTIONS):
        tracer.say(f"untraced {os.strerror(ctypes.get_errno())}")
    tracer.note(child)
    tracer.say(f"child {child}")
    try:
        tracer.say(f"end {tracer.run()}")
    except BrokenPipeError:  # the recorder has gone; the program goes on without us
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]))
