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

from infra.errors import InputError

PACKAGES = ("rapidocr", "onnxruntime")

Picture = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Line:
    """A line of text: what it says, how sure that is (0 to 1), and its corners (x, y) in pixels."""

    text: str
    confidence: float
    corners: Sequence[tuple[float, float]]


class TextReader(Protocol):
    """Pictures → lines of text."""

    version: str

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
        self._threads = threads
        self._engine: Any = None  # takes seconds to load, and an idle job reads nothing

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

        threads = {"EngineConfig.onnxruntime.intra_op_num_threads": self._threads}
        engine = RapidOCR(params={"Global.log_level": "error", **threads})
        logging.getLogger("RapidOCR").setLevel(logging.ERROR)  # a picture without text is no news
        return engine


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
