"""Feature extractors, with weights that the libraries themselves saved."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torchvision.models import video

from infra.errors import InputError
from modeling.evaluation_recipe import ExtractorRecipe
from modeling.extractors import (
    as_tensor,
    extractor_measures,
    features,
    open_clip_model,
    torchvision_video,
)
from modeling.oracles import Frames

SMALL_COCA = {
    "embed_dim": 32,
    "vision_cfg": {
        "image_size": 32,
        "layers": 1,
        "width": 32,
        "head_width": 16,
        "patch_size": 16,
        "attentional_pool": True,
        "attn_pooler_heads": 2,
        "output_tokens": True,
    },
    "text_cfg": {
        "context_length": 16,
        "vocab_size": 49408,
        "layers": 1,
        "heads": 2,
        "width": 32,
        "embed_cls": True,
        "output_tokens": True,
    },
    "multimodal_cfg": {
        "context_length": 16,
        "vocab_size": 49408,
        "width": 32,
        "heads": 2,
        "layers": 1,
        "attn_pooler_heads": 2,
    },
    "custom_text": True,
}
PICTURES = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4], "size": [32, 32]}


def some_videos(count: int, seed: int = 0) -> list[Frames]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (6, 24, 20 + 4 * (n % 2), 3), np.uint8) for n in range(count)]


@pytest.fixture(scope="module")
def r3d(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[video.VideoResNet, Path]]:
    """torchvision's own network at random, and its weights as torchvision names them."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = video.mc3_18().eval()
    path = tmp_path_factory.mktemp("weights") / "mc3_18.safetensors"
    save_file(network.state_dict(), path)
    yield network, path


def recipe_of(path: Path, **more: object) -> ExtractorRecipe:
    values = {"name": "mc3", "path": "modeling.extractors:torchvision_video", "model": "mc3_18"}
    size = {"num_frames": 4, "side": 16}
    return ExtractorRecipe(**values | size | {"weights": str(path)} | more)  # type: ignore[arg-type]


def test_torchvisions_weights_give_the_features_of_torchvisions_network(
    r3d: tuple[video.VideoResNet, Path],
) -> None:
    network, path = r3d
    recipe = recipe_of(path)
    found = features(torchvision_video(recipe), some_videos(3), recipe.num_frames, recipe.side)
    assert found.shape == (3, 512)

    seen: list[Tensor] = []
    network.avgpool.register_forward_hook(lambda _m, _i, out: seen.append(out.flatten(1)))
    x_BTCHW = torch.stack([as_tensor(one, 4, 16) for one in some_videos(3)])
    mean, std = [0.43216, 0.394666, 0.37645], [0.22803, 0.22145, 0.216989]
    x_BTCHW = (x_BTCHW - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    with torch.no_grad():
        network(x_BTCHW.transpose(1, 2))
    torch.testing.assert_close(found, seen[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"weights": "/no/such/file"}, "no safetensors weights for extractor 'mc3'"),
        ({"model": "r2plus1d_18"}, "does not hold the weights of r2plus1d_18"),
        ({"model": "i3d"}, "no video model 'i3d'; there are: r3d_18"),
    ],
)
def test_weights_that_do_not_fit_are_refused(
    r3d: tuple[video.VideoResNet, Path], change: dict[str, str], says: str
) -> None:
    with pytest.raises(InputError, match=says):
        torchvision_video(recipe_of(r3d[1], **change))


def test_a_pickle_is_no_weights(tmp_path: Path) -> None:
    torch.save({"stem.0.weight": torch.zeros(1)}, tmp_path / "pickled.pt")
    with pytest.raises(InputError, match="save a state dict there with safetensors"):
        torchvision_video(recipe_of(tmp_path / "pickled.pt"))


@pytest.fixture(scope="module")
def coca(tmp_path_factory: pytest.TempPathFactory) -> tuple[open_clip.CoCa, Path]:
    """A small CoCa of open_clip's, saved as open_clip saves models for a hub."""
    folder = tmp_path_factory.mktemp("coca")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = open_clip.CoCa(
            **{name: value for name, value in SMALL_COCA.items() if name != "custom_text"}
        ).eval()
    save_file(network.state_dict(), folder / "open_clip_model.safetensors")
    config = {"model_cfg": SMALL_COCA | {"custom_text": True}, "preprocess_cfg": PICTURES}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    return network, folder


def clip_recipe(folder: Path) -> ExtractorRecipe:
    return ExtractorRecipe(
        name="coca",
        path="modeling.extractors:open_clip_model",
        weights=str(folder),
        metrics=("text", "consistency"),
        num_frames=2,
        side=32,
    )


def test_open_clips_weights_give_the_clip_score_of_open_clips_network(
    coca: tuple[open_clip.CoCa, Path],
) -> None:
    network, folder = coca
    videos, captions = some_videos(3), ["a red ball", "a dog", "rain"]
    rows = extractor_measures(clip_recipe(folder), videos, captions, videos, videos)
    found = {row.name: row for row in rows}
    assert set(found) == {
        f"{kind}_coca{end}" for kind in ("clip_score", "consistency") for end in ("", "_real")
    }
    pictures = torch.stack([as_tensor(one, 2, 32) for one in videos])
    mean, std = (torch.tensor(PICTURES[name]).view(3, 1, 1) for name in ("mean", "std"))
    pictures = ((pictures - mean) / std).flatten(0, 1)
    with torch.no_grad():
        image = network.encode_image(pictures, normalize=True).unflatten(0, (3, 2)).mean(1)
        text = network.encode_text(open_clip.get_tokenizer("ViT-B-32", 16)(captions))
    cosine = torch.nn.functional.cosine_similarity(image, text).clamp(min=0).mean()
    assert found["clip_score_coca"].value == pytest.approx(100 * float(cosine), abs=0.05)
    assert found["clip_score_coca"].n == 3


def test_a_still_video_is_consistent(coca: tuple[open_clip.CoCa, Path]) -> None:
    still = [np.repeat(one[:1], 6, axis=0) for one in some_videos(2)]
    rows = extractor_measures(clip_recipe(coca[1]), still, ["a", "b"], some_videos(2), still)
    found = {row.name: row.value for row in rows}
    assert found["consistency_coca"] == pytest.approx(1, abs=1e-5)
    assert found["consistency_coca_real"] < 1


def test_a_folder_that_is_no_open_clip_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no open_clip model"):
        open_clip_model(clip_recipe(tmp_path))


class Means:
    def __call__(self, videos_BTCHW: Tensor) -> Tensor:
        return videos_BTCHW.mean((1, 3, 4))


def means(recipe: ExtractorRecipe) -> Means:
    return Means()


def shapeless(recipe: ExtractorRecipe) -> object:
    return lambda videos: torch.zeros(len(videos), 2, 2)


def test_any_function_may_extract() -> None:
    path = "tests.unit.modeling.test_extractors:means"
    recipe = ExtractorRecipe(name="means", path=path, num_frames=3, side=8)
    made, real = some_videos(9, 1), some_videos(12, 2)
    rows = extractor_measures(recipe, made, [""] * 9, real, real)
    assert [row.name for row in rows] == ["fd_means", "fd_means_floor"]
    assert rows[0].n == 9 and rows[1].value < rows[0].value


@pytest.mark.parametrize(
    ("function", "metrics", "says"),
    [
        ("means", ("text",), "has no `text`"),
        ("shapeless", ("frechet",), r"gave \(9, 2, 2\) for 9 videos"),
        ("nobody", ("frechet",), "no extractor at"),
    ],
)
def test_an_extractor_that_does_not_fit_is_refused(
    function: str, metrics: Sequence[str], says: str
) -> None:
    path = f"tests.unit.modeling.test_extractors:{function}"
    recipe = ExtractorRecipe(name="means", path=path, metrics=metrics, num_frames=3)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=says):
        extractor_measures(recipe, some_videos(9), [""] * 9, some_videos(9), some_videos(9))
