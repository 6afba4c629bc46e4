"""Velocity loss on real clips, by timestep and by task, and what the VAE leaves of them."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from modeling.bundle import Bundle
from modeling.data import Clip, to_float
from modeling.documents import grid_of
from modeling.evaluation_recipe import EvaluationRecipe, TaskRecipe
from modeling.latents import LatentClip
from modeling.measure import Measure, mean_of
from modeling.noise import Grid
from modeling.train_dit import dit_loss, noised
from modeling.train_vae import psnr_db
from modeling.trainer import rng

T = TypeVar("T")
CLIPS_PER_CALL = 64
LEARNED_CLIPS = 64


def heldout_losses(
    bundle: Bundle, clips: Sequence[LatentClip], recipe: EvaluationRecipe
) -> list[Measure]:
    """The stratified loss: `heldout_loss` (text-to-video, over all timesteps), then each timestep
    and each task. A network that learned nothing comes to about 2."""
    rows = []
    for task in recipe.tasks:
        some = clips if task is recipe.tasks[0] else spread(clips, recipe.task_clips)
        by_time = losses(bundle, some, recipe.timesteps, task)
        name = "heldout_loss" if task is recipe.tasks[0] else f"heldout_loss_{task.name}"
        times = ", ".join(map(str, recipe.timesteps))
        note = f"velocity error at t = {times}; {told(task)}"
        rows.append(Measure(name, float(np.mean(by_time)), len(some), note))
        rows += [
            Measure(f"{name}_t{time}", loss, len(some), f"at t = {time}; {told(task)}", key=False)
            for time, loss in zip(recipe.timesteps, by_time, strict=True)
        ]
    return rows


def training_clips_loss(
    bundle: Bundle, clips: Sequence[LatentClip], recipe: EvaluationRecipe
) -> Measure:
    """The same on clips that it did train on: whether it learned anything, not how well."""
    step = -(-len(clips) // LEARNED_CLIPS)
    some = clips[::step]
    loss = float(np.mean(losses(bundle, some, recipe.timesteps, recipe.tasks[0])))
    note = "the same on clips it trained on: far below the held-out one, it knows them by heart"
    return Measure("training_clips_loss", loss, len(some), note)


@torch.no_grad()
def losses(
    bundle: Bundle, clips: Sequence[LatentClip], timesteps: Sequence[float], task: TaskRecipe
) -> list[float]:
    """Mean loss at each timestep, with the same noise for every model."""
    found = []
    for number, timestep in enumerate(timesteps):
        generator, total = rng(17, number), 0.0
        for first in range(0, len(clips), CLIPS_PER_CALL):
            part = clips[first : first + CLIPS_PER_CALL]
            samples = []
            for clip in part:
                latents = clip.windows_WGChw[0][:1] if task.image else clip.windows_WGChw[0]
                given = given_patches(task, grid_of(latents, bundle.dit.config))
                times = torch.full(given.shape, timestep).masked_fill(given, 0)
                tokens = bundle.tokenizer.encode(clip.caption)
                samples.append(
                    noised(latents, given, times, tokens, bundle.recipe.data.fps, generator)
                )
            total += float(dit_loss(bundle.dit, bundle.text, samples)) * len(part)
        found.append(total / len(clips))
    return found


def given_patches(task: TaskRecipe, grid: Grid) -> Tensor:
    """What of a clip the task gives, bool, (G, 1, 1) or (G, y, x); never all of it."""
    frames, rows, columns = grid
    index = torch.arange(frames)
    given = ((index < task.first) | (index >= frames - task.last)).view(-1, 1, 1)
    if task.box:
        inside = _middle(rows, task.box)[:, None] & _middle(columns, task.box)
        given = given | (~inside if task.outside else inside)
    if given.all():  # the last asked for stays
        given[task.first - 1 if task.first else 0] = False
    return given


def _middle(side: int, share: float) -> Tensor:
    """The middle patches of a side, at least one."""
    length = max(1, round(share * side))
    index = torch.arange(side) - (side - length) // 2
    return (index >= 0) & (index < length)


@torch.no_grad()
def vae_psnr(bundle: Bundle, clips: Sequence[Clip]) -> Measure:
    """Reconstruction of held-out clips' first windows."""
    values = []
    for clip in clips:
        video = to_float(clip.frames_THWC[: bundle.recipe.data.num_frames]).to(bundle.device)
        again = bundle.vae.decode(bundle.vae.encode(video[None]))[0].clamp(-1, 1)
        values.append(psnr_db(again, video))
    return mean_of("vae_psnr_db", values, "held-out clips, mean")


def spread(items: Sequence[T], count: int) -> list[T]:
    """Up to `count` of `items`, evenly spaced."""
    count = min(count, len(items))
    return [items[index * len(items) // count] for index in range(count)]


def told(task: TaskRecipe) -> str:
    """The task's pattern in words."""
    if task.image:
        return "single frames"
    parts = [f"first {task.first}"] * bool(task.first) + [f"last {task.last}"] * bool(task.last)
    given = [f"the {' and '.join(parts)} latent frames"] if parts else []
    if task.box:
        what = "all but a box" if task.outside else "a box"
        given.append(f"{what} of {task.box:.0%} of the sides")
    return f"given: {', '.join(given)}" if given else "nothing given"
