# SPDX-License-Identifier: BSD-3-Clause
"""A family of processes that share memory in known ways, for tests that count who maps what.

Run as a program: ``live_processes.py NR_CHILDREN NR_THPS``. It maps NR_THPS huge pages, forks NR_CHILDREN children that
never touch them, shares 64 pages of memory of which the first 16 are touched by all, the next 16 by the parent and one
child, the rest by the parent alone, and maps one more page twice. Then it prints ``ready`` and waits for its standard
input to end. Nothing of folio_perf is imported.
"""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

THP = 2 << 20
NR_SHARED = 64
BY_ALL, BY_TWO = 16, 16


def touch(memory: mmap.mmap, first: int, nr: int) -> None:
    for page in range(first, first + nr):
        memory[page * mmap.PAGESIZE] = 1


def parent(nr_children: int, nr_thps: int) -> None:
    huge = mmap.mmap(-1, (nr_thps + 1) * THP, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    huge.madvise(mmap.MADV_HUGEPAGE)
    for page in range(0, len(huge), mmap.PAGESIZE):
        huge[page] = 1
    shared = mmap.mmap(-1, NR_SHARED * mmap.PAGESIZE)
    shared.madvise(mmap.MADV_NOHUGEPAGE)
    touch(shared, 0, NR_SHARED)
    file = os.memfd_create("twice")
    os.ftruncate(file, mmap.PAGESIZE)
    twice = [mmap.mmap(file, mmap.PAGESIZE) for _ in range(2)]
    for each in twice:
        each.madvise(mmap.MADV_NOHUGEPAGE)
        touch(each, 0, 1)
    # A VMA must not be merged with its neighbour, and children must not map what is theirs alone.
    for each in twice:
        each.madvise(mmap.MADV_DONTFORK)
    ready_read, ready_write = os.pipe()
    end_read, end_write = os.pipe()
    children = []
    for number in range(nr_children):
        child = os.fork()
        if not child:
            os.close(end_write)
            touch(shared, 0, BY_ALL + BY_TWO * (number == 0))
            os.write(ready_write, b".")
            os.read(end_read, 1)
            os._exit(0)
        children.append(child)
    for _ in children:
        os.read(ready_read, 1)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.read()
    os.close(end_write)
    for child in children:
        os.waitpid(child, 0)


@contextmanager
def family(nr_children: int, nr_thps: int) -> Iterator[int]:
    """Run the program; yield the pid of the parent once all is mapped."""
    command = [sys.executable, "-I", "-S", __file__, str(nr_children), str(nr_thps)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout and process.stdout.readline() == "ready\n"
            yield process.pid
        finally:
            assert process.stdin
            process.stdin.close()
            process.wait()


if __name__ == "__main__":
    parent(*map(int, sys.argv[1:]))
