"""Embeddings, near-duplicates and their split in a lake of a film and one that was cut anew."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from captioning.captioner import Clip
from captioning.frames import FrameReader
from captioning.inference import Inference
from captioning.likeness import Likeness
from captioning.recipe import CocaRecipe, LikenessRecipe
from infra.job_files import JobContext
from infra.lake import Lake, quote
from infra.settings import Settings
from infra.splits import split_of
from infra.video import encode_mp4

FPS = 10.0
TRAIN, VAL, OTHER = "1" * 64, "0" * 64, "00000011" + "a" * 56  # films: the first 8 digits decide
RECIPE = CocaRecipe(cell=24)


@cache
def shot(seed: int, start: int = 0, stop: int = 20, width: int = 64) -> bytes:
    """Frames of a scene of coloured blocks that drift; scaled to `width`."""
    rng = np.random.default_rng(seed)
    scene = rng.integers(30, 226, (6, 16, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    drift = [scene[:, 2 * step : 2 * step + 64] for step in range(20)]
    size = (width, width * 3 // 4)
    drift = [cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in drift]
    return encode_mp4(np.stack(drift[start:stop]), FPS)


@pytest.fixture
def lake(own_home: Settings) -> Lake:
    """VAL's film of three shots; TRAIN's of two of them, shorter and smaller; another of OTHER."""
    found = Lake(own_home.lake_uri)
    found.ensure()
    add(found, VAL, [("a1", shot(1), 64, 20), ("a2", shot(2), 64, 20), ("a3", shot(3), 64, 20)])
    add(found, TRAIN, [("b1", shot(1, 4, 16), 64, 12), ("b2", shot(2, width=48), 48, 20)])
    add(found, OTHER, [("c1", shot(9), 64, 20)])
    return found


def add(lake: Lake, source_id: str, clips: Sequence[tuple[str, bytes, int, int]]) -> None:
    lake.write_clip_bytes({clip_id: data for clip_id, data, *_ in clips})
    rows = [
        {
            "clip_id": clip_id, "source_id": source_id, "status": "accepted", "start_s": 0.0,
            "end_s": frames / FPS, "offset_s": 0.0, "width": width, "height": width * 3 // 4,
            "split": split_of(source_id),
        }
        for clip_id, _, width, frames in clips
    ]  # fmt: skip
    lake.upsert("clips", rows)


def update(lake: Lake, recipe: CocaRecipe = RECIPE, **alike: Any) -> dict[str, int]:
    context = JobContext({}, Path(lake.uri).parent)
    columns = ["clip_id", "offset_s", "start_s", "end_s", "width", "height"]
    spans = [
        Clip(duration_s=row.pop("end_s") - row.pop("start_s"), **row)
        for row in lake.read("clips", columns, "status = 'accepted'").to_pylist()
    ]
    likeness = Likeness(context, Settings(), lake, recipe, LikenessRecipe(**alike), {})
    inference = Inference(
        "inline", Settings(), lake, FrameReader(lake, recipe, 1), context.raise_if_stopping
    )
    return likeness.update(spans, inference)


def facts(lake: Lake) -> dict[str, tuple[str | None, str]]:
    """clip id → (duplicate of, split)."""
    rows = lake.read("clips", ["clip_id", "duplicate_of", "split"]).to_pylist()
    return {row["clip_id"]: (row["duplicate_of"], row["split"]) for row in rows}


EXPECTED = {
    "a1": (None, "train"), "a2": (None, "train"), "a3": (None, "val"), "b1": ("a1", "train"),
    "b2": ("a2", "train"), "c1": (None, "train"),
}  # fmt: skip


def test_copies_in_another_film_point_at_the_best_and_share_its_side(lake: Lake) -> None:
    before = lake.content_hash()
    assert update(lake) == {"embedded": 6, "near_duplicates": 2}
    assert facts(lake) == EXPECTED
    assert lake.count("clips", "duplicate_of is null") == 4
    assert lake.content_hash() != before
    versions = lake.versions()
    assert update(lake) == {"embedded": 0, "near_duplicates": 2}
    assert lake.versions() == versions


def test_what_came_first_makes_no_difference(lake: Lake, tmp_path: Path) -> None:
    update(lake)
    other = Lake(str(tmp_path / "other"))
    other.ensure()
    add(other, TRAIN, [("b2", shot(2, width=48), 48, 20), ("b1", shot(1, 4, 16), 64, 12)])
    update(other)
    assert set(facts(other).values()) == {(None, "train")}
    add(other, VAL, [("a1", shot(1), 64, 20), ("a2", shot(2), 64, 20), ("a3", shot(3), 64, 20)])
    add(other, OTHER, [("c1", shot(9), 64, 20)])
    assert update(other) == {"embedded": 4, "near_duplicates": 2}
    assert facts(other) == EXPECTED
    assert other.content_hash() == lake.content_hash()


def test_without_its_copies_a_clip_goes_back_to_the_side_of_its_film(lake: Lake) -> None:
    update(lake)
    lake.delete("clips", f"source_id = {quote(TRAIN)}")
    assert update(lake) == {"embedded": 0, "near_duplicates": 0}
    assert {name: split for name, (_, split) in facts(lake).items()} == {
        "a1": "val", "a2": "val", "a3": "val", "c1": "train",
    }  # fmt: skip


def test_a_film_that_is_read_anew_keeps_its_group(lake: Lake) -> None:
    update(lake)
    lake.upsert("clips", [{"clip_id": "a1", "split": "val", "duplicate_of": None}])
    update(lake)
    assert facts(lake) == EXPECTED


def test_a_stricter_recipe_compares_again_but_embeds_nothing(lake: Lake) -> None:
    update(lake)
    again = update(lake, mean_distance=0.0, cell_distance=0.0)
    assert again == {"embedded": 0, "near_duplicates": 0}


def test_other_frames_make_another_version_of_all(lake: Lake) -> None:
    update(lake)
    first = lake.read("clips", ["embedding_recipe"])["embedding_recipe"].unique().to_pylist()
    assert update(lake, replace(RECIPE, cell=16))["embedded"] == 6
    second = lake.read("clips", ["embedding_recipe"])["embedding_recipe"].unique().to_pylist()
    assert len(first) == len(second) == 1
    assert first != second
    assert facts(lake) == EXPECTED


def test_a_run_that_was_stopped_after_its_embeddings_is_completed(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as dying:
        dying.setattr(Likeness, "_compare", lambda _self: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            update(lake)
    assert update(lake) == {"embedded": 0, "near_duplicates": 2}
    assert facts(lake) == EXPECTED


def test_a_clip_that_does_not_decode_is_left_without(lake: Lake) -> None:
    add(lake, OTHER, [("c2", b"no film", 64, 20)])
    assert update(lake) == {"embedded": 6, "near_duplicates": 2}
    assert facts(lake) == EXPECTED | {"c2": (None, "train")}
