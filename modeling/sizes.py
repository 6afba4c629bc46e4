"""The recipes by name, from a laptop's to a cluster's: one Python function each.

`tiny`, which the demo measures, is in modeling/recipes.py. The others follow what is known of
models of their size; `reel plan` says what they take, and HOME/recipes/NAME.json changes them.
"""

import math
from collections.abc import Callable
from dataclasses import replace

from infra.errors import InputError, NotFoundError
from modeling.dit import DiTConfig
from modeling.noise import NoiseRecipe
from modeling.recipes import (
    ComputeRecipe,
    DataRecipe,
    ModelRecipe,
    OptimizerRecipe,
    TransformerRecipe,
    VAERecipe,
    tiny,
)
from modeling.sampler import SamplerRecipe
from modeling.text import TextRecipe
from modeling.vae import GROUP, SPATIAL, VAEConfig

REFERENCE_ROWS = 256  # for which a schedule needs no shift
GREATEST_SHIFT = 8.0


def shift_for(data: DataRecipe, patch: int) -> float:
    """How far a window's schedule is shifted to noise: the root of its rows over a reference's.

    More rows of one picture average the noise away, so they need more of it (Esser et al., 2024,
    eq. 23). Bounded, since neighbouring frames show nearly the same.
    """
    return min(GREATEST_SHIFT, math.sqrt(window_rows(data, patch) / REFERENCE_ROWS))


def window_rows(data: DataRecipe, patch: int) -> int:
    """Rows of patches that a window has at most."""
    frames = 1 + (data.num_frames - 1) // GROUP
    return frames * data.max_area // (SPATIAL * patch) ** 2


def document_rows(recipe: ModelRecipe) -> int:
    """Rows of a window and of the longest caption together."""
    return window_rows(recipe.data, recipe.dit.config.patch) + recipe.dit.text.max_tokens


def small(seed: int = 0) -> ModelRecipe:
    """About 100 M parameters, 144x256 pixels, 2.7 seconds: for one GPU, in days."""
    data = DataRecipe(
        fps=12.0, num_frames=33, max_frames=97, max_area=144 * 256, min_side=96, max_windows=4
    )
    return ModelRecipe(
        name="small",
        seed=seed,
        data=data,
        vae=VAERecipe(
            config=VAEConfig(
                latent_channels=16, widths=(128, 256), encoder_depth=2, decoder_depth=3
            ),
            optimizer=OptimizerRecipe(
                steps=50_000, batch=16, learning_rate=5e-4, warmup_steps=500, ema=0.999
            ),
            num_frames=9,
        ),
        dit=_transformer(
            data,
            DiTConfig(width=768, depth=11, heads=12, text_width=768),
            OptimizerRecipe(
                steps=100_000,
                batch=24,
                token_budget=32_768,
                step_rows=262_144,
                learning_rate=1e-3,
                muon_learning_rate=4e-3,
                warmup_steps=1000,
                ema=0.999,
            ),
            ComputeRecipe(precision="bfloat16", compile=True),
            max_tokens=128,
        ),
    )


def base(seed: int = 0) -> ModelRecipe:
    """About 1 B parameters, 288x512 pixels, 3 seconds: for a few nodes."""
    data = DataRecipe(
        fps=16.0, num_frames=49, max_frames=161, max_area=288 * 512, min_side=192, max_windows=4
    )
    return ModelRecipe(
        name="base",
        seed=seed,
        data=data,
        vae=VAERecipe(
            config=VAEConfig(
                latent_channels=16, widths=(192, 384), encoder_depth=3, decoder_depth=4
            ),
            optimizer=OptimizerRecipe(
                steps=150_000, batch=8, learning_rate=3e-4, warmup_steps=1000, ema=0.999
            ),
            num_frames=17,
        ),
        dit=_transformer(
            data,
            DiTConfig(width=2048, depth=15, heads=16, text_width=2048),
            OptimizerRecipe(
                steps=300_000,
                batch=4,
                token_budget=32_768,
                step_rows=2**20,
                learning_rate=4e-4,
                muon_learning_rate=2e-3,
                warmup_steps=2000,
                ema=0.9995,
            ),
            ComputeRecipe(precision="bfloat16", checkpointing="full", compile=True, shard=True),
            max_tokens=256,
        ),
    )


def large(seed: int = 0) -> ModelRecipe:
    """About 8 B parameters, 432x768 pixels, 5 seconds: for a cluster."""
    data = DataRecipe(
        fps=16.0, num_frames=81, max_frames=321, max_area=432 * 768, min_side=320, max_windows=4
    )
    return ModelRecipe(
        name="large",
        seed=seed,
        data=data,
        vae=VAERecipe(
            config=VAEConfig(
                latent_channels=16, widths=(256, 512), encoder_depth=4, decoder_depth=6
            ),
            optimizer=OptimizerRecipe(
                steps=300_000, batch=4, learning_rate=2e-4, warmup_steps=2000, ema=0.9995
            ),
            num_frames=17,
        ),
        dit=_transformer(
            data,
            DiTConfig(width=4096, depth=30, heads=32, text_width=4096),
            OptimizerRecipe(
                steps=100_000,
                batch=1,
                token_budget=28_672,
                step_rows=2**23,
                learning_rate=1e-4,
                warmup_steps=2000,
                ema=0.9999,
            ),
            ComputeRecipe(precision="bfloat16", checkpointing="full", compile=True, shard=True),
            max_tokens=256,
        ),
    )


def _transformer(
    data: DataRecipe,
    config: DiTConfig,
    optimizer: OptimizerRecipe,
    compute: ComputeRecipe,
    max_tokens: int,
) -> TransformerRecipe:
    """Training meets the timesteps that sampling will: both are shifted for the window's rows."""
    shift = shift_for(data, config.patch)
    return TransformerRecipe(
        config=config,
        optimizer=optimizer,
        compute=compute,
        # A shift by s moves the logit of a timestep by log s.
        noise=NoiseRecipe(logit_mean=math.log(shift)),
        sampler=SamplerRecipe(steps=30, shift=shift, solver="adams"),
        text=TextRecipe(max_tokens=max_tokens),
    )


def fine_tuned(recipe: ModelRecipe, start_from: str, lora_rank: int = 0) -> ModelRecipe:
    """The recipe for a training that starts from a model: a quarter of the steps.

    All weights are trained at a tenth of the rates; or, with a rank, adapters by AdamW at the whole
    one: they start at zero.

    Raises:
        InputError: adapters for a model that does not exist yet.
    """
    if not start_from:
        if lora_rank:
            raise InputError(
                f"LoRA (rank {lora_rank}) adapts a model that exists; name it with --start-from"
            )
        return recipe
    rates = recipe.dit.optimizer
    optimizer = replace(
        rates,
        steps=max(1, rates.steps // 4),
        learning_rate=rates.learning_rate * (1 if lora_rank else 0.1),
        muon_learning_rate=0.0 if lora_rank else rates.muon_learning_rate * 0.1,
    )
    lora = replace(recipe.dit.lora, rank=lora_rank)
    dit = replace(recipe.dit, optimizer=optimizer, lora=lora)
    return replace(recipe, dit=dit, start_from=start_from)


def for_workers(recipe: ModelRecipe, workers: int) -> ModelRecipe:
    """The recipe with as many batches to a step as make its `step_rows` on so many workers.

    With very many of them batches shrink too, but never below one window.
    """
    rates, workers = recipe.dit.optimizer, max(workers, 1)
    if not rates.step_rows:
        return recipe
    budget = min(rates.token_budget, max(document_rows(recipe), rates.step_rows // workers))
    accumulate = max(1, round(rates.step_rows / (budget * workers)))
    optimizer = replace(rates, token_budget=budget, accumulate=accumulate)
    return replace(recipe, dit=replace(recipe.dit, optimizer=optimizer))


RECIPES: dict[str, Callable[..., ModelRecipe]] = {
    "tiny": tiny,
    "small": small,
    "base": base,
    "large": large,
}


def by_name(name: str, seed: int = 0) -> ModelRecipe:
    """The recipe called `name`.

    Raises:
        NotFoundError: no such recipe; the message lists those that exist.
    """
    if name not in RECIPES:
        raise NotFoundError(f"no recipe called {name!r}; there are: {', '.join(sorted(RECIPES))}")
    return RECIPES[name](seed=seed)
