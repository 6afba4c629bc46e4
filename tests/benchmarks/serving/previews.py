"""What previews add to a small job that somebody follows, by jobs one at a time, in turn with
previews and without.

Expected before it was measured: 1.02, as they may take a fiftieth of a job.
"""

import statistics

from serving.previewer import PreviewRecipe
from tests.benchmarks.figure import Figure
from tests.benchmarks.serving.world import engine_here, new_store, queue, wait

ROUNDS, JOBS, SECONDS, SIZE = 5, 6, 4.0, "512x384"


def preview_cost() -> dict[str, Figure]:
    """Median job with previews over that without; beside it, their share of the device's time."""
    recipes = {"with": PreviewRecipe(unfollowed=True), "without": PreviewRecipe(most=0)}
    total: dict[str, list[float]] = {name: [] for name in recipes}
    share: list[float] = []
    with new_store() as store:
        for turn in range(ROUNDS):
            for name, recipe in recipes.items():
                with engine_here(store, previews=recipe) as (engine, _):
                    for seed in range(JOBS + 1):
                        job = queue(store, JOBS * turn + seed, SECONDS, size=SIZE)
                        engine.notify()
                        (ended,) = wait(store, [job])
                        if not seed:  # warms up
                            continue
                        total[name].append(ended.timings["total_s"])
                        if name == "with":
                            share.append(ended.timings["preview_s"] / ended.timings["sample_s"])
    with_s, without_s = (statistics.median(total[name]) for name in recipes)
    note = (
        f"{SECONDS:g} s of {SIZE}: {with_s:.3f} s with, {without_s:.3f} s without; previews take "
        f"{100 * statistics.median(share):.2f} % of the sampler's time, at most "
        f"{100 * max(share):.2f} %"
    )
    figure = Figure(value=with_s / without_s, target=1.02, better="lower", n=len(share), note=note)
    return {"preview_cost": figure}
