"""The plan of a lesson: segments with narration, what is written on them, questions, sources.

title: The water cycle
language: en
segments:
  - id: evaporation
    title: Evaporation
    prompt: sun over the sea, vapour rising
    narration: Heat turns water into vapour, which rises.
"""

import re
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from serving.fields import Prompt, Seconds, Seed, parse_size
from serving.workflows.lesson.timing import film_parts, generated_s
from serving.workflows.plan import (
    Line,
    Name,
    Part,
    Plan,
    Shot,
    Size,
    check_film,
    check_font,
)

MAX_SEGMENTS, MAX_SOURCES, MAX_CHOICES = 60, 40, 6


def _language(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8}){0,3}", value):
        raise ValueError("must be a language tag such as en, pt-BR or ar")
    return value


def _web_address(value: str) -> str:
    # Anything else, such as javascript:, would be a trap behind a link in the transcript.
    if not re.fullmatch(r"https?://[^\s<>\"'`\\]+", value):
        raise ValueError("must be an http or https address")
    return value


def _words(value: str) -> str:
    """Line ends are spaces to a reader's voice; control characters are nothing to it."""
    text = " ".join(value.split())
    if not text:
        raise ValueError("is empty; put it in words")
    if any(ord(char) < 32 or char in "\x7f\x85\ufffe\uffff" for char in text):
        raise ValueError("contains control characters")
    return text


Words = Annotated[Prompt, AfterValidator(_words)]
Label = Annotated[Line, AfterValidator(_words)]
Language = Annotated[str, Field(max_length=40), AfterValidator(_language)]
WebAddress = Annotated[str, Field(max_length=2000), AfterValidator(_web_address)]


class Source(Part):
    """Where something that the lesson says can be looked up."""

    title: Line = Field(min_length=1)
    url: WebAddress | None = None
    licence: Line = ""


class Question(Part):
    """Asked when its segment ends. `answer` counts from 1."""

    question: Line = Field(min_length=1)
    choices: tuple[Label, ...] = Field(min_length=2, max_length=MAX_CHOICES)
    answer: Annotated[int, Field(ge=1)]
    explanation: Line = ""

    @model_validator(mode="after")
    def _answer_exists(self) -> "Question":
        if self.answer > len(self.choices):
            raise ValueError(f"answer is {self.answer}, and there are {len(self.choices)} choices")
        return self


class Segment(Part):
    """One thing that is shown while something is said.

    title: its chapter, and the card before it. on_screen: words at the head of the picture.
    history: it shows what nobody filmed, so it carries a label.
    seconds: how much is generated at most. fit: what the picture does when that is shorter than
    the narration: its last frame holds, or it is a loop.
    """

    id: Name
    title: Line = Field(min_length=1)
    prompt: Prompt
    narration: Words
    on_screen: Line = ""
    history: bool = False
    seconds: Seconds = 6
    fit: Literal["hold", "loop"] = "hold"
    seed: Seed | None = None
    asset: Name | None = None
    quiz: Question | None = None


class Labels(Part):
    """Words of the lesson that are not its author's, to be given in the lesson's language."""

    reconstruction: Label = "AI reconstruction"
    generated: Label = "The pictures of this lesson were made by an AI model."
    draft: Label = "DRAFT: not reviewed"
    sources: Label = "Sources"
    chapters: Label = "Chapters"
    transcript: Label = "Transcript"
    picture: Label = "Picture"
    on_screen: Label = "On screen"
    question: Label = "Question"
    answer: Label = "Answer"
    check: Label = "Check"
    go_on: Label = "Continue"
    right: Label = "Right."
    wrong: Label = "Not quite."
    score: Label = "Score"
    reviewed_by: Label = "Reviewed by"


class LessonPlan(Plan):
    """words_per_minute: the reading speed that decides how long each segment lasts.

    pass_mark: percentage of questions to be answered rightly, in the SCORM package.
    font: one of the plan's fonts; without it DejaVu Sans.
    """

    size: Size = "1280x720"
    language: Language = "en"
    objective: Line = ""
    audience: Line = ""
    words_per_minute: Annotated[float, Field(ge=40, le=300)] = 130
    segments: tuple[Segment, ...] = Field(min_length=1, max_length=MAX_SEGMENTS)
    sources: tuple[Source, ...] = Field((), max_length=MAX_SOURCES)
    labels: Labels = Labels()
    pass_mark: Annotated[int, Field(ge=0, le=100)] = 60
    package: Literal["scorm12"] | None = "scorm12"
    font: Name | None = None
    review: bool = True


def lesson_shots(plan: LessonPlan) -> Sequence[Shot]:
    """A shot for each segment, no longer than its narration.

    Raises:
        PlanError: the font is not among the plan's, or the film is too long.
    """
    num_frames = film_parts(plan, len(plan.sources))[-1].end
    check_film(num_frames, *parse_size(plan.size, even=True), "segments")
    check_font(plan, plan.font, "font")
    return [
        Shot(
            id=segment.id,
            field=f"segments[{index}]",
            # A loop is cut to its narration, so asking for more seconds would not lengthen it.
            lasts=f"segments[{index}].{'fit' if segment.fit == 'loop' else 'seconds'}",
            prompt=segment.prompt,
            seconds=generated_s(segment.narration, plan.words_per_minute, segment.seconds),
            seed=segment.seed,
            asset=segment.asset,
            loop=segment.fit == "loop",
        )
        for index, segment in enumerate(plan.segments)
    ]
