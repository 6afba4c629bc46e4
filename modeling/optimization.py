"""Optimizers, their learning rate, and how long a gradient may be."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

from modeling.muon import Muon, is_sharded
from modeling.parallel import local
from modeling.recipes import OptimizerRecipe

NORM_MEMORY = 0.98  # of the running mean and variance of gradient norms: some 50 steps
SETTLING_STEPS = 50  # before which they are not believed


def make_optimizers(
    modules: dict[str, nn.Module], recipe: OptimizerRecipe, precision: str = "float32"
) -> list[torch.optim.Optimizer]:
    """AdamW, and Muon for the matrices of rows inside blocks when the recipe has a rate for it.

    `precision`: of Muon's products; weights and moments stay in their own type.
    """
    named = [item for module in modules.values() for item in module.named_parameters()]
    hidden = {
        name for name, p in named if recipe.muon_learning_rate and p.ndim > 1 and _is_hidden(name)
    }
    rest = [(name, p) for name, p in named if name not in hidden]
    groups = [
        {"params": [p for _, p in rest if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for _, p in rest if p.ndim <= 1], "weight_decay": 0.0},
    ]
    betas = (0.9, recipe.beta2)
    adamw = torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=betas, fused=True)
    if not hidden:
        return [adamw]
    matrices = [p for name, p in named if name in hidden]
    muon = Muon(
        matrices,
        recipe.muon_learning_rate,
        weight_decay=recipe.weight_decay,
        dtype=torch.bfloat16 if precision == "bfloat16" else None,
    )
    return [adamw, muon]


def _is_hidden(name: str) -> bool:
    # Modulation has no rows, but a few timesteps, and starts at zero: an input, not a hidden layer.
    return "blocks." in name and "weight" in name and "modulation" not in name


def rate_factor(step: int, recipe: OptimizerRecipe) -> float:
    """Learning rate over its peak: warm-up, flat, then a linear fall to zero."""
    warm = min(1.0, (step + 1) / max(recipe.warmup_steps, 1))
    left = (recipe.steps - step) / max(recipe.steps * recipe.fall_share, 1)
    return min(warm, left)


def gradient_norm(gradients: Sequence[Tensor]) -> float:
    """Length of all gradients together, over all workers where they are sharded."""
    parts = local(gradients)
    norms = torch.stack(torch._foreach_norm(parts))
    square = norms.double().square().sum()
    if any(is_sharded(gradient) for gradient in gradients):
        dist.all_reduce(square)
    return math.sqrt(float(square))


@dataclass
class NormRecord:
    """What gradient norms have been like, after Open-Sora-Plan's adaptive clipping."""

    steps: int = 0
    mean: float = 0.0
    variance: float = 0.0

    def limit(self, recipe: OptimizerRecipe) -> float:
        """The longest gradient that passes as it is."""
        if not recipe.clip_sigmas or self.steps < SETTLING_STEPS:
            return recipe.max_norm
        return min(recipe.max_norm, self.mean + recipe.clip_sigmas * math.sqrt(self.variance))

    def add(self, norm: float) -> None:
        """Remember a norm, of a gradient that was clipped the one that it got."""
        self.steps += 1
        weight = max(1 - NORM_MEMORY, 1 / self.steps)
        difference = norm - self.mean
        self.mean += weight * difference
        self.variance = (1 - weight) * (self.variance + weight * difference**2)
