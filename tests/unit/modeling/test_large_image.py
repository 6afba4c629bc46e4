import dataclasses

import numpy as np
import pytest
import torch

from infra.errors import InputError
from modeling.bundle import Bundle
from modeling.data import to_float
from modeling.large_image import enlarged, large_image
from modeling.recipes import LargeImageRecipe
from modeling.sampler import SamplingStopped
from tests.unit.modeling.small import small_bundle


def bundle(**values: object) -> Bundle:
    made = small_bundle()
    recipe = dataclasses.replace(made.recipe, large_image=LargeImageRecipe(steps=2, **values))  # type: ignore[arg-type]
    return dataclasses.replace(made, recipe=recipe)


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_a_picture_has_the_size_asked_for_and_both_stages_are_counted(guidance: float) -> None:
    seen: list[tuple[int, int]] = []
    made = bundle(guidance=guidance)
    size = {"height": 100, "width": 150}
    picture = large_image(
        made, "a red ball", seed=1, on_step=lambda *step: seen.append(step) is None, **size
    )
    assert picture.shape == (100, 150, 3) and picture.dtype == np.uint8
    assert seen == [(step, 5) for step in range(1, 6)]
    assert np.array_equal(large_image(made, "a red ball", seed=1, **size), picture)
    assert not np.array_equal(large_image(made, "a red ball", seed=2, **size), picture)


def test_steps_that_reuse_a_velocity_are_counted_in_both_stages() -> None:
    made, seen = bundle(), list[tuple[int, int]]()
    sampler = dataclasses.replace(made.recipe.dit.sampler, steps=8, whole_share=0.5)
    stages = dataclasses.replace(made.recipe.large_image, steps=6)
    recipe = dataclasses.replace(
        made.recipe, dit=dataclasses.replace(made.recipe.dit, sampler=sampler), large_image=stages
    )
    made = dataclasses.replace(made, recipe=recipe)
    large_image(
        made, "a", height=96, width=96, seed=1, on_step=lambda *step: seen.append(step) is None
    )
    assert seen == [(done, 14) for done in (1, 4, 7, 8, 9, 11, 13, 14)]


def test_the_second_stage_starts_from_the_first_ones_picture() -> None:
    """With next to no noise it stays what it was, only larger."""
    made = bundle(start=1e-6)
    small = torch.zeros(1, made.vae.latent_channels, 6, 6)
    large = made.vae.decode(enlarged(made, small, 96, 112)[None])[0]
    assert large.shape == (1, 96, 112, 3)
    sizes = [(48, 48), (96, 96)]
    first, second = (large_image(made, "a", height=h, width=w, seed=3) for h, w in sizes)
    means = [float(to_float(picture).mean()) for picture in (first, second)]
    assert abs(means[0] - means[1]) < 0.1


def test_stopping_ends_it_within_a_step() -> None:
    with pytest.raises(SamplingStopped):
        large_image(bundle(), "a", height=96, width=96, seed=1, on_step=lambda done, _: done < 4)


@pytest.mark.parametrize(("height", "width"), [(8, 96), (96, 5000), (0, 0)])
def test_sides_beyond_the_limits_are_refused(height: int, width: int) -> None:
    with pytest.raises(InputError, match=f"{width}x{height}.*between 16 and 4096"):
        large_image(bundle(), "a", height=height, width=width, seed=1)
