"""Shadows on the ground: cast by the sun, and the soft ones beneath things."""

import cv2
import numpy as np

from decofuse.data.images import Float32
from decofuse.data.scenes import canvas, noise
from decofuse.data.scenes.mesh import turned
from decofuse.data.scenes.studio import Studio
from decofuse.data.scenes.things import Bike, Building, Car, LampPost, Layout, Person, Tree
from decofuse.data.scenes.view import Points

CAR_HALF = (0.9, 2.2)  # footprint of a car: half width, half length [metres]


def cast_shadows(studio: Studio, layout: Layout) -> tuple[Float32, Float32]:
    """Share of the sun that reaches the ground in each pixel, H×W in [0, 1].

    Returns:
        the share left by what never moves (it also cools the ground), and the share left by everything.
    """
    view = studio.view
    if not any(studio.weather.light.sun):
        free = np.ones((view.height, view.width), np.float32)
        return free, free
    east, up, north = studio.weather.light.towards_sun
    drift = np.array([-east, -north]) / up  # of a shadow's tip for each metre of height
    solid = [_building(building, drift) for building in layout.buildings]
    leaves, moving = [], []
    for thing in layout.things:
        foot = np.array([thing.across, thing.ahead])
        if isinstance(thing, Tree):
            solid.append(_pole(foot, 0.15, thing.trunk + thing.crown, drift))
            leaves.append(_disc(foot + drift * (thing.trunk + 0.8 * thing.crown), thing.crown, drift))
        elif isinstance(thing, LampPost):
            solid.append(_pole(foot, 0.08, thing.height, drift))
        elif isinstance(thing, Car):
            moving.append(_car(thing, drift))
        elif isinstance(thing, Person):
            moving.append(_pole(foot, 0.2, thing.height, drift))
        elif isinstance(thing, Bike):
            moving.append(_pole(foot, 0.25, 1.6 if thing.rider else 0.8, drift))
    softness = 1.3 * view.unit
    dappled = _mask(studio, leaves) * noise.smoothstep(-0.9, 0.4, _dapple(studio))
    fixed = np.maximum(_mask(studio, solid), dappled)
    everything = np.maximum(fixed, _mask(studio, moving))
    return 1 - cv2.GaussianBlur(fixed, (0, 0), softness), 1 - cv2.GaussianBlur(everything, (0, 0), softness)


def occlusion(studio: Studio, layout: Layout) -> Float32:
    """Share of the sky that reaches the ground beneath and beside things, H×W in [0, 1]."""
    view = studio.view
    open_sky = np.ones((view.height, view.width), np.float32)
    for thing in layout.things:
        foot = np.array([thing.across, thing.ahead])
        if isinstance(thing, Car):
            _darken(studio, open_sky, _footprint(thing, 1.0), 0.85, 0.12 * view.scale(thing.ahead))
            _darken(studio, open_sky, _footprint(thing, 1.25), 0.45, 0.35 * view.scale(thing.ahead))
        elif isinstance(thing, Person | Bike):
            _darken(studio, open_sky, _disc(foot, 0.32, np.zeros(2)), 0.5, 0.08 * view.scale(thing.ahead))
    return open_sky


def _darken(studio: Studio, open_sky: Float32, polygon: Points, depth: float, sigma: float) -> None:
    outline = studio.view.project_ground(polygon)
    if len(outline) < 3:
        return
    sprite = studio.sprite(outline, margin=3 * sigma + 1)
    if sprite.empty:
        return
    sprite.convex(outline, 1)
    cover = cv2.GaussianBlur(sprite.coverage(), (0, 0), max(sigma, 0.5))
    open_sky[sprite.top : sprite.top + sprite.height, sprite.left : sprite.left + sprite.width] *= 1 - depth * cover


def _dapple(studio: Studio) -> Float32:
    view = studio.view
    rows = np.arange(view.height, dtype=np.float32)[:, None]
    columns = np.arange(view.width, dtype=np.float32)[None, :]
    distance = view.focal * view.eye / np.maximum(rows - view.horizon, 1)
    across = (columns - view.centre) * distance / view.focal
    return noise.sample(studio.soft, across * 45, distance * 30)


def _mask(studio: Studio, polygons: list[Points]) -> Float32:
    drawn = [studio.view.project_ground(polygon) for polygon in polygons]
    return canvas.mask(studio.view.height, studio.view.width, drawn)


def _hull(points: Points) -> Points:
    hull: Points = cv2.convexHull(points.astype(np.float32)).reshape(-1, 2).astype(np.float64)
    return hull


def _disc(centre: Points, radius: float, drift: Points) -> Points:
    angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    circle = centre + radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return _hull(np.concatenate([circle - 0.5 * radius * drift, circle + 0.5 * radius * drift]))


def _pole(foot: Points, half_width: float, height: float, drift: Points) -> Points:
    side = np.array([drift[1], -drift[0]]) / max(float(np.hypot(*drift)), 1e-6) * half_width
    tip = foot + drift * height
    return np.array([foot + side, foot - side, tip - side, tip + side])


def _footprint(car: Car, grow: float) -> Points:
    """Corners of a car's outline on the ground (across, ahead), its width grown by a factor."""
    wide, long = CAR_HALF[0] * grow, CAR_HALF[1] * (1 + (grow - 1) / 2.5)
    corners = np.array([(-wide, 0.0, -long), (wide, 0.0, -long), (wide, 0.0, long), (-wide, 0.0, long)])
    placed: Points = turned(corners, car.yaw)[:, ::2] + (car.across, car.ahead)
    return placed


def _car(car: Car, drift: Points) -> Points:
    base = _footprint(car, 1.0)
    roof = _footprint(car, 0.75) + drift * 1.4
    return _hull(np.concatenate([base, base + drift * 0.8, roof]))


def _building(building: Building, drift: Points) -> Points:
    outward = -10 if building.side == "left" else 10
    corners = [(building.across + a, z) for a in (0.0, outward) for z in (building.start, building.end)]
    base = np.array(corners)
    return _hull(np.concatenate([base, base + drift * building.height]))
