import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from infra.errors import InputError
from modeling.generate import Generator
from modeling.tasks import (
    Box,
    Frames,
    Request,
    bridge,
    extend,
    image,
    image_to_video,
    infill,
    inpaint,
    loop,
    outpaint,
    pixels,
    video_to_video,
)
from tests.unit.modeling.small import moving_clip, small_bundle

HALF = Box(top=0, left=0.5, height=1, width=0.5)
SIZES = [(48, 48, 16), (48, 64, 20), (64, 48, 28)]  # height, width, frames: windows are of 13


@pytest.fixture(scope="module")
def generator() -> Generator:
    return Generator(small_bundle())


def request(num_frames: int = 20, height: int = 48, width: int = 48) -> Request:
    return Request(
        prompt="a red ball", num_frames=num_frames, height=height, width=width, seed=3, steps=1
    )


def clip(frames: int, side: int = 48) -> Frames:
    return moving_clip("clip", frames, side).frames_THWC


Whole = list[tuple[int, int]]
TASKS: dict[str, tuple[Callable[[Request], Request], Callable[[int], Whole]]] = {
    "text-to-video": (lambda r: r, lambda n: []),
    "image": (image, lambda n: []),
    "image-to-video": (lambda r: image_to_video(r, clip(1)[0]), lambda n: [(0, 1)]),
    "forward": (lambda r: extend(r, clip(7)), lambda n: [(0, 7)]),
    "backward": (lambda r: extend(r, clip(7), "backward"), lambda n: [(n - 7, n)]),
    "bridge": (lambda r: bridge(r, clip(5), clip(9)), lambda n: [(0, 5), (n - 9, n)]),
    "loop": (loop, lambda n: []),
    "loop a clip": (lambda r: loop(r, clip(8)), lambda n: [(0, 8)]),
    "infill": (
        lambda r: infill(r, clip(r.num_frames), start=7, end=13),
        lambda n: [(0, 7), (13, n)],
    ),
    "inpaint": (lambda r: inpaint(r, clip(r.num_frames), HALF), lambda n: []),
    "outpaint": (lambda r: outpaint(r, clip(r.num_frames), HALF), lambda n: []),
    "video-to-video": (lambda r: video_to_video(r, clip(r.num_frames), 0.6), lambda n: []),
}


@pytest.mark.parametrize(("height", "width", "frames"), SIZES)
@pytest.mark.parametrize("name", TASKS)
def test_every_task_runs_at_any_size_and_keeps_what_was_given(
    generator: Generator, name: str, height: int, width: int, frames: int
) -> None:
    fill, whole = TASKS[name]
    asked = fill(request(frames, height, width))
    video = generator.generate(asked)
    assert video.shape == (asked.num_frames, height, width, 3) and video.dtype == np.uint8
    assert [(given.start, given.end) for given in asked.given if not given.box] == whole(frames)
    for given in asked.given:
        shown = video[given.start : given.end]
        if given.box is None and (height, width) == (48, 48):
            assert np.array_equal(shown, given.frames)
        if name == "outpaint":
            part = (slice(None), *pixels(HALF, height, width))
            assert np.array_equal(shown[part], given.frames[part])


def test_what_is_made_anew_inside_a_box_is_all_that_changes(generator: Generator) -> None:
    real, (rows, columns) = clip(20), pixels(HALF, 48, 48)
    video = generator.generate(inpaint(request(), real, HALF))
    assert np.array_equal(video[..., : columns.start, :], real[..., : columns.start, :])
    assert not np.array_equal(video[:, rows, columns], real[:, rows, columns])


def test_the_weaker_the_strength_the_nearer_to_the_source(generator: Generator) -> None:
    source = clip(13)
    videos = [
        generator.generate(video_to_video(request(13), source, strength)).astype(int)
        for strength in (0.02, 0.5, 1.0)
    ]
    plain = generator.generate(request(13)).astype(int)
    away = [np.abs(video - videos[0]).mean() for video in videos]
    assert 0 < away[1] < away[2] and np.array_equal(videos[2], plain)


def test_frames_of_another_size_are_scaled_to_cover(generator: Generator) -> None:
    video = generator.generate(extend(request(20, 48, 64), clip(5, side=96)))
    assert video.shape == (20, 48, 64, 3)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda: extend(request(20), clip(20)), "20 frames leave nothing to make of 20: .* ask"),
        (lambda: extend(request(), clip(5), "up"), "direction is 'up'.*'forward' or 'backward'"),
        (lambda: bridge(request(), clip(5), clip(5, 32)), "48x48 and 32x32; scale them to one"),
        (lambda: bridge(request(20), clip(9), clip(11)), "20 frames leave nothing to make"),
        (lambda: bridge(request(20), clip(5), clip(5)), "second clip's 5 frames .* 7 or more"),
        (lambda: loop(request(18)), "multiple of 4 frames, not 18; ask for 16 or 20"),
        (lambda: loop(request(20), clip(3)), "4 frames or more, not 3"),
        (lambda: infill(request(), clip(20), start=4, end=4), "frames 4 to 4 cannot be made"),
        (lambda: infill(request(), clip(20), start=0, end=20), "frames 0 to 20 cannot be made"),
        (lambda: infill(request(), clip(12), start=4, end=8), "12 frames and the result 20"),
        (lambda: video_to_video(request(), clip(20), 0.0), "strength is 0; .* above 0"),
        (lambda: video_to_video(request(), clip(20), 1.5), "strength is 1.5; .* at most 1"),
        (lambda: inpaint(request(), clip(20), Box(top=0, left=0.6, height=1, width=0.5)), "Box"),
        (lambda: outpaint(request(), clip(20), Box(top=0, left=0, height=1, width=1)), "some is"),
        (
            lambda: inpaint(request(), clip(20), Box(top=0, left=float("nan"), height=1, width=1)),
            "not a part of the frame",
        ),
    ],
)
def test_what_cannot_be_done_is_refused_with_the_value_and_the_fix(
    wrong: Callable[[], Request], says: str
) -> None:
    with pytest.raises(InputError, match=says):
        wrong()


def test_what_is_too_short_for_this_model_is_refused(generator: Generator) -> None:
    with pytest.raises(InputError, match=r"12 frames is too short .* ask for 16 or more"):
        generator.total_steps(loop(request(12)))
    everything = extend(request(20), clip(19))
    everything = dataclasses.replace(everything, num_frames=19)
    with pytest.raises(InputError, match="all 19 frames are given"):
        generator.total_steps(everything)
