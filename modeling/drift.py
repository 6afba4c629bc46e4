"""Drift: how far a long video strays from how it began, window by window of the rollout."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from modeling.measure import Measure
from modeling.oracles import ACCURACY, Frames, scores


def windows_of(video: Frames, num_frames: int) -> list[Frames]:
    """Windows of a long video, each beginning with the last frame of the one before."""
    last = len(video) - num_frames
    return [video[start : start + num_frames] for start in range(0, last + 1, num_frames - 1)]


def drift_measures(
    videos: Sequence[Frames],
    captions: Sequence[str],
    num_frames: int,
    describe: Callable[[Sequence[Frames]], Tensor],
    real: Sequence[Frames],
    oracle: str,
) -> list[Measure]:
    """By rollout index: distance in features from the first window, and the oracle's accuracy.

    describe: features (N, D) of videos. real: clips; the mean distance between two of them is the
    unit, so 1 says that a window is to the first one as another clip would be.
    """
    windows = [windows_of(video, num_frames) for video in videos]
    first = describe([parts[0] for parts in windows])
    unit = max(float(torch.pdist(describe(real)).mean()), 1e-9)
    rows: list[Measure] = []
    for index in range(min(map(len, windows))):
        seen = [parts[index] for parts in windows]
        last = index == min(map(len, windows)) - 1
        if index:
            away = (describe(seen) - first).norm(dim=1).numpy() / unit
            note = f"window {index} of a rollout to its first, over the distance of two real clips"
            rows.append(
                Measure(f"drift_window_{index}", float(np.mean(away)), len(seen), note, False)
            )
            if last:
                rows.append(Measure("drift_last_window", float(np.mean(away)), len(seen), note))
        if oracle and len(values := scores(oracle, seen, captions)[ACCURACY]):
            name, note = f"oracle_accuracy_window_{index}", f"window {index} of a rollout"
            rows.append(Measure(name, float(values.mean()), len(values), note, False))
    return rows
