import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Generator, Tensor, nn

from infra.errors import InputError
from modeling.optimization import NormRecord, rate_factor
from modeling.recipes import OptimizerRecipe
from modeling.trainer import MAX_SKIPPED_IN_A_ROW, Counters, Summed, Trainer

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


class Parts:
    """A source whose n-th batch is the n-th part of one list, again and again."""

    def __init__(self, parts: list[Tensor]) -> None:
        self.parts, self.position = parts, {"next": 0}

    def next(self) -> Callable[[], Tensor]:
        part = self.parts[self.position["next"] % len(self.parts)]
        self.position = {"next": self.position["next"] + 1}
        return lambda: part


def accumulated(folder: Path, parts: list[Tensor], recipe: OptimizerRecipe) -> Trainer[Tensor]:
    torch.manual_seed(0)
    model = nn.Linear(3, 1)

    def loss(x: Tensor, _rng: Generator) -> Summed:
        error = (model(x) - x.sum(1, keepdim=True)).square()
        return Summed(error.sum(), error.numel())

    recipe = dataclasses.replace(recipe, accumulate=len(parts))
    return Trainer({"model": model}, Parts(parts), loss, recipe, folder, seed=0, tag="parts")


def test_batches_of_unequal_size_accumulate_to_one_large_batch(tmp_path: Path) -> None:
    x = torch.randn(12, 3, generator=Generator().manual_seed(1))
    found: list[list[float]] = []
    trainers = []
    for name, parts in (("one", [x]), ("three", [x[:2], x[2:9], x[9:]])):
        losses: list[float] = []
        trainers.append(accumulated(tmp_path / name, parts, RECIPE))
        trainers[-1].fit(lambda _counters, metrics, to=losses: to.append(metrics["loss"]))
        found.append(losses)
    assert found[0] == pytest.approx(found[1], rel=1e-5)
    torch.testing.assert_close(weights(trainers[0]), weights(trainers[1]), rtol=0, atol=1e-6)


def test_a_gradient_far_above_the_usual_is_shortened_and_counted() -> None:
    recipe, record = dataclasses.replace(RECIPE, max_norm=100.0), NormRecord()
    for step in range(200):
        assert record.limit(recipe) == 100.0 or step >= 50
        record.add(1.0 + 0.1 * (step % 3))
    usual = record.limit(recipe)
    assert 1.2 < usual < 1.6
    for _ in range(400):  # it gets used to what stays
        record.add(min(5.0, record.limit(recipe)))
    assert record.limit(recipe) > 3 * usual
    assert NormRecord(100, 5.0, 1.0).limit(dataclasses.replace(recipe, max_norm=1.0)) == 1.0
    assert record.limit(dataclasses.replace(recipe, clip_sigmas=0)) == 100.0


def test_a_clipped_gradient_has_the_length_it_may_have(tmp_path: Path) -> None:
    trainer = make(tmp_path, dataclasses.replace(RECIPE, max_norm=1e-3))
    trainer.fit(nothing, lambda: trainer.counters.step == 1)
    (square,) = [sum(p.grad.square().sum() for p in trainer.parameters if p.grad is not None)]
    assert float(square) ** 0.5 == pytest.approx(1e-3, rel=1e-2)
    assert trainer.counters.clipped_steps == 1


def test_training_that_never_comes_to_a_finite_gradient_ends(tmp_path: Path) -> None:
    trainer = make(tmp_path, dataclasses.replace(RECIPE, steps=MAX_SKIPPED_IN_A_ROW + 1))
    trainer.loss = lambda _x, _rng: trainer.parameters[0].sum() * float("inf")
    with pytest.raises(InputError, match="lower the learning rate"):
        trainer.fit(nothing)


def test_it_is_looked_at_every_so_many_steps_but_not_at_the_end(tmp_path: Path) -> None:
    looked: list[int] = []
    make(tmp_path).fit(nothing, watch=looked.append, watch_every=4)
    assert looked == [4, 8]
