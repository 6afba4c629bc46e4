"""Which clips show the same, on made-up signatures: colour grids (frames, 6x8x3) over time."""

from itertools import permutations

import numpy as np
import numpy.typing as npt
import pytest

from captioning.descriptor import GRID_SIZE
from captioning.near_duplicates import Clip, best, find_pairs, groups
from captioning.recipe import LikenessRecipe

RECIPE = LikenessRecipe()
Shot = npt.NDArray[np.float32]


def shot(seed: int, frames: int = 40) -> Shot:
    """Grids that drift smoothly from one random picture to another."""
    first, last = np.random.default_rng(seed).uniform(20, 235, (2, GRID_SIZE))
    share = np.linspace(0, 1, frames)[:, None]
    return np.asarray(first * (1 - share) + last * share, np.float32)


def clip(name: str, grids: Shot, noise: float = 0.0, film: str = "", **more: object) -> Clip:
    """A clip of a film of its own, its grids a little off as after re-encoding."""
    rng = np.random.default_rng(len(name))
    values = (grids + rng.normal(0, noise, grids.shape)).clip(0, 255).round().astype(np.uint8)
    return Clip(clip_id=name, source_id=film or name, signature=values.tobytes(), **more)  # type: ignore[arg-type]


def pairs(*clips: Clip) -> dict[str, list[str]]:
    return find_pairs(clips, [], RECIPE)


def test_a_part_of_a_shot_is_found_wherever_it_was_cut() -> None:
    whole = clip("whole", shot(1))
    for start, stop in ((0, 40), (0, 14), (13, 29), (26, 40)):
        part = clip("part", shot(1)[start:stop], noise=2.0)
        assert pairs(whole, part) == {"whole": [], "part": ["whole"]}, (start, stop)


def test_other_shots_and_hardly_shared_ones_are_apart() -> None:
    long = np.concatenate([shot(1, 12), shot(2, 40)])
    assert not any(pairs(clip("a", shot(1)), clip("b", shot(2))).values())
    assert not any(pairs(clip("a", shot(1)[:12]), clip("b", long[10:])).values())


def test_the_same_place_with_something_else_in_it_is_apart() -> None:
    scene = shot(3)
    other = scene.reshape(-1, 6, 8, 3).copy()
    other[:, 2:4, 3:5] = 255 - other[:, 2:4, 3:5]
    assert not any(pairs(clip("a", scene), clip("b", other.reshape(scene.shape))).values())


def test_clips_of_one_film_and_glimpses_are_not_compared() -> None:
    assert not any(pairs(clip("a", shot(1), film="f"), clip("b", shot(1), film="f")).values())
    assert not any(pairs(clip("a", shot(1)), clip("b", shot(1)[:3])).values())


def test_a_pretrained_model_is_asked_too() -> None:
    rng = np.random.default_rng(0)
    looks = rng.normal(size=(2, 768)).astype(np.float32)
    looks /= np.linalg.norm(looks, axis=1, keepdims=True)
    found = pairs(
        clip("a", shot(1), embedding=looks[0]),
        clip("b", shot(2), embedding=looks[0]),
        clip("c", shot(4), embedding=looks[1]),
    )
    assert found == {"a": [], "b": ["a"], "c": []}


@pytest.mark.parametrize("order", list(permutations(range(4))))
def test_groups_do_not_depend_on_the_order_in_which_clips_came(order: tuple[int, ...]) -> None:
    clips = [
        clip("a", shot(1)[:24]), clip("b", shot(1), noise=1.0), clip("c", shot(1)[20:]),
        clip("d", shot(5)),
    ]  # fmt: skip
    found: dict[str, list[str]] = {}
    known: list[Clip] = []
    for index in order:
        found |= find_pairs([clips[index]], known, RECIPE)
        known.append(clips[index])
    assert groups(found) == [["a", "b", "c"]]  # a and c by way of b
    without_b = {name: others for name, others in found.items() if name != "b"}
    assert groups(without_b) == []


def test_the_copy_with_most_pixels_is_the_best() -> None:
    row = {"width": 64, "height": 48, "start_s": 1.0, "end_s": 3.0, "sharpness": 1.0}
    rows = [
        row | {"clip_id": "small"},
        row | {"clip_id": "b", "width": 128},
        row | {"clip_id": "a", "width": 128},
        row | {"clip_id": "soft", "width": 128, "sharpness": None},
        row | {"clip_id": "short", "width": 128, "end_s": 2.0},
    ]
    assert best(rows) == "a"
