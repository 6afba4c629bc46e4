import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFont

from infra.pictures import LABEL_SIZE, _wrap, contact_sheet, frame_strip, line_chart


def test_sheet_holds_every_picture_whole_and_labels_below() -> None:
    red = np.zeros((40, 80, 3), np.uint8) + np.array([255, 0, 0], np.uint8)
    tall = np.zeros((120, 60, 3), np.uint8) + np.array([0, 0, 255], np.uint8)
    sheet = np.asarray(contact_sheet([(red, "a red thing"), (tall, "blue")], 2, 80))
    reds = (sheet == (255, 0, 0)).all(-1)
    blues = (sheet == (0, 0, 255)).all(-1)
    assert (reds.sum(), blues.sum()) == (40 * 80, 160 * 80)
    bottom = np.nonzero(reds)[0].max()
    assert bottom == np.nonzero(blues)[0].max()
    assert (sheet[bottom + 2 :] < 100).all(-1).any()  # ink


def test_sheet_of_one_and_of_none() -> None:
    tile = np.zeros((10, 20, 3), np.uint8)
    assert contact_sheet([(tile, "")], 6, 100).width < 200
    assert contact_sheet([], 6, 100).height > 0


def test_long_labels_end_in_an_ellipsis_within_the_tile() -> None:
    font = ImageFont.load_default(LABEL_SIZE)
    lines = _wrap("a man walks a very large dog along the shore " * 4, font, 160)
    assert len(lines) == 3
    assert lines[-1].endswith("…")
    assert max(font.getlength(line) for line in lines) <= 180
    assert _wrap("short", font, 160) == ["short"]


def test_strip_picks_evenly_from_first_to_last() -> None:
    frames = np.zeros((9, 4, 5, 3), np.uint8) + np.arange(9, dtype=np.uint8)[:, None, None, None]
    strip = frame_strip(frames, 3, gap=2)
    assert strip.shape == (4, 3 * 5 + 2 * 2, 3)
    assert [strip[0, x, 0] for x in (0, 7, 14)] == [0, 4, 8]
    assert frame_strip(frames).shape[1] == 9 * 5 + 8 * 2


@pytest.mark.parametrize("points", [[(0, 1.0), (10, 0.5)], [(3, 1.0)], [], [(0, math.nan)]])
def test_chart_of_any_number_of_points(tmp_path: Path, points: list[tuple[float, float]]) -> None:
    path = tmp_path / "new" / "loss.png"
    line_chart({"train": points, "val": points}, path, title="loss", log_y=bool(points))
    with Image.open(path) as picture:
        assert picture.width > 500
    assert [entry.name for entry in path.parent.iterdir()] == ["loss.png"]
