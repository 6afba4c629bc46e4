"""On a machine with a GPU everything is where it computes; the GPU is pretended."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from infra.errors import InputError
from modeling.bundle import Bundle, load_bundle, save_bundle
from modeling.generate import Generator
from modeling.job import worker_needs
from modeling.large_image import large_image
from modeling.latents import LatentClip
from modeling.recipes import RolloutRecipe
from modeling.tasks import Box, Request, extend, image, inpaint, loop, video_to_video
from modeling.train_dit import SampleMaker, velocity_error
from modeling.train_vae import WindowSampler, vae_loss
from modeling.trainer import Trainer
from modeling.vae import VideoVAE
from tests.pretend_gpu import pretend_gpu
from tests.unit.modeling.small import (
    CHANNELS,
    moving_clip,
    small_bundle,
    small_recipe,
)

CLIP = moving_clip("clip", 24).frames_THWC
ASKED = Request(prompt="a red ball", num_frames=20, height=48, width=48, seed=3, steps=2)
REQUESTS = {
    "text": ASKED,
    "image": image(ASKED),
    "extend": extend(ASKED, CLIP[:7]),
    "inpaint": inpaint(
        replace(ASKED, num_frames=24), CLIP, Box(top=0, left=0.5, height=1, width=0.5)
    ),
    "loop": loop(ASKED),
    "restyle": video_to_video(replace(ASKED, num_frames=24), CLIP, 0.5),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made: Bundle = small_bundle()
    place = tmp_path_factory.mktemp("bundle")
    parts = (made.recipe, made.vae, made.dit, made.text, made.tokenizer)
    return save_bundle(place, *parts, {})


@pytest.mark.parametrize("task", REQUESTS)
def test_a_task_is_made_on_the_gpu_and_is_the_same_up_to_half_precision(
    folder: Path, task: str
) -> None:
    expected = Generator(load_bundle(folder)).generate(REQUESTS[task])
    with pretend_gpu():
        bundle = load_bundle(folder)
        assert bundle.device.type == "cuda"
        made = Generator(bundle).generate(REQUESTS[task])
    assert np.abs(made.astype(int) - expected).mean() < 2


def test_a_preview_is_made_of_a_video_under_way(folder: Path) -> None:
    shown = []
    for place in (nullcontext(), pretend_gpu()):
        with place:
            generator = Generator(load_bundle(folder))
            under_way = generator.begin(ASKED)
            generator.advance([under_way])
            shown.append(generator.preview(under_way))
    cpu, gpu = shown
    assert cpu is not None and gpu is not None
    assert np.abs(gpu.astype(int) - cpu).mean() < 2


def test_a_large_picture_is_made_in_two_stages(folder: Path) -> None:
    with pretend_gpu():
        picture = large_image(load_bundle(folder), "a red ball", height=96, width=80, seed=1)
    assert picture.shape == (96, 80, 3)


def test_a_saved_state_goes_on_there(folder: Path) -> None:
    with pretend_gpu():
        generator = Generator(load_bundle(folder))
        whole, first, second = (generator.begin(ASKED) for _ in range(3))
        for _ in range(2):
            generator.advance([whole])
        generator.advance([first])
        kept = {name: value.cpu() for name, value in first.sampling().tensors().items()}
        second.sampling().restore(kept)
        generator.advance([second])
        ends = [each.sampling().state_GChw.cpu() for each in (whole, second)]
    assert torch.equal(*ends)


def trained_vae(folder: Path) -> list[float]:
    recipe = small_recipe(steps=2).vae
    torch.manual_seed(0)
    vae = VideoVAE(recipe.config)
    batches = WindowSampler([moving_clip(str(n), 24) for n in range(4)], 5, 2)
    return losses(
        {"vae": vae}, batches, lambda video, rng: vae_loss(vae, video, recipe, rng), folder
    )


def trained_dit(folder: Path) -> list[float]:
    torch.manual_seed(0)
    bundle = small_bundle()
    dit, text = bundle.dit.train().requires_grad_(True), bundle.text.train().requires_grad_(True)
    rng = torch.Generator().manual_seed(0)
    recipe = bundle.recipe.dit
    noise = replace(recipe.noise, midstream_share=1.0)  # so that windows have a memory
    recipe = replace(recipe, noise=noise, rollout=RolloutRecipe(history=(2,), anchor=True))
    maker = SampleMaker(bundle.tokenizer, recipe, 8.0)
    clip = LatentClip("clip", "a red ball", torch.randn(2, 4, CHANNELS, 6, 6, generator=rng))
    samples = [maker.sample(clip, number == 0, rng) for number in range(16)]
    assert any(sample.memory for sample in samples)
    return losses(
        {"dit": dit, "text": text},
        lambda _: samples,
        lambda batch, _: velocity_error(dit, text, batch),
        folder,
    )


def losses(modules: dict[str, nn.Module], source: Any, loss: Any, folder: Path) -> list[float]:
    """Of two steps, with a checkpoint between them."""
    found: list[float] = []
    optimizer = small_recipe(steps=2).dit.optimizer
    for stop_at in (1, 2):
        trainer = Trainer(modules, source, loss, optimizer, folder, seed=0, tag="gpu")
        trainer.fit(
            lambda _, metrics: found.append(metrics["loss"]),
            lambda: trainer.counters.step == stop_at,  # noqa: B023 - called before the next one
        )
    return found


@pytest.mark.parametrize("trained", [trained_vae, trained_dit])
def test_what_is_trained_there_learns_as_it_does_here(
    tmp_path: Path, trained: Callable[[Path], list[float]]
) -> None:
    expected = trained(tmp_path / "cpu")
    with pretend_gpu():
        found = trained(tmp_path / "gpu")
    assert found == pytest.approx(expected, rel=0.01)


def test_each_worker_has_a_gpu_or_none_has() -> None:
    assert worker_needs(2, 0) == {"use_gpu": False, "resources_per_worker": {"CPU": 0.5}}
    assert worker_needs(2, 8) == {
        "use_gpu": True,
        "resources_per_worker": {"CPU": 0.5, "GPU": 1},
    }
    with pytest.raises(InputError, match="4 workers need a GPU each, and the cluster has 2"):
        worker_needs(4, 2)
