"""The command line: one subcommand a stage of the workflow, and the tools around it.

It is an edge: it looks methods and datasets up, chooses device and threads, opens the tracker, and hands values to
the library, which knows nothing of it.
"""

import logging
import os
import sys
import warnings

from decofuse.cli import (  # noqa: F401 - each registers its commands
    data,
    evaluation,
    export,
    fusing,
    report,
    segmentation,
    tools,
    training,
    versioning,
)
from decofuse.cli.app import app
from decofuse.errors import UserError


def main() -> None:
    """Run the command line; a user's mistake ends with one line on stderr and status 1."""
    # Waiting threads give up spinning early: no slower alone, and several times faster beside another busy process.
    # OpenMP reads this when torch is loaded, so it stands here.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    os.environ.setdefault(
        "OPENCV_IO_MAX_IMAGE_PIXELS", "200000000"
    )  # as decofuse.data.images.MAX_PIXELS; read on import
    warnings.filterwarnings("ignore", module="PIL")  # what it remarks on a broken file is told in one line
    logging.addLevelName(logging.WARNING, "warning")
    logging.addLevelName(logging.INFO, "info")
    logging.basicConfig(format="decofuse: %(levelname)s: %(message)s", level=logging.INFO, stream=sys.stderr)
    try:
        app()
    except UserError as error:
        print(f"decofuse: error: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
