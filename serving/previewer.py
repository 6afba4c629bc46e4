"""The previewer: makes a preview of a job where it is time for one, and worth what it costs.

    previewer = Previewer(generator, recipe, is_followed)
    previewer.look(attempt)                     # after each step, on the engine's thread

A preview is a frame of the sampler's own estimate of the clean latents, so it costs the decoding of
one latent frame and the job is the same with it as without. What decoding costs is measured as it
is done. A job whose previews would take more than a share of its time gets fewer, or none, and so
does one whose events nobody follows; who comes late gets one after the next step.
"""

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from serving.attempts import Attempt
from serving.previews import Preview, partials_asked
from serving.render import Generates

log = logging.getLogger(__name__)

EARLY = 6  # a sixth of a stage shows little yet


@dataclass(frozen=True, kw_only=True)
class PreviewRecipe:
    """most: previews of a video, evenly spread over its steps; 0 makes none.

    share: of a job's device time that its previews may take. The first that an engine makes is not
        held to it: it tells what they cost. Partial pictures are made as many as were asked for.
    least_s: jobs that take less end before anybody has looked.
    unfollowed: also of jobs whose events nobody follows.
    """

    most: int = 6
    share: float = 0.02
    least_s: float = 0.5
    unfollowed: bool = False


class Previewer:
    """Looks at attempts after their steps; remembers what previews cost."""

    def __init__(
        self, generator: Generates, recipe: PreviewRecipe, is_followed: Callable[[str], bool]
    ) -> None:
        self._generator, self._recipe, self._is_followed = generator, recipe, is_followed
        self._position_s = 0.0  # the least that decoding a latent position took

    def look(self, attempt: Attempt) -> None:
        """Make a preview if it is time to. When that fails there are no more, and the job goes on.

        Nobody sees those of pictures that were not asked for.
        """
        if attempt.error or attempt.is_sampled:
            return
        is_picture = attempt.job.kind == "image"
        most = partials_asked(attempt.job) if is_picture else self._recipe.most
        generation = attempt.generation
        moment = moments(generation.done, generation.steps, most)
        sampling = generation.sampling()
        if moment <= attempt.moment or sampling.step * EARLY < sampling.recipe.steps:
            return
        positions = math.prod(sampling.state_GChw.shape[2:])
        cost_s = self._position_s * positions
        if not is_picture and not (
            worth(self._recipe, attempt.expected_s, attempt.preview_s, cost_s)
            and (self._recipe.unfollowed or self._is_followed(attempt.job.id))
        ):
            return
        attempt.moment = moment
        begun = time.perf_counter()
        try:
            frame = self._generator.preview(generation)
        except Exception:
            log.exception("%s: its previews end here", attempt.job.id)
            attempt.moment = most
            return
        took_s = time.perf_counter() - begun
        attempt.preview_s += took_s
        self._position_s = min(self._position_s or math.inf, took_s / positions)
        if frame is not None:
            preview = Preview(
                frame=frame,
                index=moment - 1,
                step=attempt.step,
                steps=attempt.steps,
                is_asked=is_picture,
            )
            attempt.delivery.show(preview)


def moments(done: int, steps: int, most: int) -> int:
    """How many of `most` moments, spread evenly between the ends, have come after `done` steps."""
    return done * (most + 1) // steps


def worth(recipe: PreviewRecipe, expected_s: float, spent_s: float, cost_s: float) -> bool:
    """Whether a job of `expected_s` on the device may spend `cost_s` more on a preview."""
    return expected_s >= recipe.least_s and spent_s + cost_s <= recipe.share * expected_s
