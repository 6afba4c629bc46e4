import dataclasses

import numpy as np
import pytest
import torch

from infra.errors import InputError
from infra.lake import Lake
from modeling.loader import LatentStore, Loader
from modeling.text import Tokenizer
from modeling.train_dit import Sample, SampleMaker
from tests.unit.modeling.small import CHANNELS, MemoryStore, small_recipe

BUDGET = 200
BASE = small_recipe().dit
RECIPE = dataclasses.replace(
    BASE, optimizer=dataclasses.replace(BASE.optimizer, token_budget=BUDGET)
)
CLIPS = 10


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """Latents of ten clips by two VAEs, in two fragments and not in the order of their ids."""
    lake = Lake(str(tmp_path_factory.mktemp("lake")))
    lake.ensure()
    for vae, first in (("old", 0.0), ("new", 100.0)):
        rows = [
            {
                "clip_id": f"{(index * 7) % CLIPS:04x}",
                "vae_hash": vae,
                "shape": [1, 2, CHANNELS, 4, 4],
                "fps": 8.0,
                "latent": np.full((1, 2, CHANNELS, 4, 4), first + (index * 7) % CLIPS)
                .astype(np.float16)
                .tobytes(),
            }
            for index in range(CLIPS)
        ]
        lake.append("latents", rows)
    return lake


def captions(count: int = CLIPS) -> dict[str, str]:
    return {f"{index:04x}": f"clip {index}" for index in range(count)}


def loader(rank: int = 0, world: int = 1) -> Loader:
    made = Loader(MemoryStore(), SampleMaker(Tokenizer(["a"]), RECIPE, 8.0), RECIPE, seed=4)
    made.rank, made.world = rank, world
    return made


def same(a: list[Sample], b: list[Sample]) -> bool:
    return len(a) == len(b) and all(
        x.tokens == y.tokens and torch.equal(x.noisy_GChw, y.noisy_GChw)
        for x, y in zip(a, b, strict=True)
    )


@pytest.mark.parametrize("kept_bytes", [0, 1 << 20])
def test_the_store_hands_out_the_asked_clips_by_the_asked_vae(lake: Lake, kept_bytes: int) -> None:
    store = LatentStore(lake, "new", captions(), kept_bytes)
    clips = store.clips([7, 0, 9, 7])
    assert [clip.clip_id for clip in clips] == ["0007", "0000", "0009", "0007"]
    assert [float(clip.windows_WGChw[0, 0, 0, 0, 0]) for clip in clips] == [107, 100, 109, 107]
    assert clips[0].caption == "clip 7" and store.shapes[0] == (1, 2, CHANNELS, 4, 4)


def test_a_clip_without_latents_is_named(lake: Lake) -> None:
    with pytest.raises(InputError, match=r"1 of 11 clips have no latents by VAE new.*000a"):
        LatentStore(lake, "new", captions(11))


def test_a_batch_is_within_its_budget_of_rows() -> None:
    made = loader()
    for _ in range(20):
        samples = made.next()()
        shown = [[s.noisy_GChw, *(memory.latents_GChw for memory in s.memory)] for s in samples]
        patches = sum(latents[:, 0].numel() // 4 for each in shown for latents in each)
        assert patches + sum(len(s.tokens) for s in samples) <= BUDGET


def test_a_loader_goes_on_in_the_middle_of_an_epoch() -> None:
    whole, first, second = loader(), loader(), loader()
    expected = [whole.next()() for _ in range(8)]
    for _ in range(3):
        first.next()
    second.position = first.position
    assert all(same(second.next()(), samples) for samples in expected[3:])


def test_workers_take_turns_in_one_plan() -> None:
    alone, pair = loader(), [loader(rank, 2) for rank in range(2)]
    for _ in range(4):
        for worker in pair:
            assert same(worker.next()(), alone.next()())


def test_a_batch_is_the_same_whenever_it_is_made() -> None:
    made = loader()
    makes = [made.next() for _ in range(3)]
    backwards = [make() for make in reversed(makes)]
    assert all(same(a, make()) for a, make in zip(reversed(backwards), makes, strict=True))
