# SPDX-License-Identifier: BSD-3-Clause
"""The boundary to csrc/live: messages, buffers, errors."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from folio_perf._native import live
from folio_perf.live.actors import Actor, ActorError, Nursery

PAGE = 4096
AT = 1 << 44


def kernel_memory() -> live.KernelMemory:
    try:
        return live.KernelMemory()
    except OSError as error:
        pytest.skip(f"kernel memory cannot be read here: {error.strerror}")


def test_rows_must_fit() -> None:
    memory = kernel_memory()
    with pytest.raises(ValueError, match="2 rows for 3 structs"):
        memory.gather(memory.task(), np.arange(3, dtype=np.uint64), np.zeros((2, 64), dtype=np.uint8))
    for size in (0, 48, 8192):
        with pytest.raises(ValueError, match=f"rows of {size} bytes"):
            memory.gather(memory.task(), np.arange(1, dtype=np.uint64), np.zeros((1, size), dtype=np.uint8))
    with pytest.raises(ValueError):
        memory.gather(memory.task(), np.arange(1, dtype=np.int32), np.zeros((1, 64), dtype=np.uint8))  # type: ignore[arg-type]
    memory.gather(memory.task(), np.zeros(0, dtype=np.uint64), np.zeros((0, 64), dtype=np.uint8))
    memory.read(memory.task(), bytearray())


def test_structs_are_gathered_as_they_are_read() -> None:
    memory = kernel_memory()
    whole = bytearray(64 * 40)
    memory.read(memory.task(), whole)
    index = np.array([0, 1, 5, 6, 39], dtype=np.uint64)
    rows = np.zeros((index.size, 64), dtype=np.uint8)
    memory.gather(memory.task(), index, rows)
    wanted = np.frombuffer(whole, dtype=np.uint8).reshape(-1, 64)[index]
    # A task that runs changes meanwhile, but not all of it.
    assert (rows == wanted).mean() > 0.9


@pytest.mark.parametrize("address", [0, 1, 0xDEAD000000000000])
def test_an_address_nobody_has_is_an_error(address: int) -> None:
    with pytest.raises(OSError):
        kernel_memory().read(address, bytearray(8))


def test_residence_of_pages(tmp_path: Path) -> None:
    file = os.memfd_create("pages")
    try:
        os.ftruncate(file, 3 * PAGE)
        os.pwrite(file, b"x", PAGE)
        pages = np.full(3, 7, dtype=np.uint8)
        live.resident(file, pages)
        assert pages.tolist() == [0, 1, 0]
        live.resident(file, np.zeros(0, dtype=np.uint8))
    finally:
        os.close(file)
    with pytest.raises(OSError):
        live.resident(file, pages)


def test_swapping_to_what_is_no_swap_file_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(bytes(PAGE))
    for call in (live.swapon, live.swapoff):
        with pytest.raises(OSError):
            call(file)


def test_an_actor_does_what_it_is_told_and_no_more() -> None:
    nursery = Nursery()
    try:
        actor = nursery.first()
        assert actor.tell("map_anon", start=AT, length=4 * PAGE).result == 0
        assert actor.tell("map_anon", start=AT, length=PAGE).error == 17  # EEXIST
        assert actor.tell("touch", flag=ord("w"), start=AT, length=4 * PAGE).result == 0
        assert actor.tell("protect", flag=0, start=AT, length=PAGE).result == 0
        assert actor.tell("touch", flag=ord("r"), start=AT, length=PAGE).error == live.SIGNAL + 11
        assert actor.tell("touch", flag=ord("r"), start=AT + PAGE, length=PAGE).result == 0
        assert actor.tell("object", thing=live.MAX_OBJECTS).error == 22
        answer, child = actor.fork()
        assert answer.result == 0 and child is not None
        assert child.tell("touch", flag=ord("w"), start=AT + PAGE, length=PAGE).result == 0
        answer, group = actor.fork_many(3)
        assert answer.result == len(group) == 3
        group.end(2)
        assert len(group) == 1
        group.end()
        child.end()
        with pytest.raises(ActorError):
            child.tell("unmap", start=AT, length=PAGE)
        actor.end()
        assert not Path(f"/proc/{actor.pid}").exists() or "Z" in Path(f"/proc/{actor.pid}/stat").read_text()
    finally:
        nursery.close()


def test_an_actor_ends_with_whoever_holds_its_socket() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    script = "import sys; from folio_perf._native import live; live.actor(int(sys.argv[1]))"
    with subprocess.Popen([sys.executable, "-c", script, str(theirs.fileno())], pass_fds=[theirs.fileno()]) as process:
        theirs.close()
        assert Actor.greeted(ours).pid == process.pid
        ours.send(b"no request")
        assert process.wait(timeout=60) == 0
    ours.close()
