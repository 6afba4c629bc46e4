"""What the transformer trains on."""

import dataclasses

import torch

from modeling.dit import DiT
from modeling.documents import over_rows
from modeling.latents import LatentClip
from modeling.noise import NoiseRecipe, over_latents
from modeling.recipes import RolloutRecipe
from modeling.text import TextEncoder, Tokenizer
from modeling.train_dit import Sample, SampleMaker, dit_loss, noised
from tests.unit.modeling.small import CHANNELS, WIDTH, shaken, small_recipe

RECIPE = small_recipe().dit
TOKENIZER = Tokenizer(["ball"])
MEMORY = RolloutRecipe(history=(2,), anchor=True)
ALL = NoiseRecipe(
    head_share=0.2, tail_share=0.15, ends_share=0.15, scattered_share=0.15, outside_share=0.15,
    box_share=0.15, midstream_share=0.5,
)  # fmt: skip


def samples(latents: torch.Tensor, count: int = 100) -> list[Sample]:
    maker = SampleMaker(TOKENIZER, dataclasses.replace(RECIPE, noise=ALL, rollout=MEMORY), 8.0)
    rng, clip = torch.Generator().manual_seed(0), LatentClip("a", "ball", latents[None])
    return [maker.sample(clip, number % 10 == 0, rng) for number in range(count)]


def test_what_is_not_given_never_shows_in_what_is() -> None:
    """Inputs of given rows and the memory are the same whatever the rest of the clip shows."""
    latents = torch.randn(4, CHANNELS, 6, 8, generator=torch.Generator().manual_seed(1))
    seen = {False: 0, True: 0}
    for number, sample in enumerate(samples(latents)):
        first = len(latents) - len(sample.noisy_GChw) if not sample.opens else 0
        clean = latents[first : first + len(sample.noisy_GChw)]
        given = over_latents(sample.given_Gyx, clean).expand_as(clean)
        assert not given.all() and torch.equal(sample.noisy_GChw[given], clean[given])
        assert not torch.equal(sample.noisy_GChw[~given], clean[~given])
        assert (sample.timesteps_Gyx[sample.given_Gyx] == 0).all()
        assert (sample.timesteps_Gyx[~sample.given_Gyx] > 0).all()
        changed = latents.clone()
        changed[first : first + len(clean)][~given] += 1
        if number % 20 == 0:
            again = samples(changed)[number]
            assert torch.equal(again.noisy_GChw[given], sample.noisy_GChw[given])
            for one, two in zip(again.memory, sample.memory, strict=True):
                assert torch.equal(one.latents_GChw, two.latents_GChw)
        seen[bool(sample.memory)] += 1
        assert sample.opens or sample.given_Gyx.any()
    assert min(seen.values()) > 5


@torch.no_grad()
def test_only_what_is_asked_for_counts_in_the_loss() -> None:
    generator = torch.Generator().manual_seed(2)
    dit, text = shaken(DiT(RECIPE.config)), TextEncoder(len(TOKENIZER), WIDTH)
    assert isinstance(dit, DiT)
    given = torch.zeros(3, 3, 4, dtype=torch.bool)
    given[:, 1:, 2:] = True
    timesteps = torch.full(given.shape, 0.5).masked_fill(given, 0)
    latents = torch.randn(3, CHANNELS, 6, 8, generator=generator)
    sample = noised(latents, given, timesteps, [1], 8.0, generator)
    mask = over_latents(given, latents).expand_as(latents)
    loss = float(dit_loss(dit, text, [sample]))
    for part, same in ((mask, True), (~mask, False)):
        velocity = torch.where(part, sample.velocity_GChw + 3, sample.velocity_GChw)
        changed = dataclasses.replace(sample, velocity_GChw=velocity)
        assert (float(dit_loss(dit, text, [changed])) == loss) is same
    assert int(over_rows(given, (3, 3, 4)).sum()) == int(mask[:, 0].sum()) // 4
