"""One attempt at a job: its parts in turn, step by step, and its frames on their way to files.

The engine's thread calls `begin`, `stepped` and `save`; other threads read how far it is. Where it
is, is kept in the job's folder every few steps and after each window, in files of its own attempt.
The next attempt takes these over, so a worker that lost its lease cannot spoil what it reads.
"""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from infra.catalog_models import GenerationJob
from modeling.generation import Generation
from modeling.progress import Progress
from serving.leases import Claim
from serving.previews import Preview
from serving.render import Delivery, Generates, begin
from serving.requests import Part

SAVE_EVERY = 4  # steps
SAMPLED = 90  # percent of progress when sampling ends and only encoding is left


class Attempt:
    """The work on one claim.

    lost: the job is no longer ours. released: the engine stops, and the job goes back.
    error: why it failed. sample_s: its share of the device's time. step: made of all `steps`.
    rows: of the next step in a call of the network.
    preview_s: device time of its previews. moment: how many of the times have come at which the
        part under way gets one.
    """

    def __init__(
        self,
        claim: Claim,
        parts: Sequence[Part],
        folder: Path,
        on_end: Callable[["Attempt"], None],
        on_preview: Callable[[Part, Preview], None],
        save_every: int = SAVE_EVERY,
    ) -> None:
        self.claim, self.folder = claim, folder
        self._parts, self._save_every = parts, save_every
        self._generations: list[Generation] = []
        self._progress: list[Progress] = []
        self._at = 0  # the part under way
        self.delivery = Delivery(
            self.job, parts, folder, claim.attempt, lambda: on_end(self), on_preview
        )
        self.has_begun = self.lost = self.released = False
        self.error: Exception | None = None
        self.sample_s = self.preview_s = 0.0
        self.step = self.steps = self.rows = self.turn = self.moment = 0
        self._taken_over = 0  # steps that an earlier attempt made
        self._kept = 0  # the step at which it was saved last

    @property
    def job(self) -> GenerationJob:
        return self.claim.job

    @property
    def tenant(self) -> str:
        return self.job.owner

    @property
    def generation(self) -> Generation:
        return self._generations[self._at]

    @property
    def is_sampled(self) -> bool:
        """All steps are made, and all frames are with the delivery."""
        return bool(self._generations) and self._at == len(self._generations)

    @property
    def is_waiting(self) -> bool:
        """Its next step can be made."""
        going = not (self.lost or self.released or self.error or self.delivery.error)
        return going and self.has_begun and not self.is_sampled and not self.delivery.is_full

    @property
    def expected_s(self) -> float:
        """Device time of all its steps, at the speed of those that it made."""
        made = self.step - self._taken_over
        return self.sample_s / made * self.steps if made > 0 else 0.0

    @property
    def news(self) -> dict[str, int | str]:
        """How far it is, as the job's row says it."""
        if not self.has_begun:  # what is taken over was not made now, and is not yet counted
            return {"progress": 0, "stage": "starting"}
        stage, progress = "sampling", SAMPLED * self.step // max(self.steps, 1)
        if self.is_sampled:
            share = self.delivery.written / max(self.delivery.num_frames, 1)
            stage, progress = "encoding", SAMPLED + int((99 - SAMPLED) * share)
        return {"progress": progress, "stage": stage, "step": self.step, "steps": self.steps}

    def begin(self, generator: Generates) -> None:
        """Make ready for the first step, or for the one at which an earlier attempt was lost.

        Raises:
            InputError: the model cannot do what is asked.
        """
        generations = [begin(generator, self.job, part) for part in self._parts]
        for part in self._parts:
            progress = Progress(
                self.folder / f"state-{self.claim.attempt}-{part.name}", generator.identity
            )
            for other in self.folder.glob(f"state-*-{part.name}"):
                if other != progress.folder:
                    progress.adopt(Progress(other, generator.identity))
            self._progress.append(progress)
        self._generations = generations
        self.steps = sum(each.steps for each in generations)
        while not self.is_sampled:
            for frames in self._progress[self._at].resume(self.generation):
                self.delivery.put(frames)
            self._count()
            if not self.generation.is_over:
                self.rows = self.generation.rows
                break
            self._close()
        self._taken_over = self._kept = self.step
        self.has_begun = True

    def stepped(self) -> None:
        """A step was made: keep it when it is time to, and hand on the frames that are final.

        Raises:
            OSError: the job's folder cannot be written, or is gone.
        """
        if self.generation.sampling().done or self._made() - self._kept >= self._save_every:
            self.save()
        for frames in self.generation.frames():
            self.delivery.put(frames)
        self._count()
        if self.generation.is_over:
            self._close()
        if not self.is_sampled:
            self.rows = self.generation.rows  # this begins a stage, and may take a while

    def save(self) -> None:
        """Keep where it is."""
        if self._generations and not self.is_sampled:
            self._progress[self._at].save(self.generation)
            self._kept = self._made()

    def _made(self) -> int:
        return sum(each.done for each in self._generations)

    def _count(self) -> None:
        self.step = self._made()

    def _close(self) -> None:
        self.delivery.close_part()
        self._at += 1
        self.moment = 0

    def discard(self) -> None:
        """Remove the files that this attempt wrote, but what another could go on from."""
        self._remove(self.claim.attempt)

    def discard_earlier(self) -> None:
        """Remove what earlier attempts wrote, and what this one would have gone on from."""
        for number in range(1, self.claim.attempt):
            self._remove(number)
        self.discard_state()

    def discard_state(self) -> None:
        """Remove what attempts at the job kept to go on from."""
        for path in self.folder.glob("state-*"):
            shutil.rmtree(path, ignore_errors=True)

    def _remove(self, number: int) -> None:
        for path in (*self.folder.glob(f"*-{number}.*"), *self.folder.glob(f".*-{number}.*")):
            path.unlink(missing_ok=True)
