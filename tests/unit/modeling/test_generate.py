import dataclasses
from pathlib import Path

import numpy as np
import pytest

from infra.errors import InputError, NotFoundError
from modeling.bundle import load_bundle, save_bundle
from modeling.data import nearest_size, window_starts
from modeling.generate import GenerationCancelled, Generator
from modeling.recipes import DataRecipe
from modeling.tasks import Request, extend, fit, image_to_video
from tests.unit.modeling.small import moving_clip, small_bundle

GIVEN = moving_clip("given", frames=7).frames_THWC


def request(**values: object) -> Request:
    base = Request(prompt="a red ball", num_frames=9, height=48, width=48, seed=3)
    return dataclasses.replace(base, **values)  # type: ignore[arg-type]


@pytest.mark.parametrize("frames", [1, 6, 9, 14, 30])
def test_a_video_has_as_many_frames_as_asked_and_the_steps_that_were_announced(frames: int) -> None:
    generator, seen = Generator(small_bundle()), []
    asked = request(num_frames=frames, height=48, width=64)
    video = generator.generate(asked, lambda done, total: seen.append((done, total)) or True)
    assert video.shape == (frames, 48, 64, 3) and video.dtype == np.uint8
    total = generator.total_steps(asked)
    assert seen == [(step, total) for step in range(1, total + 1)]


def test_extending_forward_keeps_the_given_frames_and_goes_on() -> None:
    video = Generator(small_bundle()).generate(extend(request(num_frames=20), GIVEN))
    assert len(video) == 20 and np.array_equal(video[:7], GIVEN)


def test_extending_backward_puts_new_frames_before_the_given_ones() -> None:
    asked = extend(request(num_frames=18), GIVEN, "backward")
    video = Generator(small_bundle()).generate(asked)
    assert len(video) == 18 and np.array_equal(video[-7:], GIVEN)


def test_one_given_picture_opens_the_video() -> None:
    video = Generator(small_bundle()).generate(image_to_video(request(), GIVEN[0]))
    assert len(video) == 9 and np.array_equal(video[0], GIVEN[0])


def test_what_is_given_changes_what_follows() -> None:
    generator = Generator(small_bundle())
    one = generator.generate(image_to_video(request(), GIVEN[0]))
    other = generator.generate(image_to_video(request(), 255 - GIVEN[0]))
    assert not np.array_equal(one[1:], other[1:])


def test_many_at_a_time_are_what_each_would_be_alone() -> None:
    generator = Generator(small_bundle())
    asked = [
        request(seed=1),
        request(seed=2, height=64, prompt="left", num_frames=30),
        image_to_video(request(), GIVEN[0]),
    ]
    for alone, video in zip(asked, generator.generate_many(asked), strict=True):
        difference = generator.generate(alone).astype(int) - video
        assert np.abs(difference).max() <= 1


def test_cancelling_stops_within_a_step() -> None:
    with pytest.raises(GenerationCancelled):
        Generator(small_bundle()).generate(request(), lambda done, _total: done < 2)


def test_a_bundle_that_was_changed_is_refused(tmp_path: Path) -> None:
    bundle = small_bundle()
    parts = (bundle.recipe, bundle.vae, bundle.dit, bundle.text, bundle.tokenizer)
    save_bundle(tmp_path, *parts, {"release": "r1"})
    loaded = load_bundle(tmp_path)
    video, again = (Generator(b).generate(request()) for b in (bundle, loaded))
    assert np.array_equal(video, again) and loaded.manifest["release"] == "r1"
    manifest = (tmp_path / "manifest.json").read_text()
    (tmp_path / "manifest.json").write_text(manifest.replace('"format": 2', '"format": 1'))
    with pytest.raises(InputError, match=r"format 1, .* reads 2: .*; train the model again"):
        load_bundle(tmp_path)
    (tmp_path / "manifest.json").write_text(manifest)
    weights = tmp_path / "dit.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(InputError, match=r"dit\.safetensors has hash"):
        load_bundle(tmp_path)
    weights.unlink()
    with pytest.raises(InputError, match="is missing"):
        load_bundle(tmp_path)
    with pytest.raises(NotFoundError, match=r"no manifest\.json"):
        load_bundle(tmp_path / "elsewhere")


@pytest.mark.parametrize(
    ("width", "height", "expected"),
    [(256, 192, (48, 64)), (208, 208, (48, 48)), (192, 256, (64, 48)), (1280, 720, (48, 64))],
)
def test_a_clip_gets_the_size_of_nearest_aspect(
    width: int, height: int, expected: tuple[int, int]
) -> None:
    assert nearest_size(width, height, DataRecipe()) == expected


def test_windows_are_spread_over_a_clip() -> None:
    recipe = DataRecipe(num_frames=9, max_windows=3)
    assert window_starts(9, recipe) == [0]
    assert window_starts(13, recipe) == [0, 2, 4]
    assert window_starts(49, recipe) == [0, 20, 40]


def test_a_picture_of_another_shape_is_cropped_about_its_middle() -> None:
    frame = np.zeros((40, 120, 3), np.uint8)
    frame[:, 40:80] = 200
    assert fit(frame, 48, 48)[24, 24].tolist() == [200, 200, 200]
    assert fit(frame, 48, 48).shape == (48, 48, 3)
