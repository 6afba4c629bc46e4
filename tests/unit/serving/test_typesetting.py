"""Lines, sizes and directions of words on pictures."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from serving.workflows.lettering import font_path
from serving.workflows.overlay import Patch, blend, panel
from serving.workflows.typesetting import (
    LetteringError,
    check_glyphs,
    fit,
    runs_right_to_left,
    set_lines,
)

FONT = font_path()


@pytest.mark.parametrize("text", ["Run free", "word " * 20, "Donaudampfschiff" * 4, "ابدأ " * 20])
def test_ink_stays_in_its_box(text: str) -> None:
    block = fit(text, FONT, width=300, height=200, largest=60, smallest=12)
    picture = Image.new("L", (400, 300))
    block.draw(ImageDraw.Draw(picture), 50, 50, (255,), box_width=300)
    left, top, right, bottom = picture.getbbox() or (0, 0, 0, 0)
    assert left >= 48 and top >= 45 and right <= 352 and bottom <= 252
    assert "".join(block.lines).replace(" ", "") == text.replace(" ", "")
    if block.right_to_left:
        assert right > 340
    else:
        assert left < 60


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(LetteringError, match="does not fit: 500 characters"):
        fit("word " * 100, FONT, width=100, height=50, largest=40, smallest=12)


def test_a_missing_glyph_is_named() -> None:
    check_glyphs("Ärger ‎αβγ العربية e\u0301", FONT)
    with pytest.raises(LetteringError, match=r"U\+6C34, CJK UNIFIED IDEOGRAPH-6C34"):
        check_glyphs("Water 水", FONT)


def test_a_broken_font_is_an_error_about_the_font(tmp_path: Path) -> None:
    for name, data in (("a.ttf", b""), ("b.ttf", b"\0\1\0\0" + b"\xff" * 64)):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(LetteringError, match="font that cannot be read"):
            check_glyphs("a", tmp_path / name)


def test_long_words_shrink_before_they_break() -> None:
    block = fit("Donaudampfschifffahrt", FONT, width=200, height=200, largest=60, smallest=10)
    assert len(block.lines) == 1 and not block.broken
    assert set_lines("日本語、です", FONT, 20, 45).lines[0] in ("日本", "日")


def test_direction_follows_the_first_strong_letter() -> None:
    assert runs_right_to_left("2026 اركض Trail") and not runs_right_to_left("Trail اركض")


def test_panels_blend_by_their_alpha() -> None:
    block = fit("A", FONT, width=40, height=40, largest=20, smallest=12)
    mark = panel(block, 2, 3, 50, pad=4, fill=(0, 0, 0, 128), color=(255, 255, 255))
    frame = np.full((80, 80, 3), 200, np.uint8)
    out = blend(frame, [mark])
    assert (out[0] == 200).all() and (frame == 200).all()
    assert abs(int(out[4, 40, 0]) - 100) <= 1
    assert out[3 : mark.box[3], 2:52].max() == 255
    assert isinstance(mark, Patch)
