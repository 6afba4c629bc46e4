"""Learned scores: heads out of safetensors files, and their scores in a lake."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from captioning.embedding import MeasuredEmbedder, padded
from captioning.heads import check_width, load_head, load_heads
from captioning.learned_scores import unscored, update_scores
from captioning.recipe import CocaRecipe, HeadRecipe
from infra.errors import InputError, NotFoundError
from infra.job_files import JobContext
from infra.lake import Lake

WIDTH = 6
RNG = np.random.default_rng(0)
VECTORS = padded(RNG.normal(size=(5, WIDTH)).astype(np.float32))


def linear(inputs: int, outputs: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(outputs, inputs)).astype(np.float32)


def saved(path: Path, metadata: dict[str, str] | None = None, **tensors: np.ndarray) -> Path:
    save_file(tensors, path, metadata)
    return path


def mlp() -> dict[str, np.ndarray]:
    """Three layers, named as an nn.Sequential with dropout between names them; the last first."""
    return {
        "layers.10.weight": linear(3, 1, 3), "layers.10.bias": np.array([0.25], np.float32),
        "layers.0.weight": linear(WIDTH, 4, 1), "layers.0.bias": linear(4, 1, 4)[0],
        "layers.2.weight": linear(4, 3, 2),
    }  # fmt: skip


def test_a_linear_head_scores_the_embedding_without_its_padding(tmp_path: Path) -> None:
    weight = linear(WIDTH, 1)
    head = load_head(saved(tmp_path / "h", weight=weight, bias=np.array([5.0], np.float32)))
    assert head.width == WIDTH
    assert head.score(VECTORS) == pytest.approx(VECTORS[:, :WIDTH] @ weight[0] + 5, abs=1e-5)
    check_width({"aesthetic": head}, WIDTH, "m")


@pytest.mark.parametrize("activation", ["none", "relu"])
def test_a_stack_of_layers_is_applied_in_the_order_of_its_numbers(
    tmp_path: Path, activation: str
) -> None:
    named = mlp()
    head = load_head(saved(tmp_path / "h", {"activation": activation}, **named))
    bend = (lambda x: np.maximum(x, 0)) if activation == "relu" else (lambda x: x)
    values = VECTORS[:, :WIDTH] @ named["layers.0.weight"].T + named["layers.0.bias"]
    values = bend(bend(values) @ named["layers.2.weight"].T) @ named["layers.10.weight"].T + 0.25
    assert head.score(VECTORS) == pytest.approx(values[:, 0], abs=1e-5)


def test_a_sigmoid_makes_a_chance_and_half_precision_is_read(tmp_path: Path) -> None:
    weight = (1000 * linear(WIDTH, 1)).astype(np.float16)
    head = load_head(saved(tmp_path / "h", {"output": "sigmoid"}, weight=weight))
    scores = head.score(VECTORS)
    assert ((scores >= 0) & (scores <= 1)).all()
    assert set(scores.round()) == {0, 1}


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ({"weight": linear(6, 2)}, "its last layer has 2 outputs"),
        ({"a.0.weight": linear(6, 4), "a.1.weight": linear(5, 1)}, r"layer 'a\.1' .* do not fit"),
        ({"a.weight": linear(6, 4), "b.weight": linear(4, 1)}, "not numbered one by one"),
        ({"weight": linear(6, 1), "bias": linear(2, 1)[0]}, "do not fit"),
        ({"weight": linear(6, 1), "norm.running_mean": linear(6, 1)}, "'norm.running_mean' is no"),
        ({"weight": np.full((1, 6), np.nan, np.float32)}, "'weight' is no finite weight"),
        ({"weight": np.ones((1, 6), np.int32)}, "is no finite weight"),
        ({"bias": linear(1, 1)[0]}, "do not fit"),
        ({}, "not numbered"),
    ],
)
def test_what_is_no_head_is_refused_with_the_reason(
    tmp_path: Path, tensors: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError, match=rf"h holds no head: .*{words}"):
        load_head(saved(tmp_path / "h", **tensors))


def test_files_that_are_none_and_unknown_wishes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"there is no file .*gone\.safetensors"):
        load_heads(HeadRecipe(unsafe="gone.safetensors"), tmp_path)
    (tmp_path / "pickle.pth").write_bytes(b"\x80\x02}q\x00." * 20)
    with pytest.raises(InputError, match=r"pickle\.pth holds no head: .*safetensors file"):
        load_head(tmp_path / "pickle.pth")
    path = saved(tmp_path / "h", {"activation": "gelu"}, weight=linear(WIDTH, 1))
    with pytest.raises(InputError, match="activation 'gelu'; there are none, relu"):
        load_head(path)


def test_a_head_of_another_width_names_both(tmp_path: Path) -> None:
    heads = load_heads(
        HeadRecipe(aesthetic=str(saved(tmp_path / "h", weight=linear(768, 1)))), tmp_path
    )
    embedder = MeasuredEmbedder(CocaRecipe(cell=16))
    with pytest.raises(InputError, match=r"embeddings of 768 numbers, and .*measured.* have 352"):
        check_width(heads, embedder.width, embedder.version)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Five clips with embeddings of version "v", a rejected one, and one that did not decode."""
    found = Lake(str(tmp_path / "lake"))
    found.ensure()
    rows = [
        {"clip_id": str(number), "status": "accepted", "embedding": vector.tolist(),
         "embedding_recipe": "v"}
        for number, vector in enumerate(VECTORS)
    ]  # fmt: skip
    found.upsert("clips", rows)
    found.upsert("clips", [{"clip_id": "r", "status": "rejected"}])
    found.upsert("clips", [{"clip_id": "x", "status": "accepted"}])
    return found


def update(lake: Lake, path: Path | None, embedder: str = "v") -> dict[str, int]:
    recipe = HeadRecipe(aesthetic=str(path or ""))
    context = JobContext({}, Path(lake.uri).parent / "job")
    return update_scores(context, lake, load_heads(recipe, Path("/")), embedder)


def scores(lake: Lake) -> dict[str, float | None]:
    rows = lake.read("clips", ["clip_id", "aesthetic_score"]).to_pylist()
    return {row["clip_id"]: row["aesthetic_score"] for row in rows}


def test_scores_follow_the_weights_and_the_embeddings(lake: Lake, tmp_path: Path) -> None:
    assert update(lake, None) == {}
    assert set(scores(lake).values()) == {None}
    first, second = (saved(tmp_path / f"h{seed}", weight=linear(WIDTH, 1, seed)) for seed in (1, 2))
    assert update(lake, first) == {"aesthetic": 5}
    expected = load_head(first).score(VECTORS)
    found = scores(lake)
    assert [found[str(number)] for number in range(5)] == pytest.approx(expected, abs=6e-4)
    assert found["r"] is found["x"] is None
    assert lake.count("clips", f"aesthetic_score > {expected.mean()}") in range(1, 5)
    versions = lake.versions()
    assert update(lake, first) == {"aesthetic": 0}
    assert lake.versions() == versions
    assert update(lake, second) == {"aesthetic": 5}
    assert scores(lake)["0"] == pytest.approx(load_head(second).score(VECTORS)[0], abs=6e-4)
    # The embedder is another now, and has embedded only one clip anew.
    lake.upsert("clips", [{"clip_id": "3", "embedding_recipe": "w"}])
    assert update(lake, second, "w") == {"aesthetic": 1}
    assert [name for name, score in scores(lake).items() if score is not None] == ["3"]
    assert update(lake, None) == {"aesthetic": 0}
    assert set(scores(lake).values()) == {None}
    assert update(lake, None) == {}


def test_other_weights_are_something_to_do_for_a_refresh(lake: Lake, tmp_path: Path) -> None:
    path = saved(tmp_path / "h", weight=linear(WIDTH, 1, 1))
    recipe = HeadRecipe(aesthetic=str(path))
    assert unscored({}) == ""
    assert lake.count("clips", unscored(load_heads(recipe, tmp_path))) == 5
    update(lake, path)
    assert lake.count("clips", unscored(load_heads(recipe, tmp_path))) == 0
    saved(path, weight=linear(WIDTH, 1, 2))
    assert lake.count("clips", unscored(load_heads(recipe, tmp_path))) == 5
