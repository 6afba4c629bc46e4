"""Text in the picture (titles, subtitles, watermarks, signs) by OCR, from the optional extra `ocr`.

    reader = RapidReader()
    lines = reader.read(picture_HWC)    # [Line("SUBSCRIBE NOW", …), …]
    covered_share(lines, height, width)     # 0.08

RapidOCR (https://github.com/RapidAI/RapidOCR) runs PP-OCR models, which its package ships, on
onnxruntime. Any other reader is a class with the same method.
"""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from captioning.captioner import Clip
from captioning.recipe import TextRecipe
from infra.errors import InputError
from infra.video import read_clip

PACKAGES = ("rapidocr", "onnxruntime")

DIGITS = 4

Picture = npt.NDArray[np.uint8]
Frames = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Line:
    """A line of text: what it says, how sure that is (0 to 1), and its corners (x, y) in pixels."""

    text: str
    confidence: float
    corners: Sequence[tuple[float, float]]


class TextReader(Protocol):
    """Pictures → lines of text."""

    version: str
    threads: int
    """Cores that it may use, from its first picture on."""

    def read(self, picture_HWC: Picture) -> list[Line]:
        """All text in an RGB picture."""


def check_installed() -> None:
    """Raises InputError, which names the extra, when it is not installed. Imports nothing."""
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise InputError(
            "the recipe asks for text in the picture (`text.read`), and this is not installed: "
            f"{', '.join(missing)}; install reelwright[ocr], or let the recipe do without"
        )


class RapidReader:
    """RapidOCR with the models of its package.

    Raises:
        InputError: the extra is not installed.
    """

    def __init__(self, threads: int) -> None:
        check_installed()
        self.version = f"rapidocr-{version('rapidocr')}"
        self.threads = threads
        self._engine: Any = None  # takes seconds to load, and an idle job reads nothing

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_engine": None}  # a loaded one does not travel

    def read(self, picture_HWC: Picture) -> list[Line]:
        """See `TextReader.read`."""
        self._engine = self._engine or self._load()
        found = self._engine(np.ascontiguousarray(picture_HWC[..., ::-1]))  # it takes BGR
        if found.boxes is None:
            return []
        return [
            Line(text, float(confidence), [(float(x), float(y)) for x, y in corners])
            for text, confidence, corners in zip(found.txts, found.scores, found.boxes, strict=True)
        ]

    def _load(self) -> Any:
        from rapidocr import RapidOCR

        threads = {"EngineConfig.onnxruntime.intra_op_num_threads": self.threads}
        engine = RapidOCR(params={"Global.log_level": "error", **threads})
        logging.getLogger("RapidOCR").setLevel(logging.ERROR)  # a picture without text is no news
        return engine


@dataclass(frozen=True)
class TextLook:
    """Decodes the frames of a clip that are read (`captioning.clip_models.Look`)."""

    recipe: TextRecipe

    def __call__(self, data: bytes, clip: Clip) -> Frames:
        """`recipe.frames` frames, evenly spread over the clip."""
        recipe = self.recipe
        scale = min(1.0, recipe.side / max(clip.width, clip.height))
        size = (max(1, round(clip.height * scale)), max(1, round(clip.width * scale)))
        times_s = [(look + 0.5) / recipe.frames * clip.duration_s for look in range(recipe.frames)]
        return read_clip(data, clip.offset_s, times_s, size)


def text_of(frames_THWC: Frames, reader: TextReader, recipe: TextRecipe) -> dict[str, Any]:
    """`text_share`, of the looked-at frame with most text, and `text_found`, of all of them."""
    looks = [
        [line for line in reader.read(frame) if line.confidence >= recipe.min_confidence]
        for frame in frames_THWC
    ]
    lines = [line for look in looks for line in look]
    size = frames_THWC.shape[1], frames_THWC.shape[2]
    return {
        "text_share": round(max(covered_share(look, *size) for look in looks), DIGITS),
        "text_found": all_text(lines, recipe.max_characters),
    }


def covered_share(lines: Iterable[Line], height: int, width: int) -> float:
    """The share of the picture inside the lines' corners; what two lines cover counts once."""
    mask = np.zeros((height, width), np.uint8)
    for line in lines:
        corners = np.round(np.array(line.corners)).astype(np.int32)
        # fillPoly draws the right and lower edge, too, which is not inside.
        cv2.fillConvexPoly(mask, corners - (corners > corners.mean(axis=0)), 1)
    return float(np.count_nonzero(mask)) / mask.size


def all_text(lines: Iterable[Line], most: int) -> str:
    """The lines' texts, each once, one a line, in at most so many characters."""
    return "\n".join(dict.fromkeys(line.text.strip() for line in lines))[:most]
