"""Street furniture that the labels know: cones, car stops and guardrails."""

from itertools import pairwise

import numpy as np

from decofuse.data.classes import MSRS
from decofuse.data.scenes.flats import Flats
from decofuse.data.scenes.mesh import box, mesh
from decofuse.data.scenes.studio import Studio
from decofuse.data.scenes.things import CarStop, Cone, RailSpan
from decofuse.data.scenes.view import NEAR
from decofuse.data.scenes.weather import Rgb, scaled

ORANGE: Rgb = (0.62, 0.11, 0.02)
RUBBER: Rgb = (0.30, 0.06, 0.02)
WHITE: Rgb = (0.65, 0.65, 0.65)
YELLOW: Rgb = (0.62, 0.42, 0.04)
BLACK: Rgb = (0.025, 0.025, 0.025)
GREY: Rgb = (0.16, 0.17, 0.17)
STEEL: Rgb = (0.34, 0.35, 0.36)
CONCRETE: Rgb = (0.42, 0.41, 0.38)
BEAM = ((0.46, 0.54, 1.0), (0.54, 0.60, 0.45), (0.60, 0.66, 0.8), (0.66, 0.72, 0.45), (0.72, 0.80, 1.15))
ARCH = [(-0.45, 0.0), (-0.45, 0.55), (-0.36, 0.68), (-0.2, 0.74), (0.2, 0.74), (0.36, 0.68), (0.45, 0.55), (0.45, 0.0)]


def paint_cone(studio: Studio, cone: Cone) -> None:
    """Paint a traffic cone: a slab, and a cone with two white bands."""
    height = cone.height
    half, thick = 0.25 * height, 0.04 * height
    flats = Flats(cone)
    flats.solid([(x, thick, z) for x, z in ((-half, -half), (half, -half), (half, half), (-half, half))], RUBBER)
    flats.solid([(x, up, -half) for x, up in ((-half, 0.0), (half, 0.0), (half, thick), (-half, thick))], RUBBER)
    levels = [share * height for share in (0.04, 0.36, 0.54, 0.68, 0.82, 1.0)]
    flats.bands(levels, (0.19 * height, 0.035 * height), (ORANGE, WHITE, ORANGE, WHITE, ORANGE))
    flats.paint(studio, "color_cone", -0.4)


def paint_car_stop(studio: Studio, stop: CarStop) -> None:
    """Paint a bollard, an arch or a wheel stop."""
    if stop.shape == "wheel_stop":
        _paint_wheel_stop(studio, stop)
        return
    flats = Flats(stop)
    if stop.shape == "bollard":
        colours = (YELLOW, BLACK, YELLOW, BLACK, YELLOW) if stop.striped else (GREY, GREY, GREY, WHITE, GREY)
        flats.bands([0.0, 0.3, 0.5, 0.62, 0.78, 0.9], (0.095, 0.095), colours)
    else:
        for number, (start, end) in enumerate(pairwise(ARCH)):
            flats.bar(start, end, 0.055, BLACK if stop.striped and number % 2 else YELLOW if stop.striped else WHITE)
    flats.paint(studio, "car_stop", -0.6)


def _paint_wheel_stop(studio: Studio, stop: CarStop) -> None:
    """A long block on the ground, in stripes or of plain concrete."""
    cuts = np.linspace(-0.95, 0.95, 8)
    blocks = [(box((-0.10, 0.0, a), (0.10, 0.22, b))[:5], n % 2, 0) for n, (a, b) in enumerate(pairwise(cuts))]
    placed = mesh(blocks).placed(stop.across, stop.base, stop.ahead, stop.yaw)
    outline = studio.view.project(placed.corners)
    sprite = studio.sprite(outline)
    if sprite.empty or placed.corners[..., 2].min() < NEAR:
        return
    for face in placed.visible(studio.view.eye):
        sprite.convex(outline.reshape(-1, 4, 2)[face], int(face) + 1)
    hues = np.array([YELLOW, BLACK] if stop.striped else [CONCRETE, CONCRETE])[placed.material]
    lit = studio.lit(stop.across, stop.ahead)
    radiance = hues * studio.glow(placed.corners.mean(axis=1), placed.normals, lit)
    warm = np.full(len(hues), studio.weather.thermal.road - 1.2)
    layer = sprite.resolve(studio.table(radiance, warm, stop.ahead))
    layer.shade(1 + np.float32(0.07) * studio.texture(studio.grain, stop.seed, layer.cover, 150))
    studio.canvas.paint(layer, MSRS.index("car_stop"))


def paint_rail(studio: Studio, span: RailSpan) -> None:
    """Paint one span of a guardrail: a steel beam on posts, or three white pipes."""
    flats, length = Flats(span), span.length
    beam = span.shape == "beam"
    post, height = (GREY, 0.78) if beam else (WHITE, 1.0)
    for behind in (length - 0.06, 0.0):
        flats.solid([(0.0, up, z) for up, z in ((0.0, behind), (0.0, behind + 0.1))] + _top(height, behind), post)
        flats.solid([(x, up, behind) for x, up in ((-0.05, 0.0), (0.05, 0.0), (0.05, height), (-0.05, height))], post)
    pipes = [(low, low + 0.09, WHITE) for low in (0.22, 0.52, 0.86)]
    for low, high, colour in [(low, high, scaled(STEEL, tone)) for low, high, tone in BEAM] if beam else pipes:
        flats.solid([(0.0, low, 0.0), (0.0, low, length), (0.0, high, length), (0.0, high, 0.0)], colour)
    flats.paint(studio, "guardrail", -0.8)


def _top(height: float, behind: float) -> list[tuple[float, float, float]]:
    """The upper edge of a post's side."""
    return [(0.0, height, behind + 0.1), (0.0, height, behind)]
