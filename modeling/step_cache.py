"""A step cache: some of the sampler's steps go on with the velocity that the network gave last.

    whole_steps(16, 0.5)                        # [0, 1, 2, 4, 6, 9, 12, 15] ask the network

Which ones do is fixed by the number of steps alone, the same for every video. So a video does not
depend on its neighbours, a reused step takes no call at all, and nothing has to be kept for it
beyond what the solver keeps. The steps at the beginning, where what is shown is settled, are whole;
between the later ones the gaps grow evenly, as in caches by schedule (FORA, Selvaraju et al., 2024;
PAB, Zhao et al., 2024). The second-order solver's line goes through whole steps alone; a whole step
follows all of it, the reused ones after it a quarter (`CARRIED`).

To reuse a velocity is to make a longer step: what this has over fewer steps is where the long ones
are. Measured on the demo, as distance from 16 plain steps over the latents' spread, on prompts and
seeds that no figure is taken on: evenly spread whole steps 0.14, with none of the line carried on
0.096, with this plan 0.076; half of the line 0.067 and all of it 0.094 (after TaylorSeer, Liu et
al., 2025). With guidance of 4 in place of 2.5, velocities bend more and lines lead astray: none
0.16, a quarter 0.17, half 0.26. DPM-Solver++ (2M, Lu et al., 2022) over the same steps 0.092.
An earlier model said of the rest: to ask for the conditional velocity in all other steps, and keep
what it differs by from the unconditional one (FasterCache, Lv et al., 2024), comes 0.02 nearer for
half as much time again; to ask the first block whether to go on (ParaAttention, 2025) costs a
quarter of a step each time, and it changes least in the beginning.
"""

import math

CROWDING = 1.5  # above 1, whole steps are closer together at the beginning
FEWEST = 4
CARRIED = 0.25  # of the second-order solver's line, into the steps that are reused


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
