"""Models that look at clips on a cluster of two nodes, one of whose workers is killed, and in this
process: `python -m tests.two_node_models DIR RAY_PORT` pickles both answers to DIR/answers.

A process of its own, as a captioning job is: what else a test's process did with Ray is not in it.
"""

import os
import pickle
import signal
import sys
from itertools import product
from pathlib import Path
from typing import Any

from captioning.captioner import Clip
from captioning.clip_models import CaptionModel, EmbeddingModel
from captioning.coca import CocaCaptioner
from captioning.coca_embedding import CocaEmbedder
from captioning.frames import FrameReader
from captioning.inference import Inference, collected
from captioning.words import WordTokenizer
from infra.lake import Lake
from infra.settings import Settings
from infra.video import encode_mp4
from tests.gated_model import Gated
from tests.unit.captioning.bars import COLORS, STEPS, TINY
from tests.unit.captioning.bars import clip as bar


def main(folder: str, ray_port: str) -> None:
    home = Path(folder)
    lake, clips = _films(home)
    captioner = CocaCaptioner.untrained(TINY, WordTokenizer(["bar", "blue", "moves", "red"]))
    embedder = CocaEmbedder(captioner, TINY, "1", contrastive=False)
    model = Gated(home, CaptionModel(captioner, TINY), EmbeddingModel(embedder))
    killed = list[int]()

    def kill_one_when_both_are_busy() -> None:
        busy = [path.name.split() for path in home.glob("* node-*")]
        if not killed and len({node for _, node in busy}) == 2:
            killed.append(int(busy[0][0]))
            os.kill(killed[0], signal.SIGKILL)
            (home / "open").touch()

    there = Settings(ray_port=int(ray_port))
    frames = FrameReader(lake, TINY, 2)
    far = Inference("ray", there, lake, frames, kill_one_when_both_are_busy)
    found = _answers(far, model, clips)
    assert killed, "the nodes were not busy at the same time"
    near = Inference("inline", there, lake, frames, lambda: None)
    with (home / "answers").open("wb") as handle:
        pickle.dump((found, _answers(near, model, clips)), handle)


def _films(home: Path) -> tuple[Lake, list[Clip]]:
    lake = Lake(str(home / "lake"))
    lake.ensure()
    stored = {
        f"{color}-{way}-{start}": encode_mp4(bar(color, way, start).repeat(4, 1).repeat(4, 2), 10.0)
        for color, way, start in product(COLORS, STEPS, range(0, 16, 2))
    }
    stored["broken"] = b"no film"
    lake.write_clip_bytes(stored)
    size = {"width": 64, "height": 64}
    return lake, [Clip(clip_id=name, offset_s=0.0, duration_s=0.8, **size) for name in stored]


def _answers(inference: Inference, model: Gated, clips: list[Clip]) -> list[dict[str, Any]]:
    tables = inference.run(model, clips, lambda _: None)
    (together,) = collected(tables, len(clips))
    rows: list[dict[str, Any]] = together.sort_by("clip_id").to_pylist()
    return rows


if __name__ == "__main__":
    main(*sys.argv[1:])
