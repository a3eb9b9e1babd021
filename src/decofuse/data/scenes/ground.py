"""The ground: asphalt with its markings, pavements and grass, evaluated for each pixel below the horizon."""

from dataclasses import dataclass

import cv2
import numpy as np

from decofuse.data.images import Float32
from decofuse.data.scenes import noise
from decofuse.data.scenes.canvas import Layer
from decofuse.data.scenes.markings import road_paint
from decofuse.data.scenes.ridges import paint_bump, paint_kerb
from decofuse.data.scenes.shadows import cast_shadows, occlusion
from decofuse.data.scenes.studio import Studio
from decofuse.data.scenes.things import Layout, Street
from decofuse.data.scenes.view import rows_of_ground
from decofuse.data.scenes.weather import Rgb

ASPHALT: Rgb = (0.095, 0.095, 0.10)
PAVING: Rgb = (0.24, 0.225, 0.20)
GRASS: Rgb = (0.055, 0.095, 0.025)
WHITE: Rgb = (0.62, 0.62, 0.60)
YELLOW: Rgb = (0.60, 0.42, 0.06)
SLAB = 0.5  # side of a paving slab [metres]
FAR_AWAY = 1e4  # [metres]


@dataclass(frozen=True)
class _Field:
    """The ground in each of R rows and W columns below the horizon: where it lies, and noise on it."""

    across: Float32  # R×W
    ahead: Float32  # R×1
    wide: Float32  # a pixel's extent across, R×1
    deep: Float32  # and ahead, R×1
    fine: Float32  # noise of grit, R×W
    rough: Float32  # noise of patches
    broad: Float32  # noise of stains


def paint_ground(studio: Studio, layout: Layout) -> None:
    """Paint everything that lies flat, and leave `studio.sunlit` and `studio.ground` for what will stand on it."""
    first, distance = rows_of_ground(studio.view)
    field = _field(studio, distance)
    fixed, everything = cast_shadows(studio, layout)
    studio.sunlit = fixed
    studio.ground = _illumination(studio, first, field, everything, occlusion(studio, layout))
    albedo, temperature = _materials(studio, layout.street, field)
    heat = studio.weather.thermal.sunny * studio.weather.light.towards_sun[1]
    if heat:
        soaked = cv2.GaussianBlur(fixed[first:], (0, 0), 3 * studio.view.unit)
        temperature += np.float32(heat) * (soaked - np.float32(0.5))
    surface = np.empty((*temperature.shape, 4), np.float32)
    albedo *= studio.ground[first:]
    surface[..., :3] = studio.through_haze(albedo, field.ahead[..., None])
    surface[..., 3] = temperature
    studio.canvas.paint(Layer(first, 0, np.ones_like(temperature), surface))
    for present, edge, outward in zip(
        layout.street.kerbs, (layout.street.left, layout.street.right), (-1, 1), strict=True
    ):
        if present:
            paint_kerb(studio, edge, outward)
    for bump in layout.bumps:
        paint_bump(studio, layout.street, bump)


def _field(studio: Studio, distance: Float32) -> _Field:
    view = studio.view
    ahead = distance[:, None]
    wide = ahead / np.float32(view.focal)
    deep = ahead * wide / np.float32(view.eye)
    columns = np.arange(view.width, dtype=np.float32)[None, :] - np.float32(view.centre)
    across = columns * wide - np.float32(view.bend) * ahead * ahead
    footprint = np.sqrt(wide * deep)

    def texture(tile: Float32, density: float, shift: float) -> Float32:
        """A tile laid out at `density` tile pixels a metre; it fades where pixels outgrow its grain."""
        scale = np.float32(density)
        value = noise.sample(tile, across * scale + np.float32(shift), ahead * scale + np.float32(shift))
        faded: Float32 = value * np.clip(2 / (1 + footprint * scale), 0, 1)
        return faded

    fine, rough, broad = texture(studio.grain, 130, 200), texture(studio.soft, 9, 77), texture(studio.soft, 2.3, 0)
    return _Field(across, ahead, wide, deep.astype(np.float32), fine, rough, broad)


def _illumination(studio: Studio, first: int, field: _Field, sunlit: Float32, open_sky: Float32) -> Float32:
    """Radiance of a white ground, H×W×3; lamps are smooth, so they are worked out on a coarse grid."""
    view, light = studio.view, studio.weather.light
    light_map = open_sky[..., None] * np.array(light.ambient, np.float32)
    if any(light.sun):
        light_map += sunlit[..., None] * (np.array(light.sun, np.float32) * np.float32(light.towards_sun[1]))
    if light.lamps:
        step = max(1, round(6 * view.unit))
        across = field.across[::step, ::step]
        ahead = np.broadcast_to(field.ahead[::step], across.shape)
        points = np.stack([across, np.zeros_like(across), ahead], axis=-1).reshape(-1, 3)
        coarse = light.lamplight(points, np.broadcast_to([0.0, 1.0, 0.0], points.shape))
        size = (across.shape[1] * step, across.shape[0] * step)
        pools = cv2.resize(coarse.astype(np.float32).reshape(*across.shape, 3), size, interpolation=cv2.INTER_LINEAR)
        reach = np.float32(0.3) + np.float32(0.7) * open_sky[first:, :, None]
        light_map[first:] += pools[: view.height - first, : view.width] * reach
    return light_map


def _materials(studio: Studio, street: Street, field: _Field) -> tuple[Float32, Float32]:
    """Albedo R×W×3 and temperature R×W of the flat ground."""
    fine, rough, broad = field.fine, field.rough, field.broad
    tracks = _wheel_tracks(street, field)
    tone = 1 + np.float32(0.22) * fine + np.float32(0.07) * rough + np.float32(0.09) * broad
    tone -= _cracks(rough, broad) + np.float32(0.10) * tracks
    albedo: Float32 = np.maximum(tone, np.float32(0.25))[..., None] * np.array(ASPHALT, np.float32)
    temperature = np.float32(studio.weather.thermal.road) + np.float32(0.35) * fine + np.float32(0.5) * rough
    temperature += np.float32(0.8) * broad + np.float32(0.9) * tracks
    outsides = (np.float32(street.left) - field.across, field.across - np.float32(street.right))
    for outside, width, verge in zip(outsides, street.pavement, street.verge, strict=True):
        on_pavement = noise.band(outside, 0.0, width if verge == "grass" else FAR_AWAY, field.wide)
        _lay_slabs(field, outside, on_pavement, albedo, temperature)
        if verge == "grass":
            on_grass = noise.band(outside, width, FAR_AWAY, field.wide)
            _lay_grass(studio, field, on_grass, albedo, temperature)
    white, yellow = road_paint(street, field.across, field.ahead, field.wide, field.deep)
    wear = 1 - np.float32(street.worn) * noise.smoothstep(-0.3, 1.2, fine + rough)
    wear *= noise.band(field.across, street.left, street.right, field.wide)
    for amount, colour in ((white, WHITE), (yellow, YELLOW)):
        _lay(albedo, (1 + np.float32(0.06) * fine[..., None]) * np.array(colour, np.float32), amount * wear)
    temperature -= np.float32(0.25) * white * wear
    return albedo, temperature


def _cracks(rough: Float32, broad: Float32) -> Float32:
    """Dark lines where two noises meet, only in some areas."""
    gap = (rough - np.float32(0.4) * broad) * np.float32(20)
    cracked: Float32 = np.float32(0.35) * np.exp(-gap * gap) * noise.smoothstep(0.2, 1.2, broad)
    return cracked


def _wheel_tracks(street: Street, field: _Field) -> Float32:
    """Where tyres darken and warm the lanes, 0 to 1."""
    phase = (field.across - np.float32(street.divider)) / np.float32(street.lane)
    within = (phase - np.floor(phase) - np.float32(0.5)) * np.float32(street.lane)
    off = (np.abs(within) - np.float32(0.75)) / np.float32(0.3)
    tracks: Float32 = np.exp(-off * off)
    return tracks


def _lay_slabs(field: _Field, outside: Float32, share: Float32, albedo: Float32, temperature: Float32) -> None:
    """Lay paving slabs, in place; `outside` is the distance from the kerb."""
    seams = np.maximum(_seams(outside, field.wide), _seams(field.ahead, field.deep))
    tone = 1 + np.float32(0.12) * field.fine + np.float32(0.08) * field.rough + np.float32(0.08) * field.broad
    tone *= 1 - np.float32(0.35) * seams
    _lay(albedo, tone[..., None] * np.array(PAVING, np.float32), share)
    temperature -= share * (np.float32(1.6) + np.float32(0.8) * seams)


def _lay_grass(studio: Studio, field: _Field, share: Float32, albedo: Float32, temperature: Float32) -> None:
    """Lay a lawn, in place."""
    tone = 1 + np.float32(0.35) * field.fine + np.float32(0.25) * field.rough + np.float32(0.2) * field.broad
    tint = 1 + field.broad[..., None] * np.array((0.25, 0.05, -0.1), np.float32)
    _lay(albedo, np.maximum(tone, np.float32(0.2))[..., None] * tint * np.array(GRASS, np.float32), share)
    cool = np.float32(0.45 * (studio.weather.thermal.road - studio.weather.thermal.air) + 1.5)
    temperature += share * (np.float32(0.5) * field.fine + np.float32(0.6) * field.rough - cool)


def _seams(place: Float32, footprint: Float32) -> Float32:
    """Coverage by the seams between slabs along one direction; they fade where pixels are too coarse for them."""
    off = np.abs(place - np.floor(place / np.float32(SLAB)) * np.float32(SLAB) - np.float32(SLAB / 2))
    seams: Float32 = noise.band(off, SLAB / 2 - 0.015, 1.0, footprint) * np.clip(np.float32(0.08) / footprint, 0, 1)
    return seams


def _lay(albedo: Float32, material: Float32, share: Float32) -> None:
    """Blend a material into the albedo, in place."""
    material -= albedo
    material *= share[..., None]
    albedo += material
