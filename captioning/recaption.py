"""CoCa as one of the captioners: pretrained, stored, or trained when it is first asked."""

import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from captioning.caches import find_captioner, new_place
from captioning.captioner import Answers, Clip
from captioning.clip_models import CaptionModel
from captioning.frames import FrameReader
from captioning.inference import Inference, collected
from captioning.progress import Progress
from captioning.recipe import CocaRecipe
from infra.errors import InputError
from infra.lake import Lake
from infra.recipes import fingerprint
from infra.settings import Settings

if TYPE_CHECKING:  # torch and open_clip take seconds to import, and an idle job asks nobody
    from captioning.coca import CocaCaptioner
    from captioning.training import Heldout
    from infra.tracking import Run

CLIPS_A_COMMIT = 512
SECONDS_A_COMMIT = 30.0  # a large model says little in that time, and a kill costs no more


class Recaptioner:
    """Captions clips with the pretrained CoCa, a stored one, or one that it trains on `labelled`
    clips, those that a person captioned.

    Once it was asked, `trained` says whether training took place, `heldout` holds the figures of
    the trained or stored captioner. `seconds` adds up where the time went. `track`: training is
    recorded in MLflow.
    """

    source, free = "coca", False

    def __init__(
        self,
        settings: Settings,
        lake: Lake,
        recipe: CocaRecipe,
        labelled: Sequence[Clip],
        progress: Progress,
        frames: FrameReader,
        inference: Inference,
        *,
        track: bool,
    ) -> None:
        self.settings = settings
        self.lake = lake
        self.recipe = recipe
        self.labelled = labelled
        self.progress = progress
        self.frames = frames
        self.inference = inference
        self.track = track
        self.trained = False
        self.heldout: dict[str, float] = {}
        self.seconds: dict[str, float] = {}
        self._folder = settings.home / "captioner"
        self._words = {clip.clip_id: clip.words for clip in labelled}
        self._stored = find_captioner(self._folder, recipe, self._words)

    @property
    def version(self) -> str:
        """The pretrained model and a hash of the recipe, or the name of the stored folder. What is
        trained anew is another version: one captioner speaks for the whole lake."""
        if self.recipe.pretrained_model:
            name = Path(self.recipe.pretrained_model).name
            return f"{name}@{fingerprint(self.recipe)[:8]}"
        return (self._stored or new_place(self._folder, self.recipe, self._words)).name

    def caption(self, clips: Sequence[Clip]) -> Answers:
        """See `Captioner.caption`; the score is the mean probability of the words.

        Raises:
            InputError: the recipe names a model or weights that open_clip cannot load, or a clip
                does not decode.
        """
        if not clips:
            return
        model = CaptionModel(self._load(), self.recipe)
        asked = {clip.clip_id: clip for clip in clips}
        began = time.monotonic()
        answers = self.inference.run(model, clips, self.progress.clips)
        for table in collected(answers, CLIPS_A_COMMIT, SECONDS_A_COMMIT):
            rows = table.to_pylist()
            for row in rows:
                if row["failed"] is not None:
                    raise InputError(row["failed"])
            self._spent("caption", began)
            yield (
                [asked[row["clip_id"]] for row in rows],
                [(row["caption"], row["score"]) for row in rows],
            )
            began = time.monotonic()

    def _load(self) -> "CocaCaptioner":
        import torch

        from captioning.coca import CocaCaptioner
        from captioning.store import load_captioner, save_captioner

        torch.set_num_threads(self.settings.cpu_count)
        recipe = self.recipe
        if recipe.pretrained_model:
            return CocaCaptioner.from_pretrained(
                recipe.pretrained_model,
                recipe.pretrained_weights,
                grid=recipe.grid,
                max_words=recipe.max_words,
            )
        if self._stored is None:
            captioner, heldout = self._train()
            self._stored = save_captioner(self._folder, captioner, heldout, recipe, self._words)
        else:
            captioner, heldout = load_captioner(self._stored, recipe)
        self.heldout = asdict(heldout)
        return captioner

    def _train(self) -> "tuple[CocaCaptioner, Heldout]":
        from captioning.training import Labelled, train

        began = time.monotonic()
        clips = [
            Labelled(clip_id=clip.clip_id, frames=frames, caption=clip.words)
            for clip, frames in self.frames.read(self.labelled)
        ]
        began = self._spent("decode_labelled", began)
        with self._run(len(clips)) as run:

            def on_step(step: int, metrics: Mapping[str, float]) -> None:
                self.progress.training(step / self.recipe.steps, **metrics)
                checked = step % self.recipe.check_every == 0
                if run is not None and (checked or step == self.recipe.steps):
                    run.metrics(metrics, step)

            captioner, heldout = train(clips, self.recipe, on_step)
            if run is not None:
                run.metrics({f"kept_{key}": value for key, value in asdict(heldout).items()})
        self.trained = True
        self._spent("train", began)
        return captioner, heldout

    def _spent(self, what: str, began: float) -> float:
        now = time.monotonic()
        self.seconds[what] = self.seconds.get(what, 0.0) + now - began
        return now

    def _run(self, labelled: int) -> "AbstractContextManager[Run | None]":
        if not self.track:
            return nullcontext()
        from infra.tracking import Tracking

        return Tracking(self.settings.mlflow_url).run(
            "reel/captioner",
            f"captioner on {labelled} clips",
            recipe=self.recipe,
            tags={"labelled_clips": str(labelled)},
            lake_uri=self.lake.uri,
        )
