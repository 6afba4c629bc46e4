"""Reads a scene's attributes back from its pixels: deterministic, nothing learned.

    reading = read(x_THWC)            # everything that was measured, or None without an object
    read_attributes(x_THWC)           # only the attributes

The background is a brightness plane fitted to the frames, the object what stands out from it. Each
frame is unwrapped around the torus so that the object sits in the middle; its averaged soft mask is
then compared with the three ideal shapes. An attribute that cannot be told reads "none".
"""

from dataclasses import asdict, dataclass

import cv2
import numpy as np
import numpy.typing as npt

from flows.demo.scene import BACKGROUNDS, BAR_HEIGHT, COLORS, SHAPES, SIZES, Attributes

Floats = npt.NDArray[np.float32]

UNKNOWN = "none"
WORKING_SIDE = 64  # frames are shrunk to this shorter side: plenty for every attribute
MAX_FRAMES = 33
MIN_CONTRAST = 36.0  # RGB distance between object and background
MIN_AREA = 0.012  # of the frame; the smallest object covers 0.035 of a 4:3 frame
MIN_PRESENCE = 0.75  # of the frames must show the object
MIN_TRAVEL = 0.04  # of the frame's shorter side, over the clip
MIN_STEADINESS = 0.5  # net way over travelled way
MIN_FIT = 0.6  # intersection over union with the best ideal shape
MIN_CHROMA = 18.0  # CIE Lab; the named colours have 49 and more
BLURS = (0.0, 0.9, 1.8)  # pixels, tried on the ideal shapes
UNIT_AREA = {"circle": np.pi, "bar": 4 * BAR_HEIGHT, "triangle": 2.0}  # for a radius of 1


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What the oracle measured in a clip."""

    attributes: Attributes
    track: Floats  # (T, 2) centre of mass (x, y), unwrapped, over the frame's shorter side
    color_rgb: tuple[float, float, float]
    background_rgb: tuple[float, float, float]
    radius: float  # of the object, over the frame's shorter side
    fit: dict[str, float]  # per shape, intersection over union with the ideal


def read_attributes(x_THWC: npt.NDArray[np.uint8]) -> Attributes | None:
    """Attributes of a clip (T >= 2, H, W, 3) uint8 RGB; None only when there is no object."""
    reading = read(x_THWC)
    return reading.attributes if reading else None


def read(x_THWC: npt.NDArray[np.uint8]) -> Reading | None:
    """All that can be measured in a clip (T, H, W, 3) uint8 RGB; None when there is no object."""
    x = _working_copy(x_THWC)
    shorter = min(x.shape[1:3])
    back = _background(x)
    away = x - back
    contrast = np.sqrt(np.einsum("thwc,thwc->thw", away, away))
    peak = float(np.percentile(contrast[:, ::2, ::2], 98.5))
    if peak < MIN_CONTRAST:
        return None
    core = contrast > 0.6 * peak
    color = np.median(x[core], axis=0)
    offset = np.median(away[core], axis=0)
    mask = np.clip(away @ (offset / (offset @ offset)), 0, 1)
    mask[mask < 0.2] = 0  # noise; the far field would pull the centre of mass
    present = mask.mean((1, 2)) > MIN_AREA
    if present.mean() < MIN_PRESENCE:
        return None
    mask = mask[present]
    centers = _centers(mask)
    object_mask = np.mean([_centered(m, c) for m, c in zip(mask, centers, strict=True)], axis=0)
    fit = {shape: _fit(object_mask, shape) for shape in SHAPES}
    best = max(fit, key=lambda shape: fit[shape])
    radius = float(np.sqrt(object_mask.sum() / UNIT_AREA[best])) / shorter
    track = _unwrapped(centers, mask.shape[2], mask.shape[1]) / np.float32(shorter)
    background = _median(x).mean(0)
    return Reading(
        attributes=Attributes(
            shape=best if fit[best] >= MIN_FIT else UNKNOWN,
            color=_color_name(color),
            size=_size_name(radius),
            direction=_direction_name(track),
            background=_background_name(background),
        ),
        track=track,
        color_rgb=(float(color[0]), float(color[1]), float(color[2])),
        background_rgb=(float(background[0]), float(background[1]), float(background[2])),
        radius=radius,
        fit=fit,
    )


def same_object(before: Attributes | None, after: Attributes | None) -> bool:
    """True when two readings show one scene going on: every attribute is known and the same."""
    return before is not None and before == after and UNKNOWN not in asdict(before).values()


def _working_copy(x_THWC: npt.NDArray[np.uint8]) -> Floats:
    num_frames, height, width = x_THWC.shape[:3]
    chosen = np.unique(np.linspace(0, num_frames - 1, min(num_frames, MAX_FRAMES)).round())
    x = x_THWC[chosen.astype(int)]
    scale = WORKING_SIDE / min(height, width)
    if scale < 1:
        size = (round(width * scale), round(height * scale))
        x = np.stack([cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in x])
    return np.asarray(x, np.float32)


def _median(x: Floats) -> Floats:
    """Each frame's median colour (T, 3), from every fourth pixel: the medians are the slow part."""
    return np.asarray(np.median(x[:, ::2, ::2].reshape(len(x), -1, 3), axis=1), np.float32)


def _background(x: Floats) -> Floats:
    """Per frame, the median colour times a plane of light that is linear across the frame."""
    width = x.shape[2]
    median = _median(x)[:, None, None, :]
    away = x - median
    near = np.einsum("thwc,thwc->thw", away, away) < 40**2  # the object stands out by more
    ramp = np.linspace(-1, 1, width, dtype=np.float32)
    light = away.sum(-1) / np.maximum(median.sum() / len(x), 1)
    weight = near.sum((0, 1)).astype(np.float32)
    column = (near * light).sum((0, 1)) / np.maximum(weight, 1)
    mean = (weight * column).sum() / max(float(weight.sum()), 1)
    middle = (weight * ramp).sum() / max(float(weight.sum()), 1)
    spread = (weight * (ramp - middle) ** 2).sum()
    slope = (weight * (ramp - middle) * (column - mean)).sum() / max(float(spread), 1e-6)
    plane = 1 + mean + slope * (ramp - middle)
    return np.asarray(median * plane[None, None, :, None], np.float32)


def _centers(mask: Floats) -> Floats:
    """Centre of mass (x, y) in pixels of each frame's mask on the torus: the circular mean."""
    centers = []
    for axis in (1, 2):  # summed over rows: the profile along x; over columns: along y
        profile = mask.sum(axis)
        size = profile.shape[1]
        angle = 2 * np.pi * (np.arange(size) + 0.5) / size
        mean = np.arctan2(profile @ np.sin(angle), profile @ np.cos(angle))
        centers.append(mean / (2 * np.pi) * size % size)
    return np.stack(centers, axis=1).astype(np.float32)


def _unwrapped(centers: Floats, width: int, height: int) -> Floats:
    period = np.asarray([width, height], np.float32)
    steps = np.diff(centers, axis=0)
    steps -= period * np.round(steps / period)
    return np.asarray(np.concatenate([centers[:1], centers[0] + steps.cumsum(0)]), np.float32)


def _centered(mask: Floats, center: Floats) -> Floats:
    height, width = mask.shape
    whole = np.floor(center).astype(int)
    rolled = np.roll(mask, (height // 2 - whole[1], width // 2 - whole[0]), (0, 1))
    part = center - whole
    shift = np.asarray([[1, 0, -part[0]], [0, 1, -part[1]]], np.float32)
    moved = cv2.warpAffine(rolled, shift, (width, height), borderMode=cv2.BORDER_WRAP)
    return np.asarray(moved, np.float32)


def _fit(mask: Floats, shape: str) -> float:
    """Soft intersection over union of a centred mask with the ideal shape of the same area."""
    height, width = mask.shape
    radius = np.sqrt(mask.sum() / UNIT_AREA[shape])
    y, x = np.mgrid[0:height, 0:width].astype(np.float32) + np.float32(0.5)
    x, y = x - width // 2, y - height // 2
    if shape == "circle":
        distance = np.hypot(x, y) - radius
    elif shape == "bar":
        distance = np.maximum(np.abs(x) - radius, np.abs(y) - radius * BAR_HEIGHT)
    else:  # the centre of mass of a triangle lies a third of its height above the base
        y = y + radius / 3
        distance = np.maximum((np.abs(x) - (y + radius) / 2) / np.hypot(1.0, 0.5), y - radius)
    ideal = np.clip(0.5 - distance, 0, 1).astype(np.float32)
    scores = []
    for blur in BLURS:
        soft = cv2.GaussianBlur(ideal, (0, 0), blur) if blur else ideal
        scores.append(float(np.minimum(mask, soft).sum() / np.maximum(mask, soft).sum()))
    return max(scores)


def _lab(rgb: npt.ArrayLike) -> Floats:
    pixel = np.asarray(rgb, np.float32).reshape(1, 1, 3) / 255
    return np.asarray(cv2.cvtColor(pixel, cv2.COLOR_RGB2LAB)[0, 0], np.float32)


def _color_name(rgb: npt.ArrayLike) -> str:
    """The named colour whose hue and chroma (CIE a, b) are nearest; brightness does not count."""
    lab = _lab(rgb)
    if np.hypot(lab[1], lab[2]) < MIN_CHROMA:
        return UNKNOWN
    return min(COLORS, key=lambda name: float(np.hypot(*(lab - _lab(COLORS[name]))[1:])))


def _background_name(rgb: npt.ArrayLike) -> str:
    luma = float(np.mean(np.asarray(rgb, np.float32)))
    return min(BACKGROUNDS, key=lambda name: abs(luma - sum(BACKGROUNDS[name]) / 3))


def _size_name(radius: float) -> str:
    """The named size nearest in proportion; the border is the geometric mean."""
    return min(SIZES, key=lambda name: abs(float(np.log(2 * radius / SIZES[name]))))


def _direction_name(track: Floats) -> str:
    if len(track) < 2:
        return UNKNOWN
    net = track[-1] - track[0]
    axis = int(np.abs(net).argmax())
    way = float(np.abs(np.diff(track[:, axis])).sum())
    if abs(net[axis]) < MIN_TRAVEL or abs(net[axis]) < MIN_STEADINESS * way:
        return UNKNOWN
    return (("left", "right"), ("up", "down"))[axis][int(net[axis] > 0)]
