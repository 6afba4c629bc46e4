"""Steps of many generations in one call, and work that goes on after a kill: bit for bit the same.

A process that was killed leaves nothing but its files, so a new generation over them stands for it.
"""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from modeling.generate import Generator
from modeling.generation import Generation
from modeling.progress import Progress
from modeling.sampler import SamplerRecipe, Sampling, advance, sample
from modeling.tasks import Frames, Request, extend, image_to_video, loop
from tests.unit.modeling.small import moving_clip, small_bundle
from tests.unit.modeling.test_sampler import task

BUNDLE = small_bundle()
GENERATOR = Generator(BUNDLE)
CLIP = moving_clip("clip", 9).frames_THWC
STOPS = [1, 3, 5, 8, 9]  # steps made after each call, where 5 of 9 steps ask the network


def request(**values: object) -> Request:
    base = Request(prompt="a red ball", num_frames=20, height=48, width=48, seed=3)
    return dataclasses.replace(base, **values)  # type: ignore[arg-type]


def made(generation: Generation) -> Frames:
    pieces: list[Frames] = []
    while not generation.is_over:
        GENERATOR.advance([generation])
        pieces += generation.frames()
    return np.concatenate(pieces)


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_a_sampling_is_bit_for_bit_the_same_in_any_company(share: float) -> None:
    """Others of other sizes, steps, guidance and schedules join and leave while it goes on."""
    asked = task(1)
    recipe = SamplerRecipe(steps=9, guidance=2.0, solver="adams", whole_share=share)
    (alone,) = sample(BUNDLE.dit, [asked], recipe)
    others = [
        Sampling(task(2, frames=1), SamplerRecipe(steps=2, guidance=1.0)),
        Sampling(task(3, width=8, given=1), SamplerRecipe(steps=5, guidance=7.0, shift=3.0)),
        Sampling(task(4, frames=4), dataclasses.replace(recipe, steps=4)),
    ]
    mine = Sampling(asked, recipe)
    for turn in range(recipe.steps):
        if mine.done:
            break
        joined = [each for each in others[: 1 + turn] if not each.done]
        advance(BUNDLE.dit, [*joined[:1], mine, *joined[1:]])
    assert mine.done and torch.equal(mine.state_GChw, alone)


def test_generations_side_by_side_are_bit_for_bit_what_they_are_alone() -> None:
    asked = [
        request(),
        request(num_frames=1, seed=8, guidance=1.0),
        image_to_video(request(num_frames=9, steps=5, guidance=6.0, prompt="left"), CLIP[0]),
        loop(request(num_frames=16, height=64)),
    ]
    for alone, video in zip(asked, GENERATOR.generate_many(asked), strict=True):
        assert np.array_equal(GENERATOR.generate(alone), video)


@pytest.mark.parametrize(
    "asked",
    [request(), extend(request(), CLIP, "backward"), loop(request(num_frames=16))],
    ids=["forward", "backward", "loop"],
)
def test_what_was_killed_at_any_step_goes_on_to_the_same_video(
    tmp_path: Path, asked: Request
) -> None:
    whole, steps = GENERATOR.generate(asked), GENERATOR.total_steps(asked)
    for killed_after in range(1, steps):
        progress = Progress(tmp_path / f"{killed_after}", GENERATOR.identity)
        first = GENERATOR.begin(asked)
        for _ in range(killed_after):
            GENERATOR.advance([first])
            progress.save(first)
            list(first.frames())
        second = GENERATOR.begin(asked)
        before = list(progress.resume(second))
        assert second.done == killed_after
        after = made(second)
        assert np.array_equal(np.concatenate([*before, after]), whole)


def test_only_the_last_step_of_a_window_is_kept(tmp_path: Path) -> None:
    progress, generation = Progress(tmp_path / "p", GENERATOR.identity), GENERATOR.begin(request())
    names = []
    for _ in range(4):
        GENERATOR.advance([generation])
        progress.save(generation)
        list(generation.frames())
        names.append(sorted(path.stem for path in (tmp_path / "p").iterdir()))
    assert names == [["step-0-1"], ["step-0-2"], ["window-0"], ["step-1-1", "window-0"]]


def test_a_step_cache_is_no_more_to_keep_and_all_steps_are_counted(tmp_path: Path) -> None:
    dit = BUNDLE.recipe.dit
    sampler = dataclasses.replace(dit.sampler, steps=9, whole_share=0.5)
    recipe = dataclasses.replace(BUNDLE.recipe, dit=dataclasses.replace(dit, sampler=sampler))
    generator = Generator(dataclasses.replace(BUNDLE, recipe=recipe))
    told: list[tuple[int, int]] = []
    whole = generator.generate(request(), lambda *step: told.append(step) is None)
    assert told == [(window + done, 18) for window in (0, 9) for done in STOPS]
    progress = Progress(tmp_path / "p", generator.identity)
    first = generator.begin(request())
    for _ in range(7):
        generator.advance([first])
        progress.save(first)
        list(first.frames())
    second, pieces = generator.begin(request()), []
    pieces += progress.resume(second)
    assert second.done == first.done == 9 + STOPS[1]
    while not second.is_over:
        generator.advance([second])
        pieces += second.frames()
    assert np.array_equal(np.concatenate(pieces), whole)


def test_a_large_picture_goes_on_in_either_stage(tmp_path: Path) -> None:
    asked = request(num_frames=1)
    whole = made(GENERATOR.begin_large(asked, 80, 112))
    assert whole.shape == (1, 80, 112, 3)
    for killed_after in (2, 5):
        progress = Progress(tmp_path / f"{killed_after}", GENERATOR.identity)
        first = GENERATOR.begin_large(asked, 80, 112)
        for _ in range(killed_after):
            GENERATOR.advance([first])
            progress.save(first)
            list(first.frames())
        second = GENERATOR.begin_large(asked, 80, 112)
        assert list(progress.resume(second)) == [] and second.done == killed_after
        assert np.array_equal(made(second), whole)


def test_files_of_another_model_or_broken_ones_are_as_good_as_none(tmp_path: Path) -> None:
    progress, first = Progress(tmp_path / "p", GENERATOR.identity), GENERATOR.begin(request())
    for _ in range(5):
        GENERATOR.advance([first])
        progress.save(first)
        list(first.frames())
    other = GENERATOR.begin(request())
    assert list(Progress(tmp_path / "p", "another").resume(other)) == [] and other.done == 0
    step = next((tmp_path / "p").glob("step-*"))
    step.write_bytes(step.read_bytes()[:50])
    second = GENERATOR.begin(request())
    before = list(progress.resume(second))
    assert second.done == 3 and len(np.concatenate(before)) == 13
    shorter = GENERATOR.begin(request(height=64))
    (tmp_path / "p/window-0.safetensors").unlink()
    assert list(progress.resume(shorter)) == [] and shorter.done == 0


def test_files_are_taken_over_without_a_copy(tmp_path: Path) -> None:
    first, second = (Progress(tmp_path / name, GENERATOR.identity) for name in ("1", "2"))
    generation = GENERATOR.begin(request())
    for _ in range(5):
        GENERATOR.advance([generation])
        first.save(generation)
        list(generation.frames())
    second.adopt(first)
    links = [path.stat().st_nlink for path in first.folder.iterdir()]
    assert links == [2, 2]
    resumed = GENERATOR.begin(request())
    list(second.resume(resumed))
    assert resumed.done == 5
