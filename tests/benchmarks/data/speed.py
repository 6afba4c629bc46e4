"""How fast ingest is: against bare decoding, and against PySceneDetect on the same films.

All times of a ratio are taken in one interleaved run; of each film's rounds the fastest counts.
"""

import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from queue import SimpleQueue

import av

from infra.lake import Lake
from ingest.recipe import IngestRecipe
from ingest.sandbox import Sandbox
from tests.benchmarks.data.films import footage, in_words
from tests.benchmarks.figure import Figure

ROUNDS = 3
LARGE, SMALL = 720, 360  # lines


def ingest_over_decode(folder: Path) -> Figure:
    """Whole ingest of films of 720 lines and more over bare decoding, each on one thread."""
    return _over_decode(folder, LARGE, target=1.6)


def ingest_over_decode_small(folder: Path) -> Figure:
    """The same for small films, where decoding is cheap."""
    return _over_decode(folder, SMALL, target=3.0)


def scenedetect_over_ingest(folder: Path) -> Figure:
    """PySceneDetect (adaptive detector, clips split with x264) over our whole ingest.

    Ours reads a film on each core, as the job does. PySceneDetect has threads of its own in each
    film; the faster of one film after another and a film for each core counts as its time.
    """
    films = footage(folder / "films", LARGE) + footage(folder / "films", SMALL)
    cores = os.cpu_count() or 1
    with ExitStack() as stack:
        readers = [stack.enter_context(_Ingest(folder / f"reader-{n}")) for n in range(cores)]
        threads = stack.enter_context(ThreadPoolExecutor(cores))
        processes = stack.enter_context(ProcessPoolExecutor(cores, get_context("spawn")))
        alone = stack.enter_context(ProcessPoolExecutor(1, get_context("spawn")))
        split = partial(_scenedetect, folder=folder)
        ours_s, one_s, side_by_side_s = _fastest(
            [
                partial(_in_turn, threads, readers, films),
                lambda: list(alone.map(split, films)),
                lambda: list(processes.map(split, films)),
            ]
        )
    theirs_s = min(one_s, side_by_side_s)
    return {
        "value": round(theirs_s / ours_s, 3),
        "target": 4.0,
        "better": "higher",
        "n": len(films),
        "note": f"{one_s:.2f} s film by film, {side_by_side_s:.2f} s on {cores} cores, over "
        f"{ours_s:.2f} s on {cores} cores; {in_words(films)}",
    }


def _fastest(ways: Sequence[Callable[[], object]]) -> list[float]:
    """The least seconds of each way, of rounds in turns; the first round only warms up."""
    rounds: list[list[float]] = []
    for _ in range(ROUNDS + 1):
        rounds.append([])
        for way in ways:
            begun = time.perf_counter()
            way()
            rounds[-1].append(time.perf_counter() - begun)
    return [min(times) for times in zip(*rounds[1:], strict=True)]


def _in_turn(threads: Executor, readers: Sequence["_Ingest"], films: Sequence[Path]) -> None:
    """Each film goes to the first reader that is free."""
    free: SimpleQueue[_Ingest] = SimpleQueue()
    for reader in readers:
        free.put(reader)

    def read(film: Path) -> None:
        reader = free.get()
        reader(film)
        free.put(reader)

    list(threads.map(read, films))


def _over_decode(folder: Path, height: int, target: float) -> Figure:
    films = footage(folder / "films", height)
    with _Ingest(folder) as ingest:
        ingest_s, decode_s = _interleaved(films, [ingest, _decode])
    return {
        "value": round(ingest_s / decode_s, 3),
        "target": target,
        "better": "lower",
        "n": len(films),
        "note": f"{ingest_s:.2f} s over {decode_s:.2f} s; {in_words(films)}",
    }


def _interleaved(films: Sequence[Path], ways: Sequence[Callable[[Path], None]]) -> list[float]:
    """Seconds for all films by each way."""
    best = [[float("inf")] * len(films) for _ in ways]
    for _ in range(ROUNDS):
        for number, film in enumerate(films):
            for way, work in enumerate(ways):
                begun = time.perf_counter()
                work(film)
                best[way][number] = min(best[way][number], time.perf_counter() - begun)
    return [sum(times) for times in best]


class _Ingest:
    """Reads films as the job does, one at a time, and writes their clips into a lake."""

    def __init__(self, folder: Path) -> None:
        self._lake = Lake(str(folder / "lake"))
        self._spool = folder / "spool"
        self._sandbox = Sandbox(self._spool)
        self._count = 0

    def __enter__(self) -> "_Ingest":
        self._lake.ensure()
        return self

    def __exit__(self, *_: object) -> None:
        self._sandbox.close()
        shutil.rmtree(self._spool, ignore_errors=True)

    def __call__(self, film: Path) -> None:
        # A new id each time, or the lake would have the clips already.
        self._count += 1
        source = {
            "uri": film.as_uri(),
            "source_id": f"{self._count:064x}",
            "size_bytes": film.stat().st_size,
            "mtime_ns": 0,
        }
        result = self._sandbox.read(film, source, IngestRecipe())
        assert not result.stage, result.reason
        self._lake.write_clip_bytes(result.clip_files)
        result.forget_files()


def _decode(film: Path) -> None:
    with av.open(str(film)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        for _ in container.decode(stream):
            pass


def _scenedetect(film: Path, folder: Path) -> None:
    from scenedetect import AdaptiveDetector, SceneManager, open_video

    target = folder / f"scenedetect-{film.stem}"
    video = open_video(str(film))
    manager = SceneManager()
    manager.add_detector(AdaptiveDetector())
    manager.detect_scenes(video)
    scenes = manager.get_scene_list(start_in_scene=True)
    _split(film, [(start.seconds, end.seconds) for start, end in scenes], target)
    shutil.rmtree(target)


def _split(film: Path, scenes: Sequence[tuple[float, float]], target: Path) -> None:
    """PySceneDetect's split-video, or the same encoding without its ffmpeg where there is none."""
    from scenedetect import FrameTimecode, split_video_ffmpeg
    from scenedetect.output import is_ffmpeg_available

    target.mkdir(parents=True, exist_ok=True)
    if is_ffmpeg_available():
        pairs = [tuple(FrameTimecode(at_s, 1000.0) for at_s in scene) for scene in scenes]
        if split_video_ffmpeg(str(film), pairs, output_dir=target):
            sys.exit("ffmpeg could not split the film")
        return
    for number, (start_s, end_s) in enumerate(scenes):
        with (
            av.open(str(film)) as container,
            av.open(str(target / f"{number}.mp4"), "w") as out,
        ):
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            options = {"preset": "veryfast", "crf": "22"}
            encoder = out.add_stream("libx264", rate=stream.average_rate, options=options)
            encoder.width, encoder.height = stream.width, stream.height
            encoder.pix_fmt = "yuv420p"
            container.seek(int(start_s * av.time_base))
            for frame in container.decode(stream):
                if frame.time >= end_s:
                    break
                if frame.time >= start_s:
                    frame.pts = None
                    out.mux(encoder.encode(frame))
            out.mux(encoder.encode(None))
