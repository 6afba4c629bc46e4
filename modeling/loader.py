"""The transformer's batches: latents streamed from the lake in the order of a `BatchPlan`.

    store = LatentStore(lake, vae_hash, captions)
    loader = Loader(store, maker, recipe, seed=0)
    make = loader.next()      # plans the next batch, at once
    samples = make()          # reads and noises its clips; safe on any thread, in any order

The lake is read at random, a batch at a time and in the order in which it lies; a release that is
small enough is read once and kept. What a sample looks like comes from (seed, epoch, clip) alone,
so neither the number of workers nor an interruption changes it.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
import torch.distributed as dist
from torch import Generator

from infra.errors import InputError
from infra.lake import Lake, quote_all
from modeling.batches import BatchPlan, Pick, Sizes
from modeling.latents import LatentClip
from modeling.randomness import generator_of
from modeling.recipes import TransformerRecipe
from modeling.train_dit import Sample

KEPT_BYTES = 1 << 30


class Maker(Protocol):
    """Makes a training document of a clip; see `modeling.train_dit.SampleMaker`."""

    def tokens(self, caption: str) -> int: ...

    def sample(self, clip: LatentClip, image: bool, rng: Generator) -> Sample: ...


class LatentStore:
    """Latents of clips (id to caption) by one VAE, in the order of their ids, read when asked for.

    Raises:
        InputError: a clip has none; the latents step was not run for it.
    """

    def __init__(
        self,
        lake: Lake,
        vae_hash: str,
        captions: Mapping[str, str],
        kept_bytes: int = KEPT_BYTES,
    ) -> None:
        # The table as it is now, whatever is added or compacted while we train.
        self._table = lake.dataset("latents")
        found = self._table.to_table(columns=["clip_id", "vae_hash", "shape"])
        ids, hashes = found["clip_id"].to_pylist(), found["vae_hash"].to_pylist()
        places = {
            clip_id: place
            for place, (clip_id, by) in enumerate(zip(ids, hashes, strict=True))
            if by == vae_hash and clip_id in captions
        }
        if missing := sorted(set(captions) - set(places)):
            raise InputError(
                f"{len(missing)} of {len(captions)} clips have no latents by VAE {vae_hash} "
                f"(first: {quote_all(missing[:3])}); run the latents step first"
            )
        self.clip_ids = sorted(places)
        self.captions = [captions[clip_id] for clip_id in self.clip_ids]
        self._places = [places[clip_id] for clip_id in self.clip_ids]
        shapes = found["shape"]
        self.shapes: list[tuple[int, ...]] = [
            tuple(shapes[place].as_py()) for place in self._places
        ]
        self._kept: list[bytes] | None = None
        if sum(2 * int(np.prod(shape)) for shape in self.shapes) <= kept_bytes:
            self._kept = self._read(range(len(self)))

    def __len__(self) -> int:
        return len(self.clip_ids)

    def clips(self, indices: Sequence[int]) -> list[LatentClip]:
        """The clips of these numbers."""
        kept = self._kept
        data = [kept[index] for index in indices] if kept is not None else self._read(indices)
        return [self._clip(index, values) for index, values in zip(indices, data, strict=True)]

    def _read(self, indices: Sequence[int]) -> list[bytes]:
        # Neighbours in a file are read together when they are asked for in its order.
        places = sorted({self._places[index] for index in indices})
        values = self._table.take(places, columns=["latent"])["latent"].to_pylist()
        by_place = dict(zip(places, values, strict=True))
        return [by_place[self._places[index]] for index in indices]

    def _clip(self, index: int, data: bytes) -> LatentClip:
        values = np.frombuffer(data, np.float16).reshape(self.shapes[index]).astype(np.float32)
        return LatentClip(self.clip_ids[index], self.captions[index], torch.from_numpy(values))


class Loader:
    """Batches of samples for one of the workers; see `Source` in modeling/trainer.py.

    All workers follow one plan and take turns, so their steps are of equal size, and each clip is
    trained on by one of them in each epoch.
    """

    def __init__(
        self, store: LatentStore, maker: Maker, recipe: TransformerRecipe, *, seed: int
    ) -> None:
        self.store, self.maker, self.seed = store, maker, seed
        self.rank = dist.get_rank() if dist.is_initialized() else 0
        self.world = dist.get_world_size() if dist.is_initialized() else 1
        budget, sizes = recipe.optimizer.batch, Sizes([1] * len(store), [1] * len(store))
        if recipe.optimizer.token_budget:
            budget, sizes = recipe.optimizer.token_budget, self._sizes(recipe)
        self.plan = BatchPlan(sizes, budget, recipe.image_share, seed)

    def next(self) -> Callable[[], list[Sample]]:
        """Plan this worker's next batch."""
        turns = [self.plan.next() for _ in range(self.world)]
        return partial(self._make, turns[self.rank])

    @property
    def position(self) -> dict[str, Any]:
        return self.plan.position

    @position.setter
    def position(self, position: dict[str, Any]) -> None:
        self.plan.position = position

    def _make(self, picks: Sequence[Pick]) -> list[Sample]:
        clips = self.store.clips([pick.clip for pick in picks])
        return [
            self.maker.sample(
                clip, pick.image, generator_of("sample", self.seed, pick.epoch, clip.clip_id)
            )
            for pick, clip in zip(picks, clips, strict=True)
        ]

    def _sizes(self, recipe: TransformerRecipe) -> Sizes:
        """The most rows that clips can have; a caption that is dropped leaves a little room."""
        patch, shapes = recipe.config.patch, self.store.shapes
        text = [self.maker.tokens(caption) for caption in self.store.captions]
        frame = [rows_of(shape, patch) for shape in shapes]
        video = [shape[1] * rows for shape, rows in zip(shapes, frame, strict=True)]
        if recipe.noise.midstream_share and recipe.rollout.history:
            # An anchor stands in for the frame that a window skips; the coarse view comes on top.
            coarse = patch * recipe.rollout.history[0]
            video = [
                rows + rows_of(shape, coarse) for rows, shape in zip(video, shapes, strict=True)
            ]
        return Sizes(
            [tokens + rows for tokens, rows in zip(text, video, strict=True)],
            [tokens + rows for tokens, rows in zip(text, frame, strict=True)],
        )


def rows_of(shape: Sequence[int], patch: int) -> int:
    """Patches of one frame of latents (…, h, w)."""
    return -(-shape[-2] // patch) * -(-shape[-1] // patch)
