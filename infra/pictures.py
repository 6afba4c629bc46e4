"""Pictures for people: contact sheets, strips of frames, line charts."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import wrap

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

Picture = npt.NDArray[np.uint8]

MARGIN = 24
GAP = 16
PAPER = (250, 249, 246)
PAPER_HEX = "#faf9f6"
INK = (38, 40, 44)
FRAME = (214, 212, 206)
LABEL_SIZE = 13
LABEL_LINES = 3
PALETTE = ("#2f6f9f", "#d1603d", "#4b8b5a", "#8a5a9e", "#b8902f", "#5b6670")


def contact_sheet(
    frames: Sequence[tuple[Picture, str]],
    columns: int = 6,
    tile_width: int = 200,
    lines: int = LABEL_LINES,
) -> Image.Image:
    """A grid of pictures (H, W, 3) uint8 with their labels below, on paper-white.

    Rows share one height, that of the tallest picture at `tile_width`; others stand on its
    baseline, next to their label. A label wraps to so many lines and ends in "…" when it is longer.
    """
    font = ImageFont.load_default(LABEL_SIZE)
    tiles = [_fit_width(frame, tile_width) for frame, _ in frames]
    columns = max(1, min(columns, len(tiles)))
    labels = [_wrap(label, font, tile_width, lines) for _, label in frames]
    line_height = LABEL_SIZE + 4
    label_height = max((len(label) for label in labels), default=0) * line_height + 6
    tile_height = max((tile.height for tile in tiles), default=0)
    rows = -(-len(tiles) // columns)
    width = 2 * MARGIN + columns * tile_width + (columns - 1) * GAP
    height = 2 * MARGIN + rows * (tile_height + label_height) + max(0, rows - 1) * GAP
    sheet = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(sheet)
    for index, (tile, label) in enumerate(zip(tiles, labels, strict=True)):
        left = MARGIN + index % columns * (tile_width + GAP)
        top = MARGIN + index // columns * (tile_height + label_height + GAP)
        y = top + tile_height - tile.height
        draw.rectangle((left - 1, y - 1, left + tile_width, y + tile.height), outline=FRAME)
        sheet.paste(tile, (left, y))
        for number, line in enumerate(label):
            draw.text((left, top + tile_height + 6 + number * line_height), line, INK, font)
    return sheet


def frame_strip(x_THWC: Picture, count: int = 0, gap: int = 2) -> Picture:
    """Frames side by side, evenly picked when `count` is given: (H, count·W + gaps, 3) uint8."""
    total = len(x_THWC)
    picked = np.linspace(0, total - 1, min(count or total, total)).round().astype(int)
    height = x_THWC.shape[1]
    bar = np.full((height, gap, 3), PAPER, dtype=np.uint8)
    pieces = [piece for index in picked for piece in (bar, x_THWC[index])][1:]
    return np.concatenate(pieces, axis=1)


def line_chart(
    series: Mapping[str, Sequence[tuple[float, float]]],
    path: Path,
    *,
    title: str = "",
    x_label: str = "step",
    y_label: str = "",
    log_y: bool = False,
) -> None:
    """Draw named lines of (x, y) points into a PNG at `path`; the file appears whole."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 3.8), dpi=140, layout="constrained")
    figure.set_facecolor(PAPER_HEX)
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_facecolor("white")
    for index, (name, points) in enumerate(series.items()):
        xs, ys = [x for x, _ in points], [y for _, y in points]
        marker = "o" if len(points) < 2 else None  # one point makes no line
        color = PALETTE[index % len(PALETTE)]
        axes.plot(xs, ys, marker=marker, color=color, linewidth=1.6, label=name)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.set_title(title, loc="left", fontsize=11)
    axes.grid(True, color="#e6e4df", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    if log_y:
        axes.set_yscale("log")
    if len(series) > 1:
        axes.legend(frameon=False, fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    canvas.print_figure(temporary, format="png")
    temporary.replace(path)


def _fit_width(picture: Picture, width: int) -> Image.Image:
    image = Image.fromarray(picture)
    return image.resize((width, max(1, round(image.height * width / image.width))))


def _wrap(
    label: str,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    width: int,
    most: int = LABEL_LINES,
) -> list[str]:
    """Lines of at most `width` pixels; the last one of too many ends in an ellipsis."""
    per_line = max(4, int(width / (font.getlength("abcdefghij") / 10)))
    lines = wrap(label, per_line)
    if len(lines) > most:
        lines = [*lines[: most - 1], lines[most - 1][: per_line - 1] + "…"]
    return lines
