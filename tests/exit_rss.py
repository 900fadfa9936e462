# SPDX-License-Identifier: BSD-3-Clause
"""Run a program and write what smaps says of each of its processes as it exits: ``exit_rss.py OUT COMMAND...``.

The kernel stops a traced process at PTRACE_EVENT_EXIT, before it takes its address space down. OUT gets one line per
process: pid and Rss in KiB.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from pathlib import Path

# include/uapi/linux/ptrace.h, wait.h
TRACEME, CONT, SETOPTIONS = 0, 7, 0x4200
O_FORK, O_VFORK, O_CLONE, O_EXIT, O_EXITKILL = 0x2, 0x4, 0x8, 0x40, 0x100000
EVENT_EXIT = 6
WALL = 0x40000000

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
libc.ptrace.restype = ctypes.c_long


def rss_kib(pid: int) -> int | None:
    """Return Rss of a process; None for a thread that is not the leader of its group, and where no mm is left."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        leader = f"Tgid:\t{pid}\n" in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if leader and line.startswith("Rss:")), None)


def main(out: str, command: list[str]) -> int:
    """Run the program to the end of its last process; return its exit status."""
    child = os.fork()
    if not child:
        libc.ptrace(TRACEME, 0, None, None)
        os.execvp(command[0], command)
    result, known, found = 1, {child}, []
    options = O_FORK | O_VFORK | O_CLONE | O_EXIT | O_EXITKILL
    _, status = os.waitpid(child, WALL)
    libc.ptrace(SETOPTIONS, child, None, options)
    libc.ptrace(CONT, child, None, None)
    while True:
        try:
            pid, status = os.waitpid(-1, WALL)
        except ChildProcessError:
            break
        if not os.WIFSTOPPED(status):
            result = os.waitstatus_to_exitcode(status) if pid == child else result
            continue
        stop, event = os.WSTOPSIG(status), status >> 16
        if event == EVENT_EXIT and (rss := rss_kib(pid)) is not None:
            found.append(f"{pid} {rss}\n")
        # A new child stops by SIGSTOP; execs and events stop by SIGTRAP. All else is for the program.
        ours = event or stop == signal.SIGTRAP or (stop == signal.SIGSTOP and pid not in known)
        known.add(pid)
        libc.ptrace(CONT, pid, None, None if ours else stop)
    Path(out).write_text("".join(found))
    return result


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
