import dataclasses
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from modeling.dit import DiT
from modeling.sampler import SamplerRecipe, Sampling, Task, advance, sample
from modeling.step_cache import CARRIED, FEWEST, whole_steps
from tests.unit.modeling.small import CHANNELS, WIDTH, small_bundle

PLAIN = SamplerRecipe(steps=16, guidance=2.0, solver="adams")
CACHED = dataclasses.replace(PLAIN, whole_share=0.5)


@pytest.fixture(scope="module")
def dit() -> DiT:
    return small_bundle().dit


def task(seed: int, frames: int = 3, given: int = 0, width: int = 6) -> Task:
    generator = torch.Generator().manual_seed(seed)
    return Task(
        torch.randn(frames, CHANNELS, 6, width, generator=generator),
        (torch.arange(frames) < given).view(-1, 1, 1),
        torch.randn(4, WIDTH, generator=generator),
        torch.zeros(1, WIDTH),
        8.0,
        seed,
    )


def test_half_of_the_steps_are_whole_and_closer_together_at_the_beginning() -> None:
    assert whole_steps(16, 0.5) == [0, 1, 2, 4, 6, 9, 12, 15]


@pytest.mark.parametrize("share", [0.01, 0.3, 0.5, 0.77, 1.0])
def test_a_plan_of_any_length_has_its_share_of_steps_and_both_ends(share: float) -> None:
    for steps in range(1, 70):
        plan = whole_steps(steps, share)
        assert plan == sorted(set(plan)) and plan[0] == 0 and plan[-1] == steps - 1
        assert len(plan) >= min(steps, FEWEST) and len(plan) >= share * steps
        assert len(plan) <= max(min(steps, FEWEST), share * steps + 1)
        gaps = [after - before for before, after in pairwise(plan)]
        assert all(later >= gap - 1 for gap, later in pairwise(gaps))  # they are whole numbers


def test_a_share_of_one_and_few_steps_leave_nothing_out() -> None:
    assert all(whole_steps(steps, 1.0) == list(range(steps)) for steps in range(1, 70))
    assert all(whole_steps(steps, 0.5) == list(range(steps)) for steps in range(1, FEWEST + 1))


def test_the_network_is_asked_in_whole_steps_alone(
    dit: DiT, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []

    def velocities(
        _dit: DiT, _tasks: object, states: Sequence[Tensor], times: Sequence[float], _: object
    ) -> list[Tensor]:
        asked.extend(times)
        return [torch.ones_like(state) for state in states]

    monkeypatch.setattr("modeling.sampler.guided_velocities", velocities)
    (cached,) = sample(dit, [task(1)], CACHED)
    times = Sampling(task(1), CACHED).times
    assert asked == [times[step] for step in whole_steps(16, 0.5)]
    # Where the velocity never changes, to reuse it is to be right.
    torch.testing.assert_close(cached, sample(dit, [task(1)], PLAIN)[0], rtol=0, atol=1e-5)


def test_the_solvers_line_goes_through_whole_steps_and_a_part_of_it_goes_on() -> None:
    """Velocities that fall evenly with t: a whole step takes the one in its middle, which is on the
    line, and those that reuse it go a part of the way from the one that was said to theirs."""
    sampling = Sampling(task(1), CACHED)
    times = sampling.times
    while not sampling.done:
        at, before = sampling.step, sampling.state_GChw
        sampling.move(torch.full_like(before, times[at]))
        own, reused = (times[at] + times[at + 1]) / 2, (times[at + 1] + times[sampling.step]) / 2
        if not at:  # there is no line yet
            own = reused = times[0]
        reused = times[at] + CARRIED * (reused - times[at])
        moved = (times[at + 1] - times[at]) * own
        moved += (times[sampling.step] - times[at + 1]) * reused
        assert float((sampling.state_GChw - before).mean()) == pytest.approx(moved, abs=1e-5)


def test_reused_steps_hold_nobody_up_and_depend_on_nobody(
    dit: DiT, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every call has all that are under way, each at a whole step of its own; bits are the same."""
    asked = [task(1), task(8, width=8), task(7, 1)]
    recipes = [CACHED, PLAIN, dataclasses.replace(CACHED, steps=11)]
    alone = [sample(dit, [one], recipe)[0] for one, recipe in zip(asked, recipes, strict=True)]
    calls: list[int] = []

    def counted(rows: Any) -> None:
        calls.append(len(rows.layout.lengths))

    samplings = [Sampling(one, recipe) for one, recipe in zip(asked, recipes, strict=True)]
    hook = dit.register_forward_pre_hook(lambda _dit, args: counted(*args))
    while waiting := [one for one in samplings if not one.done]:
        assert all(one.rows(2) > 0 for one in waiting)
        advance(dit, waiting)
    hook.remove()
    # Two documents of each: 6 whole steps of 11, 8 of 16, and 16 of 16.
    assert [count // 2 for count in calls] == [3] * 6 + [2] * 2 + [1] * 8
    for one, other in zip(samplings, alone, strict=True):
        assert torch.equal(one.state_GChw, other)


def test_fewer_whole_steps_stray_further(dit: DiT) -> None:
    (plain,) = sample(dit, [task(1)], PLAIN)
    away = []
    for share in (0.9, 0.6, 0.3):
        recipe = dataclasses.replace(PLAIN, whole_share=share)
        away.append(float((sample(dit, [task(1)], recipe)[0] - plain).abs().mean()))
    assert 0 < away[0] < away[1] < away[2]


def test_given_frames_come_back_unchanged(dit: DiT) -> None:
    asked = task(1, given=2)
    (latents,) = sample(dit, [asked], CACHED)
    assert torch.equal(latents[:2], asked.latents_GChw[:2])


def test_what_was_saved_goes_on_bit_for_bit_and_only_from_a_whole_step(dit: DiT) -> None:
    (whole,) = sample(dit, [task(1)], CACHED)
    first = Sampling(task(1), CACHED)
    while not first.done:
        second = Sampling(task(1), CACHED)
        second.restore(first.tensors())
        assert second.step == first.step
        while not second.done:
            advance(dit, [second])
        assert torch.equal(second.state_GChw, whole)
        advance(dit, [first])
    plain = Sampling(task(1), PLAIN)
    for _ in range(5):
        advance(dit, [plain])
    with pytest.raises(ValueError, match=r"step 5 of latents.*that ask the network"):
        Sampling(task(1), CACHED).restore(plain.tensors())
