"""What there is to compute: a recipe's parameters, one packed batch, and its FLOPs.

FLOPs of a batch of n patch rows and m text rows: 6 (N n + M m) + 12 L d sum(n_i (n_i + m_i)) over
its documents, with N and M the parameters that each of them meets; what works once for each
timestep is left out, and blocks that are computed again are counted apart.
"""

from collections import Counter
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
HIDDEN_LAYERS = ("qkv", "attention_out", "mlp_in", "mlp_out")
OUTSIDE = ("patch_in", "place", "patch_out")
TEXT_HIDDEN_LAYERS, TEXT_OUTSIDE = ("text_kv",), ("text_in", "place")


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """How many there are. matrices, text_matrices: those of all blocks that rows of patches and of
    text meet; rowwise, textwise: those and the ones before and after the blocks; muon: those whose
    optimizer keeps one moment, not two."""

    vae: int
    transformer: int
    text: int
    blocks: int
    matrices: int
    text_matrices: int
    rowwise: int
    textwise: int
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
    """One packed batch: rows of patches and text, those of text among them, and the pairs that
    attention compares: of each document, patches times patches and text."""

    rows: int
    words: int
    pairs: float


def count_parameters(recipe: ModelRecipe) -> Parameters:
    """Of modules on the meta device, so that none is ever made."""
    own = recipe.dit
    with torch.device("meta"):
        vae, dit = VideoVAE(recipe.vae.config), DiT(own.config)
    trained_along = own.text.encoder == "trained"
    layers: Counter[str] = Counter()
    for name, module in dit.named_modules():
        if isinstance(module, nn.Linear):
            layers[name.rpartition(".")[2]] += module.weight.numel()
    matrices, text_matrices = (
        sum(layers[name] for name in names) for names in (HIDDEN_LAYERS, TEXT_HIDDEN_LAYERS)
    )
    return Parameters(
        vae=_total(vae),
        transformer=_total(dit),
        text=own.config.text_width * (VOCABULARY if trained_along else 1),
        blocks=_total(dit.blocks),
        matrices=matrices,
        text_matrices=text_matrices,
        rowwise=matrices + sum(layers[name] for name in OUTSIDE),
        textwise=text_matrices + sum(layers[name] for name in TEXT_OUTSIDE),
        muon=matrices + text_matrices if own.optimizer.muon_learning_rate else 0,
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
    frames, words = window_rows(recipe.data, own.config.patch), own.text.max_tokens
    whole = document_rows(recipe)
    image = frames // (1 + (recipe.data.num_frames - 1) // GROUP)
    shares = ((1 - own.image_share, frames), (own.image_share, image))
    mean = sum(share * patches for share, patches in shares) + words
    pairs = sum(share * patches * (patches + words) for share, patches in shares)
    if rates.token_budget and whole > rates.token_budget:
        raise InputError(
            f"a window of recipe {recipe.name!r} has {whole} rows and its token_budget is "
            f"{rates.token_budget}; raise it, or lower max_area or num_frames"
        )
    documents = rates.token_budget / mean if rates.token_budget else rates.batch
    return Batch(
        rows=round(documents * mean), words=round(documents * words), pairs=documents * pairs
    )


def batch_flops(recipe: ModelRecipe, counts: Parameters, batch: Batch) -> tuple[float, float]:
    """Of one batch on one GPU: forward and backward, and what is computed a second time."""
    config, compute = recipe.dit.config, recipe.dit.compute
    patches = batch.rows - batch.words
    attention = 4 * config.depth * config.width * batch.pairs
    model = 6 * (counts.rowwise * patches + counts.textwise * batch.words) + 3 * attention
    every = {"none": 0, "full": 1, "selective": compute.checkpoint_every}[compute.checkpointing]
    share = -(-config.depth // every) / config.depth if every else 0.0
    blocks = 2 * (counts.matrices * patches + counts.text_matrices * batch.words)
    return float(model), share * (blocks + attention)


def _total(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
