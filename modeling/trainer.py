"""The training loop that the VAE and the transformer share: packed batches, EMA, exact resume.

    trainer = Trainer({"dit": dit, "text": text}, loader, loss, recipe, folder, seed=0, tag="…")
    trainer.fit(report=..., should_stop=...)

All randomness comes from the seed and from what it is for, and the loader's position is part of the
checkpoint, so a run that was killed and resumed ends where an uninterrupted one would. The loop
knows nothing of Ray: with an initialised process group gradients are summed over the workers, and
rank 0 writes the checkpoints. How modules are spread over the workers is `modeling/parallel.py`.
"""

import copy
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import torch
import torch.distributed as dist
from torch import Generator, Tensor, nn

from infra.errors import InputError
from infra.recipes import fingerprint
from modeling.checkpoint import load_module, load_optimizer, read_checkpoint, write_checkpoint
from modeling.device import compute_device
from modeling.optimization import NormRecord, gradient_norm, make_optimizers, rate_factor
from modeling.parallel import (
    autocast,
    decided,
    filled,
    gather,
    local,
    parallelize,
    shard,
    shards,
    sum_over_workers,
)
from modeling.recipes import ComputeRecipe, OptimizerRecipe

Batch = TypeVar("Batch")
Made_co = TypeVar("Made_co", covariant=True)
BATCHES_AHEAD = 4
MAX_SKIPPED_IN_A_ROW = 100
COUNTED = ("skipped_steps", "clipped_steps")


class Summed(NamedTuple):
    """A loss as a sum over so many values: means of batches of unequal size cannot be added."""

    total: Tensor
    values: int

    @property
    def mean(self) -> Tensor:
        return self.total / self.values


class Source(Protocol[Made_co]):
    """Where batches come from. `next` decides which is the next one, and returns what makes it:
    that may run on a thread, at any time. `position` is where the next `next` goes on."""

    position: dict[str, Any]

    def next(self) -> Callable[[], Made_co]: ...


class Drawn(Generic[Batch]):
    """Batches drawn at random: the n-th of a worker comes from (seed, n, rank) alone."""

    def __init__(self, make: Callable[[Generator], Batch], seed: int, rank: int) -> None:
        self.make, self.seed, self.rank = make, seed, rank
        self.position: dict[str, Any] = {"batch": 0}

    def next(self) -> Callable[[], Batch]:
        number = self.position["batch"]
        self.position = {"batch": number + 1}
        return partial(self.make, rng(self.seed, number, self.rank))


@dataclass
class Counters:
    """What the loop counts; part of the checkpoint, so that a resumed run goes on counting."""

    step: int = 0
    skipped_steps: int = 0
    skipped_in_a_row: int = 0
    clipped_steps: int = 0
    train_s: float = 0.0
    wait_s: float = 0.0
    watch_s: float = 0.0
    norms: NormRecord = field(default_factory=NormRecord)


def rng(seed: int, step: int, rank: int = 0) -> Generator:
    """The random numbers of one step: the same in a resumed run as in an uninterrupted one."""
    return Generator().manual_seed(((seed * 1_000_003 + step) * 1009 + rank) % 2**63)


class Trainer(Generic[Batch]):
    """Minimise the mean of `loss(batch, rng)` over the batches of a source.

    A step takes `recipe.accumulate` batches of each worker. The loss is a mean over all values of
    the step, on whichever worker and in whichever batch, when `loss` gives their sum and count; a
    loss that is a mean counts as one value. A plain function of an rng is a source of its own.

    Batches are made ahead on threads; the time the loop waits for them is counted in
    `counters.wait_s`. `averaged` gives the averaged copies of the modules: what one ships.
    """

    def __init__(
        self,
        modules: dict[str, nn.Module],
        source: Source[Batch] | Callable[[Generator], Batch],
        loss: Callable[[Batch, Generator], Summed | Tensor],
        recipe: OptimizerRecipe,
        folder: Path,
        *,
        seed: int,
        tag: str,
        checkpoint_s: float = 30.0,
        compute: ComputeRecipe | None = None,
    ) -> None:
        self.rank = dist.get_rank() if dist.is_initialized() else 0
        self.world = dist.get_world_size() if dist.is_initialized() else 1
        self.modules, self.recipe, self.folder, self.seed = modules, recipe, folder, seed
        self.source: Source[Batch] = Drawn(source, seed, self.rank) if callable(source) else source
        self.loss, self.checkpoint_s = loss, checkpoint_s
        self.compute = decided(compute or ComputeRecipe(), compute_device())
        self.tag = f"{tag}-{fingerprint(recipe)}-{seed}"
        self.counters = Counters()
        self.ema = {name: copy.deepcopy(module) for name, module in modules.items()}
        self._templates = {
            name: copy.deepcopy(module).to("meta") for name, module in modules.items()
        }
        for name, averaged in self.ema.items():
            shard(averaged.requires_grad_(False), self.compute)
            parallelize(modules[name], self.compute)
        self.parameters: list[Tensor] = [
            p for module in modules.values() for p in module.parameters()
        ]
        self.device = self.parameters[0].device
        self.optimizers = make_optimizers(modules, recipe, self.compute.precision)
        self.peaks = (recipe.learning_rate, recipe.muon_learning_rate)[: len(self.optimizers)]
        self._position = self.source.position

    def fit(
        self,
        report: Callable[[Counters, dict[str, float]], None],
        should_stop: Callable[[], bool] = lambda: False,
        watch: Callable[[int], None] = lambda _step: None,
        watch_every: int = 0,
    ) -> None:
        """Train to `recipe.steps`, from the folder's checkpoint when there is one.

        `report(counters, metrics)` is called after every step, and `watch(step)` after each
        `watch_every`-th but the last, by all workers. When `should_stop` turns True for one of
        them, all save a checkpoint and return early.

        Raises:
            InputError: too many steps in a row came to no finite gradient.
        """
        self.resume()
        saved_at = time.monotonic()
        stopping, _ = self._agreed(should_stop(), False)
        with self._prefetched() as batches:
            while self.counters.step < self.recipe.steps and not stopping:
                report(self.counters, self._step(batches))
                step = self.counters.step
                if watch_every and step % watch_every == 0 and step < self.recipe.steps:
                    started = time.monotonic()
                    watch(step)
                    self.counters.watch_s += time.monotonic() - started
                due = time.monotonic() - saved_at > self.checkpoint_s
                stopping, due = self._agreed(should_stop(), due)
                if due:
                    self.save()
                    saved_at = time.monotonic()
        self.save()

    def averaged(self, name: str) -> nn.Module:
        """The average of a module, whole. All workers have to call it; it is rank 0's to use."""
        if not shards(self.compute):
            return self.ema[name]
        return filled(self._templates[name], gather(self.ema[name].state_dict()))

    def _step(self, batches: Iterator[Batch]) -> dict[str, float]:
        step, waited, started = self.counters.step, self.counters.wait_s, time.monotonic()
        factor = rate_factor(step, self.recipe)
        for optimizer, peak in zip(self.optimizers, self.peaks, strict=True):
            optimizer.zero_grad(set_to_none=True)
            for group in optimizer.param_groups:
                group["lr"] = peak * factor
        loss = self._accumulate(batches, step)
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        norm, limit = gradient_norm(gradients), self.counters.norms.limit(self.recipe)
        if norm < float("inf"):
            if norm > limit:
                torch._foreach_mul_(local(gradients), limit / (norm + 1e-6))
                self.counters.clipped_steps += 1
            self.counters.norms.add(min(norm, limit))
            for optimizer in self.optimizers:
                optimizer.step()
            self._average_weights(step)
            self.counters.skipped_in_a_row = 0
        else:
            self._skip(norm)
        self.counters.step += 1
        waited = self.counters.wait_s - waited
        self.counters.train_s += time.monotonic() - started - waited
        counts = {name: float(getattr(self.counters, name)) for name in COUNTED}
        return {"loss": loss, "grad_norm": norm, "rate_factor": factor} | counts

    def _accumulate(self, batches: Iterator[Batch], step: int) -> float:
        """Leave the gradients of the step's mean loss, over all batches and workers."""
        summed = torch.zeros(2, dtype=torch.float64, device=self.device)
        for number in range(self.recipe.accumulate):
            batch = next(batches)
            generator = rng(self.seed + 1, step * self.recipe.accumulate + number, self.rank)
            with autocast(self.compute, self.device):
                found = self.loss(batch, generator)
            part = Summed(found, 1) if isinstance(found, Tensor) else found
            part.total.backward()
            summed[0] += part.total.detach()
            summed[1] += part.values
        gradients = local([p.grad for p in self.parameters if p.grad is not None])
        scale = 1.0
        if self.world > 1:
            dist.all_reduce(summed)
            if shards(self.compute):
                scale = self.world  # what was sharded was averaged over the workers already
            else:
                sum_over_workers(gradients)
        total, count = summed.tolist()
        if scale != count:
            torch._foreach_mul_(gradients, scale / count)
        return float(total / count)

    def _skip(self, norm: float) -> None:
        self.counters.skipped_steps += 1
        self.counters.skipped_in_a_row += 1
        if self.counters.skipped_in_a_row >= MAX_SKIPPED_IN_A_ROW:
            raise InputError(
                f"the gradient was {norm} in {MAX_SKIPPED_IN_A_ROW} steps in a row, up to step "
                f"{self.counters.step}; lower the learning rate, or look for broken clips"
            )

    @torch.no_grad()
    def _average_weights(self, step: int) -> None:
        # The average warms up, or it would remember the random start for hundreds of steps.
        decay = min(self.recipe.ema, (1 + step) / (10 + step))
        averaged: list[Tensor] = [p for module in self.ema.values() for p in module.parameters()]
        torch._foreach_lerp_(local(averaged), local(self.parameters), 1 - decay)

    @contextmanager
    def _prefetched(self) -> Iterator[Iterator[Batch]]:
        pool = ThreadPoolExecutor(2, thread_name_prefix="batches")
        ahead: deque[tuple[Future[Batch], dict[str, Any]]] = deque()

        def batches() -> Iterator[Batch]:
            while True:
                while len(ahead) < BATCHES_AHEAD:
                    made = pool.submit(self.source.next())
                    ahead.append((made, self.source.position))
                started = time.monotonic()
                upcoming, position = ahead.popleft()
                batch = upcoming.result()
                self.counters.wait_s += time.monotonic() - started
                # What is made ahead and not used is made again after a resume.
                self._position = position
                yield batch

        try:
            yield batches()
        finally:
            pool.shutdown(cancel_futures=True)

    def _agreed(self, *flags: bool) -> list[bool]:
        """Each flag, True when any worker has it True: they must not part."""
        if self.world == 1:
            return list(flags)
        votes = torch.tensor(flags, dtype=torch.int32, device=self.device)
        dist.all_reduce(votes)
        return [vote > 0 for vote in votes.tolist()]

    def save(self) -> None:
        """Write the checkpoint: a reader finds the old one or the new one, never a part.

        All workers have to call it, and leave it when it is written; sharded tensors are gathered
        one by one.
        """
        state: dict[str, Any] = {
            "tag": self.tag,
            "counters": asdict(self.counters),
            "position": self._position,
            "modules": {name: module.state_dict() for name, module in self.modules.items()},
            "ema": {name: module.state_dict() for name, module in self.ema.items()},
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
        }
        whole = gather(state)
        if self.rank == 0:
            write_checkpoint(self.folder, whole)
        if self.world > 1:
            dist.barrier()  # nobody may go on, and look for it, before it is there

    def resume(self) -> None:
        """Continue from the folder's checkpoint, if there is one.

        Raises:
            InputError: the checkpoint is of another recipe or seed, or workers have different ones.
        """
        state = read_checkpoint(self.folder, self.tag)
        self._same_checkpoint(-1 if state is None else int(state["counters"]["step"]))
        if state is None:
            return
        norms = NormRecord(**state["counters"].pop("norms"))
        self.counters = Counters(**state["counters"], norms=norms)
        self._position = self.source.position = state["position"]
        for name, module in self.modules.items():
            load_module(module, state["modules"][name])
            load_module(self.ema[name], state["ema"][name])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            load_optimizer(optimizer, saved)

    def _same_checkpoint(self, step: int) -> None:
        """Workers that go on from different steps would wait for one another for ever."""
        if self.world == 1:
            return
        ends = torch.tensor([step, -step], device=self.device)
        dist.all_reduce(ends, dist.ReduceOp.MAX)
        last, first = int(ends[0]), -int(ends[1])
        if first != last:
            found = [f"step {at}" if at >= 0 else "none" for at in (first, last)]
            raise InputError(
                f"workers found different checkpoints ({found[0]} and {found[1]}) in "
                f"{self.folder}; it has to be a folder that all machines of a training share"
            )
