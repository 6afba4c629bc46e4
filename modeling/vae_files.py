"""A VAE on disk: weights as safetensors and, where it is not ours, what to build it from.

vae.safetensors      weights, and the statistics that latents are normalised by
vae.json             only of a VAE of diffusers: its class and config
"""

from pathlib import Path

from safetensors.torch import load_file

from infra.errors import InputError
from infra.job_files import read_json, write_json
from modeling.codec import VAE
from modeling.diffusers_vae import DiffusersVAE, diffusers_vae, read_diffusers_vae
from modeling.noise import NoiseRecipe
from modeling.recipes import VAERecipe
from modeling.vae import GROUP, SPATIAL, VAEConfig, VideoVAE
from modeling.weights import save_weights

WEIGHTS, CONFIG = "vae.safetensors", "vae.json"
LATER_FRAMES_GIVEN = ("tail_share", "ends_share", "scattered_share", "outside_share", "box_share")


def write_vae(vae: VAE, folder: Path) -> list[Path]:
    """Write a VAE; returns the files that it is made of."""
    paths = [folder / WEIGHTS]
    if isinstance(vae, DiffusersVAE):
        write_json(folder / CONFIG, vae.config)
        paths.append(folder / CONFIG)
    save_weights(vae, folder / WEIGHTS)
    return paths


def read_vae(folder: Path, config: VAEConfig) -> VAE:
    """The VAE that `write_vae` wrote, in evaluation mode; `config` is that of ours."""
    foreign = read_json(folder / CONFIG)
    vae: VAE = VideoVAE(config) if foreign is None else diffusers_vae(foreign)
    vae.load_state_dict(load_file(folder / WEIGHTS))
    return vae.eval().requires_grad_(False)


def adopted_vae(recipe: VAERecipe) -> DiffusersVAE:
    """The VAE in the recipe's folder.

    Raises:
        InputError: it is none, or it compresses otherwise than the recipe's config says.
    """
    vae, config = read_diffusers_vae(Path(recipe.folder)), recipe.config
    found = (vae.latent_channels, vae.group, vae.spatial)
    wanted = (config.latent_channels, config.group, config.spatial)
    if found != wanted:
        raise InputError(
            f"the VAE in {recipe.folder} has (latent_channels, group, spatial) {found}, "
            f"the recipe's config says {wanted}; correct the recipe, the transformer's too"
        )
    return vae


def check_compression(config: VAEConfig) -> None:
    """Refuse what the VAE can do and the rest cannot: clips and clocks are made for 4x8x8.

    Raises:
        InputError: naming the values seen.
    """
    if (config.group, config.spatial) != (GROUP, SPATIAL):
        raise InputError(
            f"a VAE of {config.group}x{config.spatial}x{config.spatial} cannot be used for a "
            f"whole model yet: set group to {GROUP} and spatial to {SPATIAL}"
        )


def check_patterns(recipe: VAERecipe, noise: NoiseRecipe) -> None:
    """Refuse patterns of given frames that a VAE with a causal encoder makes meaningless.

    Raises:
        InputError: naming the shares that have to be 0.
    """
    shares = {name: getattr(noise, name) for name in LATER_FRAMES_GIVEN}
    if seen := {name: share for name, share in shares.items() if share}:
        told = ", ".join(f"{name} {share:g}" for name, share in seen.items())
        raise InputError(
            f"the latents of the VAE in {recipe.folder} hold what came before them, so training "
            f"can give the first frames only; set to 0 in dit.noise of the recipe: {told}"
        )
