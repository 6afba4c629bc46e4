import numpy as np
import pytest

from flows.demo.scene import (
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


@pytest.mark.parametrize(("height", "width"), [(48, 64), (48, 48), (64, 48)])
def test_an_object_stays_inside_the_frame_for_as_long_as_a_shot_lasts(
    height: int, width: int
) -> None:
    """Half in, half out, it would be two objects to a viewer, and nobody could say which."""
    rng = np.random.default_rng(3)
    for attributes in all_attributes():
        scene = random_scene(attributes, rng)
        margin = SIZES[attributes.size] * scene.scale * min(height, width) / 2 - 1e-6
        for time_s in np.linspace(ENTERS_S, LEAVES_S, 5):
            x, y = position(scene, float(time_s), height, width)
            assert margin <= x <= width - margin and margin <= y <= height - margin


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
