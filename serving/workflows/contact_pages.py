"""A storyboard on paper: a PDF of six panels a page."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from PIL import Image, ImageDraw

from serving.workflows.contact_sheet import middle
from serving.workflows.cut import Panel
from serving.workflows.lettering import Color, Faces, draw_lines, needs_shaping, wrapped

COLUMNS, ROWS = 3, 2  # of a page
EDGE, GAP, HEAD = 36, 18, 54  # points
TEXT, LEADING = 8, 10
TITLE = 12
FINE = 4  # pixels of measuring, and of words that are set as pictures, for a point
INK: Color = (0, 0, 0)
DIM: Color = (110, 114, 120)


def write_pdf(panels: Sequence[Panel], title: str, path: Path, faces: Faces) -> None:
    """Pages of A4 landscape, with a header and page numbers.

    Words are text where the program that shows them can set them: what runs from right to left or
    has to be shaped, and all that is in a plan's own font, is a picture of them.
    """
    from reportlab.lib.pagesizes import A4, landscape
    from reportlab.pdfbase import pdfmetrics
    from reportlab.pdfbase.ttfonts import TTFont
    from reportlab.pdfgen.canvas import Canvas

    own = Faces.of(None)  # a plan's own font is opened by Pillow alone
    for name, font in (("Sheet", own.plain), ("Sheet-Bold", own.bold)):
        pdfmetrics.registerFont(TTFont(name, str(font)))
    pdfmetrics.registerFontFamily("Sheet", normal="Sheet", bold="Sheet-Bold")
    width, height = landscape(A4)
    canvas = Canvas(str(path), pagesize=(width, height), invariant=1)
    canvas.setTitle(title)
    a_page = COLUMNS * ROWS
    pages = -(-len(panels) // a_page)
    room, tall = (width - 2 * EDGE - (COLUMNS - 1) * GAP) / COLUMNS, (height - 90) / ROWS
    for page in range(pages):
        canvas.setFont("Sheet", 9)
        canvas.drawRightString(width - EDGE, height - EDGE, f"{page + 1} / {pages}")
        _title(canvas, title, faces, width - 2 * EDGE - 60, height - EDGE)
        for cell, panel in enumerate(panels[page * a_page :][:a_page]):
            left = EDGE + cell % COLUMNS * (room + GAP)
            _panel(canvas, panel, left, height - HEAD - cell // COLUMNS * tall, room, tall, faces)
        canvas.showPage()
    canvas.save()


def _title(canvas: Any, title: str, faces: Faces, room: float, base: float) -> None:
    face = faces.heading(title, TITLE * FINE)
    lines = wrapped(title, face, int(room * FINE), lines=1)
    if not _is_pictured(title, faces):
        canvas.setFont("Sheet-Bold" if face is faces.font(TITLE * FINE, bold=True) else "Sheet",
                       TITLE)  # fmt: skip
        canvas.drawString(EDGE, base, lines[0])
        return
    leading = round(TITLE * 1.4)
    picture = Image.new("RGB", (int(room) * FINE, leading * FINE), "white")
    draw_lines(ImageDraw.Draw(picture), lines, (0, 0), picture.width, face, INK, 0)
    _place(canvas, picture, EDGE, base - 4, int(room), leading)


def _panel(
    canvas: Any, panel: Panel, left: float, top: float, room: float, tall: float, faces: Faces
) -> None:
    """One panel whose upper left corner is at (left, top), in points."""
    picture_height = min(room * panel.height / panel.width, tall * 0.6)
    picture_width = picture_height * panel.width / panel.height
    data = io.BytesIO()
    middle(panel, 640).save(data, format="JPEG", quality=88)
    _place(canvas, data, left, top - picture_height, picture_width, picture_height)
    canvas.setStrokeGray(0.83)
    canvas.rect(left, top - picture_height, picture_width, picture_height)
    head = f"{panel.take.shot}  take {panel.take.number}  ·  {panel.num_frames} frames"
    about = "  ·  ".join(
        panel.notes[name]
        for name in ("scene", "framing", "camera", "lens")
        if panel.notes.get(name)
    )
    said = panel.notes.get("dialogue", "")
    if said and not _is_pictured(said, faces):
        said = f"“{said}”"
    free = int((tall - picture_height - 16) / LEADING)
    heading = _broken(head, faces, room, 1)
    asides, speech = _broken(about, faces, room, 2), _broken(said, faces, room, 3)
    left_over = max(2, free - len(heading) - len(asides) - len(speech))
    y = top - picture_height - 6
    for lines, ink, bold in (
        (heading, INK, True),
        (_broken(panel.words, faces, room, left_over), INK, False),
        (asides, DIM, False),
        (speech, INK, False),
    ):
        if lines:
            _words(canvas, lines, left, y, room, faces, ink, bold=bold)
            y -= LEADING * len(lines)


def _broken(text: str, faces: Faces, room: float, most: int) -> list[str]:
    shown = faces.legible(text)
    face = faces.font(TEXT * FINE)
    return wrapped(shown, face, int(room * FINE), lines=most) if shown.strip() else []


def _is_pictured(text: str, faces: Faces) -> bool:
    return faces.is_own or needs_shaping(text)


def _words(
    canvas: Any,
    lines: Sequence[str],
    left: float,
    top: float,
    room: float,
    faces: Faces,
    ink: Color,
    *,
    bold: bool,
) -> None:
    """Lines from `top` down, as text or as a picture of it."""
    from reportlab.lib.styles import ParagraphStyle
    from reportlab.platypus import Paragraph

    height = LEADING * len(lines)
    if _is_pictured("".join(lines), faces):
        picture = Image.new("RGB", (int(room) * FINE, height * FINE), "white")
        face = faces.font(TEXT * FINE)
        draw_lines(ImageDraw.Draw(picture), lines, (0, 0), picture.width, face, ink, LEADING * FINE)
        _place(canvas, picture, left, top - height, int(room), height)
        return
    color = "#" + bytes(ink[:3]).hex()
    name = "Sheet-Bold" if bold else "Sheet"
    style = ParagraphStyle("words", fontName=name, fontSize=TEXT, leading=LEADING)
    # Paragraphs take a markup of their own, so what users wrote is escaped. They are wider than
    # what was measured, so that no line breaks again.
    marked = "<br/>".join(escape(line) for line in lines)
    paragraph = Paragraph(f"<font color='{color}'>{marked}</font>", style)
    _, used = paragraph.wrap(room + GAP, 10 * height)
    paragraph.drawOn(canvas, left, top - used)


def _place(
    canvas: Any, picture: Any, left: float, bottom: float, width: float, height: float
) -> None:
    """`picture`: a Pillow picture, which loses nothing, or a JPEG file in memory."""
    from reportlab.lib.utils import ImageReader

    canvas.drawImage(ImageReader(picture), left, bottom, width, height)
