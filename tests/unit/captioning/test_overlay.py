"""Text in the picture: what reading comes to, by a reader whose words are known."""

from pathlib import Path

import numpy as np
import pytest

from captioning import overlay
from captioning.captioner import Clip
from captioning.frames import FrameReader
from captioning.inference import Inference
from captioning.overlay import (
    Line,
    Picture,
    RapidReader,
    TextLook,
    all_text,
    covered_share,
    text_of,
)
from captioning.recipe import CaptionRecipe, CocaRecipe, TextRecipe
from captioning.text_scores import update_texts
from infra.errors import InputError
from infra.job_files import JobContext
from infra.lake import Lake
from infra.settings import Settings
from infra.video import encode_mp4

FPS = 8.0


def box(text: str, left: float, top: float, width: float, height: float, sure: float = 0.9) -> Line:
    right, bottom = left + width, top + height
    return Line(text, sure, [(left, top), (right, top), (right, bottom), (left, bottom)])


@pytest.mark.parametrize(
    ("lines", "share"),
    [
        ([], 0.0),
        ([box("a", 0, 0, 100, 50)], 1.0),
        ([box("a", 10, 10, 20, 10)], 0.04),
        ([box("a", 10, 10, 20, 10), box("b", 60, 30, 20, 10)], 0.08),
        ([box("a", 10, 10, 20, 10), box("b", 20, 10, 20, 10)], 0.06),  # half on top of each other
        ([box("a", 90, 40, 20, 20)], 0.02),  # out of the picture on two sides
        ([Line("tilted", 0.9, [(50, 5), (70, 25), (50, 45), (30, 25)])], 0.16),
    ],
)
def test_the_share_that_boxes_cover(lines: list[Line], share: float) -> None:
    assert covered_share(lines, 50, 100) == pytest.approx(share, abs=0.012 if share == 0.16 else 0)


def test_the_words_each_once_and_not_without_end() -> None:
    lines = [box(text, 0, 0, 1, 1) for text in ("LIVE", "Episode 2", "LIVE ", "x" * 40)]
    assert all_text(lines, 20) == "LIVE\nEpisode 2\nxxxxx"


class BrightReader:
    """Reads the bright box of a picture, wherever it is."""

    version, threads = "bright-1", 1

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def read(self, picture_HWC: Picture) -> list[Line]:
        self.shapes.append(picture_HWC.shape)
        rows, columns = np.nonzero(picture_HWC[..., 1] > 128)
        if not len(rows):
            return [box("unsure", 0, 0, 99, 99, sure=0.3)]
        size = np.ptp(columns) + 1, np.ptp(rows) + 1
        return [box(f"from {columns.min()}", columns.min(), rows.min(), *size)]


def film() -> bytes:
    """Two seconds of 64x48; in the last third there is a title on an eighth of the picture."""
    frames = np.full((16, 48, 64, 3), 20, np.uint8)
    frames[11:, 24:36, 16:48] = 235
    return encode_mp4(frames, FPS)


CLIP = Clip(clip_id="a", offset_s=0.0, duration_s=2.0, width=64, height=48)


def test_a_clip_has_the_share_of_its_fullest_look(tmp_path: Path) -> None:
    reader = BrightReader()
    found = text_of(TextLook(TextRecipe())(film(), CLIP), reader, TextRecipe())
    assert found == {"text_share": 0.125, "text_found": "from 16"}
    assert reader.shapes == [(48, 64, 3)] * 3
    recipe = TextRecipe(side=32, frames=1)
    small = text_of(TextLook(recipe)(film(), CLIP), reader, recipe)
    assert small == {"text_share": 0.0, "text_found": ""}
    assert reader.shapes[-1] == (24, 32, 3)


def test_clips_are_read_once_by_each_version_and_broken_ones_stay_without(
    tmp_path: Path, own_home: Settings
) -> None:
    lake, reader = Lake(str(tmp_path / "lake")), BrightReader()
    lake.ensure()
    lake.write_clip_bytes({"a": film(), "b": b"no film"})
    lake.upsert("clips", [{"clip_id": name, "status": "accepted"} for name in "ab"])
    clips = [CLIP, Clip(clip_id="b", offset_s=0.0, duration_s=2.0, width=64, height=48)]
    context, recipe = JobContext({}, tmp_path / "job"), TextRecipe()
    frames = FrameReader(lake, CocaRecipe(), 1)
    inference = Inference("inline", own_home, lake, frames, context.raise_if_stopping)
    assert update_texts(context, lake, clips, reader, recipe, inference) == 1
    rows = lake.read("clips", ["clip_id", "text_share", "text_found"]).sort_by("clip_id")
    assert [tuple(row.values()) for row in rows.to_pylist()] == [
        ("a", 0.125, "from 16"), ("b", None, None)
    ]  # fmt: skip
    assert lake.count("clips", "text_share < 0.2") == 1
    looked = len(reader.shapes)
    assert update_texts(context, lake, clips[:1], reader, recipe, inference) == 0
    assert len(reader.shapes) == looked
    assert update_texts(context, lake, clips[:1], reader, TextRecipe(frames=1), inference) == 1


def test_without_the_extra_the_recipe_is_refused_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert not CaptionRecipe().text.read
    monkeypatch.setattr(overlay, "find_spec", lambda _: None)  # also where somebody installed it
    with pytest.raises(InputError, match=r"rapidocr, onnxruntime; install reelwright\[ocr\]"):
        RapidReader(1)


def test_a_recipe_that_looks_at_nothing_is_refused() -> None:
    with pytest.raises(InputError, match=r"text\.frames is 0"):
        TextRecipe(frames=0)
