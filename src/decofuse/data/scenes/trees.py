"""Trees and bushes: a trunk, and a crown of leaf clumps cut out of noise."""

from dataclasses import dataclass

import cv2
import numpy as np

from decofuse.data.images import Float32
from decofuse.data.scenes import noise
from decofuse.data.scenes.canvas import Layer
from decofuse.data.scenes.studio import Studio
from decofuse.data.scenes.things import Tree
from decofuse.data.scenes.view import NEAR, Points
from decofuse.data.scenes.weather import Rgb

BARK: Rgb = (0.07, 0.055, 0.04)
LEAVES: Rgb = (0.055, 0.095, 0.022)
AUTUMN: Rgb = (0.20, 0.10, 0.015)
CLUMPS = 9  # balls of leaves around the middle one
LEAF_DENSITY = 60.0  # noise tile pixels a metre
SMALL = 9.0  # below this many pixels a metre boughs are not seen

Stroke = tuple[tuple[float, float], tuple[float, float], float]  # from, to (across, up), thickness [metres]


def paint_tree(studio: Studio, tree: Tree) -> None:
    """Paint a tree or a bush."""
    if tree.ahead < NEAR + 1:
        return
    if tree.trunk > 0.5:
        _paint_wood(studio, tree)
    if not tree.bare:
        _paint_crown(studio, tree)


def _paint_wood(studio: Studio, tree: Tree) -> None:
    view = studio.view
    scale = view.scale(tree.ahead)
    strokes = _wood(tree, boughs=scale > SMALL * view.unit or tree.bare)
    lines = [view.project([(x, y, tree.ahead) for x, y in (start, end)]) for start, end, _ in strokes]
    sprite = studio.sprite(np.concatenate(lines), margin=0.2 * scale + 2)
    if sprite.empty:
        return
    for line, (_, _, thickness) in zip(lines, strokes, strict=True):
        sprite.stroke(line, thickness * scale, 1)
    bark = studio.upright(tree.across, 1.5, tree.ahead) * BARK
    layer = sprite.resolve(studio.table([bark], [studio.weather.thermal.air + 0.8], tree.ahead))
    layer.shade(np.clip(1 + 0.25 * studio.texture(studio.grain, tree.seed, layer.cover, 260), 0.3, 1.8))
    studio.canvas.paint(layer)


def _wood(tree: Tree, boughs: bool) -> list[Stroke]:
    """The trunk and boughs, with twigs where there are no leaves to hide them."""
    rng = noise.generator(tree.seed)
    fork = (tree.across + rng.normal(0, 0.12), tree.trunk)
    strokes: list[Stroke] = [((tree.across, tree.base), fork, 0.24)]
    for share in np.linspace(-0.8, 0.8, 9 if tree.bare else 5) if boughs else ():
        reach = tree.crown * rng.uniform(0.75, 1.05) * (1.0 if tree.bare else 0.65)
        tip = (fork[0] + share * reach, fork[1] + reach * (1.35 - abs(share)) * 0.9)
        strokes.append((fork, tip, 0.10))
        for _ in range(6 if tree.bare else 0):
            part = rng.uniform(0.35, 0.9)
            start = (fork[0] + part * (tip[0] - fork[0]), fork[1] + part * (tip[1] - fork[1]))
            end = (start[0] + rng.normal(0, 0.35) * reach, start[1] + rng.uniform(0.1, 0.5) * reach)
            strokes.append((start, end, 0.035))
    return strokes


@dataclass(frozen=True)
class _Crown:
    """The crown's pixels, H×W each."""

    cover: Float32
    rise: Float32  # how far a leaf looks up, 0 to 1
    fine: Float32  # noise of leaves
    broad: Float32  # noise of twigs


def _paint_crown(studio: Studio, tree: Tree) -> None:
    view = studio.view
    clumps = _clumps(tree)
    centres = view.project(np.stack([clumps[:, 0], clumps[:, 1], np.full(len(clumps), tree.ahead)], axis=1))
    radii = clumps[:, 2] * view.scale(tree.ahead)
    low = np.floor((centres - 1.25 * radii[:, None]).min(axis=0))
    high = np.ceil((centres + 1.25 * radii[:, None]).max(axis=0))
    left, top = (int(v) for v in np.clip(low, 0, (view.width, view.height)))
    right, bottom = (int(v) for v in np.clip(high, 0, (view.width, view.height)))
    if right <= left or bottom <= top:
        return
    rows = np.arange(top, bottom, dtype=np.float32)[:, None]
    columns = np.arange(left, right, dtype=np.float32)[None, :]
    metre = np.float32(1 / view.scale(tree.ahead))
    x = (columns - np.float32(centres[0, 0])) * metre + np.float32(tree.seed % 509)
    y = (rows - np.float32(centres[0, 1])) * metre
    crisp = np.float32(1 / (1 + 0.25 * LEAF_DENSITY * float(metre)))  # leaves fade where pixels outgrow them
    fine = crisp * noise.sample(studio.grain, x * np.float32(LEAF_DENSITY), y * np.float32(LEAF_DENSITY))
    broad = noise.sample(studio.soft, x * 16, y * 16)
    depth, rise = _balls(rows, columns, centres, radii)
    cover = noise.smoothstep(-0.07, 0.07, depth + np.float32(0.20) * fine + np.float32(0.12) * broad)
    _paint_leaves(studio, tree, _Crown(cover, rise, fine, broad), top, left)


def _clumps(tree: Tree) -> Points:
    """Balls of leaves: N×3 (across, up, radius) [metres]."""
    rng = noise.generator(tree.seed + 1)
    middle = tree.trunk + 0.85 * tree.crown
    angle, reach = rng.uniform(0, 2 * np.pi, CLUMPS), np.sqrt(rng.random(CLUMPS)) * 0.62 * tree.crown
    across, up = tree.across + reach * np.cos(angle) * 1.1, middle + reach * np.sin(angle)
    around = np.stack([across, up, rng.uniform(0.32, 0.55, CLUMPS) * tree.crown], axis=1)
    return np.concatenate([[(tree.across, middle, 0.62 * tree.crown)], around])


def _balls(rows: Float32, columns: Float32, centres: Points, radii: Points) -> tuple[Float32, Float32]:
    """How deep inside the nearest ball each pixel lies (negative outside), and how far up on it, 0 to 1."""
    depth = np.full((len(rows), columns.shape[1]), -1.0, np.float32)
    rise = np.zeros_like(depth)
    for (x, y), radius in zip(centres.astype(np.float32), radii.astype(np.float32), strict=True):
        across, down = (columns - x) / radius, (rows - y) / radius
        inside = 1 - np.sqrt(across * across + down * down)
        nearer = inside > depth
        np.copyto(rise, np.broadcast_to(-down, depth.shape), where=nearer)
        np.copyto(depth, inside, where=nearer)
    smooth = cv2.GaussianBlur(np.clip(rise, -1, 1), (0, 0), 2)
    return depth, (np.float32(0.5) + np.float32(0.5) * smooth).astype(np.float32)


def _paint_leaves(studio: Studio, tree: Tree, crown: _Crown, top: int, left: int) -> None:
    weather, rise = studio.weather, crown.rise[..., None]
    tint = noise.generator(tree.seed).uniform(0.7, 1.35, 3)
    hue = np.array(AUTUMN if tree.autumn else LEAVES) * tint
    points = [(tree.across, height, tree.ahead) for height in (tree.trunk + 0.3, tree.trunk + 1.2 * tree.crown)]
    below, above = studio.glow(points, [(0.0, -0.3, -0.9), (0.0, 0.8, -0.6)]).astype(np.float32)
    gaps = np.clip(np.float32(0.75) + np.float32(0.42) * crown.fine + np.float32(0.22) * crown.broad, 0.1, 2.0)
    radiance = (below * (1 - rise) + above * rise) * (hue * 1.15).astype(np.float32) * gaps[..., None]
    surface = np.empty((*crown.cover.shape, 4), np.float32)
    surface[..., :3] = studio.through_haze(radiance, tree.ahead)
    sunny = weather.thermal.sunny if any(weather.light.sun) else -1.4 * weather.night
    surface[..., 3] = weather.thermal.air + 0.3 + np.float32(0.35 * sunny) * crown.rise
    surface[..., 3] += np.float32(0.55) * crown.fine + np.float32(0.4) * crown.broad
    studio.canvas.paint(Layer(top, left, crown.cover, surface * crown.cover[..., None]))
