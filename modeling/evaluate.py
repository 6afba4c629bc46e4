"""What a model is worth: one table for each version, measured on clips it never trained on.

Every number comes with its count; the promotion gate reads the same table as people do.

    heldout.py        velocity loss by timestep and by task, VAE
    fidelity.py       what each task gives, as it comes back
    oracles.py        a judge of your own domain, by captions
    word_features.py  features trained on the release; frechet.py, extractors.py: distances by them
    drift.py          long videos, window by window
    memorisation.py   the nearest training clip
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from infra.pictures import contact_sheet, frame_strip
from infra.video import write_mp4
from modeling import extractors
from modeling.bundle import Bundle
from modeling.data import Clip, to_float, to_pixels
from modeling.drift import drift_measures
from modeling.evaluation_recipe import EvaluationRecipe
from modeling.extractors import extractor_measures, frechet_measures
from modeling.fidelity import fidelity_measures
from modeling.generate import Generator
from modeling.heldout import heldout_losses, spread, training_clips_loss, vae_psnr
from modeling.latents import LatentClip
from modeling.measure import Measure
from modeling.memorisation import memorisation_measures
from modeling.oracles import ACCURACY, Frames, oracle_measures
from modeling.tasks import Given, Request
from modeling.train_vae import psnr_db
from modeling.word_features import NUM_FRAMES, halves, kept_network

PICTURED_CLIPS = 8
GIVEN_CLIPS = 16
FIRST_SEED = 100


@dataclass(frozen=True)
class Evidence:
    """What a model is measured on: real clips, and the latents of these by its own VAE.

    features: file of the network that is trained on this release, for all its models.
    """

    training: Sequence[Clip]
    held: Sequence[Clip]
    training_latents: Sequence[LatentClip]
    held_latents: Sequence[LatentClip]
    features: Path


def evaluate_bundle(
    bundle: Bundle,
    evidence: Evidence,
    recipe: EvaluationRecipe,
    folder: Path,
    on_progress: Callable[[str], None] = lambda _message: None,
) -> tuple[list[Measure], dict[str, Path]]:
    """The table, and pictures in `folder` by name.

    Raises:
        InputError: the oracle or an extractor that the recipe names is not usable.
    """
    rows: list[Measure] = []
    held = spread(evidence.held, recipe.clips)
    on_progress("loss on held-out clips")
    latents = spread(evidence.held_latents, recipe.clips)
    if "teacher" not in bundle.manifest:  # of a few-step student's mean velocities it says nothing
        rows += heldout_losses(bundle, latents, recipe)
        rows.append(training_clips_loss(bundle, evidence.training_latents, recipe))
    rows.append(vae_psnr(bundle, held))
    on_progress("given frames")
    rows.append(image_to_video_psnr(bundle, held[:GIVEN_CLIPS]))
    rows += fidelity_measures(bundle, latents, recipe)
    on_progress("videos")
    shown = spread(held, recipe.videos)
    made = make_videos(bundle, shown)
    rows += video_measures(made, shown, evidence, recipe)
    on_progress("long videos")
    rows += rollout_measures(bundle, shown, evidence, recipe)
    return rows, draw_samples(made, shown, bundle.recipe.data.fps, folder)


def make_videos(bundle: Bundle, clips: Sequence[Clip]) -> list[Frames]:
    """One window from each clip's caption, of its size; the same seeds for every model."""
    generator = Generator(bundle)
    requests = [
        _request(generator, clip, FIRST_SEED + number, given=None)
        for number, clip in enumerate(clips)
    ]
    return generator.generate_many(requests)


def video_measures(
    made: Sequence[Frames], shown: Sequence[Clip], evidence: Evidence, recipe: EvaluationRecipe
) -> list[Measure]:
    """All that needs nothing but pixels and captions of generated videos.

    shown: the held-out clips whose captions they were made from.
    """
    count, captions = len(made[0]), [clip.caption for clip in shown]
    real = [clip.frames_THWC[:count] for clip in shown]
    reference = [clip.frames_THWC[:count] for clip in halves(evidence.training)[1]]
    rows: list[Measure] = []
    if recipe.oracle:
        rows += oracle_measures(recipe.oracle, made, real, captions)
    network = kept_network(evidence.training, evidence.features)
    seen = [extractors.features(network, videos, NUM_FRAMES) for videos in (made, real, reference)]
    rows += frechet_measures("words", *seen)
    training = [clip.frames_THWC for clip in evidence.training]
    rows += memorisation_measures(made, real, training)
    for extractor in recipe.extractors:
        rows += extractor_measures(extractor, made, captions, real, reference)
    return rows


def rollout_measures(
    bundle: Bundle, shown: Sequence[Clip], evidence: Evidence, recipe: EvaluationRecipe
) -> list[Measure]:
    """Videos of several windows, by the model's own rollout."""
    generator, clips = Generator(bundle), spread(shown, recipe.rollouts)
    if not clips or recipe.rollout_windows < 2:
        return []
    count = generator.data.num_frames
    network = kept_network(evidence.training, evidence.features)
    videos = []
    for number, clip in enumerate(clips):
        request = _request(
            generator, clip, FIRST_SEED + number, None, 1 + recipe.rollout_windows * (count - 1)
        )
        videos.append(generator.generate(request))
    return drift_measures(
        videos,
        [clip.caption for clip in clips],
        count,
        lambda some: extractors.features(network, some, NUM_FRAMES),
        [clip.frames_THWC[:count] for clip in shown],
        recipe.oracle,
    )


def beside_teacher(
    student: Sequence[Measure],
    teacher: Bundle,
    evidence: Evidence,
    recipe: EvaluationRecipe,
    student_steps: int,
) -> list[Measure]:
    """A few-step student's teacher on the same captions and seeds: with all its steps, and with
    only as many as the student takes."""
    shown = spread(spread(evidence.held, recipe.clips), recipe.videos)
    mine = {row.name: row.value for row in student}
    rows: list[Measure] = []
    base = teacher.recipe.dit.sampler
    for name, steps in (("teacher", base.steps), ("teacher_few_steps", student_steps)):
        made = make_videos(with_steps(teacher, steps), shown)
        note = f"the teacher with {steps} steps"
        for row in video_measures(made, shown, evidence, recipe):
            if row.name in (f"oracle_{ACCURACY}", "fd_words"):
                rows.append(Measure(f"{name}_{row.name}", row.value, row.n, f"{note}; {row.note}"))
    accuracy = f"oracle_{ACCURACY}"
    theirs = {row.name: row for row in rows}.get(f"teacher_{accuracy}")
    if theirs is not None and accuracy in mine:
        loss = theirs.value - mine[accuracy]
        note = f"{accuracy} of the teacher with all its steps, minus the student's"
        rows.append(Measure("few_step_accuracy_loss", loss, theirs.n, note))
    return rows


def with_steps(bundle: Bundle, steps: int) -> Bundle:
    """The same model with another number of sampler steps."""
    dit = bundle.recipe.dit
    dit = replace(dit, sampler=replace(dit.sampler, steps=steps))
    return replace(bundle, recipe=replace(bundle.recipe, dit=dit))


def image_to_video_psnr(bundle: Bundle, clips: Sequence[Clip]) -> Measure:
    """First frame shown when a picture is given, against that picture through the VAE."""
    generator, values = Generator(bundle), []
    frames = [clip.frames_THWC[:1] for clip in clips]
    shown = generator.decoded_windows(
        [
            _request(generator, clip, number, given=frame)
            for number, (clip, frame) in enumerate(zip(clips, frames, strict=True))
        ]
    )
    for frame, video in zip(frames, shown, strict=True):
        with torch.no_grad():
            expected = bundle.vae.decode(
                bundle.vae.encode(to_float(frame)[None].to(bundle.device))
            )[0]
        values.append(psnr_db(to_float(video[:1]), to_float(to_pixels(expected))))
    note = "given frame as generated, against its own reconstruction; lowest of all"
    return Measure("image_to_video_psnr_db", float(np.min(values)), len(values), note)


def draw_samples(
    made: Sequence[Frames], shown: Sequence[Clip], fps: float, folder: Path
) -> dict[str, Path]:
    """Generated clips beside the held-out ones of the same captions: a picture, and MP4s."""
    tiles, files = [], {}
    pairs = spread(list(zip(shown, made, strict=True)), PICTURED_CLIPS)
    for index, (clip, video) in enumerate(pairs):
        real = clip.frames_THWC[: len(video)]
        tiles.append((frame_strip(real, 5), f"real: {clip.caption}"))
        tiles.append((frame_strip(video, 5), f"generated: {clip.caption}"))
        path = folder / f"sample-{index}.mp4"
        write_mp4(np.concatenate([real, video], axis=2), fps, path)
        files[path.stem] = path
    sheet = folder / "samples.png"
    contact_sheet(tiles, columns=2, tile_width=480).save(sheet)
    return {"samples": sheet, **files}


def _request(
    generator: Generator,
    clip: Clip,
    seed: int,
    given: Frames | None,
    num_frames: int = 0,
) -> Request:
    height, width = clip.frames_THWC.shape[1:3]
    return Request(
        prompt=clip.caption,
        num_frames=num_frames or generator.data.num_frames,
        height=height,
        width=width,
        seed=seed,
        given=() if given is None else (Given(given),),
    )
