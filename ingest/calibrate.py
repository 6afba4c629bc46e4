"""Thresholds for a user's own footage, from cuts that the user has labelled.

Each film is decoded once: its candidates are kept with the evidence for each, and a recipe is a
choice among them. The gain that is reported is cross-validated by film, so that it holds for films
that were not labelled.
"""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from infra.errors import InputError, NotFoundError
from ingest.finder import find_candidates
from ingest.recipe import ShotRecipe
from ingest.shots import Boundary, decide

SEARCHED = (
    "cut_ratio", "cut_min_score", "cut_min_peak", "cut_newness", "cut_staying", "ramp_contrast",
    "novelty_min", "novelty_max_min", "fade_min_drop",
)  # fmt: skip
FACTORS = (0.55, 0.7, 0.85, 1.2, 1.45, 1.8)
ROUNDS = 2
FOLDS = 5
TOLERANCE = 2  # frames
LEAST_GAIN = 1e-3  # of F1; a smaller one is no reason to leave the defaults


@dataclass(frozen=True, kw_only=True)
class Example:
    """One labelled film: the first frame of each shot but the first, and what detectors offer."""

    frames: Sequence[int]
    candidates: Sequence[Boundary]


@dataclass(frozen=True, kw_only=True)
class Score:
    """How boundaries compare with labels; add them up over films."""

    hits: int = 0
    missed: int = 0
    false: int = 0

    def __add__(self, other: "Score") -> "Score":
        return Score(
            hits=self.hits + other.hits,
            missed=self.missed + other.missed,
            false=self.false + other.false,
        )

    @property
    def f1(self) -> float:
        return 2 * self.hits / max(2 * self.hits + self.missed + self.false, 1)


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """The recipe for all labels; `after` is cross-validated by film, `before` is not fitted."""

    recipe: ShotRecipe
    before: Score
    after: Score
    changed: Mapping[str, tuple[float, float]]
    """Fields that differ from the recipe before: (old, new)."""

    @property
    def gains(self) -> bool:
        """False when films that were not labelled would gain nothing."""
        return self.after.f1 > self.before.f1 + LEAST_GAIN


def read_labels(path: Path) -> dict[Path, list[int]]:
    """A user's labels: JSON `{file: [frames]}`, or CSV rows `file,frame` with or without a header.

    Frames are the first of each shot but the film's first; paths start at the labels' folder.

    Raises:
        NotFoundError: no such file, or a film that it names is missing.
        InputError: it is neither form, or holds no film, or a frame is not a positive number.
    """
    if not path.is_file():
        raise NotFoundError(f"there is no file {path}; name a JSON or CSV file of labelled cuts")
    text = path.read_text(encoding="utf-8-sig")
    raw = _from_csv(text, path) if path.suffix.lower() == ".csv" else _from_json(text, path)
    if not raw:
        raise InputError(f"{path} labels no film; give one entry for each film, even without cuts")
    labels: dict[Path, list[int]] = {}
    for name, frames in raw.items():
        film = path.parent / name
        if not film.is_file():
            raise NotFoundError(f"{path} labels {name!r}, and there is no file {film}")
        wrong = [f for f in frames if isinstance(f, bool) or not isinstance(f, int) or f < 1]
        if wrong:
            raise InputError(
                f"{path}: {name!r} has the frame {wrong[0]!r}; a shot that is not the film's "
                "first starts at frame 1 or later"
            )
        labels[film] = sorted(set(frames))
    return labels


def _from_json(text: str, path: Path) -> dict[str, list[Any]]:
    try:
        raw = json.loads(text)
    except ValueError as error:
        raise InputError(f"{path} is not JSON ({error}); use {{file: [frames]}}, or CSV") from None
    if not isinstance(raw, dict) or not all(isinstance(row, list) for row in raw.values()):
        raise InputError(f"{path} has to hold {{file: [frames]}}")
    return raw


def _from_csv(text: str, path: Path) -> dict[str, list[Any]]:
    labels: dict[str, list[Any]] = {}
    for number, row in enumerate(csv.reader(text.splitlines()), start=1):
        if not row or (number == 1 and [cell.strip() for cell in row] == ["file", "frame"]):
            continue
        if len(row) != 2 or not row[1].strip().lstrip("-").isdigit():
            raise InputError(f"{path}, line {number}: {','.join(row)!r} is not `file,frame`")
        labels.setdefault(row[0], []).append(int(row[1]))
    return labels


def read_examples(labels: Mapping[Path, Sequence[int]], recipe: ShotRecipe) -> list[Example]:
    """Decode every labelled film, once.

    Raises:
        InputError: a film cannot be read, or is shorter than its labels say.
    """
    examples = []
    for path, frames in labels.items():
        num_frames, candidates = find_candidates(path, recipe)
        if frames and frames[-1] >= num_frames:
            raise InputError(
                f"{path} has {num_frames} frames, and its labels name frame {frames[-1]}"
            )
        examples.append(Example(frames=frames, candidates=candidates))
    return examples


def calibrate(examples: Sequence[Example], recipe: ShotRecipe) -> Calibration:
    """Search thresholds around the recipe's, from cached evidence.

    Raises:
        InputError: fewer than two films, with which nothing can be cross-validated.
    """
    if len(examples) < 2:
        raise InputError(
            f"{len(examples)} labelled film cannot tell a gain from luck; label two or more"
        )
    folds = min(FOLDS, len(examples))
    after = Score()
    for fold in range(folds):
        fitted = _search([e for n, e in enumerate(examples) if n % folds != fold], recipe)
        after += score(examples[fold::folds], fitted)
    final = _search(examples, recipe)
    pairs = {name: (getattr(recipe, name), getattr(final, name)) for name in SEARCHED}
    return Calibration(
        recipe=final,
        before=score(examples, recipe),
        after=after,
        changed={name: (old, new) for name, (old, new) in pairs.items() if old != new},
    )


def _search(examples: Sequence[Example], recipe: ShotRecipe) -> ShotRecipe:
    """All fields at once, then one at a time, around the recipe's; a tie stays with the earlier.

    A boundary has to pass every threshold, so moving them one by one alone would not find those
    that fail two.
    """
    best, best_f1 = recipe, score(examples, recipe).f1
    for names in [SEARCHED, *([name] for name in SEARCHED * ROUNDS)]:
        start = recipe if len(names) == 1 else best
        for factor in FACTORS:
            tried = _with(best, {name: getattr(start, name) * factor for name in names})
            f1 = score(examples, tried).f1
            if f1 > best_f1 + 1e-9:
                best, best_f1 = tried, f1
    return _simplest(examples, recipe, best, best_f1)


def _simplest(
    examples: Sequence[Example], recipe: ShotRecipe, best: ShotRecipe, best_f1: float
) -> ShotRecipe:
    """The same with every field back at the recipe's that gains nothing."""
    for name in SEARCHED:
        tried = _with(best, {name: getattr(recipe, name)})
        if score(examples, tried).f1 >= best_f1 - 1e-9:
            best = tried
    return best


def _with(recipe: ShotRecipe, values: Mapping[str, float]) -> ShotRecipe:
    changes: dict[str, Any] = {name: float(f"{value:.3g}") for name, value in values.items()}
    return replace(recipe, **changes)


def score(examples: Sequence[Example], recipe: ShotRecipe) -> Score:
    """The recipe's boundaries against the labels; each matches at most one of the other."""
    total = Score()
    for example in examples:
        found = decide(example.candidates, recipe)
        free = list(example.frames)
        hits = 0
        for boundary in found:
            near = [f for f in free if boundary.start - TOLERANCE <= f <= boundary.end + TOLERANCE]
            if near:
                free.remove(near[-1])
                hits += 1
        total += Score(hits=hits, missed=len(free), false=len(found) - hits)
    return total
