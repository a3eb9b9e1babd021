"""Paint on the road: lines between lanes, parking strips and zebra crossings."""

import numpy as np

from decofuse.data.images import Float32
from decofuse.data.scenes.noise import band
from decofuse.data.scenes.things import Street

HALF_LINE = 0.065  # half the width of a line [metres]
DASH_PERIOD, DASH = 7.5, 3.2  # [metres]
CROSSING_DEPTH = 3.2  # [metres]


def road_paint(
    street: Street, across: Float32, ahead: Float32, wide: Float32, deep: Float32
) -> tuple[Float32, Float32]:
    """Coverage of ground pixels by white and by yellow paint, R×W each in [0, 1].

    Args:
        street: the street.
        across: R×W position of each pixel [metres].
        ahead: R×1 distance of each row [metres].
        wide: R×1 extent of a pixel across [metres].
        deep: R×1 extent of a pixel ahead [metres].
    """
    white, yellow = np.zeros_like(across), np.zeros_like(across)

    def line(place: float) -> Float32:
        return band(across, place - HALF_LINE, place + HALF_LINE, wide)

    dashes = band(np.mod(ahead, np.float32(DASH_PERIOD)), 1.0, 1.0 + DASH, np.minimum(deep, np.float32(DASH)))
    divider = yellow if street.yellow else white
    if street.double_line:
        divider += line(street.divider - 0.16) + line(street.divider + 0.16)
    else:
        divider += line(street.divider) * dashes
    inner_left, inner_right = street.left + street.parking[0], street.right - street.parking[1]
    for lane in (-2, -1, 1, 2):
        place = street.divider + lane * street.lane
        if inner_left + 1 < place < inner_right - 1:
            white += line(place) * dashes
    white += line(inner_left + 0.25) + line(inner_right - 0.25)
    for edge, width in ((street.left, street.parking[0]), (inner_right, street.parking[1])):
        if width:
            ticks = band(np.mod(ahead, np.float32(6.2)), 0.0, 0.12, deep)
            white += band(across, edge, edge + width, wide) * ticks
    if street.zebra is not None:
        crossing = band(ahead, street.zebra, street.zebra + CROSSING_DEPTH, deep)
        stripes = band(np.mod(across, np.float32(1)), 0.25, 0.75, wide)
        white += crossing * (stripes - white)
        yellow *= 1 - crossing
        white += band(ahead, street.zebra - 1.6, street.zebra - 1.2, deep) * (across > street.divider)
    return np.clip(white, 0, 1), np.clip(yellow, 0, 1)
