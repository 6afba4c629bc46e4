"""VAEs that diffusers itself saved, in place of ours."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest
import torch

from infra.errors import InputError, NotFoundError
from modeling.diffusers_vae import DiffusersVAE, read_diffusers_vae
from modeling.noise import NoiseRecipe
from modeling.recipes import VAERecipe, tiny
from modeling.tiling import Tiling
from modeling.vae import VAEConfig
from modeling.vae_files import (
    LATER_FRAMES_GIVEN,
    adopted_vae,
    check_compression,
    check_patterns,
    read_vae,
    write_vae,
)

MEAN, STD = [0.1, 0.2, 0.3, 0.4], [1.0, 2.0, 1.0, 0.5]


def wan() -> Any:
    from diffusers import AutoencoderKLWan

    return AutoencoderKLWan(
        base_dim=8,
        z_dim=4,
        num_res_blocks=1,
        dim_mult=[1, 1, 1, 1],
        latents_mean=MEAN,
        latents_std=STD,
    )


def ltx() -> Any:
    from diffusers import AutoencoderKLLTXVideo

    return AutoencoderKLLTXVideo(
        latent_channels=4,
        block_out_channels=(8, 8, 8),
        decoder_block_out_channels=(8, 8, 8),
        down_block_types=("LTXVideoDownBlock3D",) * 3,
        layers_per_block=(1, 1, 1, 1),
        decoder_layers_per_block=(1, 1, 1, 1),
        spatio_temporal_scaling=(True, True, False),
        decoder_spatio_temporal_scaling=(True, True, False),
        decoder_inject_noise=(False,) * 4,
        downsample_type=("conv",) * 3,
        upsample_residual=(False,) * 3,
        upsample_factor=(1, 1, 1),
        patch_size=2,
    )


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    torch.manual_seed(0)
    found = {}
    for name, make in {"wan": wan, "ltx": ltx}.items():
        found[name] = tmp_path_factory.mktemp(name)
        make().save_pretrained(found[name])
    return found


@pytest.mark.parametrize("kind", ["wan", "ltx"])
def test_it_encodes_and_decodes_as_ours_does(folders: dict[str, Path], kind: str) -> None:
    vae, clip = read_diffusers_vae(folders[kind]), torch.rand(1, 9, 32, 48, 3) * 2 - 1
    assert (vae.group, vae.spatial, vae.latent_channels, vae.local_groups) == (4, 8, 4, False)
    latents = vae.encode(clip)
    assert latents.shape == (1, 3, 4, 4, 6) and vae.decode(latents).shape == clip.shape
    with pytest.raises(ValueError, match="1\\+4k frames"):
        vae.encode(clip[:, :8])


def test_latents_are_normalised_by_the_statistics_of_its_config(folders: dict[str, Path]) -> None:
    vae, clip = read_diffusers_vae(folders["wan"]), torch.rand(1, 5, 32, 32, 3) * 2 - 1
    raw = vae.model.encode(clip.movedim(-1, 1)).latent_dist.mode().movedim(1, 2)
    mean, std = (torch.tensor(values).view(1, 1, 4, 1, 1) for values in (MEAN, STD))
    torch.testing.assert_close(vae.encode(clip), (raw - mean) / std)
    assert vae.has_statistics and not read_diffusers_vae(folders["ltx"]).has_statistics


def test_a_latent_carries_what_came_before_so_given_frames_are_encoded_alone(
    folders: dict[str, Path],
) -> None:
    """What `local_groups` being False warns of."""
    vae, clip = read_diffusers_vae(folders["wan"]), torch.rand(1, 9, 32, 32, 3) * 2 - 1
    other = torch.cat([torch.rand_like(clip[:, :4]) * 2 - 1, clip[:, 4:]], dim=1)
    assert not torch.equal(vae.encode(clip)[:, 2], vae.encode(other)[:, 2])
    assert torch.equal(vae.encode(clip[:, 4:]), vae.encode(other[:, 4:]))


def test_a_stream_is_the_whole_as_far_as_its_context_reaches(folders: dict[str, Path]) -> None:
    vae, clip = read_diffusers_vae(folders["wan"]), torch.rand(1, 13, 32, 32, 3) * 2 - 1
    latents, cache = vae.encode(clip), vae.encoder_cache()
    parts = [vae.encode(part, cache) for part in clip.split([2, 4, 1, 6], dim=1)]
    torch.testing.assert_close(torch.cat(parts, 1), latents, rtol=0, atol=1e-4)
    decoder = vae.decoder_cache()
    videos = [vae.decode(part, decoder) for part in latents.split([1, 2, 1], dim=1)]
    torch.testing.assert_close(torch.cat(videos, 1), vae.decode(latents), rtol=0, atol=1e-4)


def test_large_frames_go_through_in_tiles(folders: dict[str, Path]) -> None:
    vae, clip = read_diffusers_vae(folders["ltx"]), torch.rand(1, 1, 64, 96, 3) * 2 - 1
    latents = vae.encode(clip, tiling=Tiling(side=6, overlap=3))
    assert latents.shape == vae.encode(clip).shape
    assert vae.decode(latents, tiling=Tiling(side=6, overlap=3)).shape == clip.shape


def test_a_bundle_holds_it_without_the_folder_it_came_from(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    vae, clip = read_diffusers_vae(folders["wan"]), torch.rand(1, 5, 32, 32, 3) * 2 - 1
    vae.latent_mean += 0.5
    paths = write_vae(vae, tmp_path)
    assert sorted(path.name for path in paths) == ["vae.json", "vae.safetensors"]
    again = read_vae(tmp_path, VAEConfig())
    assert isinstance(again, DiffusersVAE) and torch.equal(again.encode(clip), vae.encode(clip))


def test_a_recipe_that_names_another_compression_is_refused(folders: dict[str, Path]) -> None:
    recipe = tiny().vae
    wrong = VAERecipe(config=recipe.config, optimizer=recipe.optimizer, folder=str(folders["wan"]))
    with pytest.raises(InputError, match=r"\(4, 4, 8\), the recipe's config says \(8, 4, 8\)"):
        adopted_vae(wrong)
    with pytest.raises(InputError, match="a VAE of 2x16x16 cannot be used"):
        check_compression(VAEConfig(group=2, spatial=16))


def _without(key: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda config: {name: value for name, value in config.items() if name != key}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda config: config | {"_class_name": "UNet2DModel"}, "no autoencoder 'UNet2DModel'"),
        (lambda config: config | {"_class_name": "AutoencoderKLNone"}, "no autoencoder"),
        (lambda config: config | {"_class_name": "AutoencoderKL"}, "cannot be read|does not say"),
        (lambda config: config | {"latents_std": [1.0, 0.0, 1.0, 1.0]}, "not above 0"),
        (lambda config: config | {"latents_mean": [1.0]}, "have 1 and 4 values for 4 channels"),
        (lambda config: config | {"base_dim": 16}, "cannot be read as AutoencoderKLWan"),
        (_without("_class_name"), "names no model class"),
    ],
)
def test_a_folder_that_does_not_fit_is_refused_by_what_is_wrong(
    folders: dict[str, Path],
    tmp_path: Path,
    change: Callable[[dict[str, Any]], dict[str, Any]],
    message: str,
) -> None:
    config = json.loads((folders["wan"] / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(change(config)))
    weights = "diffusion_pytorch_model.safetensors"
    (tmp_path / weights).write_bytes((folders["wan"] / weights).read_bytes())
    with pytest.raises(InputError, match=message):
        read_diffusers_vae(tmp_path)


def test_pickled_weights_are_not_read(folders: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"no config\.json"):
        read_diffusers_vae(tmp_path)
    (tmp_path / "config.json").write_bytes((folders["wan"] / "config.json").read_bytes())
    torch.save({}, tmp_path / "diffusion_pytorch_model.bin")
    with pytest.raises(InputError, match="has no safetensors, and pickled weights are not read"):
        read_diffusers_vae(tmp_path)


def test_only_first_frames_may_be_given_to_learn_from_latents_that_hold_the_past() -> None:
    recipe = VAERecipe(config=VAEConfig(), optimizer=tiny().vae.optimizer, folder="/vaes/wan")
    with pytest.raises(InputError, match=r"/vaes/wan.* tail_share 0\.2, ends_share 0\.03"):
        check_patterns(recipe, NoiseRecipe())
    none = dict.fromkeys(LATER_FRAMES_GIVEN, 0.0)
    check_patterns(recipe, NoiseRecipe(**none))
