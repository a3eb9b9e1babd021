"""What rises a little from the road: kerbs and speed bumps."""

import numpy as np

from decofuse.data.classes import MSRS
from decofuse.data.images import Float32
from decofuse.data.scenes import noise
from decofuse.data.scenes.canvas import Layer, mask
from decofuse.data.scenes.studio import Studio
from decofuse.data.scenes.things import KERB_HEIGHT, Bump, Street
from decofuse.data.scenes.view import Points
from decofuse.data.scenes.weather import Rgb

CONCRETE: Rgb = (0.34, 0.33, 0.31)
YELLOW: Rgb = (0.60, 0.42, 0.06)
RUBBER: Rgb = (0.03, 0.03, 0.03)
PLAIN: Rgb = (0.17, 0.16, 0.15)
KERB_WIDTH = 0.22  # [metres]
BLOCK = 0.5  # length of a bump's stripe [metres]


def paint_kerb(studio: Studio, edge: float, outward: float) -> None:
    """Paint a row of kerb stones: the face towards the road, then the top.

    Args:
        studio: the scene; `studio.ground` holds the light on the ground.
        edge: the face's place [metres across].
        outward: where the pavement lies, -1 left or 1 right.
    """
    road, back = studio.weather.thermal.road, edge + outward * KERB_WIDTH
    height, width = studio.canvas.label.shape
    for start, end, tone, warmth in (
        ((edge, 0.0), (edge, KERB_HEIGHT), 0.62, -0.3),
        ((edge, KERB_HEIGHT), (back, KERB_HEIGHT), 1.0, -1.0),
    ):
        cover = mask(height, width, [_ribbon(studio, start, end)])
        rows, columns = np.flatnonzero(cover.any(axis=1)), np.flatnonzero(cover.any(axis=0))
        if not len(rows):
            continue
        box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        surface = cover[box][..., None] * np.array([*CONCRETE, road + warmth], np.float32)
        surface[..., :3] *= studio.ground[box]
        layer = Layer(int(rows[0]), int(columns[0]), cover[box], surface)
        layer.shade(np.float32(tone) * _stones(studio, layer))
        studio.canvas.paint(layer, MSRS.index("curve"))


def _ribbon(studio: Studio, start: tuple[float, float], end: tuple[float, float]) -> Points:
    """Outline of a strip along the road between two lines (across, up)."""
    ahead = np.geomspace(1.25, 130, 70)
    one = studio.view.project([(*start, z) for z in ahead])
    two = studio.view.project([(*end, z) for z in ahead[::-1]])
    return np.concatenate([one, two])


def _stones(studio: Studio, layer: Layer) -> Float32:
    """Tone of the kerb stones in each pixel of a layer: a joint each metre, stains."""
    view = studio.view
    height, width = layer.cover.shape
    rows = np.arange(layer.top, layer.top + height, dtype=np.float32)[:, None]
    below = np.maximum(rows - np.float32(view.horizon), 1)
    ahead: Float32 = (np.float32(view.focal * view.eye) / below).astype(np.float32)
    deep = (ahead * ahead / np.float32(view.focal * view.eye)).astype(np.float32)
    joint = noise.band(np.mod(ahead, np.float32(1)), 0.0, 0.04, deep)
    columns = np.arange(layer.left, layer.left + width).astype(np.float32)[None, :] / np.float32(view.unit)
    stains = noise.sample(studio.soft, columns, ahead * 20)
    tones: Float32 = np.maximum((1 - np.float32(0.5) * joint) * (1 + np.float32(0.1) * stains), np.float32(0.2))
    return tones


def paint_bump(studio: Studio, street: Street, bump: Bump) -> None:
    """Paint a rounded ridge across the road, in slices from far to near, striped yellow and black or plain."""
    view = studio.view
    blocks = np.arange(street.left + 0.15, street.right - 0.15 - BLOCK, BLOCK)
    profile = np.linspace(1, 0, 7)
    heights, places = bump.height * np.sin(np.pi * profile), bump.ahead + bump.width * profile
    quads, middles, normals = [], [], []
    for far in range(len(profile) - 1):
        near = far + 1
        steepness = bump.height * np.pi / bump.width * np.cos(np.pi * (profile[far] + profile[near]) / 2)
        for block in blocks:
            corners = [(a, heights[i], places[i]) for a, i in ((0, far), (BLOCK, far), (BLOCK, near), (0, near))]
            quads.append([(block + a, up, ahead) for a, up, ahead in corners])
            middles.append((block + BLOCK / 2, heights[near], places[near]))
            normals.append(np.array([0.0, 1.0, -steepness]) / np.hypot(1, steepness))
    outlines = view.project(np.array(quads)).reshape(-1, 4, 2)
    sprite = studio.sprite(outlines.reshape(-1, 2))
    if sprite.empty:
        return
    for number, outline in enumerate(outlines, start=1):
        sprite.convex(outline, number)
    lit = np.tile([studio.lit(block + BLOCK / 2, bump.ahead) for block in blocks], len(profile) - 1)
    stripes = np.array([YELLOW, RUBBER] if bump.striped else [PLAIN, PLAIN])
    hues = np.tile(stripes[np.arange(len(blocks)) % 2], (len(profile) - 1, 1))
    radiance = hues * studio.glow(middles, normals, lit)
    warm = np.full(len(quads), studio.weather.thermal.road - 0.25)
    layer = sprite.resolve(studio.table(radiance, warm, bump.ahead))
    layer.shade(1 + np.float32(0.08) * studio.texture(studio.grain, bump.seed, layer.cover, 300))
    studio.canvas.paint(layer, MSRS.index("bump"))
