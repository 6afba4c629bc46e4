"""The caption job on a lake of real clips: it trains, captions the rest, and stays idle after."""

import json
import signal
import subprocess
import sys
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from captioning.job import main
from captioning.recipe import CocaRecipe
from infra.job_files import JobContext, run_job, write_json
from infra.lake import Lake
from infra.recipes import to_dict
from infra.settings import Settings
from infra.video import encode_mp4
from tests.unit.captioning.bars import COLORS, STEPS, TINY, clip
from tests.unit.captioning.chat_server import Reply, chat_server
from tests.unit.captioning.chat_server import caption as said

FPS, SCALE, LEAD_IN = 10.0, 4, 3
RECIPE = replace(TINY, steps=150)


@pytest.fixture
def lake(own_home: Settings) -> Lake:
    """Clips from 16 starts, every second one captioned; each lies LEAD_IN frames into its bytes."""
    lake = Lake(own_home.lake_uri)
    lake.ensure()
    add(lake, range(16))
    return lake


def add(lake: Lake, starts: range) -> None:
    rows, stored = [], {}
    for color, way, start in product(COLORS, STEPS, starts):
        clip_id = f"{color}-{way}-{start}"
        small = clip(color, way, start)
        black = np.zeros((LEAD_IN, *small.shape[1:]), np.uint8)
        frames = np.concatenate([black, small]).repeat(SCALE, 1).repeat(SCALE, 2)
        stored[clip_id] = encode_mp4(frames, FPS)
        rows.append(
            {
                "clip_id": clip_id,
                "source_id": "1" * 64,
                "status": "accepted",
                "start_s": 2.0,
                "end_s": 2.0 + len(small) / FPS,
                "offset_s": LEAD_IN / FPS,
                "width": frames.shape[2],
                "height": frames.shape[1],
                "sidecar": f"A {color} bar moves {way}." if start % 2 == 0 else None,
            }
        )
    lake.upsert("clips", rows)
    lake.write_clip_bytes(stored)


def caption(lake: Lake, folder: Path, recipe: CocaRecipe = RECIPE) -> dict[str, Any]:
    folder.mkdir()
    return main(JobContext({"recipe": {"coca": to_dict(recipe)}, "track": False}, folder))


def right(lake: Lake) -> float:
    """Share of CoCa's captions that name both the colour and the way."""
    rows = lake.read("clips", where="caption_source = 'coca'").to_pylist()
    hits = [
        set(row["clip_id"].split("-")[:2]) <= set(row["caption"].rstrip(".").split())
        for row in rows
    ]
    return sum(hits) / len(hits)


def colour_of_likest(lake: Lake) -> float:
    """Share of clips whose likest clip, to the captioner that was trained here, has its colour."""
    rows = lake.read("clips", ["clip_id", "embedding", "embedding_recipe"]).to_pylist()
    assert len({row["embedding_recipe"] for row in rows}) == 1
    vectors = np.array([row["embedding"] for row in rows])
    likest = (vectors @ vectors.T - 2 * np.eye(len(rows))).argmax(axis=1)
    colors = [row["clip_id"].split("-")[0] for row in rows]
    return sum(colors[index] == colors[other] for index, other in enumerate(likest)) / len(rows)


def test_trains_once_captions_the_rest_and_stays_idle(lake: Lake, tmp_path: Path) -> None:
    first = caption(lake, tmp_path / "first")
    assert first["trained"] is True
    assert first["by_source"] == {"sidecar": 32, "coca": 32}
    assert first["heldout"]["clips"] > 0
    assert first["embedded"] == 64
    assert right(lake) > 0.6  # chance is 0.25

    versions = lake.versions()
    assert caption(lake, tmp_path / "second")["captioned"] == 0
    assert lake.versions() == versions

    add(lake, range(17, 18))  # four new clips without words
    third = caption(lake, tmp_path / "third")
    assert third["trained"] is False
    assert third["by_source"] == {"coca": 4}
    assert third["embedded"] == 4
    assert colour_of_likest(lake) > 0.8  # chance is 0.5
    assert third["heldout"] == first["heldout"]
    assert third["drift"] == []
    progress = json.loads((tmp_path / "third" / "progress.json").read_text())
    assert (progress["done"], progress["total"]) == (1, 1)


def test_other_words_train_another_version_and_its_drift_is_told(
    lake: Lake, tmp_path: Path
) -> None:
    hasty = replace(RECIPE, steps=4)
    caption(lake, tmp_path / "first", hasty)
    words = lake.read("clips", ["clip_id", "sidecar"], "sidecar is not null").to_pylist()
    for row in words:
        row["sidecar"] = row["sidecar"].replace("moves", "glides")
    lake.upsert("clips", words)
    second = caption(lake, tmp_path / "second", hasty)
    assert second["trained"] is True
    assert second["by_source"] == {"sidecar": 32, "coca": 32}
    (drift,) = second["drift"]
    assert (drift["source"], drift["clips"]) == ("coca", 32)
    assert caption(lake, tmp_path / "third", hasty)["drift"] == []
    versions = [
        set(lake.read(table, where=f"{column} = 'coca'")[name].to_pylist())
        for table, column, name in (
            ("captions", "source", "version"),
            ("clips", "caption_source", "caption_version"),
        )
    ]
    assert versions == [{drift["version"], drift["previous"]}, {drift["version"]}]


def test_a_kill_loses_no_answer_that_was_stored(lake: Lake, tmp_path: Path) -> None:
    killed: list[subprocess.Popen[bytes]] = []

    def answer(number: int, pictures: list[Any]) -> Reply:
        if number == 9:
            killed[0].kill()
        return said(f"A bar, {len(pictures)} times.")

    with chat_server(answer) as chat:
        endpoint = {"url": chat.url, "model": "eye", "concurrency": 1}
        spec = {"recipe": {"endpoint": endpoint, "prefer": ["endpoint"]}, "track": False}
        path = tmp_path / "job" / "spec.json"
        write_json(path, spec)
        command = [sys.executable, "-m", "captioning.job", "--spec", str(path)]
        killed.append(subprocess.Popen(command))
        assert killed[0].wait(120) == -signal.SIGKILL
        stored = lake.count("captions", "source = 'endpoint'")
        assert stored == 8  # two batches of four
        asked = len(chat.requests)
        assert run_job(main, ["--spec", str(path)]) == 0
        assert len(chat.requests) - asked == 64 - stored
    assert lake.count("clips", "caption_source = 'endpoint'") == 64


def test_a_stop_leaves_no_captioner_and_no_caption(lake: Lake, tmp_path: Path) -> None:
    spec = tmp_path / "job" / "spec.json"
    spec.parent.mkdir()
    spec.write_text(json.dumps({"recipe": {"coca": to_dict(RECIPE)}, "track": False}))

    def stopped(context: JobContext) -> dict[str, Any]:
        context.should_stop = True
        return main(context)

    assert run_job(stopped, ["--spec", str(spec)]) == 143
    assert not (spec.parent / "result.json").exists()
    assert not list((tmp_path / "home").glob("captioner/*"))
    assert lake.count("clips", "caption is not null") == 0


def test_unknown_pretrained_model_is_one_clear_sentence(lake: Lake, tmp_path: Path) -> None:
    spec = tmp_path / "job" / "spec.json"
    spec.parent.mkdir()
    spec.write_text(json.dumps({"recipe": {"coca": {"pretrained_model": "coca_nowhere"}}}))
    assert run_job(main, ["--spec", str(spec)]) == 2
    error = json.loads((spec.parent / "error.json").read_text())
    assert error["message"].startswith("open_clip knows no model 'coca_nowhere'")
    assert error["retryable"] is False
