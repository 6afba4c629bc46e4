"""Seamless loops: how visible a seam is, and a cross-blend where it is too visible.

A seam's ratio is its difference over the median difference of neighbours: about 1 where the seam
looks like any other step. The same measure serves the two sides of a panorama.
"""

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

POOR = 1.5  # above this ratio a seam is repaired
SHOWS = 2.5  # above this ratio a blend still shows: not as a jump, but as a dissolve
# Levels of 255: a step below is not seen, and nothing is measured against it. The eye forgives
# less between frames than between columns.
FLOOR, COLUMN_FLOOR = 0.5, 2.0
BLENDS = (0.2, 0.3, 0.4)  # shares of the whole that are blended: no more than it takes


@dataclass(frozen=True, kw_only=True)
class Seam:
    """`before` and `after` are ratios; equal when nothing was repaired. After a repair it is one
    plus the largest step that the blend added anywhere, the seam included. `removed`: frames or
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


def seam_ratio(values: npt.NDArray[Any], axis: int = 0, floor: float = FLOOR) -> float:
    """The mean absolute difference between the last and the first along `axis`, over the median
    of those between neighbours. Fewer than three have no median: 0 then."""
    steps = _steps(np.moveaxis(values, axis, 0))
    return float(steps[0] / _ordinary(steps, floor)) if len(steps) > 2 else 0.0


def _steps(values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """How far each one is from the one before it; the first, from the last."""
    pairs = itertools.pairwise([values[-1], *values])
    return np.array([_difference(one, two) for one, two in pairs])


def _ordinary(steps: npt.NDArray[np.float64], floor: float) -> float:
    return max(float(np.median(steps[1:])), floor)


def _difference(one: npt.NDArray[Any], two: npt.NDArray[Any]) -> float:
    return float(np.abs(one.astype(np.float32) - two.astype(np.float32)).mean())


def cross_blend(values: npt.NDArray[Any], overlap: int, axis: int = 0) -> npt.NDArray[Any]:
    """`values` shorter by `overlap` along `axis`: the first ones fade in over the last ones, so
    that what comes first follows on what comes last."""
    values = np.moveaxis(values, axis, 0)
    kept = len(values) - overlap
    out = values[:kept].copy()
    for index in range(overlap):  # one by one: all of a long film as floats would not fit
        # The jump from last to first is dealt out evenly over the blend.
        weight = np.float32((index + 1) / (overlap + 1))
        first, last = out[index].astype(np.float32), values[kept + index].astype(np.float32)
        out[index] = np.rint(weight * first + (1 - weight) * last)
    return np.moveaxis(out, 0, axis)


def _added(steps: npt.NDArray[np.float64], blended: npt.NDArray[np.float64], overlap: int) -> float:
    """The most that a step of the blend exceeds those of the two parts that it blends."""
    kept = len(blended)
    own, other = np.append(0.0, steps[1 : overlap + 1]), np.append(steps[kept:], 0.0)
    return max(0.0, float((blended[: overlap + 1] - np.maximum(own, other)).max()))


def seamless(
    values: npt.NDArray[Any], axis: int = 0, floor: float = FLOOR
) -> tuple[npt.NDArray[Any], Seam]:
    """A loop, such as frames (T, H, W, 3), repaired along `axis` when its seam is poor."""
    values = np.moveaxis(values, axis, 0)
    steps = _steps(values)
    before = seam_ratio(values, 0, floor)
    found, seam = values, Seam(before=before, after=before)
    for share in BLENDS:
        overlap = round(len(values) * share)
        if seam.after <= POOR or overlap < 1 or len(values) - overlap < 3:
            break
        blended = cross_blend(values, overlap)
        after = 1 + _added(steps, _steps(blended), overlap) / _ordinary(steps, floor)
        if after < seam.after:
            found, seam = blended, Seam(before=before, after=after, removed=overlap)
    return np.moveaxis(found, 0, axis), seam
