"""Figures of a GPU: `python -m tests.benchmarks.gpu [NAME…]`, all without a name, in ten minutes.

Nothing but a GPU is needed, no demo and no service. Prints a line as each is measured, and keeps
all in .reel/bench/gpu.json.
"""

import sys
from collections.abc import Callable

import torch

from tests.benchmarks.figure import Figure
from tests.benchmarks.gpu import training, vae
from tests.benchmarks.table import measure

FIGURES: dict[str, Callable[[], dict[str, Figure]]] = {
    "utilisation": training.utilisation,
    "one_shape": training.one_shape,
    "mixed": training.mixed,
    "checkpointing": training.checkpointing,
    "vae_speed": vae.vae_speed,
}

if __name__ == "__main__":
    if not torch.cuda.is_available():
        sys.exit("this machine shows PyTorch no GPU; `make bench-model` has the figures of a CPU")
    print(torch.cuda.get_device_name(), file=sys.stderr)
    sys.exit(measure("gpu", FIGURES, sys.argv[1:]))
