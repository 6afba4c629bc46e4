"""Training on a GPU: layers of the shape of `base`, in bfloat16, beside the field's.

All compute forward and backward of the same documents, compiled block by block, and take turns.

Expected before any was measured: half of the roof at 8k rows and more at 32k, where attention is
most of it and reaches less than a matrix product; 1.5 of the better peer on clips of one size,
which computes its modulation for each row, and 2 and 4 on mixed ones.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import torch

from modeling.activations import activation_bytes, row_bytes
from modeling.device import compute_device
from modeling.dit import DiT
from modeling.documents import Document, pack
from modeling.noise import NoiseRecipe, sample_given, sample_timesteps
from modeling.parallel import parallelize
from modeling.recipes import ComputeRecipe, ModelRecipe
from modeling.sizes import base
from modeling.train_dit import Sample, noised
from modeling.trainer import rng
from modeling.workload import Batch, batch_flops, count_parameters
from tests.benchmarks.figure import Figure
from tests.benchmarks.gpu.device import ROUNDS, half, in_turns, peak_gib, roof
from tests.benchmarks.model.peers import PATCH, Contender, Ltx, Ours, Wan, count, matched
from tests.benchmarks.model.train_speed import in_buckets
from tests.benchmarks.model.workload import tokens

DEPTH, WORDS, VOCABULARY = 4, 64, 8449
LENGTHS = {"8k": (16, 32, 64), "32k": (16, 64, 128)}
"""Latent frames, height and width of one document of so many rows."""
DURATIONS = (1, 2, 4, 8, 13)
SIZES = ((24, 36), (36, 24), (36, 36), (36, 64), (48, 48))
MIXED, BATCH_ROWS = 64, 32_768


def utilisation() -> dict[str, Figure]:
    """FLOPs of the model, none counted twice, over those of a large product in the same time."""
    recipe, dit = _recipe(), _layers()
    mm, mm_flops = roof()
    figures = {}
    for name, shape in LENGTHS.items():
        document = _sample(shape, 0)
        patches = tokens([document])
        rows = pack([_document(document, recipe)], recipe.dit.config)
        batch = Batch(rows=patches + WORDS, words=WORDS, pairs=patches * (patches + WORDS))
        flops, _ = batch_flops(recipe, count_parameters(recipe), batch)
        step_s, mm_s = in_turns([partial(_step, dit, lambda r=rows: dit(r)), mm])
        figures[f"gpu_share_of_roof_{name}"] = Figure(
            value=(flops / step_s) / (mm_flops / mm_s),
            target=0.45,
            better="higher",
            n=ROUNDS,
            note=f"{DEPTH} layers of width {recipe.dit.config.width}, {patches} rows of one clip, "
            f"forward and backward {1000 * step_s:.1f} ms, {flops / step_s / 1e12:.0f} of "
            f"{mm_flops / mm_s / 1e12:.0f} TFLOP/s",
        )
    return figures


def one_shape() -> dict[str, Figure]:
    """Clips of one size, where nobody pads."""
    samples = [_sample(LENGTHS["8k"], seed) for seed in range(2)]
    models = _contenders()
    ours, *peers = _rates(models, [[samples]] * len(models))
    return {"gpu_uniform_over_best_peer": _figure(ours, peers, models, 1.4, "clips of 8k rows")}


def mixed() -> dict[str, Figure]:
    """Useful rows a second: ours packs what comes, the peers pad it or take it from buckets."""
    generator, documents = rng(5, 0), []
    for seed in range(MIXED):
        frames = DURATIONS[int(torch.randint(len(DURATIONS), (), generator=generator))]
        size = SIZES[int(torch.randint(len(SIZES), (), generator=generator))]
        documents.append(_sample((frames, *size), seed))
    drawn, bucketed = _by_rows(documents), in_buckets(documents, BATCH_ROWS)
    ours, ltx, wan = models = _contenders()
    mine, padded, *rest = _rates(
        (ours, ltx, ltx, wan), (drawn, _by_rows(documents, padded=True), bucketed, bucketed)
    )
    over_padded = _figure(mine, [padded], (ours, ltx), 3.0, "padded to the longest of a batch")
    return {
        "gpu_mixed_over_bucketed": _figure(mine, rest, models, 1.4, f"{len(bucketed)} batches"),
        "gpu_mixed_over_padded": over_padded,
    }


def checkpointing() -> dict[str, Figure]:
    """Memory that one batch takes by setting, beside what `reel plan train` foretells."""
    recipe, sample = _recipe(), _sample(LENGTHS["8k"], 0)
    config, per_row = recipe.dit.config, row_bytes(recipe.dit.config, "bfloat16")
    rows = pack([_document(sample, recipe)], config)
    words, number = [], len(rows.patches_NP) + WORDS
    worst = 0.0
    for setting in ("none", "selective", "full"):
        dit = _layers(replace(_COMPUTE, checkpointing=setting))
        act = partial(_step, dit, lambda d=dit: d(rows))
        act()  # compiles, and makes the gradients that stay
        found = peak_gib(act) - peak_gib(lambda: None)
        planned = activation_bytes(per_row, number, config.depth, setting) / 2**30
        worst = max(worst, found / planned)
        words.append(f"{setting} {found:.2f} GiB, planned {planned:.2f}")
    ltx = matched(Ltx, config, VOCABULARY)
    _compiled(ltx)
    ltx.net.enable_gradient_checkpointing()
    act = partial(_step, ltx.net, lambda: ltx.loss([sample]))
    act()
    words.append(f"LTX with all {peak_gib(act) - peak_gib(lambda: None):.2f} GiB")
    return {
        "gpu_memory_over_plan": Figure(
            value=worst, target=1.0, better="lower", n=3, note="; ".join(words)
        )
    }


_COMPUTE = ComputeRecipe(precision="bfloat16", compile=True)


def _recipe() -> ModelRecipe:
    whole = base()
    config = replace(whole.dit.config, depth=DEPTH)
    return replace(whole, dit=replace(whole.dit, config=config, compute=_COMPUTE))


def _layers(compute: ComputeRecipe = _COMPUTE) -> DiT:
    torch.manual_seed(0)
    dit = DiT(_recipe().dit.config)
    parallelize(dit, compute)
    return dit


def _contenders() -> tuple[Ours, Ltx, Wan]:
    torch.manual_seed(0)
    config = _recipe().dit.config
    ours = Ours(config, VOCABULARY)
    parallelize(ours.dit, _COMPUTE)
    ours.text.to(compute_device())
    ltx, wan = matched(Ltx, config, VOCABULARY), matched(Wan, config, VOCABULARY)
    _compiled(ltx)
    _compiled(wan)
    return ours, ltx, wan


def _compiled(peer: Ltx | Wan) -> None:
    peer.net.to(compute_device()).compile_repeated_blocks(dynamic=True)
    peer.text.to(compute_device())


def _sample(shape: tuple[int, int, int], seed: int) -> Sample:
    """A document with the default pattern of what is given, its latents on the device."""
    generator, recipe = rng(3, seed), NoiseRecipe()
    frames, height, width = shape
    latents = torch.randn(frames, 16, height, width, generator=generator)
    given = sample_given((frames, height // PATCH, width // PATCH), recipe, generator)
    times = sample_timesteps(given, recipe, generator)
    ids = torch.randint(1, VOCABULARY, (WORDS,), generator=generator).tolist()
    found, device = noised(latents, given, times, ids, 16.0, generator), compute_device()
    noisy, velocity = found.noisy_GChw.to(device), found.velocity_GChw.to(device)
    return replace(found, noisy_GChw=noisy, velocity_GChw=velocity)


def _document(sample: Sample, recipe: ModelRecipe) -> Document:
    text = torch.randn(WORDS, recipe.dit.config.text_width, device=sample.noisy_GChw.device)
    given, times = sample.given_Gyx, sample.timesteps_Gyx
    return Document(sample.noisy_GChw, text, times, given, sample.fps)


def _by_rows(samples: Sequence[Sample], *, padded: bool = False) -> list[list[Sample]]:
    """Batches of BATCH_ROWS rows in the order in which samples come; `padded` counts padding."""
    batches: list[list[Sample]] = [[]]
    for sample in samples:
        after = [*batches[-1], sample]
        rows = len(after) * max(tokens([each]) for each in after) if padded else tokens(after)
        if batches[-1] and rows > BATCH_ROWS:
            batches.append([sample])
        else:
            batches[-1] = after
    return batches


def _step(model: torch.nn.Module, forward: Callable[[], torch.Tensor]) -> None:
    with half():
        error = forward().float().square().mean()
    error.backward()
    model.zero_grad(set_to_none=False)


def _rates(
    models: Sequence[Contender], batches: Sequence[Sequence[Sequence[Sample]]]
) -> list[float]:
    """Useful rows a second of each model over its batches."""

    def turn(model: Contender, own: Sequence[Sequence[Sample]]) -> None:
        for batch in own:
            with half():
                error = model.loss(batch)
            error.backward()
            for parameter in model.parameters():
                parameter.grad = None

    acts = [partial(turn, *pair) for pair in zip(models, batches, strict=True)]
    useful = [sum(tokens(batch) for batch in own) for own in batches]
    return [rows / spent for rows, spent in zip(useful, in_turns(acts), strict=True)]


def _figure(
    ours: float, peers: Sequence[float], models: Sequence[Contender], target: float, what: str
) -> Figure:
    told = ", ".join(
        f"{model.name} {rate:.0f} rows/s ({count(model) / 1e6:.0f} M)"
        for model, rate in zip(models, (ours, *peers), strict=True)
    )
    return Figure(
        value=ours / max(peers), target=target, better="higher", n=ROUNDS, note=f"{what}: {told}"
    )
