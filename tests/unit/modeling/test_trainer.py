import dataclasses
from pathlib import Path

import pytest
import torch
from torch import Generator, Tensor, nn

from infra.errors import InputError
from modeling.recipes import OptimizerRecipe
from modeling.trainer import Counters, Trainer, rate_factor

RECIPE = OptimizerRecipe(steps=12, batch=4, learning_rate=1e-2, warmup_steps=3)


def make(folder: Path, recipe: OptimizerRecipe = RECIPE, seed: int = 0) -> Trainer[Tensor]:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))

    def batch(rng: Generator) -> Tensor:
        return torch.randn(recipe.batch, 3, generator=rng)

    def loss(x: Tensor, rng: Generator) -> Tensor:
        noise = 0.1 * torch.randn(len(x), 1, generator=rng)
        out: Tensor = (model(x) - x.sum(1, keepdim=True) + noise).square().mean()
        return out

    return Trainer({"model": model}, batch, loss, recipe, folder, seed=seed, tag="test")


def weights(trainer: Trainer[Tensor], which: str = "modules") -> Tensor:
    module = getattr(trainer, which)["model"]
    return torch.cat([p.detach().flatten() for p in module.parameters()])


def nothing(_counters: Counters, _metrics: dict[str, float]) -> None:
    return None


@pytest.mark.parametrize("stop_at", [1, 5, 11])
def test_an_interrupted_run_ends_bit_identical_to_an_uninterrupted_one(
    tmp_path: Path, stop_at: int
) -> None:
    whole = make(tmp_path / "whole")
    whole.fit(nothing)
    first = make(tmp_path / "parts")
    first.fit(nothing, lambda: first.counters.step == stop_at)
    assert first.counters.step == stop_at
    second = make(tmp_path / "parts", seed=0)
    second.fit(nothing)
    assert second.counters.step == RECIPE.steps
    assert torch.equal(weights(whole), weights(second))
    assert torch.equal(weights(whole, "ema"), weights(second, "ema"))


def test_a_checkpoint_of_another_recipe_is_refused(tmp_path: Path) -> None:
    make(tmp_path).fit(nothing, lambda: True)
    with pytest.raises(InputError, match="was made by recipe"):
        make(tmp_path, dataclasses.replace(RECIPE, learning_rate=1.0)).fit(nothing)


def test_a_step_that_is_not_finite_is_skipped_and_counted(tmp_path: Path) -> None:
    trainer = make(tmp_path)
    loss, before = trainer.loss, weights(trainer).clone()
    trainer.loss = lambda x, rng: loss(x, rng) * float("nan")
    trainer.fit(nothing, lambda: trainer.counters.step == 2)
    assert trainer.counters.skipped_steps == 2
    assert torch.equal(weights(trainer), before)


def test_the_learning_rate_warms_up_and_falls_to_zero() -> None:
    recipe = OptimizerRecipe(steps=100, batch=1, learning_rate=1, warmup_steps=10, fall_share=0.5)
    rates = [rate_factor(step, recipe) for step in range(100)]
    assert rates[0] == 0.1 and rates[30] == 1 and rates[-1] == pytest.approx(0.02)
    assert max(rates) == 1


def test_it_learns_and_the_average_follows(tmp_path: Path) -> None:
    recipe = dataclasses.replace(RECIPE, steps=300, batch=32)
    losses: list[float] = []
    trainer = make(tmp_path, recipe)
    trainer.fit(lambda _counters, metrics: losses.append(metrics["loss"]))
    assert sum(losses[-20:]) < 0.1 * sum(losses[:20])
    assert (weights(trainer) - weights(trainer, "ema")).abs().max() < 0.05
