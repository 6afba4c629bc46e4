"""Random reads of clips and of latents from the lake, against a folder of MP4 files.

Clips are read from the lake as training does (`infra.clip_reads`), and from files by as many
threads, each of which reads a file and decodes it with the same decoder.
"""

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from infra.clip_reads import map_clips
from infra.lake import Lake, quote_all
from infra.video import Frames, encode_mp4, read_clip
from tests.benchmarks.figure import Figure

CLIPS, BATCH, ROUNDS = 512, 32, 12  # of latents
DRAWN, DRAWS = 512, 16  # clips of a round (training asks for a release at once), and rounds
THREADS = os.cpu_count() or 1
FPS, FRAMES, HEIGHT, WIDTH = 24, 40, 180, 320
TIMES = [index / 8 for index in range(13)]  # what training asks of a clip
SIZE = (48, 64)
LATENT = (4, 8, 6, 8)
VAE = "benchmark"

Way = Callable[[Sequence[str]], None]


def lake_reads_over_files(folder: Path) -> Figure:
    """Clips a second, decoded at training's size, from the lake over from files."""
    lake = _stored(folder)

    def from_lake(ids: Sequence[str]) -> None:
        for _ in map_clips(lake, ids, lambda _, data: _decoded(data), threads=THREADS):
            pass

    def from_files(ids: Sequence[str]) -> None:
        paths = [folder / "clips" / f"{clip_id}.mp4" for clip_id in ids]
        with ThreadPoolExecutor(THREADS) as pool:
            for _ in pool.map(lambda path: _decoded(path.read_bytes()), paths):
                pass

    return _compared(from_lake, from_files, 1.0, DRAWN, DRAWS)


def latent_reads_over_files(folder: Path) -> Figure:
    """Latents a second from the lake over clips decoded from files."""
    lake = _stored(folder)

    def from_lake(ids: Sequence[str]) -> None:
        where = f"clip_id in ({quote_all(ids)}) and vae_hash = '{VAE}'"
        rows = lake.read("latents", ["clip_id", "latent"], where).to_pylist()
        assert len(rows) == len(ids)
        for row in rows:
            np.frombuffer(row["latent"], np.float16).astype(np.float32).reshape(LATENT)

    def from_files(ids: Sequence[str]) -> None:
        for clip_id in ids:
            _decoded((folder / "clips" / f"{clip_id}.mp4").read_bytes())

    return _compared(from_lake, from_files, 40.0, BATCH, ROUNDS)


def _decoded(data: bytes) -> Frames:
    return read_clip(data, 0.0, TIMES, SIZE)


def _compared(ours: Way, theirs: Way, target: float, count: int, rounds: int) -> Figure:
    """Both read the same random clips, now one first and now the other; the median of the
    rounds' ratios."""
    rng, ratios, seconds = np.random.default_rng(0), [], [0.0, 0.0]
    ways = (ours, theirs)
    for number in range(rounds + 1):
        ids = [_name(index) for index in rng.choice(CLIPS, count, replace=False)]
        times = [0.0, 0.0]
        for way in (0, 1) if number % 2 else (1, 0):
            times[way] = _timed(ways[way], ids)
        if number:  # the first round only opens what is opened once
            ratios.append(times[1] / times[0])
            seconds = [total + taken for total, taken in zip(seconds, times, strict=True)]
    rates = [rounds * count / total for total in seconds]
    return {
        "value": round(float(np.median(ratios)), 3),
        "target": target,
        "better": "higher",
        "n": rounds,
        "note": f"{rates[0]:.0f} a second from the lake, {rates[1]:.0f} clips a second from files; "
        f"ratios {min(ratios):.3f} to {max(ratios):.3f}",
    }


def _timed(way: Way, ids: Sequence[str]) -> float:
    begun = time.perf_counter()
    way(ids)
    return time.perf_counter() - begun


def _stored(folder: Path) -> Lake:
    """The same clips in a lake and in a folder of files, and a latent of each; made once."""
    lake, files = Lake(str(folder / "lake")), folder / "clips"
    lake.ensure()
    if lake.count("latents") == CLIPS:
        return lake
    files.mkdir(parents=True, exist_ok=True)
    data = {_name(index): encode_mp4(_clip(index), FPS) for index in range(CLIPS)}
    for name, video in data.items():
        (files / f"{name}.mp4").write_bytes(video)
    lake.write_clip_bytes(data)
    latent = np.random.default_rng(1).standard_normal(LATENT).astype(np.float16).tobytes()
    rows = [
        {"clip_id": name, "vae_hash": VAE, "shape": list(LATENT), "fps": 8.0, "latent": latent}
        for name in data
    ]
    lake.upsert("latents", rows)
    return lake


def _clip(number: int) -> Frames:
    """A coarse picture that slides."""
    rng = np.random.default_rng(number)
    scene = rng.integers(0, 256, (HEIGHT // 20, (WIDTH + FRAMES) // 20 + 1, 3), dtype=np.uint8)
    scene = scene.repeat(20, axis=0).repeat(20, axis=1)
    return np.stack([scene[:, index : index + WIDTH] for index in range(FRAMES)])


def _name(index: int) -> str:
    return f"{index:032x}"
