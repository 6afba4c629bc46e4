"""The report's page: one HTML file that carries its pictures and plays without a server."""

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from flows.demo.figures import GOALS, Figure, in_order, shown, verdict
from flows.demo.page_style import CSS
from flows.demo.showreel import Take

INLINE_BYTES = 300_000  # a larger video stays a file beside the page
MAX_SIDE, JPEG_QUALITY = 1600, 86


@dataclass(frozen=True, kw_only=True)
class Page:
    """What the page shows. `times` are (label, seconds, is a step within the stage before)."""

    title: str
    lead: str
    takes: Sequence[Take]
    sheets: Sequence[tuple[str, str, Path]]  # (heading, sentence, picture)
    charts: Sequence[tuple[str, Path]]
    figures: Mapping[str, Figure]
    times: Sequence[tuple[str, float, bool]]
    trained_on: Sequence[str]
    footer: Sequence[str] = field(default_factory=tuple)


def html(page: Page, folder: Path) -> str:
    """The page as it is written into `folder`; links are relative to it."""
    sections = [
        f"<h1>{escape(page.title)}</h1>",
        f'<p class="lead">{escape(page.lead)}</p>',
        _reel(page.takes, folder),
        *(_sheet(*sheet) for sheet in page.sheets),
        _figures(page.figures),
        "<h2>What it was trained on</h2>",
        *(f"<p>{escape(line)}</p>" for line in page.trained_on),
        _charts(page.charts),
        _times(page.times),
        f"<footer>{'<br>'.join(map(escape, page.footer))}</footer>",
    ]
    head = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(page.title)}</title><style>{CSS}</style></head>"
    )
    return f"{head}\n<body><main>\n{chr(10).join(sections)}\n</main></body></html>\n"


def _reel(takes: Iterable[Take], folder: Path) -> str:
    legend = (
        '<p class="soft">Below each video, its time: '
        '<span class="key" style="background:var(--new)"></span> made by the model, '
        '<span class="key" style="background:var(--given)"></span> given to it.</p>'
    )
    return f'{legend}<div class="reel">{"".join(_take(take, folder) for take in takes)}</div>'


def _take(take: Take, folder: Path) -> str:
    if take.path.suffix == ".mp4":
        source = video_uri(take.path, folder)
        screen = f'<video src="{source}" autoplay loop muted playsinline controls></video>'
    else:
        screen = f'<img src="{picture_uri(take.path)}" alt="{escape(take.prompt)}">'
    return (
        f'<figure class="take"><div class="screen">{screen}</div>{_seam(take.given)}'
        f"<figcaption><b>{escape(take.kind)}</b><q>{escape(take.prompt)}</q>"
        f"<small>{escape(take.says)}</small></figcaption></figure>"
    )


def _seam(given: tuple[float, float] | None) -> str:
    """The video's time as a line, the given part in another colour."""
    start, end = given or (0.0, 0.0)
    parts = [("", start), ("given", end - start), ("", 1 - end)]
    spans = (
        f'<i class="{name}" style="flex:{share:.3f}"></i>' for name, share in parts if share > 0
    )
    return f'<div class="seam">{"".join(spans)}</div>'


def _sheet(heading: str, sentence: str, picture: Path) -> str:
    return (
        f"<h2>{escape(heading)}</h2><p>{escape(sentence)}</p>"
        f'<img src="{picture_uri(picture)}" alt="{escape(heading)}">'
    )


def _figures(figures: Mapping[str, Figure]) -> str:
    rows = []
    for key, figure in in_order(figures).items():
        goal, judged = GOALS[key], verdict(key, figure)
        note = f"<small><code>{key}</code>, n = {figure.n}. {escape(figure.note)}</small>"
        rows.append(
            f"<tr><td>{escape(goal.what)}{note}</td>"
            f'<td class="number">{shown(figure.value)}</td>'
            f'<td class="number">{escape(goal.bound)}</td>'
            f'<td class="{judged.lower()}">{judged}</td></tr>'
        )
    return (
        "<h2>Figures</h2><table><thead><tr><th>what</th><th>value</th><th>target</th><th></th>"
        f"</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    )


def _charts(charts: Iterable[tuple[str, Path]]) -> str:
    pictures = (
        f'<figure style="margin:0"><img src="{picture_uri(path)}" alt="{escape(name)}">'
        f"<figcaption><small>{escape(name)}</small></figcaption></figure>"
        for name, path in charts
    )
    return f'<h2>How it learned</h2><div class="two">{"".join(pictures)}</div>'


def _times(times: Sequence[tuple[str, float, bool]]) -> str:
    longest = max((seconds for _, seconds, _ in times), default=1) or 1
    rows = (
        f'<span class="{"step" if is_step else ""}">{escape(label)}</span>'
        f'<span><i style="width:{100 * seconds / longest:.1f}%"></i></span>'
        f'<span class="number">{seconds:.0f} s</span>'
        for label, seconds, is_step in times
    )
    return f'<h2>Where the time went</h2><div class="times">{"".join(rows)}</div>'


def video_uri(path: Path, folder: Path) -> str:
    """The video itself when it is small, else a link relative to `folder`."""
    if path.stat().st_size < INLINE_BYTES:
        return f"data:video/mp4;base64,{base64.b64encode(path.read_bytes()).decode()}"
    return path.relative_to(folder).as_posix()


def picture_uri(path: Path) -> str:
    """The picture as a JPEG of a size that a page can use."""
    from PIL import Image

    with Image.open(path) as opened:
        image = opened.convert("RGB")
    image.thumbnail((MAX_SIDE, MAX_SIDE))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=JPEG_QUALITY, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
