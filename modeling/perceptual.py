"""A perceptual loss from any network with weights at hand (Johnson et al., 2016).

Features of the picture and of its reconstruction, unit over channels at each position as LPIPS
(Zhang et al., 2018) has them, should be near each other. Which network, and its weights, a recipe
says; without one there is no such loss, and nothing has to be downloaded.

Shapes: B batch, T frames, H W pixels, N pictures.
"""

import contextlib
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from infra.errors import InputError
from modeling.recipes import PerceptualRecipe


class _EnoughSeen(Exception):  # noqa: N818 - ends a forward pass early
    """All layers have spoken; what follows in the network is of no interest."""


class PerceptualLoss:
    """Distance of two videos by the features of a frozen network.

    Raises:
        InputError: the factory, its weights or a layer do not fit; the message says which.
    """

    def __init__(self, recipe: PerceptualRecipe) -> None:
        self.network = _load(recipe)
        self._mean, self._std = torch.tensor(recipe.mean), torch.tensor(recipe.std)
        self._seen: list[Tensor] = []
        self._layers = len(recipe.layers)
        modules = dict(self.network.named_modules())
        if unknown := [name for name in recipe.layers if name not in modules]:
            raise InputError(
                f"{recipe.factory} has no layer {unknown[0]!r}; "
                f"it has {', '.join(name for name in modules if name)}"[:400]
            )
        for name in recipe.layers:
            modules[name].register_forward_hook(self._see)

    def __call__(self, video_BTHWC: Tensor, reference_BTHWC: Tensor) -> Tensor:
        """Mean squared distance of unit features, summed over the layers; pixels in [-1, 1]."""
        with torch.no_grad():
            wanted = self.features(reference_BTHWC)
        found = self.features(video_BTHWC)
        distances = [(a - b).square().sum(1).mean() for a, b in zip(found, wanted, strict=True)]
        return torch.stack(distances).sum()

    def features(self, video_BTHWC: Tensor) -> list[Tensor]:
        """Of each layer, unit over channels, (N, channels, height, width)."""
        self.network.to(video_BTHWC.device)
        mean, std = (x.to(video_BTHWC) for x in (self._mean, self._std))
        x = ((video_BTHWC + 1) / 2 - mean) / std
        self._seen.clear()
        with contextlib.suppress(_EnoughSeen):
            self.network(x.flatten(0, 1).movedim(-1, 1))
        found = [F.normalize(features, dim=1) for features in self._seen]
        self._seen.clear()
        return found

    def _see(self, _module: nn.Module, _inputs: Any, output: Tensor) -> None:
        # A copy: the next layer may write in place, as VGG's rectifiers do.
        self._seen.append(output.clone())
        if len(self._seen) == self._layers:
            raise _EnoughSeen


def perceptual_loss(recipe: PerceptualRecipe) -> PerceptualLoss | None:
    """The recipe's loss; None where it names no network."""
    return PerceptualLoss(recipe) if recipe.factory else None


def _load(recipe: PerceptualRecipe) -> nn.Module:
    path = Path(recipe.weights)
    if not path.is_file():
        raise InputError(
            f"perceptual weights {recipe.weights!r} are no file; name a state dict of "
            f"{recipe.factory}, or leave the factory empty"
        )
    network = _factory(recipe.factory)()
    if not isinstance(network, nn.Module):
        raise InputError(f"{recipe.factory} makes a {type(network).__name__}, not a torch module")
    try:
        if path.suffix == ".safetensors":
            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
        network.load_state_dict(state)
    except Exception as error:
        # The readers raise errors of many classes for one thing: not the weights of this network.
        raise InputError(f"{path} holds no weights of {recipe.factory}: {error}"[:600]) from error
    return network.eval().requires_grad_(False)


def _factory(dotted: str) -> Callable[[], Any]:
    module, _, name = dotted.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(
            f"perceptual factory {dotted!r} cannot be imported ({error}); "
            "it is a dotted path such as torchvision.models.vgg16"
        ) from error
    if not callable(found):
        raise InputError(f"perceptual factory {dotted!r} cannot be called")
    factory: Callable[[], Any] = found
    return factory
