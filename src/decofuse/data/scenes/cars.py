"""Cars: a lofted body with windows, wheels and lights."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from decofuse.data.classes import MSRS
from decofuse.data.scenes.mesh import Faces, Mesh, box, mesh
from decofuse.data.scenes.studio import Studio
from decofuse.data.scenes.things import Car
from decofuse.data.scenes.view import NEAR, Points
from decofuse.data.scenes.weather import Lamp, Rgb, Vectors, dot

PAINT, GLASS, TRIM, TYRE, RIM, HEADLIGHT, TAILLIGHT, PLATE, UNDER, EXHAUST = range(10)
MATERIALS: tuple[tuple[Rgb, float], ...] = (  # albedo, and what a running engine adds to the temperature [°C]
    ((0.0, 0.0, 0.0), 1.0),  # the albedo is the car's own
    ((0.02, 0.022, 0.024), 2.0),
    ((0.025, 0.025, 0.025), 3.0),
    ((0.018, 0.018, 0.018), 8.0),
    ((0.30, 0.30, 0.31), 9.0),
    ((0.60, 0.62, 0.65), 6.0),
    ((0.28, 0.015, 0.012), 3.0),
    ((0.10, 0.16, 0.42), 2.0),
    ((0.008, 0.008, 0.008), 5.0),
    ((0.05, 0.05, 0.05), 30.0),
)


@dataclass(frozen=True)
class _Body:
    """A silhouette seen from the side: z in lengths (front 0.5), y in heights."""

    size: tuple[float, float, float]  # length, width, height [metres]
    top: tuple[tuple[float, float], ...]
    belt: float
    lights: tuple[float, float]  # height of the headlights' and taillights' lower edge


_BODIES = {
    "sedan": _Body(
        (4.6, 1.80, 1.46),
        ((-0.5, 0.45), (-0.49, 0.64), (-0.46, 0.70), (-0.37, 0.73), (-0.2, 0.965), (-0.1, 1.0), (0.05, 0.995))
        + ((0.1, 0.965), (0.28, 0.685), (0.42, 0.62), (0.475, 0.54), (0.5, 0.40)),
        0.64,
        (0.43, 0.50),
    ),
    "hatchback": _Body(
        (4.1, 1.76, 1.50),
        ((-0.5, 0.40), (-0.49, 0.60), (-0.47, 0.68), (-0.40, 0.93), (-0.33, 0.99), (-0.1, 1.0), (0.05, 0.99))
        + ((0.11, 0.955), (0.30, 0.67), (0.43, 0.60), (0.48, 0.52), (0.5, 0.38)),
        0.62,
        (0.42, 0.48),
    ),
    "suv": _Body(
        (4.6, 1.88, 1.70),
        ((-0.5, 0.38), (-0.49, 0.58), (-0.475, 0.66), (-0.42, 0.93), (-0.36, 0.99), (-0.1, 1.0), (0.06, 0.985))
        + ((0.11, 0.955), (0.27, 0.69), (0.42, 0.64), (0.48, 0.56), (0.5, 0.40)),
        0.62,
        (0.46, 0.48),
    ),
    "van": _Body(
        (4.9, 1.90, 1.95),
        ((-0.5, 0.35), (-0.495, 0.55), (-0.485, 0.93), (-0.46, 0.985), (-0.3, 1.0), (0.1, 1.0), (0.2, 0.97))
        + ((0.38, 0.60), (0.46, 0.52), (0.49, 0.45), (0.5, 0.33)),
        0.56,
        (0.36, 0.38),
    ),
}


def paint_car(studio: Studio, car: Car) -> None:
    """Paint a car."""
    view = studio.view
    placed = _mesh(car.body).placed(car.across, car.base, car.ahead, car.yaw)
    if placed.corners[..., 2].min() < NEAR:
        return
    outline = view.project(placed.corners)
    sprite = studio.sprite(outline)
    if sprite.empty:
        return
    quads = outline.reshape(-1, 4, 2)
    for face in placed.visible(view.eye):
        sprite.convex(quads[face], int(face) + 1)
    layer = sprite.resolve(studio.table(_radiance(studio, car, placed), _temperature(studio, car, placed), car.ahead))
    sheen = studio.texture(studio.soft, car.seed, layer.cover, 160)
    layer.shade(1 + 0.06 * sheen)
    layer.heat(0.25 * sheen)
    studio.canvas.paint(layer, MSRS.index("car"))


def headlamps(car: Car) -> list[Lamp]:
    """The beams of a running car by night, and the red light behind it."""
    length, width, height = _BODIES[car.body].size
    forward = np.array([np.sin(car.yaw), 0.0, np.cos(car.yaw)])
    aside = np.array([np.cos(car.yaw), 0.0, -np.sin(car.yaw)])
    middle = np.array([car.across, car.base, car.ahead])
    beams = []
    for side in (-0.7, 0.7):
        place = middle + forward * (length / 2 + 0.1) + aside * side * width / 2 + (0.0, 0.45 * height, 0.0)
        direction = (float(forward[0]), -0.06, float(forward[2]))
        beams.append(Lamp(tuple(place), (7.0, 7.2, 7.4), direction, 0.22))
    tail = middle - forward * (length / 2 + 0.3) + (0.0, 0.5 * height, 0.0)
    return [*beams, Lamp(tuple(tail), (0.10, 0.006, 0.004))]


def _radiance(studio: Studio, car: Car, placed: Mesh) -> Vectors:
    """Radiance of each face: diffuse light, mirrored sky, the sun's highlight, and lamps that are on."""
    light = studio.weather.light
    hue = np.array([albedo for albedo, _ in MATERIALS])[placed.material]
    hue[placed.material == PAINT] = car.paint
    centres = placed.corners.mean(axis=1)
    lit = studio.lit(car.across, car.ahead)
    towards = studio.view.towards_camera(centres)
    towards /= np.linalg.norm(towards, axis=1, keepdims=True)
    facing = np.clip(np.sum(towards * placed.normals, axis=1), 0, 1)
    glossy = np.isin(placed.material, (PAINT, GLASS, HEADLIGHT, TAILLIGHT))
    clear = np.where(placed.material == GLASS, 0.10, 0.04) + 0.55 * (1 - facing) ** 4
    half = towards + np.array(light.towards_sun)
    half /= np.linalg.norm(half, axis=1, keepdims=True)
    highlight = np.clip(np.sum(half * placed.normals, axis=1), 0, 1) ** 60 * 1.2 * lit
    near_ground = np.clip(0.45 + 0.9 * (centres[:, 1] - car.base), 0, 1)[:, None]
    shown: Vectors = hue * studio.glow(centres, placed.normals, lit) * near_ground
    shown += (glossy * clear)[:, None] * studio.mirror(placed.normals[:, 1])
    shown += (glossy * highlight)[:, None] * np.array(light.sun)
    if car.running and studio.weather.night:
        shown[placed.material == HEADLIGHT] = (5.0, 5.1, 5.2)
        shown[placed.material == TAILLIGHT] = (0.30, 0.012, 0.008) if car.seed % 3 else (1.1, 0.05, 0.03)
    return shown


def _temperature(studio: Studio, car: Car, placed: Mesh) -> Points:
    thermal, light = studio.weather.thermal, studio.weather.light
    up = placed.normals[:, 1]
    facing = np.clip(dot(placed.normals, light.towards_sun), 0, 1) * studio.lit(car.across, car.ahead)
    open_to_sky = np.clip(up, 0, 1) * (thermal.air - thermal.sky)
    darkness = 1.3 - sum(car.paint) / 3
    warm = thermal.air - 0.10 * open_to_sky + 1.2 * thermal.sunny * facing * darkness
    material = placed.material
    warm = np.where(material == GLASS, thermal.air - 0.5 - 0.28 * open_to_sky, warm)
    warm = np.where(np.isin(material, (TYRE, UNDER, TRIM)), thermal.road - 0.3, warm)
    if car.running:
        length = _BODIES[car.body].size[0]
        forward = np.array([np.sin(car.yaw), 0.0, np.cos(car.yaw)])
        ahead = dot(placed.corners.mean(axis=1) - (car.across, 0.0, car.ahead), forward) / length
        engine = np.clip((ahead - 0.15) / 0.25, 0, 1) * (material != GLASS)
        warm = warm + np.array([heat for _, heat in MATERIALS])[material] + 9.0 * engine
    return np.asarray(warm, np.float64)


@lru_cache(maxsize=8)
def _mesh(body: str) -> Mesh:
    """The car at the origin, driving ahead; ranks: underside 0, body 1, what is fixed on it above."""
    shape = _BODIES[body]
    length, width, height = shape.size
    half, axle = width / 2, 0.30 * length
    underside = box((-half + 0.1, 0.10, -0.46 * length), (half - 0.1, 0.28, 0.46 * length))
    parts = [*_loft(shape), (underside, UNDER, 0), *_front_and_rear(shape)]
    for side in (-1, 1):
        parts += _wheel(side, half, -axle, 0.21 * height + 0.02) + _wheel(side, half, axle, 0.21 * height + 0.02)
        inner, outer = side * (half + 0.02), side * (half + 0.20)
        mirror = box((inner, 0.62 * height, 0.19 * length), (outer, 0.71 * height, 0.22 * length))
        parts.append((mirror, PAINT, 6))
        for z in (-0.21 * length, 0.0, 0.21 * length):
            gap = _side_panel(side * (half + 0.006), (0.22 * height, 0.60 * height), (z - 0.01, z + 0.01))
            parts.append((gap, UNDER, 2))
    return mesh(parts)


def _wheel(side: int, half: float, z: float, radius: float) -> list[tuple[Faces, int, int]]:
    """The tyre's tread behind the body; before it arch, tyre, rim and hub."""
    inner, outer = side * (half - 0.21), side * (half - 0.02)
    tread = box((inner, 0.0, z - radius), (outer, 2 * radius, z + radius))[:5]
    parts = [(tread, TYRE, 0)]
    for kind, share, rank in ((UNDER, 1.16, 2), (TYRE, 1.0, 3), (RIM, 0.64, 4), (UNDER, 0.16, 5)):
        parts.append((_disc(side * (half + 0.004 * rank), radius, z, radius * share), kind, rank))
    return parts


def _front_and_rear(shape: _Body) -> list[tuple[Faces, int, int]]:
    length, width, height = shape.size
    half = width / 2
    front, rear = 0.5 * length + 0.01, -0.5 * length - 0.01
    low, tail = (value * height for value in shape.lights)
    parts = [
        (_end_panel(front, (-0.48 * half, 0.48 * half), (0.24 * height, 0.40 * height)), TRIM, 2),
        (_end_panel(front, (-0.80 * half, 0.80 * half), (0.13 * height, 0.19 * height)), TRIM, 2),
        (_end_panel(front + 0.01, (-0.22, 0.22), (0.27 * height, 0.27 * height + 0.13)), PLATE, 3),
        (_end_panel(rear, (-0.85 * half, 0.85 * half), (0.13 * height, 0.21 * height)), TRIM, 2),
        (_end_panel(rear - 0.01, (-0.22, 0.22), (tail - 0.16, tail - 0.03)), PLATE, 3),
        (_end_panel(rear - 0.01, (0.50 * half, 0.64 * half), (0.12 * height, 0.17 * height)), EXHAUST, 3),
    ]
    for side in (-1, 1):
        inner, outer = sorted((side * 0.50 * half, side * 0.85 * half))
        parts.append((_end_panel(front, (inner, outer), (low, low + 0.10 * height)), HEADLIGHT, 3))
        parts.append((_end_panel(rear, (inner, outer), (tail, tail + 0.11 * height)), TAILLIGHT, 3))
    return parts


def _loft(shape: _Body) -> list[tuple[Faces, int, int]]:
    """The body: cross sections along its length, joined by faces; the ends are closed."""
    length, width, height = shape.size
    knots = np.array([z for z, _ in shape.top])
    stations = np.unique(np.concatenate([np.linspace(-0.5, 0.5, 21), knots, (-0.03, 0.0, 0.24, -0.26)]))
    top = np.interp(stations, knots, [y for _, y in shape.top]) * height
    belt = np.minimum(top, shape.belt * height)
    cabin = np.clip((top - belt) / (height - shape.belt * height), 0, 1)
    half = width / 2 * (1 - 0.12 * np.abs(2 * stations) ** 6)
    floor = 0.17 + 0.10 * np.abs(2 * stations) ** 8
    roof = 0.95 - 0.21 * cabin
    rings = np.stack(
        [
            _point(half * 0.88, floor),
            _point(half * 0.97, floor + 0.10),
            _point(half * 1.00, floor + 0.45 * (belt - floor)),
            _point(half * 0.99, floor + 0.80 * (belt - floor)),
            _point(half * 0.95, belt),
            _point(half * (0.95 + roof) / 2, (belt + top) / 2 - 0.01 * cabin),
            _point(half * roof, top - 0.06 * cabin),
            _point(half * roof * 0.82, top - 0.01),
            _point(half * roof * 0.4, top + 0.01),
            _point(half * 0, top + 0.015),
        ],
        axis=1,
    )
    mirrored = rings[:, -2::-1] * (-1, 1)
    rings = np.concatenate([rings, mirrored], axis=1)  # stations × points × (x, y)
    z = np.broadcast_to(stations[:, None, None] * length, (*rings.shape[:2], 1))
    points = np.concatenate([rings, z], axis=2)
    faces = np.stack([points[:-1, :-1], points[1:, :-1], points[1:, 1:], points[:-1, 1:]], axis=2)
    glass = _glass(stations * length, top, cabin, faces.shape[1])
    ends = [np.stack([p[:9], p[1:10], p[::-1][1:10], p[::-1][:9]], axis=1) for p in (points[0], points[-1])]
    return [(faces[glass], GLASS, 1), (faces[~glass], PAINT, 1), (ends[0], PAINT, 1), (ends[1], PAINT, 1)]


def _point(x: Points, y: Points) -> Points:
    return np.stack([np.broadcast_to(x, y.shape), y], axis=1)


def _glass(z: Points, top: Points, cabin: Points, around: int) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """Which faces (stations × around) are windows: the sides of the cabin between pillars, and where it slopes."""
    middle, slope = (cabin[:-1] + cabin[1:]) / 2, np.abs(np.diff(top) / np.diff(z))
    width = np.diff(z)
    side = (cabin[:-1] > 0.5) & (cabin[1:] > 0.5) & (width > 0.16)
    sloped = (slope > 0.3) & (middle > 0.06) & (middle < 0.97)
    place = np.arange(around)
    is_side = np.isin(place, (4, 5, around - 5, around - 6))
    is_top = (place >= 6) & (place <= around - 7)
    glass = (side[:, None] & is_side[None, :]) | (sloped[:, None] & is_top[None, :])
    return np.asarray(glass, np.bool_)


def _disc(x: float, y: float, z: float, radius: float) -> Faces:
    """A disc in a plane x = const, as horizontal strips."""
    angle = np.linspace(-np.pi / 2, np.pi / 2, 9)
    up, out = y + radius * np.sin(angle), radius * np.cos(angle)
    left, right = (np.stack([np.full(9, x), up, z + sign * out], axis=1) for sign in (-1, 1))
    return np.stack([left[:-1], right[:-1], right[1:], left[1:]], axis=1)


def _end_panel(z: float, x: tuple[float, float], y: tuple[float, float]) -> Faces:
    return np.array([[(x[0], y[0], z), (x[1], y[0], z), (x[1], y[1], z), (x[0], y[1], z)]])


def _side_panel(x: float, y: tuple[float, float], z: tuple[float, float]) -> Faces:
    return np.array([[(x, y[0], z[0]), (x, y[0], z[1]), (x, y[1], z[1]), (x, y[1], z[0])]])
