"""The demo's little world: one shape glides across a background, and every attribute has a name.

The world is a torus: what leaves on one side comes back on the other, so a scene may last for ever.
"""

import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

SHAPES = ("circle", "square", "triangle")
COLORS = {
    "red": (226, 54, 54),
    "green": (52, 190, 84),
    "blue": (64, 100, 240),
    "yellow": (245, 208, 48),
}
SIZES = {"small": 0.32, "large": 0.50}  # width of the shape over the frame's shorter side
DIRECTIONS = {"left": (-1.0, 0.0), "right": (1.0, 0.0), "up": (0.0, -1.0), "down": (0.0, 1.0)}
BACKGROUNDS = {"dark": (26, 28, 38), "gray": (122, 124, 128), "light": (232, 230, 222)}
SPEED = 0.45  # of the frame's shorter side, per second


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
    """A scene with its exact geometry. Positions are fractions of the frame (x, y)."""

    attributes: Attributes
    start: tuple[float, float]
    speed: float
    scale: float
    tilt: float  # of the background's light, as a fraction of full brightness across the frame


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
    )


def render(scene: Scene, time_s: float, height: int, width: int) -> npt.NDArray[np.uint8]:
    """One anti-aliased frame, (H, W, 3) RGB."""
    attributes, shorter = scene.attributes, min(height, width)
    dx, dy = DIRECTIONS[attributes.direction]
    step = scene.speed * shorter * time_s
    center_x = scene.start[0] * width + dx * step
    center_y = scene.start[1] * height + dy * step
    radius = SIZES[attributes.size] * scene.scale * shorter / 2
    y, x = np.mgrid[0:height, 0:width].astype(np.float32) + np.float32(0.5)
    x = (x - center_x + width / 2) % width - width / 2
    y = (y - center_y + height / 2) % height - height / 2
    coverage = np.clip(0.5 - _distance(attributes.shape, x, y, radius), 0, 1)[..., None]
    light = 1 + scene.tilt * np.linspace(-1, 1, width, dtype=np.float32)[None, :, None]
    back = np.asarray(BACKGROUNDS[attributes.background], np.float32) * light
    fore = np.asarray(COLORS[attributes.color], np.float32)
    return np.clip(back * (1 - coverage) + fore * coverage + 0.5, 0, 255).astype(np.uint8)


def _distance(
    shape: str, x: npt.NDArray[np.float32], y: npt.NDArray[np.float32], radius: float
) -> npt.NDArray[np.float32]:
    """Signed distance in pixels to the outline; negative inside."""
    if shape == "circle":
        return np.hypot(x, y) - radius
    if shape == "square":
        return np.maximum(np.abs(x), np.abs(y)) - radius * np.float32(0.88)
    # An upright triangle: base at the bottom, two straight sides meeting at the top.
    slope = np.float32(np.hypot(1.0, 0.5))
    sides = (np.abs(x) - (y + radius) * np.float32(0.5)) / slope
    return np.maximum(sides, y - radius)
