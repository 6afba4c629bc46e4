"""Writes the demo's world: a folder of footage as a stranger would deliver it, and the truth apart.

write_world(folder, films=150, seed=0, workers=2, on_progress=print)

folder/footage/     films, WebVTT sidecars, three broken files, two duplicates
folder/truth.json   what the films show; see `truth_of`
folder/world.json   which world this is, and whether it is complete
"""

import multiprocessing
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np

from flows.demo.films import draw, encode, write_film
from flows.demo.plan import Film, plan_films, unseen_attributes
from flows.demo.scene import Frames
from infra.errors import InputError
from infra.job_files import read_json, write_json
from infra.recipes import fingerprint

MIN_FILMS = 6  # fewer might leave no two films without captions to make duplicates of
SMALLER = 0.75  # the re-encoded duplicate's size over the original's
BROKEN = {
    "empty": "Day 1/untitled export.mp4",
    "truncated": "Day 2/B-cam/interrupted copy.mp4",
    "not_video": "archive 2019/shot list.mkv",
}


@dataclass(frozen=True, kw_only=True)
class WorldRecipe:
    """What decides every byte of a world."""

    films: int
    seed: int
    version: int = 3  # of the code that plans and draws; raise it when its output changes


def write_world(
    folder: Path,
    *,
    films: int = 150,
    seed: int = 0,
    workers: int = 2,
    on_progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write the world into `folder`; the same arguments make the same frames and truth anywhere.

    A complete world of the same arguments is left alone; an interrupted one is finished; another
    world that this function wrote there is replaced. `on_progress(done, total)` counts files.

    Raises:
        InputError: too few films, or `folder` holds footage that this function did not write.
    """
    if films < MIN_FILMS:
        raise InputError(f"a demo world of {films} films is too small; ask for {MIN_FILMS} or more")
    report = on_progress or (lambda done, total: None)
    recipe, footage = WorldRecipe(films=films, seed=seed), folder / "footage"
    plans = plan_films(films, seed)
    truth = truth_of(plans, recipe)
    paths = [entry["path"] for part in ("films", "broken", "duplicates") for entry in truth[part]]
    marker = {"fingerprint": fingerprint(recipe), "complete": True}
    if read_json(folder / "world.json") == marker and all((footage / p).exists() for p in paths):
        report(len(paths), len(paths))
        return
    _make_room(folder, fingerprint(recipe))
    write_json(folder / "world.json", {**marker, "complete": False})
    for done, _ in enumerate(_write_films(plans, footage, workers), start=1):
        report(done, len(paths))
    _write_broken(plans[-1], footage, seed)
    _write_duplicates(truth["duplicates"], footage)
    write_json(folder / "truth.json", truth)
    write_json(folder / "world.json", marker)
    report(len(paths), len(paths))


def truth_of(plans: list[Film], recipe: WorldRecipe) -> dict[str, Any]:
    """The truth as it is stored. Paths are relative to the footage folder, spans in frames.

    films: [{path, codec, width, height, fps, num_frames, captioned,
             shots: [{start, end, attributes}], boundaries: [{kind, start, end}]}]
    broken: [{path, kind}]; duplicates: [{path, of, kind}]; unseen: [attributes]

    A shot's span is where it is on screen alone. Ends are excluded; a cut starts and ends at the
    first frame of the new shot.
    """
    same, smaller = [film for film in plans if not film.captioned][:2]
    suffix = ".webm" if smaller.codec == "h264" else ".mp4"
    return {
        "world": asdict(recipe),
        "films": [_film_truth(film) for film in plans],
        "broken": [{"path": path, "kind": kind} for kind, path in BROKEN.items()],
        "duplicates": [
            {
                "path": f"archive 2019/copy of {Path(same.path).name}",
                "of": same.path,
                "kind": "exact",
            },
            {
                "path": f"for the web/{Path(smaller.path).stem} small{suffix}",
                "of": smaller.path,
                "kind": "reencoded",
            },
        ],
        "unseen": [asdict(attributes) for attributes in unseen_attributes()],
    }


def _film_truth(film: Film) -> dict[str, Any]:
    return {
        "path": film.path,
        "codec": film.codec,
        "width": film.width,
        "height": film.height,
        "fps": film.fps,
        "num_frames": film.num_frames,
        "captioned": film.captioned,
        "shots": [
            {"start": start, "end": end, "attributes": asdict(shot.scene.attributes)}
            for shot, (start, end) in zip(film.shots, film.spans(), strict=True)
        ],
        "boundaries": [
            {"kind": kind, "start": start, "end": end} for kind, start, end in film.boundaries()
        ],
    }


def _make_room(folder: Path, wanted: str) -> None:
    """Keep what an interrupted run of the same world left, remove another world."""
    footage, marker = folder / "footage", read_json(folder / "world.json")
    if marker is None and footage.exists() and any(footage.iterdir()):
        raise InputError(f"{footage} holds files of somebody else; choose an empty folder")
    if marker is not None and marker["fingerprint"] != wanted:
        shutil.rmtree(footage, ignore_errors=True)
        (folder / "truth.json").unlink(missing_ok=True)
    footage.mkdir(parents=True, exist_ok=True)
    for leftover in footage.rglob(".*"):  # temporary files of a writer that was killed
        leftover.unlink()


def _write_films(plans: list[Film], footage: Path, workers: int) -> Iterator[None]:
    if workers <= 1:
        for film in plans:
            write_film(film, footage)
            yield
        return
    # spawn: a fork would copy the locks of the caller's threads, held or not
    context = multiprocessing.get_context("spawn")
    longest_first = sorted(plans, key=lambda film: -film.num_frames * film.width * film.height)
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        films = [pool.submit(write_film, film, footage) for film in longest_first]
        try:
            for written in as_completed(films):
                written.result()
                yield
        finally:  # whoever gives up waits for the films under way, not for all of them
            pool.shutdown(cancel_futures=True)


def _write_broken(film: Film, footage: Path, seed: int) -> None:
    for path in BROKEN.values():
        (footage / path).parent.mkdir(parents=True, exist_ok=True)
    (footage / BROKEN["empty"]).write_bytes(b"")
    truncated = footage / BROKEN["truncated"]
    encode(draw(film), truncated, codec="h264", fps=film.fps)
    whole = truncated.read_bytes()  # an mp4's index is at its end: the first part alone is useless
    truncated.write_bytes(whole[: len(whole) * 6 // 10])
    noise = np.random.default_rng([seed, 2]).bytes(20_000)
    (footage / BROKEN["not_video"]).write_bytes(b"Shot list, day 3: see the other drive\n" + noise)


def _write_duplicates(duplicates: list[dict[str, Any]], footage: Path) -> None:
    for duplicate in duplicates:
        original, copy = footage / duplicate["of"], footage / duplicate["path"]
        copy.parent.mkdir(parents=True, exist_ok=True)
        if duplicate["kind"] == "exact":
            shutil.copyfile(original, copy)
            continue
        codec, crf = ("vp9", 40) if copy.suffix == ".webm" else ("h264", 28)
        with av.open(str(original)) as container:
            rate = container.streams.video[0].average_rate
        encode(_smaller(original), copy, codec=codec, fps=round(rate or 0), crf=crf)


def _smaller(original: Path) -> Iterator[Frames]:
    with av.open(str(original)) as container:
        for frame in container.decode(video=0):
            width, height = round(frame.width * SMALLER), round(frame.height * SMALLER)
            x_HWC = frame.reformat(width=width, height=height, format="rgb24").to_ndarray()
            yield x_HWC.astype(np.uint8)
