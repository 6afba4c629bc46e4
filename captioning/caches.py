"""Trained captioners on disk, and the rule for when one is used again. Nothing here needs torch.

A captioner lies in HOME/captioner/<recipe>-<labelled clips>/: `captioner.json` (recipe, words,
held-out figures, the labelled clips it learned from) and `weights.safetensors`. It is used again
while less than `recipe.retrain_growth` of its labelled clips were added, changed or removed since:
so one more film costs the captions of one film, and a captioner never falls far behind its data.
"""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from captioning.recipe import CocaRecipe
from infra.job_files import read_json
from infra.recipes import fingerprint


def labelled_marks(captions: Mapping[str, str]) -> list[str]:
    """One mark a labelled clip: its id and a hash of its caption."""
    return sorted(
        f"{clip_id}:{hashlib.sha256(caption.encode()).hexdigest()[:12]}"
        for clip_id, caption in captions.items()
    )


def new_place(folder: Path, recipe: CocaRecipe, captions: Mapping[str, str]) -> Path:
    """Where a captioner that learned from `captions` lies; its folder's name is its version."""
    name = hashlib.sha256("\n".join(labelled_marks(captions)).encode()).hexdigest()[:16]
    return folder / f"{fingerprint(recipe)}-{name}"


def find_captioner(folder: Path, recipe: CocaRecipe, captions: Mapping[str, str]) -> Path | None:
    """The stored captioner of this recipe whose labelled clips changed least, if little enough."""
    marks = set(labelled_marks(captions))
    best: tuple[float, Path] | None = None
    for place in sorted(folder.glob(f"{fingerprint(recipe)}-*")):
        learned = set((read_json(place / "captioner.json") or {})["labelled"])
        changed = len(marks ^ learned) / len(learned)
        if changed < recipe.retrain_growth and (best is None or changed < best[0]):
            best = changed, place
    return best[1] if best else None


def captioners_of(folder: Path, clip_ids: Iterable[str]) -> list[Path]:
    """The folders of the captioners that learned from any of these clips."""
    wanted = set(clip_ids)
    return [
        path.parent
        for path in sorted(folder.glob("*/captioner.json"))
        if any(mark.split(":")[0] in wanted for mark in (read_json(path) or {})["labelled"])
    ]
