"""Words on pictures: fonts, wrapping, safe file names, timecode."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from PIL import ImageDraw, ImageFont

from serving.workflows.typesetting import legible, runs_right_to_left

Color = tuple[int, int, int] | tuple[int, int, int, int]
Font = ImageFont.FreeTypeFont

PAPER: Color = (250, 249, 246)
INK: Color = (38, 40, 44)


def font_path(*, bold: bool = False) -> Path:
    """DejaVu Sans, which Matplotlib carries: Latin, Greek, Cyrillic, Arabic, Hebrew, symbols."""
    found = find_spec("matplotlib")  # importing it would take longer than all the lettering
    assert found is not None and found.origin is not None
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return Path(found.origin).parent / "mpl-data" / "fonts" / "ttf" / name


# Between words; French sets a blank inside its quotes and before some signs, where no line ends.
UNBROKEN = re.compile(r"(?<!«)\s+(?![»?!:;])")


@dataclass(frozen=True)
class Faces:
    """The font files of a deliverable: a plan's own for all words, or DejaVu Sans, two weights."""

    plain: Path
    bold: Path
    is_own: bool = False

    @staticmethod
    def of(own: Path | None) -> "Faces":
        if own is not None:
            return Faces(own, own, is_own=True)
        return Faces(font_path(), font_path(bold=True))

    def font(self, size: int, *, bold: bool = False) -> Font:
        """The font of a size in pixels."""
        return _sized(self.bold if bold else self.plain, max(6, size))

    def heading(self, text: str, size: int) -> Font:
        """The bold font, or the plain one where that alone has all of the text's letters."""
        return self.font(size, bold=legible(text, self.bold) == text)

    def legible(self, text: str) -> str:
        """`text` without what the fonts have no glyph for."""
        return legible(text, self.plain)


@lru_cache(maxsize=64)
def _sized(path: Path, size: int) -> Font:
    return ImageFont.truetype(str(path), size)


def needs_shaping(text: str) -> bool:
    """Whether letters join, stack or run backward, which PDF programs leave to the writer."""
    return any(
        unicodedata.bidirectional(char) in ("R", "AL") or unicodedata.category(char) in ("Mn", "Mc")
        for char in text
    )


def draw_lines(
    draw: ImageDraw.ImageDraw,
    lines: Sequence[str],
    at: tuple[int, int],
    width: int,
    face: Font,
    ink: Color,
    line_px: int,
) -> None:
    """Lines of one text in a column of `width` whose upper left corner is `at`. What runs from
    right to left stands at the column's right."""
    backward = runs_right_to_left("".join(lines))
    x, anchor = (at[0] + width, "ra") if backward else (at[0], "la")
    for number, line in enumerate(lines):
        place = (x, at[1] + number * line_px)
        draw.text(place, line, ink, face, anchor, direction="rtl" if backward else None)


def wrapped(text: str, face: Font, width: int, lines: int = 0) -> list[str]:
    """`text` in lines of at most `width` pixels; words too long are broken; at most `lines` of
    them (0: any number), the last ending in "…" when there is more. Line ends are kept."""
    out: list[str] = []
    for paragraph in text.splitlines() or [""]:
        line = ""
        for word in UNBROKEN.split(paragraph.strip()):
            for piece in _pieces(word, face, width):
                longer = f"{line} {piece}" if line else piece
                if line and face.getlength(longer) > width:
                    out.append(line)
                    line = piece
                else:
                    line = longer
        out.append(line)
    if lines and len(out) > lines:
        last = out[lines - 1]
        while last and face.getlength(f"{last}…") > width:
            last = last[:-1]
        out = [*out[: lines - 1], f"{last}…"]
    return out


def _pieces(word: str, face: Font, width: int) -> list[str]:
    pieces = [""]
    for char in word:
        if pieces[-1] and face.getlength(pieces[-1] + char) > width:
            pieces.append("")
        pieces[-1] += char
    return pieces


def timecode(frame: int, fps: float) -> str:
    """HH:MM:SS:FF, non-drop, of a frame counted from 0."""
    rate = max(1, round(fps))
    seconds, frames = divmod(frame, rate)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}:{frames:02}"


def file_name(title: str, fallback: str = "untitled") -> str:
    """A name of lower-case letters, digits and dashes that says what the title says."""
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain)[:60].strip("-") or fallback


def csv_cell(text: object) -> str:
    """`text` as a cell that no spreadsheet takes for a formula (OWASP, CSV injection)."""
    words = str(text)
    # Spreadsheets look through blanks and invisible signs, and take wide forms for the narrow.
    seen = (char for char in words if not char.isspace() and unicodedata.category(char) != "Cf")
    first = unicodedata.normalize("NFKC", next(seen, ""))
    risky = first in tuple("=+-@") or words[:1] in ("\t", "\r", "\n")
    return f"'{words}" if risky else words
