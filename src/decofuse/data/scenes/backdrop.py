"""What lies behind the street: the sky and the far skyline."""

import cv2
import numpy as np

from decofuse.data.images import Float32
from decofuse.data.scenes import noise
from decofuse.data.scenes.canvas import Layer
from decofuse.data.scenes.studio import Studio
from decofuse.data.scenes.things import Layout
from decofuse.data.scenes.view import Points
from decofuse.data.scenes.weather import WARM_LED, Rgb

TOWERS, HILLS = 400.0, 200.0  # distances of the two rows along the horizon [metres]


def paint_sky(studio: Studio) -> None:
    """Paint the rows above the horizon with sky: gradient, clouds, and the sun's glow if it stands ahead."""
    view, weather = studio.view, studio.weather
    height = int(np.clip(np.ceil(view.horizon) + 2, 1, view.height))
    rows = np.arange(height, dtype=np.float32)[:, None]
    columns = np.arange(view.width, dtype=np.float32)[None, :]
    climb = np.clip((np.float32(view.horizon) - rows) / np.float32(view.focal), 0.0, 1)  # tangent of the elevation
    rise = np.sqrt(np.clip(climb * np.float32(1.6), 0, 1))
    depth = 1 / (climb + np.float32(0.08))
    across = (columns - np.float32(view.centre)) / np.float32(view.focal) * depth
    cloud = noise.sample(studio.soft, across * 60, depth * 90)
    cover = noise.smoothstep(1.0 - 2.2 * weather.clouds, 2.2 - 2.2 * weather.clouds, cloud)
    surface = np.empty((height, view.width, 4), np.float32)
    for channel in range(3):
        clear = weather.skyline[channel] * (1 - rise) + weather.zenith[channel] * rise
        bright = np.float32(weather.light.sky[channel]) * (np.float32(1.05) + np.float32(0.12) * cloud)
        surface[..., channel] = clear + np.float32(0.75) * cover * (bright - clear)
    low = np.exp(-climb / np.float32(0.12))
    span = np.float32(weather.thermal.air - weather.thermal.sky)
    surface[..., 3] = weather.thermal.sky + span * (np.float32(0.55) * low + np.float32(0.25) * cover * (1 - low))
    _sun_glow(studio, surface, rows, columns)
    studio.canvas.paint(Layer(0, 0, np.ones((height, view.width), np.float32), surface))


def _sun_glow(studio: Studio, surface: Float32, rows: Float32, columns: Float32) -> None:
    light, view = studio.weather.light, studio.view
    east, up, north = light.towards_sun
    if north <= 0.1 or not any(light.sun):
        return
    row, column = view.horizon - view.focal * up / north, view.centre + view.focal * east / north
    distance = np.hypot(rows - np.float32(row), columns - np.float32(column)) / np.float32(view.focal)
    glow = 30 * np.exp(-((distance / 0.025) ** 2)) + 1.1 * np.exp(-distance / 0.12) + 0.25 * np.exp(-distance / 0.4)
    surface[..., :3] += glow[..., None] * np.array(light.sun, np.float32)


def paint_skyline(studio: Studio, layout: Layout) -> None:
    """Paint hazy towers, and a line of tree tops before them, along the horizon."""
    view, rng = studio.view, noise.generator(layout.seed)
    ray = (np.arange(view.width) - view.centre) / view.focal
    steps = rng.uniform(0.2, 1.0, 80) * rng.uniform(14, 50)
    towers = steps[np.clip((ray * 24 + 40).astype(np.intp), 0, 79)]
    _paint_row(studio, towers, TOWERS, hue=(0.10, 0.10, 0.105), warmth=-4.0, seed=layout.seed)
    place = (ray * 420 + rng.uniform(0, noise.SIDE)).astype(np.float32)[None, :]
    ripple = noise.sample(studio.soft, place, np.zeros((1, 1), np.float32))[0]
    hills = rng.uniform(5, 11) * (1 + 0.25 * ripple)
    _paint_row(studio, hills, HILLS, hue=(0.025, 0.05, 0.018), warmth=-2.5, seed=layout.seed + 1)


def _paint_row(studio: Studio, heights: Points, distance: float, *, hue: Rgb, warmth: float, seed: int) -> None:
    """Paint a silhouette W columns wide, of `heights` [metres] at a distance; windows shine in it by night."""
    view, weather = studio.view, studio.weather
    tops = (view.horizon - (heights - view.eye) * view.focal / distance).astype(np.float32)
    first = int(np.clip(np.floor(tops.min()), 0, view.height - 1))
    last = int(np.clip(np.ceil(view.horizon) + 2, first + 1, view.height))
    cover = np.clip(np.arange(first, last, dtype=np.float32)[:, None] - tops + np.float32(0.5), 0, 1)
    light = np.array(weather.light.ambient) + 0.25 * np.array(weather.light.sun)
    flat = np.append(studio.through_haze(light * hue, distance), weather.thermal.air + warmth).astype(np.float32)
    layer = Layer(first, 0, cover, cover[..., None] * flat)
    layer.shade(1 + np.float32(0.15) * studio.texture(studio.grain, seed, cover, 420))
    if weather.night and distance == TOWERS:
        height, width = cover.shape
        lots = noise.generator(seed).random((max(1, height // 4), max(1, width // 4))) > 0.985
        lights = cv2.resize(lots.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR) * cover
        layer.surface[..., :3] += (np.float32(0.02) * lights)[..., None] * np.array(WARM_LED, np.float32)
    studio.canvas.paint(layer)
