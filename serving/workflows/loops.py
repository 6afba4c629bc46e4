"""Seamless loops: how visible a seam is, and a cross-blend where it is too visible.

A seam's ratio is its difference over the median difference of neighbours: about 1 where the seam
looks like any other step. The same measure serves the two sides of a panorama.
"""

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from infra.video import Frames

POOR = 1.5  # above this ratio a seam is repaired
FLOOR = 0.5  # levels of 255: a step below it is noise, and nothing is measured against it
BLEND = 0.2  # share of the whole that is blended


@dataclass(frozen=True, kw_only=True)
class Seam:
    """`before` and `after` are ratios; equal when nothing was repaired. `removed`: frames or
    columns that went into the blend."""

    before: float
    after: float
    removed: int = 0

    @property
    def is_repaired(self) -> bool:
        return self.removed > 0

    def as_metrics(self) -> dict[str, Any]:
        return {
            "seam_ratio": round(self.after, 3),
            "seam_ratio_before_repair": round(self.before, 3),
            "repaired": self.is_repaired,
            "removed": self.removed,
        }


def seam_ratio(values: npt.NDArray[Any], axis: int = 0) -> float:
    """The mean absolute difference between the last and the first along `axis`, over the median
    of those between neighbours. Fewer than three have no median: 0 then."""
    values = np.moveaxis(values, axis, 0)
    if len(values) < 3:
        return 0.0
    steps = [_difference(a, b) for a, b in itertools.pairwise(values)]
    seam = _difference(values[-1], values[0])
    return seam / max(float(np.median(steps)), FLOOR)


def _difference(one: npt.NDArray[Any], two: npt.NDArray[Any]) -> float:
    return float(np.abs(one.astype(np.float32) - two.astype(np.float32)).mean())


def cross_blend(values: npt.NDArray[Any], overlap: int, axis: int = 0) -> npt.NDArray[Any]:
    """`values` shorter by `overlap` along `axis`: the first ones fade in over the last ones, so
    that what comes first follows on what comes last."""
    values = np.moveaxis(values, axis, 0)
    kept = len(values) - overlap
    out = values[:kept].astype(np.float32)
    shape = (overlap,) + (1,) * (values.ndim - 1)
    weight = ((np.arange(overlap) + 0.5) / overlap).reshape(shape).astype(np.float32)
    out[:overlap] = weight * out[:overlap] + (1 - weight) * values[kept:].astype(np.float32)
    blended = np.clip(np.rint(out), 0, 255).astype(values.dtype)
    return np.moveaxis(blended, 0, axis)


def seamless(frames: Frames) -> tuple[Frames, Seam]:
    """A loop (T, H, W, 3), repaired when its seam is poor."""
    before = seam_ratio(frames)
    overlap = round(len(frames) * BLEND)
    if before <= POOR or overlap < 1 or len(frames) - overlap < 3:
        return frames, Seam(before=before, after=before)
    repaired = cross_blend(frames, overlap)
    return repaired, Seam(before=before, after=seam_ratio(repaired), removed=overlap)
