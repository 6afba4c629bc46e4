"""The step cache against the plain sampler: the same prompts and seeds, turn about."""

import statistics
import time
from dataclasses import replace

from tests.benchmarks.figure import Figure
from tests.benchmarks.model import demo_model

THRESHOLD = 0.35
PROMPTS_A_TURN = 24


def cache() -> dict[str, Figure]:
    """How much faster, and how many prompts fewer are followed; beside it what a plain sampler
    comes to that takes as long, with fewer steps."""
    plain = demo_model.bundle()
    steps = demo_model.PLAIN.steps
    cached = demo_model.sampled_by(plain, replace(demo_model.PLAIN, cache_threshold=THRESHOLD))
    asked = demo_model.prompts()
    marks: dict[str, list[float]] = {"plain": [], "cached": [], "fewer": []}
    ratios: list[float] = []
    demo_model.videos(plain, asked[:2])  # warms up
    for first in range(0, len(asked), PROMPTS_A_TURN):
        part, seconds = asked[first : first + PROMPTS_A_TURN], []
        for name, model in (("plain", plain), ("cached", cached)):
            begun = time.process_time()  # what neighbours on the machine do is no matter
            made = demo_model.videos(model, part)
            seconds.append(time.process_time() - begun)
            marks[name] += demo_model.right(made, part)
        ratios.append(seconds[0] / seconds[1])
    speedup = statistics.median(ratios)
    fewer = round(steps / speedup)
    short = demo_model.sampled_by(plain, replace(demo_model.PLAIN, steps=fewer))
    marks["fewer"] = demo_model.right(demo_model.videos(short, asked), asked)
    share = {name: statistics.fmean(values) for name, values in marks.items()}
    solver = f"{steps} {demo_model.PLAIN.solver} steps, threshold {THRESHOLD}"
    return {
        "cache_speedup": Figure(
            value=speedup,
            target=1.8,
            better="higher",
            n=len(ratios),
            note=f"{solver}, processor time with decoding, median of turns of {PROMPTS_A_TURN} "
            f"prompts; {min(ratios):.2f} to {max(ratios):.2f}",
        ),
        "cache_accuracy_loss": Figure(
            value=share["plain"] - share["cached"],
            target=0.02,
            better="lower",
            n=len(asked),
            note=f"{solver}: plain {share['plain']:.3f}, cached {share['cached']:.3f}; "
            f"plain with {fewer} steps, which take as long: {share['fewer']:.3f}",
        ),
    }
