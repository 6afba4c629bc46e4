"""A model over clips whose workers wait, each in its first answer, until they are let go on."""

import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from captioning.clip_models import ClipModel
from captioning.frames import Frames

TIMEOUT_S = 120


class Gated:
    """What several models say, side by side, four clips at once.

    A worker that is asked leaves a file in `folder`, named by its process and its folder for
    temporary files, which tells the node, and waits for the file "open" there.
    """

    at_once = 4

    def __init__(self, folder: Path, *models: ClipModel) -> None:
        self.look = models[0].look
        self._folder = folder
        self._models = models

    def use(self, device: str, threads: int) -> None:
        for model in self._models:
            model.use(device, threads)

    def answer(self, clips: Sequence[Frames]) -> pa.Table:
        (self._folder / f"{os.getpid()} {Path(tempfile.gettempdir()).name}").touch()
        deadline = time.monotonic() + TIMEOUT_S
        while not (self._folder / "open").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        columns = {}
        for answer in [model.answer(clips) for model in self._models]:
            columns |= dict(zip(answer.column_names, answer.columns, strict=True))
        return pa.table(columns)
