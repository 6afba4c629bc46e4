import numpy as np

from flows.demo.scene import DIRECTIONS, Attributes, Scene, all_attributes, random_scene, render


def test_what_leaves_on_one_side_comes_back_on_the_other() -> None:
    """A start a whole frame away is the same scene: drawing must wrap at every edge."""
    rng = np.random.default_rng(3)
    for attributes in all_attributes()[::7]:
        scene = random_scene(attributes, rng)
        for dx, dy in DIRECTIONS.values():
            moved = Scene(
                attributes=attributes,
                start=(scene.start[0] + dx, scene.start[1] + dy),
                speed=scene.speed,
                scale=scene.scale,
                tilt=scene.tilt,
            )
            before, after = render(scene, 0.7, 48, 64), render(moved, 0.7, 48, 64)
            assert np.abs(before.astype(int) - after).max() <= 1  # rounding of the wrapped centre


def test_up_is_towards_the_first_row() -> None:
    attributes = Attributes(
        shape="square", color="red", size="small", direction="up", background="dark"
    )
    scene = Scene(attributes=attributes, start=(0.5, 0.5), speed=0.45, scale=1.0, tilt=0.0)
    rows = [render(scene, t, 48, 64)[..., 0].sum(1).argmax() for t in (0.0, 0.5)]
    assert rows[1] < rows[0]


def test_the_triangle_stands_on_its_base() -> None:
    attributes = Attributes(
        shape="triangle", color="red", size="large", direction="up", background="dark"
    )
    scene = Scene(attributes=attributes, start=(0.5, 0.5), speed=0.45, scale=1.0, tilt=0.0)
    widths = (render(scene, 0, 48, 64)[..., 0] > 128).sum(1)
    covered = widths[widths > 0]
    assert covered[0] < covered[-1]
