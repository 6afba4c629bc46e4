"""A storyboard on one sheet: a picture of all shots; `contact_pages` has it as a PDF."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from serving.workflows.cut import Panel, some_frames
from serving.workflows.lettering import INK, PAPER, Faces, draw_lines, wrapped

COLUMNS = 3
TILE, GAP, MARGIN = 360, 24, 32
TEXT, LINE = 14, 19
DIM, FRAME = (110, 114, 120), (214, 212, 206)
LINES = 4


def write_png(panels: Sequence[Panel], title: str, path: Path, faces: Faces) -> None:
    """All shots on one sheet, each by its middle frame."""
    columns = min(COLUMNS, len(panels))
    tall = max(round(TILE * panel.height / panel.width) for panel in panels)
    row_height = tall + (LINES + 1) * LINE + GAP
    rows = -(-len(panels) // columns)
    width = 2 * MARGIN + columns * TILE + (columns - 1) * GAP
    sheet = Image.new("RGB", (width, 2 * MARGIN + 2 * LINE + rows * row_height), PAPER)
    draw = ImageDraw.Draw(sheet)
    face, room = faces.heading(title, 22), width - 2 * MARGIN
    draw_lines(draw, wrapped(title, face, room, lines=1), (MARGIN, MARGIN - 8), room, face, INK, 0)
    for index, panel in enumerate(panels):
        left = MARGIN + index % columns * (TILE + GAP)
        top = MARGIN + 2 * LINE + index // columns * row_height
        picture = middle(panel, TILE)
        y = top + tall - picture.height
        draw.rectangle((left - 1, y - 1, left + TILE, top + tall), outline=FRAME)
        sheet.paste(picture, (left, y))
        _words(draw, panel, left, top + tall + 6, faces)
    sheet.save(path, format="PNG")


def _words(draw: ImageDraw.ImageDraw, panel: Panel, left: int, top: int, faces: Faces) -> None:
    bold, small, plain = faces.font(TEXT, bold=True), faces.font(TEXT - 2), faces.font(TEXT)
    told = f"{panel.num_frames} frames  ·  seed {panel.take.seed}"
    name = f"{panel.take.shot}  take {panel.take.number}"
    if bold.getlength(name) + small.getlength(told) > TILE - TEXT:
        told = f"{panel.num_frames} fr"
    (name,) = wrapped(name, bold, TILE - TEXT - int(small.getlength(told)), lines=1)
    draw.text((left, top), name, INK, bold)
    draw.text((left + TILE, top), told, DIM, small, anchor="ra")
    lines = wrapped(panel.words, plain, TILE, lines=2)
    draw_lines(draw, lines, (left, top + LINE), TILE, plain, INK, LINE)
    if said := faces.legible(panel.notes.get("dialogue", "")):
        below = (left, top + (1 + len(lines)) * LINE)
        spoken = wrapped(said, plain, TILE, lines=LINES - len(lines))
        draw_lines(draw, spoken, below, TILE, plain, DIM, LINE)


def middle(panel: Panel, width: int) -> Image.Image:
    """The panel's middle frame, `width` pixels wide."""
    (picture,) = some_frames(panel.take.path, [panel.num_frames // 2])
    height = max(1, round(width * panel.height / panel.width))
    return picture.resize((width, height), Image.Resampling.LANCZOS)
