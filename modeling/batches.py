"""Which clips are trained on together: a shuffled epoch, packed into batches of a token budget.

Every epoch is a permutation of all clips, by seed and number. Clips are packed first-fit: each goes
into the first of a few open batches that has room for it, and where none has, the fullest is
closed. Batches are open across the end of an epoch, so no clip is left out of it or seen twice.
The plan deals in numbers alone, so every worker can follow the same one, and its position is a few
numbers too.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch

from infra.errors import InputError
from modeling.randomness import generator_of

OPEN_BATCHES = 8  # more pack tighter, and let a clip wait longer for its turn


class Pick(NamedTuple):
    """One clip's turn: its number, the epoch, and whether it is trained on as a single frame."""

    epoch: int
    clip: int
    image: bool


@dataclass(frozen=True)
class Sizes:
    """Rows of every clip, as a video and as a single frame."""

    video: Sequence[int]
    image: Sequence[int]

    def of(self, pick: Pick) -> int:
        return (self.image if pick.image else self.video)[pick.clip]


@dataclass(eq=False)
class _Open:
    picks: list[Pick] = field(default_factory=list)
    rows: int = 0


class BatchPlan:
    """Batches of at most `budget` rows, one after the other, without end.

    `position` is all that a checkpoint has to keep: a plan with the same arguments and position
    goes on with the same batches.

    Raises:
        InputError: there is no clip, or one that is larger than the budget.
    """

    def __init__(self, sizes: Sizes, budget: int, image_share: float, seed: int) -> None:
        if not len(sizes.video):
            raise InputError("there is no clip to train on; refresh with more footage")
        largest = max(sizes.video)
        if largest > budget:
            raise InputError(
                f"clip number {sizes.video.index(largest)} has {largest} rows, and a batch has "
                f"{budget} at most; raise token_budget to {largest} or more"
            )
        self.sizes, self.budget, self.image_share, self.seed = sizes, budget, image_share, seed
        self._smallest = min(*sizes.video, *sizes.image)
        self._open: list[_Open] = []
        self._begin(epoch=0, turn=0)

    def next(self) -> list[Pick]:
        """The picks of the next batch."""
        while True:
            pick = self._next_pick()
            batch = self._place(pick)
            if batch is not None:
                return batch

    @property
    def position(self) -> dict[str, Any]:
        """Epoch, place in it, and the batches that are open; lists and numbers."""
        picks = [[list(pick) for pick in batch.picks] for batch in self._open]
        return {"epoch": self._epoch, "turn": self._turn, "open": picks}

    @position.setter
    def position(self, position: dict[str, Any]) -> None:
        self._begin(position["epoch"], position["turn"])
        self._open.clear()
        for numbers in position["open"]:
            picks = [Pick(*pick) for pick in numbers]
            self._open.append(_Open(picks, sum(map(self.sizes.of, picks))))

    def _begin(self, epoch: int, turn: int) -> None:
        count, generator = len(self.sizes.video), generator_of("epoch", self.seed, epoch)
        self._epoch, self._turn = epoch, turn
        self._order = torch.randperm(count, generator=generator)
        self._images = torch.rand(count, generator=generator) < self.image_share

    def _next_pick(self) -> Pick:
        if self._turn == len(self._order):
            self._begin(self._epoch + 1, 0)
        index = int(self._order[self._turn])
        self._turn += 1
        return Pick(self._epoch, index, bool(self._images[index]))

    def _place(self, pick: Pick) -> list[Pick] | None:
        """Put the pick into an open batch; the batch that this closes, if it does."""
        rows = self.sizes.of(pick)
        batch = next((b for b in self._open if b.rows + rows <= self.budget), None)
        if batch is None:
            batch = _Open()
            self._open.append(batch)
        batch.picks.append(pick)
        batch.rows += rows
        if self.budget - batch.rows >= self._smallest:
            if len(self._open) <= OPEN_BATCHES:
                return None
            batch = max(self._open, key=lambda b: b.rows)
        self._open.remove(batch)
        return batch.picks
