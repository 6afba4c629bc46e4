"""A step cache: some of the sampler's steps go on with the velocity that the network gave last.

    whole_steps(16, 0.5)                        # [0, 1, 2, 4, 6, 9, 12, 15] ask the network

Which ones do is fixed by the number of steps alone, the same for every video. So a video does not
depend on its neighbours, a reused step takes no call at all, and nothing has to be kept for it
beyond what the solver keeps. The steps at the beginning, where what is shown is settled, are whole;
between the later ones the gaps grow evenly, as in caches by schedule (FORA, Selvaraju et al., 2024;
PAB, Zhao et al., 2024). The second-order solver's line goes through whole steps alone and is
followed for the whole step only; reused steps keep the velocity as the network said it.

To reuse a velocity is to make a longer step: what this has over fewer steps is where the long ones
are. Measured on the demo, as distance from 16 plain steps over the latents' spread, on prompts and
seeds that no figure is taken on: this plan 0.14, evenly spread whole steps 0.25, a plain sampler's
8 steps 0.42 and, by Euler and with the best shift for them, 0.19. To carry half the line on into
reused steps (after TaylorSeer, Liu et al., 2025) made it 0.36. To ask for the conditional velocity
in all other steps, and keep what it differs by from the unconditional one (FasterCache, Lv et al.,
2024), made it 0.12, for half as much time again. To ask the first block whether to go on
(ParaAttention, 2025) costs a quarter of a step each time, and it changes least in the beginning.
"""

import math

CROWDING = 1.5  # above 1, whole steps are closer together at the beginning
FEWEST = 4


def whole_steps(steps: int, share: float) -> list[int]:
    """Those of `steps` that ask the network: that share of them, at least four where there are so
    many, the first and the last among them."""
    count = min(steps, max(FEWEST, math.ceil(share * steps)))
    found: list[int] = []
    for index in range(count):
        # Where the curve is flat, the next step that is free.
        at = round((steps - 1) * (index / max(count - 1, 1)) ** CROWDING)
        found.append(max(at, index))
    return found
