"""The demo's little world: one shape glides across a background, and every attribute has a name.

The world is a torus: what leaves on one side comes back on the other, so a scene may last for ever.
In most scenes the object stays inside the frame for as long as a demo shot lasts; in the others
it goes over an edge, since a model that never saw that lets a long video stick there.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Frames = npt.NDArray[np.uint8]

SHAPES = ("circle", "bar", "triangle")  # a square would differ from a circle by a few pixels
BAR_HEIGHT = 0.5  # of its width
COLORS = {
    "red": (226, 54, 54),
    "green": (52, 190, 84),
    "blue": (64, 100, 240),
    "yellow": (245, 208, 48),
}
SIZES = {"small": 0.36, "large": 0.56}  # width of the shape over the frame's shorter side
DIRECTIONS = {"left": (-1.0, 0.0), "right": (1.0, 0.0), "up": (0.0, -1.0), "down": (0.0, 1.0)}
BACKGROUNDS = {"dark": (26, 28, 38), "gray": (122, 124, 128), "light": (232, 230, 222)}
SPEED = 0.12  # of the frame's shorter side, per second
ENTERS_S, LEAVES_S = -0.5, 2.5  # from when to when an object stays inside the frame
CROSSING_SHARE = 0.25  # of the scenes: in these it goes over an edge in that time


@dataclass(frozen=True, kw_only=True)
class Attributes:
    """What a viewer can say of a scene."""

    shape: str
    color: str
    size: str
    direction: str
    background: str

    def caption(self) -> str:
        """The scene in words, as the demo's sidecars write it."""
        return (
            f"a {self.size} {self.color} {self.shape} moving {self.direction} "
            f"on a {self.background} background"
        )


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A scene with its exact geometry.

    start: (x, y) in [0, 1], where the object enters within the room that its size and way leave it.
    crosses: along its way it enters in the rest of the torus instead, and so goes over the edge.
    speed: in the frame's shorter side per second; scale: of the size; tilt: see `render_frames`.
    """

    attributes: Attributes
    start: tuple[float, float]
    speed: float
    scale: float
    tilt: float  # of the background's light, as a fraction of full brightness across the frame
    crosses: bool = False


def all_attributes() -> list[Attributes]:
    """Every combination the world can show, in a fixed order."""
    return [
        Attributes(shape=s, color=c, size=z, direction=d, background=b)
        for s, c, z, d, b in itertools.product(SHAPES, COLORS, SIZES, DIRECTIONS, BACKGROUNDS)
    ]


def random_scene(attributes: Attributes, rng: np.random.Generator) -> Scene:
    """A scene of those attributes, with everything that has no name drawn at random."""
    return Scene(
        attributes=attributes,
        start=(float(rng.uniform()), float(rng.uniform())),
        speed=float(SPEED * rng.uniform(0.9, 1.1)),
        scale=float(rng.uniform(0.95, 1.05)),
        tilt=float(rng.uniform(-0.06, 0.06)),
        crosses=float(rng.uniform()) < CROSSING_SHARE,
    )


def render(scene: Scene, time_s: float, height: int, width: int) -> Frames:
    """One anti-aliased frame, (H, W, 3) RGB."""
    x_THWC = render_frames(scene, [time_s], height, width)
    return x_THWC.reshape(height, width, 3)


def render_frames(scene: Scene, times_s: Sequence[float], height: int, width: int) -> Frames:
    """The frames at those times, (T, H, W, 3) RGB. Only the object's surroundings are redrawn."""
    attributes, shorter = scene.attributes, min(height, width)
    ramp = np.linspace(-1, 1, width, dtype=np.float32)[None, :, None]
    back = np.asarray(BACKGROUNDS[attributes.background], np.float32) * (1 + scene.tilt * ramp)
    fore = np.asarray(COLORS[attributes.color], np.float32)
    radius = SIZES[attributes.size] * scene.scale * shorter / 2
    x_THWC = np.empty((len(times_s), height, width, 3), np.uint8)
    x_THWC[:] = np.clip(back + 0.5, 0, 255).astype(np.uint8)
    for frame, time_s in zip(x_THWC, times_s, strict=True):
        center_x, center_y = position(scene, time_s, height, width)
        rows, columns = _window(center_y, radius, height), _window(center_x, radius, width)
        y = _offsets(rows, center_y, height)[:, None]
        x = _offsets(columns, center_x, width)[None, :]
        distance = _distance(attributes.shape, x, y, radius)
        coverage = np.clip(0.5 - distance, 0, 1)[..., None]
        blend = back[:, columns] * (1 - coverage) + fore * coverage
        frame[np.ix_(rows, columns)] = np.clip(blend + 0.5, 0, 255).astype(np.uint8)
    return x_THWC


def position(scene: Scene, time_s: float, height: int, width: int) -> tuple[float, float]:
    """The object's centre (x, y) in pixels, not wrapped: from ENTERS_S to LEAVES_S the object is
    inside the frame, or it goes over an edge."""
    shorter = min(height, width)
    margin = SIZES[scene.attributes.size] * scene.scale * shorter / 2
    way, done = (scene.speed * shorter * span for span in (LEAVES_S - ENTERS_S, time_s - ENTERS_S))
    place = []
    for start, heading, size in zip(
        scene.start, DIRECTIONS[scene.attributes.direction], (width, height), strict=True
    ):
        room = size - 2 * margin - abs(heading) * way
        entry = margin + start * room
        if scene.crosses and heading:
            entry = margin + room + start * (size - room)
        # Against the axis, the same way is walked from the far end.
        place.append(size - entry - done if heading < 0 else entry + heading * done)
    return place[0], place[1]


def _window(center: float, radius: float, size: int) -> npt.NDArray[np.int64]:
    """The pixels of one axis that the object may touch, wrapped around the torus."""
    first, last = math.floor(center - radius - 2), math.ceil(center + radius + 2)
    return np.arange(first, min(last, first + size)) % size


def _offsets(pixels: npt.NDArray[np.int64], center: float, size: int) -> Floats:
    """Signed ways from the centre to those pixels' middles, the short way around the torus."""
    middles = pixels.astype(np.float32) + np.float32(0.5)
    return (middles - np.float32(center) + np.float32(size / 2)) % size - np.float32(size / 2)


def _distance(shape: str, x: Floats, y: Floats, radius: float) -> Floats:
    """Signed distance in pixels to the outline; negative inside."""
    if shape == "circle":
        distance = np.hypot(x, y) - radius
    elif shape == "bar":
        distance = np.maximum(np.abs(x) - radius, np.abs(y) - radius * BAR_HEIGHT)
    else:  # an upright triangle: base at the bottom, two straight sides meeting at the top
        sides = (np.abs(x) - (y + radius) * 0.5) / math.hypot(1.0, 0.5)
        distance = np.maximum(sides, y - radius)
    return np.asarray(distance, np.float32)
