"""A storyboard on paper: one panel a shot, as a picture and as a PDF."""

import io
from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape

from PIL import Image, ImageDraw

from serving.workflows.cut import Panel, some_frames
from serving.workflows.lettering import INK, PAPER, font, font_path, wrapped

COLUMNS, ROWS = 3, 2  # of a page
TILE, GAP, MARGIN = 360, 24, 32
TEXT, LINE = 14, 19
DIM, FRAME = (110, 114, 120), (214, 212, 206)
LINES = 4


def write_png(panels: Sequence[Panel], title: str, path: Path) -> None:
    """All shots on one sheet, each by its middle frame."""
    columns = min(COLUMNS, len(panels))
    tall = max(round(TILE * panel.height / panel.width) for panel in panels)
    row_height = tall + (LINES + 1) * LINE + GAP
    rows = -(-len(panels) // columns)
    width = 2 * MARGIN + columns * TILE + (columns - 1) * GAP
    sheet = Image.new("RGB", (width, 2 * MARGIN + 2 * LINE + rows * row_height), PAPER)
    draw = ImageDraw.Draw(sheet)
    (heading,) = wrapped(title, font(22, bold=True), width - 2 * MARGIN, lines=1)
    draw.text((MARGIN, MARGIN - 8), heading, INK, font(22, bold=True))
    for index, panel in enumerate(panels):
        left = MARGIN + index % columns * (TILE + GAP)
        top = MARGIN + 2 * LINE + index // columns * row_height
        picture = _middle(panel, TILE)
        y = top + tall - picture.height
        draw.rectangle((left - 1, y - 1, left + TILE, top + tall), outline=FRAME)
        sheet.paste(picture, (left, y))
        _words(draw, panel, left, top + tall + 6)
    sheet.save(path, format="PNG")


def _words(draw: ImageDraw.ImageDraw, panel: Panel, left: int, top: int) -> None:
    name = f"{panel.take.shot}  take {panel.take.number}"
    draw.text((left, top), name, INK, font(TEXT, bold=True))
    told = f"{panel.num_frames} frames  ·  seed {panel.take.seed}"
    draw.text((left + TILE, top), told, DIM, font(TEXT - 2), anchor="ra")
    lines = wrapped(panel.take.prompt, font(TEXT), TILE, lines=2)
    said = panel.notes.get("dialogue", "")
    spoken = wrapped(said, font(TEXT), TILE, lines=LINES - len(lines)) if said else []
    for number, (line, ink) in enumerate(
        [(line, INK) for line in lines] + [(line, DIM) for line in spoken], 1
    ):
        draw.text((left, top + number * LINE), line, ink, font(TEXT))


def _middle(panel: Panel, width: int) -> Image.Image:
    (picture,) = some_frames(panel.take.path, [panel.num_frames // 2])
    height = max(1, round(width * panel.height / panel.width))
    return picture.resize((width, height), Image.Resampling.LANCZOS)


def write_pdf(panels: Sequence[Panel], title: str, path: Path) -> None:
    """Pages of six panels, A4 landscape, with a header and page numbers."""
    from reportlab.lib.pagesizes import A4, landscape
    from reportlab.pdfbase import pdfmetrics
    from reportlab.pdfbase.ttfonts import TTFont
    from reportlab.pdfgen.canvas import Canvas

    for name, bold in (("Sheet", False), ("Sheet-Bold", True)):
        pdfmetrics.registerFont(TTFont(name, str(font_path(bold=bold))))
    pdfmetrics.registerFontFamily("Sheet", normal="Sheet", bold="Sheet-Bold")
    width, height = landscape(A4)
    canvas = Canvas(str(path), pagesize=(width, height), invariant=1)
    canvas.setTitle(title)
    pages = -(-len(panels) // (COLUMNS * ROWS))
    for page in range(pages):
        canvas.setFont("Sheet-Bold", 12)
        (heading,) = wrapped(title, font(12, bold=True), int(width) - 160, lines=1)
        canvas.drawString(36, height - 36, heading)
        canvas.setFont("Sheet", 9)
        canvas.drawRightString(width - 36, height - 36, f"{page + 1} / {pages}")
        for cell, panel in enumerate(panels[page * COLUMNS * ROWS :][: COLUMNS * ROWS]):
            column, row = cell % COLUMNS, cell // COLUMNS
            room = (width - 72 - (COLUMNS - 1) * 18) / COLUMNS
            tall = (height - 90) / ROWS
            _pdf_panel(
                canvas, panel, 36 + column * (room + 18), height - 54 - row * tall, room, tall
            )
        canvas.showPage()
    canvas.save()


def _pdf_panel(
    canvas: object, panel: Panel, left: float, top: float, room: float, tall: float
) -> None:
    """One panel whose upper left corner is at (left, top), in points."""
    from reportlab.lib.styles import ParagraphStyle
    from reportlab.lib.utils import ImageReader
    from reportlab.platypus import KeepInFrame, Paragraph

    picture_height = min(room * panel.height / panel.width, tall * 0.6)
    picture_width = picture_height * panel.width / panel.height
    data = io.BytesIO()
    _middle(panel, 640).save(data, format="JPEG", quality=88)
    data.seek(0)
    draw = canvas.drawImage  # type: ignore[attr-defined]
    draw(ImageReader(data), left, top - picture_height, picture_width, picture_height)
    canvas.setStrokeGray(0.83)  # type: ignore[attr-defined]
    canvas.rect(left, top - picture_height, picture_width, picture_height)  # type: ignore[attr-defined]
    style = ParagraphStyle("panel", fontName="Sheet", fontSize=8, leading=10)
    head = (
        f"<b>{escape(panel.take.shot)}</b>  take {panel.take.number}  ·  {panel.num_frames} frames"
    )
    # Paragraphs take a markup of their own, so what users wrote is escaped.
    parts = [head, escape(panel.take.prompt)]
    about = "  ·  ".join(panel.notes[k] for k in ("scene", "framing", "camera", "lens")
                         if panel.notes.get(k))  # fmt: skip
    parts += [f"<font color='#6e7278'>{escape(text)}</font>" for text in (about,) if text]
    dialogue = escape(panel.notes.get("dialogue", "")).replace("\n", "<br/>")
    parts += [f"“{dialogue}”"] if dialogue else []
    words = [Paragraph(part, style) for part in parts]
    space = tall - picture_height - 16
    frame = KeepInFrame(room, space, words, mode="shrink")
    _, used = frame.wrapOn(canvas, room, space)
    frame.drawOn(canvas, left, top - picture_height - 6 - used)
