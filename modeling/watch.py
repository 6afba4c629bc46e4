"""A look at the transformer while it trains: its held-out loss by task and timestep, and samples.

The same clips, noise and prompts each time, so what one sees between two looks is learning.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from infra.pictures import contact_sheet, frame_strip
from infra.tracking import Run
from modeling.bundle import Bundle
from modeling.codec import VAE
from modeling.data import Clip
from modeling.dit import DiT
from modeling.generate import Generator
from modeling.latents import LatentClip, encode_windows
from modeling.randomness import generator_of
from modeling.recipes import ModelRecipe
from modeling.tasks import Request
from modeling.text import CaptionEncoder, CaptionTokenizer
from modeling.train_dit import Sample, noised, velocity_error

TIMESTEPS = tuple((2 * level + 1) / 16 for level in range(8))
CLIPS, PICTURES = 16, 4


def stratified_loss(
    dit: DiT,
    text: CaptionEncoder,
    clips: Sequence[LatentClip],
    tokenizer: CaptionTokenizer,
    fps: float,
) -> dict[str, float]:
    """Mean squared velocity error at each timestep and for each task, and of all.

    Returns:
        {"heldout/all", "heldout/t_0.06" …, "heldout/text_to_video", "heldout/image_to_video"}
    """
    errors = torch.zeros(len(TIMESTEPS), 2)
    for level, timestep in enumerate(TIMESTEPS):
        for task in range(2):
            samples = [_sample(clip, timestep, task, level, tokenizer, fps) for clip in clips]
            with torch.no_grad():
                errors[level, task] = velocity_error(dit, text, samples).mean.cpu()
    by_level = zip(TIMESTEPS, errors.mean(1).tolist(), strict=True)
    tasks = zip(("text_to_video", "image_to_video"), errors.mean(0).tolist(), strict=True)
    return {
        "heldout/all": float(errors.mean()),
        **{f"heldout/t_{timestep:.2f}": error for timestep, error in by_level},
        **{f"heldout/{task}": error for task, error in tasks},
    }


def _sample(
    clip: LatentClip,
    timestep: float,
    task: int,
    level: int,
    tokenizer: CaptionTokenizer,
    fps: float,
) -> Sample:
    latents = clip.windows_WGChw[0]
    given = torch.zeros(len(latents), 1, 1, dtype=torch.bool)
    given[0] = task == 1 and len(latents) > 1
    timesteps: Tensor = torch.full(given.shape, timestep).masked_fill(given, 0)
    rng = generator_of("watch", clip.clip_id, level)
    return noised(latents, given, timesteps, tokenizer.encode(clip.caption), fps, rng)


class Watch:
    """Called with the averaged modules every so many steps; logs to the run and to `folder`."""

    def __init__(
        self,
        recipe: ModelRecipe,
        vae: VAE,
        tokenizer: CaptionTokenizer,
        held: Sequence[Clip],
        run: Run | None,
        folder: Path,
    ) -> None:
        self.recipe, self.vae, self.tokenizer = recipe, vae, tokenizer
        self.clips = held[:: max(1, len(held) // CLIPS)][:CLIPS]
        self.run, self.folder = run, folder
        self._latents: list[LatentClip] = []

    def __call__(self, step: int, dit: nn.Module, text: nn.Module) -> None:
        """Log what the modules have come to at `step`."""
        assert isinstance(dit, DiT) and isinstance(text, CaptionEncoder)
        if self.run is None or not self.clips:
            return
        device = self.vae.device  # where weights that were gathered are not yet
        dit, text = dit.to(device), text.to(device)
        if not self._latents:
            self._latents = [self._encoded(clip) for clip in self.clips]
        fps = self.recipe.data.fps
        losses = stratified_loss(dit, text, self._latents, self.tokenizer, fps)
        self.run.metrics(losses, step=step)
        self.run.artifact(self._pictures(step, dit, text), "watched")

    def _encoded(self, clip: Clip) -> LatentClip:
        windows = encode_windows(self.vae, clip, self.recipe.data)
        return LatentClip(clip.clip_id, clip.caption, windows[:1])

    def _pictures(self, step: int, dit: DiT, text: CaptionEncoder) -> Path:
        bundle = Bundle(self.recipe, self.vae, dit, text, self.tokenizer, {})
        generator = Generator(bundle)
        shown = self.clips[:: max(1, len(self.clips) // PICTURES)][:PICTURES]
        requests = [
            Request(
                prompt=clip.caption,
                num_frames=generator.data.num_frames,
                height=clip.frames_THWC.shape[1],
                width=clip.frames_THWC.shape[2],
                seed=number,
            )
            for number, clip in enumerate(shown)
        ]
        videos = generator.generate_many(requests)
        tiles = [
            (frame_strip(video, 5), clip.caption) for clip, video in zip(shown, videos, strict=True)
        ]
        path = self.folder / f"step-{step:06d}.png"
        contact_sheet(tiles, columns=1, tile_width=480).save(path)
        return path
