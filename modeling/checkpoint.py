"""The checkpoint of a training run: one file, written whole or not at all, and read unpickled."""

import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from infra.errors import InputError
from modeling.muon import part

CHECKPOINT = "checkpoint.pt"


def write_checkpoint(folder: Path, state: dict[str, Any]) -> None:
    """A reader finds the old checkpoint or the new one, never a part."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{CHECKPOINT}.{os.getpid()}"
    torch.save(state, temporary)
    temporary.replace(folder / CHECKPOINT)


def read_checkpoint(folder: Path, tag: str) -> dict[str, Any] | None:
    """The folder's checkpoint; None when there is none.

    Raises:
        InputError: it was made by another recipe or seed.
    """
    path = folder / CHECKPOINT
    if not path.exists():
        return None
    # Mapped, so that a worker that keeps a part of it never holds the whole.
    state: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu", mmap=True)
    if state["tag"] != tag:
        raise InputError(
            f"the checkpoint in {path} was made by recipe {state['tag']}, not {tag}; "
            "delete it or train in another folder"
        )
    return state


def load_module(module: nn.Module, whole: dict[str, Tensor]) -> None:
    """Load whole tensors into a module that may be sharded."""
    mine = module.state_dict()
    module.load_state_dict({name: part(value, mine[name]) for name, value in whole.items()})


def load_optimizer(optimizer: torch.optim.Optimizer, whole: dict[str, Any]) -> None:
    """Load whole tensors into an optimizer whose parameters may be sharded."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state = {
        index: {name: _part(value, parameters[index]) for name, value in values.items()}
        for index, values in whole["state"].items()
    }
    optimizer.load_state_dict({**whole, "state": state})


def _part(value: Any, parameter: Tensor) -> Any:
    if not isinstance(value, Tensor):
        return value
    # What is mapped from the file is copied: training would write into it.
    return part(value.clone(), parameter) if value.shape == parameter.shape else value.clone()
