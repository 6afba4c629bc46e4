"""What a run's page shows: Markdown built from plain values, pictures carried inside it.

A picture travels as a `data:` URI inside Markdown. The Prefect UI shows that as it is, so no
further server has to keep pictures; an image artifact would print the whole URI below it.
"""

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from prefect.artifacts import create_markdown_artifact, create_table_artifact

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_SIDE = 1600
JPEG_QUALITY = 82


def publish(key: str, markdown: str, description: str = "") -> None:
    """Show `markdown` on the page of this run, and as the newest version of `key`."""
    create_markdown_artifact(markdown, key=key, description=description)


def publish_table(key: str, rows: Sequence[Mapping[str, Any]], description: str = "") -> None:
    """Show `rows` as a table artifact."""
    create_table_artifact([dict(row) for row in rows], key=key, description=description)


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; columns after the first are aligned right when they hold numbers."""
    rows = [list(row) for row in rows]
    numeric = [
        bool(rows) and all(isinstance(row[i], int | float) for row in rows)
        for i in range(len(header))
    ]
    lines = [header, ["---:" if is_number else "---" for is_number in numeric], *rows]
    return "\n".join("| " + " | ".join(_cell(value) for value in line) + " |" for line in lines)


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return str(value).replace("|", "\\|").replace("\n", " ")


def readable(uri: str) -> str:
    """A file's URI as the path that a person knows it by; another kind of URI stays."""
    return unquote(uri.removeprefix("file://")) if uri.startswith("file://") else uri


def picture(image: "Image", label: str) -> str:
    """Markdown that shows `image`, scaled down to what a page can use."""
    image = image.convert("RGB")
    image.thumbnail((MAX_SIDE, MAX_SIDE))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=JPEG_QUALITY, optimize=True)
    encoded = base64.b64encode(buffer.getvalue()).decode()
    return f"![{label}](data:image/jpeg;base64,{encoded})"


def picture_file(path: Path, label: str) -> str:
    """Markdown that shows the picture in `path`."""
    from PIL import Image

    with Image.open(path) as image:
        return picture(image, label)
