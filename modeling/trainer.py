"""The training loop that the VAE and the transformer share: one optimizer, EMA, exact resume.

    trainer = Trainer({"dit": dit, "text": text}, loss, recipe, folder, seed=0)
    trainer.fit(report=..., should_stop=...)

All randomness of a step comes from (seed, step, rank), so a run that was killed and resumed from
its checkpoint ends where an uninterrupted one would. The loop knows nothing of Ray: with an
initialised process group it averages gradients over the ranks, and rank 0 writes the checkpoints.
"""

import copy
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
import torch.distributed as dist
from torch import Generator, Tensor, nn

from infra.errors import InputError
from infra.recipes import fingerprint
from modeling.muon import Muon
from modeling.recipes import OptimizerRecipe

Batch = TypeVar("Batch")
CHECKPOINT = "checkpoint.pt"


@dataclass
class Counters:
    """What the loop counts; part of the checkpoint, so that a resumed run goes on counting."""

    step: int = 0
    skipped_steps: int = 0
    train_s: float = 0.0
    wait_s: float = 0.0


def rng(seed: int, step: int, rank: int = 0) -> Generator:
    """The random numbers of one step: the same in a resumed run as in an uninterrupted one."""
    return Generator().manual_seed(((seed * 1_000_003 + step) * 1009 + rank) % 2**63)


class Trainer(Generic[Batch]):
    """Minimise `loss(batch)` over batches made by `make_batch(rng)`.

    `make_batch` runs one step ahead on a thread of its own; the time the loop waits for it is
    counted in `counters.wait_s`. `ema` holds averaged copies of the modules: what one ships.
    """

    def __init__(
        self,
        modules: dict[str, nn.Module],
        make_batch: Callable[[Generator], Batch],
        loss: Callable[[Batch, Generator], Tensor],
        recipe: OptimizerRecipe,
        folder: Path,
        *,
        seed: int,
        tag: str,
        checkpoint_s: float = 30.0,
    ) -> None:
        self.modules, self.recipe, self.folder, self.seed = modules, recipe, folder, seed
        self.make_batch, self.loss, self.checkpoint_s = make_batch, loss, checkpoint_s
        self.tag = f"{tag}-{fingerprint(recipe)}-{seed}"
        self.counters = Counters()
        self.ema = {name: copy.deepcopy(module) for name, module in modules.items()}
        for module in self.ema.values():
            module.requires_grad_(False)
        self.parameters: list[Tensor] = [
            p for module in modules.values() for p in module.parameters()
        ]
        self.optimizers = make_optimizers(modules, recipe)
        self.peaks = (recipe.learning_rate, recipe.muon_learning_rate)[: len(self.optimizers)]
        self.rank = dist.get_rank() if dist.is_initialized() else 0
        self.world = dist.get_world_size() if dist.is_initialized() else 1

    def fit(
        self,
        report: Callable[[Counters, dict[str, float]], None],
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        """Train to `recipe.steps`, from the folder's checkpoint when there is one.

        `report(counters, metrics)` is called after every step. When `should_stop` turns True the
        loop saves a checkpoint and returns early.
        """
        self.resume()
        saved_at = time.monotonic()
        with self._prefetched() as batches:
            while self.counters.step < self.recipe.steps and not should_stop():
                metrics = self._step(next(batches))
                report(self.counters, metrics)
                if time.monotonic() - saved_at > self.checkpoint_s:
                    self.save()
                    saved_at = time.monotonic()
        self.save()

    def _step(self, batch: Batch) -> dict[str, float]:
        started = time.monotonic()
        step = self.counters.step
        factor = rate_factor(step, self.recipe)
        for optimizer, peak in zip(self.optimizers, self.peaks, strict=True):
            optimizer.zero_grad(set_to_none=True)
            for group in optimizer.param_groups:
                group["lr"] = peak * factor
        loss = self.loss(batch, rng(self.seed + 1, step, self.rank))
        loss.backward()
        self._average_gradients()
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, self.recipe.max_norm)
        if torch.isfinite(norm):
            for optimizer in self.optimizers:
                optimizer.step()
            self._average_weights(step)
        else:
            self.counters.skipped_steps += 1
        self.counters.step += 1
        self.counters.train_s += time.monotonic() - started
        return {"loss": loss.item(), "grad_norm": norm.item(), "rate_factor": factor}

    def _average_gradients(self) -> None:
        if self.world == 1:
            return
        grads = [p.grad for p in self.parameters if p.grad is not None]
        flat = torch.cat([g.flatten() for g in grads])
        dist.all_reduce(flat)
        flat /= self.world
        for grad, part in zip(grads, flat.split([g.numel() for g in grads]), strict=True):
            grad.copy_(part.view_as(grad))

    @torch.no_grad()
    def _average_weights(self, step: int) -> None:
        # The average warms up, or it would remember the random start for hundreds of steps.
        decay = min(self.recipe.ema, (1 + step) / (10 + step))
        averaged: list[Tensor] = [p for module in self.ema.values() for p in module.parameters()]
        torch._foreach_lerp_(averaged, self.parameters, 1 - decay)

    @contextmanager
    def _prefetched(self) -> Iterator[Iterator[Batch]]:
        pool = ThreadPoolExecutor(1, thread_name_prefix="batches")

        def batches() -> Iterator[Batch]:
            upcoming = pool.submit(self.make_batch, self._batch_rng(self.counters.step))
            while True:
                started = time.monotonic()
                batch = upcoming.result()
                self.counters.wait_s += time.monotonic() - started
                upcoming = pool.submit(self.make_batch, self._batch_rng(self.counters.step + 1))
                yield batch

        try:
            yield batches()
        finally:
            pool.shutdown(cancel_futures=True)

    def _batch_rng(self, step: int) -> Generator:
        return rng(self.seed, step, self.rank)

    def save(self) -> None:
        """Write the checkpoint: a reader finds the old one or the new one, never a part."""
        if self.rank:
            return
        state: dict[str, Any] = {
            "tag": self.tag,
            "counters": asdict(self.counters),
            "modules": {name: module.state_dict() for name, module in self.modules.items()},
            "ema": {name: module.state_dict() for name, module in self.ema.items()},
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = self.folder / f".{CHECKPOINT}.{os.getpid()}"
        torch.save(state, temporary)
        temporary.replace(self.folder / CHECKPOINT)

    def resume(self) -> None:
        """Continue from the folder's checkpoint, if there is one.

        Raises:
            InputError: the checkpoint is of another recipe or seed.
        """
        path = self.folder / CHECKPOINT
        if not path.exists():
            return
        state = torch.load(path, weights_only=True)
        if state["tag"] != self.tag:
            raise InputError(
                f"the checkpoint in {path} was made by recipe {state['tag']}, not {self.tag}; "
                "delete it or train in another folder"
            )
        self.counters = Counters(**state["counters"])
        for name, module in self.modules.items():
            module.load_state_dict(state["modules"][name])
            self.ema[name].load_state_dict(state["ema"][name])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)


def make_optimizers(
    modules: dict[str, nn.Module], recipe: OptimizerRecipe
) -> list[torch.optim.Optimizer]:
    """AdamW, and Muon for the matrices inside blocks when the recipe has a rate for it."""
    named = [item for module in modules.values() for item in module.named_parameters()]
    hidden = {
        name
        for name, p in named
        if recipe.muon_learning_rate and p.ndim > 1 and "blocks." in name and "weight" in name
    }
    rest = [(name, p) for name, p in named if name not in hidden]
    groups = [
        {"params": [p for _, p in rest if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for _, p in rest if p.ndim <= 1], "weight_decay": 0.0},
    ]
    betas = (0.9, recipe.beta2)
    adamw = torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=betas, fused=True)
    if not hidden:
        return [adamw]
    matrices = [p for name, p in named if name in hidden]
    return [adamw, Muon(matrices, recipe.muon_learning_rate, weight_decay=recipe.weight_decay)]


def rate_factor(step: int, recipe: OptimizerRecipe) -> float:
    """Learning rate over its peak: warm-up, flat, then a linear fall to zero."""
    warm = min(1.0, (step + 1) / max(recipe.warmup_steps, 1))
    left = (recipe.steps - step) / max(recipe.steps * recipe.fall_share, 1)
    return min(warm, left)
