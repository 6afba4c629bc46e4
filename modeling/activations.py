"""How much a forward pass keeps for the backward one, for each row of a packed batch.

Counted, not derived: a small transformer of the same proportions runs once, and autograd's hooks
say what it saved. All of it grows with the width (head width, ratios and types being equal) and,
but for copies of weights, with the rows; so differences between depths and between batches scale to
any size. Attention on a GPU keeps what the fused one here does. Compiled blocks keep less. Rows are
those of patches; one of text keeps less than they do, and is taken for one of them.
"""

from contextlib import nullcontext
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from modeling.dit import DiT, DiTConfig
from modeling.documents import Document, pack

HEADS = 2
DOCUMENTS = (2, 4)


@dataclass(frozen=True)
class RowBytes:
    """Bytes kept for one row. block: by one block; entry: by a block that is computed again;
    rest: before and after all blocks, the row itself included."""

    block: float
    entry: float
    rest: float


def row_bytes(config: DiTConfig, precision: str) -> RowBytes:
    """Of a transformer of this shape that computes in "float32" or "bfloat16"."""
    head_width = config.width // config.heads
    scale = config.width / (HEADS * head_width)
    small = replace(
        config,
        width=HEADS * head_width,
        heads=HEADS,
        text_width=max(1, round(config.text_width / scale)),
    )
    kept = [[_kept(small, depth, count, precision) for count in DOCUMENTS] for depth in (1, 2)]
    rows = _rows(small, 1)[1]
    one, two = ((many - few) / (rows * (DOCUMENTS[1] - DOCUMENTS[0])) for few, many in kept)
    stream = 4 * small.width  # rows travel between blocks in float32
    return RowBytes(scale * (two - one), scale * stream, scale * (2 * one - two))


def activation_bytes(
    per_row: RowBytes, rows: int, depth: int, checkpointing: str = "none", every: int = 2
) -> float:
    """Of a batch of `rows`, at the moment when there is most.

    That is in the backward pass of the first block to come: with all that is kept, with that
    block's own when it is computed again, and gradients of about that size.
    """
    again = {"none": 0, "full": depth, "selective": -(-depth // every)}[checkpointing]
    kept = (depth - again) * per_row.block + again * per_row.entry + per_row.rest
    return rows * (kept + per_row.block * (2 if again else 1))


def kept_bytes(model: DiT, documents: list[Document], precision: str) -> int:
    """What one forward pass of a model keeps, its weights and copies of them included."""
    rows = pack(documents, model.config)
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, Tensor] = {}  # the tensors themselves, lest an address comes twice

    def keep(tensor: Tensor) -> Tensor:
        address = tensor.untyped_storage().data_ptr()
        if address not in weights:
            kept.setdefault(address, tensor)
        return tensor

    mixed = torch.autocast("cpu", torch.bfloat16) if precision == "bfloat16" else nullcontext()
    with torch.enable_grad(), saved_tensors_hooks(keep, lambda tensor: tensor), mixed:
        error = model(rows).float().square().mean()
    assert error.requires_grad
    found = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
    if precision == "bfloat16":
        # Attention computes in float32 here; a GPU keeps half of its queries, keys, values, sums.
        attended = len(rows.patches_NP) + len(rows.text_MW) / 2
        found -= round(4 * 2 * attended * model.config.width * model.config.depth)
    return found


def _kept(config: DiTConfig, depth: int, count: int, precision: str) -> int:
    model = DiT(replace(config, depth=depth))
    return kept_bytes(model, _rows(config, count)[0], precision)


def _rows(config: DiTConfig, count: int) -> tuple[list[Document], int]:
    """Documents of one size, and how many rows each has."""
    frames, side, tokens = 2, 4 * config.patch, 1
    latents = torch.zeros(frames, config.latent_channels, side, side)
    given = torch.zeros(frames, 1, 1, dtype=torch.bool)
    times = torch.full((frames, 1, 1), 0.5)
    document = Document(latents, torch.zeros(tokens, config.text_width), times, given, 8.0)
    return [document] * count, frames * 16
