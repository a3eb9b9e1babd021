"""Fixtures that every test may use."""

import os
from pathlib import Path

import pytest

# As the command line sets it, and before torch is loaded: beside other busy processes waiting threads must not spin.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

MIRROR = Path(__file__).parents[2] / "shared" / "data" / "mirror"


@pytest.fixture(scope="session")
def mirror() -> Path:
    """Folder with copies of public archives, laid out as DECOFUSE_MIRROR expects."""
    if not MIRROR.is_dir():
        pytest.skip(f"no mirror of the public archives at {MIRROR}")
    return MIRROR
