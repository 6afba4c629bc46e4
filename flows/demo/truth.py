"""Scores the demo against its truth. Pure functions; the truth's form is `world.truth_of`'s."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flows.demo.captions import VOCABULARY, matches, parse_words
from flows.demo.scene import Attributes

Boundary = Mapping[str, Any]  # {"kind", "start", "end"} in frames
CUT, GRADUAL = "cut", "gradual"


@dataclass(frozen=True, kw_only=True)
class Detection:
    """Counts of a detector's hits and errors; add them up over films."""

    hits: int = 0
    missed: int = 0
    false: int = 0

    def __add__(self, other: "Detection") -> "Detection":
        return Detection(
            hits=self.hits + other.hits,
            missed=self.missed + other.missed,
            false=self.false + other.false,
        )

    @property
    def precision(self) -> float:
        return self.hits / max(self.hits + self.false, 1)

    @property
    def recall(self) -> float:
        return self.hits / max(self.hits + self.missed, 1)

    @property
    def f1(self) -> float:
        return 2 * self.hits / max(2 * self.hits + self.missed + self.false, 1)


@dataclass(frozen=True, kw_only=True)
class Rate:
    """A share of trials that went right, with its 95 % interval."""

    right: int
    n: int

    @property
    def value(self) -> float:
        return self.right / max(self.n, 1)

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's score interval at 95 % (Wilson 1927): sound near 0 and 1 and for few trials."""
        if not self.n:
            return 0.0, 1.0
        z2 = 1.959964**2
        middle = (self.right + z2 / 2) / (self.n + z2)
        half = math.sqrt(z2 * (self.right * (self.n - self.right) / self.n + z2 / 4)) / (
            self.n + z2
        )
        return max(0.0, middle - half), min(1.0, middle + half)


def boundary_f1(
    predicted: Sequence[Boundary], truth: Sequence[Boundary], tolerance_frames: int = 2
) -> dict[str, Detection]:
    """Shot boundaries of one film against the truth, for cuts and graduals apart.

    A prediction sits at its start if it is a cut and at the middle of its span if it is gradual.
    It matches a true boundary when it sits within [start - tolerance, end + tolerance]. Each
    prediction and each true boundary counts once: nearest first, the same kind before the other.

    The kind of a hit is the true one's: a dissolve that was reported as one cut inside it is found.
    `missed` counts the true boundaries of a kind that nothing matches; `false` the predictions of
    a kind that match no true boundary of any kind. Of two predictions in one dissolve, one is
    false. True kinds other than "cut" (dissolve, fade) are graduals.
    """
    pairs = []
    for p, guess in enumerate(predicted):
        for t, real in enumerate(truth):
            at = _position(guess)
            if real["start"] - tolerance_frames <= at <= real["end"] + tolerance_frames:
                other_kind = _kind(guess) != _kind(real)
                pairs.append((other_kind, abs(at - (real["start"] + real["end"]) / 2), p, t))
    found: dict[int, int] = {}
    for _, _, p, t in sorted(pairs):
        if t not in found and p not in found.values():
            found[t] = p
    scores = {CUT: Detection(), GRADUAL: Detection()}
    for t, real in enumerate(truth):
        scores[_kind(real)] += Detection(hits=t in found, missed=t not in found)
    for p, guess in enumerate(predicted):
        scores[_kind(guess)] += Detection(false=p not in found.values())
    return scores


def attribute_accuracy(
    pairs: Iterable[tuple[Attributes | None, Attributes]],
) -> dict[str, Rate]:
    """(found, wanted) pairs scored by attribute name, plus "each" (all attributes pooled) and
    "all" (pairs with every attribute right). Nothing found is wrong in every attribute."""
    return _rates(matches(found, wanted) for found, wanted in pairs)


def caption_scores(pairs: Iterable[tuple[str, Attributes]]) -> dict[str, Rate]:
    """Like `attribute_accuracy` for captions; an attribute is right when the text names the true
    value and no other."""
    return _rates(
        {name: parse_words(text).get(name) == getattr(wanted, name) for name in VOCABULARY}
        for text, wanted in pairs
    )


def shot_at(film: Mapping[str, Any], start: int, end: int) -> Attributes | None:
    """What the frames [start, end) of a film in the truth show: the shot that covers most of them;
    None when no shot covers half of them."""

    def overlap(shot: Mapping[str, Any]) -> int:
        return int(min(end, shot["end"]) - max(start, shot["start"]))

    shot = max(film["shots"], key=overlap)
    return Attributes(**shot["attributes"]) if 2 * overlap(shot) >= end - start else None


def duplicates_among(truth: Mapping[str, Any], paths: Collection[str]) -> int:
    """How many of the films at `paths` repeat another one of them (0 is right for training)."""
    return sum(d["path"] in paths and d["of"] in paths for d in truth["duplicates"])


def _rates(marks: Iterable[Mapping[str, bool]]) -> dict[str, Rate]:
    rows = list(marks)
    rates = {name: Rate(right=sum(row[name] for row in rows), n=len(rows)) for name in VOCABULARY}
    rates["each"] = Rate(right=sum(rate.right for rate in rates.values()), n=5 * len(rows))
    rates["all"] = Rate(right=sum(all(row.values()) for row in rows), n=len(rows))
    return rates


def _kind(boundary: Boundary) -> str:
    return CUT if boundary["kind"] == CUT else GRADUAL


def _position(boundary: Boundary) -> float:
    start, end = float(boundary["start"]), float(boundary["end"])
    return start if _kind(boundary) == CUT else (start + end) / 2
