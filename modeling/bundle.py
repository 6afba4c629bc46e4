"""A bundle: one folder that is a whole model. Safetensors and a manifest; nothing is unpickled.

manifest.json        recipe, release, vocabulary, SHA-256 of each weight file
vae.safetensors      dit.safetensors      text.safetensors
text_encoder/        a pretrained text encoder, unless it is large: then its path and hash
adapters/            what LoRA learned, which dit.safetensors contains, for use elsewhere
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import nn

from infra.errors import InputError, NotFoundError
from infra.job_files import read_json, write_json
from infra.recipes import fingerprint, from_dict, to_dict
from modeling.caption_encoders import read_text, write_text
from modeling.dit import DiT
from modeling.recipes import ModelRecipe
from modeling.text import CaptionEncoder, CaptionTokenizer
from modeling.vae import VideoVAE

FORMAT = 1
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Bundle:
    """A loaded model, in evaluation mode."""

    recipe: ModelRecipe
    vae: VideoVAE
    dit: DiT
    text: CaptionEncoder
    tokenizer: CaptionTokenizer
    manifest: dict[str, Any]


def file_hash(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def save_weights(module: nn.Module, path: Path) -> str:
    """Write a module's tensors as safetensors, whole or not at all; returns the file's hash."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}")
    save_file({name: t.contiguous() for name, t in module.state_dict().items()}, temporary)
    temporary.replace(path)
    return file_hash(path)


def save_bundle(
    folder: Path,
    recipe: ModelRecipe,
    vae: VideoVAE,
    dit: DiT,
    text: CaptionEncoder,
    tokenizer: CaptionTokenizer,
    lineage: dict[str, Any],
) -> Path:
    """Write a bundle; the manifest goes last, so a folder without one is not a bundle."""
    files = {
        f"{name}.safetensors": save_weights(module, folder / f"{name}.safetensors")
        for name, module in (("vae", vae), ("dit", dit), ("text", text))
    }
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


def load_bundle(folder: Path, device: str = "cpu") -> Bundle:
    """Load a bundle and check every file against the manifest.

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
            f"bundle {folder} has format {manifest.get('format')!r}, this version reads {FORMAT}"
        )
    for name, expected in manifest["sha256"].items():
        _check_file(folder / name, expected)
    recipe = from_dict(ModelRecipe, manifest["recipe"])
    config = recipe.dit.config
    tokenizer, text = read_text(folder, manifest, recipe.dit.text, config.text_width)
    modules = (VideoVAE(recipe.vae.config), DiT(config), text)
    for name, module in zip(("vae", "dit", "text"), modules, strict=True):
        module.load_state_dict(load_file(folder / f"{name}.safetensors"))
        module.to(device).eval().requires_grad_(False)
    return Bundle(recipe, *modules, tokenizer, manifest)


def _check_file(path: Path, expected: str) -> None:
    if not path.exists():
        raise InputError(f"bundle file {path} is missing; download the model version again")
    found = file_hash(path)
    if found != expected:
        raise InputError(
            f"bundle file {path} has hash {found[:12]}…, its manifest says {expected[:12]}…; "
            "it was changed or damaged: download the model version again"
        )
