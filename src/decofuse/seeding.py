"""Randomness as a function of where it is used, never of what happened before."""

import hashlib
import json

import numpy as np
from numpy.typing import NDArray


def seed_for(*where: int | str) -> int:
    """A 63-bit seed for a place such as (seed, method, phase, epoch); different places are independent."""
    data = hashlib.sha256(json.dumps(where).encode()).digest()
    return int.from_bytes(data[:8], "big") >> 1


def epoch_order(count: int, *where: int | str) -> NDArray[np.int64]:
    """A permutation of range(count), int64, for one epoch."""
    return np.random.Generator(np.random.PCG64(seed_for(*where))).permutation(count)
