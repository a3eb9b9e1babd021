"""Things made of flat coloured parts that face the camera: posts, signs, cones, rails."""

from itertools import pairwise

import numpy as np

from decofuse.data.classes import MSRS
from decofuse.data.scenes.studio import Studio
from decofuse.data.scenes.things import Thing
from decofuse.data.scenes.view import NEAR, Points
from decofuse.data.scenes.weather import Rgb, scaled

Place = tuple[float, float]  # metres to the right of a thing, and above its foot
ROUND = ((-1.0, -0.75, 0.72), (-0.75, -0.3, 1.0), (-0.3, 0.3, 1.12), (0.3, 0.75, 0.95), (0.75, 1.0, 0.65))


class Flats:
    """Collects the parts of a thing; later ones are painted over earlier ones."""

    def __init__(self, thing: Thing) -> None:
        self._thing = thing
        self._outlines: list[Points] = []
        self._colours: list[Rgb] = []

    def polygon(self, places: list[Place], colour: Rgb) -> None:
        """Add a polygon that faces the camera."""
        self.solid([(x, up, 0.0) for x, up in places], colour)

    def solid(self, places: list[tuple[float, float, float]], colour: Rgb) -> None:
        """Add a polygon in any plane; the third coordinate is metres behind the thing's place."""
        thing = self._thing
        self._outlines.append(np.array(places) + (thing.across, thing.base, thing.ahead))
        self._colours.append(colour)

    def rectangle(self, x: Place, up: Place, colour: Rgb) -> None:
        """Add an upright rectangle, from x[0] to x[1] and up[0] to up[1]."""
        self.polygon([(x[0], up[0]), (x[1], up[0]), (x[1], up[1]), (x[0], up[1])], colour)

    def bar(self, start: Place, end: Place, half: float, colour: Rgb) -> None:
        """Add a straight bar of a half width."""
        along = np.subtract(end, start)
        x, up = np.array([-along[1], along[0]]) / np.linalg.norm(along) * half
        (x0, y0), (x1, y1) = start, end
        self.polygon([(x0 + x, y0 + up), (x1 + x, y1 + up), (x1 - x, y1 - up), (x0 - x, y0 - up)], colour)

    def disc(self, up: float, radius: float, colour: Rgb) -> None:
        """Add a disc straight above the foot."""
        turn = np.linspace(0, 2 * np.pi, 28, endpoint=False)
        self.polygon([(radius * float(np.cos(a)), up + radius * float(np.sin(a))) for a in turn], colour)

    def cylinder(self, up: Place, radii: Place, colour: Rgb) -> None:
        """Add an upright cylinder or cone, in slices shaded from the left to the right."""
        (low, high), (wide, narrow) = up, radii
        for left, right, tone in ROUND:
            corners = [(left * wide, low), (right * wide, low), (right * narrow, high), (left * narrow, high)]
            self.polygon(corners, scaled(colour, tone))

    def bands(self, levels: list[float], radii: Place, colours: tuple[Rgb, ...]) -> None:
        """Add a cone or cylinder whose colour changes at given heights."""
        span = levels[-1] - levels[0]
        for (low, high), colour in zip(pairwise(levels), colours, strict=True):
            ends = [radii[0] + (radii[1] - radii[0]) * (level - levels[0]) / span for level in (low, high)]
            self.cylinder((low, high), (ends[0], ends[1]), colour)

    def paint(self, studio: Studio, label: str | None, warmth: float, shine: Rgb | None = None) -> None:
        """Paint the parts, evenly lit.

        Args:
            studio: the scene.
            label: name of the class, or None for an unlabelled thing.
            warmth: temperature relative to that between air and road [°C].
            shine: radiance of the last part, if it is a light that is on.
        """
        view, thing, thermal = studio.view, self._thing, studio.weather.thermal
        corners = np.concatenate(self._outlines)
        if corners[:, 2].min() < NEAR:
            return
        sprite = studio.sprite(view.project(corners))
        if sprite.empty:
            return
        for number, outline in enumerate(self._outlines, start=1):
            sprite.polygon(view.project(outline), number)
        radiance = np.array(self._colours) * studio.upright(thing.across, thing.base + 0.8, thing.ahead)
        if shine is not None:
            radiance[-1] = shine
        warm = np.full(len(radiance), 0.25 * thermal.air + 0.75 * thermal.road + warmth)
        layer = sprite.resolve(studio.table(radiance, warm, thing.ahead))
        grain = studio.texture(studio.soft, thing.seed, layer.cover, 120)
        layer.shade(np.clip(1 + np.float32(0.08) * grain, 0.5, 1.5))
        layer.heat(np.float32(0.15) * grain)
        studio.canvas.paint(layer, MSRS.index(label) if label else 0)
