import base64
import io

import numpy as np
from PIL import Image

from flows import artifacts


def test_table_keeps_a_cell_with_a_pipe_in_one_column() -> None:
    lines = artifacts.table(["file", "why"], [("a|b.mp4", "cut\noff")]).splitlines()
    assert lines[2] == "| a\\|b.mp4 | cut off |"


def test_table_aligns_numbers_right_and_rounds_them() -> None:
    lines = artifacts.table(["number", "value"], [("loss", 0.123456), ("steps", 12)]).splitlines()
    assert lines[1] == "| --- | ---: |"
    assert "0.1235" in lines[2]
    assert "| 12346 |" in artifacts.table(["seconds"], [(12345.6,)])


def test_empty_table_has_its_head() -> None:
    assert artifacts.table(["a", "b"], []).splitlines() == ["| a | b |", "| --- | --- |"]


def test_picture_is_carried_inside_and_scaled_to_a_page() -> None:
    pixels = np.zeros((30, 4000, 4), np.uint8)
    pixels[..., 0] = pixels[..., 3] = 255
    markdown = artifacts.picture(Image.fromarray(pixels), "red")
    head, data = markdown.removesuffix(")").split("base64,")
    assert head == "![red](data:image/jpeg;"
    shown = Image.open(io.BytesIO(base64.b64decode(data)))
    assert shown.size == (artifacts.MAX_SIDE, 12)
    red, green, _blue = shown.getpixel((800, 6))  # type: ignore[misc]
    assert red > 240
    assert green < 15


def test_file_uri_reads_as_its_path() -> None:
    assert artifacts.readable("file:///films/Caf%C3%A9%201.mp4") == "/films/Café 1.mp4"
    assert artifacts.readable("s3://bucket/a%20b.mp4") == "s3://bucket/a%20b.mp4"
