import dataclasses
import random
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from modeling.codec import DecoderCache
from modeling.tiling import Tiling
from modeling.vae import VAEConfig, VideoVAE, fold, unfold
from tests.unit.modeling.small import CHANNELS, shaken

CONFIG = VAEConfig(latent_channels=CHANNELS, widths=(16, 24), encoder_depth=1, decoder_depth=1)


def vae(config: VAEConfig = CONFIG) -> VideoVAE:
    model = shaken(VideoVAE(config))
    assert isinstance(model, VideoVAE)
    model.latent_mean.uniform_(-1, 1)
    model.latent_std.uniform_(0.5, 2)
    return model


def video(frames: int, height: int = 32, width: int = 48) -> torch.Tensor:
    return torch.rand(2, frames, height, width, 3) * 2 - 1


@pytest.mark.parametrize("frames", [1, 5, 13])
def test_a_clip_of_1_plus_4k_frames_becomes_1_plus_k_latent_frames_and_back(frames: int) -> None:
    model = vae()
    latents = model.encode(video(frames))
    assert latents.shape == (2, 1 + (frames - 1) // 4, CHANNELS, 4, 6)
    assert model.decode(latents).shape == (2, frames, 32, 48, 3)


def test_folding_loses_nothing() -> None:
    groups = torch.rand(3, 4, 32, 48, 3)
    assert torch.equal(unfold(fold(groups, CONFIG), CONFIG), groups)


def test_a_latent_frame_carries_nothing_of_other_groups() -> None:
    """Otherwise a given frame would leak what is to be generated."""
    model, clip = vae(), video(9)
    before = model.encode(clip)
    clip[:, 5:] = torch.rand_like(clip[:, 5:])
    after = model.encode(clip)
    assert torch.equal(before[:, :2], after[:, :2])
    assert not torch.equal(before[:, 2], after[:, 2])


def test_decoding_is_causal() -> None:
    model = vae()
    latents = model.encode(video(9))
    changed = latents.clone()
    changed[:, 2] += 1
    assert torch.equal(model.decode(latents)[:, :5], model.decode(changed)[:, :5])


@contextmanager
def on_threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    yield
    torch.set_num_threads(before)


def cut(whole: torch.Tensor, longest: int, seed: int) -> list[torch.Tensor]:
    """Pieces of random lengths along time."""
    rng, pieces = random.Random(seed), []
    while whole.shape[1]:
        length = rng.randint(1, longest)
        pieces.append(whole[:, :length])
        whole = whole[:, length:]
    return pieces


WIDE = VAEConfig(latent_channels=8, widths=(32, 64), encoder_depth=1, decoder_depth=1)
ODD = dataclasses.replace(CONFIG, latent_channels=5, widths=(17, 23), group=2, spatial=16)


@pytest.mark.parametrize(
    ("config", "height", "width", "frames", "threads"),
    [
        (WIDE, 48, 64, 21, 1),
        (WIDE, 80, 112, 9, 1),
        (ODD, 48, 80, 11, 1),
        (ODD, 48, 80, 1, 1),
        (CONFIG, 48, 64, 9, 2),
    ],
)
@torch.no_grad()
def test_a_stream_is_bit_for_bit_the_whole(
    config: VAEConfig, height: int, width: int, frames: int, threads: int
) -> None:
    model, clip = vae(config), video(frames, height, width)[:1]
    with on_threads(threads):
        latents = model.encode(clip)
        whole = model.decode(latents)
        encoder, decoder = model.encoder_cache(), model.decoder_cache()
        parts = [model.encode(part, encoder) for part in cut(clip, 7, frames)]
        assert torch.equal(torch.cat(parts, 1), latents) and encoder.waiting_BTHWC is None
        parts = [model.decode(part, decoder) for part in cut(latents, 3, frames)]
        assert torch.equal(torch.cat(parts, 1), whole)


def test_a_clip_is_the_same_whatever_else_is_in_the_batch() -> None:
    model, clips = vae(), video(9)
    latents = model.encode(clips)
    assert torch.equal(model.encode(clips[1:]), latents[1:])
    assert torch.equal(model.decode(latents[1:]), model.decode(latents)[1:])


def test_a_stream_holds_frames_back_until_their_group_is_full() -> None:
    model, cache = vae(), vae().encoder_cache()
    counts = [model.encode(part, cache).shape[1] for part in video(8).split([1, 2, 1, 4], 1)]
    assert counts == [1, 0, 0, 1]
    assert cache.waiting_BTHWC is not None and cache.waiting_BTHWC.shape[1] == 3


def test_what_the_encoder_holds_back_the_decoder_shows_later() -> None:
    model, clip = vae(), video(9)
    encoder, decoder = model.encoder_cache(), model.decoder_cache()
    shown = [model.decode(model.encode(f, encoder), decoder) for f in clip.split(1, 1)]
    assert [part.shape[1] for part in shown] == [1, 0, 0, 0, 4, 0, 0, 0, 4]
    assert torch.equal(torch.cat(shown, 1), model.decode(model.encode(clip)))


def test_decoding_goes_on_after_latents_that_were_decoded_elsewhere() -> None:
    model = vae()
    latents = model.encode(video(13))
    rest = model.decode(latents[:, 2:], DecoderCache(previous_BGChw=latents[:, 1:2]))
    torch.testing.assert_close(rest, model.decode(latents)[:, 5:], rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [(96, 160), (160, 56)])
def test_tiles_whose_rim_is_wider_than_the_networks_reach_are_the_whole(
    size: tuple[int, int],
) -> None:
    """This network reaches 5 positions far, the rim of an overlap of 14 is 5.25 wide."""
    model, clip, tiling = vae(), video(5, *size), Tiling(side=16, overlap=14)
    latents = model.encode(clip)
    torch.testing.assert_close(model.encode(clip, tiling=tiling), latents, rtol=0, atol=1e-5)
    whole = model.decode(latents)
    torch.testing.assert_close(model.decode(latents, tiling=tiling), whole, rtol=0, atol=1e-5)


def test_tiles_that_overlap_less_stay_near_the_whole() -> None:
    """Half the reach: at most a fifth of the picture's deviation off, a hundredth on average."""
    model, clip, tiling = vae(), video(5, 160, 96), Tiling(side=12, overlap=7)
    latents = model.encode(clip)
    whole = model.decode(latents)
    for part, reference in (
        (model.encode(clip, tiling=tiling), latents),
        (model.decode(latents, tiling=tiling), whole),
    ):
        error = (part - reference).abs() / reference.std()
        assert error.max() < 0.2 and error.mean() < 0.01


def test_a_tiled_stream_is_bit_for_bit_the_tiled_whole() -> None:
    model, clip, tiling = vae(), video(9, 64, 80), Tiling(side=6, overlap=3)
    latents = model.encode(clip, tiling=tiling)
    cache = model.decoder_cache()
    parts = [model.decode(part, cache, tiling) for part in latents.split(1, 1)]
    assert torch.equal(torch.cat(parts, 1), model.decode(latents, tiling=tiling))


def test_tiles_that_overlap_wholly_are_refused() -> None:
    with pytest.raises(ValueError, match="tiles of 8 positions cannot overlap by 8"):
        Tiling(side=8, overlap=8)


def test_the_linear_start_is_the_best_linear_reconstruction() -> None:
    """Clips that live on few dimensions come back exactly, before any training."""
    model = VideoVAE(CONFIG)
    directions = torch.randn(CHANNELS, 9, 16, 16, 3) * 0.1
    # One direction per latent channel, tiled so that every 4x8x8 block repeats.
    directions = directions[:, :1, :8, :8].repeat(1, 9, 4, 4, 1)
    clips = [torch.einsum("c,cthwd->thwd", torch.randn(CHANNELS), directions) for _ in range(64)]
    model.start_linear(clips)
    batch = torch.stack(clips)
    mean, _ = model.posterior(batch)
    torch.testing.assert_close(model.reconstruct(mean), batch, rtol=0, atol=1e-3)


@pytest.mark.parametrize("shape", [(4, 32, 32), (5, 30, 32), (5, 32, 20)])
def test_a_clip_of_the_wrong_shape_is_refused_by_the_rule(shape: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="1\\+4k frames and sides that are multiples of 8"):
        vae().encode(video(*shape))
