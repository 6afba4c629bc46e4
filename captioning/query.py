"""The vector of a video or picture file, to search the lake for its like."""

from pathlib import Path

import numpy as np

from captioning.embedding import Embedder, Vectors
from captioning.frames import Frames, squeeze
from captioning.recipe import CocaRecipe
from infra.video import read_file_frames

MAX_FRAMES = 600  # of a file, from its beginning: ten seconds or more


def embed_file(path: Path, embedder: Embedder) -> Vectors:
    """The vector (768,) of a file; of a long film, of its first seconds.

    Raises:
        InputError: not a video or picture, or it does not decode.
    """
    vector: Vectors = embedder.embed([_looked_at(path, embedder.recipe)])[0]
    return vector


def _looked_at(path: Path, recipe: CocaRecipe) -> Frames:
    """(N, cell, cell, 3): as of a clip, so many a second, and the middle of what is read."""
    first, _ = read_file_frames(path, 1)
    scale = recipe.cell / min(first.shape[1:3])
    size = (max(1, round(first.shape[1] * scale)), max(1, round(first.shape[2] * scale)))
    frames, fps = read_file_frames(path, MAX_FRAMES, size)
    count = max(1, int(len(frames) / fps * recipe.frame_rate + 1e-6))
    looked = min(count, recipe.max_frames)
    times_s = ((count - looked) // 2 + np.arange(looked)) / recipe.frame_rate
    chosen = np.minimum((times_s * fps + 0.5).astype(int), len(frames) - 1)
    return squeeze(frames[chosen], recipe.cell)
