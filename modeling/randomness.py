"""Random numbers that come from what they are for, so that a resumed run draws the same again."""

import hashlib

import torch


def generator_of(*names: str | int) -> torch.Generator:
    """A generator for exactly this purpose: `generator_of("sample", seed, epoch, clip)`."""
    digest = hashlib.blake2b("/".join(map(str, names)).encode(), digest_size=4).digest()
    # The generator itself keeps 32 bits of its seed.
    return torch.Generator().manual_seed(int.from_bytes(digest, "big"))
