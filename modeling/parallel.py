"""How a module is spread and computed; the modules themselves know nothing of it.

In the manner of torchtitan's `parallelize`: first blocks are told to forget what they can compute
again, then they are compiled, then weights are sharded (FSDP2), block by block and the rest.
Sharded weights are DTensors: `gather` makes whole tensors of them.
"""

import copy
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.utils._pytree import tree_map
from torch.utils.checkpoint import checkpoint

from modeling.device import compute_device, has_bfloat16
from modeling.muon import is_sharded
from modeling.muon import whole as gathered
from modeling.recipes import ComputeRecipe

T = TypeVar("T")
COMPILED = ("queries", "mix")  # methods of a block; attention between them changes with each batch


def decided(recipe: ComputeRecipe, device: torch.device) -> ComputeRecipe:
    """The recipe with a precision in place of "auto"."""
    if recipe.precision != "auto":
        return recipe
    return replace(recipe, precision="bfloat16" if has_bfloat16(device) else "float32")


def parallelize(module: nn.Module, recipe: ComputeRecipe) -> None:
    """Make `module` (with or without `blocks`) compute as the recipe says, in place."""
    blocks = [block for block in getattr(module, "blocks", []) if isinstance(block, nn.Module)]
    every = {"none": 0, "full": 1, "selective": recipe.checkpoint_every}[recipe.checkpointing]
    for number, block in enumerate(blocks):
        if recipe.compile:
            for name in COMPILED:
                if hasattr(block, name):
                    setattr(block, name, torch.compile(getattr(block, name), dynamic=True))
        if every and number % every == 0:
            block.forward = partial(checkpoint, block.forward, use_reentrant=False)
    shard(module, recipe)


def shard(module: nn.Module, recipe: ComputeRecipe) -> None:
    """Spread the weights over the workers' devices, if there are several and the recipe says so;
    or else put them all on this one's."""
    device = compute_device()
    if not shards(recipe):
        module.to(device)
        return
    # These take a second to import, and one process has no use for them.
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    # A block is moved when it is sharded: no device ever holds all of a large model.
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    compute = torch.bfloat16 if recipe.precision == "bfloat16" else None
    policy = MixedPrecisionPolicy(param_dtype=compute, reduce_dtype=torch.float32)
    for block in getattr(module, "blocks", []):
        fully_shard(block, mesh=mesh, mp_policy=policy)
    fully_shard(module, mesh=mesh, mp_policy=policy)


def shards(recipe: ComputeRecipe) -> bool:
    """Whether this process keeps only a part of the weights."""
    return recipe.shard and dist.is_initialized() and dist.get_world_size() > 1


def autocast(recipe: ComputeRecipe, device: torch.device) -> AbstractContextManager[Any]:
    """What a forward pass runs in."""
    if recipe.precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16)


def local(tensors: Sequence[Tensor]) -> list[Tensor]:
    """The parts that this process holds; they share their memory with what is given."""
    return [t.to_local() if is_sharded(t) else t for t in tensors]  # type: ignore[attr-defined]


def sum_over_workers(tensors: Sequence[Tensor]) -> None:
    """Add up what each worker has, in place and in one message."""
    flat = torch.cat([t.flatten() for t in tensors])
    dist.all_reduce(flat)
    for tensor, part in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
        tensor.copy_(part.view_as(tensor))


def gather(tree: T) -> T:
    """The same tree with whole tensors in the CPU's memory; all workers have to call it."""

    def whole(value: Any) -> Any:
        return gathered(value.detach()).cpu() if isinstance(value, Tensor) else value

    return tree_map(whole, tree)  # type: ignore[no-any-return]


def filled(template: nn.Module, weights: dict[str, Tensor]) -> nn.Module:
    """A copy of a module on the meta device, with these whole weights in it."""
    module = copy.deepcopy(template)
    module.load_state_dict(weights, assign=True)
    return module.requires_grad_(False)
