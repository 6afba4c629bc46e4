"""What the training steps keep on disk of a release, to save time when they run again."""

import re
from collections.abc import Sequence
from pathlib import Path

from infra.job_files import read_json


def caches_of(training: Path, releases: Sequence[str]) -> list[Path]:
    """Files of decoded pixels, and folders of checkpoints, made from any of these releases.

    Without them a step starts from the release as it is now, not from what it was.
    """
    pixels = [
        path
        for path in training.glob("pixels-*.json")
        if (read_json(path) or {}).get("release") in releases
    ]
    names = "|".join(map(re.escape, releases))
    folder = re.compile(rf"(vae-({names})-\w{{8}}-\w{{8}}-\d+|(dit|words)-({names})-\w{{16}})")
    steps = [path for path in training.glob("*-*") if releases and folder.fullmatch(path.name)]
    # A cache without its .json is taken for unfinished, so that goes first.
    bytes_of = [path.with_suffix(".bin") for path in pixels]
    return [*pixels, *(path for path in bytes_of if path.exists()), *sorted(steps)]
