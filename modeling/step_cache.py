"""A step cache: sampler steps that change little reuse what most of the network said before.

The first block always runs. Where what it adds changed by less than a threshold since the last
step that ran whole, the other blocks are not asked, and what they added then is added again (first-
block cache: ParaAttention, 2025, after TeaCache, Liu et al., 2024). Each video decides for itself,
so it does not depend on what else is in the batch. The two documents of one video, with and without
its prompt, decide together: guidance multiplies their difference, and of a stale one beside a new
one most of it would be an error.

The first steps and the last always run whole. Measured on the demo at 16 steps, to leave out one of
steps 2 to 4, or the last, moves the result by 2 to 9 % of its spread, one of steps 6 to 13 by 0.5 %
or less; but the first block changes least of all in the beginning. Carrying the old answer on along
the line through the last two, as TaylorSeer does, made the distance larger.

    cache = StepCache(dit, threshold=0.35, steps=16)       # one for each call of the sampler
    velocity = cache(rows, owners)                # in the place of dit(rows)

Shapes: N rows, D width, B documents, V videos, P patch values.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from modeling.dit import DiT, Entered, Rows
from modeling.packing import Layout

FIRST_SHARE = 0.2  # of the steps


class StepCache:
    """Stands in for a transformer through one call of the sampler.

    `whole` and `reused` count documents whose other blocks ran, and those whose did not.
    """

    def __init__(self, dit: DiT, threshold: float, steps: int) -> None:
        self.dit, self.threshold, self.steps = dit, threshold, steps
        self.whole = self.reused = self._step = 0
        self._documents: tuple[Layout, tuple[int, ...]] | None = None
        self._first_ND = self._rest_ND = torch.empty(0)

    @torch.no_grad()
    def __call__(self, rows: Rows, owners: Sequence[int]) -> Tensor:
        """Velocity of every row, (N, P); `owners` says which video each document belongs to."""
        entered = self.dit.enter(rows)
        x_ND = self._through(self.dit.blocks[:1], entered.x_ND, entered, rows.layout)
        first_ND = x_ND - entered.x_ND
        documents = (rows.layout, tuple(owners))
        always = self._step < round(FIRST_SHARE * self.steps) or self._step == self.steps - 1
        self._step += 1
        if always or self._documents != documents:  # of others than before nothing is known
            self._documents, self._first_ND = documents, first_ND
            self._rest_ND = self._rest(x_ND, entered, rows.layout)
            self.whole += len(owners)
            return self.dit.leave(x_ND + self._rest_ND, entered)
        lengths_B = torch.tensor(rows.layout.lengths, device=x_ND.device)
        owner_B = torch.tensor(owners, device=x_ND.device)
        runs_B = self._must_run(first_ND, owner_B.repeat_interleave(lengths_B))[owner_B]
        chosen = runs_B.nonzero().flatten().tolist()
        self.whole += len(chosen)
        self.reused += len(owners) - len(chosen)
        if chosen:
            at = runs_B.repeat_interleave(lengths_B).nonzero().flatten()
            part = Layout(tuple(rows.layout.lengths[index] for index in chosen))
            self._rest_ND[at] = self._rest(x_ND[at], _rows_of(entered, at), part)
            self._first_ND[at] = first_ND[at]
        return self.dit.leave(x_ND + self._rest_ND, entered)

    def _must_run(self, first_ND: Tensor, owner_N: Tensor) -> Tensor:
        """Which videos' first block changed by the threshold or more, (V,) bool."""
        change_V, size_V = (
            torch.zeros(int(owner_N.max()) + 1, device=first_ND.device).index_add_(
                0, owner_N, values_ND.abs().float().mean(1)
            )
            for values_ND in (first_ND - self._first_ND, self._first_ND)
        )
        # Written so that NaN runs.
        return ~(change_V < self.threshold * size_V)

    def _rest(self, x_ND: Tensor, entered: Entered, layout: Layout) -> Tensor:
        """What the blocks after the first add to the rows."""
        return self._through(self.dit.blocks[1:], x_ND, entered, layout) - x_ND

    @staticmethod
    def _through(
        blocks: torch.nn.ModuleList, x_ND: Tensor, entered: Entered, layout: Layout
    ) -> Tensor:
        for block in blocks:
            x_ND = block(x_ND, entered.table_U4D, entered.index_N, entered.turn, layout)
        return x_ND


def _rows_of(entered: Entered, at: Tensor) -> Entered:
    return Entered(
        entered.x_ND[at],
        entered.table_U4D,
        entered.hidden_UD,
        entered.index_N[at],
        entered.turn[at],
    )
