from dataclasses import replace

import cv2
import numpy as np
import pytest

from flows.demo.oracle import UNKNOWN, read, read_attributes, same_object
from flows.demo.scene import (
    BACKGROUNDS,
    Attributes,
    Frames,
    Scene,
    all_attributes,
    random_scene,
    render_frames,
)

EXAMPLE = Attributes(shape="circle", color="red", size="small", direction="left", background="dark")


def clip(scene: Scene, height: int, width: int, num_frames: int = 9) -> Frames:
    return render_frames(scene, [frame / 8 for frame in range(num_frames)], height, width)


def worn(x_THWC: Frames, blur: float, noise: float, rng: np.random.Generator) -> Frames:
    soft = np.stack([cv2.GaussianBlur(x.astype(np.float32), (0, 0), blur) for x in x_THWC])
    return np.clip(soft + rng.normal(0, noise, soft.shape) + 0.5, 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("height", "width", "num_frames"),
    [(48, 48, 9), (48, 64, 9), (64, 48, 9), (48, 64, 5), (192, 256, 9), (240, 320, 5)],
)
def test_fresh_renders_are_read_without_a_mistake(height: int, width: int, num_frames: int) -> None:
    rng = np.random.default_rng(height + width)
    step = 2 if height < 100 else 5  # every value of every attribute is still among them
    for attributes in all_attributes()[::step]:
        found = read_attributes(clip(random_scene(attributes, rng), height, width, num_frames))
        assert found == attributes


def test_blur_and_noise_as_of_a_network_do_not_matter() -> None:
    rng = np.random.default_rng(7)
    right = [
        read_attributes(worn(clip(random_scene(a, rng), 48, 64), 0.7, 4, rng)) == a
        for a in all_attributes()[1::2]
    ]
    assert np.mean(right) >= 0.995


def test_an_object_on_the_frame_edge_is_one_object() -> None:
    for start in [(0.0, 0.5), (0.5, 0.0), (0.0, 0.0), (0.99, 0.99)]:
        scene = Scene(attributes=EXAMPLE, start=start, speed=0.45, scale=1.0, tilt=0.06)
        assert read_attributes(clip(scene, 48, 64)) == EXAMPLE


def test_a_long_clip_that_circles_the_torus_keeps_its_direction() -> None:
    scene = random_scene(EXAMPLE, np.random.default_rng(0))
    x_THWC = render_frames(scene, [frame / 24 for frame in range(24 * 5)], 48, 64)
    assert read_attributes(x_THWC) == EXAMPLE


def test_a_static_clip_has_no_direction() -> None:
    x_HWC = clip(random_scene(EXAMPLE, np.random.default_rng(0)), 48, 64)[0]
    assert read_attributes(np.stack([x_HWC] * 9)) == replace(EXAMPLE, direction=UNKNOWN)


def test_shaking_on_the_spot_is_no_direction() -> None:
    x_THWC = clip(random_scene(EXAMPLE, np.random.default_rng(0)), 48, 64)
    found = read_attributes(x_THWC[[0, 3, 0, 3, 0, 3, 0, 3, 1]])
    assert found is not None
    assert found.direction == UNKNOWN


@pytest.mark.parametrize("level", [0, 27, 124, 255])
def test_empty_frames_have_no_object(level: int) -> None:
    rng = np.random.default_rng(level)
    noise = rng.normal(level, 6, (9, 48, 64, 3))
    assert read(np.clip(noise, 0, 255).astype(np.uint8)) is None


def test_an_object_that_is_mostly_gone_is_no_object() -> None:
    x_THWC = clip(random_scene(EXAMPLE, np.random.default_rng(0)), 48, 64)
    x_THWC[4:] = BACKGROUNDS["dark"]
    assert read(x_THWC) is None


def test_a_shape_that_is_none_of_the_three_reads_unknown() -> None:
    x_THWC = np.full((9, 48, 64, 3), 27, np.uint8)
    for frame, x_HWC in enumerate(x_THWC):
        x_HWC[6:10, 10 + frame : 40 + frame] = (226, 54, 54)  # a thin bar
    found = read_attributes(x_THWC)
    assert found is not None
    assert (found.shape, found.color, found.direction) == (UNKNOWN, "red", "right")


def test_same_object_needs_every_attribute_known_and_equal() -> None:
    assert same_object(EXAMPLE, replace(EXAMPLE))
    assert not same_object(EXAMPLE, replace(EXAMPLE, color="blue"))
    still = replace(EXAMPLE, direction=UNKNOWN)
    assert not same_object(still, still)
    assert not same_object(None, None)
