"""Muon (Jordan et al., 2024): momentum whose update matrices are made orthogonal.

For the hidden matrices of a network; embeddings, inputs, outputs and vectors stay with AdamW.
Measured on the demo, its loss after 250 steps is one that AdamW has not reached after 375.
`torch.optim.Muon` always orthogonalises in bfloat16, which a CPU without instructions for it runs
at half the speed of float32 and worse; this one computes as the training does.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable

import torch
import torch.distributed as dist
from torch import Tensor

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # quintic coefficients of the method's authors
ITERATIONS = 5


class Muon(torch.optim.Optimizer):
    """One learning rate for any matrix: updates have the root mean square of AdamW's (0.2).

    Convolution kernels count as matrices of (out, in * height * width). Sharded matrices are
    gathered, since orthogonality is a property of the whole; the workers share that work. `dtype`:
    of the products that make updates orthogonal; None for the weights' own.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.01,
        dtype: torch.dtype | None = None,
    ) -> None:
        self.dtype = dtype
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One update; matrices of one shape are orthogonalised together."""
        assert closure is None
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[tuple[Tensor, Tensor]]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["momentum"] = torch.zeros_like(parameter)
                state["momentum"].lerp_(parameter.grad, 1 - group["momentum"])
                update = whole(parameter.grad.lerp(state["momentum"], group["momentum"]))
                by_shape[update.flatten(1).shape].append((parameter, update.flatten(1)))
            for shape, pairs in by_shape.items():
                stacked = torch.stack([update for _, update in pairs])
                share = is_sharded(pairs[0][0])
                orthogonalise = orthogonal_together if share else orthogonal
                updates = orthogonalise(stacked, self.dtype)
                rate = group["lr"] * 0.2 * max(shape) ** 0.5
                for (parameter, _), update in zip(pairs, updates, strict=True):
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    parameter.add_(part(update.view(parameter.shape), parameter), alpha=-rate)


def is_sharded(parameter: Tensor) -> bool:
    """Whether this worker has only a part of it (FSDP2)."""
    return hasattr(parameter, "full_tensor")  # a DTensor, whose module takes a second to import


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor that may be sharded, gathered from the workers."""
    return tensor.full_tensor() if is_sharded(tensor) else tensor  # type: ignore[attr-defined]


def part(tensor: Tensor, like: Tensor) -> Tensor:
    """What of a whole tensor belongs to this worker's part of `like`."""
    if not is_sharded(like):
        return tensor
    from torch.distributed.tensor import DTensor, distribute_tensor

    assert isinstance(like, DTensor)
    return distribute_tensor(tensor, like.device_mesh, like.placements, src_data_rank=None)


def orthogonal_together(updates_BMN: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """`orthogonal`, of which each worker does its share of the matrices."""
    rank, world = dist.get_rank(), dist.get_world_size()
    out = torch.zeros_like(updates_BMN)
    if rank < len(out):
        out[rank::world] = orthogonal(updates_BMN[rank::world], dtype)
    dist.all_reduce(out)
    return out


def orthogonal(updates_BMN: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """The nearest (semi-)orthogonal matrices, roughly, by Newton-Schulz iterations in `dtype`."""
    a, b, c = NEWTON_SCHULZ
    tall = updates_BMN.shape[1] > updates_BMN.shape[2]
    x = updates_BMN.mT if tall else updates_BMN
    x = (x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)).to(dtype or x.dtype)
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    x = x.to(updates_BMN.dtype)
    return x.mT if tall else x
