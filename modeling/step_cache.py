"""A step cache: sampler steps that change little reuse what most of the network said before.

The first block always runs. Where what it adds changed by less than a threshold since the last
step that ran whole, the other blocks are not asked, and what they added then is added again (first-
block cache: ParaAttention, 2025, after TeaCache, Liu et al., 2024). Each video has a cache of its
own and decides for itself, so it does not depend on what else is in the batch. The two documents of
one video, with and without its prompt, decide together: guidance multiplies their difference, and
of a stale one beside a new one most of it would be an error.

The first steps and the last always run whole. Measured on the demo at 16 steps, to leave out one of
steps 2 to 4, or the last, moves the result by 2 to 9 % of its spread, one of steps 6 to 13 by 0.5 %
or less; but the first block changes least of all in the beginning. Carrying the old answer on along
the line through the last two, as TaylorSeer does, made the distance larger. So did reusing all that
the blocks added, without the first (1.6 times), and keeping the difference that guidance multiplies
(1.3 times, even at the end).

What a reused step costs bounds the speed: of the demo's four blocks it is about a third of a whole
step, the first block being most of it, and of a deeper network's far less.

    caches = [StepCache(0.35, steps=16), None]              # of two videos, one without
    velocity = through(dit, rows, owners, caches)           # in the place of dit(rows)

Shapes: N rows, n rows of one video, D width, P patch values.
"""

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from modeling.dit import DiT, Entered, Rows
from modeling.packing import Layout

FIRST_SHARE = 0.2  # of the steps


class StepCache:
    """What one video remembers through one call of the sampler.

    `whole` and `reused` count documents whose other blocks ran, and those whose did not.
    fresh: the step that was made last ran whole.
    first_nD, rest_nD: what the first block and the others added when they last ran whole.
    lengths: rows of the documents that these are of.
    """

    def __init__(self, threshold: float, steps: int) -> None:
        self.threshold, self.steps = threshold, steps
        self.whole = self.reused = self.step = 0
        self.fresh = True
        self.lengths: tuple[int, ...] = ()
        self.first_nD = self.rest_nD = torch.empty(0)

    def change(self, first_nD: Tensor, lengths: tuple[int, ...]) -> Tensor:
        """By which share of the threshold the first block changed, (); 1 or more has to run."""
        step, self.step = self.step, self.step + 1
        always = step < round(FIRST_SHARE * self.steps) or step == self.steps - 1
        if always or self.lengths != lengths:  # of others than before nothing is known
            return torch.full((), torch.inf, device=first_nD.device)
        changed, size = (
            values_nD.abs().float().mean(1).sum()
            for values_nD in (first_nD - self.first_nD, self.first_nD)
        )
        return changed / (self.threshold * size)

    def keep(self, first_nD: Tensor, rest_nD: Tensor, lengths: tuple[int, ...]) -> None:
        self.first_nD, self.rest_nD, self.lengths = first_nD, rest_nD, lengths


@torch.no_grad()
def through(
    dit: DiT, rows: Rows, owners: Sequence[int], caches: Sequence[StepCache | None]
) -> Tensor:
    """Velocity of every row, (N, P).

    owners: which video each document belongs to; documents that follow belong to nobody.
    caches: of each video; those without one run whole.
    """
    entered = dit.enter(rows)
    x_ND = _blocks(dit.blocks[:1], entered.x_ND, entered)
    first_ND = x_ND - entered.x_ND
    spans = _spans(rows.layout.lengths)
    theirs = [
        [index for index, owner in enumerate(owners) if owner == video]
        for video in range(len(caches))
    ]
    lengths = [tuple(rows.layout.lengths[index] for index in own) for own in theirs]
    run = _must_run(first_ND, [[spans[i] for i in own] for own in theirs], lengths, caches)
    rest_ND = torch.empty_like(x_ND)
    chosen = [i for i in range(len(spans)) if i >= len(owners) or run[owners[i]]]
    if chosen:
        at = _rows_of(spans, chosen).to(x_ND.device)
        taken = x_ND[at]
        rest_ND[at] = _blocks(dit.blocks[1:], taken, _part(entered, at, chosen)) - taken
    for video, (cache, own) in enumerate(zip(caches, theirs, strict=True)):
        if cache is None:
            continue
        cache.fresh = run[video]
        if cache.fresh:
            cache.whole += len(own)
            first, rest = (torch.cat([v[spans[i]] for i in own]) for v in (first_ND, rest_ND))
            cache.keep(first, rest, lengths[video])
        else:
            cache.reused += len(own)
            for index, rest in zip(own, cache.rest_nD.split(lengths[video]), strict=True):
                rest_ND[spans[index]] = rest
    return dit.leave(x_ND + rest_ND, entered)


def _must_run(
    first_ND: Tensor,
    spans: Sequence[Sequence[slice]],
    lengths: Sequence[tuple[int, ...]],
    caches: Sequence[StepCache | None],
) -> list[bool]:
    """Which videos' first block changed by the threshold or more."""
    always = torch.full((), torch.inf, device=first_ND.device)
    changes = [
        always
        if cache is None
        else cache.change(torch.cat([first_ND[span] for span in own]), length)
        for cache, own, length in zip(caches, spans, lengths, strict=True)
    ]
    # Written so that NaN runs; one answer for all, as a device has to be waited for.
    return (~(torch.stack(changes) < 1)).tolist()


def _blocks(blocks: torch.nn.ModuleList, x_ND: Tensor, entered: Entered) -> Tensor:
    for block in blocks:
        x_ND = block(x_ND, entered)
    return x_ND


def _spans(lengths: Sequence[int]) -> list[slice]:
    """Rows of each document."""
    bounds = itertools.pairwise(itertools.accumulate(lengths, initial=0))
    return [slice(*pair) for pair in bounds]


def _rows_of(spans: Sequence[slice], chosen: Sequence[int]) -> Tensor:
    """Indices of all rows of these documents."""
    return torch.cat([torch.arange(s.start, s.stop) for s in (spans[i] for i in chosen)])


def _part(entered: Entered, at: Tensor, chosen: Sequence[int]) -> Entered:
    """Only these documents, whose patch rows are `at`."""
    layout = entered.layout
    text_at = _rows_of(_spans(layout.words), chosen).to(at.device)
    return Entered(
        entered.x_ND[at],
        entered.hidden_UD,
        entered.index_N[at],
        entered.turn[at],
        entered.text_MD[text_at],
        entered.text_turn[text_at],
        Layout(*(tuple(of[i] for i in chosen) for of in (layout.lengths, layout.words))),
    )
