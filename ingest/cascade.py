"""Detectors that ask a network: about every frame, or only about what cheap ones are unsure of.

The network sees some fifty frames a second on one core, where decoding runs at a thousand. In the
cascade cheap detectors propose; what is far above their thresholds stands, what is far below falls,
and for the rest the network looks at a few frames around it.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from ingest.recipe import ShotRecipe
from ingest.shots import Boundary, Image, ShotDetector, margin
from ingest.transnet import Network, boundaries_of

WINDOW, STEP = 100, 50  # frames seen at once, and frames in their middle that are judged
SIDE = (WINDOW - STEP) // 2


class NetworkDetector(ShotDetector):
    """The network over every frame, in the overlapping windows that it was trained with."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._images: list[Image] = []
        self._single: list[float] = []
        self._many: list[float] = []
        self._count = 0

    def process(self, index: int, image_HWC: Image) -> list[Boundary]:
        if not self._images:
            self._images = [image_HWC] * SIDE
        self._images.append(image_HWC)
        self._count = index + 1
        if len(self._images) == WINDOW:
            self._look()
        return []

    def finish(self) -> list[Boundary]:
        while self._images and len(self._single) < self._count:
            self._images += self._images[-1:] * (WINDOW - len(self._images))
            self._look()
        single, many = np.asarray(self._single), np.asarray(self._many)
        return boundaries_of(single[: self._count], many[: self._count], 0)

    def _look(self) -> None:
        single, many = self._network(self._images)
        self._single += single[SIDE : SIDE + STEP].tolist()
        self._many += many[SIDE : SIDE + STEP].tolist()
        del self._images[:STEP]


class Cascade(ShotDetector):
    """Cheap detectors whose unsure boundaries a network confirms, moves or drops.

    Memory is bounded by the longest transition: proposals come at most so late.
    """

    def __init__(
        self,
        proposers: Sequence[ShotDetector],
        recipe: ShotRecipe,
        fps: float,
        load: Callable[[], Network],
    ) -> None:
        self._proposers = proposers
        self._recipe = recipe
        self._load = load
        self._network: Network | None = None
        longest = max(16, round(recipe.transition_max_s * fps))
        self._images: deque[Image] = deque(maxlen=3 * longest + 2 * WINDOW)
        self._count = 0
        self._unsure: list[Boundary] = []

    def process(self, index: int, image_HWC: Image) -> list[Boundary]:
        self._images.append(image_HWC)
        self._count = index + 1
        proposed = [b for proposer in self._proposers for b in proposer.process(index, image_HWC)]
        return self._sort(proposed, final=False)

    def finish(self) -> list[Boundary]:
        proposed = [b for proposer in self._proposers for b in proposer.finish()]
        return self._sort(proposed, final=True)

    def _sort(self, proposed: Iterable[Boundary], final: bool) -> list[Boundary]:
        """What is sure by now, and the network's word on what is unsure and wholly seen."""
        sure: list[Boundary] = []
        for boundary in proposed:
            reached = margin(boundary, self._recipe)
            if reached >= self._recipe.sure_from:
                sure.append(boundary)
            elif reached >= self._recipe.unsure_from:
                self._unsure.append(boundary)
        reach = self._recipe.network_frames // 2
        ripe = [b for b in self._unsure if final or (b.start + b.end) // 2 + reach <= self._count]
        self._unsure = [b for b in self._unsure if b not in ripe]
        return sure + [word for b in ripe for word in self._ask(b)]

    def _ask(self, boundary: Boundary) -> list[Boundary]:
        """The boundaries that the network sees around this one."""
        if self._network is None:
            self._network = self._load()  # seconds that a film without doubts does not pay
        oldest = self._count - len(self._images)
        middle = (boundary.start + boundary.end) // 2 - oldest
        low = max(0, middle - self._recipe.network_frames // 2)
        images = list(self._images)[low : low + self._recipe.network_frames]
        single, many = self._network(images)
        return [
            found
            for found in boundaries_of(single, many, oldest + low)
            if found.start <= boundary.end + NEAR and found.end >= boundary.start - NEAR
        ]


NEAR = 3  # frames by which a proposal may miss what it points at
