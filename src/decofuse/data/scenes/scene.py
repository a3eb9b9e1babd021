"""One scene from its seed: draw the layout, paint it far to near, take both pictures."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from decofuse.data.images import UInt8
from decofuse.data.manifest import SPLITS
from decofuse.data.scenes import noise
from decofuse.data.scenes.backdrop import paint_sky, paint_skyline
from decofuse.data.scenes.bikes import paint_bike
from decofuse.data.scenes.camera import expose_infrared, expose_visible
from decofuse.data.scenes.canvas import Canvas
from decofuse.data.scenes.cars import headlamps, paint_car
from decofuse.data.scenes.facade import paint_building
from decofuse.data.scenes.furniture import paint_car_stop, paint_cone, paint_rail
from decofuse.data.scenes.ground import paint_ground
from decofuse.data.scenes.layout import sample_layout
from decofuse.data.scenes.people import paint_person
from decofuse.data.scenes.posts import paint_lamp_post, paint_sign
from decofuse.data.scenes.studio import Studio
from decofuse.data.scenes.things import Bike, Car, CarStop, Cone, LampPost, Layout, Person, RailSpan, Sign, Thing, Tree
from decofuse.data.scenes.trees import paint_tree
from decofuse.data.scenes.view import View
from decofuse.data.scenes.weather import Lamp, Weather, sample_weather

PAINTERS: dict[type[Thing], Callable[[Studio, Any], None]] = {
    Bike: paint_bike,
    Car: paint_car,
    CarStop: paint_car_stop,
    Cone: paint_cone,
    LampPost: paint_lamp_post,
    Person: paint_person,
    RailSpan: paint_rail,
    Sign: paint_sign,
    Tree: paint_tree,
}
LEAST_SIDE = 64


@dataclass(frozen=True)
class Scene:
    """A registered triplet.

    Attributes:
        visible: H×W×3 uint8 RGB.
        infrared: H×W uint8, warm is bright.
        label: H×W uint8 class indices of `decofuse.data.classes.MSRS`.
        night: whether it is a night scene.
    """

    visible: UInt8
    infrared: UInt8
    label: UInt8
    night: bool


def generate_scene(seed: int, split: str, index: int, height: int = 480, width: int = 640) -> Scene:
    """Generate scene `index` of a split; the same arguments give the same bits.

    What stands where depends on (seed, split, index) alone: another size shows the same street.

    Raises:
        ValueError: `split` is none of SPLITS, `seed` or `index` is negative, or a side is below 64 pixels.
    """
    if min(height, width) < LEAST_SIDE:
        raise ValueError(f"expected sides of at least {LEAST_SIDE} pixels, got {height}×{width}")
    weather, layout = plan_scene(seed, split, index)
    view = frame_view(layout, height, width)
    _, texture, visible_noise, infrared_noise = _streams(seed, split, index)
    studio = Studio(view, weather, Canvas(height, width), noise.tile(texture, 4, 0.62), noise.tile(texture, 32, 0.95))
    _paint(studio, layout)
    surface = studio.canvas.surface
    return Scene(
        expose_visible(surface[..., :3], view, weather, visible_noise),
        expose_infrared(np.ascontiguousarray(surface[..., 3]), view, weather, infrared_noise),
        studio.canvas.label,
        weather.night,
    )


def plan_scene(seed: int, split: str, index: int) -> tuple[Weather, Layout]:
    """Draw a scene's conditions and what stands where, independent of the image size."""
    plan = _streams(seed, split, index)[0]
    weather = sample_weather(plan, is_night(seed, split, index))
    layout = sample_layout(plan, weather.night)
    return replace(weather, light=replace(weather.light, lamps=_lamps(layout, weather, plan))), layout


def _streams(seed: int, split: str, index: int) -> list[np.random.Generator]:
    """Independent randomness for the plan, the textures and the noise of the two cameras."""
    return noise.generator(seed, SPLITS.index(split), index).spawn(4)


def is_night(seed: int, split: str, index: int) -> bool:
    """Whether a scene is a night scene: one of each two consecutive scenes, by lot."""
    first_at_night = noise.generator(seed, SPLITS.index(split), index // 2, 1).random() < 0.5
    return first_at_night == (index % 2 == 0)


def frame_view(layout: Layout, height: int, width: int) -> View:
    """The camera that shows a layout in an image of height×width."""
    focal = 0.92 * max(width, height * 4 / 3)
    return View(
        height=height,
        width=width,
        focal=focal,
        horizon=height * (0.5 + layout.horizon),
        centre=width * (0.5 + layout.heading),
        eye=layout.eye,
        bend=layout.bend,
    )


def _lamps(layout: Layout, weather: Weather, rng: np.random.Generator) -> tuple[Lamp, ...]:
    """What shines by night: street lamps, cars, and now and then the camera's own car."""
    if not weather.night:
        return ()
    lamps = [thing.lamp for thing in layout.things if isinstance(thing, LampPost) and thing.lamp is not None]
    for thing in layout.things:
        if isinstance(thing, Car) and thing.running:
            lamps += headlamps(thing)
    if rng.random() < 0.4:
        power = rng.uniform(1.5, 5.0)
        intensity = (power, power, 0.95 * power)
        lamps += [Lamp((side, 0.65, 0.2), intensity, (0.04 * side, -0.05, 1.0), 0.24) for side in (-0.65, 0.65)]
    return tuple(lamps)


def _paint(studio: Studio, layout: Layout) -> None:
    paint_sky(studio)
    paint_skyline(studio, layout)
    paint_ground(studio, layout)
    for building in sorted(layout.buildings, key=lambda b: -b.start):
        paint_building(studio, building)
    for thing in sorted(layout.things, key=lambda t: -t.ahead):
        PAINTERS[type(thing)](studio, thing)
