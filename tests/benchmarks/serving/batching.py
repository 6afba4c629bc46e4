"""Many jobs at a time in one engine: what is gained, and that nobody can tell from the result.

Expected before it was measured: the gain of pictures 2, of videos 1.5, as a window of a video keeps
two cores busy by itself; 20 of 20 the same; one step.
"""

import random
import statistics
import time
from collections.abc import Sequence

from infra.catalog_models import GenerationJob
from modeling.generate import Generator
from modeling.generation import Generation
from serving.jobs import JobStore
from tests.benchmarks.figure import Figure
from tests.benchmarks.serving.world import engine_here, new_store, queue, wait
from tests.decoded import decoded_hash

AT_A_TIME, ROUNDS = 8, 5
SAME = 20
ADMISSIONS = 20
LONG_S = 60.0


def batch_throughput_gain() -> dict[str, Figure]:
    """Eight pictures queued at once over the same one after the other, turn about; and videos."""
    gains: dict[float, list[float]] = {0: [], 1: []}
    with new_store() as store, engine_here(store) as (engine, _):
        wait(store, [queue(store, 0), queue(store, 0, 1)])  # warms up
        for turn in range(ROUNDS):
            seeds = range(AT_A_TIME * turn, AT_A_TIME * (turn + 1))
            for seconds, found in gains.items():
                begun = time.perf_counter()
                for seed in seeds:
                    job = queue(store, seed, seconds)
                    engine.notify()
                    wait(store, [job])
                single_s = time.perf_counter() - begun
                begun = time.perf_counter()
                jobs = [queue(store, seed, seconds) for seed in seeds]
                engine.notify()
                wait(store, jobs)
                found.append(single_s / (time.perf_counter() - begun))
    pictures, videos = (statistics.median(found) for found in gains.values())
    note = (
        f"{AT_A_TIME} pictures of 64x48, {min(gains[0]):.2f} to {max(gains[0]):.2f}; "
        f"videos of 1 s: {videos:.2f}"
    )
    figure = Figure(value=pictures, target=2, better="higher", n=ROUNDS, note=note)
    return {"batch_throughput_gain": figure}


def batched_equals_alone() -> dict[str, Figure]:
    """Jobs of several lengths, steps and kinds, alone and all at once: what their files show."""
    rng = random.Random(7)
    asked = [
        (seed, rng.choice([0.0, 1.0, 2.0, 4.0]), rng.choice([0, 7, 12, 16])) for seed in range(SAME)
    ]
    with new_store() as store, engine_here(store):
        alone = [wait(store, [queue(store, s, t, steps=n)])[0] for s, t, n in asked]
        together = wait(store, [queue(store, s, t, steps=n) for s, t, n in asked])
        same = sum(
            _hash(store, one) == _hash(store, other)
            for one, other in zip(alone, together, strict=True)
        )
    note = "decoded, bit for bit; pictures and videos of 1 to 4 s, 7 to 16 steps"
    figure = Figure(value=same, target=SAME, better="higher", n=SAME, note=note)
    return {"batched_equals_alone": figure}


def admission_steps() -> dict[str, Figure]:
    """Steps that a minute of video makes between a picture's arrival and its own first step."""

    class Counting(Generator):
        """Notes the seeds of each step."""

        def advance(self, generations: Sequence[Generation]) -> None:
            super().advance(generations)
            calls.append({each.sampling().task.seed for each in generations})

    calls: list[set[int]] = []
    rng, steps = random.Random(3), []
    with new_store() as store, engine_here(store, Counting) as (engine, _):
        long = queue(store, 1, LONG_S, steps=100)
        while not calls:
            time.sleep(0.01)
        for seed in range(1_000_000, 1_000_000 + ADMISSIONS):
            time.sleep(rng.uniform(0, 0.3))
            job = queue(store, seed)
            arrived = len(calls)
            engine.notify()
            wait(store, [job])
            # A window's noise has a seed of its own, made of the request's.
            first = next(i for i, call in enumerate(calls) if seed * 1009 in call)
            steps.append(first - arrived)
        assert store.get(long.id).status == "in_progress", "the long job has to outlast the others"
        store.delete(long.id)
        engine.dropped(long.id)
    note = f"beside a video of {LONG_S:.0f} s; the worst of them, median {statistics.median(steps)}"
    figure = Figure(value=max(steps), target=2, better="lower", n=len(steps), note=note)
    return {"admission_steps": figure}


def _hash(store: JobStore, job: GenerationJob) -> str:
    return decoded_hash(store.media_dir / store.artifacts(job.id)[0].path)
