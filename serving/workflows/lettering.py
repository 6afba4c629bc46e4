"""Words on pictures: fonts, wrapping, safe file names, timecode."""

import re
import unicodedata
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

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


@lru_cache(maxsize=64)
def font(size: int, *, bold: bool = False) -> Font:
    """The font of a size in pixels."""
    return ImageFont.truetype(str(font_path(bold=bold)), max(6, size))


def wrapped(text: str, face: Font, width: int, lines: int = 0) -> list[str]:
    """`text` in lines of at most `width` pixels; words too long are broken; at most `lines` of
    them (0: any number), the last ending in "…" when there is more. Line ends are kept."""
    out: list[str] = []
    for paragraph in text.splitlines() or [""]:
        line = ""
        for word in paragraph.split():
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


def draw_label(
    picture: Image.Image,
    text: str,
    at: tuple[int, int],
    face: Font,
    *,
    anchor: str = "la",
    pad: int = 4,
    ink: Color = (255, 255, 255),
    box: Color = (0, 0, 0, 160),
) -> None:
    """Draw one line on a translucent box; `anchor` is Pillow's, such as "ra" or "ms"."""
    draw = ImageDraw.Draw(picture, "RGBA")
    left, top, right, bottom = draw.textbbox(at, text, font=face, anchor=anchor)
    draw.rectangle((left - pad, top - pad, right + pad, bottom + pad), fill=box)
    draw.text(at, text, fill=ink, font=face, anchor=anchor)


def timecode(frame: int, fps: float) -> str:
    """HH:MM:SS:FF, non-drop, of a frame counted from 0."""
    rate = max(1, round(fps))
    seconds, frames = divmod(frame, rate)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}:{frames:02}"


def file_name(title: str, fallback: str = "untitled") -> str:
    """A name of lower-case letters, digits and dashes that says what the title says."""
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:60] or fallback


def csv_cell(text: object) -> str:
    """`text` as a cell that no spreadsheet takes for a formula (OWASP, CSV injection)."""
    words = str(text)
    risky = words.lstrip()[:1] in tuple("=+-@") or words[:1] in ("\t", "\r")
    return f"'{words}" if risky else words
