"""Settings of the datasets that `decofuse.data.exposures` makes; cheap to import."""

from typing import Literal

from pydantic import Field

from decofuse.settings import Section


class ExposuresSettings(Section):
    """Two exposures of each image of a public dataset: `source_a` under-exposed, `source_b` over-exposed."""

    of: str = Field(description="public dataset of single images with labels, such as camvid")
    under: float = Field(-2.0, ge=-10, lt=0, description="exposure of source_a, relative to the image [stops]")
    over: float = Field(2.0, gt=0, le=10, description="exposure of source_b, relative to the image [stops]")
    full_well: float = Field(
        4000.0,
        gt=0,
        le=1e6,
        description="charge at which a pixel clips; the smaller, the stronger the shot noise [electrons]",
    )
    read_noise: float = Field(
        10.0, ge=0, le=1e4, description="standard deviation of the noise of reading a pixel [electrons]"
    )
    seed: int = Field(0, ge=0, description="seed of the noise; that of an image depends on (seed, stem, source) alone")
    test_from: Literal["test", "val"] = Field(
        "test",
        description="split that serves as test; val: there is no val then, and the dataset's own test is left out (for "
        "copies of the archive that lack it)",
    )
