"""Recipes of whole models: one Python function each, frozen values all the way down."""

from collections.abc import Callable
from dataclasses import dataclass, field

from infra.errors import NotFoundError
from modeling.dit import DiTConfig
from modeling.noise import NoiseRecipe
from modeling.sampler import SamplerRecipe
from modeling.text import TextRecipe
from modeling.vae import VAEConfig


@dataclass(frozen=True, kw_only=True)
class DataRecipe:
    """How clips become training windows."""

    fps: float = 8.0
    num_frames: int = 13
    """Frames of a window, 1 + 4k."""
    max_frames: int = 16
    """Frames kept of each clip; windows are cut from them."""
    side_multiple: int = 16
    """Sides are multiples of this many pixels: 8 for the VAE times the transformer's patch."""
    max_area: int = 48 * 64
    """A window's size is the one of nearest aspect with at most this many pixels."""
    min_side: int = 48
    max_windows: int = 4
    """Windows encoded of each clip, evenly spaced."""


@dataclass(frozen=True, kw_only=True)
class OptimizerRecipe:
    """AdamW and Muon with warm-up, a flat stretch and a linear fall to zero."""

    steps: int
    batch: int
    learning_rate: float
    muon_learning_rate: float = 0.0
    """For matrices inside blocks; 0 leaves them to AdamW too."""
    warmup_steps: int = 50
    fall_share: float = 0.5
    """The last share of the steps over which the learning rate falls."""
    beta2: float = 0.95
    weight_decay: float = 0.01
    max_norm: float = 1.0
    ema: float = 0.995


@dataclass(frozen=True, kw_only=True)
class VAERecipe:
    config: VAEConfig
    optimizer: OptimizerRecipe
    num_frames: int = 5
    detail_weight: float = 8.0
    """How much more a pixel at an outline counts than one on a plain background."""
    kl_weight: float = 1e-5


@dataclass(frozen=True, kw_only=True)
class TransformerRecipe:
    config: DiTConfig
    optimizer: OptimizerRecipe
    noise: NoiseRecipe = field(default_factory=NoiseRecipe)
    sampler: SamplerRecipe = field(default_factory=SamplerRecipe)
    text: TextRecipe = field(default_factory=TextRecipe)
    caption_drop: float = 0.1
    image_share: float = 0.1
    """Share of documents that are single frames."""


@dataclass(frozen=True, kw_only=True)
class ModelRecipe:
    """Everything that makes a model out of a release."""

    name: str
    data: DataRecipe
    vae: VAERecipe
    dit: TransformerRecipe
    seed: int = 0


def tiny(seed: int = 0) -> ModelRecipe:
    """The demo's: learns in minutes on two CPU cores."""
    return ModelRecipe(
        name="tiny",
        seed=seed,
        data=DataRecipe(),
        vae=VAERecipe(
            config=VAEConfig(latent_channels=8, widths=(64, 128), encoder_depth=2, decoder_depth=2),
            optimizer=OptimizerRecipe(steps=300, batch=8, learning_rate=1e-3, warmup_steps=30),
        ),
        dit=TransformerRecipe(
            config=DiTConfig(
                width=192, depth=6, heads=3, patch=2, latent_channels=8, text_width=192
            ),
            optimizer=OptimizerRecipe(
                steps=1140, batch=64, learning_rate=2e-3, muon_learning_rate=6e-3
            ),
            # 480 prompts with one model: 0.904 right with 16 Euler steps, 0.931 with these.
            sampler=SamplerRecipe(shift=2.0, solver="adams"),
        ),
    )


RECIPES: dict[str, Callable[..., ModelRecipe]] = {"tiny": tiny}


def by_name(name: str, seed: int = 0) -> ModelRecipe:
    """The recipe called `name`.

    Raises:
        NotFoundError: no such recipe; the message lists those that exist.
    """
    if name not in RECIPES:
        raise NotFoundError(f"no recipe called {name!r}; there are: {', '.join(sorted(RECIPES))}")
    return RECIPES[name](seed=seed)
