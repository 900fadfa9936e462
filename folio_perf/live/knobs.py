# SPDX-License-Identifier: BSD-3-Clause
"""Knobs of the kernel, changed for a while: a process apart puts them back, even if this one is killed."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from folio_perf._native import live as native
from folio_perf.live import watchdog

_TIMEOUT_S: Final = 120.0
_PACKET: Final = 1 << 16


class Knobs:
    """The watchdog, seen from here. A context; on leaving it all is as it was.

    Parameters
    ----------
    lock : socket
        Held by the watchdog too, so that it is not free before all is as it was.
    """

    def __init__(self, lock: socket.socket) -> None:
        self._lock = lock
        self._old: dict[str, str] = {}

    def __enter__(self) -> Self:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.settimeout(_TIMEOUT_S)
        with theirs:
            command = [sys.executable, "-I", "-S", watchdog.__file__, str(theirs.fileno()), native.__file__]
            self._process = subprocess.Popen(
                command,
                pass_fds=[theirs.fileno(), self._lock.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self._socket = ours
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()
        if self._process.wait():
            # Somebody has killed the one who should have done it.
            for path, value in reversed(self._old.items()):
                Path(path).write_text(value)

    def set(self, path: str | Path, value: str) -> None:
        """Write a knob; OSError as open(2) and write(2)."""
        old = self._ask({"do": "set", "path": str(path), "value": value})["old"]
        self._old.setdefault(str(path), old)

    def swapon(self) -> None:
        """Swap to a new file of 64 MiB; OSError as swapon(2)."""
        self._ask({"do": "swapon"})

    def swapoff(self) -> None:
        """Swap to it no longer; OSError as swapoff(2)."""
        self._ask({"do": "swapoff"})

    def restore(self) -> None:
        """Put everything back now."""
        self._ask({"do": "restore"})
        self._old.clear()

    def _ask(self, request: dict[str, str]) -> dict[str, Any]:
        self._socket.send(json.dumps(request).encode())
        packet = self._socket.recv(_PACKET)
        if not packet:
            raise RuntimeError("the process that keeps the kernel's knobs was killed; some may not be as they were")
        reply = json.loads(packet)
        if reply["errno"]:
            raise OSError(reply["errno"], reply["error"], request.get("path"))
        return dict(reply)
