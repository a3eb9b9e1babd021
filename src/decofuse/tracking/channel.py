"""How a stage talks to its recorder."""

import contextlib
import os
import socket
import subprocess
import sys
from typing import Protocol

RECORDER = "DECOFUSE_RECORDER"


class Channel(Protocol):
    """A way to a recorder."""

    def send(self, line: bytes) -> None:
        """Hand over a line.

        Raises:
            OSError: the recorder has given up, and has said why.
        """

    def finish(self, patience_s: float) -> bool:
        """Wait for the recorder to end; False if it did not in time, and was left or killed."""


class OwnRecorder:
    """A recorder in a process that this one starts."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "decofuse.tracking.recorder"]
        # What MLflow prints of its pages would stand in the stage's own output.
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)

    def send(self, line: bytes) -> None:
        """See `Channel`."""
        assert self._process.stdin is not None  # noqa: S101 - it is a pipe
        self._process.stdin.write(line)
        self._process.stdin.flush()

    def finish(self, patience_s: float) -> bool:
        """See `Channel`."""
        try:
            self._process.communicate(timeout=patience_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            return False
        return True


class SharedRecorder:
    """A recorder that the server of the run forks."""

    def __init__(self, path: str) -> None:
        """Connect, or raise OSError."""
        self._socket = socket.socket(socket.AF_UNIX)
        try:
            self._socket.connect(path)
        except OSError:
            self._socket.close()
            raise

    def send(self, line: bytes) -> None:
        """See `Channel`."""
        self._socket.sendall(line)

    def finish(self, patience_s: float) -> bool:
        """See `Channel`; what the recorder has to say goes to stderr."""
        with self._socket, contextlib.suppress(ConnectionError):
            self._socket.settimeout(patience_s)
            with contextlib.suppress(OSError):  # it has ended already
                self._socket.shutdown(socket.SHUT_WR)
            try:
                while said := self._socket.recv(4096):
                    sys.stderr.write(said.decode(errors="replace"))
            except TimeoutError:
                return False
        return True


def open_channel() -> Channel:
    """The way to a recorder: that of the run's server if it can be reached, else a new process."""
    with contextlib.suppress(OSError):
        if path := os.environ.get(RECORDER):
            return SharedRecorder(path)
    return OwnRecorder()
