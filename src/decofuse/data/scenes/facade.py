"""Facades: walls with storeys, windows and shops, evaluated for each pixel they cover."""

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from decofuse.data.images import Float32
from decofuse.data.scenes import noise
from decofuse.data.scenes.canvas import Layer
from decofuse.data.scenes.studio import Studio
from decofuse.data.scenes.things import Building
from decofuse.data.scenes.view import NEAR, Points
from decofuse.data.scenes.weather import COOL_LED, WARM_LED, Rgb, dot

GABLE_DEPTH = 14.0  # how far a building reaches back from the road [metres]
SHOP_HEIGHT, SHOP_WIDTH = 3.4, 5.5  # [metres]
STONE_TRIM: Rgb = (0.5, 0.48, 0.45)
DARK_TRIM: Rgb = (0.10, 0.08, 0.07)


def paint_building(studio: Studio, building: Building) -> None:
    """Paint the gable end that faces the camera, then the facade along the road."""
    outward = -1.0 if building.side == "left" else 1.0
    near, far = (building.across, building.start), (building.across, building.end)
    back = (building.across + outward * GABLE_DEPTH, building.start)
    for start, end, normal in ((back, near, (0.0, 0.0, -1.0)), (near, far, (-outward, 0.0, 0.0))):
        _paint_wall(studio, building, start, end, normal)


def _paint_wall(
    studio: Studio,
    building: Building,
    start: tuple[float, float],
    end: tuple[float, float],
    normal: tuple[float, float, float],
) -> None:
    """Paint the wall above the ground line from `start` to `end` (across, ahead)."""
    view = studio.view
    (x0, z0), (x1, z1) = ((x + view.bend * z * z, z) for x, z in (start, end))
    edges = sorted((view.centre + view.focal * x0 / max(z0, NEAR), view.centre + view.focal * x1 / max(z1, NEAR)))
    left, right = (int(v) for v in np.clip((np.floor(edges[0]), np.ceil(edges[1])), 0, view.width))
    columns = np.arange(left, right)
    ray = (columns - view.centre) / view.focal
    run = (x1 - x0) - ray * (z1 - z0)
    share = np.clip((ray * z0 - x0) / np.where(np.abs(run) < 1e-9, 1e-9, run), 0, 1)
    distance = np.maximum(z0 + share * (z1 - z0), NEAR).astype(np.float32)
    top = np.float32(view.horizon) - np.float32((building.height - view.eye) * view.focal) / distance
    bottom = np.float32(view.horizon) + np.float32(view.eye * view.focal) / distance
    upper = int(np.clip(np.floor(top.min(initial=view.height)), 0, view.height))
    lower = int(np.clip(np.ceil(bottom.max(initial=0)), 0, view.height))
    if right <= left or lower <= upper:
        return
    rows = np.arange(upper, lower, dtype=np.float32)[:, None]
    cover = np.clip(np.minimum(rows - top, bottom - rows) + np.float32(0.5), 0, 1)
    cover *= np.clip(np.minimum(columns - edges[0], edges[1] - columns) + 0.5, 0, 1).astype(np.float32)
    metre = distance / np.float32(view.focal)
    up = np.float32(view.eye) + (np.float32(view.horizon) - rows) * metre
    along = (share * np.hypot(x1 - x0, z1 - z0)).astype(np.float32)
    place = np.stack([start[0] + share * (end[0] - start[0]), distance], axis=1)
    wall = _Wall(studio, building, normal, along, up, metre, place)
    surface = np.empty((*up.shape, 4), np.float32)
    surface[..., :3] = studio.through_haze(wall.radiance(), distance[None, :, None])
    surface[..., 3] = wall.temperature()
    surface *= cover[..., None]
    studio.canvas.paint(Layer(upper, left, cover, surface))


@dataclass
class _Wall:
    """A wall's pixels: R rows by C columns."""

    studio: Studio
    building: Building
    normal: tuple[float, float, float]
    along: Float32  # metres along the wall, C
    up: Float32  # metres above the road, R×C
    metre: Float32  # height of a pixel [metres], C
    place: Points  # (across, ahead), C×2

    def __post_init__(self) -> None:
        rng = noise.generator(self.building.seed)
        self.storey, self.bay = rng.uniform(2.9, 3.6), rng.uniform(2.2, 4.4)
        self.window = (self.bay * rng.uniform(0.35, 0.7), self.storey * rng.uniform(0.42, 0.62))
        self.shops = bool(rng.random() < 0.45)
        self.base = SHOP_HEIGHT if self.shops else 0.35
        self.trim = STONE_TRIM if rng.random() < 0.5 else DARK_TRIM
        self.awake = rng.uniform(0.05, 0.3)  # share of rooms that are lit by night
        self.lottery = rng.random((61, 67)).astype(np.float32)
        self.shop_lottery = rng.random(67).astype(np.float32)
        shift = np.float32(rng.uniform(0, noise.SIDE))
        grain = self.studio.texture(self.studio.grain, self.building.seed, self.up, 500)
        soft = noise.sample(self.studio.soft, self.along * 14 + shift, self.up * 14)
        self.texture: Float32 = np.float32(0.6) * soft + np.float32(0.5) * grain

    @cached_property
    def footprint(self) -> Float32:
        """Width of a pixel along the wall [metres], C."""
        if len(self.along) < 2:
            return np.full(len(self.along), 0.05, np.float32)
        return np.maximum(np.abs(np.gradient(self.along)), 1e-3).astype(np.float32)

    @cached_property
    def windows(self) -> tuple[Float32, Float32, Float32]:
        """Coverage by glass and by window frames, and a number in [0, 1) that is the same all over a window."""
        width, height = self.window
        column = np.floor(self.along / np.float32(self.bay))
        row = np.floor((self.up - np.float32(self.base)) / np.float32(self.storey))
        x = self.along - (column + np.float32(0.5)) * np.float32(self.bay)
        y = self.up - np.float32(self.base) - (row + np.float32(0.5)) * np.float32(self.storey)
        usable = (row >= 0) & (self.up < self.building.height - 0.5)
        glass, frame = (
            noise.band(x, -width / 2 - rim, width / 2 + rim, self.footprint)
            * noise.band(y, -height / 2 - 1.6 * rim, height / 2 + rim, self.metre)
            * usable
            for rim in (0.0, 0.11)
        )
        mullion = noise.band(x, -0.03, 0.03, self.footprint)
        places = np.clip(row, 0, 60).astype(np.intp), np.clip(column, 0, 66).astype(np.intp)[None, :]
        return glass * (1 - np.float32(0.8) * mullion), np.clip(frame - glass, 0, 1), self.lottery[places]

    @cached_property
    def shop(self) -> tuple[Float32, Float32, Float32]:
        """Coverage by shop windows and by the signs above them, R×C, and a number in [0, 1) for each shop, C."""
        column = np.floor(self.along / np.float32(SHOP_WIDTH))
        x = self.along - column * np.float32(SHOP_WIDTH)
        glass = noise.band(x, 0.35, SHOP_WIDTH - 0.35, self.footprint) * noise.band(self.up, 0.5, 2.7, self.metre)
        glass *= 1 - noise.band(np.mod(x, np.float32(1.7)), 0.0, 0.07, self.footprint)
        sign = noise.band(x, 0.2, SHOP_WIDTH - 0.2, self.footprint) * noise.band(self.up, 2.85, 3.35, self.metre)
        return glass, sign, self.shop_lottery[np.clip(column, 0, 66).astype(np.intp)]

    def radiance(self) -> Float32:
        """Light that leaves the wall, R×C×3."""
        glass, frame, number = self.windows
        night = self.studio.weather.night
        albedo = self._tone()[..., None] * np.array(self.building.wall, np.float32)
        albedo += frame[..., None] * (np.array(self.trim, np.float32) - albedo)
        inside: Float32 | None = None
        if night:
            room = glass * (number < self.awake) * (np.float32(0.01) + np.float32(0.25) * number)
            hue = np.where((number * 17 % 1 < 0.7)[..., None], WARM_LED, COOL_LED).astype(np.float32)
            inside = room[..., None] * hue
        if self.shops:
            shop, sign, lottery = self.shop
            hue = 0.26 + 0.2 * np.cos(2 * np.pi * (lottery[:, None] + np.array((0.0, 0.33, 0.66), np.float32)))
            albedo += sign[..., None] * (hue * (1 + np.float32(0.2) * self.texture[..., None]) - albedo)
            glass = np.clip(glass + shop, 0, 1)
            if inside is not None:
                trade = shop * (lottery < 0.4) * (0.035 + 0.014 * self.texture) + 0.03 * sign * (lottery < 0.25)
                inside += trade[..., None] * np.array(WARM_LED, np.float32)
        curtain = np.float32(0.25) * (number > 0.6)
        mirrored = ((np.float32(0.05) + np.float32(0.22) * number) * (1 - curtain))[..., None]
        mirrored = mirrored * np.array(self.studio.weather.light.sky, np.float32)
        albedo += glass[..., None] * (np.float32(0.03) + curtain[..., None] - albedo)
        shown = albedo * self._light() + glass[..., None] * mirrored
        return np.asarray(shown if inside is None else shown + inside, np.float32)

    def _tone(self) -> Float32:
        """Shade of the masonry: texture, ledges between storeys, cornice, plinth, dirt near the ground."""
        floor_line = np.mod(self.up - np.float32(self.base), np.float32(self.storey))
        tone = 1 + np.float32(0.10) * self.texture + np.float32(0.18) * noise.band(floor_line, 0.0, 0.14, self.metre)
        tone += np.float32(0.2) * noise.band(self.up, self.building.height - 0.45, 1e3, self.metre)
        tone -= np.float32(0.3) * noise.band(self.up, -1.0, 0.6, self.metre)
        tone *= np.float32(0.8) + np.float32(0.2) * np.clip(self.up / np.float32(2), 0, 1)
        return tone

    def _light(self) -> Float32:
        """Light on the wall, R×C×3, worked out on a coarse grid of pixels."""
        step = max(2, round(12 * self.studio.view.unit))
        up, place = self.up[::step, ::step], self.place[::step]
        points = np.stack([np.broadcast_to(place[:, 0], up.shape), up, np.broadcast_to(place[:, 1], up.shape)], axis=-1)
        normals = np.broadcast_to(self.normal, (up.size, 3))
        coarse = self.studio.glow(points.reshape(-1, 3), normals).reshape(*up.shape, 3).astype(np.float32)
        size = (up.shape[1] * step, up.shape[0] * step)
        full = cv2.resize(coarse, size, interpolation=cv2.INTER_LINEAR)
        return np.asarray(full[: self.up.shape[0], : self.up.shape[1]], np.float32)

    def temperature(self) -> Float32:
        """Apparent temperature, R×C: warm floor slabs, windows by what is behind them, little contrast."""
        glass, frame, number = self.windows
        weather = self.studio.weather
        facing = max(0.0, float(dot(np.array(self.normal), weather.light.towards_sun)))
        base = weather.thermal.air + 0.8 + weather.thermal.sunny * (facing - 0.2) + (self.building.seed % 7 - 3) * 0.35
        floor_line = np.mod(self.up - np.float32(self.base), np.float32(self.storey))
        slab = noise.band(np.abs(floor_line - np.float32(self.storey / 2)), self.storey / 2 - 0.25, 9.0, self.metre)
        indoors = np.float32(1.5 if weather.night else -1.8)
        warmth = np.float32(base) + np.float32(0.35) * self.texture + np.float32(0.5) * slab
        warmth += glass * (indoors + np.float32(2.5) * (number - np.float32(0.5))) + np.float32(0.4) * frame
        warmth -= np.float32(0.06) * self.up
        return warmth + self.shop[0] * indoors if self.shops else warmth
