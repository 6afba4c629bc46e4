"""What training a recipe takes: parameters, memory on each GPU, time. Arithmetic alone, no GPU."""

from dataclasses import dataclass, replace

import torch

from infra.errors import InputError
from modeling.activations import row_bytes
from modeling.gpus import gpu_by_name
from modeling.memory import GIB, SETTINGS, Need
from modeling.parallel import decided
from modeling.recipes import ModelRecipe
from modeling.sizes import for_workers
from modeling.workload import batch_flops, count_parameters, packed_batch

PROCESSOR_FLOPS, MOST_DAYS = 500e9, 60  # of a good processor; no one waits for longer


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What training takes on `gpus` of a kind. GiB are of 2**30 bytes."""

    recipe: str
    gpu: str
    gpus: int
    utilisation: float
    parameters: dict[str, int]
    batch_rows: int
    accumulate: int
    step_rows: int
    steps: int
    checkpointing: str
    memory_gib: dict[str, dict[str, float]]
    usable_gib: float
    model_flops: float
    recompute_flops: float
    step_s: float
    tokens_per_s: float
    days: float
    gpu_hours: float
    checkpoint_gib: float
    bundle_gib: float
    obstacle: str
    """Why it cannot be, and what would do; empty when it can."""


def plan(recipe: ModelRecipe, gpus: int, gpu: str = "h100", utilisation: float = 0.4) -> Plan:
    """The plan of training the recipe's transformer.

    `utilisation`: the share of the GPU's dense peak that is reached, work done twice included.

    Raises:
        NotFoundError: no such GPU. InputError: no GPUs, a share outside (0, 1], or a window that
            exceeds the recipe's `token_budget`.
    """
    device = gpu_by_name(gpu)
    if gpus < 1:
        raise InputError(f"training takes at least one GPU; --gpus is {gpus}")
    if not 0 < utilisation <= 1:
        raise InputError(f"--utilisation is {utilisation:g}; it has to be above 0 and at most 1")
    recipe = for_workers(recipe, gpus)
    compute = decided(recipe.dit.compute, torch.device("cuda"))
    recipe = replace(recipe, dit=replace(recipe.dit, compute=compute))
    counts, batch = count_parameters(recipe), packed_batch(recipe)
    rates = recipe.dit.optimizer
    per_row = row_bytes(recipe.dit.config, compute.precision)
    need = Need(recipe, counts, per_row, gpus, gpu.lower())
    model, again = batch_flops(recipe, counts, batch)
    peak = device.bfloat16_tflops if compute.precision == "bfloat16" else device.float32_tflops
    step_s = rates.accumulate * (model + again) / (peak * 1e12 * utilisation)
    step_rows = batch.rows * rates.accumulate * gpus
    seconds = rates.steps * step_s
    weights = 4 * counts.trained
    return Plan(
        recipe=recipe.name,
        gpu=gpu.lower(),
        gpus=gpus,
        utilisation=utilisation,
        parameters={"vae": counts.vae, "transformer": counts.transformer, "text": counts.text},
        batch_rows=batch.rows,
        accumulate=rates.accumulate,
        step_rows=step_rows,
        steps=rates.steps,
        checkpointing=compute.checkpointing,
        memory_gib={name: need.computing(checkpointing=name).memory_gib() for name in SETTINGS},
        usable_gib=need.usable_gib,
        model_flops=model * rates.accumulate * gpus,
        recompute_flops=again * rates.accumulate * gpus,
        step_s=step_s,
        tokens_per_s=step_rows / step_s,
        days=seconds / 86400,
        gpu_hours=seconds / 3600 * gpus,
        checkpoint_gib=(2 * weights + counts.moments_bytes) / GIB,
        bundle_gib=(weights + 4 * counts.vae) / GIB,
        obstacle=need.obstacle(),
    )


def check_compute(recipe: ModelRecipe) -> None:
    """Refuse a recipe that this machine's processors would take months for.

    Raises:
        InputError: naming how long, and what the recipe is made for.
    """
    if torch.cuda.is_available():
        return
    recipe = for_workers(recipe, 1)
    model, _ = batch_flops(recipe, count_parameters(recipe), packed_batch(recipe))
    rates = recipe.dit.optimizer
    days = rates.steps * rates.accumulate * model / PROCESSOR_FLOPS / 86400
    if days > MOST_DAYS:
        raise InputError(
            f"recipe {recipe.name!r} would take {days:,.0f} days on this machine, which has no GPU "
            f"(at {PROCESSOR_FLOPS / 1e9:.0f} GFLOP/s); train it where there are some (reel plan "
            f"train --recipe {recipe.name} says how many), or choose tiny"
        )
