"""Two workers that train a small transformer together: `python -m tests.training_worker RANK …`.

The last argument is a JSON object: a file where they meet, how many they are, and what to train one
after the other: folder (in which `{rank}` is a worker's number), steps, stop_at, and what the
recipes say. Rank 0 writes `averaged.safetensors` and `losses.json` to each folder.
"""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors.torch import save_file

from infra.job_files import write_json
from modeling.dit import DiT
from modeling.loader import Loader
from modeling.recipes import ComputeRecipe
from modeling.text import TextEncoder, Tokenizer
from modeling.train_dit import SampleMaker, velocity_error
from modeling.trainer import Counters, Trainer
from tests.unit.modeling.small import MemoryStore, small_recipe

WORDS = "a red ball rolls left over green grass"


def train(folder: Path, spec: dict[str, Any]) -> list[float]:
    """Losses of the steps made in this process."""
    base = small_recipe(steps=spec["steps"]).dit
    optimizer = dataclasses.replace(base.optimizer, **spec.get("optimizer", {}))
    compute = ComputeRecipe(**spec.get("compute", {}))
    recipe = dataclasses.replace(base, optimizer=optimizer, compute=compute)
    torch.manual_seed(0)
    tokenizer = Tokenizer(WORDS.split())
    dit, text = DiT(recipe.config), TextEncoder(len(tokenizer), recipe.config.text_width)
    trainer = Trainer(
        {"dit": dit, "text": text},
        Loader(MemoryStore(), SampleMaker(tokenizer, recipe, 8.0), recipe, seed=3),
        lambda samples, _generator: velocity_error(dit, text, samples),
        optimizer,
        folder,
        seed=3,
        tag="workers",
        compute=compute,
    )
    losses: list[float] = []

    def report(_counters: Counters, metrics: dict[str, float]) -> None:
        losses.append(metrics["loss"])

    # One worker alone is told to stop; the others have to follow it.
    stops = trainer.rank == trainer.world - 1 and spec.get("stop_at", 0)
    trainer.fit(report, lambda: bool(stops) and trainer.counters.step == stops)
    averaged = {name: trainer.averaged(name) for name in trainer.modules}
    if trainer.rank == 0:
        weights = {
            f"{name}.{key}": value.contiguous()
            for name, module in averaged.items()
            for key, value in module.state_dict().items()
        }
        save_file(weights, folder / "averaged.safetensors")
        write_json(folder / "losses.json", {"losses": losses})
    return losses


def main(rank: str, text: str) -> None:
    spec = json.loads(text)
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{spec['rendezvous']}",
        rank=int(rank),
        world_size=spec["world"],
    )
    try:
        for run in spec["runs"]:
            train(Path(run["folder"].format(rank=rank)), run)
    finally:
        dist.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
