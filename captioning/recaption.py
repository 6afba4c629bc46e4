"""The part of the caption job that needs torch: get a captioner, and caption clips with it."""

import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict

import torch

from captioning.coca import CocaCaptioner
from captioning.frames import ClipSpan, read_frames
from captioning.recipe import CaptionRecipe
from captioning.store import find_captioner, load_captioner, save_captioner
from captioning.training import Heldout, Labelled, train, views_of
from infra.job_files import JobContext
from infra.lake import Lake
from infra.settings import Settings
from infra.tracking import Run, Tracking

CLIPS_AT_ONCE = 64
TRAINING_SHARE = 0.8  # of the progress bar, when there is training


class Recaptioner:
    """Captions clips with the pretrained captioner, a stored one, or one that it trains.

    After `captioner()`: `trained` says whether training took place, `heldout` holds the figures of
    the trained or stored captioner. `seconds` adds up where the time went.
    """

    def __init__(
        self, context: JobContext, settings: Settings, lake: Lake, recipe: CaptionRecipe
    ) -> None:
        self.context = context
        self.settings = settings
        self.lake = lake
        self.recipe = recipe
        self.trained = False
        self.heldout: dict[str, float] = {}
        self.seconds: dict[str, float] = {}
        torch.set_num_threads(settings.cpu_count)

    def captioner(self, labelled: Sequence[tuple[ClipSpan, str]]) -> CocaCaptioner:
        """The captioner for clips without words, given the clips that a person captioned."""
        recipe = self.recipe
        if recipe.pretrained_model:
            return CocaCaptioner.from_pretrained(
                recipe.pretrained_model,
                recipe.pretrained_weights,
                grid=recipe.grid,
                max_words=recipe.max_words,
            )
        folder = self.settings.home / "captioner"
        captions = {clip.clip_id: caption for clip, caption in labelled}
        stored = find_captioner(folder, recipe, captions)
        if stored is None:
            captioner, heldout = self._train(labelled)
            save_captioner(folder, captioner, heldout, recipe, captions)
        else:
            captioner, heldout = load_captioner(stored, recipe)
        self.heldout = asdict(heldout)
        return captioner

    def caption(
        self, captioner: CocaCaptioner, clips: Sequence[ClipSpan]
    ) -> list[tuple[str, float]]:
        """A caption and a score for every clip, in order."""
        began = time.monotonic()
        told: list[tuple[str, float]] = []
        waiting = []
        for _, frames in read_frames(self.lake, clips, self.recipe, self.settings.cpu_count):
            self.context.raise_if_stopping()
            waiting.append(frames)
            if len(waiting) == CLIPS_AT_ONCE or len(told) + len(waiting) == len(clips):
                told += captioner.caption(views_of(waiting, self.recipe))
                waiting = []
                share = TRAINING_SHARE if self.trained else 0.0
                done = share + (1 - share) * len(told) / len(clips)
                self.context.progress(done, 1.0, f"captioned {len(told)} of {len(clips)} clips")
        self.seconds["caption"] = time.monotonic() - began
        return told

    def _train(self, labelled: Sequence[tuple[ClipSpan, str]]) -> tuple[CocaCaptioner, Heldout]:
        began = time.monotonic()
        captions = {clip.clip_id: caption for clip, caption in labelled}
        spans = [clip for clip, _ in labelled]
        clips = [
            Labelled(clip_id=clip.clip_id, frames=frames, caption=captions[clip.clip_id])
            for clip, frames in read_frames(self.lake, spans, self.recipe, self.settings.cpu_count)
        ]
        self.seconds["decode_labelled"] = time.monotonic() - began
        began = time.monotonic()
        with self._run(len(clips)) as run:

            def on_step(step: int, metrics: Mapping[str, float]) -> None:
                self.context.raise_if_stopping()
                done = TRAINING_SHARE * step / self.recipe.steps
                self.context.progress(done, 1.0, "training the captioner", **metrics)
                checked = step % self.recipe.check_every == 0
                if run is not None and (checked or step == self.recipe.steps):
                    run.metrics(metrics, step)

            captioner, heldout = train(clips, self.recipe, on_step)
            if run is not None:
                run.metrics({f"kept_{key}": value for key, value in asdict(heldout).items()})
        self.trained = True
        self.seconds["train"] = time.monotonic() - began
        return captioner, heldout

    def _run(self, labelled: int) -> AbstractContextManager[Run | None]:
        """An MLflow run, unless the spec says {"track": false}: a job by hand, without MLflow."""
        if not self.context.spec.get("track", True):
            return nullcontext()
        return Tracking(self.settings.mlflow_url).run(
            "reel/captioner",
            f"captioner on {labelled} clips",
            recipe=self.recipe,
            tags={"labelled_clips": str(labelled)},
            lake_uri=self.lake.uri,
        )
