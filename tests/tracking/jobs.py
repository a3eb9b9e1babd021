"""A job that logs for a while, for tests of several at once: python jobs.py NAME SECONDS."""

import sys
import time

from decofuse.tracking.run import Tracker

name, seconds = sys.argv[1], float(sys.argv[2])
until, step = time.monotonic() + seconds, 0
with Tracker(name, {"name": name}) as run:
    while time.monotonic() < until:
        run.log(step, {"loss": 1 / (step + 1), "step": float(step)})
        step += 1
        time.sleep(0.02)
print(step)
