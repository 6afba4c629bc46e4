"""Saving and loading trained captioners; `captioning.caches` says where they lie, and when one is
used again."""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from safetensors.torch import load_file, save_file

from captioning.caches import labelled_marks, new_place
from captioning.coca import CocaCaptioner
from captioning.recipe import CocaRecipe
from captioning.training import Heldout
from captioning.words import WordTokenizer
from infra.job_files import write_json
from infra.recipes import to_dict


def save_captioner(
    folder: Path,
    captioner: CocaCaptioner,
    heldout: Heldout,
    recipe: CocaRecipe,
    captions: Mapping[str, str],
) -> Path:
    """Store a captioner trained on `captions` under `folder`; returns its own folder."""
    assert isinstance(captioner.tokenizer, WordTokenizer)
    place = new_place(folder, recipe, captions)
    temporary = folder / f".{place.name}.{os.getpid()}"
    temporary.mkdir(parents=True)
    save_file(
        {key: value.contiguous().cpu() for key, value in captioner.model.state_dict().items()},
        temporary / "weights.safetensors",
    )
    write_json(
        temporary / "captioner.json",
        {
            "recipe": to_dict(recipe),
            "words": captioner.tokenizer.words,
            "heldout": asdict(heldout),
            "labelled": labelled_marks(captions),
        },
    )
    shutil.rmtree(place, ignore_errors=True)
    temporary.replace(place)
    return place


def load_captioner(place: Path, recipe: CocaRecipe) -> tuple[CocaCaptioner, Heldout]:
    """A captioner that `save_captioner` stored."""
    stored = json.loads((place / "captioner.json").read_text())
    captioner = CocaCaptioner.untrained(recipe, WordTokenizer(stored["words"]))
    captioner.model.load_state_dict(load_file(place / "weights.safetensors"))
    captioner.model.eval()
    return captioner, Heldout(**stored["heldout"])
