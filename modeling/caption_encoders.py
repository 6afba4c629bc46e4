"""A model's tokenizer and text encoder: made for training, written to a bundle, read back."""

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from infra.errors import InputError
from modeling.pretrained_text import PretrainedEncoder, open_text
from modeling.text import (
    CaptionEncoder,
    CaptionTokenizer,
    FrozenTextEncoder,
    TextEncoder,
    TextRecipe,
    Tokenizer,
)

FOLDER = "text_encoder"


def make_text(
    recipe: TextRecipe, width: int, captions: Iterable[str]
) -> tuple[CaptionTokenizer, CaptionEncoder]:
    """Of a new model whose transformer takes features of `width`.

    Raises:
        NotFoundError, InputError: the pretrained encoder cannot be used, or is of another width.
    """
    if recipe.encoder == "trained":
        tokenizer = Tokenizer.from_captions(captions, max_tokens=recipe.max_tokens)
        return tokenizer, TextEncoder(len(tokenizer), width)
    return _frozen(recipe, width)


def text_hash(tokenizer: CaptionTokenizer) -> str:
    """Names a pretrained encoder; empty for one that is trained along."""
    return tokenizer.hash() if isinstance(tokenizer, PretrainedEncoder) else ""


def write_text(folder: Path, tokenizer: CaptionTokenizer) -> dict[str, Any]:
    """What a bundle's manifest says of its tokenizer and encoder.

    A pretrained encoder is written into the bundle, unless its weights exceed `bundled_gib` of the
    recipe that it was opened by.
    """
    if isinstance(tokenizer, Tokenizer):
        return {"words": tokenizer.words, "max_tokens": tokenizer.max_tokens}
    assert isinstance(tokenizer, PretrainedEncoder)
    recipe = tokenizer.recipe
    inside = tokenizer.size_bytes <= recipe.bundled_gib * 2**30
    if inside:
        tokenizer.save(folder / FOLDER)
    place = "" if inside else str(Path(recipe.source).expanduser().absolute())
    about = {"name": tokenizer.name, "source": recipe.source, "hash": tokenizer.hash()}
    return {"text_encoder": {**about, "path": place}}


def read_text(
    folder: Path, manifest: dict[str, Any], recipe: TextRecipe, width: int
) -> tuple[CaptionTokenizer, CaptionEncoder]:
    """The tokenizer and the encoder of a bundle, the weights that were trained not yet loaded.

    Raises:
        NotFoundError, InputError: a large encoder outside the bundle is gone, or was changed.
    """
    if recipe.encoder == "trained":
        tokenizer = Tokenizer(manifest["words"], manifest["max_tokens"])
        return tokenizer, TextEncoder(len(tokenizer), width)
    about = manifest["text_encoder"]
    place = Path(about["path"]) if about["path"] else folder / FOLDER
    found, encoder = _frozen(dataclasses.replace(recipe, source=str(place)), width)
    if found.hash() != about["hash"]:
        raise InputError(
            f"text encoder {place} has hash {found.hash()}, bundle {folder} was trained with "
            f"{about['hash']}; put that one back, or train with this one"
        )
    return found, encoder


def _frozen(recipe: TextRecipe, width: int) -> tuple[PretrainedEncoder, FrozenTextEncoder]:
    found = open_text(recipe)
    if found.width != width:
        raise InputError(
            f"text encoder {recipe.source!r} gives features {found.width} wide, and the recipe's "
            f"transformer takes {width}; set text_width in its config to {found.width}"
        )
    return found, FrozenTextEncoder(found)
