"""The conditions of a scene: what lights it, how warm things are, and how the cameras are set.

Radiance is relative: a white surface in full sun has about 1. Temperatures are apparent ones, in °C.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

Rgb = tuple[float, float, float]
SODIUM: Rgb = (1.0, 0.58, 0.20)
WARM_LED: Rgb = (1.0, 0.78, 0.52)
COOL_LED: Rgb = (0.80, 0.92, 1.0)

Vectors = NDArray[np.float64]


@dataclass(frozen=True)
class Lamp:
    """A small light in road coordinates; a beam, unless its direction is zero, when it shines all round."""

    position: tuple[float, float, float]
    intensity: Rgb  # radiance of a white surface at one metre
    direction: tuple[float, float, float] = (0.0, 0.0, 0.0)
    spread: float = 1.0  # sine of the beam's half angle


@dataclass(frozen=True)
class Light:
    """All that lights a scene."""

    ambient: Rgb
    sun: Rgb
    towards_sun: tuple[float, float, float]
    sky: Rgb  # radiance of the sky that glossy surfaces mirror
    lamps: tuple[Lamp, ...] = ()

    def irradiance(self, points: ArrayLike, normals: ArrayLike, lit: ArrayLike = 1.0) -> Vectors:
        """Light on N×3 points with N×3 normals; `lit` (N or 1) is the share of the sun that is not in shadow."""
        points, normals = np.asarray(points, np.float64), np.asarray(normals, np.float64)
        sky_share = 0.62 + 0.38 * normals[:, 1:2]
        facing = np.maximum(dot(normals, self.towards_sun), 0) * np.asarray(lit)
        total: Vectors = sky_share * np.array(self.ambient) + facing[:, None] * np.array(self.sun)
        return total + self.lamplight(points, normals) if self.lamps else total

    def lamplight(self, points: Vectors, normals: Vectors) -> Vectors:
        """The lamps' part of `irradiance`: falls with the squared distance, and off a beam's axis."""
        positions, intensities, directions, spreads = self._lamp_arrays
        ray = positions - points[:, None]  # points × lamps × 3
        squared = np.sum(ray * ray, axis=2) + 0.3
        distance = np.sqrt(squared)
        facing = np.maximum(np.sum(ray * normals[:, None], axis=2) / distance, 0.12)
        along = -np.sum(ray * directions, axis=2) / distance
        off_axis = np.maximum(1 - along * along, 0) / (spreads * spreads)
        beam = np.where(np.any(directions, axis=1), (along > 0) * np.exp(-off_axis), 1.0)
        total: Vectors = np.sum((facing / squared * beam)[..., None] * intensities, axis=1)
        return total

    @cached_property
    def _lamp_arrays(self) -> tuple[Vectors, Vectors, Vectors, Vectors]:
        positions = np.array([lamp.position for lamp in self.lamps])
        intensities = np.array([lamp.intensity for lamp in self.lamps])
        directions = np.array([lamp.direction for lamp in self.lamps])
        lengths = np.linalg.norm(directions, axis=1, keepdims=True)
        spreads = np.array([lamp.spread for lamp in self.lamps])
        return positions, intensities, directions / np.maximum(lengths, 1e-9), spreads


@dataclass(frozen=True)
class Thermal:
    """Apparent temperatures [°C]."""

    air: float
    road: float
    sunny: float  # what the sun adds to a surface that faces it
    sky: float
    insulation: float  # clothes: 0 as cold as the air, 1 as warm as skin

    def clothes(self, share: float) -> float:
        """Surface of clothing, thinner with a larger `share`."""
        return self.air + (33.0 - self.air) * min(self.insulation * share, 1.0)


@dataclass(frozen=True)
class Cameras:
    """Settings and faults of the two cameras."""

    exposure: float  # departure from the metered exposure [stops]
    noise: float  # read noise of the visible camera relative to white
    cast: Rgb  # gain of each channel
    blur: float  # of the visible camera, sigma at 480×640 [pixels]
    infrared_blur: float  # sigma at 480×640 [pixels]
    infrared_noise: float  # [°C]
    infrared_stripes: float  # [°C]
    infrared_span: float  # the gain control never stretches a range below this [°C]
    infrared_levels: tuple[float, float]  # grey levels in [0, 1] that the range is mapped to


@dataclass(frozen=True)
class Weather:
    """Everything about a scene that is not where things stand."""

    night: bool
    light: Light
    thermal: Thermal
    cameras: Cameras
    zenith: Rgb
    skyline: Rgb  # the sky at the horizon, also the colour of the haze
    clouds: float  # share of cloud in [0, 1]
    haze: float  # extinction [1/metre]


def sample_weather(rng: np.random.Generator, night: bool) -> Weather:
    """Draw the conditions of a scene (street lamps are added by the layout)."""
    return _night(rng) if night else _day(rng)


def dot(vectors: Vectors, direction: ArrayLike) -> Vectors:
    """Scalar products of (..., 3) vectors with one direction; free of BLAS, whose last bits depend on its threads."""
    products: Vectors = np.sum(vectors * np.asarray(direction), axis=-1)
    return products


def scaled(colour: Rgb, factor: float) -> Rgb:
    """A colour or intensity times a factor."""
    return (colour[0] * factor, colour[1] * factor, colour[2] * factor)


def _day(rng: np.random.Generator) -> Weather:
    overcast = rng.random() < 0.35
    low_sun = not overcast and rng.random() < 0.35
    azimuth = rng.uniform(-0.45, 0.45) if low_sun else rng.choice([-1, 1]) * rng.uniform(0.7, 2.6)
    elevation = np.radians(rng.uniform(9, 20) if low_sun else rng.uniform(28, 60))
    towards = (np.sin(azimuth) * np.cos(elevation), np.sin(elevation), np.cos(azimuth) * np.cos(elevation))
    blue, bright = rng.uniform(0.6, 1.0), rng.uniform(0.8, 1.1)
    sun: Rgb = (0.0, 0.0, 0.0) if overcast else (1.25, 1.0, 0.72) if low_sun else (1.15, 1.05, 0.92)
    ambient: Rgb = (0.62, 0.65, 0.69) if overcast else (0.22, 0.26, 0.34)
    zenith: Rgb = (0.62, 0.66, 0.70) if overcast else (0.16 + 0.2 * (1 - blue), 0.32, 0.66)
    skyline: Rgb = (0.74, 0.77, 0.80) if overcast else (0.78, 0.80, 0.80) if low_sun else (0.58, 0.70, 0.84)
    hot = rng.random() < 0.35
    air = rng.uniform(26, 32) if hot else rng.uniform(2, 20)
    sunny = 0.5 if overcast else rng.uniform(3, 7)
    thermal = Thermal(
        air=air,
        road=air + rng.uniform(0.5, 3) + 0.5 * sunny,
        sunny=sunny,
        sky=air - (rng.uniform(8, 15) if overcast else rng.uniform(18, 35)),
        insulation=rng.uniform(0.4, 0.75),
    )
    mean_exposure = float(rng.choice([0.0, 0.0, 0.0, 1.2, -1.5]))
    cameras = Cameras(
        exposure=mean_exposure + rng.normal(0, 0.25) + (0.4 if low_sun else 0.0),
        noise=rng.uniform(0.002, 0.006),
        cast=(1 + rng.normal(0, 0.03), 1.0, 1 + rng.normal(0, 0.04)),
        blur=rng.uniform(0.35, 0.7),
        infrared_blur=rng.uniform(0.8, 1.5),
        infrared_noise=rng.uniform(0.15, 0.4),
        infrared_stripes=rng.uniform(0.05, 0.25),
        infrared_span=rng.uniform(18, 26),
        infrared_levels=(rng.uniform(0.08, 0.22), rng.uniform(0.82, 1.0)),
    )
    light = Light(scaled(ambient, bright), scaled(sun, bright), towards, scaled(skyline, 0.9 * bright))
    clouds = rng.uniform(0.7, 1.0) if overcast else rng.uniform(0.0, 0.55)
    haze = rng.choice([0.0012, 0.003, 0.006]) * (1.5 if low_sun else 1.0)
    return Weather(False, light, thermal, cameras, zenith, skyline, clouds, float(haze))


def _night(rng: np.random.Generator) -> Weather:
    dark = rng.uniform(0.5, 1.6)
    glow: Rgb = (0.011, 0.0085, 0.007) if rng.random() < 0.6 else (0.006, 0.008, 0.012)
    air = rng.uniform(-3, 19)
    thermal = Thermal(
        air=air,
        road=air + rng.uniform(0.5, 3.5),
        sunny=0.0,
        sky=air - rng.uniform(10, 26),
        insulation=rng.uniform(0.45, 0.8),
    )
    cameras = Cameras(
        exposure=rng.normal(0, 0.45),
        noise=rng.uniform(0.008, 0.022),
        cast=(1 + rng.normal(0.03, 0.06), 1.0, 1 + rng.normal(-0.03, 0.10)),
        blur=rng.uniform(0.5, 1.1),
        infrared_blur=rng.uniform(0.8, 1.5),
        infrared_noise=rng.uniform(0.15, 0.4),
        infrared_stripes=rng.uniform(0.05, 0.25),
        infrared_span=rng.uniform(14, 22),
        infrared_levels=(rng.uniform(0.05, 0.18), rng.uniform(0.85, 1.0)),
    )
    light = Light(scaled((0.0050, 0.0052, 0.0062), dark), (0.0, 0.0, 0.0), (0.0, 1.0, 0.0), scaled(glow, 0.45))
    return Weather(
        True,
        light,
        thermal,
        cameras,
        scaled(glow, 0.12 * dark),
        scaled(glow, 0.6 * dark),
        rng.uniform(0.2, 0.9),
        rng.uniform(0.0005, 0.003),
    )
