"""Embeddings of clips: vectors of length 1 whose cosine says how alike two clips are.

    embedder = stored_embedder(home, recipe, captions)
    vectors = embedder.embed([frames, ...])      # (N, 768) float32

The captioner's own image tower embeds where there is one, trained here or pretrained; else a
measured descriptor does, so that search by likeness always works. An embedder's `version` names all
that decides its vectors: vectors of two versions are never compared.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt

from captioning.caches import find_captioner
from captioning.descriptor import describe
from captioning.frames import Frames
from captioning.recipe import CocaRecipe, LikenessRecipe
from infra.errors import NotFoundError
from infra.lake_schema import EMBEDDING_SIZE
from infra.recipes import fingerprint

MEASURED, TRAINED, PRETRAINED = "measured", "coca", "pretrained"

Vectors = npt.NDArray[np.float32]


class Embedder(Protocol):
    """Frames that the recipe looks at → vectors."""

    recipe: CocaRecipe
    version: str

    @property
    def width(self) -> int:
        """How many numbers of a vector are not there only to fill it up."""

    def embed(self, clips: Sequence[Frames]) -> Vectors:
        """(N, 768) float32, each of length 1."""

    def use(self, device: str, threads: int) -> None:
        """Run on "cpu" or "cuda", on so many cores."""


class MeasuredEmbedder:
    """`captioning.descriptor.describe`: colours, change, edges."""

    def __init__(self, recipe: CocaRecipe) -> None:
        self.recipe = recipe
        self.version = _version(MEASURED, recipe)

    @property
    def width(self) -> int:
        return len(describe(blank(self.recipe)))

    def embed(self, clips: Sequence[Frames]) -> Vectors:
        return padded(np.stack([describe(frames) for frames in clips]))

    def use(self, device: str, threads: int) -> None:
        cv2.setNumThreads(threads)


def looks(recipe: CocaRecipe) -> str:
    """What decides the frames that are looked at, in short."""
    return f"{recipe.frame_rate:g}x{recipe.max_frames}x{recipe.cell}"


def stored_embedder(home: Path, recipe: CocaRecipe, captions: Mapping[str, str]) -> Embedder:
    """The embedder that goes with the captioner in use; nothing is trained for it.

    `captions`: by clip id, of the clips that a person captioned.
    """
    if recipe.pretrained_model:
        return open_embedder(home, _version(PRETRAINED, recipe), recipe)
    place = find_captioner(home / "captioner", recipe, captions)
    if place is not None and len(captions) >= recipe.min_labelled:
        return open_embedder(home, _version(f"{TRAINED}/{place.name}", recipe), recipe)
    return MeasuredEmbedder(recipe)


def open_embedder(home: Path, version: str, recipe: CocaRecipe) -> Embedder:
    """The embedder of that version, to embed something else for comparison.

    Raises:
        NotFoundError: its weights are not in this home (any more), or `recipe` is another.
    """
    measured = MeasuredEmbedder(recipe)
    if version == measured.version:
        return measured
    kind, *names = version.split("/")
    folder = home / "captioner" / names[0] if kind == TRAINED else None
    pretrained = bool(recipe.pretrained_model) and version == _version(PRETRAINED, recipe)
    known = folder is not None and folder.is_dir() and version.endswith(looks(recipe))
    if not known and not pretrained:
        raise NotFoundError(
            f"what embedded the clips ({version}) is not in {home}; run: reel refresh, "
            "which embeds them anew"
        )
    from captioning.coca_embedding import CocaEmbedder

    if folder is not None:
        return CocaEmbedder.from_store(folder, recipe, version)
    return CocaEmbedder.from_pretrained(recipe, version)


def blank(recipe: CocaRecipe) -> Frames:
    """A black frame as the recipe looks at one, for what depends on the shape alone."""
    return np.zeros((1, recipe.cell, recipe.cell, 3), np.uint8)


def padded(vectors_ND: Vectors) -> Vectors:
    """Filled up with zeros, which leave every cosine as it is, to (N, 768) of length 1.

    A longer vector, which no common image tower has, loses its end.
    """
    cut = vectors_ND[:, :EMBEDDING_SIZE]
    full = np.zeros((len(cut), EMBEDDING_SIZE), np.float32)
    full[:, : cut.shape[1]] = cut / np.maximum(np.linalg.norm(cut, axis=1, keepdims=True), 1e-6)
    return full


def _version(kind: str, recipe: CocaRecipe) -> str:
    model = f"/{fingerprint(recipe)}" if kind == PRETRAINED else ""
    return f"{kind}{model}/{LikenessRecipe().version}/{looks(recipe)}"
