import dataclasses
import itertools
from typing import Any

import pytest
import torch

from modeling.noise import add_noise
from modeling.sampler import (
    SamplerRecipe,
    SamplingStopped,
    Task,
    guided_velocities,
    initial_noise,
    initial_state,
    sample,
    schedule,
)
from tests.unit.modeling.small import CHANNELS, WIDTH, small_bundle

RECIPE = SamplerRecipe(steps=3, guidance=2.0)


def task(seed: int, frames: int = 3, given: int = 0, width: int = 6) -> Task:
    generator = torch.Generator().manual_seed(seed)
    return Task(
        latents_GChw=torch.randn(frames, CHANNELS, 6, width, generator=generator),
        given_Gyx=(torch.arange(frames) < given).view(-1, 1, 1),
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
    assert torch.equal(
        add_noise(x, noise, torch.tensor([0.0, 1.0, 0.0]).view(-1, 1, 1))[1], noise[1]
    )
    assert torch.equal(add_noise(x, noise, torch.tensor([0.0, 1.0, 0.0]).view(-1, 1, 1))[0], x[0])


@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("adams", 2)])
def test_halving_the_steps_costs_what_the_solvers_order_says(
    solver: str, order: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Data from a normal distribution: the velocity is known, and noise must end SPREAD as wide."""
    spread = 0.3

    def velocities(_dit: object, _tasks: object, states: list[Any], times: Any, *_: object) -> Any:
        (t,) = times
        variance = (1 - t) ** 2 * spread**2 + t**2
        return [x * (t - (1 - t) * spread**2) / variance for x in states]

    monkeypatch.setattr("modeling.sampler.guided_velocities", velocities)
    asked, errors = task(1), []
    for steps in (64, 128):
        recipe = SamplerRecipe(steps=steps, solver=solver)  # type: ignore[arg-type]
        (latents,) = sample(small_bundle().dit, [asked], recipe)
        errors.append(float((latents - initial_noise(asked) * spread).abs().mean()))
    assert errors[0] / errors[1] == pytest.approx(2**order, rel=0.15)


def test_given_patches_come_back_unchanged() -> None:
    given = torch.zeros(3, 3, 3, dtype=torch.bool)
    given[:, :2, 1:] = True
    asked = dataclasses.replace(task(1), given_Gyx=given)
    (latents,) = sample(small_bundle().dit, [asked], RECIPE)
    same = (latents == asked.latents_GChw).all(1)
    assert same[:, :4, 2:].all() and not same[:, 4:].any() and not same[:, :, :2].any()


def test_what_is_not_given_never_reaches_the_result() -> None:
    asked = task(1, given=2)
    other = asked.latents_GChw.clone()
    other[2] += 1
    dit = small_bundle().dit
    one, two = (
        sample(dit, [dataclasses.replace(asked, latents_GChw=x)], RECIPE)[0]
        for x in (asked.latents_GChw, other)
    )
    assert torch.equal(one, two)


def rows_per_step(recipe: SamplerRecipe) -> list[int]:
    """Documents that each step computed, for two tasks of so many words that none is added."""
    dit, counts = small_bundle().dit, []
    tasks = [dataclasses.replace(task(seed), text_LD=torch.zeros(40, WIDTH)) for seed in (1, 2)]
    dit.register_forward_pre_hook(lambda _m, args: counts.append(len(args[0].layout.lengths)))
    sample(dit, tasks, recipe)
    return counts


def test_outside_the_interval_nothing_unconditional_is_computed() -> None:
    recipe = dataclasses.replace(RECIPE, steps=4)
    assert rows_per_step(recipe) == [4, 4, 4, 4]
    assert rows_per_step(dataclasses.replace(recipe, guidance=1.0)) == [2, 2, 2, 2]
    # Steps begin at 1, 0.75, 0.5 and 0.25.
    inner = dataclasses.replace(recipe, guidance_interval=(0.3, 0.8))
    assert rows_per_step(inner) == [2, 4, 4, 2]


def test_rescaling_gives_a_guided_velocity_the_spread_of_the_unguided_one() -> None:
    dit, asked = small_bundle().dit, task(1)
    states = [initial_noise(asked)]

    def spread(**values: float) -> float:
        recipe = dataclasses.replace(RECIPE, **values)
        (velocity,) = guided_velocities(dit, [asked], states, [0.5], [recipe])
        return float(velocity.std())

    unguided, guided = spread(guidance=1.0), spread(guidance=6.0)
    assert guided != pytest.approx(unguided, rel=0.02)
    assert spread(guidance=6.0, guidance_rescale=1.0) == pytest.approx(unguided, rel=1e-4)
    half = spread(guidance=6.0, guidance_rescale=0.5)
    assert half == pytest.approx((guided + unguided) / 2, rel=1e-4)


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_a_weak_start_stays_near_what_it_departs_from(shift: float) -> None:
    recipe = dataclasses.replace(RECIPE, shift=shift)
    times = schedule(recipe, 0.4)
    assert float(times[0]) == pytest.approx(0.4) and times[-1] == 0 and (times.diff() < 0).all()
    asked = task(1, given=1)
    begun = initial_state(dataclasses.replace(asked, start=0.4))
    expected = 0.6 * asked.latents_GChw + 0.4 * initial_noise(asked)
    torch.testing.assert_close(begun[1:], expected[1:])
    assert torch.equal(begun[0], asked.latents_GChw[0])


def test_tasks_of_different_starts_go_side_by_side() -> None:
    dit = small_bundle().dit
    asked = [task(1), dataclasses.replace(task(2), start=0.3)]
    together = sample(dit, asked, RECIPE)
    for one, latents in zip(asked, together, strict=True):
        torch.testing.assert_close(sample(dit, [one], RECIPE)[0], latents, rtol=0, atol=1e-5)
