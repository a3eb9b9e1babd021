"""Fixtures that every test may use."""

from pathlib import Path

import pytest

MIRROR = Path(__file__).parents[2] / "shared" / "data" / "mirror"


@pytest.fixture(scope="session")
def mirror() -> Path:
    """Folder with copies of public archives, laid out as DECOFUSE_MIRROR expects."""
    if not MIRROR.is_dir():
        pytest.skip(f"no mirror of the public archives at {MIRROR}")
    return MIRROR
