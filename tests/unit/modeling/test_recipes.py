from pathlib import Path

import pytest
import torch

from infra.errors import InputError, NotFoundError
from infra.recipes import change_recipe, from_dict, to_dict
from modeling.data import nearest_size
from modeling.dit import DiT
from modeling.recipes import ModelRecipe, tiny
from modeling.sampler import SamplerRecipe
from modeling.sizes import by_name, for_workers, window_rows
from modeling.vae import GROUP


def test_a_recipe_comes_back_from_its_own_json() -> None:
    assert from_dict(ModelRecipe, to_dict(tiny(seed=3))) == tiny(seed=3)


def test_an_unknown_choice_is_refused_with_those_that_exist() -> None:
    with pytest.raises(InputError, match=r"solver is 'heun'.*'euler', 'adams'"):
        from_dict(SamplerRecipe, {"solver": "heun"})


@pytest.mark.parametrize(
    ("name", "millions"), [("tiny", 2.5), ("small", 105.4), ("base", 1016.2), ("large", 8089.2)]
)
def test_each_recipe_by_name_is_of_its_size_and_fits_together(name: str, millions: float) -> None:
    recipe = by_name(name, seed=5)
    config, data = recipe.dit.config, recipe.data
    with torch.device("meta"):
        count = sum(parameter.numel() for parameter in DiT(config).parameters())
    assert count / 1e6 == pytest.approx(millions, abs=0.05) and recipe.seed == 5
    assert from_dict(ModelRecipe, to_dict(recipe)) == recipe
    assert config.width // config.heads in (64, 128) and config.width % config.heads == 0
    assert config.latent_channels == recipe.vae.config.latent_channels
    assert (data.num_frames - 1) % GROUP == 0 and data.max_frames >= data.num_frames
    height, width = nearest_size(1920, 1080, data)
    assert height % data.side_multiple == 0 and height * width <= data.max_area
    largest = recipe.dit.text.max_tokens + window_rows(data, config.patch)
    assert recipe.dit.optimizer.token_budget in (0, *range(largest, 10**6))


def test_an_unknown_name_is_refused_with_those_that_exist() -> None:
    with pytest.raises(NotFoundError, match="'huge'; there are: base, large, small, tiny"):
        by_name("huge")


def test_larger_windows_are_shifted_further_towards_noise() -> None:
    shifts = [by_name(name).dit.sampler.shift for name in ("small", "base", "large")]
    assert shifts == sorted(shifts) and shifts[0] > 2 and shifts[-1] == 8.0


@pytest.mark.parametrize(("workers", "batches"), [(1, 32), (8, 4), (64, 1), (500, 1)])
def test_a_step_holds_as_many_rows_on_any_number_of_workers(workers: int, batches: int) -> None:
    optimizer = for_workers(by_name("base"), workers).dit.optimizer
    assert optimizer.accumulate == batches
    assert for_workers(tiny(), workers) == tiny()


def test_a_file_changes_values_at_any_depth(tmp_path: Path) -> None:
    path = tmp_path / "tiny.json"
    path.write_text('{"dit": {"text": {"encoder": "open_clip"}, "optimizer": {"steps": 7}}}')
    changed = change_recipe(tiny(), path)
    assert (changed.dit.text.encoder, changed.dit.optimizer.steps) == ("open_clip", 7)
    assert changed.dit.optimizer.batch == tiny().dit.optimizer.batch and changed.vae == tiny().vae


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"dit": {"stepz": 1}}', r"tiny\.json changes no ModelRecipe: .*no field 'stepz'"),
        ('{"dit": {"text": {"encoder": "word2vec"}}}', "one of 'trained', 'hugging_face'"),
        ('{"dit": 3}', "dit is 3"),
        ("[]", "one JSON object"),
        ("{", r"tiny\.json changes no"),
    ],
)
def test_a_file_that_changes_nothing_that_exists_is_refused(
    tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "tiny.json"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        change_recipe(tiny(), path)
