"""Recipes of whole models: frozen values all the way down. modeling/sizes.py has all by name."""

from dataclasses import dataclass, field
from typing import Literal

from modeling.dit import DiTConfig
from modeling.lora import LoRARecipe
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
    """Clips of a packed batch, where `token_budget` does not say how many rows it may have."""
    learning_rate: float
    token_budget: int = 0
    """Rows of text and patches that a packed batch has at most; 0 counts clips."""
    accumulate: int = 1
    """Packed batches of each worker that make one step."""
    step_rows: int = 0
    """Rows of one step over all workers, where `accumulate` follows from it; see `for_workers`."""
    muon_learning_rate: float = 0.0
    """For matrices inside blocks; 0 leaves them to AdamW too."""
    warmup_steps: int = 50
    fall_share: float = 0.5
    """The last share of the steps over which the learning rate falls."""
    beta2: float = 0.95
    weight_decay: float = 0.01
    max_norm: float = 1.0
    """A longer gradient is shortened to this, or to `clip_sigmas` above what is usual."""
    clip_sigmas: float = 3.0
    """Standard deviations above the running mean of gradient norms; 0 leaves `max_norm` alone."""
    ema: float = 0.995


@dataclass(frozen=True, kw_only=True)
class PerceptualRecipe:
    """A network whose features of the picture and of its reconstruction should agree.

    factory: dotted path of what makes it, called without arguments, as "torchvision.models.vgg16";
        empty for no such loss.
    weights: file with its state dict, safetensors or a PyTorch file of plain tensors.
    layers: names of the modules whose outputs are compared, as "features.3".
    mean, std: what the network's input is normalised by, of pixels in [0, 1].
    """

    factory: str = ""
    weights: str = ""
    layers: tuple[str, ...] = ("features.3", "features.8", "features.15")
    weight: float = 0.1
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)


@dataclass(frozen=True, kw_only=True)
class ComputeRecipe:
    """How a step is computed; `modeling/parallel.py` does it. Weights and averages are float32."""

    precision: Literal["float32", "bfloat16", "auto"] = "float32"
    """Of matrix products and what lies between them; "auto" is bfloat16 where the device has
    instructions for it."""
    checkpointing: Literal["none", "selective", "full"] = "none"
    """Blocks that are computed again in the backward pass and not remembered."""
    checkpoint_every: int = 2
    """One block in so many, when selective."""
    compile: bool = False
    """Compile each block, which takes a minute at first."""
    shard: bool = False
    """Spread weights, gradients and optimizer over the workers (FSDP2)."""


@dataclass(frozen=True, kw_only=True)
class VAERecipe:
    """`folder`: of a VAE that diffusers saved, which then stands in for ours and is not trained."""

    config: VAEConfig
    folder: str = ""
    optimizer: OptimizerRecipe
    num_frames: int = 5
    detail_weight: float = 8.0
    """How much more a pixel at an outline counts than one on a plain background."""
    kl_weight: float = 1e-5
    perceptual: PerceptualRecipe = field(default_factory=PerceptualRecipe)


@dataclass(frozen=True, kw_only=True)
class RolloutRecipe:
    """What each window of a long video is given of those before it.

    Training shows a model the memory that its recipe says; one that never saw any does worse with
    it (velocity loss 0.13 became 0.24), so by default there is none.
    """

    recent_share: float = 0.5
    """Of a window, latent frames that are known already: half shows how things move, and the other
    half is new."""
    history: tuple[int, ...] = ()
    """Latent frames before those, the newest first: by how much each is coarser along a side."""
    anchor: bool = False
    """The video's first latent frame, so that its look does not drift."""
    far_s: float = 4.0
    """How long ago the anchor seems to be, whatever the truth: training clips are short."""


@dataclass(frozen=True, kw_only=True)
class TransformerRecipe:
    config: DiTConfig
    optimizer: OptimizerRecipe
    noise: NoiseRecipe = field(default_factory=NoiseRecipe)
    sampler: SamplerRecipe = field(default_factory=SamplerRecipe)
    rollout: RolloutRecipe = field(default_factory=RolloutRecipe)
    compute: ComputeRecipe = field(default_factory=ComputeRecipe)
    text: TextRecipe = field(default_factory=TextRecipe)
    lora: LoRARecipe = field(default_factory=LoRARecipe)
    """Adapters, for a training that starts from a model."""
    caption_drop: float = 0.1
    image_share: float = 0.1
    """Share of documents that are single frames."""
    watch_every: int = 500
    """Steps between two looks at samples and at the held-out loss; 0 never looks."""


@dataclass(frozen=True, kw_only=True)
class LargeImageRecipe:
    """The second stage of pictures that are larger than the model's own, see `large_image`."""

    start: float = 0.35
    """Timestep up to which noise is put on the enlarged picture."""
    steps: int = 6
    guidance: float = 1.0
    """Of the second stage; 1 costs half."""
    max_side: int = 4096


@dataclass(frozen=True, kw_only=True)
class ModelRecipe:
    """Everything that makes a model out of a release."""

    name: str
    data: DataRecipe
    vae: VAERecipe
    dit: TransformerRecipe
    large_image: LargeImageRecipe = field(default_factory=LargeImageRecipe)
    seed: int = 0
    start_from: str = ""
    """The model that training goes on from: a bundle's folder, a version or an alias."""
    start_hash: str = ""
    """Of that bundle, once training has begun; another one of the same name is refused."""


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
                width=192, depth=4, heads=3, patch=2, latent_channels=8, text_width=192
            ),
            optimizer=OptimizerRecipe(
                steps=2100, batch=64, learning_rate=2e-3, muon_learning_rate=6e-3
            ),
            # As many timesteps near noise in training as in sampling, where it is decided where
            # things are and how many: 288 prompts with a mean of 0: 0.903 right, with ln 2: 0.944.
            noise=NoiseRecipe(logit_mean=0.7),
            # 480 prompts with one model: 0.904 right with 16 Euler steps, 0.931 with these. With
            # another: 0.971 with this guidance, 0.967 with 3.5, which makes colours glow.
            sampler=SamplerRecipe(shift=2.0, solver="adams", guidance=2.5),
            compute=ComputeRecipe(precision="auto"),
        ),
    )
