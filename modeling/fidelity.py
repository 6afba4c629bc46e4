"""Conditioning fidelity: what a task gives, as it is shown, against its own reconstruction.

Only given pixels are compared, and only with what the VAE makes of them: how good the VAE is, and
what was made beside them, are other figures. Given latents come back unchanged, so what is lost
here the decoder mixes in from what was made before or beside them.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from modeling.bundle import Bundle
from modeling.documents import grid_of
from modeling.evaluation_recipe import EvaluationRecipe, TaskRecipe
from modeling.heldout import given_patches, spread, told
from modeling.latents import LatentClip
from modeling.measure import Measure
from modeling.noise import over_latents
from modeling.sampler import Task, sample
from modeling.text import NULL
from modeling.train_vae import psnr_db

MOST_STEPS = 8  # what is made matters only as what the decoder mixes into what is given


def fidelity_measures(
    bundle: Bundle, clips: Sequence[LatentClip], recipe: EvaluationRecipe
) -> list[Measure]:
    """A row for each task that gives something of a clip: the lowest PSNR of all clips."""
    some, sampler = spread(clips, recipe.given_clips), bundle.recipe.dit.sampler
    sampler = replace(sampler, steps=min(sampler.steps, MOST_STEPS))
    rows = []
    for pattern in recipe.tasks:
        if pattern.image or not (pattern.first or pattern.last or pattern.box):
            continue
        tasks = [_task(bundle, clip, pattern, seed) for seed, clip in enumerate(some)]
        tasks = [task for task in tasks if task.given_Gyx.any()]  # of a single patch nothing is
        made = sample(bundle.dit, tasks, sampler) if tasks else []
        values = [_given_psnr(bundle, *pair) for pair in zip(tasks, made, strict=True)]
        if values:
            note = f"{told(pattern)}; these alone, against their own reconstruction; lowest of all"
            name = f"given_psnr_db_{pattern.name}"
            rows.append(Measure(name, float(np.min(values)), len(values), note))
    return rows


def _task(bundle: Bundle, clip: LatentClip, pattern: TaskRecipe, seed: int) -> Task:
    latents = clip.windows_WGChw[0].to(bundle.device)
    text, nothing = map(bundle.features, (bundle.tokenizer.encode(clip.caption), [NULL]))
    given = given_patches(pattern, grid_of(latents, bundle.dit.config))
    return Task(latents, given, text, nothing, bundle.recipe.data.fps, seed)


@torch.no_grad()
def _given_psnr(bundle: Bundle, task: Task, made_GChw: Tensor) -> float:
    """Of the pixels that are given, decoded among what was made and among what really was there."""
    vae, latents = bundle.vae, task.latents_GChw
    shown, expected = (vae.decode(one[None])[0].clamp(-1, 1) for one in (made_GChw, latents))
    given = over_latents(task.given_Gyx, latents).expand(-1, 1, *latents.shape[2:])[:, 0]
    # The first latent frame is one frame of pixels, each further one a group.
    pixels = given.repeat_interleave(vae.group, 0)[vae.group - 1 :]
    for side in (1, 2):
        pixels = pixels.repeat_interleave(vae.spatial, side)
    return psnr_db(shown[pixels], expected[pixels])
