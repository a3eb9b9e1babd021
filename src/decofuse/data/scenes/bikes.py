"""Bikes, parked or ridden."""

from functools import partial

import cv2
import numpy as np
from numpy.typing import ArrayLike

from decofuse.data.classes import MSRS
from decofuse.data.images import Float32
from decofuse.data.scenes.canvas import Sprite, mask
from decofuse.data.scenes.mesh import turned
from decofuse.data.scenes.people import paint_person
from decofuse.data.scenes.studio import Studio
from decofuse.data.scenes.things import Bike
from decofuse.data.scenes.view import NEAR, Points

FRAME, TYRE, SADDLE, BASKET, SPOKES, LAMP = range(1, 7)
RADIUS, AXLE = 0.34, 0.53  # of the wheels, and their distance from the middle [metres]
REAR, FRONT = (0.0, RADIUS, -AXLE), (0.0, RADIUS, AXLE)
CRANK, SEAT, HEAD, BARS = (0.0, 0.30, 0.0), (0.0, 0.78, -0.16), (0.0, 0.80, 0.38), (0.0, 1.03, 0.43)
TUBES = ((REAR, CRANK, HEAD, BARS), (REAR, SEAT, CRANK), (SEAT, HEAD), (FRONT, HEAD), (SEAT, (0.0, 0.92, -0.2)))
OUTLINE = (REAR, CRANK, FRONT, BARS, (0.0, 0.93, -0.2))


def paint_bike(studio: Studio, bike: Bike) -> None:
    """Paint a bike, then its rider. The label counts wheels and frame as filled."""
    if bike.ahead < NEAR + 1.2:
        return
    seen = partial(_seen, studio, bike)
    sprite = studio.sprite(seen([(x, y, z) for x in (-0.3, 0.3) for y in (0.0, 1.1) for z in (-0.9, 0.9)]))
    if not sprite.empty:
        wheels = [seen(_wheel(axle)) for axle in (-AXLE, AXLE)]
        _draw(studio, bike, sprite, wheels)
        layer = sprite.resolve(_table(studio, bike))
        outlines = [_hull(outline) - (layer.left, layer.top) for outline in (*wheels, seen(OUTLINE))]
        silhouette = np.maximum(layer.cover, mask(sprite.height, sprite.width, outlines))
        studio.canvas.paint(layer, MSRS.index("bike"), silhouette)
    if bike.rider:
        paint_person(studio, bike.rider)


def _seen(studio: Studio, bike: Bike, points: ArrayLike) -> Points:
    """Project points of the bike, N×3 (right, up, ahead) [metres]."""
    placed = turned(np.asarray(points, np.float64), bike.yaw) + (bike.across, bike.base, bike.ahead)
    return studio.view.project(placed)


def _draw(studio: Studio, bike: Bike, sprite: Sprite, wheels: list[Points]) -> None:
    scale, seen = studio.view.scale(bike.ahead), partial(_seen, studio, bike)
    for wheel in wheels:
        hub = wheel.mean(axis=0)
        for rim in wheel[::4]:
            sprite.stroke(np.array([hub, rim]), 0.010 * scale, SPOKES)
        sprite.stroke(wheel, 0.050 * scale, TYRE, closed=True)
    for tube in TUBES:
        sprite.stroke(seen(tube), 0.048 * scale, FRAME)
    sprite.stroke(seen(_fender()), 0.048 * scale, FRAME)
    sprite.stroke(seen([(0.0, 0.92, -0.32), (0.0, 0.93, -0.08)]), 0.09 * scale, SADDLE)
    sprite.stroke(seen([(-0.27, 1.02, 0.40), (0.0, 1.04, 0.45), (0.27, 1.02, 0.40)]), 0.04 * scale, SADDLE)
    if bike.seed % 2:
        corners = [(x, y, z) for x in (-0.17, 0.17) for y in (0.74, 0.98) for z in (0.52, 0.80)]
        sprite.convex(_hull(seen(corners)), BASKET)
    if bike.rider:
        end = -0.62 if _shows_rear(bike) else 0.62
        sprite.stroke(seen([(0.0, 0.62, end), (0.0, 0.68, end)]), 0.07 * scale, LAMP)


def _shows_rear(bike: Bike) -> bool:
    return bool(np.cos(bike.yaw) > 0)


def _table(studio: Studio, bike: Bike) -> Float32:
    thermal = studio.weather.thermal
    glow = studio.upright(bike.across, bike.base + 0.5, bike.ahead)
    hues = [bike.paint, (0.02, 0.02, 0.02), (0.03, 0.03, 0.03), (0.12, 0.12, 0.12), (0.25, 0.25, 0.26), (0.3, 0.3, 0.3)]
    radiance = np.array(hues) * glow
    if studio.weather.night:
        radiance[LAMP - 1] = (0.4, 0.02, 0.01) if _shows_rear(bike) else (0.9, 0.9, 0.8)
    ridden = 2.5 if bike.rider else 0.0
    cool = thermal.air - 0.06 * (thermal.air - thermal.sky)
    return studio.table(radiance, [cool, thermal.road - 0.5 + ridden, cool + ridden, cool, cool, cool + 1], bike.ahead)


def _hull(points: Points) -> Points:
    return np.asarray(cv2.convexHull(points.astype(np.float32)).reshape(-1, 2), np.float64)


def _wheel(axle: float) -> Points:
    angle = np.linspace(0, 2 * np.pi, 32, endpoint=False)
    return np.stack([np.zeros(32), RADIUS + RADIUS * np.sin(angle), axle + RADIUS * np.cos(angle)], axis=1)


def _fender() -> Points:
    angle = np.linspace(0.7, 2.6, 8)
    return np.stack([np.zeros(8), RADIUS + 0.40 * np.sin(angle), -AXLE + 0.40 * np.cos(angle)], axis=1)
