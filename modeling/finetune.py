"""Training that starts from a model: the parent's VAE, words and weights, and what is checked.

A recipe's `start_from` names the parent: a bundle's folder, a version of the registered model, or
an alias. The VAE, the windows and the tokenizer stay the parent's, so its latents are used again,
and words that it does not know are spelled in bytes.
"""

import dataclasses
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from infra.errors import InputError, NotFoundError
from infra.recipes import to_dict
from infra.settings import Settings
from infra.tracking import Tracking
from modeling.bundle import MANIFEST, Bundle, load_bundle
from modeling.caption_encoders import make_text, text_hash
from modeling.dit import DiT
from modeling.lora import LoRARecipe, add_adapters, merge_adapters, save_adapters
from modeling.recipes import ModelRecipe
from modeling.text import WORD, CaptionEncoder, CaptionTokenizer, Tokenizer
from modeling.weights import file_hash

ADAPTERS = "adapters"
HASH_DIGITS = 16


@dataclass(frozen=True)
class Start:
    """What training of a transformer begins with.

    tag: names it beyond the recipe, for checkpoints. lineage: for the bundle's manifest.
    says: a sentence for the log, or nothing.
    """

    dit: DiT
    text: CaptionEncoder
    tokenizer: CaptionTokenizer
    tag: str
    lineage: dict[str, Any] = field(default_factory=dict)
    says: str = ""


def start(recipe: ModelRecipe, settings: Settings, captions: Iterable[str]) -> Start:
    """A new transformer, or the parent's with adapters when the recipe has them.

    Raises:
        NotFoundError: the parent is gone. InputError: it was changed, or its shapes are others.
    """
    torch.manual_seed(recipe.seed)
    own = recipe.dit
    if not recipe.start_from:
        dit = DiT(own.config)
        tokenizer, text = make_text(own.text, own.config.text_width, captions)
        return Start(dit, text, tokenizer, text_hash(tokenizer))
    bundle = open_parent(recipe, settings)
    trained: list[nn.Module] = [bundle.dit, bundle.text]
    for module in trained:
        module.train().requires_grad_(True)
    if own.lora.rank:
        add_adapters(bundle.dit, own.lora)
        bundle.text.requires_grad_(False)
    new, words = new_words(bundle.tokenizer, captions)
    parent = {
        "start_from": recipe.start_from,
        "hash": recipe.start_hash,
        "recipe": bundle.recipe.name,
        "release": bundle.manifest.get("release", ""),
        "lora_rank": own.lora.rank,
        "new_words": new,
    }
    says = f"{new} of {words} words are new to {recipe.start_from}, and spelled in bytes"
    tag = recipe.start_hash + text_hash(bundle.tokenizer)
    return Start(bundle.dit, bundle.text, bundle.tokenizer, tag, {"parent": parent}, says)


def finish(dit: DiT, recipe: LoRARecipe, folder: Path) -> DiT:
    """The trained transformer as a plain one; its adapters are also written alone, into the bundle
    at `folder`."""
    if recipe.rank:
        save_adapters(dit, recipe, folder / ADAPTERS)
        merge_adapters(dit)
    return dit


def take_vae(recipe: ModelRecipe, settings: Settings, folder: Path) -> None:
    """Copy the parent's VAE, byte by byte: its hash is the same, so its latents are found again."""
    open_parent(recipe, settings)
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(parent_folder(recipe.start_from, settings).glob("vae.*")):
        temporary = folder / f".{path.name}"
        shutil.copyfile(path, temporary)
        temporary.replace(folder / path.name)


def open_parent(recipe: ModelRecipe, settings: Settings) -> Bundle:
    """The parent's bundle, checked against the recipe.

    Raises:
        NotFoundError: there is no such bundle, version or alias.
        InputError: it is not the one that the recipe was pinned to, or has other shapes.
    """
    folder = parent_folder(recipe.start_from, settings)
    found = parent_hash(folder)
    if recipe.start_hash and found != recipe.start_hash:
        raise InputError(
            f"{recipe.start_from} was changed since this training began: its manifest has hash "
            f"{found}, and had {recipe.start_hash}; start a new training"
        )
    bundle = load_bundle(folder)
    check_shapes(recipe, bundle.recipe)
    return bundle


def pin_parent(recipe: ModelRecipe, settings: Settings) -> ModelRecipe:
    """The recipe with its parent named by version or absolute path, and by hash.

    An alias moves on, and a folder may be written anew; what was trained must not change with them.

    Raises:
        NotFoundError, InputError: as `open_parent`.
    """
    if not recipe.start_from:
        return recipe
    name, folder = recipe.start_from, parent_folder(recipe.start_from, settings)
    if _bundle_at(name):
        name = str(folder)
    elif not name.isdigit():
        name = _version_of(name, settings)
    pinned = dataclasses.replace(recipe, start_from=name, start_hash=parent_hash(folder))
    open_parent(pinned, settings)
    return pinned


def parent_folder(start_from: str, settings: Settings) -> Path:
    """The folder of a bundle; a registered version is downloaded once.

    Raises:
        NotFoundError: there is no such folder, version or alias.
    """
    if found := _bundle_at(start_from):
        return found
    if "/" in start_from:
        raise NotFoundError(f"there is no model bundle in {start_from}: it has no {MANIFEST}")
    version = start_from if start_from.isdigit() else _version_of(start_from, settings)
    return Tracking(settings.mlflow_url).download(version, settings.home / "models" / version)


def parent_hash(folder: Path) -> str:
    """Names a bundle: its manifest holds the hashes of all its files."""
    return file_hash(folder / MANIFEST)[:HASH_DIGITS]


def check_shapes(recipe: ModelRecipe, parent: ModelRecipe) -> None:
    """Refuse a recipe whose networks or windows are not the parent's.

    Raises:
        InputError: naming each size that differs, of both.
    """
    own, other = _shapes(recipe), _shapes(parent)
    different = [
        f"{name} is {own.get(name)} and was {other.get(name)}"
        for name in sorted(own.keys() | other.keys())
        if own.get(name) != other.get(name)
    ]
    if different:
        raise InputError(
            f"recipe {recipe.name!r} does not fit {recipe.start_from}, which recipe "
            f"{parent.name!r} made: {'; '.join(different)}. Train with --recipe {parent.name}"
        )


def new_words(tokenizer: CaptionTokenizer, captions: Iterable[str]) -> tuple[int, int]:
    """How many of the captions' words a vocabulary lacks, and how many there are."""
    words = {word for caption in captions for word in WORD.findall(caption.lower())}
    known = set(tokenizer.words) if isinstance(tokenizer, Tokenizer) else words
    return len(words - known), len(words)


def _shapes(recipe: ModelRecipe) -> dict[str, Any]:
    parts = {"data": recipe.data, "vae.config": recipe.vae.config, "dit.config": recipe.dit.config}
    sizes = {
        f"{part}.{name}": value
        for part, config in parts.items()
        for name, value in to_dict(config).items()
    }
    return {**sizes, "dit.text.encoder": recipe.dit.text.encoder}


def _bundle_at(name: str) -> Path | None:
    folder = Path(name).expanduser().absolute()
    return folder if (folder / MANIFEST).is_file() else None


def _version_of(alias: str, settings: Settings) -> str:
    found = Tracking(settings.mlflow_url).alias(alias)
    if found is None:
        raise NotFoundError(
            f"{alias!r} is no bundle's folder, and no model version has that alias; give a folder, "
            "a version's number, or champion, candidate or previous"
        )
    return found.version
