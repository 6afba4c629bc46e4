"""Embeddings from a CoCa's image tower.

Of a pretrained model the contrastive image embedding, which was trained to be compared. Of our
own, whose contrastive head is not trained (`contrastive_weight` 0), the mean of the image tokens
that its caption decoder reads: what a caption is made of.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from captioning.coca import PICTURES_AT_ONCE, CocaCaptioner
from captioning.embedding import Vectors, blank, padded
from captioning.frames import Frames
from captioning.recipe import CocaRecipe
from captioning.store import load_captioner
from captioning.training import views_of
from infra.lake_schema import EMBEDDING_SIZE


class CocaEmbedder:
    """An `Embedder` of the window in the middle of a clip: one look costs a third of the
    captioner's three, and the clips of a lake are embedded anew with every captioner."""

    def __init__(
        self, captioner: CocaCaptioner, recipe: CocaRecipe, version: str, *, contrastive: bool
    ) -> None:
        self._captioner = captioner
        self._contrastive = contrastive
        self.recipe = recipe
        self.version = version

    @classmethod
    def from_store(cls, folder: Path, recipe: CocaRecipe, version: str) -> "CocaEmbedder":
        """With the captioner that was trained here."""
        captioner, _ = load_captioner(folder, recipe)
        return cls(captioner, recipe, version, contrastive=recipe.contrastive_weight > 0)

    @classmethod
    def from_pretrained(cls, recipe: CocaRecipe, version: str) -> "CocaEmbedder":
        """With the open_clip model that the recipe names."""
        captioner = CocaCaptioner.from_pretrained(
            recipe.pretrained_model, recipe.pretrained_weights, grid=recipe.grid
        )
        return cls(captioner, recipe, version, contrastive=True)

    @property
    def width(self) -> int:
        """How many numbers of the image tower's are kept."""
        return min(EMBEDDING_SIZE, self._embed([blank(self.recipe)]).shape[1])

    def embed(self, clips: Sequence[Frames]) -> Vectors:
        """(N, 768) float32, each of length 1."""
        starts = range(0, len(clips), PICTURES_AT_ONCE)
        parts = [self._embed(clips[start : start + PICTURES_AT_ONCE]) for start in starts]
        return padded(torch.cat(parts).numpy())

    def use(self, device: str, threads: int) -> None:
        """See `Embedder.use`."""
        self._captioner.use(device, threads)

    @torch.inference_mode()
    def _embed(self, clips: Sequence[Frames]) -> torch.Tensor:
        model = self._captioner.model.eval()
        views_BVTHWC = views_of(clips, replace(self.recipe, views=1))
        pictures = self._captioner.format.picture(views_BVTHWC[:, 0])
        latent, tokens = model._encode_image(pictures.to(model.logit_scale.device))
        vectors = latent if self._contrastive else tokens.mean(1)
        result: torch.Tensor = vectors.float().cpu()
        return result
