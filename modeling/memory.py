"""Memory that training takes on each GPU, and what would do when there is too little.

That of weights, gradients, moments and averages in float32, spread over the GPUs when the recipe
shards (FSDP2; as ZeRO stage 3, Rajbhandari et al., 2020), and of one packed batch. A share stays
free for the driver, kernels and gaps between tensors.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from modeling.activations import RowBytes, activation_bytes
from modeling.gpus import GPUS
from modeling.recipes import ModelRecipe
from modeling.sizes import document_rows
from modeling.workload import Parameters, frozen_bytes, packed_batch

GIB = 2**30
USABLE = 0.92
SETTINGS = ("none", "selective", "full")
MOST_GPUS = 2**14


@dataclass(frozen=True)
class Need:
    """Memory that a recipe needs on a number of GPUs of a kind."""

    recipe: ModelRecipe
    counts: Parameters
    per_row: RowBytes
    gpus: int
    gpu: str

    @property
    def usable_gib(self) -> float:
        """Of one GPU's memory."""
        return GPUS[self.gpu].memory_gib * USABLE

    def computing(self, **values: Any) -> "Need":
        """The same with other values of the recipe's `ComputeRecipe`."""
        compute = replace(self.recipe.dit.compute, **values)
        return replace(
            self, recipe=replace(self.recipe, dit=replace(self.recipe.dit, compute=compute))
        )

    def with_budget(self, rows: int) -> "Need":
        """The same with smaller batches."""
        dit = self.recipe.dit
        optimizer = replace(dit.optimizer, token_budget=rows)
        return replace(self, recipe=replace(self.recipe, dit=replace(dit, optimizer=optimizer)))

    def memory_gib(self) -> dict[str, float]:
        """GiB on each GPU by part, and their "total"."""
        own, compute, rows = (
            self.recipe.dit,
            self.recipe.dit.compute,
            packed_batch(self.recipe).rows,
        )
        spread = self.gpus if compute.shard else 1
        weights = 4 * self.counts.trained / spread
        patch_values = own.config.latent_channels * own.config.patch**2
        parts = {
            "weights": weights,
            "gradients": weights,
            "moments": self.counts.moments_bytes / spread,
            "average": weights,
            "text encoder": frozen_bytes(self.recipe),
            "gathered": self._gathered(spread),
            "activations": activation_bytes(
                self.per_row,
                rows,
                own.config.depth,
                compute.checkpointing,
                compute.checkpoint_every,
            ),
            # Noisy patches, their targets and features, of this batch and of the one to come.
            "batch": 2 * 4.0 * rows * (2 * patch_values + own.config.text_width),
        }
        found = {name: size / GIB for name, size in parts.items()}
        return {**found, "total": sum(found.values())}

    def _gathered(self, spread: int) -> float:
        """Copies of weights to compute with: of two blocks and of what is outside them when they
        are spread, with gradients; else the types that products want."""
        counts, compute = self.counts, self.recipe.dit.compute
        value = 2 if compute.precision == "bfloat16" else 4
        if spread == 1:
            return 2.0 * counts.trained if value == 2 else 0.0
        block = counts.blocks / self.recipe.dit.config.depth
        return (counts.trained - counts.blocks + 2 * block) * value + 2 * block * (value + 4)

    @property
    def fits(self) -> bool:
        return self.memory_gib()["total"] <= self.usable_gib

    def obstacle(self) -> str:
        """Why it does not fit and what would do; empty when it fits."""
        if self.fits:
            return ""
        parts = self.memory_gib()
        total = parts.pop("total")
        most = max(parts, key=parts.__getitem__)
        return (
            f"recipe {self.recipe.name!r} does not fit on {self.gpus} x {self.gpu}: each needs "
            f"{total:.1f} GiB and has {self.usable_gib:.1f} to use; the most is {most}, "
            f"{parts[most]:.1f} GiB. What would do: "
            + ("; or ".join(self._fixes()) or "a smaller recipe")
        )

    def _fixes(self) -> Iterator[str]:
        """Each single change with which it would fit."""
        compute = self.recipe.dit.compute
        for setting in SETTINGS[SETTINGS.index(compute.checkpointing) + 1 :]:
            if self.computing(checkpointing=setting).fits:
                yield f'checkpointing "{setting}"'
                break
        sharded = self.computing(shard=True)
        if not compute.shard and self.gpus > 1 and sharded.fits:
            yield "shard true"
        number = 2 ** math.ceil(math.log2(self.gpus + 1))
        while number <= MOST_GPUS and not replace(sharded, gpus=number).fits:
            number *= 2
        if number <= MOST_GPUS:
            yield f"--gpus {number}" + ("" if compute.shard else " with shard true")
        budget = self.recipe.dit.optimizer.token_budget // 2
        while budget >= document_rows(self.recipe) and not self.with_budget(budget).fits:
            budget //= 2
        if budget >= document_rows(self.recipe):
            yield f"token_budget {budget}"
        larger = [name for name in GPUS if name != self.gpu and replace(self, gpu=name).fits]
        if larger:
            yield f"--gpu {min(larger, key=lambda name: GPUS[name].memory_gib)}"
