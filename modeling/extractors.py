"""Feature extractors: videos (B, T, C, H, W) in [0, 1] -> features (B, D).

The interface of every feature metric. Weights come from outside, as safetensors; a recipe names an
extractor by a dotted path to a function that is called with its `ExtractorRecipe`:

    {"name": "r3d", "path": "modeling.extractors:torchvision_video", "model": "r3d_18",
     "weights": "/weights/r3d_18.safetensors"}                                -> fd_r3d
    {"name": "clip", "path": "modeling.extractors:open_clip_model", "side": 224, "num_frames": 4,
     "weights": "/weights/ViT-B-32", "metrics": ["text", "consistency"]}      -> clip_score_clip, …

Fréchet distance: `fd_NAME` (by an I3D it is what others call FVD, and stays comparable only with
the same weights, frames and size). Text: the cosine of a video and its caption, as CLIP score
(Hessel et al., 2021), for extractors that also have `text`. Consistency: of each frame with the
first and the one before, as VBench's subject and background consistency (Huang et al., 2024).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from infra.errors import InputError
from modeling.evaluation_recipe import ExtractorRecipe
from modeling.frechet import MIN_VIDEOS, frechet_distance
from modeling.measure import Measure, mean_of
from modeling.oracles import Frames, load_function

VIDEOS_PER_CALL = 16
KINETICS = ((0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989))  # torchvision's own


class Extractor(Protocol):
    """Videos (B, T, C, H, W) in [0, 1] to features (B, D)."""

    def __call__(self, videos_BTCHW: Tensor) -> Tensor: ...


@runtime_checkable
class TextExtractor(Protocol):
    """An extractor that knows captions too: features (B, D) that go with those of videos."""

    def __call__(self, videos_BTCHW: Tensor) -> Tensor: ...

    def text(self, captions: Sequence[str]) -> Tensor: ...


def features(
    extractor: Extractor, videos: Sequence[Frames], num_frames: int, side: int = 0
) -> Tensor:
    """Features (N, D) of uint8 videos (T, H, W, 3): frames evenly spaced, squared to `side`.

    With no `side` the extractor takes any size, and videos go to it one size at a time.
    """
    found: list[Tensor | None] = [None] * len(videos)
    by_shape: dict[tuple[int, ...], list[int]] = {}
    for index, video in enumerate(videos):
        by_shape.setdefault(video.shape[1:], []).append(index)
    for indices in by_shape.values():
        for first in range(0, len(indices), VIDEOS_PER_CALL):
            part = indices[first : first + VIDEOS_PER_CALL]
            batch = torch.stack([as_tensor(videos[index], num_frames, side) for index in part])
            with torch.no_grad():
                for index, feature in zip(part, extractor(batch).float(), strict=True):
                    found[index] = feature
    return torch.stack([feature for feature in found if feature is not None])


def as_tensor(video: Frames, num_frames: int, side: int = 0) -> Tensor:
    """A uint8 video (T, H, W, 3) as floats (num_frames, 3, side, side) in [0, 1]."""
    chosen = np.linspace(0, len(video) - 1, num_frames).round().astype(int)
    x_TCHW = torch.from_numpy(video[chosen]).movedim(-1, 1).float() / 255
    if side and x_TCHW.shape[2:] != (side, side):
        x_TCHW = F.interpolate(x_TCHW, (side, side), mode="bilinear", antialias=True)
    return x_TCHW


def extractor_measures(
    recipe: ExtractorRecipe,
    made: Sequence[Frames],
    captions: Sequence[str],
    held: Sequence[Frames],
    reference: Sequence[Frames],
) -> list[Measure]:
    """The rows of one extractor: of generated videos, and of real held-out ones beside them.

    Raises:
        InputError: the extractor does not load, or gives something else than (B, D) features.
    """
    extractor: Extractor = load_function(recipe.path, "extractor")(recipe)
    sets = {"": made, "_real": held}
    found = {kind: _checked(extractor, videos, recipe) for kind, videos in sets.items()}
    rows: list[Measure] = []
    if "frechet" in recipe.metrics:
        seen = _checked(extractor, reference, recipe)
        rows += frechet_measures(recipe.name, found[""], found["_real"], seen)
    if "text" in recipe.metrics:
        if not isinstance(extractor, TextExtractor):
            raise InputError(
                f"extractor {recipe.name!r} ({recipe.path}) has no `text`, which a score by "
                "captions needs; take 'text' out of its metrics"
            )
        words = F.normalize(extractor.text(captions).float(), dim=1)
        for kind, vectors in found.items():
            cosines = (F.normalize(vectors, dim=1) * words).sum(1).clamp(min=0)
            note = "100 times the cosine of videos and their captions"
            rows.append(mean_of(f"clip_score_{recipe.name}{kind}", (100 * cosines).tolist(), note))
    if "consistency" in recipe.metrics:
        for kind, videos in sets.items():
            values = [_consistency(extractor, video, recipe) for video in videos]
            note = "cosine of each frame with the first and the one before"
            rows.append(mean_of(f"consistency_{recipe.name}{kind}", values, note))
    return rows


def frechet_measures(
    name: str, made_ND: Tensor, held_ND: Tensor, reference_MD: Tensor
) -> list[Measure]:
    """`fd_NAME` and its floor: real held-out clips, as many, against the same reference."""
    count = min(len(made_ND), len(held_ND))
    if count < MIN_VIDEOS or len(reference_MD) < MIN_VIDEOS:
        return []
    note = f"against {len(reference_MD)} real clips; biased upwards by the small n, as the floor is"
    floor = "the floor: real held-out clips against the same ones"
    return [
        Measure(f"fd_{name}", frechet_distance(made_ND[:count], reference_MD), count, note),
        Measure(f"fd_{name}_floor", frechet_distance(held_ND[:count], reference_MD), count, floor),
    ]


def _checked(extractor: Extractor, videos: Sequence[Frames], recipe: ExtractorRecipe) -> Tensor:
    vectors = features(extractor, videos, recipe.num_frames, recipe.side)
    if vectors.ndim != 2 or not vectors.isfinite().all():
        raise InputError(
            f"extractor {recipe.name!r} ({recipe.path}) gave {tuple(vectors.shape)} for "
            f"{len(videos)} videos, or values that are no numbers; it has to give (B, D)"
        )
    return vectors


def _consistency(extractor: Extractor, video: Frames, recipe: ExtractorRecipe) -> float:
    frames = as_tensor(video, recipe.num_frames, recipe.side)
    with torch.no_grad():
        vectors = F.normalize(extractor(frames[:, None]).float(), dim=1)
    if len(vectors) < 2:
        return 1.0
    both = (vectors[1:] * vectors[:1]).sum(1) + (vectors[1:] * vectors[:-1]).sum(1)
    return float(both.clamp(min=0).mean() / 2)


class TorchvisionVideo(nn.Module):
    """Features before the last layer of a video classifier of torchvision's."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        for name, values in zip(("mean", "std"), KINETICS, strict=True):
            self.register_buffer(name, torch.tensor(values).view(3, 1, 1))

    def forward(self, videos_BTCHW: Tensor) -> Tensor:
        x_BTCHW = (videos_BTCHW - self.mean) / self.std
        out: Tensor = self.network(x_BTCHW.transpose(1, 2))
        return out


def torchvision_video(recipe: ExtractorRecipe) -> TorchvisionVideo:
    """r3d_18, mc3_18 or r2plus1d_18 (Tran et al., 2018), weights as torchvision names them.

    Raises:
        InputError: no such model, or weights that are not its own.
    """
    from torchvision.models import video

    known = ("r3d_18", "mc3_18", "r2plus1d_18")
    if recipe.model not in known:
        raise InputError(f"no video model {recipe.model!r}; there are: {', '.join(known)}")
    with torch.device("meta"):
        network = getattr(video, recipe.model)(num_classes=1)
    weights = {name: w for name, w in load_weights(recipe).items() if not name.startswith("fc.")}
    network.fc = nn.Identity()
    try:
        network.load_state_dict(weights, assign=True)
    except RuntimeError as error:
        raise InputError(
            f"{recipe.weights} does not hold the weights of {recipe.model}: {str(error)[:300]}"
        ) from None
    return TorchvisionVideo(network).eval().requires_grad_(False)


class OpenClip(nn.Module):
    """Mean of a video's picture features by an open_clip model, and features of captions."""

    def __init__(self, network: Any, tokenizer: Any, mean: Sequence[float], std: Sequence[float]):
        super().__init__()
        self.network, self.tokenizer = network, tokenizer
        self.mean, self.std = (torch.tensor(values).view(3, 1, 1) for values in (mean, std))

    def forward(self, videos_BTCHW: Tensor) -> Tensor:
        pictures = ((videos_BTCHW - self.mean) / self.std).flatten(0, 1)
        found = F.normalize(self.network.encode_image(pictures), dim=1)
        out: Tensor = found.unflatten(0, videos_BTCHW.shape[:2]).mean(1)
        return out

    @torch.no_grad()
    def text(self, captions: Sequence[str]) -> Tensor:
        """Features (B, D) of captions."""
        found: Tensor = self.network.encode_text(self.tokenizer(list(captions)))
        return found


def open_clip_model(recipe: ExtractorRecipe) -> OpenClip:
    """A folder as `open_clip.push_to_hf_hub` and `save_for_hf` write it: config and safetensors.

    Raises:
        InputError: the folder holds no such model.
    """
    import open_clip

    folder = Path(recipe.weights)
    if not (folder / "open_clip_config.json").is_file():
        raise InputError(
            f"{recipe.weights!r} is no open_clip model: it has no open_clip_config.json; "
            "name the folder that holds it and open_clip_model.safetensors"
        )
    name = f"local-dir:{folder}"
    try:
        network = open_clip.create_model(name)
        tokenizer = open_clip.get_tokenizer(name)
    except (RuntimeError, ValueError, KeyError, SafetensorError, OSError) as error:
        raise InputError(f"{folder} is no usable open_clip model: {str(error)[:300]}") from error
    wanted = network.visual.preprocess_cfg
    network.eval().requires_grad_(False)
    return OpenClip(network, tokenizer, wanted["mean"], wanted["std"])


def load_weights(recipe: ExtractorRecipe) -> dict[str, Tensor]:
    """The safetensors file that the recipe names.

    Raises:
        InputError: it is missing, or no safetensors.
    """
    try:
        return load_file(recipe.weights)
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"no safetensors weights for extractor {recipe.name!r} at {recipe.weights!r} "
            f"({error}); save a state dict there with safetensors.torch.save_file"
        ) from None
