import dataclasses

import numpy as np
import pytest

from flows.demo.scene import (
    CROSSING_SHARE,
    ENTERS_S,
    LEAVES_S,
    SIZES,
    SPEED,
    Attributes,
    Scene,
    all_attributes,
    position,
    random_scene,
    render,
)

SIDES = [(48, 64), (48, 48), (64, 48)]


def is_inside(scene: Scene, time_s: float, height: int, width: int) -> bool:
    margin = SIZES[scene.attributes.size] * scene.scale * min(height, width) / 2 - 1e-6
    x, y = position(scene, time_s, height, width)
    return margin <= x <= width - margin and margin <= y <= height - margin


@pytest.mark.parametrize(("height", "width"), SIDES)
def test_an_object_stays_inside_the_frame_or_goes_over_its_edge_while_a_shot_lasts(
    height: int, width: int
) -> None:
    """Most stay: half in, half out, an object is two to a viewer who never saw it cross."""
    rng = np.random.default_rng(3)
    scenes = [random_scene(attributes, rng) for attributes in all_attributes()]
    times_s = np.linspace(ENTERS_S, LEAVES_S, 31)
    stays = [all(is_inside(scene, float(t), height, width) for t in times_s) for scene in scenes]
    assert stays == [not scene.crosses for scene in scenes]
    assert 1 - CROSSING_SHARE - 0.08 < np.mean(stays) < 1 - CROSSING_SHARE + 0.08


@pytest.mark.parametrize(("height", "width"), SIDES)
def test_crossings_are_seen_in_all_their_phases(height: int, width: int) -> None:
    """Along its way the object's centre may be anywhere on the torus, across it only inside."""
    rng = np.random.default_rng(4)
    moving = [a for a in all_attributes() if a.direction == "right"] * 8
    scenes = [dataclasses.replace(random_scene(a, rng), crosses=True) for a in moving]
    places = [position(scene, (ENTERS_S + LEAVES_S) / 2, height, width) for scene in scenes]
    from_edge = np.array([(x + width / 2) % width - width / 2 for x, _ in places])
    reach = (SIZES["large"] / 2 + SPEED * (LEAVES_S - ENTERS_S) / 2) * min(height, width)
    assert np.histogram(from_edge, 8, (-0.9 * reach, 0.9 * reach))[0].min() > len(moving) / 40
    for scene, (_, y) in zip(scenes, places, strict=True):
        margin = SIZES[scene.attributes.size] * scene.scale * min(height, width) / 2 - 1e-6
        assert margin <= y <= height - margin


def test_long_after_it_comes_back_on_the_other_side() -> None:
    attributes = Attributes(
        shape="circle", color="red", size="small", direction="left", background="dark"
    )
    scene = Scene(attributes=attributes, start=(0.5, 0.5), speed=SPEED, scale=1.0, tilt=0.0)
    lap_s = 64 / (SPEED * 48)
    once, again = render(scene, 0.3, 48, 64), render(scene, 0.3 + lap_s, 48, 64)
    assert np.abs(once.astype(int) - again).max() <= 1  # rounding of the wrapped centre


def test_up_is_towards_the_first_row() -> None:
    attributes = Attributes(
        shape="bar", color="red", size="small", direction="up", background="dark"
    )
    scene = Scene(attributes=attributes, start=(0.5, 0.5), speed=SPEED, scale=1.0, tilt=0.0)
    rows = [render(scene, t, 48, 64)[..., 0].sum(1).argmax() for t in (0.0, 0.5)]
    assert rows[1] < rows[0]


def test_the_triangle_stands_on_its_base() -> None:
    attributes = Attributes(
        shape="triangle", color="red", size="large", direction="up", background="dark"
    )
    scene = Scene(attributes=attributes, start=(0.5, 0.5), speed=SPEED, scale=1.0, tilt=0.0)
    widths = (render(scene, 0, 48, 64)[..., 0] > 128).sum(1)
    covered = widths[widths > 0]
    assert covered[0] < covered[-1]
