"""Learned scores of clips: small heads over the clips' embeddings, read from safetensors files.

    heads = load_heads(recipe, home)    # {"aesthetic": Head, "unsafe": Head}, or fewer
    scores = heads["aesthetic"].score(vectors_ND)    # (N,)

The file: linear layers `NAME.weight` (out, in) and `NAME.bias` (out,), applied in the order of the
last number in NAME, the last with one output; a single layer may be plain `weight` and `bias`, and
a bias may be missing. So improved-aesthetic-predictor's `layers.0` to `layers.7` fit as they are
once they are saved as safetensors. The file's metadata may name an `activation` between the layers
("none", as in that predictor, or "relu") and an `output` ("none" or "sigmoid").

A head sees the embedding at length 1 and without its padding, and its `in` must be the embedding's
width. That it was trained on this model's embeddings, of pictures laid out as the recipe lays them
out (`grid` 1 is a single frame), is for the recipe's author to know.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from captioning.recipe import HEADS, HeadRecipe
from infra.errors import InputError, NotFoundError

ACTIVATIONS, OUTPUTS = ("none", "relu"), ("none", "sigmoid")
PARAMETER = re.compile(r"(?:(?P<name>.*)\.)?(?P<kind>weight|bias)")

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Head:
    """A score's weights. `version` is a hash of the file: other weights, other scores."""

    layers: Sequence[tuple[Floats, Floats]]
    activation: str
    output: str
    version: str
    path: Path

    @property
    def width(self) -> int:
        """Of the embeddings that it scores."""
        return int(self.layers[0][0].shape[1])

    def score(self, vectors_ND: Floats) -> npt.NDArray[np.float64]:
        """(N,) scores of embeddings of length 1, with or without the zeros that fill them up."""
        values = vectors_ND[:, : self.width]
        for number, (weight, bias) in enumerate(self.layers):
            if number and self.activation == "relu":
                values = np.maximum(values, 0)
            values = values @ weight.T + bias
        scores = values[:, 0].astype(np.float64)
        return 0.5 * (1 + np.tanh(scores / 2)) if self.output == "sigmoid" else scores


def load_heads(recipe: HeadRecipe, home: Path) -> dict[str, Head]:
    """The heads that the recipe names, by kind; a relative path starts from `home`.

    Raises:
        NotFoundError: no such file. InputError: it does not hold a head.
    """
    named = {kind: getattr(recipe, kind) for kind in HEADS}
    return {kind: load_head(home / Path(path).expanduser()) for kind, path in named.items() if path}


def load_head(path: Path) -> Head:
    """The head in a safetensors file. Raises as `load_heads` does."""
    if not path.is_file():
        raise NotFoundError(f"there is no file {path}, which the recipe names as a head's weights")
    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        layers = _layers(tensors)
    except (SafetensorError, OSError, TypeError, ValueError) as error:
        raise InputError(
            f"{path} holds no head: {error}; it has to be a safetensors file of linear layers, "
            "float32 or float16, as captioning/heads.py says"
        ) from error
    activation, output = metadata.get("activation", "none"), metadata.get("output", "none")
    for name, value, known in (
        ("activation", activation, ACTIVATIONS),
        ("output", output, OUTPUTS),
    ):
        if value not in known:
            raise InputError(f"{path} asks for {name} {value!r}; there are {', '.join(known)}")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    return Head(layers=layers, activation=activation, output=output, version=digest, path=path)


def check_width(heads: Mapping[str, Head], width: int, embedder: str) -> None:
    """Refuse heads that were made for embeddings of another width.

    Raises:
        InputError: one was; the message names both widths, and what makes the embeddings.
    """
    for kind, head in heads.items():
        if head.width != width:
            raise InputError(
                f"the {kind} head {head.path} scores embeddings of {head.width} numbers, and the "
                f"clips' embeddings ({embedder}) have {width}; name a head that was trained on "
                "this model's embeddings, or the model that it was trained on as "
                "coca.pretrained_model"
            )


def _layers(tensors: Mapping[str, npt.NDArray[np.generic]]) -> list[tuple[Floats, Floats]]:
    """(weight, bias) of each layer in order. Raises ValueError, which says what does not fit."""
    named: dict[str, dict[str, Floats]] = {}
    for key, tensor in tensors.items():
        found = PARAMETER.fullmatch(key)
        if found is None or tensor.dtype.kind != "f" or not np.isfinite(tensor).all():
            raise ValueError(f"{key!r} is no finite weight or bias of a linear layer")
        named.setdefault(found["name"] or "", {})[found["kind"]] = tensor.astype(np.float32)
    numbers = [int((re.findall(r"\d+", name) or [0])[-1]) for name in named]
    if not named or len(set(numbers)) < len(numbers):
        raise ValueError(f"its layers {', '.join(map(repr, named))} are not numbered one by one")
    layers: list[tuple[Floats, Floats]] = []
    for _, (name, layer) in sorted(zip(numbers, named.items(), strict=True)):
        weight = layer.get("weight", np.zeros(0, np.float32))
        before = len(layers[-1][1]) if layers else None
        bias = layer.get("bias", np.zeros(len(weight), np.float32))
        fits = weight.ndim == 2 and before in (None, weight.shape[1]) and weight.size
        if not fits or bias.shape != (len(weight),):
            raise ValueError(
                f"layer {name!r} has a weight {weight.shape} and a bias {bias.shape}, which do not "
                "fit each other or the layer before"
            )
        layers.append((weight, bias))
    if len(layers[-1][1]) != 1:
        raise ValueError(f"its last layer has {len(layers[-1][1])} outputs instead of one")
    return layers
