import pytest
import torch

from modeling.vae import VAEConfig, VideoVAE, fold, unfold
from tests.unit.modeling.small import CHANNELS, shaken

CONFIG = VAEConfig(latent_channels=CHANNELS, widths=(16, 24), encoder_depth=1, decoder_depth=1)


def vae() -> VideoVAE:
    model = shaken(VideoVAE(CONFIG))
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
    clip = video(9)
    assert torch.equal(unfold(fold(clip), 2)[:, 3:], clip)


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


def test_a_stream_decodes_to_what_the_whole_would() -> None:
    model = vae()
    latents = model.encode(video(13))
    whole = model.decode(latents)
    parts = [model.decode(latents[:, :1])]
    for group in range(1, latents.shape[1]):
        parts.append(model.decode(latents[:, group : group + 1], latents[:, group - 1]))
    torch.testing.assert_close(torch.cat(parts, 1), whole, rtol=0, atol=1e-5)


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
