"""Low-rank adapters (LoRA, Hu et al., 2021) on a transformer's matrices.

add_adapters(dit, recipe)               # in place; only adapters have gradients from now on
save_adapters(dit, recipe, folder)      # alone, as the library peft names and reads them
merge_adapters(dit)                     # in place; a plain transformer again
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from infra.errors import InputError
from infra.job_files import write_json

Layer = TypeVar("Layer", bound=nn.Module)
PEFT_WEIGHTS, PEFT_CONFIG = "adapter_model.safetensors", "adapter_config.json"


@dataclass(frozen=True, kw_only=True)
class LoRARecipe:
    """Adapters of a fine-tuned transformer; with rank 0, all of its weights are trained."""

    rank: int = 0
    alpha: float = 16.0
    """What the adapter adds is scaled by alpha / rank."""
    targets: tuple[str, ...] = ("qkv", "text_kv", "attention_out", "mlp_in", "mlp_out")
    """Names of the linear layers that get one."""


class Adapted(nn.Module):
    """A frozen linear layer and what its adapter adds: base(x) + B(A(x)) * alpha / rank."""

    def __init__(self, base: nn.Linear, recipe: LoRARecipe) -> None:
        super().__init__()
        self.base = base
        self.lora_A = nn.Linear(base.in_features, recipe.rank, bias=False)
        self.lora_B = nn.Linear(recipe.rank, base.out_features, bias=False)
        self.scale = recipe.alpha / recipe.rank
        nn.init.kaiming_uniform_(self.lora_A.weight, a=math.sqrt(5))
        nn.init.zeros_(self.lora_B.weight)  # so that training starts from the model as it is

    def forward(self, x_ND: Tensor) -> Tensor:
        out: Tensor = self.base(x_ND) + self.scale * self.lora_B(self.lora_A(x_ND))
        return out

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        """One linear layer that does the same."""
        self.base.weight += self.scale * (self.lora_B.weight @ self.lora_A.weight)
        return self.base


def add_adapters(module: nn.Module, recipe: LoRARecipe) -> None:
    """Freeze the module and put an adapter on each of its target layers, in place.

    Raises:
        InputError: it has no such layers, or the rank is not below their widths.
    """
    layers = dict(_layers(module, nn.Linear, recipe.targets))
    missing = {name for name in recipe.targets if not any(_last(at) == name for at in layers)}
    if missing or not layers:
        known = sorted({_last(at) for at, m in module.named_modules() if isinstance(m, nn.Linear)})
        raise InputError(
            f"there is no linear layer {', '.join(map(repr, sorted(missing)))} to adapt; "
            f"there are: {', '.join(known)}"
        )
    width = min(min(layer.weight.shape) for layer in layers.values())
    if not 0 < recipe.rank < width:
        raise InputError(f"LoRA's rank is {recipe.rank}; it has to lie between 1 and {width - 1}")
    module.requires_grad_(False)
    for at, layer in layers.items():
        _put(module, at, Adapted(layer, recipe))


def merge_adapters(module: nn.Module) -> None:
    """Replace every adapted layer by the one linear layer that does the same, in place."""
    for at, layer in list(_layers(module, Adapted)):
        _put(module, at, layer.merged())


def save_adapters(module: nn.Module, recipe: LoRARecipe, folder: Path) -> Path:
    """Write the adapters alone, in the files and under the names that peft uses."""
    state: dict[str, Tensor] = {}
    for at, layer in _layers(module, Adapted):
        for name in ("lora_A", "lora_B"):
            weight = getattr(layer, name).weight
            state[f"base_model.model.{at}.{name}.weight"] = weight.detach().contiguous()
    folder.mkdir(parents=True, exist_ok=True)
    save_file(state, folder / PEFT_WEIGHTS)
    about = {
        "peft_type": "LORA",
        "r": recipe.rank,
        "lora_alpha": recipe.alpha,
        "lora_dropout": 0.0,
        "target_modules": list(recipe.targets),
        "bias": "none",
    }
    write_json(folder / PEFT_CONFIG, about)
    return folder


def _layers(
    module: nn.Module, kind: type[Layer], names: tuple[str, ...] = ()
) -> Iterator[tuple[str, Layer]]:
    for at, layer in module.named_modules():
        if isinstance(layer, kind) and (not names or _last(at) in names):
            yield at, layer


def _last(at: str) -> str:
    return at.rsplit(".", 1)[-1]


def _put(module: nn.Module, at: str, layer: nn.Module) -> None:
    parent, _, name = at.rpartition(".")
    setattr(module.get_submodule(parent), name, layer)
