"""The model's figures: `python -m tests.benchmarks.model [NAME…]`, all without a name.

Prints a line as each is measured, and keeps all in .reel/bench/model.json. Those about what the
model makes need the demo's model: run `make demo` first.
"""

import sys
from collections.abc import Callable

from tests.benchmarks.figure import Figure
from tests.benchmarks.model import cache, few_step, memory, minute, quality, roof, train_speed, vae
from tests.benchmarks.table import measure

FIGURES: dict[str, Callable[[], dict[str, Figure]]] = {
    "train_uniform": train_speed.train_uniform,
    "train_mixed": train_speed.train_mixed,
    "vae_speed": vae.vae_speed,
    "vae_rss_long_over_short": memory.vae_rss_long_over_short,
    "image_2048_rss_gb": memory.image_2048_rss_gb,
    "train_share_of_roof": lambda: {"train_share_of_roof": roof.train_share_of_roof()},
    "cache": cache.cache,
    "few_step": few_step.few_step,
    "minute_rss": minute.minute_rss,
    "minute_accuracy": minute.minute_accuracy,
    "quality_minus_ltx": quality.quality_minus_ltx,
}

if __name__ == "__main__":
    sys.exit(measure("model", FIGURES, sys.argv[1:]))
