# SPDX-License-Identifier: BSD-3-Clause
"""Processes that do what a scenario says: started, told, and ended from here. Only they are ever ended."""

from __future__ import annotations

import array
import contextlib
import os
import resource
import select
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from typing import Final

from folio_perf._native import live as native

_TIMEOUT_S: Final = 120.0
_BOOT: Final = (
    "import importlib.machinery as m, importlib.util as u, sys;"
    "l = m.ExtensionFileLoader('live', sys.argv[2]); s = u.module_from_spec(u.spec_from_loader('live', l));"
    "l.exec_module(s); s.actor(int(sys.argv[1]))"
)


class ActorError(RuntimeError):
    """A process that should have answered has not: it was killed, or hangs."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What an operation returned, and its errno; above 1000 the signal it ended in, plus 1000."""

    result: int
    error: int


@dataclass(slots=True)
class Actor:
    """One process.

    Attributes
    ----------
    pid : int
    """

    pid: int
    _socket: socket.socket
    _pidfd: int

    @classmethod
    def greeted(cls, channel: socket.socket) -> Actor:
        """Wait for the first message of a process that holds the other end of a socket."""
        pid = _receive(channel)[2]
        return cls(pid, channel, os.pidfd_open(pid))

    def tell(
        self,
        op: str,
        *,
        flag: int = 0,
        thing: int = 0,
        writer: int = 0,
        start: int = 0,
        length: int = 0,
        other: int = 0,
        descriptor: int | None = None,
    ) -> Answer:
        """Let it do something; wait until it has."""
        packet = native.REQUEST.pack(native.OPS.index(op), flag, thing, writer, start, length, other)
        rights = [] if descriptor is None else [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [descriptor]))]
        try:
            self._socket.sendmsg([packet], rights)
        except OSError as error:
            raise ActorError(f"process {self.pid} is gone: {error.strerror}") from error
        result, errno, _ = _receive(self._socket)
        return Answer(result, errno)

    def fork(self) -> tuple[Answer, Actor | None]:
        """Let it fork; also the child, if there is one."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            answer = self.tell("fork", descriptor=theirs.fileno())
        if answer.result < 0:
            ours.close()
            return answer, None
        return answer, Actor.greeted(ours)

    def fork_many(self, nr: int) -> tuple[Answer, Group]:
        """Let it fork many that do nothing."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            packet = native.REQUEST.pack(native.OPS.index("fork_many"), nr, 0, 0, 0, 0, 0)
            self._socket.sendmsg(
                [packet], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [theirs.fileno()]))]
            )
        # Children that have not been heard hold up nobody but themselves; each is heard before it may end.
        members: dict[int, int] = {}
        group = Group(ours, members)
        try:
            while len(members) < nr:
                ready = _wait([ours, self._socket])
                if ours in ready:
                    place, _, pid = _receive(ours)
                    members[place] = os.pidfd_open(pid)
                else:
                    break
            result, error, _ = _receive(self._socket)
            while len(members) < result:
                place, _, pid = _receive(ours)
                members[place] = os.pidfd_open(pid)
        except BaseException:
            group.end()
            raise
        return Answer(result or -1, error if result else 11), group

    def end(self) -> None:
        """End it and wait until its memory is gone."""
        self._socket.close()
        _gone([self._pidfd])
        os.close(self._pidfd)


@dataclass(slots=True)
class Group:
    """Many children that do nothing, by the order they were forked in."""

    _socket: socket.socket
    _members: dict[int, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._members)

    def end(self, nr: int | None = None) -> None:
        """End the last `nr` of them, or all."""
        places = sorted(self._members)
        last = places if nr is None else places[max(len(places) - nr, 0) :]
        pidfds = [self._members.pop(place) for place in last]
        for pidfd in pidfds:
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        _gone(pidfds)
        for pidfd in pidfds:
            os.close(pidfd)
        if not self._members:
            self._socket.close()


class Nursery:
    """The process that all first processes of scenarios are forked from; small, so that they are."""

    def __init__(self) -> None:
        _raise_limit(resource.RLIMIT_NOFILE)
        _raise_limit(resource.RLIMIT_MEMLOCK)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = [sys.executable, "-I", "-S", "-c", _BOOT, str(theirs.fileno()), native.__file__]
            self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)
        try:
            self._actor = Actor.greeted(ours)
        except BaseException:
            ours.close()
            self._process.kill()
            self._process.wait()
            raise

    def first(self) -> Actor:
        """Fork a process for a scenario."""
        answer, actor = self._actor.fork()
        if actor is None:
            raise OSError(answer.error, os.strerror(answer.error))
        return actor

    def close(self) -> None:
        """End it."""
        self._actor.end()
        self._process.wait()


def _raise_limit(which: int) -> None:
    """Raise a limit as far as this user may; children inherit it."""
    hard = resource.getrlimit(which)[1]
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(which, (hard, hard))
    if which == resource.RLIMIT_MEMLOCK:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(which, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def _wait(channels: list[socket.socket]) -> list[socket.socket]:
    poll = select.poll()
    for channel in channels:
        poll.register(channel, select.POLLIN)
    found = poll.poll(_TIMEOUT_S * 1000)
    if not found:
        raise ActorError(f"a process has not answered for {_TIMEOUT_S:.0f} s")
    ready = {number for number, _ in found}
    return [channel for channel in channels if channel.fileno() in ready]


def _receive(channel: socket.socket) -> tuple[int, int, int]:
    _wait([channel])
    try:
        packet = channel.recv(native.REPLY.size)
    except OSError as error:
        raise ActorError(f"a process is gone: {error.strerror}") from error
    if len(packet) != native.REPLY.size:
        raise ActorError("a process has ended unasked; the kernel may have killed it")
    result, errno, pid = native.REPLY.unpack(packet)
    return result, errno, pid


def _gone(pidfds: list[int]) -> None:
    """Wait until processes have ended."""
    waiting = select.poll()
    left = set(pidfds)
    for pidfd in left:
        waiting.register(pidfd, select.POLLIN)
    while left:
        found = waiting.poll(_TIMEOUT_S * 1000)
        if not found:
            raise ActorError(f"{len(left)} processes have not ended for {_TIMEOUT_S:.0f} s")
        for pidfd, _ in found:
            waiting.unregister(pidfd)
            left.discard(pidfd)
