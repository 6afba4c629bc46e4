"""What there is to compute: a recipe's parameters, one packed batch, and its FLOPs.

FLOPs of a batch of n rows in documents of n_i: 6 N n + 12 L d sum(n_i^2), with N the parameters
that each row meets; what works once for each timestep is left out, and blocks that are computed
again are counted apart.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from infra.errors import InputError
from modeling.dit import DiT
from modeling.recipes import ModelRecipe
from modeling.sizes import document_rows, window_rows
from modeling.text import FIRST_WORD
from modeling.vae import GROUP, VideoVAE

VOCABULARY = FIRST_WORD + 8192  # of a text encoder that is trained along, at most
ONCE_PER_TIMESTEP = ("timestep", "table", "out_scale")


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """How many there are. matrices: those of all blocks that rows meet; rowwise: those and the
    ones before and after the blocks; muon: those whose optimizer keeps one moment, not two."""

    vae: int
    transformer: int
    text: int
    blocks: int
    matrices: int
    rowwise: int
    muon: int

    @property
    def trained(self) -> int:
        """Together with the transformer."""
        return self.transformer + self.text

    @property
    def moments_bytes(self) -> int:
        """AdamW's two for each, Muon's one, in float32."""
        return 8 * self.trained - 4 * self.muon


@dataclass(frozen=True, kw_only=True)
class Batch:
    """One packed batch: rows, and the sum of its documents' squared lengths."""

    rows: int
    squares: float


def count_parameters(recipe: ModelRecipe) -> Parameters:
    """Of modules on the meta device, so that none is ever made."""
    own = recipe.dit
    with torch.device("meta"):
        vae, dit = VideoVAE(recipe.vae.config), DiT(own.config)
    trained_along = own.text.encoder == "trained"
    blocks = _total(dit.blocks)
    matrices = sum(m.weight.numel() for m in dit.blocks.modules() if isinstance(m, nn.Linear))
    outside = sum(
        layer.weight.numel()
        for name, layer in dit.named_children()
        if isinstance(layer, nn.Linear) and name not in ONCE_PER_TIMESTEP
    )
    return Parameters(
        vae=_total(vae),
        transformer=_total(dit),
        text=own.config.text_width * (VOCABULARY if trained_along else 1),
        blocks=blocks,
        matrices=matrices,
        rowwise=matrices + outside,
        muon=matrices if own.optimizer.muon_learning_rate else 0,
    )


def frozen_bytes(recipe: ModelRecipe) -> int:
    """Weights of a pretrained text encoder in a folder, as they lie there; 0 if it is elsewhere."""
    folder = Path(recipe.dit.text.source).expanduser()
    if recipe.dit.text.encoder == "trained" or not folder.is_dir():
        return 0
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))


def packed_batch(recipe: ModelRecipe) -> Batch:
    """A batch of the recipe's windows and images, each with as long a caption as may be.

    Raises:
        InputError: a window alone has more rows than the recipe's `token_budget`.
    """
    own, rates = recipe.dit, recipe.dit.optimizer
    frames = window_rows(recipe.data, own.config.patch)
    whole = document_rows(recipe)
    groups = 1 + (recipe.data.num_frames - 1) // GROUP
    image = frames // groups + own.text.max_tokens
    share = own.image_share
    mean, square = ((1 - share) * whole**p + share * image**p for p in (1, 2))
    if rates.token_budget and whole > rates.token_budget:
        raise InputError(
            f"a window of recipe {recipe.name!r} has {whole} rows and its token_budget is "
            f"{rates.token_budget}; raise it, or lower max_area or num_frames"
        )
    documents = rates.token_budget / mean if rates.token_budget else rates.batch
    return Batch(rows=round(documents * mean), squares=documents * square)


def batch_flops(recipe: ModelRecipe, counts: Parameters, batch: Batch) -> tuple[float, float]:
    """Of one batch on one GPU: forward and backward, and what is computed a second time."""
    config, compute = recipe.dit.config, recipe.dit.compute
    attention = 4 * config.depth * config.width * batch.squares
    model = 6 * counts.rowwise * batch.rows + 3 * attention
    every = {"none": 0, "full": 1, "selective": compute.checkpoint_every}[compute.checkpointing]
    share = -(-config.depth // every) / config.depth if every else 0.0
    return float(model), share * (2 * counts.matrices * batch.rows + attention)


def _total(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
