"""Does the model repeat its training clips? The distance of a video to the nearest of them.

Videos are compared as small grids of colour over time (12 x 12 for each frame), at the best start
within a clip; the distance is the root mean square difference in units of the full range. Held-out
clips show how near a clip that nobody copied may lie.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from infra.errors import InputError
from modeling.measure import Measure, mean_of
from modeling.oracles import Frames

GRID = 12
COPY_QUANTILE = 0.01
CLIPS_PER_CALL = 256


def memorisation_measures(
    made: Sequence[Frames], held: Sequence[Frames], training: Sequence[Frames]
) -> list[Measure]:
    """Nearest training clip of generated and of held-out videos, and the share of copies."""
    known = [grids(video) for video in training]
    mine, theirs = (nearest(videos, known) for videos in (made, held))
    limit = float(np.quantile(theirs, COPY_QUANTILE))
    ratio = float(np.median(mine) / max(float(np.median(theirs)), 1e-9))
    note = f"of {len(known)} training clips; well below 1, it repeats them"
    copied = (
        f"nearer to a training clip than {1 - COPY_QUANTILE:.0%} of held-out clips ({limit:.3g})"
    )
    return [
        mean_of("nearest_training_clip", mine, "generated: distance to the nearest training clip"),
        mean_of("nearest_training_clip_real", theirs, "held-out clips: the same", key=False),
        Measure(
            "memorisation_ratio", ratio, len(mine), f"generated over held-out, medians, {note}"
        ),
        mean_of("memorised_share", [float(d < limit) for d in mine], copied),
    ]


def grids(video: Frames) -> Tensor:
    """A uint8 video (T, H, W, 3) as colour grids (T, 432) in [0, 1]."""
    x_TCHW = torch.from_numpy(np.array(video)).movedim(-1, 1).float() / 255
    return F.adaptive_avg_pool2d(x_TCHW, GRID).flatten(1)


def nearest(videos: Sequence[Frames], known: Sequence[Tensor]) -> list[float]:
    """Each video's distance to the nearest window of its length in the known clips' grids.

    Raises:
        InputError: no known clip is as long as the videos, which are all of one length.
    """
    mine_ND, count = torch.stack([grids(video).flatten() for video in videos]), len(videos[0])
    long_enough = [clip for clip in known if len(clip) >= count]
    if not long_enough:
        raise InputError(f"no training clip has {count} frames or more; evaluate shorter videos")
    best_N = torch.full((len(videos),), torch.inf)
    for first in range(0, len(long_enough), CLIPS_PER_CALL):
        part = long_enough[first : first + CLIPS_PER_CALL]
        windows = torch.cat([clip.unfold(0, count, 1).movedim(-1, 1).flatten(1) for clip in part])
        best_N = torch.minimum(best_N, torch.cdist(mine_ND, windows).amin(1))
    distances: list[float] = (best_N / mine_ND.shape[1] ** 0.5).tolist()
    return distances
