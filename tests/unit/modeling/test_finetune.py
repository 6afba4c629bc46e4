import dataclasses
from pathlib import Path

import pytest
import torch

from infra.errors import InputError, NotFoundError
from infra.settings import Settings
from modeling.bundle import load_bundle, save_bundle
from modeling.data import to_float
from modeling.finetune import finish, open_parent, pin_parent, start, take_vae
from modeling.recipes import ModelRecipe, tiny
from modeling.sizes import fine_tuned
from modeling.train_dit import dit_loss
from modeling.weights import file_hash
from tests.unit.modeling.small import moving_clip, noisy_sample, small_bundle

CAPTIONS = ["a red ball rolls left", "a zebra rolls"]
STEPS = 16


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = small_bundle()
    parts = (made.recipe, made.vae, made.dit, made.text, made.tokenizer)
    return save_bundle(tmp_path_factory.mktemp("parent"), *parts, {"release": "r1"})


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path)


def recipe_of(parent: Path, rank: int = 0) -> ModelRecipe:
    recipe = small_bundle().recipe
    optimizer = dataclasses.replace(
        recipe.dit.optimizer, steps=4 * STEPS, learning_rate=1e-2 if rank else 2e-2
    )
    recipe = dataclasses.replace(recipe, dit=dataclasses.replace(recipe.dit, optimizer=optimizer))
    return fine_tuned(recipe, str(parent), rank)


@pytest.mark.parametrize("rank", [0, 4])
def test_training_goes_on_from_a_bundle_and_its_loss_falls(
    parent: Path, settings: Settings, rank: int
) -> None:
    recipe = pin_parent(recipe_of(parent, rank), settings)
    begun, before = start(recipe, settings, CAPTIONS), load_bundle(parent)
    with torch.no_grad():
        frames = moving_clip("c", frames=9).frames_THWC
        latents = before.vae.encode(to_float(frames)[None])[0]
    tokens = begun.tokenizer.encode(CAPTIONS[0])
    trained = [p for m in (begun.dit, begun.text) for p in m.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, recipe.dit.optimizer.learning_rate)
    for step in range(recipe.dit.optimizer.steps):
        optimizer.zero_grad()
        samples = [noisy_sample(latents, tokens, 10 * step + number) for number in range(4)]
        dit_loss(begun.dit, begun.text, samples).backward()
        optimizer.step()
    dit = finish(begun.dit, recipe.dit.lora, settings.home / "bundle")
    parts = (before.vae, dit, begun.text, begun.tokenizer)
    after = load_bundle(save_bundle(settings.home / "bundle", recipe, *parts, begun.lineage))
    held_out = [noisy_sample(latents, tokens, 9999 + number) for number in range(4)]
    with torch.no_grad():
        losses = [float(dit_loss(model.dit, model.text, held_out)) for model in (before, after)]
    assert losses[1] < 0.7 * losses[0]
    names = after.manifest["sha256"]
    assert ("adapters/adapter_model.safetensors" in names) == bool(rank)
    lineage = after.manifest["parent"]
    assert (lineage["start_from"], lineage["release"]) == (str(parent), "r1")
    assert lineage["hash"] == recipe.start_hash


def test_a_model_starts_as_its_parent_with_its_words(parent: Path, settings: Settings) -> None:
    begun = start(recipe_of(parent), settings, CAPTIONS)
    before = load_bundle(parent)
    for own, other in ((begun.dit, before.dit), (begun.text, before.text)):
        pairs = zip(own.parameters(), other.parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)
        assert all(parameter.requires_grad for parameter in own.parameters())
    assert begun.tokenizer.encode("zebra") == [1 + byte for byte in b"zebra"]
    assert begun.says == f"1 of 6 words are new to {parent}, and spelled in bytes"


def test_with_adapters_the_words_stay_as_they_are(parent: Path, settings: Settings) -> None:
    begun = start(recipe_of(parent, rank=2), settings, CAPTIONS)
    assert not any(parameter.requires_grad for parameter in begun.text.parameters())


def test_the_vae_is_the_parents_to_the_byte(parent: Path, settings: Settings) -> None:
    take_vae(recipe_of(parent), settings, settings.home / "vae")
    taken = settings.home / "vae" / "vae.safetensors"
    assert file_hash(taken) == file_hash(parent / "vae.safetensors")


def test_other_shapes_are_refused_with_both(parent: Path, settings: Settings) -> None:
    recipe = dataclasses.replace(tiny(), start_from=str(parent))
    message = r"'tiny' does not fit .* 'small' made: .*dit\.config\.width is 192 and was 64"
    with pytest.raises(InputError, match=message):
        open_parent(recipe, settings)


def test_a_parent_that_changed_after_it_was_pinned_is_refused(
    parent: Path, settings: Settings
) -> None:
    recipe = dataclasses.replace(recipe_of(parent), start_hash="0" * 16)
    with pytest.raises(InputError, match=r"was changed since .* has hash \w+, and had 0000"):
        start(recipe, settings, CAPTIONS)


def test_a_folder_without_a_bundle_and_adapters_of_nothing_are_refused(settings: Settings) -> None:
    with pytest.raises(NotFoundError, match=r"no model bundle in .*: it has no manifest\.json"):
        pin_parent(recipe_of(settings.home), settings)
    with pytest.raises(InputError, match=r"LoRA \(rank 4\) adapts a model that exists"):
        fine_tuned(tiny(), "", 4)
