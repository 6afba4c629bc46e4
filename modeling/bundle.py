"""A bundle: one folder that is a whole model. Safetensors and a manifest; nothing is unpickled.

manifest.json        recipe, release, vocabulary, SHA-256 of each weight file
vae.safetensors      dit.safetensors      text.safetensors
vae.json             of a VAE that came from diffusers: its class and config
text_encoder/        a pretrained text encoder, unless it is large: then its path and hash
adapters/            what LoRA learned, which dit.safetensors contains, for use elsewhere
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from infra.errors import InputError, NotFoundError
from infra.job_files import read_json, write_json
from infra.recipes import fingerprint, from_dict, to_dict
from modeling.caption_encoders import read_text, write_text
from modeling.codec import VAE
from modeling.device import compute_device
from modeling.dit import DiT
from modeling.recipes import ModelRecipe
from modeling.text import CaptionEncoder, CaptionTokenizer, token_tensor
from modeling.vae_files import read_vae, write_vae
from modeling.weights import file_hash, save_weights

FORMAT = 2
"""1 had text among the rows of all blocks, and one modulation for all."""
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Bundle:
    """A loaded model, in evaluation mode."""

    recipe: ModelRecipe
    vae: VAE
    dit: DiT
    text: CaptionEncoder
    tokenizer: CaptionTokenizer
    manifest: dict[str, Any]

    @property
    def device(self) -> torch.device:
        return self.vae.device

    @torch.no_grad()
    def features(self, tokens: Sequence[int]) -> Tensor:
        """What the transformer is told of a caption, (L, width)."""
        features: Tensor = self.text(token_tensor(tokens).to(self.device))
        return features


def save_bundle(
    folder: Path,
    recipe: ModelRecipe,
    vae: VAE,
    dit: DiT,
    text: CaptionEncoder,
    tokenizer: CaptionTokenizer,
    lineage: dict[str, Any],
) -> Path:
    """Write a bundle; the manifest goes last, so a folder without one is not a bundle."""
    files = {
        f"{name}.safetensors": save_weights(module, folder / f"{name}.safetensors")
        for name, module in (("dit", dit), ("text", text))
    }
    files |= {path.name: file_hash(path) for path in write_vae(vae, folder)}
    about_text = write_text(folder, tokenizer)
    for path in sorted(folder.glob("*/*")):
        files[path.relative_to(folder).as_posix()] = file_hash(path)
    manifest = {
        "format": FORMAT,
        "recipe": to_dict(recipe),
        "recipe_hash": fingerprint(recipe),
        **about_text,
        "sha256": files,
        "fps": recipe.data.fps,
        **lineage,
    }
    write_json(folder / MANIFEST, manifest)
    return folder


def load_bundle(folder: Path) -> Bundle:
    """Load a bundle onto `compute_device`, and check every file against the manifest.

    Raises:
        NotFoundError: there is no manifest in the folder.
        InputError: a file is missing, or its hash is not the manifest's; so too of a text encoder
            outside the folder.
    """
    manifest = read_json(folder / MANIFEST)
    if manifest is None:
        raise NotFoundError(f"{folder} is not a model bundle: it has no {MANIFEST}")
    if manifest.get("format") != FORMAT:
        raise InputError(
            f"bundle {folder} has format {manifest.get('format')!r}, this version reads {FORMAT}: "
            "its network is another one; train the model again (reel train), or serve it with the "
            "version that made it"
        )
    for name, expected in manifest["sha256"].items():
        _check_file(folder / name, expected)
    recipe = from_dict(ModelRecipe, manifest["recipe"])
    config = recipe.dit.config
    tokenizer, text = read_text(folder, manifest, recipe.dit.text, config.text_width)
    modules, device = (DiT(config), text), compute_device()
    for name, module in zip(("dit", "text"), modules, strict=True):
        module.load_state_dict(load_file(folder / f"{name}.safetensors"))
        module.to(device).eval().requires_grad_(False)
    vae = read_vae(folder, recipe.vae.config).to(device)
    return Bundle(recipe, vae, *modules, tokenizer, manifest)


def _check_file(path: Path, expected: str) -> None:
    if not path.exists():
        raise InputError(f"bundle file {path} is missing; download the model version again")
    found = file_hash(path)
    if found != expected:
        raise InputError(
            f"bundle file {path} has hash {found[:12]}…, its manifest says {expected[:12]}…; "
            "it was changed or damaged: download the model version again"
        )
