"""Posts that the labels do not know: street lamps, traffic signs and traffic lights."""

from decofuse.data.scenes import noise
from decofuse.data.scenes.flats import Flats
from decofuse.data.scenes.studio import Studio
from decofuse.data.scenes.things import LampPost, Sign
from decofuse.data.scenes.weather import Rgb, scaled

POST: Rgb = (0.16, 0.17, 0.17)
WHITE: Rgb = (0.65, 0.65, 0.65)
BLACK: Rgb = (0.025, 0.025, 0.025)
YELLOW: Rgb = (0.62, 0.42, 0.04)
RED: Rgb = (0.50, 0.02, 0.02)
BLUE: Rgb = (0.02, 0.08, 0.38)
GREEN: Rgb = (0.02, 0.20, 0.10)
LENSES = (2.62, 2.40, 2.18)  # heights of a traffic light's lenses, from red to green [metres]


def paint_lamp_post(studio: Studio, post: LampPost) -> None:
    """Paint a street lamp; a lit one is far brighter than anything else."""
    height, tip, elbow = post.height, post.reach, 0.3 * post.reach
    flats = Flats(post)
    flats.cylinder((0.0, height - 0.3), (0.085, 0.05), POST)
    flats.bar((0.0, height - 0.4), (elbow, height - 0.05), 0.035, POST)
    flats.bar((elbow, height - 0.05), (tip, height), 0.035, POST)
    low, rim, top = height - 0.10, height - 0.02, height + 0.12
    flats.polygon([(tip - 0.3, rim), (tip + 0.3, rim), (tip + 0.22, top), (tip - 0.22, top)], POST)
    flats.polygon([(tip - 0.28, low), (tip + 0.28, low), (tip + 0.3, rim), (tip - 0.3, rim)], (0.4, 0.4, 0.38))
    flats.paint(studio, None, 0.3, None if post.lamp is None else scaled(post.lamp.intensity, 1.1))


def paint_sign(studio: Studio, sign: Sign) -> None:
    """Paint a traffic sign, a direction board or a traffic light."""
    flats, shine = Flats(sign), None
    flats.cylinder((0.0, 2.9), (0.04, 0.04), POST)
    if sign.shape == "disc":
        _disc(flats, prohibits=sign.seed % 2 == 1)
    elif sign.shape == "triangle":
        _triangle(flats)
    elif sign.shape == "board":
        _board(flats, sign.seed)
    else:
        shine = _traffic_light(flats, stop=sign.seed % 2 == 0, bright=0.5 if studio.weather.night else 1.4)
    flats.paint(studio, None, -1.0, shine)


def _disc(flats: Flats, prohibits: bool) -> None:
    flats.disc(2.5, 0.36, RED if prohibits else BLUE)
    flats.disc(2.5, 0.28, WHITE if prohibits else BLUE)
    flats.rectangle((-0.2, 0.2), (2.43, 2.57), BLACK if prohibits else WHITE)


def _triangle(flats: Flats) -> None:
    for size, colour in ((0.45, RED), (0.32, YELLOW)):
        flats.polygon([(-size, 2.45 - 0.58 * size), (size, 2.45 - 0.58 * size), (0.0, 2.45 + 1.15 * size)], colour)
    flats.rectangle((-0.035, 0.035), (2.33, 2.6), BLACK)


def _board(flats: Flats, seed: int) -> None:
    """A direction board with three lines of what reads as text from afar."""
    rng = noise.generator(seed)
    flats.rectangle((-0.80, 0.80), (2.05, 3.0), WHITE)
    flats.rectangle((-0.77, 0.77), (2.08, 2.97), BLUE if seed % 2 else GREEN)
    for row in (2.18, 2.46, 2.74):
        place = -0.65
        while place < 0.55:
            letter = rng.uniform(0.06, 0.18)
            flats.rectangle((place, place + letter), (row, row + 0.13), WHITE)
            place += letter + 0.05


def _traffic_light(flats: Flats, stop: bool, bright: float) -> Rgb:
    flats.rectangle((-0.17, 0.17), (2.0, 2.8), BLACK)
    for height in LENSES:
        flats.disc(height, 0.10, (0.05, 0.05, 0.05))
    flats.disc(LENSES[0] if stop else LENSES[2], 0.10, WHITE)
    return scaled((1.0, 0.06, 0.03) if stop else (0.05, 1.0, 0.5), bright)
