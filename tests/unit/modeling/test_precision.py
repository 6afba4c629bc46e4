"""What a training computes in: Muon's products, and "auto" on devices with and without bfloat16."""

import dataclasses
from pathlib import Path

import pytest
import torch

from modeling import parallel
from modeling.dit import DiT
from modeling.loader import Loader
from modeling.muon import Muon, orthogonal
from modeling.recipes import ComputeRecipe
from modeling.sizes import by_name
from modeling.text import TextEncoder, Tokenizer
from modeling.train_dit import SampleMaker, velocity_error
from modeling.trainer import Trainer
from tests.unit.modeling.small import MemoryStore, small_recipe


def trained(folder: Path, compute: ComputeRecipe, steps: int, stop_at: int = 0) -> Trainer:
    recipe = small_recipe(steps=steps).dit
    rates = dataclasses.replace(recipe.optimizer, muon_learning_rate=6e-3)
    torch.manual_seed(0)
    tokenizer = Tokenizer(["a", "red", "ball", "rolls", "left"])
    dit, text = DiT(recipe.config), TextEncoder(len(tokenizer), recipe.config.text_width)
    trainer = Trainer(
        {"dit": dit, "text": text},
        Loader(MemoryStore(), SampleMaker(tokenizer, recipe, 8.0), recipe, seed=1),
        lambda samples, _generator: velocity_error(dit, text, samples),
        rates,
        folder,
        seed=1,
        tag="precision",
        compute=compute,
    )
    trainer.fit(lambda _counters, _metrics: None, lambda: trainer.counters.step == stop_at > 0)
    return trainer


def muon_of(trainer: Trainer) -> Muon:
    (muon,) = (each for each in trainer.optimizers if isinstance(each, Muon))
    return muon


@pytest.mark.parametrize(("has", "precision"), [(True, "bfloat16"), (False, "float32")])
def test_auto_is_bfloat16_where_the_device_has_instructions_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has: bool, precision: str
) -> None:
    monkeypatch.setattr(parallel, "has_bfloat16", lambda _device: has)
    trainer = trained(tmp_path, ComputeRecipe(precision="auto"), steps=1)
    assert trainer.compute.precision == precision
    assert muon_of(trainer).dtype == (torch.bfloat16 if has else None)
    assert {p.dtype for p in trainer.parameters} == {torch.float32}
    assert by_name("tiny").dit.compute.precision == "auto"


def test_a_run_in_bfloat16_that_was_interrupted_ends_bit_identical(tmp_path: Path) -> None:
    half = ComputeRecipe(precision="bfloat16")
    whole = trained(tmp_path / "whole", half, steps=4)
    trained(tmp_path / "parts", half, steps=4, stop_at=2)
    again = trained(tmp_path / "parts", half, steps=4)
    assert again.counters.step == 4
    for one, other in zip(whole.parameters, again.parameters, strict=True):
        assert torch.equal(one, other)


def test_bfloat16_learns_what_float32_does(tmp_path: Path) -> None:
    exact, half = (
        torch.cat([p.detach().flatten() for p in trained(tmp_path / name, recipe, 3).parameters])
        for name, recipe in (
            ("exact", ComputeRecipe()),
            ("half", ComputeRecipe(precision="bfloat16")),
        )
    )
    # Muon's updates have one length whatever the gradient's, so an error of rounding is all there
    # is between them; with a product left out they are as far apart as they are from the start.
    assert 0 < (exact - half).norm() < 0.05 * exact.norm()


@pytest.mark.parametrize("shape", [(2, 48, 96), (2, 96, 48)])
def test_half_precision_makes_updates_as_orthogonal(shape: tuple[int, ...]) -> None:
    updates = torch.randn(shape, generator=torch.Generator().manual_seed(3))
    exact, half = orthogonal(updates), orthogonal(updates, torch.bfloat16)
    assert half.dtype == torch.float32
    assert (exact - half).norm() < 0.02 * exact.norm()
    values = torch.linalg.svdvals(half)
    assert values.min() > 0.6 and values.max() < 1.3
