from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from captioning.embedding import MeasuredEmbedder, open_embedder, padded, stored_embedder
from captioning.query import embed_file
from captioning.recipe import CocaRecipe
from captioning.store import save_captioner
from captioning.training import Heldout
from captioning.words import WordTokenizer
from infra.errors import InputError, NotFoundError
from infra.video import encode_mp4
from tests.unit.captioning.bars import TINY, clip

RECIPE = CocaRecipe()


def test_measured_vectors_tell_colour_and_place_and_movement_apart() -> None:
    moving = np.stack([np.roll(clip("red", "left", 2)[0], 2 * step, axis=1) for step in range(8)])
    clips = [
        clip("red", "left", 2),
        clip("red", "left", 2) // 16 * 16,  # a coarse copy
        clip("blue", "left", 2),
        clip("red", "left", 10),
        moving,
    ]
    vectors = MeasuredEmbedder(RECIPE).embed(clips)
    assert vectors.shape == (5, 768)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(5), abs=1e-5)
    cosines = vectors @ vectors[0]
    assert cosines[1] > 0.85
    assert all(cosines[1] > cosine for cosine in cosines[2:])


def test_nothing_at_all_still_has_a_vector() -> None:
    vectors = MeasuredEmbedder(RECIPE).embed([np.zeros((1, 8, 8, 3), np.uint8)])
    assert np.isfinite(vectors).all()
    assert np.linalg.norm(vectors) == pytest.approx(1.0, abs=1e-5)


def test_padding_leaves_cosines_as_they_are() -> None:
    short = np.random.default_rng(0).normal(size=(4, 40)).astype(np.float32)
    full = padded(short)
    cosines = short @ short.T / np.outer(*[np.linalg.norm(short, axis=1)] * 2)
    assert full @ full.T == pytest.approx(cosines, abs=1e-5)


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """A home with a captioner of TINY; what it learned does not matter here."""
    from captioning.coca import CocaCaptioner

    captioner = CocaCaptioner.untrained(TINY, WordTokenizer(["bar", "red"]))
    heldout = Heldout(clips=0, exact=0.0, tokens=0.0, score=0.0)
    save_captioner(tmp_path / "captioner", captioner, heldout, TINY, CAPTIONS)
    return tmp_path


CAPTIONS = {f"clip{number}": "a red bar" for number in range(TINY.min_labelled)}


def test_the_stored_captioner_embeds_and_each_version_has_its_name(trained: Path) -> None:
    embedder = stored_embedder(trained, TINY, CAPTIONS)
    vectors = embedder.embed([clip("red", "left", 2), clip("blue", "right", 5)])
    assert vectors.shape == (2, 768)
    assert not vectors[:, TINY.width :].any()
    again = open_embedder(trained, embedder.version, TINY)
    assert np.array_equal(again.embed([clip("red", "left", 2)])[0], vectors[0]) or np.allclose(
        again.embed([clip("red", "left", 2)])[0], vectors[0], atol=1e-6
    )
    few = dict(list(CAPTIONS.items())[:2])
    others = [stored_embedder(trained, TINY, few), stored_embedder(trained, RECIPE, CAPTIONS)]
    assert len({embedder.version, *(other.version for other in others)}) == 3


def test_weights_that_are_gone_are_one_clear_sentence(trained: Path) -> None:
    version = stored_embedder(trained, TINY, CAPTIONS).version
    with pytest.raises(NotFoundError, match=r"is not in .*; run: reel refresh"):
        open_embedder(trained / "elsewhere", version, TINY)
    with pytest.raises(NotFoundError, match="run: reel refresh"):
        open_embedder(trained, version, replace(TINY, cell=32))
    with pytest.raises(NotFoundError, match="run: reel refresh"):
        open_embedder(trained, "pretrained/0123/1/10x64x16", TINY)


def test_a_file_is_seen_as_a_clip_is(tmp_path: Path) -> None:
    frames = clip("red", "left", 2, frames=16).repeat(3, 1).repeat(4, 2)  # 48 by 64
    film, picture = tmp_path / "film.mp4", tmp_path / "picture.png"
    film.write_bytes(encode_mp4(frames, 20.0))
    from PIL import Image

    Image.fromarray(frames[0]).save(picture)
    embedder = MeasuredEmbedder(TINY)
    ours = embedder.embed([clip("red", "left", 2, frames=16)[::2], clip("blue", "right", 9)])
    seen = embed_file(film, embedder)
    assert ours[0] @ seen > 0.9
    assert ours[0] @ seen > ours[1] @ seen
    assert embed_file(picture, embedder).shape == (768,)
    (tmp_path / "notes.txt").write_text("no film")
    with pytest.raises(InputError, match=r"cannot decode .*notes\.txt as video"):
        embed_file(tmp_path / "notes.txt", embedder)
