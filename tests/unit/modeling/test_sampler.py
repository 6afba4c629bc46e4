import itertools
from typing import Any

import pytest
import torch

from modeling.noise import NoiseRecipe, add_noise, sample_given, sample_timesteps
from modeling.sampler import SamplerRecipe, SamplingStopped, Task, initial_noise, sample, schedule
from tests.unit.modeling.small import CHANNELS, WIDTH, small_bundle

RECIPE = SamplerRecipe(steps=3, guidance=2.0)


def task(seed: int, frames: int = 3, given: int = 0, width: int = 6) -> Task:
    generator = torch.Generator().manual_seed(seed)
    return Task(
        latents_GChw=torch.randn(frames, CHANNELS, 6, width, generator=generator),
        given_G=torch.arange(frames) < given,
        text_LD=torch.randn(4, WIDTH, generator=generator),
        negative_LD=torch.zeros(1, WIDTH),
        fps=8.0,
        seed=seed,
    )


def test_given_frames_come_back_unchanged() -> None:
    asked = task(1, given=2)
    (latents,) = sample(small_bundle().dit, [asked], RECIPE)
    assert torch.equal(latents[:2], asked.latents_GChw[:2])
    assert not torch.equal(latents[2], asked.latents_GChw[2])


def test_a_seed_gives_the_same_video_whatever_else_is_in_the_batch() -> None:
    dit, asked = small_bundle().dit, task(1)
    (alone,) = sample(dit, [asked], RECIPE)
    together = sample(dit, [task(7, frames=1), asked, task(8, width=8)], RECIPE)[1]
    torch.testing.assert_close(alone, together, rtol=0, atol=1e-5)


def test_other_seeds_give_other_videos() -> None:
    dit, asked = small_bundle().dit, task(1)
    other = Task(**{**asked.__dict__, "seed": 2})
    a, b = sample(dit, [asked, other], RECIPE)
    assert (a - b).abs().max() > 0.1


def test_sampling_stops_when_told_to() -> None:
    seen: list[int] = []

    def on_step(done: int, steps: int) -> bool:
        assert steps == RECIPE.steps
        seen.append(done)
        return done < 2

    with pytest.raises(SamplingStopped):
        sample(small_bundle().dit, [task(1)], RECIPE, on_step)
    assert seen == [1, 2]


def test_euler_recovers_data_along_a_straight_path() -> None:
    """If the network said noise - x exactly, one would land on x; checked with the ideal answer."""
    x, noise = torch.randn(2, 3, CHANNELS, 6, 6)
    times = schedule(SamplerRecipe(steps=5, shift=3.0)).tolist()
    assert times[0] == 1 and times[-1] == 0 and times == sorted(times, reverse=True)
    state = noise
    for now, following in itertools.pairwise(times):
        state = state + (following - now) * (noise - x)
    torch.testing.assert_close(state, x, rtol=1e-4, atol=1e-5)
    assert torch.equal(add_noise(x, noise, torch.tensor([0.0, 1.0, 0.0]))[1], noise[1])
    assert torch.equal(add_noise(x, noise, torch.tensor([0.0, 1.0, 0.0]))[0], x[0])


@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("adams", 2)])
def test_halving_the_steps_costs_what_the_solvers_order_says(
    solver: str, order: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Data from a normal distribution: the velocity is known, and noise must end SPREAD as wide."""
    spread = 0.3

    def velocities(_dit: object, _tasks: object, states: list[Any], t: float, *_: object) -> Any:
        variance = (1 - t) ** 2 * spread**2 + t**2
        return [x * (t - (1 - t) * spread**2) / variance for x in states]

    monkeypatch.setattr("modeling.sampler.guided_velocities", velocities)
    asked, errors = task(1), []
    for steps in (64, 128):
        recipe = SamplerRecipe(steps=steps, solver=solver)  # type: ignore[arg-type]
        (latents,) = sample(small_bundle().dit, [asked], recipe)
        errors.append(float((latents - initial_noise(asked) * spread).abs().mean()))
    assert errors[0] / errors[1] == pytest.approx(2**order, rel=0.15)


def test_patterns_come_in_their_shares_and_never_give_everything() -> None:
    recipe = NoiseRecipe(head_share=0.3, tail_share=0.2)
    generator = torch.Generator().manual_seed(0)
    given = torch.stack([sample_given(3, recipe, generator) for _ in range(4000)])
    assert not given.all(1).any()
    heads, tails = given[:, 0].float().mean(), given[:, -1].float().mean()
    assert abs(heads - 0.3) < 0.03 and abs(tails - 0.2) < 0.03
    assert not sample_given(1, recipe, generator).any()


def test_frames_asked_for_share_a_timestep_or_have_each_their_own() -> None:
    given = torch.tensor([True, False, False, False])
    recipe = NoiseRecipe(independent_share=0.3)
    generator = torch.Generator().manual_seed(0)
    steps = torch.stack([sample_timesteps(given, recipe, generator) for _ in range(2000)])
    assert not steps[:, 0].any() and (steps[:, 1:] > 0).all()
    shared = (steps[:, 1] == steps[:, 2]) & (steps[:, 2] == steps[:, 3])
    assert abs(shared.float().mean() - 0.7) < 0.03
