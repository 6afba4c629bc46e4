"""The kind `lesson`: from its plan and takes to film, texts and a package for learning platforms.

Until someone approves, the film carries a word that says so and there is no package; approval
makes the files anew, of the same takes.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from infra.video import write_mp4
from serving.delivery import write_picture
from serving.workflows.deliverable import Findings, Takes
from serving.workflows.lesson import texts
from serving.workflows.lesson.cards import Cards
from serving.workflows.lesson.film import film_frames
from serving.workflows.lesson.plan import Labels, LessonPlan, lesson_shots
from serving.workflows.lesson.scorm import write_scorm
from serving.workflows.lesson.timing import FilmPart, count_words, film_parts, generated_s
from serving.workflows.plan import Plan, Shot


@dataclass(frozen=True)
class Lesson:
    """See `serving.workflows.deliverable.Deliverable`."""

    kind: str = "lesson"

    @property
    def plan_model(self) -> type[Plan]:
        return LessonPlan

    def shots(self, plan: LessonPlan) -> Sequence[Shot]:
        return lesson_shots(plan)

    def needs_child(self, _plan: Plan) -> bool:
        return True

    def check(self, plan: LessonPlan, takes: Takes) -> None:
        """Raises PlanError when the plan's words cannot be set in its font and size."""
        Cards.of(plan, takes.fonts).check()

    def files(self, plan: LessonPlan, takes: Takes, folder: Path) -> Findings:
        cards = Cards.of(plan, takes.fonts)
        parts = film_parts(plan, cards.source_pages)
        draft = plan.review and not takes.approved_by
        film = folder / ("lesson.draft.mp4" if draft else "lesson.mp4")
        write_mp4(film_frames(cards, takes, parts, draft=draft), plan.fps, film)
        poster = folder / "poster.jpeg"
        write_picture(Image.fromarray(cards.title()), poster, 90)
        captions = folder / f"captions.{plan.language}.vtt"
        chapters = folder / f"chapters.{plan.language}.vtt"
        texts.write_captions(plan, parts, captions)
        texts.write_chapters(plan, parts, chapters)
        reviewer = takes.approved_by
        texts.write_transcript_text(plan, parts, folder / "transcript.txt", reviewer)
        texts.write_transcript_page(plan, parts, folder / "transcript.html", reviewer)
        texts.write_sources(plan, folder / "sources.csv")
        texts.write_questions(plan, parts, folder / "quiz.json")
        if not draft:
            _publish(plan, parts, takes, folder, {
                "lesson.mp4": film, "captions.vtt": captions, "chapters.vtt": chapters,
                "poster.jpeg": poster,
            })  # fmt: skip
        return _findings(plan, parts, draft=draft)

    def counts(self, plan: LessonPlan) -> Mapping[str, int]:
        return {"segments": len(plan.segments)}


def _publish(
    plan: LessonPlan,
    parts: Sequence[FilmPart],
    takes: Takes,
    folder: Path,
    files: dict[str, Path],
) -> None:
    """What only a reviewed lesson has."""
    if plan.package is not None:
        takes.seal(list(files.values()))
        write_scorm(plan, parts, files, folder / "lesson.scorm12.zip")
    if plan.review:
        shown = {s.id: takes.chosen(s.id).sha256 for s in plan.segments}
        review = {"reviewer": takes.approved_by, "approved": shown}
        (folder / "review.json").write_text(
            json.dumps(review, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
        )


def _findings(plan: LessonPlan, parts: Sequence[FilmPart], *, draft: bool) -> Findings:
    notes = []
    for part in parts:
        if part.kind != "segment":
            continue
        segment, lasts_s = plan.segments[part.index], part.num_frames / plan.fps
        made_s = generated_s(segment.narration, plan.words_per_minute, segment.seconds)
        if lasts_s > made_s + 1 / plan.fps:
            verb = "is repeated" if segment.fit == "loop" else "holds its last frame"
            notes.append(
                f"Segment {segment.id!r} is read in {lasts_s:.1f} s and its picture lasts "
                f"{made_s:.1f} s: it {verb}."
            )
    foreign = sorted(set(Labels.model_fields) - plan.labels.model_fields_set)
    if foreign and plan.language.partition("-")[0].lower() != "en":
        notes.append(
            f"The lesson is in {plan.language!r}, and these of its labels are in English: "
            f"{', '.join(foreign)}."
        )
    if draft:
        notes.append("This is a draft: the package is made when a reviewer approves.")
    metrics = {
        "seconds": round(parts[-1].end / plan.fps, 3),
        "words": round(sum(count_words(segment.narration) for segment in plan.segments)),
        "questions": sum(segment.quiz is not None for segment in plan.segments),
        "reviewed": not draft,
    }
    return Findings(metrics=metrics, notes=notes)


LESSON = Lesson()
