"""Frames of what a generation is coming to: near its end they are it, and they change nothing."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from modeling.generate import Generator
from modeling.generation import Generation
from modeling.sampler import SamplerRecipe, Sampling, advance
from modeling.tasks import Frames, Request, extend
from tests.unit.modeling.small import moving_clip, small_bundle
from tests.unit.modeling.test_sampler import task

BUNDLE = small_bundle()
GENERATOR = Generator(BUNDLE)
REQUEST = Request(prompt="a red ball", num_frames=20, height=48, width=48, seed=3)
EXTENDED = extend(REQUEST, moving_clip("clip", 9).frames_THWC, "forward")


def made(generation: Generation, previews: list[Frames | None] | None) -> Frames:
    def pieces() -> Iterator[Frames]:
        while not generation.is_over:
            GENERATOR.advance([generation])
            if previews is not None:  # after the last step too, of which there is nothing left
                previews.append(GENERATOR.preview(generation))
            yield from generation.frames()

    return np.concatenate(list(pieces()))


@pytest.mark.parametrize("request_", [REQUEST, EXTENDED], ids=["words", "extension"])
def test_a_video_is_bit_for_bit_the_same_with_a_preview_after_each_step(request_: Request) -> None:
    state, previews = torch.get_rng_state(), list[Frames | None]()
    alone = made(GENERATOR.begin(request_), None)
    watched = made(GENERATOR.begin(request_), previews)
    assert (alone == watched).all() and torch.equal(torch.get_rng_state(), state)
    shown = [preview for preview in previews if preview is not None]
    assert len(shown) == len(previews) > 3
    assert {preview.shape for preview in shown} == {(48, 48, 3)}
    assert len({preview.tobytes() for preview in shown}) > 1


def test_a_large_picture_too() -> None:
    previews: list[Frames | None] = []
    pictures = [made(GENERATOR.begin_large(REQUEST, 72, 96), seen) for seen in (None, previews)]
    assert (pictures[0] == pictures[1]).all()
    last = previews[-1]
    assert last is not None and np.abs(last.astype(int) - pictures[0][0]).max() <= 1


def test_the_last_one_is_a_frame_of_the_video() -> None:
    """After the last step there is nothing left to estimate."""
    generation = GENERATOR.begin(Request(**{**vars(REQUEST), "num_frames": 13}))
    while not generation.sampling().done:
        GENERATOR.advance([generation])
    last = GENERATOR.preview(generation)
    frames = np.concatenate(list(generation.frames())).astype(int)
    assert last is not None
    assert np.abs(frames - last).max(axis=(1, 2, 3)).argmin() == 8  # of 1 + 4 + 4 + 4
    assert np.abs(frames[8] - last).max() <= 1


def test_an_estimate_is_where_a_straight_path_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = task(1, given=1)
    clean = torch.randn(asked.latents_GChw.shape, generator=torch.Generator().manual_seed(7))
    under_way = Sampling(asked, SamplerRecipe(steps=8))
    noise = under_way.state_GChw.clone()
    monkeypatch.setattr("modeling.sampler.guided_velocities", lambda *_args: [noise - clean])
    assert under_way.estimate() is None
    for _ in range(8):
        advance(BUNDLE.dit, [under_way])
        estimate = under_way.estimate()
        assert estimate is not None
        assert torch.equal(estimate[0], asked.latents_GChw[0])  # what is given
        assert torch.allclose(estimate[1:], clean[1:], atol=1e-5)


def test_a_still_is_the_last_frame_of_its_group() -> None:
    latents = torch.randn(4, BUNDLE.vae.latent_channels, 5, 7)
    whole = BUNDLE.vae.decode(latents[None])[0]
    for group in range(4):
        assert torch.allclose(BUNDLE.vae.still(latents, group), whole[4 * group], atol=1e-5)
