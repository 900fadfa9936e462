# SPDX-License-Identifier: BSD-3-Clause
"""A process that changes knobs of the kernel for another one, and puts them back when that one ends, however it ends.

``python -I -S watchdog.py SOCKET NATIVE`` serves one client over a socket it inherits; NATIVE is the file of
`folio_perf._native.live`. Requests and replies are JSON, one packet each. It imports nothing of ours but that file.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import os
import re
import signal
import socket
import sys
import tempfile
from pathlib import Path
from typing import Any

_SWAP_BYTES = 64 << 20
_PACKET = 1 << 16


class Watchdog:
    """What was changed, and how to change it back."""

    def __init__(self, native: Any) -> None:
        self._native = native
        self._old: dict[str, str] = {}
        self._swap: int | None = None

    def serve(self, client: socket.socket) -> None:
        """Answer until the other side is gone; then put everything back."""
        try:
            while request := client.recv(_PACKET):
                client.send(json.dumps(self._answer(json.loads(request))).encode())
        except (OSError, ValueError):
            pass
        finally:
            self.restore()

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        try:
            match request["do"]:
                case "set":
                    self.set(request["path"], request["value"])
                    return {"errno": 0, "error": "", "old": self._old[request["path"]]}
                case "swapon":
                    self.swapon()
                case "swapoff":
                    self.swapoff()
                case "restore":
                    self.restore()
        except OSError as error:
            return {"errno": error.errno, "error": error.strerror}
        return {"errno": 0, "error": ""}

    def set(self, path: str, value: str) -> None:
        """Write a knob, and remember what it was."""
        text = Path(path).read_text().strip()
        chosen = re.search(r"\[(.*?)\]", text)
        self._old.setdefault(path, chosen[1] if chosen else text)
        _write(path, value)

    def swapon(self) -> None:
        """Swap to a file of its own."""
        if self._swap is not None:
            raise OSError(16, os.strerror(16))
        size = os.sysconf("SC_PAGE_SIZE")
        folder = "/var/tmp" if os.access("/var/tmp", os.W_OK) else tempfile.gettempdir()
        file, name = tempfile.mkstemp(prefix="folio_perf-swap-", dir=folder)
        Path(name).unlink()
        try:
            for _ in range(_SWAP_BYTES >> 20):
                os.write(file, bytes(1 << 20))
            header = bytearray(size)
            header[1024:1032] = (1).to_bytes(4, sys.byteorder) + (_SWAP_BYTES // size - 1).to_bytes(4, sys.byteorder)
            header[-10:] = b"SWAPSPACE2"
            os.pwrite(file, header, 0)
            os.fsync(file)
            self._native.swapon(f"/proc/self/fd/{file}")
        except BaseException:
            os.close(file)
            raise
        self._swap = file

    def swapoff(self) -> None:
        """Swap no longer to it."""
        if self._swap is None:
            raise OSError(22, os.strerror(22))
        self._native.swapoff(f"/proc/self/fd/{self._swap}")
        os.close(self._swap)
        self._swap = None

    def restore(self) -> None:
        """Put everything back, the last change first; one that fails does not keep the others from it."""
        if self._swap is not None:
            try:
                self.swapoff()
            except OSError as error:
                sys.stderr.write(f"folio-perf: a swap file is still in use: {error.strerror}\n")
        for path, value in reversed(self._old.items()):
            try:
                _write(path, value)
            except OSError as error:
                sys.stderr.write(f"folio-perf: {path} could not be set back to {value!r}: {error.strerror}\n")
        self._old.clear()


def _write(path: str, value: str) -> None:
    """Write a knob in one go."""
    file = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(file, value.encode())
    finally:
        os.close(file)


def load(file: str) -> Any:
    """Load `folio_perf._native.live` by its file, without the package around it."""
    loader = importlib.machinery.ExtensionFileLoader("live", file)
    spec = importlib.util.spec_from_loader("live", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def main() -> None:
    """Serve the client; signals that end a terminal's processes are for the client alone."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    with socket.socket(fileno=int(sys.argv[1])) as client:
        Watchdog(load(sys.argv[2])).serve(client)


if __name__ == "__main__":
    main()
