from pathlib import Path

import numpy as np
import pytest

from infra.errors import InputError
from infra.lake import Lake
from infra.video import encode_mp4, read_clip
from modeling.data import load_pixels
from modeling.recipes import DataRecipe

FPS, FRAMES = 16, 30


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Three clips of two shapes, the third too short for a window."""
    found, rng = Lake(str(tmp_path / "lake")), np.random.default_rng(3)
    found.ensure()
    shapes = {"a": (FRAMES, 32, 48), "b": (FRAMES, 48, 32), "c": (4, 32, 48)}
    for name, (count, height, width) in shapes.items():
        level = rng.integers(0, 200, (height, width, 3))
        film = np.stack([level + index for index in range(count)]).astype(np.uint8)
        found.write_clip_bytes({name * 8: encode_mp4(film, FPS)})
        row = {
            "clip_id": name * 8, "status": "accepted", "split": "train", "offset_s": 0.0,
            "start_s": 1.0, "end_s": 1.0 + count / FPS, "width": width, "height": height,
            "caption": f"clip {name}",
        }  # fmt: skip
        found.upsert("clips", [row])
    found.tag("r1")
    return found


def test_clips_are_decoded_once_and_mapped_afterwards(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, told = DataRecipe(), list[tuple[int, int]]()
    clips = load_pixels(
        lake, "r1", recipe, tmp_path / "cache", on_progress=lambda *at: told.append(at)
    )
    assert [(clip.clip_id, clip.caption) for clip in clips] == [
        ("a" * 8, "clip a"), ("b" * 8, "clip b")
    ]  # fmt: skip
    assert told == [(2, 2)]
    for clip in clips:
        count, height, width, _ = clip.frames_THWC.shape
        times = [index / recipe.fps for index in range(count)]
        data = lake.read_clip_bytes([clip.clip_id])[clip.clip_id]
        assert np.array_equal(clip.frames_THWC, read_clip(data, 0.0, times, (height, width)))
    assert clips[0].frames_THWC.shape[1] < clips[0].frames_THWC.shape[2]
    assert clips[1].frames_THWC.shape[1] > clips[1].frames_THWC.shape[2]
    monkeypatch.setattr(Lake, "clip_batches", None)
    again = load_pixels(lake, "r1", recipe, tmp_path / "cache")
    for clip, known in zip(again, clips, strict=True):
        assert np.array_equal(clip.frames_THWC, known.frames_THWC)


def test_a_release_without_a_window_is_one_sentence(lake: Lake, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'r1' has no clip of .* \(it has 1 clips\)"):
        load_pixels(lake, "r1", DataRecipe(), tmp_path, view="clip_id = 'cccccccc'")
