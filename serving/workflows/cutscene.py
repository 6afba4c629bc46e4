"""Cutscenes: shots that lead to others, by themselves or by the player's choice, with subtitles."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import webvtt
from pydantic import Field

from serving.fields import Prompt, Seconds, Seed
from serving.workflows.captions import LINE_CHARS, SHORTEST_CUE_S, caption_lines, split_words
from serving.workflows.plan import Line, Name, Number, Part, PlanError

READ_CHARS_PER_S = 17.0  # subtitles that are read comfortably; BBC and Netflix guides
MAX_CHOICES = 6

At = Annotated[float, Number, Field(ge=0, le=60, allow_inf_nan=False)]


class Spoken(Part):
    """A line of dialogue; `at` is seconds into the shot, else it follows the one before."""

    speaker: Line = ""
    text: Annotated[Prompt, Field(max_length=500)]
    at: At | None = None


class Choice(Part):
    """What the player may choose at the end of a shot."""

    text: Annotated[Line, Field(min_length=1)]
    to: Name


class SceneShot(Part):
    """A shot of a cutscene.

    next: the shot that follows; without it and without choices it is the next in the list.
    end: the cutscene is over after it.
    """

    id: Name
    prompt: Prompt
    seconds: Seconds = 4
    seed: Seed | None = None
    dialogue: Annotated[tuple[Spoken, ...], Field(max_length=50)] = ()
    next: Name | None = None
    choices: Annotated[tuple[Choice, ...], Field(max_length=MAX_CHOICES)] = ()
    end: bool = False
    continuity: Literal["cut", "previous"] = "cut"


Shots = Sequence[SceneShot]


def exits(shots: Shots, index: int) -> list[str]:
    """The shots that may follow; none after an end."""
    shot = shots[index]
    if shot.choices:
        return [choice.to for choice in shot.choices]
    if shot.next is not None:
        return [shot.next]
    last = shot.end or index + 1 == len(shots)
    return [] if last else [shots[index + 1].id]


def check(shots: Shots, where: str) -> None:
    """Every exit leads somewhere, every shot is reached, an end is reached.

    Raises:
        PlanError: one of these does not hold.
    """
    ids = [shot.id for shot in shots]
    for index, shot in enumerate(shots):
        here = f"{where}.shots[{index}]"
        if ids.index(shot.id) != index:
            raise PlanError(f"{here}.id", f"{shot.id!r} is used twice in this cutscene")
        if sum((shot.next is not None, bool(shot.choices), shot.end)) > 1:
            raise PlanError(here, "has more than one of next, choices and end; keep one")
        for target in exits(shots, index):
            if target not in ids:
                raise PlanError(here, f"leads to {target!r}; the shots are {', '.join(ids)}")
    reached = _reached(shots)
    lost = [shot.id for shot in shots if shot.id not in reached]
    if lost:
        raise PlanError(f"{where}.shots", f"never come to {lost[0]!r}; lead to it or drop it")
    if not any(not exits(shots, index) for index in range(len(shots))):
        raise PlanError(f"{where}.shots", "never end; mark a shot with end: true")


def _reached(shots: Shots) -> set[str]:
    by_id = {shot.id: index for index, shot in enumerate(shots)}
    reached, waiting = {shots[0].id}, [0]
    while waiting:
        for target in exits(shots, waiting.pop()):
            if target not in reached:
                reached.add(target)
                waiting.append(by_id[target])
    return reached


def parent_of(shots: Shots, index: int, where: str) -> str | None:
    """The shot whose last frame this one begins with.

    Raises:
        PlanError: no earlier shot of the list leads to it.
    """
    if shots[index].continuity == "cut":
        return None
    for earlier in range(index):
        if shots[index].id in exits(shots, earlier):
            return shots[earlier].id
    raise PlanError(
        f"{where}.shots[{index}].continuity", "is 'previous', but no earlier shot leads to it"
    )


def cues(dialogue: Sequence[Spoken], seconds: float) -> list[tuple[float, float, str]]:
    """(start, end, payload) within the shot. Long lines are several cues; lines too many for the
    shot are squeezed."""
    wishes = [reading_s(line) for line in dialogue]
    free_s = sum(w for w, line in zip(wishes, dialogue, strict=True) if line.at is None)
    squeeze = min(1.0, seconds / free_s) if free_s else 1.0
    found, clock = [], 0.0
    for number, (line, wish) in enumerate(zip(dialogue, wishes, strict=True)):
        start = min(clock if line.at is None else line.at, max(0.0, seconds - 0.1))
        later = [other.at for other in dialogue[number + 1 :] if other.at is not None]
        limit = min([seconds, *(at for at in later if at > start)])
        clock = min(start + wish * squeeze, limit)
        pieces = _pieces(line.text)
        step = max(clock - start, 0.05 * len(pieces)) / sum(map(len, pieces))
        for piece in pieces:
            end = start + step * len(piece)
            found.append((start, end, cue_text(line.speaker, piece)))
            start = end
    return sorted(found, key=lambda cue: cue[0])  # WebVTT wants them in order


def reading_s(line: Spoken) -> float:
    """How long a line takes to be read."""
    return max(len(line.text) / READ_CHARS_PER_S, SHORTEST_CUE_S)


def _pieces(text: str) -> list[str]:
    """The text of each cue: as it was broken where that fits, else in lines of our own."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if len(lines) <= 2 and all(len(line) <= LINE_CHARS for line in lines):
        return ["\n".join(lines)]
    return [caption_lines(piece) for piece in split_words(" ".join(lines))]


def cue_text(speaker: str, text: str) -> str:
    """The payload of a WebVTT cue: escaped, without blank lines, which would end the cue."""
    words = "\n".join(part.strip() for part in text.splitlines() if part.strip())
    return f"<v {escape(speaker)}>{escape(words)}</v>" if speaker else escape(words)


def escape(text: str) -> str:
    """& < > as WebVTT writes them; without ">" no text can be taken for a cue's times."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def write_subtitles(dialogue: Sequence[Spoken], seconds: float, path: Path) -> None:
    """A WebVTT file; one without cues where nothing is said."""
    file = webvtt.WebVTT()
    for start, end, text in cues(dialogue, seconds):
        file.captions.append(webvtt.Caption(_clock(start), _clock(end), text))
    file.save(str(path))


def _clock(seconds: float) -> str:
    minutes, millis = divmod(round(1000 * seconds), 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{millis // 1000:02}.{millis % 1000:03}"


def graph(shots: Shots, durations: Mapping[str, float], title: str) -> dict[str, Any]:
    """What a player of the cutscene needs: where to begin, each shot's files and exits."""
    nodes = {}
    for index, shot in enumerate(shots):
        following = exits(shots, index)
        nodes[shot.id] = {
            "video": f"{shot.id}.mp4",
            "subtitles": f"{shot.id}.vtt",
            "seconds": round(durations[shot.id], 4),
            "next": following[0] if following and not shot.choices else None,
            "choices": [{"text": choice.text, "to": choice.to} for choice in shot.choices],
            "end": not following,
        }
    return {"title": title, "start": shots[0].id, "shots": nodes}


def write_graph(found: Mapping[str, Any], path: Path) -> None:
    path.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
