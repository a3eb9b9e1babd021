"""One process that has imported MLflow, and forks a recorder for each stage of a run: the import costs two seconds.

It listens at a socket in a private folder, whose path is in DECOFUSE_RECORDER; a stage that cannot reach it, on another
machine for instance, starts a recorder of its own. It ends with the run, when its standard input does.
"""

import io
import logging
import os
import select
import socketserver
import subprocess
import sys
import tempfile
from pathlib import Path

from decofuse.tracking import recorder
from decofuse.tracking.channel import RECORDER


class _Handler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        # What it warns of goes back to the stage, into its log.
        recorder.warn_to(io.TextIOWrapper(self.wfile, encoding="utf-8", write_through=True))  # type: ignore[type-var]
        recorder.record(recorder.messages_of(self.rfile))


class _Server(socketserver.ForkingMixIn, socketserver.UnixStreamServer):
    max_children = 1000  # each belongs to a job that runs

    def handle_error(self, request: object, client_address: object) -> None:
        """Tell in a line what no recorder expected."""
        logging.getLogger(__name__).warning("a recorder failed: %s", sys.exc_info()[1])


class RecorderServer:
    """The process as the run sees it: started at once, ready when a stage can reach it."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="decofuse-")
        path = str(Path(self._folder.name, "recorder"))
        command = [sys.executable, "-m", "decofuse.tracking.server", path]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        os.environ[RECORDER] = path

    def close(self) -> None:
        """Wait for the recorders at work, and end."""
        os.environ.pop(RECORDER, None)
        self._process.communicate()
        self._folder.cleanup()


def main() -> None:
    """Serve until standard input ends."""
    recorder.outlive_signals()  # meant for the run, which ends this process
    recorder.warn_to(sys.stderr)
    import decofuse.tracking.store  # noqa: F401 - what a recorder needs, imported once for all

    with _Server(sys.argv[1], _Handler) as server:
        while sys.stdin not in select.select([server, sys.stdin], [], [])[0]:
            server.handle_request()
            server.service_actions()  # forgets recorders that have ended


if __name__ == "__main__":
    main()
