"""Persons: a skeleton in a pose, fleshed out with tapered limbs."""

from dataclasses import dataclass

import cv2
import numpy as np

from decofuse.data.classes import MSRS
from decofuse.data.scenes.canvas import Layer, Sprite
from decofuse.data.scenes.mesh import turned
from decofuse.data.scenes.studio import Studio, relief
from decofuse.data.scenes.things import Person
from decofuse.data.scenes.view import NEAR, Points
from decofuse.data.scenes.weather import Vectors

SKIN, HAIR, TOP, SLEEVE, LEGS, SHOES, BAG = range(1, 8)
WARMTH = {SKIN: 1.25, HAIR: 0.95, TOP: 0.85, SLEEVE: 0.95, LEGS: 0.8, SHOES: 0.45, BAG: 0.3}  # of clothing's share
STATURE = 1.75  # of the skeleton below [metres]

Joint = tuple[float, float, float]


@dataclass(frozen=True)
class _Limb:
    """A convex hull of balls: joints (right, up, ahead) with radii, for STATURE [metres]."""

    part: int
    joints: tuple[Joint, ...]
    radii: tuple[float, ...]


def paint_person(studio: Studio, person: Person) -> None:
    """Paint a person."""
    view = studio.view
    limbs = _limbs(person)
    places = [_place(person, limb) for limb in limbs]
    if min(float(p[:, 2].min()) for p in places) < NEAR:
        return
    scale = view.scale(person.ahead) * person.height / STATURE
    outline = np.concatenate([view.project(p) for p in places])
    sprite = studio.sprite(outline, margin=0.16 * scale + 2)
    if sprite.empty:
        return
    order = np.argsort([-float(p[:, 2].mean()) for p in places], kind="stable")
    for index in order:
        _draw(sprite, view.project(places[index]), np.array(limbs[index].radii) * scale, limbs[index].part)
    layer = sprite.resolve(studio.table(_radiance(studio, person), _temperature(studio, person), person.ahead))
    _finish(studio, person, layer, scale)
    studio.canvas.paint(layer, MSRS.index("person"))


def _place(person: Person, limb: _Limb) -> Points:
    joints = turned(np.array(limb.joints) * person.height / STATURE, person.yaw)
    placed: Points = joints + (person.across, person.base, person.ahead)
    return placed


def _draw(sprite: Sprite, centres: Points, radii: Points, part: int) -> None:
    angle = np.linspace(0, 2 * np.pi, 14, endpoint=False)
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    balls = (centres[:, None] + ring[None] * np.maximum(radii, 0.3)[:, None, None]).reshape(-1, 2)
    sprite.convex(cv2.convexHull(balls.astype(np.float32)).reshape(-1, 2).astype(np.float64), part)


def _finish(studio: Studio, person: Person, layer: Layer, scale: float) -> None:
    """Round the figure, fold the clothes, and let warmth vary over the body."""
    east = studio.weather.light.towards_sun[0] if any(studio.weather.light.sun) else 0.0
    sunny = studio.lit(person.across, person.ahead)
    layer.shade(relief(layer, 0.55, 0.9 * east * sunny, max(0.045 * scale, 0.6)))
    folds = studio.texture(studio.soft, person.seed, layer.cover, 110)
    layer.shade(np.clip(1 + 0.14 * folds, 0.4, 1.6).astype(np.float32))
    layer.heat(0.05 * (33 - studio.weather.thermal.air) * folds + 0.2 * folds)


def _radiance(studio: Studio, person: Person) -> Vectors:
    bag = (0.03, 0.03, 0.04) if person.seed % 2 else (0.22, 0.05, 0.04)
    sleeve = person.top if person.seed % 3 else person.skin
    hues = np.array([person.skin, person.hair, person.top, sleeve, person.legs, (0.03, 0.028, 0.026), bag])
    glow = studio.upright(person.across, person.base + 1.0, person.ahead)
    radiance: Vectors = hues * glow * np.array([1.0, 1.0, 1.0, 0.9, 0.92, 0.8, 1.0])[:, None]
    return radiance


def _temperature(studio: Studio, person: Person) -> Points:
    thermal = studio.weather.thermal
    wrapped = 0.75 if person.coat else 1.0
    shares = np.array([WARMTH[part] for part in range(1, 8)])
    shares[[TOP - 1, SLEEVE - 1]] *= wrapped
    if person.seed % 3 == 0:
        shares[SLEEVE - 1] = WARMTH[SKIN]
    warm = np.array([thermal.clothes(float(share)) for share in shares])
    sunny = thermal.sunny * 0.35 * studio.lit(person.across, person.ahead)
    warmed: Points = warm + sunny * (shares < 1.0) * float(any(studio.weather.light.sun))
    return warmed


def _limbs(person: Person) -> list[_Limb]:
    pose = {"walk": _walking, "stand": _standing, "ride": _riding}[person.pose]
    lean, legs, arms = pose(person)
    hips, shoulders = lean
    limbs = []
    width = 1.0 + 0.12 * ((person.seed % 5) - 2) / 2
    for hip, knee, ankle, toe in legs:
        limbs.append(_Limb(LEGS, (hip, knee), (0.088 * width, 0.058)))
        limbs.append(_Limb(LEGS, (knee, ankle), (0.058, 0.042)))
        limbs.append(_Limb(SHOES, (ankle, toe), (0.045, 0.035)))
    for shoulder, elbow, hand in arms:
        limbs.append(_Limb(SLEEVE, (shoulder, elbow), (0.056, 0.045)))
        limbs.append(_Limb(SLEEVE, (elbow, hand), (0.044, 0.034)))
        limbs.append(_Limb(SKIN, (hand,), (0.042,)))
    limbs.append(_torso(hips, shoulders, width))
    if person.coat:
        hem = (hips[0], hips[1] - 0.28, hips[2])
        limbs.append(
            _Limb(TOP, (_aside(hem, -0.1), _aside(hem, 0.1), _aside(hips, -0.1), _aside(hips, 0.1)), (0.11,) * 4)
        )
    head = (shoulders[0], shoulders[1] + 0.215, shoulders[2] + 0.03)
    limbs.append(_Limb(SKIN, (shoulders, head), (0.055, 0.055)))
    limbs.append(_Limb(SKIN, (_raised(head, -0.035), _raised(head, 0.03)), (0.078, 0.092)))
    crown = (head[0], head[1] + 0.045, head[2] - 0.035)
    limbs.append(_Limb(HAIR, (crown, (crown[0], crown[1] - 0.04, crown[2] - 0.012)), (0.088, 0.075)))
    if person.bag:
        pack = (shoulders[0], shoulders[1] - 0.2, shoulders[2] - 0.19)
        limbs.append(_Limb(BAG, (_aside(pack, -0.06), _aside(pack, 0.06), _raised(pack, -0.16)), (0.1, 0.1, 0.12)))
    return limbs


def _torso(hips: Joint, shoulders: Joint, width: float) -> _Limb:
    chest = tuple((h + 2 * s) / 3 for h, s in zip(hips, shoulders, strict=True))
    joints = [
        _aside(hips, -0.075),
        _aside(hips, 0.075),
        _aside(shoulders, -0.14 * width),
        _aside(shoulders, 0.14 * width),
    ]
    return _Limb(TOP, (*joints, (chest[0], chest[1], chest[2])), (0.10, 0.10, 0.06, 0.06, 0.125 * width))


def _aside(joint: Joint, distance: float) -> Joint:
    return (joint[0] + distance, joint[1], joint[2])


def _raised(joint: Joint, distance: float) -> Joint:
    return (joint[0], joint[1] + distance, joint[2])


def _swing(start: Joint, length: float, angle: float, outward: float = 0.0) -> Joint:
    """The end of a limb that hangs from `start`, swung forward by `angle` [radians]."""
    return (start[0] + outward, start[1] - length * float(np.cos(angle)), start[2] + length * float(np.sin(angle)))


Pose = tuple[tuple[Joint, Joint], list[tuple[Joint, Joint, Joint, Joint]], list[tuple[Joint, Joint, Joint]]]


def _walking(person: Person) -> Pose:
    hips, shoulders = (0.0, 0.94, 0.0), (0.0, 1.42, 0.03)
    stride = 0.42
    legs, arms = [], []
    for side, phase in ((-1, person.phase), (1, person.phase + np.pi)):
        angle = stride * float(np.sin(phase))
        bend = 0.15 + 0.65 * max(0.0, float(np.cos(phase)))
        hip = _aside(hips, side * 0.085)
        knee = _swing(hip, 0.43, angle + 0.5 * bend * 0.5)
        ankle = _swing(knee, 0.43, angle - 0.75 * bend)
        legs.append((hip, knee, ankle, (ankle[0], ankle[1] - 0.03, ankle[2] + 0.15)))
        shoulder = _aside(shoulders, side * 0.185)
        elbow = _swing(shoulder, 0.28, -0.8 * angle, side * 0.035)
        arms.append((shoulder, elbow, _swing(elbow, 0.25, -0.8 * angle + 0.4)))
    return (hips, shoulders), legs, arms


def _standing(person: Person) -> Pose:
    hips, shoulders = (0.0, 0.93, 0.0), (0.0, 1.42, 0.0)
    legs, arms = [], []
    lifted = person.seed % 4  # one in four holds a telephone
    for side in (-1, 1):
        hip = _aside(hips, side * 0.085)
        knee = _swing(hip, 0.43, 0.06, side * 0.02)
        ankle = _swing(knee, 0.43, -0.04, side * 0.02)
        legs.append((hip, knee, ankle, (ankle[0] + side * 0.03, ankle[1] - 0.03, ankle[2] + 0.14)))
        shoulder = _aside(shoulders, side * 0.185)
        elbow = _swing(shoulder, 0.28, 0.1, side * 0.05)
        raised = lifted == 0 and side == 1
        hand = (elbow[0] - 0.08, elbow[1] + 0.2, elbow[2] + 0.16) if raised else _swing(elbow, 0.25, 0.25)
        arms.append((shoulder, elbow, hand))
    return (hips, shoulders), legs, arms


def _riding(person: Person) -> Pose:
    hips, shoulders = (0.0, 0.98, -0.22), (0.0, 1.44, 0.05)
    legs, arms = [], []
    for side, phase in ((-1, person.phase), (1, person.phase + np.pi)):
        hip = _aside(hips, side * 0.08)
        ankle = (side * 0.1, 0.38 + 0.16 * float(np.sin(phase)), 0.02 + 0.16 * float(np.cos(phase)))
        knee = (side * 0.1, (hip[1] + ankle[1]) / 2 + 0.06, (hip[2] + ankle[2]) / 2 + 0.27)
        legs.append((hip, knee, ankle, (ankle[0], ankle[1] - 0.03, ankle[2] + 0.14)))
        shoulder = _aside(shoulders, side * 0.18)
        elbow = (side * 0.24, 1.20, 0.20)
        arms.append((shoulder, elbow, (side * 0.25, 1.06, 0.42)))
    return (hips, shoulders), legs, arms
