"""The step cache against the plain sampler: the same prompts and seeds, step by step in turns.

The plan of whole steps was chosen on other prompts and seeds (`modeling/step_cache.py`).
"""

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch

from modeling.bundle import Bundle
from modeling.generate import Generator
from modeling.step_cache import whole_steps
from modeling.tasks import Frames
from tests.benchmarks.figure import Figure
from tests.benchmarks.model import demo_model

SHARE = 0.5
PROMPTS_A_TURN = 12


def cache() -> dict[str, Figure]:
    """How much faster, and how many prompts fewer are followed; beside it what plain samplers come
    to with as many steps as ask the network here."""
    plain, sampler = demo_model.bundle(), demo_model.PLAIN
    cached = demo_model.sampled_by(plain, replace(sampler, whole_share=SHARE))
    asked = demo_model.prompts()
    marks: dict[str, list[float]] = {"plain": [], "cached": []}
    ratios: list[float] = []
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # a thread that waits for another one counts as at work
    models = {"plain": plain, "cached": cached}
    _in_turns(models, asked[:2])  # warms up
    for first in range(0, len(asked), PROMPTS_A_TURN):
        part = asked[first : first + PROMPTS_A_TURN]
        made, seconds = _in_turns(models, part)
        for name in models:
            marks[name] += demo_model.right(made[name], part)
        ratios.append(seconds["plain"] / seconds["cached"])
    torch.set_num_threads(threads)
    whole = len(whole_steps(sampler.steps, SHARE))
    for solver in (sampler.solver, "euler"):
        short = demo_model.sampled_by(plain, replace(sampler, steps=whole, solver=solver))
        marks[solver] = demo_model.right(demo_model.videos(short, asked), asked)
    share = {name: statistics.fmean(values) for name, values in marks.items()}
    told = f"{sampler.steps} {sampler.solver} steps, {whole} of them whole"
    return {
        "cache_speedup": Figure(
            value=statistics.median(ratios),
            target=1.8,
            better="higher",
            n=len(ratios),
            note=f"{told}, processor time of one thread with decoding, median of the ratios in "
            f"turns of {PROMPTS_A_TURN} prompts; {min(ratios):.2f} to {max(ratios):.2f}",
        ),
        "cache_accuracy_loss": Figure(
            value=share["plain"] - share["cached"],
            target=0.02,
            better="lower",
            n=len(asked),
            note=f"{told}: plain {share['plain']:.3f}, cached {share['cached']:.3f}; without a "
            f"cache {whole} {sampler.solver} steps {share[sampler.solver]:.3f}, {whole} Euler "
            f"steps {share['euler']:.3f}; those of the cache were chosen on other prompts",
        ),
    }


def _in_turns(
    models: Mapping[str, Bundle], asked: Sequence[demo_model.Prompt]
) -> tuple[dict[str, list[Frames]], dict[str, float]]:
    """Videos of each model, and its processor time with decoding. The one that is behind goes on,
    so that what slows the machine down slows both."""
    generators = {name: Generator(model) for name, model in models.items()}
    under_way = {
        name: [generator.begin(request) for request in demo_model.requests(models[name], asked)]
        for name, generator in generators.items()
    }
    made: dict[str, list[Frames]] = {name: [] for name in models}
    seconds = dict.fromkeys(models, 0.0)
    while left := [name for name in models if not under_way[name][0].is_over]:
        name = min(left, key=lambda name: under_way[name][0].done)
        begun = time.process_time()
        generators[name].advance(under_way[name])
        pieces = [list(each.frames()) for each in under_way[name]]
        made[name] += [np.concatenate(frames) for frames in pieces if frames]
        seconds[name] += time.process_time() - begun
    return made, seconds
