"""Spliced real footage with known boundaries: `python -m tests.benchmarks.data.footage FOLDER`.

Continuous spans of camera clips and games are joined by hard cuts, dissolves and fades, and encoded
as H.264 of several qualities. There are two halves that share no clip and no game: detectors are
tuned on one, and figures come from the other.

write_films(folder, material, half) -> {file: [{"start", "end", "kind"}]}

Frames [start, end) are mixed of both shots; a cut's `start` and `end` are the new shot's first.
"""

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from flows.demo.films import encode
from tests.benchmarks.data.material import (
    DEVELOPMENT,
    HELD_OUT,
    SOURCES,
    Frames,
    frames_of,
    install,
    prepare,
)

Labels = dict[str, list[dict[str, Any]]]

FILMS = 24
PLAYS = 4  # of each game
PIECES = (12, 20)
ALONE = (18, 90)  # frames that a piece is on screen without another
LEAST = 14
SIZES = ((640, 360), (480, 360), (320, 240))
RATES = (24, 25, 30)
QUALITIES = (18, 23, 28, 33)
KINDS, KIND_SHARES = ("cut", "dissolve", "fade"), (0.6, 0.25, 0.15)
LENGTHS = (6, 10, 15, 24, 36, 48)
THEMES = ("camera", "game", "mixed")
SAME_SOURCE = 0.3  # of the pieces show what the one before shows, later and framed differently
VISIBLE = 8.0  # mean levels between the pictures around a joint; less is hard to see for a viewer


@dataclass(frozen=True, kw_only=True)
class Joint:
    """How one piece becomes the next."""

    kind: str
    num_frames: int
    white: bool = False


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Frames [start, end) of a source's file, cropped to (left, top, width, height) in shares."""

    source: str
    start: int
    end: int
    crop: tuple[float, float, float, float]
    mirrored: bool


@dataclass(frozen=True, kw_only=True)
class Film:
    """A film to be written. A piece's frames include those that its joints mix."""

    name: str
    fps: int
    size: tuple[int, int]
    crf: int
    pieces: tuple[Piece, ...]
    joints: tuple[Joint, ...]

    def labels(self) -> list[dict[str, Any]]:
        """The boundaries, as the module's docstring says."""
        found, at = [], 0
        for piece, joint in zip(self.pieces, self.joints, strict=False):
            at += piece.end - piece.start - joint.num_frames
            found.append({"start": at, "end": at + joint.num_frames, "kind": joint.kind})
        return found


def write_films(folder: Path, material: Path, half: str, *, films: int = FILMS) -> Labels:
    """Write the half's films and `labels.json` below `folder`; what is there is left alone."""
    files, known = prepare(material), folder / "labels.json"
    if known.exists():
        labels: Labels = json.loads(known.read_text())
        return labels
    folder.mkdir(parents=True, exist_ok=True)
    frames = {name: np.load(path, mmap_mode="r") for name, path in files.items()}
    labels = {}
    for film in plan(frames, half, films):
        encode(draw(film, frames), folder / film.name, codec="h264", fps=film.fps, crf=film.crf)
        labels[film.name] = film.labels()
    temporary = known.with_suffix(f".{os.getpid()}")
    temporary.write_text(json.dumps(labels, indent=1))
    temporary.replace(known)
    return labels


def write_games(folder: Path, material: Path, half: str, *, plays: int = PLAYS) -> Labels:
    """Each of the half's games, played so many times: films without a boundary."""
    packages = material / "packages"
    install(packages)
    folder.mkdir(parents=True, exist_ok=True)
    labels: Labels = {}
    for source in SOURCES:
        if source.half != half or source.kind != "game":
            continue
        for play in range(plays):
            path = folder / f"{source.name}-{play}.mp4"
            if not path.exists():
                encode(frames_of(source, packages, play), path, codec="h264", fps=30, crf=23)
            labels[path.name] = []
    return labels


def plan(frames: Mapping[str, Frames], half: str, films: int) -> list[Film]:
    """The half's films: a pure function of the material."""
    rng = np.random.default_rng([films, len(half)])
    plans = []
    for number in range(films):
        theme = THEMES[number % len(THEMES)]
        size = SIZES[rng.integers(len(SIZES))]
        pieces, joints = _montage(frames, half, theme, rng)
        plans.append(
            Film(
                name=f"{half}-{number:02d}-{theme}.mp4",
                fps=int(rng.choice(RATES)),
                size=size,
                crf=int(rng.choice(QUALITIES)),
                pieces=tuple(pieces),
                joints=tuple(joints),
            )
        )
    return plans


def _montage(
    frames: Mapping[str, Frames], half: str, theme: str, rng: np.random.Generator
) -> tuple[list[Piece], list[Joint]]:
    spans = [
        (source.name, start, end)
        for source in SOURCES
        if source.half == half and theme in (source.kind, "mixed")
        for start, end in source.spans or ((0, len(frames[source.name])),)
    ]
    count = int(rng.integers(PIECES[0], PIECES[1] + 1))
    pieces: list[Piece] = []
    joints: list[Joint] = []
    while len(pieces) < count:
        joint = _joint(rng)
        lead = joints[-1].num_frames if joints else 0
        again = pieces and rng.uniform() < SAME_SOURCE
        choice = [span for span in spans if not again or span[0] == pieces[-1].source]
        piece = _piece(choice[rng.integers(len(choice))], lead, joint.num_frames, rng)
        if piece is None or (pieces and not _is_visible(frames, pieces[-1], piece)):
            continue
        pieces.append(piece)
        joints.append(joint)
    return pieces, joints[:-1]


def _joint(rng: np.random.Generator) -> Joint:
    kind = str(rng.choice(KINDS, p=KIND_SHARES))
    if kind == "cut":
        return Joint(kind=kind, num_frames=0)
    length = int(rng.choice(LENGTHS))
    if kind == "fade":
        length = max(9, length | 1)  # odd: the middle is empty
    return Joint(kind=kind, num_frames=length, white=kind == "fade" and rng.uniform() < 0.2)


def _piece(
    span: tuple[str, int, int], lead: int, tail: int, rng: np.random.Generator
) -> Piece | None:
    """A piece of the span that leaves room for both joints; None when there is none."""
    name, first, last = span
    room = last - first - lead - tail
    if room < LEAST:
        return None
    alone = min(int(rng.integers(ALONE[0], ALONE[1] + 1)), room)
    length = lead + alone + tail
    start = first + int(rng.integers(0, last - first - length + 1))
    scale = float(rng.choice([1.0, rng.uniform(0.55, 0.9)]))
    left, top = rng.uniform(0, 1 - scale, 2) if scale < 1 else (0.0, 0.0)
    return Piece(
        source=name,
        start=start,
        end=start + length,
        crop=(float(left), float(top), scale, scale),
        mirrored=bool(rng.uniform() < 0.5),
    )


def _is_visible(frames: Mapping[str, Frames], old: Piece, new: Piece) -> bool:
    """Whether the pictures differ before, at and after the joint."""
    pairs = [(old.end - 1, new.start), (old.end - 1, new.end - 1), (old.start, new.start)]
    return all(
        float(np.abs(_thumb(frames, old, one) - _thumb(frames, new, other)).mean()) > VISIBLE
        for one, other in pairs
    )


def _thumb(frames: Mapping[str, Frames], piece: Piece, number: int) -> npt.NDArray[np.float32]:
    return _picture(frames[piece.source][number], piece, (64, 36)).astype(np.float32)


def draw(film: Film, frames: Mapping[str, Frames]) -> Iterator[Frames]:
    """The film's frames (H, W, 3) RGB, one after the other."""
    lead: Sequence[Frames] = ()
    for index, piece in enumerate(film.pieces):
        joint = film.joints[index] if index < len(film.joints) else Joint(kind="cut", num_frames=0)
        shown = [
            _picture(frames[piece.source][number], piece, film.size)
            for number in range(piece.start, piece.end)
        ]
        before = film.joints[index - 1] if index else joint
        for step, (out, into) in enumerate(zip(lead, shown, strict=False), start=1):
            yield _mix(before, out, into, step / (len(lead) + 1))
        yield from shown[len(lead) : len(shown) - joint.num_frames]
        lead = shown[len(shown) - joint.num_frames :]


def _mix(joint: Joint, out: Frames, into: Frames, progress: float) -> Frames:
    if joint.kind == "dissolve":
        mixed = out * (1 - progress) + into * progress
    else:
        picture, share = (out, 1 - 2 * progress) if progress < 0.5 else (into, 2 * progress - 1)
        mixed = picture * share + (255 if joint.white else 0) * (1 - share)
    return np.asarray(mixed + 0.5, np.uint8)


def _picture(frame: Frames, piece: Piece, size: tuple[int, int]) -> Frames:
    height, width = frame.shape[:2]
    left, top, wide, high = piece.crop
    x, y = round(left * width), round(top * height)
    part = frame[y : y + round(high * height), x : x + round(wide * width)]
    shrinks = part.shape[1] > size[0]
    resized = cv2.resize(part, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return np.ascontiguousarray(resized[:, ::-1] if piece.mirrored else resized, np.uint8)


if __name__ == "__main__":
    root = Path(sys.argv[1])
    for half in (DEVELOPMENT, HELD_OUT):
        written = write_films(root / half, root / "material", half)
        games = write_games(root / f"{half}_games", root / "material", half)
        count = sum(map(len, written.values()))
        print(f"{half}: {len(written)} films with {count} boundaries, {len(games)} games")
