"""Copies of films, altered as the world alters them: which are recognised, and what is mistaken."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import av
import cv2
import numpy as np

from flows.demo.films import Frames, encode
from ingest.decode import UnreadableError, read_film
from ingest.duplicates import KnownFilms, SignatureMeter
from ingest.recipe import DuplicateRecipe
from tests.benchmarks.figure import Figure


def near_dup_recall(films: Sequence[Path], folder: Path) -> Figure:
    """Share of altered copies found to be their original's; a copy taken for that of another film,
    or an original taken for a copy, costs the precision that the note gives."""
    known = KnownFilms(DuplicateRecipe())
    mistaken = 0
    for film in films:
        signature = signature_of(film)
        mistaken += len(known.same_as(signature))
        known.add(film.name, signature)
    found: dict[str, int] = {}
    for film in films:
        for kind, copy in copies(film, folder):
            same = known.same_as(signature_of(copy))
            found[kind] = found.get(kind, 0) + (film.name in same)
            mistaken += len(set(same) - {film.name})
    hits, count = sum(found.values()), len(found) * len(films)
    kinds = ", ".join(f"{kind} {number} of {len(films)}" for kind, number in found.items())
    return {
        "value": round(hits / count, 4),
        "target": 0.95,
        "better": "higher",
        "n": count,
        "note": f"{kinds}; precision {hits / max(hits + mistaken, 1):.4f}",
    }


def signature_of(path: Path) -> bytes:
    """As ingest takes it.

    Raises:
        UnreadableError: the film cannot be read.
    """
    meter, film = SignatureMeter(), None
    for film, image in read_film(path):
        meter.process((film.pts[-1] - film.pts[0]) * film.time_base, image)
    if film is None:
        raise UnreadableError("decode", f"{path} holds no frame")
    return meter.signature(film.duration_s)


def copies(film: Path, folder: Path) -> Iterator[tuple[str, Path]]:
    """(kind, file) of each altered copy, written into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    kinds: dict[str, tuple[Callable[[Frames], Frames], int]] = {
        "encoded anew": (lambda frame: frame, 36),
        "scaled": (lambda frame: _resized(frame, 0.6), 26),
        "cropped": (_cropped, 23),
        "stamped": (_stamped, 23),
    }
    for kind, (alter, crf) in kinds.items():
        path = folder / f"{film.stem}-{kind.replace(' ', '-')}.mp4"
        if not path.exists():
            with av.open(str(film)) as container:
                fps = round(container.streams.video[0].average_rate or 30)
                frames = (frame.to_ndarray(format="rgb24") for frame in container.decode(video=0))
                altered = (_even(alter(frame)) for frame in frames)
                encode(altered, path, codec="h264", fps=fps, crf=crf)
        yield kind, path


def _resized(frame: Frames, scale: float) -> Frames:
    height, width = (round(side * scale) for side in frame.shape[:2])
    return np.asarray(cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def _cropped(frame: Frames) -> Frames:
    """Without 5 % of the height and 7 % of the width, more on one side than on the other."""
    height, width = frame.shape[:2]
    return frame[
        round(0.04 * height) : round(0.99 * height), round(0.06 * width) : round(0.99 * width)
    ]


def _stamped(frame: Frames) -> Frames:
    """With a channel's logo in the upper right corner."""
    height, width = frame.shape[:2]
    marked = frame.copy()
    top, left, right = round(0.05 * height), round(0.84 * width), round(0.95 * width)
    marked[top : round(0.14 * height), left:right] = (240, 240, 240)
    marked[round(0.08 * height) : round(0.11 * height), left + 4 : right - 4] = (200, 30, 30)
    return marked


def _even(frame: Frames) -> Frames:
    height, width = (side // 2 * 2 for side in frame.shape[:2])
    return np.ascontiguousarray(frame[:height, :width])
