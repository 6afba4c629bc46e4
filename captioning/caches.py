"""Which stored captioners learned from a clip (`captioning.store` has their form)."""

from collections.abc import Iterable
from pathlib import Path

from infra.job_files import read_json


def captioners_of(folder: Path, clip_ids: Iterable[str]) -> list[Path]:
    """The folders of the captioners that learned from any of these clips."""
    wanted = set(clip_ids)
    return [
        path.parent
        for path in sorted(folder.glob("*/captioner.json"))
        if any(mark.split(":")[0] in wanted for mark in (read_json(path) or {})["labelled"])
    ]
