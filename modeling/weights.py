"""Weights as files: safetensors, written whole or not at all, and known by their hash."""

import hashlib
from pathlib import Path

from safetensors.torch import save_file
from torch import nn


def file_hash(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def save_weights(module: nn.Module, path: Path) -> str:
    """Write a module's tensors as safetensors, whole or not at all; returns the file's hash."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}")
    save_file({name: t.contiguous() for name, t in module.state_dict().items()}, temporary)
    temporary.replace(path)
    return file_hash(path)
