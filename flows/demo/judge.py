"""The demo's oracle as an evaluation calls it: videos judged by what their captions say.

`{"oracle": "flows.demo.judge:judge"}` in an evaluation recipe.
"""

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
import numpy.typing as npt

from flows.demo.captions import VOCABULARY, parse_words
from flows.demo.oracle import read_attributes


def judge(
    videos: Sequence[npt.NDArray[np.uint8]], captions: Sequence[str]
) -> dict[str, list[float]]:
    """1 or 0 for each video: "accuracy" when all is right that its caption says, then attribute by
    attribute. Captions that name no attribute are not judged."""
    marks: dict[str, list[float]] = {name: [] for name in ("accuracy", *VOCABULARY)}
    for video, caption in zip(videos, captions, strict=True):
        wanted, found = parse_words(caption), read_attributes(video)
        if not wanted:
            continue
        have = asdict(found) if found else {}
        right = {name: have.get(name) == value for name, value in wanted.items()}
        marks["accuracy"].append(float(all(right.values())))
        for name, is_right in right.items():
            marks[name].append(float(is_right))
    return marks
