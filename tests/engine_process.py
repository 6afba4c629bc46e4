"""An engine over a small random model, as its own process: `python engine_process.py HOME STEP_S`.

It works until it is told to end; the model is the same in every process.
"""

import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from infra.catalog import Catalog
from infra.settings import Settings
from modeling.generate import Generator
from modeling.generation import Generation
from serving.engine import Engine
from serving.jobs import JobStore
from tests.unit.modeling.small import small_bundle


class Slow(Generator):
    """So slow that there is time to kill it."""

    step_s = 0.0

    def advance(self, generations: Sequence[Generation]) -> None:
        time.sleep(self.step_s)
        super().advance(generations)


def main(home: str, step_s: str) -> None:
    settings = Settings(home=Path(home))
    store = JobStore(Catalog(settings.catalog_url), settings.media_dir, settings.media_ttl_s)
    torch.manual_seed(0)  # which biases begin from
    generator = Slow(small_bundle())
    generator.step_s = float(step_s)
    engine = Engine(store, lambda: generator, "1", save_every=2)
    engine.start()
    print("ready", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
