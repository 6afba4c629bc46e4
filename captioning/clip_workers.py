"""What runs on the workers of a cluster: clips are read by id from the lake, decoded, and answered.

A worker that has cores alone does it all. One that has a GPU answers, and cores of any node decode
for it: their frames travel as bytes.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa

from captioning.captioner import Clip
from captioning.clip_models import ClipModel, Look, answered
from captioning.frames import Frames, decoded
from infra.errors import InputError, ReelError
from infra.lake import Lake

CLIP = pa.schema(
    {
        "clip_id": pa.string(),
        "offset_s": pa.float64(),
        "duration_s": pa.float64(),
        "width": pa.int64(),
        "height": pa.int64(),
    }
)
SEEN = pa.schema(
    {
        "clip_id": pa.string(),
        "failed": pa.string(),
        "frames": pa.large_binary(),
        "shape": pa.list_(pa.int64()),
    }
)


def sees(lake: Lake, clips: int) -> bool:
    """Whether this process finds so many clips there: each node may have a lake of its own."""
    try:
        return lake.count("clip_bytes") == clips
    except (ReelError, OSError, ValueError):
        return False


def clips_table(clips: Sequence[Clip]) -> pa.Table:
    """What it takes to read the clips."""
    return pa.Table.from_pylist([asdict(clip) for clip in clips], schema=CLIP)


def look_at(clips: pa.Table, *, look: Look, lake: Lake) -> pa.Table:
    """The clips of `clips_table` with their frames, or why they do not decode."""
    asked = [Clip(**row) for row in clips.to_pylist()]
    rows: list[dict[str, Any]] = []
    for clip, seen in zip(asked, decoded(lake, asked, look, 1), strict=True):
        what: dict[str, Any] = {"failed": str(seen)}
        if not isinstance(seen, InputError):
            what = {"frames": seen.tobytes(), "shape": seen.shape}
        rows.append({"clip_id": clip.clip_id, **what})
    return pa.Table.from_pylist(rows, schema=SEEN)


class GpuWorker:
    """A model on a GPU, which is asked about clips that `look_at` decoded elsewhere."""

    def __init__(self, model: ClipModel) -> None:
        model.use("cuda", 1)
        self._model = model

    def __call__(self, looked: pa.Table) -> pa.Table:
        """Answers about the clips of `look_at`."""
        return answered(self._model, [(row["clip_id"], _seen(row)) for row in looked.to_pylist()])


class CoreWorker:
    """A model on some cores, which decode the clips as well."""

    def __init__(self, model: ClipModel, lake: Lake, threads: int) -> None:
        model.use("cpu", threads)
        self._model, self._lake, self._threads = model, lake, threads

    def __call__(self, clips: pa.Table) -> pa.Table:
        """Answers about the clips of `clips_table`."""
        asked = [Clip(**row) for row in clips.to_pylist()]
        looks = decoded(self._lake, asked, self._model.look, self._threads)
        seen = [(clip.clip_id, look) for clip, look in zip(asked, looks, strict=True)]
        return answered(self._model, seen)


def _seen(row: dict[str, Any]) -> Frames | InputError:
    if row["failed"] is not None:
        return InputError(row["failed"])
    return np.frombuffer(row["frames"], np.uint8).reshape(row["shape"])
