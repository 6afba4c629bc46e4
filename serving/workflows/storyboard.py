"""Storyboard: a script or a shot list to an animatic, contact sheets and timelines.

    title: Harbour
    shots:
      - {id: s010, prompt: Mara on the pier, seconds: 4, takes: 2, camera: dolly in}
      - {id: s020, prompt: she turns, seconds: 2, continuity: previous, dialogue: It's late.}

or `script: harbour.fountain` in place of shots.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from serving.fields import (
    MAX_SECONDS,
    MIN_SECONDS,
    Prompt,
    Seconds,
    Seed,
    Text,
    parse_size,
    plain_text,
)
from serving.workflows import animatic, contact_pages, contact_sheet, plates, timeline
from serving.workflows.cut import Panel, panels
from serving.workflows.deliverable import Findings, Takes
from serving.workflows.fountain import Beat, Scene, parse
from serving.workflows.lettering import Faces, file_name
from serving.workflows.plan import (
    MAX_TAKES,
    SEEDS,
    Line,
    Name,
    Number,
    Part,
    Plan,
    PlanError,
    Shot,
    check_asset,
    check_film,
    check_font,
)
from serving.workflows.typesetting import LetteringError, check_glyphs

SPOKEN_WORDS_PER_S, READ_WORDS_PER_S = 2.5, 4.0
SHORTEST_S, LONGEST_S = 2.0, 12.0  # of a shot whose length a script implies
LIKELY_SIZE = "1280x720"  # where the model's own is asked for
SHOWN = ("scene", "framing", "camera", "lens", "dialogue")  # fields that are set as they are

Count = Annotated[int, Number, Field(ge=1, le=MAX_TAKES)]


class Character(Part):
    """Someone in the film: `words` join the prompt of each shot that names the character, and
    `reference` is the first frame where the shot has no other."""

    id: Name
    words: Text = ""
    reference: Name | None = None


class StoryShot(Part):
    """A shot of the list.

    continuity: "previous" begins with the last frame of the shot before.
    reference: an asset that is the first frame.
    plate: also deliver it as numbered PNG frames.
    """

    id: Name
    prompt: Prompt
    seconds: Seconds = 4
    scene: Line = ""
    framing: Line = ""
    camera: Line = ""
    lens: Line = ""
    dialogue: Text = ""
    characters: tuple[Name, ...] = ()
    takes: Count | None = None
    seed: Seed | None = None
    continuity: Literal["cut", "previous"] = "cut"
    reference: Name | None = None
    plate: bool = False


class StoryboardPlan(Plan):
    """Either `shots` or a Fountain `script`.

    takes: how many of each shot that does not say.
    continuity: of a script's shots; "scene" lets each shot of a scene go on from the one before.
    slate_s: seconds of the slate before each shot of the animatic; 0 leaves slates out.
    plates: all shots also as numbered PNG frames.
    font: one of the plan's fonts, for slates and sheets; without it DejaVu Sans.
    """

    fps: Literal[24, 25, 30, 50, 60] = 24
    script: Annotated[str, Field(max_length=200_000), AfterValidator(plain_text)] = ""
    shots: Annotated[tuple[StoryShot, ...], Field(max_length=200)] = ()
    characters: Annotated[tuple[Character, ...], Field(max_length=50)] = ()
    takes: Count = 1
    continuity: Literal["cut", "scene"] = "cut"
    slate_s: Annotated[float, Number, Field(ge=0, le=5, allow_inf_nan=False)] = 0.5
    plates: bool = False
    font: Name | None = None

    @model_validator(mode="after")
    def _one_source(self) -> "StoryboardPlan":
        if bool(self.script.strip()) == bool(self.shots):
            raise PlanError("shots", "or a script is needed: send one of the two")
        return self

    def listed(self) -> tuple[StoryShot, ...]:
        """The shots, of the list or the script."""
        return self.shots or tuple(script_shots(self.script, self.continuity))


def script_shots(script: str, continuity: str) -> list[StoryShot]:
    """A shot for each paragraph of action, with what is said after it.

    Raises:
        PlanError: there is nothing to shoot in it.
    """
    shots: list[StoryShot] = []
    for scene in parse(script):
        for index, beat in enumerate(scene.beats):
            shots.append(
                StoryShot(
                    id=f"s{10 * (len(shots) + 1):03}",
                    prompt=_prompt(scene, beat)[:4000],
                    seconds=beat_seconds(beat),
                    scene=scene.heading[:300],
                    dialogue="\n".join(f"{line.character}: {line.words}" for line in beat.lines),
                    continuity="previous" if continuity == "scene" and index else "cut",
                )
            )
    if not shots:
        raise PlanError("script", "has no action and no dialogue; write what is seen")
    return shots


def beat_seconds(beat: Beat) -> float:
    """How long a beat is: as noted, or as long as it takes to be said or read."""
    if beat.seconds is not None:
        return min(max(beat.seconds, MIN_SECONDS), MAX_SECONDS)
    spoken = sum(len(line.words.split()) for line in beat.lines)
    guess = max(spoken / SPOKEN_WORDS_PER_S, len(beat.action.split()) / READ_WORDS_PER_S)
    return min(max(round(2 * guess) / 2, SHORTEST_S), LONGEST_S)


def _prompt(scene: Scene, beat: Beat) -> str:
    action = beat.action or " and ".join(
        f"{name} speaks" for name in dict.fromkeys(line.character for line in beat.lines)
    )
    return f"{scene.heading}. {action}" if scene.heading else action


class Storyboard:
    """The deliverable."""

    kind = "storyboard"

    @property
    def plan_model(self) -> type[Plan]:
        return StoryboardPlan

    def shots(self, plan: StoryboardPlan) -> Sequence[Shot]:
        people = {person.id: person for person in plan.characters}
        check_font(plan, plan.font, "font")
        for index, person in enumerate(plan.characters):
            check_asset(plan, person.reference, f"characters[{index}].reference")
        shots: list[Shot] = []
        seconds = sum(shot.seconds for shot in plan.listed())
        size = parse_size(plan.size or LIKELY_SIZE, even=True)
        check_film(2 * seconds * plan.fps, *size, "shots" if plan.shots else "script")
        for index, listed in enumerate(plan.listed()):
            here = f"shots[{index}]"
            for name in listed.characters:
                if name not in people:
                    known = ", ".join(people) or "none"
                    raise PlanError(f"{here}.characters", f"{name!r} is not among: {known}")
            if listed.continuity == "previous" and not shots:
                raise PlanError(f"{here}.continuity", "is 'previous', but no shot comes before")
            check_asset(plan, listed.reference, f"{here}.reference")
            follows = listed.continuity == "previous"
            if follows and listed.reference is not None:
                raise PlanError(here, "has a reference and goes on from the shot before; choose")
            cast = [people[name] for name in listed.characters]
            first = listed.reference or next((p.reference for p in cast if p.reference), None)
            shots.append(
                Shot(
                    id=listed.id,
                    field=here if plan.shots else "script",
                    lasts=f"{here}.seconds" if plan.shots else "script",
                    prompt=_in_words(listed, cast),
                    seconds=listed.seconds,
                    # A script's ids count its paragraphs; its seeds must outlive an inserted one.
                    seed=listed.seed if plan.shots else _seed(plan, listed),
                    takes=listed.takes or plan.takes,
                    parent=shots[-1].id if follows else None,
                    asset=None if follows else first,
                )
            )
        return shots

    def needs_child(self, plan: StoryboardPlan) -> bool:
        return plan.font is not None

    def check(self, plan: StoryboardPlan, takes: Takes) -> None:
        """Raises PlanError when the font lacks letters of the title or of what is said of a shot.
        Prompts, which are the model's, are shown as far as it has them."""
        faces = _faces(plan, takes)
        said = [("title", plan.title)]
        for index, shot in enumerate(plan.listed()):
            for name in SHOWN:
                field = f"shots[{index}].{name}" if plan.shots else "script"
                said.append((field, getattr(shot, name)))
        for field, text in said:
            try:
                check_glyphs(text, faces.plain)
            except LetteringError as error:
                raise PlanError(field, str(error)) from error

    def files(self, plan: StoryboardPlan, takes: Takes, folder: Path) -> Findings:
        listed, faces = {shot.id: shot for shot in plan.listed()}, _faces(plan, takes)
        found = panels(
            [takes.chosen(shot_id) for shot_id in listed],
            [_notes(shot) for shot in listed.values()],
            faces.legible,
        )
        name = file_name(plan.title, "storyboard")
        fps = int(plan.fps)
        animatic.write_cut(found, fps, folder / "cut.mp4")
        animatic.write_animatic(
            found, plan.title, fps, plan.slate_s, folder / "animatic.mp4", faces
        )
        contact_sheet.write_png(found, plan.title, folder / "contact_sheet.png", faces)
        contact_pages.write_pdf(found, plan.title, folder / "contact_sheet.pdf", faces)
        timeline.write_timelines(found, takes, plan.title, fps, folder / name)
        timeline.write_csv(found, fps, folder / "shots.csv")
        for panel in found:
            if plan.plates or listed[panel.take.shot].plate:
                plates.write_sequence(panel.take.path, folder / "plates" / panel.take.shot)
        seconds = sum(panel.num_frames for panel in found) / fps
        metrics = {"shots": len(found), "seconds": round(seconds, 3)}
        return Findings(metrics=metrics, notes=[_left_out(panel) for panel in found if _cut(panel)])

    def counts(self, plan: Any) -> Mapping[str, int]:
        return {"seconds": round(sum(shot.seconds for shot in plan.listed()))}


def _faces(plan: StoryboardPlan, takes: Takes) -> Faces:
    return Faces.of(None if plan.font is None else takes.fonts[plan.font])


def _cut(panel: Panel) -> int:
    """How many characters of the prompt cannot be shown."""
    return len(panel.take.prompt) - len(panel.words)


def _left_out(panel: Panel) -> str:
    return (
        f"{panel.take.shot}: slates and sheets leave out {_cut(panel)} characters of its prompt, "
        "for which the font has no glyph; give a font that has them"
    )


def _seed(plan: StoryboardPlan, shot: StoryShot) -> int:
    words = f"{plan.seed}/{shot.prompt}"
    return int.from_bytes(hashlib.sha256(words.encode()).digest()[:8]) % SEEDS


def _in_words(shot: StoryShot, cast: Sequence[Character]) -> str:
    """The prompt: framing, what is seen, who they are, camera and lens."""
    people = [person.words for person in cast if person.words]
    parts = [shot.framing, shot.prompt, *people, shot.camera, shot.lens]
    return ". ".join(part.strip().rstrip(".") for part in parts if part.strip())


def _notes(shot: StoryShot) -> dict[str, str]:
    """What is told of a shot beside its take."""
    return {
        "scene": shot.scene,
        "framing": shot.framing,
        "camera": shot.camera,
        "lens": shot.lens,
        "dialogue": shot.dialogue,
        "characters": " ".join(shot.characters),
        "continuity": shot.continuity,
    }


storyboard = Storyboard()
