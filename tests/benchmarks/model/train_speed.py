"""Training steps against the field's transformers: same width, same parameters, same optimizer.

A token is a latent patch of a clip; words and padding do not count. All contenders take the same
documents, and take turns step by step, so that whatever else the machine does falls on all.
"""

import statistics
import time
from collections import defaultdict
from collections.abc import Sequence

import torch

from modeling.dit import DiTConfig
from modeling.train_dit import Sample
from tests.benchmarks.figure import Figure
from tests.benchmarks.model import workload
from tests.benchmarks.model.peers import Contender, Ltx, Ours, Wan, count, matched

CONFIG = DiTConfig(latent_channels=workload.CHANNELS)  # the demo's width, depth and patch
BATCH, ROUNDS, WARM_UP = 64, 9, 2
MIXED_DOCUMENTS = 256
BUCKET_TOKENS = BATCH * 48  # as many as a uniform batch has

Batches = list[list[Sample]]


class Runner:
    """One contender, its optimizer, and the batches that it takes."""

    def __init__(self, model: Contender, batches: Batches, label: str = "") -> None:
        self.model, self.batches, self.label = model, batches, label or model.name
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
        self.seconds: list[float] = []

    def turn(self) -> None:
        """One pass over its batches."""
        begun = time.perf_counter()
        for batch in self.batches:
            self.optimizer.zero_grad(set_to_none=True)
            self.model.loss(batch).backward()
            self.optimizer.step()
        self.seconds.append(time.perf_counter() - begun)

    @property
    def tokens(self) -> int:
        return sum(workload.tokens(batch) for batch in self.batches)

    @property
    def rate(self) -> float:
        return self.tokens / statistics.median(self.seconds[WARM_UP:])


def train_uniform() -> dict[str, Figure]:
    batches = [workload.uniform(BATCH)]
    ours, *peers = runners = [Runner(model, batches) for model in _contenders()]
    _run(runners, ROUNDS + WARM_UP)
    return {"train_uniform_over_best_peer": _figure(ours, peers, 1.4, "clips of one shape")}


def train_mixed() -> dict[str, Figure]:
    """Ours packs what comes; the peers pad it, or take it from buckets of one shape."""
    documents = workload.mixed(MIXED_DOCUMENTS)
    drawn = [documents[i : i + BATCH] for i in range(0, len(documents), BATCH)]
    ours, ltx, wan = _contenders()
    bucketed = in_buckets(documents)
    mine = Runner(ours, drawn)
    padded, *rest = Runner(ltx, drawn, "LTX padded"), Runner(ltx, bucketed), Runner(wan, bucketed)
    _run([mine, padded, *rest], ROUNDS - 3)
    return {
        "train_mixed_over_bucketed": _figure(mine, rest, 1.4, f"{len(bucketed)} buckets' batches"),
        "train_mixed_over_padded": _figure(mine, [padded], 3.0, "padded to the longest"),
    }


def in_buckets(documents: Sequence[Sample], rows: int = BUCKET_TOKENS) -> Batches:
    """Batches of one shape, each of at most so many tokens, by default those of a uniform batch."""
    by_shape: dict[tuple[int, ...], list[Sample]] = defaultdict(list)
    for sample in documents:
        by_shape[tuple(sample.noisy_GChw.shape)].append(sample)
    batches = []
    for bucket in by_shape.values():
        size = max(1, rows // workload.tokens(bucket[:1]))
        batches += [bucket[i : i + size] for i in range(0, len(bucket), size)]
    return batches


def _contenders() -> tuple[Contender, Contender, Contender]:
    torch.manual_seed(0)
    ours = Ours(CONFIG, workload.VOCABULARY)
    return ours, *(matched(kind, CONFIG, workload.VOCABULARY) for kind in (Ltx, Wan))


def _run(runners: Sequence[Runner], rounds: int) -> None:
    for _ in range(rounds):
        for runner in runners:
            runner.turn()


def _figure(ours: Runner, peers: Sequence[Runner], target: float, what: str) -> Figure:
    """Ours over the fastest peer, by the median of the turns."""
    best = max(peers, key=lambda runner: runner.rate)
    rates = ", ".join(
        f"{r.label} {r.rate:.0f} tokens/s ({count(r.model) / 1e6:.2f} M)" for r in [ours, *peers]
    )
    return {
        "value": round(ours.rate / best.rate, 3),
        "target": target,
        "better": "higher",
        "n": len(ours.seconds) - WARM_UP,
        "note": f"{what}: {rates}",
    }
