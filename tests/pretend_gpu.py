"""A GPU that is not there: tensors that say they are on "cuda:0", and compute on the CPU.

    with pretend_gpu():
        bundle = load_bundle(folder)      # goes to the pretended device
        ...

What a real GPU refuses is refused: an operation on tensors of both devices, and variable-length
attention in float32. So code that never ran on a GPU is known to put everything where it belongs.
It says nothing of speed, of memory, or of a kernel's own numbers.
"""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map_only

DEVICE = torch.device("cuda", 0)
# A GPU's own kernels take places in the CPU's memory for these.
MIXED = {"aten::index.Tensor", "aten::index_put_", "aten::copy_", "aten::set_.source_Tensor"}


class OnGPU(Tensor):
    """A tensor whose values are kept by `kept`, on the CPU. To autograd it is a shape alone."""

    kept: Tensor

    @staticmethod
    def __new__(cls, kept: Tensor) -> "OnGPU":
        made: OnGPU = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            kept.shape,
            strides=kept.stride(),
            storage_offset=kept.storage_offset(),
            dtype=kept.dtype,
            device="meta",  # or autograd would ask CUDA for its stream
            dispatch_device=True,
        )
        made.kept = kept
        return made

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return DEVICE

    @property
    def is_cuda(self) -> bool:  # type: ignore[override]
        return True

    @property
    def is_cpu(self) -> bool:  # type: ignore[override]
        return False

    @property
    def is_meta(self) -> bool:  # type: ignore[override]
        return False

    def new_tensor(self, data: Any) -> Tensor:  # type: ignore[override]
        return OnGPU(torch.tensor(data, dtype=self.dtype))

    def tolist(self) -> Any:
        return self.kept.tolist()

    def __repr__(self, *, tensor_contents: object = None) -> str:
        return f"OnGPU({self.kept})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return dispatched(func, args, kwargs or {})


class Pretending(TorchDispatchMode):
    """Also sees what makes a tensor out of none."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return dispatched(func, args, kwargs or {})


def dispatched(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    tensors = [x for x in tree_flatten((args, kwargs))[0] if isinstance(x, Tensor)]
    there = [x for x in tensors if isinstance(x, OnGPU)]
    if func is torch.ops.prim.device.default:
        return torch.device("meta")  # where autograd would hear "cuda", it would ask for a stream
    target = kwargs.get("device")
    if target is not None:
        kwargs = {**kwargs, "device": torch.device("cpu")}
        kwargs.pop("pin_memory", None)
    if any(x.is_meta for x in tensors):
        raise NotImplementedError("a list as index: C++ made it a tensor of a shape alone")
    goes = bool(there) if target is None else torch.device(target).type != "cpu"
    name = func._schema.name + (
        f".{func._schema.overload_name}" if func._schema.overload_name else ""
    )
    if there and target is None and not (MIXED & {name, func._schema.name}):
        strangers = [x for x in tensors if not isinstance(x, OnGPU) and x.dim() > 0]
        if strangers:
            raise RuntimeError(f"{name}: tensors on cuda:0 and on cpu meet")
    if func._schema.name == "aten::copy_":
        goes = isinstance(args[0], OnGPU)
    inside = {id(x.kept): x for x in there}
    plain = tree_map_only(OnGPU, lambda x: x.kept, (args, kwargs))
    out = func(*plain[0], **plain[1])
    if not goes:
        return tree_map_only(Tensor, lambda x: inside.get(id(x), x), out)
    return tree_map_only(Tensor, lambda x: inside[id(x)] if id(x) in inside else OnGPU(x), out)


def varlen(
    q: Tensor, k: Tensor, v: Tensor, cu_q: Tensor, cu_k: Tensor, most_q: int, most_k: int
) -> Tensor:
    """As `torch.nn.attention.varlen.varlen_attn`, which has no kernel here."""
    assert {x.dtype for x in (q, k, v)} <= {torch.float16, torch.bfloat16}, q.dtype
    assert all(x.is_cuda and x.dtype == torch.int32 for x in (cu_q, cu_k))
    ends_q, ends_k = cu_q.tolist(), cu_k.tolist()
    assert ends_q[-1] == len(q) and ends_k[-1] == len(k) == len(v)
    lengths = [[b - a for a, b in itertools.pairwise(e)] for e in (ends_q, ends_k)]
    assert [most_q, most_k] == [max(x) for x in lengths]
    parts = zip(q.split(lengths[0]), k.split(lengths[1]), v.split(lengths[1]), strict=True)
    return torch.cat(
        [
            F.scaled_dot_product_attention(*(x.transpose(0, 1)[None] for x in part))[0].transpose(
                0, 1
            )
            for part in parts
        ]
    )


@contextmanager
def pretend_gpu() -> Iterator[None]:
    """In this block there is one GPU."""
    overwrite = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    torch._C._set_only_lift_cpu_tensors(True)
    with (
        patch("torch.cuda._lazy_init"),
        patch("torch.cuda.is_available", return_value=True),
        patch("torch.cuda.current_device", return_value=0),
        patch("torch.cuda.is_bf16_supported", return_value=True),
        patch("torch.optim.optimizer.Optimizer._accelerator_graph_capture_health_check"),
        patch("torch.nn.attention.varlen.varlen_attn", varlen),
        Pretending(),
    ):
        try:
            yield
        finally:
            torch.__future__.set_overwrite_module_params_on_conversion(overwrite)
            torch._C._set_only_lift_cpu_tensors(False)
