"""Whether reading a long film takes more memory than reading a short one."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from flows.demo.films import encode
from tests.benchmarks.figure import Figure

MINUTES = (1, 30)
FPS = 24
HEIGHT, WIDTH = 240, 320

# A process of its own for each film: it tells the peak of the child that read it.
READ = """
import json, resource, sys
from pathlib import Path
from ingest.recipe import IngestRecipe
from ingest.sandbox import Sandbox
path, spool = map(Path, sys.argv[1:])
source = {"uri": path.as_uri(), "source_id": "ab" * 32, "size_bytes": path.stat().st_size,
          "mtime_ns": 0}
with Sandbox(spool) as sandbox:
    result = sandbox.read(path, source, IngestRecipe())
assert not result.stage, result.reason
print(json.dumps([result.peak_bytes, result.source["num_frames"], len(result.clips)]))
result.forget_files()
"""


def rss_long_over_short(folder: Path) -> Figure:
    """Peak memory of the process that reads a 30-minute film over a 1-minute film's."""
    peaks, notes = [], []
    for minutes in MINUTES:
        film = _film(folder / f"film-{minutes}.mp4", minutes)
        done = subprocess.run(
            [sys.executable, "-c", READ, str(film), str(folder / "spool")],
            stdout=subprocess.PIPE,
            check=True,
        )
        peak, frames, clips = json.loads(done.stdout)
        peaks.append(peak)
        notes.append(f"{minutes} min: {peak / 2**20:.0f} MiB, {frames} frames, {clips} clips")
    return {
        "value": round(peaks[1] / peaks[0], 4),
        "target": 1.1,
        "better": "lower",
        "n": len(peaks),
        "note": "; ".join(notes),
    }


def _film(path: Path, minutes: int) -> Path:
    """Shots of seven seconds over moving noise."""
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    scenes = rng.integers(0, 256, (16, HEIGHT // 8, 2 * WIDTH // 8, 3), dtype=np.uint8)
    scenes = scenes.repeat(8, axis=1).repeat(8, axis=2)

    def frame(number: int) -> np.ndarray:
        at = number % (7 * FPS)
        return scenes[number // (7 * FPS) % len(scenes)][:, at : at + WIDTH]

    encode(map(frame, range(minutes * 60 * FPS)), path, codec="h264", fps=FPS)
    return path
