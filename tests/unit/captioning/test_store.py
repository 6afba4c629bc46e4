from pathlib import Path

import pytest
import torch

from captioning.caches import find_captioner
from captioning.coca import CocaCaptioner
from captioning.recipe import CocaRecipe
from captioning.store import load_captioner, save_captioner
from captioning.training import Heldout
from captioning.words import WordTokenizer
from tests.unit.captioning.bars import TINY

HELDOUT = Heldout(clips=2, exact=0.5, tokens=0.9, score=0.8)
CAPTIONS = {f"clip{index}": f"caption {index}" for index in range(10)}


@pytest.fixture
def stored(tmp_path: Path) -> tuple[Path, CocaCaptioner]:
    captioner = CocaCaptioner.untrained(TINY, WordTokenizer(["bar", "red"]))
    save_captioner(tmp_path, captioner, HELDOUT, TINY, CAPTIONS)
    return tmp_path, captioner


def test_loads_what_was_saved(stored: tuple[Path, CocaCaptioner]) -> None:
    folder, captioner = stored
    place = find_captioner(folder, TINY, CAPTIONS)
    assert place is not None
    loaded, heldout = load_captioner(place, TINY)
    assert heldout == HELDOUT
    views = torch.randint(256, (2, 2, 4, 16, 16, 3), dtype=torch.uint8)
    assert loaded.caption(views) == captioner.caption(views)


def test_used_again_until_a_fifth_of_the_labelled_clips_changed(
    stored: tuple[Path, CocaCaptioner],
) -> None:
    folder, _ = stored
    one_more = CAPTIONS | {"new1": "x"}
    assert find_captioner(folder, TINY, one_more) is not None
    assert find_captioner(folder, TINY, one_more | {"new2": "y"}) is None
    assert find_captioner(folder, TINY, CAPTIONS | {"clip0": "said otherwise"}) is None


def test_another_recipe_never_shares_a_captioner(stored: tuple[Path, CocaCaptioner]) -> None:
    folder, _ = stored
    assert find_captioner(folder, CocaRecipe(), CAPTIONS) is None


def test_saving_again_leaves_one_whole_folder(stored: tuple[Path, CocaCaptioner]) -> None:
    folder, captioner = stored
    place = save_captioner(folder, captioner, HELDOUT, TINY, CAPTIONS)
    assert [entry.name for entry in folder.iterdir()] == [place.name]
    assert sorted(entry.name for entry in place.iterdir()) == [
        "captioner.json",
        "weights.safetensors",
    ]
