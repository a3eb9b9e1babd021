"""Several processes for one training: what torchrun does on one machine, with one line for a user's mistake."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import Annotated

import typer

Processes = Annotated[int, typer.Option(help="Processes that share each batch, a GPU each where there are any.", min=1)]


def share_among(processes: int) -> None:
    """Go on in one process, or start the same command in several and end with their status.

    Under torchrun the processes are there already, and nothing is started.

    Args:
        processes: how many.

    Raises:
        typer.Exit: the processes have ended.
    """
    if processes > 1 and "WORLD_SIZE" not in os.environ:
        command = [sys.executable, "-m", "decofuse.cli", *sys.argv[1:]]
        raise typer.Exit(_run(command, processes))


def _run(command: Sequence[str], processes: int) -> int:
    """Run a command in each process and return 0, or the status of the first that failed, when the others are ended.

    What process 0 says goes to stderr. What another one says is shown if process 0 has not failed by itself.
    """
    meeting = {"WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that the processes end, too
    with contextlib.ExitStack() as held:
        said = [held.enter_context(tempfile.TemporaryFile()) for _ in range(1, processes)]
        running = [
            subprocess.Popen(
                command,
                stderr=said[number - 1] if number else None,
                env={**os.environ, **meeting, "RANK": str(number), "LOCAL_RANK": str(number)},
            )
            for number in range(processes)
        ]
        try:
            failed = _first_failed(running)
        finally:
            for process in running:
                process.terminate()
            for process in running:
                process.wait()
        if failed is None:
            return 0
        if failed and running[0].returncode <= 0:
            said[failed - 1].seek(0)
            sys.stderr.buffer.write(said[failed - 1].read())
        status: int = running[failed].returncode
        return abs(status)


def _first_failed(running: Sequence["subprocess.Popen[bytes]"]) -> int | None:
    """Wait for several processes; the number of the first one that failed, None if all ended well.

    In their order: whichever fails first, the others fail of it, and process 0 says why most clearly.
    """
    return next((number for number, process in enumerate(running) if process.wait()), None)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
