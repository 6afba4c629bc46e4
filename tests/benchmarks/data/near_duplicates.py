"""Copies of films, altered as the world alters them: which are recognised, and what is mistaken."""

import itertools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from multiprocessing import get_context
from pathlib import Path
from typing import Any, cast

import av
import cv2
import numpy as np
from av.video.stream import VideoStream

from flows.demo.films import Frames
from ingest.decode import UnreadableError, read_film
from ingest.duplicates import KnownFilms, SignatureMeter
from ingest.recipe import DuplicateRecipe
from tests.benchmarks.figure import Figure


def near_dup_recall(films: Sequence[Path], folder: Path) -> Figure:
    """Share of altered copies found to be their original's; a copy taken for that of another film,
    or an original taken for a copy, costs the precision that the note gives."""
    known = KnownFilms(DuplicateRecipe())
    mistaken = 0
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        own = list(pool.map(signature_of, films))
        altered = list(pool.map(_signatures, films, itertools.repeat(folder)))
    for film, signature in zip(films, own, strict=True):
        mistaken += len([*known.same_as(signature)])
        known.add(film.name, signature)
    found = dict.fromkeys(KINDS, 0)
    for film, kinds in zip(films, altered, strict=True):
        for kind, signature in kinds.items():
            same = set(known.same_as(signature))
            found[kind] += film.name in same
            mistaken += len(same - {film.name})
    hits, count = sum(found.values()), len(found) * len(films)
    said = ", ".join(f"{kind} {number} of {len(films)}" for kind, number in found.items())
    return {
        "value": round(hits / count, 4),
        "target": 0.95,
        "better": "higher",
        "n": count,
        "note": f"{said}; precision {hits / max(hits + mistaken, 1):.4f}",
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


def _signatures(film: Path, folder: Path) -> dict[str, bytes]:
    """Of every altered copy, by how it was altered."""
    cv2.setNumThreads(1)
    return {kind: signature_of(copy) for kind, copy in copies(film, folder)}


def copies(film: Path, folder: Path) -> Iterator[tuple[str, Path]]:
    """(kind, file) of each altered copy, written into `folder` once, all in one pass."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {kind: folder / f"{film.stem}-{kind.replace(' ', '-')}.mp4" for kind in KINDS}
    missing = [kind for kind, path in paths.items() if not path.exists()]
    if missing:
        parts = {kind: paths[kind].with_suffix(f".{os.getpid()}") for kind in missing}
        _write(film, parts)
        for kind, part in parts.items():
            part.replace(paths[kind])
    yield from paths.items()


def _write(film: Path, paths: Mapping[str, Path]) -> None:
    with av.open(str(film)) as container, ExitStack() as stack:
        rate = container.streams.video[0].average_rate
        encoders: dict[str, tuple[Any, Any]] = {}
        container.streams.video[0].codec_context.thread_count = 1
        for decoded in container.decode(video=0):
            frame = decoded.reformat(format="rgb24", threads=1).to_ndarray()
            for kind, path in paths.items():
                alter, crf = KINDS[kind]
                picture = av.VideoFrame.from_ndarray(_even(alter(frame)), format="rgb24")
                if kind not in encoders:
                    out = stack.enter_context(av.open(str(path), "w", format="mp4"))
                    options = {"crf": str(crf), "preset": "superfast"}
                    stream = cast(VideoStream, out.add_stream("libx264", rate, options=options))
                    stream.width, stream.height = picture.width, picture.height
                    stream.pix_fmt = "yuv420p"
                    stream.codec_context.thread_count = 1
                    encoders[kind] = out, stream
                out, stream = encoders[kind]
                out.mux(stream.encode(picture.reformat(format="yuv420p", threads=1)))
        for out, stream in encoders.values():
            out.mux(stream.encode(None))


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


KINDS: dict[str, tuple[Callable[[Frames], Frames], int]] = {
    "encoded anew": (lambda frame: frame, 36),
    "scaled": (lambda frame: _resized(frame, 0.6), 26),
    "cropped": (_cropped, 23),
    "stamped": (_stamped, 23),
}
"""How a copy is altered, and the quality (x264's crf) that it is encoded at."""
