import dataclasses
import math

import pytest
import torch

from modeling.dit import DiT
from modeling.documents import pack, table_order
from modeling.sampler import SamplerRecipe, Sampling, Task, sample
from modeling.step_cache import StepCache, through
from tests.unit.modeling.small import CHANNELS, WIDTH, document, small_bundle

PLAIN = SamplerRecipe(steps=16, guidance=2.0, solver="adams")


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


def cached(threshold: float) -> SamplerRecipe:
    return dataclasses.replace(PLAIN, cache_threshold=threshold)


def test_a_threshold_that_nothing_stays_under_gives_the_plain_result(dit: DiT) -> None:
    tasks = [task(1), task(2, width=8, given=1)]
    for plain, same in zip(
        sample(dit, tasks, PLAIN), sample(dit, tasks, cached(1e-9)), strict=True
    ):
        torch.testing.assert_close(plain, same, rtol=0, atol=1e-5)


def test_a_higher_threshold_runs_fewer_blocks_and_strays_further(
    dit: DiT, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[StepCache] = []

    def kept(threshold: float, steps: int) -> StepCache:
        made.append(StepCache(threshold, steps))
        return made[-1]

    monkeypatch.setattr("modeling.sampler.StepCache", kept)
    (plain,) = sample(dit, [task(1)], PLAIN)
    away = []
    # Weights at random change their minds with every step: thresholds are far from a model's.
    for threshold in (1.1, 1.25, 1e9):
        (latents,) = sample(dit, [task(1)], cached(threshold))
        away.append(float((latents - plain).abs().mean()))
    assert [cache.whole + cache.reused for cache in made] == [2 * PLAIN.steps] * 3
    # The last one: two documents in the first three of 16 steps and in the last.
    assert 2 * PLAIN.steps > made[0].whole > made[1].whole > made[2].whole == 2 * 4
    assert away == sorted(away) and away[2] > 0


def test_the_solvers_line_goes_through_whole_steps_alone() -> None:
    """Velocities that fall evenly with t: what the whole network says is on the line, and a reused
    one, which is not, is followed for its own step and then forgotten."""
    sampling = Sampling(task(1), cached(0.5))
    assert sampling.cache is not None
    slopes = []
    for step, fresh in enumerate((True, False, False, True, True)):
        sampling.cache.fresh, state, now = fresh, sampling.state_GChw, sampling.times[step]
        sampling.move(torch.full_like(state, now if fresh else 9.0))
        change = (sampling.state_GChw - state) / (sampling.times[step + 1] - now)
        slopes.append(float(change.mean()))
        assert sampling.before_step == (step if fresh else 0)
    middles = [sum(sampling.times[step : step + 2]) / 2 for step in range(5)]
    assert slopes == pytest.approx([1.0, 9.0, 9.0, middles[3], middles[4]], abs=1e-4)


def test_a_video_does_not_depend_on_its_neighbours(dit: DiT) -> None:
    """At a threshold at which some of them reuse where others do not."""
    recipe = cached(1.2)
    alone = [sample(dit, [one], recipe)[0] for one in (task(1), task(8, width=8), task(7, 1))]
    together = sample(dit, [task(1), task(8, width=8), task(7, 1)], recipe)
    for one, other in zip(alone, together, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


def test_given_frames_come_back_unchanged(dit: DiT) -> None:
    asked = task(1, given=2)
    (latents,) = sample(dit, [asked], cached(0.5))
    assert torch.equal(latents[:2], asked.latents_GChw[:2])


def test_both_documents_of_a_video_decide_together_and_videos_apart(dit: DiT) -> None:
    """Documents 0 and 2 are of video 0, 1 and 3 of video 1. Only document 3 changes."""
    before = [document(2, 4, 4, 3, seed) for seed in range(4)]
    after = [*before[:3], document(2, 4, 4, 3, 9)]
    caches = [StepCache(0.1, steps=4), StepCache(0.1, steps=4)]
    through(dit, pack(before, dit.config), [0, 1, 0, 1], caches)
    velocity = through(dit, pack(after, dit.config), [0, 1, 0, 1], caches)
    assert [(cache.whole, cache.reused) for cache in caches] == [(2, 2), (4, 0)]
    torch.testing.assert_close(velocity, dit(pack(after, dit.config)), rtol=0, atol=1e-5)


def test_other_documents_than_before_are_not_taken_for_the_same(dit: DiT) -> None:
    first, second = ([document(2, 4, 4 + more, 3, seed) for seed in (0, 1)] for more in (0, 2))
    caches = [StepCache(1e9, steps=4) for _ in range(2)]
    for documents in (first, second):
        rows = pack(documents, dit.config)
        velocity = through(dit, rows, table_order(documents), caches)
        torch.testing.assert_close(velocity, dit(rows), rtol=0, atol=1e-5)
    assert [cache.reused for cache in caches] == [0, 0]


def test_values_that_are_no_numbers_are_never_reused(dit: DiT) -> None:
    broken = document(2, 4, 4, 3, 0)
    broken.latents_GChw.fill_(math.nan)
    cache = StepCache(1e9, steps=4)
    for _ in range(2):
        through(dit, pack([broken], dit.config), [0], [cache])
    assert (cache.whole, cache.reused) == (2, 0)
