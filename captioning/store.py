"""Trained captioners on disk, and the rule for when one is used again.

A captioner lies in HOME/captioner/<recipe>-<labelled clips>/: `captioner.json` (recipe, words,
held-out figures, the labelled clips it learned from) and `weights.safetensors`. It is used again
while less than `recipe.retrain_growth` of its labelled clips were added, changed or removed since:
so one more film costs the captions of one film, and a captioner never falls far behind its data.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from safetensors.torch import load_file, save_file

from captioning.coca import CocaCaptioner
from captioning.recipe import CaptionRecipe
from captioning.training import Heldout
from captioning.words import WordTokenizer
from infra.job_files import write_json
from infra.recipes import fingerprint, to_dict


def labelled_marks(captions: Mapping[str, str]) -> list[str]:
    """One mark a labelled clip: its id and a hash of its caption."""
    return sorted(
        f"{clip_id}:{hashlib.sha256(caption.encode()).hexdigest()[:12]}"
        for clip_id, caption in captions.items()
    )


def save_captioner(
    folder: Path,
    captioner: CocaCaptioner,
    heldout: Heldout,
    recipe: CaptionRecipe,
    captions: Mapping[str, str],
) -> Path:
    """Store a captioner trained on `captions` under `folder`; returns its own folder."""
    assert isinstance(captioner.tokenizer, WordTokenizer)
    marks = labelled_marks(captions)
    name = hashlib.sha256("\n".join(marks).encode()).hexdigest()[:16]
    place = folder / f"{fingerprint(recipe)}-{name}"
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
            "labelled": marks,
        },
    )
    shutil.rmtree(place, ignore_errors=True)
    temporary.replace(place)
    return place


def find_captioner(folder: Path, recipe: CaptionRecipe, captions: Mapping[str, str]) -> Path | None:
    """The stored captioner of this recipe whose labelled clips changed least, if little enough."""
    marks = set(labelled_marks(captions))
    best: tuple[float, Path] | None = None
    for place in sorted(folder.glob(f"{fingerprint(recipe)}-*")):
        learned = set(json.loads((place / "captioner.json").read_text())["labelled"])
        changed = len(marks ^ learned) / len(learned)
        if changed < recipe.retrain_growth and (best is None or changed < best[0]):
            best = changed, place
    return best[1] if best else None


def load_captioner(place: Path, recipe: CaptionRecipe) -> tuple[CocaCaptioner, Heldout]:
    """A captioner that `save_captioner` stored."""
    stored = json.loads((place / "captioner.json").read_text())
    captioner = CocaCaptioner.untrained(recipe, WordTokenizer(stored["words"]))
    captioner.model.load_state_dict(load_file(place / "weights.safetensors"))
    captioner.model.eval()
    return captioner, Heldout(**stored["heldout"])
