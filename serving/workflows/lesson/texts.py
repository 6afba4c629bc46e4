"""What goes beside the film: captions, chapters, transcript, sources and questions.

Captions and chapters are files of their own, since one WebVTT file cannot be both.
"""

import csv
import html
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from webvtt import Caption, WebVTT

from serving.workflows.captions import caption_lines
from serving.workflows.lesson.plan import LessonPlan, Segment
from serving.workflows.lesson.timing import Cue, FilmPart, caption_cues, chapters
from serving.workflows.lettering import csv_cell
from serving.workflows.typesetting import runs_right_to_left

# Browsers tell the time of a film four times a second; a question must find its own picture still.
BEFORE_END_S = 0.4
PAGE_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
PAGE_STYLE = (
    "body{font:1.1rem/1.5 sans-serif;max-width:42rem;margin:2rem auto;padding:0 1rem;"
    "overflow-wrap:anywhere}"
    "h2{margin-top:2rem}.label{background:#ffc400;color:#000;padding:.1rem .4rem}"
    ".draft{background:#961818;color:#fff;padding:.3rem .6rem}"
)


def write_captions(plan: LessonPlan, parts: Sequence[FilmPart], path: Path) -> None:
    """The narration as WebVTT."""
    cues = (
        Cue(start_s=cue.start_s, end_s=cue.end_s, text=caption_lines(cue.text))
        for cue in caption_cues(plan, parts)
    )
    _write_vtt(((None, cue) for cue in cues), path)


def write_chapters(plan: LessonPlan, parts: Sequence[FilmPart], path: Path) -> None:
    """A WebVTT cue for each segment, from its card on, with the segment's id."""
    _write_vtt(((segment.id, cue) for segment, cue in chapters(plan, parts)), path)


def _write_vtt(cues: Iterable[tuple[str | None, Cue]], path: Path) -> None:
    # In a cue's text `<` begins a tag, and `-->` another cue.
    captions = [
        Caption(
            timestamp(cue.start_s),
            timestamp(cue.end_s),
            html.escape(cue.text, quote=False),
            identifier=name,
        )
        for name, cue in cues
    ]
    with path.open("w", encoding="utf-8") as file:
        WebVTT(captions=captions).write(file)


def timestamp(seconds: float) -> str:
    """HH:MM:SS.mmm"""
    minutes, millis = divmod(round(seconds * 1000), 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{millis // 1000:02}.{millis % 1000:03}"


def clock(seconds: float) -> str:
    """M:SS, as players show it."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"


def transcript(plan: LessonPlan, parts: Sequence[FilmPart]) -> Iterator[tuple[str, str]]:
    """The lesson in words as (kind, text): all that is said, written and seen (WCAG 1.2.3)."""
    labels = plan.labels
    yield "title", plan.title
    if plan.objective:
        yield "text", plan.objective
    if plan.audience:
        yield "text", plan.audience
    yield "text", labels.generated
    for segment, cue in chapters(plan, parts):
        yield "chapter", f"{clock(cue.start_s)}  {segment.title}"
        if segment.history:
            yield "label", labels.reconstruction
        yield "text", f"[{labels.picture}: {' '.join(segment.prompt.split())}]"
        if segment.on_screen:
            yield "text", f"[{labels.on_screen}: {segment.on_screen}]"
        yield "text", segment.narration
        if segment.quiz is not None:
            yield "text", f"{labels.question}: {segment.quiz.question}"
            for number, choice in enumerate(segment.quiz.choices, 1):
                yield "text", f"{number}. {choice}"
    if plan.sources:
        yield "chapter", labels.sources


def write_transcript_text(
    plan: LessonPlan, parts: Sequence[FilmPart], path: Path, reviewer: str
) -> None:
    """The transcript as plain text."""
    lines: list[str] = []
    for kind, text in transcript(plan, parts):
        lines += ["", text, ""] if kind == "chapter" else [f"({text})" if kind == "label" else text]
    for number, source in enumerate(plan.sources, 1):
        lines.append(" ".join(filter(None, [f"[{number}]", source.title, source.url])))
    lines += ["", _review_line(plan, reviewer)]
    path.write_text("\n".join(lines).strip() + "\n", encoding="utf-8")


def write_transcript_page(
    plan: LessonPlan, parts: Sequence[FilmPart], path: Path, reviewer: str
) -> None:
    """The transcript as a page of its own, which loads nothing."""
    direction = "rtl" if runs_right_to_left(plan.title) else "ltr"
    head = (
        f'<!DOCTYPE html>\n<html lang="{html.escape(plan.language)}" dir="{direction}">\n'
        f'<head><meta charset="utf-8"><title>{html.escape(plan.title)}</title>\n'
        f'<meta http-equiv="Content-Security-Policy" content="{PAGE_POLICY}">\n'
        '<meta name="viewport" content="width=device-width">\n'
        f"<style>{PAGE_STYLE}</style></head>\n<body>\n"
    )
    draft = "" if reviewer or not plan.review else f'<p class="draft">{_draft(plan)}</p>\n'
    review = f"<p>{html.escape(_review_line(plan, reviewer))}</p>\n" if reviewer else ""
    page = f"{head}{draft}{transcript_html(plan, parts)}{review}</body></html>\n"
    path.write_text(page, encoding="utf-8")


def transcript_html(plan: LessonPlan, parts: Sequence[FilmPart], *, heading: bool = True) -> str:
    """The transcript and the sources as HTML elements; `heading`: with the lesson's title."""
    shapes = {
        "title": "<h1>{}</h1>", "chapter": "<h2>{}</h2>", "text": "<p>{}</p>",
        "label": '<p><strong class="label">{}</strong></p>',
    }  # fmt: skip
    lines = [
        shapes[kind].format(html.escape(text))
        for kind, text in transcript(plan, parts)
        if heading or kind != "title"
    ]
    if plan.sources:
        lines.append("<ol>")
        for source in plan.sources:
            words = html.escape(source.title)
            if source.url:
                words = f'<a rel="noopener" href="{html.escape(source.url)}">{words}</a>'
            licence = f" ({html.escape(source.licence)})" if source.licence else ""
            lines.append(f"<li>{words}{licence}</li>")
        lines.append("</ol>")
    return "\n".join(lines) + "\n"


def _draft(plan: LessonPlan) -> str:
    return html.escape(plan.labels.draft)


def _review_line(plan: LessonPlan, reviewer: str) -> str:
    if reviewer:
        return f"{plan.labels.reviewed_by} {reviewer}"
    return plan.labels.draft if plan.review else ""


def write_sources(plan: LessonPlan, path: Path) -> None:
    """sources.csv: number, title, url, licence."""
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["number", "title", "url", "licence"])
        for number, source in enumerate(plan.sources, 1):
            cells = (source.title, source.url or "", source.licence)
            rows.writerow([number, *map(csv_cell, cells)])


def questions(plan: LessonPlan, parts: Sequence[FilmPart]) -> list[dict[str, Any]]:
    """Each question with the second of the film at which it is asked; answers count from 1."""
    found = []
    for segment, cue in chapters(plan, parts):
        if segment.quiz is not None:
            asked_s = cue.end_s - max(BEFORE_END_S, 1 / plan.fps)
            found.append(_question(segment, round(asked_s, 3)))
    return found


def _question(segment: Segment, asked_s: float) -> dict[str, Any]:
    assert segment.quiz is not None
    quiz = segment.quiz
    return {
        "id": segment.id,
        "at_s": asked_s,
        "question": quiz.question,
        "choices": list(quiz.choices),
        "answer": quiz.answer,
        "explanation": quiz.explanation,
    }


def write_questions(plan: LessonPlan, parts: Sequence[FilmPart], path: Path) -> None:
    """quiz.json."""
    body = {"format": "reelwright.quiz/1", "questions": questions(plan, parts)}
    path.write_text(json.dumps(body, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
