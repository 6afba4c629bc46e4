"""Words on pictures: which glyphs a font has, where lines break, which size fits a box.

    block = fit("Run free", font, width=600, height=200, largest=90, smallest=24)
    block.draw(canvas, x, y, fill)

Lines are shaped by Raqm (HarfBuzz and FriBidi), so Arabic joins and runs from right to left.
Sizes are in pixels.
"""

import struct
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from fontTools.ttLib import TTFont, TTLibError
from PIL import ImageDraw, ImageFont, features

from infra.errors import InputError

LINE_HEIGHT = 1.2
SHRINK = 0.93  # from one size that is tried to the next
RIGHT_TO_LEFT = ("R", "AL")
Align = Literal["start", "center"]
Color = tuple[int, ...]  # L, RGB or RGBA


class LetteringError(InputError):
    """Text that cannot be set; the message goes on from the name of a field."""


def runs_right_to_left(text: str) -> bool:
    """By the first character that has a direction, as the Unicode bidi algorithm begins (P2)."""
    for char in text:
        direction = unicodedata.bidirectional(char)
        if direction == "L":
            return False
        if direction in RIGHT_TO_LEFT:
            return True
    return False


def is_wide(char: str) -> bool:
    """Whether lines may break on both sides of it, as in Chinese and Japanese."""
    return unicodedata.east_asian_width(char) in "WF"


def check_glyphs(text: str, font: Path) -> None:
    """Raises LetteringError, naming the character, unless the font has all of the text's."""
    covered = _characters(font)
    for char in text:
        if char.isspace() or unicodedata.category(char) in ("Cc", "Cf") or ord(char) in covered:
            continue
        if 0xFE00 <= ord(char) <= 0xFE0F:  # variation selectors may be ignored
            continue
        name = unicodedata.name(char, "a character without a name")
        raise LetteringError(
            f"has {char!r} (U+{ord(char):04X}, {name}), for which the font has no glyph; "
            "give a font that has it, or other words"
        )
    if not features.check("raqm") and any(_needs_shaping(char) for char in text):
        raise LetteringError(
            "needs shaping from right to left or of marks, and FriBidi is not on this machine; "
            "install libfribidi"
        )


def _needs_shaping(char: str) -> bool:
    return unicodedata.bidirectional(char) in RIGHT_TO_LEFT or unicodedata.category(char) == "Mn"


def legible(text: str, font: Path) -> str:
    """`text` without the characters that the font has no glyph for, for words that may be shown in
    part."""
    covered = _characters(font)
    return "".join(
        char
        for char in text
        if char.isspace() or ord(char) in covered or unicodedata.category(char) == "Cf"
    )


@lru_cache(maxsize=16)
def _characters(font: Path) -> frozenset[int]:
    try:
        # Given a name, fontTools leaves the file open when it is no font.
        with font.open("rb") as handle, TTFont(handle, fontNumber=0, lazy=True) as opened:
            return frozenset(opened.getBestCmap() or ())
    except (TTLibError, OSError, ValueError, KeyError, AssertionError, struct.error) as error:
        raise LetteringError(f"uses a font that cannot be read: {error}") from error


@lru_cache(maxsize=64)
def face(font: Path, size: int) -> ImageFont.FreeTypeFont:
    """The font at a size.

    Raises:
        LetteringError: the file is no font.
    """
    try:
        return ImageFont.truetype(font, size)
    except OSError as error:
        raise LetteringError(f"uses a font that cannot be read: {error}") from error


@dataclass(frozen=True, kw_only=True)
class Block:
    """Lines of one size. `width` is that of the longest line, `height` that of all of them.

    broken: a word was longer than a line.
    """

    lines: tuple[str, ...]
    font: Path
    size: int
    width: int
    height: int
    line_px: int
    right_to_left: bool
    broken: bool = False

    def draw(
        self,
        canvas: ImageDraw.ImageDraw,
        x: int,
        y: int,
        fill: Color,
        *,
        box_width: int | None = None,
        align: Align = "start",
    ) -> None:
        """Draw with the top left corner of the box at (x, y); `box_width` defaults to `width`.

        "start" is the left, and the right for what runs from right to left.
        """
        width = self.width if box_width is None else box_width
        loaded = face(self.font, self.size)
        where, anchor = x, "la"
        if align == "center":
            where, anchor = x + width // 2, "ma"
        elif self.right_to_left:
            where, anchor = x + width, "ra"
        for index, line in enumerate(self.lines):
            canvas.text(
                (where, y + index * self.line_px), line, fill, loaded, anchor,
                direction=_direction(self.right_to_left),
            )  # fmt: skip


def fit(text: str, font: Path, *, width: int, height: int, largest: int, smallest: int) -> Block:
    """The text in the largest size at which its lines fit the box and no word is broken.

    A word that is longer than the box at the smallest size is broken between letters.

    Raises:
        LetteringError: it does not fit at the smallest, or the font lacks a glyph.
    """
    check_glyphs(text, font)
    size = float(max(largest, smallest))
    while True:
        block = set_lines(text, font, round(size), width)
        at_end = round(size) <= smallest
        if block.height <= height and block.width <= width and (at_end or not block.broken):
            return block
        if at_end:
            raise LetteringError(
                f"does not fit: {len(text)} characters need {block.width}x{block.height} pixels "
                f"at the smallest readable size, {smallest} px, and have {width}x{height}; "
                "shorten it, or ask for a larger size of picture"
            )
        size = max(size * SHRINK, smallest)


def set_lines(text: str, font: Path, size: int, width: int) -> Block:
    """The text broken into lines of at most `width`; its own line ends stay."""
    loaded, backward = face(font, size), runs_right_to_left(text)
    lines: list[str] = []
    for paragraph in text.split("\n"):
        lines.extend(_broken(paragraph, loaded, width, backward))
    pieces = (piece for paragraph in text.split("\n") for piece in _pieces(paragraph))
    longest = max(_length(line, loaded, backward) for line in lines)
    line_px = round(sum(loaded.getmetrics()) * LINE_HEIGHT / 1.1)
    return Block(
        lines=tuple(lines),
        font=font,
        size=size,
        width=round(longest + 0.5),
        height=line_px * len(lines),
        line_px=line_px,
        right_to_left=backward,
        broken=any(_length(piece.rstrip(), loaded, backward) > width for piece in pieces),
    )


def _broken(
    paragraph: str, loaded: ImageFont.FreeTypeFont, width: int, backward: bool
) -> Iterator[str]:
    line = ""
    for piece in _pieces(paragraph):
        if _length((line + piece).rstrip(), loaded, backward) <= width:
            line += piece
            continue
        if line.strip():
            yield line.rstrip()
        line = piece.lstrip()
        while _length(line.rstrip(), loaded, backward) > width and len(line) > 1:
            # A word that is longer than a line: broken between letters.
            end = _longest_start(line, loaded, width, backward)
            yield line[:end]
            line = line[end:]
    yield line.rstrip()


def _pieces(paragraph: str) -> Iterator[str]:
    """What a line may break after: words with the space behind them, and wide characters."""
    piece = ""
    for char in paragraph:
        closes = unicodedata.category(char) in ("Pe", "Pf", "Po", "Mn", "Mc")
        after_space = bool(piece) and piece[-1].isspace() and not char.isspace()
        if char in "»?!:;" or piece.rstrip().endswith("«"):
            after_space = False  # French sets a blank there, where no line ends
        beside_wide = bool(piece) and (is_wide(piece[-1]) or is_wide(char))
        if after_space or (beside_wide and not closes and not char.isspace()):
            yield piece
            piece = ""
        piece += char
    if piece:
        yield piece


def _longest_start(line: str, loaded: ImageFont.FreeTypeFont, width: int, backward: bool) -> int:
    end = 1
    for index in range(1, len(line) + 1):
        if index < len(line) and unicodedata.category(line[index]) in ("Mn", "Mc", "Me", "Cf"):
            continue  # a mark stays with its letter
        if _length(line[:index], loaded, backward) > width:
            break
        end = index
    return end


def _length(line: str, loaded: ImageFont.FreeTypeFont, backward: bool) -> float:
    return loaded.getlength(line, direction=_direction(backward))


def _direction(backward: bool) -> str | None:
    return "rtl" if backward else None
