"""How much of a training step is matrix products: `python -m tests.benchmarks.model.roof [WIDTH]`.

The step is the trainer's own, on packed rows of mixed sizes: forward, backward, clipping, AdamW and
the average. The roof is what `torch.mm` and `torch.bmm` need for the very same products, one after
the other with nothing between them; both are timed in turn, so that other work slows both.
Processor time is compared, which a busy machine changes least. AdamW alone: Muon's own products
would count as time lost.
"""

import dataclasses
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from modeling.allocator import keep_freed_memory
from modeling.dit import Block, DiT, DiTConfig
from modeling.noise import NoiseRecipe
from modeling.recipes import ComputeRecipe, OptimizerRecipe, TransformerRecipe
from modeling.text import TextEncoder
from modeling.train_dit import Sample, noised, velocity_error
from modeling.trainer import Trainer, rng
from tests.benchmarks.figure import Figure

ROUNDS, DEPTH, CHANNELS, TOKENS = 7, 4, 16, 16
KINDS = ((4, 8, 12, 16), (4, 12, 8, 12), (1, 16, 16, 8))
"""(latent frames, height, width, how many of them)"""
TARGET = 0.65


def train_share_of_roof(width: int = 384, compute: ComputeRecipe | None = None) -> Figure:
    """Time of the bare matrix products over time of the training step."""
    compute = compute or ComputeRecipe()
    keep_freed_memory()  # as training jobs do
    with TemporaryDirectory() as folder:
        trainer, batch, products = _trainer(Path(folder), width, compute)
        batches = iter(lambda: batch, None)
        shares, rates = [], []
        for number in range(ROUNDS + 2):
            taken = _timed(lambda: trainer._step(batches))
            bare = sum(_timed(product) for product in products) * DEPTH
            if number > 1:  # the first rounds allocate
                shares.append(bare / taken)
                rates.append(taken)
    rows = sum(len(s.tokens) + s.noisy_GChw[:, 0].numel() // 4 for s in batch)
    return {
        "value": round(statistics.median(shares), 3),
        "target": TARGET,
        "better": "higher",
        "n": ROUNDS,
        "note": f"width {width}, {rows} rows in {len(batch)} clips, {compute.precision}, "
        f"{statistics.median(rates):.2f} s of processor a step, "
        f"quartiles {' to '.join(f'{q:.3f}' for q in statistics.quantiles(shares)[::2])}",
    }


def _trainer(
    folder: Path, width: int, compute: ComputeRecipe
) -> tuple[Trainer[list[Sample]], list[Sample], list[Callable[[], Any]]]:
    recipe = TransformerRecipe(
        config=DiTConfig(
            width=width, depth=DEPTH, heads=width // 64, latent_channels=CHANNELS, text_width=width
        ),
        optimizer=OptimizerRecipe(steps=10_000, batch=0, learning_rate=1e-4),
        noise=NoiseRecipe(),
        compute=compute,
    )
    torch.manual_seed(0)
    dit, text = DiT(recipe.config), TextEncoder(300, width)
    samples = _samples()
    trainer = Trainer(
        {"dit": dit, "text": text},
        lambda _rng: samples,
        lambda batch, _rng: velocity_error(dit, text, batch),
        recipe.optimizer,
        folder,
        seed=0,
        tag="roof",
        compute=compute,
    )
    dtype = torch.bfloat16 if compute.precision == "bfloat16" else torch.float32
    return trainer, samples, _products(dit, samples, dtype)


def _samples() -> list[Sample]:
    found, generator = [], rng(1, 1)
    for frames, height, width, count in KINDS:
        for _ in range(count):
            latents = torch.randn(frames, CHANNELS, height, width, generator=generator)
            given = torch.zeros(frames, 1, 1, dtype=torch.bool)
            timesteps = torch.rand(1, 1, 1, generator=generator).expand(given.shape)
            found.append(noised(latents, given, timesteps, [1] * TOKENS, 8.0, generator))
    return found


def _products(dit: DiT, samples: list[Sample], dtype: torch.dtype) -> list[Callable[[], Any]]:
    """Every product of one block, forward and backward: three of each weight, six of attention."""
    patches = [s.noisy_GChw[:, 0].numel() // 4 for s in samples]
    block, rows, words = dit.blocks[0], sum(patches), TOKENS * len(samples)
    assert isinstance(block, Block)
    layers = (block.qkv, block.attention_out, block.mlp_in, block.mlp_out)
    products = [_three(rows, layer.weight.detach().to(dtype)) for layer in layers]
    products.append(_three(words, block.text_kv.weight.detach().to(dtype)))
    heads, channels = dit.config.heads, dit.config.width // dit.config.heads
    for count in sorted(set(patches)):
        sequences = patches.count(count) * heads
        q, k = (torch.randn(sequences, n, channels).to(dtype) for n in (count, count + TOKENS))
        products.append(_attention(q, k, q @ k.mT))
    return products


def _three(rows: int, w: Tensor) -> Callable[[], Any]:
    x, y = (torch.randn(rows, width).to(w.dtype) for width in reversed(w.shape))
    return lambda: (torch.mm(x, w.T), torch.mm(y, w), torch.mm(y.T, x))


def _attention(q: Tensor, k: Tensor, scores: Tensor) -> Callable[[], Any]:
    # Forward: scores and output. Backward: gradients of scores, queries, keys and values.
    return lambda: (
        [(torch.bmm(q, k.mT), torch.bmm(scores, k)) for _ in "ab"],
        [torch.bmm(scores.mT, q) for _ in "ab"],
    )


def _timed(act: Callable[[], Any]) -> float:
    begun = time.process_time()
    act()
    return time.process_time() - begun


def main(width: str = "384", precision: str = "float32") -> int:
    compute = dataclasses.replace(ComputeRecipe(), precision=precision)  # type: ignore[arg-type]
    figure = train_share_of_roof(int(width), compute)
    print(json.dumps({"train_share_of_roof": figure}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
